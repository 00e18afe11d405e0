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
from aftercar.synthesis.published import MIXED, NOT_TOLD, PUBLISHED, RANGE, ROWS, STUDY, WILSON, Group, rows, shaped

NAME, DISEASE, COUNT, LEFT, RIGHT, SHARE, WEIGHT = 0.0, 150.0, 318.0, 330.0, 640.0, 655.0, 840.0
ROW = 19.0
SCALE_NOTE = "§"  # at a study of whose scale there is more to say
NO_COUNTS = "percentage only"  # the kind of the rows that tell no counts
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
        return self.outcome.family in CALLED and scale == self.scale


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
    """A section a scale; the cohort stands in that of its own scale, or with `mix` in the last one too, and alone where there is neither."""
    found = [
        Section(
            g.scale, g, own if own and (own.fits(g.scale) or (mix and g.scale == MIXED)) else None, (parts or {}).get(g.scale, [])
        )
        for g in groups
    ]
    if own and mix and all(s.own is None for s in found) and found:
        found[-1] = Section(found[-1].heading, found[-1].group, own, found[-1].parts)
    if own and all(s.own is None for s in found):
        found.append(Section(f"No study as this cohort: {own.scale}", _nobody(own.scale), own))
    return found


def _nobody(scale: str) -> Group:
    """A group without a study."""
    return Group(scale, pl.DataFrame(schema={name: ROWS.get(name, pl.String) for name in STUDY}), None, None, None, "no study")


def scale_notes(studies: pl.DataFrame) -> list[str]:
    """What is to be said of the scale of studies, a line each."""
    return [f"{trial}: {note}" for trial, note in studies.select("trial_id", "note").drop_nulls("note").iter_rows()]


def forest(
    title: str,
    shown: Sequence[Section],
    *,
    notes: Sequence[str] = (),
    note: str | None = None,
    without_counts: pl.DataFrame | None = None,
) -> Figure:
    """Draw sections one beneath the other, on one axis.

    Args:
        note: what the dataset of the cohort says of itself.
        without_counts: studies that tell a percentage and no counts, of `published.without_counts`: drawn beneath, apart by their scale or horizon.
    """
    alone = [] if without_counts is None else apart(without_counts)
    data = _data(shown, alone)
    if data.is_empty():
        return framed(title, "No study.", TOP + 20, [label(0, TOP + 14, "No study.", "n")], list(notes), data)
    axis, ticks = _axis(data)
    top = TOP + 30.0
    body: list[str] = []
    y = top
    for section in shown:
        y = _section(body, section, axis, y)
    if alone:
        body.append(label(NAME, y + 12, "Percentage only, not put together", "p"))
        y += ROW
    for heading, own in alone:
        body.append(label(NAME + 10, y + 12, heading, "k"))
        for n, row in enumerate(own.iter_rows(named=True), start=1):
            body += _without_counts(row, axis, y + n * ROW)
        y += (own.height + 1) * ROW + 2
    parts = [
        label(NAME, top - 14, "Study", "k"), label(DISEASE, top - 14, "Disease", "k"), label(COUNT, top - 14, "Events / n", "k", "end"),
        label(SHARE, top - 14, "Per cent (95 % interval)", "k"), label(WEIGHT, top - 14, "Weight" if data["weight"].count() else "", "k", "end"), line(0, top - 8, 900, top - 8, "ax"),
    ]  # fmt: skip
    for tick in ticks:
        parts += [
            line(axis.y(tick), top - 6, axis.y(tick), y, "g"),
            label(axis.y(tick), y + 13, f"{tick:.3g}".rstrip(), "t", "middle"),
        ]
    parts += [line(LEFT, y, RIGHT, y, "ax"), label(RIGHT, y + 27, "per cent of patients", "t", "end")]
    told = _legend(shown, alone)
    unchecked = data.filter(col("verified").is_in(list(UNCHECKED)))
    if not unchecked.is_empty():
        signs = sorted({UNCHECKED[v] for v in unchecked["verified"]})
        told.append(
            "; ".join(f"{m} {MEANING[m]}" for m in signs) + (": an open square." if "study" in unchecked["kind"] else ".")
        )
    owns = [s.own for s in shown if s.own]
    if owns:
        told.append(
            "Circle: this cohort, derived by software and not adjudicated, drawn for comparison and not put together with the studies. Patients, follow-up and charting differ; nothing is adjusted for."
        )
        told += dataset_notes(any(o.simulated for o in owns), note)
    return framed(
        title,
        _spoken(shown, alone),
        y + 24,
        parts + body,
        [*told, *notes, "Trials were not randomised against one another: no product is ranked."],
        data,
    )


