"""What a figure does not draw: toxicities without a band, other scales of the same record, and what was never charted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl
from polars import col

from aftercar.evidence.sources import MARKS
from aftercar.grade.run import SCALES
from aftercar.grade.worst import bounds_text
from aftercar.report.names import WORDS, is_drawn, scale_name
from aftercar.report.svg import readable

_SHARES = {"probability", "probability_upper"}  # of 1


@dataclass(frozen=True)
class Finding:
    """The worst moment of one scale in one course."""

    scale: str
    answer: str
    day: str
    why: str
    numbers: str


@dataclass(frozen=True)
class Others:
    """What the figure of one course leaves out: `found`, the names of what is `clear` and `blank` (never charted), and `scales`."""

    found: list[Finding]
    clear: list[str]
    blank: list[str]
    scales: list[Finding]


def parted(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of the default scales, and of the other scales of the same toxicities."""
    default = col("scale").is_in([name for name, s in SCALES.items() if s.default])
    known = col("scale").is_in(list(SCALES))
    return frame.filter(default | ~known), frame.filter(known & ~default)


def others(worst: Iterable[dict[str, Any]]) -> Others:
    """Rows of `worst` of one course, all scales, in words."""
    found, clear, blank, scales = [], [], [], []
    rank = {name: n for n, name in enumerate(SCALES)}
    for row in sorted(worst, key=lambda r: rank.get(r["scale"], len(rank))):
        scale = SCALES.get(row["scale"])
        if scale is not None and not scale.default:
            if row.get("assessed", True):
                scales.append(_finding(row))
        elif is_drawn(row):
            continue
        elif not row.get("assessed", True) or row["status"] == "not_applicable":
            blank.append(scale_name(row["scale"]))
        elif (
            row["grade"]
            or row["grade"] < row["grade_upper"]
            or row["status"] in WORDS
            or row.get("group") not in (None, "quick", "none")
        ):
            found.append(_finding(row))
        else:
            clear.append(scale_name(row["scale"]))
    return Others(found, clear, blank, scales)


def answer(row: dict[str, Any]) -> str:
    """`grade 2`, `grade 1–4`, `criteria met, grade 3`, with the class beside it."""
    grade, upper = row["grade"], row["grade_upper"]
    scale = SCALES.get(row["scale"])
    graded = scale is None or scale.status is None or grade > 1
    parts = [WORDS[row["status"]]] if row["status"] in WORDS else []
    if row["status"] == "not_applicable":
        parts.append("not applicable")
    elif graded or not parts:
        parts.append(f"grade {bounds_text(grade, upper)}")
    if row.get("group"):
        parts.append(row["group"])
    return ", ".join(parts)


def _finding(row: dict[str, Any]) -> Finding:
    day = row.get("day")
    return Finding(
        scale=scale_name(row["scale"]),
        answer=answer(row),
        day="" if day is None else str(day).replace("-", "−"),
        why=readable("; ".join(row["criteria"] or [])),
        numbers=numbers(row["measures"] or []),
    )


def numbers(measures: list[dict[str, Any]]) -> str:
    """Measures by name; a bound beside its upper bound as a range."""
    value = {m["name"]: m["value"] for m in measures if m["value"] is not None}
    said = []
    for name, low in value.items():
        if name.endswith("_upper") and name.removesuffix("_upper") in value:
            continue
        high = value.get(f"{name}_upper", low)
        form = _share if name in _SHARES else "{:g}".format
        said.append(f"{name.replace('_', ' ')} {form(low)}" + (f"–{form(high)}" if high != low else ""))
    return ", ".join(said)


def _share(p: float) -> str:
    return "<1%" if p < 0.01 else ">99%" if p > 0.99 else f"{p:.0%}"


def marks_in(texts: Iterable[str]) -> dict[str, str]:
    """The marks that occur in texts of criteria, with what they mean."""
    every = " ".join(texts)
    return {mark: meaning for mark, meaning in MARKS.items() if mark != "V" and f"[{mark}]" in every}


@dataclass(frozen=True)
class Cross:
    """Worst grades of one toxicity by scale, in courses: `columns` are the answers, a row a scale."""

    toxicity: str
    columns: list[str]
    rows: list[tuple[str, list[int]]]


def crosses(worst: pl.DataFrame) -> list[Cross]:
    """For each toxicity that was graded on several scales, the courses by worst grade and scale."""
    bounds = (
        pl.when(col("status") == "not_applicable")
        .then(pl.lit("n/a"))
        .when(col("grade") < col("grade_upper"))
        .then(pl.lit("open"))
    )
    told = worst.with_columns(answer=bounds.otherwise(col("grade").cast(pl.String)))
    found = []
    for toxicity in dict.fromkeys(s.toxicity for s in SCALES.values() if not s.default):
        own = told.filter((col("toxicity") == toxicity) & col("scale").is_in(list(SCALES)))
        if (
            own["scale"].n_unique() < 2
            or own.filter(col("scale").is_in([n for n, s in SCALES.items() if not s.default])).is_empty()
        ):
            continue
        columns = [*map(str, range(6)), "open", "n/a"]
        counts = {(s, a): n for s, a, n in own.group_by("scale", "answer").len().iter_rows()}
        names = [n for n in SCALES if n in set(own["scale"])]
        used = [c for c in columns if any((n, c) in counts for n in names)]
        found.append(Cross(toxicity, used, [(scale_name(n), [counts.get((n, c), 0) for c in used]) for n in names]))
    return found
