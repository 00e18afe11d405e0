"""An import does not depend on how its source is cut, holds little of it at once, and leaves the old timeline or the new."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import sdtm_files
import test_omop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars import col
from polars.testing import assert_frame_equal

from aftercar.errors import InputError
from aftercar.timeline.readers import Imported, batches, dataset_json, fhir, read, spill, table, xpt
from aftercar.timeline.readers.piece import Progress
from aftercar.timeline.store import import_folder, open_timeline

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
HEAD = "subject_id,time,code,value,unit"
# Everything that bounds what is held at once, so small that each source is cut many times.
SMALL: list[tuple[object, str, int]] = [
    (batches, "BLOCK", 300), (batches, "_READ", 120), (batches, "BATCH_ROWS", 7), (spill, "RUN_ROWS", 11), (fhir, "BATCH", 3),
    (table, "CELLS", 20), (xpt, "_CHUNK", 2), (dataset_json, "BATCH_ROWS", 3),
]  # fmt: skip


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in SMALL:
        monkeypatch.setattr(module, name, value)


def brought_back(folder: Path) -> Imported:
    """A timeline folder as `read` gives it."""
    store = open_timeline(folder)
    info = store.info
    return Imported(
        timeline=store.scan().collect(), rejected=pl.read_parquet(folder / "rejected.parquet"), read=info["read"], accepted=info["accepted"],
        repairs=info["repairs"], ignored_columns={k: tuple(v) for k, v in info["ignored_columns"].items()}, skipped_files=info["skipped_files"],
        unused_parts=tuple(info["unused_parts"]), offsets=tuple(info["offsets_not_applied"]), banner=info["banner"], simulated=info["simulated"],
    )  # fmt: skip


def assert_same(one: Imported, other: Imported) -> None:
    assert_frame_equal(one.timeline, other.timeline)
    assert_frame_equal(one.rejected.sort(pl.all()), other.rejected.sort(pl.all()))
    assert one.read == one.accepted + one.rejected.height
    blank = {"timeline": pl.DataFrame(), "rejected": pl.DataFrame()}
    assert {**vars(one), **blank}.keys() == {**vars(other), **blank}.keys()
    for name in vars(one).keys() - blank.keys():
        assert getattr(one, name) == getattr(other, name), name


def cohort(_: Path) -> tuple[Path, Path | None]:
    return ROOT / "examples" / "cohort", ROOT / "examples" / "cohort" / "mapping.toml"


def omop_csv(folder: Path) -> tuple[Path, Path | None]:
    return test_omop.csvs(folder / "cdm", test_omop.CDM), None


def omop_zip(folder: Path) -> tuple[Path, Path | None]:
    return test_omop.zipped(test_omop.csvs(folder / "cdm", test_omop.CDM)), None


def omop_parquet(folder: Path) -> tuple[Path, Path | None]:
    return test_omop.parquets(folder / "cdm", test_omop.CDM), None


def trial(form: str) -> Callable[[Path], tuple[Path, Path | None]]:
    # Limits of normal that change and change back, of subjects in turn: told where they change, wherever a batch ends.
    high = [35.0, 40.0, 35.0, 35.0, 40.0, 40.0, 50.0, 50.0, 50.0]
    frame = pl.DataFrame(
        {
            "DOMAIN": ["LB"] * 9, "USUBJID": ["b", "a", "b", "a", "b", "a", "b", "a", "c"], "LBTESTCD": ["ALT"] * 9,
            "LBSTRESN": [float(n) for n in range(9)], "LBSTRESU": ["U/L"] * 9, "LBSTNRHI": high,
            "LBDTC": [f"2024-05-0{n}" for n in range(9, 0, -1)],
        }
    )  # fmt: skip
    return lambda folder: (sdtm_files.write(folder / "sdtm", {"LB": frame}, form), None)


def fhir_lines(folder: Path) -> tuple[Path, Path | None]:
    def resource(n: int) -> str:
        content = {
            "resourceType": "Observation", "status": "final", "subject": {"reference": f"Patient/{n % 5}"},
            "effectiveDateTime": f"2024-05-01T{n % 24:02}:00:00", "valueQuantity": {"value": 36 + n / 10, "code": "Cel"},
            "code": {"coding": [{"system": "http://loinc.org", "code": "8310-5"}]},
        }  # fmt: skip
        return json.dumps(content)

    path = folder / "x.ndjson"
    path.write_text("\n".join(resource(n) for n in range(40)))
    return path, None


def edges(folder: Path) -> tuple[Path, Path | None]:
    """Starts and ends of infusions, in no order, and a weight of which the first counts; ids are numbers but for the last."""
    mapping = folder / "map.toml"
    mapping.write_text(
        '[codes]\n"NE on" = { concept = "norepinephrine", edge = "start" }\n"NE off" = { concept = "norepinephrine", edge = "end" }\n'
        'kg = { concept = "weight", unit = "kg", take = "first" }\n[limits]\nalt_uln = { value = 40, unit = "U/L" }\n'
    )
    rows = [f"{n % 7},2024-05-{1 + (n * 5) % 28:02}T08:00,{('NE on', 'NE off', 'kg')[n % 3]},{50 + n % 9},"
            for n in range(60)]  # fmt: skip
    (folder / "rows.csv").write_text("\n".join([HEAD, *rows, "x7,2024-05-02T08:00,crp,5,mg/L", ""]))
    return folder / "rows.csv", mapping


SOURCES = [cohort, omop_csv, omop_zip, omop_parquet, *map(trial, ("xpt5", "1.1.0", "ndjson")), fhir_lines, edges]


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_may_be_cut_anywhere(
    source: Callable[[Path], tuple[Path, Path | None]], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path, mapping = source(tmp_path)
    whole = read(path, mapping)
    request.getfixturevalue("small")
    if source is cohort:  # 36,000 rows in runs of 11 would take long
        request.getfixturevalue("monkeypatch").setattr(spill, "RUN_ROWS", 5000)
        request.getfixturevalue("monkeypatch").setattr(batches, "BLOCK", 50_000)
        request.getfixturevalue("monkeypatch").setattr(batches, "_READ", 9_000)
        request.getfixturevalue("monkeypatch").setattr(table, "CELLS", 100_000)
    assert_same(read(path, mapping), whole)
    folder = import_folder(path, tmp_path / "timeline", mapping, shard_rows=10 if source is not cohort else 1000)
    assert_same(brought_back(folder), whole)
    files = open_timeline(folder).files
    heights = [pl.scan_parquet(f).select(pl.len()).collect().item() for f in files]
    assert len(files) > 1 and sum(heights) == whole.timeline.height
    subjects = pl.concat([pl.read_parquet(f, columns=["subject_id"]).unique() for f in files])
    assert subjects["subject_id"].is_unique().all()


LINES = st.sampled_from(
    [
        "1,2024-05-01T08:00,sbp,80,mm[Hg]", "22,2024-05-02T09:30:15,temperature,38.5,Cel", "3,2024-05-02,crp,5,mg/L", "", ",,,,",
        "4,2024-05-01T08:00,nonsense,1,", '5,2024-05-01T08:00,disease,"large, B-cell",', "6,2024-05-01T08:00,sbp,80", "lost",
        '7,2024-05-01T08:00,product,"axi\ncabtagene",', '8,2024-05-01T08:00,product,"axicel,', "9,2024-05-01T08:00,sbp,80,mm[Hg],x,y",
        "10,2024-05-01T08:00,disease,Sjögren,", "x11,2024-05-01T08:00,sbp,81,mm[Hg]", '12,2024-05-01T08:00,"sbp","82","mm[Hg]"',
        '13,2024-05-01T08:00,product,"","', "\0", '""', '"', "14,2024-05-01T08:00,sb\0p,80,mm[Hg]", "15,2024-05-01T08:00,sbp\r,80,mm[Hg]",
    ]
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(LINES, max_size=40),
    end=st.sampled_from(["\n", "\r\n", "\n5,2024-05-01T08:00,sb"]),
    code=st.sampled_from(["utf-8", "cp1252", "utf-16"]),
)
def test_what_becomes_of_a_line_does_not_hang_on_its_block(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], end: str, code: str
) -> None:
    path = tmp_path_factory.mktemp("lines") / "rows.csv"
    eol = "\r\n" if end == "\r\n" else "\n"
    path.write_bytes((eol.join([HEAD, *lines]) + end).encode(code))
    with pytest.MonkeyPatch.context() as patch:
        whole = read(path)
        for module, name, value in SMALL:
            patch.setattr(module, name, value)
        assert_same(read(path), whole)
    fine = [line for line in lines if line.endswith(("mm[Hg]", "Cel", "mg/L")) and "\0" not in line]
    assert whole.timeline.filter(col("code") != "record_complete").height >= len(fine)  # unharmed lines stay


def test_a_row_is_the_line_of_the_file_less_its_header(csv: Callable[..., Path]) -> None:
    rows = ['1,2024-05-01T08:00,disease,"large\nB-cell",', "", "1,2024-05-01T08:00,sbp,80,mm[Hg]", "1,soon,sbp,80,mm[Hg]"]
    found = read(csv(HEAD, *rows))
    assert found.timeline.filter(col("code") == "sbp")["source"].to_list() == ["rows.csv:4"]
    assert found.rejected["row"].to_list() == [5]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_line_ends_and_blank_lines_before_the_header(ends: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(ends.join(["", "", HEAD, "1,2024-05-01T08:00,sbp,80,mm[Hg]", "1,soon,sbp,80,mm[Hg]", ""]).encode(encoding))
    found = read(path)
    assert found.timeline["source"].to_list() == ["rows.csv:3"] and found.rejected["row"].to_list() == [4]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_the_separator_as_excel_says_it(ends: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    lines = [
        "sep=;",
        "subject_id;time;code;value;unit;a,b,c,d,e,f",
        "1;2024-05-01T08:00;sbp;80;mm[Hg];",
        "1;soon;sbp;80;mm[Hg];x,y",
    ]
    path.write_bytes((ends.join(lines) + ends).encode("utf-8-sig"))
    found = read(path)
    assert found.timeline["source"].to_list() == ["rows.csv:2"] and found.rejected["row"].to_list() == [3]


def test_columns_without_a_name_are_called_by_their_place(csv: Callable[..., Path]) -> None:
    lines = (
        "subject_id,time,temperature_c,,, ,",
        "1,2024-05-01T08:00,38.5,,,,",
        "1,2024-05-01T09:00,38.6,,x",
        '"1",2024-05-01T10:00,38.7,,,',
    )
    found = read(csv(*lines))
    assert found.read == found.accepted == 3
    assert found.ignored_columns == {"rows.csv": ("column 5",)}  # nothing stands in the others
    assert not read(csv(*lines[:2])).ignored_columns


def test_what_is_ignored_in_any_batch_is_named(csv: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BLOCK", 1)
    monkeypatch.setattr(batches, "_READ", 60)
    rows = (f"1,2024-05-01T{n:02}:00,38.5,{'x' if n == 3 else ''},{'y' if n == 9 else ''},{n}" for n in range(20))
    found = read(csv("subject_id,time,temperature_c,p,q,n", *rows))
    assert sorted(found.ignored_columns["rows.csv"]) == ["n", "p", "q"]


# ---- zips


def test_a_zip_is_read_as_the_folder_that_was_packed(tmp_path: Path) -> None:
    data = Path(__file__).parents[1] / "examples" / "cohort"
    packed = Path(shutil.make_archive(str(tmp_path / "cohort"), "zip", data))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("__MACOSX/._labs.csv", "x")
    mapping = data / "mapping.toml"
    assert_frame_equal(read(packed, mapping).timeline, read(data, mapping).timeline)
    told = open_timeline(import_folder(packed, tmp_path / "timeline", mapping)).info
    assert told["read"] == read(data, mapping).read
    assert not [p for p in (tmp_path / "timeline").rglob("*") if p.suffix == ".csv"]


def test_what_is_damaged_in_a_zip_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    line = "1,2024-05-01T08:00,sbp,80,mm[Hg]\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", f"{HEAD}\n{line}")
        archive.writestr("b.csv", f"{HEAD}\n{line * 2}")
    path.write_bytes(path.read_bytes().replace((line * 2).encode(), (line + line.replace("80", "81")).encode()))
    found = read(path)
    assert found.read == found.accepted == 1 and list(found.skipped_files) == ["b.csv"]
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"x\.zip: no zip that can be opened"):
        read(path)


def test_nothing_is_unpacked_outside_of_the_room(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("../out.csv", f"{tmp_path}/out.csv", "a/../../out.csv", "in.csv"):
            archive.writestr(name, f"{HEAD}\n1,2024-05-01T08:00,sbp,80,mm[Hg]\n")
    assert read(tmp_path / "x.zip").read == 2  # the absolute one, within the room
    assert [p.name for p in tmp_path.iterdir()] == ["x.zip"]


def test_progress_counts_files_rows_and_bytes(tmp_path: Path, small: None) -> None:
    for n in range(3):
        (tmp_path / f"{n}.csv").write_text("\n".join([HEAD, *["1,2024-05-01T08:00,sbp,80,mm[Hg]"] * 50, ""]))
    told: list[Progress] = []
    read(tmp_path, progress=told.append)
    assert len(told) > 10
    places = [p.place for p in told if p.place]
    assert {p.file for p in places} == {1, 2, 3} and {p.files for p in places} == {3}
    shares = [p.share for p in places]
    assert shares == sorted(shares) and 0 < shares[0] < 0.2 and shares[-1] == 1.0
    assert [p.rows for p in told] == sorted(p.rows for p in told) and told[-1].rows == 150


# ---- interrupted


CHILD = """
import os, resource, signal, sys
import polars as pl
from pathlib import Path
from aftercar.timeline import store
from aftercar.timeline.readers import batches, spill
batches.BLOCK, batches._READ, spill.RUN_ROWS = 300, 120, 11
points = int(sys.argv[3])
def counted(function):
    def call(*args, **kwargs):
        global points
        points -= 1
        if points == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call