def _legend(shown: Sequence[Section], alone: Sequence[tuple[str, pl.DataFrame]]) -> list[str]:
    """What the marks mean, of those that are there."""
    studies = [s.group.studies for s in shown if s.group.scale != MIXED and not s.group.studies.is_empty()]
    told: list[str] = []
    if studies:
        told.append(
            "Square: a study, larger with more weight (weights of log odds with known variances), with Wilson's interval."
        )
    if any(PUBLISHED in frame["interval"] for frame in studies):
        told[-1] = told[-1][:-1] + "; of a meta-analysis the rate and interval that it tells."
    if any(g.pooled for s in shown for g in (s.group, *s.parts)):
        told.append(
            "Diamond: put together by the binomial-normal model, with its 95 % interval; dashed: where a further study may lie. LR: likelihood ratio of no variance between studies; I²: of log odds."
        )
    if alone:
        told.append(
            "Triangle: a percentage without counts, not put together with anything; an interval only where the source tells one, dashed where it is a range of rates."
        )
    lines = [line for frame in studies for line in scale_notes(frame)]
    return [*([" ".join(told)] if told else []), *([f"{SCALE_NOTE} {'; '.join(lines)}."] if lines else [])]


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
    for row, weight in zip(group.studies.to_dicts() if group.scale != MIXED else [], weights(group), strict=False):
        body += _study(row, weight, axis, y)
        y += ROW
    for part in [*section.parts, group] if not group.studies.is_empty() else []:
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
    noted = f"; {row['note']}" if row["note"] else ""
    text = f"{row['trial_id']}, {row['product']}: {row['events']} of {row['n']}, {told_of(row['share'], row['low'], row['high'])} per cent; {row['source']}, {row['ref_id']}, {row['verified']}{noted}"
    x = axis.y(100 * row["share"])
    name = _short(_named(row), 25 - 2 * bool(row["note"])) + (f" {SCALE_NOTE}" if row["note"] else "")
    cls = "o2q" if sign else "b2"
    return [
        label(NAME + 10, y + 12, name, "t"), label(DISEASE, y + 12, _short(row["disease"] or "", 22), "t"), label(COUNT, y + 12, f"{row['events']} / {row['n']}", "t", "end"),
        line(axis.y(100 * row["low"]), middle, axis.y(100 * row["high"]), middle, "l"),
        f'<path class="{cls}" d="M{px(x - half)} {px(middle - half)}h{px(2 * half)}v{px(2 * half)}h{px(-2 * half)}z">{tip(text)}</path>',
        label(SHARE, y + 12, told_of(row["share"], row["low"], row["high"]) + (f" {sign}" if sign else ""), "t"),
        label(WEIGHT, y + 12, f"{100 * weight:.0f} %" if weight is not None else "", "t", "end"),
    ]  # fmt: skip


def _named(row: dict[str, Any]) -> str:
    """A study by its trial or paper, product, and kind where it is more than a study, or none."""
    product = row["product"] if row["product"] != "all" else None
    return ", ".join(filter(None, (row["trial_id"], product, "meta-analysis" if row["source"] == "meta-analysis" else None)))


