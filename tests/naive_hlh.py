"""The slow grader, continued: IEC-HS and its forerunners, each rule as `docs/conventions.md` words it.

Every item looks back over the last `iechs_window_h` hours. Nothing is shared with `aftercar`. What the page leaves open stands in the
docstring of the function that had to choose.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from typing import Any

import naive
from naive import CONCEPTS, DAY, EPS, HOUR, Course, Row, Steps, Tri
from naive_heme import Moment, Options, merged, status

FLAGS = ("haemophagocytosis", "splenomegaly", "hepatomegaly")
FLAGS_BEFORE = ("hlh_gene", "immunosuppression")
ORGANS = ("ferritin", "ast", "alt", "bilirubin", "creatinine", "fibrinogen", "anc", "platelets", "hemoglobin", "wbc")
OTHERS = ("temperature", "triglycerides", "ldh", "direct_bilirubin", "pt_prolonged", "pulmonary_infiltrate", "o2_device",
          "oliguria", "pulmonary_oedema", "nk_activity", "scd25", "bleeding", "infection_workup")  # fmt: skip
AXES = ("temperature", "hypotension", "sbp", "map", "o2_device", "o2_flow", "fio2", "spo2")
LAST_H = 72  # of drugs and dialysis in the grade of IEC-HS; the window of the features is an option


# True, false and unknown


def any_of(*values: Tri) -> Tri:
    return True if True in values else None if None in values else False


def all_of(*values: Tri) -> Tri:
    return False if False in values else None if None in values else True


def tally(values: Iterable[Tri]) -> tuple[int, int]:
    """How many hold, and how many are unknown."""
    values = list(values)
    return values.count(True), values.count(None)


# Looking back


def window(course: Course, code: str, t: int, hours: float) -> list[Row]:
    """The rows of the last hours, both instants included, from the infusion on."""
    rows = course.of(code)
    first = max(course.first_dose, t - round(hours * HOUR))
    low, high = bisect_left(rows, first, key=lambda r: r.time), bisect_right(rows, t, key=lambda r: r.time)
    return rows[low:high]


def held(course: Course, options: Options, t: int, code: str, meets: Callable[[Row], Tri]) -> Tri:
    """Whether a value within the window meets it; unknown where there is none."""
    rows = window(course, code, t, options["iechs_window_h"])
    return any_of(*(meets(r) if naive.counts(r, options) else False for r in rows)) if rows else None


def number(course: Course, options: Options, t: int, code: str, meets: Callable[[float], Tri]) -> Tri:
    return held(course, options, t, code, lambda r: meets(r.value or 0.0))


def word(course: Course, options: Options, t: int, code: str, *words: str) -> Tri:
    return held(course, options, t, code, lambda r: None if naive.word(r) is None else r.text in words)


def claimed(value: Tri) -> bool:
    """Not charted is not claimed."""
    return value is True


def flag(course: Course, options: Options, t: int, code: str) -> Tri:
    """From when it is charted until charted otherwise; of several at one time one that counts is enough."""
    rows = course.everything if code in FLAGS_BEFORE else [r for r in course.rows if r.time >= course.first_dose]
    rows = [r for r in rows if r.code == code and r.time <= t]
    if not rows:
        return None
    latest = max(r.time for r in rows)
    return any(r.value == 1 and naive.counts(r, options) for r in rows if r.time == latest)


# Limits, baselines and CTCAE


def limit(course: Course, code: str) -> float | None:
    """The last one charted of the subject."""
    return next((r.value for r in reversed(course.everything) if r.code == code and r.value is not None), None)


def baseline(course: Course, code: str) -> float | None:
    """The last value before the infusion."""
    before = [r for r in course.everything if r.code == code and r.time < course.first_dose and r.value is not None]
    return before[-1].value if before else None


def above(value: float, times: float, reference: float | None) -> Tri:
    return None if reference is None else value > times * reference


def organ(course: Course, options: Options, t: int, code: str, meets: Callable[[float], Tri]) -> Tri:
    """An organ item that was not charted is grade 0 where the record says that it is complete."""
    found = number(course, options, t, code, meets)
    charted = window(course, code, t, options["iechs_window_h"])
    return False if not charted and naive.complete(course, "organ", t) else found


def transaminases_3(course: Course, options: Options, t: int) -> Tri:
    """CTCAE 3 or more of the higher enzyme; a missing baseline is taken as normal."""

    def enzyme(code: str) -> Tri:
        uln, before = limit(course, f"{code}_uln"), baseline(course, code)
        reference = uln
        if uln is not None and before is not None and options["ctcae"] == "v5":
            reference = max(uln, before)
        if uln is None and before is not None and options["ctcae"] == "v5":
            # Whatever the limit is, a value under the line of the baseline is not over the line of the higher of the two.
            return organ(course, options, t, code, lambda v: False if v <= 5 * before else None)
        return organ(course, options, t, code, lambda v: above(v, 5, reference))

    return any_of(enzyme("ast"), enzyme("alt"))


def bilirubin_3(course: Course, options: Options, t: int) -> Tri:
    uln = limit(course, "bilirubin_uln")
    return organ(course, options, t, "bilirubin", lambda v: above(v, 3, uln))


def creatinine(course: Course, options: Options, t: int, grade: int, normal_baseline: bool = False) -> Tri:
    """CTCAE 2 or 3 and more, of ULN or baseline."""
    times = {2: 1.5, 3: 3.0}[grade]
    uln, before = limit(course, "creatinine_uln"), baseline(course, "creatinine")
    was_normal = before is None and (normal_baseline or naive.complete(course, "organ", t))

    def meets(value: float) -> Tri:
        return any_of(above(value, times, uln), False if was_normal else above(value, times, before))

    return organ(course, options, t, "creatinine", meets)


# Time


def times(course: Course, options: Options, codes: Iterable[str], more: Iterable[int] = ()) -> list[int]:
    """Every second at which an item may change: a value leaves the window in the second after its last instant."""
    found = {course.first_dose, *more}
    keep = round(options["iechs_window_h"] * HOUR) + 1
    for r in course.of(*codes):
        found |= {r.time, r.time + keep}
    for r in course.everything:
        if r.code in FLAGS_BEFORE:
            found.add(r.time)
        if r.code == "record_complete":
            found |= {r.time, r.end or r.time}
    return sorted(t for t in found if course.first_dose <= t <= course.record_end)


def course_of(course: Course, options: Options, at: Callable[[Course, Options, int], Moment]) -> list[Moment]:
    """The moments of a scale that reads nothing but items with a window, and flags."""
    after_30 = (course.day0 // DAY + 31) * DAY
    return merged([at(course, options, t) for t in times(course, options, (*FLAGS, *ORGANS, *OTHERS), [after_30])])


# IEC-HS


def ferritin_rose(course: Course, options: Options, r: Row) -> bool:
    """At least twice an earlier value, charted from the infusion on, of the 24 hours before; whatever that one was attributed to."""
    if options["ferritin_rapid"] == "none":
        return False
    # Of several at one time the worst counts, of those that are not due to another cause if there are any.
    earlier: dict[int, tuple[bool, float]] = {}
    for e in window(course, "ferritin", r.time, 24):
        if e.time < r.time:
            earlier[e.time] = max((naive.counts(e, options), e.value or 0.0), earlier.get(e.time, (False, 0.0)))
    return any((r.value or 0.0) >= 2 * value for _, value in earlier.values())


def iechs_ferritin(course: Course, options: Options, t: int) -> Tri:
    """A doubling is enough also where neither limit nor baseline is known."""
    uln, before = limit(course, "ferritin_uln"), baseline(course, "ferritin")

    def meets(r: Row) -> Tri:
        value = r.value or 0.0
        if ferritin_rose(course, options, r):
            return True
        if before is not None and value > 2 * before:
            return True
        if uln is None:  # a limit that nobody recorded: whether it is passed is not known
            return None
        return not (before is not None and before > 2 * uln) and value > 2 * uln

    return held(course, options, t, "ferritin", meets)


def iechs_common(course: Course, options: Options, t: int) -> list[Tri]:
    lln = limit(course, "fibrinogen_lln")
    return [
        transaminases_3(course, options, t),
        number(course, options, t, "fibrinogen", lambda v: v < 150 or (lln is not None and v < lln)),
        flag(course, options, t, "haemophagocytosis"),
        any_of(
            number(course, options, t, "anc", lambda v: v < 500),
            number(course, options, t, "platelets", lambda v: v < 25),
        ),
    ]


def iechs_supporting(course: Course, options: Options, t: int) -> int:
    """How many of the eight hold. Hypoxia is a device charted within the window."""
    ldh, direct = limit(course, "ldh_uln"), limit(course, "direct_bilirubin_uln")
    features = (
        number(course, options, t, "ldh", lambda v: above(v, 1, ldh)),
        number(course, options, t, "pt_prolonged", lambda v: v == 1),
        number(course, options, t, "direct_bilirubin", lambda v: above(v, 1, direct)),
        flag(course, options, t, "splenomegaly"),
        held(course, options, t, "temperature", lambda r: naive.is_fever(r, options)),
        any_of(
            held(course, options, t, "o2_device", lambda r: None if naive.word(r) is None else r.text != "room_air"),
            number(course, options, t, "pulmonary_infiltrate", lambda v: v == 1),
        ),
        creatinine(course, options, t, 2),
        number(course, options, t, "triglycerides", lambda v: v > 265),
    )
    return sum(claimed(f) for f in features)


def iechs_dx_at(course: Course, options: Options, t: int) -> Moment:
    ferritin = iechs_ferritin(course, options, t)
    n, m = tally(iechs_common(course, options, t))
    least = options["iechs_min_common"]
    workups = [r for r in course.of("infection_workup") if course.first_dose <= r.time <= t]
    flags = set()
    if ferritin is False:
        said, grade, upper = "not_met", 0, 0
    elif ferritin is None:
        said, grade, upper = "incomplete", 0, 1
    elif n >= least and any(r.text == "negative" for r in workups):
        said, grade, upper = "criteria_met", 1, 1
    elif n >= least:
        said, grade, upper = "possible", 0, 1
        if workups and workups[-1].text == "positive":
            flags.add("infection_found")
    elif n >= 1:
        said, grade, upper = "suspected", 0, int(n + m >= least)
    else:
        said, grade, upper = ("incomplete", 0, 1) if m else ("not_met", 0, 0)
    if said in ("criteria_met", "possible", "suspected") and course.day(t) > 30:
        flags.add("late_onset")
    measures = {"common": n, "common_upper": n + m, "supporting": iechs_supporting(course, options, t)}
    return Moment(t, grade, upper, said, measures, frozenset(flags))


def iechs_dx(course: Course, options: Options) -> list[Moment]:
    return course_of(course, options, iechs_dx_at)


def drug_names(*names: str) -> list[str]:
    """Drugs by their own name or that of a group."""
    return [n for n, c in CONCEPTS.items() if c["kind"] == "drug" and (n in names or set(c.get("groups", [])) & set(names))]


AGAINST = drug_names("anakinra", "corticosteroid", "ruxolitinib", "etoposide", "emapalumab")
FACTORS = drug_names("coagulation_factor")


def given(course: Course, t: int, names: list[str], prophylaxis: bool) -> Tri:
    """In the last 72 hours, that instant included, from the infusion on; known absent where the drug record is complete now."""
    rows = [r for name in names for r in window(course, name, t, LAST_H)]
    if any(prophylaxis or r.text != "prophylaxis" for r in rows):
        return True
    return False if naive.complete(course, "drugs", t) else None


def ventilated(course: Course, options: Options, t: int) -> Tri:
    """Invasive ventilation or ECMO, of which the patient's own from before CAR-T and that of another cause are none."""
    on = naive.devices(course, options, t)
    if not on:
        return None

    def by_ventilator(r: Row) -> Tri:
        if naive.word(r) is None and naive.counts(r, options):
            return None
        return r.text in ("ventilator", "ecmo") and naive.device_bounds(course, options, r, t)[0] > 0

    return any_of(*(by_ventilator(r) for r in on))


