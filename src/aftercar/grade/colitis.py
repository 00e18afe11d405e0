"""Immune effector cell-associated enterocolitis, as [fortuna2024] describes it: diarrhoea after CAR-T that only a biopsy explains."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade.course import bounded, course_rows, gather, ids
from aftercar.grade.days import course_days
from aftercar.grade.late import any_charted, bears, charted
from aftercar.grade.options import Options
from aftercar.grade.scale import Criterion, Scale
from aftercar.timeline.concepts import concept
from aftercar.timeline.state import Record, readings

NEAR_D = 30  # work-up and biopsy within so many days of the worst diarrhoea belong to it


def criteria(options: Options) -> tuple[Criterion, ...]:
    """Diarrhoea by CTCAE gives the grade; the four features below make the diagnosis."""
    loose = col("diarrhoea")
    return (
        Criterion(1, "diarrhoea", "diarrhoea grade 1: up to 3 stools a day over baseline", loose >= 1, mark="M"),
        Criterion(2, "diarrhoea", "diarrhoea grade 2: 4-6 stools a day over baseline", loose >= 2, mark="M"),
        Criterion(3, "diarrhoea", "diarrhoea grade 3: 7 stools a day over baseline or more", loose >= 3, mark="M"),
        Criterion(4, "diarrhoea", "diarrhoea grade 4: life-threatening, as stated", loose >= 4, mark="M"),
        Criterion(5, "diarrhoea", "diarrhoea grade 5: death, as stated", loose >= 5, mark="M"),
        Criterion(0, "severe", "diarrhoea of grade 3 or more", loose >= 3),
        Criterion(0, "blood", "not bloody", (loose > 0) & ~col("bloody")),
        Criterion(0, "work-up", "infection work-up negative", col("infection_workup") == "negative"),
        Criterion(0, "biopsy", "biopsy with inflammation", col("biopsy") == "inflammation"),
    )


def diagnosis(record: Record) -> pl.LazyFrame:
    """A row a course: its worst diarrhoea, and what was found about it.

    Columns: `course, target, diarrhoea` (CTCAE grade), `onset` (day on which that grade was first charted), `bloody`, `blood_charted`,
    `infection_workup`, `biopsy` (the last result; null: none or pending), `word` (of the diagnosis), `evidence`, `unsure`.
    """
    worst = _worst_diarrhoea(record)
    near = (col("day") - col("onset")).abs() <= NEAR_D
    about = gather(charted(record, "diarrhoea_bloody", "infection_workup", "biopsy"), worst).filter(near)
    blood = about.filter((col("code") == "diarrhoea_bloody") & col("numeric_value").is_not_null())
    bloody = (col("numeric_value") == 1) & ~col("away")
    frame = gather(
        course_days(record), worst, any_charted(record, *_FINDINGS),
        blood.group_by("course").agg(bloody=bloody.any(), blood_ids=col("event_id").filter(bloody)),
        _last_result(about, "infection_workup"),
        _last_result(about, "biopsy"),
    )  # fmt: skip
    frame = frame.with_columns(
        col("charted", "unsure").fill_null(False),
        col("diarrhoea").fill_null(0),
        blood_charted=col("bloody").is_not_null(),
        bloody=col("bloody").fill_null(False),
        evidence=ids("diarrhoea_ids", "blood_ids", "infection_workup_ids", "biopsy_ids"),
    )
    return frame.with_columns(word=_word())


def _worst_diarrhoea(record: Record) -> pl.LazyFrame:
    """The highest CTCAE grade of each course and the day on which it was first charted; what was stated goes before stools."""
    number = col("numeric_value")
    rows = charted(record, "diarrhoea_grade", "diarrhoea").filter(number.is_not_null() & ~col("away"))
    stated = rows.filter(col("code") == "diarrhoea_grade")
    by_stools = pl.when(number >= 7).then(3).when(number >= 4).then(2).when(number > 0).then(1).otherwise(0)
    said = readings(record, "diarrhoea_grade", events=stated.collect(engine="in-memory"))
    stools = rows.filter(col("code") == "diarrhoea").with_columns(col("at").set_sorted())
    stools = stools.join_asof(said.lazy().select("at", said_until="until"), on="at", strategy="backward", coalesce=True)
    stools = stools.filter((col("said_until") > col("at")).fill_null(False).not_())
    columns = ("course", "at", "day", "event_id", "unsure")
    both = pl.concat([
        stated.select(*columns, diarrhoea=number.cast(pl.Int32)),
        stools.select(*columns, diarrhoea=by_stools.cast(pl.Int32)),
    ])  # fmt: skip
    highest = both.filter(col("diarrhoea") == col("diarrhoea").max().over("course")).sort("course", "at", "event_id")
    return highest.group_by("course", maintain_order=True).agg(
        col("diarrhoea").first(), onset=col("day").first(), diarrhoea_ids=col("event_id").head(1), unsure=col("unsure").first()
    )


def _last_result(about: pl.LazyFrame, code: str) -> pl.LazyFrame:
    """The last result that is one; at one time the one that is later among the words of the concept."""
    results = [w for w in concept(code).values if w != "pending"]
    found = about.filter((col("code") == code) & col("text_value").is_in(results))
    found = found.with_columns(_rank=col("text_value").cast(pl.Enum(results))).sort("course", "at", "_rank", "event_id")
    return found.group_by("course", maintain_order=True).agg(
        col("text_value").last().alias(code), col("event_id").tail(1).alias(f"{code}_ids")
    )


def _word() -> pl.Expr:
    """What the findings amount to; an exclusion goes before what is still missing."""
    workup, biopsy = col("infection_workup"), col("biopsy")
    excluded = (
        (col("diarrhoea") < 3)
        | col("bloody")
        | (workup == "positive").fill_null(False)
        | (biopsy != "inflammation").fill_null(False)
    )
    return (
        pl.when(~col("charted")).then(lit("not_applicable"))
        .when(excluded).then(lit("not_met"))
        .when(biopsy.is_null()).then(lit("suspected"))
        .when(workup.is_null()).then(lit("possible"))
        .otherwise(lit("criteria_met"))
    )  # fmt: skip


def window(record: Record, options: Options, scale: Scale) -> pl.LazyFrame:
    """One row a course. Of what is no colitis there is a grade, that of the diarrhoea, but no onset."""
    frame = bounded(diagnosis(record), scale.criteria(options)).with_columns(status="word")
    told, loose = col("charted"), col("diarrhoea") > 0
    biopsy = col("biopsy")
    flags = {
        "mild": told & (col("diarrhoea") < 3),
        "bloody": col("bloody"),
        "infection_found": (col("infection_workup") == "positive") | (biopsy == "infection"),
        "t_cell_lymphoproliferation": biopsy == "t_cell_lymphoproliferation",
        "biopsy_without_inflammation": biopsy.is_in(["normal", "other"]),
        "blood_not_charted": loose & ~col("blood_charted"),
        "not_bcma": told & ~bears("BCMA"),
        "attribution_unknown": col("unsure"),
    }
    onset = pl.when(col("word") != "not_met").then("onset")
    return course_rows(
        frame, onset=onset, evidence=col("evidence"), flags=flags, measures={"onset_day": pl.when(loose).then("onset")}
    )


_FINDINGS = ("diarrhoea", "diarrhoea_grade", "diarrhoea_bloody", "infection_workup", "biopsy")

COLITIS = Scale(
    name="colitis", title="IEC enterocolitis, Galarza Fortuna 2024", toxicity="colitis", source="fortuna2024", version="1",
    criteria=criteria, window=window, lasts=False, codes=_FINDINGS, needs=_FINDINGS, options=("day0", "unknown_attribution"),
    marks={"diarrhoea grade": "M", "30 days": "P", "suspected, possible": "P"},
)  # fmt: skip

SCALES = (COLITIS,)
