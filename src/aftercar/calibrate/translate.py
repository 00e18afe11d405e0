"""One scale in the words of another: how likely each grade is, given the grade on the first, and what a published table would have been."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aftercar.calibrate.ensemble import in_a_row, parts_of
from aftercar.calibrate.published import Trial, rates, trials
from aftercar.calibrate.virtual import DAYS, worst_by
from aftercar.errors import OptionError
from aftercar.grade.run import scales_named
from aftercar.processes import each_in_processes
from aftercar.simulate.run import follow

Floats = NDArray[np.float64]

PATIENTS, SEED = 60, 2_028  # virtual patients of each member in each trial
GRADES = 6  # 0 to 5
_DRAWS = 1_000
_CLASSES = ((0, 0), (1, 2), (3, 5))  # grades that a published table tells together


@dataclass(frozen=True)
class Translation:
    """Two scales over the virtual patients of the trials that were graded by the first.

    Attributes:
        grades: `trial, from_grade, to_grade, n, share, low, high`: of the patients of a grade, the share with each grade on the other scale.
        moves: `trial, lower, same, higher`: of those with a grade on either, per cent whose grade on the other scale is lower, the same, higher.
        tables: `trial, endpoint, published_pct, would_be_pct, low, high`: the published rate, and what it would have been on the other scale.
    """

    grades: pl.DataFrame
    moves: pl.DataFrame
    tables: pl.DataFrame


def translate(
    ensemble: pl.DataFrame, from_: str, to: str, *, patients: int = PATIENTS, seed: int = SEED, workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Translation:  # fmt: skip
    """Grade the virtual patients of every trial that used a scale by another one too.

    Raises:
        OptionError: no trial used the scale, or the two are not of one toxicity.
    """
    (first,), (second,) = scales_named([from_]), scales_named([to])
    if first.toxicity != second.toxicity or first.name == second.name:
        raise OptionError(f"{first.name} and {second.name} are not two scales of one toxicity.")
    chosen = {name: t for name, t in trials().items() if first.name in (t.crs, t.nt)}
    if not chosen:
        used = sorted({s for t in trials().values() for s in (t.crs, t.nt)})
        raise OptionError(f"No published trial here was graded by {first.name}. Those that were used: {', '.join(used)}.")
    parts = parts_of(ensemble.height, patients)
    counts = {name: np.zeros((ensemble.height, GRADES, GRADES)) for name in chosen}
    follow(next(iter(chosen.values())).scenario({}, DAYS), 2, seed)  # compiled once, before several processes would
    scales = (first.name, second.name)
    asked = {(n, p.start): (t, ensemble[p], patients, seed, p.start * patients, scales) for n, t in chosen.items() for p in parts}
    for (name, start), found in each_in_processes(_counted, asked, "simulating", workers=workers, progress=progress):
        counts[name][start : start + len(found)] = found
    draw = np.random.default_rng(seed)
    what = "crs" if first.toxicity == "crs" else "nt"
    again = {name: _again(each, draw) for name, each in counts.items()}
    return Translation(
        pl.DataFrame([row for name, each in counts.items() for row in _shares(name, each, again[name])]),
        pl.DataFrame([_moves(name, each.sum(axis=0)) for name, each in counts.items()]),
        pl.DataFrame([row for name in chosen for row in _tables(name, what, counts[name].sum(axis=0), again[name], draw)]),
    )


def _counted(trial: Trial, members: pl.DataFrame, patients: int, seed: int, first: int, scales: tuple[str, str]) -> Floats:
    """How many patients of each member have each pair of worst grades, `[member, from, to]`."""
    n = members.height * patients
    followed = follow(trial.scenario({}, DAYS), n, seed, first=first, varied=in_a_row(members, trial, patients), workers=1)
    a, b = worst_by(followed, scales)
    out = np.zeros((members.height, GRADES, GRADES))
    np.add.at(out, (np.arange(n) // patients, a, b), 1)
    return out


def _again(counts: Floats, draw: np.random.Generator) -> Floats:
    """Counts of ensembles drawn again from the members, `[draw, from, to]`: what the parameters leave open."""
    return counts[draw.integers(0, len(counts), (_DRAWS, len(counts)))].sum(axis=1)


def _shares(trial: str, counts: Floats, again: Floats) -> list[dict[str, Any]]:
    total, rows = counts.sum(axis=0), []
    for a in range(GRADES):
        n = int(total[a].sum())
        if not n:
            continue
        drawn = again[:, a] / np.maximum(again[:, a].sum(axis=1, keepdims=True), 1)
        for b in np.flatnonzero(total[a]):
            low, high = np.percentile(drawn[:, b], [2.5, 97.5])
            rows.append(
                {"trial": trial, "from_grade": a, "to_grade": int(b), "n": n, "share": float(total[a, b] / n), "low": float(low), "high": float(high)}
            )  # fmt: skip
    return rows


def _moves(trial: str, total: Floats) -> dict[str, Any]:
    a, b = np.indices(total.shape)
    graded = (a > 0) | (b > 0)
    n = total[graded].sum()
    found = {"lower": b < a, "same": b == a, "higher": b > a}
    return {"trial": trial, "n": int(n)} | {
        name: 100 * float(total[graded & where].sum() / max(n, 1)) for name, where in found.items()
    }


def _tables(trial: str, what: str, total: Floats, again: Floats, draw: np.random.Generator) -> list[dict[str, Any]]:
    """Published classes, and with them the other scale: the shares of the classes are as uncertain as their number of patients makes them."""
    told = {row["endpoint"]: row for row in rates().filter(trial=trial).to_dicts()}
    any_, severe = told[f"{what}_any"], told[f"{what}_g3plus"]
    events = np.array([any_["n"] - any_["events"], any_["events"] - severe["events"], severe["events"]], float)
    classes = np.stack([_of_class(total[None], low, high)[0] for low, high in _CLASSES])
    drawn_classes = np.stack([_of_class(again, low, high) for low, high in _CLASSES], axis=1)
    shares = draw.dirichlet(events + 0.5, len(again))
    rows: list[dict[str, Any]] = []
    for endpoint, least, published in ((f"{what}_any", 1, any_["pct"]), (f"{what}_g3plus", 3, severe["pct"])):
        would_be = 100 * float(events / events.sum() @ classes[:, least:].sum(axis=1))
        drawn = 100 * (shares * drawn_classes[:, :, least:].sum(axis=2)).sum(axis=1)
        low, high = np.percentile(drawn, [2.5, 97.5])
        rows.append(
            {"trial": trial, "endpoint": endpoint, "published_pct": published, "would_be_pct": would_be, "low": float(low), "high": float(high)}
        )  # fmt: skip
    return rows


def _of_class(counts: Floats, low: int, high: int) -> Floats:
    """Of the patients of a class of grades, the share of each grade on the other scale, `[draw, to]`; as it was where there are none."""
    own = counts[:, low : high + 1].sum(axis=1)
    n = own.sum(axis=1, keepdims=True)
    stays = np.zeros(GRADES)
    stays[low] = 1.0
    return np.where(n > 0, own / np.maximum(n, 1), stays)
