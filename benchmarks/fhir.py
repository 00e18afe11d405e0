"""Time the FHIR reader beside plain JSON decoding and full validation, on made-up Observations.

    python -m benchmarks.fhir [--observations 100000] [--repeat 5]

The Observations have the fields of public synthetic exports, in NDJSON as bulk exports write it: vital signs and laboratory values
with text and coding, a twentieth each of panels with components and of coded answers, and the laboratory's limits with its values.
Each contender runs in a process of its own, in turns. Full validation runs on a part, and its times are multiplied up.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.measure import Run, in_turns, measured, middle, timed

FULL = 100_000  # Observations from which on the results are written
VALIDATED = 5_000  # Observations that are validated in full
LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
# LOINC code, text, unit and middle value; of laboratory values the limits too.
VITALS = (
    ("8310-5", "Body temperature", "Cel", 37.5), ("8867-4", "Heart rate", "/min", 85), ("59408-5", "Oxygen saturation", "%", 96),
    ("9279-1", "Respiratory rate", "/min", 17), ("29463-7", "Body Weight", "kg", 75), ("39156-5", "Body Mass Index", "kg/m2", 25),
)  # fmt: skip
LABS = (
    ("1742-6", "Alanine aminotransferase [Enzymatic activity/volume] in Serum or Plasma", "U/L", 35, 7, 45),
    ("1920-8", "Aspartate aminotransferase [Enzymatic activity/volume] in Serum or Plasma", "U/L", 33, 8, 40),
    ("1975-2", "Bilirubin.total [Mass/volume] in Serum or Plasma", "mg/dL", 0.9, 0.2, 1.2),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 1.1, 0.6, 1.3),
    ("2947-0", "Sodium [Moles/volume] in Blood", "mmol/L", 140, 135, 145),
    ("6298-4", "Potassium [Moles/volume] in Blood", "mmol/L", 4.1, 3.5, 5.1), ("2339-0", "Glucose", "mg/dL", 90, 70, 140),
    ("777-3", "Platelets [#/volume] in Blood by Automated count", "10*3/uL", 210, 150, 400),
    ("6690-2", "Leukocytes [#/volume] in Blood by Automated count", "10*3/uL", 6, 4, 11),
    ("751-8", "Neutrophils [#/volume] in Blood by Automated count", "10*3/uL", 3.5, 1.8, 7.7),
    ("1988-5", "C reactive protein [Mass/volume] in Serum or Plasma", "mg/L", 20, 0, 5),
    ("2276-4", "Ferritin [Mass/volume] in Serum or Plasma", "ng/mL", 900, 30, 400),
    ("3255-7", "Fibrinogen [Mass/volume] in Platelet poor plasma by Coagulation assay", "mg/dL", 320, 200, 400),
)  # fmt: skip
PRESSURES = (("8480-6", "Systolic Blood Pressure", "mm[Hg]", 120), ("8462-4", "Diastolic Blood Pressure", "mm[Hg]", 74))
SMOKING = (("266919005", "Never smoker"), ("8517006", "Former smoker"), ("449868002", "Current every day smoker"))
SUBJECTS = 250
WHAT = {
    "msgspec": "msgspec, each line to a dictionary: plain JSON decoding",
    "json": "json of the standard library, each line to a dictionary",
    "aftercar": "aftercar, charted rows: fields checked, codes looked up, times parsed, limits, components, rejected rows",
    "import": "aftercar, the whole import of the file: units, plausibility, sorted timeline",
    "fhir_resources": "fhir.resources (R4B), each line validated in full",
}


# --- The file ---


def write_observations(path: Path, n: int, seed: int = 20_261_124) -> None:
    """Write so many Observations, the same for the same seed."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(_observation(draw), separators=(",", ":")) + "\n" for _ in range(n))