def iechs_cells(course: Course, options: Options, t: int, pressors: list[tuple[int, int]]) -> list[tuple[int, Tri]]:
    factor = given(course, t, FACTORS, prophylaxis=True)
    low, high = naive.oxygen(course, options, t)
    no_pressor = False if naive.complete(course, "drugs", t) else None
    bleeding = {b: claimed(word(course, options, t, "bleeding", b)) for b in ("mild", "severe", "life_threatening")}
    return [
        (1, True),
        (2, given(course, t, AGAINST, prophylaxis=False)),
        (2, factor),
        (3, bleeding["severe"]),
        (3, all_of(factor, bleeding["mild"])),
        (3, naive.hypotension(course, options, t)),
        (3, True if low > 0 else False if high == 0 else None),
        (3, creatinine(course, options, t, 2)),
        (4, True if any(a <= t < b for a, b in pressors) else no_pressor),
        (4, ventilated(course, options, t)),
        (4, bool(window(course, "dialysis", t, LAST_H))),
        (4, bleeding["life_threatening"]),
    ]


def iechs_grade(course: Course, options: Options) -> list[Moment]:
    """Where the diagnosis is open, not there yet perhaps, only the upper bound counts.

    A death whose cause nobody stated leaves grade 5 open while IEC-HS may be there, as for ICANS.
    """
    agents = (*naive.agents(options), *naive.LIKE_VASOPRESSIN)
    pressors = [run for drug in agents for run in naive.infusions(course, drug, options)]
    points = {edge for run in pressors for edge in run}
    points |= set(naive.changes(course, AXES))
    points |= {r.time + e for r in course.of(*AGAINST, *FACTORS, "dialysis") for e in (0, LAST_H * HOUR + 1)}
    lower: Steps = []
    upper: Steps = []
    for t in times(course, options, (*FLAGS, *ORGANS, *OTHERS), points):
        dx = iechs_dx_at(course, options, t)
        cells = iechs_cells(course, options, t, pressors)
        there, perhaps = dx.status in ("criteria_met", "possible"), dx.upper == 1
        lower.append((t, max(g for g, c in cells if c is True) if there else 0))
        upper.append((t, max(g for g, c in cells if c is not False) if there or perhaps else 0))
    possible = upper[-1][1] > 0
    lower = naive.with_death(course, lower, "iec_hs", possible=False)
    upper = naive.with_death(course, upper, "iec_hs", possible)
    points = {t for t, _ in (*lower, *upper)}
    return merged([moment(t, value(lower, t), value(upper, t)) for t in sorted(points)])


