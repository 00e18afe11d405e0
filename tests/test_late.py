"""The later toxicities: one row a course, and what is not charted is not claimed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from polars import col

from aftercar.evidence.off_tumour import off_tumour_effects
from aftercar.grade import b_cells, colitis, neuro_late, off_tumour, run, spm
from aftercar.grade.options import Options
from aftercar.grade.run import grade_timeline
from aftercar.timeline.schema import conform

DAY0 = datetime(2024, 3, 1, 10)
SCALES = {s.name: s for m in (b_cells, colitis, neuro_late, off_tumour, spm) for s in m.SCALES}
Row = tuple[float, str, Any] | tuple[float, str, Any, str]


def grade(name: str, *rows: Row, target: str | None = "BCMA", disease: str | None = None, **options: Any) -> pl.DataFrame:
    """Rows of `grades` of one subject followed for 300 days; each row is day, concept, value and perhaps its cause."""
    fixed: list[Row] = [(0, "cart_infusion", None), (300, "last_follow_up", None)]
    fixed += [(0, code, word) for code, word in (("target", target), ("disease", disease)) if word]
    every = [
        {
            "subject_id": 1,
            "time": DAY0 + timedelta(days=r[0]),
            "code": r[1],
            "numeric_value": None if isinstance(r[2], str) or r[2] is None else float(r[2]),
            "text_value": r[2] if isinstance(r[2], str) else None,
            "attributable_to": r[3] if len(r) > 3 else None,
            "end_time": DAY0 + timedelta(days=400) if r[1] == "record_complete" else None,
        }
        for r in (*fixed, *rows)
    ]
    schema = {"text_value": pl.String, "numeric_value": pl.Float64, "attributable_to": pl.String, "end_time": pl.Datetime("us")}
    timeline = conform(pl.DataFrame(every, schema_overrides=schema, infer_schema_length=None))
    result = grade_timeline(timeline, [name], options)
    began = result.episodes["onset"].min()
    return result.grades.with_columns(onset=pl.lit(began, pl.Datetime("us")))


@pytest.fixture(autouse=True)
def every_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scales of this page, whether or not a grading without names reads them."""
    for name, scale in SCALES.items():
        monkeypatch.setitem(run.SCALES, name, scale)


def one(name: str, *rows: Row, **more: Any) -> dict[str, Any]:
    found = grade(name, *rows, **more)
    assert found.height == 1
    return found.row(0, named=True)


def on(found: pl.DataFrame, day: float) -> dict[str, Any]:
    time = DAY0 + timedelta(days=day)
    return found.filter((col("start") <= time) & ((col("end") > time) | col("end").is_null())).row(-1, named=True)


