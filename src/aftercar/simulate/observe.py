"""What a ward would chart of virtual patients: states in, a timeline out. Nothing here grades.

Every random number belongs to a patient, a time and a finding: a patient that is integrated again after a dose is charted with the same noise.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from aftercar.errors import InputError, OptionError, nearest
from aftercar.simulate.chart import Chart
from aftercar.simulate.engine import Floats, Ints
from aftercar.simulate.model import Model, toml
from aftercar.simulate.population import SPREAD, WEIGHT_KG, Patients, Values, generator, with_changes
from aftercar.timeline.concepts import concept, concepts

_NOISE, _PERSON, _HAZARD = 1, 2, 3  # purposes of random numbers


@dataclass(frozen=True)
class Rounds:
    """When things are charted.

    Attributes:
        times: in days since the infusion.
        ice: which of them are rounds of assessing the ICE score.
    """

    times: Floats
    ice: np.ndarray


def observation_map(folder: Path | str | None = None, changed: Mapping[str, Values] | None = None) -> dict[str, Any]:
    """The observation map, or one's own `observation.toml` of a folder.

    Args:
        changed: numbers of it that differ, by the names of their tables and their own, with dots between: `person.circulation.median`. Those of `person` may be arrays with one
            for each patient.
    Raises:
        InputError: it is not TOML, or not as it must be.
        OptionError: it has no such number.
    """
    chart = toml("observation.toml", folder)
    _require(toml("observation.toml", None), chart)
    _require_units(chart)
    if not changed:
        return chart
    for name, value in changed.items():
        if isinstance(value, np.ndarray) and not name.startswith("person."):
            raise OptionError(f"{name} is one number for all patients; only those of `person` may differ between them.")
    return _nested(with_changes(numbers_of(chart), changed, "observation.toml"), chart)


def numbers_of(chart: dict[str, Any], above: str = "") -> dict[str, Values]:
    """All numbers of the map by their dotted names."""
    found: dict[str, Values] = {}
    for key, value in chart.items():
        if isinstance(value, dict):
            found |= numbers_of(value, f"{above}{key}.")
        elif isinstance(value, (int, float)):
            found[above + key] = value
    return found


def _nested(numbers: dict[str, Values], chart: dict[str, Any], above: str = "") -> dict[str, Any]:
    """The map with other numbers."""
    return {
        k: _nested(numbers, v, f"{above}{k}.") if isinstance(v, dict) else numbers.get(above + k, v) for k, v in chart.items()
    }


def is_of_map(name: str) -> bool:
    """Whether a name is one of a number of the observation map, and not of a parameter or its spread."""
    return "." in name and not name.startswith(SPREAD)


_OWN_ROWS = ("laboratory", "constant", "limits")  # tables of which a modeller names the rows


def _require(ours: dict[str, Any], theirs: dict[str, Any], where: str = "") -> None:
    """Every entry of our own map must be there, of the same kind; rounds and numbers that are divided by are above 0."""
    for key, value in ours.items():
        place = f"{where}.{key}" if where else key
        if key not in theirs:
            if where in _OWN_ROWS or key in ("confidence", "meaning"):
                continue
            raise InputError(f"observation.toml, {place}: is missing; our own file says what it means.")
        given = theirs[key]
        if isinstance(value, dict):
            if not isinstance(given, dict):
                raise InputError(f"observation.toml, {place}: must be a table.")
            rows = given if place in _OWN_ROWS and place != "limits" else None
            model = next(iter(value.values())) if rows else value
            for name, entry in rows.items() if rows else [("", given)]:
                if not isinstance(entry, dict):
                    raise InputError(f"observation.toml, {place}.{name}: must be a table.")
                needed = {k: v for k, v in model.items() if k not in ("per_state", "least", "every_h")} if rows else value
                _require(needed, entry, f"{place}.{name}" if rows else place)
        elif isinstance(value, (int, float)):
            if isinstance(given, bool) or not isinstance(given, (int, float)) or not math.isfinite(given) or given < 0:
                raise InputError(f"observation.toml, {place}: must be a number, 0 or more.")
            if given == 0 and where == "rounds":
                raise InputError(f"observation.toml, {place}: must be above 0.")
    if where == "rounds":
        for key in ("laboratory_h", "ice_h"):
            if theirs[key] % theirs["early_h"] or (theirs[key] % theirs["late_h"] and theirs["late_h"] % theirs[key]):
                raise InputError(
                    f"observation.toml, rounds.{key}: must be a multiple of early_h, and go with late_h, else it falls on no round."
                )


def _require_units(chart: dict[str, Any]) -> None:
    """Values are charted in the unit of their concept; a state in another one has a factor, `per_state`."""
    known = concepts()
    for table in ("laboratory", "constant", "limits"):
        for code, told in chart[table].items():
            if code not in known:
                raise InputError(f"observation.toml, {table}.{code}: no concept. {nearest(code, known)}")
            if table != "limits" and told["unit"] != known[code].unit:
                raise InputError(
                    f"observation.toml, {table}.{code}.unit: must be {known[code].unit}; `per_state` multiplies a state in another unit."
                )


def rounds(chart: dict[str, Any], days: float) -> Rounds:
    """The rounds of so many days."""
    plan = chart["rounds"]
    early = np.arange(0, min(plan["early_d"], days) * 24 + 1e-9, plan["early_h"])
    late = np.arange(early[-1] + plan["late_h"], days * 24 + 1e-9, plan["late_h"])
    hours = np.concatenate([early, late])
    return Rounds(hours / 24, _due(hours, plan["ice_h"]))


def _due(hours: Floats, every: float) -> np.ndarray:
    """Which rounds fall on a multiple of so many hours."""
    return np.isclose(hours % every, 0)


class Ward:
    """Charts some virtual patients; what is random of each is drawn once."""

    def __init__(self, model: Model, people: Patients, when: Rounds, chart: dict[str, Any], product: str, disease: str) -> None:
        """Draw the reserves of the people and the noise of their charting."""
        self.model, self.people, self.when, self.chart = model, people, when, chart
        self.words = {"cart_infusion": product, "disease": disease}
        self.state = {name: k for k, name in enumerate(model.states)}
        self.person = self._persons()
        signals = [*_VITALS, *chart["laboratory"], *chart["constant"]]
        shape = (len(when.times), len(signals))
        self.noise = {s: np.zeros((len(people), shape[0])) for s in signals}
        self.luck = np.zeros((len(people), shape[0], 2))
        for i, number in enumerate(people.drawn):
            drawn = generator(people.seed, int(number), _NOISE).standard_normal(shape)
            for k, signal in enumerate(signals):
                self.noise[signal][i] = drawn[:, k]
            self.luck[i] = generator(people.seed, int(number), _HAZARD).random((shape[0], 2))

    def _persons(self) -> dict[str, Floats]:
        told = self.chart["person"]
        names = list(told)
        drawn = [generator(self.people.seed, int(n), _PERSON).standard_normal(len(names)) for n in self.people.drawn]
        normal = dict(zip(names, np.array(drawn).reshape(len(drawn), len(names)).T, strict=True))
        for name, entry in told.items():
            if "with" in entry:
                r = entry["correlation"]
                normal[name] = r * normal[entry["with"]] + math.sqrt(1 - r * r) * normal[name]
        return {name: entry["median"] * np.exp(entry["sd_log"] * normal[name]) for name, entry in told.items()}

    def chart_of(
        self,
        values: Floats,
        rows: Ints,
        last: Ints | None = None,
        read: Collection[str] | None = None,
        given: pl.DataFrame | None = None,
    ) -> pl.DataFrame:
        """The timeline of some of the patients.

        Args:
            values: `[patient, time, state]` of those patients.
            rows: their places among the people, ascending.
            last: for each of them the number of the last round that is charted; by default of all rounds.
            read: only these codes are charted; by default all.
            given: drugs that were given: `row` (among these patients), `hour`, `concept`, `mg`.
        """
        last = np.full(len(rows), len(self.when.times) - 1) if last is None else last
        rounds = int(last.max(initial=0)) + 1
        hours = self.when.times[:rounds] * 24
        chart = Chart(hours, last, read)
        seen = _Seen(chart, values[:, :rounds], rows, hours)
        index = {name: self._index(name, seen) for name in self.chart["index"]}
        self._temperature(seen)
        self._circulation(seen, index["circulation"])
        self._respiration(seen, index["respiration"])
        self._brain(seen, index["cns"])
        self._laboratory(seen)
        self._once(chart)
        for name in [] if given is None else self.model.tables["drugs"]["concept"].unique(maintain_order=True):
            own = given.filter(concept=name)  # type: ignore[union-attr]
            chart.events(name, own["hour"].to_numpy(), own["mg"].to_numpy(), row=own["row"].to_numpy(), unit="mg")
        return chart.timeline(self.people.numbers[rows] + 1)

    def _index(self, name: str, seen: _Seen) -> Floats:
        told = self.chart["index"][name]
        drive = sum(weight * seen.values[:, :, self._of(state)] for state, weight in told["states"].items())
        return drive / self.person[told["reserve"]][seen.rows][:, None]

    def _of(self, state: str) -> int:
        if state not in self.state:
            raise InputError(f"observation.toml: the model has no state {state!r}.")
        return self.state[state]

    def _noise(self, signal: str, seen: _Seen) -> Floats:
        return self.noise[signal][seen.rows, : len(seen.hours)]

    # ---- findings

    def _temperature(self, seen: _Seen) -> None:
        told = self.chart["temperature"]
        drive = np.maximum(seen.values[:, :, self._of("fever")] - told["rest"], 0.0)
        half = self.person["fever_half"][seen.rows][:, None]
        value = told["baseline"] + told["rise"] * drive / (drive + half) + told["noise"] * self._noise("temperature", seen)
        _measured(seen.chart, "temperature", np.round(np.clip(value, 34.0, 42.5), 1))

    def _circulation(self, seen: _Seen, index: Floats) -> None:
        told, cuts = self.chart["pressure"], self.chart["answers"]["circulation"]
        left = np.clip(1.0 - told["fall"] * index, told["least"], 1.0)
        # Vasopressors hold the pressure; a bolus helps until the next round.
        treated = index >= cuts["norepinephrine"]
        left = np.where(
            treated,
            np.maximum(left, 0.76),
            np.where(index >= cuts["fluid_bolus"], np.minimum(left, 0.71), np.maximum(left, 0.78)),
        )
        for code in ("map", "sbp"):
            _measured(seen.chart, code, np.round(told[code] * left + told["noise"] * self._noise(code, seen)))
        rate = np.round(np.maximum(cuts["rate"] * (index - cuts["norepinephrine"]), 0.0) + 0.03, 2)
        seen.chart.rounds("fluid_bolus", 500.0, where=(index >= cuts["fluid_bolus"]) & ~treated, unit="mL")
        seen.chart.rounds("norepinephrine", rate, where=treated, unit="ug/kg/min", until_next=True)
        seen.chart.rounds("epinephrine", 0.05, where=index >= cuts["second"], unit="ug/kg/min", until_next=True)

    def _respiration(self, seen: _Seen, index: Floats) -> None:
        cuts = {k: v for k, v in self.chart["answers"]["respiration"].items() if k != "confidence"}
        devices = ("room_air", *cuts)
        device = np.searchsorted(np.array(list(cuts.values())), index, side="right")
        flow = np.clip(np.round(1 + 5 * (index - cuts["nasal_cannula"]) / (cuts["non_rebreather"] - cuts["nasal_cannula"])), 1, 6)
        fall = 3 * (device == devices.index("room_air")) * (index / cuts["nasal_cannula"])
        seen.chart.rounds("o2_device", text=(devices, device))
        seen.chart.rounds("o2_flow", flow, where=device == devices.index("nasal_cannula"), unit=concept("o2_flow").unit)
        _measured(seen.chart, "spo2", np.clip(np.round(97 - fall + self._noise("spo2", seen)), 91, 100))

    def _brain(self, seen: _Seen, index: Floats) -> None:
        told = self.chart["answers"]["cns"]
        levels = ("voice", "touch", "vigorous_or_none")
        level = np.searchsorted(np.array([told[w] for w in levels]), index, side="right")
        lost = told["ice_slope"] * np.maximum(index + told["noise"] * self._noise("ice", seen) - told["ice_from"], 0.0)
        ice = np.where(level >= 2, 0.0, 10.0 - np.clip(np.ceil(lost), 0, 10))
        step = np.diff(seen.hours / 24, prepend=0.0)[None, :]

        def strikes(what: str, k: int) -> np.ndarray:
            hazard = told[f"{what}_per_day"] * np.maximum(index - told[f"{what}_from"], 0.0)
            return self.luck[seen.rows, : len(seen.hours), k] < 1 - np.exp(-hazard * step)

        seizure, none = strikes("seizure", 0), np.zeros(index.shape, np.intp)
        asked = np.broadcast_to(self.when.ice[: len(seen.hours)], index.shape)
        seen.chart.rounds("ice", ice, where=asked, unit=concept("ice").unit)
        seen.chart.rounds("consciousness", text=(("alert", *levels), level), where=asked)
        for code, measure in (("confusion", 10.0 - ice), ("tremor", index)):
            cuts = {word: least for word, least in self.chart[code].items() if word != "confidence"}
            place = np.searchsorted(np.array(list(cuts.values())), measure, side="right")
            seen.chart.rounds(code, text=(("none", *cuts), place), where=asked)
        seen.chart.rounds("seizure", text=(("clinical_generalised",), none), where=seizure)
        seen.chart.rounds("seizure_duration", 2.0, where=seizure, unit=concept("seizure_duration").unit)
        seen.chart.rounds("seizure_outcome", text=(("resolved_fast",), none), where=seizure)
        seen.chart.rounds("icp_sign", text=(("diffuse_oedema",), none), where=strikes("oedema", 1))

    def _laboratory(self, seen: _Seen) -> None:
        usual = self.chart["rounds"]["laboratory_h"]
        for code, told in (self.chart["laboratory"] | self.chart["constant"]).items():
            if not seen.chart.wants(code):
                continue
            level = seen.values[:, :, self._of(told["state"])] * told.get("per_state", 1.0) if "state" in told else told["value"]
            value = _figures(level * np.exp(told["noise"] * self._noise(code, seen)))
            due = np.broadcast_to(_due(seen.hours, told.get("every_h", usual)), value.shape)
            seen.chart.rounds(code, np.maximum(value, told.get("least", 0.0)), where=due, unit=told["unit"])

    def _once(self, chart: Chart) -> None:
        """The infusion, and that what is not charted did not happen."""
        for code, word in self.words.items():
            chart.events(code, 0.0, text=word)
        for code, value in self.chart["limits"].items():
            chart.events(code, 0.0, value, unit=concept(code).unit)
        chart.events("setting", 0.0, text="inpatient")
        chart.events("setting", min(self.chart["rounds"]["early_d"], self.when.times[-1]) * 24, text="outpatient")
        chart.events("last_follow_up", chart.ends)
        chart.events("age", 0.0, 60.0, unit="a")
        chart.events("weight", 0.0, WEIGHT_KG, unit="kg")
        # No infection is simulated: each week a search for one finds none.
        for hour in np.arange(0.0, chart.ends.max(initial=0.0), 168.0):
            chart.events("infection_workup", hour, text="negative")
        for stream in concept("record_complete").values:
            chart.events("record_complete", 0.0, text=stream, end_hour=chart.ends + 1)


class _Seen(NamedTuple):
    """What is charted at a time: a chart under way and the states of its patients (`[patient, time, state]`), whose places among the people are `rows`."""

    chart: Chart
    values: Floats
    rows: Ints
    hours: Floats


def _measured(chart: Chart, code: str, value: Floats) -> None:
    chart.rounds(code, value, unit=concept(code).unit)


_VITALS = ("temperature", "map", "sbp", "spo2", "ice")


def _figures(value: Floats) -> Floats:
    """To three figures, as laboratories tell."""
    size = np.floor(np.log10(np.maximum(np.abs(value), 1e-12)))
    factor = 10.0 ** (2 - size)
    return np.round(value * factor) / factor
