"""A second, slow grader: one subject at a time, plain Python, each rule as `docs/conventions.md` words it.

It shares no code with `aftercar`: only the validity of each concept is read from `concepts.toml`. `tests/test_differential.py`
holds the two beside each other. Times are whole seconds since the epoch; intervals are `[start, end)`; every finding is
`True`, `False` or `None` (unknown); a bound is a step function: a list of `(start, grade)`, each valid until the next.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.resources import files
from typing import Any

MINUTE, HOUR, DAY = 60, 3600, 86400
FOREVER = 10**12
EPS = 1e-6

CONCEPTS = tomllib.loads(files("aftercar.timeline").joinpath("concepts.toml").read_text(encoding="utf-8"))
VALID = {name: int(c["valid_for_h"] * HOUR) for name, c in CONCEPTS.items() if "valid_for_h" in c}

COUNTED = ("norepinephrine", "epinephrine", "phenylephrine", "dopamine")
INODILATORS = ("dobutamine", "milrinone", "levosimendan")
LIKE_VASOPRESSIN = ("vasopressin", "terlipressin")
POSITIVE_PRESSURE = ("cpap", "bipap", "niv", "ventilator", "ecmo")
CANNULAS = ("nasal_cannula", "hfnc")
ICE_ITEMS = {"ice_orientation": 4, "ice_naming": 3, "ice_command": 1, "ice_writing": 1, "ice_attention": 1}
ASSESSMENTS = ("ice", *ICE_ITEMS, "consciousness", "capd", "seizure", "motor", "icp_sign")
NEURO = (*ASSESSMENTS, "rass", "sedated", "haemorrhage")

Steps = list[tuple[int, int]]
Tri = bool | None


@dataclass(frozen=True)
class Row:
    """One row of the timeline."""

    time: int
    code: str
    value: float | None = None
    text: str | None = None
    end: int | None = None
    cause: str | None = None
    unit: str | None = None


def seconds(time: datetime) -> int:
    """Whole seconds since the epoch of a wall-clock time."""
    return int(time.replace(tzinfo=UTC).timestamp())


def row(record: Mapping[str, Any]) -> Row:
    """A row of a timeline frame, as `DataFrame.iter_rows(named=True)` gives it."""
    return Row(
        time=seconds(record["time"]),
        code=record["code"],
        value=record["numeric_value"],
        text=record["text_value"],
        end=None if record["end_time"] is None else seconds(record["end_time"]),
        cause=record["attributable_to"],
        unit=record.get("unit"),
    )


# What is known of a course


@dataclass(frozen=True)
class Course:
    """The rows from one infusion to the next, and what is fixed about the subject."""

    rows: list[Row]
    everything: list[Row]
    infusion: int
    day0: int
    first_dose: int
    opens: int
    until: int

    def of(self, *codes: str) -> list[Row]:
        return [r for code in codes for r in self._by_code.get(code, [])]

    @cached_property
    def _by_code(self) -> dict[str, list[Row]]:
        sorted_rows: dict[str, list[Row]] = {}
        dates = ("death", "last_follow_up", "progression", "next_therapy")
        alive = [r for r in self.rows if self.death is None or r.time <= self.death.time or r.code in dates]
        for r in sorted(alive, key=lambda r: r.time):
            sorted_rows.setdefault(r.code, []).append(r)
        return sorted_rows

    @cached_property
    def death(self) -> Row | None:
        return min((r for r in self.rows if r.code == "death"), key=lambda r: r.time, default=None)

    @cached_property
    def record_end(self) -> int:
        """The last row, or death, or the next infusion; what is declared or born is no row of the record."""
        times = [max(r.time, r.end or r.time) for r in self.everything if r.code not in ("record_complete", "birth")]
        last = min(max(times), self.until - 1)
        return min(last, self.death.time) if self.death else last

    @cached_property
    def age(self) -> float | None:
        births = [r.time for r in self.everything if r.code == "birth"]
        if births:
            return (self.day0 - min(births)) // DAY / 365.2425
        ages = [r for r in self.everything if r.code == "age"]
        return ages[-1].value if ages else None

    @cached_property
    def bcma(self) -> bool | None:
        """Whether the product targets BCMA; unknown without a product."""
        products = [r.text for r in self.rows if r.code == "cart_infusion" and r.text]
        return any(p in ("ide-cel", "cilta-cel") for p in products) if products else None

    def date(self, code: str) -> int | None:
        """Calendar day of an event, counted from the infusion."""
        times = [r.time for r in self.of(code)]
        if not times:
            return None
        return self.day(max(times) if code == "last_follow_up" else min(times))

    def day(self, time: int) -> int:
        return time // DAY - self.day0 // DAY


def courses(rows: Iterable[Row], options: Mapping[str, Any]) -> list[Course]:
    """The courses of one subject: doses within 14 days of the one before are one course."""
    rows = sorted(rows, key=lambda r: r.time)
    doses = [r.time for r in rows if r.code == "cart_infusion"]
    groups: list[list[int]] = []
    for dose in doses:
        if groups and dose - groups[-1][-1] < 15 * DAY:
            groups[-1].append(dose)
        else:
            groups.append([dose])
    found = []
    for n, group in enumerate(groups):
        opens = -FOREVER if n == 0 else group[0]
        until = groups[n + 1][0] if n + 1 < len(groups) else FOREVER
        day0 = group[0] if options["day0"] == "first_infusion" else group[-1]
        found.append(Course([r for r in rows if opens <= r.time < until], rows, n + 1, day0, group[0], opens, until))
    return found


def counts(r: Row, options: Mapping[str, Any]) -> bool:
    """Whether a row counts as a sign, by what a person said of its cause."""
    if r.cause == "unknown":
        return options["unknown_attribution"] != "exclude"
    return r.cause != "other"


def standing(course: Course, code: str, t: int, since: int = -FOREVER, valid: int | None = None) -> list[Row]:
    """The readings of one concept that stand at `t`: the latest ones, while they are valid."""
    rows = course.of(code)
    n = bisect_right(rows, t, key=lambda r: r.time)
    if n == 0 or rows[n - 1].time < since:
        return []
    latest = rows[n - 1].time
    keep = VALID.get(code, FOREVER) if valid is None else valid
    return [r for r in rows[:n] if r.time == latest and t < (latest + keep if r.end is None else r.end)]


def worst(values: list[Tri]) -> Tri:
    """Of several readings at one time: true if one is, else unknown if one is."""
    if True in values:
        return True
    return None if None in values else False


def complete(course: Course, stream: str, t: int) -> bool:
    """Whether a stream is declared complete at `t`: what it does not hold then did not happen. Without an end it says nothing."""
    declared = [r for r in course.everything if r.code == "record_complete" and r.text == stream]
    return any(r.end is not None and r.time <= t < r.end for r in declared)


# The findings of CRS


def fever_now(course: Course, options: Mapping[str, Any], t: int) -> Tri:
    readings = standing(course, "temperature", t, since=course.first_dose)
    if not readings:
        return None
    return any(is_fever(r, options) for r in readings)


def is_fever(r: Row, options: Mapping[str, Any]) -> bool:
    assert r.value is not None
    value = r.value if options["temp_round"] == "none" else round(r.value, 1)
    return counts(r, options) and value >= 38.0 - EPS


def sbp_low(r: Row, age: float | None, options: Mapping[str, Any]) -> Tri:
    assert r.value is not None
    if not counts(r, options):
        return False
    if age is None:
        return True if r.value < 70 else (False if r.value >= 90 else None)
    cut = 70 if age < 1 else (70 + 2 * int(age) if age <= 10 else 90)
    return r.value < cut


def map_low(r: Row, age: float | None, options: Mapping[str, Any]) -> Tri:
    assert r.value is not None
    if not counts(r, options):
        return False
    if age is None:
        return False if r.value >= options["map_cut"] else None
    return r.value < options["map_cut"]


def hypotension(course: Course, options: Mapping[str, Any], t: int) -> Tri:
    stated = standing(course, "hypotension", t)
    if stated:
        return any(counts(r, options) and r.value == 1 for r in stated)
    age = course.age
    applies: dict[str, Callable[[Row, float | None, Mapping[str, Any]], Tri]] = {"sbp": sbp_low}
    if options["map_cut"] != "none" and (age is None or age >= 18):
        applies["map"] = map_low
    lows = {}
    for code, low in applies.items():
        readings = standing(course, code, t)
        if readings:
            lows[code] = worst([low(r, age, options) for r in readings])
    if worst(list(lows.values())) is not False:
        return worst(list(lows.values()))
    enough = len(lows) == len(applies) if options["hypotension_evidence"] == "all" else len(lows) >= 1
    return False if enough else None


def infusions(course: Course, drug: str, options: Mapping[str, Any], only: Row | None = None) -> list[tuple[int, int]]:
    """When a drug ran, touching or overlapping rows joined; or when one row of it did."""
    rows = course.of(drug)
    runs = []
    for r in rows:
        push = r.text == "bolus"
        if only is not None and r is not only:
            continue
        if not counts(r, options) or (push and not options["push_dose_counts"]):
            continue
        if r.value == 0 and not push:
            continue
        later = [o.time for o in rows if o.time > r.time]
        stops = [o.time for o in rows if o.time > r.time and o.value == 0]
        if push:
            end = r.time + HOUR
        elif r.end is not None:
            end = min([r.end, *stops])
        else:
            end = min([r.time + VALID[drug], *later])
        if end > r.time:
            runs.append((r.time, end))
    joined: list[tuple[int, int]] = []
    for start, end in sorted(runs):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def agents(options: Mapping[str, Any]) -> list[str]:
    """The vasopressors that are counted."""
    more = ["angiotensin_ii"] if options["angiotensin_counts"] else []
    return [*COUNTED, *more, *(INODILATORS if options["count_inodilators"] else ())]


def several(running: Mapping[str, list[tuple[int, int]]], options: Mapping[str, Any], t: int) -> bool:
    """Whether two different agents run now, in an overlap that is no hand-over."""
    now = {drug: run for drug, runs in running.items() for run in runs if run[0] <= t < run[1]}
    return any(
        min(now[a][1], now[b][1]) - max(now[a][0], now[b][0]) >= options["pressor_overlap_min"] * MINUTE
        for a in now
        for b in now
        if a < b
    )


def word(r: Row) -> str | None:
    """A word of the concept; none where it is not known."""
    return r.text if r.text in CONCEPTS[r.code]["values"] else None


def rank(readings: list[Row], options: Mapping[str, Any]) -> int | None:
    """The worst word of some readings at one time; one that is not known is worse than the first of the concept only."""
    order = CONCEPTS[readings[0].code]["values"]
    ranks = [(None if word(r) is None else order.index(r.text)) if counts(r, options) else 0 for r in readings]
    top = max((k for k in ranks if k is not None), default=0)
    return None if top == 0 and None in ranks else top


def device_bounds(course: Course, options: Mapping[str, Any], r: Row, t: int) -> tuple[int, int]:
    """The lowest and highest grade of one device that is on at `t`."""
    if not counts(r, options) or r.text == "room_air":
        return 0, 0
    if word(r) is None:
        return 0, 4
    flows = [f.value or 0.0 for f in standing(course, "o2_flow", t) if f.time >= r.time - HOUR]
    flow = max(flows) if flows else None
    if r.text in POSITIVE_PRESSURE:
        bounds = 4, 4
    elif r.text == "blow_by":
        bounds = 2, 2
    elif r.text in CANNULAS:
        low = options["hfnc_le6"] if r.text == "hfnc" else 2
        bounds = (low, 3) if flow is None else ((3, 3) if flow > 6 else (low, low))
    else:
        bounds = 3, 3
    if options["baseline_o2"] == "subtract":
        before = [b.text for b in course.everything if b.code == "o2_device_baseline"]
        limits = [b.value for b in course.everything if b.code == "o2_flow_baseline"]
        if before and before[-1] == r.text:
            if r.text not in CANNULAS:
                return 0, 0
            if not limits or flow is None:
                return 0, bounds[1]
            if flow <= (limits[-1] or 0.0):
                return 0, 0
    return bounds


def oxygen(course: Course, options: Mapping[str, Any], t: int) -> tuple[int, int]:
    """The lowest and highest grade of the oxygen given at `t`, or, by option, of a low saturation where it is known that none is."""
    low, high = oxygen_given(course, options, t)
    saturations = [r for r in standing(course, "spo2", t) if counts(r, options) and (r.value or 0) < 90]
    on = devices(course, options, t)
    if saturations and on and all(r.text == "room_air" for r in on):
        return options["untreated_hypoxia"], options["untreated_hypoxia"]
    return low, high


def charted_devices(course: Course, t: int) -> list[Row]:
    """Devices at `t`: those with an end while they last, and beside them the one charted last."""
    rows = course.of("o2_device")
    on = [r for r in rows if r.end is not None and r.time <= t < r.end]
    charted = [r for r in rows if r.end is None and r.time <= t]
    if charted and t < charted[-1].time + VALID["o2_device"]:
        on += [r for r in charted if r.time == charted[-1].time]
    return on


def bare(course: Course, options: Mapping[str, Any], code: str, t: int) -> list[Row]:
    """Flows or FiO2 at `t` that count, and do not belong to a device before the room air, or the unknown device, that is on."""
    on = charted_devices(course, t)
    since = max((r.time for r in on if word(r) in ("room_air", None)), default=-FOREVER)
    return [r for r in standing(course, code, t) if r.time >= since and counts(r, options)]


def devices(course: Course, options: Mapping[str, Any], t: int) -> list[Row]:
    """The same, without a room air since which oxygen was charted, or may have been."""
    on = charted_devices(course, t)
    least = {"o2_flow": 0.0, "fio2": 21.0}
    given = [r for code in least for r in bare(course, options, code, t)]
    doubted = any(r.value is None or r.value > least[r.code] for r in given)
    return [r for r in on if not (doubted and r.text == "room_air")]


def known_devices(course: Course, options: Mapping[str, Any], t: int) -> list[Row]:
    """The devices of which somebody knows what they are, or that they are due to another cause."""
    return [r for r in devices(course, options, t) if word(r) is not None or not counts(r, options)]


def perhaps_own(course: Course, options: Mapping[str, Any], t: int) -> bool:
    """Whether a bare flow or FiO2 may be the patient's own oxygen from before CAR-T."""
    before = [b.text for b in course.everything if b.code == "o2_device_baseline"]
    limits = [b.value or 0.0 for b in course.everything if b.code == "o2_flow_baseline"]
    if options["baseline_o2"] != "subtract" or not before or before[-1] == "room_air":
        return False
    flows = [r.value for r in bare(course, options, "o2_flow", t) if r.value is not None]
    return before[-1] not in CANNULAS or not flows or not limits or max(flows) <= limits[-1]


