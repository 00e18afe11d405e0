"""The grade heat strip: the worst grade of each day, a row a course; of a large cohort, how many had which grade on each day."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.cohort import groups
from aftercar.cohort.outcome import COURSE, Outcome
from aftercar.report.figures.cohort import Cohort, days_since
from aftercar.report.figures.draw import TOP, Figure, empty, framed, notes_of
from aftercar.report.names import scale_name
from aftercar.report.svg import label, line, rect

MOST = 120  # courses with a row of their own
LEFT, RIGHT, ROW, CELL = 118.0, 892.0, 13.0, 11.0
TALL = 260.0  # px of the plot of a large cohort
LAST_DAY = 30
UNKNOWN = "unknown"


def daily(cohort: Cohort, family: str, last_day: int = LAST_DAY) -> pl.DataFrame:
    """The worst grade of each day of each course, `subject_id, infusion, day, grade, grade_upper, known`.

    A stretch in which a finding had expired (`stale`) counts only where a day has no other: then `known` is false, and `grade` is the least that it may be. `grade_upper` is
    above `grade` where missing data leave more open. Days after the record has ended, and courses to which the scale does not apply, have no row.
    """
    scales = Outcome(family).scales
    applies = col("scale").is_in(scales) & (col("status").cast(pl.String) != "not_applicable") & col("start").is_not_null()
    key = cohort.courses.select(*COURSE, col("record_end").cast(pl.Datetime("us")), midnight=col("day0").dt.truncate("1d"))
    rows = cohort.grades.filter(applies).join(key.lazy(), on=COURSE).with_columns(end=pl.coalesce("end", "record_end"))
    # A stretch ends before its end: one that ends at midnight leaves the next day free.
    first = days_since("start").floor().clip(0).cast(pl.Int32)
    until = (days_since("end") - 1e-9).floor().clip(None, last_day).cast(pl.Int32)
    ruled_out = col("status").cast(pl.String) == "not_met"
    stretches = rows.select(
        *COURSE, first=first, until=pl.max_horizontal(first, until), stale=col("flags").list.contains("stale").fill_null(False),
        grade=pl.when(ruled_out).then(0).otherwise("grade").cast(pl.Int8), grade_upper=pl.when(ruled_out).then(0).otherwise("upper_assessed").cast(pl.Int8),
    ).filter(col("first") <= last_day)  # fmt: skip
    days = stretches.with_columns(day=pl.int_ranges("first", col("until") + 1)).explode("day")
    fresh = ~col("stale")
    worst = days.group_by(*COURSE, day=col("day").cast(pl.Int32)).agg(
        grade=pl.when(fresh.any()).then(col("grade").filter(fresh).max()).otherwise(col("grade").max()),
        grade_upper=pl.when(fresh.any()).then(pl.max_horizontal(col("grade_upper").filter(fresh).max(), col("grade").max())).otherwise(col("grade_upper").max()),
        known=fresh.any(),
    )  # fmt: skip
    return worst.sort(*COURSE, "day").collect()


def strip(cohort: Cohort, family: str = "crs", *, by: str | None = None, last_day: int = LAST_DAY, most: int = MOST) -> Figure:
    """Draw the days, the courses with the worst grades first, within each group.

    Args:
        family: scales that take turns by age.
        by: a column of the courses to part them by.
        most: courses with a row each; a larger cohort is drawn as counts by day.
    Raises:
        OptionError: no such column.
    """
    outcome = Outcome(family)
    title = f"Worst grade of each day, {scale_name(outcome.scales[0])}"
    days = daily(cohort, family, last_day)
    if days.is_empty():
        return empty(title, "The scale applies to no course.", cohort, days)
    if days.select(COURSE).n_unique() > most:
        return _counted(cohort, title, days, last_day, by)
    return _rows(cohort, title, days, last_day, by)


def _rows(cohort: Cohort, title: str, days: pl.DataFrame, last_day: int, by: str | None) -> Figure:
    known = days.filter("known")
    worst = known.group_by(COURSE).agg(worst=col("grade").max())
    at_worst = known.join(worst, on=COURSE).filter(col("grade") == col("worst")).group_by(COURSE).agg(at=col("day").min())
    order = (
        cohort.grouped(by)
        .join(days.select(COURSE).unique(), on=COURSE, how="semi")
        .join(worst, on=COURSE, how="left")
        .join(at_worst, on=COURSE, how="left")
    )
    order = order.sort(
        col("group") == groups.UNKNOWN,
        "group",
        "worst",
        "at",
        *COURSE,
        descending=[False, False, True, False, False, False],
        nulls_last=True,
    )
    data = (
        order.select("group", *COURSE, "name")
        .with_row_index("row")
        .join(days, on=COURSE, maintain_order="left")
        .sort("row", "day")
    )
    px_day = (RIGHT - LEFT) / (last_day + 1)
    parts, top = _key(aggregated=False)
    y, group = top, ""
    for row in data.partition_by("row", maintain_order=True):
        if row["group"][0] != group:
            group = row["group"][0]
            parts.append(label(0, y + 11, f"{group}, n = {order.filter(group=group).height}", "p"))
            y += ROW + 4
        who = row["name"][0]
        parts.append(label(LEFT - 6, y + 9, who if len(who) <= 18 else who[:17] + "…", "n", "end"))
        for first, until, grade, upper, is_known in _runs(row).iter_rows():
            x, width = LEFT + first * px_day, (until - first + 1) * px_day
            span = f"day {first}" + (f" to {until}" if until > first else "")
            told = f"grade {grade}" if grade == upper else f"grade {grade} to {upper}"
            text = f"{who}, {span}: {told}" if is_known else f"{who}, {span}: cannot be told (grade {grade} to {upper})"
            parts.append(rect(x, y, width, CELL, f"g{grade}" if is_known and grade == upper else "up", text))
            if is_known and upper:
                shown = str(grade) if grade == upper else f"{grade}–{upper}"
                cls = "s" + (" h" if grade < upper else " i" if grade > 2 else "")
                parts.append(label(x + width / 2, y + 8.6, shown, cls, "middle"))
        y += ROW
    _axis(parts, top, y, last_day, px_day)
    counts = order.group_by("worst").len().sort("worst", nulls_last=True)
    spoken = (
        f"{order.height} courses: "
        + ", ".join(f"{f'worst grade {w}' if w is not None else 'never known'} in {n}" for w, n in counts.iter_rows())
        + "."
    )
    notes = [
        "A day has the worst grade charted on it. Hatched: cannot be told, because a finding had expired or was not charted; with numbers, the range that missing data leave. Empty: the record has ended."
    ]
    return framed(title, spoken, y + 24, parts, notes_of(cohort, *notes), data.drop("name"))


def _runs(row: pl.DataFrame) -> pl.DataFrame:
    """Days of one look side by side, as one: `first, until, grade, grade_upper, known`."""
    look = ["grade", "grade_upper", "known"]
    changed = pl.any_horizontal(
        *(col(c).ne_missing(col(c).shift()) for c in look), (col("day") - col("day").shift()).fill_null(9) != 1
    )
    runs = row.with_columns(run=changed.cum_sum()).group_by("run", maintain_order=True)
    return runs.agg(first=col("day").min(), until=col("day").max(), **{c: col(c).first() for c in look}).drop("run")


def _counted(cohort: Cohort, title: str, days: pl.DataFrame, last_day: int, by: str | None) -> Figure:
    """How many courses had which grade on each day, as stacked columns."""
    state = (
        pl.when(col("known") & (col("grade") == col("grade_upper"))).then(col("grade").cast(pl.String)).otherwise(lit(UNKNOWN))
    )
    data = days.group_by("day", state=state).len("n").sort("day", "state").with_columns(col("n").cast(pl.Int64))
    followed = data.group_by("day").agg(followed=col("n").sum())
    data = data.join(followed, on="day", maintain_order="left").with_columns(share=col("n") / col("followed"))
    courses = days.select(COURSE).n_unique()
    px_day = (RIGHT - LEFT) / (last_day + 1)
    parts, top = _key(aggregated=True)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = top + (1 - share) * TALL
        parts += [line(LEFT, y, RIGHT, y, "g"), label(LEFT - 6, y + 4, f"{share:.0%}", "t", "end")]
    for (day,), own in data.partition_by("day", as_dict=True, maintain_order=True).items():
        base = top + TALL
        shares = {s: (n, p) for s, n, p in own.select("state", "n", "share").iter_rows()}
        for grade in ("5", "4", "3", "2", "1", UNKNOWN, "0"):
            if grade not in shares:
                continue
            n, share = shares[grade]
            base -= share * TALL
            what = "cannot be told" if grade == UNKNOWN else f"grade {grade}"
            text = f"day {day}, {what}: {n:,} of {own['followed'][0]:,} ({share:.1%})"
            parts.append(
                rect(
                    LEFT + int(day) * px_day + 1, base, px_day - 2, share * TALL, "up" if grade == UNKNOWN else f"g{grade}", text
                )
            )  # type: ignore[call-overload]
    _axis(parts, top, top + TALL, last_day, px_day)
    least = followed.filter(col("day") == last_day)["followed"].sum()
    notes = [
        f"{courses:,} courses are too many for a row each: share of those followed on each day ({least:,} on day {last_day}). Hatched: cannot be told, or a range is open."
    ]
    if by is not None:
        notes.append(f"Courses of each {by} are not told apart: --limit draws rows, and --subject fewer courses.")
    peak = data.filter(col("state").is_in(["1", "2", "3", "4", "5"])).group_by("day").agg(p=col("share").sum()).sort("p").tail(1)
    spoken = f"{courses:,} courses by day." + (
        f" Most had a grade of 1 or more on day {peak['day'][0]}: {peak['p'][0]:.0%}." if peak.height else ""
    )
    return framed(title, spoken, top + TALL + 26, parts, notes_of(cohort, *notes), data)


def _axis(parts: list[str], top: float, bottom: float, last_day: int, px_day: float) -> None:
    step = next(s for s in (1, 2, 5, 7, 10, 30, 100, 1000) if s * px_day >= 20)
    for day in range(0, last_day + 1, step):
        parts.append(label(LEFT + (day + 0.5) * px_day, bottom + 11, str(day), "t", "middle"))
        parts.append(label(LEFT + (day + 0.5) * px_day, top - 4, str(day), "t", "middle"))
    parts.append(label(RIGHT, bottom + 24, "day (infusion = day 0)", "t", "end"))


def _key(*, aggregated: bool) -> tuple[list[str], float]:
    x, y = 0.0, TOP + 8
    parts: list[str] = []
    for grade in range(6):
        parts += [rect(x, y - 5, 15, 11, f"g{grade}"), label(x + 19, y + 4, f"grade {grade}", "t")]
        x += 74
    parts += [rect(x, y - 5, 15, 11, "up"), label(x + 19, y + 4, "cannot be told" + ("" if aggregated else ", or a range"), "t")]
    return parts, y + 30
