"""What the later toxicities share: findings charted since the infusion, and a row a course of what they amount to."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade.days import with_day
from aftercar.grade.scale import Criterion
from aftercar.timeline.concepts import concept
from aftercar.timeline.state import Record, elsewhere, origin


def charted(record: Record, *codes: str) -> pl.LazyFrame:
    """Events since the infusion with their calendar `day`; `away` marks what a person attributed to another cause."""
    events = with_day(record, *codes).filter(col("at") >= origin(col("at")))
    return events.with_columns(away=elsewhere(record), unsure=col("attributable_to").eq_missing(lit("unknown")))


def any_charted(record: Record, *codes: str) -> pl.LazyFrame:
    """Courses in which any of these was charted since the infusion: `course, charted` (true)."""
    return charted(record, *codes).select("course", charted=lit(True)).unique()


def signs(record: Record, code: str) -> pl.LazyFrame:
    """Words of a concept that count as signs: charted since the infusion, not `none`, not attributed to another cause."""
    words = [w for w in concept(code).values if w != "none"]
    return charted(record, code).filter(col("text_value").is_in(words) & ~col("away"))


def joined(code: str) -> pl.Expr:
    """Within a group: its different words in the order of the concept, joined by `+`."""
    words = pl.Enum(concept(code).values)
    return col("text_value").cast(words).unique().sort().cast(pl.String).str.join("+")


def worst_stated(record: Record, code: str, name: str) -> pl.LazyFrame:
    """The highest grade that somebody stated: `course`, `<name>`, and its rows `<name>_ids`."""
    rows = charted(record, code).filter(~col("away") & col("numeric_value").is_not_null())
    highest = rows.filter(col("numeric_value") == col("numeric_value").max().over("course"))
    return highest.group_by("course").agg(col("numeric_value").first().alias(name), col("event_id").alias(f"{name}_ids"))


def stated_grades(present: pl.Expr, stated: pl.Expr, up_to: int, words: tuple[str, ...]) -> tuple[Criterion, ...]:
    """Cells of a toxicity that is graded as somebody stated; present without a statement it is grade 1, at most `up_to`."""

    def cell(grade: int) -> pl.Expr:
        unsaid = lit(True) if grade == 1 else lit(None, pl.Boolean) if grade <= up_to else lit(False)
        return pl.when(~present).then(False).when(stated.is_not_null()).then(stated >= grade).otherwise(unsaid)

    return tuple(Criterion(grade, "grade", text, cell(grade), mark="M") for grade, text in enumerate(words, 1))


def bears(antigen: str) -> pl.Expr:
    """Whether a course's target names this antigen, alone or among others; null where the target is unknown."""
    return col("target").str.to_uppercase().str.extract_all("[A-Z0-9]+").list.contains(antigen.upper())
