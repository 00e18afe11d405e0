"""Files damaged in every way: rows and a list of what could not be used, or a sentence; never a traceback, and nothing uncounted.

`AFTERCAR_FUZZ=500 pytest -m "" tests/test_fuzz.py` tries so many damages of each format.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
import sdtm_files
import test_omop
import test_sdtm
import test_workbook
from hypothesis import given, settings
from hypothesis import strategies as st
from polars import col

from aftercar.conformance.run import suite
from aftercar.errors import AftercarError
from aftercar.timeline.readers import read
from aftercar.timeline.readers.cases import cases_timeline, read_cases
from aftercar.timeline.readers.survey import survey

DAMAGES = int(os.environ.get("AFTERCAR_FUZZ", "12"))  # of each format
SECRET = "Zz-Miller"  # stands in the records, and must not stand in what is said of them
DATA = Path(__file__).parents[2] / "shared" / "data"

LONG = "\n".join(
    [
        "subject_id,time,code,value,unit,end_time",
        *(f"{n % 3},2024-05-{1 + n:02}T08:00,{code},{value},{unit}," for n, (code, value, unit) in enumerate(
            [("sbp", 80, "mm[Hg]"), ("temperature", 39.1, "Cel"), ("crp", 5, "mg/L"), ("o2_device", SECRET, ""), ("death", SECRET, ""),
             ("norepinephrine", "0.1", "ug/kg/min"), ("disease", '"DLBCL, NOS"', ""), ("anc", "<0.1", "10*9/L")] * 3
        )),
        "",
    ]
)  # fmt: skip
WIDE = "patient_id;datetime;temperature_c;sbp_mmhg;o2_device;cart_infusion\n" + "".join(
    f"{n};2024-05-0{1 + n % 9} 08:00;38.{n % 10};9{n % 10};{('room_air', SECRET)[n % 2]};2024-05-01\n" for n in range(30)
)


def observation(n: int) -> dict[str, object]:
    return {
        "resourceType": "Observation", "id": f"o{n}", "status": "final", "subject": {"reference": f"Patient/{SECRET}"},
        "effectiveDateTime": f"2024-05-02T0{n % 10}:00:00+02:00", "code": {"coding": [{"system": "http://loinc.org", "code": "1742-6", "display": "ALT"}]},
        "valueQuantity": {"value": 40 + n, "code": "U/L"}, "referenceRange": [{"high": {"value": 35, "code": "U/L"}}],
        "component": [{"code": {"text": "x"}, "valueInteger": n, "valueString": SECRET}] if n % 4 == 0 else [],
    }  # fmt: skip


def resources() -> list[dict[str, object]]:
    ann: dict[str, object] = {"reference": f"Patient/{SECRET}"}
    return [
        {"resourceType": "Patient", "id": SECRET, "gender": "female", "birthDate": "1960-01-01", "deceasedDateTime": "2024-06-01"},
        *(observation(n) for n in range(12)),
        {"resourceType": "MedicationAdministration", "status": "completed", "subject": ann, "effectivePeriod": {"start": "2024-05-02", "end": "2024-05-03"},
         "medicationReference": {"reference": "Medication/m"}, "dosage": {"rateRatio": {"numerator": {"value": 1, "code": "mg"}, "denominator": {"value": 1, "code": "h"}}}},
        {"resourceType": "Medication", "id": "m", "code": {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "612865"}]}},
        {"resourceType": "Encounter", "status": "finished", "class": {"code": "IMP"}, "subject": ann, "period": {"start": "2024-05-01", "end": "2024-05-09"}},
        {"resourceType": "Condition", "subject": ann, "code": {"text": SECRET}, "onsetDateTime": "2024-05-02"},
    ]  # fmt: skip


def meds() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "subject_id": [1, 2, 3] * 8, "time": [datetime(2024, 5, 1 + n) for n in range(24)], "code": ["LOINC//8310-5", "sbp//mm[Hg]", "crp"] * 8,
            "numeric_value": pl.Series([38.0 + n for n in range(24)], dtype=pl.Float32), "text_value": [None, SECRET] * 12, "unit": ["Cel", "mm[Hg]", "mg/L"] * 8,
        }
    )  # fmt: skip


def long_csv(folder: Path) -> Path:
    return text(folder / "rows.csv", LONG)


def wide_csv(folder: Path) -> Path:
    return text(folder / "rows.csv", WIDE)


def gzipped_csv(folder: Path) -> Path:
    (folder / "rows.csv.gz").write_bytes(gzip.compress(LONG.encode()))
    return folder / "rows.csv.gz"


def meds_parquet(folder: Path) -> Path:
    (folder / "data").mkdir()
    meds().write_parquet(folder / "data" / "0.parquet", row_group_size=5)
    meds().write_parquet(folder / "data" / "1.parquet", compression="uncompressed")
    return folder


def bundle(folder: Path) -> Path:
    entries = [{"fullUrl": f"urn:uuid:{n}", "resource": r} for n, r in enumerate(resources())]
    return text(folder / "b.json", json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}, indent=1))


def ndjson(folder: Path) -> Path:
    return text(folder / "x.ndjson", "\n".join(map(json.dumps, resources())))


def fhir_folder(folder: Path) -> Path:
    for name in ("a", "b"):
        (folder / f"{name}.ndjson.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, resources())).encode()))
    bundle(folder)
    return folder


def omop_folder(folder: Path) -> Path:
    return test_omop.csvs(folder / "cdm", test_omop.CDM)


def omop_zip(folder: Path) -> Path:
    path = test_omop.zipped(omop_folder(folder))
    shutil.rmtree(folder / "cdm")
    return path


def omop_parquet(folder: Path) -> Path:
    return test_omop.parquets(folder / "cdm", test_omop.CDM)


def omop_duckdb(folder: Path) -> Path:
    path = test_omop.duck(folder / "cdm.duckdb")
    shutil.rmtree(folder / "p")
    return path


def trial(form: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        return sdtm_files.write(folder / "sdtm", test_sdtm.DOMAINS, form)

    write.__name__ = f"sdtm_{form}"
    return write


def peer_workbook(folder: Path) -> Path:
    day = datetime(2024, 5, 1)
    head = ["patient_id", "date", "anc", "cart_date", "progression_date"]
    rows = [[SECRET, datetime(2024, 5, 2 + n), 500 + n, day, None] for n in range(8)]
    return test_workbook.workbook(folder / "anc.xlsx", Counts=[head, *rows], Notes=[["a"], [SECRET]])


def text(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


SOURCES = [
    long_csv, wide_csv, gzipped_csv, meds_parquet, bundle, ndjson, fhir_folder, omop_folder, omop_zip, omop_parquet, omop_duckdb,
    *map(trial, ("xpt5", "xpt8", "1.1.0", "1.0.0", "ndjson")), peer_workbook,
]  # fmt: skip


# ---- damages


def flip(raw: bytearray, r: random.Random) -> None:
    for _ in range(r.randint(1, 8)):
        if raw:
            raw[r.randrange(len(raw))] ^= 1 << r.randrange(8)


def cut(raw: bytearray, r: random.Random) -> None:
    del raw[r.randrange(len(raw) + 1) :]


def lose(raw: bytearray, r: random.Random) -> None:
    at = r.randrange(len(raw) + 1)
    del raw[at : at + r.randint(1, 200)]


def double(raw: bytearray, r: random.Random) -> None:
    at = r.randrange(len(raw) + 1)
    raw[at:at] = raw[at : at + r.randint(1, 300)]


def put_in(raw: bytearray, r: random.Random) -> None:
    """Something that no reader likes."""
    at = r.randrange(len(raw) + 1)
    raw[at:at] = r.choice(
        [b"\0", b"\0" * 500, b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"\r", b"\r\n", b"\n", b",", b"{", b"]", b"[" * 3000, b'{"a":' * 2000, b"9" * 400, b"1e999",
         b"-1e-999", b"NaN", b"null", b"\xe9", b"\xed\xa0\x80", b"<", b"&x;", b"\x1a", b"2024-13-45", b"9999-12-31T23:59:59.999999999", b"-0001-01-01", b"//"]
    )  # fmt: skip


def swap_lines(raw: bytearray, r: random.Random) -> None:
    lines = raw.split(b"\n")
    a, b = r.randrange(len(lines)), r.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    raw[:] = b"\n".join(lines)


def change_type(raw: bytearray, r: random.Random) -> None:
    """A value of JSON or a table becomes one of another type."""
    old, new = r.choice(
        [(b'"', b""), (b"[", b"{"), (b"]", b"}"), (b":", b","), (b"1", b"true"), (b"2024", b"null"), (b"38", b"abc"), (b"0", b"-"), (b",", b";"), (b"{", b"["),
         (b"2024-05", b"05.2024"), (b"e", b"\xc3\xa9"), (b"8", b"88888888888888888888"), (b"4", b'{"x": 1}'), (b"person_id", b"PERSON_ID"), (b"value", b"Value")]
    )  # fmt: skip
    raw[:] = raw.replace(old, new, r.choice([1, 3, -1]))


def recode(raw: bytearray, r: random.Random) -> None:
    with_marks = raw.decode("utf-8", "replace")
    raw[:] = r.choice(
        [
            with_marks.encode("utf-16"), with_marks.encode("utf-16-le"), with_marks.encode("utf-8-sig"), with_marks.encode("utf-32"),
            with_marks.replace("\n", "\r\n").encode(), with_marks.replace("\n", "\r").encode(), with_marks.encode("cp1252", "replace"), b"",
        ]
    )  # fmt: skip


DAMAGE = [flip, cut, lose, double, put_in, swap_lines, change_type, recode]


def damage(path: Path, r: random.Random) -> None:
    """Damage a file; of one that is packed often what is in it."""
    ways = [r.choice(DAMAGE) for _ in range(r.randint(1, 3))]

    def changed(content: bytes) -> bytes:
        raw = bytearray(content)
        for way in ways:
            way(raw, r)
        return bytes(raw)

    within = r.random() < 0.6
    if path.suffix == ".gz" and within:
        path.write_bytes(gzip.compress(changed(gzip.decompress(path.read_bytes()))))
    elif path.suffix in (".zip", ".xlsx") and within:
        with zipfile.ZipFile(path) as packed:
            members = {name: packed.read(name) for name in packed.namelist()}
        member = r.choice(sorted(members))
        members[member] = changed(members[member])
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in members.items():
                packed.writestr(name, content)
    else:
        path.write_bytes(changed(path.read_bytes()))


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.__name__)
def test_a_damaged_source_is_read_or_refused(source: Callable[[Path], Path], tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    place = source(whole).relative_to(whole)

    @settings(max_examples=DAMAGES, deadline=None, database=None)
    @given(seed=st.integers(0, 2**32))
    def each(seed: int) -> None:
        r = random.Random(seed)
        room = tmp_path / "damaged"
        shutil.rmtree(room, ignore_errors=True)
        shutil.copytree(whole, room)
        files = sorted(p for p in room.rglob("*") if p.is_file())
        for path in r.sample(files, min(len(files), r.randint(1, 2))):
            damage(path, r)
        try:
            found = read(room / place)
        except AftercarError as error:
            assert SECRET not in str(error)
        else:
            assert found.read == found.accepted + found.rejected.height
            assert found.rejected["reason"].null_count() == 0
            assert SECRET not in str(found.rejected["detail"].drop_nulls().to_list()) and SECRET not in str(found.skipped_files)
            assert found.timeline.select("subject_id", "code").null_count().row(0) == (0, 0)
        try:
            survey(room / place)
        except AftercarError as error:
            assert SECRET not in str(error)

    each()


@settings(max_examples=5 * DAMAGES, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_damaged_cases_are_read_or_refused(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    r = random.Random(seed)
    path = tmp_path_factory.mktemp("cases") / "cases.yaml"
    path.write_bytes(r.choice(suite()).read_bytes()[: r.choice([3_000, 10_000])])
    damage(path, r)
    try:
        cases = read_cases(path)
        cases_timeline(cases)
    except AftercarError:
        pass


@settings(max_examples=5 * DAMAGES, deadline=None)
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("content", [LONG, "\n".join(map(json.dumps, resources()))], ids=["csv", "ndjson"])
def test_lines_that_are_whole_stay(content: str, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One line is damaged, without a line's end: every other line gives what it gave."""
    r = random.Random(seed)
    name = "x.ndjson" if content.startswith("{") else "rows.csv"
    path = tmp_path_factory.mktemp("lines") / name
    path.write_text(content)
    before = read(path)
    lines = content.encode().split(b"\n")
    hit = r.randrange(1, len(lines) - 1)
    raw = bytearray(lines[hit])
    r.choice([flip, cut, lose, double, put_in, change_type])(raw, r)
    lines[hit] = bytes(raw).replace(b"\n", b" ")
    path.write_bytes(b"\n".join(lines))
    after = read(path)
    number = hit + 1 if name == "x.ndjson" else hit

    def others(timeline: pl.DataFrame) -> pl.DataFrame:
        mine = col("source").str.contains(rf"^{name}:{number}(:|$)") | (col("code") == "record_complete")
        return timeline.filter(~mine).with_columns(col("subject_id").cast(pl.String)).drop("event_id").sort(pl.all())

    # A medication is read where another line points at it.
    if not (name == "x.ndjson" and b'"Medication"' in content.encode().split(b"\n")[hit]):
        assert others(after.timeline).equals(others(before.timeline))


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip("the public example is not here")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["fhir_bundles", "fhir_bulk_10", "omop/Synthea27Nj_5.4.zip", "omop/Synthea27NjParquet_5.4.zip", "mimic4_demo_meds"]
)
def test_real_files_that_are_damaged(name: str, tmp_path: Path) -> None:
    source = real(name)
    for seed in range(max(1, DAMAGES // 6)):
        r = random.Random(seed)
        room = tmp_path / str(seed)
        room.mkdir()
        for path in [source] if source.is_file() else sorted(p for p in source.iterdir() if p.is_file()):
            shutil.copy(path, room)
        files = sorted(room.iterdir())
        for path in r.sample(files, min(2, len(files))):
            damage(path, r)
        try:
            found = read(files[0] if source.is_file() else room)
        except AftercarError:
            continue
        assert found.read == found.accepted + found.rejected.height
        shutil.rmtree(room)
