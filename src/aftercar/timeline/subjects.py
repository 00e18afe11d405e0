"""One row a subject and infusion: time zero and what is fixed about the subject."""

from __future__ import annotations

from typing import Any, Literal

import polars as pl
from polars import col, lit

# Doses of one product given within this many days are one split infusion; later ones start a course of their own.
# The papers are silent: a convention of this project.
SPLIT_DOSE_D = 14

# Target antigen by product, for the few rules that depend on it.
TARGETS = {
    "bcma": ("ide-cel", "idecabtagene", "abecma", "cilta-cel", "ciltacabtagene", "carvykti", "q2055", "q2056"),
    "cd19": ("axi-cel", "axicabtagene", "yescarta", "tisa-cel", "tisagenlecleucel", "kymriah", "brexu-cel", "brexucabtagene",
             "tecartus", "liso-cel", "lisocabtagene", "breyanzi", "obe-cel", "obecabtagene", "aucatzyl"),
}  # fmt: skip

ALL_LEUKAEMIA = r"(?i)\bALL\b|lymphoblastic"  # in the disease: acute lymphoblastic leukaemia, by its letters or its name

_DATED = ("last_follow_up", "progression", "next_therapy", "death")

# The table of results; `subjects` gives a few columns more.
SUBJECTS: dict[str, Any] = {
    "subject_id": None,  # as in the timeline
    "infusion": pl.Int32,
    "day0": pl.Datetime("us"),
    "age_y": pl.Float64,
    "sex": pl.String,
    "weight_kg": pl.Float64,
    "product": pl.String,
    "target": pl.String,
    "disease": pl.String,
    **dict.fromkeys(_DATED, pl.Datetime("us")),
    "death_cause": pl.String,
    "record_end": pl.Datetime("us"),
}

# The rows that `subjects` reads; beside them it needs only where each record ends.
CODES = ("cart_infusion", "age", "sex", "weight", "disease", "target", "birth", *_DATED)


def record_ends(timeline: pl.LazyFrame) -> pl.LazyFrame:
    """Every subject and the time of its last row, or end of an infusion: `subject_id, last_row`."""
    counts = timeline.filter(~col("code").is_in(["record_complete", "birth"]))
    ends = counts.group_by("subject_id").agg(col("time").max(), col("end_time").max())
    everyone = timeline.select("subject_id").unique()
    last = pl.max_horizontal("time", "end_time")
    return everyone.join(ends, on="subject_id", how="left").select("subject_id", last_row=last)


