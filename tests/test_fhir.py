"""FHIR R4 in: each resource as charted rows, references, faults; and the same records as CSV give the same timeline."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars import col
from polars.testing import assert_frame_equal

from aftercar.errors import InputError
from aftercar.timeline.readers import Imported, read
from aftercar.timeline.readers.survey import survey

Resource = dict[str, Any]
LOINC, RXNORM, SNOMED = "http://loinc.org", "http://www.nlm.nih.gov/research/umls/rxnorm", "http://snomed.info/sct"
ANN = {"reference": "Patient/ann"}
AT = "2024-01-10T08:00:00"


def concept(system: str, code: str, display: str | None = None) -> Resource:
    return {"coding": [{"system": system, "code": code} | ({"display": display} if display else {})]}


def observation(loinc: str, value: Resource, **more: Any) -> Resource:
    return {
        "resourceType": "Observation", "status": "final", "code": concept(LOINC, loinc), "subject": ANN, "effectiveDateTime": AT,
        **value, **more,
    }  # fmt: skip


def temperature(value: float, **more: Any) -> Resource:
    return observation("8310-5", {"valueQuantity": {"value": value, "unit": "C", "code": "Cel"}}, **more)


def given_drug(**more: Any) -> Resource:
    return {
        "resourceType": "MedicationAdministration", "status": "completed", "subject": ANN, "effectiveDateTime": AT,
        "medicationCodeableConcept": concept(RXNORM, "612865"), **more,
    }  # fmt: skip


MAPPING = """
[codes]
"urn:ward//DEVICE" = "o2_device"
"urn:ward//CPAP" = { concept = "o2_device", text = "cpap" }
"SNOMED//1" = "dialysis"
[text.o2_device]
"Nasal cannula" = "nasal_cannula"
"""


@pytest.fixture
def take(tmp_path: Path) -> Callable[..., Imported]:
    def read_resources(*resources: Resource, mapping: str = MAPPING, name: str = "x.ndjson") -> Imported:
        source = tmp_path / name
        source.write_text("".join(json.dumps(r) + "\n" for r in resources), encoding="utf-8")
        (tmp_path / "mapping.toml").write_text(mapping, encoding="utf-8")
        return read(source, tmp_path / "mapping.toml")

    return read_resources


def rows(imported: Imported, *columns: str) -> list[tuple[Any, ...]]:
    kept = imported.timeline.filter(col("code") != "record_complete")
    return kept.select(columns or ("code", "numeric_value", "text_value")).rows()


Case = tuple[list[Resource], list[tuple[str, float | None, str | None]]]
CASES: dict[str, Case] = {
    "a number with its unit": ([temperature(38.5)], [("temperature", 38.5, None)]),
    "another unit": ([observation("8310-5", {"valueQuantity": {"value": 101.3, "code": "[degF]"}})], [("temperature", 38.5, None)]),
    "the unit's name where it has no code": (
        [observation("8480-6", {"valueQuantity": {"value": 88, "unit": "mmHg"}})],
        [("sbp", 88, None)],
    ),
    "components": (
        [
            observation("85354-9", {}, component=[
                {"code": concept(LOINC, "8480-6"), "valueQuantity": {"value": 88, "code": "mm[Hg]"}},
                {"code": concept(LOINC, "8462-4"), "valueQuantity": {"value": 50, "code": "mm[Hg]"}},
            ])
        ],
        [("dbp", 50, None), ("sbp", 88, None)],
    ),
    "the coding that means something": (
        [observation("x", {"valueQuantity": {"value": 39, "code": "Cel"}}, code={"coding": [{"system": "urn:ward", "code": "T"}, {"system": LOINC, "code": "8310-5"}]})],
        [("temperature", 39, None)],
    ),
    "a word by its display": (
        [observation("x", {"valueCodeableConcept": concept(SNOMED, "7", "Nasal cannula")}, code=concept("urn:ward", "DEVICE"))],
        [("o2_device", None, "nasal_cannula")],
    ),
    "a period": (
        [given_drug(effectiveDateTime=None, effectivePeriod={"start": AT, "end": "2024-01-10T09:00:00"})],
        [("tocilizumab", None, None)],
    ),
    "a dose": ([given_drug(dosage={"dose": {"value": 8, "code": "mg/kg"}})], [("tocilizumab", 8, None)]),
    "a rate": (
        [given_drug(medicationCodeableConcept=concept(RXNORM, "7512"), dosage={"rateRatio": {"numerator": {"value": 600, "code": "ug"}, "denominator": {"value": 60, "code": "min"}}})],
        [("norepinephrine", 10, None)],
    ),
    "a contained medication": (
        [given_drug(medicationCodeableConcept=None, medicationReference={"reference": "#m"}, contained=[{"resourceType": "Medication", "id": "m", "code": concept(RXNORM, "612865")}])],
        [("tocilizumab", None, None)],
    ),
    "a statement": (
        [given_drug(resourceType="MedicationStatement", status="active")],
        [("tocilizumab", None, None)],
    ),
    "a procedure": (
        [{"resourceType": "Procedure", "status": "completed", "subject": ANN, "code": concept(SNOMED, "1"), "performedPeriod": {"start": AT}}],
        [("dialysis", None, None)],
    ),
    "a stay": (
        [{"resourceType": "Encounter", "status": "finished", "class": {"code": "IMP"}, "subject": ANN, "period": {"start": AT, "end": "2024-01-20T08:00:00"}}],
        [("setting", None, "inpatient"), ("setting", None, "outpatient")],
    ),
    "a person": (
        [{"resourceType": "Patient", "id": "ann", "gender": "female", "birthDate": "1960-05-01", "deceasedDateTime": "2024-03-01T12:00:00Z"}],
        [("sex", None, "female"), ("birth", None, None), ("death", None, None)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CASES)
def test_resources_become_rows(what: str, take: Callable[..., Imported]) -> None:
    resources, expected = CASES[what]
    imported = take(*resources)
    assert rows(imported) == expected, imported.rejected.rows()
    assert imported.read == imported.accepted + imported.rejected.height


REJECTS: dict[str, tuple[Resource, str]] = {
    "entered in error": (temperature(38.5, status="entered-in-error"), "withdrawn"),
    "not given": (given_drug(status="not-done"), "not_given"),
    "an order": (given_drug(resourceType="MedicationRequest", authoredOn=AT), "order"),
    "no value": (observation("8310-5", {"dataAbsentReason": {"text": "unknown"}}), "missing_value"),
    "no subject": (temperature(38.5, subject=None), "missing_subject"),
    "a group of subjects": (temperature(38.5, subject={"reference": "Group/1"}), "missing_subject"),
    "no time": (temperature(38.5, effectiveDateTime=None), "missing_time"),
    "half a date": (temperature(38.5, effectiveDateTime="2024-01"), "bad_time"),
    "another resource": ({"resourceType": "Claim"}, "other_resource"),
    "a wrong type": (temperature(38.5, effectiveDateTime=5), "bad_resource"),
    "no resource": ({"some": "json"}, "bad_resource"),
    "a refuted condition": (
        {"resourceType": "Condition", "subject": ANN, "code": concept(SNOMED, "1"), "verificationStatus": concept("v", "refuted"), "onsetDateTime": AT},
        "withdrawn",
    ),
    "a death without a date": ({"resourceType": "Patient", "id": "ann", "deceasedBoolean": True}, "missing_time"),
}  # fmt: skip


@pytest.mark.parametrize("what", REJECTS)
def test_what_cannot_be_used_is_listed(what: str, take: Callable[..., Imported]) -> None:
    resource, reason = REJECTS[what]
    imported = take(temperature(37), resource)
    assert imported.rejected.select("file", "row", "reason").rows() == [("x.ndjson", 2, reason)]
    assert imported.read == 2 and rows(imported) == [("temperature", 37, None)]


def test_an_order_counts_where_the_mapping_says_so(take: Callable[..., Imported]) -> None:
    order = given_drug(resourceType="MedicationRequest", status="active", authoredOn=AT)
    assert rows(take(order, mapping="[fhir]\norders = true\n")) == [("tocilizumab", None, None)]


@pytest.mark.parametrize(("comparator", "value"), [("<", 0.5 * (1 - 1e-6)), (">", 0.5 * (1 + 1e-6)), ("<=", 0.5)])
def test_a_comparator_is_kept(comparator: str, value: float, take: Callable[..., Imported]) -> None:
    low = observation("1988-5", {"valueQuantity": {"value": 0.5, "comparator": comparator, "code": "mg/L"}})
    assert take(low).timeline["numeric_value"].drop_nulls().to_list() == pytest.approx([value], rel=1e-9)


def test_the_laboratory_s_limits_are_rows(take: Callable[..., Imported]) -> None:
    alt = observation(
        "1742-6", {"valueQuantity": {"value": 50, "code": "U/L"}}, referenceRange=[{"low": {"value": 5}, "high": {"value": 35}}]
    )
    assert rows(take(alt)) == [("alt", 50, None), ("alt_uln", 35, None)]


def test_a_state_that_nobody_can_read_is_unknown(take: Callable[..., Imported]) -> None:
    imported = take(observation("x", {"valueString": "Optiflow"}, code=concept("urn:ward", "DEVICE")))
    assert rows(imported) == [("o2_device", None, "unknown")]
    assert imported.rejected["reason"].to_list() == ["unknown_value"]


@pytest.mark.parametrize(
    ("time", "zone", "local"),
    [
        ("2024-01-10T08:00:00Z", None, "2024-01-10T08:00:00"),
        ("2024-01-10T08:00:00Z", "Europe/Berlin", "2024-01-10T09:00:00"),
        ("2024-07-10T23:30:00.250Z", "Europe/Berlin", "2024-07-11T01:30:00.250"),
        ("2024-01-10T08:00:00-05:00", "Europe/Berlin", "2024-01-10T14:00:00"),
        ("2024-01-10T08:00:00", "Europe/Berlin", "2024-01-10T08:00:00"),
    ],
)
def test_times_are_local(time: str, zone: str | None, local: str, take: Callable[..., Imported]) -> None:
    mapping = f'[time]\nzone = "{zone}"\n' if zone else ""
    imported = take(temperature(38, effectiveDateTime=time), mapping=mapping)
    assert imported.timeline["time"][0].isoformat(timespec="milliseconds") == (local if "." in local else local + ".000")
    assert imported.offsets == (("x.ndjson",) if "Z" in time and not zone else ())


# ---- references and files


def entry(resource: Resource, url: str) -> Resource:
    return {"fullUrl": url, "resource": resource}


def test_a_bundle_s_references_are_resolved(tmp_path: Path) -> None:
    bundle = {
        "resourceType": "Bundle", "type": "transaction",
        "entry": [
            entry(given_drug(subject={"reference": "urn:uuid:1"}, medicationCodeableConcept=None, medicationReference={"reference": "urn:uuid:2"}), "urn:uuid:3"),
            entry({"resourceType": "Patient", "id": "ann", "gender": "female"}, "urn:uuid:1"),
            entry({"resourceType": "Medication", "id": "m", "code": concept(RXNORM, "612865")}, "urn:uuid:2"),
            {"request": {"method": "DELETE", "url": "Patient/9"}},
        ],
    }  # fmt: skip
    (tmp_path / "b.json").write_text(json.dumps(bundle, indent=2))
    imported = read(tmp_path / "b.json")
    assert set(rows(imported, "subject_id", "code")) == {("ann", "sex"), ("ann", "tocilizumab")}
    assert imported.rejected.select("row", "reason").rows() == [(3, "pointed_at")]


def test_a_bulk_export_s_references_cross_files(tmp_path: Path) -> None:
    drug = given_drug(
        medicationCodeableConcept=None, medicationReference={"reference": "https://hl7.org/base/Medication/m/_history/1"}
    )
    device = {
        "resourceType": "DeviceUseStatement",
        "status": "completed",
        "subject": ANN,
        "timingPeriod": {"start": AT},
        "device": {"reference": "Device/d"},
    }
    files = {
        "A.MedicationAdministration": [drug],
        "B.Medication": [{"resourceType": "Medication", "id": "m", "code": concept(RXNORM, "612865")}],
        "C.DeviceUse": [device],
        "D.Device": [{"resourceType": "Device", "id": "d", "type": concept("urn:ward", "CPAP")}],
    }  # fmt: skip
    for name, resources in files.items():
        (tmp_path / f"{name}.ndjson.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, resources)).encode()))
    (tmp_path / "map.toml").write_text(MAPPING)
    assert rows(read(tmp_path, tmp_path / "map.toml"), "code", "text_value") == [("o2_device", "cpap"), ("tocilizumab", None)]


def test_a_bad_line_is_named_and_the_rest_go_on(tmp_path: Path) -> None:
    lines = [json.dumps(temperature(37 + n / 10)) for n in range(10)]
    lines[6] = lines[6][:40]
    (tmp_path / "x.ndjson").write_text("\n".join(lines))
    imported = read(tmp_path / "x.ndjson")
    assert (imported.read, imported.accepted) == (10, 9)
    assert imported.rejected.select("file", "row", "reason").rows() == [("x.ndjson", 7, "malformed_line")]


def test_lines_under_the_name_of_a_document(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("".join(json.dumps(temperature(t)) + "\n" for t in (37, 38)))
    assert read(tmp_path / "x.json").accepted == 2


def test_one_resource_alone(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(temperature(37), indent=1))
    assert read(tmp_path / "x.json").accepted == 1


@pytest.mark.parametrize("name", ["b.json", "b.json.gz"])
def test_a_bundle_that_is_cut_off_is_a_clear_error(name: str, tmp_path: Path) -> None:
    resources = [temperature(37 + n / 100) for n in range(200)]
    content = json.dumps({"resourceType": "Bundle", "entry": [{"resource": r} for r in resources]}).encode()
    content = gzip.compress(content) if name.endswith(".gz") else content
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=name):
        read(tmp_path / name)
    (tmp_path / "whole.ndjson").write_text(json.dumps(temperature(38)))
    found = read(tmp_path)  # in a folder the rest goes on
    assert found.accepted == 1 and list(found.skipped_files) == [name]


def test_lines_before_the_place_where_a_file_is_cut_off_are_read(tmp_path: Path) -> None:
    lines = [json.dumps(temperature(37 + n / 1000)) for n in range(2000)]
    content = gzip.compress("\n".join(lines).encode())
    (tmp_path / "b.ndjson.gz").write_bytes(content[: len(content) // 2])
    found = read(tmp_path / "b.ndjson.gz")
    assert 100 < found.accepted < 2000 and found.read == found.accepted + found.rejected.height
    at = found.rejected.filter(col("reason") == "cut_off")
    assert at.select("file", "row").rows()[0][0] == "b.ndjson.gz" and at["row"][0] >= found.accepted


def test_an_error_never_shows_a_value(take: Callable[..., Imported]) -> None:
    wrong = temperature(37, effectiveDateTime=["secret"], gender="secret", status={"secret": 1})
    assert "secret" not in str(take(temperature(37), wrong).rejected.rows())


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_bundle_is_read_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Bytes changed, lost or doubled anywhere: rows, or a sentence; never a traceback, and nothing uncounted."""
    resources = [temperature(38), given_drug(), CASES["components"][0][0], CASES["a person"][0][0]]
    content = bytearray(json.dumps({"resourceType": "Bundle", "entry": [{"resource": r} for r in resources]}).encode())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        how = data.draw(st.sampled_from(["change", "lose", "double"]))
        if how == "change":
            content[at] = data.draw(st.integers(0, 255))
        else:
            content[at : at + 8] = b"" if how == "lose" else bytes(content[at : at + 8]) * 2
    path = tmp_path_factory.mktemp("damaged") / "b.json"
    path.write_bytes(bytes(content))
    try:
        imported = read(path)
    except InputError as error:
        assert "b.json" in str(error)
    else:
        assert imported.read == imported.accepted + imported.rejected.height


