"""What a ward would chart of virtual patients: states in, a timeline out. Nothing here grades.

Every random number belongs to a patient, a time and a finding: a patient that is integrated again after a dose is charted with the same noise.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from aftercar.errors import InputError, nearest
from aftercar.simulate.engine import Floats
from aftercar.simulate.model import Model, toml
from aftercar.simulate.population import Patients, generator
from aftercar.timeline.concepts import concept, concepts

INFUSED = datetime(2000, 1, 3, 10)  # of every virtual patient: no date of a person
SOURCE = "simulation"
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


def observation_map(folder: Path | str | None = None) -> dict[str, Any]:
    """The observation map, or one's own `observation.toml` of a folder.

    Raises:
        InputError: it is not TOML.
    """
    chart = toml("observation.toml", folder)
    _require(toml("observation.toml", None), chart)
    _require_units(chart)
    return chart


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
        for i, number in enumerate(people.numbers):
            drawn = generator(people.seed, int(number), _NOISE).standard_normal(shape)
            for k, signal in enumerate(signals):
                self.noise[signal][i] = drawn[:, k]
            self.luck[i] = generator(people.seed, int(number), _HAZARD).random((shape[0], 2))

    def _persons(self) -> dict[str, Floats]:
        told = self.chart["person"]
        names = list(told)
        drawn = [generator(self.people.seed, int(n), _PERSON).standard_normal(len(names)) for n in self.people.numbers]
        normal = dict(zip(names, np.array(drawn).reshape(len(drawn), len(names)).T, strict=True))
        for name, entry in told.items():
            if "with" in entry:
                r = entry["correlation"]
                normal[name] = r * normal[entry["with"]] + math.sqrt(1 - r * r) * normal[name]
        return {name: entry["median"] * np.exp(entry["sd_log"] * normal[name]) for name, entry in told.items()}

    def chart_of(
        self, values: Floats, rows: np.ndarray, read: Collection[str] | None = None, given: pl.DataFrame | None = None
    ) -> pl.DataFrame:
        """The timeline of some of the patients, without `event_id`.

        Args:
            values: `[patient, time, state]` of those patients.
            rows: their places among the people.
            read: laboratory values that are not among these are left out.
            given: drugs, as events of these rows.
        """
        index = {name: self._index(name, values, rows) for name in self.chart["index"]}
        parts = [
            *self._temperature(values, rows), *self._circulation(index["circulation"], rows), *self._respiration(index["respiration"], rows),
            *self._brain(index["cns"], rows), *self._laboratory(values, rows, read), *self._once(rows),
        ]  # fmt: skip
        frame = pl.concat(parts if given is None else [*parts, given])
        return as_timeline(frame, self.people.numbers[rows])

    def _index(self, name: str, values: Floats, rows: np.ndarray) -> Floats:
        told = self.chart["index"][name]
        drive = sum(weight * values[:, :, self._of(state)] for state, weight in told["states"].items())
        return drive / self.person[told["reserve"]][rows][:, None]

    def _of(self, state: str) -> int:
        if state not in self.state:
            raise InputError(f"observation.toml: the model has no state {state!r}.")
        return self.state[state]

    # ---- findings

    def _all(
        self,
        code: str,
        value: Floats | None = None,
        text: np.ndarray | None = None,
        where: np.ndarray | None = None,
        end: Floats | None = None,
    ) -> pl.DataFrame:
        """A row a patient and round at which `where` holds; `[patient, time]` arrays. Times in hours."""
        n, t = (value if value is not None else text).shape  # type: ignore[union-attr]
        keep = np.ones((n, t), bool) if where is None else where
        row, time = np.nonzero(keep)
        unit = concept(code).unit
        return _events(
            row,
            self.when.times[time] * 24,
            code,
            None if value is None else value[row, time],
            None if text is None else text[row, time],
            unit if value is not None else None,
            None if end is None else end[row, time],
        )

    def _temperature(self, values: Floats, rows: np.ndarray) -> list[pl.DataFrame]:
        told = self.chart["temperature"]
        drive = np.maximum(values[:, :, self._of("fever")] - told["rest"], 0.0)
        half = self.person["fever_half"][rows][:, None]
        value = told["baseline"] + told["rise"] * drive / (drive + half) + told["noise"] * self.noise["temperature"][rows]
        return [self._all("temperature", np.round(np.clip(value, 34.0, 42.5), 1))]

    def _circulation(self, index: Floats, rows: np.ndarray) -> list[pl.DataFrame]:
        told, cuts = self.chart["pressure"], self.chart["answers"]["circulation"]
        left = np.clip(1.0 - told["fall"] * index, told["least"], 1.0)
        # Vasopressors hold the pressure; a bolus helps until the next round.
        treated = index >= cuts["norepinephrine"]
        left = np.where(
            treated,
            np.maximum(left, 0.76),
            np.where(index >= cuts["fluid_bolus"], np.minimum(left, 0.71), np.maximum(left, 0.78)),
        )
        found = []
        for code in ("map", "sbp"):
            value = told[code] * left + told["noise"] * self.noise[code][rows]
            found.append(self._all(code, np.round(value)))
        bolus = (index >= cuts["fluid_bolus"]) & ~treated
        rate = np.round(np.maximum(cuts["rate"] * (index - cuts["norepinephrine"]), 0.0) + 0.03, 2)
        ends = self._next_round(index.shape[0])
        found += [
            self._all("fluid_bolus", np.full(index.shape, 500.0), where=bolus).with_columns(unit=pl.lit("mL")),
            self._drug("norepinephrine", rate, treated, ends), self._drug("epinephrine", np.full(index.shape, 0.05), index >= cuts["second"], ends),
        ]  # fmt: skip
        return found

    def _next_round(self, n: int) -> Floats:
        hours = self.when.times * 24
        return np.tile(np.append(hours[1:], hours[-1] + 1), (n, 1))

    def _drug(self, code: str, rate: Floats, where: np.ndarray, ends: Floats) -> pl.DataFrame:
        return self._all(code, rate, where=where, end=ends).with_columns(unit=pl.lit("ug/kg/min"))

    def _respiration(self, index: Floats, rows: np.ndarray) -> list[pl.DataFrame]:
        cuts = {k: v for k, v in self.chart["answers"]["respiration"].items() if k != "confidence"}
        words = np.array(["room_air", *cuts])
        device = words[np.searchsorted(np.array(list(cuts.values())), index, side="right")]
        low = device == "nasal_cannula"
        flow = np.clip(np.round(1 + 5 * (index - cuts["nasal_cannula"]) / (cuts["non_rebreather"] - cuts["nasal_cannula"])), 1, 6)
        spo2 = np.clip(
            np.round(97 - 3 * (device == "room_air") * (index / cuts["nasal_cannula"]) + self.noise["spo2"][rows]), 91, 100
        )
        return [self._all("o2_device", text=device), self._all("o2_flow", flow, where=low), self._all("spo2", spo2)]

    def _brain(self, index: Floats, rows: np.ndarray) -> list[pl.DataFrame]:
        told = self.chart["answers"]["cns"]
        levels = ("voice", "touch", "vigorous_or_none")
        words = np.array(["alert", *levels])
        level = np.searchsorted(np.array([told[w] for w in levels]), index, side="right")
        lost = told["ice_slope"] * np.maximum(index + 0.02 * self.noise["ice"][rows] - told["ice_from"], 0.0)
        ice = np.where(level >= 2, 0.0, 10.0 - np.clip(np.ceil(lost), 0, 10))
        asked = np.broadcast_to(self.when.ice, index.shape)
        step = np.diff(self.when.times, prepend=0.0)[None, :]

        def strikes(what: str, k: int) -> np.ndarray:
            hazard = told[f"{what}_per_day"] * np.maximum(index - told[f"{what}_from"], 0.0)
            return self.luck[rows][:, :, k] < 1 - np.exp(-hazard * step)

        seizure, oedema = strikes("seizure", 0), strikes("oedema", 1)
        return [
            self._all("ice", ice, where=asked),
            self._all("consciousness", text=words[level], where=asked),
            self._all("confusion", text=self._confusion(10.0 - ice), where=asked),
            self._all("seizure", text=np.full(index.shape, "clinical_generalised"), where=seizure),
            self._all("seizure_duration", np.full(index.shape, 2.0), where=seizure),
            self._all("seizure_outcome", text=np.full(index.shape, "resolved_fast"), where=seizure),
            self._all("icp_sign", text=np.full(index.shape, "diffuse_oedema"), where=oedema),
        ]

    def _confusion(self, lost: Floats) -> np.ndarray:
        cuts = {word: least for word, least in self.chart["confusion"].items() if word != "confidence"}
        return np.array(["none", *cuts])[np.searchsorted(np.array(list(cuts.values())), lost, side="right")]

    def _laboratory(self, values: Floats, rows: np.ndarray, read: Collection[str] | None) -> list[pl.DataFrame]:
        hours, usual = self.when.times * 24, self.chart["rounds"]["laboratory_h"]

        def told_as(code: str, level: Floats, told: dict[str, Any]) -> pl.DataFrame:
            value = _figures(level * np.exp(told["noise"] * self.noise[code][rows]))
            return self._all(
                code,
                np.maximum(value, told.get("least", 0.0)),
                where=np.broadcast_to(_due(hours, told.get("every_h", usual)), values.shape[:2]),
            ).with_columns(unit=pl.lit(told["unit"]))

        measured = {c: t for c, t in self.chart["laboratory"].items() if read is None or c in read}
        constant = {c: t for c, t in self.chart["constant"].items() if read is None or c in read}
        return [
            *(told_as(c, values[:, :, self._of(t["state"])] * t.get("per_state", 1.0), t) for c, t in measured.items()),
            *(told_as(c, np.full(values.shape[:2], t["value"]), t) for c, t in constant.items()),
        ]

    def _once(self, rows: np.ndarray) -> list[pl.DataFrame]:
        """The infusion, and that what is not charted did not happen."""
        row, last = np.arange(len(rows)), self.when.times[-1] * 24
        zero, end = np.zeros(len(rows)), np.full(len(rows), last)
        parts = [
            *(_events(row, zero, code, text=np.full(len(rows), word)) for code, word in self.words.items()),
            *(
                _events(row, zero, code, np.full(len(rows), v), unit=concept(code).unit)
                for code, v in self.chart["limits"].items()
            ),
            _events(row, zero, "setting", text=np.full(len(rows), "inpatient")),
            _events(
                row, zero + min(self.chart["rounds"]["early_d"] * 24, last), "setting", text=np.full(len(rows), "outpatient")
            ),
            _events(row, end, "last_follow_up"),
            _events(row, zero, "age", np.full(len(rows), 60.0), unit="a"),
            _events(row, zero, "weight", np.full(len(rows), 75.0), unit="kg"),
        ]
        # No infection is simulated: each week a search for one finds none.
        for hour in np.arange(0.0, last, 168.0):
            parts.append(_events(row, zero + hour, "infection_workup", text=np.full(len(rows), "negative")))
        for stream in concept("record_complete").values:
            parts.append(_events(row, zero, "record_complete", text=np.full(len(rows), stream), end=end + 1))
        return parts


_VITALS = ("temperature", "map", "sbp", "spo2", "ice")


def _figures(value: Floats) -> Floats:
    """To three figures, as laboratories tell."""
    size = np.floor(np.log10(np.maximum(np.abs(value), 1e-12)))
    factor = 10.0 ** (2 - size)
    return np.round(value * factor) / factor


def _events(
    row: np.ndarray,
    hour: np.ndarray,
    code: str,
    value: np.ndarray | None = None,
    text: np.ndarray | None = None,
    unit: str | None = None,
    end: np.ndarray | None = None,
) -> pl.DataFrame:
    """Rows of one code; times in hours since the infusion."""
    n = len(row)

    def column(given: np.ndarray | None, dtype: Any) -> pl.Series:
        return pl.repeat(None, n, dtype=dtype, eager=True) if given is None else pl.Series(np.asarray(given), dtype=dtype)

    return pl.DataFrame(
        {
            "row": pl.Series(row, dtype=pl.Int64), "hour": pl.Series(hour, dtype=pl.Float64), "code": pl.repeat(code, n, dtype=pl.String, eager=True),
            "numeric_value": column(value, pl.Float64), "text_value": column(text, pl.String),
            "unit": pl.repeat(unit, n, dtype=pl.String, eager=True), "end_hour": column(end, pl.Float64),
        }
    )  # fmt: skip


def as_timeline(events: pl.DataFrame, numbers: np.ndarray) -> pl.DataFrame:
    """Events as a timeline of subjects 1, 2 ...; sorted, without `event_id`."""
    subject = pl.Series(numbers + 1, dtype=pl.Int64)
    start = pl.lit(INFUSED, pl.Datetime("us"))

    def time(hours: str) -> pl.Expr:
        return start + pl.duration(microseconds=(pl.col(hours) * 3_600_000_000).round().cast(pl.Int64))

    events = events.sort("row", "hour", maintain_order=True)
    return events.select(
        subject_id=subject.gather(events["row"]),
        time=time("hour"), code="code", numeric_value="numeric_value", text_value="text_value",
        end_time=pl.when(pl.col("end_hour").is_not_null()).then(time("end_hour")), unit="unit", source=pl.lit(SOURCE),
        attributable_to=pl.lit(None, pl.String), note=pl.lit(None, pl.String),
    )  # fmt: skip


def as_days(time: pl.Expr) -> pl.Expr:
    """Days since the infusion."""
    return (time - pl.lit(INFUSED, pl.Datetime("us"))).dt.total_seconds() / timedelta(days=1).total_seconds()
