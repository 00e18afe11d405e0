"""Exports: what goes out comes back exactly, and each format is what its readers expect."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import strategies
import strategies_late
from commands import run
from hypothesis import given, settings
from hypothesis import strategies as st
from polars import col
from polars.testing import assert_frame_equal
from test_properties import few

from aftercar.errors import AftercarError, InputError, OptionError
from aftercar.evidence.diagnoses import icd10cm
from aftercar.export import FORMATS, RECORDS, export_folder, fhir, omop, read_back, results, sdtm, write_tables
from aftercar.export.results import SCHEMAS
from aftercar.grade.folder import grade_folder
from aftercar.grade.run import SCALES, grade_timeline
from aftercar.grade.scale import GRADES, MEASURES, STATUS
from aftercar.grade.table import EPISODES
from aftercar.timeline.readers import open_pieces, read
from aftercar.timeline.readers.batches import ROW
from aftercar.timeline.readers.dataset_json import read_dataset_json
from aftercar.timeline.readers.mapping import Mappings
from aftercar.timeline.store import import_folder, write_timeline
from aftercar.timeline.subjects import SUBJECTS

COHORT = Path(__file__).parents[1] / "examples" / "cohort"
RUN = {
    "rules": [],
    "options": {},
    "aftercar": "0",
    "created": "2026-01-01T00:00:00+00:00",
    "timeline": "../timeline",
    "simulated": False,
}
# Every way in which tables are written.
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "fhir": ("fhir", {}),
    "fhir with a zone": ("fhir", {"zone": "Europe/Berlin"}),
    "omop": ("omop", {}),
    "omop as parquet": ("omop", {"table_format": "parquet"}),
    "sdtm": ("sdtm", {}),
}


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example cohort on every scale, beside its timeline."""
    folder = tmp_path_factory.mktemp("cohort")
    write_timeline(read(COHORT, COHORT / "mapping.toml"), folder / "timeline")
    grade_folder(folder / "timeline", folder / "grades", ["all"])
    return folder / "grades"


def exporter(source: Path) -> Callable[[str], Path]:
    """Exports of results in each of `WAYS`, made when first asked for."""

    def made(way: str) -> Path:
        folder = source.parent / f"{source.name} {way}"
        if not folder.exists():
            export_folder(source, WAYS[way][0], folder, **WAYS[way][1])
        return folder

    return made


@pytest.fixture(scope="module")
def exported(graded: Path) -> Callable[[str], Path]:
    return exporter(graded)


@pytest.fixture(scope="module")
def few_exported(graded: Path) -> Callable[[str], Path]:
    """Of a few subjects, among them the one without an infusion."""
    whole = tables(graded)
    lost = whole["subjects"].filter(col("day0").is_null())
    some = pl.concat([whole["subjects"].head(4), lost]).select("subject_id")
    part = {name: frame.join(some, on="subject_id", how="semi", maintain_order="left") for name, frame in whole.items()}
    return exporter(write_results(graded.parent / "few", part))


def tables(folder: Path) -> dict[str, pl.DataFrame]:
    return {name: pl.read_parquet(folder / f"{name}.parquet") for name in SCHEMAS}