# ---- the same records in two formats


def test_csv_and_fhir_give_the_same_timeline(tmp_path: Path) -> None:
    charted = [
        ("ann", "2024-01-09T10:00:00", "tocilizumab", 8, "mg/kg"), ("ann", "2024-01-09T11:00:00", "temperature", 39.1, "Cel"),
        ("bob", "2024-01-09T11:00:00", "temperature", 102.0, "[degF]"), ("bob", "2024-01-09T12:00:00", "crp", 12, "mg/dL"),
        ("bob", "2024-01-09T13:00:00", "sbp", 85, "mm[Hg]"),
    ]  # fmt: skip
    names = {
        "tocilizumab": (RXNORM, "612865"),
        "temperature": (LOINC, "8310-5"),
        "crp": (LOINC, "1988-5"),
        "sbp": (LOINC, "8480-6"),
    }
    csv = pl.DataFrame(charted, schema=["subject_id", "time", "code", "value", "unit"], orient="row")
    csv.write_csv(tmp_path / "x.csv")
    made = []
    for who, time, code, value, unit in charted:
        about = {"subject": {"reference": f"Patient/{who}"}, "effectiveDateTime": time}
        quantity = {"value": value, "code": unit}
        if code == "tocilizumab":
            made.append(given_drug(**about, dosage={"dose": quantity}))
        else:
            made.append(observation("", {"valueQuantity": quantity}, **about, code=concept(*names[code])))
    (tmp_path / "x.ndjson").write_text("\n".join(map(json.dumps, made)))
    as_csv, as_fhir = (read(tmp_path / f"x.{s}").timeline.drop("source", "event_id") for s in ("csv", "ndjson"))
    assert_frame_equal(as_csv, as_fhir)


