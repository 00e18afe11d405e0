"""The grader beside the slow reference of `tests/naive.py`, at every time at which either changes.

`AFTERCAR_DIFF_SUBJECTS=20000 pytest tests/test_differential.py -k default` compares more subjects with the default options.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import naive
import numpy as np
import polars as pl
import pytest
import strategies

from aftercar.grade.options import OPTIONS, Options
from aftercar.grade.run import Result, grade_timeline

SUBJECTS = int(os.environ.get("AFTERCAR_DIFF_SUBJECTS", "300"))
SHARD = 500

# One value for each choice, and numbers on both sides of each default.
NUMBERS: dict[str, tuple[Any, ...]] = {
    "waiver_duration_h": (24, 72),
    "fever_carry_h": (0, 12, 48),
    "map_cut": (60, 70),
    "pressor_overlap_min": (0, 30, 120),
    "resolution_h": (6, 48),
    "new_episode_gap_h": (12, 72),
    "ice_locf_h": (12, 48),
    "seizure_hold_h": (6, 48),
    "max_gap_days": (0, 3, 14),
    "recovery_days": (1, 5),
    "never_recovered_start_max_day": (0, 10),
    "late_end_day": (60, 180),
}
WORDS: dict[str, tuple[Any, ...]] = {
    "fever_waiver_drugs": ("anticytokine,corticosteroid", "tocilizumab"),
    "late_confirm": ("same_grade", "within_days:5"),
}


def variants() -> Iterator[tuple[str, Any]]:
    """Each option with each of its values that is not the default."""
    for name, option in OPTIONS.items():
        values = WORDS.get(name, option.choices) + NUMBERS.get(name, ())
        for value in values:
            if value != option.default or type(value) is not type(option.default):
                yield name, value


def families(name: str) -> tuple[str, ...]:
    """The toxicities that an option can touch."""
    if name in ("day0", "unknown_attribution"):
        return strategies.FAMILIES
    if name in ("ice_locf_h", "seizure_hold_h", "ice_baseline"):
        return ("icans",)
    if name in ("resolution_h", "new_episode_gap_h"):
        return ("crs", "icans")
    names = list(OPTIONS)
    return ("icaht",) if names.index(name) >= names.index("max_gap_days") else ("crs",)


Key = tuple[int, int, str]
Bounds = list[tuple[int, tuple[int, int]]]


def ours(result: Result) -> dict[Key, Bounds]:
    """Both bounds as step functions, by subject, infusion and toxicity."""
    found: dict[Key, Bounds] = defaultdict(list)
    rows = result.grades.filter(pl.col("status") != "not_applicable").sort("subject_id", "infusion", "toxicity", "start")
    for r in rows.iter_rows(named=True):
        key = (r["subject_id"], r["infusion"], r["toxicity"])
        found[key].append((naive.seconds(r["start"]), (r["grade"], r["grade_upper"])))
    return found


def measures(result: Result) -> dict[tuple[int, int], tuple[int, int]]:
    """d500 and d100 by subject and infusion."""
    rows = result.grades.filter((pl.col("toxicity") == "icaht_early") & (pl.col("status") != "not_applicable"))
    found = {}
    for r in rows.iter_rows(named=True):
        named = {m["name"]: m["value"] for m in r["measures"]}
        found[r["subject_id"], r["infusion"]] = (named["d500"], named["d100"])
    return found


def crs_episodes(result: Result) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Onset and highest grade of each CRS episode, by subject and infusion."""
    found: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    rows = result.episodes.filter(pl.col("toxicity") == "crs").sort("subject_id", "infusion", "episode")
    for r in rows.iter_rows(named=True):
        found[r["subject_id"], r["infusion"]].append((naive.seconds(r["onset"]), r["max_grade"]))
    return found


def neuro_episodes(result: Result) -> dict[tuple[int, int, str], list[naive.Spell]]:
    """Onset, resolution and highest grade of each episode, by subject, infusion and scale."""
    found: dict[tuple[int, int, str], list[naive.Spell]] = defaultdict(list)
    for r in result.episodes.sort("subject_id", "infusion", "scale", "episode").iter_rows(named=True):
        end = None if r["resolution"] is None else naive.seconds(r["resolution"])
        found[r["subject_id"], r["infusion"], r["scale"]].append((naive.seconds(r["onset"]), end, r["max_grade"]))
    return found