def value(steps: Steps, t: int) -> int:
    return steps[bisect_right(steps, t, key=lambda s: s[0]) - 1][1]


def moment(t: int, grade: int, upper: int) -> Moment:
    return Moment(t, grade, upper, status(grade, upper))


# carHLH


def carhlh_at(course: Course, options: Options, t: int) -> Moment:
    ferritin = number(course, options, t, "ferritin", lambda v: v > 10_000)
    n, m = tally(
        [
            any_of(transaminases_3(course, options, t), bilirubin_3(course, options, t)),
            any_of(
                creatinine(course, options, t, 3, normal_baseline=True),
                claimed(number(course, options, t, "oliguria", lambda v: v >= 3)),
            ),
            number(course, options, t, "pulmonary_oedema", lambda v: v >= 3),
            flag(course, options, t, "haemophagocytosis"),
        ]
    )
    return verdict(t, all_of(ferritin, True if n >= 2 else False if n + m < 2 else None))


def verdict(t: int, met: Tri, measures: dict[str, Any] | None = None) -> Moment:
    said = {True: "criteria_met", False: "not_met", None: "incomplete"}[met]
    return Moment(t, int(met is True), int(met is not False), said, measures or {})


def carhlh(course: Course, options: Options) -> list[Moment]:
    return course_of(course, options, carhlh_at)


