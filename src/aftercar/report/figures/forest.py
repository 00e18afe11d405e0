"""The forest plot: published rates of one scale with what they make together, and a cohort of one's own beside them, apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.cohort.outcome import Outcome
from aftercar.grade.run import SCALES
from aftercar.intervals import wilson
from aftercar.report.figures.draw import TOP, Figure, dataset_notes, framed
from aftercar.report.svg import ValueAxis, label, line, px, tip
from aftercar.synthesis.published import MIXED, Group, rows

NAME, DISEASE, COUNT, LEFT, RIGHT, SHARE, WEIGHT = 0.0, 150.0, 318.0, 330.0, 640.0, 655.0, 840.0
ROW = 19.0
UNCHECKED = {"memory": "†", "lecture-only": "‡"}
MEANING = {"†": "from memory, to be checked against the source", "‡": "told by a lecture alone"}
# What trials call the scales of our families: another version is another scale.
CALLED = {
    "crs": "ASTCT 2019",
    "crs_lee2014": "Lee 2014",
    "crs_penn2018": "Penn",
    "crs_ctcae5": "CTCAE v5.0",
    "icans": "ASTCT 2019",
    "neuro_ctcae": "CTCAE v5.0",
}
_ENDPOINTS = {("crs", 1): "crs_any", ("crs", 3): "crs_g3plus", ("icans", 1): "icans_any", ("icans", 3): "icans_g3plus", ("neuro_ctcae", 1): "nt_any", ("neuro_ctcae", 3): "nt_g3plus", ("spm", 1): "spm"}  # fmt: skip


@dataclass(frozen=True)
class Own:
    """A cohort of one's own: how many of the courses in which it is decided reached the grade, and in how many it is not."""

    outcome: Outcome
    events: int
    n: int
    undecided: int
    simulated: bool = False

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """Wilson's."""
        return wilson(self.events, self.n)

    @property
    def scale(self) -> str:
        """What trials call the scale; our own name of it where none has it."""
        return CALLED.get(self.outcome.family, SCALES[self.outcome.scales[0]].title)

    def fits(self, scale: str) -> bool:
        """Whether trials graded on the same scale."""
        return self.outcome.family in CALLED and scale.startswith(self.scale)


@dataclass(frozen=True)
class Section:
    """Studies under a heading, and the cohort beneath them where it is to be drawn there."""

    heading: str
    group: Group
    own: Own | None = None
    parts: list[Group] = field(default_factory=list[Group])


def endpoint_of(outcome: Outcome) -> str | None:
    """The published endpoint that an outcome is."""
    family = "crs" if outcome.toxicity == "crs" else outcome.family
    return _ENDPOINTS.get((family, outcome.cut))


def own_rate(worst: pl.DataFrame, outcome: Outcome, *, simulated: bool = False) -> Own:
    """The rate of an outcome in `worst`, of the courses to which the scale applies."""
    applies = worst.filter(col("scale").is_in(outcome.scales) & (col("status").cast(pl.String) != "not_applicable"))
    reached, perhaps = applies.filter(outcome.reached()).height, applies.filter(outcome.reached("grade_upper")).height
    return Own(outcome, reached, applies.height - (perhaps - reached), perhaps - reached, simulated)


def sections(
    groups: Sequence[Group], own: Own | None, parts: dict[str, list[Group]] | None = None, *, mix: bool = False
) -> list[Section]:
    """A section a scale; the cohort stands in those of its own scale, or with `mix` in the last one too."""
    found = [
        Section(
            g.scale, g, own if own and (own.fits(g.scale) or (mix and g.scale == MIXED)) else None, (parts or {}).get(g.scale, [])
        )
        for g in groups
    ]
    if own and mix and all(s.own is None for s in found) and found:
        found[-1] = Section(found[-1].heading, found[-1].group, own, found[-1].parts)
    return found


