"""Worked cases (the schema of `vignettes.yaml`, version 1) as charted rows, for the same readers and graders as real records.

A case tells its whole story: drugs, seizures, symptoms and organ toxicity that it does not mention did not happen; oxygen and blood
pressure that it has not mentioned yet are room air and normal. A sign of pressure or oxygen whose cause it does not name is due to the
cells. What is not known is written as null.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.errors import InputError, nearest
from aftercar.timeline.concepts import codes, concepts
from aftercar.timeline.readers.mapping import Mapping
from aftercar.timeline.readers.normalise import CHARTED, RELATIVE_EPOCH, normalise, settle
from aftercar.timeline.schema import conform

SCHEMA_VERSION = 1
_LAST_STATE_H = 24.0  # a state of the last entry goes on for a day

_CASE_KEYS = {"id", "title", "patient", "options", "timeline", "series", "expected", "why", "note", "trap"}
_ENTRY_KEYS = {
    "h", "day", "vitals", "fever_cause", "hypotension_cause", "hypotension", "fluids_bolus", "vasopressors", "o2", "tx", "neuro",
    "lab", "event", "findings", "note",
}  # fmt: skip
_VITALS = {"temp_c": ("temperature", "Cel"), "temp_f": ("temperature", "[degF]"), "sbp": ("sbp", "mm[Hg]"), "map": ("map", "mm[Hg]"),
           "dbp": ("dbp", "mm[Hg]"), "spo2": ("spo2", "%"), "hr": ("heart_rate", "/min")}  # fmt: skip
_NEURO = {"ice": "ice", "capd": "capd", "cartox": "cartox", "rass": "rass", "op_mmhg": "opening_pressure",
          "papilloedema_stage": "papilloedema_stage"}  # fmt: skip
_NEURO_WORDS = ("consciousness", "motor", "confusion", "dysphasia", "tremor")
_NEURO_KEYS = {*_NEURO, *_NEURO_WORDS, "ice_items", "seizure", "icp", "haemorrhage", "sedated", "cause"}
_CAUSES = {"iec": "iec", "crs": "iec", "icans": "iec", "unknown": "unknown", "infection": "other", "other": "other"}
_PATIENT_KEYS = {
    "age_y", "weight_kg", "product", "target", "disease", "setting", "sex", "baseline", "developmental_delay", "note",
}  # fmt: skip


@dataclass
class Case:
    """One worked case, as it stands in the file."""

    id: str
    body: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    problem: str | None = None


def read_cases(path: Path | str) -> list[Case]:
    """The cases of a YAML file; a case that breaks the schema carries its `problem`.

    Raises:
        InputError: no YAML, another schema version, or no cases.
    """
    import yaml

    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_strict(yaml))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({type(error).__name__}).") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise InputError(f"{path}: not YAML{f', line {mark.line + 1}' if mark else ''}.") from error
    if not isinstance(content, dict) or not isinstance(content.get("cases"), list):
        raise InputError(f"{path}: no list of cases there.")
    if not content["cases"]:
        raise InputError(f"{path}: its list of cases is empty.")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise InputError(f"{path}: schema_version {content.get('schema_version')!r}; this reads version {SCHEMA_VERSION}.")
    cases: list[Case] = []
    seen: set[str] = set()
    for n, body in enumerate(content["cases"], 1):
        name = str(body.get("id", f"case {n}")) if isinstance(body, dict) else f"case {n}"
        case = Case(name, body if isinstance(body, dict) else {})
        if name in seen:
            case.problem = "its id is not unique"
        seen.add(name)
        try:
            case.rows = _rows(case.body)
        except (_Broken, TypeError, ValueError, AttributeError, KeyError) as error:
            case.problem = str(error) if isinstance(error, _Broken) else f"does not fit the schema ({type(error).__name__})"
        cases.append(case)
    return cases


def cases_timeline(cases: list[Case]) -> tuple[pl.DataFrame, dict[str, str]]:
    """The timeline of all cases (`subject_id` is the case's id), and why rows of a case could not be used."""
    every = [{**r, "subject_id": c.id, "file": c.id, "row": n} for c in cases if not c.problem for n, r in enumerate(c.rows, 1)]
    unknown = [r for r in every if r.get("not_known")]
    rows = [r for r in every if not r.get("not_known")]
    frame = pl.DataFrame(rows, schema_overrides=CHARTED, infer_schema_length=None) if rows else pl.DataFrame(schema=CHARTED)
    epoch = lit(RELATIVE_EPOCH).str.to_datetime("%Y-%m-%d", time_unit="us")
    if rows:
        frame = frame.with_columns(
            (epoch + pl.duration(microseconds=(col(f"{c}_h") * 3_600_000_000).round().cast(pl.Int64))).alias(c)
            for c in ("time", "end_time")
        )
    frame = frame.with_columns(
        (col(name) if name in frame.columns else lit(None)).cast(dtype).alias(name) for name, dtype in CHARTED.items()
    ).with_columns(col("time_given", "end_given").fill_null(False))
    found = normalise(frame, Mapping())
    problems = {
        case: f"{code}: {reason}" + (f" ({detail})" if detail else "")
        for case, code, reason, detail in found.rejected.select("file", "code", "reason", "detail").iter_rows()
    }
    # What a case says is not known is a row without a value: it takes the place of what stood before.
    blank = [
        (r["subject_id"], datetime.fromisoformat(RELATIVE_EPOCH) + timedelta(hours=float(r["time_h"])), r["code"])
        for r in unknown
    ]
    schema = {"subject_id": pl.String, "time": pl.Datetime("us"), "code": pl.String}
    told = pl.concat([settle(found.rows)[0], pl.DataFrame(blank, schema=schema, orient="row")], how="diagonal")
    return conform(told), problems


def _strict(yaml: Any) -> Any:
    """A safe loader that refuses a key given twice, where the last would silently win."""

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        pass

    def table(loader: Any, node: Any) -> dict[Any, Any]:
        pairs = [(loader.construct_object(k, deep=True), loader.construct_object(v, deep=True)) for k, v in node.value]
        if len(dict(pairs)) < len(pairs):
            raise yaml.constructor.ConstructorError(None, None, "a key is given twice", node.start_mark)
        return dict(pairs)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, table)
    return Loader


