"""An OMOP CDM in every form it comes in says what the same records say as our long table."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest
from polars import col

from aftercar.errors import InputError
from aftercar.timeline.readers import Imported, read
from aftercar.timeline.readers.mapping import read_mapping
from aftercar.timeline.readers.omop import is_omop
from aftercar.timeline.readers.survey import survey

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data" / "omop"


def at(day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2024, 5, day, hour, minute)


def frame(columns: str, *rows: tuple[object, ...]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=columns.split(), orient="row", infer_schema_length=None)


CDM = {
    "person": frame(
        "person_id gender_concept_id year_of_birth month_of_birth day_of_birth birth_datetime gender_source_value",
        (1, 8507, 1960, 3, 4, None, "M"),
        (2, 0, 2015, None, None, None, "F"),
    ),
    "visit_occurrence": frame(
        "visit_occurrence_id person_id visit_concept_id visit_start_date visit_start_datetime visit_end_date visit_end_datetime",
        (11, 1, 9201, date(2024, 5, 1), None, date(2024, 5, 20), None),
        (12, 1, 262, date(2024, 5, 19), at(19, 7), date(2024, 5, 22), at(22, 11)),  # begins within the stay before
        (13, 1, 9202, date(2024, 5, 10), None, date(2024, 5, 10), None),  # an appointment from the ward ends no stay
    ),
    "measurement": frame(
        "measurement_id person_id measurement_concept_id measurement_date measurement_datetime measurement_time operator_concept_id"
        " value_as_number value_as_concept_id unit_concept_id range_low range_high measurement_source_value measurement_source_concept_id"
        " unit_source_value value_source_value",
        (101, 1, 3020891, date(2024, 5, 3), at(3, 8), None, None, 101.3, 0, 9289, None, None, None, None, None, None),
        (102, 1, 3013650, date(2024, 5, 3), None, "09:30:00", 4171756, 0.1, 0, 8848, None, None, None, None, None, None),
        (103, 1, 0, date(2024, 5, 3), at(3, 8), None, None, 4.2, 0, 8840, None, None, "CRP", 2000001, None, None),
        (104, 1, 0, date(2024, 5, 3), at(3, 8), None, None, None, 0, 0, None, None, "FERR", 0, "ug/L", ">500"),
        (105, 1, 3006923, date(2024, 5, 3), at(3, 8), None, None, 90.0, 0, 8645, 5.0, 40.0, None, None, None, None),
        (106, 1, 3016407, date(2024, 5, 3), at(3, 8), None, None, 1.5, 0, 9100001, 1.8, 4.0, None, None, None, None),
        (107, 1, 3020891, date(2024, 5, 4), None, None, None, 38.4, 0, 9100002, None, None, None, None, "Cel", None),
        (108, 2, 4000011, date(2024, 5, 4), at(4, 9), None, None, 1.0, 0, 0, None, None, "urine colour", 0, None, None),
    ),
    "observation": frame(
        "observation_id person_id observation_concept_id observation_date observation_datetime value_as_number value_as_string"
        " value_as_concept_id unit_concept_id observation_source_value",
        (201, 1, 4000001, date(2024, 5, 3), at(3, 9), None, None, 4000002, None, None),
        (202, 1, 4000001, date(2024, 5, 3), at(3, 10), None, "RA", 0, None, None),
        (203, 1, 4000001, date(2024, 5, 3), at(3, 11), None, None, 4000003, None, None),
    ),
    "drug_exposure": frame(
        "drug_exposure_id person_id drug_concept_id drug_exposure_start_date drug_exposure_start_datetime drug_exposure_end_date"
        " drug_exposure_end_datetime quantity dose_unit_source_value drug_source_value drug_source_concept_id",
        (301, 1, 40000001, date(2024, 5, 3), at(3, 8), date(2024, 5, 3), None, 4.0, None, None, None),
        (302, 1, 1321341, date(2024, 5, 3), at(3, 8), date(2024, 5, 4), at(4), 5.0, "ug/min", None, None),
        (303, 1, 40000003, date(2024, 5, 3), None, date(2024, 5, 5), None, 6.0, None, None, None),
        (304, 2, 40000004, date(2024, 5, 3), at(3, 8), date(2024, 5, 3), at(3, 8), None, None, None, None),
        (305, 2, 40000005, date(2024, 5, 3), at(3, 9), date(2024, 5, 3), None, None, None, None, None),
    ),
    "device_exposure": frame(
        "device_exposure_id person_id device_concept_id device_exposure_start_date device_exposure_start_datetime device_exposure_end_date"
        " device_exposure_end_datetime",
        (401, 1, 4000005, date(2024, 5, 3), at(3, 12), date(2024, 5, 4), at(4, 6)),
    ),
    "procedure_occurrence": frame(
        "procedure_occurrence_id person_id procedure_concept_id procedure_date procedure_datetime procedure_source_concept_id",
        (501, 1, 0, date(2024, 5, 1), at(1, 12), 2000002),
        (502, 2, 792844, date(2024, 5, 2), None, 0),
    ),
    "condition_occurrence": frame(
        "condition_occurrence_id person_id condition_concept_id condition_start_date condition_start_datetime condition_end_date",
        (601, 1, 4000007, date(2024, 5, 5), at(5, 8), date(2024, 5, 5)),
    ),
    "death": frame("person_id death_date death_datetime cause_concept_id", (1, date(2024, 5, 22), at(22), 4000008)),
    "concept": frame(
        "concept_id concept_name vocabulary_id concept_code",
        (2000001, "C reactive protein", "LOINC", "1988-5"),
        (2000002, "Axicabtagene ciloleucel", "HCPCS", "Q2041"),
        (4000002, 'Nasal cannula 2"', "SNOMED", "1"),
        (4000008, "Sepsis", "SNOMED", "2"),
        (9100001, "gram per liter", "UCUM", "g/L"),
        (2104604, "emapalumab", "RxNorm", "2104604"),
    ),
    "concept_ancestor": frame(
        "ancestor_concept_id descendant_concept_id", (40171288, 40000001), (21600001, 40000001), (2104604, 40000004)
    ),
    "drug_strength": frame("drug_concept_id ingredient_concept_id", (40000003, 1125315), (40000003, 1518254), (40000003, 1174888)),
    "concept_relationship": frame(
        "concept_id_1 concept_id_2 relationship_id",
        (40000005, 40000006, "Consists of"),
        (40000005, 40000007, "Maps to"),
        (40000006, 1114375, "RxNorm has ing"),
    ),
    "note": frame("note_id person_id note_date", (1, 1, date(2024, 5, 1))),
}  # fmt: skip

MAP = """
[codes]
"FERR" = "ferritin"
"OMOP//4000001" = "o2_device"
"OMOP//4000005" = { concept = "o2_device", text = "ventilator" }
"OMOP//4000007" = { concept = "haemorrhage", text = "yes" }

