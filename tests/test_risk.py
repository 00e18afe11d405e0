"""Risk scores: a slow reference must agree, and what the design promises holds: order, company, shards and units, and that hiding widens."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import naive_risk as naive
import numpy as np
import polars as pl
import pytest
from commands import run
from hypothesis import given, settings
from hypothesis import strategies as st
from polars import col
from polars.testing import assert_frame_equal

import aftercar
from aftercar.errors import InputError, OptionError
from aftercar.evidence.risk_factors import risk_factors
from aftercar.evidence.sources import MARKS, references
from aftercar.risk.factors import FACTORS, rules
from aftercar.risk.options import OPTIONS, Options
from aftercar.risk.run import REGISTRY, score_folder, score_timeline
from aftercar.risk.score import INPUTS, SCORES
from aftercar.timeline.concepts import concept, concepts
from aftercar.timeline.schema import conform
from aftercar.timeline.units import line

ROOT = Path(__file__).parents[1]
SEEDS = st.integers(0, 2**32 - 1)
COMPUTED = [s for s in REGISTRY.values() if s.value is not None]
LABS: dict[str, tuple[float, ...]] = {
    "platelets": (0, 20, 74.9, 75, 100, 140, 175, 175.1, 250),
    "anc": (0, 500, 1199, 1200, 1201, 4000),
    "hemoglobin": (7, 8.9, 9.0, 9.1, 12),
    "crp": (0, 3, 29.9, 30, 30.1, 120),
    "ferritin": (200, 649, 650, 2000, 2001, 9000),
    "ldh": (150, 300, 421.5),
    "creatinine": (0.6, 1.0, 2.5),
}  # fmt: skip
SCHEMA = {
    "subject_id": pl.Int64, "time": pl.Datetime("us"), "code": pl.String, "numeric_value": pl.Float64, "text_value": pl.String, "note": pl.String,
}  # fmt: skip


def random_rows(rng: np.random.Generator, subject: int) -> list[dict[str, Any]]:
    """One random patient: values at and around every cut, in and around every window."""
    rows: list[dict[str, Any]] = []
    day0 = datetime(2024, 3, 1) + timedelta(minutes=int(rng.integers(0, 1440)))

    def pick(values: Any) -> Any:
        return values[int(rng.integers(0, len(values)))]

    def add(hour: float, code: str, value: float | None = None, text: str | None = None, note: str | None = None) -> None:
        time = day0 + timedelta(seconds=round(hour * 3600))
        rows.append({"subject_id": subject, "time": time, "code": code, "numeric_value": value, "text_value": text, "note": note})

    if rng.random() < 0.95:
        product = pick(["axi-cel", "cilta-cel", "ide-cel", None])
        for d in pick([(0,), (0,), (0, 3), (0, 30), (0, 20)]):
            add(24 * d, "cart_infusion", text=product)
    else:
        add(0, "sex", text="female")
    if rng.random() < 0.8:
        add(
            -300,
            "disease",
            text=pick(["LBCL", "DLBCL, LBCL", "MCL", "multiple myeloma", "B-ALL", "acute lymphoblastic leukaemia", "FL"]),
        )
    if rng.random() < 0.3:
        add(-300, "target", text=pick(["BCMA", "CD19"]))
    for code, values in LABS.items():
        for _ in range(pick([0, 1, 3, 6, 9])):
            day = pick([-30, -11, -10, -9, -8, -7, -7, -6, -6, -6, -5, -5, -4, -3, -2, 0, 0, 1, 1, 2, 3, 3, 20, 25])
            hour = 24 * day + pick([0, 0, 6, 6, 17.5])
            note = pick([None, None, "charted as <"]) if code == "crp" else None
            add(hour, code, pick(values), note=note)
            if rng.random() < 0.15:
                add(hour, code, pick([*values, None]))
    for _ in range(pick([0, 1, 1])):
        start = pick([-12, -6, -5, -5, -4, 15, 24])
        for n in range(pick([1, 3])):
            add(24 * (start + n) + pick([0, 6]), pick(naive.LD), pick([50.0, 0.0, None, 50.0]))
    if rng.random() < 0.2:
        add(24 * pick([-20, -11, -9, -8]), "cyclophosphamide", 1000.0)
    for drug in ("platelet_transfusion", "filgrastim"):
        if rng.random() < 0.3:
            add(24 * pick([-14, -12, -8, -6, -5, 0, 2]) + pick([0, 6]), drug, pick([None, 1.0, 0.0]))
    for hour in np.arange(pick([-2, 0, 5, 13]), pick([20, 30, 36, 44]), pick([4, 6, 11, 12, 13])):
        add(float(hour), "temperature", pick([36.5, 37, 38.8, 38.9, 40.0]) if rng.random() < 0.15 else pick([36.5, 37.2]))
    for code, values in (("mcp1", (100, 1343.4, 1343.5, 4000)), ("il6", (3, 15.9, 16, 900))):
        for _ in range(pick([0, 1, 1, 2])):
            add(pick([-3, 0, 12, 30, 36, 36.5, 50]), code, pick(values))
    for _ in range(pick([0, 1, 3])):
        add(24 * pick([-1, 0, 5, 9, 10, 14, 21, 22, 30, 31, 40]) + pick([0, 9]), "alc", pick([0.5, 3.0, 3.01, 6.0]))
    if rng.random() < 0.1:
        add(24 * pick([0.5, 1, 2, 40]), "death", text="infection")
    return rows


def cohort(seed: int, n: int = 40) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [r for subject in range(1, n + 1) for r in random_rows(rng, subject)]
    return conform(pl.DataFrame(rows, schema=SCHEMA))


def reference(timeline: pl.DataFrame, ties: str, lod: str, gap_h: float) -> dict[tuple[int, int, str, str], naive.Answer]:
    found: dict[tuple[int, int, str, str], naive.Answer] = {}
    for (subject,), own in timeline.group_by("subject_id", maintain_order=True):
        rows = [
            {"time": r["time"], "code": r["code"], "value": r["numeric_value"], "text": r["text_value"], "note": r["note"], "id": r["event_id"]}
            for r in own.iter_rows(named=True)
        ]  # fmt: skip
        for n, course in enumerate(naive.courses(rows), start=1):
            key = (int(subject), n)  # type: ignore[call-overload]
            found[(*key, "car_hematotox", "before_ld")] = naive.car_hematotox(course, ties)
            for kind in ("easix", "s_easix", "m_easix"):
                for window in ("before_ld", "day_0", "day_1", "day_3"):
                    found[(*key, kind, window)] = naive.easix(course, kind, window, lod)
            found[(*key, "hay2017", "first_36_h")] = naive.early(course, {"mcp1": 1343.5}, gap_h)
            found[(*key, "gust2017", "first_36_h")] = naive.early(course, {"il6": 16, "mcp1": 1343.5}, gap_h)
            found[(*key, "alc_peak", "day_0_30")] = naive.alc_peak(course)
    return found


@settings(max_examples=12)
@given(
    SEEDS, st.sampled_from(["anc0_hb0_crp1", "all_0", "all_1"]), st.sampled_from(["half", "value"]), st.sampled_from([6, 12, 13])
)
def test_the_slow_reference_agrees(seed: int, ties: str, lod: str, gap_h: int) -> None:
    timeline = cohort(seed)
    names = ["car_hematotox", "easix", "s_easix", "m_easix", "hay2017", "gust2017", "alc_peak"]
    ours = score_timeline(timeline, names, {"ht_ties": ties, "crp_lod": lod, "hay_max_gap_h": gap_h}).scores
    theirs = reference(timeline, ties, lod, gap_h)
    assert ours.height == len(theirs)
    wrong = []
    for r in ours.iter_rows(named=True):
        key = (r["subject_id"], r["infusion"], r["score"], r["window"])
        want = theirs[key]
        got = naive.Answer(r["value"], r["value_upper"], r["group"], r["status"], set(r["flags"]), set(r["evidence"]))
        alike = (got.group, got.status, got.flags, got.rows) == (want.group, want.status, want.flags, want.rows)
        if not (alike and naive.same(got.low, want.low) and naive.same(got.high, want.high)):
            wrong.append(f"{key}: {got}, reference {want}")
    assert not wrong, "\n".join([f"{len(wrong)} differences", *wrong[:6]])


# ---- promises


def tables(timeline: pl.DataFrame) -> list[pl.DataFrame]:
    result = score_timeline(timeline)
    return [result.scores, result.inputs, result.factors]


@settings(max_examples=4)
@given(SEEDS)
def test_order_of_rows_changes_nothing(seed: int) -> None:
    timeline = cohort(seed, 20)
    shuffled = timeline.sample(fraction=1, shuffle=True, seed=seed % 2**31)
    for a, b in zip(tables(timeline), tables(shuffled), strict=True):
        assert_frame_equal(a, b)


@settings(max_examples=3)
@given(SEEDS)
def test_company_and_other_scores_change_nothing(seed: int) -> None:
    timeline = cohort(seed, 8)
    alone = [
        score_timeline(own, [s.name]).scores for _, own in timeline.group_by("subject_id", maintain_order=True) for s in COMPUTED
    ]
    together = score_timeline(timeline, ["all"]).scores.filter(col("status") != "not_computed")
    keys = ["subject_id", "infusion", "score", "window"]
    assert_frame_equal(together.sort(keys), pl.concat(alone).sort(keys))


def test_shards_change_nothing(tmp_path: Path) -> None:
    from aftercar.timeline.readers import Imported
    from aftercar.timeline.store import write_timeline

    timeline = cohort(5, 30)
    imported = Imported(
        timeline=timeline, rejected=pl.DataFrame(schema={"reason": pl.String}), read=timeline.height, accepted=timeline.height
    )
    whole = score_timeline(timeline)
    for rows in (50, 10**6):
        write_timeline(imported, tmp_path / str(rows), shard_rows=rows)
        parted = score_folder(tmp_path / str(rows))
        for name in ("scores", "inputs", "factors"):
            assert_frame_equal(getattr(parted, name), getattr(whole, name))
    assert len(list((tmp_path / "50" / "data").iterdir())) > 10


HIDEABLE = (*LABS, "temperature", "mcp1", "il6", "alc")


@settings(max_examples=15)
@given(SEEDS, st.sets(st.sampled_from(HIDEABLE), min_size=1))
def test_hiding_an_input_only_widens(seed: int, hidden: set[str]) -> None:
    """All values of a concept are hidden: then nothing of it is known. A row that is not read keeps the end of the record where it was."""
    timeline = cohort(seed, 25)
    ends = (
        timeline.group_by("subject_id")
        .agg(col("time").max())
        .with_columns(code=pl.lit("setting"), text_value=pl.lit("inpatient"))
    )
    timeline = conform(pl.concat([timeline, ends], how="diagonal"))
    keys = ["subject_id", "infusion", "score", "window"]
    full, less = (score_timeline(t).scores for t in (timeline, timeline.filter(~col("code").is_in(hidden))))
    both = full.join(less, on=keys, suffix="_less", validate="1:1")
    assert both.height == full.height
    # No value may appear, and none may move out of the former bounds; what could not be used is unknown when it is hidden.
    appeared = col("value").is_null() & col("value_less").is_not_null() & ~col("status").is_in(["refused", "not_applicable"])
    moved = (col("value_less") > col("value") + 1e-9) | (col("value_upper_less") < col("value_upper") - 1e-9)
    settled = col("group_less").is_not_null() & (col("group_less") != "needs_mcp1") & col("group_less").ne_missing(col("group"))
    settled = settled & ~col("status").is_in(["refused", "not_applicable"])
    assert both.filter(appeared | moved.fill_null(False) | settled).is_empty()


def test_the_unit_that_was_charted_changes_nothing(csv: Any) -> None:
    lines = [
        ("platelets", ("110", "10*9/L"), ("110000", "/uL")),
        ("anc", ("0.95", "10*9/L"), ("950", "/uL")),
        ("hemoglobin", ("9.0", "g/dL"), ("90", "g/L")),
        ("crp", ("30", "mg/L"), ("3.0", "mg/dL")),
        ("ferritin", ("650", "ng/mL"), ("650", "ug/L")),
        ("ldh", ("300", "U/L"), ("5", "ukat/L")),
        ("creatinine", ("88.4", "umol/L"), ("1.0", "mg/dL")),
    ]
    found = []
    for way in (1, 2):
        rows = [f"A,2024-05-01T06:00,{code[0]},{code[way][0]},{code[way][1]}" for code in lines]
        path = csv("subject_id,time,code,value,unit", "A,2024-05-06T10:00,cart_infusion,axi-cel,", *rows, name=f"way{way}.csv")
        scores = score_timeline(aftercar.read(path).timeline, ["car_hematotox", "easix", "s_easix", "m_easix"]).scores
        found.append(scores.filter(window="before_ld").drop("evidence"))
        path.unlink()
    assert_frame_equal(*found, rel_tol=1e-8)
    assert found[0]["value"].round(6).to_list() == [4.0, round(300 / 110, 6), round(300 / 110, 6), round(900 / 110, 6)]


# ---- definitions


@pytest.mark.parametrize("score", REGISTRY.values(), ids=lambda s: s.name)
def test_a_score_names_what_exists(score: Any) -> None:
    assert {score.source, *(f.source for f in score.findings)} <= set(references())
    assert {score.mark, *(f.mark for f in score.findings)} <= set(MARKS)
    assert set(score.options) <= set(OPTIONS) and score.codes <= set(concepts())
    assert (score.value is None) == bool(score.unpublished)
    assert score.predicts and score.population and (score.findings or score.unpublished)
    for given_ in score.inputs:
        line(given_.unit, concept(given_.code))


def test_every_option_is_read_and_described() -> None:
    assert {o for s in COMPUTED for o in s.options} == set(OPTIONS)
    page = (ROOT / "docs" / "risk.md").read_text(encoding="utf-8")
    assert [o for o in OPTIONS if f"`{o}" not in page] == []
    assert [name for name in REGISTRY if f"`{name}`" not in page] == []
    assert [c for c in (*SCORES, *INPUTS, *FACTORS) if f"`{c}`" not in page] == []


def test_a_table_of_points_has_one_cell_for_each_value() -> None:
    """Whatever a value is, exactly one cell of its item is met; where it is unknown, none is known."""
    from aftercar.risk.car_hematotox import items

    for ties in ("anc0_hb0_crp1", "all_0", "all_1"):
        for item in items(Options({"ht_ties": ties})):
            cuts = (0, 2.9, 3, 3.1, 8.9, 9, 9.1, 74.9, 75, 175, 175.1, 649, 650, 1199, 1200, 1201, 2000, 2001)
            frame = pl.DataFrame({item.name: [*cuts, None]}, schema={item.name: pl.Float64})
            met = frame.select(c.when.cast(pl.Int8).alias(str(n)) for n, c in enumerate(item.cells))
            assert met.head(len(cuts)).sum_horizontal().to_list() == [1] * len(cuts)
            assert met.tail(1).row(0) == (None,) * len(item.cells)


def test_slots_give_no_number_and_say_why() -> None:
    slots = [s.name for s in REGISTRY.values() if s.value is None]
    rows = score_timeline(cohort(1, 3), slots).scores
    assert rows["value"].null_count() == rows.height and set(rows["status"]) == {"not_computed"}
    said = dict(rows.select("score", "published").iter_rows())
    assert "coefficients are not published" in said["teachey2016_all"] and "[teachey2016]" in said["teachey2016_all"]
    assert "coefficients are not published" in said["eipm_pre"] and "aftercar grade" in said["hscore"]


def test_nothing_invented_by_default() -> None:
    assert set(score_timeline(cohort(1, 3)).scores["score"]) == {s.name for s in COMPUTED}


def test_an_unknown_score_or_option_is_named() -> None:
    with pytest.raises(OptionError, match="Did you mean car_hematotox"):
        score_timeline(cohort(1, 1), ["car_hematotxo"])
    with pytest.raises(OptionError, match="two whole numbers from -60 to 0"):
        score_timeline(cohort(1, 1), None, {"ht_window_days": "-3..-10"})
    assert Options({"ht_window_days": "-7..-1"})["ht_window_days"] == "-7..-1"


def test_the_first_36_hours_must_be_over() -> None:
    """No fever until hour 30 does not say that none comes until hour 36."""
    day0 = datetime(2024, 1, 1, 9)
    hours = dict.fromkeys((1, 10, 20, 30), 36.8)

    def group(hours: dict[float, float]) -> str | None:
        rows = [(1, day0, "cart_infusion", None)] + [(1, day0 + timedelta(hours=h), "temperature", t) for h, t in hours.items()]
        frame = pl.DataFrame(
            rows,
            schema={"subject_id": pl.Int64, "time": pl.Datetime("us"), "code": pl.String, "numeric_value": pl.Float64},
            orient="row",
        )
        return score_timeline(frame, ["hay2017"]).scores["group"].item()

    assert group(hours) is None
    assert group(hours | {37: 36.8}) == "low"
    assert group(hours | {30: 39.0}) == "needs_mcp1"


COEFFICIENTS = """
[eipm_pre]
source = "made up for a test"
intercept = -1.5
all = 0.4
anc = -1.0
platelets = -0.5
ldh = 0.8
ferritin = 0.6
"""


def test_coefficients_of_who_has_them(tmp_path: Path) -> None:
    path = tmp_path / "eipm.toml"
    path.write_text(COEFFICIENTS)
    day0 = datetime(2024, 1, 10)
    labs = {"anc": 0.0, "platelets": 100.0, "ldh": 1000.0, "ferritin": 100.0}
    rows = [(1, day0, "cart_infusion", None, "axi-cel"), (1, day0, "disease", None, "LBCL")]
    rows += [(1, day0 - timedelta(days=5), code, v, None) for code, v in labs.items()]
    schema = {
        "subject_id": pl.Int64,
        "time": pl.Datetime("us"),
        "code": pl.String,
        "numeric_value": pl.Float64,
        "text_value": pl.String,
    }
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    row = score_timeline(frame, ["eipm_pre"], coefficients=path).scores.row(0, named=True)
    logit = -1.5 - 1.0 * -2 - 0.5 * 2 + 0.8 * 3 + 0.6 * 2  # an ANC of 0 stands as 0.01
    assert row["value"] == pytest.approx(1 / (1 + np.exp(-logit)))
    assert row["group"] == "above 66 %" and "outside_training_range" in row["flags"] and "made up for a test" in row["published"]
    without = score_timeline(frame.filter(col("code") != "ldh"), ["eipm_pre"], coefficients=path).scores.row(0, named=True)
    assert (without["value"], without["status"], without["missing"]) == (None, "incomplete", ["ldh"])
    for broken, says in (
        (COEFFICIENTS.replace("ldh = 0.8\n", ""), "numbers for"),
        ("[eipm]\nsource = 'x'", "Did you mean"),
        ("[", "is not TOML"),
    ):
        path.write_text(broken)
        with pytest.raises(InputError, match=says):
            score_timeline(frame, coefficients=path)


def test_a_worse_value_never_lowers_the_score() -> None:
    from aftercar.risk.car_hematotox import items

    worse = {"platelets": -1, "anc": -1, "haemoglobin": -1, "crp": 1, "ferritin": 1}
    for item in items(Options()):
        values = sorted(np.linspace(0, 3000, 4001), key=lambda v: worse[item.name] * v)
        frame = pl.DataFrame({item.name: [float(v) for v in values]})
        points = frame.select(pl.coalesce(pl.when(c.when).then(c.points) for c in item.cells)).to_series()
        assert points.is_sorted() and points.max() == max(c.points for c in item.cells)


def test_nobody_and_no_infusion() -> None:
    empty = pl.DataFrame(schema=SCHEMA)
    assert [t.height for t in tables(empty)] == [0, 0, 0]
    alone = pl.DataFrame(
        [{"subject_id": 1, "time": datetime(2024, 1, 1), "code": "crp", "numeric_value": 3.0}], schema_overrides=SCHEMA
    )
    result = score_timeline(alone, ["all"])
    assert (
        set(result.scores["status"]) == {"not_applicable", "not_computed"}
        and result.scores["value"].null_count() == result.scores.height
    )
    assert result.inputs["event_id"].null_count() == result.inputs.height > 0
    assert set(result.factors["state"]) == {"unknown"}


# ---- risk factors


def test_the_rules_of_factors_are_factors_of_the_evidence() -> None:
    assert set(rules()) <= {f.factor for f in risk_factors()}
    assert {f.source for f in risk_factors() if f.in_lecture} - {""}


def test_each_factor_is_present_absent_or_unknown() -> None:
    timeline = cohort(3, 60)
    result = score_timeline(timeline)
    courses = result.scores.filter(score="car_hematotox").height
    assert result.factors.height == courses * len(risk_factors())
    told = set(rules())
    assert set(result.factors.filter(~col("factor").is_in(told))["state"]) == {"unknown"}
    counts = result.factors.filter(col("factor") == "Age >= 65 and platelets <= 140 x10^9/L")["state"].value_counts()
    assert dict(counts.iter_rows())["unknown"] > 0
    cd28 = result.factors.filter(col("factor") == "CD28 CAR-T")["state"].cast(pl.String)
    assert {"present", "absent", "unknown"} == set(cd28)
    assert set(result.factors.filter(factor="Severe CRS")["state"]) == {"unknown"}


FACTOR_CASES: list[tuple[str, list[tuple[float, str, Any]], str]] = [
    ("Thrombocytopenia before lymphodepletion", [(-5, "platelets", 149.0)], "present"),
    ("Thrombocytopenia before lymphodepletion", [(-5, "platelets", 150.0)], "absent"),
    ("Thrombocytopenia before lymphodepletion", [(-5, "platelets", 145.0), (-5, "platelets_lln", 140.0)], "absent"),
    ("Thrombocytopenia before lymphodepletion", [(-1, "platelets", 20.0)], "unknown"),
    ("Highly inflammatory state (ferritin, CRP)", [(-5, "crp", 30.0)], "present"),
    ("Highly inflammatory state (ferritin, CRP)", [(-5, "crp", 29.0)], "unknown"),
    ("Highly inflammatory state (ferritin, CRP)", [(-5, "crp", 29.0), (-5, "ferritin", 649.0)], "absent"),
    ("Hyperferritinaemia at baseline", [(-5, "ferritin", 650.0)], "present"),
    ("Pre-existing cytopenia", [(-5, "anc", 1499.0)], "present"),
    ("Pre-existing cytopenia", [(-5, "anc", 1500.0), (-5, "platelets", 150.0), (-5, "hemoglobin", 10.0)], "absent"),
    ("Pre-existing cytopenia", [(-5, "anc", 1500.0), (-5, "platelets", 150.0)], "unknown"),
    ("Age >= 65 and platelets <= 140 x10^9/L", [(-5, "age", 65.0), (-5, "platelets", 140.0)], "present"),
    ("Age >= 65 and platelets <= 140 x10^9/L", [(-5, "age", 64.0)], "absent"),
    ("Age >= 65 and platelets <= 140 x10^9/L", [(-5, "age", 65.0)], "unknown"),
    ("Increased lymphodepletion (Cy/Flu)", [(-5, "fludarabine", 50.0), (-4, "cyclophosphamide", 900.0)], "present"),
    ("Increased lymphodepletion (Cy/Flu)", [(-5, "bendamustine", 150.0)], "absent"),
    ("Increased lymphodepletion (Cy/Flu)", [(-5, "cyclophosphamide", 900.0)], "unknown"),
    ("Increased lymphodepletion (Cy/Flu)", [(-20, "fludarabine", 50.0), (-5, "cyclophosphamide", 900.0)], "unknown"),
    ("CD28 CAR-T", [(0, "cart_infusion", "Yescarta")], "present"),
    ("CD28 CAR-T", [(0, "cart_infusion", "tisagenlecleucel")], "absent"),
    ("CD28 CAR-T", [(0, "cart_infusion", "a new one")], "unknown"),
    ("High scFv affinity (obe-cel is the low-affinity contrast)", [(0, "cart_infusion", "obe-cel")], "absent"),
    ("High scFv affinity (obe-cel is the low-affinity contrast)", [(0, "cart_infusion", "axi-cel")], "present"),
    ("High scFv affinity (obe-cel is the low-affinity contrast)", [(0, "cart_infusion", "cilta-cel")], "unknown"),
    ("Disease ALL > MCL > DLBCL", [(-9, "disease", "B-ALL")], "present"),
    ("Disease ALL > MCL > DLBCL", [(-9, "disease", "DLBCL")], "absent"),
    ("Disease ALL > MCL > DLBCL", [(-9, "disease", "myeloma")], "unknown"),
    ("Infections", [(9, "infection_workup", "positive")], "present"),
    ("Infections", [(9, "infection_workup", "negative")], "unknown"),
    ("Infections", [(-40, "infection_workup", "positive")], "unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("factor", "charted", "state"), FACTOR_CASES)
def test_how_a_factor_is_told(factor: str, charted: list[tuple[float, str, Any]], state: str) -> None:
    day0 = datetime(2024, 1, 10, 9)
    rows = [
        {"subject_id": 1, "time": day0 + timedelta(days=day), "code": code, "numeric_value": v if isinstance(v, float) else None, "text_value": v if isinstance(v, str) else None}
        for day, code, v in [*charted, *([] if any(c[1] == "cart_infusion" for c in charted) else [(0, "cart_infusion", None)])]
    ]  # fmt: skip
    told = score_timeline(pl.DataFrame(rows, schema=SCHEMA)).factors.filter(col("factor") == factor)
    assert set(told["state"]) == {state}


def test_every_rule_of_a_factor_is_tried() -> None:
    assert set(rules()) - {f for f, _, _ in FACTOR_CASES} == {"Severe CRS", "CD28 costimulatory domain (axi-cel, brexu-cel)"}


def test_grades_tell_what_depends_on_a_grade() -> None:
    day0 = datetime(2024, 1, 10)
    rows = [
        (1, day0, "cart_infusion", None, "cilta-cel"), (1, day0 + timedelta(hours=60), "temperature", 39.0, None),
        (1, day0 + timedelta(hours=60), "norepinephrine", 5.0, None), (1, day0 + timedelta(hours=61), "ice", 8.0, None),
    ]  # fmt: skip
    schema = {
        "subject_id": pl.Int64,
        "time": pl.Datetime("us"),
        "code": pl.String,
        "numeric_value": pl.Float64,
        "text_value": pl.String,
    }
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    worst = aftercar.grade_timeline(frame, ["crs", "icans"]).worst
    result = score_timeline(frame, ["mnt_history"], worst=worst)
    assert result.scores.select("value", "value_upper", "group").row(0) == (2.0, 4.0, "watch")
    assert result.factors.filter(factor="Severe CRS")["state"].to_list() == ["present"]
    with pytest.raises(InputError, match="not of this timeline"):
        score_timeline(frame, worst=worst.with_columns(col("subject_id").cast(pl.String)))


# ---- command line


@pytest.fixture(scope="module")
def timeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from aftercar.timeline.store import write_timeline

    folder = tmp_path_factory.mktemp("risk") / "timeline"
    write_timeline(aftercar.read(ROOT / "examples" / "cohort", ROOT / "examples" / "cohort" / "mapping.toml"), folder)
    return folder


def test_the_command_prints_scores_and_says_what_they_are(timeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("risk", timeline, capsys=capsys)
    assert code == 0
    for words in ("car_hematotox", "before_ld", "published: AUC 0.89", "[rejeski2021]", "not a decision", "Not computed: eIPM"):
        assert words in out
    code, out, _ = run("risk", timeline, "--subject", "P-001", "--score", "car_hematotox", capsys=capsys)
    flat = " ".join(out.split())
    assert (
        code == 0
        and "haemoglobin: not charted" in flat
        and "data/labs.csv:2" in flat
        and "<0.5 mg/dL" in flat
        and "low or high" in flat
    )
    code, out, _ = run("risk", timeline, "--factors", capsys=capsys)
    assert code == 0 and "No weights" in out
    assert run("risk", timeline, "--subject", "nobody", capsys=capsys)[0] == 2


@pytest.mark.parametrize("ending", ["parquet", "csv", "json"])
def test_the_table_is_written_whole(timeline: Path, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"scores.{ending}"
    assert run("risk", timeline, "--out", path, capsys=capsys)[0] == 0
    frame = {"parquet": pl.read_parquet, "csv": pl.read_csv, "json": pl.read_json}[ending](path)
    ours = score_folder(timeline).scores
    assert frame.columns == ours.columns and frame.height == ours.height
    assert frame["value"].cast(pl.Float64).to_list() == ours["value"].to_list()
    assert json.loads(frame["options"][0])["ht_window_days"] == "-10..-3"


def test_another_ending_is_refused(timeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("risk", timeline, "--out", tmp_path / "scores.xlsx", capsys=capsys)
    assert code == 2 and ".parquet" in err and not (tmp_path / "scores.xlsx").exists()