class _Broken(Exception):
    """What of a case does not fit the schema."""


def _check(keys: Any, known: set[str], where: str, cutoff: float = 0.6) -> None:
    """Refuse a key that looks like a slip of a known one; others may belong to scales that are not built."""
    for key in keys:
        if key not in known and difflib.get_close_matches(str(key), known, cutoff=cutoff):
            raise _Broken(f"{where}: {key!r} is not known. {nearest(str(key), known)}")


def _rows(body: dict[str, Any]) -> list[dict[str, Any]]:
    _check(body, _CASE_KEYS, "case")
    entries = sorted(((_hour(e), e) for e in body.get("timeline") or []), key=lambda pair: pair[0])
    for _, entry in entries:
        _check(entry, _ENTRY_KEYS, "timeline entry")
    series = [
        (24.0 * int(day), *_amount(value, told["unit"]), name)
        for name, told in (body.get("series") or {}).items()
        if _concerns(name)
        for day, value in told["values"].items()
        if value is not None
    ]
    stop = max([h for h, _ in entries] + [s[0] for s in series] + [0.0]) + _LAST_STATE_H
    rows = _patient(body.get("patient") or {}, stop)
    rows += [_row(h, _code(name), number=value, unit=unit) for h, value, unit, name in series]
    for hour, entry in entries:
        rows += _vitals(hour, entry) + _events(hour, entry)
        if "neuro" in entry:
            rows += _neuro(hour, entry["neuro"])
    rows += _pressure(entries, stop) + _oxygen(entries, stop) + _vasopressors(entries, stop) + _drug_record(entries, stop)
    return rows


