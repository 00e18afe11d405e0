"""The slow grader, continued: later toxicities, each rule as `docs/conventions.md` words it.

One answer a course, over its record from the infusion on, except for the two that have a course of their own. "After day 0" is read
as from the infusion on. Nothing is shared with `aftercar` but the list of off-tumour effects. What the page leaves open stands in the
docstring of the function that had to choose.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from importlib.resources import files

import naive
from naive import CONCEPTS, DAY, Course, Row
from naive_heme import NOT_APPLICABLE, Moment, Options, Verdict, merged, status
from naive_hlh import drug_names

MOVEMENT = {"bradykinesia", "rigidity", "postural_instability", "hypomimia", "hypophonia", "micrographia"}
TYPE_1 = {"oedema", "mass_effect", "raised_icp", "hydrocephalus", "herniation"}
BCMA_PRODUCTS = ("ide-cel", "cilta-cel")
CD19_PRODUCTS = ("axi-cel", "tisa-cel", "brexu-cel", "liso-cel", "obe-cel")
EFFECTS = list(
    csv.DictReader(files("aftercar.evidence").joinpath("data", "off_tumor.csv").read_text(encoding="utf-8").splitlines())
)


# What is known of a course


def charted(course: Course, *codes: str) -> list[Row]:
    """Rows from the infusion to the end of the record, in order of time."""
    rows = [r for r in course.of(*codes) if course.first_dose <= r.time <= course.record_end]
    return sorted(rows, key=lambda r: r.time)


def counted(course: Course, options: Options, *codes: str) -> list[Row]:
    return [r for r in charted(course, *codes) if naive.counts(r, options)]


def signs(course: Course, options: Options, code: str) -> list[Row]:
    """What was found, without `none` and what had another cause."""
    return [r for r in counted(course, options, code) if r.text != "none"]


def fixed(course: Course, code: str) -> str | None:
    """What is charted once of a subject: the last."""
    return next((r.text for r in reversed(course.everything) if r.code == code and r.text is not None), None)


def target(course: Course) -> str | None:
    """As charted, else by the product."""
    stated = fixed(course, "target")
    products = sorted((r for r in course.rows if r.code == "cart_infusion"), key=lambda r: r.time)
    product = next((r.text for r in products if r.text), "")
    by_product = "BCMA" if product in BCMA_PRODUCTS else "CD19" if product in CD19_PRODUCTS else None
    return stated or by_product


def joined(words: Iterable[str | None], code: str) -> str:
    """Different words by `+`, in the order of the concept."""
    found = set(words)
    return "+".join(w for w in CONCEPTS[code]["values"] if w in found)


# B cells and immunoglobulin


def course_of(course: Course, options: Options, low: dict[str, Callable[[float], bool]]) -> list[Moment]:
    """Grade 1 while a standing value is low; open while none stands, but one that is not charted beside another is not claimed."""
    if not charted(course, *low):
        return []
    moments = []
    for t in naive.changes(course, low):
        found = []
        for code, is_low in low.items():
            standing = naive.standing(course, code, t, since=course.first_dose)
            found += [naive.counts(r, options) and is_low(r.value or 0.0) for r in standing]
        grade, upper = int(any(found)), int(any(found) or not found)
        moments.append(Moment(t, grade, upper, status(grade, upper)))
    return moments


def few_b_cells(options: Options) -> dict[str, Callable[[float], bool]]:
    return {"b_cells": lambda v: v < options["bca_cut"], "b_cell_fraction": lambda v: v < 3}


def b_cell_aplasia(course: Course, options: Options) -> list[Moment]:
    """Early loss is flagged from the value that shows it on, within 183 days of a low one."""
    lost = early_loss(course, options)
    moments = course_of(course, options, few_b_cells(options))
    flagged = [
        Moment(m.t, m.grade, m.upper, m.status, {}, frozenset({"early_loss"} if any(t <= m.t for t in lost) else ()))
        for m in moments
    ]
    return merged(flagged)


def early_loss(course: Course, options: Options) -> list[int]:
    if not re.search(r"\bALL\b|lymphoblastic", fixed(course, "disease") or "", re.IGNORECASE):
        return []
    low: list[int] = []
    found = []
    for code, is_low in few_b_cells(options).items():
        low += [r.time for r in counted(course, options, code) if is_low(r.value or 0.0)]
    for code, is_low in few_b_cells(options).items():
        for r in counted(course, options, code):
            if not is_low(r.value or 0.0) and any(0 < r.time - t <= 183 * DAY for t in low):
                found.append(r.time)
    return sorted(found)


def hypogammaglobulinaemia(course: Course, options: Options) -> list[Moment]:
    """The flag belongs to the value that stands."""
    found = []
    for m in course_of(course, options, {"igg": lambda v: v < 400}):
        values = naive.standing(course, "igg", m.t, since=course.first_dose)
        doses = [r.time for r in course.everything if r.code == "ivig"]
        ivig = any(0 <= r.time - dose <= 28 * DAY for r in values for dose in doses)
        found.append(Moment(m.t, m.grade, m.upper, m.status, {}, frozenset({"ivig"} if ivig else ())))
    return merged(found)


# Colitis


def stools_grade(over_baseline: float) -> int:
    return 3 if over_baseline >= 7 else 2 if over_baseline >= 4 else 1 if over_baseline > 0 else 0


def worst_diarrhoea(course: Course, options: Options) -> tuple[int, int | None]:
    """The highest grade and when it was first charted; a stated grade stands for the stools charted with it."""
    grades: dict[int, int] = {}
    for r in counted(course, options, "diarrhoea"):
        grades[r.time] = max(stools_grade(r.value or 0.0), grades.get(r.time, 0))
    stated: dict[int, int] = {}
    for r in counted(course, options, "diarrhoea_grade"):
        stated[r.time] = max(int(r.value or 0), stated.get(r.time, 0))
    grades |= stated
    if not grades:
        return 0, None
    worst = max(grades.values())
    return worst, min(t for t, g in grades.items() if g == worst)


def colitis(course: Course, options: Options) -> Verdict:
    """What says that it is none comes first; then a missing biopsy, then a missing work-up. Within 30 days is by the calendar.

    Of several work-ups a positive one counts before a negative one, of several biopsies one with inflammation last.
    """
    if not charted(course, "diarrhoea", "diarrhoea_grade", "diarrhoea_bloody", "biopsy", "infection_workup"):
        return NOT_APPLICABLE
    grade, at = worst_diarrhoea(course, options)

    def near(code: str) -> set[str | None]:
        return {r.text for r in charted(course, code) if at is not None and abs(course.day(r.time) - course.day(at)) <= 30}

    blood = [r.value == 1 and naive.counts(r, options) for r in charted(course, "diarrhoea_bloody")]
    workup, biopsy = near("infection_workup") - {"pending"}, near("biopsy") - {"pending"}
    flags = set()
    if grade < 3:
        flags.add("mild")
    if any(blood):
        flags.add("bloody")
    if "positive" in workup:
        flags.add("infection_found")
    if "t_cell_lymphoproliferation" in biopsy:
        flags.add("t_cell_lymphoproliferation")
    elif biopsy - {"inflammation"}:
        flags.add("biopsy_without_inflammation")
    said = "not_met" if flags else "suspected" if not biopsy else "possible" if not workup else "criteria_met"
    if not blood:
        flags.add("blood_not_charted")
    if target(course) not in (None, "BCMA"):
        flags.add("not_bcma")
    return Verdict(grade, grade, said, flags=frozenset(flags))


# Movement and neurocognitive toxicity, cranial nerves


def stated_grade(course: Course, options: Options, code: str, otherwise: tuple[int, int]) -> tuple[int, int]:
    grades = [int(r.value or 0) for r in counted(course, options, code)]
    return (max(grades), max(grades)) if grades else otherwise


def mnt(course: Course, options: Options) -> Verdict:
    """With a target other than BCMA, `possible` is the most that is said; the peak is that of day 0-30."""
    said_signs, alc = charted(course, "mnt_sign"), charted(course, "alc")
    found = {r.text for r in signs(course, options, "mnt_sign")}
    early = [r for r in alc if course.day(r.time) <= 30 and r.value is not None]
    peak = max((r.value or 0.0 for r in early), default=None)
    peak_day = min((course.day(r.time) for r in early if r.value == peak), default=None)
    measures: dict[str, float | None] = {"alc_peak": peak, "alc_peak_day": peak_day}
    antigen = target(course)
    flags = frozenset({"target_unknown"} if antigen is None else () if antigen == "BCMA" else {"not_bcma"})
    if found:
        said = "criteria_met" if len(found) >= 2 and found & MOVEMENT else "suspected"
        if antigen not in (None, "BCMA") and said == "criteria_met":
            said = "possible"
        grade, upper = stated_grade(course, options, "mnt_grade", (1, 4))
        return Verdict(grade, upper, said, measures=measures, flags=flags)
    if peak is not None and peak > 3.0 and antigen in (None, "BCMA"):
        return Verdict(0, 0, "watch", measures=measures, flags=flags)
    if said_signs or alc:
        return Verdict(0, 0, "not_met", measures=measures, flags=flags)
    return NOT_APPLICABLE


def cranial_nerve_palsy(course: Course, options: Options) -> Verdict:
    """A sixth nerve that is only possible has the group and the grades of one that is there."""
    found = signs(course, options, "cranial_nerve_palsy")
    grades = stated_grade(course, options, "cranial_nerve_palsy_grade", (1, 3))
    if found:
        return Verdict(*grades, "criteria_met", joined([r.text for r in found], "cranial_nerve_palsy"))
    pressure = signs(course, options, "icp_sign")
    alone = [r for r in pressure if {p.text for p in pressure if p.time == r.time} == {"cn6"}]
    if target(course) == "BCMA" and any(course.day(r.time) > 21 for r in alone):
        return Verdict(*grades, "possible", "vi")
    if charted(course, "cranial_nerve_palsy", "cranial_nerve_palsy_grade", "icp_sign"):
        return Verdict(0, 0, "not_met")
    return NOT_APPLICABLE


# Tumour inflammation-associated neurotoxicity


def tian(course: Course, options: Options) -> Verdict:
    """Seven days are calendar days; a dose at the time of a sign is after it; drugs must be complete from every sign to the end of day 7 after it,
    or of the record. Death that is stated to be of it is grade 5, also without a sign.
    """
    found = signs(course, options, "tian_sign")
    died = course.death is not None and course.death.text == "tian"
    if not found and not died:
        return Verdict(0, 0, "not_met") if charted(course, "tian_sign", "cns_tumour") else NOT_APPLICABLE
    tumour = [r for r in course.everything if r.code == "cns_tumour"]
    in_cns = bool(tumour and tumour[-1].value == 1) or "CNS" in (fixed(course, "disease") or "").upper()
    kinds = {r.text for r in found}
    types = [name for name, there in (("1", kinds & TYPE_1), ("2", kinds - TYPE_1)) if there]

    def soon_after(names: list[str]) -> bool:
        doses = charted(course, *names)
        return any(r.time <= d.time and course.day(d.time) - course.day(r.time) <= 7 for r in found for d in doses)

    settings = [setting(course, r.time) for r in found]
    complete = all(complete_for_a_week(course, r.time) for r in found)
    if died:
        grade = upper = 5
    else:
        urgent = "herniation" in kinds or soon_after(["icp_intervention"])
        treated = soon_after(drug_names("corticosteroid", "anticytokine"))
        grade = 4 if urgent else 3 if "inpatient" in settings else 2 if treated else 1
        upper = max(grade, 3 if None in settings else 1, 1 if complete else 2)
    said, flags = ("criteria_met", ()) if in_cns else ("possible", ("no_cns_tumour",))
    return Verdict(grade, upper, said, f"type {'+'.join(types)}" if types else None, flags=frozenset(flags))


def complete_for_a_week(course: Course, t: int) -> bool:
    """Whether drugs are recorded from a time to the end of the seventh day after it, or of the record."""
    stop = min(course.record_end, t + 8 * naive.DAY)
    while course.day(stop) > course.day(t) + 7:
        stop -= (stop - course.day0) % naive.HOUR or naive.HOUR
    edges = {t, stop, *(e for r in course.everything if r.code == "record_complete" for e in (r.time, r.end or r.time))}
    return all(naive.complete(course, "drugs", e) for e in edges if t <= e < stop or e == t)


def setting(course: Course, t: int) -> str | None:
    """The last one charted; it stands until the next. Of several the hospital counts."""
    charted = [r for r in course.everything if r.code == "setting" and r.time <= t]
    words = {naive.word(r) for r in charted if r.time == charted[-1].time}
    return "inpatient" if "inpatient" in words else None if None in words or not words else "outpatient"


# Second malignancy


def spm(course: Course, options: Options) -> Verdict:
    found = signs(course, options, "second_malignancy")
    if found:
        return Verdict(1, 1, "criteria_met", joined([r.text for r in found], "second_malignancy"))
    low = {"anc": 1000, "platelets": 50, "hemoglobin": 8}
    late = [r for r in counted(course, options, *low) if course.day(r.time) > 90]
    if any(r.value is not None and r.value < low[r.code] for r in late):
        return Verdict(0, 0, "watch", flags=frozenset({"cytopenia_after_day_90"}))
    return Verdict(0, 0, "not_met") if charted(course, "second_malignancy", *low) else NOT_APPLICABLE


# Off-tumour effects


def listed(antigen: str) -> list[tuple[str, bool]]:
    """The effects on the list for a target, and whether it marks them with a question."""
    short = {"B-cell": "B-cell aplasia", "plasma-cell": "plasma-cell aplasia", "parkinsonism": "parkinsonism", "colitis": "colitis",
             "neurotoxicity": "neurotoxicity", "in the brain": "neurotoxicity", "pulmonary": "lung", "skin": "skin",
             "nail": "nails", "taste": "taste"}  # fmt: skip
    found = []
    for row in EFFECTS:
        if row["target"].upper() == antigen.upper():
            names = [name for word, name in short.items() if word in row["off_tumour_effect"]]
            found += [(name, row["certainty_in_lecture"] == "questioned") for name in names]
    return found


def off_tumour(course: Course, options: Options) -> Verdict:
    """The group names each effect in our short words, with a question mark where the list has one; grade 1 where one is found.

    The ICE score is the stated total. The page gives neither a status nor a group: `None`.
    """
    antigen = target(course)
    if antigen is None:
        return NOT_APPLICABLE
    organs = {r.text for r in signs(course, options, "organ_effect")}
    ice = [r for r in counted(course, options, "ice") if r.value is not None and r.value <= 9]
    drowsy = [r for r in counted(course, options, "consciousness") if r.text != "alert"]
    there = {
        "B-cell aplasia": any(m.grade == 1 for m in b_cell_aplasia(course, options)),
        "plasma-cell aplasia": any(m.grade == 1 for m in hypogammaglobulinaemia(course, options)),
        "parkinsonism": bool(signs(course, options, "mnt_sign")),
        "colitis": colitis(course, options).status in ("criteria_met", "suspected"),
        "neurotoxicity": bool(ice or drowsy),
        "lung": "pulmonary" in organs,
        "skin": "skin" in organs,
        "nails": "nail" in organs,
        "taste": "taste" in organs,
    }
    found = [f"{name}?" if question else name for name, question in listed(antigen) if there[name]]
    return Verdict(int(bool(found)), int(bool(found)), None)
