"""Run worked cases through the readers and graders, and compare with what they expect."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import polars as pl
from polars import col

from aftercar.errors import OptionError, nearest
from aftercar.grade.options import OPTIONS
from aftercar.grade.run import SCALES, Result, grade_timeline
from aftercar.timeline.readers.cases import Case, cases_timeline, read_cases
from aftercar.timeline.readers.normalise import RELATIVE_EPOCH

Outcome = Literal["passed", "failed", "not supported"]

_EPISODES = {"crs_episodes": "crs"}
# Scales of the schema that are not built yet; any other name is a mistake.
NOT_BUILT = {
    "crs_lee2014", "crs_penn2018", "crs_mskcc", "crs_ctcae5", "crs_cartox", "cres_cartox", "iechs_dx", "iechs_grade", "hscore", "hlh2004",
    "ticaht_early", "ticaht_late", "anc_phenotype", "car_hematotox", "easix", "s_easix", "m_easix", "hay2017", "tocilizumab_rules",
    "mgmt", "colitis", "mnt",
}  # fmt: skip
# Their options; a case may set one beside ours.
_OTHER_OPTIONS = {
    "ctcae", "lee_vasopressin_counts", "fio2_estimate", "lee_niv", "penn_single_bolus", "penn_fever_inpatient", "mskcc_pressor_gap_h",
    "mskcc_fluid", "ferritin_rapid", "iechs_window_h", "iechs_min_common", "hscore_immunosuppressed", "hlh_inclusive", "bca_cut", "ht_ties",
}  # fmt: skip
_ASSERTS = {"grade", "status", "value", "min", "max", "group", "flags", "actions", "blocked"}
_EXPECTED_KEYS = {
    "scale",
    "at_h",
    "at_day",
    "options",
    "grade",
    "status",
    "value",
    "min",
    "max",
    "group",
    "flags",
    "actions",
    "blocked",
    "why",
}


@dataclass(frozen=True)
class Check:
    """One expectation of one case, and what came of it."""

    case: str
    title: str
    scale: str
    at: str
    outcome: Outcome
    expected: dict[str, Any]
    got: dict[str, Any]
    difference: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a plain dictionary."""
        return asdict(self)


def run_cases(paths: Iterable[Path | str]) -> list[Check]:
    """Check every expectation of every case.

    Raises:
        InputError: a file is not a file of cases.
    """
    cases = [c for path in paths for c in read_cases(path)]
    by_options: dict[tuple[tuple[str, str], ...], list[tuple[Case, dict[str, Any]]]] = {}
    checks: list[Check] = []
    for case in cases:
        expected = case.body.get("expected") or []
        if not isinstance(expected, list) or not expected:
            checks.append(_failed(case, {}, case.problem or "it expects nothing"))
            continue
        for want in expected:
            problem = _problem(case, want)
            if problem:
                checks.append(_failed(case, want if isinstance(want, dict) else {}, problem))
            elif want["scale"] in NOT_BUILT:
                checks.append(
                    Check(case.id, _title(case), want["scale"], _when(want), "not supported", want, {}, "this scale is not built")
                )
            elif case.problem:
                checks.append(_failed(case, want, case.problem))
            else:
                options = {**(case.body.get("options") or {}), **(want.get("options") or {})}
                key = tuple(sorted((k, str(v)) for k, v in options.items() if k in OPTIONS))
                by_options.setdefault(key, []).append((case, want))
    for options, group in by_options.items():
        checks += _run_group(dict(options), group)
    order = {c.id: n for n, c in enumerate(cases)}
    return sorted(checks, key=lambda check: order.get(check.case, 0))


def _problem(case: Case, want: Any) -> str:
    """What is wrong with an expectation itself; empty where it can be checked."""
    if not isinstance(want, dict):
        return "an expectation is not a table"
    if unknown := set(want) - _EXPECTED_KEYS:
        return f"expected: {sorted(map(str, unknown))} is not known"
    scale = want.get("scale")
    if not isinstance(scale, str) or scale not in {*SCALES, *_EPISODES, *NOT_BUILT}:
        return f"there is no scale {scale!r}. {nearest(str(scale), {*SCALES, *_EPISODES, *NOT_BUILT})}"
    episodes_none = scale in _EPISODES and want.get("value") == []
    if not episodes_none and all(want.get(key) in (None, {}, []) for key in _ASSERTS):
        return "it expects nothing"
    if "at_h" in want and "at_day" in want:
        return "at_h and at_day are both given"
    for key in ("at_h", "at_day"):
        if key in want and (scale in _EPISODES or isinstance(want[key], bool) or not isinstance(want[key], (int, float))):
            return f"{key} must be a number, and is not for episodes"
    for options in (case.body.get("options"), want.get("options")):
        if options is not None and not isinstance(options, dict):
            return "options is not a table"
        if wrong := set(options or {}) - set(OPTIONS) - _OTHER_OPTIONS:
            return f"there is no option {sorted(map(str, wrong))[0]!r}. {nearest(str(sorted(map(str, wrong))[0]), OPTIONS)}"
    return ""


