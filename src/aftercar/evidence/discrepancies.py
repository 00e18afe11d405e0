"""What the lecture prints beside what its sources say, and which of the two counts here."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.evidence.tables import table

COLUMNS = ("topic", "lecture", "source", "used", "why", "severity", "ref_id", "verified")
SEVERITY = ("critical", "high", "medium", "low")


def discrepancies() -> pl.DataFrame:
    """All of them: the list made by hand, then the rates and onsets whose numbers differ.

    Returns:
        `topic`, what the `lecture` and the `source` print, what is `used` here and `why`, `severity` (null for rates and onsets), `ref_id`
        (keys, parts by `;`), `verified`.

    >>> discrepancies().filter(topic="KarMMa crs_any").select("lecture", "used").row(0)
    ('76%', '84%')
    """
    order = pl.Enum(SEVERITY)
    listed = table("lecture_discrepancies").with_columns(col("severity").cast(order)).sort("severity", "id")
    by_hand = listed.select(
        topic="slide_topic", lecture="lecture_text", source="problem", used="correction", why=lit(None, dtype=pl.String),
        severity=col("severity").cast(pl.String), ref_id="evidence_ref_id", verified="verified",
    )  # fmt: skip
    return pl.concat([by_hand, _rates(), _onsets()]).select(COLUMNS)


def as_printed(column: str) -> pl.Expr:
    """A column as text, a whole number without a point: 76, 68.5."""
    return col(column).cast(pl.String).str.replace(r"^(-?\d+)\.0$", "${1}")


def _percent(column: str) -> pl.Expr:
    return as_printed(column) + "%"


def _rates() -> pl.DataFrame:
    """The rates of the lecture that are of another definition, cohort or source, or mistyped."""
    by_primary = col("recommended_source") == "primary"
    publication = pl.format("publication {}", _percent("primary_pct"))
    label = pl.format("label {}", _percent("label_pct"))
    return (
        table("toxicity_rates")
        .filter(~col("discrepancy_class").is_in(["none", "not_in_lecture"]))
        .select(
            topic=pl.format("{} {}", "trial_id", "endpoint"),
            lecture=_percent("lecture_pct"),
            source=pl.concat_str(publication, label, separator=", ", ignore_nulls=True),
            used=_percent("recommended_pct"),
            why=pl.concat_str(
                col("discrepancy_class").str.replace_all("_", " "), "discrepancy_note", separator=": ", ignore_nulls=True
            ),
            severity=lit(None, dtype=pl.String),
            ref_id=pl.concat_str("primary_ref_id", "label_ref_id", separator=";", ignore_nulls=True),
            verified=pl.when(by_primary).then("verified_primary").otherwise("verified_label"),
        )
    )


def _onsets() -> pl.DataFrame:
    """The onsets of the lecture that its sources do not have."""

    def days(prefix: str) -> pl.Expr:
        return pl.format("{} ({}-{}) d", *(as_printed(f"{prefix}_{part}_d") for part in ("median", "low", "high")))

    return (
        table("onset")
        .filter(agreement="disagree")
        .select(
            topic=pl.format("{} {} onset", "product", "event"),
            lecture=days("lecture"),
            source=pl.format("{} {}, {}", days("source"), "source_spread_type", "source_population"),
            used=days("source"),
            why="note",
            severity=lit(None, dtype=pl.String),
            ref_id="ref_id",
            verified="verified",
        )
    )
