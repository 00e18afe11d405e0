"""How alike the first days of two charts are, and what weight that gives each virtual twin of a record.

Records and twins go through one function, from a timeline in our schema. Each finding of a day is an interval, from what is certain to what is possible: one
that is open takes nothing from a twin's weight, and one that is not charted is not compared.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import col, lit

import aftercar.calibrate
from aftercar.grade.crs import base
from aftercar.grade.findings import POSITIVE_PRESSURE
from aftercar.grade.options import Options
from aftercar.grade.run import codes_of, grades_alone, opened, scales_named
from aftercar.timeline.state import DAY, SPAN, Record, readings
from aftercar.timeline.subjects import subjects

Floats = NDArray[np.float64]

TOXICITIES = ("crs", "icans")
SCALES = scales_named(TOXICITIES)
LABORATORY = ("crp", "ferritin")
CODES = sorted({*codes_of(SCALES), *LABORATORY})


@dataclass(frozen=True)
class Compared:
    """One finding that is compared, as `likeness.toml` says."""

    name: str
    meaning: str
    unit: str
    width: float
    log: bool = False
    least: float = 0.0


@cache
def compared() -> dict[str, Compared]:
    """All findings that are compared, in the order of `Charted`."""
    found: dict[str, Any] = _told()["finding"]
    return {name: Compared(name, **{k: v for k, v in entry.items() if k != "confidence"}) for name, entry in found.items()}


@cache
def share() -> float:
    """What is left of the sum of squared distances where it becomes a weight."""
    return float(_told()["share"])


@cache
def _told() -> dict[str, Any]:
    return tomllib.loads(files(aftercar.calibrate).joinpath("likeness.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Charted:
    """What was found of some subjects on each day since the infusion: `[subject, finding, day]`, in the order of `compared`.

    Attributes:
        low, high: what is certain and what is possible, of findings on a logarithmic scale their logarithm; NaN: not charted.
    """

    low: Floats
    high: Floats

    def of(self, subject: int) -> Charted:
        """One subject alone."""
        return Charted(self.low[subject : subject + 1], self.high[subject : subject + 1])


def cut(timeline: pl.DataFrame, at_d: float, infusion: int = 1) -> pl.DataFrame:
    """What was known of each subject so many days after an infusion; what was running then ends there."""
    zero = (
        subjects(timeline)
        .filter(infusion=infusion)
        .select("subject_id", asked=col("day0") + pl.duration(seconds=round(at_d * DAY)))
    )
    rows = timeline.join(zero, on="subject_id", how="inner", maintain_order="left")
    known = rows.filter((col("time") <= col("asked")).fill_null(True))
    return known.with_columns(end_time=pl.min_horizontal("end_time", pl.when(col("end_time").is_not_null()).then("asked"))).drop(
        "asked"
    )


def charted(timeline: pl.DataFrame, at_d: float, infusion: int = 1) -> Charted:
    """What was found on each day up to a time; nothing of it knows what came later.

    A day begins so many times 24 h after the infusion; the last one ends with `at_d`.

    Args:
        timeline: whole subjects in our schema, each with that infusion, in the order of their ids.
    """
    days = math.ceil(at_d)
    record, courses = opened(cut(timeline, at_d, infusion).lazy(), CODES, Options(None), hindsight=False)
    graded = grades_alone(record, courses, SCALES, Options(None))
    measured = _daily(_of_courses(_temperatures(record), record), days).group_by(_KEYS).agg(col("low", "high").max())
    tested = pl.concat([_values(record, code) for code in LABORATORY])
    tested = _daily(_of_courses(tested, record), days).group_by(_KEYS, maintain_order=True).agg(col("low", "high").last())
    spans = pl.concat([_of_courses(_support(record), record), _grades(graded, courses)])
    stood = _by_day(spans, days).group_by(_KEYS).agg(col("low", "high").max())
    own = pl.concat([measured, tested, stood]).filter(infusion=infusion)
    return _arrayed(own, timeline["subject_id"].unique().sort(), days)


_KEYS = ("subject_id", "infusion", "finding", "day")


def _daily(points: pl.DataFrame, days: int) -> pl.DataFrame:
    """Points by the number of their day; what is charted at the very end of the last day belongs to it."""
    day = pl.min_horizontal(col("day").floor().cast(pl.Int64), days - 1)
    return points.with_columns(day).filter(col("day") >= 0)


def _by_day(spans: pl.DataFrame, days: int) -> pl.DataFrame:
    """Spans of time as one row a day in which they hold."""
    numbers = pl.DataFrame({"number": range(days)}, schema={"number": pl.Int64})
    begins, number = col("day"), col("number")
    within = (begins < number + 1) & ((col("until_day") > number) | (begins >= number))
    return spans.join(numbers, how="cross").filter(within).drop("day", "until_day").rename({"number": "day"})


def _arrayed(daily: pl.DataFrame, everyone: pl.Series, days: int) -> Charted:
    order = {name: n for n, name in enumerate(compared())}
    row = daily.select("subject_id").join(
        pl.DataFrame({"subject_id": everyone}).with_row_index("row"), on="subject_id", how="left", maintain_order="left"
    )
    place = (
        row["row"].to_numpy(), daily["finding"].replace_strict(order, return_dtype=pl.Int64).to_numpy(), daily["day"].to_numpy(),
    )  # fmt: skip
    found = Charted(*(np.full((len(everyone), len(order), days), np.nan) for _ in range(2)))
    found.low[place], found.high[place] = daily["low"].to_numpy(), daily["high"].to_numpy()
    return found


def _of_courses(rows: pl.DataFrame, record: Record) -> pl.DataFrame:
    """Rows on the axis of a record as those of subjects, with times in days since the infusion."""
    own = record.courses.select("course", "subject_id", "infusion", "day0_at")
    placed = rows.with_columns(course=col("at") // SPAN).join(own, on="course", how="left", maintain_order="left")
    names = {"at": "day", "until": "until_day"}
    since = [((col(c) - col("day0_at")) / DAY).alias(names[c]) for c in rows.columns if c in names]
    return placed.select("subject_id", "infusion", "finding", *since, "low", "high")


def _temperatures(record: Record) -> pl.DataFrame:
    return _points("temperature", readings(record, "temperature"), col("value"))


def _values(record: Record, code: str) -> pl.DataFrame:
    least = compared()[code].least
    return _points(code, readings(record, code), pl.max_horizontal("value", lit(least)).log())


def _points(name: str, rows: pl.DataFrame, value: pl.Expr) -> pl.DataFrame:
    """Readings that nobody attributed to another cause."""
    kept = rows.filter(~col("excluded")).drop_nulls("value")
    return kept.select("at", finding=lit(name), low=value, high=value)


def _support(record: Record) -> pl.DataFrame:
    """Vasopressors and oxygen over time; of oxygen only what was known, as a device stands until the next one is charted."""
    states = base(record, Options(None))
    end = pl.when(col("course").shift(-1) == col("course")).then(col("at").shift(-1)).otherwise("last_at")
    states = states.with_columns(until=end)
    ran = (col("pressors") >= 1).cast(pl.Float64)
    vasopressor = states.select("at", "until", finding=lit("vasopressor"), low=ran.fill_null(0.0), high=ran.fill_null(1.0))
    known = (col("o2_upper") < POSITIVE_PRESSURE) | (col("o2") == col("o2_upper"))
    oxygen = states.filter(known).select(
        "at", "until", finding=lit("oxygen"), low=col("o2").cast(pl.Float64), high=col("o2_upper").cast(pl.Float64)
    )
    return pl.concat([vasopressor, oxygen])


def _grades(graded: pl.DataFrame, courses: pl.DataFrame) -> pl.DataFrame:
    """Grades over time, but not where what the scale reads had expired; the upper end leaves gaps between assessments out."""
    own = graded.filter(col("status") != "not_applicable", ~col("flags").list.contains("stale"))
    own = own.join(courses.select("subject_id", "infusion", "day0", "record_end"), on=["subject_id", "infusion"], how="left")

    def since(time: pl.Expr) -> pl.Expr:
        return (time - col("day0")).dt.total_seconds() / DAY

    return own.select(
        "subject_id", "infusion", finding="toxicity", day=since(col("start")), until_day=since(pl.coalesce("end", "record_end")),
        low=col("grade").cast(pl.Float64), high=pl.max_horizontal("grade", "upper_assessed").cast(pl.Float64),
    )  # fmt: skip


def gaps(one: Charted, twins: Charted) -> Floats:
    """How far one chart and each twin lie apart on each finding and day, in widths; 0 where their intervals meet: `[twin, finding, day]`.

    NaN where one of the two, or any of the twins, has nothing charted: it is not compared.
    """
    width = np.array([c.width for c in compared().values()])[:, None]
    apart = np.maximum(np.maximum(one.low - twins.high, twins.low - one.high), 0.0) / width
    return np.where(np.isnan(apart).any(axis=0), np.nan, apart)


def weights(apart: Floats) -> Floats:
    """What each twin counts, from `gaps`; they add up to 1, and are alike where nothing is compared."""
    logs = -0.5 * share() * np.nansum(apart**2, axis=(1, 2))
    whole = np.exp(logs - logs.max())
    return whole / whole.sum()


def effective(weight: Floats) -> float:
    """How many equally weighted twins are worth as much: Kish's effective sample size.

    >>> effective(np.array([0.5, 0.25, 0.25, 0.0]))
    2.6666666666666665
    """
    return float(weight.sum() ** 2 / (weight**2).sum())


def distances(apart: Floats) -> Floats:
    """The distance of each twin, in widths: the root of the mean square over all that is compared; 0 where nothing is."""
    n = (~np.isnan(apart[0])).sum()
    return np.sqrt(np.nansum(apart**2, axis=(1, 2)) / max(n, 1))


def misfit(apart: Floats, weight: Floats) -> float:
    """How far weighted twins lie from the record: the root of the weighted mean square of `distances`."""
    return float(np.sqrt(weight @ distances(apart) ** 2))
