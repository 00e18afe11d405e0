"""ICAHT, early and late, by the EHA/EBMT consensus [rejeski2023].

The consensus leaves gaps, joining and "never above 500" open; the defaults follow the public automated grader of E. C. Liang,
whose choices `reference: icaht_peer_rules` describes, except that measured counts are not rounded and thresholds are
inequalities. Counts are neutrophils per microlitre, days are calendar-date differences (infusion = day 0).
"""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade.course import bounded, course_rows, gather
from aftercar.grade.days import EARLY_LAST_DAY, course_days, course_window, daily, days_given, filled, runs, within
from aftercar.grade.options import Options
from aftercar.grade.scale import Criterion, Scale
from aftercar.timeline.concepts import of_group
from aftercar.timeline.state import Record

SEVERE, PROFOUND = 500.0, 100.0  # per uL, inclusive
SHORT_FOLLOW_UP_D = 7


def early_criteria(options: Options) -> tuple[Criterion, ...]:
    """The early table: days at or under 500 and at or under 100, by the longest run."""
    d500, d100 = col("d500"), col("d100")
    return (
        Criterion(1, "ANC", "ANC <= 500/uL for 1-6 days", d500 >= 1),
        Criterion(2, "ANC", "ANC <= 500/uL for 7-13 days", d500 >= 7),
        Criterion(3, "ANC", "ANC <= 500/uL for 14 days or more", d500 >= 14),
        Criterion(4, "ANC", "ANC never above 500/uL", col("never")),
        Criterion(3, "ANC", "ANC <= 100/uL for 7-13 days", d100 >= 7),
        Criterion(4, "ANC", "ANC <= 100/uL for 14 days or more", d100 >= 14),
    )


def late_criteria(options: Options) -> tuple[Criterion, ...]:
    """The late table: the lowest count, if it is not transient."""
    return tuple(
        Criterion(grade, "ANC", f"ANC <= {cut}/uL, non-transient", col("confirmed") & (col("nadir") <= cut))
        for grade, cut in ((1, 1500), (2, 1000), (3, 500), (4, 100))
    )


def _durations(days: pl.LazyFrame, options: Options, *, unknown: bool) -> pl.LazyFrame:
    """`course, d500, d100, never, run_start, run_stop` of courses with any day at or under 500."""
    total = col("days").sum() if options["icaht_duration"] == "cumulative" else col("days").max()
    severe = runs(days, col("filled") <= SEVERE, options, unknown=unknown)
    profound = runs(days, col("filled") <= PROFOUND, options, unknown=unknown)
    by_day = int(options["never_recovered_start_max_day"])
    whole = (col("days") > EARLY_LAST_DAY) | ((col("start") <= by_day) & (col("stop") == col("last")))
    longest = col("days") == col("days").max()
    return gather(
        severe.group_by("course").agg(
            d500=total, never=whole.any(),
            run_start=col("start").filter(longest).first(), run_stop=col("stop").filter(longest).first(),
        ),
        profound.group_by("course").agg(d100=total),
    )  # fmt: skip


def early(record: Record, options: Options, scale: Scale) -> pl.LazyFrame:
    """Early ICAHT, one row a course: bounds from the days that stay unknown, and the run behind the grade."""
    end = col("last_fu")
    if options["early_censor"] == "progression_or_next_therapy":
        end = pl.min_horizontal("last_fu", "ended")
    window = course_days(record).with_columns(last=end.clip(0, EARLY_LAST_DAY).fill_null(EARLY_LAST_DAY))
    days = filled(daily(record, options, "anc"), window, options, rounded=bool(options["round10"]))
    low = _durations(days, options, unknown=False)
    high = _durations(days, options, unknown=True).select("course", col("d500", "d100", "never").name.suffix("_up"))
    in_run = col("day").is_between("run_start", "run_stop")
    facts = gather(days, low).group_by("course").agg(
        counted=col("count").is_not_null().sum(),
        blank=col("filled").is_null().sum(),
        every=col("event_id").drop_nulls(),
        in_run=col("event_id").filter(in_run).drop_nulls(),
    )  # fmt: skip
    frame = gather(window, low, high, facts, days_given(record, of_group("g_csf"), 0, EARLY_LAST_DAY, "g_csf_days"))
    frame = frame.with_columns(col("d500", "d100", "d500_up", "d100_up").fill_null(0), col("never", "never_up").fill_null(False))
    frame = bounded(frame, scale.criteria(options), ("d500", "d100", "never"))
    flags = {
        "sparse_anc": col("blank") > 0,
        "short_follow_up": col("never") & (col("last") < SHORT_FOLLOW_UP_D),
        "g_csf": col("g_csf_days") > 0,
    }
    measures = {n: col(n) for n in ("d500", "d100", "run_start", "run_stop", "counted", "blank", "g_csf_days")}
    return course_rows(
        frame, last=col("last"), onset=col("run_start"), stop=col("run_stop"),
        evidence=pl.when(col("grade") > 0).then("in_run").otherwise("every"), flags=flags, measures=measures,
    )  # fmt: skip