def oxygen_given(course: Course, options: Mapping[str, Any], t: int) -> tuple[int, int]:
    """The lowest and highest grade of the devices, or of a bare flow or FiO2."""
    if known_devices(course, options, t):
        each = [device_bounds(course, options, r, t) for r in devices(course, options, t)]
        return max(low for low, _ in each), max(high for _, high in each)
    if perhaps_own(course, options, t):
        return 0, 4
    flow = max([r.value or 0.0 for r in bare(course, options, "o2_flow", t)], default=0.0)
    fio2 = max([r.value or 0.0 for r in bare(course, options, "fio2", t)], default=0.0)
    if flow > 6:
        return 3, 4
    return (2, 4) if flow > 0 or fio2 > 21 else (0, 4)


@dataclass(frozen=True)
class Findings:
    """What is found at one time: the fever and the grades of the two axes, unknown findings read in one way."""

    fever: bool
    fever_only_possible: bool
    blood_pressure: int
    oxygen: int

    @property
    def sign(self) -> bool:
        return max(self.blood_pressure, self.oxygen) > 0

    @property
    def active(self) -> bool:
        return self.fever or self.sign

    @property
    def begins(self) -> bool:
        """Whether CRS begins with it, in an open segment."""
        return self.fever


def findings(course: Course, options: Mapping[str, Any], t: int, unknown: bool, drugs: Mapping[str, Any]) -> Findings:
    fever = fever_now(course, options, t)
    low = hypotension(course, options, t)
    pressure = 2 if low or (low is None and unknown) else 0
    running = {d: runs for d, runs in drugs.items() if any(a <= t < b for a, b in runs)}
    if any(d in running for d in LIKE_VASOPRESSIN):
        pressure = max(pressure, options["vasopressin_alone"])
    counted = {d: runs for d, runs in running.items() if d not in LIKE_VASOPRESSIN}
    if counted:
        pressure = 4 if several(counted, options, t) else 3
    if unknown and not complete(course, "drugs", t):
        pressure = 4
    return Findings(
        fever=unknown if fever is None else fever,
        fever_only_possible=fever is None,
        blood_pressure=pressure,
        oxygen=oxygen(course, options, t)[1 if unknown else 0],
    )


