"""The scores of a patient: each with its inputs, units and windows, what is missing, and what validation elsewhere says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl
from fastapi import APIRouter, Request
from fastapi.responses import Response
from polars import col

from aftercar.evidence.sources import MARKS
from aftercar.risk.run import REGISTRY, Result, score_timeline
from aftercar.risk.score import Score
from aftercar.ward.found import followed
from aftercar.ward.overview import line
from aftercar.web import render
from aftercar.web.access import Reader, TheWard
from aftercar.web.pages.patient import who_is

router = APIRouter(prefix="/patients/{subject_id}/scores", include_in_schema=False)


@dataclass(frozen=True)
class Taken:
    """A score at one of its windows.

    Attributes:
        when: the window in words.
        answer: the value, a range, or why there is none.
        group: the group of risk, or those that are open.
        inputs: what it read: `input, value, charted_as, unit, time, day, event_id`.
    """

    when: str
    answer: str
    group: str
    because: list[str]
    missing: list[str]
    flags: list[str]
    inputs: list[dict[str, Any]]


@dataclass(frozen=True)
class Shown:
    """A score of one course at all its windows."""

    score: Score
    infusion: int
    taken: list[Taken]


@router.get("")
def see(request: Request, ward: TheWard, person: Reader, subject_id: int) -> Response:
    """Every score, and the risk factors; nothing is guessed."""
    who, found = who_is(ward, subject_id), ward.found(subject_id)
    ward.note(person, "patient.scores.read", subject_id, {"version": who.version})
    if found is None:
        return render.page(request, "blank.html.j2", person, who=who, line=line(who, None, ward.now()))
    charted = followed(ward.timeline(subject_id, found.version), found.as_of)
    result = score_timeline(charted, "all", worst=found.worst)
    order = {"present": 0, "absent": 1, "unknown": 2}
    factors = sorted(result.factors.to_dicts(), key=lambda r: (r["infusion"], order.get(str(r["state"]), 3)))
    return render.page(
        request, "scores.html.j2", person, who=who, line=line(who, found, ward.now()), as_of=found.as_of, scores=_scores(result), several=found.subjects.height > 1,
        factors=factors, without=[s for s in REGISTRY.values() if s.value is None], marks={m: MARKS[m] for m in ("M", "M?", "P")},
    )  # fmt: skip


def _scores(result: Result) -> list[Shown]:
    rows = result.scores.filter(col("status").cast(pl.String) != "not_computed")
    found: list[Shown] = []
    for (infusion, name), own in rows.group_by("infusion", "score", maintain_order=True):
        score = REGISTRY[str(name)]
        inputs = result.inputs.filter((col("score") == name) & (col("infusion") == infusion))
        found.append(Shown(score, int(str(infusion)), [_taken(score, row, inputs) for row in own.iter_rows(named=True)]))
    return found


def _taken(score: Score, row: dict[str, Any], inputs: pl.DataFrame) -> Taken:
    # Of scores with several windows the inputs of this one; an input with a window of its own goes with each.
    others = [w.name for w in score.windows if w.name != row["window"]]
    when = next((w.says for w in score.windows if w.name == row["window"]), row["window"])
    if row["group"]:
        group = row["group"].replace("_", " ")
    else:
        group = " or ".join(dict.fromkeys(g.replace("_", " ") for g in (row["group_lower"], row["group_upper"]) if g))
    shown = [] if row["status"] == "not_applicable" else inputs.filter(~col("window").is_in(others)).to_dicts()
    return Taken(when, _answer(row), group, row["criteria"], row["missing"], row["flags"], shown)


def _answer(row: dict[str, Any]) -> str:
    """The value or its range; in words where there is none."""
    if row["value"] is None:
        return {
            "incomplete": "no value: inputs are missing",
            "refused": "no value: an input cannot be used",
            "not_applicable": "not for this patient",
        }[row["status"]]
    low, high = (f"{row[c]:.4g}" for c in ("value", "value_upper"))
    log2 = f" (log2 {row['log2']:.2f})" if row["log2"] is not None else ""
    return f"{low}{log2}" if low == high else f"{low} to {high}"