def compare_spells(key: Key, day0: int, got: list[naive.Spell], expected: list[naive.Spell]) -> Iterator[str]:
    """One line where the episodes differ, in hours from day 0."""
    if got != expected:
        told = [[(*(t and (t - day0) / 3600 for t in e[:2]), e[2]) for e in spells] for spells in (expected, got)]
        yield f"{key} episodes: expected {told[0]}, got {told[1]}"


def at(steps: list[tuple[int, Any]], t: int) -> Any:
    n = bisect_right(steps, t, key=lambda s: s[0])
    return steps[n - 1][1] if n else None


def compare_steps(key: Key, got: Bounds, lower: naive.Steps, upper: naive.Steps) -> Iterator[str]:
    """One line for the first time at which the two differ, in hours from the first step."""
    zero = lower[0][0]
    for t in sorted({s[0] for s in (*got, *lower, *upper)}):
        expected = (at(lower, t), at(upper, t))
        if at(got, t) != expected:
            yield f"{key} at {(t - zero) / 3600:.4f} h: expected {expected}, got {at(got, t)}"
            return


def differences(timeline: pl.DataFrame, options: Mapping[str, Any], what: tuple[str, ...]) -> list[str]:
    """Every subject and toxicity in which the two graders differ, with the first time of difference."""
    scales = [s for family, names in SCALES.items() if family in what for s in names]
    result = grade_timeline(timeline, scales, dict(options))
    full = Options(options)
    got, days, spells, neuro = ours(result), measures(result), crs_episodes(result), neuro_episodes(result)
    found: list[str] = []
    for subject_id, rows in timeline.group_by("subject_id", maintain_order=True):
        for course in naive.courses([naive.row(r) for r in rows.iter_rows(named=True)], full):
            who = (subject_id[0], course.infusion)
            if "crs" in what:
                low, high = naive.crs(course, full, unknown=False), naive.crs(course, full, unknown=True)
                found += compare_steps((*who, "crs"), got.get((*who, "crs"), []), low.steps, high.steps)
                expected = [(onset, top) for onset, _, top in low.episodes]
                if spells.get(who, []) != expected:
                    in_hours = [[((t - course.day0) / 3600, g) for t, g in e] for e in (expected, spells.get(who, []))]
                    found.append(f"{who} episodes: expected {in_hours[0]}, got {in_hours[1]}")
            if "icans" in what:
                bounds = [naive.icans(course, full, unknown) for unknown in (False, True)]
                found += compare_steps((*who, "icans"), got.get((*who, "icans"), []), *bounds)
                have = [e for scale in SCALES["icans"] for e in neuro.get((*who, scale), [])]
                want = naive.neuro_episodes(course, full, *bounds, naive.ASSESSMENTS)
                found += compare_spells((*who, "icans"), course.day0, have, want)
            if "icaht" in what:
                found += compare_icaht(course, full, who, got, days)
    return found


def compare_icaht(
    course: naive.Course, options: Options, who: tuple[int, int], got: dict[Key, Bounds], days: Mapping[Any, Any]
) -> Iterator[str]:
    early = naive.icaht_early(course, options)
    steps = got.get((*who, "icaht_early"))
    result = None if steps is None else (*steps[-1][1], *days[who])
    expected = None if early is None else (early.grade, early.grade_upper, early.d500, early.d100)
    if result != expected:
        yield f"{who} icaht_early: expected {expected}, got {result}"
    late = naive.icaht_late(course, options)
    steps = got.get((*who, "icaht_late"))
    if (None if steps is None else steps[-1][1][0]) != late:
        yield f"{who} icaht_late: expected {late}, got {steps}"


SCALES = {
    "crs": ("crs_astct2019",),
    "icans": ("icans_astct", "icans_astct_peds"),
    "icaht": ("icaht_early", "icaht_late"),
}


def report(found: list[str]) -> str:
    return "\n".join([f"{len(found)} differences", *found[:20]])


@pytest.mark.parametrize("seed", range(max(1, SUBJECTS // SHARD)))
def test_default_options(seed: int) -> None:
    timeline = strategies.random_timeline(np.random.default_rng(seed), min(SUBJECTS, SHARD))
    found = differences(timeline, {}, strategies.FAMILIES)
    assert not found, report(found)


@pytest.mark.parametrize(("name", "value"), list(variants()), ids=lambda v: str(v))
def test_option(name: str, value: Any) -> None:
    what = families(name)
    timeline = strategies.random_timeline(np.random.default_rng(sum(map(ord, f"{name}={value}"))), 60, what)
    found = differences(timeline, {name: value}, what)
    assert not found, report(found)
