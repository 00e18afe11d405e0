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
}
FAMILIES = ("crs", "icans", "icaht")

TEMPERATURES = (36.4, 36.9, 37.4, 37.8, 37.94, 37.96, 37.99, 37.9999999, 38.0, 38.04, 38.3, 39.2, 40.4)
DEVICES = (
    "room_air", "room_air", "nasal_cannula", "nasal_cannula", "hfnc", "blow_by", "face_mask", "venturi", "non_rebreather",
    "tracheostomy_collar", "cpap", "bipap", "ventilator",
)  # fmt: skip
FLOWS = (0, 1, 2, 4, 6, 6.1, 10, 40)
VASOPRESSORS = (
    "norepinephrine", "norepinephrine", "epinephrine", "phenylephrine", "dopamine", "angiotensin_ii", "vasopressin",
    "terlipressin", "dobutamine", "milrinone", "methylene_blue",
)  # fmt: skip
WAIVERS = ("acetaminophen", "ibuprofen", "tocilizumab", "dexamethasone", "hydrocortisone", "anakinra")
OVERLAPS_MIN = (-30, 0, 20, 59, 60, 61, 120)
COUNTS = (0, 50, 100, 101, 300, 480, 500, 501, 504, 700, 1000, 1000.5, 1200, 1500, 1501, 2500, 4000)


def random_timeline(rng: np.random.Generator, n_subjects: int, families: Sequence[str] = FAMILIES) -> pl.DataFrame:
    """A timeline of `n_subjects` random subjects, numbered from 1.

    Args:
        rng: where all chance comes from.
        n_subjects: how many.
        families: which toxicities get findings: `crs`, `icans`, `icaht`.
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
        text: str | None = None, end: float | None = None, cause: str | None = None,
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
            self.add(hour, "o2_device", device, end=end, cause=self.cause())
            if self.chance(0.6):
                self.add(hour + self.pick([0, 0, 0, -0.5, -1, -1.5, 3]), "o2_flow", self.pick(FLOWS))
        if self.chance(0.3):
            self.add(self.hour(), "o2_flow", self.pick(FLOWS))
        if self.chance(0.3):
            self.add(self.hour(), "fio2", self.pick([21, 28, 60]))
        if self.chance(0.5):
            for hour in np.arange(self.hour(0, 10), self.hours, 12):
                self.add(float(hour), "spo2", self.pick([85, 89, 90, 93, 97]))

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
            self.add(hour, "consciousness", self.pick(words), cause=self.cause(0.05))
        if self.chance(0.12):
            self.add(hour, "sedated", self.pick([0, 1, 1]))
        if self.chance(0.2):
            self.add(hour, "rass", self.pick([-5, -4, -3, 0]))
        if self.chance(0.3):
            self.add(hour, "motor", "focal_deep" if self.chance(0.1) else "none", cause=self.cause(0.05))
        if self.chance(0.3):
            signs = ["focal_oedema", "diffuse_oedema", "cn6", "papilloedema", "cushing"]
            for _ in range(self.pick([1, 1, 1, 2])):
                self.add(hour, "icp_sign", self.pick(signs) if self.chance(0.25) else "none", cause=self.cause(0.05))
        if self.chance(0.06):
            self.add(hour, "haemorrhage", self.pick([0, 1]))
        if self.chance(0.25):
            self.add(hour, "seizure", "none")

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
