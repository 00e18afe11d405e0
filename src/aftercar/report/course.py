"""One subject and infusion, ready to be drawn: its events and grades with times in days since the midnight before infusion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl
from polars import col, lit

from aftercar.grade.worst import bounds_text
from aftercar.report.names import is_drawn
from aftercar.report.svg import DayAxis, number, unit_text
from aftercar.timeline.concepts import concepts, of_group

LEFT, RIGHT = 160.0, 892.0  # px of the plots
FIRST_DAY, LAST_DAY, FEWEST_DAYS = -1, 35, 7
KNEE_DAY, LONG_DAYS = 15, 20  # beyond LONG_DAYS, the days from KNEE_DAY on are drawn narrower
KEY = ["subject_id", "infusion"]

NEURO_WORDS = ("consciousness", "seizure", "seizure_outcome", "motor", "icp_sign")
ICE_PARTS = ("ice_orientation", "ice_naming", "ice_command", "ice_writing", "ice_attention")
DRUG_GROUPS = (
    "antipyretic", "nsaid", "anticytokine", "corticosteroid", "antibody", "jak_inhibitor", "kinase_inhibitor", "cytotoxic",
    "vasopressor", "vasopressin_like", "inodilator", "pressure_adjunct", "fluid", "antiseizure", "g_csf", "tpo_agonist",
)  # fmt: skip
LABS = ("crp", "ferritin", "anc", "platelets")
DATED = ("cart_infusion", "death", "last_follow_up", "progression", "next_therapy")


def figure_codes() -> list[str]:
    """Concepts that the figure of a subject can show."""
    known = concepts()
    drugs = [d for g in DRUG_GROUPS if any(g in c.groups for c in known.values()) for d in of_group(g)]
    rest = (
        "temperature", "sbp", "map", "hypotension", "spo2", "o2_device", "o2_flow", "fio2", "ice", "capd", "seizure_duration",
        "sedated", "haemorrhage", "vasopressors", *ICE_PARTS, *NEURO_WORDS, *LABS, *DATED,
    )  # fmt: skip
    return sorted({*drugs, *rest})


class Event(NamedTuple):
    """A row of the timeline; `x` and `end` in days since the midnight before infusion."""

    code: str
    x: float
    end: float | None
    number: float | None
    text: str | None
    unit: str | None
    when: str
    day: int
    event_id: int | None
    attributed: str | None
    note: str | None

    @property
    def value(self) -> str:
        """What was charted, with its unit."""
        item = concepts().get(self.code)
        unit = unit_text(self.unit or (item.unit if item else None))
        figure = f"{number(self.number)} {unit}".rstrip() if self.number is not None else ""
        word = (self.text or "").replace("_", " ")
        return ", ".join(p for p in (figure, word) if p) or "charted"

    def tip(self, name: str, value: str | None = None) -> str:
        """Hover text: what, how much, when, which row, and what a person or the reader said of it."""
        more = " (attributed to another cause)" * (self.attributed == "other")
        more += " (attribution unknown)" * (self.attributed == "unknown")
        more += f" ({self.note})" if self.note else ""
        return f"{name}: {value or self.value}; {self.when}, day {self.day}; event {self.event_id}{more}"


class Grade(NamedTuple):
    """A stretch of the course; `end` is null where the record ends.

    `upper` counts all that is unknown as met, `assessed` without what only a gap between assessments leaves open.
    """

    toxicity: str
    scale: str
    x: float | None
    end: float | None
    when: str | None
    until: str | None
    grade: int
    upper: int
    assessed: int
    status: str
    criteria: list[str]
    missing: list[str]
    flags: list[str]
    evidence: list[int]
    sources: list[str]

    @property
    def stale(self) -> bool:
        """Whether a finding has expired and nothing new was charted."""
        return "stale" in self.flags

    @property
    def range(self) -> str:
        """`3`, or `1–4` where missing data leave it open; gaps between assessments are told by `gap`."""
        return bounds_text(self.grade, self.assessed)

    @property
    def gap(self) -> bool:
        """Whether a gap between assessments leaves more open."""
        return self.upper > self.assessed

    @property
    def day(self) -> int | None:
        """Calendar day of the start, infusion = day 0."""
        return None if self.x is None else int(self.x // 1)


class Episode(NamedTuple):
    """An episode; `end` is null where its end was not seen."""

    toxicity: str
    episode: int
    x: float | None
    end: float | None
    onset_day: int | None
    duration_d: float | None
    max_grade: int
    max_upper: int
    censored: bool


@dataclass(frozen=True)
class Course:
    """One subject and infusion.

    Attributes:
        about: the row of `subjects`, by column.
        worst: rows of `worst` by toxicity, each by column.
        axis: the days drawn.
        infused: time of day 0 on the axis; null without an infusion.
        record_end: end of the record on the axis.
        before, after: charted rows outside the axis; `last_row_day` is the day of the last.
    """

    subject: str
    infusion: int
    about: dict[str, Any]
    worst: dict[str, dict[str, Any]]
    axis: DayAxis
    infused: float | None
    record_end: float | None
    events: dict[str, list[Event]] = field(default_factory=dict)
    grades: dict[str, list[Grade]] = field(default_factory=dict)
    episodes: dict[str, list[Episode]] = field(default_factory=dict)
    before: int = 0
    after: int = 0
    last_row_day: int | None = None

    @property
    def drawn(self) -> list[str]:
        """Toxicities with a band: those of which something was charted, and those whose absence is a finding."""
        return [t for t, row in self.worst.items() if is_drawn(row)]

    def of(self, *codes: str) -> list[Event]:
        """Events of these concepts on the axis, by time."""
        found = [e for c in codes for e in self.events.get(c, ()) if self.axis.holds(e.x) or (e.end or e.x) >= FIRST_DAY > e.x]
        return sorted(found, key=lambda e: e.x) if len(codes) > 1 else found


def courses(
    subjects: pl.DataFrame,
    timeline: pl.DataFrame,
    grades: pl.DataFrame,
    episodes: pl.DataFrame,
    worst: pl.DataFrame,
    *,
    last_day: int = LAST_DAY,
) -> Iterator[Course]:
    """Courses of the subjects given, in the order of `subjects`.

    Args:
        subjects: those to be drawn.
        timeline: with all columns of `docs/tables.md`; rows of other subjects are ignored.
        last_day: the axis ends at the last charted day, but never after this one.
    """
    subjects = subjects.with_columns(zero=col("day0").dt.truncate("1d"))
    zero = subjects.select(*KEY, "zero", "day0", until=col("day0").shift(-1).over("subject_id", order_by="infusion"))
    drawn = _split(_events(timeline, zero))
    graded = _split(_grades(grades, zero, timeline))
    spells = _split(_episodes(episodes, zero))
    worsts = {(r["subject_id"], r["infusion"], r["toxicity"]): r for r in worst.iter_rows(named=True)}
    toxicities = list(dict.fromkeys(worst["toxicity"]))
    for about in subjects.iter_rows(named=True):
        key = (about["subject_id"], about["infusion"])
        yield _course(
            about,
            [Event._make(r) for r in drawn.get(key, ())],
            [Grade._make(r) for r in graded.get(key, ())],
            [Episode._make(r) for r in spells.get(key, ())],
            {t: worsts[(*key, t)] for t in toxicities if (*key, t) in worsts},
            last_day,
        )


def _split(frame: pl.DataFrame) -> dict[tuple[Any, ...], list[tuple[Any, ...]]]:
    """Rows by subject and infusion, without those two columns."""
    parts = frame.partition_by(KEY, as_dict=True, include_key=False, maintain_order=True)
    return {key: part.rows() for key, part in parts.items()}


def _days(time: str) -> pl.Expr:
    return (col(time) - col("zero")).dt.total_microseconds() / 86_400e6


def _clock(time: str) -> pl.Expr:
    return col(time).dt.to_string("%Y-%m-%d %H:%M")


def _events(timeline: pl.DataFrame, zero: pl.DataFrame) -> pl.DataFrame:
    rows = timeline.filter(col("code").is_in(figure_codes()) & col("time").is_not_null())
    placed = rows.join(zero.filter(col("day0").is_not_null()), on="subject_id", how="inner")
    first = (col("infusion") == col("infusion").min().over("subject_id")) | (col("time") >= col("day0"))
    placed = placed.filter(first & ((col("time") < col("until")) | col("until").is_null()))
    return placed.sort("time", "event_id", maintain_order=True).select(
        *KEY, "code", x=_days("time"), end=_days("end_time"), number="numeric_value", text="text_value", unit="unit",
        when=_clock("time"), day=_days("time").floor().cast(pl.Int64), event_id="event_id", attributed="attributable_to", note="note",
    )  # fmt: skip


def _grades(grades: pl.DataFrame, zero: pl.DataFrame, timeline: pl.DataFrame) -> pl.DataFrame:
    rows = (
        grades.join(zero.select(*KEY, "zero"), on=KEY, how="inner")
        .sort(*KEY, "toxicity", "start", maintain_order=True)
        .with_row_index("_row")
    )
    behind = rows.select("_row", "subject_id", event_id="evidence").explode("event_id", empty_as_null=False, keep_nulls=False)
    known = timeline.select("subject_id", "event_id", "source").unique(["subject_id", "event_id"])
    behind = behind.join(known, on=["subject_id", "event_id"], how="left").sort("_row", "event_id")
    shown = pl.coalesce("source", pl.format("event {}", "event_id"))
    sources = behind.group_by("_row").agg(sources=shown.unique(maintain_order=True))
    rows = rows.join(sources, on="_row", how="left").sort("_row")
    empty = lit([], pl.List(pl.String))
    return rows.select(
        *KEY, "toxicity", "scale", x=_days("start"), end=_days("end"), when=_clock("start"), until=_clock("end"),
        grade="grade", upper="grade_upper", assessed=_assessed(rows), status=col("status").cast(pl.String), criteria=col("criteria").fill_null(empty),
        missing=col("missing").fill_null(empty), flags=col("flags").fill_null(empty),
        evidence=col("evidence").fill_null(lit([], pl.List(pl.Int64))), sources=col("sources").fill_null(empty),
    )  # fmt: skip


def _assessed(rows: pl.DataFrame) -> pl.Expr:
    if "upper_assessed" in rows.columns:
        return col("upper_assessed")
    return pl.when(col("flags").list.contains("stale")).then("grade").otherwise("grade_upper")


def _episodes(episodes: pl.DataFrame, zero: pl.DataFrame) -> pl.DataFrame:
    rows = episodes.join(zero.select(*KEY, "zero"), on=KEY, how="inner").sort(*KEY, "toxicity", "episode")
    return rows.select(
        *KEY, "toxicity", "episode", x=_days("onset"), end=_days("resolution"), onset_day="onset_day", duration_d="duration_d",
        max_grade="max_grade", max_upper="max_grade_upper", censored=col("censored").fill_null(True),
    )  # fmt: skip


def _course(
    about: dict[str, Any],
    events: list[Event],
    grades: list[Grade],
    episodes: list[Episode],
    worst: dict[str, dict[str, Any]],
    last_day: int,
) -> Course:
    zero = about["zero"]

    def day(name: str) -> float | None:
        time = about.get(name)
        return None if time is None or zero is None else (time - zero).total_seconds() / 86_400

    charted = [e for e in events if e.code not in DATED or e.code == "death"]
    last = max((e.day for e in charted), default=0)
    drawn = max((e.day for e in charted if e.day <= last_day), default=0)
    drawn = min(max(drawn, FEWEST_DAYS), last_day)
    axis = DayAxis(FIRST_DAY, drawn, LEFT, RIGHT, KNEE_DAY if drawn > LONG_DAYS else None)
    return Course(
        subject=str(about["subject_id"]),
        infusion=about["infusion"],
        about=about,
        worst=worst,
        axis=axis,
        infused=day("day0"),
        record_end=day("record_end"),
        events=_by(events, "code"),
        grades=_by(grades, "toxicity"),
        episodes=_by(episodes, "toxicity"),
        before=sum(e.x < axis.first and (e.end or e.x) < axis.first for e in charted),
        after=sum(e.day > axis.last for e in charted),
        last_row_day=last if charted else None,
    )


def _by(rows: list[Any], name: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(getattr(row, name), []).append(row)
    return found
