"""The inputs of a score: of each course the value that counts within the score's own window, and the row that it stands in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from polars import col, lit

from aftercar.options import ends_of
from aftercar.risk.options import Options
from aftercar.timeline.concepts import concept, of_group
from aftercar.timeline.state import DAY, HOUR, days_since_day0
from aftercar.timeline.units import line

LYMPHODEPLETION = of_group("lymphodepletion")
# Doses of these drugs further apart are two treatments: the earlier one was bridging. The papers are silent: a convention of this project.
NEW_TREATMENT_D = 3
LYMPHODEPLETION_FROM_D = -30  # earlier doses were another treatment in any case
RECENT_D = 7  # a transfusion or growth factor so shortly before a count may have made it
EARLY_H = 36  # of the scores of the first hours after the infusion


@dataclass(frozen=True, eq=False)
class Window:
    """When a value must have been charted to count: `holds` reads the columns of `Charted`."""

    name: str
    says: str
    holds: Callable[[Options], pl.Expr]


def _before_ld(options: Options) -> pl.Expr:
    ends = ends_of(options["ht_window_days"])
    assert ends is not None  # the option takes nothing else
    return col("day").is_between(*ends) & col("before_ld")


def on_day(day: int) -> Window:
    """One calendar day."""
    return Window(f"day_{day}", f"day {day}", lambda _: col("day") == day)


BEFORE_LD = Window("before_ld", "before lymphodepletion", _before_ld)
FIRST_36_H = Window("first_36_h", f"first {EARLY_H} h", lambda _: col("elapsed_s").is_between(0, EARLY_H * HOUR))
DAYS_0_30 = Window("day_0_30", "days 0 to 30", lambda _: col("day").is_between(0, 30))
DAY_3 = on_day(3)
COURSE = Window("course", "whole course", lambda _: lit(True))


@dataclass(frozen=True, eq=False)
class Input:
    """One measured thing that a score reads.

    Attributes:
        name: its column; `<name>_event_id`, `<name>_time`, `<name>_day` say where it stands, `<name>_whole` whether the window was watched,
            `<name>_limit` whether it lies outside of what the assay measures.
        unit: the unit of the paper, UCUM; values are converted to it.
        pick: of several values the last of the window, or the highest. At one time the worst counts.
        whole: over the rows in the window, in any order, whether nothing higher can have gone unseen; by default one value is enough.
        window: where it differs from that of the score.
    """

    name: str
    code: str
    unit: str
    pick: Literal["last", "highest"] = "last"
    whole: Callable[[Options], pl.Expr] | None = None
    window: Window | None = None

    def published(self, value: pl.Expr) -> pl.Expr:
        """A value of the timeline in the unit of the paper; rounded, so that 90 g/L and 9.0 g/dL are one."""
        # Eight places keep what was charted as below a cut below it.
        a, b = line(self.unit, concept(self.code))
        return ((value - b) / a).round(8)


@dataclass(frozen=True)
class Charted:
    """Every charted row beside each course that it may belong to.

    Attributes:
        by_code: of each code `course, event_id, time, text_value, value, day` (calendar days to day 0), `elapsed_s`, `limit` (-1 below, 1 above
            what the assay measures), `before_ld` (not after the first dose of lymphodepletion), sorted by course and time, the worst of
            one time last.
        lymphodepletion: `course, ld_began, ld_drugs`, a row a course that had one.
    """

    by_code: dict[str, pl.DataFrame]
    lymphodepletion: pl.DataFrame

    def of(self, *codes: str) -> pl.DataFrame:
        """Rows of these codes, code by code."""
        found = [self.by_code[c] for c in codes if c in self.by_code]
        return pl.concat(found) if found else pl.DataFrame(schema=_ROWS)


_ROWS: dict[str, Any] = {
    "course": pl.Int64,
    "event_id": pl.Int64,
    "time": pl.Datetime("us"),
    "text_value": pl.String,
    "value": pl.Float64,
    "day": pl.Int32,
    "elapsed_s": pl.Int64,
    "limit": pl.Int32,
    "before_ld": pl.Boolean,
}


def chart(timeline: pl.DataFrame, courses: pl.DataFrame, codes: Iterable[str]) -> Charted:
    """Place the timeline's rows of these codes. Those before an infusion count for it, whatever came before; those from the next one on do not."""
    codes = [*codes]
    places = courses.lazy().filter(col("day0").is_not_null()).select("subject_id", "course", "day0", "until")
    wanted = timeline.lazy().filter(col("code").is_in(codes) & col("time").is_not_null())
    rows = wanted.join(places, on="subject_id", how="inner").filter((col("time") < col("until")).fill_null(True))
    least = [c for c in codes if concept(c).worst == "min"]
    value, note = col("numeric_value"), col("note")
    sign = (
        pl.when(note.str.contains("charted as <", literal=True))
        .then(-1)
        .when(note.str.contains("charted as >", literal=True))
        .then(1)
    )
    ordered = rows.select(
        "code", "course", "event_id", "time", "text_value", value=value, day=days_since_day0("time"),
        elapsed_s=(col("time") - col("day0")).dt.total_seconds(), limit=sign.otherwise(0).fill_null(0),
        badness=pl.when(col("code").is_in(least)).then(-value).otherwise(value),
    ).sort("course", "time", "badness", "event_id", nulls_last=False).drop("badness").collect()  # fmt: skip
    began = _lymphodepletion(ordered.filter(col("code").is_in(LYMPHODEPLETION)))
    # Of one time the value is taken to come first; where no dose is charted the days alone decide.
    ordered = ordered.join(began.select("course", "ld_began"), on="course", how="left", maintain_order="left")
    ordered = ordered.with_columns(before_ld=(col("time") <= col("ld_began")).fill_null(True)).drop("ld_began")
    parts = ordered.partition_by("code", as_dict=True, maintain_order=True, include_key=False)
    return Charted({str(code): part for (code,), part in parts.items()}, began)