# The course of CRS


def changes(course: Course, codes: Iterable[str], more: Iterable[int] = ()) -> list[int]:
    """Every second from day 0 to the end of the record at which a finding may change, the first included."""
    times = {course.first_dose, *more}
    for r in course.of(*codes):
        times |= {r.time, r.time + VALID.get(r.code, 0), r.end or r.time}
    for r in course.everything:
        if r.code == "record_complete":
            times |= {r.time, r.end or r.time}
    return sorted(t for t in times if course.first_dose <= t <= course.record_end)


@dataclass(frozen=True)
class CrsCourse:
    """One reading of a course: its grades and, for the reading that counts unknown as absent, its episodes."""

    steps: Steps
    episodes: list[tuple[int, int, int]]  # onset, end of active time, highest grade


def waiver_drugs(course: Course, options: Mapping[str, Any]) -> list[int]:
    groups = options["fever_waiver_drugs"].split(",")
    names = [n for n, c in CONCEPTS.items() if n in groups or set(c.get("groups", [])) & set(groups)]
    return sorted(r.time for r in course.of(*names))


@dataclass(frozen=True)
class Moment:
    """A stretch `[time, until)` in which nothing changes, in one reading of what is unknown."""

    time: int
    until: int
    findings: Findings
    begun: bool  # CRS has begun and its segment is open
    carried: bool
    waived: bool


