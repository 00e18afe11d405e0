"""A chart under way: what was found of virtual patients at the rounds of a ward and between them, put in the order of time at the end.

Cohorts chart millions of rows; so each finding comes as one array over patients and rounds, words as their numbers, and rows are sorted as numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from aftercar.simulate.engine import Floats, Ints

INFUSED = datetime(2000, 1, 3, 10)  # of every virtual patient: no date of a person
SOURCE = "simulation"
_HOUR = 3_600_000_000  # microseconds
_NONE = np.iinfo(np.int64).min  # no time

Words = tuple[Sequence[str], NDArray[np.intp]]  # a vocabulary, and for each patient and round the number of a word in it


def as_days(time: pl.Expr) -> pl.Expr:
    """Days since the infusion."""
    return (time - pl.lit(INFUSED, pl.Datetime("us"))).dt.total_seconds() / timedelta(days=1).total_seconds()


class _Rows(NamedTuple):
    """Rows of one code: words as numbers, times in microseconds since the infusion."""

    row: Ints
    time: Ints
    code: NDArray[np.uint32]
    value: Floats
    text: NDArray[np.uint32]
    end: Ints
    unit: NDArray[np.uint32]


class Chart:
    """Collects events of some patients."""

    def __init__(self, hours: Floats, last: Ints, read: Collection[str] | None = None) -> None:
        """Begin an empty chart.

        Args:
            hours: of the rounds, since the infusion.
            last: for each patient the number of the last round that is charted.
            read: only these codes are kept; by default all.
        """
        self.ends = hours[last]
        self._read = read
        self._told = np.arange(len(hours)) <= last[:, None]
        self._times = _microseconds(hours)
        self._nexts = np.append(self._times[1:], self._times[-1] + _HOUR)
        self._words: dict[str | None, int] = {None: 0}
        self._parts: list[_Rows] = []

    def wants(self, code: str) -> bool:
        """Whether events of a code are kept."""
        return self._read is None or code in self._read

    def rounds(
        self, code: str, value: ArrayLike | None = None, text: Words | None = None, where: NDArray[np.bool_] | None = None, *,
        unit: str | None = None, until_next: bool = False,
    ) -> None:  # fmt: skip
        """Chart a finding at the rounds at which `where` holds, by default at all; arrays go over patients and rounds.

        Args:
            until_next: it lasts until the next round.
        """
        if not self.wants(code):
            return
        shape = self._told.shape
        at = np.flatnonzero(self._told if where is None else self._told & where)
        row, number = np.divmod(at, shape[1])
        self._add(
            code, unit, row, self._times[number],
            None if value is None else np.broadcast_to(np.asarray(value, np.float64), shape).reshape(-1)[at],
            None if text is None else np.array([self._number(w) for w in text[0]], np.uint32)[text[1].reshape(-1)[at]],
            self._nexts[number] if until_next else None,
        )  # fmt: skip

    def events(
        self, code: str, hour: ArrayLike, value: ArrayLike | None = None, text: str | None = None, *,
        row: Ints | None = None, unit: str | None = None, end_hour: ArrayLike | None = None,
    ) -> None:  # fmt: skip
        """Chart what happens at any hour, by default once to each patient; what lies after a patient's last round is left out."""
        if not self.wants(code):
            return
        row = np.arange(len(self.ends)) if row is None else row
        keep = np.broadcast_to(np.asarray(hour, np.float64), row.shape) <= self.ends[row]

        def each(given: ArrayLike) -> Floats:
            return np.broadcast_to(np.asarray(given, np.float64), row.shape)[keep]

        self._add(
            code, unit, row[keep], _microseconds(each(hour)),
            None if value is None else each(value),
            None if text is None else np.full(int(keep.sum()), self._number(text), np.uint32),
            None if end_hour is None else _microseconds(each(end_hour)),
        )  # fmt: skip

    def _add(
        self,
        code: str,
        unit: str | None,
        row: Ints,
        time: Ints,
        value: Floats | None,
        text: NDArray[np.uint32] | None,
        end: Ints | None,
    ) -> None:
        def filled(given: NDArray[Any] | None, none: float, dtype: Any) -> NDArray[Any]:
            return np.full(len(row), none, dtype) if given is None else given

        self._parts.append(
            _Rows(
                row, time, filled(None, self._number(code), np.uint32), filled(value, np.nan, np.float64), filled(text, 0, np.uint32),
                filled(end, _NONE, np.int64), filled(None, self._number(unit), np.uint32),
            )
        )  # fmt: skip

    def _number(self, word: str | None) -> int:
        return self._words.setdefault(word, len(self._words))

    def timeline(self, subjects: Ints) -> pl.DataFrame:
        """All events in our schema, numbered, by subject and time, and at one time in the order in which they were charted.

        Args:
            subjects: the id of each patient, ascending.
        """
        every: list[Any] = [np.concatenate(column) for column in zip(*self._parts, strict=True)]
        order = np.argsort(every[0] * (every[1].max(initial=0) + 1) + every[1], kind="stable")
        found = _Rows(*(column[order] for column in every))
        words, n = pl.Series(list(self._words), dtype=pl.String), len(order)
        return pl.DataFrame(
            {
                "subject_id": subjects[found.row], "time": _times(found.time), "code": words.gather(pl.Series(found.code)),
                "numeric_value": pl.Series(found.value, nan_to_null=True), "text_value": words.gather(pl.Series(found.text)),
                "end_time": _times(found.end), "unit": words.gather(pl.Series(found.unit)), "source": pl.repeat(SOURCE, n, eager=True),
                "attributable_to": pl.repeat(None, n, dtype=pl.String, eager=True), "note": pl.repeat(None, n, dtype=pl.String, eager=True),
                "event_id": np.arange(n),
            }
        )  # fmt: skip


def _microseconds(hours: Floats) -> Ints:
    return np.round(hours * _HOUR).astype(np.int64)


def _times(since: Ints) -> pl.Series:
    """Microseconds since the infusion as times; `_NONE` as null."""
    zero = int(np.datetime64(INFUSED, "us").astype(np.int64))
    times = np.where(since == _NONE, _NONE, since + zero).view("datetime64[us]")  # numpy's no-time is the same number
    return pl.Series(times, nan_to_null=True)