def apart(without_counts: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    """Studies without counts by their scale or horizon."""
    by_scale = without_counts.with_columns(col("scale").fill_null(NOT_TOLD)).partition_by(
        "scale", as_dict=True, maintain_order=True
    )
    return [(_until(str(scale)), own) for (scale,), own in by_scale.items()]


def _until(scale: str) -> str:
    return "Until when is not told" if scale == NOT_TOLD else f"Until {scale}"


def told_alone(row: dict[str, Any]) -> str:
    """The rate of a study without counts: with its interval, a range, or alone."""
    if row["interval"] == RANGE:
        return f"{_as_told(row['low'])} to {_as_told(row['high'])}"
    if row["share"] is None:
        return "not told"
    return _as_told(row["share"]) + (f" ({_as_told(row['low'])} to {_as_told(row['high'])})" if row["low"] is not None else "")


def _as_told(share: float) -> str:
    """A published percentage, not rounded further."""
    return f"{100 * share:.4g}"


def _without_counts(row: dict[str, Any], axis: ValueAxis, y: float) -> list[str]:
    sign = UNCHECKED.get(row["verified"] or "", "")
    middle, whom = y + 8, ", ".join(filter(None, (row["disease"], row["note"])))
    text = f"{_named(row)}{f', {whom}' if whom else ''}: {told_alone(row)} per cent, without counts; {row['ref_id']}, {row['verified']}"
    found = [
        label(NAME + 10, y + 12, _short(_named(row), 25), "t"), label(DISEASE, y + 12, _short(whom, 31), "t"),
        label(SHARE, y + 12, told_alone(row) + (f" {sign}" if sign else ""), "t"),
    ]  # fmt: skip
    if row["low"] is not None:
        x1, x2 = (axis.y(100 * row[end]) for end in ("low", "high"))
        found.append(line(x1, middle, x2, middle, "l q" if row["interval"] == RANGE else "l"))
    if row["share"] is None:
        return found
    x = axis.y(100 * row["share"])
    return [*found, f'<path class="o2q" d="M{px(x - 5)} {px(middle + 4)}l5 -9l5 9z">{tip(text)}</path>']


def _together(group: Group, axis: ValueAxis, y: float) -> list[str]:
    k, n = int(group.studies["events"].sum()), int(group.studies["n"].sum())
    name = f"{group.part} together" if group.part else "several scales together" if group.scale == MIXED else "together"
    if group.pooled is None:
        return [label(NAME + 10, y + 12, not_together(group), "t")]
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


def not_together(group: Group) -> str:
    """Why studies are not put together, as a sentence."""
    return f"Not put together: {group.why[:1].lower()}{group.why[1:].rstrip('.')}."


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
    most = 100 * float(max(*(data[end].max() or 0.0 for end in ("high", "share", "further_high")), 0.005))  # type: ignore[type-var]
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if most / s <= 6 or s == 20)
    top = min(ceil(most / step) * step, 100.0)
    return ValueAxis(0.0, top, RIGHT, LEFT), [n * step for n in range(int(top / step + 1e-9) + 1)]


DRAWN = {
    "section": pl.String, "kind": pl.String, **{name: dtype for name, dtype in ROWS.items() if name not in ("endpoint", "why")}, "weight": pl.Float64,
    "undecided": pl.Int64, "why": pl.String,
}  # fmt: skip


def _data(shown: Sequence[Section], alone: Sequence[tuple[str, pl.DataFrame]]) -> pl.DataFrame:
    """Every study, what they make together, the cohort, and the studies that tell no counts: the rows of the drawing."""
    tables = [shaped(pl.DataFrame(), DRAWN).clear()]
    for section in shown:
        if not section.group.studies.is_empty():
            tables.append(_rows(section))
        if section.own is not None:
            own = section.own
            low, high = own.interval
            row = {
                "kind": "cohort", "section": section.heading, "scale": own.scale, "trial_id": own.outcome.name, "events": own.events, "n": own.n,
                "share": own.events / own.n if own.n else None, "low": low, "high": high, "interval": WILSON, "undecided": own.undecided,
            }  # fmt: skip
            tables.append(shaped(pl.DataFrame([row]), DRAWN))
    for heading, studies in alone:
        tables.append(shaped(studies.with_columns(section=lit(heading), kind=lit(NO_COUNTS), studies=lit(1)), DRAWN))
    return pl.concat(tables)


def _rows(section: Section) -> pl.DataFrame:
    told = rows(section.heading, [section.group, *section.parts])
    weighed = [*(weights(section.group) if section.group.scale != MIXED else []), *[None] * (1 + len(section.parts))]
    kind = pl.when(col("trial_id").is_not_null()).then(lit("study")).otherwise(lit("together"))
    return shaped(
        told.with_columns(pl.Series("weight", weighed, dtype=pl.Float64), kind=kind, section=lit(section.heading)), DRAWN
    )


def told_of(share: float, low: float, high: float) -> str:
    """A share with its interval, in per cent."""
    return f"{percent(share)} ({percent(low)} to {percent(high)})"


def percent(share: float) -> str:
    """A share as per cent, with two figures or the nearest whole."""
    value = 100 * share
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 or value == 0 else f"{value:.2f}"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _spoken(shown: Sequence[Section], alone: Sequence[tuple[str, pl.DataFrame]]) -> str:
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
    for heading, own in alone:
        told.append(
            f"Percentage only. {heading}: {'; '.join(f'{_named(r)} {told_alone(r)} per cent' for r in own.iter_rows(named=True))}."
        )
    return " ".join(told)
