"""Interventions of the lecture as virtual arms: toxicity and CAR-T activity beside the same patients without it, and what was published."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import col

import aftercar.calibrate
from aftercar.calibrate.ensemble import varied
from aftercar.calibrate.published import interval
from aftercar.calibrate.virtual import ASTCT, graded_by
from aftercar.evidence import table
from aftercar.intervals import Z95
from aftercar.processes import each_in_processes
from aftercar.simulate.run import Scenario, follow

Floats = NDArray[np.float64]

PATIENTS, SEED, DAYS = 800, 2_027, 28.0
_SAME_GRADE, _SAME_SHARE = 0.1, 0.1  # a mean difference of the worst grade, or a change of activity, that counts as none


@dataclass(frozen=True)
class Arm:
    """One intervention.

    Attributes:
        what: in words.
        scenario, comparator: of its virtual patients, and of the same without it.
        scales: by which both are graded, for CRS and for neurotoxicity.
        trials, studies: what was published of it, in intervention_trials.csv and preclinical.csv.
        expect: lower, same or higher of `crs`, `nt` and `activity`, where the sources say so.
    """

    name: str
    what: str
    scenario: Scenario
    comparator: Scenario
    scales: tuple[str, str]
    trials: tuple[str, ...]
    studies: tuple[str, ...]
    expect: dict[str, str]


@cache
def arms() -> tuple[Arm, ...]:
    """All interventions of `arms.toml`."""
    told: dict[str, Any] = tomllib.loads(files(aftercar.calibrate).joinpath("arms.toml").read_text(encoding="utf-8"))
    return tuple(_arm(name, entry) for name, entry in told.items())


def _arm(name: str, entry: dict[str, Any]) -> Arm:
    product, disease = entry.get("product", "axi-cel"), entry.get("disease", "LBCL")
    policy = entry.get("policy", "standard")
    scenario = Scenario(product, disease, policy, tuple(entry.get("given", ())), tuple(entry.get("changed", {}).items()), DAYS)
    comparator = Scenario(product, disease, entry.get("against", policy), days=DAYS)
    return Arm(
        name, entry["what"], scenario, comparator, tuple(entry.get("scales", ASTCT)), tuple(entry.get("trials", ())),
        tuple(entry.get("studies", ())), entry["expect"],
    )  # fmt: skip


@dataclass(frozen=True)
class Effects:
    """What interventions do; each frame has a row an arm and measure.

    Attributes:
        effects: `arm, what, measure, without, with_, effect, low, high, expected, finds` (agrees, disagrees or cannot tell). Measures are rates in
            per cent, mean worst grades, and CAR-T activity as ratios: peak of effectors, and tumour on the last day.
        published: `arm, study, endpoint, events, n, published_pct, published_low, published_high, simulated_pct, inside, source, verified`.
        preclinical: `arm, study, crs, nt, activity`: the directions that experiments found.
    """

    effects: pl.DataFrame
    published: pl.DataFrame
    preclinical: pl.DataFrame


def interventions(
    ensemble: pl.DataFrame, *, patients: int = PATIENTS, seed: int = SEED, workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Effects:  # fmt: skip
    """Simulate every intervention and its comparator; each virtual patient has the parameters of one member of an ensemble, the same in both."""
    follow(arms()[0].scenario, 2, seed)  # compiled once, before several processes would
    asked = {(s, arm.scales): (s, arm.scales, ensemble, patients, seed) for arm in arms() for s in (arm.scenario, arm.comparator)}
    found = dict(each_in_processes(_simulated, asked, "simulating", workers=workers, progress=progress))
    pairs = [(arm, found[arm.comparator, arm.scales], found[arm.scenario, arm.scales]) for arm in arms()]
    effects = [row for arm, without, with_ in pairs for row in _effects(arm, without, with_)]
    published = [row for arm, _, with_ in pairs for row in _published(arm, with_)]
    studies = table("preclinical")
    preclinical = pl.concat(
        [
            studies.filter(study_id=study).select(
                arm=pl.lit(arm.name), study="study_id", crs="effect_crs", nt="effect_neurotoxicity", activity="effect_cart_activity", source="ref_id",
            )
            for arm in arms() for study in arm.studies
        ]
    )  # fmt: skip
    return Effects(pl.DataFrame(effects), pl.DataFrame(published, infer_schema_length=None), preclinical)


@dataclass(frozen=True)
class _Arm:
    """Patients of an arm: worst grades, the highest number of effectors, and the tumour on the last day."""

    crs: NDArray[np.int64]
    nt: NDArray[np.int64]
    peak: Floats
    tumour: Floats


def _simulated(scenario: Scenario, scales: tuple[str, str], ensemble: pl.DataFrame, patients: int, seed: int) -> _Arm:
    every = varied(ensemble, scenario.product, scenario.disease, np.arange(patients))
    fixed = dict(scenario.changed)
    own = {name: values for name, values in every.items() if name not in fixed}
    followed = follow(scenario, patients, seed, varied=own, workers=1)
    outcome = graded_by(followed, *scales)
    states = followed.states
    return _Arm(outcome.crs, outcome.nt, states.of("effector").max(axis=1), states.of("tumour")[:, -1])


def _effects(arm: Arm, without: _Arm, with_: _Arm) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []

    def add(
        measure: str, a: float, b: float, effect: float, half: float, ratio: bool = False, expected: str | None = None
    ) -> None:
        low, high = (effect * np.exp(-half), effect * np.exp(half)) if ratio else (effect - half, effect + half)
        found = _direction(effect, low, high, 1.0, _SAME_SHARE) if ratio else _direction(effect, low, high, 0.0, _SAME_GRADE)
        finds = None if expected is None else "agrees" if found == expected else "cannot tell" if found is None else "disagrees"
        rows.append(
            {
                "arm": arm.name, "what": arm.what, "measure": measure, "without": a, "with_": b, "effect": effect, "low": low, "high": high,
                "expected": expected, "finds": finds,
            }
        )  # fmt: skip

    for what in ("crs", "nt"):
        a, b = getattr(without, what), getattr(with_, what)
        for least in (1, 2, 3):
            change = 100.0 * ((b >= least).astype(float) - (a >= least))
            add(
                f"{what} >= {least}, %",
                100 * float((a >= least).mean()),
                100 * float((b >= least).mean()),
                float(change.mean()),
                _half(change),
            )
        add(
            f"{what}, mean worst grade",
            float(a.mean()),
            float(b.mean()),
            float((b - a).mean()),
            _half((b - a).astype(float)),
            expected=arm.expect.get(what),
        )
    logs = np.log(with_.peak + 1e-6) - np.log(without.peak + 1e-6)
    add(
        "peak of CAR-T effectors",
        float(np.median(without.peak)),
        float(np.median(with_.peak)),
        float(np.exp(logs.mean())),
        _half(logs),
        True,
        arm.expect.get("activity"),
    )
    left = np.log(with_.tumour + 1e-4) - np.log(without.tumour + 1e-4)
    add(
        "tumour on the last day",
        float(np.median(without.tumour)),
        float(np.median(with_.tumour)),
        float(np.exp(left.mean())),
        _half(left),
        True,
    )
    return rows


def _half(change: Floats) -> float:
    """Half of the 95 % interval of a mean of paired differences."""
    return Z95 * float(change.std(ddof=1)) / np.sqrt(len(change))


def _direction(effect: float, low: float, high: float, none: float, same: float) -> str | None:
    """Lower, same or higher; none where the interval does not tell."""
    if abs(effect - none) <= same:
        return "same"
    return "lower" if high < none else "higher" if low > none else None


# Endpoints of intervention_trials.csv that a virtual arm has: which toxicity, and the least grade.
_MEASURED = {
    "crs_any": ("crs", 1), "crs_g2plus_d14": ("crs", 2), "crs_g3plus": ("crs", 3), "nt_any": ("nt", 1), "nt_g3plus": ("nt", 3),
    "icans_any": ("nt", 1), "icans_g2plus": ("nt", 2), "icans_g3plus": ("nt", 3),
}  # fmt: skip


def _published(arm: Arm, with_: _Arm) -> list[dict[str, Any]]:
    told = table("intervention_trials").filter(col("study_id").is_in(list(arm.trials)), col("endpoint").is_in(list(_MEASURED)))
    rows: list[dict[str, Any]] = []
    for row in told.drop_nulls("pct").to_dicts():
        what, least = _MEASURED[row["endpoint"]]
        pct, n = 100 * float((getattr(with_, what) >= least).mean()), row["n"]
        low, high = interval(row["events"] if row["events"] is not None else round(row["pct"] * n / 100), n)
        rows.append(
            {
                "arm": arm.name, "study": row["study_id"], "endpoint": row["endpoint"], "events": row["events"], "n": n, "published_pct": row["pct"],
                "published_low": low, "published_high": high, "simulated_pct": pct, "inside": low <= pct <= high,
                "source": row["ref_id"], "verified": row["verified"],
            }
        )  # fmt: skip
    return rows