[text.o2_device]
'nasal cannula 2"' = "nasal_cannula"
"RA" = "room_air"
"OMOP//4000003" = "hfnc"

[text.death]
"sepsis" = "infection"
"""

LONG = """subject_id,time,code,value,unit,end_time
1,1960-03-04,birth,,,
2,2015-07-01,birth,,,
1,,sex,male,,
2,,sex,F,,
1,2024-05-01,setting,inpatient,,
1,2024-05-19T07:00,setting,inpatient,,
1,2024-05-22T11:00,setting,outpatient,,
1,2024-05-03T08:00,temperature,101.3,[degF],
1,2024-05-03T09:30,anc,<0.1,10*3/uL,
1,2024-05-03T08:00,crp,4.2,mg/dL,
1,2024-05-03T08:00,ferritin,>500,ug/L,
1,2024-05-03T08:00,alt,90,U/L,
1,2024-05-03T08:00,alt_uln,40,U/L,
1,2024-05-03T08:00,fibrinogen,1.5,g/L,
1,2024-05-03T08:00,fibrinogen_lln,1.8,g/L,
1,2024-05-04,temperature,38.4,Cel,
1,2024-05-03T09:00,o2_device,nasal_cannula,,
1,2024-05-03T10:00,o2_device,room_air,,
1,2024-05-03T11:00,o2_device,hfnc,,
1,2024-05-03T08:00,tocilizumab,,,
1,2024-05-03T08:00,norepinephrine,5,ug/min,2024-05-04T00:00
1,2024-05-03,acetaminophen,,,2024-05-05T23:59:59
1,2024-05-03,dexamethasone,,,2024-05-05T23:59:59
2,2024-05-03T08:00,emapalumab,,,2024-05-03T08:00
2,2024-05-03T09:00,anakinra,,,
1,2024-05-03T12:00,o2_device,ventilator,,2024-05-04T06:00
1,2024-05-01T12:00,cart_infusion,,,
2,2024-05-02,cart_infusion,,,
1,2024-05-05T08:00,haemorrhage,1,,
1,2024-05-22,death,infection,,
"""
EXTRA = [("measurement", "unknown_code", "OMOP//4000011"), ("visit_occurrence", "unknown_code", "OMOP//9202")]


def csvs(folder: Path, tables: dict[str, pl.DataFrame], name: Callable[[str], str] = str) -> Path:
    folder.mkdir(exist_ok=True)
    for table, rows in tables.items():
        rows.rename(name).write_csv(folder / f"{name(table)}.csv", datetime_format="%Y-%m-%d %H:%M:%S")
    return folder


def parquets(folder: Path, tables: dict[str, pl.DataFrame]) -> Path:
    folder.mkdir(exist_ok=True)
    for table, rows in tables.items():
        rows.write_parquet(folder / f"{table}.parquet")
    return folder


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"cdm/{file.name}")
            archive.writestr(f"__MACOSX/cdm/._{file.name}", b"\0\1noise")
    return path


def athena(folder: Path) -> Path:
    """A vocabulary as Athena hands it out: tabs, and quotes that are only characters."""
    csvs(folder, {t: rows for t, rows in CDM.items() if not t.startswith("concept")})
    for table in ("concept", "concept_ancestor", "concept_relationship"):
        lines = ["\t".join(CDM[table].columns), *("\t".join(map(str, row)) for row in CDM[table].iter_rows())]
        (folder / f"{table.upper()}.csv").write_text("\n".join(lines) + "\n")
    return folder


def duck(path: Path) -> Path:
    duckdb = pytest.importorskip("duckdb")
    parquets(path.parent / "p", CDM)
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE SCHEMA cdm.cdm")
        for table in CDM:
            connection.execute(f"CREATE TABLE cdm.cdm.{table.upper()} AS SELECT * FROM '{path.parent}/p/{table}.parquet'")
    return path


FORMS: dict[str, Callable[[Path], Path]] = {
    "lower-case CSV": lambda p: csvs(p / "cdm", CDM),
    "upper-case CSV": lambda p: csvs(p / "cdm", CDM, str.upper),
    "zip of upper-case CSV": lambda p: zipped(csvs(p / "cdm", CDM, str.upper)),
    "Parquet": lambda p: parquets(p / "cdm", CDM),
    "zip of Parquet": lambda p: zipped(parquets(p / "cdm", CDM)),
    "vocabulary of Athena": lambda p: athena(p / "cdm"),
    "DuckDB": lambda p: duck(p / "cdm.duckdb"),
}


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    path = tmp_path / "map.toml"
    path.write_text(MAP)
    return path


def same_as_long(found: Imported, tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text(LONG)
    long = read(tmp_path / "long.csv")
    assert long.rejected.is_empty()
    ours, theirs = (t.timeline.drop("source", "event_id") for t in (found, long))
    by = ["subject_id", "time", "code", "numeric_value", "text_value"]
    assert ours.sort(by).to_dicts() == theirs.sort(by).to_dicts()
    rejected = found.rejected.select(col("file").str.to_lowercase().str.extract(r"(\w+)(?:\.csv|\.parquet)?$"), "reason", "code")
    assert sorted(rejected.rows()) == EXTRA
    assert found.read == found.accepted + 2 == long.read + 2


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_what_the_long_table_says(form: str, tmp_path: Path, mapping: Path) -> None:
    source = FORMS[form](tmp_path)
    assert is_omop(source)
    same_as_long(read(source, mapping), tmp_path)


def test_rows_are_named_so_that_they_can_be_found(tmp_path: Path, mapping: Path) -> None:
    found = read(zipped(csvs(tmp_path / "cdm", CDM, str.upper)), mapping).timeline
    named = {(c, s) for c, s in found.select("code", "source").iter_rows()}
    assert ("alt", "cdm.zip/MEASUREMENT.csv:5") in named and ("alt_uln", "cdm.zip/MEASUREMENT.csv:5:range_high") in named
    assert ("birth", "cdm.zip/PERSON.csv:1:year_of_birth") in named and (
        "setting",
        "cdm.zip/VISIT_OCCURRENCE.csv:2:visit_end_date",
    ) in named


# ---- PostgreSQL


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A PostgreSQL server of this run's own, behind a socket in a folder of its own."""
    if any(shutil.which(tool) is None for tool in ("initdb", "pg_ctl", "psql")):
        pytest.skip("no PostgreSQL server here")
    home = Path(tempfile.mkdtemp(prefix="aftercar-pg-"))
    (home / "secret").write_text("pass:word@1")
    owner: dict[str, str] = {}
    if os.geteuid() == 0:  # a server does not run as root
        owner = {"user": "postgres"}
        for path in (home, home / "secret"):
            shutil.chown(path, "postgres")
    data = home / "data"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": home}
    subprocess.run(
        ["initdb", "-D", data, "-U", "reader", "-A", "scram-sha-256", f"--pwfile={home}/secret", "-E", "UTF8"], **quiet, **owner
    )
    options = f"-c listen_addresses='' -c unix_socket_directories='{home}' -c fsync=off"
    subprocess.run(["pg_ctl", "-D", data, "-w", "-o", options, "start"], **quiet, **owner)
    try:
        yield "postgresql:" + f"//reader:pass%3Aword%401@/postgres?host={home}"
    finally:
        subprocess.run(["pg_ctl", "-D", data, "-m", "immediate", "stop"], **quiet, **owner)
        shutil.rmtree(home)