def walk(
    course: Course, options: Mapping[str, Any], unknown: bool, find: Callable[..., Any] | None = None, more: Iterable[str] = (),
    also: Iterable[int] = (),
) -> list[Moment]:  # fmt: skip
    """Rules 1 to 4 along the course, with every unknown finding read as absent, or as present.

    Another scale has findings of its own, that `find` makes of the concepts of ASTCT and of `more`; they may change `also` at these times.
    """
    find = find or findings
    carry, clear = options["fever_carry_h"] * HOUR, options["resolution_h"] * HOUR
    drugs = {d: infusions(course, d, options) for d in (*agents(options), *LIKE_VASOPRESSIN)}
    edges = [edge for runs in drugs.values() for run in runs for edge in run]
    vital = ("temperature", "hypotension", "sbp", "map", "o2_device", "o2_flow", "fio2", "spo2")
    base = changes(course, (*vital, *more), (*edges, *also))
    found = [find(course, options, t, unknown, drugs) for t in base]
    end = course.record_end + 1

    def now(t: int) -> Findings:
        return found[bisect_right(base, t) - 1]

    # 1. Carry: from the reading, or the start of the stretch in which a fever is possible, until its last instant.
    readings = [r.time for r in course.of("temperature") if r.time >= course.first_dose and is_fever(r, options)]
    carries = [(t, t + carry) for t in readings]
    if unknown:
        stretches = zip(base, [*base[1:], end], found, strict=True)
        carries += [(a, b + carry) for a, b, f in stretches if f.fever_only_possible]
    fevers = [t for t, f in zip(base, found, strict=True) if f.fever]

    # 4. Waiver drugs
    given = waiver_drugs(course, options)
    number = None if options["waiver_duration_h"] == "episode" else options["waiver_duration_h"] * HOUR
    prophylaxis = [d for d in given if options["prophylaxis_waives_fever"] and d >= course.first_dose - DAY]
    waiving = {*prophylaxis, *(d for d in given if fevers and fevers[0] <= d)}

    ends = [b for b, f in zip([*base[1:], end], found, strict=True) if f.active]
    points = {*base, *given, *(b + 1 for _, b in carries), *(b + clear for b in ends)}
    points |= {d + number for d in given} if number is not None else set()
    times = sorted(t for t in points if course.first_dose <= t < end)

    moments = []
    is_open, begun, last_active_end = False, None, -FOREVER
    for t, until in zip(times, [*times[1:], end], strict=True):
        f = now(t)
        # 2. Segments
        if is_open and t >= last_active_end + clear and not any(a < t <= b for a, b in carries):
            is_open, begun = False, None
        is_open = is_open or f.active
        # 3. and 4. CRS begins, and is waived
        lasts, drugs_before = (FOREVER, prophylaxis) if number is None else (number, waiving)
        drug_before = any(d <= t < d + lasts for d in drugs_before)
        if is_open and begun is None and (f.begins or (f.sign and drug_before)):
            begun = t
        drug_since = begun is not None and any(begun <= d <= t < d + lasts for d in given)
        waived = begun is not None and (drug_before or drug_since)
        carried = any(a <= t <= b for a, b in carries)
        moments.append(Moment(t, until, f, begun is not None, carried, waived))
        if f.active:
            last_active_end = until
    return moments


