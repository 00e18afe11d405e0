"""A deliberately naive grader: an example of another grader for `aftercar conformance --against`, and not for use.

It answers for three scales, `crs_astct2019`, `icans_astct` and `hscore`, and is right on simple cases. Ten slips are built in, one for
each trap, where the code says so:

1. afebrile_after_tocilizumab: fever now is needed for every grade of CRS.
2. vasopressin_second: vasopressin counts as a vasopressor.
3. cpap: CPAP and BiPAP are taken for a mask.
4. flow_6: 6 L/min is taken for high flow.
5. spo2_no_oxygen: a saturation below 90 % is taken for hypoxia of grade 2.
6. ice_10: grade 1 of ICANS reaches up to a score of 10.
7. ice_0_awake: a score of 0 is taken for an unarousable patient.
8. hscore_missing: a missing item gives 0 points.
9. units: numbers are read without their units.
10. missing_as_normal: what was not measured is taken for normal.

Python alone is enough: `naive_grader.py` answers on the standard streams, `naive_grader.py --serve PORT` over HTTP on this machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

VASOPRESSORS = {"norepinephrine", "noradrenaline", "epinephrine", "adrenaline", "phenylephrine", "dopamine", "angiotensin_ii"}
VASOPRESSORS |= {"vasopressin", "terlipressin"}  # slip 2
# Slip 3: CPAP and BiPAP stand among the masks.
MASKS = {"face_mask", "venturi", "partial_rebreather", "non_rebreather", "tracheostomy_collar", "t_piece", "cpap", "bipap", "niv"}
VENTILATION = {"ventilator", "ecmo"}
HELD_H = 24  # a finding stands so long


def ours(cause: object) -> bool:
    """Whether a sign may be due to the cells."""
    return cause in (None, "iec", "crs", "icans", "unknown")


def hour(entry: dict[str, Any]) -> float:
    return float(entry["h"]) if "h" in entry else 24.0 * float(entry["day"])


def crs(case: dict[str, Any], at: float) -> int:
    """ASTCT CRS at a time, from the last word on each finding."""
    fever, low, pressors, oxygen = False, False, 0, 0
    saturation = None
    for entry in sorted(case.get("timeline") or [], key=hour):
        if hour(entry) > at:
            break
        vitals = entry.get("vitals") or {}
        # Slip 9: a temperature is a number, be it Celsius or Fahrenheit. Slip 10: null leaves what was.
        temperature = vitals.get("temp_c", vitals.get("temp_f"))
        if temperature is not None:
            fever = temperature >= 38.0 and ours(entry.get("fever_cause")) and hour(entry) >= 0
        if entry.get("hypotension") is not None:
            low = entry["hypotension"] and ours(entry.get("hypotension_cause"))
        elif vitals.get("sbp") is not None or vitals.get("map") is not None:
            low = vitals.get("sbp", 120) < lowest_pressure(case) or (vitals.get("map") or 100) < 65
            low = low and ours(entry.get("hypotension_cause"))
        if "spo2" in vitals:
            saturation = vitals["spo2"]
        if "vasopressors" in entry:
            running = {d["drug"] for d in entry["vasopressors"] or [] if ours(d.get("cause")) and d.get("rate") != 0}
            pressors = len(running & VASOPRESSORS)
        if "o2" in entry:
            oxygen = oxygen_grade(entry["o2"] or {})
    if oxygen == 0 and saturation is not None and saturation < 90:
        oxygen = 2  # slip 5
    if not fever:
        return 0  # slip 1
    pressure = 4 if pressors >= 2 else 3 if pressors else 2 if low else 0
    return max(1, pressure, oxygen)


def lowest_pressure(case: dict[str, Any]) -> float:
    """The systolic pressure below which a patient of this age is hypotensive."""
    age = (case.get("patient") or {}).get("age_y")
    if age is None or age > 10:
        return 90
    return 70 if age < 1 else 70 + 2 * int(age)


def oxygen_grade(o2: dict[str, Any]) -> int:
    device, flow = o2.get("device"), o2.get("lpm")
    if device in (None, "room_air") or not ours(o2.get("cause")):
        return 0
    if device in VENTILATION:
        return 4
    if device in MASKS:
        return 3
    if device == "hfnc" and flow is None:
        return 3
    return 3 if flow is not None and flow >= 6 else 2  # slip 4


def icans(case: dict[str, Any], at: float) -> int:
    """ASTCT ICANS at a time, the worst domain of the last assessment."""
    grade = 0
    for entry in sorted(case.get("timeline") or [], key=hour):
        if hour(entry) > at:
            break
        if "neuro" in entry:
            neuro = entry["neuro"]
            grade = neuro_grade(neuro) if ours(neuro.get("cause")) and at - hour(entry) < HELD_H else 0
    return grade


def neuro_grade(neuro: dict[str, Any]) -> int:
    items = neuro.get("ice_items")
    score = sum(v or 0 for v in items.values()) if items else neuro.get("ice")  # slip 10
    grades = [{"drowsy_spontaneous": 1, "voice": 2, "touch": 3, "vigorous_or_none": 4}.get(str(neuro.get("consciousness")), 0)]
    if score is not None:
        # Slip 6: up to 10. Slip 7: 0 is 4.
        grades.append(1 if score >= 7 else 2 if score >= 3 else 3 if score >= 1 else 4)
    if seizure := neuro.get("seizure"):
        long = (seizure.get("min") or 0) > 5 or seizure.get("outcome") == "no_return_to_baseline"
        grades.append(4 if long else 3)
    if neuro.get("motor") == "focal_deep":
        grades.append(4)
    for sign in neuro.get("icp") or []:
        if sign == "focal_oedema":
            grades.append(0 if neuro.get("haemorrhage") else 3)
        else:
            grades.append(4)
    return max(grades)


def points(value: float | None, *steps: tuple[float, int]) -> int:
    """The points of the highest step that a value reaches; a missing value gives none (slip 8)."""
    return max((p for least, p in steps if value is not None and value >= least), default=0)


def hscore(case: dict[str, Any]) -> int:
    """HScore from the worst value of each item; the numbers are read without their units (slip 9)."""
    labs: dict[str, list[float]] = {}
    temperatures: list[float] = []
    organs, marrow, immunosuppressed = 0, False, False
    for entry in case.get("timeline") or []:
        for name, value in (entry.get("lab") or {}).items():
            if value is not None:
                labs.setdefault(name, []).append(value["v"])
        vitals = entry.get("vitals") or {}
        temperatures += [vitals[k] for k in ("temp_c", "temp_f") if vitals.get(k) is not None]
        event = entry.get("event") or {}
        organs = max(organs, sum(bool(event.get(k)) for k in ("spleen", "liver")))
        marrow = marrow or bool(event.get("haemophagocytosis"))
        immunosuppressed = immunosuppressed or bool((entry.get("findings") or {}).get("immunosuppression"))
    high = {name: max(values) for name, values in labs.items()}
    low = {name: min(values) for name, values in labs.items()}
    lineages = sum(low.get(name, cut + 1) <= cut for name, cut in (("hb", 9.2), ("wbc", 5.0), ("platelets", 110)))
    score = points(max(temperatures, default=None), (38.4, 33), (39.400001, 49))
    score += points(high.get("ferritin"), (2000, 35), (6000.000001, 50))
    score += points(high.get("triglyceride"), (1.5, 44), (4.000001, 64))
    score += points(high.get("ast"), (30, 19))
    score += 30 if low.get("fibrinogen", 99) <= 2.5 else 0
    return score + (0, 23, 38)[organs] + (0, 0, 24, 34)[lineages] + 35 * marrow + 18 * immunosuppressed


def times(case: dict[str, Any]) -> list[float]:
    return [hour(entry) for entry in case.get("timeline") or []]


def answer(ask: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """The answer to one question."""
    number, scale = ask["n"], ask["scale"]
    if ask["options"]:  # every open question is decided as by default
        return {"n": number, "unsupported": True}
    at = [float(ask["at_h"])] if "at_h" in ask else [24.0 * float(ask["at_day"])] if "at_day" in ask else times(case)
    if scale in ("crs_astct2019", "icans_astct"):
        grader, cause = (crs, "crs") if scale == "crs_astct2019" else (icans, "icans")
        grade = max((grader(case, t) for t in at), default=0)
        deaths = [e["event"] for e in case.get("timeline") or [] if (e.get("event") or {}).get("kind") == "death"]
        if any(d.get("cause") == cause for d in deaths) and not {"at_h", "at_day"} & set(ask):
            grade = 5
        return {"n": number, "grade": grade}
    if scale == "hscore":
        score = hscore(case)
        return {"n": number, "grade": int(score >= 169), "value": score}
    return {"n": number, "unsupported": True}


def respond(text: str) -> str:
    """One document in, one document out."""
    document = json.loads(text)
    return json.dumps({"answers": [answer(ask, document["case"]) for ask in document["ask"]]})


class Handler(BaseHTTPRequestHandler):
    """The same over HTTP."""

    def do_POST(self) -> None:
        body = respond(self.rfile.read(int(self.headers["Content-Length"])).decode()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description="A deliberately naive grader.")
    parser.add_argument("--serve", type=int, metavar="PORT", help="answer over HTTP; 0 takes any free port")
    port = parser.parse_args().serve
    if port is None:
        sys.stdin.reconfigure(encoding="utf-8")
        for line in sys.stdin:
            print(respond(line), flush=True)
        return
    with HTTPServer(("127.0.0.1", port), Handler) as server:
        print(f"listening on port {server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
