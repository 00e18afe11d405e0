"""First episodes counted: when they began, and how long they were."""

from __future__ import annotations

import polars as pl
from polars import col

from aftercar.cohort.outcome import COURSE

QUARTILES = {"q1": 0.25, "median": 0.5, "q3": 0.75}


def first_episodes(episodes: pl.DataFrame) -> pl.DataFrame:
    """Onset day and duration of the first episode of each course: a row a toxicity.

    Args:
        episodes: the table `episodes`, one scale a toxicity.
    Returns:
        `toxicity, onset, duration, censored, further`: `onset` and `duration` are `n, q1, median, q3, least, most`, quartiles by linear interpolation; durations of
        those whose end was seen, the others are counted in `censored`; `further` episodes are not in it.
    """
    kept = episodes.sort(*COURSE, "toxicity", "episode")
    first = kept.unique([*COURSE, "toxicity"], keep="first", maintain_order=True).with_columns(col("censored").fill_null(True))
    all_ = episodes.group_by("toxicity").agg(all=pl.len())
    return (
        first.group_by("toxicity")
        .agg(
            onset=_spread(col("onset_day").cast(pl.Float64)),
            duration=_spread(col("duration_d").filter(~col("censored"))),
            censored=col("censored").sum().cast(pl.Int64),
            first=pl.len(),
        )
        .join(all_, on="toxicity")
        .select("toxicity", "onset", "duration", "censored", further=(col("all") - col("first")).cast(pl.Int64))
        .sort("toxicity")
    )


def _spread(days: pl.Expr) -> pl.Expr:
    known = days.drop_nulls()
    quartiles = (known.quantile(p, "linear").alias(name) for name, p in QUARTILES.items())
    return pl.struct(known.len().cast(pl.Int64).alias("n"), *quartiles, known.min().alias("least"), known.max().alias("most"))
