"""The panels of a subject's figure. Each is drawn from a course, or is None where nothing was charted."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

from aftercar.grade.findings import DEVICES, LOW_FLOW_MAX
from aftercar.report.course import ICE_PARTS, LEFT, RIGHT, Course, Event
from aftercar.report.marks import Panel, doses, infusions, readings, title_of, words
from aftercar.report.svg import CHAR_PX, decades, label, line, linear, number, rect, unit_text
from aftercar.timeline.concepts import concept, of_group

FEVER_C = 38.0
SBP_LOW, MAP_LOW = 90.0, 65.0  # adults; drawn for orientation, the grade's own rule stands in the options
FLOW_BEFORE_D = 1 / 24  # a flow charted up to an hour before its device belongs to it, as in grading
DEVICE_VALID_D = 1.0
ICE_MAX = dict(zip(ICE_PARTS, (4, 3, 1, 1, 1), strict=True))
FEVER_DRUGS = (
    ("anticytokine", "down"), ("corticosteroid", "diamond"), ("antipyretic", "circle"), ("nsaid", "circle"),
    ("antibody", "down"), ("jak_inhibitor", "up"), ("kinase_inhibitor", "up"), ("cytotoxic", "cross"),
)  # fmt: skip


def temperature(course: Course) -> Panel | None:
    """Temperature with the fever line, and beneath it the drugs that can hide fever or treat its cause."""
    events = course.of("temperature")
    panel = Panel("Temperature", "°C", 0)
    if events:
        axis = linear(_numbers(events), 36.0, 40.0, 1.0, 8, 86)
        panel.height = 94
        panel.plot(axis, range(int(axis.low), int(axis.high) + 1))
        panel.threshold(axis, FEVER_C, "fever, 38.0")
        readings(panel, course, events, axis, "Temperature", filled=lambda t: t >= FEVER_C)
    for group, shape in FEVER_DRUGS:
        for drug in of_group(group):
            doses(panel, course, drug, shape)
    return panel if panel.height else None


def pressure(course: Course) -> Panel | None:
    """Systolic and mean pressure, and beneath them vasopressors as bars, fluid, and what a clinician stated."""
    systolic, mean = course.of("sbp"), course.of("map")
    panel = Panel("Blood pressure", "mmHg", 0)
    if systolic or mean:
        axis = linear(_numbers(systolic + mean), 60, 140, 20, 8, 86)
        panel.height = 94
        panel.plot(axis, range(int(axis.low), int(axis.high) + 1, 20 if axis.high - axis.low <= 100 else 40))
        age = course.about.get("age_y")
        adult = age is None or age >= 18
        if systolic and adult:
            panel.threshold(axis, SBP_LOW, "systolic 90")
        if mean and adult:
            panel.threshold(axis, MAP_LOW, "mean 65", below=True)
        low = SBP_LOW if adult else 0
        readings(panel, course, mean, axis, "Mean pressure", filled=lambda p: p < MAP_LOW, shape="square", cls="q")
        readings(panel, course, systolic, axis, "Systolic pressure", filled=lambda p: p < low)
        if systolic and mean:
            panel.notes.append("Systolic pressure: circles, solid line; mean pressure: squares, dashed line")
    words(panel, course, "hypotension", "hypotension stated", quiet=("no",))
    for group in ("vasopressor", "vasopressin_like", "inodilator", "pressure_adjunct"):
        for drug in of_group(group):
            infusions(panel, course, drug)
    infusions(panel, course, "vasopressors")
    doses(panel, course, "fluid_bolus", "up")
    return panel if panel.height else None


_LEVELS = ("none", "low flow", "high flow, mask", "positive pressure")


def oxygen(course: Course) -> Panel | None:
    """Saturation, and beneath it the device as a step by the support it gives, in the order of the CRS table."""
    saturation, devices = course.of("spo2"), course.of("o2_device")
    flows = course.of("o2_flow", "fio2")
    panel = Panel("Oxygen", "SpO₂ %" if saturation else "", 0)
    if saturation:
        axis = linear(_numbers(saturation), 85, 100, 5, 8, 62)
        panel.height = 70
        panel.plot(axis, [t for t in (70, 80, 85, 90, 95, 100) if axis.low <= t <= axis.high and (axis.low >= 80 or t % 10 == 0)])
        readings(panel, course, saturation, axis, "Oxygen saturation", filled=lambda s: s < 90)
    if devices:
        _devices(panel, course, devices, flows)
    elif flows:
        for code in ("o2_flow", "fio2"):
            doses(panel, course, code, "circle")
    return panel if panel.height else None


def _support(device: str | None, flow: float | None) -> int:
    """Height of the step, 0 to 3."""
    level = DEVICES.get(device or "")
    if level is None:
        high = flow > LOW_FLOW_MAX if flow is not None else device == "hfnc"
        return 2 if high else 1
    return max(level - 1, 0)


_DEVICE_NAMES = {"hfnc": "HFNC", "cpap": "CPAP", "bipap": "BiPAP", "niv": "NIV", "ecmo": "ECMO"}


class Step(NamedTuple):
    """A stretch of one device at one flow."""

    start: float
    stop: float
    level: int
    event: Event
    flow: Event | None
    fio2: Event | None
    rows: int = 1

    @property
    def device(self) -> str:
        """The device as people write it."""
        text = (self.event.text or "device not named").replace("_", " ")
        return _DEVICE_NAMES.get(text, text)

    @property
    def key(self) -> tuple[object, ...]:
        """What was charted; steps with the same key are drawn as one."""
        return self.device, *(e.number if e else None for e in (self.flow, self.fio2)), self.event.attributed

    @property
    def tip(self) -> str:
        """Hover text."""
        given = (f", {self.flow.value}" if self.flow else "") + (f", FiO₂ {self.fio2.value}" if self.fio2 else "")
        rows = "".join(f", with event {e.event_id}" for e in (self.flow, self.fio2) if e)
        rows += f"; charted {self.rows} times without a change" if self.rows > 1 else ""
        return self.event.tip("Oxygen device", self.device + given) + rows


def _steps(devices: list[Event], flows: list[Event]) -> list[Step]:
    """Devices until the next one, their end, or at most a day, cut where flow or inspired oxygen was charted anew."""
    steps = []
    for n, event in enumerate(devices):
        following = devices[n + 1].x if n + 1 < len(devices) else None
        end = event.end if event.end is not None else event.x + DEVICE_VALID_D
        end = min(end, following) if following is not None and following > event.x else end
        turns = [f for f in flows if event.x - FLOW_BEFORE_D <= f.x < max(end, event.x + 1e-6)]
        for start, stop, flow, fio2 in _stretches(event.x, end, turns):
            step = Step(start, stop, _support(event.text, flow.number if flow else None), event, flow, fio2)
            if steps and steps[-1].key == step.key and start - steps[-1].stop < 1e-6:
                steps[-1] = steps[-1]._replace(stop=stop, rows=steps[-1].rows + 1)
            else:
                steps.append(step)
    return steps


def _devices(panel: Panel, course: Course, devices: list[Event], flows: list[Event]) -> None:
    """The step, and the name of each device where it stands free: a peak above it, a rise on its left, a fall on its right."""
    top = panel.height + 16
    heights = [top + (3 - n) * 17.0 for n in range(4)]
    panel.height = heights[0] + 8
    for name, y in zip(_LEVELS, heights, strict=True):
        panel.body += [line(LEFT, y, RIGHT, y, "g"), label(LEFT - 6, y + 3.7, name, "n", "end")]
    steps = _steps(devices, flows)
    before: Step | None = None
    for step in steps:
        x1, x2, y = course.axis.x(step.start), course.axis.x(step.stop), heights[step.level]
        panel.body.append(rect(x1, y - 2, x2 - x1, heights[0] + 2 - y, "o2", step.tip))
        panel.body.append(line(x1, y, max(x2, x1 + 2), y, "l w"))
        if before and before.level != step.level and step.start - before.stop < 1e-6:
            panel.body.append(line(x1, heights[before.level], x1, y, "l"))
        before = step
    runs = [list(group) for _, group in groupby(steps, key=lambda s: (s.device, s.level))]
    taken: list[tuple[int, float, float]] = []
    for n, run in enumerate(runs):
        level = run[0].level
        if not level:
            continue
        left = next((r[0].level for r in reversed(runs[:n]) if r[0].level != level), 0)
        right = next((r[0].level for r in runs[n + 1 :] if r[0].level != level), 0)
        text = run[0].device + _flow_range(run)
        width = len(text) * CHAR_PX
        x1, x2 = course.axis.x(run[0].start), course.axis.x(run[-1].stop)
        beside = (x1 - 4 - width, 4.0) if left <= level < right else (x2 + 5, 4.0) if right <= level < left else (x1, -5.0)
        x = min(max(beside[0], LEFT + 2), RIGHT - width)
        if not any(at == level and a < x + width and x < b for at, a, b in taken):
            panel.body.append(label(x, heights[level] + beside[1], text, "v h"))
            taken.append((level, x, x + width + 6))


def _flow_range(run: list[Step]) -> str:
    flows = [s.flow.number for s in run if s.flow and s.flow.number is not None]
    if not flows:
        return ""
    low, high = number(min(flows)), number(max(flows))
    return f" {low} L/min" if low == high else f" {low}–{high} L/min"


def _stretches(start: float, end: float, turns: list[Event]) -> list[tuple[float, float, Event | None, Event | None]]:
    """A device's time cut where its flow or inspired oxygen was charted anew."""
    found: list[tuple[float, float, Event | None, Event | None]] = []
    flow = fio2 = None
    at = start
    for turn in turns:
        if turn.x > at:
            found.append((at, turn.x, flow, fio2))
            at = turn.x
        flow, fio2 = (turn, fio2) if turn.code == "o2_flow" else (flow, turn)
    return [*found, (at, max(end, at), flow, fio2)]


