"""The worst grade of each subject, infusion and scale family, from the course."""

from __future__ import annotations

from typing import Any

import polars as pl
from polars import col, lit

from aftercar.grade.scale import MEASURES, STATUS
from aftercar.grade.table import Grades
from aftercar.timeline.state import days_since_day0

WORST: dict[str, Any] = {
    "subject_id": None,  # as in the timeline
    "infusion": pl.Int32,
    "toxicity": pl.String,
    "scale": pl.String,
    "grade": pl.Int8,
    "grade_upper": pl.Int8,
    "status": STATUS,
    "group": pl.String,
    "criteria": pl.List(pl.String),
    "flags": pl.List(pl.String),
    "measures": MEASURES,
    "time": pl.Datetime("us"),
    "day": pl.Int32,
    "assessed": pl.Boolean,
    "unassessed_h": pl.Float64,
    "rules": pl.String,
    "options": pl.String,
}

# Words of a diagnosis as people write them, the surest first.
WORDS = {"criteria_met": "criteria met", "possible": "possible", "suspected": "suspected", "watch": "watch"}
# Among equal grades, what is told of the whole record.
_RANK = {word: len(WORDS) - n for n, word in enumerate(WORDS)}


def bounds_text(low: int | None, high: int | None) -> str:
    """Bounds of a grade as people write them: `3`, or `1–4` where missing data leave it open."""
    return str(low) if low == high else f"{low}–{high}"


def worst(every: Grades, courses: pl.DataFrame) -> pl.DataFrame:
    """A row a subject, infusion and family of scales.

    Stale time (a finding expired, nothing new charted) does not count towards the bounds; it is summed in `unassessed_h`. A
    toxicity that was never assessed is `incomplete` with its full range.

    Args:
        every: rows of all scales, sorted by subject and infusion; scales of one family take turns by age.
        courses: `subject_id, infusion, day0, record_end` of each `place`.
    """
    grades, keys = every.table, every.keys
    stale = every.warnings.list.contains("stale").gather(keys["flags"]).alias("stale")
    ends = courses["record_end"].gather(keys["place"])
    status = col("status").to_physical()  # by its number: words are slow
    absent, incomplete, plain = (STATUS.categories.to_list().index(w) for w in ("not_applicable", "incomplete", "graded"))
    ranks = {n: float(_RANK.get(w, 0)) for n, w in enumerate(STATUS.categories)}
    rows = grades.select(
        "grade",
        "grade_upper",
        "upper_assessed",
        stale,
        key=keys["place"].cast(pl.Int64) * every.families + keys["family"],
        row=pl.int_range(pl.len(), dtype=pl.UInt32),
        applies=status != absent,
        graded=status == plain,
        # A row of the whole course does not say when something was charted: there its evidence does.
        silent=(status == incomplete) & ~pl.coalesce(keys["charted"], col("evidence").list.len() > 0),
        hours=(pl.coalesce("end", ends) - col("start")).dt.total_seconds() / 3600,
        # The worst moment: the highest grade, then the surest diagnosis, then the highest score.
        how=col("grade") * 1e9
        + status.replace_strict(ranks, return_dtype=pl.Float64) * 1e7
        # A moment at which something was charted goes before one at which all had expired.
        + pl.when(stale).then(0.0).otherwise(1e6)
        + pl.when(col("measures").list.len() > 0).then(col("measures").list.first().struct.field("value")).fill_null(0.0),
    )

    def applying(what: pl.Expr) -> pl.Expr:
        return pl.when("applies").then(what)  # a filter within groups costs four times as much

    found = rows.group_by("key", maintain_order=True).agg(
        any=col("applies").any(),
        met=col("graded").any(),
        grade=applying(col("grade")).max().fill_null(0),
        seen=(col("applies") & ~col("stale")).any(),
        upper_seen=applying(pl.max_horizontal("grade", "upper_assessed")).max().fill_null(0),
        upper=applying(col("grade_upper")).max().fill_null(0),
        # Something that the scale reads was charted, or said to be complete.
        assessed=(col("applies") & ~col("stale") & ~col("silent")).any(),
        unassessed_h=pl.when(col("applies") & col("stale")).then("hours").sum(),
        # A subject is on one of two scales (ICE or CAPD) at a time: rows of the other do not apply.
        at=col("row").get(pl.when("applies").then("how").otherwise(-1.0).arg_max()),
    )
    flags = _flags(every, rows, found)
    zero = courses.select("subject_id", "infusion", "day0")
    moment = grades.select(
        "subject_id", "infusion", "toxicity", "scale", "group", "criteria", "measures", time=keys["onset"].fill_null(grades["start"]), said="status", rules="rules", options="options"
    )[found["at"]]  # fmt: skip
    whole = pl.concat([found.drop("at"), moment], how="horizontal").join(flags, on="key", how="left", maintain_order="left")
    word = (
        pl.when(~col("any")).then(lit("not_applicable"))
        .when(col("said").to_physical().replace_strict(ranks, return_dtype=pl.Float64) > 0).then(col("said").cast(pl.String))
        .when(col("grade") < col("grade_upper")).then(lit("incomplete"))
        # A diagnosis that is ruled out may have a grade: diarrhoea of an infection.
        .when(((col("grade") == 0) & ~col("met")) | (col("said") == "not_met")).then(lit("not_met"))
        .otherwise(lit("graded"))
    )  # fmt: skip
    return (
        whole.join(zero, on=["subject_id", "infusion"], how="left", maintain_order="left")
        .with_columns(
            grade_upper=pl.when("seen").then("upper_seen").otherwise("upper"),
            time=pl.when("any").then("time"),
            criteria=pl.when("any").then("criteria"),
            flags=col("flags").fill_null(lit([], pl.List(pl.String))),
        )
        .with_columns(status=word.cast(STATUS), day=days_since_day0("time"))
        .select(*WORST)
        .sort("subject_id", "infusion", "toxicity", "scale")
    )  # fmt: skip


def _flags(every: Grades, rows: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """All warnings of each key, each once, sorted; rows that do not apply warn only where none does."""
    warns = (every.warnings.list.len() > 0).gather(every.keys["flags"])
    # One number is quicker to tell apart than three columns.
    lists = 2 * max(len(every.warnings), 1)
    told = every.keys.select(told=rows["key"] * lists + col("flags").cast(pl.Int64) * 2 + rows["applies"]).filter(warns).unique()
    told = told.select(key=col("told") // lists, flags=col("told") % lists // 2, applies=col("told") % 2 == 1)
    told = told.join(found.select("key", "any"), on="key").filter(col("applies") | ~col("any"))
    words = told.select("key", flags=every.warnings.gather(told["flags"])).explode("flags")
    return words.unique().sort("key", "flags").group_by("key", maintain_order=True).agg("flags")
