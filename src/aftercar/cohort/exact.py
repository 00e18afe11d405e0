"""Exact intervals of counted shares."""

from __future__ import annotations

import numpy as np
import polars as pl

_TAIL = 0.025


def exact(k: pl.Series, n: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Exact 95 % interval of proportions (Clopper and Pearson 1934): `k` of `n`, as shares of 1; null where `n` is 0.

    >>> [round(end.item(), 3) for end in exact(pl.Series([1]), pl.Series([10]))]
    [0.003, 0.445]
    """
    from scipy.special import betaincinv

    some = n > 0
    events, all_ = (np.where(some, each, fill).astype(np.float64) for each, fill in ((k, 0), (n, 1)))
    left = all_ - events
    low = np.where(events > 0, betaincinv(np.maximum(events, 1e-9), left + 1, _TAIL), 0.0)
    high = np.where(left > 0, betaincinv(events + 1, np.maximum(left, 1e-9), 1 - _TAIL), 1.0)
    nothing = pl.Series([None], dtype=pl.Float64)
    return tuple(pl.Series(end, dtype=pl.Float64).zip_with(some, nothing) for end in (low, high))  # type: ignore[return-value]


def with_exact(rates: pl.DataFrame) -> pl.DataFrame:
    """Rows of `worst.reached` with `exact_low` and `exact_high` beside Wilson's ends."""
    low, high = exact(rates["yes"], rates["yes"] + rates["no"])
    place = rates.columns.index("high") + 1
    return rates.insert_column(place, low.alias("exact_low")).insert_column(place + 1, high.alias("exact_high"))
