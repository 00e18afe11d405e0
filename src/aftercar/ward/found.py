"""What the software finds in a record as it stands: grades, episodes, options and doses. The graders and rules are called, never rewritten."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Protocol

import msgspec
import polars as pl
from polars import col, lit

from aftercar.grade.options import Options
from aftercar.grade.regrade import COURSE
from aftercar.grade.run import grade_lazy, scales_named
from aftercar.manage.advise import advise_asked
from aftercar.manage.asked import ask_ahead, charts, extended
from aftercar.manage.rules import RuleBook
from aftercar.timeline.schema import conform
from aftercar.timeline.state import HOUR, clock
from aftercar.ward.record import said_by_us


class Finder(Protocol):
    """`find`, or what calls it elsewhere."""

    def __call__(
        self, timeline: pl.DataFrame, versions: Mapping[int, int], as_of: datetime, book: RuleBook, options: Options, toxicities: tuple[str, ...] | None = None
    ) -> list[Found]: ...  # fmt: skip


NOW = ("crs", "icans")  # toxicities that are graded ahead
AHEAD = timedelta(hours=24)


@dataclass(frozen=True, eq=False)
class Found:
    """The tables of one version of a record; `docs/tables.md` and `docs/management.md` describe each.

    Attributes:
        as_of: local time at which the record was read.
        ahead: grades of `NOW` as each time could be graded then, without hindsight, and as they go on where nothing more is charted, until a day after `as_of`: what stands now is
            read from it, and it says when a finding becomes too old to stand.
        advice, ledger, limits: what the rules say at `as_of` and, where nothing more is charted, until a day after it, each row from `time` `until`; `at` has those of one
            time.
        last: `subject_id, code, time`: when each concept was last charted.
        coming: the time of the first event that lies after `as_of` and so is not read yet; null where none does.
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
    coming: datetime | None = None

    def standing(self, now: datetime) -> list[dict[str, Any]]:
        """The rows of `ahead` that hold at a time: one a course and scale."""
        return [row for row in self.spans if row["start"] <= now and (row["end"] is None or row["end"] > now)]

    @cached_property
    def spans(self) -> list[dict[str, Any]]:
        """The rows of `ahead` where the scale applies: a list asks them for hundreds of patients at once, and frames are slow to ask for one row."""
        return self.ahead.filter(col("status") != "not_applicable").to_dicts()

    @cached_property
    def course(self) -> dict[str, Any] | None:
        """The row of `subjects` of the last infusion."""
        return self.subjects.row(-1, named=True) if self.subjects.height else None

    @cached_property
    def worst_grades(self) -> dict[tuple[int, str], tuple[int | None, int | None]]:
        """Bounds of the worst grade by infusion and toxicity."""
        return {
            (i, t): (low, high)
            for i, t, low, high in self.worst.select("infusion", "toxicity", "grade", "grade_upper").iter_rows()
        }

    @cached_property
    def last_charted(self) -> dict[str, datetime]:
        """When each concept was last charted."""
        return dict(self.last.select("code", "time").drop_nulls().iter_rows())

    def at(self, now: datetime) -> Found:
        """The same as of another time, within a day after this one: of what the rules say, that alone."""
        second = now.replace(microsecond=0)  # the rules know no smaller ones
        holds = (col("time") <= second) & (col("until") >= second)
        rows = {name: getattr(self, name).filter(holds) for name in ("advice", "ledger", "limits")}
        passed = (lit(second) - col("time")).dt.total_seconds(fractional=True) / HOUR
        return replace(self, as_of=now, **rows | {"limits": rows["limits"].with_columns(since_h=col("since_h") + passed)})

    def stale(self, now: datetime) -> bool:
        """Whether the record must be read anew to say what stands at a time."""
        return not self.as_of <= now < min(self.as_of + AHEAD, self.coming or datetime.max)


def find(
    timeline: pl.DataFrame, versions: Mapping[int, int], as_of: datetime, book: RuleBook, options: Options, toxicities: tuple[str, ...] | None = None
) -> list[Found]:  # fmt: skip
    """Grade records and ask the rules, at a time. Several at once cost little more than one.

    Args:
        timeline: in our schema.
        versions: of the record of each subject.
        as_of: local time; the records are known to go on until then.
        toxicities: that are graded; by default all.
    """
    known = followed(timeline, as_of)
    result = grade_lazy(known.lazy(), scales_named(toxicities), options)
    # Charts go on beyond the time of asking: their grades are those of `ahead`, and what the rules read at that time is the same.
    ahead = charts(extended(known.lazy(), as_of + AHEAD), [book], options)
    asked = ask_ahead(ahead, book, as_of, AHEAD)
    told = advise_asked(asked, ahead, book)
    times = clock(asked.times, asked.record.courses, "at", "until").rename({"at": "time"}).select(*COURSE, "time", "until")
    ledger, limits = (t.join(times, on=[*COURSE, "time"], how="left", maintain_order="left") for t in (told.ledger, told.limits))
    place = {rule.id: n for n, rule in enumerate(book.rules)}  # `at` keeps their order
    advice = told.advice.sort("infusion", col("rule").replace_strict(place, return_dtype=pl.Int64), "time")
    last = known.filter(col("event_id") >= 0).group_by("subject_id", "code").agg(col("time").max()).sort("subject_id", "code")
    tables = {
        "subjects": result.subjects, "grades": result.grades, "worst": result.worst, "episodes": result.episodes,
        "ahead": ahead.grades.filter(col("toxicity").is_in(list(NOW))), "advice": advice, "ledger": ledger, "limits": limits, "last": last,
    }  # fmt: skip
    later = timeline.filter((col("time") > as_of) & (col("event_id") >= 0)).group_by("subject_id").agg(col("time").min())
    coming: dict[int, datetime] = dict(later.iter_rows())
    parts = {name: table.partition_by("subject_id", as_dict=True, maintain_order=True) for name, table in tables.items()}
    return [
        Found(
            subject,
            version,
            as_of,
            **{name: parts[name].get((subject,), table.clear()) for name, table in tables.items()},
            coming=coming.get(subject),
        )
        for subject, version in versions.items()
    ]


def followed(timeline: pl.DataFrame, until: datetime) -> pl.DataFrame:
    """The rows of a timeline up to a time, with everybody followed until then: what is not charted by then was not."""
    own = timeline.filter(col("time").is_null() | (col("time") <= until))
    said = {"time": until, "code": "last_follow_up", "source": "the time of asking"}
    ends = (
        own.select("subject_id")
        .unique()
        .with_columns(
            *(pl.lit(value).cast(own.schema[name]).alias(name) for name, value in said.items()),
            event_id=said_by_us(col("subject_id"), 100),
        )
    )
    return conform(pl.concat([own, ends], how="diagonal"))


_FRAMES = [f.name for f in fields(Found) if f.name not in ("subject_id", "version", "as_of", "coming")]


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
    told: dict[str, Any] = {name: pl.read_ipc(io.BytesIO(parts[name])) for name in _FRAMES}
    return Found(subject_id, version, as_of, **told)