def _observation(draw: random.Random) -> dict[str, Any]:
    subject = draw.randrange(SUBJECTS)
    time = datetime(2024, 1, 1) + timedelta(days=subject, seconds=draw.randrange(100 * 86_400))
    kind = draw.choices(("lab", "vital", "panel", "answer"), (50, 40, 5, 5))[0]
    code, text, *_ = chosen = {
        "lab": draw.choice(LABS), "vital": draw.choice(VITALS), "panel": ("55284-4", "Blood Pressure"),
        "answer": ("72166-2", "Tobacco smoking status NHIS"),
    }[kind]  # fmt: skip
    category = {"lab": "laboratory", "answer": "survey"}.get(kind, "vital-signs")
    common = {
        "resourceType": "Observation",
        "id": str(uuid.UUID(int=draw.getrandbits(128), version=4)),
        "status": "final",
        "category": [{"coding": [{"system": CATEGORY, "code": category, "display": category}]}],
        "code": {"coding": [{"system": LOINC, "code": code, "display": text}], "text": text},
        "subject": {"reference": f"Patient/{uuid.UUID(int=subject, version=4)}"},
        "encounter": {"reference": f"Encounter/{uuid.UUID(int=draw.getrandbits(128), version=4)}"},
        "effectiveDateTime": f"{time.isoformat()}+00:00",
        "issued": f"{time.isoformat()}.{draw.randrange(1000):03d}+00:00",
    }
    if kind == "answer":
        answer, shown = draw.choice(SMOKING)
        coding = {"system": SNOMED, "code": answer, "display": shown}
        return common | {"valueCodeableConcept": {"coding": [coding], "text": shown}}
    if kind == "panel":
        return common | {"component": [_measured(draw, *each) for each in PRESSURES]}
    value = _measured(draw, *chosen[:4])
    if kind == "lab":
        unit = chosen[2]
        low, high = ({"value": limit, "unit": unit, "system": UCUM, "code": unit} for limit in chosen[4:])
        value["referenceRange"] = [{"low": low, "high": high}]
    return common | value


def _measured(draw: random.Random, code: str, text: str, unit: str, middle: float) -> dict[str, Any]:
    value = {"value": middle * draw.uniform(0.8, 1.2), "unit": unit, "system": UCUM, "code": unit}
    return {"code": {"coding": [{"system": LOINC, "code": code, "display": text}], "text": text}, "valueQuantity": value}


# --- In the child ---


def _each_line(decode: Callable[[bytes], object], path: Path) -> None:
    with path.open("rb") as file:
        for line in file:
            decode(line)


def _json(path: Path) -> Callable[[], None]:
    return lambda: _each_line(json.loads, path)


def _msgspec(path: Path) -> Callable[[], None]:
    import msgspec

    return lambda: _each_line(msgspec.json.Decoder().decode, path)


def _fhir_resources(path: Path) -> Callable[[], None]:
    from fhir.resources.R4B.observation import Observation

    return lambda: _each_line(Observation.model_validate_json, path)


def _aftercar(path: Path) -> Callable[[], object]:
    from aftercar.timeline.readers import fhir
    from aftercar.timeline.readers.mapping import read_mapping

    return lambda: sum(piece.charted.height for piece in fhir.pieces(path, read_mapping(None)))


def _import(path: Path) -> Callable[[], object]:
    from aftercar.timeline.readers import read

    return lambda: read(path)


CONTENDERS = {"msgspec": _msgspec, "json": _json, "aftercar": _aftercar, "import": _import, "fhir_resources": _fhir_resources}


# --- In the parent ---


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fhir", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--observations", type=int, default=FULL)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    n, part = args.observations, min(VALIDATED, args.observations)
    folder = results.fresh_folder("fhir")
    whole, sample = folder / "Observation.ndjson", folder / "Observation.part.ndjson"
    write_observations(whole, n)
    write_observations(sample, part)
    load = os.getloadavg()[0]
    paths = {name: sample if name == "fhir_resources" else whole for name in CONTENDERS}
    runs = in_turns(
        {name: partial(measured, "benchmarks.fhir", "--child", name, str(path)) for name, path in paths.items()}, args.repeat
    )
    found = {name: middle(turns, n / part if name == "fhir_resources" else 1) for name, turns in runs.items()}
    table = _table(found, n)
    print(f"\n{table}")
    if n >= FULL:
        machine = results.machine(load, "polars", "msgspec", "fhir-resources")
        text = TEMPLATE.format(
            n=f"{n:,}", mb=whole.stat().st_size / 1e6, machine=machine, repeat=args.repeat, part=f"{part:,}", table=table
        )
        results.write_section("fhir", text)


def _table(found: dict[str, Run], n: int) -> str:
    plain = found["msgspec"]
    lines = [
        "| | wall, s | CPU, s | peak memory, MiB | Observations a second of CPU | CPU / plain decoding |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for name, run in found.items():
        cells = (f"{run.wall:.2f}", f"{run.cpu:.2f}", f"{run.peak:,.0f}", f"{n / run.cpu:,.0f}", f"{run.cpu / plain.cpu:.2f}")
        lines.append(f"| {WHAT[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


TEMPLATE = """## FHIR: from NDJSON to charted rows

{n} made-up Observations, {mb:.0f} MB. {machine}

{table}

Median of {repeat} runs taken in turns, from opening the file, without starting Python. Full validation ran on {part} Observations, and its times are multiplied up.
The ways do not do equal work: plain decoding checks nothing and makes no rows, fhir.resources validates every field and makes none either.
"""


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        timed(CONTENDERS[sys.argv[2]](Path(sys.argv[3])))
    else:
        main()
