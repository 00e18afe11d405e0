"""ICAHT, early and late, by the EHA/EBMT consensus [rejeski2023].

The consensus leaves gaps, joining and "never above 500" open; the defaults follow the public automated grader of E. C. Liang,
whose choices `reference: icaht_peer_rules` describes, except that measured counts are not rounded and thresholds are
inequalities. Counts are neutrophils per microlitre, days are calendar-date differences (infusion = day 0).
"""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade.options import Options
from aftercar.grade.scale import MEASURES, STATUS, Criterion, Scale
from aftercar.timeline.concepts import of_group
from aftercar.timeline.state import Record, calendar_day, midnight

EARLY_LAST_DAY = 30
SEVERE, PROFOUND = 500.0, 100.0  # per uL, inclusive
SHORT_FOLLOW_UP_D = 7
G_CSF_WASHOUT_D = 3


def early_criteria(options: Options) -> tuple[Criterion, ...]:
    """The early table: days at or under 500 and at or under 100, by the longest run."""
    d500, d100 = col("d500"), col("d100")
    return (
        Criterion(1, "ANC <= 500", "ANC <= 500/uL for 1-6 days", d500 >= 1),
        Criterion(2, "ANC <= 500", "ANC <= 500/uL for 7-13 days", d500 >= 7),
        Criterion(3, "ANC <= 500", "ANC <= 500/uL for 14 days or more", d500 >= 14),
        Criterion(4, "ANC <= 500", "ANC never above 500/uL", col("never")),
        Criterion(3, "ANC <= 100", "ANC <= 100/uL for 7-13 days", d100 >= 7),
        Criterion(4, "ANC <= 100", "ANC <= 100/uL for 14 days or more", d100 >= 14),
    )


def late_criteria(options: Options) -> tuple[Criterion, ...]:
    """The late table: the lowest count, if it is not transient."""
    return tuple(
        Criterion(grade, "ANC", f"ANC <= {cut}/uL, non-transient", col("confirmed") & (col("nadir") <= cut))
        for grade, cut in ((1, 1500), (2, 1000), (3, 500), (4, 100))
    )


def _with_day(record: Record, *codes: str) -> pl.DataFrame:
    """Events of these codes with their calendar `day`."""
    zero = record.courses.select("course", midnight=midnight())
    events = record.of(*codes).join(zero, on="course", maintain_order="left")
    return events.with_columns(day=calendar_day(col("at"), col("midnight")))


def _daily(record: Record, options: Options) -> pl.DataFrame:
    """The lowest count of each calendar day: `course, day, anc, event_id`."""
    counts = _with_day(record, "anc")
    if options["gcsf"] == "censor_3d_after":
        given = _with_day(record, *of_group("g_csf")).select("course", "day").unique()
        washed = given.join(pl.DataFrame({"after": range(G_CSF_WASHOUT_D + 1)}), how="cross")
        under = washed.select("course", day=col("day") + col("after")).unique()
        counts = counts.join(under, on=["course", "day"], how="anti", maintain_order="left")
    counts = counts.sort("course", "day", "numeric_value", "event_id")
    return counts.group_by("course", "day", maintain_order=True).agg(
        anc=col("numeric_value").first(), event_id=col("event_id").first()
    )


def _last_days(record: Record) -> pl.DataFrame:
    """Calendar days of last follow-up, progression and next therapy; death is follow-up's end where nothing else is said."""
    day0 = col("day0").dt.truncate("1d")

    def day(column: str) -> pl.Expr:
        return (col(column).dt.truncate("1d") - day0).dt.total_days().cast(pl.Int32)

    return record.courses.select(
        "course",
        # Another infusion ends what can be said of this one.
        last_fu=pl.min_horizontal(day("last_follow_up").fill_null(day("death")), day("until")),
        ended=pl.min_horizontal(day("progression"), day("next_therapy")),
    )


def _grid(daily: pl.DataFrame, last: pl.DataFrame) -> pl.DataFrame:
    """A row a course and day 0 to `last`: `course, day, last, anc, event_id`."""
    days = last.select("course", day=pl.int_ranges(0, col("last") + 1, dtype=pl.Int32), last="last").explode("day")
    return days.join(daily, on=["course", "day"], how="left", maintain_order="left")


