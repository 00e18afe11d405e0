"""What was known of each subject at each time: one row an interval, null where nothing valid is charted.

Time inside is a whole number of seconds on one axis for the whole shard, `at`: each course (subject and infusion) has a
stretch of its own on it. So "the latest reading" is one sorted as-of join with no grouping, and a running maximum cannot
leak from one course into the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from polars import col, lit

from aftercar.timeline.concepts import concept

SPAN = 1 << 34  # seconds of one course's stretch: 272 years on either side of its day 0
ZERO = SPAN >> 1
HOUR = 3600
DAY = 24 * HOUR

# A push dose stands for the time it works; infusions without an end stand for `valid_for_h` of their drug.
PUSH_DOSE_S = HOUR


@dataclass(frozen=True)
class Record:
    """Whole subjects, ready to be asked.

    Attributes:
        events: `course, at, end_at, code, numeric_value, text_value, attributable_to, event_id`, sorted by `at`.
        courses: `subjects()` with `course` (its row number), `last_at` (end of the record) and day 0.
        exclude_unknown: whether signs of unknown attribution are left out (`unknown_attribution = exclude`).
    """

    events: pl.DataFrame
    courses: pl.DataFrame
    exclude_unknown: bool = False

    def of(self, *codes: str) -> pl.DataFrame:
        """Events of these codes, sorted by `at`."""
        return self.events.filter(col("code").is_in(codes))


def record(timeline: pl.DataFrame, courses: pl.DataFrame, codes: list[str], *, exclude_unknown: bool = False) -> Record:
    """Place the timeline's rows of `codes` on the axis `at`; rows after death or outside a course are left out."""
    courses = courses.filter(col("day0").is_not_null()).with_columns(course=pl.int_range(pl.len(), dtype=pl.Int64))
    courses = courses.with_columns(last_at=_at("record_end"))
    # Enum, so that asking for one of the codes compares small integers and not strings.
    rows = timeline.lazy().with_columns(col("code").cast(pl.Enum(sorted(set(codes))), strict=False))
    rows = rows.filter(col("code").is_not_null() & col("time").is_not_null())
    places = courses.lazy().select("subject_id", "course", "day0", "from", "until", "last_at")
    within = ((col("time") >= col("from")) | col("from").is_null()) & ((col("time") < col("until")) | col("until").is_null())
    # That a stream is complete holds for every course of a subject, whenever it was said.
    always = col("code") == "record_complete" if "record_complete" in codes else lit(False)
    placed = rows.join(places, on="subject_id", how="inner", maintain_order="left").filter(within | always)
    events = placed.select(
        "course",
        _at("time").alias("at"),
        _at("end_time").alias("end_at"),
        "code",
        "numeric_value",
        "text_value",
        "attributable_to",
        "event_id",
        "last_at",
    ).filter(col("at") <= col("last_at")).drop("last_at").collect(engine="in-memory")  # fmt: skip
    if not events["at"].is_sorted():
        events = events.sort("at", "event_id")
    return Record(events.with_columns(col("at").set_sorted()), courses, exclude_unknown)


def _at(time: str) -> pl.Expr:
    return col("course") * SPAN + ZERO + (col(time) - col("day0")).dt.total_seconds()


def hours(at: pl.Expr) -> pl.Expr:
    """Hours since day 0."""
    return (at % SPAN - ZERO) / HOUR


def origin(at: pl.Expr) -> pl.Expr:
    """Day 0 of the course that a time belongs to."""
    return at // SPAN * SPAN + ZERO


