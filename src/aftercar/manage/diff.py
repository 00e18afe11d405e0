"""What two profiles say of the same patients at the same times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
from polars import col

from aftercar.grade.options import Options
from aftercar.manage.advise import Advice, advise_charts, advise_lazy, joined
from aftercar.manage.asked import At, charts, extended
from aftercar.manage.rules import rulebook
from aftercar.timeline.schema import conform
from aftercar.timeline.store import open_timeline

_SAID = ("status", "option", "dose", "source")
_KEY = ("subject_id", "infusion", "time", "topic", "action")


def difference(first: Advice, second: Advice) -> pl.DataFrame:
    """Where two advices at the same single time differ.

    Returns:
        a row a course, topic and action on which they differ in status or dose: `first_status`, `first_option`, `first_dose`, `first_source` and the
        same of the second; null where that profile says nothing of it.
    """
    one, two = _said(first, "first"), _said(second, "second")
    both = one.join(two, on=_KEY, how="full", coalesce=True, nulls_equal=True)
    unlike = [col(f"first_{c}").ne_missing(col(f"second_{c}")) for c in ("status", "dose")]
    return both.filter(pl.any_horizontal(unlike)).sort(_KEY)


def _said(advice: Advice, name: str) -> pl.DataFrame:
    """What is said of each action; of several rules for one action the surest."""
    rows = advice.advice.filter(col("topic") != "block").sort("status", maintain_order=True)
    rows = rows.unique(_KEY, keep="first", maintain_order=True)
    return rows.select(*_KEY, *(col(c).alias(f"{name}_{c}") for c in _SAID))


def difference_timeline(
    timeline: pl.DataFrame | pl.LazyFrame,
    first: str,
    second: str,
    at: At = None,
    *,
    rules: Path | str | None = None,
    options: Mapping[str, object] | None = None,
) -> pl.DataFrame:
    """`difference` of two profiles on whole subjects; arguments and errors as for `advise_timeline`."""
    frame = timeline.collect() if isinstance(timeline, pl.LazyFrame) else timeline
    charted, chosen = conform(frame).lazy(), Options(options)
    books = [rulebook(name, rules if name == "local" else None) for name in (first, second)]
    return difference(*(advise_lazy(charted, book, at, None, chosen) for book in books))


def difference_folder(
    timeline: Path | str,
    first: str,
    second: str,
    at: At = None,
    *,
    rules: Path | str | None = None,
    options: Mapping[str, object] | None = None,
    subject: str | int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:
    """`difference` of two profiles on a timeline folder, which is graded once; arguments and errors as for `advise_folder`.

    Args:
        rules: a folder of one's own rules, for the profile `local`.
    """
    books = [rulebook(name, rules if name == "local" else None) for name in (first, second)]
    store, chosen = open_timeline(timeline), Options(options)
    parts: tuple[list[Advice], list[Advice]] = ([], [])
    for n, shard in enumerate(store.shards(), start=1):
        shard = shard if subject is None else shard.filter(col("subject_id") == subject)
        found = charts(extended(shard, at), books, chosen)
        for part, book in zip(parts, books, strict=True):
            part.append(advise_charts(found, book, at, None))
        if progress:
            progress(n, len(store.files))
    return difference(*(joined(part) for part in parts))
