"""What was known of each subject at each time: one row an interval, null where nothing valid is charted.

Time inside is a whole number of seconds on one axis for the whole shard, `at`: each course (subject and infusion) has a
stretch of its own on it. So "the latest reading" is one sorted as-of join with no grouping, and a running maximum cannot
leak from one course into the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import polars as pl
from polars import col, lit

from aftercar.timeline.concepts import concept, concepts

SPAN = 1 << 34  # seconds of one course's stretch: 272 years on either side of its beginning
ZERO = SPAN >> 1
LIFETIME_S = 150 * 366 * 86_400  # rows further than this from the infusion belong to nobody's record
HOUR = 3600
DAY = 24 * HOUR

# What holds for every course of a subject, whenever it was charted.
OF_THE_SUBJECT = (
    "record_complete", "developmental_delay", "o2_device_baseline", "o2_flow_baseline", "ice_baseline", "hlh_gene", "immunosuppression",
    "cns_tumour", "setting", "weight", "anti_hbc",
    # What was measured before an earlier infusion may be the baseline of a later one.
    "creatinine", "alt", "ast", "ferritin", "fibrinogen",
    *(name for name in concepts() if name.endswith(("_uln", "_lln"))),
)  # fmt: skip

# A push dose stands for the time it works; infusions without an end stand for `valid_for_h` of their drug.
PUSH_DOSE_S = HOUR


@dataclass(frozen=True)
class Record:
    """Whole subjects, ready to be asked.

    Attributes:
        by_code: events of each code: `course, at, end_at, code, numeric_value, text_value, unit, attributable_to, event_id`, sorted
            by `at`.
        courses: `subjects()` with `course` (its row number), `last_at` (end of the record) and `day0_at`.
        stated: courses in which a person attributed something to the cells.
        exclude_unknown: whether signs of unknown attribution are left out (`unknown_attribution = exclude`).
        hindsight: whether what came later may say what an earlier time was.
    """

    by_code: dict[str, pl.DataFrame]
    courses: pl.DataFrame
    stated: pl.Series
    exclude_unknown: bool = False
    hindsight: bool = True
    _made: dict[object, pl.DataFrame] = field(default_factory=dict, repr=False)

    def once(self, key: object, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        """What several scales ask for, made once."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def of(self, *codes: str) -> pl.DataFrame:
        """Events of these codes, sorted by `at`."""
        found = [self.by_code[c] for c in codes if c in self.by_code]
        if len(found) == 1:
            return found[0]
        return pl.concat(found).sort("at", "event_id") if found else _NO_EVENTS


_EVENTS = {
    "course": pl.Int64,
    "at": pl.Int64,
    "end_at": pl.Int64,
    "code": pl.String,
    "numeric_value": pl.Float64,
    "text_value": pl.String,
    "unit": pl.String,
    "attributable_to": pl.String,
    "event_id": pl.Int64,
}
_NO_EVENTS = pl.DataFrame(schema=_EVENTS)  # made once: most concepts are charted of nobody


