"""The slow grader of `naive.py`, for CRS on the scales beside ASTCT and for the laboratory grades of CTCAE.

Written from `docs/conventions.md`, one patient and one time at a time. A finding is `True`, `False` or `None` (unknown); a reading
takes what is unknown as absent (`unknown=False`) or as present (`unknown=True`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import naive
from naive import DAY, FOREVER, HOUR, LIKE_VASOPRESSIN, Course, CrsCourse, Row, Steps, Tri, complete, counts, standing, worst

SCALES = ("crs_lee2014", "crs_penn2018", "crs_mskcc", "crs_ctcae5", "crs_cartox")
WITHOUT_INVASIVE = ("cpap", "bipap", "niv")
INVASIVE = ("ventilator", "ecmo")
VITAL = ("temperature", "hypotension", "sbp", "map", "o2_device", "o2_flow", "fio2", "spo2", "constitutional")
COAGULATION_FACTORS = ("plasma", "cryoprecipitate", "fibrinogen_concentrate")

any_of = worst


def all_of(*values: Tri) -> Tri:
    """True if each one is, false if one is not, else unknown."""
    if False in values:
        return False
    return None if None in values else True


def reads(value: Tri, unknown: bool) -> bool:
    """A finding in one reading."""
    return unknown if value is None else value


def above(value: float, limit: float | None, times: float = 1.0) -> Tri:
    return None if limit is None else value > times * limit


def below(value: float, limit: float | None, times: float = 1.0) -> Tri:
    return None if limit is None else value < times * limit


# CTCAE laboratory grades

ORGANS = {"creatinine": ("creatinine",), "transaminases": ("ast", "alt"), "bilirubin": ("bilirubin",)}
BLOOD = {"neutrophils": "anc", "platelets": "platelets", "hemoglobin": "hemoglobin", "fibrinogen": "fibrinogen"}
FIXED = {"neutrophils": (1500, 1000, 500), "platelets": (75, 50, 25), "hemoglobin": (10, 8)}
LABS = (*(code for codes in ORGANS.values() for code in codes), *BLOOD.values())
LOWEST_IS_WORST = tuple(BLOOD.values())


def limit_of(course: Course, code: str) -> float | None:
    """The last limit of the subject."""
    name = f"{code}_lln" if code in LOWEST_IS_WORST else f"{code}_uln"
    limits = [r.value for r in course.everything if r.code == name and r.value is not None]
    return limits[-1] if limits else None


def baseline_of(course: Course, code: str) -> float | None:
    """The last value of the subject before day 0; of several at that time the worst."""
    before = [r for r in course.everything if r.code == code and r.time < course.first_dose and r.value is not None]
    last = [r.value for r in before if r.time == max(b.time for b in before)]
    if not last:
        return None
    return min(last) if code in LOWEST_IS_WORST else max(last)


def lab_cells(course: Course, options: Mapping[str, Any], item: str, code: str, r: Row, t: int) -> list[Tri]:
    """Whether the cells of grade 1, 2 ... are met by one value."""
    limit, baseline = limit_of(course, code), baseline_of(course, code)
    if not counts(r, options):
        return [False] * 4
    value = r.value
    assert value is not None
    normal_before = baseline is None and complete(course, "organ", t)  # not charted in a complete record: it was normal

    def above_baseline(times: float) -> Tri:
        return False if normal_before else above(value, baseline, times)

    if item == "creatinine":
        first = above(value, limit)
        if options["ctcae"] == "v4.03":
            first = any_of([first, above_baseline(1)])
        second, third = (any_of([above(value, limit, x), above_baseline(x)]) for x in (1.5, 3))
        return [first, second, third, above(value, limit, 6)]
    if item == "bilirubin":
        return [above(value, limit, x) for x in (1, 1.5, 3, 10)]
    if item == "transaminases":
        if options["ctcae"] == "v4.03" or normal_before:
            return [above(value, limit, x) for x in (1, 3, 5, 20)]
        # The reference is the greater of limit and baseline: above it is above both.
        normal = None if limit is None or baseline is None else baseline <= limit
        first = all_of(above(value, limit), any_of([normal, None if baseline is None else value >= 1.5 * baseline]))
        return [first, *(all_of(above(value, limit, x), above(value, baseline, x)) for x in (3, 5, 20))]
    if item == "fibrinogen":
        reference = [below(value, limit, x) for x in (1, 0.75, 0.5, 0.25)]
        if not normal_before:
            lower = [below(value, baseline, x) for x in (1, 0.75, 0.5, 0.25)]
            reference = [all_of(a, b) for a, b in zip(reference, lower, strict=True)]
        return [*reference[:3], any_of([reference[3], value < 50])]
    return [below(value, limit), *(value < cut for cut in FIXED[item])]


def lab_bounds(course: Course, options: Mapping[str, Any], item: str, t: int) -> tuple[int, int]:
    """The lowest and highest CTCAE grade of an item at `t`."""
    most = 3 if item == "hemoglobin" else 4
    per_code = []
    for code in ORGANS.get(item) or (BLOOD[item],):
        readings = [r for r in standing(course, code, t, since=course.first_dose) if r.value is not None]
        if readings:
            cells = [lab_cells(course, options, item, code, r, t)[:most] for r in readings]
            per_code.append([any_of(list(same)) for same in zip(*cells, strict=True)])
        else:
            per_code.append([False if item in ORGANS and complete(course, "organ", t) else None] * most)
    met = [any_of(list(same)) for same in zip(*per_code, strict=True)]
    return (
        max((k for k, cell in enumerate(met, 1) if cell is True), default=0),
        max((k for k, cell in enumerate(met, 1) if cell is not False), default=0),
    )


def ctcae_lab(course: Course, options: Mapping[str, Any], scale: str, unknown: bool) -> Steps:
    """The course of one `ctcae_` scale, unknown comparisons read as unmet, or as met."""
    item = scale.removeprefix("ctcae_")
    codes = ORGANS.get(item) or (BLOOD[item],)
    return naive.merge([(t, lab_bounds(course, options, item, t)[unknown]) for t in naive.changes(course, codes)])


# Vasopressors: what runs, how fast, for how long

TO_UG = {"ng": 0.001, "ug": 1.0, "mcg": 1.0, "mg": 1000.0, "g": 1e6}
HIGH_ALONE = {"norepinephrine": 20, "epinephrine": 10, "phenylephrine": 200, "dopamine": 10}
EQUIVALENT = {"norepinephrine": 1, "epinephrine": 1, "phenylephrine": 10, "dopamine": 2}  # so much is 1 of norepinephrine
PENN_ALONE = {"norepinephrine": 0.2, "epinephrine": 0.1}


def charted_rate(r: Row) -> tuple[float, bool] | None:
    """A rate in ug/min or ug/kg/min, and whether it is per kilogram; none where the row gives no rate."""
    unit = re.fullmatch(r"(ng|ug|mcg|mg|g)(/kg)?/(min|h|hr)", r.unit or "")
    if r.text == "bolus" or r.value is None or unit is None:
        return None
    per_minute = r.value * TO_UG[unit[1]] / (1 if unit[3] == "min" else 60)
    return per_minute, unit[2] is not None


def stretches(edges: Iterable[int], holds: Callable[[int], bool]) -> list[tuple[int, int]]:
    """Stretches in which something holds without a break, if it changes at `edges` only."""
    times = [-FOREVER, *sorted(set(edges))]
    found: list[tuple[int, int]] = []
    for a, b in zip(times, [*times[1:], FOREVER], strict=True):
        if holds(a):
            if found and found[-1][1] == a:
                found[-1] = (found[-1][0], b)
            else:
                found.append((a, b))
    return found


@dataclass(frozen=True)
class Vasopressors:
    """The vasopressors of a course, vasopressin and its like among them."""

    course: Course
    options: Mapping[str, Any]

    @cached_property
    def drugs(self) -> list[str]:
        return [*naive.agents(self.options), *LIKE_VASOPRESSIN]

    @cached_property
    def runs(self) -> dict[str, list[tuple[int, int]]]:
        return {d: naive.infusions(self.course, d, self.options) for d in self.drugs}

    @cached_property
    def rows(self) -> list[tuple[int, int, Row]]:
        """Each row that is an infusion, and when it ran."""
        rows = [r for d in self.drugs for r in self.course.of(d)]
        return [(a, b, r) for r in rows for a, b in naive.infusions(self.course, r.code, self.options, only=r)]

    @cached_property
    def edges(self) -> list[int]:
        declared = [r for r in self.course.everything if r.code == "record_complete" and r.text == "drugs" and r.end is not None]
        return [*(e for a, b, _ in self.rows for e in (a, b)), *(e for r in declared for e in (r.time, r.end or r.time))]

    @cached_property
    def weight(self) -> float | None:
        weights = [r.value for r in self.course.everything if r.code == "weight" and r.value is not None]
        return weights[-1] if weights else None

    def running(self, t: int) -> set[str]:
        return {r.code for a, b, r in self.rows if a <= t < b}

    def known(self, t: int) -> bool:
        """Whether no other drug can run than those charted."""
        return complete(self.course, "drugs", t)

    def multiple(self, t: int, like_vasopressin: bool = True) -> bool:
        runs = {d: runs for d, runs in self.runs.items() if like_vasopressin or d not in LIKE_VASOPRESSIN}
        return naive.several(runs, self.options, t)

    def latest(self, drug: str, t: int) -> list[Row]:
        """The most recently begun rows of a drug that run."""
        on = [r for a, b, r in self.rows if r.code == drug and a <= t < b]
        return [r for r in on if r.time == max(o.time for o in on)]

    def rate(self, drug: str, t: int) -> tuple[float, bool]:
        """The rate that is known, and whether it may be more: ug/min, dopamine ug/kg/min."""
        rates: list[float | None] = []
        for r in self.latest(drug, t):
            charted = charted_rate(r)
            if charted is None:
                rates.append(None)
            elif charted[1] == (drug == "dopamine"):
                rates.append(charted[0])
            elif self.weight is None:
                rates.append(None)
            else:
                rates.append(charted[0] / self.weight if drug == "dopamine" else charted[0] * self.weight)
        return max((r for r in rates if r is not None), default=0.0), None in rates

    def high(self, t: int) -> Tri:
        """Whether what is charted to run is high dose at this time."""
        running = self.running(t)
        agents = running - set(LIKE_VASOPRESSIN)
        if not agents:
            return False
        rates = {d: self.rate(d, t) for d in agents}
        # A further drug never makes a dose low: what is high alone stays so.
        alone = [
            True if rate >= HIGH_ALONE[d] else None if more else False for d, (rate, more) in rates.items() if d in HIGH_ALONE
        ]
        unlike = any(d not in EQUIVALENT for d in agents)
        if len(running) == 1:
            return None if unlike else alone[0]
        equivalent = sum(rate / EQUIVALENT[d] for d, (rate, _) in rates.items() if d in EQUIVALENT)
        if True in alone or equivalent >= (10 if running & set(LIKE_VASOPRESSIN) else 20):
            return True
        return None if unlike or any(more for _, more in rates.values()) else False

    def high_penn(self, t: int) -> Tri:
        """The same, or by a rate that was charted per kilogram."""
        running = self.running(t)
        agents = running - set(LIKE_VASOPRESSIN)
        beside = bool(running & set(LIKE_VASOPRESSIN))
        by_weight = False
        for drug in agents:
            cut = 0.1 if drug == "norepinephrine" and beside else PENN_ALONE.get(drug)
            charted = [c for r in self.latest(drug, t) if (c := charted_rate(r)) and c[1]]
            by_weight = by_weight or (cut is not None and any(rate >= cut for rate, _ in charted))
        return any_of([self.high(t), by_weight])

    def long_enough(self, holds: Callable[[int], Tri], unknown: bool) -> list[tuple[int, int]]:
        """Stretches of at least 3 h of a high dose."""

        def now(t: int) -> bool:
            return reads(holds(t), unknown) or (unknown and not self.known(t))

        return [(a, b) for a, b in stretches(self.edges, now) if b - a >= 3 * HOUR]

    def day_long(self, unknown: bool) -> list[tuple[int, int]]:
        """When a vasopressor ran, in stretches that hold 24 h of it."""
        on = stretches(self.edges, lambda t: bool(self.running(t)) or (unknown and not self.known(t)))
        groups: list[list[tuple[int, int]]] = []
        for run in on:
            if groups and run[0] - groups[-1][-1][1] <= self.options["mskcc_pressor_gap_h"] * HOUR:
                groups[-1].append(run)
            else:
                groups.append([run])
        return [run for group in groups if sum(b - a for a, b in group) >= DAY for run in group]


def within(spans: Sequence[tuple[int, int]], t: int) -> bool:
    return any(a <= t < b for a, b in spans)


# Oxygen by its share


def device_rich(course: Course, options: Mapping[str, Any], r: Row, t: int) -> Tri:
    """Whether a device gives 40 % or more."""
    low, high = naive.device_bounds(course, options, r, t)
    if high == 0:
        return False
    charted = [f.value or 0.0 for f in standing(course, "fio2", t) if f.time >= r.time - HOUR]
    flows = [f.value or 0.0 for f in standing(course, "o2_flow", t) if f.time >= r.time - HOUR]
    rich: Tri = None
    if charted:
        rich = max(charted) >= 40
    elif r.text == "nasal_cannula" and flows:
        if max(flows) > 6:
            rich = True
        elif options["fio2_estimate"] != "none":
            rich = 20 + 4 * max(flows) >= 40
    elif r.text in ("partial_rebreather", "non_rebreather") or (r.text == "face_mask" and flows and max(flows) >= 5):
        rich = True
    return all_of(rich, True if low > 0 else None)


def known_or_away(r: Row, options: Mapping[str, Any]) -> bool:
    return naive.word(r) is not None or not counts(r, options)


def device_is(course: Course, options: Mapping[str, Any], r: Row, t: int, kinds: Sequence[str]) -> bool:
    return r.text in kinds and naive.device_bounds(course, options, r, t)[1] > 0


def each_rich(course: Course, options: Mapping[str, Any], on: list[Row], t: int) -> list[Tri]:
    """Each device that is on; rows with an end, of one device, that overlap are one: sure by the first begun, possible by the last."""
    points = [device_rich(course, options, r, t) for r in on if r.end is None]
    for word in {r.text for r in on if r.end is not None}:
        own = sorted((r for r in on if r.end is not None and r.text == word), key=lambda r: (not counts(r, options), r.time))
        counted = [r for r in own if counts(r, options)] or own
        first, last = (device_rich(course, options, r, t) for r in (counted[0], counted[-1]))
        points.append(True if first else None if first is None or last is not False else False)
    return points


def rich_now(course: Course, options: Mapping[str, Any], t: int) -> Tri:
    if naive.known_devices(course, options, t):
        return any_of(each_rich(course, options, naive.devices(course, options, t), t))
    fio2 = max((r.value or 0.0 for r in naive.bare(course, options, "fio2", t)), default=0.0)
    rich = fio2 >= 40 if fio2 > 21 else None
    return all_of(rich, None if naive.perhaps_own(course, options, t) else True)


def device_now(course: Course, options: Mapping[str, Any], t: int, kinds: Sequence[str]) -> Tri:
    """Whether a device of these kinds is on; unknown where no device is charted, or one that nobody knows."""
    on = naive.devices(course, options, t)
    named = [device_is(course, options, r, t, kinds) if known_or_away(r, options) else None for r in on]
    return any_of(named) if on else None


def oxygen_now(course: Course, options: Mapping[str, Any], t: int) -> Tri:
    low, high = naive.oxygen(course, options, t)
    return True if low > 0 else None if high > 0 else False


# What begins CRS


@dataclass(frozen=True)
class OtherFindings(naive.Findings):
    """The findings of ASTCT, and what else makes time active or begins CRS on the other scales."""

    constitutional: bool = False
    stands_for_fever: bool = False

    @property
    def active(self) -> bool:
        return self.fever or self.sign or self.constitutional

    @property
    def begins(self) -> bool:
        return self.fever or self.constitutional or self.stands_for_fever


def stated(course: Course, options: Mapping[str, Any], code: str, t: int) -> bool:
    """Whether a statement stands."""
    return any(counts(r, options) and r.value == 1 for r in standing(course, code, t))


def attributed_sign(course: Course, options: Mapping[str, Any], t: int, vasopressors: Vasopressors) -> bool:
    """Whether a sign is there that a person attributed to the cells."""
    if any(r.cause == "iec" for a, b, r in vasopressors.rows if a <= t < b):
        return True
    statements = standing(course, "hypotension", t)
    if statements:
        if any(r.cause == "iec" and r.value == 1 for r in statements):
            return True
    else:
        age = course.age
        pressures = [naive.sbp_low(r, age, options) for r in standing(course, "sbp", t) if r.cause == "iec"]
        if options["map_cut"] != "none" and (age is None or age >= 18):
            pressures += [naive.map_low(r, age, options) for r in standing(course, "map", t) if r.cause == "iec"]
        if True in pressures:
            return True
    on = naive.known_devices(course, options, t)
    bounds = {r: naive.device_bounds(course, options, r, t) for r in on}
    if any(r.cause == "iec" and b[0] > 0 for r, b in bounds.items()):
        return True
    if not on:
        rows = {code: naive.bare(course, options, code, t) for code in ("o2_flow", "fio2")}
        # Of several at one time the worst counts.
        worst = [r for same in rows.values() for r in same if r.value == max(o.value or 0 for o in same)]
        said = any(r.cause == "iec" and (r.value or 0) > (21 if r.code == "fio2" else 0) for r in worst)
        return said and not naive.perhaps_own(course, options, t)
    saturations = [r for r in standing(course, "spo2", t) if r.cause == "iec" and (r.value or 0) < 90]
    untreated = options["untreated_hypoxia"] > 0 and all(r.text == "room_air" for r in naive.devices(course, options, t))
    return bool(saturations) and untreated


def unknown_sign(course: Course, options: Mapping[str, Any], t: int, vasopressors: Vasopressors) -> bool:
    """Whether low pressure, a vasopressor, vasopressin or oxygen is not known to be there or not."""
    on = vasopressors.running(t)
    both = bool(on & set(LIKE_VASOPRESSIN)) and bool(on - set(LIKE_VASOPRESSIN))
    return (
        naive.hypotension(course, options, t) is None
        or not (both or complete(course, "drugs", t))
        or oxygen_now(course, options, t) is None
    )


def find(
    vasopressors: Vasopressors, course: Course, options: Mapping[str, Any], t: int, unknown: bool, drugs: Mapping[str, Any]
) -> OtherFindings:
    f = naive.findings(course, options, t, unknown, drugs)
    rule = options["onset_without_fever"]
    begins = rule == "any" and f.sign
    if rule == "stated":
        begins = attributed_sign(course, options, t, vasopressors)
        if unknown and any(r.cause == "iec" and r.time <= course.record_end for r in course.rows):
            begins = begins or unknown_sign(course, options, t, vasopressors)
    return OtherFindings(
        f.fever, f.fever_only_possible, f.blood_pressure, f.oxygen, stated(course, options, "constitutional", t), begins
    )


# The tables


@dataclass(frozen=True)
class Axes:
    """Everything that the tables ask at one time, in one reading of what is unknown."""

    course: Course
    options: Mapping[str, Any]
    unknown: bool
    t: int
    vasopressors: Vasopressors
    high_spans: Sequence[tuple[int, int]]
    penn_spans: Sequence[tuple[int, int]]
    day_spans: Sequence[tuple[int, int]]

    def _drug(self, value: bool) -> bool:
        return value or (self.unknown and not self.vasopressors.known(self.t))

    def given(self, *drugs: str, treatment: bool = False) -> bool:
        """Whether one of these was given in the last 24 h."""
        rows = [r for r in self.course.of(*drugs) if counts(r, self.options) and not (treatment and r.text == "prophylaxis")]
        return self._drug(any(r.time <= self.t < max(r.time, r.end or r.time) + DAY for r in rows))

    @property
    def hypotension(self) -> bool:
        return reads(naive.hypotension(self.course, self.options, self.t), self.unknown)

    @property
    def vasopressor(self) -> bool:
        return self._drug(bool(self.vasopressors.running(self.t)))

    @property
    def multiple(self) -> bool:
        return self._drug(self.vasopressors.multiple(self.t))

    @property
    def multiple_lee(self) -> bool:
        return self._drug(self.vasopressors.multiple(self.t, self.options["lee_vasopressin_counts"]))

    @property
    def high(self) -> bool:
        return within(self.high_spans, self.t)

    @property
    def high_penn(self) -> bool:
        return within(self.penn_spans, self.t)

    @property
    def day_long(self) -> bool:
        return within(self.day_spans, self.t)

    @property
    def oxygen(self) -> bool:
        """Oxygen of any share: it is lean at least."""
        return reads(oxygen_now(self.course, self.options, self.t), self.unknown)

    @property
    def rich(self) -> bool:
        return reads(rich_now(self.course, self.options, self.t), self.unknown)

    @property
    def ventilator(self) -> bool:
        return reads(device_now(self.course, self.options, self.t, INVASIVE), self.unknown)

    @property
    def niv(self) -> bool:
        return reads(device_now(self.course, self.options, self.t, WITHOUT_INVASIVE), self.unknown)

    @property
    def boluses(self) -> int:
        rows = [r for r in self.course.of("fluid_bolus") if counts(r, self.options) and r.time <= self.t < r.time + DAY]
        told = {(r.time, r.value, r.unit) for r in rows}  # a row that stands twice is one bolus
        number = sum(1 if unit is not None or value is None else int(value) for _, value, unit in told)
        return 2 if self._drug(False) else number

    @property
    def life_threatening(self) -> bool:
        return stated(self.course, self.options, "life_threatening", self.t)

    @property
    def in_hospital(self) -> bool:
        settings = standing(self.course, "setting", self.t)
        return (
            any(r.text == "inpatient" or (self.unknown and naive.word(r) is None) for r in settings) if settings else self.unknown
        )

    def organ(self, item: str) -> int:
        return lab_bounds(self.course, self.options, item, self.t)[self.unknown]

    @property
    def creatinine(self) -> int:
        return self.organ("creatinine")

    @property
    def transaminases(self) -> int:
        return self.organ("transaminases")

    @property
    def bilirubin(self) -> int:
        return self.organ("bilirubin")

    @property
    def organs(self) -> int:
        return max(self.creatinine, self.transaminases, self.bilirubin)

    @property
    def liver(self) -> int:
        return max(self.transaminases, self.bilirubin)

    @property
    def penn_treatment(self) -> bool:
        return self.given("tocilizumab", "siltuximab", treatment=True) or self.given("iv_therapy", "parenteral_nutrition")


def lee(a: Axes, symptoms: bool) -> int:
    if a.ventilator or (a.options["lee_niv"] == 4 and a.niv) or max(a.creatinine, a.bilirubin) == 4:
        return 4
    if a.rich or a.high or a.multiple_lee or a.organs >= 3:
        return 3
    return 2 if a.oxygen or a.hypotension or a.vasopressor or a.organs >= 2 else 0


def penn(a: Axes, symptoms: bool) -> int:
    if a.high_penn or a.ventilator or a.life_threatening:
        return 4
    if a.liver >= 4 or a.creatinine >= 3 or a.vasopressor or a.given(*COAGULATION_FACTORS) or a.oxygen:
        return 3
    if a.boluses >= 2 or (a.boluses == 1 and a.options["penn_single_bolus"] == 3):
        return 3
    admitted = a.options["penn_fever_inpatient"] == 2 and symptoms and a.in_hospital
    return 2 if admitted or a.creatinine >= 2 or a.liver >= 3 or a.penn_treatment or a.boluses == 1 else 0


def mskcc(a: Axes, symptoms: bool) -> int:
    if a.ventilator or (a.hypotension and a.high):
        return 4
    if a.day_long or a.rich:
        return 3
    return 2 if a.vasopressor or a.oxygen or (a.options["mskcc_fluid"] == 2 and a.hypotension) else 0


def ctcae5(a: Axes, symptoms: bool) -> int:
    if a.multiple or a.ventilator or a.life_threatening:
        return 4
    if a.vasopressor or a.rich:
        return 3
    return 2 if a.hypotension or a.oxygen else 0


def cartox(a: Axes, symptoms: bool) -> int:
    if (a.hypotension and a.high) or a.life_threatening or a.ventilator or max(a.creatinine, a.bilirubin) == 4:
        return 4
    if a.high or a.multiple or a.rich or a.organs >= 3:
        return 3
    if a.hypotension or a.vasopressor or a.oxygen or a.organs >= 2:
        return 2
    return 1 if a.organs >= 1 else 0


TABLES: dict[str, Callable[[Axes, bool], int]] = dict(zip(SCALES, (lee, penn, mskcc, ctcae5, cartox), strict=True))


def moments(course: Course, options: Mapping[str, Any], vasopressors: Vasopressors) -> list[int]:
    """Every second at which an axis may change."""
    codes = (*VITAL, "life_threatening", "setting", *LABS)
    more = [*vasopressors.edges]
    day_rows = course.of("fluid_bolus", "tocilizumab", "siltuximab", "iv_therapy", "parenteral_nutrition", *COAGULATION_FACTORS)
    more += [at + after for r in day_rows for at in (r.time, r.end or r.time) for after in (0, DAY)]
    return naive.changes(course, codes, more)


def crs(course: Course, options: Mapping[str, Any], scale: str, unknown: bool) -> CrsCourse:
    """The course of CRS on one of the other scales, every unknown finding read as absent, or as present."""
    v = Vasopressors(course, options)
    # An attribution holds for its own row, so each row of an infusion may change what begins CRS.
    rows = [t for a, b, _ in v.rows for t in (a, b)]
    mine, other = (naive.walk(course, options, u, partial(find, v), ("constitutional",), rows) for u in (unknown, not unknown))
    spans = (v.long_enough(v.high, unknown), v.long_enough(v.high_penn, unknown), v.day_long(unknown))
    steps: Steps = []
    for t in sorted({*(m.time for m in (*mine, *other)), *moments(course, options, v)}):
        m = mine[bisect_right(mine, t, key=lambda m: m.time) - 1]
        afebrile_is_believed = other[bisect_right(other, t, key=lambda m: m.time) - 1].waived
        symptoms = m.findings.fever or (m.carried and not afebrile_is_believed) or m.findings.constitutional
        grade = 0
        if m.begun:
            table = TABLES[scale](Axes(course, options, unknown, t, v, *spans), symptoms)
            grade = max(table, 1 if symptoms or m.findings.sign else 0)
        steps.append((t, grade))
    begun_at_end = (mine if unknown else other)[-1].begun
    steps = naive.with_death(course, steps, "crs", unknown and begun_at_end)
    active = [(m.time, m.until) for m in mine if m.begun and m.findings.active]
    if steps[-1][1] == 5:
        active.append((steps[-1][0], steps[-1][0] + 1))
    return CrsCourse(naive.merge(steps), naive.episodes(active, steps, options))
