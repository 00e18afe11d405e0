"""Distributions, by SciPy, which is loaded when they are first asked for."""

from __future__ import annotations

from typing import Any

from aftercar.errors import AftercarError


def distributions() -> Any:
    """`scipy.stats`.

    Raises:
        AftercarError: it is not installed.
    """
    try:
        from scipy import stats
    except ImportError as error:
        raise AftercarError("Trials need the extras: pip install 'aftercar[simulate,trial]'.") from error
    return stats
