"""Groups compared, results under every choice, and what a safety board sees: against R, against plain recounts, and with what cannot be."""

from __future__ import annotations

import json
import re
import shutil
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from commands import run
from graded import example
from hypothesis import assume, given
from hypothesis import strategies as st
from polars import col
from scipy.stats import beta

from aftercar.cohort.baseline import baseline
from aftercar.cohort.contrast import Asked, Contrast, contrast, write_contrast
from aftercar.cohort.decided import decided, decided_by
from aftercar.cohort.difference import difference, e_value, e_value_of_interval, newcombe
from aftercar.cohort.multiverse import Multiverse, _median, multiverse, write_multiverse
from aftercar.cohort.multiverse_spec import read_spec
from aftercar.cohort.outcome import COURSE, Outcome
from aftercar.cohort.overlap import Separated, overlap, separating, standardised
from aftercar.errors import AftercarError, InputError, OptionError
from aftercar.frames import load
from aftercar.grade.options import OPTIONS
from aftercar.grade.results import Results, open_results
from aftercar.grade.run import SCALES, grade_timeline
from aftercar.report.multiverse import multiverse_figures
from aftercar.report.safety import answer, safety_figure, safety_page
from aftercar.timeline.store import open_timeline
from aftercar.trial.safety import EVENT, FREE, IN_WINDOW, UNDECIDED, Plan, Safety, plan_of, read_plan, safety, write_safety

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
TOLD: dict[str, Any] = json.loads((HERE / "r" / "overlap.json").read_text())
COVARIATES = ["age", "female", "bili", "albumin", "edema"]
PLAN = {
    "patients": 40,
    "cuts": [date(2024, 3, 1), date(2024, 5, 1), date(2024, 6, 10)],
    "stopping": {
        "method": "bayes", "any_of": [{"scale": "crs", "grade": 3}, {"scale": "icans", "grade": 3}], "by_day": 30, "limit": 0.15, "certainty": 0.9, "prior": [0.5, 0.5], "first": 6,
    },
}  # fmt: skip


def close(found: object, expected: object) -> None:
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example(tmp_path_factory.mktemp("cohort"), ["crs", "icans", "crs_penn2018", "icaht_early"])


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return open_results(folder)


# ---- two shares


@pytest.mark.parametrize(("counts", "expected"), TOLD["newcombe"])
def test_a_difference_of_shares_is_that_of_r(counts: list[int], expected: list[float]) -> None:
    close(newcombe(*counts), expected)


def test_differences_are_those_that_newcombe_published() -> None:
    """Newcombe 1998, table II, method 10, to four digits."""
    published = {
        (56, 70, 48, 80): (0.0524, 0.3339), (9, 10, 3, 10): (0.1705, 0.8090), (6, 7, 2, 7): (0.0582, 0.8062), (5, 56, 0, 29): (-0.0381, 0.1926),
        (0, 10, 0, 20): (-0.1611, 0.2775), (0, 10, 0, 10): (-0.2775, 0.2775), (10, 10, 0, 20): (0.6791, 1.0), (10, 10, 0, 10): (0.6075, 1.0),
    }  # fmt: skip
    for counts, ends in published.items():
        assert tuple(round(x, 4) for x in newcombe(*counts)[1:]) == ends


@pytest.mark.parametrize(("counts", "ratio", "odds"), TOLD["ratios"])
def test_ratios_are_those_of_r(counts: list[int], ratio: list[float], odds: list[float]) -> None:
    found = difference(*counts)
    assert found is not None and not found.corrected and found.ratio is not None
    close(found.ratio, ratio)
    close(found.odds_ratio, odds)


def test_a_count_of_zero_is_corrected_and_says_so() -> None:
    found = difference(0, 10, 4, 12)
    assert found is not None and found.corrected and found.odds_ratio is not None
    close(found.odds_ratio[0], (0.5 * 8.5) / (10.5 * 4.5))
    close(found.difference[0], -4 / 12)
    assert difference(0, 0, 4, 12) is None
    for counts in ((0, 10, 0, 12), (10, 10, 12, 12)):
        neither = difference(*counts)
        assert neither is not None and (neither.ratio, neither.odds_ratio, neither.difference[0]) == (None, None, 0.0)


def test_e_values_are_those_that_were_published() -> None:
    """VanderWeele and Ding 2017: 3.9 (1.8 to 8.7) gives 7.26 and 3.0."""
    assert (round(e_value(3.9), 2), round(e_value_of_interval(1.8, 8.7), 1)) == (7.26, 3.0)
    assert e_value_of_interval(0.8, 1.3) == 1.0
    close(e_value(0.5), e_value(2.0))