# HScore

TRIGLYCERIDES_MG_PER_MMOL = 88.57
HSCORE_PERCENT = {100: 1, 110: 3, 120: 5, 130: 9, 140: 16, 150: 25, 160: 40, 170: 54, 180: 70, 190: 80, 200: 88, 210: 93, 220: 96,
                  230: 98, 240: 99}  # fmt: skip


def points(course: Course, options: Options, t: int, code: str, score: Callable[[float], int], most: int) -> tuple[int, int]:
    """The worst within the window: a value of another cause has no points, none at all leaves the item open."""
    rows = window(course, code, t, options["iechs_window_h"])
    if not rows:
        return 0, most
    worst = max(score(r.value or 0.0) if naive.counts(r, options) else 0 for r in rows)
    return worst, worst


def ladder(findings: list[Tri], score: tuple[int, ...]) -> tuple[int, int]:
    """Points by how many hold, unknown ones none and all."""
    n, m = tally(findings)
    return score[n], score[n + m]


def hscore_at(course: Course, options: Options, t: int) -> Moment:
    """Of two organs of which one is unknown, the known one counts; temperature and cuts as printed, percent for the probability."""
    always = options["hscore_immunosuppressed"] == "always"
    items = [
        ladder([always or flag(course, options, t, "immunosuppression")], (0, 18)),
        points(course, options, t, "temperature", lambda v: 49 if v > 39.4 + EPS else 33 if v >= 38.4 - EPS else 0, 49),
        ladder([flag(course, options, t, f) for f in ("hepatomegaly", "splenomegaly")], (0, 23, 38)),
        ladder(
            [
                number(course, options, t, "hemoglobin", lambda v: v <= 9.2),
                number(course, options, t, "wbc", lambda v: v <= 5.0),
                number(course, options, t, "platelets", lambda v: v <= 110),
            ],
            (0, 0, 24, 34),
        ),
        points(course, options, t, "ferritin", lambda v: 50 if v > 6000 else 35 if v >= 2000 else 0, 50),
        points(course, options, t, "triglycerides", lambda v: triglyceride_points(v / TRIGLYCERIDES_MG_PER_MMOL), 64),
        points(course, options, t, "fibrinogen", lambda v: 30 if v / 100 <= 2.5 else 0, 30),
        points(course, options, t, "ast", lambda v: 19 if v >= 30 else 0, 19),
        ladder([flag(course, options, t, "haemophagocytosis")], (0, 35)),
    ]
    low, high = sum(a for a, _ in items), sum(b for _, b in items)
    grade, upper = int(low >= 169), int(high >= 169)
    measures = {"score": low, "score_upper": high, "probability": hscore_probability(low)}
    return Moment(t, grade, upper, status(grade, upper), measures)