def _hour(entry: dict[str, Any]) -> float:
    if "h" in entry:
        return float(entry["h"])
    if "day" in entry:
        return 24.0 * float(entry["day"])
    raise _Broken("timeline entry: neither h nor day")


def _row(
    hour: float,
    code: str,
    *,
    number: object = None,
    text: object = None,
    unit: str | None = None,
    cause: object = None,
    end: float | None = None,
) -> dict[str, Any]:
    return {
        "time_h": float(hour),
        "end_time_h": end,
        "code": code,
        "numeric_value": None if number is None else float(number),  # type: ignore[arg-type]
        "text_value": None if text is None else str(text),
        "unit": unit,
        "attributable_to": _cause(cause),
    }  # fmt: skip


def _cause(cause: object) -> str | None:
    """iec, other or unknown; any word of another cause is `other`, but not one that looks like a slip of a known word."""
    if cause is None:
        return None
    word = str(cause)
    if word not in _CAUSES and difflib.get_close_matches(word, _CAUSES, cutoff=0.75):
        raise _Broken(f"cause {word!r} is not known. {nearest(word, _CAUSES)}")
    return _CAUSES.get(word, "other")


def _code(name: str) -> str:
    try:
        return codes()[name]
    except KeyError:
        raise _Broken(f"{name!r} is not a concept. {nearest(name, concepts())}") from None


def _concerns(name: str) -> bool:
    """Whether a laboratory value or event is a concept; one that is not, and is no slip of one, concerns scales that are not built."""
    if name in codes():
        return True
    if difflib.get_close_matches(name, concepts(), cutoff=0.8):
        _code(name)
    return False


def _amount(value: Any, unit: str | None) -> tuple[float, str | None]:
    if isinstance(value, dict):
        return float(value["v"]), str(value["u"])
    return float(value), unit


def _patient(patient: dict[str, Any], stop: float) -> list[dict[str, Any]]:
    _check(patient, _PATIENT_KEYS, "patient")
    rows = [
        _row(0.0, "cart_infusion", text=patient.get("product")),
        *(_row(-720.0, "record_complete", text=stream, end=stop) for stream in ("seizure", "organ", "symptoms")),
    ]
    for key, code, unit in (("age_y", "age", "a"), ("weight_kg", "weight", "kg")):
        if patient.get(key) is not None:
            rows.append(_row(0.0, code, number=patient[key], unit=unit))
    rows += [_row(0.0, key, text=patient[key]) for key in ("sex", "target", "disease", "setting") if patient.get(key)]
    if patient.get("developmental_delay"):
        rows.append(_row(0.0, "developmental_delay", number=1))
    for key, value in (patient.get("baseline") or {}).items():
        if value is None:
            continue
        if key == "o2":
            rows.append(_row(-1.0, "o2_device_baseline", text=value["device"]))
            if value.get("lpm") is not None:
                rows.append(_row(-1.0, "o2_flow_baseline", number=value["lpm"], unit="L/min"))
        elif key == "ice":
            rows.append(_row(-1.0, "ice_baseline", number=value))
        elif isinstance(value, dict) and _concerns(key):
            rows.append(_row(-1.0, _code(key), number=value["v"], unit=value["u"]))
        elif key in concepts() and re.search(r"_(uln|lln)$", key):  # limits are given in the analyte's own unit
            rows.append(_row(-1.0, key, number=value, unit=concepts()[key].unit))
    return rows


def _vitals(hour: float, entry: dict[str, Any]) -> list[dict[str, Any]]:
    vitals = entry.get("vitals") or {}
    _check(vitals, set(_VITALS), "vitals")
    rows = [
        _row(
            hour,
            _VITALS[name][0],
            number=value,
            unit=_VITALS[name][1],
            cause=entry.get("fever_cause") if name.startswith("temp") else None,
        )
        for name, value in vitals.items()
        if value is not None and name in _VITALS and name not in ("sbp", "map")
    ]
    if entry.get("fluids_bolus"):
        rows.append(_row(hour, "fluid_bolus", number=entry["fluids_bolus"]))
    for name, value in (entry.get("lab") or {}).items():
        if _concerns(name):
            known: dict[str, Any] = {"number": value["v"], "unit": value["u"]} if value is not None else {}
            rows.append(_row(hour, _code(name), **known) | {"not_known": value is None})
    return rows