TYPES = {
    pl.Int64: "bigint",
    pl.Float64: "double precision",
    pl.Date: "date",
    pl.Datetime: "timestamp",
    pl.String: "text",
    pl.Null: "text",
}


def fill(server: str, folder: Path) -> None:
    csvs(folder, CDM)
    sql = ["DROP SCHEMA IF EXISTS cdm CASCADE", "CREATE SCHEMA cdm"]
    for table, rows in CDM.items():
        columns = ", ".join(f"{name} {TYPES[kind.base_type()]}" for name, kind in rows.schema.items())
        sql += [f"CREATE TABLE cdm.{table} ({columns})", f"\\copy cdm.{table} FROM '{folder}/{table}.csv' CSV HEADER"]
    script = "".join(f"{line}\n" if line.startswith("\\") else f"{line};\n" for line in sql)
    subprocess.run(["psql", "-q", "-X", "-v", "ON_ERROR_STOP=1", "-d", server, "-f", "-"], input=script.encode(), check=True)


@pytest.mark.slow
def test_postgresql_says_what_the_long_table_says(server: str, tmp_path: Path, mapping: Path) -> None:
    fill(server, tmp_path / "cdm")
    found = read(server, mapping)
    same_as_long(found, tmp_path)
    assert found.timeline.filter(col("code") == "alt")["source"].to_list() == ["measurement:105"]
    assert found.timeline.filter(col("code") == "death")["source"].to_list() == ["death:1"]