def neurology(course: Course) -> Panel | None:
    """ICE or CAPD, and beneath it consciousness, seizures, motor and pressure signs."""
    ice, capd, items = course.of("ice"), course.of("capd"), _ice_sums(course)
    panel = Panel("Neurology", "", 0)
    if ice or items:
        axis = linear([], 0, 10, 1, 10, 76)
        panel.unit, panel.height = "ICE, 0–10", 84
        panel.plot(axis, (0, 3, 7, 10))
        readings(panel, course, ice, axis, "ICE", filled=lambda s: s < 10)
        readings(panel, course, items, axis, "ICE, sum of its items", filled=lambda s: s < 10, shape="diamond")
    if capd:
        axis = linear(_numbers(capd), 0, 16, 4, panel.height + 10, panel.height + 76)
        panel.unit, panel.height = ("ICE and CAPD" if panel.height else "CAPD"), panel.height + 84
        panel.plot(axis, range(0, int(axis.high) + 1, 4 if axis.high <= 16 else 8))
        panel.threshold(axis, 9, "CAPD 9")
        readings(panel, course, capd, axis, "CAPD", filled=lambda s: s >= 9)
    words(panel, course, "consciousness", "consciousness", quiet=("alert",))
    words(panel, course, "seizure", "seizure", quiet=("none",))
    words(panel, course, "seizure_outcome", "seizure outcome", quiet=())
    words(panel, course, "motor", "motor", quiet=("none",))
    words(panel, course, "icp_sign", "intracranial pressure", quiet=("none",))
    words(panel, course, "sedated", "sedated", quiet=("no",))
    words(panel, course, "haemorrhage", "haemorrhage", quiet=("no",))
    for drug in of_group("antiseizure"):
        doses(panel, course, drug, "square")
    return panel if panel.height else None


