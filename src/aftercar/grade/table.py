"""The result tables out of the rows of all scales.

A cohort has hundreds of rows a subject, and lists and words are what is slow to move: numbers are put in order first, and what they stand for
is laid beside them once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.grade.options import Options
from aftercar.grade.scale import GRADES, Scale, evidence, names, to_times
from aftercar.timeline.state import Record, clock, days_since_day0

_LISTS = ("criteria", "missing", "flags")
_LABELS = ("toxicity", "scale", "rules", "options")

EPISODES: dict[str, Any] = {
    "subject_id": None,  # as in the timeline
    "infusion": pl.Int32,
    "toxicity": pl.String,
    "scale": pl.String,
    "episode": pl.Int32,
    "onset": pl.Datetime("us"),
    "resolution": pl.Datetime("us"),
    "max_grade": pl.Int8,
    "max_grade_upper": pl.Int8,
    "onset_day": pl.Int32,
    "duration_d": pl.Float64,
    "censored": pl.Boolean,
    "rules": pl.String,
    "options": pl.String,
}


@dataclass(frozen=True)
class Labels:
    """What every row of a scale carries.

    Attributes:
        table: a row a scale: `toxicity, scale, rules, options`, `family` (its number) and `rank`, its place within a course.
        names: of each scale the words behind its bits of `criteria`, `missing` and `flags`.
    """

    table: pl.DataFrame
    names: list[dict[str, list[str]]]

    @classmethod
    def of(cls, scales: list[Scale], options: Options) -> Labels:
        """Of scales in the order in which their rows are numbered."""
        families = list(dict.fromkeys(s.family for s in scales))
        columns = {
            "toxicity": [s.toxicity for s in scales],
            "scale": [s.name for s in scales],
            "rules": [s.rules for s in scales],
            "options": [json.dumps(options.used_by(s.options)) for s in scales],
        }
        table = pl.DataFrame(columns, schema=dict.fromkeys(_LABELS, pl.String)).with_columns(
            family=pl.Series([families.index(s.family) for s in scales], dtype=pl.Int64),
            rank=pl.struct("toxicity", "scale").rank("ordinal").cast(pl.Int64),
        )
        return cls(table, [names(s, options) for s in scales])

    def named(self, rows: pl.DataFrame, schema: Mapping[str, Any]) -> pl.DataFrame:
        """Rows with `_scale` in the columns and types of a table."""
        rows = rows.with_columns(self.table[c].gather(rows["_scale"]) for c in _LABELS)
        return rows.select("subject_id", *(col(n).cast(t) for n, t in schema.items() if n != "subject_id"))

    def order(self, rows: pl.DataFrame) -> pl.Expr:
        """Sorts rows with `place` and `_scale` by subject, infusion, toxicity and scale."""
        return col("place").cast(pl.Int64) * (self.table.height + 1) + self.table["rank"].gather(rows["_scale"])


@dataclass(frozen=True)
class Grades:
    """The table of grades, and numbers beside its rows.

    Attributes:
        table: the columns of `GRADES`.
        keys: `place` (of the course), `family`, `flags` (place in `warnings`), `charted` (something that the scale reads was; null: see the
            evidence), `onset` of the toxicity in a row of the whole course.
        families: how many there are.
        warnings: the lists of flags that occur.
    """

    table: pl.DataFrame
    keys: pl.DataFrame
    families: int
    warnings: pl.Series


def grades(
    timed: pl.DataFrame | None, windows: pl.DataFrame | None, behind: list[pl.DataFrame], record: Record, courses: pl.DataFrame, labels: Labels
) -> Grades:  # fmt: skip
    """The table of grades.

    Args:
        timed: rows of the scales over time, `scale.beside` one another.
        windows: rows of the scales of one row a course, with `_scale`.
        behind: `row` (number in `timed`), `id` of the rows of the timeline behind it.
        courses: of all subjects, also those without an infusion, who cannot be graded.
    """
    parts: list[tuple[pl.DataFrame, dict[str, pl.Series]]] = []
    if timed is not None:
        dated = to_times(timed, record, "at", "end_at").rename({"at": "start", "end_at": "end"})
        parts.append(_by_bits(dated.with_columns(onset=lit(None)), labels))
    if windows is not None:
        first = 0 if timed is None else timed.height
        ids = windows.select(row=pl.int_range(pl.len(), dtype=pl.Int64) + first, id="evidence").explode("id").drop_nulls()
        behind = [*behind, ids]
        parts.append(_by_row(clock(windows, record.courses).with_columns(charted=lit(None))))
    parts.append(_by_row(_no_infusion(courses, labels.table.height)))
    lists = {name: pl.concat([lists[name] for _, lists in parts], rechunk=True) for name in _LISTS}
    rows, held = [], dict.fromkeys(_LISTS, 0)
    for numbers, own in parts:
        rows.append(numbers.with_columns(col(name) + held[name] for name in _LISTS))
        held = {name: held[name] + len(own[name]) for name in _LISTS}
    every = pl.concat(rows).with_row_index("row")
    every = every.sort(labels.order(every), maintain_order=True)
    now = pl.int_range(every.height, dtype=pl.Int64, eager=True)
    gone = now.scatter(every["row"], now)  # where each row has gone
    ids = pl.concat([pl.DataFrame(schema={"row": pl.Int64, "id": pl.Int64}), *behind])
    ids = ids.with_columns(gone.gather(ids["row"]).alias("row"))
    table = every.with_columns(
        *(courses[c].gather(every["place"]) for c in ("subject_id", "infusion")),
        *(lists[name].gather(every[name]).alias(name) for name in _LISTS),
        evidence(ids, every.height).alias("evidence"),
    )
    keys = every.select("place", "flags", "charted", "onset", family=labels.table["family"].gather(every["_scale"]))
    return Grades(labels.named(table, GRADES), keys, labels.table["family"].n_unique(), lists["flags"])


_NUMBERS = {
    "place": pl.UInt32,
    "_scale": pl.Int64,
    **{c: t for c, t in GRADES.items() if c not in ("subject_id", "infusion", "evidence", *_LABELS)},
    **dict.fromkeys(_LISTS, pl.UInt32),
    "charted": pl.Boolean,
    "onset": pl.Datetime("us"),
}


def _by_row(rows: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, pl.Series]]:
    """Rows with lists of words as `_NUMBERS`, with the place of each row's own list; and the lists."""
    place = pl.int_range(pl.len(), dtype=pl.UInt32)
    return _numbers(rows.with_columns(place.alias(name) for name in _LISTS)), {name: rows[name] for name in _LISTS}


