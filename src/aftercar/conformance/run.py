"""Run worked cases through the readers, graders, scores and rules of management, and compare with what they expect.

The cases of the package (`suite`) are data beside the code. `conformance.against` asks another grader the same questions and compares
its answers by the same `difference`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import polars as pl
from polars import col

from aftercar.errors import OptionError, nearest
from aftercar.grade.options import OPTIONS
from aftercar.grade.run import SCALES, Result, grade_timeline
from aftercar.manage.advise import Advice, advise_timeline
from aftercar.manage.rules import DEFAULT_PROFILE
from aftercar.risk.options import OPTIONS as RISK_OPTIONS
from aftercar.risk.run import REGISTRY, score_timeline
from aftercar.timeline.readers.cases import Case, cases_timeline, read_cases
from aftercar.timeline.readers.normalise import RELATIVE_EPOCH

Outcome = Literal["passed", "failed", "not supported"]
Expectation = dict[str, Any]

# What graders are known to get wrong; a case names one of these as its `trap`.
TRAPS = {
    "afebrile_after_tocilizumab": "a temperature below 38 after tocilizumab, steroid or antipyretic does not end CRS",
    "vasopressin_second": "vasopressin beside another vasopressor is not a second one",
    "cpap": "CPAP and BiPAP are positive pressure: grade 4, not a mask",
    "ice_10": "an ICE score of 10 alone is no ICANS",
    "ice_0_awake": "an ICE score of 0 in a patient who is awake is grade 3, not 4",
    "spo2_no_oxygen": "a low saturation without oxygen given has no ASTCT grade",
    "flow_6": "6 L/min is low flow; high flow begins above it",
    "organ_in_astct": "organ toxicity does not enter the ASTCT grade",
    "hscore_missing": "a missing HScore item widens the score and is not 0 points",
    "units": "a value counts in its own unit: Fahrenheit, g/L, mmol/L, 10^9/L",
    "inclusive_edge": "a value exactly at a threshold: the table says whether it belongs",
    "lee_fio2_40": "FiO2 of 40 % or more is Lee grade 3; one reprint says below",
    "missing_as_normal": "what was not measured is unknown, not normal",
    "single_value": "one low value alone does not make a grade that needs two, or a run of days",
    "seizure_scale": "a brief generalised seizure has another grade on each scale",
    "attribution": "a sign with another cause does not count",
    "high_dose_3h": "a vasopressor dose is high only if it lasts 3 hours",
}
# The vignettes are kept as they were published, so their traps stand here.
VIGNETTE_TRAPS = {
    "V04": "vasopressin_second", "V06": "flow_6", "V08": "cpap", "V09": "afebrile_after_tocilizumab", "V10": "afebrile_after_tocilizumab",
    "V12": "attribution", "V13": "attribution", "V17": "organ_in_astct", "V18": "organ_in_astct", "V19": "units", "V24": "seizure_scale",
    "V25": "ice_0_awake", "V28": "missing_as_normal", "V35": "hscore_missing", "V38": "inclusive_edge", "V45": "single_value",
    "V48": "units", "V49": "units",
}  # fmt: skip

# What is asked of the episodes of a toxicity: the grade of each, or the hour at which its end was seen.
_EPISODES = {"crs_episodes": "crs", "icans_ends": "icans"}
# Risk scores that have a value; HScore is a scale over time.
SCORES = {name for name, score in REGISTRY.items() if score.value is not None} - set(SCALES)
# What `aftercar advise` says: its options and block list, and the limits and dose of tocilizumab. Their option names a profile.
ADVISED = {"tocilizumab_rules", "mgmt"}
_PROFILE = "profile"
_KNOWN = {*SCALES, *_EPISODES, *SCORES, *ADVISED}
_ASSERTS = {"grade", "status", "value", "min", "max", "group", "flags", "actions", "blocked"}
_EXPECTED_KEYS = {"scale", "at_h", "at_day", "options", "why", *_ASSERTS}


@dataclass(frozen=True)
class Check:
    """One expectation of one case, and what came of it."""

    case: str
    title: str
    trap: str
    scale: str
    at: str
    outcome: Outcome
    expected: Expectation
    got: dict[str, Any]
    difference: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a plain dictionary."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """What there is to ask: cases with their expectations, and the checks that fail before anything is asked."""

    order: dict[str, int]
    asked: list[tuple[Case, Expectation]]
    refused: list[Check]

    def sort(self, checks: list[Check]) -> list[Check]:
        """All checks, in the order of the files."""
        return sorted([*checks, *self.refused], key=lambda check: self.order.get(check.case, 0))


def suite() -> list[Path]:
    """The files of cases that come with the package."""
    folder = files("aftercar.conformance")
    return sorted(Path(str(file)) for file in folder.iterdir() if file.name.endswith(".yaml"))


def plan(paths: Iterable[Path | str], traps: Iterable[str] | None = None) -> Plan:
    """Read cases, and sort out what cannot be asked.

    Args:
        paths: files of cases.
        traps: only the cases of these.
    Raises:
        InputError: a file is not a file of cases.
        OptionError: there is no such trap.
    """
    wanted = set(traps or ())
    for trap in wanted - set(TRAPS):
        raise OptionError(f"No trap is called {trap!r}. {nearest(trap, TRAPS)}")
    cases = [c for path in paths for c in read_cases(path) if not wanted or trap_of(c) in wanted]
    asked: list[tuple[Case, Expectation]] = []
    refused: list[Check] = []
    for case in cases:
        expected = case.body.get("expected") or []
        if not isinstance(expected, list) or not expected:
            refused.append(checked(case, {}, "failed", difference=case.problem or "it expects nothing"))
            continue
        for want in expected:
            told = want if isinstance(want, dict) else {}
            if problem := _problem(case, want):
                refused.append(checked(case, told, "failed", difference=problem))
            elif case.problem:
                refused.append(checked(case, told, "failed", difference=case.problem))
            else:
                asked.append((case, want))
    return Plan({c.id: n for n, c in enumerate(cases)}, asked, refused)


def run_cases(paths: Iterable[Path | str], traps: Iterable[str] | None = None) -> list[Check]:
    """Check every expectation of every case; arguments and errors as for `plan`."""
    todo = plan(paths, traps)
    by_options: dict[tuple[Ask, tuple[tuple[str, str], ...]], list[tuple[Case, Expectation]]] = {}
    checks: list[Check] = []
    for case, want in todo.asked:
        ask, read = _whom(want["scale"])
        options = chosen_options(case, want)
        key = tuple(sorted((k, str(v)) for k, v in options.items() if k in read))
        by_options.setdefault((ask, key), []).append((case, want))
    for (ask, options), group in by_options.items():
        checks += _run_group(dict(options), group, ask)
    return todo.sort(checks)


def trap_of(case: Case) -> str:
    """The trap that a case names; empty where it names none."""
    return str(case.body.get("trap") or VIGNETTE_TRAPS.get(case.id, ""))


def chosen_options(case: Case, want: Expectation) -> dict[str, Any]:
    """The options of a case and of one expectation together."""
    return {**(case.body.get("options") or {}), **(want.get("options") or {})}


def checked(case: Case, want: Expectation, outcome: Outcome, got: dict[str, Any] | None = None, difference: str = "") -> Check:
    """What came of one expectation."""
    title, scale = str(case.body.get("title", "")), str(want.get("scale", ""))
    return Check(case.id, title, trap_of(case), scale, _when(want), outcome, want, got or {}, difference)


def judged(case: Case, want: Expectation, got: dict[str, Any]) -> Check:
    """Compare one answer with what is expected."""
    wrong = difference(want, got)
    return checked(case, want, "failed" if wrong else "passed", got, wrong)


def _problem(case: Case, want: Any) -> str:
    """What is wrong with an expectation itself; empty where it can be checked."""
    if (trap := trap_of(case)) and trap not in TRAPS:
        return f"there is no trap {trap!r}. {nearest(trap, TRAPS)}"
    if not isinstance(want, dict):
        return "an expectation is not a table"
    if unknown := set(want) - _EXPECTED_KEYS:
        return f"expected: {sorted(map(str, unknown))} is not known"
    scale = want.get("scale")
    if not isinstance(scale, str) or scale not in _KNOWN:
        return f"there is no scale {scale!r}. {nearest(str(scale), _KNOWN)}"
    episodes_none = scale in _EPISODES and want.get("value") == []
    if not episodes_none and all(want.get(key) in (None, {}, []) for key in _ASSERTS):
        return "it expects nothing"
    if "at_h" in want and "at_day" in want:
        return "at_h and at_day are both given"
    for key in ("at_h", "at_day"):
        if key in want and (scale in _EPISODES or isinstance(want[key], bool) or not isinstance(want[key], (int, float))):
            return f"{key} must be a number, and is not for episodes"
    if "at_h" in want and scale in SCORES:
        return "at_h has no meaning for a score: at_day names its window, or nothing its own"
    for options in (case.body.get("options"), want.get("options")):
        if options is not None and not isinstance(options, dict):
            return "options is not a table"
        known = {*OPTIONS, *RISK_OPTIONS, *([_PROFILE] if scale in ADVISED else [])}
        if wrong := sorted(map(str, set(options or {}) - known)):
            return f"there is no option {wrong[0]!r}. {nearest(wrong[0], known)}"
    return ""


def _when(want: Expectation) -> str:
    return f"h {want['at_h']}" if "at_h" in want else f"day {want['at_day']}" if "at_day" in want else "whole record"


Answer = Callable[[str, Expectation], dict[str, Any]]  # of the case of that name


Ask = Callable[[pl.DataFrame, list[tuple[Case, Expectation]], dict[str, str]], Answer]


def _whom(scale: str) -> tuple[Ask, Iterable[str]]:
    """Who answers for a scale, and which options it reads."""
    if scale in ADVISED:
        return _advised, [*OPTIONS, _PROFILE]
    return (_scored, RISK_OPTIONS) if scale in SCORES else (_graded, OPTIONS)


def _run_group(options: dict[str, str], group: list[tuple[Case, Expectation]], ask: Ask) -> list[Check]:
    members = list({case.id: case for case, _ in group}.values())
    timeline, problems = cases_timeline(members)
    try:
        answer = ask(timeline.with_columns(col("subject_id").cast(pl.String)), group, options)
    except OptionError as error:
        return [checked(case, want, "failed", difference=str(error)) for case, want in group]
    checks: list[Check] = []
    for case, want in group:
        if case.id in problems:
            checks.append(checked(case, want, "failed", difference=f"a row was rejected: {problems[case.id]}"))
        else:
            checks.append(judged(case, want, answer(case.id, want)))
    return checks


def _graded(timeline: pl.DataFrame, group: list[tuple[Case, Expectation]], options: dict[str, str]) -> Answer:
    result = grade_timeline(timeline, _needed(group), options)
    return lambda case, want: _got(result, case, want)


def _scored(timeline: pl.DataFrame, group: list[tuple[Case, Expectation]], options: dict[str, str]) -> Answer:
    """Risk scores; the grades that some of them read are given along."""
    worst = grade_timeline(timeline, ["crs", "icans"]).worst
    scores = score_timeline(timeline, {want["scale"] for _, want in group}, options, worst=worst).scores
    return lambda case, want: _got_score(scores, case, want)


def _advised(timeline: pl.DataFrame, group: list[tuple[Case, Expectation]], options: dict[str, str]) -> Answer:
    """Advice; asked at a time, it is asked of all cases of the group."""
    profile = options.pop(_PROFILE, DEFAULT_PROFILE)
    asked = {_hour(want) for _, want in group}
    told = {at: advise_timeline(timeline, at, profile=profile, options=options) for at in asked}
    return lambda case, want: _got_advice(told[_hour(want)], case, want)


def _hour(want: Expectation) -> float | None:
    """When an expectation is asked; null: of the whole record."""
    return float(want["at_h"]) if "at_h" in want else 24.0 * float(want["at_day"]) if "at_day" in want else None


def _got_advice(told: Advice, case: str, want: Expectation) -> dict[str, Any]:
    rows = told.advice.filter(col("subject_id") == case)
    if rows.is_empty():
        return {"status": "no state at that time"}
    if want["scale"] == "tocilizumab_rules":
        (row,) = told.limits.filter((col("subject_id") == case) & (col("drug") == "tocilizumab")).to_dicts()
        word = "blocked" if row["reached"] else "allowed"
        return {"status": word if "status" in want else "graded", "value": row["dose_mg"], "flags": row["reached"]}
    return {
        "status": "graded",
        "actions": rows.filter(col("status") == "option")["action"].unique().sort().to_list(),
        "blocked": rows.filter(col("status") == "blocked")["blocks"].explode().drop_nulls().unique().sort().to_list(),
    }


def _got_score(scores: pl.DataFrame, case: str, want: Expectation) -> dict[str, Any]:
    score = REGISTRY[want["scale"]]
    window = f"day_{want['at_day']}" if "at_day" in want else score.windows[0].name
    rows = scores.filter((col("subject_id") == case) & (col("score") == score.name) & (col("window") == window))
    if rows.is_empty():
        return {"status": "no value at that time"}
    row = rows.row(-1, named=True)
    return {
        "status": "graded" if row["status"] == "scored" else row["status"],
        "group": row["group"],
        "flags": row["flags"],
        "criteria": row["criteria"],
        "value": {"score": row["value"], "score_upper": row["value_upper"], "log2": row["log2"]},
    }


def _needed(group: list[tuple[Case, Expectation]]) -> list[str]:
    """The scales that a group asks for, whole families: which one of a family applies is part of the answer."""
    families = {_EPISODES.get(want["scale"]) or SCALES[want["scale"]].family for _, want in group}
    return [name for name, scale in SCALES.items() if scale.family in families]


def _got(result: Result, case: str, want: Expectation) -> dict[str, Any]:
    scale = want["scale"]
    if scale in _EPISODES:
        own = (col("subject_id") == case) & col("scale").is_in(_family(_EPISODES[scale]))
        hours = (col("resolution") - datetime.fromisoformat(RELATIVE_EPOCH)).dt.total_seconds() / 3600
        value = hours if scale == "icans_ends" else col("max_grade")
        return {"value": result.episodes.filter(own).select(value).to_series().to_list(), "status": "graded"}
    if (hour := _hour(want)) is not None:
        time = datetime.fromisoformat(RELATIVE_EPOCH) + timedelta(hours=hour)
        rows = result.grades.filter((col("subject_id") == case) & (col("scale") == scale) & (col("start") <= time))
        rows = rows.filter((col("end") > time) | col("end").is_null())
    else:
        rows = result.worst.filter((col("subject_id") == case) & col("scale").is_in(_family(SCALES[scale].family)))
        if rows.height and rows["scale"][0] != scale:
            return {"status": "not_applicable"}
    if rows.is_empty():
        return {"status": "no state at that time"}
    row = rows.row(-1, named=True)
    return {
        "grade": row["grade"],
        "grade_upper": row["grade_upper"],
        "status": row["status"],
        "group": row["group"],
        "flags": row["flags"],
        "criteria": row["criteria"],
        "value": {m["name"]: m["value"] for m in row["measures"] or []},
    }


def _family(family: str) -> list[str]:
    return [name for name, scale in SCALES.items() if scale.family == family]


def difference(want: Expectation, got: dict[str, Any]) -> str:
    """What is not as expected; empty where all is.

    A status that is not named is `graded`; or `not_met` where grade 0, or no grade, is expected; or `incomplete` where bounds are;
    or any that comes to a conclusion where a class is. A number is the measure `score`, else the first one. Bounds are those of the
    score where there is one, else of the grade.
    """
    wrong: list[str] = []
    allowed = _allowed(want)
    if got.get("status") not in allowed:
        wrong.append(f"status {got.get('status')}, expected {' or '.join(sorted(allowed))}")
    if want.get("grade") is not None and got.get("grade") != want["grade"]:
        wrong.append(f"grade {got.get('grade')}, expected {want['grade']}")
    value = got.get("value")
    measures: dict[str, Any] = value if isinstance(value, dict) else {}
    lower, upper = ("score", "score_upper") if "score" in measures else ("grade", "grade_upper")
    bounds = {"score_upper": measures.get("score"), **measures} if lower == "score" else got
    for key, ours in (("min", lower), ("max", upper)):
        if want.get(key) is not None and bounds.get(ours) != want[key]:
            wrong.append(f"{ours} {bounds.get(ours)}, expected {want[key]}")
    if isinstance(expected := want.get("value"), dict):
        wrong += [f"{k} {measures.get(k)}, expected {v}" for k, v in expected.items() if measures.get(k) != v]
    elif "value" in want:
        mine = measures.get("score", next(iter(measures.values()), None)) if isinstance(value, dict) else value
        if mine != expected:
            wrong.append(f"value {mine}, expected {expected}")
    if "group" in want and got.get("group") != want["group"]:
        wrong.append(f"group {got.get('group')}, expected {want['group']}")
    if lacking := set(want.get("flags") or []) - set(got.get("flags") or []):
        wrong.append(f"no flag {', '.join(sorted(lacking))}")
    for key in ("actions", "blocked"):
        if key in want and key not in got:
            wrong.append(f"{key} is not given by this scale")
        elif lacking := set(want.get(key) or []) - set(got.get(key) or []):
            wrong.append(f"not among {key}: {', '.join(sorted(lacking))}")
    return "; ".join(wrong)


def _allowed(want: Expectation) -> set[str]:
    if status := want.get("status"):
        return {status}
    if "min" in want or "max" in want:
        return {"graded", "incomplete"}
    if "group" in want and "grade" not in want:
        return {"graded", "not_met", "criteria_met", "possible", "suspected", "watch"}
    return {"graded"} if want.get("grade") else {"graded", "not_met"}