def _filled(grid: pl.DataFrame, options: Options) -> pl.DataFrame:
    """Interpolate runs of at most `max_gap_days` missing days; longer runs stay missing in full."""
    limit = int(options["max_gap_days"])
    known = col("anc").is_not_null()
    grid = grid.with_columns(
        _before=pl.when(known).then("day").forward_fill().over("course"),
        _after=pl.when(known).then("day").backward_fill().over("course"),
        _low=col("anc").forward_fill().over("course"),
        _high=col("anc").backward_fill().over("course"),
    )
    inner = col("_low") + (col("_high") - col("_low")) * (col("day") - col("_before")) / (col("_after") - col("_before"))
    gap = col("_after").fill_null(col("last") + 1) - col("_before").fill_null(-1) - 1
    edge = pl.coalesce("_low", "_high") if options["fill_ends"] == "nearest" else lit(None, pl.Float64)
    between = col("_before").is_not_null() & col("_after").is_not_null()
    value = pl.when(known).then("anc").when(gap > limit).then(None).when(between).then(inner).otherwise(edge)
    if options["round10"]:
        value = (value / 10).round(mode="half_to_even") * 10
    return grid.with_columns(filled=value).drop("_before", "_after", "_low", "_high")


def _runs(grid: pl.DataFrame, threshold: float, options: Options, *, unknown: bool) -> pl.DataFrame:
    """Runs at or under a threshold: `course, start, stop, days`, joined where the break is too short to be a recovery.

    A break at the very end that is too short to prove recovery belongs to the run.
    """
    recovery = int(options["recovery_days"])
    low = grid.filter((col("filled") <= threshold).fill_null(unknown))
    gap = (col("day") - col("day").shift(1)).over("course")
    low = low.with_columns(run=(gap > recovery).fill_null(True).cum_sum().over("course"))
    runs = low.group_by("course", "run").agg(start=col("day").min(), stop=col("day").max(), last=col("last").first())
    runs = runs.with_columns(stop=pl.when(col("last") - col("stop") < recovery).then("last").otherwise("stop"))
    return runs.with_columns(days=col("stop") - col("start") + 1).sort("course", "start")


def _durations(grid: pl.DataFrame, options: Options, *, unknown: bool) -> pl.DataFrame:
    """`course, d500, d100, never, run_start, run_stop`."""
    total = col("days").sum() if options["icaht_duration"] == "cumulative" else col("days").max()
    severe = _runs(grid, SEVERE, options, unknown=unknown)
    profound = _runs(grid, PROFOUND, options, unknown=unknown)
    by_day = int(options["never_recovered_start_max_day"])
    whole = (col("days") > EARLY_LAST_DAY) | ((col("start") <= by_day) & (col("stop") == col("last")))
    longest = severe.sort("course", "days", descending=[False, True], maintain_order=True).unique("course", keep="first")
    found = (
        severe.group_by("course")
        .agg(d500=total, never=whole.any())
        .join(longest.select("course", run_start="start", run_stop="stop"), on="course")
    )
    found = found.join(profound.group_by("course").agg(d100=total), on="course", how="left")
    everyone = grid.select("course").unique()
    return everyone.join(found, on="course", how="left").with_columns(
        col("d500", "d100").fill_null(0), col("never").fill_null(False)
    )


def early(record: Record, options: Options) -> pl.DataFrame:
    """Early ICAHT, one row a course: bounds from the days that stay unknown, and the run behind the grade."""
    daily = _daily(record, options)
    window = _last_days(record)
    end = col("last_fu")
    if options["early_censor"] == "progression_or_next_therapy":
        end = pl.min_horizontal("last_fu", "ended")
    window = window.with_columns(last=end.clip(0, EARLY_LAST_DAY).fill_null(EARLY_LAST_DAY))
    grid = _filled(_grid(daily, window), options)
    low = _durations(grid, options, unknown=False)
    high = _durations(grid, options, unknown=True)
    frame = window.join(low, on="course").join(high, on="course", suffix="_up")
    facts = grid.group_by("course").agg(
        counted=col("anc").is_not_null().sum(),
        blank=col("filled").is_null().sum(),
        event_ids=col("event_id").drop_nulls(),
        event_days=col("day").filter(col("event_id").is_not_null()),
    )
    frame = frame.join(facts, on="course").sort("course")
    frame = _bounded(frame, early_criteria(options), ("d500", "d100", "never"))
    g_csf = _g_csf_days(record, 0, EARLY_LAST_DAY)
    frame = frame.join(g_csf, on="course", how="left", maintain_order="left")
    evidence = frame.select("course", "event_ids", "event_days", "run_start", "run_stop", "grade").explode(
        ["event_ids", "event_days"]
    )
    within = (col("grade") == 0) | col("event_days").is_between("run_start", "run_stop")
    rows = evidence.filter(within & col("event_ids").is_not_null()).group_by("course").agg(evidence="event_ids")
    frame = frame.join(rows, on="course", how="left", maintain_order="left")
    flags = {
        "sparse_anc": col("blank") > 0,
        "short_follow_up": col("never") & (col("last") < SHORT_FOLLOW_UP_D),
        "g_csf": col("g_csf_days") > 0,
    }
    names = ("d500", "d100", "run_start", "run_stop", "counted", "blank", "g_csf_days")
    return _rows(frame, record, flags, names, first=lit(0), last=col("last"), onset=col("run_start"), stop=col("run_stop"))