# ---- overlap weights


def published() -> tuple[Any, Any, Any, Any]:
    table = pl.read_csv(HERE / "r" / "overlap.csv")
    clusters = np.array(table["cluster"].rank("dense").cast(pl.Int64).to_list()) - 1
    x = np.array([table[c].to_list() for c in COVARIATES], dtype=float).T
    return np.array(table["group"].to_list()) == 1, x, np.array(table["y"].to_list(), dtype=float), clusters


def test_overlap_weights_and_their_sandwich_are_those_of_r() -> None:
    group, x, y, clusters = published()
    made = overlap(group, x, COVARIATES)
    close(list(made.coefficient), TOLD["coefficient"])
    close(list(made.effective()), TOLD["effective"])
    close(list(standardised(group, x)), TOLD["smd"])
    for several, se in zip((None, clusters), TOLD["se"], strict=True):
        shares = made.shares(y, several)
        close([shares.group, shares.reference], TOLD["shares"])
        close(float(np.sqrt(shares.covariance[0, 0] + shares.covariance[1, 1] - 2 * shares.covariance[0, 1])), se)
    ratio = made.shares(y).ratio()
    assert ratio is not None
    close(np.log(ratio[2] / ratio[1]) / (2 * 1.959963984540054), TOLD["se_log_ratio"][0])


def test_the_interval_is_as_wide_as_estimates_vary() -> None:
    """A bootstrap by another road: groups and outcomes are drawn anew from the published ones."""
    group, x, y, _ = published()
    random = np.random.default_rng(1)
    gaps = []
    for _ in range(150):
        own = random.integers(0, len(y), len(y))
        shares = overlap(group[own], x[own], COVARIATES).shares(y[own])
        gaps.append(shares.group - shares.reference)
    assert np.std(gaps) == pytest.approx(TOLD["se"][0], rel=0.2)


@st.composite
def two_groups(draw: st.DrawFn) -> tuple[Any, Any]:
    n = draw(st.integers(12, 60))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    x = np.column_stack([random.normal(size=n), random.integers(0, 2, n), random.integers(0, 3, n) * 10.0])
    group = random.random(n) < 1 / (1 + np.exp(-0.5 * x[:, 0]))
    assume(3 < group.sum() < n - 3)
    return group, x


@given(two_groups())
def test_weighted_means_are_the_same_in_both_groups_exactly(made: tuple[Any, Any]) -> None:
    group, x = made
    try:
        found = overlap(group, x, list("abc"))
    except Separated:
        return
    for column in x[:, found.kept].T:
        a, b = (np.average(column[who], weights=found.weight[who]) for who in (group, ~group))
        assert a == pytest.approx(b, abs=1e-8)


@given(two_groups(), st.integers(0, 2))
def test_a_column_that_says_nothing_new_changes_nothing(made: tuple[Any, Any], twice: int) -> None:
    group, x = made
    try:
        plain = overlap(group, x, list("abc"))
    except Separated:
        return
    more = overlap(group, np.column_stack([x, 3 * x[:, twice] - 7, np.full(len(x), 2.0)]), list("abcde"))
    assert more.kept == plain.kept
    assert list(more.weight) == pytest.approx(list(plain.weight))


@pytest.mark.parametrize(
    ("x", "apart"),
    [
        ([1, 2, 3, 4, 5, 6], True),
        ([1, 2, 3, 3, 4, 5], True),  # but for a tie, where the glm of R diverges too
        ([1, 2, 4, 3, 5, 6], False),
        ([0, 0, 0, 0, 0, 1], True),
        ([0, 0, 1, 0, 0, 1], False),
    ],
)
def test_separation_is_seen(x: list[float], apart: bool) -> None:
    group = np.array([False] * 3 + [True] * 3)
    assert bool(separating(group, np.column_stack([np.ones(6), x]))) == apart
    if apart:
        with pytest.raises(Separated, match="marker tell the groups apart"):
            overlap(group, np.array(x, dtype=float)[:, None], ["marker"])
    assert TOLD["separated_slope"][0] > 15, "and R's coefficient runs away"


# ---- a cohort


def compared(results: Results, **how: Any) -> Contrast:
    given: dict[str, Any] = {"by": "product", "outcome": Outcome.of("crs:2")} | how
    extra = {k: given.pop(k) for k in ("table", "timeline") if k in given}
    return contrast(results, Asked(**given), **extra)


