"""Write the example cohort: forty made-up patients after CAR-T, as a hospital exports them.

    python examples/cohort/make_cohort.py [FOLDER]

`protocol.py` says what happens to whom; here each course becomes charted rows, and the rows become five CSV files in FOLDER
(default: `data` beside this script). The same bytes every time: chance comes from `random.Random.random` alone, whose sequence
Python promises to keep, seeded for each patient and file, so that changing one patient leaves the others as they were.

Chance never decides a grade. Temperatures in a fever are at least 38.2 C and else at most 37.6; pressures outside of a `Low` are
at least 94 systolic and 65 mean; neutrophils stand to the letter on the key days of their curve.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import TypeVar

import polars as pl
from protocol import BAD_ROWS, CURVES, ICE_ITEMS, PATIENTS, Hours, Patient

SEED = "aftercar example cohort 1"
Row = dict[str, str]
S = TypeVar("S")

COLUMNS = {
    "patients.csv": (
        "pat_no", "admitted", "age", "sex", "weight_kg", "disease", "product", "infused_at", "second_dose_at", "home_o2",
        "home_o2_l", "last_seen", "progressed_on", "next_therapy_on", "died_at", "died_of",
    ),
    "vitals.csv": (
        "pat_no", "charted_at", "temp", "temp_scale", "bp_sys", "bp_mean", "pulse", "sat", "o2_via", "o2_l", "o2_conc", "due_to",
    ),
    "labs.csv": ("pat_no", "sampled_at", "analyte", "result", "unit"),
    "drugs.csv": ("pat_no", "started", "stopped", "drug", "dose", "dose_unit", "purpose", "due_to"),
    "neuro.csv": (
        "pat_no", "assessed_at", "ice", *ICE_ITEMS, "capd", "loc", "seizure", "seizure_minutes", "seizure_end", "weakness",
        "pressure_sign", "sedation",
    ),
}  # fmt: skip

# Units of the three laboratories: the unit, the factor from ours, decimals.
_PLAIN = {"FERR": ("ng/mL", 1.0, 0), "LDH": ("U/L", 1.0, 0), "ASAT": ("U/L", 1.0, 0), "ALAT": ("U/L", 1.0, 0)}
LABS: dict[str, dict[str, tuple[str, float, int]]] = {
    "A": {"NEUT": ("G/L", 0.001, 2), "PLT": ("G/L", 1.0, 0), "CRP": ("mg/L", 1.0, 0), "FIB": ("mg/dL", 1.0, 0),
          "TG": ("mg/dL", 1.0, 0), "CREA": ("mg/dL", 1.0, 2), **_PLAIN},
    "B": {"NEUT": ("K/uL", 0.001, 2), "PLT": ("10^9/L", 1.0, 0), "CRP": ("mg/dL", 0.1, 2), "FIB": ("g/L", 0.01, 2),
          "TG": ("mmol/L", 1 / 88.57, 2), "CREA": ("umol/L", 88.4, 0), **_PLAIN},
    "C": {"NEUT": ("/uL", 1.0, 0), "PLT": ("K/uL", 1.0, 0), "CRP": ("mg/L", 1.0, 1), "FIB": ("g/L", 0.01, 2),
          "TG": ("mg/dL", 1.0, 0), "CREA": ("umol/L", 88.4, 0), **_PLAIN},
}  # fmt: skip

VISITS = (3, 5, 7, 9, 11, 13, 16, 18, 21, 24, 27, 30)  # days on which a patient outside of hospital is seen
CHILD_BELOW = 12


def chance(p: Patient, file: str) -> Random:
    """The dice of one patient and file."""
    return Random(f"{SEED}/{p.id}/{file}")


def within(rng: Random, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def current(spans: Iterable[S], hour: float, *, bounds: Callable[[S], Hours]) -> S | None:
    """The span that holds at an hour; of several the last written."""
    held = [s for s in spans if bounds(s)[0] <= hour < bounds(s)[1]]
    return held[-1] if held else None


def at(p: Patient, hour: float) -> datetime:
    """The wall clock at an hour after the infusion, on the full minute."""
    return datetime.fromisoformat(p.infused) + timedelta(minutes=round(hour * 60))


def midnight(p: Patient) -> float:
    """The hour at which day 0 began, negative."""
    zero = datetime.fromisoformat(p.infused)
    return -(zero.hour + zero.minute / 60)


def alive(p: Patient, hour: float) -> bool:
    return p.died_h is None or hour < p.died_h


def in_hospital(p: Patient, hour: float) -> bool:
    return any(24 * first <= hour < 24 * last for first, last in p.stays)


# ---- rounds: when somebody looks


def rounds(p: Patient, rng: Random) -> Iterator[float]:
    """Hours of the rounds of vital signs: every four hours to day 10, then every six, and at the visits; none in a gap."""
    planned = [24.0 * day + clock for day in range(-2, 10) for clock in (2, 6, 10, 14, 18, 22)]
    planned += [24.0 * day + clock for day in range(10, 43) for clock in (0, 6, 12, 18)]
    hours = [h + midnight(p) for h in planned if in_hospital(p, h + midnight(p))]
    hours += [h for day in VISITS if not in_hospital(p, h := 24.0 * day + 10 + midnight(p))]
    for hour in sorted(hours):
        late = hour + round(within(rng, -12, 18)) / 60
        if alive(p, late) and not current(p.gaps, late, bounds=lambda gap: gap):
            yield late


def neuro_rounds(p: Patient) -> Iterator[float]:
    """Hours of the neurologic rounds: 8 and 20 o'clock in hospital to day 21, and at the visits."""
    planned = [24.0 * day + clock + midnight(p) for day in range(-1, 21) for clock in (8, 20)]
    visits = [24.0 * day + 10.5 + midnight(p) for day in VISITS]
    hours = [h for h in planned if in_hospital(p, h)] + [h for h in visits if not in_hospital(p, h)]
    for hour in sorted(hours):
        if alive(p, hour) and not current(p.gaps, hour, bounds=lambda gap: gap):
            yield hour


