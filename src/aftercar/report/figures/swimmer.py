"""The swimmer plot: a bar a course, with the episodes of two toxicities, treatments, and what ended the follow-up."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from polars import col, lit

from aftercar.cohort.groups import UNKNOWN
from aftercar.cohort.outcome import COURSE, Outcome
from aftercar.report.figures.cohort import Cohort, days_since, spread
from aftercar.report.figures.draw import TOP, Figure, empty, framed, notes_of
from aftercar.report.names import toxicity_name
from aftercar.report.svg import DayAxis, label, line, mark, rect
from aftercar.timeline.concepts import of_group

MOST = 80  # courses; beyond it every n-th is drawn
LEFT, RIGHT, ROW, LANE = 118.0, 892.0, 19.0, 8.0
DIGIT = 5.0  # px of a number on a bar
KNEE, LONG = 21, 45  # beyond LONG days, those from KNEE on are drawn narrower
FAMILIES = ("crs", "icans")
# Groups of drugs with their mark and name; one mark a day.
TREATED = {
    "anticytokine": ("down", "anticytokine (tocilizumab ...)"),
    "corticosteroid": ("diamond", "corticosteroid"),
    "vasopressor": ("square", "vasopressor"),
    "jak_inhibitor": ("up", "JAK inhibitor"),
}
ENDS = {"progression": ("up", "progression"), "next_therapy": ("square", "next therapy"), "death": ("cross", "death")}
_SCHEMA = {
    "row": pl.Int64, "group": pl.String, "subject_id": None, "infusion": pl.Int32, "what": pl.String, "detail": pl.String, "from_day": pl.Float64, "to_day": pl.Float64,
    "grade": pl.Int8, "grade_upper": pl.Int8, "open_end": pl.Boolean,
}  # fmt: skip


def swimmer(cohort: Cohort, *, by: str | None = None, families: Sequence[str] = FAMILIES, most: int = MOST) -> Figure:
    """Draw the courses, those with the worst grades first, within each group.

    Args:
        by: a column of the courses to part them by.
        families: two families of scales at most: one lane each.
        most: courses at most.
    Raises:
        OptionError: no such column.
    """
    outcomes = [Outcome(f) for f in families]
    names = [toxicity_name(o.toxicity) for o in outcomes]
    title = f"Swimmer plot: {' and '.join(names)}"
    every = _sorted(cohort, outcomes, by)
    data = _data(cohort, spread(every, most), outcomes)
    drawn = every.height if every.height <= most else most
    if not drawn:
        return empty(title, "No course has an infusion on record.", cohort, data)
    last = max(int(max(data["to_day"].max() or 0, data["from_day"].max() or 0)), 14)  # type: ignore[type-var]
    days = DayAxis(0, last, LEFT, RIGHT, KNEE if last > LONG else None)
    parts, top = _key(names)
    parts += _frame(days, top, top + _height(data))
    lanes = {o.toxicity: LANE * (n - 1) for n, o in enumerate(outcomes)}  # px below the middle of a row
    y, group = top, None
    for row in data.partition_by("row", maintain_order=True):
        if by is not None and row["group"][0] != group:
            group = row["group"][0]
            parts.append(label(0, y + 13, f"{group}, n = {every.filter(group=group).height}", "p"))
            y += ROW
        parts += _course(row, days, lanes, y)
        y += ROW
    notes = [
        "Grade: darker is higher, numbered where there is room; a bar is as dark as the worst of its episode. One mark a day for each kind of drug; open: prophylaxis."
    ]
    if days.knee is not None:
        notes.append(f"Days from {KNEE} on are drawn narrower.")
    if drawn < every.height:
        notes.append(f"{drawn} of {every.height:,} courses are drawn, evenly from all as they are sorted by their worst grade.")
    if cohort.timeline is None:
        notes.append("Treatments are not drawn.")
    return framed(title, _spoken(data, names, every.height), y + 24, parts, notes_of(cohort, *notes), data)


def _sorted(cohort: Cohort, outcomes: list[Outcome], by: str | None) -> pl.DataFrame:
    """The courses in the order in which they are drawn, with the days that they were followed."""
    scales = [s for o in outcomes for s in o.scales]
    worst = cohort.episodes.filter(col("scale").is_in(scales)).group_by(COURSE).agg(grade=col("max_grade").max())
    courses = cohort.grouped(by).join(worst, on=COURSE, how="left").with_columns(midnight=col("day0").dt.truncate("1d"))
    end = pl.coalesce("death", "record_end", "day0").cast(pl.Datetime("us")).alias("end")
    courses = courses.with_columns(end).with_columns(col("grade").fill_null(0), followed=days_since("end").clip(0))
    return courses.sort(
        col("group") == UNKNOWN, "group", "grade", "followed", *COURSE, descending=[False, False, True, True, False, False]
    )


def _data(cohort: Cohort, courses: pl.DataFrame, outcomes: list[Outcome]) -> pl.DataFrame:
    """Every bar and mark of the courses, in days."""
    keyed = courses.with_row_index("row").with_columns(col("row").cast(pl.Int64))
    key = keyed.select("row", "group", *COURSE, "midnight", "followed")
    parts = [key.with_columns(what=lit("follow-up"), from_day=0.0, to_day=col("followed"), open_end=keyed["death"].is_null())]
    of_scale = {s: o.toxicity for o in outcomes for s in o.scales}
    own = cohort.episodes.filter(col("scale").is_in(list(of_scale))).join(key, on=COURSE)
    end = pl.coalesce(days_since("resolution"), days_since("onset") + col("duration_d"), "followed")
    parts.append(
        own.select(
            "row", "group", *COURSE, what=lit("episode"), detail=col("scale").replace_strict(of_scale, return_dtype=pl.String), from_day=days_since("onset"), to_day=end,
            grade=col("max_grade").cast(pl.Int8), grade_upper=col("max_grade_upper").cast(pl.Int8), open_end="censored",
        )
    )  # fmt: skip
    parts.append(_treatments(cohort, key))
    for name in ENDS:
        dated = keyed.select("row", "group", *COURSE, "midnight", at=col(name).cast(pl.Datetime("us"))).filter(
            col("at").is_not_null()
        )
        parts.append(dated.select("row", "group", *COURSE, what=lit("event"), detail=lit(name), from_day=days_since("at")))
    whole = pl.concat(parts, how="diagonal_relaxed")
    lacking = [lit(None, t).alias(c) for c, t in _SCHEMA.items() if c not in whole.columns]
    typed = [col(c) if t is None else col(c).cast(t) for c, t in _SCHEMA.items()]
    return whole.with_columns(lacking).select(typed).sort("row", "what", "detail", "from_day", nulls_last=True)


def _treatments(cohort: Cohort, key: pl.DataFrame) -> pl.DataFrame:
    """Days after the infusion on which each kind of drug was given: once a day, as prophylaxis where nothing else was."""
    kinds = {code: group for group in TREATED for code in of_group(group)}
    if cohort.timeline is None:
        return pl.DataFrame(schema={"row": pl.Int64})
    own = pl.Series(key["subject_id"]).unique().implode()
    given = cohort.timeline.filter(col("code").is_in(list(kinds)) & col("subject_id").is_in(own)).select(
        "subject_id", "time", "text_value", kind=col("code").cast(pl.String).replace_strict(kinds, return_dtype=pl.String), idle=col("numeric_value") == 0
    )  # fmt: skip
    rows = given.filter(~col("idle").fill_null(False)).join(key.lazy(), on="subject_id").with_columns(at=days_since("time"))
    within = rows.filter((col("at") >= 0) & (col("at") <= col("followed")))
    daily = within.group_by("row", "group", *COURSE, "kind", day=col("at").floor()).agg(
        from_day=col("at").min(), prophylaxis=(col("text_value") == "prophylaxis").fill_null(False).all()
    )
    words = pl.when("prophylaxis").then(lit("prophylaxis")).otherwise(lit("treatment"))
    return daily.select("row", "group", *COURSE, what=words, detail="kind", from_day="from_day").collect()


def _height(data: pl.DataFrame) -> float:
    groups = data["group"].unique()
    return ROW * (data["row"].n_unique() + (groups.len() if (groups != "").any() else 0))


def _key(names: list[str]) -> tuple[list[str], float]:
    """The key above the plot, and where the plot begins."""
    y, x = TOP + 8, 0.0
    parts: list[str] = []
    for n, (name, lane) in enumerate(zip(names, ("upper lane", "lower lane"), strict=False)):
        parts += [rect(x, y - 5 + n * 5, 26, 6, "g2"), label(x + 31, y + 4, f"{name} ({lane})", "t")]
        x += 130
    for grade in range(1, 6):
        parts += [rect(x, y - 5, 15, 11, f"g{grade}"), label(x + 7.5, y + 4, str(grade), "k" + " i" * (grade > 2), "middle")]
        x += 17
    parts.append(label(x + 4, y + 4, "grade", "t"))
    x += 50
    parts += [rect(x, y - 5, 15, 11, "up"), label(x + 19, y + 4, "not sure that it was one", "t")]
    y, x = y + 19, 0.0
    marks = [*((shape, "m", name) for shape, name in TREATED.values()), *((shape, "o", name) for shape, name in ENDS.values())]
    for shape, cls, name in marks:
        parts += [f'<g class="{cls}">{mark(shape, x + 5, y, "")}</g>', label(x + 13, y + 4, name, "t")]
        x += 26 + len(name) * 5.3
    parts += [f'<path class="ep" d="M{x:.1f} {y}h12m-4-3l4 3l-4 3"/>', label(x + 17, y + 4, "still followed", "t")]
    return parts, y + 30


def _frame(days: DayAxis, top: float, bottom: float) -> list[str]:
    parts: list[str] = []
    for day in days.labelled():
        x = days.x(day)
        parts += [
            line(x, top, x, bottom, "g"),
            label(x, top - 4, str(day), "t", "middle"),
            label(x, bottom + 12, str(day), "t", "middle"),
        ]
    if days.knee is not None:
        parts.append(line(days.x(days.knee), top, days.x(days.knee), bottom, "cut"))
    parts.append(label(RIGHT, bottom + 24, "day (infusion = day 0)", "t", "end"))
    return parts


def _course(rows: pl.DataFrame, days: DayAxis, lanes: dict[str, float], y: float) -> list[str]:
    parts: list[str] = []
    middle = y + ROW / 2
    who = str(rows["subject_id"][0]) + (f" ({rows['infusion'][0]})" if rows["infusion"][0] > 1 else "")
    parts.append(label(LEFT - 6, middle + 3.6, who if len(who) <= 18 else who[:17] + "…", "n", "end"))
    for r in rows.filter(what="follow-up").iter_rows(named=True):
        end = days.x(r["to_day"])
        parts.append(
            rect(days.x(0), middle - LANE, end - days.x(0), 2 * LANE, "nar", f"{who}, followed to day {r['to_day']:.0f}")
        )
        if r["open_end"]:
            parts.append(f'<path class="ep" d="M{end - 5:.1f} {middle - 3:.1f}l5 3l-5 3"/>')
    marks = [days.x(d) for d in rows.filter(col("what").is_in(["treatment", "prophylaxis", "event"]))["from_day"]]
    spans = {
        lane: [(days.x(a), days.x(b)) for a, b in rows.filter(what="episode", detail=t).select("from_day", "to_day").iter_rows()]
        for t, lane in lanes.items()
    }
    numbers: list[str] = []  # above all else
    for r in rows.filter(what="episode").iter_rows(named=True):
        lane = lanes[r["detail"]]
        x1, x2 = days.x(r["from_day"]), days.x(r["to_day"])
        grade = r["grade"]
        told = f"{grade}" if grade == r["grade_upper"] else f"{grade}–{r['grade_upper']}"
        text = (
            f"{who}, {toxicity_name(r['detail'])} grade {told}, day {r['from_day']:.1f} to {r['to_day']:.1f}"
            + ", end not seen" * r["open_end"]
        )
        parts.append(rect(x1, middle + lane, max(x2 - x1, 3), LANE, f"g{grade}" if grade else "up", text))
        others = [span for span in spans[lane] if span != (x1, x2)]
        place = _free(x1, max(x2, x1 + 3), marks, others) if grade else None
        if place is not None:
            inside = x1 <= place < x2
            numbers.append(label(place, middle + lane + LANE - 1, str(grade), "s" + " i" * (grade > 2 and inside)))
    for r in rows.filter(col("what").is_in(["treatment", "prophylaxis"])).iter_rows(named=True):
        shape, name = TREATED[r["detail"]]
        drawn = mark(shape, days.x(r["from_day"]), middle, f"{who}, {name}, {r['what']}, day {r['from_day']:.1f}")
        parts.append(f'<g class="{"m" if r["what"] == "treatment" else "o"} halo">{drawn}</g>')
    for r in rows.filter(what="event").iter_rows(named=True):
        shape, name = ENDS[r["detail"]]
        drawn = mark(shape, days.x(r["from_day"]), middle, f"{who}, {name}, day {r['from_day']:.0f}")
        parts.append(f'<g class="end-mark">{drawn}</g>')
    return parts + numbers


def _free(x1: float, x2: float, marks: list[float], others: list[tuple[float, float]]) -> float | None:
    """Where the number of a bar from `x1` to `x2` is not under a mark: within it as far left as may be, else beside it, clear of other bars."""
    within = [x1 + 2 + 3 * n for n in range(int((x2 - x1 - 6) / 3) + 1)] if x2 - x1 >= 9 else []
    beside = [x for x in (x2 + 2, x1 - 7) if x >= LEFT and not any(a - 1 < x + DIGIT and x < b + 1 for a, b in others)]
    clear = (x for x in (*within, *beside) if all(abs(x + DIGIT / 2 - m) > 7 for m in marks))
    return next(clear, None)


def _spoken(data: pl.DataFrame, names: list[str], courses: int) -> str:
    episodes = data.filter(what="episode")
    told = [f"{n} episodes of {toxicity_name(t)}" for t, n in episodes.group_by("detail").len().sort("detail").iter_rows()]
    ended = [f"{ENDS[d][1]} in {n}" for d, n in data.filter(what="event").group_by("detail").len().sort("detail").iter_rows()]
    return (
        f"{courses:,} courses; of the {data['row'].n_unique():,} drawn: "
        + "; ".join([*told, *ended] or [f"no {' or '.join(names)}"])
        + "."
    )