spill._write = counted(spill._write)  # a run that goes to disk
pl.DataFrame.write_parquet = counted(pl.DataFrame.write_parquet)  # and that, a shard, the rejected rows, the codes
store._about = counted(store._about)
store._json = counted(store._json)
store.import_folder(sys.argv[1], sys.argv[2], shard_rows=10)
print(points)
"""


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def old(tmp_path: Path) -> tuple[Path, Path, dict[str, bytes]]:
    """A source of several runs and shards, and a former timeline with what it holds."""
    source = tmp_path / "rows.csv"
    rows = [f"{n % 9},2024-05-{1 + n % 28:02}T08:00,{('sbp', 'nonsense')[n % 5 == 0]},{80 + n},mm[Hg]" for n in range(80)]
    source.write_text("\n".join([HEAD, *rows, ""]))
    former = tmp_path / "former.csv"
    former.write_text(f"{HEAD}\n1,2024-05-01T08:00,cart_infusion,,\n")
    timeline = import_folder(former, tmp_path / "timeline")
    return source, timeline, content(timeline)


def killed(source: Path, timeline: Path, point: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CHILD, str(source), str(timeline), str(point)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.mark.slow
def test_a_kill_at_any_point_leaves_the_old_timeline_whole(old: tuple[Path, Path, dict[str, bytes]]) -> None:
    source, timeline, before = old
    points = 10_000 - int(killed(source, timeline.with_name("count"), 10_000).stdout)
    assert points > 20
    for point in sorted({1, 2, 3, points // 3, points // 2, points - 5, points - 2, points}):
        done = killed(source, timeline, point)
        assert done.returncode == -9, done.stderr
        assert content(timeline) == before
        assert list(timeline.parent.glob(".timeline.*.part"))
    new = import_folder(source, timeline)
    assert open_timeline(new).info["read"] == 80
    assert not list(timeline.parent.glob(".*.part"))  # the next run cleared what they left


def test_a_kill_leaves_the_old_timeline_and_the_next_run_clears_up(old: tuple[Path, Path, dict[str, bytes]]) -> None:
    source, timeline, before = old
    assert killed(source, timeline, 9).returncode == -9
    assert content(timeline) == before
    import_folder(source, timeline)
    assert open_timeline(timeline).info["read"] == 80 and not list(timeline.parent.glob(".*.part"))


@pytest.mark.parametrize("most", [pytest.param(500, marks=pytest.mark.slow), 4_000])
def test_a_disk_that_is_full_leaves_the_old_timeline(most: int, old: tuple[Path, Path, dict[str, bytes]]) -> None:
    source, timeline, before = old
    code = f"""
import resource, sys
from aftercar.serve import cli
from aftercar.timeline.readers import batches, spill
spill.RUN_ROWS = 60
resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))
sys.argv = ["aftercar", "import", {str(source)!r}, "--to", {str(timeline)!r}]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "Nothing half-written was left" in done.stderr and "Traceback" not in done.stderr
    assert content(timeline) == before and not list(timeline.parent.glob(".*.part"))
