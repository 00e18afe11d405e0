"""SDTM in: the same record as SAS transport, as Dataset-JSON and as our own table is the same timeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars import col
from polars.testing import assert_frame_equal
from sdtm_files import dataset_json, dataset_ndjson, ibm, write, xpt

from aftercar.errors import InputError
from aftercar.timeline.readers import Imported, read
from aftercar.timeline.readers.batches import ROW
from aftercar.timeline.readers.mapping import read_mapping
from aftercar.timeline.readers.sdtm import instant
from aftercar.timeline.readers.xpt import ibm_floats, read_xpt

FORMS = ["xpt5", "xpt8", "1.0.0", "1.1.0", "ndjson"]
DAY0 = "2024-05-02T10:00"
MAP = """
[codes]
"SDTM//EX//CELLS" = "cart_infusion"
"SDTM//AE//CONFUSIONAL STATE" = "confusion"
"SDTM//AE//HYPOTENSION" = { concept = "hypotension", text = "yes" }
"SDTM//FA//ASSESS//SEIZURE" = "seizure"
"SDTM//QS//ICE0107" = "ice"
[text.confusion]
"2" = "moderate"
[text.attributable_to]
"RELATED" = "iec"
"NOT RELATED" = "other"
"""


def domain(name: str, **columns: list[Any]) -> dict[str, pl.DataFrame]:
    """One dataset of one subject."""
    height = len(next(iter(columns.values())))
    return {name: pl.DataFrame({"STUDYID": ["S"] * height, "DOMAIN": [name] * height, "USUBJID": ["S-1"] * height} | columns)}


DOMAINS = {
    **domain("DM", RFSTDTC=[DAY0], BRTHDTC=["1961-02-03"], AGE=[63.0], AGEU=["YEARS"], SEX=["F"], DTHDTC=["2024-06-01"], ARM=["A"]),
    **domain("EX", EXTRT=["Cells"], EXSTDTC=[DAY0], EXENDTC=["2024-05-02T10:30"]),
    **domain("VS", VSTESTCD=["TEMP", "SYSBP", "MAP", "OXYSAT"], VSORRES=["102.2", "85", "60", "91"], VSORRESU=["F", "mmHg", "mmHg", "%"],
             VSSTRESC=["39", "85", "60", None], VSSTRESN=[39.0, 85.0, 60.0, None], VSSTRESU=["C", "mmHg", "mmHg", None],
             VSDTC=["2024-05-03T08:00:00"] * 4),
    **domain("LB", LBTESTCD=["NEUT", "ALT", "CRP"], LBSTRESC=["<0.1", "40.5", "7"], LBSTRESN=[None, 40.5, 7.0], LBSTRESU=["10^9/L", "U/L", "mg/dL"],
             LBSTNRHI=[7.5, 35.0, 0.5], LBSTNRLO=[1.8, 0.0, 0.0], LBLOINC=["751-8", None, "1988-5"], LBDTC=["2024-05-03T06:00"] * 3),
    **domain("CM", CMTRT=["Roactemra", "Noradrenaline"], CMDECOD=["TOCILIZUMAB", "NOREPINEPHRINE"], CMDOSE=[560.0, 0.1], CMDOSU=["mg", "ug/kg/min"],
             CMSTDTC=["2024-05-03T12:00", "2024-05-03T12:00"], CMENDTC=[None, "2024-05-03T18:00"]),
    **domain("AE", AETERM=["confused", "low pressure"], AEDECOD=["Confusional state", "Hypotension"], AETOXGR=["2", "3"], AEREL=["RELATED", "NOT RELATED"],
             AESTDTC=["2024-05-04T09:00", "2024-05-04T10:00"], AEENDTC=["2024-05-05T09:00", None]),
    **domain("FA", FATESTCD=["ASSESS"], FAOBJ=["Seizure"], FASTRESC=["none"], FADTC=["2024-05-04T09:00"]),
    **domain("QS", QSTESTCD=["ICE0107"], QSSTRESC=["8"], QSSTRESN=[8.0], QSDTC=["2024-05-04T09:00"]),
    **domain("DS", DSTERM=["died"], DSDECOD=["DEATH"], DSSTDTC=["2024-06-01"]),
}  # fmt: skip
OURS = f"""
S-1,{DAY0},age,63,a,,
S-1,{DAY0},sex,F,,,
S-1,1961-02-03,birth,,,,
S-1,2024-06-01,death,,,,
S-1,2024-06-01,death,died,,,
S-1,{DAY0},cart_infusion,,,2024-05-02T10:30,
S-1,2024-05-03T08:00,temperature,39,Cel,,
S-1,2024-05-03T08:00,sbp,85,mm[Hg],,
S-1,2024-05-03T08:00,map,60,mm[Hg],,
S-1,2024-05-03T08:00,spo2,91,%,,
S-1,2024-05-03T06:00,anc,<0.1,10*9/L,,
S-1,2024-05-03T06:00,anc_lln,1.8,10*9/L,,
S-1,2024-05-03T06:00,alt,40.5,U/L,,
S-1,2024-05-03T06:00,alt_uln,35,U/L,,
S-1,2024-05-03T06:00,crp,7,mg/dL,,
S-1,2024-05-03T12:00,tocilizumab,560,mg,,
S-1,2024-05-03T12:00,norepinephrine,0.1,ug/kg/min,2024-05-03T18:00,
S-1,2024-05-04T09:00,confusion,moderate,,2024-05-05T09:00,iec
S-1,2024-05-04T10:00,hypotension,yes,,,other
S-1,2024-05-04T09:00,seizure,none,,,
S-1,2024-05-04T09:00,ice,8,,,
""".strip().splitlines()


def sdtm(tmp_path: Path, domains: dict[str, pl.DataFrame], form: str = "1.1.0", mapping: str = MAP) -> Imported:
    (tmp_path / "map.toml").write_text(mapping)
    found = read(write(tmp_path / "sdtm", domains, form), tmp_path / "map.toml")
    assert found.accepted + found.rejected.height == found.read
    return found


def plain(timeline: pl.DataFrame) -> pl.DataFrame:
    """A timeline without where each row came from."""
    return timeline.drop("source", "event_id").sort(pl.all())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_and_our_own_table_are_one_timeline(tmp_path: Path, csv: Callable[..., Path], form: str) -> None:
    found = sdtm(tmp_path, DOMAINS, form)
    assert found.rejected.is_empty()
    ours = read(csv("subject_id,time,code,value,unit,end_time,attributable_to", *OURS))
    assert ours.rejected.is_empty() and ours.accepted == found.accepted
    assert_frame_equal(plain(found.timeline), plain(ours.timeline))


def test_a_row_says_where_it_came_from(tmp_path: Path) -> None:
    found = sdtm(tmp_path, DOMAINS, "xpt5").timeline
    source = dict(found.select("code", "source").iter_rows())
    assert source["temperature"] == "vs.xpt:1"
    assert source["alt_uln"] == "lb.xpt:2:LBSTNRHI"
    assert source["sex"] == "dm.xpt:1:SEX"


@pytest.mark.parametrize(
    ("written", "time", "date_only"),
    [
        ("2024-01-15T10:30:05", "2024-01-15 10:30:05", False),
        ("2024-01-15T10:30", "2024-01-15 10:30", False),
        ("2024-01-15T10:30+02:00", "2024-01-15 10:30", False),
        ("2024-01-15T10", "2024-01-15 10:00", False),
        ("2024-01-15T10Z", "2024-01-15 10:00", False),
        ("2024-01-15T10:-:30", "2024-01-15 10:00", False),
        ("2024-01-15T-:30", "2024-01-15", True),
        ("2024-01-15T", "2024-01-15", True),
        ("2024-01-15", "2024-01-15", True),
    ],
)
def test_times(tmp_path: Path, written: str, time: str, date_only: bool) -> None:
    clock = pl.select(instant(pl.lit(written))).item()
    assert clock == datetime.fromisoformat(time)
    found = sdtm(tmp_path, domain("DM", DTHDTC=[written]))  # a death of which the date is known is at the end of the day
    assert found.timeline["time"][0] == (clock.replace(hour=23, minute=59, second=59) if date_only else clock)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("2024", "partial_date"),
        ("2024-01", "partial_date"),
        ("2024---15", "partial_date"),
        ("--01-15", "partial_date"),
        ("2024-01-32", "bad_time"),
        ("15JAN2024", "bad_time"),
        ("2024-01-15T25:00", "bad_time"),
        (None, "missing_time"),
    ],
)
def test_dates_that_cannot_be_charted(tmp_path: Path, written: str | None, reason: str) -> None:
    rows = domain("VS", VSTESTCD=["TEMP"] * 2, VSSTRESN=[39.0] * 2, VSSTRESU=["C"] * 2, VSDTC=["2024-01-15", written])
    found = sdtm(tmp_path, rows)
    assert (found.accepted, found.rejected["reason"].to_list()) == (1, [reason])
    row = found.rejected.row(0, named=True)
    assert (row["file"], row["row"]) == ("vs.json", 2) and row["detail"]


@pytest.mark.parametrize(
    ("written", "end"),
    [("2024-01-15", "2024-01-15 23:59:59"), ("2024-01-16", "2024-01-16 23:59:59"), ("2024-01-15T20:00", "2024-01-15 20:00")],
)
def test_a_drug_that_ended_on_a_day_was_given_on_it(tmp_path: Path, written: str, end: str) -> None:
    rows = domain("CM", CMTRT=["dexamethasone"], CMDOSE=[10.0], CMDOSU=["mg"], CMSTDTC=["2024-01-15T12:00"], CMENDTC=[written])
    drug = sdtm(tmp_path, rows).timeline.filter(col("code") == "dexamethasone")
    assert drug["end_time"][0] == datetime.fromisoformat(end)


def test_a_code_that_means_nothing_is_said_to_be_that(tmp_path: Path) -> None:
    rows = domain("CM", CMTRT=["VITAMIN E", "TOCILIZUMAB"], CMSTDTC=["2024", "2024"])
    assert set(sdtm(tmp_path, rows).rejected.select("code", "reason").rows()) == {
        ("SDTM//CM//VITAMIN E", "unknown_code"), ("SDTM//CM//TOCILIZUMAB", "partial_date")
    }  # fmt: skip


def test_what_was_not_done_is_listed(tmp_path: Path) -> None:
    rows = domain("VS", VSTESTCD=["TEMP", "SYSBP"], VSSTRESN=[None, 85.0], VSSTRESU=[None, "mmHg"], VSSTAT=["NOT DONE", None],
                  VSDTC=["2024-01-15T10:00"] * 2)  # fmt: skip
    rows |= domain("CM", CMTRT=["TOCILIZUMAB"], CMOCCUR=["N"], CMSTDTC=["2024-01-15"])
    found = sdtm(tmp_path, rows)
    assert found.rejected["reason"].to_list() == ["not_done"] * 2
    assert found.timeline.filter(col("code").is_in(["temperature", "tocilizumab"])).is_empty()


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"LBSPEC": ["URINE"]}, "SDTM//LB//CREAT//URINE"),
        ({"LBCAT": ["URINALYSIS"]}, "SDTM//LB//CREAT//URINE"),
        ({"LBSPEC": ["SERUM"]}, None),
        ({"LBSPEC": ["VENOUS BLOOD"]}, None),
        ({"LBCAT": ["CHEMISTRY"]}, None),
    ],
)
def test_a_test_of_urine_is_not_that_of_blood(tmp_path: Path, more: dict[str, list[str]], code: str | None) -> None:
    rows = domain(
        "LB", LBTESTCD=["CREAT"], LBSTRESN=[1.0], LBSTRESU=["mg/dL"], LBSTNRHI=[1.2], LBDTC=["2024-01-15T10:00"], **more
    )
    found = sdtm(tmp_path, rows)
    assert found.rejected["code"].to_list() == ([code] if code else [])
    assert found.timeline["code"].to_list() == ([] if code else ["creatinine", "creatinine_uln"])


def test_limits_are_charted_where_they_change(tmp_path: Path) -> None:
    limits = [35.0, 35.0, 40.0, 40.0, 35.0]
    rows = domain("LB", LBTESTCD=["ALT"] * 5, LBSTRESN=[20.0] * 5, LBSTRESU=["U/L"] * 5, LBSTNRHI=limits,
                  LBDTC=[f"2024-01-{d:02}" for d in (15, 16, 17, 18, 19)])  # fmt: skip
    found = sdtm(tmp_path, rows).timeline.filter(col("code") == "alt_uln")
    assert found["numeric_value"].to_list() == [35.0, 40.0, 35.0]


def test_the_mapping_goes_before_what_is_built_in(tmp_path: Path) -> None:
    rows = domain(
        "LB",
        LBTESTCD=["NEUT", "NEUT"],
        LBLOINC=["751-8", None],
        LBSTRESN=[500.0] * 2,
        LBSTRESU=["10^6/L"] * 2,
        LBDTC=["2024-01-15"] * 2,
    )
    found = sdtm(tmp_path, rows, mapping='[codes]\n"SDTM//LB//NEUT" = "alc"')
    assert found.timeline["code"].to_list() == ["alc", "alc"]


def test_attribution_is_read_only_where_the_mapping_has_its_words(tmp_path: Path) -> None:
    found = sdtm(tmp_path, {"AE": DOMAINS["AE"]}, mapping=MAP.split("[text.attributable_to]")[0])
    assert found.timeline["attributable_to"].null_count() == found.timeline.height == 2


def test_day_0_may_be_the_reference_start(tmp_path: Path) -> None:
    found = sdtm(tmp_path, {"DM": DOMAINS["DM"]}, mapping='[codes]\n"SDTM//DM//RFSTDTC" = "cart_infusion"')
    assert found.timeline.filter(col("code") == "cart_infusion")["time"].to_list() == [datetime.fromisoformat(DAY0)]


def test_datasets_without_records_and_other_files_are_passed_over(tmp_path: Path) -> None:
    folder = write(tmp_path / "sdtm", {"VS": DOMAINS["VS"], "TA": pl.DataFrame({"DOMAIN": ["TA"], "ARMCD": ["A"]})}, "xpt5")
    (folder / "define.xml").write_text("<ODM/>")
    (folder / "UPPER.XPT").write_bytes(xpt(DOMAINS["LB"].rename(str.lower), "lb"))
    found = read(folder)
    assert set(found.skipped_files) == {"ta.xpt", "define.xml"}
    assert {"anc", "temperature"} <= set(found.timeline["code"])


def test_two_datasets_in_one_file(tmp_path: Path) -> None:
    one, two = xpt(DOMAINS["VS"], "VS"), xpt(DOMAINS["LB"], "LB")
    path = tmp_path / "all.xpt"
    path.write_bytes(one + two[240:])
    assert {"anc", "temperature"} <= set(read(path).timeline["code"])


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "ae.xpt"
    path.write_bytes(xpt(pl.DataFrame({"AETERM": [None, "Fièvre"]}), "AE", encoding="cp1252"))
    ((_, (batch,)),) = ((name, list(batches)) for name, batches in read_xpt(path, "ae.xpt"))
    assert batch.frame["AETERM"].to_list() == [None, "Fièvre"]


# ---- faults

WHOLE = xpt(DOMAINS["LB"], "LB")


@pytest.mark.parametrize(
    "kept", [0, 40, 80, 100, 240, 300, 560, 640, 700, 1200, len(WHOLE) - 81, len(WHOLE) - 80, len(WHOLE) - 1]
)
def test_a_transport_file_that_is_cut_off(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "lb.xpt"
    path.write_bytes(WHOLE[:kept])
    with pytest.raises(InputError, match=r"lb\.xpt"):
        read(path)


@pytest.mark.parametrize(
    ("at", "wrong"),
    [(0, b"PK"), (20, b"NOTHING"), (560 + 20, b"XXXXXXX"), (560 + 53, b"0x012"), (640, b"\0\x07"), (640 + 4, b"\xff\xff")],
)
def test_a_transport_file_with_a_wrong_header(tmp_path: Path, at: int, wrong: bytes) -> None:
    path = tmp_path / "lb.xpt"
    path.write_bytes(WHOLE[:at] + wrong + WHOLE[at + len(wrong) :])
    with pytest.raises(InputError, match=r"lb\.xpt"):
        read(path)


def without(key: str) -> str:
    return json.dumps({k: v for k, v in json.loads(dataset_json(DOMAINS["LB"], "LB")).items() if k != key})


@pytest.mark.parametrize(
    "text",
    [
        dataset_json(DOMAINS["LB"], "LB")[:-30],
        dataset_json(DOMAINS["LB"], "LB").replace('"records": 3', '"records": 4'),
        without("columns"),
        without("name"),
        without("rows"),
        '{"datasetJSONVersion": "1.1.0", "name": "LB", "columns": "none", "rows": []}',
        '["datasetJSONVersion"]',
        '{"datasetJSONVersion"',
        '{"datasetJSONVersion": "1.0.0", "clinicalData": {"itemGroupData": []}}',
        dataset_json(DOMAINS["LB"].drop("USUBJID"), "LB"),
    ],
)
def test_json_that_is_no_dataset(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lb.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"lb\.json"):
        read(path)


def test_rows_of_json_that_are_broken_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "vs.ndjson"
    lines = dataset_ndjson(DOMAINS["VS"], "VS").splitlines()
    lines[2], lines[3] = lines[2][:-9], '["too", "few"]'
    path.write_text("\n".join(lines))
    found = read(path)
    assert found.rejected.select("row", "reason").rows() == [(2, "malformed_line"), (3, "malformed_line")]
    assert found.accepted == 2 and found.timeline["source"].to_list() == ["vs.ndjson:4", "vs.ndjson:1"]


def test_a_subject_that_is_not_named(tmp_path: Path) -> None:
    rows = DOMAINS["VS"].with_columns(USUBJID=pl.Series(["S-1", "", None, "S-1"]))
    assert sdtm(tmp_path, {"VS": rows}).rejected["reason"].to_list() == ["missing_subject"] * 2


@pytest.mark.parametrize("name", ["lb.xpt", "lb.json", "anc.xlsx"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / name)


def test_a_broken_file_of_a_folder_does_not_stop_the_rest(tmp_path: Path) -> None:
    folder = write(tmp_path / "sdtm", {"VS": DOMAINS["VS"]}, "xpt5")
    (folder / "lb.xpt").write_bytes(WHOLE[:1000])
    found = read(folder)
    assert list(found.skipped_files) == ["lb.xpt"] and found.accepted == 4


# ---- numbers


@given(st.lists(st.floats(min_value=-1e70, max_value=1e70).filter(lambda x: x == 0 or abs(x) > 1e-70) | st.none(), max_size=20))
def test_ibm_floats_come_back(values: list[float | None]) -> None:
    assert ibm_floats(pl.Series([ibm(v) for v in values], dtype=pl.Binary)).to_list() == values


@pytest.mark.parametrize("length", range(2, 8))
def test_short_ibm_floats(length: int) -> None:
    raw = [ibm(v)[:length] for v in (1.0, -2.0, 0.0, 100.0, None)]
    assert ibm_floats(pl.Series(raw, dtype=pl.Binary), length).to_list() == [1.0, -2.0, 0.0, 100.0, None]


@pytest.mark.parametrize("letter", "._AZ")
def test_missing_values_of_sas(letter: str) -> None:
    assert ibm_floats(pl.Series([letter.encode() + bytes(7)])).to_list() == [None]


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6, width=32) | st.none(), st.text(st.characters(codec="ascii", min_codepoint=33), max_size=12)), min_size=1, max_size=9),
    st.sampled_from([5, 8]),
)  # fmt: skip
def test_frames_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float | None, str]], version: int) -> None:
    frame = pl.DataFrame(rows, schema={"NUMBER": pl.Float64, "TEXT": pl.String}, orient="row")
    path = tmp_path_factory.mktemp("xpt") / "x.xpt"
    path.write_bytes(xpt(frame, "X", version=version))
    ((name, (batch,)),) = ((name, list(batches)) for name, batches in read_xpt(path, "x.xpt"))
    assert name == "X" and batch.frame[ROW].to_list() == list(range(1, len(rows) + 1))
    assert_frame_equal(batch.frame.drop(ROW), frame.with_columns(col("TEXT").replace({"": None})))


def test_the_mapping_that_the_page_shows_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "sdtm.md").read_text(encoding="utf-8")
    path = tmp_path / "map.toml"
    path.write_text(page.split("```toml\n")[1].split("```")[0])
    assert read_mapping(path).parts[0].codes["SDTM//AE//HYPOTENSION"].text == "yes"


def test_the_zone_of_the_mapping_holds_here_too(tmp_path: Path) -> None:
    domains = {"VS": DOMAINS["VS"].with_columns(VSDTC=pl.lit("2024-05-03T08:00:00Z"))}
    bare = sdtm(tmp_path, domains)
    assert bare.timeline["time"].dt.hour().unique().to_list() == [8] and bare.offsets
    there = sdtm(tmp_path, domains, mapping=MAP + '\n[time]\nzone = "Europe/Berlin"\n')
    assert there.timeline["time"].dt.hour().unique().to_list() == [10] and not there.offsets
