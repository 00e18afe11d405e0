"""Random records with what real ones hold: gaps, hand-overs, missing ends, causes, ties and thresholds.

Everything comes from a seeded NumPy generator, so a seed names a cohort.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from aftercar.timeline.schema import conform

SCHEMA = {
    "subject_id": pl.Int64,
    "time": pl.Datetime("us"),
    "code": pl.String,
    "numeric_value": pl.Float64,
    "text_value": pl.String,
    "end_time": pl.Datetime("us"),
    "attributable_to": pl.String,
    "unit": pl.String,
}
FAMILIES = ("crs", "icans", "icaht")
MORE_FAMILIES = ("organ", "blood", "doses", "penn", "cres", "terms")

TEMPERATURES = (36.4, 36.9, 37.4, 37.8, 37.94, 37.96, 37.99, 37.9999999, 38.0, 38.04, 38.3, 39.2, 40.4)
DEVICES = (
    "room_air", "room_air", "nasal_cannula", "nasal_cannula", "hfnc", "blow_by", "face_mask", "venturi", "non_rebreather",
    "tracheostomy_collar", "cpap", "bipap", "ventilator", "unknown",
)  # fmt: skip
FLOWS = (0, 1, 2, 4, 6, 6.1, 10, 40)
VASOPRESSORS = (
    "norepinephrine", "norepinephrine", "epinephrine", "phenylephrine", "dopamine", "angiotensin_ii", "vasopressin",
    "terlipressin", "dobutamine", "milrinone", "methylene_blue",
)  # fmt: skip
WAIVERS = ("acetaminophen", "ibuprofen", "tocilizumab", "dexamethasone", "hydrocortisone", "anakinra")
OVERLAPS_MIN = (-30, 0, 20, 59, 60, 61, 120)
WEIGHTS = (50, 80, 100)
# Rates on both sides of the high doses, also for a weight of 50 or 100 kg.
RATES: dict[str | None, tuple[float | None, ...]] = {
    "ug/min": (2, 5, 9.5, 10, 15, 19.5, 20, 100, 190, 200),
    "ug/kg/min": (0.05, 0.09, 0.1, 0.125, 0.19, 0.2, 0.25, 0.4, 2, 4, 9.5, 10, 20),
    "mg/h": (0.3, 0.6, 1.2, 6, 12),
    "mg/kg/h": (0.003, 0.006, 0.012, 0.6),
    "mL/h": (5, 10, 25),
    "U/min": (0.03,),
    None: (None, 0.1, 10, 25),
}
UNITS = ("ug/min", "ug/min", "ug/min", "ug/kg/min", "ug/kg/min", "ug/kg/min", "mg/h", "mg/kg/h", "mL/h", None)
GRADED_DEVICES = (
    *DEVICES,
    "no word of ours",
    "nasal_cannula",
    "nasal_cannula",
    "face_mask",
    "partial_rebreather",
    "niv",
    "ecmo",
    "t_piece",
)
GRADED_FLOWS = (0, 2, 4, 4.5, 5, 6, 6.5, 10, 15)
# Limit, a usual baseline, and multiples of either at which a CTCAE grade begins; exact in binary.
ORGAN_ITEMS = {
    "creatinine": (1.0, (0.5, 1.0, 1.5), (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 3.0, 3.5, 4.5, 6.0, 6.5)),
    "ast": (40.0, (20.0, 40.0, 80.0), (20.0, 40.0, 41.0, 60.0, 80.0, 119.0, 120.0, 121.0, 200.0, 201.0, 240.0, 401.0, 800.0, 801.0, 1601.0)),
    "alt": (32.0, (16.0, 48.0), (16.0, 32.0, 33.0, 72.0, 96.0, 97.0, 144.0, 145.0, 160.0, 161.0, 241.0, 640.0, 641.0)),
    "bilirubin": (1.0, (0.5, 2.0), (0.5, 1.0, 1.25, 1.5, 2.0, 3.0, 3.5, 10.0, 10.5)),
}  # fmt: skip
BLOOD_ITEMS = {
    "anc": (2000.0, (300, 500, 700, 999, 1000, 1499, 1500, 1999, 2000, 4000)),
    "platelets": (140.0, (10, 24, 25, 49, 50, 74, 75, 139, 140, 200)),
    "hemoglobin": (12.0, (6.5, 7.9, 8, 9.9, 10, 11.9, 12, 14)),
    "fibrinogen": (200.0, (40, 49, 50, 51, 60, 75, 76, 100, 112, 150, 151, 199, 200, 300)),
}

COUNTS = (0, 50, 100, 101, 300, 480, 500, 501, 504, 700, 1000, 1000.5, 1200, 1500, 1501, 2500, 4000)


def random_timeline(rng: np.random.Generator, n_subjects: int, families: Sequence[str] = FAMILIES) -> pl.DataFrame:
    """A timeline of `n_subjects` random subjects, numbered from 1.

    Args:
        rng: where all chance comes from.
        n_subjects: how many.
        families: which findings there are: of `crs`, `icans`, `icaht`, or of the scales beside them: `organ` and `blood` for
            CTCAE, `doses` (vasopressors with rates, FiO2, onset), `penn` (treatments), `cres`, `terms`.
    """
    rows: list[dict[str, Any]] = []
    for subject_id in range(1, n_subjects + 1):
        rows += _Subject(rng, subject_id).record(families)
    frame = pl.DataFrame([{c: r.get(c) for c in SCHEMA} for r in rows], schema=SCHEMA)
    return conform(frame.sample(fraction=1, shuffle=True, seed=int(rng.integers(2**31))))


class _Subject:
    """One random subject under construction; hours count from the first infusion."""

    def __init__(self, rng: np.random.Generator, subject_id: int) -> None:
        self.rng = rng
        self.subject_id = subject_id
        self.rows: list[dict[str, Any]] = []
        minute = int(rng.integers(0, 24 * 60))
        self.day0 = datetime(2024, 2, 20) + timedelta(minutes=minute)
        self.hours = float(rng.choice([30, 72, 120, 200]))

    # Chance

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def pick(self, values: Sequence[Any]) -> Any:
        return values[int(self.rng.integers(0, len(values)))]

    def hour(self, low: float = -6, high: float | None = None) -> float:
        """A time in hours: often a full hour, so that events coincide; sometimes to the second."""
        high = self.hours if high is None else high
        h = float(self.rng.uniform(low, high))
        return round(h) if self.chance(0.6) else round(h * 60) / 60 if self.chance(0.7) else round(h * 3600) / 3600

    def cause(self, p: float = 0.08) -> str | None:
        return self.pick(["other", "other", "unknown", "iec"]) if self.chance(p) else None

    # Rows

    def at(self, hour: float) -> datetime:
        return self.day0 + timedelta(seconds=round(hour * 3600))

    def add(
        self, hour: float, code: str, value: float | str | None = None, *,
        text: str | None = None, end: float | None = None, cause: str | None = None, unit: str | None = None,
    ) -> None:  # fmt: skip
        number = None if isinstance(value, str) or value is None else float(value)
        self.rows.append(
            {
                "subject_id": self.subject_id,
                "time": self.at(hour),
                "code": code,
                "numeric_value": number,
                "text_value": value if isinstance(value, str) else text,
                "end_time": None if end is None else self.at(end),
                "attributable_to": cause,
                "unit": unit,
            }
        )

    def record(self, families: Sequence[str]) -> list[dict[str, Any]]:
        self.about()
        for family in families:
            getattr(self, family)()
        self.end()
        return self.rows

    def about(self) -> None:
        """Infusions, age, product."""
        product = self.pick(["ide-cel", "axi-cel", None])
        self.add(0, "cart_infusion", product)
        if self.chance(0.1):
            self.add(self.pick([24, 120, 14 * 24]), "cart_infusion", product)
        if self.chance(0.06):
            self.add(self.pick([16 * 24, 20 * 24 + 3]), "cart_infusion", product)
        if self.chance(0.85):
            self.add(-48, "age", self.pick([0, 0.5, 1, 4, 7, 10, 10.5, 11, 12, 15, 17, 18, 20, 21, 45, 60, 71]))
        if self.chance(0.1):
            self.add(-24, "developmental_delay", self.pick([0, 1]))
        for stream, share in (("drugs", 0.7), ("seizure", 0.6), ("motor", 0.6), ("icp", 0.6)):
            if self.chance(share):
                start = self.pick([-48, -48, 0, 20])
                self.add(start, "record_complete", stream, end=self.pick([None, 3000, 3000, start + 40]))
                if self.chance(0.15):
                    self.add(start + 10, "record_complete", stream, end=start + self.pick([20, 60]))

    def crs(self) -> None:
        self.temperatures()
        self.pressures()
        self.vasopressors()
        self.oxygen()
        for _ in range(self.pick([0, 1, 1, 2, 4])):
            self.add(self.hour(-30), self.pick(WAIVERS), 100)

    def temperatures(self) -> None:
        spikes = [self.hour(0) for _ in range(self.pick([0, 1, 2, 3]))]
        step = self.pick([4, 6, 12, 18])
        hour = self.hour(-6, 6)
        while hour < self.hours:
            if self.chance(0.8):
                near = any(0 <= hour - s < 18 for s in spikes)
                value = self.pick(TEMPERATURES[7:] if near else TEMPERATURES[:8])
                self.add(hour, "temperature", value, cause=self.cause(0.06))
                if self.chance(0.05):
                    self.add(hour, "temperature", self.pick(TEMPERATURES), cause=self.cause(0.3))
            if self.chance(0.06):
                hour += self.pick([20, 40, 60])
            hour += step

    def pressures(self) -> None:
        kinds = self.pick([("sbp",), ("sbp", "map"), ("map",), ()])
        for code in kinds:
            step = self.pick([4, 8, 12, 20])
            for hour in np.arange(self.hour(-6, 6), self.hours, step):
                if self.chance(0.75):
                    low, normal = ((65, 69, 70, 77, 78, 85, 89.9), (90, 95, 120)) if code == "sbp" else ((50, 64), (65, 80))
                    value = self.pick(low if self.chance(0.2) else normal)
                    self.add(float(hour), code, value, cause=self.cause())
        for _ in range(self.pick([0, 0, 1, 3])):
            self.add(self.hour(), "hypotension", self.pick([0, 1]), cause=self.cause(0.2))

    def vasopressors(self) -> None:
        if self.chance(0.5):
            return
        hour = self.hour()
        for _ in range(self.pick([1, 2, 2, 3, 5])):
            drug = self.pick(VASOPRESSORS)
            length = self.pick([0.5, 1, 3, 10])
            end = None if self.chance(0.35) else hour + length
            cause = self.cause()
            if self.chance(0.12):
                self.add(hour, drug, 10, text="bolus", cause=cause)
            else:
                self.add(hour, drug, self.pick([0.1, 5, None]), end=end, cause=cause)
            if self.chance(0.25):
                self.add(hour + self.pick([0, 0.5, 2, 7]), drug, self.pick([0, 0, 3]), cause=self.cause())
            hour += length - self.pick(OVERLAPS_MIN) / 60
            if self.chance(0.2):
                hour = self.hour()

    def oxygen(self) -> None:
        if self.chance(0.2):
            self.add(-20, "o2_device_baseline", self.pick(["nasal_cannula", "cpap", "room_air"]))
            if self.chance(0.6):
                self.add(-20, "o2_flow_baseline", 2)
        for _ in range(self.pick([0, 1, 2, 4])):
            hour = self.hour()
            device = self.pick(DEVICES)
            end = hour + self.pick([2, 12, 40]) if self.chance(0.3) else None
            self.add(hour, "o2_device", device, end=end, cause=None if device == "room_air" else self.cause())
            if self.chance(0.6):
                self.add(hour + self.pick([0, 0, 0, -0.5, -1, -1.5, 3]), "o2_flow", self.pick(FLOWS))
        self.against_room_air(FLOWS)
        if self.chance(0.3):
            self.add(self.hour(), "o2_flow", self.pick(FLOWS), cause=self.cause())
        if self.chance(0.3):
            self.add(self.hour(), "fio2", self.pick([21, 28, 60]), cause=self.cause())
        if self.chance(0.5):
            for hour in np.arange(self.hour(0, 10), self.hours, 12):
                self.add(float(hour), "spo2", self.pick([85, 89, 90, 93, 97]))

    def against_room_air(self, flows: Sequence[float]) -> None:
        """A flow or FiO2 at, around and after room air, with no device."""
        if self.chance(0.3):
            hour = self.hour()
            self.add(hour, "o2_device", "room_air", end=hour + self.pick([6, 30]) if self.chance(0.3) else None)
            code, values = self.pick([("o2_flow", flows), ("fio2", (21, 28, 40))])
            self.add(hour + self.pick([-1, 0, 0.5, 2, 8]), code, self.pick(values), cause=self.cause())

    def icans(self) -> None:
        if self.chance(0.15):
            self.add(-30, "ice_baseline", self.pick([10, 8, 6]))
        if self.chance(0.1):
            self.add(-30, "icp_sign", "focal_oedema")
        tool = self.pick(["ice", "ice", "items", "capd", "both"])
        step = self.pick([6, 12, 12, 30])
        for hour in np.arange(self.hour(-12, 12), self.hours, step):
            if self.chance(0.8):
                self.assessment(float(hour), tool)
        for _ in range(self.pick([0, 0, 1, 2])):
            self.seizure(self.hour())
        if self.chance(0.2):
            late = self.pick([20, 21, 22, 23]) * 24 + self.hour(0, 23)
            self.add(late, "icp_sign", self.pick(["cn6", "cn6", "papilloedema"]))
            if self.chance(0.3):
                self.add(late, "icp_sign", self.pick(["focal_oedema", "diffuse_oedema", "none"]))

    def assessment(self, hour: float, tool: str) -> None:
        ill = self.chance(0.4)
        if tool in ("ice", "both") and self.chance(0.8):
            score = self.pick([0, 1, 2, 3, 6, 7, 9]) if ill else self.pick([9, 10])
            self.add(hour, "ice", score, cause=self.cause(0.05))
        if tool == "items":
            for item, most in (("orientation", 4), ("naming", 3), ("command", 1), ("writing", 1), ("attention", 1)):
                if self.chance(0.85):
                    value = int(self.rng.integers(0, most + 1)) if ill else most
                    self.add(hour, f"ice_{item}", value, cause=self.cause(0.02))
        if tool in ("capd", "both") and self.chance(0.8):
            self.add(hour, "capd", self.pick([1, 8, 9, 20]) if ill else self.pick([0, 0, 3]), cause=self.cause(0.05))
        if self.chance(0.7):
            words = ["alert", "drowsy_spontaneous", "voice", "touch", "vigorous_or_none"] if ill else ["alert"]
            self.say(hour, "consciousness", self.pick(words))
        if self.chance(0.12):
            self.add(hour, "sedated", self.pick([0, 1, 1]))
        if self.chance(0.2):
            self.add(hour, "rass", self.pick([-5, -4, -3, 0]))
        if self.chance(0.3):
            self.say(hour, "motor", "focal_deep" if self.chance(0.1) else "none")
        if self.chance(0.3):
            signs = ["focal_oedema", "diffuse_oedema", "cn6", "papilloedema", "cushing"]
            for _ in range(self.pick([1, 1, 1, 2])):
                self.say(hour, "icp_sign", self.pick(signs) if self.chance(0.25) else "none")
        if self.chance(0.06):
            self.add(hour, "haemorrhage", self.pick([0, 1]))
        if self.chance(0.25):
            self.say(hour, "seizure", "none", cause=0)

    def say(self, hour: float, code: str, word: str, cause: float = 0.05) -> None:
        """A word of a state; sometimes one that nobody can read."""
        self.add(hour, code, self.pick(["unknown", "no word of ours"]) if self.chance(0.06) else word, cause=self.cause(cause))

    def seizure(self, hour: float) -> None:
        kind = self.pick(["clinical_focal", "clinical_generalised", "eeg_nonconvulsive"])
        cause = self.cause()
        self.add(hour, "seizure", kind, cause=cause)
        if self.chance(0.6):
            self.add(hour, "seizure_duration", self.pick([1, 5, 5.5, 20]), cause=cause)
        if self.chance(0.6):
            outcomes = ["resolved_fast", "resolved_with_treatment", "ongoing", "no_return_to_baseline"]
            self.add(hour, "seizure_outcome", self.pick(outcomes), cause=cause)

    def icaht(self) -> None:
        last = self.pick([10, 30, 31, 60, 110])
        step = self.pick([1, 1, 2, 3, 7, 10])
        level = int(self.rng.integers(0, len(COUNTS)))
        for day in range(self.pick([-2, 0, 0, 2, 9]), last + 1):
            level = int(np.clip(level + self.rng.integers(-3, 4), 0, len(COUNTS) - 1))
            if self.chance(0.9 / step):
                self.add(day * 24 + self.hour(0, 12), "anc", COUNTS[level])
                if self.chance(0.1):
                    self.add(day * 24 + self.hour(0, 12), "anc", self.pick(COUNTS))
        for _ in range(self.pick([0, 0, 1, 3])):
            self.add(self.hour(0, last * 24), self.pick(["filgrastim", "pegfilgrastim"]), 300)

    # The scales beside these

    def stream(self, name: str, share: float) -> None:
        """A stream whose record is complete, for a while or to the end."""
        if self.chance(share):
            start = self.pick([-48, -48, 0, 20])
            self.add(start, "record_complete", name, end=start + self.pick([40, 90, 3000, 3000, 3000]))

    def organ(self) -> None:
        """Creatinine, AST, ALT, bilirubin: with limits and baselines, or without."""
        self.stream("organ", 0.5)
        for item, (limit, baselines, values) in ORGAN_ITEMS.items():
            self.laboratory(item, f"{item}_uln", limit, baselines, values)

    def blood(self) -> None:
        """Counts and fibrinogen."""
        self.stream("organ", 0.3)
        for item, (limit, values) in BLOOD_ITEMS.items():
            baselines = (limit, limit * 0.75, limit * 0.5, limit * 2) if item == "fibrinogen" else values
            self.laboratory(item, f"{item}_lln", limit, baselines, values)

    def laboratory(self, item: str, limit_code: str, limit: float, baselines: Sequence[Any], values: Sequence[Any]) -> None:
        if self.chance(0.15):
            return
        if self.chance(0.8):
            self.add(-72, limit_code, limit)
            if self.chance(0.1):
                self.add(-24, limit_code, limit * 1.5)
        if self.chance(0.7):
            self.add(self.pick([-100, -30, -2]), item, self.pick(baselines), cause=self.cause(0.03))
            if self.chance(0.2):
                self.add(-1, item, self.pick(baselines))
        ill = self.chance(0.6)
        for hour in np.arange(self.hour(-6, 12), self.hours, self.pick([8, 12, 24, 36])):
            if self.chance(0.75):
                value = self.pick(values) if ill else self.pick(baselines)
                self.add(float(hour), item, value, cause=self.cause(0.05))
                if self.chance(0.05):
                    self.add(float(hour), item, self.pick(values), cause=self.cause(0.3))

    def doses(self) -> None:
        """What separates the other scales of CRS: rates of vasopressors, FiO2, how CRS begins, statements."""
        if self.chance(0.75):
            self.temperatures()
        self.pressures()
        self.someone_says()
        if self.chance(0.75):
            self.add(-48, "weight", self.pick(WEIGHTS))
            if self.chance(0.15):
                self.add(-20, "weight", self.pick(WEIGHTS))
        for _ in range(self.pick([0, 1, 1, 2, 3])):
            self.infusion()
        for _ in range(self.pick([0, 1, 2, 3])):
            self.oxygen_with_share()
        if self.chance(0.4):
            for hour in np.arange(self.hour(0, 10), self.hours, 12):
                self.add(float(hour), "spo2", self.pick([85, 89, 90, 97]), cause=self.likely_cause())
        for _ in range(self.pick([0, 0, 1, 2])):
            self.add(self.hour(-30), self.pick(WAIVERS), 100)

    def likely_cause(self) -> str | None:
        """A cause that often is the cells, so that a sign may begin CRS without fever."""
        return self.pick(["iec", "iec", "other", "unknown"]) if self.chance(0.25) else None

    def someone_says(self) -> None:
        for code in ("constitutional", "life_threatening"):
            for _ in range(self.pick([0, 0, 0, 1, 2])):
                self.add(self.hour(-12), code, self.pick([0, 1, 1]), cause=self.likely_cause())
        for _ in range(self.pick([0, 0, 1])):
            self.add(self.hour(), "hypotension", self.pick([0, 1, 1]), cause=self.likely_cause())

    def infusion(self) -> None:
        """One drug at changing rates, often beside another."""
        drug = self.pick(VASOPRESSORS)
        unit = self.pick(UNITS)
        hour = self.hour(-4)
        for _ in range(self.pick([1, 2, 3, 5])):
            length = self.pick([0.5, 1, 2.5, 3, 3.5, 6, 12, 23.5, 24])
            end = None if self.chance(0.35) else hour + length
            rate = None if self.chance(0.04) else self.pick(RATES[unit])
            if self.chance(0.06):
                self.add(hour, drug, 100, text="bolus", unit="ug", cause=self.likely_cause())
            else:
                self.add(hour, drug, rate, end=end, unit=unit, cause=self.likely_cause())
            if self.chance(0.2):
                self.add(hour + self.pick([0, 1, 3, 8]), drug, 0, unit=unit)
            hour += length + self.pick([0, 0, 0, 0, -1, 1, 5.5, 6, 6.5])
            if self.chance(0.3):
                drug = self.pick(VASOPRESSORS)
                hour -= self.pick([0, 0.5, 1, 2, 4])
            if self.chance(0.2):
                unit = self.pick(UNITS)

    def oxygen_with_share(self) -> None:
        hour = self.hour()
        if self.chance(0.85):
            end = hour + self.pick([2, 12, 40]) if self.chance(0.3) else None
            device = self.pick(GRADED_DEVICES)
            self.add(hour, "o2_device", device, end=end, cause=None if device == "room_air" else self.likely_cause())
        if self.chance(0.6):
            self.add(hour + self.pick([0, 0, 0, -0.5, -1, -1.5, 3]), "o2_flow", self.pick(GRADED_FLOWS))
        if self.chance(0.4):
            self.add(hour + self.pick([0, 0, 0, -0.5, -1, -1.5, 3]), "fio2", self.pick([21, 28, 39, 40, 41, 60, 100]))
        self.against_room_air(GRADED_FLOWS)
        if self.chance(0.08):
            self.add(-20, "o2_device_baseline", self.pick(["nasal_cannula", "cpap"]))
            if self.chance(0.6):
                self.add(-20, "o2_flow_baseline", self.pick([2, 4]))

    def penn(self) -> None:
        """What only Penn reads: boluses, treatments, the setting."""
        for _ in range(self.pick([0, 0, 1, 2, 3])):
            amount, unit = self.pick([(500, "mL"), (1, None), (2, None), (None, None), (0.5, "L")])
            self.add(self.hour(-12), "fluid_bolus", amount, unit=unit, cause=self.cause(0.1))
        for _ in range(self.pick([0, 0, 1, 2])):
            intent = self.pick([None, "treatment", "prophylaxis"])
            self.add(self.hour(-12), self.pick(["tocilizumab", "siltuximab"]), 8, text=intent, cause=self.cause(0.1))
        for drug in ("iv_therapy", "parenteral_nutrition", "plasma", "cryoprecipitate", "fibrinogen_concentrate"):
            if self.chance(0.1):
                start = self.hour(-12)
                end = start + self.pick([2, 30]) if drug == "parenteral_nutrition" and self.chance(0.5) else None
                self.add(start, drug, None, end=end, cause=self.cause(0.1))
        if self.chance(0.7):
            self.add(-40, "setting", self.pick(["inpatient", "outpatient"]))
        for _ in range(self.pick([0, 0, 1, 2])):
            self.say(self.hour(-12), "setting", self.pick(["inpatient", "outpatient"]), cause=0)

    def cres(self) -> None:
        """CARTOX-10, papilloedema by stage, opening pressure; consciousness, motor and seizures as for ICANS."""
        if self.chance(0.1):
            self.add(-30, "icp_sign", "focal_oedema")
        for hour in np.arange(self.hour(-12, 12), self.hours, self.pick([6, 12, 12, 30])):
            if self.chance(0.85):
                self.cartox(float(hour))
        for _ in range(self.pick([0, 0, 1, 2])):
            self.seizure(self.hour())

    def cartox(self, hour: float) -> None:
        ill = self.chance(0.4)
        if self.chance(0.7):
            self.add(hour, "cartox", self.pick([0, 0, 2, 3, 6, 7, 9]) if ill else self.pick([9, 10]), cause=self.cause(0.05))
            if self.chance(0.04):
                self.add(hour, "cartox", self.pick([0, 5, 10]))
        if self.chance(0.6):
            words = ["alert", "drowsy_spontaneous", "touch", "vigorous_or_none"] if ill else ["alert"]
            self.say(hour, "consciousness", self.pick(words))
        if self.chance(0.12):
            self.add(hour, "sedated", self.pick([0, 1, 1]))
        if self.chance(0.4):
            sign = self.pick(["papilloedema", "papilloedema", "focal_oedema", "diffuse_oedema", "cn6", "cushing", "posturing"])
            self.say(hour, "icp_sign", sign if self.chance(0.3) else "none")
            if sign == "papilloedema" and self.chance(0.4):
                self.add(hour + self.pick([0, 0, 0, 1]), "papilloedema_stage", self.pick([0, 1, 2, 3, 5]), cause=self.cause(0.05))
        if self.chance(0.06):
            self.add(hour, "papilloedema_stage", self.pick([0, 1, 2, 3, 4]))
        if self.chance(0.1):
            self.add(hour, "opening_pressure", self.pick([8, 14.9, 15, 19.9, 20, 24]), cause=self.cause(0.05))
        if self.chance(0.06):
            self.add(hour, "haemorrhage", self.pick([0, 1]))
        if self.chance(0.3):
            self.say(hour, "motor", "focal_deep" if self.chance(0.1) else "none")
        if self.chance(0.25):
            self.say(hour, "seizure", "none", cause=0)

    def terms(self) -> None:
        """Confusion, dysphasia and tremor by the words of CTCAE; consciousness and seizures as for ICANS."""
        self.stream("symptoms", 0.6)
        for hour in np.arange(self.hour(-12, 12), self.hours, self.pick([6, 12, 20, 30])):
            ill = self.chance(0.4)
            for code in ("confusion", "dysphasia", "tremor"):
                words = ["none", "mild", "moderate", "severe"] + (["life_threatening"] if code == "confusion" else [])
                if self.chance(0.5):
                    self.say(float(hour), code, self.pick(words) if ill else "none")
            if self.chance(0.5):
                words = ["alert", "drowsy_spontaneous", "voice", "touch", "vigorous_or_none"] if ill else ["alert"]
                self.say(float(hour), "consciousness", self.pick(words))
            if self.chance(0.1):
                self.add(float(hour), "sedated", self.pick([0, 1, 1]))
            if self.chance(0.2):
                self.say(float(hour), "seizure", "none", cause=0)
        for _ in range(self.pick([0, 0, 1, 2, 3])):
            hour = self.hour()
            self.seizure(hour)
            if self.chance(0.15):
                self.add(hour, "seizure", self.pick(["clinical_focal", "eeg_nonconvulsive"]))

    def end(self) -> None:
        """How the record ends."""
        last_dose = max(r["time"] for r in self.rows if r["code"] == "cart_infusion")
        after = (last_dose - self.day0).days
        days = after + self.pick([1, 5, 12, 29, 30, 31, 45, 120])
        if self.chance(0.4):
            self.add(days * 24 + self.hour(0, 12), "last_follow_up")
            if self.chance(0.2):
                self.add(days * 12, "last_follow_up")
        if self.chance(0.12):
            causes = ["crs", "icans", "infection", "progression", "unknown", None]
            self.add(days * 24 + self.hour(0, 12), "death", self.pick(causes))
        for event in ("progression", "next_therapy", "progression", "next_therapy"):
            if self.chance(0.08):
                self.add(self.pick([8, 30, 31, 50, 90]) * 24 + self.hour(0, 12), event)
