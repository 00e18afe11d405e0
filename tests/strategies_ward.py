"""Random records for what was known when: every concept that rules of management read, rounds whose findings are charted minutes apart, hand-overs
of vasopressors, doses; and the same records cut off at a time.

As in `tests/strategies.py` a seed names a cohort.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from polars import col, lit
from strategies import SCHEMA
from strategies_late import _LateSubject

from aftercar.timeline.schema import conform

FAMILIES = ("crs", "icans", "icaht", "hlh", "counts", "late", "ward")
# What holds of a subject or a laboratory whatever the time, whenever it was charted.
FIXED = (
    "age", "birth", "sex", "weight", "disease", "target", "developmental_delay", "o2_device_baseline", "o2_flow_baseline", "ice_baseline",
)  # fmt: skip
DRUGS = (
    "tocilizumab",
    "tocilizumab",
    "dexamethasone",
    "methylprednisolone",
    "anakinra",
    "siltuximab",
    "ruxolitinib",
    "filgrastim",
)
MINUTES = (0, 0, 5, 20, 40, 59, 60, 75)
ROUNDS: tuple[tuple[str, tuple[Any, ...], tuple[Any, ...]], ...] = (
    ("temperature", (36.6, 37.2), (38.0, 39.5)), ("sbp", (110, 125), (80, 88)), ("o2_device", ("room_air",), ("nasal_cannula", "face_mask")),
    ("ice", (10,), (8, 5, 1)), ("consciousness", ("alert",), ("voice", "touch")),
)  # fmt: skip


def random_ward(seed: int, subjects: int) -> pl.DataFrame:
    """A timeline of so many random subjects, numbered from 1, each with an age."""
    rng = np.random.default_rng(seed)
    rows = [row for n in range(1, subjects + 1) for row in _Patient(rng, n).record(_families(rng))]
    frame = pl.DataFrame([{c: r.get(c) for c in SCHEMA} for r in rows], schema=SCHEMA)
    ages = (
        frame.filter(code="cart_infusion")
        .unique("subject_id")
        .select("subject_id", "time", code=lit("age"), numeric_value=lit(50.0))
    )
    frame = pl.concat([frame, ages.join(frame.filter(code="age"), on="subject_id", how="anti")], how="diagonal")
    return conform(frame.sample(fraction=1, shuffle=True, seed=int(rng.integers(2**31))))


def _families(rng: np.random.Generator) -> tuple[str, ...]:
    """All that there is, or rounds alone: what is charted beside them would leave little unknown."""
    return FAMILIES if rng.random() < 0.5 else ("ward",)


class _Patient(_LateSubject):
    """One random subject of a ward."""

    def ward(self) -> None:
        """Rounds, a time in which the patient is ill, vasopressors that overlap for about an hour, doses."""
        for stream in ("drugs", "seizure", "motor", "icp"):
            if self.chance(0.85):
                self.add(-48, "record_complete", stream, end=3000)
        begins, lasts = self.hour(0, 60), self.pick([0, 0, 12, 40])
        for hour in np.arange(self.pick([0, 0.5, 3]), self.pick([80, 150]), self.pick([4, 8, 12, 13, 24])):
            ill = begins <= hour < begins + lasts
            for code, well, sick in ROUNDS:
                if self.chance(0.93):
                    self.add(float(hour) + self.pick(MINUTES) / 60, code, self.pick(sick if ill and self.chance(0.7) else well))
        if self.chance(0.6):
            first, second = begins + self.hour(0, 5), self.pick([1.5, 3, 8])
            stop = first + second + self.pick([0.2, 0.9, 1, 1.1, 2, 5])
            self.add(first, "norepinephrine", 5, end=self.pick([None, first + second + 1, stop]))
            self.add(
                first + second,
                self.pick(["epinephrine", "vasopressin", "phenylephrine"]),
                5,
                end=self.pick([None, stop, stop + 3]),
            )
        for _ in range(self.pick([0, 1, 2, 4, 6])):
            self.add(self.hour(-12, 120), self.pick(DRUGS), 100, text=self.pick([None, "treatment", "prophylaxis"]), unit="mg")


def cut_off(timeline: pl.DataFrame, seed: int, times: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Copies of each subject, as it was known at random times: what is charted later is not there, what runs has an end that lies ahead.

    Returns:
        the copies, under numbers of their own; and `copy, subject_id, cut`. Something that nobody reads is charted at the cut, so that the copy's record
        goes on to it.
    """
    rng = np.random.default_rng(seed)
    copies: list[pl.DataFrame] = []
    names: list[tuple[int, int, datetime]] = []
    for (subject,), own in timeline.group_by("subject_id", maintain_order=True):
        begin = own.filter(code="cart_infusion")["time"].min()
        if begin is None:
            continue
        later = own.filter(col("time") >= begin, col("code") != "record_complete")["time"]
        for _ in range(times):
            after = timedelta(minutes=int(rng.choice([0, 0, 1, 15, 30, 59, 60, 90, 300])))
            cut = min(later[int(rng.integers(later.len()))] + after, later.max())
            copies.append(
                _known_at(own, cut, timedelta(seconds=int(rng.choice([1, 600, 400_000])))).with_columns(
                    subject_id=lit(len(names))
                )
            )
            names.append((len(names), int(subject), cut))  # type: ignore[call-overload]
    table = pl.DataFrame(names, schema={"copy": pl.Int64, "subject_id": pl.Int64, "cut": pl.Datetime("us")}, orient="row")
    return pl.concat(copies).cast({"subject_id": pl.Int64}), table


def _known_at(own: pl.DataFrame, cut: datetime, ahead: timedelta) -> pl.DataFrame:
    fixed = col("code").is_in(FIXED) | col("code").str.ends_with("_uln") | col("code").str.ends_with("_lln")
    rows = own.filter((col("time") <= cut) | fixed)
    runs = (col("end_time") > cut) & (col("code") != "record_complete")
    rows = rows.with_columns(end_time=pl.when(runs).then(lit(cut + ahead, pl.Datetime("us"))).otherwise("end_time"))
    mark = pl.DataFrame({"time": [cut], "code": ["heart_rate"], "numeric_value": [80.0], "event_id": [-1]})
    mark = mark.with_columns(subject_id=lit(own["subject_id"][0]), time=col("time").cast(pl.Datetime("us")))
    return pl.concat([rows, mark], how="diagonal_relaxed").select(own.columns)
