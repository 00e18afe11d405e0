"""Tables in: every unit and word read right, every refusal named, and the counts add up."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars import col

from aftercar.errors import InputError, MappingError, UnitError
from aftercar.manage.rules import DEFAULT_PROFILE, rulebook
from aftercar.timeline.concepts import concept, concepts
from aftercar.timeline.readers import Intake, open_pieces, read
from aftercar.timeline.readers.mapping import Mapping, read_mapping
from aftercar.timeline.readers.table import parse_time
from aftercar.timeline.store import import_folder
from aftercar.timeline.units import line, times, ucum

HEAD = "subject_id,time,code,value,unit"
Csv = Callable[..., Path]


def value_of(csv: Csv, code: str, value: str, unit: str) -> tuple[float | None, str | None]:
    """The number as read, or the reason of refusal."""
    found = read(csv(HEAD, f"1,2024-05-02T08:00,{code},{value},{unit}"))
    assert found.accepted + found.rejected.height == found.read == 1
    if found.rejected.height:
        return None, found.rejected["reason"][0]
    return found.timeline.filter(col("code") == code)["numeric_value"][0], None


@pytest.mark.parametrize(
    ("code", "value", "unit", "expected"),
    [
        ("temperature", "100.4", "[degF]", 38.0),
        ("temperature", "100.4", "°F", 38.0),
        ("temperature", "38.0", "°C", 38.0),
        ("temperature", "101.3", "Cel", 38.5),  # Fahrenheit hidden in a Celsius column
        ("temperature", "38.5", "[degF]", 38.5),  # and the other way round
        ("fio2", "0.4", "%", 40.0),
        ("fio2", "0.4", "", 40.0),
        ("fio2", "40", "", 40.0),
        ("fio2", "40", "1", 40.0),
        ("fio2", "1.0", "", 100.0),
        ("anc", "0.5", "G/L", 500.0),
        ("anc", "0.5", "K/uL", 500.0),
        ("anc", "0.5", "K/µL", 500.0),
        ("anc", "0.5", "10*9/L", 500.0),
        ("anc", "0.5", "x10^9/L", 500.0),
        ("anc", "500", "/uL", 500.0),
        ("anc", "500", "cells/uL", 500.0),
        ("anc", "<0.1", "G/L", 99.9999),
        ("anc", ">0.5", "G/L", 500.0005),
        ("temperature", "<38.0", "Cel", 37.999962),
        ("temperature", ">=38.0", "Cel", 38.0),
        ("platelets", "45000", "/uL", 45.0),
        ("crp", "4.2", "mg/dL", 42.0),
        ("crp", "42", "mg/L", 42.0),
        ("ferritin", "540", "ug/L", 540.0),
        ("fibrinogen", "1.5", "g/L", 150.0),
        ("triglycerides", "3.0", "mmol/L", 265.71),
        ("creatinine", "88.4", "umol/L", 1.0),
        ("ldh", "5", "ukat/L", 300.0),
        ("hemoglobin", "79", "g/L", 7.9),
        ("weight", "154", "lb", 69.85322498),
    ],
)
def test_units(csv: Csv, code: str, value: str, unit: str, expected: float) -> None:
    assert value_of(csv, code, value, unit) == (pytest.approx(expected, rel=1e-9), None)


@pytest.mark.parametrize(
    ("code", "value", "unit", "reason"),
    [
        ("anc", "0.5", "", "missing_unit"),
        ("crp", "42", "", "missing_unit"),
        ("temperature", "38", "", "missing_unit"),
        ("crp", "42", "MG/XX", "unknown_unit"),
        ("crp", "42", "U/L", "unknown_unit"),
        ("anc", "4500", "K/uL", "implausible_value"),
        ("temperature", "60", "Cel", "implausible_value"),
        ("tocilizumab", "640", "g", "implausible_value"),
        ("tocilizumab", "1601", "mg", "implausible_value"),
        ("tocilizumab", "640", "mg/kg", "implausible_value"),
        ("filgrastim", "300", "mg", "implausible_value"),
        ("ivig", "0.4", "kg/kg", "implausible_value"),
        ("fio2", "0", "%", "implausible_value"),
        ("map", "-23", "mmHg", "implausible_value"),
        ("ice", "11", "", "implausible_value"),
        ("ice", "7.5", "", "not_whole"),
        ("sbp", "eighty", "mmHg", "not_a_number"),
        ("sbp", "", "mmHg", "missing_value"),
        ("sbp", "nan", "mmHg", "not_a_number"),
        ("sbp", "inf", "mmHg", "not_a_number"),
        ("o2_device", "snorkel", "", "unknown_value"),
        ("hypotension", "2", "", "unknown_value"),
        ("mystery", "1", "", "unknown_code"),
    ],
)
def test_refusals(csv: Csv, code: str, value: str, unit: str, reason: str) -> None:
    assert value_of(csv, code, value, unit)[1] == reason


@pytest.mark.parametrize(
    ("drug", "value", "unit"),
    [
        ("tocilizumab", "1600", "mg"),
        ("tocilizumab", "0.64", "g"),
        ("tocilizumab", "640000", "mcg"),
        ("tocilizumab", "12", "mg/kg"),
        ("filgrastim", "300", "mcg"),
        ("filgrastim", "5", "mcg/kg"),
        ("filgrastim", "0.48", "mg"),
        # What does not convert is kept as it was charted.
        ("tocilizumab", "640000", ""),
        ("tocilizumab", "640000", "mg/h"),
        ("filgrastim", "48000000", "[iU]"),
        ("cyclophosphamide", "1500", "g/m2"),
        ("plasma", "640", "kg"),
    ],
)
def test_doses_that_somebody_can_have_been_given_stay_as_charted(csv: Csv, drug: str, value: str, unit: str) -> None:
    found = read(csv(HEAD, f"1,2024-05-02T08:00,{drug},{value},{unit}"))
    assert found.rejected.is_empty()
    given = found.timeline.filter(code=drug).select("numeric_value", "unit", "note")
    assert given.rows() == [(float(value), unit or None, None)]


def test_a_drug_whose_dose_nobody_can_have_been_given_counts_as_given(csv: Csv) -> None:
    """A slip of the unit must not make a treated fever an untreated one."""
    found = read(
        csv(
            "subject_id,time,code,value,unit,text_value,end_time",
            "1,2024-05-02T08:00,tocilizumab,640,g,,2024-05-02T09:00",
            "1,2024-05-02T09:00,dexamethasone,10,kg,prophylaxis,",
            "1,2024-05-02T10:00,dexamethasone,10,kg,held,",
            "1,2024-05-02T11:00,dexamethasone,10,mg,,",
        )
    )
    assert (found.read, found.accepted) == (4, 1)
    assert found.rejected["reason"].to_list() == ["implausible_value", "implausible_value", "not_given"]
    assert not any("640" in str(detail) for detail in found.rejected["detail"])
    given = (
        found.timeline.filter(col("code") != "record_complete")
        .sort("time")
        .select("code", "numeric_value", "unit", "text_value", col("end_time").dt.hour())
    )
    assert given.rows() == [
        ("tocilizumab", None, None, None, 9),
        ("dexamethasone", None, None, "prophylaxis", None),
        ("dexamethasone", 10.0, "mg", None, None),
    ]
    assert found.repairs["tocilizumab: row rejected (implausible_value): taken as given, dose unknown"] == 1


def test_every_limit_of_a_dose_is_in_a_unit_and_holds_the_doses_of_the_rules() -> None:
    limited = [c for c in concepts().values() if c.plausible_dose]
    assert limited and all(c.kind == "drug" for c in limited)
    assert all(times(unit, unit) == 1.0 and 0 == low < high for c in limited for unit, (low, high) in c.plausible_dose.items())
    for drug in rulebook(DEFAULT_PROFILE, None).drugs.values():
        for band in drug.dose if drug.name in concepts() else ():
            limits = concept(drug.name).plausible_dose
            assert any(band.value * (times(band.unit, own) or float("inf")) <= high for own, (_, high) in limits.items()), (
                drug.name
            )
            assert band.maximum is None or band.maximum <= limits["mg"][1]


def test_a_refusal_names_file_row_and_what_to_do_and_no_value(csv: Csv) -> None:
    found = read(csv(HEAD, "17,2024-05-02T08:00,sbp,118,mmHg", "17,2024-05-02T09:00,crp,31337,MG/XX"))
    row = found.rejected.row(0, named=True)
    assert (row["file"], row["row"], row["reason"]) == ("rows.csv", 2, "unknown_unit")
    assert "mg/L" in row["detail"]
    assert "31337" not in str(row) and "'17'" not in str(row)
    assert found.timeline.filter(col("code") == "sbp")["source"][0] == "rows.csv:1"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (",2024-05-02T08:00,sbp,80,mmHg", "missing_subject"),
        ("1,02/05/2024 8am,sbp,80,mmHg", "bad_time"),
        ("1,,sbp,80,mmHg", "missing_time"),
    ],
)
def test_rows_without_a_place_in_time(csv: Csv, line: str, reason: str) -> None:
    found = read(csv(HEAD, line, "1,2024-05-02T08:00,sbp,80,mmHg"))
    assert found.rejected["reason"].to_list() == [reason]
    assert found.accepted == 1


def test_end_before_start(csv: Csv) -> None:
    found = read(csv(f"{HEAD},end_time", "1,2024-05-02T08:00,norepinephrine,5,ug/min,2024-05-02T07:00"))
    assert found.rejected["reason"].to_list() == ["end_before_start"]


def test_time_formats_and_offsets_are_wall_clock(csv: Csv) -> None:
    times = [
        "2024-05-02T08:00",
        "2024-05-02 08:00:00",
        "2024-05-02T08:00:00.000",
        "2024-05-02T08:00:00+02:00",
        "2024-05-02T08:00Z",
    ]
    found = read(csv(HEAD, *(f"1,{t},sbp,80,mmHg" for t in times), "1,2024-05-02,sbp,80,mmHg"))
    clock = found.timeline.filter(col("code") == "sbp")["time"].unique().sort().to_list()
    assert clock == [datetime(2024, 5, 2), datetime(2024, 5, 2, 8)]


written_offsets = st.sampled_from(["", "Z", "+02:00", "-0330", "+02", "-11"])


@given(written=st.lists(st.tuples(st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)), written_offsets), max_size=6))
def test_times_with_and_without_offsets_side_by_side_are_brought_to_the_zone(written: list[tuple[datetime, str]]) -> None:
    zone = ZoneInfo("Europe/Berlin")
    expected: list[datetime] = []
    for clock, offset in written:
        there = datetime.fromisoformat(f"{clock.isoformat()}{offset}").astimezone(zone).replace(tzinfo=None) if offset else clock
        expected.append(there)
    frame = pl.DataFrame({"time": [f"{clock.isoformat(' ')}{offset}" for clock, offset in written]}, schema={"time": pl.String})
    found = frame.select(parse_time(col("time"), pl.String(), Mapping(zone="Europe/Berlin")))
    assert found["time"].to_list() == expected


@pytest.mark.parametrize(
    ("form", "written", "time"),
    [
        ("%Y%m%d%H%M", "202405030830", datetime(2024, 5, 3, 8, 30)),
        ("%d.%m.%Y %H.%M", "03.05.2024 08.30", datetime(2024, 5, 3, 8, 30)),
        ("%d.%m.%Y %-I.%M %p", "03.05.2024 8.30 PM", datetime(2024, 5, 3, 20, 30)),
        ("%H:%M %d-%m-%Y", "08:30 03-05-2024", datetime(2024, 5, 3, 8, 30)),  # its year is no offset
        ("%d.%m.%Y %H:%M %z", "03.05.2024 08:30 +0400", datetime(2024, 5, 3, 6, 30)),
        ("%d.%m.%Y %H:%MZ", "03.05.2024 08:30Z", datetime(2024, 5, 3, 10, 30)),
        ("%d.%m.%Y %R", "03.05.2024 00:00", datetime(2024, 5, 3)),
        ("%d.%m.%Y", "03.05.2024", datetime(2024, 5, 3, 23, 59, 59)),
        ("%d%%%m%%%Y", "03%05%2024", datetime(2024, 5, 3, 23, 59, 59)),
    ],
)
def test_the_format_says_whether_a_death_has_a_time_of_day(
    csv: Csv, tmp_path: Path, form: str, written: str, time: datetime
) -> None:
    (tmp_path / "m.toml").write_text(f'[time]\nformat = "{form}"\nzone = "Europe/Berlin"\n')
    assert read(csv(HEAD, f"1,{written},death,,"), tmp_path / "m.toml").timeline["time"].to_list() == [time]


def test_a_date_in_a_column_of_numbers_is_a_date(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pl.DataFrame({"subject_id": [1], "time": [20240503], "code": ["death"]}).write_parquet(path)
    assert read(path).timeline["time"].to_list() == [datetime(2024, 5, 3, 23, 59, 59)]


def test_ids_that_are_not_whole_numbers_stay_text(csv: Csv) -> None:
    assert read(csv(HEAD, "007,2024-05-02T08:00,sbp,80,mmHg")).timeline["subject_id"].to_list() == ["007"]
    assert read(csv(HEAD, "7,2024-05-02T08:00,sbp,80,mmHg")).timeline["subject_id"].to_list() == [7]


def test_a_broken_line_is_listed_and_the_rest_goes_on(csv: Csv) -> None:
    found = read(
        csv(HEAD, "1,2024-05-02T08:00,sbp,80,mmHg", "1,2024-05-02T09:00,sbp,80,mmHg,x,y,z", "1,2024-05-02T10:00,sbp,81,mmHg")
    )
    assert found.rejected.select("row", "reason").rows() == [(2, "malformed_line")]
    assert found.timeline.filter(col("code") == "sbp")["source"].to_list() == ["rows.csv:1", "rows.csv:3"]
    assert found.read == 3


def test_semicolons_bom_and_gzip(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    text = "\ufeffsubject_id;time;code;value;unit\n1;2024-05-02T08:00;sbp;80;mmHg\n"
    path.write_bytes(gzip.compress(text.encode()))
    assert read(path).accepted == 1
    path.write_bytes(gzip.compress(text.encode())[:-12])
    found = read(path)
    assert found.rejected["reason"].to_list()[-1] == "cut_off" and found.read == found.accepted + found.rejected.height
    path.write_bytes(gzip.compress(text.encode())[:6])
    with pytest.raises(InputError, match=r"x\.csv\.gz: cannot be read"):
        read(path)


def test_wide_table_with_mapping(csv: Csv, tmp_path: Path) -> None:
    path = csv(
        "pat,when,T,TU,NC,died,why,fever_due_to,unused",
        "a,2024-05-01T08:00,38.4,C,NC,,,infection,1",
        "a,2024-05-02T08:00,101.3,F,RA,2024-05-09,CRS,,",
        "b,2024-05-02T08:00,,,nose,,,,",
        name="w.csv",
    )
    mapping = tmp_path / "m.toml"
    mapping.write_text("""
        layout = "wide"
        [columns]
        subject_id = "pat"
        time = "when"
        [wide]
        T = { concept = "temperature", unit_from = "TU", attributable_from = "fever_due_to" }
        NC = "o2_device"
        died = { concept = "death", text_from = "why" }
        [text.o2_device]
        NC = "nasal_cannula"
        RA = "room_air"
        """)
    found = read(path, mapping)
    assert found.rejected.select("row", "column", "reason").rows() == [
        (1, "T", "unknown_attribution"),
        (3, "NC", "unknown_value"),
    ]
    assert (found.read, found.accepted) == (6, 4)
    assert found.ignored_columns == {"w.csv": ("unused",)}
    rows = found.timeline.select("code", "numeric_value", "text_value", "time").sort("code")
    assert rows.rows() == [
        ("death", None, "crs", datetime(2024, 5, 9, 23, 59, 59)),
        ("o2_device", None, "nasal_cannula", datetime(2024, 5, 1, 8)),
        ("o2_device", None, "room_air", datetime(2024, 5, 2, 8)),
        ("o2_device", None, "unknown", datetime(2024, 5, 2, 8)),
        ("temperature", 38.5, None, datetime(2024, 5, 2, 8)),
    ]


def test_start_and_end_rows_become_one_infusion(csv: Csv, tmp_path: Path) -> None:
    mapping = tmp_path / "m.toml"
    mapping.write_text("""
        [codes]
        "ON//*" = { concept = "norepinephrine", edge = "start", unit = "ug/min" }
        "OFF//*" = { concept = "norepinephrine", edge = "end" }
        """)
    lines = [
        "1,2024-05-02T07:00,OFF//7,,",
        "1,2024-05-02T08:00,ON//7,5,",
        "1,2024-05-02T09:00,ON//7,8,",
        "1,2024-05-02T09:00,OFF//7,,",
    ]
    found = read(csv(HEAD, *lines, "1,2024-05-02T12:00,OFF//7,,", "2,2024-05-02T12:00,ON//7,3,"), mapping)
    rows = found.timeline.filter(col("code") == "norepinephrine").select("time", "end_time", "numeric_value")
    eight, nine, noon = (datetime(2024, 5, 2, h) for h in (8, 9, 12))
    assert rows.rows() == [(eight, nine, 5.0), (nine, noon, 8.0), (noon, None, 3.0)]
    assert found.rejected["reason"].to_list() == ["no_start"]
    assert (found.read, found.accepted) == (6, 5)


def test_relative_times_put_the_infusion_at_zero(csv: Csv, tmp_path: Path) -> None:
    mapping = tmp_path / "m.toml"
    mapping.write_text('[time]\nrelative = "days"\n')
    found = read(csv(HEAD, "1,-5,crp,42,mg/L", "1,1.5,sbp,80,mmHg"), mapping).timeline
    day0 = found.filter(col("code") == "cart_infusion")["time"][0]
    assert (found.filter(col("code") == "sbp")["time"][0] - day0).total_seconds() == 36 * 3600


def test_meds_as_it_is(tmp_path: Path) -> None:
    data = tmp_path / "meds" / "data" / "train"
    data.mkdir(parents=True)
    frame = pl.DataFrame(
        {
            "subject_id": [1, 1, 1, 1],
            "time": [None, datetime(2024, 5, 1), datetime(2024, 5, 2), datetime(2024, 5, 3)],
            "code": ["GENDER//F", "MEDS_BIRTH", "LOINC//8310-5//[degF]", "LOINC//751-8//10*3/uL"],
            "numeric_value": [None, None, 100.4, 0.1],
        },
        schema_overrides={"numeric_value": pl.Float32},
    )
    frame.write_parquet(data / "0.parquet")
    found = read(tmp_path / "meds")
    assert found.rejected.is_empty()
    values = dict(found.timeline.select("code", "numeric_value").drop_nulls().iter_rows())
    assert values == {"temperature": 38.0, "anc": 100.0}  # a 32-bit 0.1 is not above 100/uL


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[codes]\nx = "temprature"', "temperature"),
        ('[colums]\na = "b"', "columns"),
        ('[columns]\nsubject = "b"', "subject_id"),
        ('layout = "tall"', "wide"),
        ('[codes]\nx = { concept = "sbp", units = "mmHg" }', "unit"),
        ("[text.o2_device]\nNC = 'nose'", "nasal_cannula"),
        ('[record]\ncomplete = ["all"]', "drugs"),
        ('[record]\ncomplet = ["drugs"]', "complete"),
        ("[time]\nfromat = 'x'", "format"),
        ('[time]\nformat = "%d.%m.%Y %I %p"', "cannot be used"),  # an hour without its minutes
        ("[time]\nformat = 5", "text"),
        ("[codes]\n'A*B' = 'sbp'", "at the end"),
        ("wide = 'x'", "wrong type"),
        ("[codes]\nA = 5", "wrong type"),
        ("[codes]\nA = { concept = 'sbp', unit = 5 }", "texts"),
    ],
)
def test_a_wrong_mapping_says_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "m.toml"
    path.write_text(text)
    with pytest.raises(MappingError, match=says):
        read_mapping(path)


def test_a_mapping_that_is_no_toml_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text("[codes")
    with pytest.raises(InputError, match=r"m\.toml is not TOML"):
        read_mapping(tmp_path / "m.toml")
    with pytest.raises(InputError, match=r"no\.toml: no such file"):
        read_mapping(tmp_path / "no.toml")


def test_sources_that_are_none(tmp_path: Path, csv: Csv) -> None:
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "nothing.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no table there"):
        read(tmp_path / "empty")
    with pytest.raises(InputError, match="empty"):
        read(csv("", name="e.csv"))
    with pytest.raises(InputError, match="no column for subject_id"):
        read(csv("a,b", "1,2", name="n.csv"))
    with pytest.raises(InputError, match=r"No row could be used \(1 rows: unknown_code"):
        import_folder(csv(HEAD, "1,2024-05-02,nonsense,1,"), tmp_path / "timeline")
    assert not list(tmp_path.glob("*timeline*"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,2024-05-02T08:00,tocilizumab,not given,", "not_given"),
        ("1,2024-05-02T08:00,norepinephrine,held,", "not_given"),
        ("1,2024-05-02T08:00,norepinephrine,-5,ug/min", "negative_dose"),
        ("1,2024-05-02T08:00,tocilizumab,abc,", "unknown_value"),
        ("1,9999-12-31T08:00,sbp,80,mmHg", "implausible_time"),
    ],
)
def test_rows_that_must_not_count(csv: Csv, line: str, reason: str) -> None:
    found = read(csv(HEAD, line, "1,2024-05-02T08:00,sbp,80,mmHg"))
    assert found.rejected["reason"].to_list() == [reason]


def test_ends_that_say_that_there_is_none(csv: Csv) -> None:
    rows = [f"1,2024-05-02T08:00,norepinephrine,5,ug/min,{end}" for end in ("9999-12-31", "2024-05-02T08:00")]
    found = read(csv(f"{HEAD},end_time", *rows)).timeline.filter(col("code") == "norepinephrine")
    assert found["end_time"].null_count() == 2 and found["note"].null_count() == 0


def test_a_death_counts_whatever_the_word(csv: Csv) -> None:
    row = read(csv(HEAD, "1,2024-05-02,death,respiratory failure,")).timeline.filter(col("code") == "death").row(0, named=True)
    assert (row["text_value"], row["time"]) == ("unknown", datetime(2024, 5, 2, 23, 59, 59))


def test_start_columns_of_a_wide_row_keep_to_themselves(csv: Csv, tmp_path: Path) -> None:
    mapping = tmp_path / "m.toml"
    edge = '{{ concept = "{}", unit = "ug/min", edge = "{}" }}'
    pairs = [("na_on", "norepinephrine", "start"), ("na_off", "norepinephrine", "end"), ("ad_on", "epinephrine", "start")]
    lines = [f"{column} = {edge.format(drug, side)}" for column, drug, side in pairs]
    mapping.write_text("[wide]\ntemp = { concept = 'temperature', unit = 'Cel' }\n" + "\n".join(lines))
    found = read(
        csv("subject_id,time,temp,na_on,na_off,ad_on", "1,2024-05-02T08:00,39,5,,2", "1,2024-05-02T12:00,37,,1,"), mapping
    )
    assert (found.read, found.accepted) == (5, 5)
    ends = dict(found.timeline.filter(col("time") == datetime(2024, 5, 2, 8)).select("code", "end_time").iter_rows())
    assert ends["temperature"] is None and ends["norepinephrine"] == datetime(2024, 5, 2, 12)


def test_files_as_spreadsheets_write_them(csv: Csv, tmp_path: Path) -> None:
    comma = tmp_path / "m.toml"
    comma.write_text('decimal = ","\n')
    path = csv("subject_id;time;code;value;unit", "1;2024-05-02T08:00;temperature;38,5;°C")
    path.write_bytes(path.read_text().encode("cp1252"))
    assert read(path, comma).timeline.filter(col("code") == "temperature")["numeric_value"].to_list() == [38.5]
    assert read(path).rejected["detail"].str.contains("decimal").all()
    with pytest.raises(InputError, match="two columns are called 'value'"):
        read(csv("subject_id,time,code,value,value", "1,2024-05-02T08:00,sbp,1,2"))


def test_a_state_that_cannot_be_read_ends_the_one_before(csv: Csv) -> None:
    head = "subject_id,time,code,value,unit,end_time,attributable_to"
    found = read(
        csv(
            head,
            "1,2024-05-02T08:00,o2_device,room_air,,,",
            "1,2024-05-02T10:00,o2_device,High Flow Nasal Cannula (Optiflow),,,",
            "1,2024-05-02T11:00,o2_device,room_air,,2024-05-02T09:00,nobody",
            "1,2024-05-02T12:00,setting,ward 7,,,",
            "1,2024-05-02T13:00,o2_device,,,,",  # nothing was charted
            "1,someday,consciousness,asleep,,,",
            "1,2024-05-02T14:00,second_malignancy,rodent ulcer,,,",  # no state that stands until the next
        )
    )
    assert (found.read, found.accepted, found.rejected.height) == (7, 1, 6)
    left = found.timeline.filter(col("text_value") == "unknown").select("code", col("time").dt.hour(), "end_time", "source")
    assert left.rows() == [
        ("o2_device", 10, None, "rows.csv:2"),
        ("o2_device", 11, None, "rows.csv:3"),
        ("setting", 12, None, "rows.csv:4"),
    ]
    assert found.repairs["o2_device: row rejected (unknown_value): unknown from then on"] == 1
    assert "Optiflow" not in str(found.timeline.rows())


def test_a_quote_that_never_closes_costs_its_own_line_only(csv: Csv) -> None:
    rows = [f"1,2024-05-0{n}T08:00,sbp,80,mmHg" for n in range(1, 6)]
    rows[1] = '1,2024-05-02T08:00,"sbp,80,mmHg'
    found = read(csv(HEAD, *rows))
    assert (found.read, found.accepted) == (5, 4)
    assert found.rejected.select("row", "reason").rows() == [(2, "malformed_line")]


def test_ids_of_a_float_column_are_whole_numbers(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"subject_id": [7.0], "time": [datetime(2024, 5, 2)], "code": ["sbp"], "value": [80.0], "unit": ["mmHg"]}
    )
    frame.write_parquet(tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet").timeline["subject_id"].unique().to_list() == [7]


def test_a_stray_file_of_a_folder_is_named_and_passed_over(csv: Csv) -> None:
    csv("read me first", name="readme.txt")
    found = read(csv(HEAD, "1,2024-05-02T08:00,sbp,80,mmHg").parent)
    assert found.accepted == 1 and list(found.skipped_files) == ["readme.txt"]


@pytest.mark.parametrize("folder", [".ipynb_checkpoints", "__MACOSX", ".git/objects"])
def test_what_programs_keep_for_themselves_is_no_record(csv: Csv, folder: str) -> None:
    source = csv(HEAD, "1,2024-05-02T08:00,sbp,80,mmHg").parent
    (source / folder).mkdir(parents=True)
    observation = """{"resourceType": "Observation", "status": "final"}"""
    for name, text in {
        "rows.csv": f"{HEAD}\n2,2024-05-02T08:00,sbp,81,mmHg\n",
        "x.json": observation,
        "x.xpt": "",
        "x.xlsx": "",
    }.items():
        (source / folder / name).write_text(text)
    for name in ("person.csv", "measurement.csv", "death.csv"):
        (source / folder / name).write_text("person_id\n1\n")
    found = read(source)
    assert found.read == 1 and not found.skipped_files


def test_a_folder_under_a_hidden_one_is_a_source(csv: Csv) -> None:
    source = csv(HEAD, "1,2024-05-02T08:00,sbp,80,mmHg").parent
    for name in (".cache", "metadata"):
        assert read(source.rename(source.parent / name)).read == 1
        source = source.parent / name


@pytest.mark.parametrize("name", ["labs[1]", "site?", "a*b", "{a,b}"])
def test_a_name_is_no_pattern(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aftercar.timeline.readers.spill.RUN_ROWS", 2)
    rows = pl.DataFrame(
        {"subject_id": ["1", "2", "x"], "time": [datetime(2024, 5, 2)] * 3, "code": "sbp", "value": 80.0, "unit": "mmHg"}
    )
    (tmp_path / name).mkdir()
    rows.write_parquet(tmp_path / name / f"{name}.parquet")
    rows.with_columns(subject_id=pl.lit("3")).write_parquet(tmp_path / name / "labs1.parquet")
    (tmp_path / "m.toml").write_text(f'[[file]]\nmatch = "{name}.parquet"\n[file.columns]\nunit = "uom"\n')
    with pytest.raises(MappingError, match="no column 'uom'"):  # a name is its own pattern
        read(tmp_path / name / f"{name}.parquet", tmp_path / "m.toml")
    intake = Intake(read_mapping(None), room := tmp_path / name / "room")
    room.mkdir()
    intake.take(open_pieces(tmp_path / name / f"{name}.parquet", read_mapping(None), room))
    assert [stretch["subject_id"].to_list() for stretch in intake.timeline()] == [["1", "2"], ["x"]]
    assert intake.rejected().collect().is_empty()


def test_a_unit_cell_with_a_name_in_it_is_not_repeated(csv: Csv) -> None:
    found = read(csv(HEAD, "1,2024-05-02T08:00,sbp,80,Miller John MRN 4711", "1,2024-05-02T08:00,sbp,80,mmHg"))
    assert "Miller" not in found.rejected["detail"][0]


def test_a_mapped_column_that_is_not_there_is_an_error(csv: Csv, tmp_path: Path) -> None:
    mapping = tmp_path / "m.toml"
    mapping.write_text(
        "[wide]\nnoradr = { concept = 'norepinephrine', unit = 'ug/min' }\nsbp = { concept = 'sbp', unit = 'mmHg' }"
    )
    path = csv("subject_id,time,sbp,na_rate", "1,2024-05-02T08:00,80,5")
    with pytest.raises(MappingError, match="no column 'noradr'"):
        read(path, mapping)
    mapping.write_text(mapping.read_text().replace("unit = 'ug/min' }", "unit = 'ug/min', optional = true }"))
    assert read(path, mapping).accepted == 1


@given(st.text(max_size=12))
def test_no_unit_text_breaks_the_parser(text: str) -> None:
    ucum(text)
    with contextlib.suppress(UnitError):
        line(text, concept("crp"))


# ---- what is charted, and cannot be read as it stands


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [("3 L/min", "", 3.0), ("3 L/min", "L/min", None), ("3 parsec", "", None), (">6 L/min", "", 6.000006)],
)
def test_a_unit_in_the_cell_of_the_number(csv: Csv, value: str, unit: str, expected: float | None) -> None:
    number, reason = value_of(csv, "o2_flow", value, unit)
    assert (number, reason) == ((pytest.approx(expected), None) if expected else (None, "not_a_number"))


@pytest.mark.parametrize(
    ("value", "accepted", "dose"), [("0.1-0.3", 1, None), ("5 ug/min", 1, 5.0), ("0 ug/min", 1, 0.0), ("two", 0, None)]
)
def test_a_drug_whose_dose_cannot_be_read_was_given(csv: Csv, value: str, accepted: int, dose: float | None) -> None:
    found = read(csv(HEAD, f"1,2024-05-02T08:00,norepinephrine,{value},"))
    assert found.accepted == accepted
    assert found.timeline.filter(col("code") == "norepinephrine")["numeric_value"].to_list() == [dose] * accepted


@pytest.mark.parametrize(
    ("written", "expected"), [("1.200", 1200.0), ("1.200,5", 1200.5), ("12.345.678", None), ("1,2", 1.2), ("1.2", 1.2)]
)
def test_thousands_where_the_comma_is_the_decimal_sign(csv: Csv, tmp_path: Path, written: str, expected: float | None) -> None:
    (tmp_path / "m.toml").write_text('decimal = ","\n')
    found = read(csv(HEAD.replace(",", ";"), f"1;2024-05-02T08:00;anc;{written};/uL"), tmp_path / "m.toml")
    assert found.timeline["numeric_value"].to_list() == ([expected] if expected else [])


def test_the_site_s_words_for_yes(csv: Csv, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text('[text.hypotension]\nja = "yes"\n')
    found = read(csv(HEAD, "1,2024-05-02T08:00,hypotension,ja,", "1,2024-05-02T09:00,hypotension,jein,"), tmp_path / "m.toml")
    assert found.timeline["numeric_value"].to_list() == [1.0]
    assert found.rejected["reason"].to_list() == ["unknown_value"]


def test_a_flow_that_nobody_can_read_takes_room_air_out(csv: Csv) -> None:
    found = read(csv(HEAD, "1,2024-05-02T08:00,o2_device,room_air,", "1,2024-05-02T09:00,o2_flow,much,L/min"))
    assert found.timeline.filter(col("code") == "o2_flow")["numeric_value"].to_list() == [None]
    assert found.read == 2 and found.rejected["reason"].to_list() == ["not_a_number"]


def test_the_unit_of_one_cell_is_not_that_of_its_row(csv: Csv, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text('[wide]\ntemp = { concept = "temperature", unit_from = "unit" }\nice = "ice"\n')
    found = read(csv("subject_id,time,temp,unit,ice", "1,2024-05-02T08:00,38.5,Cel,9"), tmp_path / "m.toml")
    assert found.rejected.is_empty() and set(found.timeline["code"]) == {"temperature", "ice"}


@pytest.mark.parametrize("section", ["record", "limits", "note"])
def test_what_holds_for_the_whole_source_stands_outside_of_a_file(section: str, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(f'[[file]]\nmatch = "*"\n[file.{section}]\nx = 1\n')
    with pytest.raises(MappingError, match=section):
        read_mapping(tmp_path / "m.toml")


def test_a_unit_is_never_repeated(csv: Csv) -> None:
    found = read(csv(HEAD, "1,2024-05-02T08:00,crp,5,Doe"))
    assert "Doe" not in str(found.rejected.rows())


def test_virtual_patients_say_so(csv: Csv, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text("[note]\nsimulated = true\n")
    assert read(csv(HEAD, "1,2024-05-02T08:00,ice,9,"), tmp_path / "m.toml").simulated