def crs(course: Course, options: Mapping[str, Any], unknown: bool) -> CrsCourse:
    """The course of CRS with every unknown finding read as absent, or as present.

    A waiver lowers grade 1, so there the lower bound has every possible waiver and the upper one only those that are certain.
    """
    mine, other = walk(course, options, unknown), walk(course, options, not unknown)
    steps: Steps = []
    for t in sorted({m.time for m in (*mine, *other)}):
        m = mine[bisect_right(mine, t, key=lambda m: m.time) - 1]
        afebrile_is_believed = other[bisect_right(other, t, key=lambda m: m.time) - 1].waived
        grade = 0
        # 5. The axes
        if m.begun and (m.findings.fever or m.carried or m.waived):
            grade = max(m.findings.blood_pressure, m.findings.oxygen)
        # 6. Grade 1
        if m.begun and (m.findings.fever or (m.carried and not afebrile_is_believed)):
            grade = max(grade, 1)
        steps.append((t, grade))
    begun_at_end = (mine if unknown else other)[-1].begun
    steps = with_death(course, steps, "crs", unknown and begun_at_end)
    active = [(m.time, m.until) for m in mine if m.begun and m.findings.active]
    if steps[-1][1] == 5:
        active.append((steps[-1][0], steps[-1][0] + 1))
    return CrsCourse(merge(steps), episodes(active, steps, options))


def episodes(active: list[tuple[int, int]], steps: Steps, options: Mapping[str, Any]) -> list[tuple[int, int, int]]:
    gap = options["new_episode_gap_h"] * HOUR
    spans: list[tuple[int, int]] = []
    for start, end in active:
        if spans and start - spans[-1][1] < gap:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return [(a, b, max(g for t, g in steps if a <= t < b)) for a, b in spans]


def with_death(course: Course, steps: Steps, cause: str, possible: bool) -> Steps:
    """Grade 5 is death of this toxicity; where nobody said of what, only if that is `possible`."""
    death = course.death
    if death is not None and (death.text == cause or (death.text in (None, "unknown") and possible)):
        return [s for s in steps if s[0] < death.time] + [(death.time, 5)]
    return steps


def merge(steps: Steps) -> Steps:
    """Leave out the steps that change nothing."""
    return [s for n, s in enumerate(steps) if n == 0 or s[1] != steps[n - 1][1]]


# ICANS


def by_capd(course: Course) -> bool:
    """Whether CAPD takes the place of ICE: by age; without one, where only CAPD was charted."""
    if course.age is None:
        return bool(course.of("capd")) and not course.of("ice", *ICE_ITEMS)
    delayed = any(r.value == 1 for r in course.everything if r.code == "developmental_delay")
    return course.age < 12 or (delayed and course.age < 21)


def ice_grade(score: int) -> int:
    return 0 if score >= 10 else 1 if score >= 7 else 2 if score >= 3 else 3


def neuro_before(course: Course, t: int) -> list[int]:
    """Times of neurologic assessments from day 0 until `t`."""
    return sorted({r.time for r in course.of(*ASSESSMENTS) if course.first_dose <= r.time <= t})


def ice_range(course: Course, options: Mapping[str, Any], t: int) -> tuple[int, int] | None:
    """The lowest and highest score that stands at `t`; 10 where another cause explains it."""
    scored = sorted({r.time for r in course.of("ice", *ICE_ITEMS) if course.first_dose <= r.time <= t})
    if not scored:
        return None
    at = scored[-1]
    later = [s for s in neuro_before(course, t) if s > at]
    until = min([at + DAY, *later])
    until = max(until, at + options["ice_locf_h"] * HOUR)
    if t >= until:
        return None
    return ice_score(course, options, at)