# ---- physiology: what they find


def temperature(p: Patient, hour: float, rng: Random) -> float:
    """[Cel], one decimal. A fever rises to its peak and falls again; else a daily rhythm around 36.7."""
    noise = within(rng, -0.15, 0.15)
    fever = current(p.fever, hour, bounds=lambda f: (f.start, f.stop))
    if fever:
        course = math.sin(math.pi * (hour - fever.start) / (fever.stop - fever.start))
        return round(min(fever.peak, max(38.2, 38.3 + (fever.peak - 38.3) * course + noise)), 1)
    evening = math.sin(2 * math.pi * (hour - midnight(p) - 11) / 24)
    return round(min(37.6, max(36.0, 36.7 + 0.3 * evening + 2 * noise)), 1)


def pressure(p: Patient, hour: float, rng: Random) -> tuple[int, int]:
    """Systolic and mean pressure [mm[Hg]]; the mean follows the systolic unless the protocol says otherwise."""
    low = current(p.low, hour, bounds=lambda span: (span.start, span.stop))
    supported = current(p.drips, hour, bounds=lambda d: (d.start, d.stop or d.start + 6))
    spread = rng.random()
    if low:
        systolic = low.sbp - int(4 * spread)
        return systolic, round(0.62 * systolic + 8) if low.mean is None else low.mean - int(4 * spread)
    systolic = round(94 + 14 * spread if supported else (98 + 18 * spread if p.age < CHILD_BELOW else 104 + 34 * spread))
    return systolic, round(0.62 * systolic + 8)


def oxygen(p: Patient, hour: float) -> tuple[str, float | None, int | None]:
    """Device, flow [L/min] and inspired oxygen [%]."""
    given = current(p.oxygen, hour, bounds=lambda o: (o.start, o.stop))
    if given:
        return given.device, given.flow, given.fio2
    clock = (hour - midnight(p)) % 24
    if p.cpap_nights and in_hospital(p, hour) and (clock >= 21 or clock < 5):
        return "CPAP", None, None
    if p.home_o2 and not p.cpap_nights:
        return p.home_o2, p.home_flow, None
    return "RA", None, None