def _events(hour: float, entry: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    if tx := entry.get("tx"):
        rows.append(_row(hour, _code(tx["drug"]), number=tx.get("dose"), unit=tx.get("unit"), text=tx.get("intent")))
    if event := entry.get("event"):
        kind = event["kind"]
        if kind == "death":
            cause = str(event.get("cause", "unknown"))
            rows.append(_row(hour, "death", text=cause if cause in concepts()["death"].values else "other"))
        elif kind in _EVENT_FINDINGS:
            told = {ours: event[theirs] for theirs, ours in _EVENT_FINDINGS[kind].items() if event.get(theirs) is not None}
            rows += _findings(hour, told, event.get("cause"))
        elif _concerns(kind):
            rows.append(_row(hour, _code(kind), text=event.get("result"), cause=event.get("cause")))
    return rows + _findings(hour, entry.get("findings") or {}, None)


# What an event tells, and the concept that holds it.
_EVENT_FINDINGS = {
    "examination": {"spleen": "splenomegaly", "liver": "hepatomegaly"},
    "marrow": {"haemophagocytosis": "haemophagocytosis"},
    "diarrhoea": {"stools_over_baseline": "diarrhoea", "bloody": "diarrhoea_bloody", "grade": "diarrhoea_grade"},
}


def _findings(hour: float, told: dict[str, Any], cause: object) -> list[dict[str, Any]]:
    """Any concept by name: a number in its own unit, `{v, u}`, a word, true or false, or a list of them."""
    rows = []
    for name, values in told.items():
        what = concepts()[_code(name)]
        for value in values if isinstance(values, list) else [values]:
            if value is None:
                continue
            word = what.values and what.kind in ("text", "event")
            if isinstance(value, dict):
                rows.append(
                    _row(
                        hour,
                        what.name,
                        number=value["v"],
                        unit=value.get("u"),
                        text=value.get("intent"),
                        cause=value.get("cause", cause),
                    )
                )
            elif word or isinstance(value, str):
                rows.append(_row(hour, what.name, text=value, cause=cause))
            elif value is True and what.kind in ("drug", "event"):
                rows.append(_row(hour, what.name, cause=cause))
            else:
                rows.append(_row(hour, what.name, number=value, unit=what.unit, cause=cause))
    return rows


def _neuro(hour: float, neuro: dict[str, Any]) -> list[dict[str, Any]]:
    """One assessment. A key that is left out was not examined, but for seizures (`_patient` says they are all told)."""
    _check(neuro, _NEURO_KEYS, "neuro", 0.8)
    cause = neuro.get("cause")
    rows = [
        _row(hour, code, number=neuro[key], unit=concepts()[code].unit, cause=cause)
        for key, code in _NEURO.items()
        if neuro.get(key) is not None
    ]
    rows += [_row(hour, f"ice_{k}", number=v, cause=cause) for k, v in (neuro.get("ice_items") or {}).items() if v is not None]
    for key in _NEURO_WORDS:
        if neuro.get(key) is not None:
            rows.append(_row(hour, key, text=neuro[key], cause=cause))
        elif key in neuro and key in ("confusion", "dysphasia", "tremor"):  # else what is not mentioned was not there
            rows.append(_row(hour, key) | {"not_known": True})
    if neuro.get("icp") is not None:
        rows += [_row(hour, "icp_sign", text=sign, cause=cause) for sign in neuro["icp"] or ["none"]]
    if seizure := neuro.get("seizure"):
        rows.append(_row(hour, "seizure", text=seizure["kind"], cause=cause))
        if seizure.get("min") is not None:
            rows.append(_row(hour, "seizure_duration", number=seizure["min"], unit="min", cause=cause))
        if seizure.get("outcome"):
            rows.append(_row(hour, "seizure_outcome", text=seizure["outcome"], cause=cause))
    rows += [_row(hour, key, number=int(neuro[key])) for key in ("sedated", "haemorrhage") if neuro.get(key) is not None]
    return rows


def _assessed(entry: dict[str, Any]) -> bool:
    return any(key in entry for key in ("vitals", "o2", "vasopressors", "hypotension", "fluids_bolus"))


def _pressure(entries: list[tuple[float, dict[str, Any]]], stop: float) -> list[dict[str, Any]]:
    """Each statement of blood pressure stands until the next; before the first it is normal."""
    told = [(h, e) for h, e in entries if "hypotension" in e or any(k in (e.get("vitals") or {}) for k in ("sbp", "map"))]
    start = next((h for h, e in entries if _assessed(e)), None)
    if start is None:
        return []
    turns = [h for h, _ in told] + [stop]
    rows = [_row(start, "hypotension", number=0, end=turns[0])] if start < turns[0] else []
    for (hour, entry), end in zip(told, turns[1:], strict=True):
        cause, vitals = entry.get("hypotension_cause") or "iec", entry.get("vitals") or {}
        if entry.get("hypotension") is not None:
            rows.append(_row(hour, "hypotension", number=int(entry["hypotension"]), cause=cause, end=end))
        rows += [
            _row(hour, k, number=vitals[k], unit="mm[Hg]", cause=cause, end=end)
            for k in ("sbp", "map")
            if vitals.get(k) is not None
        ]
    return [r for r in rows if r["end_time_h"] > r["time_h"]]


def _oxygen(entries: list[tuple[float, dict[str, Any]]], stop: float) -> list[dict[str, Any]]:
    """Each device stands until the next; before the first it is room air; null is not known."""
    told = [(h, e["o2"]) for h, e in entries if "o2" in e]
    start = next((h for h, e in entries if _assessed(e)), None)
    if start is None:
        return []
    if not told or told[0][0] > start:
        told.insert(0, (start, {"device": "room_air"}))
    rows = []
    for (hour, o2), end in zip(told, [h for h, _ in told[1:]] + [stop], strict=True):
        _check(o2 or {}, {"device", "lpm", "fio2", "cause"}, "o2")
        if not o2 or o2.get("device") is None or end <= hour:
            continue
        rows.append(_row(hour, "o2_device", text=o2["device"], cause=o2.get("cause") or "iec", end=end))
        if o2.get("lpm") is not None:
            rows.append(_row(hour, "o2_flow", number=o2["lpm"], unit="L/min", end=end))
        if o2.get("fio2") is not None:
            rows.append(_row(hour, "fio2", number=o2["fio2"], unit="1", end=end))
    return rows


def _vasopressors(entries: list[tuple[float, dict[str, Any]]], stop: float) -> list[dict[str, Any]]:
    """Each list of infusions runs until the next list."""
    told = [(h, e["vasopressors"] or []) for h, e in entries if "vasopressors" in e]
    rows = []
    for (hour, drugs), end in zip(told, [h for h, _ in told[1:]] + [stop], strict=True) if told else []:
        for drug in drugs:
            _check(drug, {"drug", "rate", "unit", "cause"}, "vasopressors")
        rows += [
            _row(hour, _code(d["drug"]), number=d.get("rate"), unit=d.get("unit"), cause=d.get("cause") or "iec", end=end)
            for d in drugs
            if end > hour
        ]
    return rows


def _drug_record(entries: list[tuple[float, dict[str, Any]]], stop: float) -> list[dict[str, Any]]:
    """The drug record is complete, but while it is said (null) that the infusions are not known."""
    told = [(-720.0, True)] + [(h, e["vasopressors"] is not None) for h, e in entries if "vasopressors" in e]
    turns = [h for h, _ in told[1:]] + [stop]
    return [
        _row(hour, "record_complete", text="drugs", end=end)
        for (hour, known), end in zip(told, turns, strict=True)
        if known and end > hour
    ]