def ice_score(course: Course, options: Mapping[str, Any], at: int) -> tuple[int, int]:
    """The range of the score charted at one time: the total, or the items with a missing one anywhere in its range."""
    totals = [r for r in course.of("ice") if r.time == at]
    if totals:
        score = min(int(r.value or 0) if counts(r, options) else 10 for r in totals)
        return score, score
    low = high = 0
    for item, most in ICE_ITEMS.items():
        values = [int(r.value or 0) if counts(r, options) else most for r in course.of(item) if r.time == at]
        low += min(values, default=0)
        high += min(values, default=most)
    return low, high


def ice_baseline(course: Course, options: Mapping[str, Any]) -> int | None:
    """As stated, else the last complete score before the infusion."""
    stated = [r.value for r in course.everything if r.code == "ice_baseline"]
    if stated:
        return int(stated[-1] or 0)
    times = sorted({r.time for r in course.of("ice", *ICE_ITEMS) if r.time < course.first_dose})
    scores = [ice_score(course, options, at) for at in times]
    return next((low for low, high in reversed(scores) if low == high), None)


def ice_domain(course: Course, options: Mapping[str, Any], t: int, sedated: bool) -> tuple[int, int]:
    scores = ice_range(course, options, t)
    if scores is None:
        return 0, 3
    low, high = scores
    if sedated and high == 0:
        return 0, 3
    shift = 0
    if options["ice_baseline"] == "shift":
        baseline = ice_baseline(course, options)
        shift = 0 if baseline is None else 10 - baseline
    return ice_grade(min(10, high + shift)), ice_grade(min(10, low + shift))


def capd_domain(course: Course, options: Mapping[str, Any], t: int, sedated: bool) -> tuple[int, int]:
    readings = standing(course, "capd", t, since=course.first_dose)
    rass = [r for r in standing(course, "rass", t) if (r.value or 0) <= -4]
    if not readings or sedated or rass:
        return 0, 3  # "unable to perform", grade 4, has no row of its own: it is an unarousable patient
    score = max((r.value or 0) if counts(r, options) else 0 for r in readings)
    grade = 0 if score == 0 else 1 if score <= 8 else 3
    return grade, grade


def consciousness_domain(course: Course, options: Mapping[str, Any], t: int, sedated: bool) -> tuple[int, int]:
    readings = standing(course, "consciousness", t, since=course.first_dose)
    if not readings or sedated or (grade := rank(readings, options)) is None:
        return 0, 4
    return grade, grade


def seizure_outcomes(course: Course, options: Mapping[str, Any], at: int) -> tuple[set[str | None], bool]:
    """How the seizures of one time ended, in words that are known, and whether something else was charted of it."""
    rows = [r for r in course.of("seizure_outcome") if r.time == at and counts(r, options)]
    unread = bool(rows) and rank(rows, options) is None
    return set() if unread else {word(r) for r in rows} - {None}, unread


def seizure_bounds(course: Course, options: Mapping[str, Any], at: int) -> tuple[int, int]:
    """Grade 3 or 4 of the seizures charted at one time."""
    kinds = [r for r in course.of("seizure") if r.time == at]
    outcomes, unread = seizure_outcomes(course, options, at)
    minutes = [r.value or 0 for r in course.of("seizure_duration") if r.time == at and counts(r, options)]
    seizures = [r for r in kinds if word(r) not in ("none", None) and counts(r, options)]
    if not seizures:
        return 0, 0
    if "no_return_to_baseline" in outcomes or any(m > 5 for m in minutes):
        return 4, 4
    electrical = all(r.text == "eeg_nonconvulsive" for r in seizures)
    brief = bool(minutes) and "ongoing" not in outcomes and not unread
    ended = "ongoing" not in outcomes
    fast = "resolved_fast" in outcomes and ended
    treated = electrical and "resolved_with_treatment" in outcomes and ended
    return 3, 3 if fast or treated or brief else 4


def seizure_domain(
    course: Course, options: Mapping[str, Any], t: int, bounds: Callable[..., tuple[int, int]] = seizure_bounds
) -> tuple[int, int]:
    hold = options["seizure_hold_h"] * HOUR
    rows = [r for r in course.of("seizure") if course.first_dose <= r.time <= t]
    # A seizure of another cause does not count, and says nothing of others.
    charted = sorted({r.time for r in rows if r.text == "none" or counts(r, options)})
    held = [b for at in charted if t < at + hold and (b := bounds(course, options, at))[0]]
    low = max((b[0] for b in held), default=0)
    # Of what is charted at one time the worst counts: a seizure beside "none" is a seizure.
    last = [r for r in rows if charted and r.time == charted[-1] and (r.text == "none" or counts(r, options))]
    none_said = bool(last) and all(r.text == "none" for r in last) and t < charted[-1] + VALID["seizure"]
    # What is not known may be a seizure, also in a complete record.
    unread = bool(last) and rank(last, options) is None and t < charted[-1] + VALID["seizure"]
    known = bool(held) or none_said or (complete(course, "seizure", t) and not unread)
    high = max((b[1] for b in held), default=0) if known and not unread else 4
    return low, high