def write_results(folder: Path, made: dict[str, pl.DataFrame], **said: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in made.items():
        frame.write_parquet(folder / f"{name}.parquet")
    (folder / "run.json").write_text(json.dumps(RUN | said))
    return folder


def assert_comes_back(made: dict[str, pl.DataFrame], folder: Path) -> None:
    """Written in every way and read back, the tables are what they were."""
    source = write_results(folder / "results", made)
    for way, (to, choices) in WAYS.items():
        export_folder(source, to, folder / way, **choices)
        back = read_back(folder / way)
        assert back.run == RUN
        for name, frame in made.items():
            assert_frame_equal(getattr(back, name), frame)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# ---- out and back


@pytest.mark.parametrize("way", WAYS)
def test_the_cohort_comes_back(way: str, graded: Path, exported: Callable[[str], Path]) -> None:
    back = read_back(exported(way))
    for name, frame in tables(graded).items():
        assert_frame_equal(getattr(back, name), frame)
    assert back.run == json.loads((graded / "run.json").read_text())


@pytest.mark.parametrize("way", WAYS)
def test_a_second_export_and_smaller_slices_write_the_same_bytes(
    way: str, few_exported: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = few_exported(way)
    source = first.parent / "few"
    monkeypatch.setattr(results, "SLICE_ROWS", 300)
    monkeypatch.setattr(fhir, "_BATCH", 99)
    monkeypatch.setattr(sdtm, "_BATCH", 99)
    assert len(list(results.open_results(source).slices())) > 3
    export_folder(source, WAYS[way][0], tmp_path / "again", **WAYS[way][1])
    assert {p.name for p in first.iterdir()} == {p.name for p in (tmp_path / "again").iterdir()}
    if way != "omop as parquet":  # row groups follow the slices
        for path in first.iterdir():
            assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name
    assert_frame_equal(read_back(tmp_path / "again").grades, pl.read_parquet(source / "grades.parquet"))


@few(3)
@given(seed=st.integers(0, 2**32 - 1), words=st.booleans())
def test_random_records_come_back(seed: int, words: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = np.random.default_rng(seed)
    parts = [
        strategies.random_timeline(rng, 4, [*strategies.FAMILIES, *strategies.MORE_FAMILIES]),
        strategies_late.random_late_timeline(rng, 4).with_columns(col("subject_id") + 100),
    ]
    timeline = pl.concat([p.drop("event_id") for p in parts], how="diagonal_relaxed")
    # Some have no infusion: they cannot be graded, and say so.
    timeline = timeline.filter(~((col("subject_id") % 4 == 0) & (col("code") == "cart_infusion")))
    if words:
        timeline = timeline.with_columns(pl.concat_str(pl.lit("N° "), "subject_id").alias("subject_id"))
    result = grade_timeline(timeline, ["all"])
    assert result.grades.height > 100
    assert_comes_back({name: getattr(result, name) for name in SCHEMAS}, tmp_path_factory.mktemp("random"))


def test_a_subject_without_an_infusion_and_two_courses_come_back(tmp_path: Path) -> None:
    start = datetime(2024, 2, 20, 8, 0, 0, 123456)
    rows = [
        (1, start, "cart_infusion", None), (1, start + timedelta(days=1, microseconds=7), "temperature", 39.0),
        (1, start + timedelta(days=90), "cart_infusion", None), (1, start + timedelta(days=91), "temperature", 39.0),
        (2, start, "temperature", 39.0),
    ]  # fmt: skip
    timeline = pl.DataFrame(rows, schema=["subject_id", "time", "code", "numeric_value"], orient="row")
    result = grade_timeline(timeline, ["all"])
    assert result.subjects["day0"].null_count() == 1 and result.subjects["infusion"].max() == 2
    assert_comes_back({name: getattr(result, name) for name in SCHEMAS}, tmp_path)


# Any text that a frame can hold, and what parsers trip over.
TEXT = st.one_of(
    st.sampled_from(["", " ", "NA", "null", "007", '"', "a,b", "a\nb", "\\", "a=b", "=", "{}", '{"v":1}', "]}", '"rows": [', "Ä°", "\x1f", "'"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
)  # fmt: skip
TIMES = st.none() | st.datetimes(datetime(1970, 1, 1), datetime(2199, 12, 31))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.lists(TEXT, max_size=3)


@st.composite
def any_tables(draw: st.DrawFn) -> dict[str, pl.DataFrame]:
    """Tables of the right columns with anything in them: a few subjects, each with rows of a few scales."""
    ids = draw(
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4, unique=True)
        | st.lists(TEXT, min_size=1, max_size=4, unique=True)
    )
    own = pl.Int64 if isinstance(ids[0], int) else pl.String
    scales = [
        ("crs", "crs_astct2019", "r@1", '{"a": 1}'),
        ("icans", "icans_astct", draw(TEXT), "{}"),
        ("new", "no_scale_of_ours", "x", "{}"),
    ]
    grades, episodes, subjects = [], [], []
    small = st.integers(0, 5)
    for subject in ids:
        for infusion in range(1, draw(st.integers(1, 2)) + 1):
            subjects.append(dict.fromkeys(SUBJECTS) | {
                "subject_id": subject, "infusion": infusion, "day0": draw(TIMES), "age_y": draw(st.none() | st.floats(0, 120)),
                "sex": draw(st.sampled_from([None, "male", "female", "other"])), "weight_kg": draw(st.none() | NUMBERS),
                "product": draw(st.none() | TEXT), "death": draw(TIMES), "death_cause": draw(st.none() | TEXT), "record_end": draw(TIMES),
            })  # fmt: skip
            for toxicity, scale, rules, options in draw(st.lists(st.sampled_from(scales), max_size=3, unique=True)):
                told = {
                    "subject_id": subject,
                    "infusion": infusion,
                    "toxicity": toxicity,
                    "scale": scale,
                    "rules": rules,
                    "options": options,
                }
                for start in draw(st.lists(TIMES, max_size=3, unique=True)):
                    grades.append(told | {
                        "start": start, "end": draw(TIMES), "grade": draw(small), "grade_upper": draw(small), "upper_assessed": draw(small),
                        "status": draw(st.sampled_from(STATUS.categories.to_list())), "group": draw(st.none() | TEXT),
                        "criteria": draw(WORDS), "missing": draw(WORDS), "flags": draw(WORDS),
                        "evidence": draw(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)),
                        "measures": draw(st.lists(st.fixed_dictionaries({"name": st.sampled_from(["d500", "score"]), "value": st.none() | NUMBERS}), max_size=2)),
                    })  # fmt: skip
                for episode in range(1, draw(st.integers(0, 2)) + 1):
                    onset = draw(st.datetimes(datetime(1970, 1, 1), datetime(2199, 12, 31)))
                    episodes.append(told | {
                        "episode": episode, "onset": onset, "resolution": draw(TIMES), "max_grade": draw(small), "max_grade_upper": draw(small),
                        "onset_day": draw(st.none() | st.integers(-999, 999)), "duration_d": draw(st.none() | NUMBERS), "censored": draw(st.booleans()),
                    })  # fmt: skip
    rows = {"grades": (grades, GRADES), "episodes": (episodes, EPISODES), "subjects": (subjects, SUBJECTS)}
    return {name: pl.DataFrame(made, schema=schema | {"subject_id": own}, orient="row") for name, (made, schema) in rows.items()}


@settings(max_examples=15)
@given(made=any_tables())
def test_anything_that_a_table_can_hold_comes_back(
    made: dict[str, pl.DataFrame], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert_comes_back(made, tmp_path_factory.mktemp("any"))


def test_the_tables_are_as_grading_makes_them(graded: Path) -> None:
    result = grade_timeline(read(COHORT, COHORT / "mapping.toml").timeline)
    for name, schema in SCHEMAS.items():
        frame = getattr(result, name)
        assert dict(frame.schema) == schema | {"subject_id": frame.schema["subject_id"]}, name


def test_tables_written_from_an_export_are_exported_again(graded: Path, exported: Callable[[str], Path], tmp_path: Path) -> None:
    write_tables(exported("fhir"), tmp_path / "tables")
    export_folder(tmp_path / "tables", "sdtm", tmp_path / "sdtm")
    for path in exported("sdtm").iterdir():
        assert (tmp_path / "sdtm" / path.name).read_bytes() == path.read_bytes()


# ---- FHIR


def test_every_resource_is_well_formed(exported: Callable[[str], Path]) -> None:
    pytest.importorskip("fhir.resources", reason="the models of FHIR are a dev dependency")
    for way in ("fhir", "fhir with a zone"):
        for name in fhir.RESOURCES:
            model = getattr(importlib.import_module(f"fhir.resources.R4B.{name.lower()}"), name)
            # Of each scale and shape one is enough: the models take a tenth of a millisecond a field.
            shapes = {(json.dumps(r.get("code")), *r): r for r in lines(exported(way) / f"{name}.ndjson")}
            assert shapes
            for resource in shapes.values():
                model.model_validate(resource)


def test_ids_are_unique_and_references_lead_somewhere(exported: Callable[[str], Path]) -> None:
    resources = [r for name in fhir.RESOURCES for r in lines(exported("fhir") / f"{name}.ndjson")]
    ids = {f"{r['resourceType']}/{r['id']}" for r in resources}
    assert len(ids) == len(resources)
    assert all(re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", r["id"]) for r in resources)
    text = "\n".join(json.dumps(r) for r in resources)
    references = set(re.findall(r'"reference": "([^"]+)"', text))
    assert references and references <= ids


def test_no_resource_holds_what_fhir_forbids(exported: Callable[[str], Path]) -> None:
    for name in fhir.RESOURCES:
        text = (exported("fhir") / f"{name}.ndjson").read_text(encoding="utf-8")
        assert "null" not in text and "[]" not in text and "{}" not in text, name
        for time in re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', text):
            assert re.fullmatch(r"[\d-]{10}T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", time)


def test_an_observation_says_no_more_than_is_known(graded: Path, exported: Callable[[str], Path]) -> None:
    grades = pl.read_parquet(graded / "grades.parquet").to_dicts()
    for row, seen in zip(grades, lines(exported("fhir") / "Observation.ndjson"), strict=True):
        value = {k: v for k, v in seen.items() if k.startswith("value") or k == "dataAbsentReason"}
        assert len(value) == 1
        if row["status"] == "not_applicable":
            assert "dataAbsentReason" in value
        elif row["grade"] == row["grade_upper"]:
            assert value == {"valueInteger": row["grade"]}
        else:
            assert value == {"valueRange": {"low": {"value": row["grade"]}, "high": {"value": row["grade_upper"]}}}
        assert seen["status"] == "preliminary"
        assert len(seen.get("derivedFrom", [])) == len(row["evidence"])


def test_a_code_of_icd10cm_is_that_of_the_grade(graded: Path, exported: Callable[[str], Path]) -> None:
    episodes = pl.read_parquet(graded / "episodes.parquet").to_dicts()
    seen: set[str] = set()
    for row, condition in zip(episodes, lines(exported("fhir") / "Condition.ndjson"), strict=True):
        codes = [c["code"] for c in condition["code"]["coding"] if c["system"].endswith("icd-10-cm")]
        if row["scale"] not in ("crs_astct2019", "icans_astct", "icans_astct_peds"):
            assert codes == []
            continue
        settled = row["max_grade"] == row["max_grade_upper"]
        wanted = next(
            d.code for d in icd10cm() if d.toxicity == row["toxicity"] and d.grade == (row["max_grade"] if settled else None)
        )
        assert codes == [wanted]
        assert settled or any("unspecified" in n["text"] for n in condition["note"])
        seen |= set(codes)
    assert {"D89.831", "D89.832", "D89.833", "G92.01"} <= seen


def episode(low: int, high: int) -> dict[str, pl.DataFrame]:
    day0 = datetime(2024, 1, 1)
    told = {"subject_id": "S", "infusion": 1, "toxicity": "crs", "scale": "crs_astct2019", "rules": "r", "options": "{}"}
    made = told | {"episode": 1, "onset": day0, "max_grade": low, "max_grade_upper": high, "onset_day": 0, "censored": True}
    return {
        "grades": pl.DataFrame(schema=GRADES | {"subject_id": pl.String}),
        "episodes": pl.DataFrame([made], schema=EPISODES | {"subject_id": pl.String}),
        "subjects": pl.DataFrame([{"subject_id": "S", "infusion": 1, "day0": day0}], schema=SUBJECTS | {"subject_id": pl.String}),
    }


@pytest.mark.parametrize(
    ("low", "high", "code"), [(g, g, f"D89.83{g}") for g in range(1, 6)] + [(1, 4, "D89.839"), (0, 0, "D89.839")]
)
def test_each_grade_of_crs_has_its_code(low: int, high: int, code: str, tmp_path: Path) -> None:
    source = write_results(tmp_path / "r", episode(low, high))
    export_folder(source, "fhir", tmp_path / "fhir")
    export_folder(source, "omop", tmp_path / "omop")
    for name, where in (("Condition", "code"), ("AdverseEvent", "event")):
        (resource,) = lines(tmp_path / "fhir" / f"{name}.ndjson")
        assert resource[where]["coding"][1]["code"] == code
    assert pl.read_csv(tmp_path / "omop" / "condition_occurrence.csv")["condition_source_value"].to_list() == [code]


def test_a_zone_gives_each_time_its_offset_and_takes_nothing_away(tmp_path: Path) -> None:
    times = [datetime(2024, 1, 1, 12), datetime(2024, 7, 1, 12), datetime(2024, 3, 31, 2, 30), datetime(2024, 10, 27, 2, 30)]
    made = episode(1, 1)
    made["episodes"] = pl.concat(
        [made["episodes"].with_columns(episode=pl.lit(n + 1, pl.Int32), onset=pl.lit(t)) for n, t in enumerate(times)]
    )
    export_folder(write_results(tmp_path / "r", made), "fhir", tmp_path / "out", zone="Europe/Berlin")
    told = [r["onsetDateTime"][-6:] for r in lines(tmp_path / "out" / "Condition.ndjson")]
    assert told == [
        "+01:00",
        "+02:00",
        "+01:00",
        "+02:00",
    ]  # winter, summer, an hour that was left out, one that was gone through twice
    assert read_back(tmp_path / "out").episodes["onset"].to_list() == times


# ---- OMOP


def omop_table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_csv(folder / f"{name}.csv", try_parse_dates=True, infer_schema_length=None)


def test_local_concepts_are_apart_and_in_their_room() -> None:
    names = [("scale", s) for s in SCALES] + [("toxicity", s.toxicity) for s in SCALES.values()]
    ids = {name: omop.local_concept(*name) for name in [*names, ("concept", "cart_infusion"), ("vocabulary", omop.VOCABULARY)]}
    assert len(set(ids.values())) == len(ids)
    assert all(2_000_000_000 < i < 2**31 for i in ids.values())


def test_omop_rows_name_their_concept_person_and_episode(graded: Path, exported: Callable[[str], Path]) -> None:
    folder = exported("omop")
    table = {
        name: omop_table(folder, name)
        for name in ("person", "concept", "measurement", "condition_occurrence", "procedure_occurrence")
    }
    concepts, persons = set(table["concept"]["concept_id"]), set(table["person"]["person_id"])
    for name in ("measurement", "condition_occurrence", "procedure_occurrence"):
        source = "procedure" if name.startswith("proc") else name.split("_")[0]
        assert set(table[name][f"{source}_source_concept_id"]) <= concepts
        assert set(table[name]["person_id"]) <= persons
        assert table[name][f"{name}_id"].is_unique().all()
        assert set(table[name][f"{source}_concept_id"]) == {0}  # no standard concept is confirmed
    linked = table["measurement"].drop_nulls("measurement_event_id")
    assert linked.height and set(linked["measurement_event_id"]) <= set(table["condition_occurrence"]["condition_occurrence_id"])
    grades = pl.read_parquet(graded / "grades.parquet").filter(col("start").is_not_null() & (col("status") != "not_applicable"))
    assert table["measurement"]["value_as_number"].cast(pl.Int8).to_list() == grades["grade"].to_list()
    opened = table["measurement"].filter(col("operator_concept_id").is_not_null())
    assert opened.height == grades.filter(col("grade") < col("grade_upper")).height


def test_whole_numbers_stay_the_persons(tmp_path: Path) -> None:
    made = {name: frame.with_columns(subject_id=pl.lit(77, pl.Int64)) for name, frame in episode(2, 2).items()}
    export_folder(write_results(tmp_path / "r", made), "omop", tmp_path / "out")
    assert omop_table(tmp_path / "out", "person")["person_id"].to_list() == [77]


# ---- SDTM


def test_our_reader_of_dataset_json_reads_every_dataset(exported: Callable[[str], Path]) -> None:
    for name, (label, variables) in sdtm.DATASETS.items():
        path = exported("sdtm") / f"{name.lower()}.json"
        ((read_name, batches),) = read_dataset_json(path, path.name)
        assert (read_name, sum(batch.malformed.height for batch in batches)) == (name, 0)
        assert dataset(exported("sdtm"), name).columns == ["STUDYID", *(v.name for v in variables)]
        assert len(label) <= 40 and all(len(v.name) <= 8 and len(v.label) <= 40 for v in variables)


def dataset(folder: Path, name: str) -> pl.DataFrame:
    path = folder / f"{name.lower()}.json"
    ((_, batches),) = read_dataset_json(path, path.name)
    return pl.concat([batch.frame for batch in batches]).drop(ROW)


def test_datasets_refer_to_one_another(graded: Path, exported: Callable[[str], Path]) -> None:
    dm, ae, fa, suppfa, adae = (dataset(exported("sdtm"), name) for name in ("DM", "AE", "FA", "SUPPFA", "ADAE"))
    assert dm["USUBJID"].is_unique().all()
    for frame, seq in ((ae, "AESEQ"), (fa, "FASEQ")):
        assert frame.select(pl.struct("USUBJID", seq).is_unique().all()).item()
        assert set(frame["USUBJID"]) <= set(dm["USUBJID"])
    held = suppfa.join(fa, left_on=["USUBJID", "IDVARVAL"], right_on=["USUBJID", "FASEQ"], how="anti")
    assert held.is_empty()
    assert suppfa.select(pl.struct("USUBJID", "IDVARVAL", "QNAM").is_unique().all()).item()
    assert suppfa["QNAM"].str.len_chars().max() <= 8 and suppfa["QLABEL"].str.len_chars().max() <= 40
    linked = fa.drop_nulls("FALNKID")
    assert (
        linked.height and linked.join(ae, left_on=["USUBJID", "FALNKID"], right_on=["USUBJID", "AELNKID"], how="anti").is_empty()
    )
    assert "0" not in set(ae["AESTDY"]) | set(fa["FADY"])
    assert set(ae.filter(col("AECAT") == "crs")["AEDECOD"]) == {"Cytokine release syndrome"}
    episodes = pl.read_parquet(graded / "episodes.parquet")
    assert adae["AETOXGRN"].cast(pl.Int8).to_list() == episodes["max_grade"].to_list()
    assert (adae["CNSRFL"] == "Y").to_list() == episodes["censored"].to_list()


def test_an_open_grade_is_no_number(exported: Callable[[str], Path]) -> None:
    fa = dataset(exported("sdtm"), "FA")
    opened = fa.filter(col("FASTRESC").str.contains("-"))
    assert opened.height and opened["FASTRESN"].null_count() == opened.height
    assert fa.filter(col("FASTAT") == "NOT DONE")["FASTRESC"].null_count() == fa.filter(col("FASTAT") == "NOT DONE").height


# ---- what an export says of itself, and what it must not


@pytest.mark.parametrize("to", FORMATS)
def test_an_export_is_imported_without_a_grade_becoming_evidence(to: str, exported: Callable[[str], Path]) -> None:
    imported = read(exported(to))
    assert set(imported.timeline["code"]) <= {"sex", "age", "birth", "death"}
    assert imported.read == imported.accepted + imported.rejected.height


@pytest.mark.parametrize("simulated", [False, True])
def test_virtual_patients_of_an_export_stay_virtual(simulated: bool, tmp_path: Path) -> None:
    source = write_results(tmp_path / "r", episode(1, 1), simulated=simulated)
    for way in ("fhir", "omop", "sdtm"):
        export_folder(source, way, tmp_path / way)
        sources = [tmp_path / way, Path(shutil.make_archive(str(tmp_path / f"{way} packed"), "zip", tmp_path / way))]
        sources += [tmp_path / way / name for name in ("dm.json", "Condition.ndjson") if (tmp_path / way / name).exists()]
        for each in sources:
            with tempfile.TemporaryDirectory() as room:
                assert {p.simulated for p in open_pieces(each, Mappings(), Path(room)) if not p.problem} == {simulated}, each


def test_a_timeline_of_virtual_patients_is_one_again(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text("[note]\nsimulated = true\n")
    rows = "subject_id,time,code,value,unit\n1,2024-05-02T08:00,sbp,80,mmHg\n"
    (tmp_path / "rows.csv").write_text(rows)
    import_folder(tmp_path / "rows.csv", tmp_path / "site" / "timeline", tmp_path / "m.toml")
    assert read(tmp_path / "site" / "timeline").simulated
    (tmp_path / "site" / "rows.csv").write_text(rows)
    assert not read(tmp_path / "site").simulated  # a timeline within the source's folder is not read


@pytest.mark.parametrize("simulated", [False, True])
def test_every_file_says_what_it_is_for(simulated: bool, tmp_path: Path) -> None:
    source = write_results(tmp_path / "r", episode(1, 1), simulated=simulated, timeline_note="Of another study.")
    said = {}
    for to in FORMATS:
        made = export_folder(source, to, tmp_path / to)
        assert made["simulated"] is simulated
        said[to] = made["use"]
        assert "not adjudicated" in made["use"] and made["use"].endswith("Of another study.")
        assert ("Virtual" in made["use"]) is simulated
    for name in fhir.RESOURCES:
        for resource in lines(tmp_path / "fhir" / f"{name}.ndjson"):
            tags = {t["code"]: t.get("display") for t in resource["meta"]["tag"]}
            assert tags["research-use"] == said["fhir"] and ("HTEST" in tags) is simulated
    for name in sdtm.DATASETS:
        content = json.loads((tmp_path / "sdtm" / f"{name.lower()}.json").read_text())
        assert content["originator"] == said["sdtm"] and ("virtual" in content["label"]) is simulated
    assert omop_table(tmp_path / "omop", "cdm_source")["source_description"].to_list() == [said["omop"]]


@pytest.mark.parametrize("to", FORMATS)
def test_no_text_of_the_record_goes_out(to: str, tmp_path: Path) -> None:
    day = datetime(2024, 1, 1)
    rows = [
        ("S", day, "cart_infusion", None, "axi-cel", None), ("S", day + timedelta(days=1), "temperature", 39.0, None, None),
        ("S", day + timedelta(days=1), "consciousness", None, "Secret words", "Secret note"),
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema=["subject_id", "time", "code", "numeric_value", "text_value", "note"], orient="row")
    (tmp_path / "timeline" / "data").mkdir(parents=True)
    frame.with_columns(source=pl.lit("x.csv:1")).write_parquet(tmp_path / "timeline" / "data" / "0.parquet")
    grade_folder(tmp_path / "timeline", tmp_path / "r", ["all"])
    export_folder(tmp_path / "r", to, tmp_path / "out", timeline=tmp_path / "timeline")
    for path in (tmp_path / "out").iterdir():
        assert b"ecret" not in path.read_bytes(), path.name
    records = pl.read_csv(tmp_path / "out" / RECORDS)
    cited = pl.read_parquet(tmp_path / "r" / "grades.parquet")["evidence"].explode(empty_as_null=False).unique()
    assert records.columns == ["event_id", "subject_id", "time", "code", "source"]
    assert sorted(records["event_id"]) == sorted(cited)


# ---- faults


@pytest.mark.parametrize("way", [way for way in WAYS if way != "fhir with a zone"])
def test_an_export_that_is_not_whole_is_refused(way: str, few_exported: Callable[[str], Path], tmp_path: Path) -> None:
    read_files = {
        "fhir": ["Patient.ndjson", "Observation.ndjson", "Condition.ndjson"],
        "omop": [f"aftercar_{n}" for n in ("subjects", "episodes", "grades", "evidence")],
        "sdtm": [f"{n}.json" for n in ("adcourse", "ae", "suppae", "fa", "suppfa")],
    }  # fmt: skip
    for name in read_files[WAYS[way][0]]:
        (path,) = few_exported(way).glob(f"{name}*")
        whole = path.read_bytes()
        for damage in (None, b"", whole[: len(whole) // 2], b"[1, 2]\n", b"a,b\n1,2\n"):
            path.unlink()
            try:
                if damage is not None:
                    path.write_bytes(damage)
                with pytest.raises(InputError) as refused:
                    read_back(few_exported(way))
                assert "P-0" not in str(refused.value)
            finally:
                path.write_bytes(whole)


def test_a_line_that_is_gone_is_missed(few_exported: Callable[[str], Path]) -> None:
    for way, name in (("fhir", "Observation.ndjson"), ("omop", "aftercar_episodes.csv"), ("sdtm", "ae.json")):
        path = few_exported(way) / name
        whole = path.read_bytes()
        try:
            path.write_bytes(b"\n".join(whole.split(b"\n")[:5] + whole.split(b"\n")[6:]))
            with pytest.raises(InputError, match=r"Export again|whole"):
                read_back(few_exported(way))
        finally:
            path.write_bytes(whole)


def doubled(made: dict[str, pl.DataFrame]) -> None:
    made["episodes"] = pl.concat([made["episodes"], made["episodes"].with_columns(options=pl.lit('{"a": 1}'))])


def stranger(made: dict[str, pl.DataFrame]) -> None:
    made["episodes"] = made["episodes"].with_columns(subject_id=pl.lit("Secret"))


def older(made: dict[str, pl.DataFrame]) -> None:
    made["grades"] = made["grades"].drop("flags")


def endless(made: dict[str, pl.DataFrame]) -> None:
    row = {
        "subject_id": "S",
        "infusion": 1,
        "toxicity": "crs",
        "scale": "crs_astct2019",
        "rules": "r",
        "options": "{}",
        "grade": 0,
        "status": "graded",
    }
    measured = row | {"measures": [{"name": "x", "value": float("nan")}]}
    made["grades"] = pl.DataFrame([measured], schema=GRADES | {"subject_id": pl.String, "measures": MEASURES})


@pytest.mark.parametrize(
    ("spoil", "says"),
    [(doubled, "two sets of options"), (stranger, "stand apart|does not hold"), (older, "another version"), (endless, "finite")],
)
def test_results_that_cannot_be_exported_leave_the_former_export(
    spoil: Callable[[dict[str, pl.DataFrame]], None], says: str, tmp_path: Path
) -> None:
    made = episode(1, 1)
    export_folder(write_results(tmp_path / "r", made), "fhir", tmp_path / "out")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    spoil(made)
    write_results(tmp_path / "r", made)
    with pytest.raises(InputError, match=says) as refused:
        export_folder(tmp_path / "r", "fhir", tmp_path / "out")
    assert "Secret" not in str(refused.value)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{r}", "--to", "fihr"], "Did you mean fhir"),
        (["{r}", "--to", "omop", "--study", "A"], "study is no choice of omop"),
        (["{r}", "--to", "sdtm", "--study", "a/b"], "letters, digits"),
        (["{r}", "--to", "omop", "--table-format", "xls"], "csv or parquet"),
        (["{r}", "--to", "fhir", "--zone", "Europe/Brelin"], "Europe/Berlin"),
        (["{r}", "--to", "tables"], "no export there"),
        (["{r}", "--to", "tables", "--zone", "Europe/Berlin"], "no meaning"),
        (["{r}/nowhere", "--to", "fhir"], "no results there"),
        (["memory://bucket", "--to", "fhir"], "filesystem"),
        (["{fhir}", "--to", "omop"], "is an export"),
    ],
)
def test_the_command_says_what_is_wrong(words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_results(tmp_path / "r", episode(1, 1))
    export_folder(source, "fhir", tmp_path / "fhir")
    code, out, err = run(
        "export", *(w.format(r=source, fhir=tmp_path / "fhir") for w in words), "--out", tmp_path / "o", capsys=capsys
    )
    assert (code, out) == (2, "") and says in err
    assert not (tmp_path / "o").exists()


def test_the_command_writes_and_reads_back(graded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("export", graded, "--to", "omop", "--out", tmp_path / "omop", "--table-format", "parquet", capsys=capsys)
    assert code == 0 and "not adjudicated" in out and "40 subjects" in out
    code, out, _ = run("export", tmp_path / "omop", "--to", "tables", "--out", tmp_path / "tables", capsys=capsys)
    assert code == 0 and "539 episodes" in out
    assert_frame_equal(pl.read_parquet(tmp_path / "tables" / "grades.parquet"), pl.read_parquet(graded / "grades.parquet"))


def test_a_damaged_manifest_is_an_error_that_says_so(exported: Callable[[str], Path], tmp_path: Path) -> None:
    for content, says in (
        ("{", "damaged"),
        ('{"format": "fhir"}', "damaged"),
        ('{"format": "hl7", "subject_id": "", "counts": {}, "scales": [], "run": {}}', "no format"),
    ):
        (tmp_path / "export.json").write_text(content)
        with pytest.raises(AftercarError, match=says):
            read_back(tmp_path)


def test_an_unknown_choice_is_refused(graded: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="takes zone"):
        export_folder(graded, "fhir", tmp_path / "x", study="A")
    assert [f.name for f in fields(results.Tables)] == [*SCHEMAS, "run"]