def clock(frame: pl.DataFrame, courses: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """Turn columns on the axis back into times, and `course` into subject and infusion."""
    keyed = frame.join(courses.select("course", "subject_id", "infusion", "day0"), on="course", maintain_order="left")
    return keyed.with_columns(
        (col("day0") + pl.duration(seconds=col(c) - origin(col(c)))).cast(pl.Datetime("us")).alias(c) for c in columns
    ).drop("course", "day0")


def readings(record: Record, code: str, valid_for_h: float | None = None) -> pl.DataFrame:
    """Point readings of one concept: `at, until, value, event_id, excluded, unsure`, one a time, sorted.

    `value` is the number, or the rank of a word among the concept's `values` (null for "unknown"). Of several readings at
    one time the worst counts. `excluded` marks a finding that a person attributed to another cause.
    """
    what = concept(code)
    valid = valid_for_h if valid_for_h is not None else what.valid_for_h
    events = record.of(code)
    if what.kind == "text":
        ranks = {word: float(rank) for rank, word in enumerate(what.values)}
        value = col("text_value").replace_strict(ranks, default=None, return_dtype=pl.Float64)
    else:
        value = col("numeric_value")
    found = events.select(
        "at",
        until=pl.coalesce("end_at", col("at") + int(valid * HOUR)) if valid is not None else (col("at") // SPAN + 1) * SPAN,
        value=value,
        event_id=col("event_id"),
        excluded=_excluded(record),
        unsure=col("attributable_to").eq_missing(lit("unknown")),
    )
    if found.height > 1 and found["at"].is_duplicated().any():
        worst_last = what.worst == "max"
        # Attributed elsewhere counts less than a finding that stands; unknown words count less than known ones.
        found = found.sort(
            "at", col("excluded").not_(), col("value") if worst_last else -col("value"), "event_id", nulls_last=False
        )
        found = found.unique("at", keep="last", maintain_order=True)
    return found.with_columns(col("at").set_sorted())


def _excluded(record: Record) -> pl.Expr:
    causes = ["other", "unknown"] if record.exclude_unknown else ["other"]
    return col("attributable_to").is_in(causes).fill_null(False)


def running(record: Record, codes: list[str], *, push_doses: bool = True) -> pl.DataFrame:
    """When each drug ran: `course, code, at, until, event_id, assumed_end, unsure`, touching infusions of one drug merged.

    A row without an end stands until the next row of that drug, at most `valid_for_h`; a rate of 0 stops it; a push dose
    (`text_value` "bolus") stands for an hour. Rows attributed to another cause are left out.
    """
    valid = {c: (concept(c).valid_for_h or 24) * HOUR for c in codes}
    rows = (
        record.of(*codes).filter(~_excluded(record)).with_columns(code=col("code").cast(pl.String)).sort("code", "at", "event_id")
    )
    if rows.is_empty():
        schema = {
            "course": pl.Int64,
            "code": pl.String,
            "at": pl.Int64,
            "until": pl.Int64,
            "event_id": pl.Int64,
            "assumed_end": pl.Boolean,
            "unsure": pl.Boolean,
        }
        return pl.DataFrame(schema=schema)
    bolus = col("text_value").eq_missing(lit("bolus"))
    following = col("at").shift(-1).over("code", "course")
    assumed = pl.min_horizontal(following, col("at") + col("code").replace_strict(valid, return_dtype=pl.Int64))
    rows = rows.with_columns(
        until=pl.when(bolus & col("end_at").is_null()).then(col("at") + PUSH_DOSE_S).otherwise(pl.coalesce("end_at", assumed)),
        assumed_end=col("end_at").is_null() & ~bolus,
        unsure=col("attributable_to").eq_missing(lit("unknown")),
    ).filter((col("numeric_value") != 0).fill_null(True) & (col("until") > col("at")))
    if not push_doses:
        rows = rows.filter(~bolus)
    reach = col("until").cum_max().shift(1).over("code", "course")
    rows = rows.with_columns(stretch=(col("at") > reach).fill_null(True).cum_sum().over("code", "course"))
    return (
        rows.group_by("course", "code", "stretch")
        .agg(col("at").min(), col("until").max(), col("event_id").first(), col("assumed_end").last(), col("unsure").any())
        .drop("stretch")
        .sort("at", "code")
    )


def steps(intervals: pl.DataFrame) -> pl.DataFrame:
    """How many of the intervals hold at each time: `at, until, n`, and of the latest begun `event_id, assumed_end, unsure`."""
    begins = intervals.select("at", "event_id", "assumed_end", "unsure", change=lit(1, pl.Int64))
    ends = intervals.select(at="until").with_columns(
        event_id=lit(None, pl.Int64), assumed_end=lit(None, pl.Boolean), unsure=lit(None, pl.Boolean), change=lit(-1, pl.Int64)
    )
    turns = pl.concat([begins, ends]).sort("at", "event_id").group_by("at", maintain_order=True)
    every = turns.agg(col("change").sum(), col("event_id").last(), col("assumed_end").last(), col("unsure").any())
    return every.select(
        "at",
        until=col("at").shift(-1),
        n=col("change").cum_sum(),
        event_id=col("event_id").forward_fill(),
        assumed_end=col("assumed_end").forward_fill(),
        unsure=col("unsure").forward_fill(),
    ).filter(col("n") > 0)


def overlaps(intervals: pl.DataFrame, at_least_s: int) -> pl.DataFrame:
    """When two different drugs ran together for at least so long: `at, until, event_id, other_id`."""
    both = intervals.group_by("course").agg(col("code").n_unique()).filter(col("code") > 1)["course"]
    some = intervals.filter(col("course").is_in(both.implode()))
    pairs = some.join(some, on="course", suffix="_b").filter(col("code") < col("code_b"))
    return (
        pairs.select(
            at=pl.max_horizontal("at", "at_b"), until=pl.min_horizontal("until", "until_b"),
            event_id=col("event_id"), other_id=col("event_id_b"),
        )
        .filter(col("until") - col("at") >= at_least_s)
        .sort("at", "event_id")
    )  # fmt: skip


def grid(record: Record, *tables: pl.DataFrame) -> pl.DataFrame:
    """Every time at which something may change: `course, at, last_at`, from day 0 to the end of each record, sorted."""
    points = [record.courses.select(at=col("course") * SPAN + ZERO)]
    for table in tables:
        points.append(table.select("at"))
        # An end matters only where nothing newer has taken over by then.
        points.append(table.filter((col("until") < col("at").shift(-1)).fill_null(True)).select(at="until"))
    points.append(record.courses.select(at=col("last_at")))
    every = pl.concat(points).unique().sort("at").with_columns(course=col("at") // SPAN)
    day0 = col("course") * SPAN + ZERO
    return (
        every.join(record.courses.select("course", "last_at"), on="course", how="inner", maintain_order="left")
        .filter(col("at").is_between(day0, pl.max_horizontal(day0, "last_at")))
        .select("course", "at", "last_at")
        .with_columns(col("at").set_sorted())
    )


def look(states: pl.DataFrame, table: pl.DataFrame, prefix: str) -> pl.DataFrame:
    """Add the latest row of `table` that still holds, as `prefix_*` columns; null where none does.

    Args:
        states: sorted by `at`.
        table: `at, until, ...`, sorted by `at`.
        prefix: of the new columns; `prefix_at` is when it was charted.
    """
    named = table.select(col("at"), col("at").alias(f"{prefix}_at"), pl.all().exclude("at").name.prefix(f"{prefix}_"))
    joined = states.join_asof(named.with_columns(col("at").set_sorted()), on="at", strategy="backward", coalesce=True)
    held = col(f"{prefix}_until") > col("at")
    new = [c for c in named.columns if c not in ("at", f"{prefix}_until")]
    return joined.with_columns(pl.when(held).then(c).alias(c) for c in new).drop(f"{prefix}_until")


def split_at(states: pl.DataFrame, points: pl.Series) -> pl.DataFrame:
    """Insert a copy of the row in force at each further time within the record, so that something may change there."""
    times = pl.concat([states["at"], points.drop_nulls().cast(pl.Int64)]).unique().sort()
    if times.len() == states.height:
        return states
    own = states.select("at", "course", "last_at", row=pl.int_range(pl.len(), dtype=pl.UInt32))
    every = (
        times.to_frame("at")
        .with_columns(col("at").set_sorted())
        .join_asof(own.with_columns(begin="at"), on="at", strategy="backward", coalesce=True)
    )
    held = every.filter((col("begin") == col("at")) | ((col("course") == col("at") // SPAN) & (col("at") <= col("last_at"))))
    return states[held["row"]].with_columns(held["at"].set_sorted())