def motor_domain(course: Course, options: Mapping[str, Any], t: int) -> tuple[int, int]:
    readings = standing(course, "motor", t, since=course.first_dose)
    if not readings:
        return 0, 0 if complete(course, "motor", t) else 4
    deep = rank(readings, options)
    return (0, 4) if deep is None else (4 * deep, 4 * deep)


def icp_domain(course: Course, options: Mapping[str, Any], t: int) -> tuple[int, int]:
    readings = standing(course, "icp_sign", t, since=course.first_dose)
    if not readings:
        return 0, 0 if complete(course, "icp", t) else 4
    bleeding = any(r.value == 1 for r in standing(course, "haemorrhage", t))
    old = any(r.text == "focal_oedema" and r.time < course.first_dose for r in course.rows)
    signs = {word(r) for r in readings if counts(r, options)} - {"none"}
    unread = None in signs  # it may be any sign
    signs -= {None}
    if bleeding:
        signs -= {"focal_oedema", "diffuse_oedema"}
    if old:
        signs -= {"focal_oedema"}
    if signs == {"cn6"} and course.bcma is not False and course.day(readings[0].time) > 21:
        return 0, 4
    grade = 0 if not signs else 3 if signs == {"focal_oedema"} else 4
    return grade, 4 if unread else grade