def test_groups_are_counted_as_by_hand_and_nobody_is_lost(results: Results) -> None:
    found = compared(results, groups=("axi-cel", "tisa-cel"))
    worst = results.worst.filter(col("scale") == "crs_astct2019").join(results.subjects, on=COURSE)
    for r in found.groups.iter_rows(named=True):
        own = [x for x in worst.iter_rows(named=True) if x["product"] == r["group"]]
        assert r["yes"] == sum(x["grade"] >= 2 for x in own)
        assert r["no"] == sum(x["grade_upper"] < 2 for x in own)
        assert r["courses"] == len(own) == r["yes"] + r["no"] + r["open"]
    apart = found.left_out.filter(~col("why").str.starts_with("undecided"))["courses"].sum()
    assert found.groups["courses"].sum() + apart == results.subjects.height


def test_the_day_of_an_outcome_counts(results: Results) -> None:
    outcome = Outcome.of("crs:1")
    grades = results.grades(outcome.scales)
    counts = [decided_by(results.subjects, grades, outcome, d)["answer"].to_list().count("yes") for d in (0, 2, 5, 30, 90)]
    assert counts == sorted(counts) and counts[0] < counts[-1]
    whole = decided(results.subjects, results.worst, outcome)["answer"].cast(pl.String)
    by_then = decided_by(results.subjects, grades, outcome, 90)
    seen = (by_then["followed"] | (whole != "no")).fill_null(True)
    assert whole.filter(seen).to_list() == by_then["answer"].cast(pl.String).filter(seen).to_list(), "CRS is early"
    assert by_then.filter(~seen)["answer"].cast(pl.String).unique().to_list() == ["open"], (
        "and nobody saw the rest of a short record"
    )
    far = decided_by(results.subjects, grades, outcome, 2_000)
    assert far.filter((col("answer") == "no") & ~col("followed")).is_empty(), "nobody saw the rest"


def test_worst_cases_hold_every_way_to_fill_in_the_undecided(results: Results) -> None:
    found = compared(results, by="period", cuts=(date(2024, 3, 15),), outcome=Outcome.of("icans:3"), adjust=("age_y",))
    for adjusted in (False, True):
        rows = found.differences.filter(adjusted=adjusted)
        gaps = dict(rows.select("undecided", "difference").iter_rows())
        assert gaps["no in the group, yes in the reference"] <= min(gaps["all no"], gaps["all yes"], gaps["left out"]) + 1e-9
        assert gaps["yes in the group, no in the reference"] >= max(gaps["all no"], gaps["all yes"], gaps["left out"]) - 1e-9


def test_balance_is_exact_and_who_lacks_a_covariate_is_counted(results: Results, tmp_path: Path) -> None:
    table = tmp_path / "own.csv"
    ids = results.subjects["subject_id"]
    lines = [f"{s},{'' if n % 7 == 0 else n % 3},{'high' if n % 2 else 'low'}" for n, s in enumerate(ids)]
    table.write_text("\n".join(["subject_id,ecog,burden", *lines, "nobody,1,low"]) + "\n")
    how: dict[str, Any] = {"by": "burden", "outcome": Outcome.of("icans:1"), "adjust": ("age_y", "sex", "ecog"), "table": table}
    dropped, kept = compared(results, **how), compared(results, **how, missing="category")
    for found in (dropped, kept):
        assert found.balance.filter("used")["weighted_standardised"].abs().max() < 1e-9
        assert any("1 row of own.csv is of no course" in note for note in found.notes)
    (n,) = dropped.left_out.filter(col("why").str.contains("ecog"))["courses"]
    assert n > 0
    sizes = [
        f.differences.filter(adjusted=True, undecided="left out").select(col("n") + col("reference_n")).item()
        for f in (dropped, kept)
    ]
    assert (
        sizes[0]
        < sizes[1]
        == dropped.differences.filter(adjusted=False, undecided="left out").select(col("n") + col("reference_n")).item()
    )
    assert "ecog: not recorded" in kept.balance["covariate"].to_list()


def test_a_covariate_that_tells_the_groups_apart_is_refused_in_words(results: Results) -> None:
    found = compared(results, groups=("axi-cel", "cilta-cel"), adjust=("age_y", "disease"))
    row = found.differences.filter(adjusted=True, undecided="left out").row(0, named=True)
    assert row["difference"] is None and "separation" in row["why"] and "disease: multiple myeloma" in row["why"]
    assert any("not adjusted" in note for note in found.notes)