def subjects(
    timeline: pl.DataFrame,
    day0: Literal["first_infusion", "last_infusion"] = "first_infusion",
    ends: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Courses: a row a subject and infusion, sorted; a subject without an infusion has one row with a null `day0`.

    Columns: `subject_id, infusion, day0, opens` (first dose; the record of the course begins there), `from, until` (the rows of the timeline that belong to the course are those with
    `from <= time < until`), `age_y` at day 0, `sex`, `weight_kg`, `product`, `target`, `disease`, `last_follow_up`,
    `progression`, `next_therapy`, `death`, `death_cause`, `record_end` (time of the last row, or of death).

    Args:
        timeline: whole subjects; the rows of `CODES` will do where `ends` is given.
        day0: which dose of a split infusion is time zero.
        ends: `record_ends` of the whole timeline.
    """
    ends = record_ends(timeline.lazy()).collect() if ends is None else ends
    everyone = ends.select("subject_id").sort("subject_id")
    courses = everyone.join(_infusions(timeline, day0), on="subject_id", how="left").sort("subject_id", "infusion")
    courses = courses.with_columns(infusion=col("infusion").fill_null(1))
    later = col("opens").shift(-1).over("subject_id")
    first = col("infusion") == 1
    courses = courses.with_columns(
        pl.when(~first).then("opens").alias("from"), later.alias("until"),
    )  # fmt: skip
    for frame in (_fixed(timeline), ends):
        courses = courses.join(frame, on="subject_id", how="left", maintain_order="left")
    courses = courses.join(_dates(timeline, courses), on=["subject_id", "infusion"], how="left", maintain_order="left")
    end = pl.min_horizontal("last_row", "death", col("until") - pl.duration(seconds=1))
    age = _age(col("birth"), col("day0"))
    return courses.with_columns(
        age_y=pl.coalesce(age, "age_y"),
        record_end=end,
        target=pl.coalesce("target", _target(col("product"))),
    ).select(
        "subject_id", "infusion", "day0", "opens", "from", "until", "birth", "age_y", "sex", "weight_kg", "product", "target", "disease",
        *_DATED, "death_cause", "record_end",
    )  # fmt: skip


def _infusions(timeline: pl.DataFrame, day0: str) -> pl.DataFrame:
    doses = (
        timeline.filter((col("code") == "cart_infusion") & col("time").is_not_null())
        .select("subject_id", "time", col("text_value").alias("product"))
        .sort("subject_id", "time", "product")
    )
    gap = (col("time") - col("time").shift(1).over("subject_id")).dt.total_days()
    doses = doses.with_columns(infusion=(gap > SPLIT_DOSE_D).fill_null(True).cast(pl.Int32).cum_sum().over("subject_id"))
    zero = col("time").min() if day0 == "first_infusion" else col("time").max()
    return doses.group_by("subject_id", "infusion").agg(
        day0=zero, opens=col("time").min(), product=col("product").drop_nulls().first()
    )


def _fixed(timeline: pl.DataFrame) -> pl.DataFrame:
    """What is charted once; of several values the last charted counts."""

    def last(code: str, value: str) -> pl.Expr:
        return col(value).filter(col("code") == code).drop_nulls().last()

    wanted = timeline.filter(col("code").is_in(["age", "sex", "weight", "disease", "target", "birth"]))
    return wanted.group_by("subject_id", maintain_order=True).agg(
        age_y=last("age", "numeric_value"),
        sex=last("sex", "text_value"),
        weight_kg=last("weight", "numeric_value"),
        disease=last("disease", "text_value"),
        target=last("target", "text_value"),
        birth=col("time").filter(col("code") == "birth").min(),
    )


def _dates(timeline: pl.DataFrame, courses: pl.DataFrame) -> pl.DataFrame:
    """Follow-up, progression, next therapy and death of each course: from the day of its infusion to the next one."""
    wanted = timeline.filter(col("code").is_in(_DATED)).select("subject_id", "time", "code", "text_value")
    places = courses.select("subject_id", "infusion", opened=col("opens").dt.truncate("1d"), closed="until")
    within = (col("time") >= col("opened")) & ((col("time") < col("closed")) | col("closed").is_null())
    own = wanted.join(places, on="subject_id", how="inner", maintain_order="left").filter(within)
    return own.group_by("subject_id", "infusion", maintain_order=True).agg(
        last_follow_up=col("time").filter(col("code") == "last_follow_up").max(),
        progression=col("time").filter(col("code") == "progression").min(),
        next_therapy=col("time").filter(col("code") == "next_therapy").min(),
        death=col("time").filter(col("code") == "death").min(),
        death_cause=col("text_value").filter(col("code") == "death").drop_nulls().first(),
    )


def _age(born: pl.Expr, day: pl.Expr) -> pl.Expr:
    """Years from birth to a day: whole ones by the calendar, and the rest of a year."""
    had = (day.dt.month() * 100 + day.dt.day()) >= (born.dt.month() * 100 + born.dt.day())
    whole = day.dt.year() - born.dt.year() - (~had).cast(pl.Int32)
    rest = (day - born).dt.total_days() / 365.2425 - whole
    return whole + rest.clip(0.0, 0.999)


def _target(product: pl.Expr) -> pl.Expr:
    known = lit(None, pl.String)
    for target, names in TARGETS.items():
        pattern = "|".join(names)
        known = pl.when(product.str.to_lowercase().str.contains(pattern)).then(lit(target.upper())).otherwise(known)
    return known