def _lymphodepletion(doses: pl.DataFrame) -> pl.DataFrame:
    """When lymphodepletion began, and with what: the first dose of the last treatment before the infusion."""
    given = (col("value") != 0).fill_null(True)
    doses = doses.filter(given & (col("elapsed_s") < 0) & (col("day") >= LYMPHODEPLETION_FROM_D))
    gap = (col("day") - col("day").shift(1).over("course")).fill_null(0)
    doses = doses.with_columns(treatment=(gap > NEW_TREATMENT_D).cum_sum().over("course"))
    last = doses.filter(col("treatment") == col("treatment").max().over("course"))
    return last.group_by("course").agg(ld_began=col("time").min(), ld_drugs=col("code").unique())


def draw(charted: Charted, courses: pl.DataFrame, inputs: Iterable[Input], window: Window, options: Options) -> pl.DataFrame:
    """Of each course the inputs within the window, beside `courses`; null where nothing was charted."""
    for given in inputs:
        name = given.name
        inside = charted.of(given.code).filter(col("value").is_not_null() & (given.window or window).holds(options))
        if given.pick == "highest":  # of equal ones the first
            inside = inside.sort("course", "value", "time", "event_id", descending=[False, False, True, True])
        one = inside.group_by("course").agg(
            given.published(col("value").last()).alias(name),
            *(col(c).last().alias(f"{name}_{c}") for c in ("event_id", "time", "day", "limit")),
            (lit(True) if given.whole is None else given.whole(options)).alias(f"{name}_whole"),
        )
        courses = courses.join(one, on="course", how="left", maintain_order="left")
    return courses.with_columns(col(f"{i.name}_whole").fill_null(False) for i in inputs)


def shortly_before(charted: Charted, courses: pl.DataFrame, codes: tuple[str, ...], name: str) -> pl.DataFrame:
    """Add `<name>_given`: the latest of these drugs up to the time of the input lies at most `RECENT_D` days before it."""
    given = charted.of(*codes).filter((col("value") != 0).fill_null(True)).select("course", given="time").sort("given")
    asked = courses.select("course", at=f"{name}_time").drop_nulls().sort("at")
    found = asked.join_asof(given, left_on="at", right_on="given", by="course", strategy="backward", check_sortedness=False)
    recent = (col("at") - col("given")).dt.total_seconds() <= RECENT_D * DAY
    found = found.select("course", recent.fill_null(False).alias(f"{name}_given"))
    return courses.join(found, on="course", how="left", maintain_order="left").with_columns(col(f"{name}_given").fill_null(False))