def said(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["status"], row["grade"], row["grade_upper"]


# ---- every scale


@pytest.mark.parametrize("name", SCALES)
def test_what_nobody_charted_is_not_applicable(name: str) -> None:
    assert said(one(name)) == ("not_applicable", 0, 0)


@pytest.mark.parametrize("name", [n for n, s in SCALES.items() if s.window is not None])
def test_the_row_spans_the_record(name: str) -> None:
    row = one(name)
    assert (row["start"], row["end"], row["onset"]) == (DAY0, DAY0 + timedelta(days=300), None)


@pytest.mark.parametrize("name", SCALES)
def test_without_an_infusion_nothing_applies(name: str) -> None:
    frame = pl.DataFrame({"subject_id": [1], "time": [DAY0], "code": ["alc"], "numeric_value": [4.0]})
    rows = grade_timeline(conform(frame), [name]).grades
    assert rows.select("status", "flags").rows() == [("not_applicable", ["no_infusion"])]


# ---- B cells and IgG


@pytest.mark.parametrize(("code", "value", "level"), [
    ("b_cells", 49.9, 1), ("b_cells", 50, 0), ("b_cell_fraction", 2.9, 1), ("b_cell_fraction", 3, 0),
])  # fmt: skip
def test_b_cell_aplasia(code: str, value: float, level: int) -> None:
    found = grade("b_cell_aplasia", (30, code, value))
    assert said(on(found, 30)) == ("graded", level, level)
    assert said(on(found, 119)) == ("graded", level, level)
    assert said(on(found, 120)) == ("incomplete", 0, 1)
    assert on(found, 120)["flags"] == ["stale"]


def test_the_cut_is_an_option() -> None:
    assert on(grade("b_cell_aplasia", (30, "b_cells", 60), bca_cut=100), 30)["grade"] == 1


@pytest.mark.parametrize(("disease", "back", "flags"), [
    ("B-ALL", 213, ["early_loss"]), ("B-ALL", 214, []), ("acute lymphoblastic leukaemia", 100, ["early_loss"]), ("DLBCL", 100, []),
    ("small lymphocytic", 100, []),
])  # fmt: skip
def test_early_loss(disease: str, back: int, flags: list[str]) -> None:
    found = grade("b_cell_aplasia", (30, "b_cells", 10), (back, "b_cells", 50), disease=disease)
    assert on(found, back)["flags"] == flags


def test_igg_and_immunoglobulin() -> None:
    found = grade("hypogammaglobulinaemia", (2, "ivig", 30), (30, "igg", 399), (31, "igg", 399), (40, "igg", 400))
    assert [(on(found, d)["grade"], on(found, d)["flags"]) for d in (30, 31, 40)] == [(1, ["ivig"]), (1, []), (0, [])]
    assert on(found, 70)["status"] == "incomplete"


# ---- colitis

LOOSE = (90, "diarrhoea", 9)
WORKUP, BIOPSY = (92, "infection_workup", "negative"), (94, "biopsy", "inflammation")


@pytest.mark.parametrize(("rows", "status", "level", "flag"), [
    ([LOOSE, WORKUP, BIOPSY], "criteria_met", 3, "blood_not_charted"),
    ([LOOSE, WORKUP], "suspected", 3, None),
    ([LOOSE, BIOPSY], "possible", 3, None),
    ([LOOSE], "suspected", 3, None),
    ([LOOSE, (92, "infection_workup", "pending"), BIOPSY], "possible", 3, None),
    ([LOOSE, (92, "infection_workup", "positive"), BIOPSY], "not_met", 3, "infection_found"),
    ([LOOSE, (90, "diarrhoea_bloody", 1), WORKUP, BIOPSY], "not_met", 3, "bloody"),
    ([LOOSE, WORKUP, (94, "biopsy", "t_cell_lymphoproliferation")], "not_met", 3, "t_cell_lymphoproliferation"),
    ([LOOSE, WORKUP, (94, "biopsy", "normal")], "not_met", 3, "biopsy_without_inflammation"),
    ([(90, "diarrhoea", 6), WORKUP, BIOPSY], "not_met", 2, "mild"),
    ([(90, "diarrhoea", 7), WORKUP, BIOPSY], "criteria_met", 3, None),
    ([(90, "diarrhoea", 1), (90, "diarrhoea_grade", 4), WORKUP, BIOPSY], "criteria_met", 4, None),
    ([LOOSE, (90, "diarrhoea_grade", 2)], "not_met", 2, "mild"),
    ([LOOSE, WORKUP, (120, "biopsy", "inflammation")], "criteria_met", 3, None),
    ([LOOSE, WORKUP, (121, "biopsy", "inflammation")], "suspected", 3, None),
    ([(-1, "diarrhoea", 9), WORKUP, BIOPSY], "not_met", 0, "mild"),
    ([(90, "diarrhoea", 9, "other"), WORKUP, BIOPSY], "not_met", 0, "mild"),
])  # fmt: skip
def test_colitis(rows: list[Row], status: str, level: int, flag: str | None) -> None:
    row = one("colitis", *rows)
    assert said(row) == (status, level, level)
    assert flag is None or flag in row["flags"]
    assert (row["onset"] is not None) == (status != "not_met"), "diarrhoea of another cause is no episode of colitis"


def test_colitis_of_another_target() -> None:
    assert "not_bcma" in one("colitis", LOOSE, target="CD19")["flags"]


# ---- MNT


@pytest.mark.parametrize(("target", "words", "status", "flags"), [
    ("BCMA", ["bradykinesia", "memory"], "criteria_met", []),
    ("BCMA", ["memory", "personality"], "suspected", []),
    ("BCMA", ["bradykinesia", "bradykinesia"], "suspected", []),
    ("CD19", ["bradykinesia", "memory"], "possible", ["not_bcma"]),
    (None, ["bradykinesia", "memory"], "criteria_met", ["target_unknown"]),
])  # fmt: skip
def test_mnt(target: str | None, words: list[str], status: str, flags: list[str]) -> None:
    row = one("mnt", *((40 + n, "mnt_sign", w) for n, w in enumerate(words)), target=target)
    assert (*said(row), row["flags"], row["missing"]) == (status, 1, 4, flags, ["grade"])
    assert len(row["evidence"]) == 2


def test_mnt_grade_is_the_stated_one() -> None:
    signs = ((40, "mnt_sign", "rigidity"), (41, "mnt_sign", "hypomimia"))
    assert said(one("mnt", *signs, (50, "mnt_grade", 2), (60, "mnt_grade", 3), (70, "mnt_grade", 1))) == ("criteria_met", 3, 3)
    assert one("mnt", (50, "mnt_grade", 2))["flags"] == ["grade_without_sign"]


@pytest.mark.parametrize(("day", "alc", "target", "status"), [
    (13, 4.2, "BCMA", "watch"), (13, 3.0, "BCMA", "not_met"), (31, 4.2, "BCMA", "not_met"), (30, 3.1, None, "watch"),
    (13, 4.2, "CD19", "not_met"),
])  # fmt: skip
def test_mnt_watch(day: int, alc: float, target: str | None, status: str) -> None:
    assert said(one("mnt", (day, "alc", alc), target=target)) == (status, 0, 0)


# ---- cranial nerves


def test_cranial_nerves() -> None:
    row = one("cranial_nerve_palsy", (23, "cranial_nerve_palsy", "vii"), (22, "cranial_nerve_palsy", "vi"))
    assert (*said(row), row["group"]) == ("criteria_met", 1, 3, "vi+vii")
    assert {"name": "onset_day", "value": 22.0} in row["measures"]


@pytest.mark.parametrize(("day", "target", "more", "status"), [
    (22, "BCMA", [], "possible"), (21, "BCMA", [], "not_met"), (22, "CD19", [], "not_met"), (22, None, [], "not_met"),
    (22, "BCMA", [(22, "icp_sign", "papilloedema")], "not_met"),
])  # fmt: skip
def test_a_sixth_nerve_alone(day: int, target: str | None, more: list[Row], status: str) -> None:
    assert one("cranial_nerve_palsy", (day, "icp_sign", "cn6"), *more, target=target)["status"] == status


# ---- TIAN

CNS = (-10, "cns_tumour", 1)
HOME = (0, "setting", "outpatient")
DRUGS = (0, "record_complete", "drugs")
SIGN = (5, "tian_sign", "local_dysfunction")


@pytest.mark.parametrize(("rows", "grades"), [
    ([SIGN], (1, 3)),
    ([SIGN, HOME], (1, 2)),
    ([SIGN, HOME, DRUGS], (1, 1)),
    ([SIGN, DRUGS], (1, 3)),
    ([SIGN, HOME, (12, "dexamethasone", 10)], (2, 2)),
    ([SIGN, HOME, DRUGS, (13, "dexamethasone", 10)], (1, 1)),
    ([SIGN, HOME, DRUGS, (4, "dexamethasone", 10)], (1, 1)),
    ([SIGN, (4, "setting", "inpatient")], (3, 3)),
    ([SIGN, HOME, (6, "icp_intervention", None)], (4, 4)),
    ([SIGN, HOME, (6, "tian_sign", "herniation")], (4, 4)),
    ([SIGN, HOME, (9, "death", "tian")], (5, 5)),
])  # fmt: skip
def test_tian_grade(rows: list[Row], grades: tuple[int, int]) -> None:
    row = one("tian", CNS, *rows)
    assert said(row) == ("criteria_met", *grades)


def test_tian_types_and_tumour() -> None:
    row = one("tian", (5, "tian_sign", "oedema"), SIGN, target="CD19")
    assert (row["status"], row["group"], row["flags"]) == ("possible", "type 1+2", ["no_cns_tumour"])
    assert one("tian", SIGN, disease="PCNSL")["status"] == "criteria_met"


# ---- second malignancies


def test_second_malignancies() -> None:
    row = one("spm", (210, "second_malignancy", "myeloid"), (200, "second_malignancy", "skin"), (100, "anc", 100))
    assert (*said(row), row["group"], row["flags"]) == ("criteria_met", 1, 1, "skin+myeloid", [])


@pytest.mark.parametrize(("row", "status"), [
    ((91, "anc", 999), "watch"), ((90, "anc", 999), "not_met"), ((91, "anc", 1000), "not_met"), ((91, "platelets", 49), "watch"),
    ((91, "hemoglobin", 7.9), "watch"), ((91, "hemoglobin", 8), "not_met"), ((91, "anc", 9, "other"), "not_met"),
])  # fmt: skip
def test_cytopenia_to_watch(row: Row, status: str) -> None:
    found = one("spm", row)
    assert said(found) == (status, 0, 0)
    assert found["flags"] == (["cytopenia_after_day_90"] if status == "watch" else [])


# ---- off tumour


@pytest.mark.parametrize(("target", "row", "effect"), [
    ("CD19", (30, "b_cells", 10), "CD19, B cells: B-cell aplasia [lecture-only]"),
    ("CD20", (30, "b_cell_fraction", 1), "CD20, B cells: B-cell aplasia [lecture-only]"),
    ("CD19", (5, "ice", 9), "CD19, brain mural cells: possible CD19 targeting in the brain?"),
    ("CD19", (5, "ice_writing", 0), "CD19, brain mural cells: possible CD19 targeting in the brain?"),
    ("BCMA", (30, "igg", 300), "BCMA, plasma cells: plasma-cell aplasia [lecture-only]"),
    ("BCMA", LOOSE, "BCMA, gut mucosa: colitis"),
    ("DLL3", (5, "consciousness", "voice"), "DLL3, brain: higher rate of neurotoxicity [lecture-only]"),
    ("DLL3", (5, "organ_effect", "pulmonary"), "DLL3, lung: pulmonary toxicity [lecture-only]"),
    ("gprc5d", (5, "organ_effect", "taste"), "GPRC5D, skin, nails, tongue: skin toxicity (also nail and taste, from memory) [M]"),
    ("gp100", (5, "organ_effect", "skin"), "gp100, melanocytes: skin toxicity [lecture-only]"),
])  # fmt: skip
def test_off_tumour(target: str, row: Row, effect: str) -> None:
    found = one("off_tumour", row, target=target)
    assert (found["grade"], found["criteria"], len(found["evidence"])) == (1, [effect], 1)


def test_off_tumour_says_what_is_missing() -> None:
    found = one("off_tumour", (5, "ice", 10), target="CD19")
    assert (*said(found), found["missing"]) == ("not_met", 0, 0, ["B-cell aplasia"])
    assert one("off_tumour", (5, "ice", 8), target=None)["flags"] == ["target_unknown"]
    assert one("off_tumour", (5, "ice", 8), target="CD22")["flags"] == ["target_not_listed"]
    assert one("off_tumour", (5, "organ_effect", "nail"), target="gp100")["grade"] == 0


def test_every_listed_effect_has_a_finding() -> None:
    assert {e.site for e in off_tumour_effects()} == set(off_tumour.SHOWN_BY)
    assert len(SCALES["off_tumour"].criteria(Options())) == len(off_tumour_effects()) == 10


# ---- attribution


def test_unknown_attribution_counts_with_a_warning() -> None:
    sign = (40, "mnt_sign", "memory", "unknown")
    assert one("mnt", sign)["flags"] == ["attribution_unknown"]
    assert one("mnt", sign, unknown_attribution="exclude")["status"] == "not_met"