def _title(case: Case) -> str:
    return str(case.body.get("title", ""))


def _when(want: dict[str, Any]) -> str:
    return f"h {want['at_h']}" if "at_h" in want else f"day {want['at_day']}" if "at_day" in want else "whole record"


def _failed(case: Case, want: dict[str, Any], why: str) -> Check:
    return Check(case.id, _title(case), str(want.get("scale", "")), _when(want), "failed", want, {}, why)


def _run_group(options: dict[str, str], group: list[tuple[Case, dict[str, Any]]]) -> list[Check]:
    members = list({case.id: case for case, _ in group}.values())
    timeline, problems = cases_timeline(members)
    try:
        result = grade_timeline(timeline.with_columns(col("subject_id").cast(pl.String)), None, options)
    except OptionError as error:
        return [_failed(case, want, str(error)) for case, want in group]
    checks = []
    for case, want in group:
        if case.id in problems:
            checks.append(_failed(case, want, f"a row was rejected: {problems[case.id]}"))
            continue
        got = _got(result, case.id, want)
        difference = _difference(want, got)
        outcome: Outcome = "failed" if difference else "passed"
        checks.append(Check(case.id, _title(case), want["scale"], _when(want), outcome, want, got, difference))
    return checks


def _got(result: Result, case: str, want: dict[str, Any]) -> dict[str, Any]:
    scale = want["scale"]
    if scale in _EPISODES:
        spells = result.episodes.filter((col("subject_id") == case) & (col("toxicity") == _EPISODES[scale]))
        return {"value": spells["max_grade"].to_list(), "status": "graded"}
    if "at_h" in want or "at_day" in want:
        hour = float(want["at_h"]) if "at_h" in want else 24.0 * float(want["at_day"])
        time = datetime.fromisoformat(RELATIVE_EPOCH) + timedelta(hours=hour)
        rows = result.grades.filter((col("subject_id") == case) & (col("scale") == scale) & (col("start") <= time))
        rows = rows.filter((col("end") > time) | col("end").is_null())
    else:
        rows = result.worst.filter((col("subject_id") == case) & (col("toxicity") == SCALES[scale].toxicity))
        if rows.height and rows["scale"][0] != scale:
            return {"status": "not_applicable"}
    if rows.is_empty():
        return {"status": "no state at that time"}
    row = rows.row(-1, named=True)
    return {
        "grade": row["grade"],
        "grade_upper": row["grade_upper"],
        "status": row["status"],
        "flags": row["flags"],
        "criteria": row["criteria"],
        "value": {m["name"]: m["value"] for m in row["measures"] or []},
    }


def _difference(want: dict[str, Any], got: dict[str, Any]) -> str:
    """What is not as expected; empty where all is. A status that is not named is `graded` (or, at grade 0, `not_met`)."""
    wrong = []
    status = want.get("status")
    allowed = {status} if status else {"graded", "not_met"} if want.get("grade") == 0 else {"graded"}
    if got.get("status") not in allowed:
        wrong.append(f"status {got.get('status')}, expected {' or '.join(sorted(allowed))}")
    for key, ours in (("grade", "grade"), ("min", "grade"), ("max", "grade_upper")):
        if want.get(key) is not None and got.get(ours) != want[key]:
            wrong.append(f"{ours} {got.get(ours)}, expected {want[key]}")
    if "value" in want:
        if isinstance(want["value"], dict):
            mine = got.get("value") or {}
            wrong += [f"{k} {mine.get(k)}, expected {v}" for k, v in want["value"].items() if mine.get(k) != v]
        elif got.get("value") != want["value"]:
            wrong.append(f"value {got.get('value')}, expected {want['value']}")
    if lacking := set(want.get("flags") or []) - set(got.get("flags") or []):
        wrong.append(f"no flag {', '.join(sorted(lacking))}")
    for key in ("group", "actions", "blocked"):
        if key in want:
            wrong.append(f"{key} is not given by this scale")
    return "; ".join(wrong)