def record(
    timeline: pl.DataFrame, courses: pl.DataFrame, codes: list[str], *, exclude_unknown: bool = False, hindsight: bool = True
) -> Record:
    """Place the timeline's rows of `codes` on the axis `at`; rows after death or outside a course are left out."""
    courses = (
        courses.with_row_index("place")
        .filter(col("day0").is_not_null())
        .with_columns(course=pl.int_range(pl.len(), dtype=pl.Int64))
    )
    # Two numbers place a row: `base` brings its second onto the axis, `last_at` says where its course's record ends.
    courses = courses.with_columns(base=col("course") * SPAN + ZERO - _seconds("opens"))
    end = pl.min_horizontal(_seconds("record_end"), _seconds("opens") + LIFETIME_S)
    courses = courses.with_columns(last_at=col("base") + end, day0_at=col("base") + _seconds("day0"))
    told = col("attributable_to").eq_missing(lit("iec"))  # of whatever code: it says how the record is kept
    placed = timeline.filter((col("code").is_in(codes) | told) & col("time").is_not_null()).lazy()
    several = courses.select((col("from").is_not_null() | col("until").is_not_null()).any()).item()
    bounds = ["from", "until"] if several else []
    places = courses.lazy().select("subject_id", "base", "last_at", *bounds)
    # A left join keeps the order at a fifth of the cost of an inner one; rows without a course fall to the filter below.
    placed = placed.join(places, on="subject_id", how="left", maintain_order="left")
    if several:
        opened = (col("time") >= col("from")).fill_null(True) & (col("time") < col("until")).fill_null(True)
        placed = placed.filter(opened | col("code").is_in(OF_THE_SUBJECT))
    events = (
        placed.select(
            "code",
            "numeric_value",
            "text_value",
            "unit",
            "attributable_to",
            "event_id",
            "last_at",
            at=col("base") + _seconds("time"),
            end_at=col("base") + _seconds("end_time"),
        )
        .filter((col("at") <= col("last_at")) & ((col("at") % SPAN - ZERO) >= -LIFETIME_S))
        # An end beyond a lifetime (9999-12-31) is how some systems write that there is none.
        .with_columns(course=col("at") // SPAN, end_at=pl.when(col("end_at") - col("at") <= LIFETIME_S).then("end_at"))
        .select(_EVENTS.keys())
        .collect(engine="in-memory")
    )
    if not events["at"].is_sorted():
        events = events.sort("at", "event_id")
    parts = events.partition_by("code", as_dict=True, maintain_order=True)
    by_code = {str(code): part.with_columns(col("at").set_sorted()) for (code,), part in parts.items() if code in codes}
    stated = events.filter(told)["course"].unique()
    return Record(by_code, courses, stated, exclude_unknown, hindsight)


def _seconds(time: str) -> pl.Expr:
    return col(time).dt.epoch("s")


def midnight() -> pl.Expr:
    """Of a course, the seconds from the midnight of day 0 to the course's beginning."""
    return (col("opens") - col("day0").dt.truncate("1d")).dt.total_seconds()


def calendar_day(at: pl.Expr, midnight: pl.Expr) -> pl.Expr:
    """Calendar-date difference to day 0; `midnight` is `midnight()` of the course."""
    return (at % SPAN - ZERO + midnight).floordiv(DAY).cast(pl.Int32)


def days_since_day0(column: str) -> pl.Expr:
    """Calendar-date difference of a time to `day0`, on a frame that has both."""
    return (col(column).dt.truncate("1d") - col("day0").dt.truncate("1d")).dt.total_days().cast(pl.Int32)


def of_course(courses: pl.DataFrame, course: pl.Series, *columns: str) -> list[pl.Series]:
    """Columns of `courses` for each row's course; a course is its row number there."""
    return [courses[c].gather(course) for c in columns]


def age_at(states: pl.DataFrame, courses: pl.DataFrame) -> pl.Series:
    """Age in years at each row of `states` (`course, at`); birthdays count to the day where the date of birth is known."""
    rows = states.select("at", *of_course(courses, states["course"], "age_y", "birth", "opens", "day0_at"))
    at, born = col("at"), col("birth")
    age = col("age_y") + (at - col("day0_at")) / (365.2425 * DAY)
    if courses["birth"].null_count() < courses.height:
        rows = rows.with_columns(day=col("opens") + pl.duration(seconds=at % SPAN - ZERO))
        rows = rows.with_columns(had=_of_year("day") >= _of_year("birth"), years=col("day").dt.year() - born.dt.year())
        age = (col("years") - (~col("had")).cast(pl.Int32)).cast(pl.Float64).fill_null(age)
    return rows.select(age=age).to_series()


def _of_year(time: str) -> pl.Expr:
    return col(time).dt.month().cast(pl.Int32) * 100 + col(time).dt.day()


def origin(at: pl.Expr) -> pl.Expr:
    """The beginning of the course that a time belongs to: its first dose."""
    return at // SPAN * SPAN + ZERO


def clock(frame: pl.DataFrame, courses: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """Turn columns on the axis back into times, and `course` into subject, infusion and its `place` in the table of subjects."""
    keyed = frame.with_columns(of_course(courses, frame["course"], "place", "subject_id", "infusion", "opens"))
    return keyed.with_columns(
        (col("opens") + pl.duration(seconds=col(c) - origin(col(c)))).cast(pl.Datetime("us")).alias(c) for c in columns
    ).drop("course", "opens")


def readings(record: Record, code: str, valid_for_h: float | None = None, events: pl.DataFrame | None = None) -> pl.DataFrame:
    """Point readings of one concept: `at, until, value, event_id, excluded, unsure, stated`, one a time, sorted.

    `value` is the number, or the rank of a word among the concept's `values` (null for "unknown"). Of several readings at
    one time the worst counts; a word that is not known counts for more than the first of the concept (room air, none, alert). `excluded`
    marks a finding that a person attributed to another cause, `stated` one that a person attributed to the cells.
    """
    if events is not None:
        return _readings(record, code, valid_for_h, events)
    return record.once(("readings", code, valid_for_h), lambda: _readings(record, code, valid_for_h, record.of(code)))


_READINGS = {
    "at": pl.Int64,
    "until": pl.Int64,
    "value": pl.Float64,
    "event_id": pl.Int64,
    "excluded": pl.Boolean,
    "unsure": pl.Boolean,
    "stated": pl.Boolean,
}
_NO_READINGS = pl.DataFrame(schema=_READINGS)


def _readings(record: Record, code: str, valid_for_h: float | None, events: pl.DataFrame) -> pl.DataFrame:
    if events.is_empty():
        return _NO_READINGS
    what = concept(code)
    valid = valid_for_h if valid_for_h is not None else what.valid_for_h
    value = ranked(code) if what.kind == "text" else col("numeric_value")
    found = events.select(
        "at",
        until=pl.coalesce("end_at", col("at") + int(valid * HOUR)) if valid is not None else (col("at") // SPAN + 1) * SPAN,
        value=value,
        event_id=col("event_id"),
        excluded=elsewhere(record),
        unsure=col("attributable_to").eq_missing(lit("unknown")),
        stated=col("attributable_to").eq_missing(lit("iec")),
    )
    if found.height > 1 and found["at"].is_duplicated().any():
        badness = col("value") if what.worst == "max" else -col("value")
        if what.kind == "text":  # what is not known may be worse than the least, and takes nothing from what is known to be there
            badness = badness.fill_null(0.5)
        # Attributed elsewhere counts less than a finding that stands.
        # Of equal ones that counts which a person attributed to the cells.
        found = found.sort("at", col("excluded").not_(), badness, "stated", "event_id", nulls_last=False)
        found = found.unique("at", keep="last", maintain_order=True)
    return found.with_columns(col("at").set_sorted())


def elsewhere(record: Record) -> pl.Expr:
    """Whether a person attributed a row to another cause, so that it is no sign."""
    causes = ["other", "unknown"] if record.exclude_unknown else ["other"]
    return col("attributable_to").is_in(causes).fill_null(False)


def ranked(code: str) -> pl.Expr:
    """`text_value` as its rank among the words of a concept; null for "unknown" and for what is no word of it."""
    ranks = {word: float(rank) for rank, word in enumerate(concept(code).values)}
    return col("text_value").replace_strict(ranks, default=None, return_dtype=pl.Float64)


_INFUSIONS = {
    "course": pl.Int64,
    "code": pl.String,
    "at": pl.Int64,
    "until": pl.Int64,
    "numeric_value": pl.Float64,
    "unit": pl.String,
    "bolus": pl.Boolean,
    "event_id": pl.Int64,
    "assumed_end": pl.Boolean,
    "unsure": pl.Boolean,
    "stated": pl.Boolean,
}


def infusions(record: Record, codes: list[str], *, push_doses: bool = True) -> pl.DataFrame:
    """Each charted row of these drugs with the time at which it ended, `until`; sorted by `code`, `at`.

    A row without an end stands until the next row of that drug, at most `valid_for_h`; a later rate of 0 stops it, whatever its end; a
    push dose (`bolus`) stands for an hour. Rows attributed to another cause are left out, but end what ran before.
    """
    valid = {c: (concept(c).valid_for_h or 24) * HOUR for c in codes}
    # At one time a rate of 0 comes first, so that a rate beside it wins.
    rows = record.of(*codes).sort("code", "at", "numeric_value", "event_id", nulls_last=True)
    if rows.is_empty():
        return pl.DataFrame(schema=_INFUSIONS)
    drug = ("code", "course")
    stops = (col("numeric_value") == 0).fill_null(False)
    later = pl.when(col("at").shift(-1).over(drug) > col("at")).then(col("at").shift(-1).over(drug))
    rows = rows.with_columns(
        bolus=col("text_value").eq_missing(lit("bolus")),
        following=later.backward_fill().over(drug),  # the next time at which this drug was charted
        stop=pl.when(stops).then("at").backward_fill().over(drug),
        unsure=col("attributable_to").eq_missing(lit("unknown")),
        stated=col("attributable_to").eq_missing(lit("iec")),
    )
    assumed = pl.min_horizontal("following", col("at") + col("code").replace_strict(valid, return_dtype=pl.Int64))
    infused = pl.min_horizontal(pl.coalesce("end_at", assumed), "stop")
    pushed = pl.coalesce("end_at", col("at") + PUSH_DOSE_S)
    rows = rows.with_columns(
        until=pl.when("bolus").then(pushed).otherwise(infused), assumed_end=col("end_at").is_null() & ~col("bolus")
    )
    rows = rows.filter(~stops & (col("until") > col("at")) & ~elsewhere(record))
    return rows.filter(push_doses | ~col("bolus")).select(_INFUSIONS.keys())


def running(record: Record, codes: list[str], *, push_doses: bool = True) -> pl.DataFrame:
    """When each drug ran: `infusions` with touching rows of one drug merged: `course, code, at, until, event_id, assumed_end, unsure`."""
    rows = infusions(record, codes, push_doses=push_doses)
    drug = ("code", "course")
    reach = col("until").cum_max().shift(1).over(drug)
    rows = rows.with_columns(stretch=(col("at") > reach).fill_null(True).cum_sum().over(drug))
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


def union(intervals: pl.DataFrame, gap_s: int = 0) -> pl.DataFrame:
    """When any of the intervals holds, across gaps of at most `gap_s`: `at, until, event_id` of the first."""
    rows = intervals.sort("at", "until")
    apart = (col("at") - col("until").cum_max().shift(1) > gap_s).fill_null(True)
    merged = rows.group_by(apart.cum_sum().alias("_"), maintain_order=True)
    return merged.agg(col("at").min(), col("until").max(), col("event_id").first()).drop("_")


def outside(record: Record, intervals: pl.DataFrame) -> pl.DataFrame:
    """When none of the intervals holds, from the beginning of each course's stretch of the axis to its end: `at, until, event_id` (null)."""
    edges = record.courses.select(at=col("course") * SPAN, until=col("course") * SPAN)
    rows = pl.concat([edges, intervals.select("at", "until")]).sort("at", "until")
    gaps = rows.select(at=col("until").cum_max(), until=col("at").shift(-1).fill_null(record.courses.height * SPAN))
    return gaps.filter(col("at") < col("until")).with_columns(event_id=lit(None, pl.Int64))


def overlaps(intervals: pl.DataFrame, at_least_s: int) -> pl.DataFrame:
    """When two different drugs ran together for at least so long: `at, until, event_id, other_id`."""
    # Courses have stretches of their own on the axis, so two inequalities find the pairs within each.
    pairs = intervals.join_where(
        intervals.select("code", "at", "until", "event_id").rename(lambda c: f"{c}_b"),
        col("at") < col("until_b"),
        col("at_b") < col("until"),
    ).filter(col("code") < col("code_b"))
    return (
        pairs.select(
            at=pl.max_horizontal("at", "at_b"), until=pl.min_horizontal("until", "until_b"),
            event_id=col("event_id"), other_id=col("event_id_b"),
        )
        .filter(col("until") - col("at") >= at_least_s)
        .sort("at", "event_id")
    )  # fmt: skip


def grid(record: Record, *tables: pl.DataFrame) -> pl.DataFrame:
    """Every time at which something may change: `course, at, last_at`, from the first dose to the end of each record, sorted."""
    at, course = col("at"), col("at") // SPAN
    begin = course * SPAN + ZERO
    # An end matters only where nothing newer has taken over by then.
    ends = col("until").filter((col("until") < at.shift(-1)).fill_null(True))
    points = [table.lazy().select(at.append(ends)) for table in tables if table.height]
    points += [record.courses.lazy().select((col("course") * SPAN + ZERO).append("last_at").alias("at"))]
    # What stands for ever ends where the stretch of the next course begins.
    times = pl.concat(points).filter(at.is_between(0, record.courses.height * SPAN, closed="left")).sort("at")
    # Sorting and dropping repeats is twice as quick as a hash here: each table comes sorted.
    times = times.filter((at != at.shift(1)).fill_null(True))
    every = times.select(course=course, at=at.set_sorted(), last_at=lit(record.courses["last_at"]).gather(course))
    return every.filter(at.is_between(begin, pl.max_horizontal(begin, "last_at"))).collect(engine="in-memory")


def look(states: pl.DataFrame, tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Add of each table the latest row that still holds, as `<name>_*` columns; null where none does.

    Args:
        states: sorted by `at`.
        tables: by name, each `at, until, ...`, sorted by `at`; `<name>_at` is when the row was charted.
    """
    return look_at(states.lazy(), tables).collect(engine="in-memory")


def look_at(states: pl.LazyFrame, tables: Mapping[str, pl.DataFrame]) -> pl.LazyFrame:
    """`look` as a part of a query."""
    held, nowhere = [], []
    for name, table in tables.items():
        new = [c for c in table.columns if c != "until"]
        if table.is_empty():  # many concepts are charted of nobody
            nowhere += [lit(None, t).alias(f"{name}_{c}") for c, t in table.schema.items() if c != "until"]
            continue
        named = table.lazy().select(
            col("at").set_sorted(), col("at").alias(f"{name}_at"), pl.all().exclude("at").name.prefix(f"{name}_")
        )
        states = states.join_asof(named, on="at", strategy="backward", coalesce=True)
        holds = col(f"{name}_until") > col("at")
        held += [pl.when(holds).then(f"{name}_{c}").alias(f"{name}_{c}") for c in new]
    return states.with_columns(*held, *nowhere).drop(f"{n}_until" for n, t in tables.items() if t.height)


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