def anc(p: Patient, day: int, rng: Random) -> float:
    """Neutrophils [/uL] from the patient's curve."""
    curve = CURVES[p.anc]
    if day in curve:
        return float(curve[day])
    before, after = max(d for d in curve if d < day), min(d for d in curve if d > day)
    share = (day - before) / (after - before)
    return curve[before] ** (1 - share) * curve[after] ** share * within(rng, 0.94, 1.06)


def inflamed(p: Patient, day: float) -> float:
    """How inflamed the patient is, 0 to 1, by the day of the first fever (day 4 without one)."""
    start = p.fever[0].start / 24 if p.fever else 4.0
    since = day - start
    return 0.0 if since < 0 else min(since / 1.5, 1.0) * math.exp(-max(0.0, since - 2.5) / 3)


def chemistry(p: Patient, day: int, rng: Random) -> dict[str, float]:
    """The other analytes in our units: mg/L, ng/mL, mg/dL, U/L, 10*9/L."""
    heat = inflamed(p, day)
    later = inflamed(p, day - 1.5)
    n = p.storm
    wobble = {name: within(rng, 0.92, 1.08) for name in ("PLT", "CRP", "FERR", "FIB", "TG", "LDH", "ASAT", "ALAT", "CREA")}
    trough = math.exp(-(((day - 10) / 8) ** 2))
    value = {
        "PLT": 190 * (1 - (0.62 + 0.08 * n) * trough),
        "CRP": 4 + (30, 80, 150, 230, 300)[n] * heat,
        "FERR": 420 + (300, 1100, 3200, 9000, 24000)[n] * later,
        "FIB": 420 - (20, 60, 130, 210, 300)[n] * later,
        "TG": 130 + (10, 40, 90, 150, 220)[n] * later,
        "LDH": 210 + (20, 80, 180, 420, 900)[n] * later,
        "ASAT": 26 + (4, 15, 45, 120, 320)[n] * later,
        "ALAT": 28 + (4, 14, 40, 110, 280)[n] * later,
        "CREA": (0.45 if p.age < CHILD_BELOW else 0.85) * (1 + (0.02, 0.08, 0.2, 0.6, 1.4)[n] * heat),
    }
    return {name: value[name] * wobble[name] for name in value}


# ---- charting: what is written down


def text(number: float | int | None, decimals: int = 0) -> str:
    """A number as an export writes it, blank for none."""
    return "" if number is None else f"{number:.{decimals}f}"


def written_temperature(p: Patient, hour: float, celsius: float) -> tuple[str, str]:
    """The value and the scale beside it, which is not always the right one."""
    fahrenheit = text(celsius * 9 / 5 + 32, 1)
    if p.mislabelled and p.mislabelled[0] <= hour < p.mislabelled[1]:
        return fahrenheit, "C"
    return (fahrenheit, "F") if p.thermometer == "F" else (text(celsius, 1), "C")


def chart_vitals(p: Patient) -> list[Row]:
    rng = chance(p, "vitals.csv")
    rows: list[tuple[float, Row]] = []
    for hour in rounds(p, rng):
        celsius, (systolic, mean), (device, flow, fio2) = temperature(p, hour, rng), pressure(p, hour, rng), oxygen(p, hour)
        value, scale = written_temperature(p, hour, celsius)
        pulse = 76 + 11 * (celsius - 36.7) + within(rng, -7, 7)
        sat = within(rng, 94, 99) if device == "RA" else within(rng, 91, 95)
        sat_read = rng.random() < 0.97
        as_fraction = rng.random() < 0.5  # how half of the nurses write inspired oxygen
        blamed = current(p.blamed, hour, bounds=lambda b: b[:2])
        rows.append((hour, {
            "temp": value, "temp_scale": scale, "bp_sys": text(systolic), "bp_mean": text(mean), "pulse": text(pulse),
            "sat": text(sat) if sat_read else "", "o2_via": device, "o2_l": text(flow),
            "o2_conc": text(fio2 / 100, 2) if fio2 and as_fraction else text(fio2), "due_to": blamed[2] if blamed else "",
        }))  # fmt: skip
    rows += [(r.hour, {"temp": text(r.value, 1), "temp_scale": r.scale}) for r in p.readings]
    return stamped(p, rows, "charted_at", "%d.%m.%Y %H:%M")