def forest(title: str, shown: Sequence[Section], *, notes: Sequence[str] = (), note: str | None = None) -> Figure:
    """Draw sections one beneath the other, on one axis.

    Args:
        note: what the dataset of the cohort says of itself.
    """
    data = _data(shown)
    if data.is_empty():
        return framed(title, "No study.", TOP + 20, [label(0, TOP + 14, "No study tells counts.", "n")], list(notes), data)
    axis, ticks = _axis(data)
    top = TOP + 30.0
    body: list[str] = []
    y = top
    for section in shown:
        y = _section(body, section, axis, y)
    parts = [
        label(NAME, top - 14, "Study", "k"), label(DISEASE, top - 14, "Disease", "k"), label(COUNT, top - 14, "Events / n", "k", "end"),
        label(SHARE, top - 14, "Per cent (95 % interval)", "k"), label(WEIGHT, top - 14, "Weight", "k", "end"), line(0, top - 8, 900, top - 8, "ax"),
    ]  # fmt: skip
    for tick in ticks:
        parts += [
            line(axis.y(tick), top - 6, axis.y(tick), y, "g"),
            label(axis.y(tick), y + 13, f"{tick:.3g}".rstrip(), "t", "middle"),
        ]
    parts += [line(LEFT, y, RIGHT, y, "ax"), label(RIGHT, y + 27, "per cent of patients", "t", "end")]
    marks = {UNCHECKED[v] for s in shown for v in s.group.studies["verified"].drop_nulls() if v in UNCHECKED}
    told = [
        "Square: a study, larger with more weight (weights of log odds with known variances), with Wilson's interval. Diamond: put together by the binomial-normal model, with its 95 % interval; dashed: where a further study may lie. LR: likelihood ratio of no variance between studies; I²: of log odds."
    ]
    if marks:
        told.append("Open square: the number is " + "; ".join(f"{m} {MEANING[m]}" for m in sorted(marks)) + ".")
    owns = [s.own for s in shown if s.own]
    if owns:
        told.append(
            "Circle: this cohort, derived by software and not adjudicated, drawn for comparison and not put together with the studies. Patients, follow-up and charting differ; nothing is adjusted for."
        )
        told += dataset_notes(any(o.simulated for o in owns), note)
    return framed(
        title,
        _spoken(shown),
        y + 24,
        parts + body,
        [*told, *notes, "Trials were not randomised against one another: no product is ranked."],
        data,
    )


def weights(group: Group) -> list[float | None]:
    """The share that each study has in what they make together by log odds."""
    if group.logit is None:
        return [None] * group.studies.height
    raw: list[float] = []
    for k, n in group.studies.select("events", "n").iter_rows():
        half = 0.5 * (k in (0, n))
        raw.append(1 / (1 / (k + half) + 1 / (n - k + half) + group.logit.tau2))
    return [w / sum(raw) for w in raw]


def _section(body: list[str], section: Section, axis: ValueAxis, y: float) -> float:
    group = section.group
    body.append(label(NAME, y + 12, section.heading, "p"))
    y += ROW
    if group.scale != MIXED or not group.studies.is_empty():
        for row, weight in zip(group.studies.to_dicts() if group.scale != MIXED else [], weights(group), strict=False):
            body += _study(row, weight, axis, y)
            y += ROW
    for part in [*section.parts, group]:
        if part.pooled is not None or part is group:
            body += _together(part, axis, y)
            y += ROW
            if part.pooled is not None:
                body.append(label(NAME + 10, y + 10, heterogeneity(part), "t"))
                further = part.pooled.prediction()
                if further is not None:
                    body.append(label(SHARE, y + 10, f"a further study: {percent(further[0])} to {percent(further[1])}", "t"))
                y += ROW - 2
    if section.own is not None:
        body.append(line(0, y + 2, 900, y + 2, "cut"))
        y += 6
        body += _own(section.own, axis, y)
        y += ROW
        if section.own.undecided:
            u = section.own
            body.append(
                label(
                    NAME + 10,
                    y + 9,
                    f"undecided for want of data: {u.undecided}; were all of them, {percent((u.events + u.undecided) / (u.n + u.undecided))} per cent",
                    "t",
                )
            )
            y += ROW - 4
    return y + 6


