"""With `round10=true` ICAHT grades are those of the public automated grader of E. C. Liang [liang2024], as `icaht_peer.py` restates it.

Where the peer stops, leaves a patient out or has a defect, the difference is a case of its own.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

import polars as pl
import pytest
from icaht_peer import Patient, PeerStops, peer_early, peer_late, round10
from polars import col

from aftercar.grade.run import grade_timeline
from aftercar.timeline.schema import conform

DAY0 = datetime(2024, 2, 20, 22, 15)
LEVELS = (0, 40, 94, 95, 96, 100, 101, 104, 105, 106, 110, 300, 495, 499, 500, 501, 504, 505, 506, 509, 515, 700, 999, 1000, 1001,
          1400, 1500, 1501, 2200)  # fmt: skip


# ---- ours


def ours(patients: list[Patient], **options: object) -> pl.DataFrame:
    """`subject_id, early, d500, d100, late`; `late` is null where ICAHT late does not apply."""
    rows: list[dict[str, object]] = []
    for n, patient in enumerate(patients):
        rows.append({"subject_id": n, "time": DAY0, "code": "cart_infusion", "numeric_value": None})
        for k, (day, count) in enumerate(patient.counts):
            hour = patient.hours[k] if patient.hours else 8
            # Counts of day 0 before the infusion belong to that day as well.
            time = (DAY0 + timedelta(days=day)).replace(hour=hour, minute=0)
            rows.append({"subject_id": n, "time": time, "code": "anc", "numeric_value": float(count)})
        for code, day in (
            ("last_follow_up", patient.last_fu), ("progression", patient.progression), ("next_therapy", patient.next_therapy),
        ):  # fmt: skip
            if day is not None:
                time = (DAY0 + timedelta(days=day)).replace(hour=0, minute=0)
                rows.append({"subject_id": n, "time": max(time, DAY0), "code": code, "numeric_value": None})
    schema = {"time": pl.Datetime("us"), "numeric_value": pl.Float64}
    timeline = conform(pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None))
    grades = grade_timeline(timeline, ["icaht_early", "icaht_late"], {"round10": True, **options}).grades
    early = grades.filter(col("scale") == "icaht_early").select("subject_id", "status", "grade_upper", "measures", early="grade")
    for name in ("d500", "d100"):
        own = col("measures").list.eval(pl.element().struct.field("value").filter(pl.element().struct.field("name") == name))
        early = early.with_columns(own.list.first().cast(pl.Int64).alias(name))
    late = grades.filter(col("scale") == "icaht_late").select(
        "subject_id", late=pl.when(col("status") != "not_applicable").then("grade")
    )
    return early.join(late, on="subject_id").sort("subject_id")


def random_patient(draw: random.Random) -> Patient:
    """Counts that stay near a level for some days, more or less often charted, with gaps about as long as may be filled."""
    last_fu = draw.choice([None, None, None, 0, 2, 5, 12, 28, 29, 30, 31, 45, 99, 100, 101, 150])
    end = 120 if last_fu is None else min(last_fu, 120)
    counts: list[tuple[int, float]] = []
    day, level = draw.choice([0, 0, 0, 1, 2, 3, 4, 7, 8, 20]), draw.choice(LEVELS)
    steady, often = draw.choice([0.3, 0.8, 0.95, 1.0]), draw.choice([1, 2, 4, 8])
    while day <= end:
        if draw.random() > steady:
            level = draw.choice(LEVELS)
        counts += [(day, max(0, level + draw.choice([0, 0, 0, 3, 60])))] * draw.choice([1, 1, 1, 2])
        if draw.random() < 0.2:
            counts.append((day, draw.choice(LEVELS)))
        day += draw.randint(1, often) if draw.random() < 0.95 else draw.choice([7, 8, 9, 20])
    others = [None, None, None, 20, 31, 40, 60, 100]
    draw.shuffle(counts)
    return Patient(counts, last_fu, draw.choice(others), draw.choice(others), [draw.randrange(24) for _ in counts])


@pytest.mark.parametrize("seed", range(3))
def test_grades_are_those_of_the_peer(seed: int) -> None:
    draw = random.Random(seed)
    patients = [random_patient(draw) for _ in range(1500)]
    early: list[tuple[int, ...]] = []
    late: list[int | None] = []
    for mine, patient in zip(ours(patients).iter_rows(named=True), patients, strict=True):
        late.append(peer_late(patient))
        assert mine["late"] == late[-1], patient
        try:
            theirs = peer_early(patient)
        except PeerStops:
            continue
        if theirs is not None:
            early.append(theirs)
            assert (mine["early"], mine["d500"], mine["d100"]) == theirs, patient
    assert len(early) > 1300
    assert {e[0] for e in early} == {0, 1, 2, 3, 4}
    assert set(late) == {None, 0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("measured", "rounded"), [(505, 500), (515, 520), (504, 500), (506, 510), (105, 100), (95, 100), (106, 110)]
)
def test_halves_round_to_even(measured: int, rounded: int) -> None:
    assert round10(Fraction(measured)) == rounded
    low = ours([Patient([(d, measured) for d in range(10)] + [(d, 2000) for d in range(10, 31)])]).row(0, named=True)
    assert (low["d500"], low["d100"]) == (10 if rounded <= 500 else 0, 10 if rounded <= 100 else 0)


# ---- where the peer gives no grade, or has a defect


def test_without_a_count_the_peer_leaves_the_patient_out_and_we_leave_the_grade_open() -> None:
    patient = Patient([(-3, 200), (40, 800)], last_fu=200)
    assert peer_early(patient) is None
    mine = ours([patient]).row(0, named=True)
    assert (mine["status"], mine["early"], mine["grade_upper"], mine["late"]) == ("incomplete", 0, 4, 2)


@pytest.mark.parametrize(("last_fu", "days"), [(10, 11), (30, 1)])
def test_a_single_count_goes_for_all_days_or_for_its_own(last_fu: int, days: int) -> None:
    patient = Patient([(5, 300)] if last_fu == 10 else [(12, 300)], last_fu=last_fu)
    theirs = peer_early(patient)
    mine = ours([patient]).row(0, named=True)
    assert theirs == (mine["early"], mine["d500"], mine["d100"])
    assert mine["d500"] == days


def test_a_single_count_with_one_long_side_stops_the_peer_and_we_fill_the_short_side() -> None:
    patient = Patient([(5, 300)])
    with pytest.raises(PeerStops):
        peer_early(patient)
    mine = ours([patient]).row(0, named=True)
    assert (mine["early"], mine["d500"], mine["grade_upper"], mine["status"]) == (1, 6, 4, "incomplete")


@pytest.mark.parametrize(("count", "grade"), [(1000.5, 1), (500.5, 2), (100.5, 3), (1500.0, 1), (1000.0, 2)])
def test_a_late_count_between_whole_numbers_is_no_grade_0(count: float, grade: int) -> None:
    patient = Patient([(40, count), (45, count)])
    assert peer_late(patient) == (grade if count == int(count) else 0)
    assert ours([patient])["late"].to_list() == [grade]


def test_no_late_count_is_no_grade() -> None:
    patient = Patient([(2, 3000)], last_fu=200)
    assert peer_late(patient) is None
    assert ours([patient])["late"].to_list() == [None]
    assert ours([patient], late_no_data=0)["late"].to_list() == [0]


# ---- the same rules in R


WORKFLOW = Path(__file__).parent.parent / "benchmarks" / "icaht_workflow.R"


def r_with_packages() -> bool:
    if not shutil.which("Rscript"):
        return False
    there = "stopifnot(sapply(c('dplyr', 'tidyr', 'readr', 'zoo'), requireNamespace, quietly = TRUE))"
    return subprocess.run(["Rscript", "-e", there], check=False, capture_output=True).returncode == 0


@pytest.mark.slow
def test_the_workflow_in_r_says_the_same(tmp_path: Path) -> None:
    if not r_with_packages():
        pytest.skip("no R with dplyr, tidyr, readr and zoo")
    draw = random.Random(7)
    patients = [random_patient(draw) for _ in range(1500)]

    def date(day: int | None) -> str:
        return "" if day is None else str((DAY0 + timedelta(days=day)).date())

    lines = ["patient_id,cart_date,date,anc,progression_date,subsequent_therapy_date,last_fu_date"]
    for n, p in enumerate(patients):
        ends = ",".join(map(date, (p.progression, p.next_therapy, p.last_fu)))
        lines += [f"{n},{date(0)},{date(day)},{count},{ends}" for day, count in p.counts]
    (tmp_path / "counts.csv").write_text("\n".join(lines) + "\n")
    subprocess.run(["Rscript", str(WORKFLOW), "counts.csv", "grades.csv"], cwd=tmp_path, check=True, capture_output=True)
    theirs = {row[0]: row[1:] for row in pl.read_csv(tmp_path / "grades.csv", null_values="NA").iter_rows()}

    ours: dict[int, tuple[int | None, ...]] = {}
    for n, patient in enumerate(patients):
        with contextlib.suppress(PeerStops):
            if (early := peer_early(patient)) is not None:
                ours[n] = (*early, peer_late(patient))
    assert theirs == ours
    assert 1300 < len(ours) < 1500