@pytest.mark.slow
def test_no_error_of_a_database_tells_the_password(server: str) -> None:
    for url in (server.replace("word", "sword"), server.replace("/postgres?", "/nowhere?")):
        with pytest.raises(InputError, match="PostgreSQL does not let us in") as caught:
            read(url)
        assert "sword" not in str(caught.value) and "reader" not in str(caught.value)
    with pytest.raises(InputError, match="no table called person"):
        read(server.replace("host=", "dbname=template1&host="))


# ---- faults


def test_what_is_no_cdm_is_left_to_the_other_readers(tmp_path: Path) -> None:
    assert not is_omop(tmp_path / "nothing.zip")
    assert not is_omop(csvs(tmp_path / "a", {"person": CDM["person"]}))
    assert not is_omop(csvs(tmp_path / "b", {"measurement": CDM["measurement"]}))
    (tmp_path / "x.db").write_bytes(b"SQLite format 3\0")
    assert not is_omop(tmp_path / "x.db")


def test_a_zip_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK no zip")
    with pytest.raises(InputError, match=r"x\.zip: no zip that can be opened"):
        read(tmp_path / "x.zip")


def test_a_duckdb_file_without_duckdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    (tmp_path / "cdm.db").write_bytes(bytes(8) + b"DUCK" + bytes(100))
    with pytest.raises(InputError, match=r"cdm\.db: a DuckDB file needs the extra: pip install 'aftercar\[duckdb\]'"):
        read(tmp_path / "cdm.db")


def test_postgresql_without_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="needs its client, psql"):
        read("postgresql:" + "//reader@warehouse/cdm")


