"""Virtual patients for a page: what may be asked, the simulation as a job, and what it found beside what was published."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec
import numpy as np
import polars as pl
from polars import col

from aftercar.errors import OptionError
from aftercar.ward.jobs import Say

MOST = 2_000  # patients
MOST_DAYS = 365.0
PART = 100  # patients between two words on how far it is
GRADED = ("crs", "icans", "iec_hs_grade", "icaht_early")


@dataclass(frozen=True)
class Asked:
    """What is asked of a simulation.

    Attributes:
        burden: tumour burden at the infusion, times that of the median patient of the disease.
        drugs: given in any case, as `simulate.policy.asked` reads them.
    """

    product: str
    disease: str
    policy: str = "standard"
    burden: float = 1.0
    drugs: tuple[str, ...] = ()
    n: int = 200
    days: float = 60.0
    seed: int = 1

    def told(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)


def asked(told: Mapping[str, Any]) -> Asked:
    """What was asked, once it is known that it can be done; product, disease and policy as the model writes them.

    Args:
        told: values of `Asked`, as numbers or as people write them; drugs in a list, or parted by commas.
    Raises:
        OptionError: it cannot be simulated, and why.
    """
    from aftercar.simulate.model import load_model
    from aftercar.simulate.policy import asked as given
    from aftercar.simulate.policy import named
    from aftercar.simulate.population import SEEDS, known_as

    model = load_model()
    drugs = told.get("drugs") or ()
    drugs = [d.strip() for d in drugs.split(",")] if isinstance(drugs, str) else list(drugs)
    found = Asked(
        known_as(model, "products", str(told.get("product", ""))), known_as(model, "diseases", str(told.get("disease", ""))),
        named(str(told.get("policy") or "standard"), model).name, _number(told, "burden", 1.0, 0.01, 20), tuple(d for d in drugs if d),
        int(_number(told, "n", 200, 1, MOST, whole=True)), _number(told, "days", 60, 1, MOST_DAYS), int(_number(told, "seed", 1, 0, SEEDS - 1, whole=True)),
    )  # fmt: skip
    for drug in found.drugs:
        if given(drug, model).hours[0] >= found.days * 24:
            raise OptionError(f"{drug!r} begins after the {found.days:g} days that are charted.")
    return found


_NAMES = {"burden": "The tumour burden", "n": "The number of patients", "days": "The days", "seed": "The seed"}


def _number(told: Mapping[str, Any], name: str, default: float, least: float, most: float, *, whole: bool = False) -> float:
    value = told.get(name)
    try:
        number = default if value in (None, "") else float(str(value))
    except ValueError:
        number = float("nan")
    if not least <= number <= most or (whole and number != int(number)):
        raise OptionError(f"{_NAMES[name]} must be a {'whole ' if whole else ''}number from {least:g} to {most:g}.")
    return number


# ---- the job


@dataclass(frozen=True)
class Simulated:
    """What a simulation found.

    Attributes:
        worst, episodes: of every virtual patient, on the default scales of `GRADED` and those of the published trials.
        treated: `drug, patients, doses`.
        figure: the states over time, as SVG.
    """

    worst: pl.DataFrame
    episodes: pl.DataFrame
    treated: pl.DataFrame
    figure: str


def work(told: dict[str, Any], say: Say) -> bytes:
    """Simulate what was `asked`, part by part; a patient is the same whatever the parts."""
    from aftercar.grade.run import scales_named
    from aftercar.report.virtual import STATES, states_figure
    from aftercar.simulate.model import load_model
    from aftercar.simulate.population import values_of
    from aftercar.simulate.run import Scenario, follow
    from aftercar.simulate.trajectories import Trajectories

    values: dict[str, Any] = told | {"drugs": tuple(told["drugs"])}
    one = Asked(**values)
    model = load_model()
    tumour = float(np.asarray(values_of(model, one.product, one.disease)["tumour"])) * one.burden
    scenario = Scenario(one.product, one.disease, one.policy, one.drugs, (("tumour", tumour),), one.days)
    scales = scales_named([*GRADED, *{s for t in compared(one).values() for s in (t.crs, t.nt)}])
    drawn = [s for names in STATES.values() for s in names if s in model.states]
    parts, states, given = [], [], []
    say(0, one.n)
    for first in range(0, one.n, PART):
        followed = follow(scenario, min(PART, one.n - first), one.seed, first=first, workers=1)
        parts.append(followed.graded(scales))
        whole = followed.states
        states.append(
            replace(
                whole,
                names=tuple(drawn),
                units=tuple(map(whole.unit, drawn)),
                values=np.stack([whole.of(s) for s in drawn], axis=2),
            )
        )
        given.append(followed.history.given.filter(col("hour") <= followed.hours[-1]).with_columns(col("row") + first))
        say(min(first + PART, one.n), one.n)
    every = Trajectories(states[0].times, states[0].names, np.concatenate([s.values for s in states]), states[0].units)
    treated = pl.concat(given).group_by("drug").agg(patients=col("row").n_unique(), doses=pl.len()).sort("drug")
    frames = {"worst": pl.concat(p.worst for p in parts), "episodes": pl.concat(p.episodes for p in parts), "treated": treated}
    return msgspec.msgpack.encode(
        {name: _bytes(frame) for name, frame in frames.items()} | {"figure": states_figure(every, scenario)}
    )


def _bytes(frame: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.write_ipc(file, compression="zstd")
    return file.getvalue()


def found(content: bytes) -> Simulated:
    """What `work` gave."""
    told = msgspec.msgpack.decode(content)
    frames = {name: pl.read_ipc(io.BytesIO(told[name])) for name in ("worst", "episodes", "treated")}
    return Simulated(**frames, figure=told["figure"])


# ---- what was published


def compared(one: Asked) -> dict[str, Any]:
    """The published trials of a product in a disease, by name."""
    from aftercar.calibrate.published import trials

    return {name: t for name, t in trials().items() if (t.product, t.disease) == (one.product, one.disease)}


def beside(one: Asked, result: Simulated) -> pl.DataFrame:
    """Every published rate of the product in the disease beside the simulated one, on that trial's own scale: the columns of `Comparison.rates` that
    need no ensemble, with the trial's `policy` and the simulated patients who `had` it. A grade that charting leaves open counts by its lower bound.
    """
    from aftercar.calibrate.published import interval, rates

    known = compared(one)
    rows: list[dict[str, Any]] = []
    for row in rates().filter(col("trial").is_in(list(known))).iter_rows(named=True):
        what, least = row["endpoint"].split("_")[0], 3 if row["endpoint"].endswith("g3plus") else 1
        trial = known[row["trial"]]
        scale = trial.crs if what == "crs" else trial.nt
        had = result.worst.filter((col("scale") == scale) & (col("grade") >= least)).height
        low, high = interval(row["events"], row["n"])
        lower, upper = interval(had, one.n)
        rows.append(
            {
                "trial": row["trial"], "policy": trial.policy, "use": "held out" if trial.held_out else "fit", "endpoint": row["endpoint"], "scale": scale,
                "events": row["events"], "n": row["n"], "published_pct": row["pct"], "published_low": low, "published_high": high, "had": had,
                "simulated_pct": 100 * had / one.n, "simulated_low": lower, "simulated_high": upper, "source": row["source"], "verified": row["verified"],
            }
        )  # fmt: skip
    return pl.DataFrame(rows)