def test_a_measurement_before_lymphodepletion_is_a_covariate(results: Results) -> None:
    """The same value as in Table 1: the last of days -10 to -3 that is not after the first dose of lymphodepletion."""
    found = compared(results, by="sex", outcome=Outcome.of("crs:1"), adjust=("ldh", "age_y"))
    told = found.balance.filter(covariate="ldh").row(0, named=True)
    timeline = open_timeline(results.folder.parent / "timeline")
    rows = timeline.scan().collect().join(results.subjects.select("subject_id", "day0", "sex"), on="subject_id")
    rows = rows.filter(col("time") < col("day0")).sort("time").to_dicts()
    began: dict[Any, Any] = {}
    for r in rows:
        if r["code"] in ("fludarabine", "cyclophosphamide"):
            began.setdefault(r["subject_id"], r["time"])
    last: dict[Any, Any] = {}
    for r in rows:
        day = (r["time"].date() - r["day0"].date()).days
        if r["code"] == "ldh" and -10 <= day <= -3 and r["time"] <= began[r["subject_id"]]:
            last[r["subject_id"]] = (r["sex"], r["numeric_value"])
    means = {sex: np.mean([v for s, v in last.values() if s == sex]) for sex in ("male", "female")}
    close(sorted((told["mean"], told["reference_mean"])), sorted(means.values()))
    in_table_one = baseline(timeline.folder)[0]
    assert dict(in_table_one.drop_nulls("ldh").select("subject_id", "ldh").iter_rows()) == {k: v for k, (_, v) in last.items()}
    assert any("before lymphodepletion, of days -10 to -3" in note for note in found.notes)