def _study(row: dict[str, Any], weight: float | None, axis: ValueAxis, y: float) -> list[str]:
    middle = y + 8
    sign = UNCHECKED.get(row["verified"] or "", "")
    half = 2.5 + 5 * (weight or 0.08) ** 0.5
    text = f"{row['trial_id']}, {row['product']}: {row['events']} of {row['n']}, {told_of(row['share'], row['low'], row['high'])} per cent; {row['source']}, {row['ref_id']}, {row['verified']}"
    x = axis.y(100 * row["share"])
    name = (
        f"{row['trial_id']}"
        + (f", {row['product']}" if row["product"] and row["product"] != "all" else "")
        + (", meta-analysis" if row["source"] == "meta-analysis" else "")
    )
    cls = "o2q" if sign else "b2"
    return [
        label(NAME + 10, y + 12, _short(name, 25), "t"), label(DISEASE, y + 12, _short(row["disease"] or "", 22), "t"), label(COUNT, y + 12, f"{row['events']} / {row['n']}", "t", "end"),
        line(axis.y(100 * row["low"]), middle, axis.y(100 * row["high"]), middle, "l"),
        f'<path class="{cls}" d="M{px(x - half)} {px(middle - half)}h{px(2 * half)}v{px(2 * half)}h{px(-2 * half)}z">{tip(text)}</path>',
        label(SHARE, y + 12, told_of(row["share"], row["low"], row["high"]) + (f" {sign}" if sign else ""), "t"),
        label(WEIGHT, y + 12, f"{100 * weight:.0f} %" if weight is not None else "", "t", "end"),
    ]  # fmt: skip


def _together(group: Group, axis: ValueAxis, y: float) -> list[str]:
    k, n = int(group.studies["events"].sum()), int(group.studies["n"].sum())
    name = f"{group.part} together" if group.part else "several scales together" if group.scale == MIXED else "together"
    if group.pooled is None:
        return [label(NAME + 10, y + 12, f"Not put together: {group.why}." if group.why else "Not put together.", "t")]
    share, low, high = group.pooled.rate()
    middle = y + 8
    x1, x, x2 = (axis.y(100 * v) for v in (low, share, high))
    text = f"{name}: {told_of(share, low, high)} per cent of {group.studies.height} studies"
    found = [
        label(NAME + 10, y + 12, _short(f"{name} ({group.studies.height})", 44), "k"), label(COUNT, y + 12, f"{k} / {n}", "k", "end"),
        f'<path class="div2" d="M{px(x1)} {px(middle)}L{px(x)} {px(middle - 6)}L{px(x2)} {px(middle)}L{px(x)} {px(middle + 6)}z">{tip(text)}</path>',
        label(SHARE, y + 12, told_of(share, low, high), "k"),
    ]  # fmt: skip
    further = group.pooled.prediction()
    if further is not None:
        a, b = (axis.y(100 * v) for v in further)
        found.append(
            f'<path class="cut" d="M{px(a)} {px(middle + 9)}H{px(b)}M{px(a)} {px(middle + 6)}v6M{px(b)} {px(middle + 6)}v6">{tip(f"a further study: {percent(further[0])} to {percent(further[1])} per cent")}</path>'
        )
    return found


def heterogeneity(group: Group) -> str:
    """How far studies differ: their variance, the likelihood ratio of none, and I2 of the log odds."""
    assert group.pooled is not None
    p = "p < 0.001" if group.pooled.p < 0.001 else f"p = {group.pooled.p:.3f}"
    i2 = f", I² {group.logit.i2:.0%}" if group.logit is not None and group.logit.i2 is not None else ""
    return f"tau² {group.pooled.tau2:.2f}, LR {group.pooled.heterogeneity:.1f} on {group.pooled.df}, {p}{i2}"


