"""What the software finds in a record as it stands: grades, episodes, options and doses. The graders and rules are called, never rewritten."""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

import msgspec
import polars as pl
from polars import col

from aftercar.grade.options import Options
from aftercar.grade.run import codes_of, grade_lazy, grades_alone, opened, scales_named
from aftercar.manage.advise import advise_lazy
from aftercar.manage.rules import RuleBook
from aftercar.timeline.schema import conform

NOW = ("crs", "icans")  # toxicities that are graded ahead
AHEAD = timedelta(hours=24)


@dataclass(frozen=True)
class Found:
    """The tables of one version of a record; `docs/tables.md` and `docs/management.md` describe each.

    Attributes:
        as_of: local time at which the record was read; all but `ahead` hold at that time.
        ahead: grades of `NOW` as they go on where nothing more is charted, until a day after `as_of`: what stands now is read from it, and it says when a finding becomes
            too old to stand.
        last: `code, time`: when each concept was last charted.
    """

    subject_id: int
    version: int
    as_of: datetime
    subjects: pl.DataFrame
    grades: pl.DataFrame
    worst: pl.DataFrame
    episodes: pl.DataFrame
    ahead: pl.DataFrame
    advice: pl.DataFrame
    ledger: pl.DataFrame
    limits: pl.DataFrame
    last: pl.DataFrame

    def standing(self, now: datetime) -> pl.DataFrame:
        """The rows of `ahead` that hold at a time: one a scale."""
        return self.ahead.filter((col("start") <= now) & (col("end").is_null() | (col("end") > now)))

    def stale(self, now: datetime) -> bool:
        """Whether the record must be read anew to say what stands at a time."""
        return not self.as_of <= now < self.as_of + AHEAD


def find(
    timeline: pl.DataFrame, subject_id: int, version: int, as_of: datetime, book: RuleBook, options: Options, toxicities: tuple[str, ...] | None = None
) -> Found:  # fmt: skip
    """Grade a record and ask the rules, at a time.

    Args:
        timeline: of one subject, in our schema.
        as_of: local time; the record is known to go on until then.
        toxicities: that are graded; by default all.
    """
    known = followed(timeline, as_of).lazy()
    scales = scales_named(toxicities)
    result = grade_lazy(known, scales, options)
    told = advise_lazy(known, book, as_of, None, options)
    now = scales_named(NOW)
    record, courses = opened(followed(timeline, as_of + AHEAD).lazy(), codes_of(now), options)
    ahead = grades_alone(record, courses, now, options)
    last = known.filter(col("event_id") >= 0).group_by("code").agg(col("time").max()).sort("code").collect()
    return Found(
        subject_id, version, as_of, result.subjects, result.grades, result.worst, result.episodes, ahead, told.advice, told.ledger, told.limits, last,
    )  # fmt: skip


def followed(timeline: pl.DataFrame, until: datetime) -> pl.DataFrame:
    """The rows of a timeline up to a time, with the patient followed until then: what is not charted by then was not."""
    own = timeline.filter(col("time").is_null() | (col("time") <= until))
    said = {
        "subject_id": own["subject_id"][:1],
        "time": [until],
        "code": ["last_follow_up"],
        "source": ["the time of asking"],
        "event_id": [-100],
    }
    return conform(pl.concat([own, pl.DataFrame({c: said.get(c, [None]) for c in own.columns}, schema=own.schema)]))


_FRAMES = [f.name for f in fields(Found) if f.name not in ("subject_id", "version", "as_of")]


def packed(found: Found) -> bytes:
    """The frames as bytes."""
    parts: dict[str, bytes] = {}
    for name in _FRAMES:
        file = io.BytesIO()
        getattr(found, name).write_ipc(file, compression="zstd")
        parts[name] = file.getvalue()
    return msgspec.msgpack.encode(parts)


def unpacked(subject_id: int, version: int, as_of: datetime, frames: bytes) -> Found:
    """What was `packed`."""
    parts = msgspec.msgpack.decode(frames, type=dict[str, bytes])
    return Found(subject_id, version, as_of, **{name: pl.read_ipc(io.BytesIO(parts[name])) for name in _FRAMES})
