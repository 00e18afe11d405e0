"""Who the forty patients are and what happens to them: a protocol that `make_cohort.py` charts.

Hours and days count from the infusion. A span is `(from, to)` and its finding holds in `[from, to)`; what a span does not say is
normal. Spans last eight hours or more, so that a four-hourly round falls into each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Hours = tuple[float, float]


@dataclass(frozen=True)
class Fever:
    """Temperatures from 38.2 C to `peak` [Cel]; outside of a fever they stay at or below 37.6."""

    start: float
    stop: float
    peak: float


@dataclass(frozen=True)
class Low:
    """Low pressure, within 4 mm[Hg] under `sbp`; `mean` where it is not what that systolic pressure would give."""

    start: float
    stop: float
    sbp: int = 86
    mean: int | None = None


@dataclass(frozen=True)
class Oxygen:
    """A device as the ward writes it, with its flow [L/min] and inspired oxygen [%]."""

    start: float
    stop: float
    device: str
    flow: float | None = None
    fio2: int | None = None


@dataclass(frozen=True)
class Drip:
    """An infusion; without `stop` nobody charted its end. `because` is an attribution."""

    drug: str
    start: float
    stop: float | None
    rate: float
    unit: str = "mcg/kg/min"
    because: str = ""


@dataclass(frozen=True)
class Dose:
    """A dose, given to treat or beforehand."""

    drug: str
    hour: float
    amount: float
    unit: str
    purpose: Literal["treatment", "prophylaxis"] = "treatment"


@dataclass(frozen=True)
class Neuro:
    """What the neurologic round finds; `ice` None: not done. `items` in the order of `ICE_ITEMS`, None: left blank."""

    start: float
    stop: float
    ice: int | None = 10
    loc: str = "awake"
    items: tuple[int | None, ...] | None = None
    capd: int | None = None
    sedated: bool = False
    icp: str = ""


@dataclass(frozen=True)
class Seizure:
    hour: float
    kind: str
    minutes: int
    ended: str
    loc: str


@dataclass(frozen=True)
class Reading:
    """A temperature to the letter, in the scale it is written in."""

    hour: float
    value: float
    scale: Literal["C", "F"]


@dataclass(frozen=True)
class Patient:
    """One patient. `storm` (0-4) drives the laboratory; `anc` is a curve of `CURVES`.

    Attributes:
        stays: days in hospital; between and after them there are clinic visits.
        blamed: spans in which a person attributed the findings of the round: `other`, `unknown` or `iec`.
        lab: whose units the results come in (`make_cohort.LABS`); from `other_lab_from` (day) on it is the next one's.
        mislabelled: span in which Fahrenheit values stand in a column that says C.
        gaps: spans without any round.
        infusion_lost: the time of the infusion is not in the export.
    """

    id: str
    age: int
    sex: Literal["F", "M"]
    kg: float
    disease: str
    product: str
    infused: str
    anc: str
    storm: int = 0
    fever: tuple[Fever, ...] = ()
    low: tuple[Low, ...] = ()
    oxygen: tuple[Oxygen, ...] = ()
    drips: tuple[Drip, ...] = ()
    doses: tuple[Dose, ...] = ()
    neuro: tuple[Neuro, ...] = ()
    seizures: tuple[Seizure, ...] = ()
    readings: tuple[Reading, ...] = ()
    stays: tuple[Hours, ...] = ((-1, 14),)
    blamed: tuple[tuple[float, float, str], ...] = ()
    lab: Literal["A", "B", "C"] = "A"
    other_lab_from: int | None = None
    thermometer: Literal["C", "F"] = "C"
    mislabelled: Hours | None = None
    gaps: tuple[Hours, ...] = ()
    paracetamol: bool = True
    ice_before: int = 10
    home_o2: str = ""
    home_flow: float | None = None
    cpap_nights: bool = False
    second_dose_h: float | None = None
    last_seen_d: int | None = 180
    progressed_d: int | None = None
    next_therapy_d: int | None = None
    died_h: float | None = None
    died_of: str = ""
    filgrastim_d: tuple[int, int] | None = None
    infusion_lost: bool = False
    shuffled: bool = False
    duplicated: Hours | None = None


ICE_ITEMS = ("ice_orient", "ice_name", "ice_command", "ice_write", "ice_count")

# fmt: off

# Neutrophils per uL on key days, which are charted to the letter; between them the curve runs straight on a log scale, with 6 %
# noise. Counted daily to day 30 and weekly from day 37 on. The comment says on which days the count is at or under 500.
CURVES: dict[str, dict[int, int]] = {
    "never low":    {-6: 3800, 0: 2600, 4: 1100, 7: 750, 10: 1300, 16: 2600, 30: 3200, 100: 3800},
    # 5-8
    "4 days":       {-6: 3100, 0: 1900, 4: 700, 5: 420, 8: 460, 9: 720, 13: 1900, 20: 2900, 30: 2700, 100: 3600},
    # 4-9
    "6 days":       {-6: 2900, 0: 1500, 3: 640, 4: 380, 9: 300, 10: 680, 14: 1800, 22: 2500, 30: 2600, 100: 3400},
    # 5-13
    "9 days":       {-6: 2600, 0: 1400, 4: 620, 5: 300, 13: 410, 14: 640, 17: 1500, 22: 2200, 30: 2300, 100: 2900},
    # 4-19
    "16 days":      {-6: 1900, 0: 1000, 3: 620, 4: 260, 12: 140, 19: 400, 20: 700, 25: 1500, 30: 1900, 37: 2000,
                     100: 2600},
    # 4-16; at or under 100 on 6-13
    "8 profound":   {-6: 1700, 0: 1000, 3: 620, 4: 300, 5: 160, 6: 80, 9: 40, 13: 90, 14: 200, 16: 420, 17: 700, 20: 1300,
                     25: 1900, 30: 2000, 100: 2800},
    # 4-27; at or under 100 on 6-21; late 700 (30), rising
    "16 profound":  {-6: 1400, 0: 800, 3: 600, 4: 300, 5: 160, 6: 90, 10: 30, 21: 80, 22: 240, 27: 450, 28: 640, 30: 700, 45: 900,
                     60: 1300, 100: 2400},
    # 2-30 and further; at or under 100 never
    "never back":   {-6: 1200, 0: 700, 1: 560, 2: 400, 8: 150, 20: 180, 30: 330, 40: 520, 60: 1100, 100: 1700},
    # 5-8 and 22-26
    "two dips":     {-6: 2700, 0: 1700, 4: 640, 5: 350, 8: 420, 9: 900, 12: 2100, 17: 1800, 20: 900, 21: 600, 22: 420, 26: 380,
                     27: 800, 30: 1700, 37: 1900, 100: 2600},
    # 4-8 and 11-14, two days above between
    "short break":  {-6: 2800, 0: 1600, 3: 800, 4: 400, 8: 450, 9: 700, 10: 680, 11: 460, 14: 430, 15: 800, 18: 1600, 30: 2400,
                     100: 3000},
    # 5-10; 500 on day 10 and 504 on day 11
    "500 and 504":  {-6: 2500, 0: 1500, 4: 700, 5: 450, 6: 430, 7: 410, 8: 440, 9: 470, 10: 500, 11: 504, 12: 620, 13: 800,
                     16: 1700, 30: 2500, 100: 3300},
    # 5-8; late 870 and 960
    "late dip":     {-6: 3000, 0: 1800, 4: 700, 5: 410, 8: 450, 9: 740, 13: 1900, 30: 1800, 37: 1300, 44: 870, 51: 960, 58: 1400,
                     65: 1900, 100: 2600},
    # 5-8; late one single low count
    "late single":  {-6: 3000, 0: 1800, 4: 700, 5: 410, 8: 450, 9: 740, 13: 1900, 30: 2400, 37: 2200, 44: 450, 51: 2300,
                     100: 3000},
    # 5-8; late 1340 and 1420
    "late mild":    {-6: 3000, 0: 1800, 4: 700, 5: 410, 8: 450, 9: 740, 13: 1900, 30: 1800, 37: 1420, 44: 1340, 51: 1650,
                     100: 2400},
    # 4-18; late 90 and 310
    "late severe":  {-6: 1600, 0: 1000, 3: 640, 4: 280, 12: 180, 18: 430, 19: 700, 25: 1500, 30: 1800, 37: 650, 44: 90,
                     51: 310, 58: 900, 65: 1700, 100: 2200},
    # 5-8; low again from day 65 on, under the next therapy
    "next therapy": {-6: 3000, 0: 1800, 4: 700, 5: 410, 8: 450, 9: 740, 13: 1900, 30: 2300, 58: 2100, 65: 420, 72: 300, 79: 900,
                     100: 1900},
    # 4-6, then the record ends
    "cut short":    {-6: 2000, 0: 1200, 3: 640, 4: 300, 6: 120},
    # counted on these days only: nothing between day 8 and day 20
    "sparse":       {-6: 2600, 0: 1500, 4: 480, 8: 300, 20: 900, 26: 1800, 30: 2100, 44: 2400, 72: 2600, 100: 3000},
}


def toci(hour: float, kg: float) -> Dose:
    return Dose("Tocilizumab", hour, min(800.0, 8 * kg), "mg")


def dexa(*hours: float, before: bool = False) -> tuple[Dose, ...]:
    return tuple(Dose("Dexamethasone", h, 10, "mg", "prophylaxis" if before else "treatment") for h in hours)


LBCL, FL, MCL, MM, ALL = "large B-cell lymphoma", "follicular lymphoma", "mantle cell lymphoma", "multiple myeloma", "B-ALL"

PATIENTS: tuple[Patient, ...] = (
    # ---- no CRS
    Patient("P-001", 64, "F", 68.0, LBCL, "axi-cel", "2024-01-09 10:30", "never low"),
    # Prophylactic steroid, never febrile, hypotension on day 2.
    Patient("P-002", 71, "M", 84.5, LBCL, "axi-cel", "2024-01-11 11:15", "4 days", storm=1,
            low=(Low(58, 72),), doses=dexa(-1, 24, 48, before=True)),
    # Fever of a line infection, said so by the ward.
    Patient("P-003", 58, "M", 79.0, MM, "cilta-cel", "2024-01-16 12:00", "9 days", storm=1, lab="B",
            fever=(Fever(96, 130, 39.2),), blamed=((96, 130, "other"),)),
    # Just under the threshold: 37.9 C, and 100.3 F (37.94 C).
    Patient("P-004", 49, "F", 61.5, FL, "tisa-cel", "2024-01-18 10:00", "6 days", lab="C",
            readings=(Reading(31, 37.9, "C"), Reading(55, 100.3, "F"))),
    Patient("P-005", 67, "M", 90.0, MCL, "brexu-cel", "2024-01-23 13:00", "never low", lab="B"),
    # Neutrophils counted every few days only.
    Patient("P-006", 55, "F", 72.0, MM, "ide-cel", "2024-01-25 10:45", "sparse", lab="C"),
    Patient("P-007", 62, "M", 81.0, LBCL, "liso-cel", "2024-01-30 11:00", "two dips"),
    # Home on day 2; thirty hours without a round before. Lost to follow-up after day 62.
    Patient("P-008", 44, "F", 58.0, FL, "axi-cel", "2024-02-01 10:15", "never low", lab="B", stays=((-1, 2),), gaps=((8, 38),),
            last_seen_d=62),
    Patient("P-009", 73, "M", 76.0, MM, "ide-cel", "2024-02-06 12:30", "500 and 504", lab="C"),
    # The date of the infusion is missing: nothing can be graded.
    Patient("P-010", 60, "F", 66.0, LBCL, "axi-cel", "2024-02-07 11:00", "4 days", storm=1,
            fever=(Fever(30, 52, 38.9),), infusion_lost=True),

    # ---- CRS 1
    # Two litres of oxygen for COPD, at home and here.
    Patient("P-011", 69, "M", 70.0, LBCL, "liso-cel", "2024-02-08 10:30", "4 days", storm=1,
            fever=(Fever(30, 62, 39.0),), home_o2="NC", home_flow=2, neuro=(Neuro(70, 96, 8),)),
    # CPAP at night for sleep apnoea.
    Patient("P-012", 57, "M", 118.0, FL, "axi-cel", "2024-02-13 11:00", "short break", storm=1, lab="B",
            fever=(Fever(40, 74, 39.1),), home_o2="CPAP", cpap_nights=True),
    # The dose was split: day 0 and day 1.
    Patient("P-013", 52, "F", 63.0, ALL, "tisa-cel", "2024-02-15 12:00", "6 days", storm=1, lab="C",
            fever=(Fever(36, 54, 38.7),), second_dose_h=24),
    # Fahrenheit in the Celsius column: the fever is nowhere else.
    Patient("P-014", 61, "M", 88.0, LBCL, "axi-cel", "2024-02-20 10:00", "late dip", storm=1,
            fever=(Fever(34, 60, 39.0),), mislabelled=(30, 70), neuro=(Neuro(92, 120, 5),), doses=dexa(94, 100, 106)),
    # 100.4 F and 38.0 C, exactly, and nothing above.
    Patient("P-015", 47, "F", 59.0, FL, "tisa-cel", "2024-02-22 11:30", "never low", storm=1, lab="B", thermometer="F",
            readings=(Reading(33, 100.4, "F"), Reading(37, 38.0, "C")), paracetamol=False),
    Patient("P-016", 35, "M", 74.0, ALL, "obe-cel", "2024-02-27 12:15", "16 days", storm=1, lab="C",
            fever=(Fever(24, 60, 39.3),), neuro=(Neuro(120, 144, 9),), filgrastim_d=(8, 19)),
    # Late: first fever on day 17, after discharge.
    Patient("P-017", 66, "F", 71.0, MM, "cilta-cel", "2024-02-29 10:30", "4 days", storm=1,
            fever=(Fever(412, 446, 38.8),), stays=((-1, 12), (17, 22))),
    # No rounds for thirty hours; next therapy on day 65 after progression on day 58.
    Patient("P-018", 59, "M", 85.0, LBCL, "axi-cel", "2024-03-05 11:45", "next therapy", storm=1, lab="B",
            fever=(Fever(40, 60, 38.8),), gaps=((72, 102),), progressed_d=58, next_therapy_d=65),
    # Twelve years old: ICE, not CAPD.
    Patient("P-019", 12, "M", 41.0, ALL, "tisa-cel", "2024-03-07 10:00", "9 days", storm=1, lab="C",
            fever=(Fever(60, 92, 39.4),), neuro=(Neuro(100, 128, 8),)),
    # Fever of unknown cause, said so. Speaks another language: ICE 8 before the infusion and ever since.
    Patient("P-020", 63, "F", 64.0, FL, "liso-cel", "2024-03-12 12:30", "late single", storm=1,
            fever=(Fever(80, 104, 38.6),), blamed=((80, 104, "unknown"),), ice_before=8),
    # Rows out of order, and a day that was exported twice.
    Patient("P-021", 70, "M", 77.0, LBCL, "axi-cel", "2024-03-14 10:45", "6 days", storm=1, lab="B",
            fever=(Fever(28, 66, 39.2),), neuro=(Neuro(96, 120, 10, "drowsy"),), shuffled=True, duplicated=(24, 48)),
    # A week of fever; died of the myeloma on day 88.
    Patient("P-022", 54, "F", 60.0, MM, "cilta-cel", "2024-03-19 11:00", "8 profound", storm=2, lab="C",
            fever=(Fever(150, 200, 39.5),), doses=(toci(176, 60),), filgrastim_d=(7, 16), last_seen_d=None, progressed_d=61,
            died_h=2116, died_of="progression"),

    # ---- CRS 2
    # Exactly 6 L/min.
    Patient("P-023", 48, "M", 93.0, LBCL, "axi-cel", "2024-03-21 10:15", "9 days", storm=2,
            fever=(Fever(30, 70, 39.6),), oxygen=(Oxygen(44, 56, "NC", 3), Oxygen(56, 68, "NC", 6), Oxygen(68, 78, "NC", 2)),
            doses=(toci(46, 93),), neuro=(Neuro(96, 122, 7),)),
    # High-flow cannula set at 5 L/min.
    Patient("P-024", 65, "F", 69.0, LBCL, "liso-cel", "2024-03-26 12:00", "4 days", storm=2, lab="B",
            fever=(Fever(50, 80, 39.1),), oxygen=(Oxygen(60, 76, "HFNC", 5, 40),), doses=(toci(58, 69),)),
    # Six years old: systolic pressure under 82, blow-by oxygen, CAPD.
    Patient("P-025", 6, "M", 21.0, ALL, "tisa-cel", "2024-03-28 10:30", "6 days", storm=2, lab="C",
            fever=(Fever(70, 110, 40.1),), low=(Low(86, 96, 79),), oxygen=(Oxygen(86, 98, "blow-by", 4),),
            doses=(Dose("Tocilizumab", 88, 252, "mg"),), neuro=(Neuro(118, 144, None, "to voice", capd=5),)),
    # Dobutamine only.
    Patient("P-026", 72, "M", 80.0, MM, "ide-cel", "2024-04-02 11:15", "late mild", storm=2,
            fever=(Fever(22, 58, 39.0),), low=(Low(46, 58),), drips=(Drip("Dobutamine", 54, 78, 3),), doses=(toci(48, 80),)),
    # CRS again after two days and more without any sign of it.
    Patient("P-027", 56, "F", 67.0, LBCL, "axi-cel", "2024-04-04 10:00", "4 days", storm=2, lab="B",
            fever=(Fever(20, 42, 38.9), Fever(112, 138, 39.3)), low=(Low(118, 128),), doses=(toci(122, 67), *dexa(146, 152, 158)),
            neuro=(Neuro(144, 168, 4),)),
    # A cannula, and nobody charted the flow.
    Patient("P-028", 60, "M", 86.0, MCL, "brexu-cel", "2024-04-09 12:45", "9 days", storm=2, lab="C",
            fever=(Fever(34, 66, 39.2),), oxygen=(Oxygen(46, 62, "NC"),), doses=(toci(48, 86),)),
    Patient("P-029", 51, "F", 62.0, LBCL, "axi-cel", "2024-04-11 11:30", "16 days", storm=2,
            fever=(Fever(18, 62, 39.7),), low=(Low(36, 46),), doses=(toci(38, 62), *dexa(98, 104, 110, 116)),
            neuro=(Neuro(84, 98, 6), Neuro(98, 124, 2, "to voice"), Neuro(124, 150, 7)), filgrastim_d=(8, 19)),
    # CRS over; septic shock from day 36, died of it on day 41.
    Patient("P-030", 68, "M", 83.0, LBCL, "axi-cel", "2024-04-16 10:30", "9 days", storm=2, lab="B",
            fever=(Fever(30, 64, 39.1), Fever(866, 985, 39.9)), low=(Low(48, 60), Low(870, 884)),
            oxygen=(Oxygen(880, 985, "simple mask", 8, 50),), drips=(Drip("Noradrenaline", 884, 985, 0.3, because="other"),),
            doses=(toci(50, 83),), stays=((-1, 14), (36, 42)), blamed=((864, 985, "other"),), last_seen_d=None, died_h=985,
            died_of="sepsis"),
    # Mean pressure under 65 with a systolic pressure over 90.
    Patient("P-031", 59, "F", 65.0, FL, "liso-cel", "2024-04-18 12:00", "6 days", storm=2, lab="C",
            fever=(Fever(72, 100, 38.9),), low=(Low(80, 92, 98, 59),)),
    # ICE not done for three days.
    Patient("P-032", 63, "M", 78.0, LBCL, "axi-cel", "2024-04-23 11:00", "4 days", storm=2,
            fever=(Fever(26, 60, 39.0),), oxygen=(Oxygen(40, 56, "NC", 3),), doses=(toci(42, 78),),
            neuro=(Neuro(90, 164, None),)),
    # ICE by items, the command left out once.
    Patient("P-033", 55, "F", 73.0, MCL, "brexu-cel", "2024-04-25 10:15", "two dips", storm=2, lab="B",
            fever=(Fever(44, 82, 39.2),), low=(Low(56, 68),), doses=(toci(58, 73),),
            neuro=(Neuro(-24, 120, items=(4, 3, 1, 1, 1)), Neuro(120, 132, items=(3, 2, None, 0, 1)),
                   Neuro(132, 400, items=(4, 3, 1, 1, 1)))),
    # A seizure of three minutes that stopped by itself.
    Patient("P-034", 66, "M", 82.0, LBCL, "axi-cel", "2024-04-30 12:30", "16 days", storm=2, lab="C",
            fever=(Fever(20, 64, 39.5),), low=(Low(40, 52),), doses=(toci(42, 82), *dexa(103, 109, 115, 121)),
            neuro=(Neuro(84, 126, 7),), seizures=(Seizure(101.5, "generalised", 3, "by itself", "to voice"),),
            filgrastim_d=(9, 20)),
    # Inspired oxygen as 0.36 and as 36.
    Patient("P-035", 46, "F", 70.0, FL, "axi-cel", "2024-05-02 10:45", "4 days", storm=2,
            fever=(Fever(52, 88, 39.0),), oxygen=(Oxygen(62, 84, "NC", 4, 36),), doses=(toci(64, 70),), other_lab_from=7),

    # ---- CRS 3 to 5
    # 7 L/min, then a mask; mute but awake.
    Patient("P-036", 61, "M", 95.0, LBCL, "axi-cel", "2024-05-07 11:15", "16 profound", storm=3, lab="B",
            fever=(Fever(16, 70, 40.2),),
            oxygen=(Oxygen(34, 44, "NC", 3), Oxygen(44, 56, "NC", 7), Oxygen(56, 66, "simple mask", 8, 40),
                    Oxygen(66, 82, "NC", 4)),
            doses=(toci(36, 95), toci(46, 95), *dexa(46, 52, 58, 64, 98, 104, 110, 116)),
            neuro=(Neuro(96, 132, 0), Neuro(132, 156, 4), Neuro(156, 180, 8)), filgrastim_d=(7, 27), stays=((-1, 18),)),
    # Fever gone after tocilizumab and paracetamol; then a vasopressor, changed for another with half an hour of both.
    Patient("P-037", 70, "F", 66.0, LBCL, "axi-cel", "2024-05-09 10:00", "8 profound", storm=3, lab="C",
            fever=(Fever(22, 36, 39.4),), low=(Low(50, 62),),
            drips=(Drip("Noradrenaline", 62, 70, 0.06), Drip("Noradrenaline", 70, 80, 0.04),
                   Drip("Phenylephrine", 79.5, 92, 0.5)),
            doses=(toci(34, 66), *dexa(63, 69, 75, 81)), filgrastim_d=(7, 17), stays=((-1, 16),)),
    # Norepinephrine, nobody charted when it stopped, and vasopressin. Seizure of twelve minutes, cerebral oedema.
    Patient("P-038", 53, "M", 79.0, MCL, "brexu-cel", "2024-05-14 12:15", "never back", storm=3,
            fever=(Fever(20, 66, 40.3),), low=(Low(32, 40),), oxygen=(Oxygen(38, 62, "NC", 4),),
            drips=(Drip("Noradrenaline", 40, None, 0.1), Drip("Noradrenaline", 45, None, 0.08),
                   Drip("Vasopressin", 42, 60, 0.03, "U/min")),
            doses=(toci(34, 79), toci(44, 79), *dexa(44, 50, 56, 62, 104, 110, 116, 122)),
            neuro=(Neuro(72, 100, 3), Neuro(100, 128, 0, "to touch", icp="diffuse oedema"), Neuro(128, 160, 4),
                   Neuro(160, 184, 8)),
            seizures=(Seizure(103, "generalised", 12, "after lorazepam", "to touch"),), filgrastim_d=(5, 30), stays=((-1, 20),)),
    # Two vasopressors at once, ventilated and sedated for two days.
    Patient("P-039", 45, "F", 58.0, ALL, "brexu-cel", "2024-05-16 11:00", "late severe", storm=4, lab="B",
            fever=(Fever(16, 96, 40.6),), low=(Low(38, 50, 82),),
            oxygen=(Oxygen(44, 64, "NC", 5), Oxygen(64, 84, "HFNC", 40, 60), Oxygen(84, 132, "ventilator", None, 50),
                    Oxygen(132, 150, "NC", 4)),
            drips=(Drip("Noradrenaline", 50, 64, 0.15), Drip("Noradrenaline", 64, 110, 0.3), Drip("Phenylephrine", 56, 90, 1.2)),
            doses=(toci(40, 58), toci(52, 58), *dexa(52, 58, 64, 70, 76, 82, 88, 94)),
            neuro=(Neuro(58, 84, 5), Neuro(84, 132, None, "not assessable", sedated=True), Neuro(132, 160, 7)),
            filgrastim_d=(6, 20), stays=((-1, 21),)),
    # Died of CRS on day 6.
    Patient("P-040", 74, "M", 88.0, LBCL, "axi-cel", "2024-05-21 10:00", "cut short", storm=4, lab="C",
            fever=(Fever(14, 150, 40.8),), low=(Low(50, 60, 80),),
            oxygen=(Oxygen(58, 72, "NC", 6), Oxygen(72, 98, "NRB", 15, 80), Oxygen(98, 150.5, "ventilator", None, 100)),
            drips=(Drip("Noradrenaline", 60, 150, 0.5), Drip("Phenylephrine", 80, 150, 2.0),
                   Drip("Vasopressin", 84, 150, 0.04, "U/min")),
            doses=(toci(48, 88), toci(58, 88), *dexa(58, 64, 70, 76, 82, 88, 94, 100, 106)),
            neuro=(Neuro(60, 88, 5), Neuro(88, 98, 0, "unresponsive"), Neuro(98, 151, None, "not assessable", sedated=True)),
            last_seen_d=None, died_h=150.5, died_of="CRS"),
)


@dataclass(frozen=True)
class BadRow:
    """A line that cannot be used, to the letter (blank cells at its end left out); it becomes row `row` of its file, from 1."""

    file: str
    row: int
    line: str


BAD_ROWS: tuple[BadRow, ...] = (
    BadRow("vitals.csv", 150, "P-002,13.01.2024 09:12,4.1,C"),
    BadRow("vitals.csv", 800, "P-011,31.02.2024 08:00,36.9,C"),
    BadRow("vitals.csv", 1200, "P-015,26.02.2024 10:20,37.1,"),
    BadRow("vitals.csv", 1900, "P-024,28.03.2024 11:40,,,,,,,aerosol tent"),
    BadRow("labs.csv", 411, "P-003,2024-01-19T05:50:00,CRP,41,"),
    BadRow("labs.csv", 1203, ",2024-02-02T05:48:00,PLT,121,G/L"),
    BadRow("labs.csv", 2222, "P-012,2024-13-02T05:50:00,LDH,233,U/L"),
    BadRow("labs.csv", 3131, "P-017,2024-03-05T05:55:00,NEUT,1.2,"),
    BadRow("labs.csv", 4444, "P-025,2024-04-01T05:47:00,LDH,haemolysed,U/L"),
    BadRow("labs.csv", 5005, "P-028,2024-04-12T05:51:00,FERR,23000000,ng/mL"),
    BadRow("labs.csv", 5800, "P-033,2024-04-29T05:50:00,VITB12,310,pg/mL"),
    BadRow("labs.csv", 6400, "P-036,2024-05-10T05:52:00,PLT,38,mmol/L"),
    BadRow("drugs.csv", 99, "P-011,2024-02-09 18:00,,Heparin,5000,U,prophylaxis"),
    BadRow("drugs.csv", 300, "P-026,2024-04-04 17:15,2024-04-04 15:15,Dobutamine,3,mcg/kg/min,treatment"),
    BadRow("neuro.csv", 500, "P-018,2024-03-09 09:10,11"),
)
# fmt: on