# ---- what is not mapped


def test_codes_are_listed_by_frequency(tmp_path: Path) -> None:
    made = [temperature(37), *(observation("0-0", {"valueQuantity": {"value": n, "code": "mg"}}) for n in range(3))]
    made[1]["code"]["coding"][0]["display"] = "Something"
    (tmp_path / "x.ndjson").write_text("\n".join(map(json.dumps, made)))
    found = survey(tmp_path / "x.ndjson")
    assert found.drop("files").rows() == [
        ("LOINC//0-0", None, "Something", 3, 1, 3, ["mg"]),
        ("LOINC//8310-5", "temperature", None, 1, 1, 1, ["Cel"]),
    ]


SNOMED = "http://snomed.info/sct"
DEVICE_CODE = {"system": "urn:ward", "code": "O2DEV"}


def test_public_codes_of_devices_need_no_mapping(take: Callable[..., Imported]) -> None:
    def charted(code: str, display: str) -> Resource:
        word = {"coding": [{"system": SNOMED, "code": code, "display": display}]}
        return temperature(38, code={"coding": [DEVICE_CODE]}, valueQuantity=None, valueCodeableConcept=word)

    device = {"resourceType": "Device", "id": "d", "type": concept(SNOMED, "336623009")}
    use = {
        "resourceType": "DeviceUseStatement",
        "subject": ANN,
        "timingPeriod": {"start": AT},
        "device": {"reference": "Device/d"},
    }
    on = {
        "resourceType": "Procedure",
        "status": "completed",
        "subject": ANN,
        "code": concept(SNOMED, "233573008"),
        "performedDateTime": AT,
    }
    mapping = '[codes]\n"urn:ward//O2DEV" = "o2_device"\n[text.o2_device]\n"Our CPAP" = "cpap"\n'
    found = take(device, use, on, charted("428285009", "Venturi mask"), charted("704718009", "Our CPAP"), mapping=mapping)
    assert set(rows(found, "code", "text_value")) == {("o2_device", w) for w in ("nasal_cannula", "ecmo", "venturi", "cpap")}