def late(record: Record, options: Options, scale: Scale) -> pl.LazyFrame:
    """Late ICAHT, one row a course: the nadir from day 31 on, if the next-lowest day confirms it."""
    first = EARLY_LAST_DAY + 1
    window = course_window(record, int(options["late_end_day"]))
    counts = within(daily(record, options, "anc"), window, first)
    rule = str(options["late_confirm"])
    if rule.startswith("within_days:"):
        counts = _in_company(counts, int(rule.partition(":")[2]))
    else:
        counts = counts.with_columns(alone=lit(False))
    lows = counts.sort("course", "count", "day").group_by("course", maintain_order=True).agg(
        lowest=col("count").first(),
        second=col("count").get(1, null_on_oob=True),
        alone=col("alone").first(),
        nadir_day=col("day").first(),
        counted=pl.len(),
        evidence=col("event_id").head(2),
    )  # fmt: skip
    g_csf = days_given(record, of_group("g_csf"), first, int(options["late_end_day"]), "g_csf_days")
    confirmed = (col("counted") == 1) | ((col("second") <= 1500) & ~col("alone"))
    # The grade that two days share is that of the higher count of the two.
    nadir = pl.coalesce("second", "lowest") if rule == "same_grade" else col("lowest")
    frame = gather(window, lows, g_csf).with_columns(nadir=nadir, confirmed=confirmed.fill_null(False))
    frame = bounded(frame, scale.criteria(options))
    no_data = col("counted").is_null()
    absent = lit("graded" if options["late_no_data"] == 0 else "not_applicable")
    frame = frame.with_columns(status=pl.when(no_data).then(absent).otherwise("status"))
    flags = {"transient_dip": (col("lowest") <= 1500) & (col("grade") == 0), "g_csf": col("g_csf_days") > 0, "no_anc": no_data}
    measures = {n: col(n) for n in ("nadir", "second", "nadir_day", "counted", "g_csf_days")}
    return course_rows(
        frame, first=lit(first), last=col("last"), onset=col("nadir_day"),
        evidence=col("evidence"), flags=flags, measures=measures,
    )  # fmt: skip


def _in_company(counts: pl.LazyFrame, days: int) -> pl.LazyFrame:
    """Of the counts at or under 1500, those with another within so many days; where there are none, all counts, `alone`."""
    low = counts.filter(col("count") <= 1500).sort("course", "day")
    gap = (col("day") - col("day").shift(1)).over("course")
    near = (gap <= days).fill_null(False) | (gap.shift(-1).over("course") <= days).fill_null(False)
    kept = low.filter(near).with_columns(alone=lit(False))
    rest = counts.join(kept, on="course", how="anti").with_columns(alone=lit(True))
    return pl.concat([kept, rest])


_CODES = ("anc", *of_group("g_csf"))

ICAHT_EARLY = Scale(
    name="icaht_early", title="ICAHT early, EHA/EBMT 2023", toxicity="icaht_early", source="rejeski2023", also=("liang2024",), version="1",
    criteria=early_criteria, window=early, codes=_CODES,
    options=("day0", "max_gap_days", "fill_ends", "round10", "recovery_days", "icaht_duration", "never_recovered_start_max_day",
             "early_censor", "gcsf"),
    marks={
        "counts under G-CSF count": "P", "counts are not rounded": "P", "the ends of the window are filled, by the peer's gap limit": "M?",
        "progression and next therapy do not end the early window": "P",
    },
)  # fmt: skip

ICAHT_LATE = Scale(
    name="icaht_late", title="ICAHT late, EHA/EBMT 2023", toxicity="icaht_late", source="rejeski2023", also=("liang2024",), version="1",
    criteria=late_criteria, window=late, lasts=False, codes=_CODES,
    options=("day0", "late_end_day", "late_confirm", "late_no_data", "gcsf"),
    marks={"what makes a low count non-transient": "P", "the window ends on day 100": "P", "counts under G-CSF count": "P"},
)  # fmt: skip