def icans(course: Course, options: Mapping[str, Any], unknown: bool) -> Steps:
    """The course of ICANS, by ICE or CAPD, with every unknown finding read as absent, or as present."""
    more = [r.time + options["seizure_hold_h"] * HOUR for r in course.of("seizure")]
    more += [r.time + options["ice_locf_h"] * HOUR for r in course.of("ice", *ICE_ITEMS)]
    more.append((course.day0 // DAY + 22) * DAY)
    capd = by_capd(course)
    steps: Steps = []
    for t in changes(course, NEURO, more):
        sedated = any(r.value == 1 for r in standing(course, "sedated", t))
        domains = (
            (capd_domain if capd else ice_domain)(course, options, t, sedated),
            consciousness_domain(course, options, t, sedated),
            seizure_domain(course, options, t),
            motor_domain(course, options, t),
            icp_domain(course, options, t),
        )
        steps.append((t, max(d[1 if unknown else 0] for d in domains)))
    return merge(with_death(course, steps, "icans", unknown and steps[-1][1] > 0))


Spell = tuple[int, int | None, int]  # onset, resolution where it was seen, highest grade


def neuro_episodes(course: Course, options: Mapping[str, Any], low: Steps, high: Steps, codes: tuple[str, ...]) -> list[Spell]:
    """Episodes of neurotoxicity from both readings of its course; `codes` are the findings that a scale charts, without sedation."""
    gap, end = options["new_episode_gap_h"] * HOUR, course.record_end
    times = sorted({t for t, _ in (*low, *high)} | set(changes(course, (*codes, "sedated"))))
    grade, upper = (dict(zip(times, along(steps, times), strict=True)) for steps in (low, high))
    hidden = {t: any(r.value == 1 for r in standing(course, "sedated", t)) for t in times}
    until = dict(zip(times, [*times[1:], end], strict=True))
    spans: list[list[int]] = []
    for t in (t for t in times if grade[t] > 0 or hidden[t]):
        if not spans or t - until[spans[-1][-1]] >= gap:
            spans.append([])
        spans[-1].append(t)
    shown = {t for t in times if grade[t] == 0 and (upper[t] == 0 or charted(course, options, codes, t))}
    found: list[Spell] = []
    with_sign = [span for span in spans if any(grade[t] for t in span)]
    for span, following in zip(with_sign, [*with_sign[1:], None][: len(with_sign)], strict=True):
        signs = [t for t in span if grade[t] > 0]
        last, lifted = until[signs[-1]], until[span[-1]]
        clear = min((t for t in shown if t >= last), default=None)
        look = min((t for t in shown if clear is not None and t >= clear and not hidden[t]), default=None)
        seen = clear is not None and look is not None and clear - last < gap
        if seen and hidden[clear]:  # nobody saw it then: what is behind the sedation decides
            seen = look - lifted < gap
        elif seen:
            look = clear
        seen = seen and (following is not None or end - look >= options["resolution_h"] * HOUR)
        found.append((signs[0], clear if seen else None, max(grade[t] for t in signs)))
    return found


def along(steps: Steps, times: list[int]) -> list[int]:
    """The grade at each time."""
    return [steps[bisect_right(steps, t, key=lambda s: s[0]) - 1][1] for t in times]


def charted(course: Course, options: Mapping[str, Any], codes: tuple[str, ...], t: int) -> bool:
    """Whether somebody looked at this very time; a seizure put down to another cause is no look."""
    rows = [r for r in course.of(*codes) if r.time == t and (r.end is None or r.end > t)]
    return any(r.code != "seizure" or counts(r, options) for r in rows)


# ICAHT


@dataclass(frozen=True)
class Early:
    """Early ICAHT: the bounds, and the longest runs in days at or under 500 and 100."""

    grade: int
    grade_upper: int
    d500: int
    d100: int


def daily(course: Course, options: Mapping[str, Any]) -> dict[int, float]:
    """The lowest count of each calendar day."""
    supported: set[int] = set()
    if options["gcsf"] == "censor_3d_after":
        for r in course.of("filgrastim", "pegfilgrastim"):
            supported |= set(range(course.day(r.time), course.day(r.time) + 4))
    lowest: dict[int, float] = {}
    for r in course.of("anc"):
        day = course.day(r.time)
        if r.value is not None and day not in supported and r.time <= course.record_end:
            lowest[day] = min(r.value, lowest.get(day, r.value))
    return lowest


def followed_until(course: Course) -> list[int]:
    """Day of the last follow-up, of death where no follow-up is recorded, and of the next infusion; those that there are."""
    ends = [] if course.until == FOREVER else [course.day(course.until)]
    if (last := course.date("last_follow_up")) is not None:
        ends.append(last)
    elif course.death is not None:
        ends.append(course.day(course.death.time))
    return ends


def early_last_day(course: Course, options: Mapping[str, Any]) -> int:
    ends = [30, *followed_until(course)]
    if options["early_censor"] == "progression_or_next_therapy":
        ends += [d for d in (course.date("progression"), course.date("next_therapy")) if d is not None]
    return min(ends)


def fill(grid: list[float | None], options: Mapping[str, Any]) -> list[float | None]:
    """Interpolate runs of few missing days; a longer run stays unknown."""
    filled = list(grid)
    known = [d for d, v in enumerate(grid) if v is not None]
    if not known:
        return filled
    for day, value in enumerate(grid):
        if value is not None:
            continue
        before = max((k for k in known if k < day), default=None)
        after = min((k for k in known if k > day), default=None)
        missing = (len(grid) if after is None else after) - (-1 if before is None else before) - 1
        if missing > options["max_gap_days"]:
            continue
        if before is not None and after is not None:
            left, right = grid[before], grid[after]
            assert left is not None and right is not None
            filled[day] = left + (right - left) * (day - before) / (after - before)
        elif options["fill_ends"] == "nearest":
            filled[day] = grid[after if before is None else before]  # type: ignore[index]
    return filled


def runs(below: list[bool], recovery: int) -> list[tuple[int, int]]:
    """First and last day of each run; only `recovery` days above in a row end one."""
    found = []
    day = 0
    while day < len(below):
        if not below[day]:
            day += 1
            continue
        start = last = day
        while day < len(below) and not all_above(below, day, recovery):
            last = day
            day += 1
        found.append((start, last))
        day = last + 1
    return found


def all_above(below: list[bool], day: int, recovery: int) -> bool:
    """Whether a recovery of `recovery` days begins on this day."""
    return day + recovery <= len(below) and not any(below[day : day + recovery])


def early_grade(values: list[float | None], options: Mapping[str, Any], unknown: bool) -> tuple[int, int, int]:
    def under(limit: int) -> list[bool]:
        return [unknown if v is None else v <= limit for v in values]

    recovery = options["recovery_days"]
    severe, profound = runs(under(500), recovery), runs(under(100), recovery)
    length = max if options["icaht_duration"] == "longest_run" else sum
    d500 = length([b - a + 1 for a, b in severe] or [0])
    d100 = length([b - a + 1 for a, b in profound] or [0])
    start_by = options["never_recovered_start_max_day"]
    never = any(a <= start_by and b == len(values) - 1 for a, b in severe)
    if d500 >= 31 or d100 >= 14 or never:
        return 4, d500, d100
    if d500 >= 14 or d100 >= 7:
        return 3, d500, d100
    return (2 if d500 >= 7 else 1 if d500 >= 1 else 0), d500, d100


def icaht_early(course: Course, options: Mapping[str, Any]) -> Early | None:
    last = early_last_day(course, options)
    if last < 0:
        return None
    counted = daily(course, options)
    values = fill([counted.get(d) for d in range(last + 1)], options)
    if options["round10"]:
        values = [None if v is None else round(v / 10) * 10 for v in values]
    grade, d500, d100 = early_grade(values, options, unknown=False)
    upper, _, _ = early_grade(values, options, unknown=True)
    return Early(grade, upper, d500, d100)


def icaht_late(course: Course, options: Mapping[str, Any]) -> int | None:
    """The late grade; none where no count was taken in the window, unless an option says 0."""
    ends = [options["late_end_day"], *followed_until(course)]
    ends += [d for c in ("next_therapy", "progression") if (d := course.date(c)) is not None]
    window = {d: v for d, v in daily(course, options).items() if 31 <= d <= min(ends)}
    if not window:
        return None if options["late_no_data"] == "na" else 0
    values = sorted(window.values())

    def grade(count: float) -> int:
        return sum(count <= limit for limit in (1500, 1000, 500, 100))

    rule = options["late_confirm"]
    if len(values) == 1:
        return grade(values[0])
    if rule == "same_grade":
        return grade(values[1])
    if rule.startswith("within_days:"):
        near = int(rule.partition(":")[2])
        low = sorted(d for d, v in window.items() if v <= 1500)
        company = [window[a] for a in low if any(0 < abs(a - b) <= near for b in low)]
        return grade(min(company)) if company else 0
    else:
        confirmed = values[1] <= 1500
    return grade(values[0]) if confirmed else 0
