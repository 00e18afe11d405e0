"""Every other scale beside its slow reference, at every time at which either changes; see `test_differential.py` for the ASTCT scales and ICAHT.

The references (`naive_crs`, `naive_neuro`, `naive_hlh`, `naive_heme`, `naive_late`) were written from the published tables and
`docs/conventions.md` alone. `AFTERCAR_DIFF_SUBJECTS=20000` compares more subjects with the default options.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import naive
import naive_crs
import naive_heme
import naive_hlh
import naive_late
import naive_neuro
import numpy as np
import polars as pl
import pytest
import strategies
import strategies_late
from polars import col
from test_differential import compare_spells, neuro_episodes

from aftercar.grade.options import OPTIONS, Options
from aftercar.grade.run import SCALES, Result, grade_timeline

SUBJECTS = int(os.environ.get("AFTERCAR_DIFF_SUBJECTS", "120"))
SHARD = 120
OPTION_SUBJECTS = 25

CRS = ("crs_lee2014", "crs_penn2018", "crs_mskcc", "crs_ctcae5", "crs_cartox")
LABS = tuple(s for s in SCALES if s.startswith("ctcae_"))
NEURO = {"cres_cartox": naive_neuro.cres, "neuro_ctcae": naive_neuro.neuro_ctcae}
MOMENTS = {n: getattr(naive_hlh, n) for n in ("iechs_dx", "iechs_grade", "carhlh", "hscore", "hlh2004")}
STANDING = {n: getattr(naive_late, n) for n in ("b_cell_aplasia", "hypogammaglobulinaemia")}
COUNTS = {
    n: getattr(naive_heme, n) for n in ("ticaht_early", "ticaht_late", "anc_phenotype", "cytopenia_endpoints", "cytopenia_split")
}
LATE = {n: getattr(naive_late, n) for n in ("colitis", "mnt", "cranial_nerve_palsy", "tian", "spm", "off_tumour")}


@dataclass(frozen=True)
class Group:
    """Scales that one kind of random record exercises."""

    make: Callable[[np.random.Generator, int, tuple[str, ...]], pl.DataFrame]
    families: tuple[str, ...]
    scales: tuple[str, ...]


GROUPS = {
    "crs": Group(strategies.random_timeline, ("crs", "organ", "doses", "penn"), CRS),
    "labs": Group(strategies.random_timeline, ("organ", "blood"), LABS),
    "neuro": Group(strategies.random_timeline, ("icans", "cres", "terms"), tuple(NEURO)),
    "hlh": Group(strategies_late.random_late_timeline, ("hlh",), tuple(MOMENTS)),
    "counts": Group(strategies_late.random_late_timeline, ("counts",), tuple(COUNTS)),
    "late": Group(strategies_late.random_late_timeline, ("late",), (*STANDING, *LATE)),
}


def test_every_scale_has_a_reference() -> None:
    astct = {"crs_astct2019", "icans_astct", "icans_astct_peds", "icaht_early", "icaht_late"}
    assert {s for g in GROUPS.values() for s in g.scales} | astct == set(SCALES)


# ---- what each says, as step functions or one verdict

Key = tuple[int, int, str]
Said = list[tuple[int, dict[str, Any]]]
MEASURES = {
    "iechs_dx": ("common", "common_upper", "supporting"), "hscore": ("score", "score_upper"), "hlh2004": ("score", "score_upper"),
    "ticaht_early": ("d50", "d20"),
}  # fmt: skip
WORDS = ("iechs_dx", "hlh2004", "carhlh")


def ours(result: Result) -> dict[Key, list[dict[str, Any]]]:
    found: dict[Key, list[dict[str, Any]]] = defaultdict(list)
    rows = result.grades.filter(~col("flags").list.contains("no_infusion"))
    for r in rows.sort("subject_id", "infusion", "scale", "start").iter_rows(named=True):
        found[r["subject_id"], r["infusion"], r["scale"]].append(r)
    return found


def steps_of(rows: list[dict[str, Any]]) -> Said:
    return [
        (
            naive.seconds(r["start"]),
            {"bounds": (r["grade"], r["grade_upper"]), "status": r["status"]} | {m["name"]: m["value"] for m in r["measures"]},
        )
        for r in rows
    ]


def at(steps: list[tuple[int, Any]], t: int) -> Any:
    n = bisect_right(steps, t, key=lambda s: s[0])
    return steps[n - 1][1] if n else None


def bounds(lower: naive.Steps, upper: naive.Steps) -> Said:
    times = sorted({t for t, _ in (*lower, *upper)})
    return [(t, {"bounds": (at(lower, t), at(upper, t))}) for t in times]


def moments(found: list[naive_heme.Moment], scale: str) -> Said:
    said = []
    for m in found:
        answer: dict[str, Any] = {"bounds": (m.grade, m.upper)}
        if scale in WORDS:
            answer["status"] = m.status
        answer |= {k: m.measures[k] for k in MEASURES.get(scale, ()) if k in m.measures}
        said.append((m.t, answer))
    return said


def reference(course: naive.Course, scale: str, options: Options) -> Said:
    """What the slow grader says over time."""
    if scale in CRS:
        low, high = (naive_crs.crs(course, options, scale, unknown) for unknown in (False, True))
        return bounds(low.steps, high.steps)
    if scale in LABS:
        return bounds(*(naive_crs.ctcae_lab(course, options, scale, unknown) for unknown in (False, True)))
    if scale in NEURO:
        return bounds(*(NEURO[scale](course, options, unknown) for unknown in (False, True)))
    return moments((MOMENTS | STANDING)[scale](course, options), scale)


def compare_steps(key: Key, got: Said, expected: Said) -> Iterator[str]:
    """One line for the first time at which the two differ, in hours from the first step."""
    if not expected:
        return
    zero = expected[0][0]
    for t in sorted({s[0] for s in (*got, *expected)}):
        want, have = at(expected, t), at(got, t)
        if want is None:
            continue
        have = None if have is None else {k: have.get(k) for k in want}
        if have != want:
            yield f"{key} at {(t - zero) / 3600:.4f} h: expected {want}, got {have}"
            return


def compare_verdict(key: Key, rows: list[dict[str, Any]], want: naive_heme.Verdict) -> Iterator[str]:
    """One line where the row of the course differs in what the reference gives an answer for."""
    row = rows[0]
    have = {"grade": row["grade"], "grade_upper": row["grade_upper"], "status": row["status"], "group": row["group"]}
    measured = {m["name"]: m["value"] for m in row["measures"]}
    expected = {"grade": want.grade, "grade_upper": want.grade_upper, "status": want.status, "group": want.group}
    expected = {k: v for k, v in expected.items() if v is not None or (k == "group" and want.status is not None)}
    for name in MEASURES.get(key[2], ()):
        if name in want.measures and want.status != "not_applicable":
            expected[name], have[name] = want.measures[name], measured.get(name)
    # Grade 0 of a scale of counts is `graded` here, `not_met` there: one word for both.
    plain = {"not_met": "graded"} if key[2] in COUNTS else {}
    have["status"] = plain.get(have["status"], have["status"])
    if "status" in expected:
        expected["status"] = plain.get(expected["status"], expected["status"])
    wrong = {k: (v, have.get(k)) for k, v in expected.items() if have.get(k) != v}
    if wrong:
        yield f"{key}: expected and got {wrong}"


def differences(timeline: pl.DataFrame, options: Mapping[str, Any], scales: tuple[str, ...]) -> list[str]:
    """Every subject and scale in which the two graders differ."""
    full = Options(options)
    result = grade_timeline(timeline, scales, dict(options))
    got, spells = ours(result), neuro_episodes(result)
    found: list[str] = []
    for subject_id, rows in timeline.group_by("subject_id", maintain_order=True):
        for course in naive.courses([naive.row(r) for r in rows.iter_rows(named=True)], full):
            for scale in scales:
                key = (subject_id[0], course.infusion, scale)
                if scale in COUNTS or scale in LATE:
                    found += compare_verdict(key, got[key], (COUNTS | LATE)[scale](course, full))
                else:
                    found += compare_steps(key, steps_of(got[key]), reference(course, scale, full))
                if scale in NEURO:
                    low, high = (NEURO[scale](course, full, unknown) for unknown in (False, True))
                    expected = naive.neuro_episodes(course, full, low, high, naive_neuro.LOOKS)
                    found += compare_spells(key, course.day0, spells[key], expected)
    return found


def report(found: list[str]) -> str:
    return "\n".join([f"{len(found)} differences", *found[:20]])


@pytest.mark.parametrize("seed", range(max(1, SUBJECTS // SHARD)))
@pytest.mark.parametrize("name", GROUPS)
def test_default_options(name: str, seed: int) -> None:
    group = GROUPS[name]
    timeline = group.make(np.random.default_rng(seed), min(SUBJECTS, SHARD), group.families)
    found = differences(timeline, {}, group.scales)
    assert not found, report(found)


# One value for each choice, and numbers on both sides of each default.
NUMBERS: dict[str, tuple[Any, ...]] = {
    "waiver_duration_h": (24,), "fever_carry_h": (0, 48), "map_cut": (70,), "pressor_overlap_min": (0, 120), "resolution_h": (6, 48),
    "seizure_hold_h": (6, 48), "mskcc_pressor_gap_h": (0, 12), "raised_pressure_mmhg": (10, 18),
    "iechs_window_h": (24, 120), "bca_cut": (20, 100), "max_gap_days": (0, 14), "recovery_days": (1, 5), "late_end_day": (60, 180),
}  # fmt: skip
FREE: dict[str, tuple[Any, ...]] = {"fever_waiver_drugs": ("tocilizumab",)}


def variants() -> Iterator[tuple[str, str, Any]]:
    """Each group with each value of each option that its scales read, but the defaults."""
    for name, group in GROUPS.items():
        read = {o for s in group.scales for o in SCALES[s].options}
        for option in OPTIONS.values():
            if option.name in read:
                for value in FREE.get(option.name, option.choices) + NUMBERS.get(option.name, ()):
                    if value != option.default or type(value) is not type(option.default):
                        yield name, option.name, value


@pytest.mark.slow
@pytest.mark.parametrize(("name", "option", "value"), list(variants()), ids=str)
def test_option(name: str, option: str, value: Any) -> None:
    group = GROUPS[name]
    readers = tuple(s for s in group.scales if option in SCALES[s].options)
    timeline = group.make(np.random.default_rng(sum(map(ord, f"{option}={value}"))), OPTION_SUBJECTS, group.families)
    found = differences(timeline, {option: value}, readers)
    assert not found, report(found)