def _ice_sums(course: Course) -> list[Event]:
    """Scores from items, where all five were charted at one time and no score was."""
    at: dict[float, dict[str, Event]] = {}
    for event in course.of(*ICE_PARTS):
        at.setdefault(event.x, {})[event.code] = event
    scored = {e.x for e in course.of("ice")}
    sums = []
    for x, items in at.items():
        if len(items) == len(ICE_PARTS) and x not in scored and all(e.number is not None for e in items.values()):
            total = sum(e.number or 0.0 for e in items.values())
            sums.append(items["ice_orientation"]._replace(code="ice", number=total, unit=None))
    return sums


# Concept, name in the margin, logarithmic, least and greatest end of the axis, cut-offs for orientation.
_LABS = (
    ("crp", "CRP", False, 0.0, 100.0, ()),
    ("ferritin", "Ferritin", True, 100.0, 1000.0, ()),
    ("anc", "ANC", True, 100.0, 1000.0, (500.0,)),
    ("platelets", "Platelets", False, 0.0, 100.0, (50.0,)),
)


def labs(course: Course) -> list[Panel]:
    """A small plot for each laboratory series, one beneath the other on the same days."""
    panels = []
    for code, name, log, low, high, cuts in _LABS:
        events = [e for e in course.of(code) if e.number is not None]
        if not events:
            continue
        values = _numbers(events)
        panel = Panel(name, unit_text(events[0].unit or concept(code).unit), 52)
        if log:
            axis = decades(values, low, high, 9, 46)
            ticks = [t for t in (10.0**n for n in range(-1, 8)) if axis.low <= t <= axis.high]
            ticks = ticks if len(ticks) <= 4 else ticks[:: 2 if len(ticks) < 7 else 3]
        else:
            step = 50.0 if max(values) <= 200 else 100.0 if max(values) <= 400 else 200.0
            axis = linear(values, low, high, step, 9, 46)
            ticks = [axis.low, (axis.low + axis.high) / 2, axis.high]
        panel.plot(axis, ticks)
        for cut in cuts:
            panel.threshold(axis, cut, number(cut))
        cut = max(cuts, default=float("-inf"))
        readings(panel, course, events, axis, title_of(code), filled=lambda v, cut=cut: v <= cut, gap_d=4.0)
        if code == "anc":
            for drug in of_group("g_csf"):
                doses(panel, course, drug, "up")
        panels.append(panel)
    if not any(p.name == "ANC" for p in panels):
        lone = Panel("Growth factor", "", 0)
        for drug in of_group("g_csf"):
            doses(lone, course, drug, "up")
        panels += [lone] if lone.height else []
    return panels


def _numbers(events: list[Event]) -> list[float]:
    return [e.number for e in events if e.number is not None]


# What a reader looks for, and the concepts that would show it.
CHARTABLE = {
    "temperature": ("temperature",),
    "blood pressure": ("sbp", "map", "hypotension"),
    "oxygen saturation": ("spo2",),
    "oxygen device": ("o2_device",),
    "ICE or CAPD": ("ice", "capd", *ICE_PARTS),
    "consciousness": ("consciousness",),
    "CRP": ("crp",),
    "ferritin": ("ferritin",),
    "neutrophils": ("anc",),
    "platelets": ("platelets",),
}


def not_charted(course: Course) -> list[str]:
    """What the record of these days does not hold."""
    return [name for name, codes in CHARTABLE.items() if not course.of(*codes)]
