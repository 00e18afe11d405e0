"""Laboratory values of a cohort over the days: a line a course, and where the middle half and most of them lie."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10

import polars as pl
from polars import col, lit

from aftercar.cohort.outcome import COURSE
from aftercar.errors import OptionError, nearest
from aftercar.report.figures.cohort import Cohort, days_since, spread
from aftercar.report.figures.draw import TOP, WIDTH, Figure, empty, framed, notes_of
from aftercar.report.svg import DayAxis, ValueAxis, area, decades, label, line, number, polyline, unit_text
from aftercar.timeline.concepts import Concept, concepts

USUAL = ("crp", "ferritin", "il6", "anc")
FIRST_DAY, LAST_DAY = -5, 30
LEFT, TALL, BETWEEN = 60.0, 170.0, 34.0
LEAST_N, LEAST_SHARE = 5, 0.25  # courses measured on a day, and of those followed, for a band
MOST_LINES = 100  # courses with a line of their own
GAP = 4  # days between two values that a line still joins
_QUANTILES = {"p10": 0.1, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9}


def spaghetti(
    cohort: Cohort, codes: Sequence[str] = (), *, first_day: int = FIRST_DAY, last_day: int = LAST_DAY, most: int = MOST_LINES
) -> Figure:
    """Draw values by day: of each course the worst of the day, on a logarithmic axis.

    Args:
        codes: concepts with a number; the usual ones that were charted, if left out.
        most: courses with a line; the bands are of all.
    Raises:
        OptionError: no such concept, or one without a number.
    """
    title = "Values by day"
    chosen = _chosen(codes)
    values = _values(cohort, chosen, first_day, last_day)
    there = set(values["code"])
    shown = [c for c in chosen if c in there or codes]
    if values.is_empty():
        return empty(
            title, "None of these values was charted: " + ", ".join(c.label for c in chosen.values()) + ".", cohort, values
        )
    first_day = max(first_day, min(0, int(values["day"].min())))  # type: ignore[arg-type]
    band = _bands(cohort, values, first_day, last_day)
    drawn = spread(values.select(COURSE).unique().sort(COURSE), most)
    lines = values.join(drawn, on=COURSE, how="semi", maintain_order="left")
    wide = (WIDTH - 2 * LEFT - BETWEEN - 8) / 2
    parts = _key(TOP + 8)
    spoken: list[str] = []
    y = TOP + 40
    for n, code in enumerate(shown):
        left = LEFT + n % 2 * (wide + LEFT + BETWEEN)
        own = band.filter(code=code)
        parts += _panel(
            chosen[code], lines.filter(code=code), own, values.filter(code=code), left, left + wide, y, first_day, last_day
        )
        spoken.append(_spoken(chosen[code], values.filter(code=code), own))
        if n % 2 or n == len(shown) - 1:
            y += TALL + 62
    notes = [
        f"Worst value of each day (of neutrophils and platelets the lowest); logarithmic axis; values of 0 stand at its foot. Bands only on days on which {LEAST_N} courses or more, and a quarter of those followed, were measured."
    ]
    absent = [c.label for c in chosen.values() if c.name not in there and not codes]
    if absent:
        notes.append(f"Not charted: {', '.join(absent)}.")
    courses = values.select(COURSE).n_unique()
    if drawn.height < courses:
        notes.append(f"Lines: {drawn.height} of {courses:,} courses, evenly from all; bands are of all.")
    series = lines.select(*COURSE, "code", "unit", "day", "value", series=lit("course"))
    data = pl.concat([series, band.with_columns(series=lit("band"))], how="diagonal_relaxed")
    return framed(
        title,
        " ".join(spoken),
        y - 22,
        parts,
        notes_of(cohort, *notes),
        data.select("series", "code", "unit", *COURSE, "day", "value", "n", "followed", *_QUANTILES),
    )


def _chosen(codes: Sequence[str]) -> dict[str, Concept]:
    known = {name: c for name, c in concepts().items() if c.kind == "number"}
    for code in codes:
        if code not in known:
            raise OptionError(f"No value is called {code!r}. {nearest(code, known)} `aftercar concepts` lists them.")
    return {c: known[c] for c in (codes or USUAL)}


def _values(cohort: Cohort, chosen: dict[str, Concept], first_day: int, last_day: int) -> pl.DataFrame:
    """`subject_id, infusion, code, unit, day, value`: the worst value of each day, not those that a person attributed to another cause."""
    schema = {
        "subject_id": cohort.courses.schema["subject_id"],
        "infusion": pl.Int32,
        "code": pl.String,
        "unit": pl.String,
        "day": pl.Int32,
        "value": pl.Float64,
    }
    if cohort.timeline is None:
        return pl.DataFrame(schema=schema)
    key = cohort.midnight().join(cohort.courses.select(*COURSE, "record_end"), on=COURSE)
    rows = cohort.timeline.filter(col("code").is_in(list(chosen)) & col("numeric_value").is_not_null()).select(
        "subject_id", "time", "unit", value="numeric_value", code=col("code").cast(pl.String)
    )  # fmt: skip
    day = days_since("time").floor().cast(pl.Int32)
    own = rows.join(key.lazy(), on="subject_id").with_columns(day=day).filter(
        col("day").is_between(first_day, last_day) & (col("time") <= col("record_end").cast(pl.Datetime("us")))
    )  # fmt: skip
    lowest = [c for c, concept in chosen.items() if concept.worst == "min"]
    worst = pl.when(col("code").first().is_in(lowest)).then(col("value").min()).otherwise(col("value").max())
    found = own.group_by(*COURSE, "code", "day").agg(unit=col("unit").first(), value=worst).collect()
    return found.select(*schema).sort("code", *COURSE, "day")


def _bands(cohort: Cohort, values: pl.DataFrame, first_day: int, last_day: int) -> pl.DataFrame:
    """Quantiles of each day, where enough were measured: `code, unit, day, n, followed`, and those of `_QUANTILES`."""
    ends = (pl.Series("day", range(first_day, last_day + 1), dtype=pl.Int32)).to_frame()
    last = cohort.courses.select(
        end=((col("record_end").cast(pl.Datetime("us")) - col("day0").dt.truncate("1d")).dt.total_days()).cast(pl.Int32)
    )
    followed = ends.join(last, how="cross").group_by("day").agg(followed=(col("end") >= col("day")).sum())
    quantiles = [col("value").quantile(q, "linear").alias(name) for name, q in _QUANTILES.items()]
    found = (
        values.group_by("code", "day")
        .agg(col("unit").first(), pl.len().cast(pl.Int64).alias("n"), *quantiles)
        .join(followed, on="day")
    )
    return found.filter((col("n") >= LEAST_N) & (col("n") >= LEAST_SHARE * col("followed"))).sort("code", "day")


def _panel(
    concept: Concept, lines: pl.DataFrame, band: pl.DataFrame, values: pl.DataFrame, left: float, right: float, top: float, first_day: int, last_day: int
) -> list[str]:  # fmt: skip
    unit = unit_text(values["unit"][0] if values.height else concept.unit)
    days = DayAxis(first_day, last_day, left, right)
    parts = [
        label(left, top - 8, concept.label + (f", {unit}" if unit else "") + f" (n = {values.select(COURSE).n_unique()})", "p")
    ]
    parts.append(line(days.x(0), top, days.x(0), top + TALL, "inf"))
    parts += [
        label(days.x(d), top + TALL + 14, str(d).replace("-", "−"), "t", "middle")
        for d in range(-(-first_day // 5) * 5, last_day + 1, 5)
    ]
    parts.append(label(right, top + TALL + 27, "day (infusion = day 0)", "t", "end"))
    if values.is_empty():
        return [*parts, label(left, top + TALL / 2, "not charted", "n"), line(left, top + TALL, right, top + TALL, "ax")]
    axis = decades(values["value"].to_list(), *_ends(values), top, top + TALL)
    tick = axis.low
    while tick <= axis.high * 1.001:
        parts += [line(left, axis.y(tick), right, axis.y(tick), "g"), label(left - 5, axis.y(tick) + 4, number(tick), "t", "end")]
        tick *= 10
    parts += _bands_drawn(band, days, axis)
    for own in lines.partition_by(COURSE, maintain_order=True):
        day = own["day"].to_list()
        points = [
            (days.x(d + 0.5), axis.y(v), n > 0 and d - day[n - 1] <= GAP)
            for n, (d, v) in enumerate(own.select("day", "value").iter_rows())
        ]
        parts.append(polyline(points, "l thin"))
    parts += _medians(band, days, axis)
    parts.append(line(left, top + TALL, right, top + TALL, "ax"))
    return parts


def _ends(values: pl.DataFrame) -> tuple[float, float]:
    """The decade of the lowest values, of which one in a hundred may lie lower."""
    low = 10.0 ** floor(log10(float(values.filter(col("value") > 0)["value"].quantile(0.01, "linear") or 1.0)))
    return low, low * 10


def _medians(band: pl.DataFrame, days: DayAxis, axis: ValueAxis) -> list[str]:
    """The line of the medians; one of a day alone is as wide as a day."""
    points = band.with_columns(joined=col("day").diff() == 1).with_columns(
        alone=~(col("joined").fill_null(False) | col("joined").shift(-1).fill_null(False))
    )
    found = [
        line(days.x(day), axis.y(at), days.x(day + 1), axis.y(at), "l w")
        for day, at in points.filter("alone").select("day", "median").iter_rows()
    ]
    rest = points.filter(~col("alone")).select("day", "median", "joined")
    return [*found, polyline(((days.x(d + 0.5), axis.y(m), bool(j)) for d, m, j in rest.iter_rows()), "l w")]


def _bands_drawn(band: pl.DataFrame, days: DayAxis, axis: ValueAxis) -> list[str]:
    """The stretches of days on which enough were measured."""
    parts: list[str] = []
    runs = band.with_columns(run=(col("day").diff() != 1).fill_null(True).cum_sum())
    for own in runs.partition_by("run", maintain_order=True):
        if own.height == 1:  # a day alone is as wide as a day
            own = pl.concat([own.with_columns(col("day") - 0.5), own.with_columns(col("day") + 0.5)])
        x = [days.x(d + 0.5) for d in own["day"]]
        for low, high, cls in (("p10", "p90", "most"), ("p25", "p75", "half")):
            parts.append(
                area(
                    [(a, axis.y(v)) for a, v in zip(x, own[low], strict=True)],
                    [(a, axis.y(v)) for a, v in zip(x, own[high], strict=True)],
                    cls,
                )
            )
    return parts


def _key(y: float) -> list[str]:
    x = LEFT
    parts = [line(x, y, x + 26, y, "l thin"), label(x + 32, y + 4, "one course", "t")]
    parts += [line(x + 110, y, x + 136, y, "l w"), label(x + 142, y + 4, "median", "t")]
    for n, (cls, text) in enumerate((("half", "middle half"), ("most", "10th to 90th of 100"))):
        at = x + 210 + n * 110
        parts += [f'<path class="{cls}" d="M{at:.1f} {y - 6:.1f}h20v11h-20z"/>', label(at + 26, y + 4, text, "t")]
    return parts


def _spoken(concept: Concept, values: pl.DataFrame, band: pl.DataFrame) -> str:
    if values.is_empty():
        return f"{concept.label}: not charted."
    text = f"{concept.label}: {values.height:,} values of {values.select(COURSE).n_unique()} courses"
    if band.height:
        worst = band.sort("median", descending=concept.worst != "min").row(0, named=True)
        text += f"; the median is {'lowest' if concept.worst == 'min' else 'highest'} on day {worst['day']}, {number(worst['median'])} {unit_text(worst['unit'])}".rstrip()
    return text + "."