def test_the_mapping_that_the_page_shows_is_one(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs" / "omop.md").read_text(encoding="utf-8"), re.S | re.M)
    (tmp_path / "map.toml").write_text(block)
    assert read_mapping(tmp_path / "map.toml").of("cdm/visit_occurrence.csv").codes["OMOP//9203"].text == "outpatient"


def test_a_column_that_the_cdm_requires(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"measurement\.csv: no column measurement_concept_id"):
        read(csvs(tmp_path / "cdm", CDM | {"measurement": CDM["measurement"].drop("measurement_concept_id")}))


def test_columns_of_older_models_may_lack(tmp_path: Path, mapping: Path) -> None:
    bare = CDM["procedure_occurrence"].drop("procedure_datetime")
    found = read(csvs(tmp_path / "cdm", CDM | {"procedure_occurrence": bare}), mapping).timeline
    assert found.filter(col("code") == "cart_infusion")["time"].to_list() == [at(1), at(2)]


def test_two_files_of_one_table(tmp_path: Path) -> None:
    parquets(csvs(tmp_path / "cdm", CDM), {"death": CDM["death"]})
    with pytest.raises(InputError, match=r"death\.csv and death\.parquet are one table"):
        read(tmp_path / "cdm")


def cut_short(folder: Path, name: str) -> Path:
    path = folder / f"{name}.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    return folder


def test_a_table_that_was_cut_short_is_named_and_the_rest_go_on(tmp_path: Path, mapping: Path) -> None:
    whole = read(parquets(tmp_path / "cdm", CDM), mapping)
    found = read(cut_short(tmp_path / "cdm", "measurement"), mapping)
    assert found.skipped_files["measurement.parquet"].startswith("measurement.parquet: cannot be read")
    others = ~col("source").str.starts_with("measurement") & (col("code") != "record_complete")
    assert found.timeline.filter(others).drop("event_id").equals(whole.timeline.filter(others).drop("event_id"))


def test_a_vocabulary_that_was_cut_short(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"concept\.parquet: cannot be read"):  # without it rows would be lost
        read(cut_short(parquets(tmp_path / "cdm", CDM), "concept"))


def test_a_zip_that_was_damaged(tmp_path: Path) -> None:
    path = zipped(csvs(tmp_path / "cdm", CDM))
    raw = bytearray(path.read_bytes())
    place = raw.index(b"cdm/measurement.csv") + 60
    raw[place : place + 40] = bytes(40)
    path.write_bytes(raw)
    found = read(path)
    assert "cannot be unpacked" in found.skipped_files["cdm.zip/measurement.csv"]
    assert found.accepted


def test_rows_that_cannot_be_used_are_listed_one_by_one(tmp_path: Path, mapping: Path) -> None:
    folder = csvs(tmp_path / "cdm", CDM)
    head = "measurement_id,person_id,measurement_concept_id,measurement_date,measurement_datetime,value_as_number,unit_concept_id,range_high"
    lines = [
        "1,1,3006923,2024-05-03,,90,8645,40",
        "2,1,3006923,2024-05-03,,90,8645,40,7,7",  # a broken line
        "3,,3006923,2024-05-03,,90,8645,",
        "4,1,3006923,2024-05-03,noon,90,8645,",
        "5,1,3006923,2024-05-03,,ninety,8645,",
        "6,1,3006923,2024-05-03,,90,777,",  # a unit that nobody can name
        "7,1,ALT,2024-05-03,,90,8645,",
        "8,1,3006923,2024-05-03,,,8645,",
        "9,1,3006923,2024-05-03,,90,8645,forty",
    ]
    (folder / "measurement.csv").write_text("\n".join([head, *lines]) + "\n")
    found = read(folder, mapping)
    assert found.accepted + found.rejected.height == found.read
    rows = found.rejected.filter(col("file") == "measurement.csv").select("row", "column", "reason").sort("row", "column").rows()
    assert rows == [
        (2, None, "malformed_line"), (3, None, "missing_subject"), (4, None, "bad_time"), (5, None, "not_a_number"),
        (6, None, "unknown_unit"), (7, None, "unknown_code"), (8, None, "missing_value"), (9, "range_high", "not_a_number"),
    ]  # fmt: skip


def test_birth_is_the_middle_of_what_is_known(tmp_path: Path, mapping: Path) -> None:
    person = frame(
        "person_id gender_concept_id year_of_birth month_of_birth day_of_birth",
        (1, 8507, 1960, 3, 4), (2, 8532, 1970, 3, None), (3, 0, 1980, None, 9), (4, 0, 1990, 2, 30), (5, 0, None, None, None),
    )  # fmt: skip
    found = read(csvs(tmp_path / "cdm", CDM | {"person": person}), mapping)
    born = found.timeline.filter(col("code") == "birth").select("subject_id", "time").rows()
    assert born == [(1, datetime(1960, 3, 4)), (2, datetime(1970, 3, 15)), (3, datetime(1980, 7, 1))]
    assert found.rejected.filter(col("file") == "person.csv").select("row", "reason").rows() == [(4, "bad_time")]


def test_empty_tables_are_no_fault(tmp_path: Path, mapping: Path) -> None:
    found = read(csvs(tmp_path / "cdm", {t: rows if t == "person" else rows.clear() for t, rows in CDM.items()}), mapping)
    assert (found.read, found.accepted) == (4, 4)
    found = read(parquets(tmp_path / "parquet", {t: rows if t == "person" else rows.clear() for t, rows in CDM.items()}), mapping)
    assert (found.read, found.accepted) == (4, 4)


def test_the_mapping_goes_before_what_is_built_in(tmp_path: Path, mapping: Path) -> None:
    mapping.write_text(
        MAP + '[[file]]\nmatch = "visit*"\n[file.codes]\n"OMOP//262" = { concept = "setting", text = "outpatient" }\n'
    )
    found = read(csvs(tmp_path / "cdm", CDM), mapping).timeline.filter(col("code") == "setting")
    assert found.select("time", "text_value", "end_time").rows() == [
        (at(1), "inpatient", None),
        (at(19, 7), "outpatient", at(22, 11)),
        (datetime(2024, 5, 20, 23, 59, 59), "outpatient", None),
    ]


def test_a_stay_that_ends_before_it_begins_is_listed(tmp_path: Path, mapping: Path) -> None:
    visit = CDM["visit_occurrence"].head(1).with_columns(visit_end_date=date(2024, 4, 1))
    found = read(csvs(tmp_path / "cdm", CDM | {"visit_occurrence": visit}), mapping)
    assert found.rejected.filter(col("file") == "visit_occurrence.csv").select("column", "reason").rows() == [
        ("visit_end_date", "end_before_start")
    ]


# ---- the public example


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the public example is not here")
def test_the_public_example_is_the_same_in_both_forms() -> None:
    csv, parquet = (read(SHARED / f"{name}_5.4.zip") for name in ("Synthea27Nj", "Synthea27NjParquet"))
    assert (csv.read, csv.accepted, parquet.read) == (23_005, 3_243, 23_005)
    assert csv.timeline.drop("source").equals(parquet.timeline.drop("source"))
    assert csv.rejected["reason"].unique().to_list() == ["unknown_code"]


def test_the_zone_of_the_mapping_holds_here_too(tmp_path: Path) -> None:
    folder = csvs(tmp_path / "cdm", {"person": CDM["person"], "measurement": CDM["measurement"].head(1)})
    text = (folder / "measurement.csv").read_text()
    (folder / "measurement.csv").write_text(text.replace("2024-05-03 08:00:00", "2024-05-03T08:00:00Z"))
    (tmp_path / "map.toml").write_text('[time]\nzone = "Europe/Berlin"\n')

    def clock(found: Imported) -> list[datetime]:
        return found.timeline.filter(col("code") == "temperature")["time"].to_list()

    bare, there = read(folder), read(folder, tmp_path / "map.toml")
    assert (clock(bare), bare.offsets) == ([at(3, 8)], ("measurement.csv",))
    assert (clock(there), there.offsets) == ([at(3, 10)], ())


def test_ibuprofen_and_a_device_by_their_public_codes(tmp_path: Path) -> None:
    drug = frame("person_id drug_concept_id drug_exposure_start_date", (1, 1177480, date(2024, 5, 3)))
    device = frame("person_id procedure_concept_id procedure_date", (1, 4052536, date(2024, 5, 3)))
    found = read(
        csvs(tmp_path / "cdm", {"person": CDM["person"], "drug_exposure": drug, "procedure_occurrence": device})
    ).timeline
    assert {("ibuprofen", None), ("o2_device", "ecmo")} <= set(found.select("code", "text_value").iter_rows())


def test_codes_are_shown_as_the_vocabulary_calls_them(tmp_path: Path) -> None:
    shown = survey(csvs(tmp_path / "cdm", CDM))
    assert shown.filter(col("code") == "LOINC//1988-5")["name"].to_list() == ["C reactive protein"]
    assert shown.filter(col("code") == "HCPCS//Q2041")["name"].to_list() == ["Axicabtagene ciloleucel"]