def lab_days(p: Patient) -> list[int]:
    if p.anc == "sparse":
        return list(CURVES["sparse"])
    last = 100 if p.died_h is None else int((p.died_h - midnight(p)) // 24)
    last = min(last, max(CURVES[p.anc]), p.last_seen_d or last)
    return [d for d in (-6, -1, *range(31), *range(37, 101, 7)) if d <= last]


def chart_labs(p: Patient) -> list[Row]:
    """Blood count on every day of blood; chemistry to day 14, then weekly; triglycerides weekly."""
    rng = chance(p, "labs.csv")
    rows: list[tuple[float, Row]] = []
    for day in lab_days(p):
        hour = 24 * day + 5.75 + midnight(p) + round(within(rng, 0, 14)) / 60
        values = chemistry(p, day, rng)
        if day not in (-6, 0, 7, 14, 30):
            values.pop("TG")
        if day > 14 and day % 7 != 2:
            values = {"PLT": values["PLT"]}
        lab = LABS[p.lab if p.other_lab_from is None or day < p.other_lab_from else "ABCA"["ABC".index(p.lab) + 1]]
        for name, value in {"NEUT": anc(p, day, rng), **values}.items():
            unit, factor, decimals = lab[name]
            below = name == "CRP" and value < 5  # under what the assay can tell
            result = f"<{text(5 * factor, decimals)}" if below else text(value * factor, decimals)
            rows.append((hour, {"analyte": name, "result": result, "unit": unit}))
    return stamped(p, rows, "sampled_at", "%Y-%m-%dT%H:%M:%S")


def chart_drugs(p: Patient) -> list[Row]:
    rows: list[tuple[float, Row]] = []

    def give(
        drug: str, hour: float, dose: float, unit: str, purpose: str = "treatment", stop: float | None = None, due: str = ""
    ) -> None:
        if alive(p, hour):
            end = "" if stop is None else at(p, stop).strftime("%Y-%m-%d %H:%M")
            rows.append(
                (hour, {"stopped": end, "drug": drug, "dose": f"{dose:g}", "dose_unit": unit, "purpose": purpose, "due_to": due})
            )

    area = math.sqrt(p.kg * (110 if p.age < CHILD_BELOW else 170) / 3600)  # m2, by Mosteller, height guessed
    for day in (-5, -4, -3):
        give("Fludarabine", 24 * day, round(30 * area), "mg", stop=24 * day + 0.5)
        give("Cyclophosphamide", 24 * day + 1, round(300 * area), "mg", stop=24 * day + 2)
    if p.product in ("axi-cel", "brexu-cel"):
        give("Levetiracetam", -1, 500, "mg", "prophylaxis")
    for fever in p.fever if p.paracetamol else ():
        for n in range(int((fever.stop - fever.start - 2) // 8) + 1):
            give("Paracetamol", fever.start + 2 + 8 * n, min(1000.0, 15 * p.kg), "mg")
    for low in p.low:
        give("NaCl 0.9 % bolus", low.start + 1, min(500.0, 20 * p.kg), "mL", stop=low.start + 1.5)
    for dose in p.doses:
        give(dose.drug, dose.hour, dose.amount, dose.unit, dose.purpose)
    for drip in p.drips:
        give(drip.drug, drip.start, drip.rate, drip.unit, stop=drip.stop, due=drip.because)
    if p.filgrastim_d:
        for day in range(p.filgrastim_d[0], p.filgrastim_d[1] + 1):
            give("Filgrastim", 24 * day + 18 + midnight(p), 300, "ug")
    return stamped(p, rows, "started", "%Y-%m-%d %H:%M")


def chart_neuro(p: Patient) -> list[Row]:
    rows: list[tuple[float, Row]] = []
    intensive = any(n.sedated for n in p.neuro)
    for hour in neuro_rounds(p):
        found = current(p.neuro, hour, bounds=lambda n: (n.start, n.stop))
        row: Row = {"loc": found.loc if found else "awake", "pressure_sign": found.icp if found else ""}
        if p.age < CHILD_BELOW:
            row["capd"] = text(found.capd if found else 0)
        elif found and found.items:
            row |= {name: text(value) for name, value in zip(ICE_ITEMS, found.items, strict=True)}
        else:
            row["ice"] = text(found.ice if found else p.ice_before)
        if intensive:
            row["sedation"] = "yes" if found and found.sedated else "no"
        rows.append((hour, row))
    rows += [
        (
            s.hour,
            {"seizure": s.kind, "seizure_minutes": text(s.minutes), "seizure_end": s.ended, "loc": s.loc, "weakness": "none"},
        )
        for s in p.seizures
    ]
    return stamped(p, rows, "assessed_at", "%Y-%m-%d %H:%M")


def chart_patient(p: Patient) -> list[Row]:
    def moment(hour: float | None) -> str:
        return "" if hour is None else at(p, hour).strftime("%Y-%m-%d %H:%M")

    def date(day: int | None) -> str:
        return "" if day is None else at(p, 24 * day).strftime("%Y-%m-%d")

    first_blood = 24 * -6 + 5 + midnight(p)
    return [{
        "pat_no": p.id, "admitted": moment(first_blood), "age": text(p.age), "sex": p.sex, "weight_kg": text(p.kg, 1),
        "disease": p.disease, "product": p.product, "infused_at": "" if p.infusion_lost else moment(0),
        "second_dose_at": moment(p.second_dose_h), "home_o2": p.home_o2, "home_o2_l": text(p.home_flow),
        "last_seen": date(p.last_seen_d), "progressed_on": date(p.progressed_d), "next_therapy_on": date(p.next_therapy_d),
        "died_at": moment(p.died_h), "died_of": p.died_of,
    }]  # fmt: skip


def stamped(p: Patient, rows: Sequence[tuple[float, Row]], column: str, form: str) -> list[Row]:
    """Rows of a patient in order of time, each with who and when."""
    by_time = sorted(rows, key=lambda row: row[0])
    return [{"pat_no": p.id, column: at(p, hour).strftime(form), **row} for hour, row in by_time]


# ---- files: how it leaves the hospital


def disordered(p: Patient, file: str, rows: list[Row]) -> list[Row]:
    """What happens on the way: a stretch exported twice, and rows in no order at all."""
    if p.duplicated and file == "vitals.csv":
        first, last = (at(p, h) for h in p.duplicated)
        rows = rows + [row for row in rows if first <= datetime.strptime(row["charted_at"], "%d.%m.%Y %H:%M") < last]
    if p.shuffled:
        rng = chance(p, f"{file} order")
        rows = [row for _, _, row in sorted((rng.random(), n, row) for n, row in enumerate(rows))]
    return rows


CHARTS: dict[str, Callable[[Patient], list[Row]]] = {
    "patients.csv": chart_patient,
    "vitals.csv": chart_vitals,
    "labs.csv": chart_labs,
    "drugs.csv": chart_drugs,
    "neuro.csv": chart_neuro,
}


def table(file: str) -> pl.DataFrame:
    """One file of the export, every cell a word; the bad rows stand where the protocol puts them."""
    rows = [row for p in PATIENTS for row in disordered(p, file, CHARTS[file](p))]
    for bad in sorted((b for b in BAD_ROWS if b.file == file), key=lambda b: b.row):
        rows.insert(bad.row - 1, dict(zip(COLUMNS[file], bad.line.split(","), strict=False)))
    cells = {name: [row.get(name) or None for row in rows] for name in COLUMNS[file]}
    return pl.DataFrame(cells, schema=dict.fromkeys(COLUMNS[file], pl.String))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in CHARTS:
        # Bytes and not a path: line ends must not depend on the system.
        (folder / file).write_bytes(table(file).write_csv().encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data")