def _own(own: Own, axis: ValueAxis, y: float) -> list[str]:
    name = f"this cohort{', SIMULATED' if own.simulated else ''}: {own.outcome.name}"
    found = [label(NAME + 10, y + 12, _short(name, 47), "k"), label(COUNT, y + 12, f"{own.events} / {own.n}", "k", "end")]
    low, high = own.interval
    if low is None or high is None:
        return [*found, label(SHARE, y + 12, "none decided", "t")]
    share, middle = own.events / own.n, y + 8
    text = f"{name}: {own.events} of {own.n}, {told_of(share, low, high)} per cent"
    return [
        *found, line(axis.y(100 * low), middle, axis.y(100 * high), middle, "l w"),
        f'<circle class="g0 ring" cx="{px(axis.y(100 * share))}" cy="{px(middle)}" r="5">{tip(text)}</circle>', label(SHARE, y + 12, told_of(share, low, high), "k"),
    ]  # fmt: skip


def _axis(data: pl.DataFrame) -> tuple[ValueAxis, list[float]]:
    """Per cent from 0 on, as far as the intervals go."""
    most = 100 * float(max(data["high"].max() or 0.0, data["further_high"].max() or 0.0, 0.005))  # type: ignore[type-var]
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if most / s <= 6 or s == 20)
    top = min(ceil(most / step) * step, 100.0)
    return ValueAxis(0.0, top, RIGHT, LEFT), [n * step for n in range(int(top / step + 1e-9) + 1)]


def _data(shown: Sequence[Section]) -> pl.DataFrame:
    """Every study, what they make together, and the cohort: the rows of the drawing."""
    tables: list[pl.DataFrame] = []
    for section in shown:
        told = rows(section.heading, [section.group, *section.parts]).drop("endpoint")
        kind = pl.when(col("trial_id").is_not_null()).then(lit("study")).otherwise(lit("together"))
        weighed = pl.Series(
            "weight",
            [*(weights(section.group) if section.group.scale != MIXED else []), *[None] * (1 + len(section.parts))],
            dtype=pl.Float64,
        )
        tables.append(told.with_columns(kind=kind, section=lit(section.heading)).with_columns(weighed))
        if section.own is not None:
            own = section.own
            low, high = own.interval
            row = {
                "kind": "cohort", "section": section.heading, "scale": own.scale, "trial_id": own.outcome.name, "events": own.events, "n": own.n,
                "share": own.events / own.n if own.n else None, "low": low, "high": high, "undecided": own.undecided,
            }  # fmt: skip
            tables.append(pl.DataFrame([row], schema_overrides={"share": pl.Float64, "low": pl.Float64, "high": pl.Float64}))
    if not tables:
        return pl.DataFrame(schema={"kind": pl.String})
    whole = pl.concat(tables, how="diagonal_relaxed")
    if "undecided" not in whole.columns:
        whole = whole.with_columns(undecided=lit(None, pl.Int64))
    return whole.select("section", "kind", pl.exclude("section", "kind", "why"), "why")


def told_of(share: float, low: float, high: float) -> str:
    """A share with its interval, in per cent."""
    return f"{percent(share)} ({percent(low)} to {percent(high)})"


def percent(share: float) -> str:
    """A share as per cent, with two figures or the nearest whole."""
    value = 100 * share
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 or value == 0 else f"{value:.2f}"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _spoken(shown: Sequence[Section]) -> str:
    told: list[str] = []
    for s in shown:
        g = s.group
        text = f"{s.heading}: {g.studies.height} stud{'y' if g.studies.height == 1 else 'ies'}"
        if g.pooled is not None:
            text += f", together {told_of(*g.pooled.rate())} per cent"
        if s.own is not None and s.own.n:
            low, high = s.own.interval
            text += f"; this cohort {told_of(s.own.events / s.own.n, low or 0.0, high or 1.0)} per cent"
        told.append(text + ".")
    return " ".join(told)
