"""A slow scorer, one patient at a time in plain Python, written from the published tables as `docs/risk.md` words them.

Nothing is shared with `aftercar`. Rows are dictionaries with `time, code, value, text, note, id`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

Row = dict[str, Any]
Tri = bool | None
LD = ("fludarabine", "cyclophosphamide", "bendamustine")
G_CSF = ("filgrastim", "pegfilgrastim")
LOWER_IS_WORSE = ("platelets", "anc", "hemoglobin")
BCMA = ("ide-cel", "cilta-cel")
ALL = re.compile(r"\bALL\b|lymphoblastic", re.IGNORECASE)


@dataclass
class Answer:
    """What a score says: bounds (null: none), group where it is settled, status, flags and the rows behind."""

    low: float | None
    high: float | None
    group: str | None
    status: str
    flags: set[str]
    rows: set[int]


class Course:
    """One infusion of one patient."""

    def __init__(self, rows: list[Row], day0: datetime | None, until: datetime | None, about: dict[str, str | None]) -> None:
        self.rows = [r for r in rows if until is None or r["time"] < until]
        self.day0 = day0
        self.about = about
        ends = [r["time"] for r in rows]
        ends += [r["time"] for r in rows if r["code"] == "death"]
        self.end = max(ends)
        for r in rows:
            if r["code"] == "death" and (until is None or r["time"] < until) and day0 and r["time"].date() >= day0.date():
                self.end = min(self.end, r["time"])
        if until is not None:
            self.end = min(self.end, until - timedelta(seconds=1))

    def day(self, time: datetime) -> int:
        assert self.day0
        return (time.date() - self.day0.date()).days

    def hours(self, time: datetime) -> float:
        assert self.day0
        return (time - self.day0).total_seconds() / 3600

    def lymphodepletion(self) -> datetime | None:
        """The first dose of the last treatment before the infusion."""
        doses = sorted(
            r["time"] for r in self.rows
            if r["code"] in LD and r["value"] != 0 and self.hours(r["time"]) < 0 and self.day(r["time"]) >= -30
        )  # fmt: skip
        if not doses:
            return None
        first = doses[-1]
        for earlier, later in zip(reversed(doses[:-1]), reversed(doses), strict=False):
            if self.day(later) - self.day(earlier) > 3:
                break
            first = earlier
        return first

    def before_ld(self, code: str, first: int = -10, last: int = -3) -> Row | None:
        began = self.lymphodepletion()
        inside = [
            r for r in self.rows
            if r["code"] == code and r["value"] is not None and first <= self.day(r["time"]) <= last and (began is None or r["time"] <= began)
        ]  # fmt: skip
        return worst_of_last(inside)

    def on_day(self, code: str, day: int) -> Row | None:
        return worst_of_last(
            [r for r in self.rows if r["code"] == code and r["value"] is not None and self.day(r["time"]) == day]
        )

    def recently(self, row: Row | None, drugs: tuple[str, ...]) -> bool:
        """A drug in the seven days up to the row."""
        if row is None:
            return False
        span = timedelta(days=7)
        return any(r["code"] in drugs and r["value"] != 0 and timedelta(0) <= row["time"] - r["time"] <= span for r in self.rows)


def worst_of_last(rows: list[Row]) -> Row | None:
    if not rows:
        return None
    latest = max(r["time"] for r in rows)
    rows = [r for r in rows if r["time"] == latest]
    sign = -1 if rows[0]["code"] in LOWER_IS_WORSE else 1
    return max(rows, key=lambda r: (sign * r["value"], r["id"]))


def courses(rows: list[Row]) -> list[Course]:
    """The courses of a patient: doses more than 14 days after the one before begin another."""
    doses = sorted(r["time"] for r in rows if r["code"] == "cart_infusion")
    starts: list[datetime] = []
    for n, time in enumerate(doses):
        if n == 0 or (time - doses[n - 1]).days > 14:
            starts.append(time)
    words = {code: [r["text"] for r in rows if r["code"] == code and r["text"]] for code in ("disease", "target")}
    found = []
    for n, start in enumerate(starts):
        until = starts[n + 1] if n + 1 < len(starts) else None
        own = [
            r["text"]
            for r in sorted(rows, key=lambda r: (r["time"], r["text"] or ""))
            if r["code"] == "cart_infusion" and r["text"] and r["time"] >= start and (until is None or r["time"] < until)
        ]
        product = own[0] if own else None
        target = (
            words["target"][-1] if words["target"] else "BCMA" if product in BCMA else "CD19" if product == "axi-cel" else None
        )
        about = {"disease": words["disease"][-1] if words["disease"] else None, "target": target}
        found.append(Course(rows, start, until, about))
    return found or [Course(rows, None, None, {"disease": words["disease"][-1] if words["disease"] else None, "target": None})]


def none_of(status: str, flags: set[str] | None = None, rows: set[int] | None = None) -> Answer:
    return Answer(None, None, None, status, flags or set(), rows or set())


def car_hematotox(c: Course, ties: str = "anc0_hb0_crp1") -> Answer:
    if c.day0 is None:
        return none_of("not_applicable")
    disease = c.about["disease"]
    platelets, anc, hb, crp, ferritin = (c.before_ld(code) for code in ("platelets", "anc", "hemoglobin", "crp", "ferritin"))
    tie = {"anc0_hb0_crp1": (0, 0, 1), "all_0": (0, 0, 0), "all_1": (1, 1, 1)}[ties]
    items: list[tuple[int, int]] = []

    def item(row: Row | None, most: int, score: Any) -> None:
        items.append((0, most) if row is None else (score(row["value"]), score(row["value"])))

    item(platelets, 2, lambda v: 0 if v > 175 else 2 if v < 75 else 1)
    item(anc, 1, lambda v: tie[0] if v == 1200 else int(v < 1200))
    item(hb, 1, lambda v: tie[1] if v == 9 else int(v < 9))
    item(crp, 1, lambda v: tie[2] if v == 30 else int(v > 30))  # mg/L
    item(ferritin, 2, lambda v: 0 if v < 650 else 2 if v > 2000 else 1)
    flags = set()
    if disease is None:
        flags.add("population_unknown")
    elif ALL.search(disease):
        flags |= {"not_for_all", "other_population"}
    elif not re.search(r"LBCL|MCL|myeloma", disease):
        flags.add("other_population")
    if c.lymphodepletion() is None:
        flags.add("lymphodepletion_not_charted")
    if c.recently(platelets, ("platelet_transfusion",)):
        flags.add("platelets_transfused")
    if c.recently(anc, G_CSF):
        flags.add("g_csf")
    if disease and ALL.search(disease):
        return none_of("not_applicable", flags)
    low, high = sum(i[0] for i in items), sum(i[1] for i in items)
    groups = {"high" if v >= 2 else "low" for v in (low, high)}
    rows = {r["id"] for r in (platelets, anc, hb, crp, ferritin) if r}
    return Answer(low, high, groups.pop() if len(groups) == 1 else None, "scored" if low == high else "incomplete", flags, rows)


def easix(c: Course, kind: str, window: str, lod: str = "half") -> Answer:
    if c.day0 is None:
        return none_of("not_applicable")
    codes = {
        "easix": ("ldh", "creatinine", "platelets"),
        "s_easix": ("ldh", "platelets"),
        "m_easix": ("ldh", "crp", "platelets"),
    }[kind]
    drawn = {code: c.before_ld(code) if window == "before_ld" else c.on_day(code, int(window[4:])) for code in codes}
    rows = {r["id"] for r in drawn.values() if r}
    flags = {f"{code}_not_above_0" for code, r in drawn.items() if r and r["value"] <= 0}
    refused = bool(flags)
    if any(r and "charted as" in (r["note"] or "") for r in drawn.values()):
        flags.add("beyond_assay")
    if c.recently(drawn["platelets"], ("platelet_transfusion",)):
        flags.add("platelets_transfused")
    if refused:
        return none_of("refused", flags, rows)
    if None in drawn.values():
        return none_of("incomplete", flags, rows)
    value = {code: r["value"] for code, r in drawn.items() if r}
    result = value["ldh"] / value["platelets"]
    if kind == "easix":
        result *= value["creatinine"]
    if kind == "m_easix":
        below = drawn["crp"]["note"] == "charted as <"  # type: ignore[index]
        result *= value["crp"] / 10 / (2 if below and lod == "half" else 1)
    return Answer(result, result, None, "scored", flags, rows)


def highest(rows: list[Row]) -> Row | None:
    """Of equal ones the first."""
    return min(rows, key=lambda r: (-r["value"], r["time"], r["id"])) if rows else None


def early(c: Course, cuts: dict[str, float], gap_h: float = 12) -> Answer:
    """Fever of 38.9 and all of the cuts, within 36 hours."""
    if c.day0 is None:
        return none_of("not_applicable")
    inside = [r for r in c.rows if 0 <= c.hours(r["time"]) <= 36 and r["value"] is not None]
    temps = [r for r in inside if r["code"] == "temperature"]
    hot: Tri = None
    if any(r["value"] >= 38.9 - 1e-6 for r in temps):
        hot = True
    elif temps:
        at = sorted(c.hours(r["time"]) for r in temps)
        watched = all(b - a <= gap_h + 1e-9 for a, b in zip([0.0, *at], [*at, 36.0], strict=True))
        if watched and c.hours(c.end) >= 36:
            hot = False
    met: list[Tri] = [hot]
    behind = [highest(temps)]
    for code, cut in cuts.items():
        values = [r for r in inside if r["code"] == code]
        met.append(None if not values else max(r["value"] for r in values) >= cut)
        behind.append(highest(values))
    low, high = all(m is True for m in met), all(m is not False for m in met)
    group = "high" if low else "low" if not high else None
    if group is None and hot and "il6" not in cuts and met[1] is None:
        group = "needs_mcp1"
    return Answer(
        float(low), float(high), group, "scored" if low == high else "incomplete", set(), {r["id"] for r in behind if r}
    )


def alc_peak(c: Course) -> Answer:
    if c.day0 is None:
        return none_of("not_applicable")
    target = c.about["target"]
    flags = {"target_unknown"} if target is None else {"not_bcma"} if target != "BCMA" else set()
    if "not_bcma" in flags:
        return none_of("not_applicable", flags)
    counts = [r for r in c.rows if r["code"] == "alc" and r["value"] is not None and 0 <= c.day(r["time"]) <= 30]
    above = any(r["value"] > 3.0 for r in counts)
    watched = any(10 <= c.day(r["time"]) <= 21 for r in counts)
    low, high = above, above or not watched
    top = highest(counts)
    group = None if low != high else "high" if low else "low"
    return Answer(float(low), float(high), group, "scored" if low == high else "incomplete", flags, {top["id"]} if top else set())


def same(a: float | None, b: float | None) -> bool:
    return a is b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-7, abs_tol=1e-9))