def late(record: Record, options: Options) -> pl.DataFrame:
    """Late ICAHT, one row a course: the nadir from day 31 on, if the next-lowest day confirms it."""
    first = EARLY_LAST_DAY + 1
    daily = _daily(record, options)
    window = _last_days(record).with_columns(
        last=pl.min_horizontal(lit(int(options["late_end_day"]), pl.Int32), "last_fu", "ended")
    )
    counts = daily.join(window.select("course", "last"), on="course").filter(col("day").is_between(first, "last"))
    rule = str(options["late_confirm"])
    if rule.startswith("within_days:"):
        counts = _in_company(counts, int(rule.partition(":")[2]))
    else:
        counts = counts.with_columns(alone=lit(False))
    counts = counts.sort("course", "anc", "day")
    lows = counts.group_by("course", maintain_order=True).agg(
        lowest=col("anc").first(),
        second=col("anc").get(1, null_on_oob=True),
        alone=col("alone").first(),
        nadir_day=col("day").first(),
        counted=pl.len(),
        evidence=col("event_id").head(2),
    )
    frame = window.join(lows, on="course", how="left", maintain_order="left").sort("course")
    confirmed = (col("counted") == 1) | ((col("second") <= 1500) & ~col("alone"))
    # The grade that two days share is that of the higher count of the two.
    nadir = pl.coalesce("second", "lowest") if rule == "same_grade" else col("lowest")
    frame = frame.with_columns(nadir=nadir, confirmed=confirmed.fill_null(False))
    frame = _bounded(frame, late_criteria(options), ())
    no_data = col("counted").is_null()
    absent = lit("graded" if options["late_no_data"] == 0 else "not_applicable")
    frame = frame.with_columns(status=pl.when(no_data).then(absent).otherwise("status"))
    g_csf = _g_csf_days(record, first, int(options["late_end_day"]))
    frame = frame.join(g_csf, on="course", how="left", maintain_order="left")
    flags = {"transient_dip": (col("lowest") <= 1500) & (col("grade") == 0), "g_csf": col("g_csf_days") > 0, "no_anc": no_data}
    names = ("nadir", "second", "nadir_day", "counted", "g_csf_days")
    return _rows(
        frame,
        record,
        flags,
        names,
        first=lit(first),
        last=col("last"),
        onset=col("nadir_day"),
        stop=lit(None, pl.Int32),
    )


def _in_company(counts: pl.DataFrame, days: int) -> pl.DataFrame:
    """Of the counts at or under 1500, those with another within so many days; where there are none, all counts, `alone`."""
    low = counts.filter(col("anc") <= 1500).sort("course", "day")
    gap = (col("day") - col("day").shift(1)).over("course")
    near = (gap <= days).fill_null(False) | (gap.shift(-1).over("course") <= days).fill_null(False)
    kept = low.filter(near).with_columns(alone=lit(False))
    rest = counts.join(kept.select("course").unique(), on="course", how="anti").with_columns(alone=lit(True))
    return pl.concat([kept, rest])


def _g_csf_days(record: Record, first: int, last: int) -> pl.DataFrame:
    given = _with_day(record, *of_group("g_csf")).select("course", "day").unique()
    return given.filter(col("day").is_between(first, last)).group_by("course").agg(g_csf_days=pl.len())


