"""Random records for IEC-HS and its forerunners, platelets and cytopenia, and later toxicities.

As in `tests/strategies.py` a seed names a cohort, and values often sit exactly on a threshold. What the conventions leave open is
mostly kept out: baselines have one value a time, a course has one gut biopsy, limits times their multiples are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from strategies import SCHEMA, _Subject

from aftercar.timeline.schema import conform

FAMILIES = ("hlh", "counts", "late")

PRODUCTS = ("cilta-cel", "ide-cel", "axi-cel", None)
TARGETS = {"cilta-cel": "BCMA", "ide-cel": "BCMA", "axi-cel": "CD19"}
OTHER_TARGETS = (None, None, "BCMA", "CD19", "CD20", "DLL3", "GPRC5D", "gp100")
DISEASES = (None, "ALL", "B-ALL", "PCNSL", "CNS lymphoma", "DLBCL", "multiple myeloma")
AGES = (0, 0.05, 0.076, 0.08, 0.5, 4, 10, 17, 18, 30, 61)

# Limits, and values before the infusion; multiples of them are exact.
LIMITS: dict[str, tuple[float, ...]] = {
    "ferritin_uln": (300, 400), "ast_uln": (40,), "alt_uln": (40, 50), "bilirubin_uln": (1.0,), "creatinine_uln": (1.0, 2.0),
    "fibrinogen_lln": (150, 200), "ldh_uln": (250,), "direct_bilirubin_uln": (0.5,),
}  # fmt: skip
BASELINES: dict[str, tuple[float, ...]] = {
    "ferritin": (200, 300, 400, 600, 800, 801, 1200), "ast": (20, 40, 60, 100), "alt": (20, 40, 60), "bilirubin": (0.5, 2.0),
    "creatinine": (0.5, 1.0, 2.0),
}  # fmt: skip
ILL: dict[str, tuple[float, ...]] = {
    "ferritin": (500, 600, 800, 801, 1200, 1600, 2000, 2400, 4000, 6000, 6001, 8000, 10000, 10001, 20000),
    "fibrinogen": (40, 120, 149, 150, 151, 199, 200, 250), "triglycerides": (132, 133, 264, 265, 266, 354, 355, 500),
    "ast": (29, 30, 120, 200, 201, 300, 301, 501, 1000), "alt": (120, 200, 201, 251, 301, 800),
    "bilirubin": (1.0, 3.0, 3.1, 7.0, 12.0), "creatinine": (1.5, 1.6, 3.0, 3.1, 6.0, 6.1),
    "anc": (100, 499, 500, 501, 999, 1000), "platelets": (10, 24, 25, 26, 99, 100, 110), "hemoglobin": (7, 8.9, 9, 9.2, 9.9),
    "wbc": (0.5, 5.0), "ldh": (250, 251, 900), "direct_bilirubin": (0.5, 0.6), "scd25": (2399, 2400, 2401, 9000),
    "temperature": (38.0, 38.3, 38.4, 38.5, 38.6, 39.4, 39.5, 40.2),
}  # fmt: skip
WELL: dict[str, tuple[float, ...]] = {
    "ferritin": (200, 400, 499, 500, 600), "fibrinogen": (250, 251, 300), "triglycerides": (100, 132, 133), "ast": (20, 29, 30),
    "alt": (20, 40), "bilirubin": (0.5, 1.0), "creatinine": (0.5, 0.8, 1.0), "anc": (500, 1000, 1500, 3000),
    "platelets": (100, 110, 111, 200), "hemoglobin": (9, 10, 12), "wbc": (4, 5.1, 7), "ldh": (150, 250),
    "direct_bilirubin": (0.1, 0.5), "scd25": (500, 2399), "temperature": (36.8, 37.9, 38.0, 38.3),
}  # fmt: skip
WORDS = {"nk_activity": ("normal", "low", "absent", "unknown"), "bleeding": ("none", "mild", "severe", "life_threatening")}
FINDINGS = ("haemophagocytosis", "splenomegaly", "hepatomegaly", "pt_prolonged", "pulmonary_infiltrate")
STATED = ("oliguria", "pulmonary_oedema")
AGAINST = ("anakinra", "dexamethasone", "methylprednisolone", "ruxolitinib", "etoposide", "emapalumab", "tocilizumab")
FACTORS = ("plasma", "cryoprecipitate", "fibrinogen_concentrate")

ANC = (0, 50, 100, 101, 300, 499, 500, 501, 800, 999, 1000, 1001, 1400, 1500, 1501, 2500, 4000)
PLATELETS = (5, 10, 19, 19.5, 20, 21, 24, 25, 35, 49, 50, 51, 75, 99, 100, 150)
HEMOGLOBIN = (6.5, 7.9, 8, 8.1, 9, 10, 12)

B_CELLS = {"b_cells": (0, 5, 49, 49.9, 50, 51, 200), "b_cell_fraction": (0, 1, 2.9, 3, 3.1, 10)}
WORKUPS = ("negative", "negative", "negative", "positive", "pending")
BIOPSIES = (*["inflammation"] * 6, "normal", "t_cell_lymphoproliferation", "infection", "other")
MNT_SIGNS = ("memory", "personality", "micrographia", "hypomimia", "rigidity", "bradykinesia", "postural_instability", "none")
NERVES = ("none", "vii", "vii", "vi", "iii", "x")
TIAN_SIGNS = (*["local_dysfunction"] * 3, "oedema", "mass_effect", "raised_icp", "hydrocephalus", "herniation", "none")
MALIGNANCIES = ("none", "skin", "solid", "lymphoid", "myeloid", "t_cell", "other")
EFFECTS = ("none", "taste", "nail", "skin", "pulmonary")
SETTINGS = ("inpatient", "outpatient", "unknown")


def random_late_timeline(rng: np.random.Generator, n_subjects: int, families: Sequence[str] = FAMILIES) -> pl.DataFrame:
    """A timeline of `n_subjects` random subjects, numbered from 1.

    Args:
        rng: where all chance comes from.
        n_subjects: how many.
        families: which findings they get: `hlh`, `counts`, `late`.
    """
    rows: list[dict[str, Any]] = []
    for subject_id in range(1, n_subjects + 1):
        rows += _LateSubject(rng, subject_id).record(families)
    frame = pl.DataFrame([{c: r.get(c) for c in SCHEMA} for r in rows], schema=SCHEMA)
    return conform(frame.sample(fraction=1, shuffle=True, seed=int(rng.integers(2**31))))


class _LateSubject(_Subject):
    """One random subject; `start` is where its hyperinflammation begins, in hours from the infusion."""

    def __init__(self, rng: np.random.Generator, subject_id: int) -> None:
        super().__init__(rng, subject_id)
        self.start = float(self.pick([0, 24, 100, 240, 600, 720]))
        self.tian_signs = False

    def about(self) -> None:
        """Infusions, age, target, disease, what is complete."""
        product = self.pick(PRODUCTS)
        self.add(0, "cart_infusion", product)
        if self.chance(0.06):
            self.add(self.pick([24, 120, 14 * 24]), "cart_infusion", product)
        if self.chance(0.06):
            self.add(self.pick([16 * 24, 40 * 24 + 3, 70 * 24]), "cart_infusion", product)
        antigen = self.pick(OTHER_TARGETS) if product is None else TARGETS[product] if self.chance(0.2) else None
        if antigen is not None:
            self.add(-100, "target", antigen)
        if (disease := self.pick(DISEASES)) is not None:
            self.add(-100, "disease", disease)
        if self.chance(0.85):
            self.add(-48, "age", self.pick(AGES))
        for stream, share in (("drugs", 0.6), ("organ", 0.4)):
            if self.chance(share):
                begins = self.pick([-48, -48, 0, self.start + 20])
                self.add(begins, "record_complete", stream, end=begins + self.pick([200, 900, 4000, 4000]))

    # IEC-HS and its forerunners

    def hlh(self) -> None:
        for code, values in LIMITS.items():
            if self.chance(0.7):
                self.add(-200, code, self.pick(values))
        for code, values in BASELINES.items():
            if self.chance(0.6):
                self.add(-30, code, self.pick(values))
                if self.chance(0.2):
                    self.add(-90, code, self.pick(values))
        for code in ("hlh_gene", "immunosuppression"):
            if self.chance(0.2):
                self.add(self.pick([-100, self.start + 5]), code, self.pick([0, 1]))
        self.panels()
        self.ferritin_doublings()
        self.findings()
        self.treatment()
        self.axes()

    def panels(self) -> None:
        """Laboratory panels: each analyte is drawn regularly, rarely or never."""
        step, n = self.pick([6, 12, 24, 24, 48, 80]), self.pick([2, 4, 6])
        ill_share, drawn = self.pick([0.3, 0.7, 0.95]), {code: self.pick([0, 0.4, 0.9, 1]) for code in ILL}
        for k in range(n):
            hour = self.start + k * step + self.pick([0, 0, 0, 0.5, 0.01])
            for code, share in drawn.items():
                if self.chance(share):
                    table = ILL if self.chance(ill_share) else WELL
                    self.add(hour, code, self.pick(table[code]), cause=self.cause(0.05))
                    if self.chance(0.03):
                        self.add(hour, code, self.pick(table[code]), cause=self.cause(0.3))

    def ferritin_doublings(self) -> None:
        """Pairs on both sides of a doubling, and of 24 hours."""
        for _ in range(self.pick([0, 0, 1, 2])):
            hour, low = self.hour(self.start, self.start + 200), self.pick([150, 250, 400, 1000, 5000])
            self.add(hour, "ferritin", low)
            later = hour + self.pick([6, 23, 24, 24 + 1 / 3600, 30])
            self.add(later, "ferritin", self.pick([low * 2, low * 2 - 1, low * 3, low]), cause=self.cause(0.1))

    def findings(self) -> None:
        span = self.start, self.start + 250
        for code in FINDINGS:
            for _ in range(self.pick([0, 0, 1, 1, 2])):
                self.add(self.hour(*span), code, self.pick([0, 1, 1]), cause=self.cause(0.1))
        for code, words in WORDS.items():
            for _ in range(self.pick([0, 0, 1, 2])):
                self.add(self.hour(*span), code, self.pick(words), cause=self.cause(0.1))
        for code in STATED:
            for _ in range(self.pick([0, 0, 1, 2])):
                self.add(self.hour(*span), code, self.pick([0, 2, 3, 4]), cause=self.cause(0.1))
        for n in range(self.pick([0, 1, 1, 2])):
            self.add(self.hour(*span) + n / 3600, "infection_workup", self.pick(WORKUPS))

    def treatment(self) -> None:
        span = self.start, self.start + 250
        for _ in range(self.pick([0, 0, 1, 2])):
            self.add(self.hour(*span), self.pick(AGAINST), 100, text=self.pick([None, "treatment", "prophylaxis"]))
        if self.chance(0.25):
            self.add(self.hour(*span), self.pick(FACTORS), 1)
        if self.chance(0.1):
            self.add(self.hour(*span), "dialysis")

    def axes(self) -> None:
        """Pressures, oxygen and vasopressors through the same hours."""
        known = self.pick([0, 0.5, 1])
        for hour in np.arange(self.start, self.start + 200, self.pick([6, 12, 20])):
            if self.chance(known):
                self.add(float(hour), "sbp", self.pick([85, 89, 90, 100, 120, 120]), cause=self.cause(0.04))
            if self.chance(known):
                device = self.pick(["room_air", "room_air", "room_air", "nasal_cannula", "cpap", "ventilator", "unknown"])
                self.add(float(hour), "o2_device", device, cause=self.cause(0.04))
        if self.chance(0.2):
            hour = self.hour(self.start, self.start + 150)
            drug = self.pick(["norepinephrine", "vasopressin", "dobutamine"])
            self.add(hour, drug, 5, end=hour + self.pick([2, 20]), cause=self.cause())

    # Platelets, neutrophils, haemoglobin

    def counts(self) -> None:
        last = self.pick([12, 31, 45, 70, 120])
        self.series("platelets", PLATELETS, last)
        self.series("anc", ANC, last)
        self.series("hemoglobin", HEMOGLOBIN, last)
        for code, share in (("platelet_transfusion", 0.5), ("red_cell_transfusion", 0.2), ("filgrastim", 0.3)):
            if self.chance(share):
                for _ in range(self.pick([1, 1, 3])):
                    self.add(self.hour(-48, last * 24), code, 1)

    def series(self, code: str, values: Sequence[float], last: int) -> None:
        """A count from day to day, at times low for long, with gaps."""
        if self.chance(0.12):
            return
        step, stride = self.pick([1, 1, 2, 3, 7, 10]), self.pick([1, 3, 6])
        values = values[self.pick([0, 0, 0, len(values) // 3, 2 * len(values) // 3]) :]
        level, gap_until = int(self.rng.integers(0, len(values))), -99
        for day in range(self.pick([-2, 0, 0, 1, 4]), last + 1):
            level = int(np.clip(level + self.rng.integers(-stride, stride + 1), 0, len(values) - 1))
            if self.chance(0.02):
                gap_until = day + self.pick([6, 7, 8, 15])
            if day >= gap_until and self.chance(0.9 / step):
                self.add(day * 24 + self.hour(0, 12), code, values[level])
                if self.chance(0.1):
                    self.add(day * 24 + self.hour(0, 12), code, self.pick(values))

    # Later toxicities

    def late(self) -> None:
        for part in (self.b_lineage, self.gut, self.movement, self.nerves, self.tumour_inflammation, self.other_effects):
            if self.chance(0.6):
                part()

    def day(self, low: float, high: float) -> float:
        return self.hour(low * 24, high * 24)

    def b_lineage(self) -> None:
        step = self.pick([15, 30, 60, 100])
        shown = self.pick([("b_cells",), ("b_cell_fraction",), ("b_cells", "b_cell_fraction")])
        for day in range(self.pick([-10, 5, 20]), self.pick([60, 250]), step):
            for code in shown:
                if self.chance(0.85):
                    self.add(day * 24 + self.hour(0, 20), code, self.pick(B_CELLS[code]), cause=self.cause(0.04))
        for day in range(self.pick([-20, 5]), self.pick([60, 200]), self.pick([7, 25, 30, 45])):
            if self.chance(0.8):
                self.add(day * 24 + self.hour(0, 20), "igg", self.pick([90, 399, 399.9, 400, 401, 800]), cause=self.cause(0.04))
        for _ in range(self.pick([0, 1, 3])):
            self.add(self.day(-20, 150), "ivig", 30)

    def gut(self) -> None:
        """One worst day of diarrhoea, milder days around it; work-up and biopsy within 30 days of it, or just beyond."""
        if self.chance(0.1):
            self.add(-50, "diarrhoea", 9)
        peak, kind = self.day(3, 100), self.pick(["stools", "grade", "both"])
        stools, grade = self.pick([(3, 1), (4, 2), (6, 2), (7, 3), (9, 3), (12, 4), (9, 4)])
        cause = self.cause(0.05)
        for hour, n, g in ((peak - 20, self.pick([0, 0.5]), 0), (peak, stools, grade), (peak + 30, 1, 0)):
            if hour == peak or self.chance(0.4):
                if kind != "grade":
                    self.add(hour, "diarrhoea", n, cause=cause)
                if kind != "stools":
                    self.add(hour, "diarrhoea_grade", g, cause=cause)
        if self.chance(0.6):
            self.add(peak + self.pick([0, 5, 24]), "diarrhoea_bloody", self.pick([0, 0, 0, 1]), cause=self.cause(0.1))
        if self.chance(0.75):
            apart = self.pick([-2, 0, 5, 15, 30, 31, 40])
            if self.chance(0.3):
                self.add(peak + apart * 24 - 0.5, "infection_workup", "pending")
            self.add(peak + apart * 24, "infection_workup", self.pick(WORKUPS))
        if self.chance(0.75):
            self.add(peak + self.pick([-2, 0, 5, 15, 30, 31, 40]) * 24, "biopsy", self.pick(BIOPSIES))
        if self.chance(0.2):
            self.add(peak - 30, "setting", "inpatient")

    def movement(self) -> None:
        for day in range(self.pick([1, 8]), self.pick([20, 35, 60]), self.pick([2, 5, 10])):
            if self.chance(0.8):
                self.add(day * 24 + self.hour(0, 10), "alc", self.pick([0.2, 1.5, 2.9, 3.0, 3.1, 5.0]))
        n = self.pick([0, 0, 1, 2, 3])
        for _ in range(n):
            self.add(self.day(10, 120), "mnt_sign", self.pick(MNT_SIGNS), cause=self.cause(0.12))
        if self.chance(0.1):
            self.add(-48, "mnt_sign", "rigidity")
        if n and self.chance(0.5):
            for _ in range(self.pick([1, 2])):
                self.add(self.day(10, 120), "mnt_grade", self.pick([1, 2, 3, 4]))

    def nerves(self) -> None:
        for _ in range(self.pick([0, 1, 1, 2])):
            self.add(self.day(2, 80), "cranial_nerve_palsy", self.pick(NERVES), cause=self.cause(0.1))
            if self.chance(0.4):
                self.add(self.day(2, 80), "cranial_nerve_palsy_grade", self.pick([1, 2, 3]))
        if self.chance(0.4):
            late = self.pick([20, 21, 22, 23, 50]) * 24 + self.hour(0, 10)
            self.add(late, "icp_sign", self.pick(["cn6", "cn6", "papilloedema", "none"]), cause=self.cause(0.1))
            if self.chance(0.2):
                self.add(late, "icp_sign", self.pick(["papilloedema", "cn6", "none"]))

    def tumour_inflammation(self) -> None:
        if self.chance(0.5):
            self.add(-200, "cns_tumour", self.pick([0, 1, 1]))
        if self.chance(0.6):
            self.add(self.pick([-24, 24]), "setting", self.pick(SETTINGS))
        for _ in range(self.pick([0, 1, 1, 2])):
            hour, sign = self.day(2, 60), self.pick(TIAN_SIGNS)
            self.tian_signs |= sign != "none"
            self.add(hour, "tian_sign", sign, cause=self.cause(0.08))
            for drugs, share in ((["icp_intervention"], 0.15), (["dexamethasone", "anakinra", "siltuximab"], 0.4)):
                if self.chance(share):
                    self.add(hour + self.pick([-2, 1, 24, 100, 168, 200]), self.pick(drugs), 1)
            if self.chance(0.3):
                self.add(hour + self.pick([-30, -5, 2]), "setting", self.pick(SETTINGS))

    def other_effects(self) -> None:
        for _ in range(self.pick([0, 0, 1, 2])):
            self.add(self.day(20, 150), "second_malignancy", self.pick(MALIGNANCIES), cause=self.cause(0.08))
        if self.chance(0.4):
            for code, values in (("anc", (999, 1000)), ("platelets", (49, 50)), ("hemoglobin", (7.9, 8))):
                self.add(self.pick([90, 91, 120]) * 24 + self.hour(0, 10), code, self.pick(values))
        for _ in range(self.pick([0, 1, 3])):
            self.add(self.day(2, 100), "organ_effect", self.pick(EFFECTS), cause=self.cause(0.1))
        if self.chance(0.5):
            self.add(self.day(1, 20), "ice", self.pick([3, 9, 10, 10]), cause=self.cause(0.1))
        if self.chance(0.3):
            self.add(self.day(1, 20), "consciousness", self.pick(["alert", "alert", "voice"]), cause=self.cause(0.1))

    def end(self) -> None:
        """How the record ends; death of tumour inflammation only where there was one."""
        last_dose = max(r["time"] for r in self.rows if r["code"] == "cart_infusion")
        days = (last_dose - self.day0).days + self.pick([12, 29, 30, 31, 45, 90, 100, 101, 160])
        if self.chance(0.4):
            self.add(days * 24 + self.hour(0, 12), "last_follow_up")
        if self.chance(0.2):
            causes = ["iec_hs", "iec_hs", "infection", "unknown", None, *(["tian"] * 3 if self.tian_signs else [])]
            self.add(days * 24 + self.hour(0, 12), "death", self.pick(causes))
        for event in ("progression", "next_therapy"):
            if self.chance(0.12):
                self.add(self.pick([8, 21, 30, 31, 50, 60, 90]) * 24 + self.hour(0, 12), event)
