"""How a grade has changed within a day: its rise from the lowest and its fall from the highest of the last 24 hours, as bounds."""

from __future__ import annotations

import polars as pl
from polars import col

from aftercar.timeline.state import HOUR, look

WINDOW_S = 24 * HOUR


def changes(grades: pl.DataFrame) -> pl.DataFrame:
    """What a grade has risen and fallen by, at every time.

    Args:
        grades: stretches of a grade between two bounds: `at, until, lo, hi`, and `settled`, its upper bound as it is seen once it is over; sorted.
    Returns:
        `at, until, rise_lo, rise_hi, fall_lo, fall_hi`, sorted: what now is compared with are the stretches that reach into the last 24 hours, that
        which held exactly 24 hours ago among them. Time before the first stretch, or between two of them, is not compared.
    """
    # Between two of these times nothing changes: a grade begins or ends, or one leaves the window.
    points = grades.select(col("at").append(col("until")).append(col("until") + WINDOW_S)).unique().sort("at")
    over = grades.select(col("until").alias("at"), over_lo="lo", over_hi="settled")
    window = look(points, {"now": grades.select("at", "until", "lo", "hi")}).join(
        over, on="at", how="left", maintain_order="left"
    )
    window = window.select(
        "at",
        until=col("at").shift(-1),
        lo="now_lo",
        hi="now_hi",
        **{f"{side}_least": pl.min_horizontal(f"now_{side}", _within("min", side)) for side in ("lo", "hi")},
        **{f"{side}_most": pl.max_horizontal(f"now_{side}", _within("max", side)) for side in ("lo", "hi")},
    )
    told = window.drop_nulls("lo").select(
        "at",
        "until",
        rise_lo=(col("lo") - col("hi_least")).clip(0),
        rise_hi=col("hi") - col("lo_least"),
        fall_lo=(col("lo_most") - col("hi")).clip(0),
        fall_hi=col("hi_most") - col("lo"),
    )
    return _joined(told)


def _within(extreme: str, side: str) -> pl.Expr:
    """The least or most of a bound among the stretches that ended within the last 24 hours."""
    rolling = pl.Expr.rolling_min_by if extreme == "min" else pl.Expr.rolling_max_by
    return rolling(col(f"over_{side}"), "at", window_size=f"{WINDOW_S}i", closed="right")


def _joined(told: pl.DataFrame) -> pl.DataFrame:
    """Stretches that follow each other and say the same, as one."""
    said = pl.exclude("at", "until")
    new = pl.any_horizontal(col("at") != col("until").shift(1), said.ne_missing(said.shift(1)))
    runs = told.group_by(new.fill_null(True).cum_sum().alias("_"), maintain_order=True)
    return runs.agg(col("at").first(), col("until").last(), said.first()).drop("_")
