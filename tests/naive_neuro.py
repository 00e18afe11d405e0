"""The slow grader of `naive.py`, for neurotoxicity by CRES (CARTOX) and by the terms of CTCAE.

Written from `docs/conventions.md`; readings, sedation, seizure hold, completeness and death are those of ICANS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import naive
from naive import CONCEPTS, DAY, HOUR, Course, Steps, complete, counts, standing

ENDS_A_SCORE = ("cartox", "consciousness", "motor", "icp_sign", "seizure")
PRESSURE = ("papilloedema_stage", "opening_pressure", "icp_sign", "haemorrhage")
SYMPTOMS = ("confusion", "dysphasia", "tremor")
SEIZURE = ("seizure", "sedated", "consciousness")
LOOKS = (*ENDS_A_SCORE, "opening_pressure", "papilloedema_stage", *SYMPTOMS)  # what either scale has charted when somebody looked


def sedated_now(course: Course, t: int) -> bool:
    return any(r.value == 1 for r in standing(course, "sedated", t))


def holds_end(course: Course, options: Mapping[str, Any]) -> list[int]:
    return [r.time + options["seizure_hold_h"] * HOUR for r in course.of("seizure")]


def finish(course: Course, steps: Steps, unknown: bool) -> Steps:
    """Death of neurotoxicity, as for ICANS."""
    return naive.merge(naive.with_death(course, steps, "icans", unknown and steps[-1][1] > 0))


# CRES


def score_domain(course: Course, options: Mapping[str, Any], t: int) -> tuple[int, int]:
    scores = [r for r in course.of("cartox") if course.first_dose <= r.time <= t]
    if not scores:
        return 0, 3
    at = scores[-1].time
    later = [r.time for r in course.of(*ENDS_A_SCORE) if at < r.time <= t]
    if later or t >= at + DAY:
        return 0, 3
    score = min((r.value or 0) if counts(r, options) else 10 for r in scores if r.time == at)
    if score == 0 and sedated_now(course, t):
        return 0, 3
    grade = 0 if score >= 10 else 1 if score >= 7 else 2 if score >= 3 else 3
    return grade, grade


def obtunded_domain(course: Course, options: Mapping[str, Any], t: int) -> tuple[int, int]:
    readings = standing(course, "consciousness", t, since=course.first_dose)
    if not readings or sedated_now(course, t):
        return 0, 4
    level = naive.rank(readings, options)
    grade = 4 if level == len(CONCEPTS["consciousness"]["values"]) - 1 else 0
    return grade, 4 if level is None else grade


def stage_grade(course: Course, options: Mapping[str, Any], t: int) -> int:
    readings = [r for r in standing(course, "papilloedema_stage", t, since=course.first_dose) if counts(r, options)]
    stage = max((r.value or 0 for r in readings), default=0)
    return 4 if stage >= 3 else 3 if stage >= 1 else 0


def opening_grade(course: Course, options: Mapping[str, Any], t: int) -> int:
    readings = [r for r in standing(course, "opening_pressure", t, since=course.first_dose) if counts(r, options)]
    pressure = max((r.value or 0 for r in readings), default=0)
    return 4 if pressure >= 20 else 3 if pressure >= options["raised_pressure_mmhg"] else 0


def sign_domain(course: Course, options: Mapping[str, Any], t: int) -> tuple[int, int]:
    readings = standing(course, "icp_sign", t, since=course.first_dose)
    if not readings:
        return 0, 0 if complete(course, "icp", t) else 4
    signs = {naive.word(r) for r in readings if counts(r, options)}
    unread = None in signs  # it may be any sign
    bleeding = any(r.value == 1 for r in standing(course, "haemorrhage", t))
    if bleeding:
        signs -= {"focal_oedema", "diffuse_oedema"}
    if any(r.text == "focal_oedema" and r.time < course.first_dose for r in course.rows):
        signs -= {"focal_oedema"}
    if signs & {"focal_oedema", "diffuse_oedema"}:
        return 4, 4
    staged = any(r.time == readings[0].time for r in course.of("papilloedema_stage"))
    low, high = (3, 4) if "papilloedema" in signs and not staged else (0, 0)
    # Beside haemorrhage no oedema counts, and of papilloedema the stage decides.
    return low, 4 if unread and not (bleeding and staged) else high


def cres_seizure_bounds(course: Course, options: Mapping[str, Any], at: int) -> tuple[int, int]:
    """Grade 3 or 4 of the seizures charted at one time."""
    kinds = {naive.word(r) for r in course.of("seizure") if r.time == at and counts(r, options)} - {"none", None}
    outcomes, unread = naive.seizure_outcomes(course, options, at)
    minutes = [r.value or 0 for r in course.of("seizure_duration") if r.time == at and counts(r, options)]
    if not kinds:
        return 0, 0
    lasting = outcomes & {"ongoing", "no_return_to_baseline"} or any(m > 5 for m in minutes)
    if "clinical_generalised" in kinds or lasting:
        return 4, 4
    electrical_open = "eeg_nonconvulsive" in kinds and not outcomes
    focal_open = "clinical_focal" in kinds and not outcomes and (unread or not minutes)
    return 3, 4 if electrical_open or focal_open else 3


def cres(course: Course, options: Mapping[str, Any], unknown: bool) -> Steps:
    """The course of CRES, every unknown finding read as absent, or as present."""
    steps: Steps = []
    codes = (*ENDS_A_SCORE, *PRESSURE, *SEIZURE)
    for t in naive.changes(course, codes, holds_end(course, options)):
        domains = (
            score_domain(course, options, t),
            obtunded_domain(course, options, t),
            (stage_grade(course, options, t),) * 2,
            (opening_grade(course, options, t),) * 2,
            sign_domain(course, options, t),
            naive.seizure_domain(course, options, t, cres_seizure_bounds),
            naive.motor_domain(course, options, t),
        )
        steps.append((t, max(d[unknown] for d in domains)))
    return finish(course, steps, unknown)


# The terms of CTCAE


def symptom_domain(course: Course, options: Mapping[str, Any], code: str, t: int) -> tuple[int, int]:
    order = CONCEPTS[code]["values"]
    readings = standing(course, code, t, since=course.first_dose)
    if not readings:
        return 0, 0 if complete(course, "symptoms", t) else len(order) - 1
    grade = naive.rank(readings, options)
    return (0, len(order) - 1) if grade is None else (grade, grade)


def term_bounds(course: Course, options: Mapping[str, Any], at: int) -> tuple[int, int]:
    """The grades of the seizures charted at one time, each by itself."""
    low, high = naive.seizure_bounds(course, options, at)  # of ICANS: what settles grade 4 is the same, but for "ongoing"
    if low in (0, 4):
        return low, high
    if any(r.text == "ongoing" and r.time == at and counts(r, options) for r in course.of("seizure_outcome")):
        return 4, 4
    kinds = {naive.word(r) for r in course.of("seizure") if r.time == at and counts(r, options)} - {"none", None}
    grade = 1 if kinds == {"clinical_focal"} else 2
    return grade, 4 if high == 4 else grade


def term_seizure(course: Course, options: Mapping[str, Any], t: int) -> tuple[int, int]:
    low, high = naive.seizure_domain(course, options, t, term_bounds)
    hold = options["seizure_hold_h"] * HOUR
    rows = [r for r in course.of("seizure") if course.first_dose <= r.time <= t < r.time + hold]
    held = {
        (r.time, r.text) for r in rows if naive.word(r) not in ("none", None) and counts(r, options)
    }  # a row that stands twice is one seizure
    return (max(low, 3), max(high, 3)) if len(held) >= 2 else (low, high)


def neuro_ctcae(course: Course, options: Mapping[str, Any], unknown: bool) -> Steps:
    """The course of neurotoxicity by CTCAE, every unknown finding read as absent, or as present."""
    steps: Steps = []
    for t in naive.changes(course, (*SYMPTOMS, *SEIZURE), holds_end(course, options)):
        domains = [symptom_domain(course, options, code, t) for code in SYMPTOMS]
        domains.append(naive.consciousness_domain(course, options, t, sedated_now(course, t)))
        domains.append(term_seizure(course, options, t))
        steps.append((t, max(d[unknown] for d in domains)))
    return finish(course, steps, unknown)
