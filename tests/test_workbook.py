"""Excel workbooks in: dates as dates, each sheet a table, and the input of the peer ICAHT grader without a mapping."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars import col
from polars.testing import assert_frame_equal

from aftercar.errors import InputError, MappingError
from aftercar.timeline.readers import read
from aftercar.timeline.readers.xlsx import read_xlsx

MAIN, LINK = "urn:sheet", "urn:link"  # the reader goes by local names, as two editions of the format differ in the rest
DATE, MOMENT, OWN_DATE, DURATION, PLAIN = 1, 2, 3, 4, 0
STYLES = f"""<styleSheet xmlns="{MAIN}"><numFmts><numFmt numFmtId="164" formatCode='dd\\.mm\\.yyyy;@'/><numFmt numFmtId="165" formatCode="[h]:mm"/>
<numFmt numFmtId="166" formatCode="00000;-00000"/><numFmt numFmtId="167" formatCode="0.00"/></numFmts>
<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="22"/><xf numFmtId="164"/><xf numFmtId="165"/><xf numFmtId="166"/><xf numFmtId="167"/></cellXfs></styleSheet>"""

Cell = Any  # None, a text, a number, a truth, a date, or the XML of a cell as bytes


def serial(value: date, since_1904: bool = False) -> float:
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    return (moment - (datetime(1904, 1, 1) if since_1904 else datetime(1899, 12, 30))).total_seconds() / 86_400


def letters(n: int) -> str:
    return letters(n // 26 - 1) + chr(65 + n % 26) if n >= 26 else chr(65 + n)


def cell(value: Cell, place: str, words: list[str], since_1904: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode().replace("<c", f'<c r="{place}"', 1)
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{value:d}</v></c>'
    if isinstance(value, date):
        style = MOMENT if isinstance(value, datetime) else DATE
        return f'<c r="{place}" s="{style}"><v>{serial(value, since_1904)!r}</v></c>'
    if isinstance(value, str):
        words.append(value)
        return f'<c r="{place}" t="s"><v>{len(words) - 1}</v></c>'
    return f'<c r="{place}"><v>{value!r}</v></c>'


def workbook(path: Path, since_1904: bool = False, **sheets: list[list[Cell]]) -> Path:
    """A workbook as Excel writes it: shared strings, dates as styled numbers, no XML for blank cells and rows."""
    words: list[str] = []
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for n, rows in enumerate(sheets.values(), 1):
            lines = [
                f'<row r="{i}">{"".join(cell(v, letters(j) + str(i), words, since_1904) for j, v in enumerate(row))}</row>'
                for i, row in enumerate(rows, 1)
                if any(v is not None for v in row)
            ]
            book.writestr(
                f"xl/worksheets/sheet{n}.xml", f'<worksheet xmlns="{MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>'
            )
        names = "".join(f'<sheet name="{escape(s)}" sheetId="{n}" r:id="rId{n}"/>' for n, s in enumerate(sheets, 1))
        links = "".join(f'<Relationship Id="rId{n}" Target="worksheets/sheet{n}.xml"/>' for n in range(1, len(sheets) + 1))
        book.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{MAIN}" xmlns:r="{LINK}"><workbookPr date1904="{since_1904:d}"/><sheets>{names}</sheets></workbook>',
        )
        book.writestr("xl/_rels/workbook.xml.rels", f"<Relationships>{links}</Relationships>")
        book.writestr("xl/styles.xml", STYLES)
        items = "".join(f"<si><t>{escape(w)}</t></si>" for w in words)
        book.writestr("xl/sharedStrings.xml", f'<sst xmlns="{MAIN}">{items}</sst>')
    return path


def rows_of(path: Path) -> list[list[str | None]]:
    ((_, rows),) = read_xlsx(path, path.name, lambda _: None)
    return rows


PEER = [
    ["patient_id", "cart_date", "date", "anc", "progression_date", "subsequent_therapy_date", "last_fu_date"],
    [1, date(2024, 5, 2), date(2024, 5, 1), 2300, None, None, date(2024, 8, 30)],
    [1, date(2024, 5, 2), date(2024, 5, 9), 480.5, None, None, date(2024, 8, 30)],
    [2, date(2024, 6, 3), date(2024, 6, 3), 90, date(2024, 7, 1), date(2024, 7, 9), None],
]


def test_the_workbook_of_the_peer_needs_no_mapping(tmp_path: Path, csv: Callable[..., Path]) -> None:
    found = read(workbook(tmp_path / "anc.xlsx", Sheet1=PEER))
    assert found.rejected.is_empty()
    assert found.accepted == found.read == 8  # three counts; each date of a patient once
    ours = csv(
        "subject_id,time,code,value,unit",
        *(
            "1,2024-05-01,anc,2300,/uL",
            "1,2024-05-02,cart_infusion,,",
            "1,2024-05-09,anc,480.5,/uL",
            "1,2024-08-30,last_follow_up,,",
        ),
        *("2,2024-06-03,cart_infusion,,", "2,2024-06-03,anc,90,/uL", "2,2024-07-01,progression,,", "2,2024-07-09,next_therapy,,"),
    )
    assert_frame_equal(found.timeline.drop("source", "event_id"), read(ours).timeline.drop("source", "event_id"))
    assert found.timeline.filter(col("code") == "anc")["source"].to_list() == [f"anc.xlsx/Sheet1:{n}:anc" for n in (1, 2, 3)]


def test_capitals_and_blanks_in_the_titles_of_the_peer(tmp_path: Path) -> None:
    rows = [["Patient ID", "Cart date", "Date", "ANC"], *(row[:4] for row in PEER[1:])]
    assert read(workbook(tmp_path / "anc.xlsx", Sheet1=rows)).accepted == 5


LONG = [
    ["subject_id", "time", "code", "value", "unit"],
    ["A-1", datetime(2024, 5, 2, 8, 30), "temperature", 38.4, "Cel"],
    ["A-1", datetime(2024, 5, 2, 9, 0), "sbp", 85, "mmHg"],
    [None] * 5,
    ["A-1", "2024-05-02T10:00", "o2_device", "nasal_cannula", None],
    ["A-1", datetime(2024, 5, 2, 23, 59, 59), "sedated", True, None],
]


@pytest.mark.parametrize("since_1904", [False, True])
def test_a_sheet_is_a_table(tmp_path: Path, csv: Callable[..., Path], since_1904: bool) -> None:
    found = read(workbook(tmp_path / "ward.xlsx", since_1904, Vitals=LONG))
    ours = csv(
        "subject_id,time,code,value,unit",
        *("A-1,2024-05-02T08:30,temperature,38.4,Cel", "A-1,2024-05-02T09:00,sbp,85,mmHg"),
        *("A-1,2024-05-02T10:00,o2_device,nasal_cannula,", "A-1,2024-05-02T23:59:59,sedated,yes,"),
    )
    assert_frame_equal(found.timeline.drop("source", "event_id"), read(ours).timeline.drop("source", "event_id"))
    assert found.timeline["source"].to_list() == [f"ward.xlsx/Vitals:{n}" for n in (1, 2, 4, 5)]


def test_each_sheet_has_its_part_of_the_mapping(tmp_path: Path) -> None:
    labs = [["Labor"], [None], ["Pat", "Wann", "CRP"], [7, date(2024, 5, 2), "4,2"]]
    mapping = tmp_path / "map.toml"
    mapping.write_text(
        '[[file]]\nmatch = "*/Labs"\nlayout = "wide"\ndecimal = ","\ncolumns = { subject_id = "Pat", time = "Wann" }\n'
        'time = { format = "%d.%m.%Y" }\n[file.wide]\nCRP = { concept = "crp", unit = "mg/dL" }\n'
    )
    path = workbook(tmp_path / "ward.xlsx", Vitals=LONG, Labs=labs[2:], Notes=[["free"], ["text"]], Empty=[])
    found = read(path, mapping)
    assert found.timeline.filter(col("code") == "crp").select("numeric_value", "time").rows() == [(42.0, datetime(2024, 5, 2))]
    assert set(found.skipped_files) == {"ward.xlsx/Notes", "ward.xlsx/Empty"}


def test_a_folder_may_hold_workbooks_and_tables(tmp_path: Path) -> None:
    folder = tmp_path / "src"
    workbook(folder / "WARD.XLSX", Vitals=LONG)
    (folder / "~$WARD.XLSX").write_bytes(b"open in Excel")
    (folder / "more.csv").write_text("subject_id,time,code,value,unit\nA-1,2024-05-03,map,60,mmHg\n")
    found = read(folder)
    assert found.accepted == 5 and not found.skipped_files


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ('<c s="1"><v>45414</v></c>', "2024-05-02"),
        ('<c s="2"><v>45414.354166666664</v></c>', "2024-05-02T08:30:00"),
        ('<c s="3"><v>45414</v></c>', "2024-05-02"),
        ('<c s="4"><v>1.5</v></c>', "1.5"),  # a duration is no date
        ('<c s="1"><v>59</v></c>', "1900-02-28"),
        ('<c s="1"><v>61</v></c>', "1900-03-01"),
        ('<c s="1"><v>0.25</v></c>', "0.25"),
        ('<c s="5"><v>7</v></c>', "00007"),  # as the sheet shows it
        ('<c s="5"><v>123456</v></c>', "123456"),
        ('<c s="5"><v>-7</v></c>', "-00007"),
        ('<c s="5"><v>7.5</v></c>', "7.5"),
        ('<c s="6"><v>7</v></c>', "7"),
        ('<c t="d"><v>2024-05-02T08:30:00</v></c>', "2024-05-02T08:30:00"),
        ('<c t="str"><f>A1</f><v>text</v></c>', "text"),
        ("<c><f>1+1</f><v>2</v></c>", "2"),
        ("<c><f>1+1</f></c>", "#NOT CALCULATED"),
        ('<c t="e"><v>#N/A</v></c>', "#N/A"),
        ('<c t="inlineStr"><is><t>a</t></is></c>', "a"),
        ('<c t="inlineStr"><is><r><t>a</t></r><r><t>b</t></r><rPh><t>no</t></rPh></is></c>', "ab"),
        ("<c><v>1E-3</v></c>", "0.001"),
        ("<c><v>12345678901</v></c>", "12345678901"),
    ],
)
def test_cells(tmp_path: Path, raw: str, expected: str) -> None:
    assert rows_of(workbook(tmp_path / "x.xlsx", S=[[raw.encode()]])) == [[expected]]


def test_a_formula_without_its_result_is_listed_and_not_passed_over(tmp_path: Path) -> None:
    rows = [*LONG[:2], ["A-1", datetime(2024, 5, 2, 9), "sbp", b"<c><f>B1</f></c>", "mmHg"]]
    assert read(workbook(tmp_path / "x.xlsx", S=rows)).rejected["reason"].to_list() == ["not_a_number"]


@given(
    st.lists(
        st.datetimes(datetime(1900, 3, 1), datetime(2200, 1, 1)).map(lambda t: t.replace(microsecond=0)), min_size=1, max_size=9
    ),
    st.booleans(),
)
def test_dates_come_back(tmp_path_factory: pytest.TempPathFactory, times: list[datetime], since_1904: bool) -> None:
    times = [t for t in times if not since_1904 or t.year > 1904] or [datetime(2024, 5, 2)]
    path = workbook(tmp_path_factory.mktemp("book") / "x.xlsx", since_1904, S=[[t] for t in times])
    assert [datetime.fromisoformat(row[0] or "") for row in rows_of(path)] == times


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=9))
def test_numbers_come_back(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = workbook(tmp_path_factory.mktemp("book") / "x.xlsx", S=[[v] for v in values])
    assert [float(row[0] or "") for row in rows_of(path)] == values


# ---- faults


def changed(tmp_path: Path, part: str, text: str | None) -> Path:
    """A good workbook with one part of it replaced, or left out."""
    whole = workbook(tmp_path / "whole.xlsx", S=LONG)
    path = tmp_path / "x.xlsx"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for item in old.namelist():
            if item != part:
                new.writestr(item, old.read(item))
        if text is not None:
            new.writestr(part, text)
    whole.unlink()
    return path


SHEET = "xl/worksheets/sheet1.xml"


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("xl/workbook.xml", None),
        ("xl/workbook.xml", "<workbook"),
        ("xl/_rels/workbook.xml.rels", "<Relationships/>"),
        (SHEET, None),
        (SHEET, f'<worksheet xmlns="{MAIN}"><sheetData><row r="1"><c r="A1"'),
        (SHEET, f'<worksheet xmlns="{MAIN}"><sheetData><row r="99999999"><c r="A1"><v>1</v></c></row></sheetData></worksheet>'),
        (SHEET, f'<worksheet xmlns="{MAIN}"><sheetData><row r="1"><c r="1"><v>1</v></c></row></sheetData></worksheet>'),
        (SHEET, f'<worksheet xmlns="{MAIN}"><sheetData><row r="1"><c r="A1" t="s"><v>99</v></c></row></sheetData></worksheet>'),
        (SHEET, f'<worksheet xmlns="{MAIN}"><sheetData><row r="1"><c r="A1"><v>x</v></c></row></sheetData></worksheet>'),
        (SHEET, f'<worksheet xmlns="{MAIN}"><sheetData/></worksheet>'),
        ("xl/sharedStrings.xml", None),
    ],
)
def test_a_damaged_workbook(tmp_path: Path, part: str, text: str | None) -> None:
    with pytest.raises(InputError, match=r"x\.xlsx"):
        read(changed(tmp_path, part, text))


@pytest.mark.parametrize("kept", [0, 4, 200, -30])
def test_a_workbook_that_is_cut_off(tmp_path: Path, kept: int) -> None:
    path = workbook(tmp_path / "x.xlsx", S=LONG)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"x\.xlsx"):
        read(path)


def test_an_old_or_protected_workbook(tmp_path: Path) -> None:
    path = tmp_path / "x.xlsx"
    path.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600))
    with pytest.raises(InputError, match="password"):
        read(path)


def test_entities_of_xml_do_not_grow(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE s [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9)
    )
    text = (
        f'{bomb}]><worksheet xmlns="{MAIN}"><sheetData><row r="1"><c r="A1" t="str"><v>&j;</v></c></row></sheetData></worksheet>'
    )
    with pytest.raises(InputError, match="damaged"):
        read(changed(tmp_path, SHEET, text))


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([["subject_id", "time", "code", "code"], ["1", date(2024, 5, 2), "map", "map"]], InputError),
        ([["time", "code"], [date(2024, 5, 2), "map"]], InputError),
        ([["subject_id", "time", "what"], ["1", date(2024, 5, 2), "map"]], InputError),
    ],
)
def test_a_sheet_that_is_no_table_of_records(tmp_path: Path, rows: list[list[Cell]], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"x\.xlsx/S"):
        read(workbook(tmp_path / "x.xlsx", S=rows))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (["1", date(2024, 5, 2), "soon", 90], "bad_time"),
        (["1", date(2024, 5, 2), 0.5, 90], "bad_time"),
        ([None, date(2024, 5, 2), date(2024, 5, 3), 90], "missing_subject"),
        (["1", date(2024, 5, 2), date(2024, 5, 3), "low"], "not_a_number"),
        (["1", date(2024, 5, 2), date(2024, 5, 3), -5], "implausible_value"),
    ],
)
def test_rows_of_the_peer_that_cannot_be_used(tmp_path: Path, row: list[Cell], reason: str) -> None:
    found = read(workbook(tmp_path / "x.xlsx", S=[PEER[0][:4], ["1", date(2024, 5, 2), date(2024, 5, 2), 2000], row]))
    assert set(found.rejected["reason"]) == {reason}
    assert found.accepted + found.rejected.height == found.read


def test_an_empty_zip_is_no_workbook(tmp_path: Path) -> None:
    memory = io.BytesIO()
    zipfile.ZipFile(memory, "w").close()
    (tmp_path / "x.xlsx").write_bytes(memory.getvalue())
    with pytest.raises(InputError):
        read(tmp_path / "x.xlsx")


def test_a_column_that_the_mapping_names_and_the_sheet_lacks(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text('[columns]\nsubject_id = "pat"')
    with pytest.raises(MappingError, match=r"x\.xlsx/S has no column 'pat'"):
        read(workbook(tmp_path / "x.xlsx", S=LONG), tmp_path / "map.toml")