def triglyceride_points(mmol: float) -> int:
    return 64 if mmol > 4 else 44 if mmol >= 1.5 else 0


def hscore_probability(score: float) -> float:
    """Percent; linear in logit between the nearest two anchors, or beyond the outermost pair."""
    anchors = sorted(HSCORE_PERCENT)
    left = max((a for a in anchors[:-1] if a <= score), default=anchors[0])
    right = anchors[anchors.index(left) + 1]

    def logit(anchor: int) -> float:
        p = HSCORE_PERCENT[anchor] / 100
        return math.log(p / (1 - p))

    x = logit(left) + (logit(right) - logit(left)) * (score - left) / (right - left)
    return 100 / (1 + math.exp(-x))


def hscore(course: Course, options: Options) -> list[Moment]:
    return course_of(course, options, hscore_at)


# HLH-2004


def hlh2004_at(course: Course, options: Options, t: int) -> Moment:
    """`hlh_inclusive` is read of the cuts that the table prints with "or equal"; those of the lineages are strict in it."""
    inclusive = options["hlh_inclusive"]

    def at_least(code: str, cut: float) -> Tri:
        return number(course, options, t, code, lambda v: v > cut or (inclusive and v == cut))

    def at_most(code: str, cut: float) -> Tri:
        return number(course, options, t, code, lambda v: v < cut or (inclusive and v == cut))

    def below(code: str, cut: float) -> Tri:
        return number(course, options, t, code, lambda v: v < cut)

    def hemoglobin(r: Row) -> bool:
        """On the day of the value a newborn is younger than 28 days."""
        days = None if course.age is None else course.age * 365.2425 + (r.time - course.day0) / naive.DAY
        newborn = days is not None and round(days, 3) < 28
        return (r.value or 0.0) < (10 if newborn else 9)

    anaemic = held(course, options, t, "hemoglobin", hemoglobin)
    low, unknown = tally([anaemic, below("platelets", 100), below("anc", 1000)])
    n, m = tally(
        [
            at_least("temperature", 38.5),
            flag(course, options, t, "splenomegaly"),
            True if low >= 2 else False if low + unknown < 2 else None,
            any_of(at_least("triglycerides", 265), at_most("fibrinogen", 150)),
            flag(course, options, t, "haemophagocytosis"),
            word(course, options, t, "nk_activity", "low", "absent"),
            at_least("ferritin", 500),
            at_least("scd25", 2400),
        ]
    )
    gene = claimed(flag(course, options, t, "hlh_gene"))
    met = True if n >= 5 or gene else False if n + m < 5 else None
    return verdict(t, met, {"score": n, "score_upper": n + m})


def hlh2004(course: Course, options: Options) -> list[Moment]:
    return course_of(course, options, hlh2004_at)