def _bounded(frame: pl.DataFrame, criteria: tuple[Criterion, ...], widened: tuple[str, ...]) -> pl.DataFrame:
    """Grade with the known days, and again with the unknown days counted (columns suffixed `_up`)."""

    def worst() -> pl.Expr:
        return pl.max_horizontal(lit(0, pl.Int8), *(c.when.fill_null(False).cast(pl.Int8) * c.grade for c in criteria))

    frame = frame.with_columns(grade=worst().cast(pl.Int8))
    cells = [pl.when(c.when.fill_null(False) & (col("grade") == c.grade)).then(lit(c.text)) for c in criteria]
    frame = frame.with_columns(criteria=pl.concat_list(cells).list.drop_nulls())
    if not widened:
        return frame.with_columns(grade_upper="grade", missing=lit([], pl.List(pl.String)), status=lit("graded"))
    swapped = frame.select("course", **{w: col(f"{w}_up") for w in widened})
    upper = swapped.with_columns(grade_upper=worst().cast(pl.Int8))
    frame = frame.join(upper.select("course", "grade_upper"), on="course", maintain_order="left")
    open_ = col("grade") < col("grade_upper")
    return frame.with_columns(
        missing=pl.when(open_).then(lit(["ANC"])).otherwise(lit([], pl.List(pl.String))),
        status=pl.when(open_).then(lit("incomplete")).otherwise(lit("graded")),
    )


def _rows(
    frame: pl.DataFrame, record: Record, flags: dict[str, pl.Expr], names: tuple[str, ...], *,
    first: pl.Expr, last: pl.Expr, onset: pl.Expr, stop: pl.Expr,
) -> pl.DataFrame:  # fmt: skip
    """The frame as grade rows: `course, start, end, ...` with times at local midnight, and the run as `onset`, `stop`."""
    frame = frame.join(record.courses.select("course", "day0"), on="course", maintain_order="left")
    midnight = col("day0").dt.truncate("1d")

    def time(day: pl.Expr) -> pl.Expr:
        return (midnight + pl.duration(days=day)).cast(pl.Datetime("us"))

    measures = [pl.when(col(n).is_not_null()).then(pl.struct(name=lit(n), value=col(n).cast(pl.Float64))) for n in names]
    if "evidence" not in frame.columns:
        frame = frame.with_columns(evidence=lit([], pl.List(pl.Int64)))
    empty = lit([], pl.List(pl.Int64))
    return frame.select(
        "course",
        start=pl.max_horizontal(time(first), "day0"),
        end=pl.max_horizontal(time(last + 1), time(first)),
        grade=pl.when(col("status") == "not_applicable").then(lit(0, pl.Int8)).otherwise("grade"),
        grade_upper=pl.when(col("status") == "not_applicable").then(lit(0, pl.Int8)).otherwise("grade_upper"),
        upper_assessed=pl.when(col("status") == "not_applicable").then(lit(0, pl.Int8)).otherwise("grade_upper"),
        status=col("status").cast(STATUS),
        criteria="criteria",
        missing="missing",
        flags=pl.concat_list([pl.when(f.fill_null(False)).then(lit(n)) for n, f in flags.items()]).list.drop_nulls(),
        evidence=col("evidence").fill_null(empty).list.sort(),
        measures=pl.concat_list(measures).list.drop_nulls().cast(MEASURES),
        onset=pl.when(col("grade") > 0).then(pl.max_horizontal(time(onset), "day0")),
        resolution=pl.when((col("grade") > 0) & (stop < last)).then(time(stop + 1)),
    )


_CODES = ("anc", *of_group("g_csf"))

ICAHT_EARLY = Scale(
    name="icaht_early", toxicity="icaht_early", source="rejeski2023", version="1", criteria=early_criteria, state=early, codes=_CODES,
    options=("day0", "max_gap_days", "fill_ends", "round10", "recovery_days", "icaht_duration", "never_recovered_start_max_day",
             "early_censor", "gcsf"),
    marks={"G-CSF": "P", "unrounded": "P"},
)  # fmt: skip

ICAHT_LATE = Scale(
    name="icaht_late", toxicity="icaht_late", source="rejeski2023", version="1", criteria=late_criteria, state=late, codes=_CODES,
    options=("day0", "late_end_day", "late_confirm", "late_no_data", "gcsf"),
    marks={"non-transient": "P", "G-CSF": "P"},
)  # fmt: skip
