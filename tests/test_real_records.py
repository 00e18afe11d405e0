"""The example cohort graded as its protocol says, and the MIMIC-IV demo read and graded as plain Python counts it."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import polars as pl
import pytest
from polars import col

from aftercar.grade.run import Result, grade_timeline
from aftercar.timeline.concepts import of_group
from aftercar.timeline.readers import Imported, read

ROOT = Path(__file__).parents[1]
COHORT = ROOT / "examples" / "cohort"
MIMIC = ROOT.parent / "shared" / "data" / "mimic4_demo_meds"
needs_mimic = pytest.mark.skipif(not MIMIC.is_dir(), reason="the MIMIC-IV demo is not part of the repository")


@pytest.fixture(scope="module")
def cohort() -> tuple[Imported, Result]:
    records = read(COHORT, COHORT / "mapping.toml")
    return records, grade_timeline(records.timeline)


@pytest.fixture(scope="module")
def mimic() -> tuple[Imported, Result]:
    records = read(MIMIC, ROOT / "examples" / "mimic4_demo" / "mapping.toml")
    return records, grade_timeline(records.timeline)


def test_cohort_grades_are_those_of_its_protocol(cohort: tuple[Imported, Result]) -> None:
    expected = pl.read_csv(COHORT / "expected.csv").rename({"grade": "want", "grade_upper": "want_upper"})
    got = cohort[1].worst.join(expected, on=["subject_id", "scale"], how="right")
    assert got.height == expected.height
    wrong = got.filter((col("grade") != col("want")) | (col("grade_upper") != col("want_upper")) | col("grade").is_null())
    assert wrong.select("subject_id", "scale", "want", "grade", "want_upper", "grade_upper").rows() == []


def test_cohort_counts_add_up(cohort: tuple[Imported, Result]) -> None:
    records, result = cohort
    assert records.accepted + records.rejected.height == records.read
    assert result.subjects["subject_id"].n_unique() == 40
    without = result.worst.filter(col("flags").list.contains("no_infusion"))
    assert without["subject_id"].unique().len() == 1 and set(without["status"].to_list()) == {"not_applicable"}


@needs_mimic
def test_mimic_counts(mimic: tuple[Imported, Result]) -> None:
    records, result = mimic
    assert records.read == 916_166 == records.accepted + records.rejected.height
    assert result.subjects["day0"].null_count() == 0
    hidden = records.timeline.filter(col("note") == "read as [degF]: charted as Cel")
    assert hidden["numeric_value"].round(2).sort().to_list() == [36.22, 37.17, 37.22]  # 97.2, 98.9, 99.0 F
    temperatures = records.timeline.filter(col("code") == "temperature")["numeric_value"]
    assert temperatures.len() == 3379 + 391 and temperatures.is_between(30, 42).all()


@needs_mimic
def test_the_readme_shows_what_mimic_gives(mimic: tuple[Imported, Result]) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    records, result = mimic
    assert f"{records.read:,} read = {records.accepted:,} accepted + {records.rejected.height:,} rejected; 100 subjects" in text
    for reason, n in records.rejected.group_by("reason").len().iter_rows():
        assert re.search(rf"^ +{reason}: {n:,} rows", text, re.M), reason
    crs = result.worst.filter(scale="crs_astct2019")
    grades = [crs.filter(grade=g).height for g in range(6)]
    shares = [f"{n} ({n}%)" for n in (sum(grades[1:]), sum(grades[3:]))]
    shown = re.search(r"^ +CRS, ASTCT 2019 (.*)$", text, re.M)
    assert shown and " ".join(shown[1].split()) == " ".join(
        [*map(str, grades), *shares, str(crs.filter(col("grade") < col("grade_upper")).height), "0"]
    )


@needs_mimic
def test_mimic_vasopressor_overlaps_are_those_of_plain_python(mimic: tuple[Imported, Result]) -> None:
    """Minutes during which two counted agents overlap for an hour or more, told apart from hand-overs, subject by subject."""
    counted = set(of_group("vasopressor"))
    rows = (
        mimic[0]
        .timeline.filter(col("code").is_in(list(counted)))
        .select("subject_id", "code", "time", "end_time", "numeric_value")
    )
    runs: dict[tuple[object, str], list[list[object]]] = defaultdict(list)
    for subject, code, start, end, _rate in rows.sort("subject_id", "code", "time").iter_rows():
        mine = runs[(subject, code)]
        if end is None or end <= start:
            continue
        if mine and start <= mine[-1][1]:  # type: ignore[operator]
            mine[-1][1] = max(mine[-1][1], end)  # type: ignore[type-var]
        else:
            mine.append([start, end])
    several: dict[object, set[tuple[object, object]]] = defaultdict(set)
    for (subject, code), mine in runs.items():
        for (other_subject, other), theirs in runs.items():
            if subject == other_subject and code < other:
                for a, b in mine:
                    for c, d in theirs:
                        begin, stop = max(a, c), min(b, d)  # type: ignore[type-var]
                        if (stop - begin).total_seconds() >= 3600:  # type: ignore[operator]
                            several[subject].add((begin, stop))
    assert len(several) >= 5  # the demo has them
    # With fever never needed and every other axis out of the way, grade 4 by vasopressors is exactly these stretches.
    states = _concurrent(mimic[0].timeline)
    for subject, spans in several.items():
        for begin, stop in spans:
            inside = states.filter(
                (col("subject_id") == subject) & (col("start") < stop) & (col("end").is_null() | (col("end") > begin))
            )
            assert inside["concurrent"].all()
    alone = states.filter(col("concurrent") & ~col("subject_id").is_in(list(several)))
    assert alone.is_empty()


def _concurrent(timeline: pl.DataFrame) -> pl.DataFrame:
    from aftercar.grade import findings
    from aftercar.grade.options import Options
    from aftercar.timeline.state import clock, record
    from aftercar.timeline.subjects import subjects

    courses = subjects(timeline)
    rec = record(timeline, courses, list(findings.CODES))
    frame = findings.states(rec, Options())
    frame = frame.with_columns(until=pl.when(col("course").shift(-1) == col("course")).then(col("at").shift(-1)))
    keyed = clock(frame, rec.courses, "at", "until")
    return keyed.select("subject_id", start="at", end="until", concurrent=col("pressors_concurrent").fill_null(False))