def test_a_scale_of_windows_has_no_day_of_onset(results: Results) -> None:
    found = compared(results, outcome=Outcome.of("icaht_early:3"))
    assert found.tests.is_empty() and found.incidence.is_empty()
    assert any("no day of onset" in note for note in found.notes)


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"by": "produkt"}, "Did you mean product"),
        ({"by": "period"}, "--cut"),
        ({"cuts": (date(2024, 3, 15),)}, "Periods are asked for"),
        ({"by": "period", "cuts": (date(2030, 1, 1),)}, "needs two groups"),
        ({"groups": ("axi-cel",)}, "needs two groups"),
        ({"groups": ("axicel",)}, "Did you mean axi-cel"),
        ({"by": "age_y"}, "more than the 20"),
        ({"adjust": ("shoe_size",)}, "No covariate"),
        ({"adjust": ("product",)}, "compared by"),
        ({"adjust": ("death",)}, "no number and no word"),
        ({"outcome": Outcome.of("crs_lee2014:2")}, "was not graded"),
    ],
)
def test_what_cannot_be_compared_is_said(results: Results, how: dict[str, Any], what: str) -> None:
    with pytest.raises(OptionError, match=re.escape(what)):
        compared(results, **how)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("id,x\n1,2\n", "no column subject_id"),
        ("subject_id,x\nP-001,1\nP-001,2\n", "several rows"),
        ("subject_id,sex\nP-001,f\n", "already"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(results: Results, tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=what):
        compared(results, table=tmp_path / "t.csv")


def shrunk(results: Results, keep: pl.Expr) -> Results:
    subjects = results.subjects.filter(keep)
    return results.having(subjects=subjects, worst=results.worst.join(subjects, on=COURSE, how="semi"))


def test_groups_without_an_event_have_a_difference_and_no_weighted_ratio(results: Results) -> None:
    found = compared(results, by="sex", outcome=Outcome.of("crs:5"), adjust=("age_y",))
    weighted = found.differences.filter(adjusted=True, undecided="left out").row(0, named=True)
    assert weighted["ratio"] is None and weighted["why"]
    nobody = compared(shrunk(results, col("death").is_null()), by="sex", outcome=Outcome.of("crs:5"), adjust=("age_y",))
    row = nobody.differences.filter(adjusted=True, undecided="left out").row(0, named=True)
    assert row["difference"] == 0 and row["difference_low"] is None and "no interval" in row["why"]
    with pytest.raises(OptionError, match="two groups"):
        compared(shrunk(results, col("subject_id") == "P-001"), by="sex")


def test_the_command_writes_the_same_twice_and_replaces_only_its_own(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "cohort",
        "compare",
        folder,
        "--by",
        "period",
        "--cut",
        "2024-03-15",
        "--outcome",
        "icans:1",
        "--adjust",
        "age_y,disease",
        "--out",
        tmp_path / "out",
    ]
    code, out, _ = run(*words, capsys=capsys)
    assert code == 0 and "Observed, not randomised" in out and "E-value" in out and "undecided" in out
    first = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    assert run(*words, capsys=capsys)[0] == 0
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == first
    assert sorted(first) == sorted([*(f"{t}.csv" for t in Contrast.TABLES), "comparison.json"])
    code, _, err = run(*words[:-1], folder, capsys=capsys)
    assert code == 2 and "run.json" in err


def test_virtual_patients_are_called_so_in_every_table(results: Results, tmp_path: Path) -> None:
    virtual = results.having({"simulated": True})
    write_contrast(compared(virtual), tmp_path / "c")
    for name in Contrast.TABLES:
        table = pl.read_csv(tmp_path / "c" / f"{name}.csv")
        assert "simulated" in table.columns and (table.is_empty() or table["simulated"].all())
    found = safety(virtual, plan_of(PLAN))
    page, figure = safety_page(found, virtual), safety_figure(found)
    assert "Simulated data" in page and "irtual patients" in figure
    write_safety(found, tmp_path / "s", page, figure)
    assert pl.read_csv(tmp_path / "s" / "looks.csv")["simulated"].all()


# ---- every choice


@pytest.fixture(scope="module")
def universes(folder: Path) -> Multiverse:
    return multiverse(folder.parent / "timeline", read_spec(HERE / "multiverse" / "spec.toml"))


def test_the_multiverse_of_the_example_cohort_is_the_one_that_was_committed(universes: Multiverse, tmp_path: Path) -> None:
    """To make them anew: aftercar cohort multiverse TIMELINE --spec tests/multiverse/spec.toml --out DIR, and copy the CSV files."""
    figures = multiverse_figures(universes)
    (tmp_path / "m").mkdir()
    write_multiverse(universes, tmp_path / "m", figures)
    for name in ("universes", "choices", "summary"):
        assert (tmp_path / "m" / f"{name}.csv").read_bytes() == (HERE / "multiverse" / f"{name}.csv").read_bytes(), name
    assert {f"{name}.svg" for name, _ in figures} == {"crs_3.svg", "icans_1.svg"} <= {p.name for p in (tmp_path / "m").iterdir()}


def test_a_universe_is_what_grading_with_its_options_gives(universes: Multiverse, folder: Path) -> None:
    timeline = open_timeline(folder.parent / "timeline").scan()
    for scale, options in (
        ("crs_penn2018", "penn_single_bolus=3"),
        ("crs_lee2014", "lee_niv=4; map_cut=70"),
        ("crs_lee2014", "default"),
    ):
        told = dict(pair.split("=") for pair in options.split("; ") if "=" in pair)
        worst = grade_timeline(timeline, [scale], told).worst.filter(col("status") != "not_applicable")
        row = universes.universes.filter(outcome="crs:3", scale=scale, options=options).row(0, named=True)
        yes = sum(r["grade"] >= 3 for r in worst.iter_rows(named=True))
        no = sum(r["grade_upper"] < 3 for r in worst.iter_rows(named=True))
        assert (row["yes"], row["no"], row["open"]) == (yes, no, worst.height - yes - no)
        assert (row["least"], row["most"]) == (yes / worst.height, (worst.height - no) / worst.height)


def test_a_scale_is_asked_only_under_options_that_it_reads(universes: Multiverse) -> None:
    for scale, options in universes.universes.select("scale", "options").iter_rows():
        read = {o for s in SCALES.values() if s.family == scale for o in s.options}
        assert {pair.split("=")[0] for pair in options.split("; ") if "=" in pair} <= read
    assert universes.universes.select("outcome", "scale", "options").is_duplicated().sum() == 0


def test_summary_and_choices_follow_from_the_universes(universes: Multiverse) -> None:
    for r in universes.summary.iter_rows(named=True):
        known = universes.universes.filter((col("outcome") == r["outcome"]) & col("difference").is_not_null())
        assert (r["least"], r["most"]) == (known["difference"].min(), known["difference"].max())
        moved = universes.choices.filter((col("outcome") == r["outcome"]) & (col("kind") == "option"))[
            "difference_moved"
        ].drop_nulls()
        if r["by_option"] is not None:
            assert abs(r["by_option"]) == moved.abs().max()
        assert r["other_conclusion"] == (known["difference_conclusion"] != r["conclusion"]).sum()


def test_the_default_spec_asks_every_option_of_crs_and_neurotoxicity() -> None:
    spec = read_spec()
    asked = {name for change in spec.changes for name, _ in change}
    assert asked == {o for s in SCALES.values() if s.toxicity in ("crs", "icans") for o in s.options}
    words = {(n, v) for change in spec.changes for n, v in change}
    assert {(n, c) for n in asked for c in OPTIONS[n].choices if c != OPTIONS[n].default} <= words


def test_what_most_courses_leave_open_has_bounds_and_no_estimate(folder: Path, tmp_path: Path) -> None:
    spec = tmp_path / "s.toml"
    spec.write_text('outcomes = ["cres_cartox:1"]\noptions = []\n')
    found = multiverse(folder.parent / "timeline", read_spec(spec))
    row = found.universes.row(0, named=True)
    assert row["share"] is None and row["least"] < 0.2 and row["most"] == 1.0
    assert found.summary["unsettled"][0] == 1
    assert "no estimate" in multiverse_figures(found)[0][1]


def test_a_median_has_the_interval_of_its_ranks() -> None:
    days = [1, 2, 2, 3, 5, 8, 9, 10, 12, 20]
    table = pl.DataFrame({"onset": days, "n": [1] * len(days)}).group_by("onset").agg(col("n").sum())
    assert _median(table.with_columns(col("n").cast(pl.Int64))) == (6.5, 2.0, 12.0), "ranks 2 and 9 of 10"
    assert _median(table.filter(col("onset") < 4)) == (2.0, None, None)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("outcome = []", "not known"), ('outcomes = ["crp:3"]', "No toxicity"), ('options = ["map_cut=1000"]', "map_cut cannot be"), ('options = ["map_cat=60"]', "Did you mean map_cut"),
        ("limit = 2", "limit"), ("day = -1", "day"), ('outcomes = "crs"', "must be a list"), ("[groups]\nby = 3", "groups.by: must be"), ("outcomes = [", "not TOML"), ("[values]\nmap_cat = [1]", "Did you mean"),
        ("pairs = 3", "pairs"), ('scales = ["icans"]\noutcomes = ["crs:3"]', "nothing is left to be asked"),
    ],
)  # fmt: skip
def test_a_spec_that_cannot_be_is_refused(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "s.toml").write_text(text + "\n")
    with pytest.raises(AftercarError, match=re.escape(what)):
        read_spec(tmp_path / "s.toml")