def _by_bits(rows: pl.DataFrame, labels: Labels) -> tuple[pl.DataFrame, dict[str, pl.Series]]:
    """The same of rows with bits: a list is made once for each scale and set of bits that occurs."""
    lists: dict[str, pl.Series] = {}
    for name in _LISTS:
        key = rows.select(col("_scale") * (1 << 32) + col(name)).to_series()
        sets = key.unique().sort()
        words = [[w for n, w in enumerate(labels.names[s >> 32][name]) if s >> n & 1] for s in sets]
        lists[name] = pl.Series(words, dtype=pl.List(pl.String))
        rows = rows.with_columns(sets.search_sorted(key).alias(name))
    return _numbers(rows), lists


def _numbers(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(col(c).cast(t) for c, t in _NUMBERS.items())


def _no_infusion(courses: pl.DataFrame, scales: int) -> pl.DataFrame:
    """A subject without an infusion cannot be graded, and says so."""
    without = courses.with_row_index("place").filter(col("day0").is_null())
    blank = lit([], pl.List(pl.String))
    return without.join(pl.select(_scale=pl.int_range(scales, dtype=pl.Int64)), how="cross").select(
        "place", "_scale", start=lit(None), end=lit(None), grade=lit(0), grade_upper=lit(0), upper_assessed=lit(0),
        charted=lit(False), onset=lit(None), status=lit("not_applicable"), group=lit(None), criteria=blank, missing=blank, flags=lit(["no_infusion"]), measures=lit([], GRADES["measures"]),
    )  # fmt: skip


def episodes(spells: pl.DataFrame | None, windows: pl.DataFrame | None, record: Record, labels: Labels) -> pl.DataFrame:
    """The table of episodes: those of scales over time (`scale.episodes`), and the one of each scale of one row a course."""
    parts = []
    if spells is not None:
        timed = to_times(spells, record, "at", "end_at", "last_at")
        parts.append(timed.rename({"at": "onset", "end_at": "resolution", "last_at": "last"}))
    if windows is not None:
        graded = windows.filter(col("onset").is_not_null() & (col("grade") > 0))
        # What has no end in its window has no duration either.
        parts.append(
            clock(graded, record.courses).with_columns(
                episode=lit(1), max_grade="grade", max_grade_upper="grade_upper", last=pl.when("_lasts").then("end")
            )
        )
    numbers = (
        "place",
        "_scale",
        "subject_id",
        "infusion",
        "episode",
        "onset",
        "resolution",
        "last",
        "max_grade",
        "max_grade_upper",
    )
    rows = pl.concat([p.select(numbers) for p in parts], how="vertical_relaxed")
    rows = rows.join(record.courses.select("place", "day0"), on="place", how="left", maintain_order="left").with_columns(
        onset_day=days_since_day0("onset"),
        duration_d=(pl.coalesce("resolution", "last") - col("onset")).dt.total_seconds() / 86_400,
        censored=col("resolution").is_null(),
    )
    return labels.named(rows.sort(labels.order(rows), "episode", maintain_order=True), EPISODES)