def test_the_multiverse_command_tells_what_moves_the_result(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.toml").write_text('outcomes = ["crs_penn2018:3"]\noptions = ["penn_single_bolus=3"]\n')
    code, out, _ = run("cohort", "multiverse", folder, "--spec", tmp_path / "s.toml", "--out", tmp_path / "o", capsys=capsys)
    assert code == 0 and "penn_single_bolus=3" in out and "+17.9" in out and "Made-up patients" in out
    bad = tmp_path / "bad.toml"
    bad.write_text('outcomes = ["crs:3"]\noptions = []\n[groups]\nby = "product"\ngroup = "axi"\nreference = "tisa-cel"\n')
    code, _, err = run("cohort", "multiverse", folder, "--spec", bad, capsys=capsys)
    assert code == 2 and "axi-cel" in err


# ---- a safety board


@pytest.fixture(scope="module")
def board(results: Results) -> Safety:
    return safety(results, plan_of(PLAN))


def test_every_course_is_counted_once_at_each_cut(board: Safety) -> None:
    for c in board.cuts.iter_rows(named=True):
        assert c["infused"] == sum(c[k] for k in ("event", "no_event", "undecided", "in_window", "cannot_be_graded"))
        assert c["known"] == c["event"] + c["no_event"] and c["counted"] == c["known"] + c["undecided"]
    assert board.months.select(col("infused").sum()).item() == board.patients.height
    for a, b in pairwise(board.cuts.iter_rows(named=True)):
        assert a["event"] <= b["event"] and a["known"] <= b["known"]


@pytest.mark.parametrize("cut", [date(2024, 1, 20), date(2024, 2, 10), date(2024, 5, 25)])
def test_nobody_is_free_of_an_event_before_the_window_has_closed(results: Results, cut: date) -> None:
    found = safety(results, plan_of(PLAN | {"cuts": [cut]}))
    end = datetime(cut.year, cut.month, cut.day) + timedelta(days=1)
    for r in found.patients.iter_rows(named=True):
        closed = r["day0"].date() + timedelta(days=30) <= cut or (r["death"] is not None and r["death"] < end)
        assert r["state"] in ((FREE, UNDECIDED, EVENT) if closed else (IN_WINDOW, EVENT))
    assert set(found.patients["subject_id"]) == set(results.subjects.filter(col("day0") < end)["subject_id"])


def test_each_look_is_judged_as_the_posterior_says(board: Safety) -> None:
    for r in board.looks.iter_rows(named=True):
        for events, probability, crossed in (
            (r["events"], r["probability"], r["crossed"]),
            (r["events_if"], r["probability_if"], r["crossed_if"]),
        ):
            assert probability == pytest.approx(beta.sf(0.15, 0.5 + events, 0.5 + r["n"] - events))
            assert crossed == (r["n"] >= 6 and probability > 0.9)
        if r["stops_at"] is not None:
            assert (
                beta.sf(0.15, 0.5 + r["stops_at"], 0.5 + r["n"] - r["stops_at"])
                > 0.9
                >= beta.sf(0.15, r["stops_at"] - 0.5, 1.5 + r["n"] - r["stops_at"])
            )
    assert board.facts["crossed"] is None and board.facts["crossed_if_undecided_had_it"]["patients"] == 37
    assert answer(board).startswith("Perhaps crossed")


def test_events_are_those_that_a_reader_of_the_tables_counts(results: Results, board: Safety) -> None:
    grades = load(results.folder / "grades.parquet").filter(
        col("scale").is_in(["crs_astct2019", "icans_astct", "icans_astct_peds"]) & (col("grade") >= 3)
    )
    first = {
        s: d
        for s, d in grades.join(results.subjects.select(*COURSE, "day0"), on=COURSE)
        .group_by("subject_id")
        .agg((col("start").dt.date() - col("day0").dt.date()).dt.total_days().min().alias("d"))
        .iter_rows()
        if d <= 30
    }
    assert {r["subject_id"]: r["event_day"] for r in board.patients.filter(state=EVENT).iter_rows(named=True)} == first


def test_who_is_undecided_is_not_known_and_no_look_is_no_answer(results: Results) -> None:
    open_ = results.having(
        grades=results.load("grades").with_columns(
            pl.lit(0, pl.Int8).alias("grade"), pl.lit(4, pl.Int8).alias("grade_upper"), pl.lit(4, pl.Int8).alias("upper_assessed")
        )
    )
    found = safety(open_, plan(stopping={"first": 40}, patients=41, cuts=[]))
    last = found.cuts.row(-1, named=True)
    assert last["known"] == 0 and last["undecided"] == last["counted"] > 0 and last["probability_if"] > 0.9
    assert last["crossed"] is None and last["crossed_if"] is None
    assert answer(found) == f"No look was made yet: the first is at 40 counted courses, and {last['counted']} count so far."
    page = safety_page(found, open_)
    assert "no look yet" in page and "Not crossed" not in page and "known outcomes" not in page


def test_the_page_says_which_event_of_which_grade_and_what_is_after_the_records(results: Results) -> None:
    found = safety(results, plan(cuts=[date(2030, 1, 1)]))
    assert found.facts["after_records"] and found.facts["after_records"] in safety_page(found, results)
    assert safety(results, plan()).facts["after_records"] is None
    events = found.patients.filter(state=EVENT)
    assert events["event"].str.contains(r"^(CRS, ASTCT 2019|ICANS.*): grade [3-5]").all()
    both = results.grades(["crs_astct2019", "icans_astct", "icans_astct_peds"]).filter(col("grade") >= 3).sort("start")
    first = dict(both.group_by("subject_id", maintain_order=True).agg(col("grade").first()).iter_rows())
    assert all(f"grade {first[r['subject_id']]}" in r["event"] for r in events.iter_rows(named=True))


def test_the_pack_is_written_whole(results: Results, board: Safety, tmp_path: Path) -> None:
    write_safety(board, tmp_path / "s", safety_page(board, results), safety_figure(board))
    assert {p.name for p in (tmp_path / "s").iterdir()} == {
        *(f"{t}.csv" for t in Safety.TABLES),
        "safety.html",
        "boundary.svg",
        "safety.json",
    }
    page = (tmp_path / "s" / "safety.html").read_text()
    assert (
        "Perhaps crossed" in page
        and "P-028" in page
        and "Made-up patients" in page
        and "http:" not in page
        and "https:" not in page
    )


def plan(**how: Any) -> Plan:
    stopping = PLAN["stopping"] | how.pop("stopping", {})  # type: ignore[operator]
    return plan_of(PLAN | {"stopping": stopping} | how)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("patients = 10", "stopping: is missing"),
        ("patients = 0\n[stopping]\nmethod = 'bayes'\nany_of = [{scale='crs',grade=3,by_day=30}]\nlimit=0.2\ncertainty=0.9", "patients: must be above 0"),
        ("patients = 9\n[stopping]\nmethod = 'pocock'\nany_of = [{scale='crs',grade=3,by_day=30}]\nlimit=0.2\nchance=0.1", "posterior"),
        ("patients = 9\n[stopping]\nmethod = 'bayes'\nlimit=0.2\ncertainty=0.9", "names no toxicity"),
        ("patients = 9\n[stopping]\nmethod = 'bayes'\nany_of = [{scale='crs',grade=3,by_day=30},{scale='crs_penn2018',grade=3,by_day=30}]\nlimit=0.2\ncertainty=0.9", "two scales of crs"),
        ("patients = 9\ncuts = ['soon']\n[stopping]\nmethod = 'bayes'\nany_of = [{scale='crs',grade=3,by_day=30}]\nlimit=0.2\ncertainty=0.9", "cuts"),
        ("patients = 9\nonly = {hospital = 'x'}\n[stopping]\nmethod = 'bayes'\nany_of = [{scale='crs',grade=3,by_day=30}]\nlimit=0.2\ncertainty=0.9", "hospital"),
        ("patients = 9\n[stopping]\nmethod = 'bayes'\nany_of = [{scale='crs',grade=3,by_day=30}]\nlimit=2\ncertainty=0.9", "limit"),
        ("patients =", "not TOML"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_is_refused(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "p.toml").write_text(text + "\n")
    with pytest.raises(InputError, match=re.escape(what)):
        read_plan(tmp_path / "p.toml")


def test_a_cohort_that_does_not_fit_the_plan_is_refused(results: Results) -> None:
    with pytest.raises(InputError, match="39 patients count"):
        safety(results, plan(patients=20))
    with pytest.raises(InputError, match="Nobody was infused by 2020-01-01"):
        safety(results, plan(cuts=[date(2020, 1, 1), date(2024, 6, 10)]))
    with pytest.raises(OptionError, match="Did you mean axi-cel"):
        safety(results, plan(only={"product": "axicel"}))
    with pytest.raises(OptionError, match="was not graded"):
        safety(results, plan(stopping={"any_of": [{"scale": "crs_lee2014", "grade": 3, "by_day": 30}]}))
    older = results.worst.head(40).with_columns(rules=pl.lit("crs_astct2019@0"))
    mixed = results.having(worst=pl.concat([results.worst, older]))
    with pytest.raises(InputError, match="several rule versions"):
        safety(mixed, plan())


def test_a_boundary_that_is_surely_crossed_says_when(results: Results) -> None:
    found = safety(results, plan(stopping={"limit": 0.02}, only={"product": "axi-cel"}))
    assert found.facts["crossed"] is not None and answer(found).startswith("Crossed, whatever")
    hit = found.looks.filter("crossed").row(0, named=True)
    assert found.facts["crossed"] == {"patients": hit["n"], "on": str(hit["counted_on"])}
    early = safety(results, plan(cuts=[date(2024, 1, 12)]))
    assert (
        early.looks.is_empty()
        and early.cuts["stops_at"][0] is None
        and answer(early).startswith("No look was made yet: the first is at 6")
    )
    assert early.cuts["crossed"][0] is None
    assert "<svg" in safety_figure(early)


def test_the_safety_command_answers(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.toml").write_text("\n".join(toml_blocks("compare.md", "[stopping]")))
    code, out, _ = run("cohort", "safety", folder, "--plan", tmp_path / "p.toml", "--out", tmp_path / "o", capsys=capsys)
    assert code == 0 and "Stop at" in out and (tmp_path / "o" / "safety.html").is_file()
    shutil.rmtree(tmp_path / "o")
    (tmp_path / "o").write_text("mine")
    code, _, err = run("cohort", "safety", folder, "--plan", tmp_path / "p.toml", "--out", tmp_path / "o", capsys=capsys)
    assert code == 2 and "is a file" in err and (tmp_path / "o").read_text() == "mine"


def toml_blocks(page: str, holding: str) -> list[str]:
    """The TOML of a page that holds a word."""
    return [b for b in re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.S | re.M) if holding in b]


def test_the_spec_that_the_manual_shows_is_one(tmp_path: Path) -> None:
    (block,) = toml_blocks("compare.md", "outcomes")
    (tmp_path / "s.toml").write_text(block)
    assert read_spec(tmp_path / "s.toml").groups is not None


@pytest.mark.parametrize(
    "words", [("cohort", "compare", "--by", "sex", "--outcome", "crs"), ("cohort", "multiverse"), ("cohort", "safety")]
)
def test_a_folder_without_results_is_refused(words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.toml").write_text("\n".join(toml_blocks("compare.md", "[stopping]")))
    more = ["--plan", tmp_path / "p.toml"] if "safety" in words else []
    code, _, err = run(*words[:2], tmp_path, *words[2:], *more, capsys=capsys)
    assert code == 2 and "Traceback" not in err
