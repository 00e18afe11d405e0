"""Published rates put together at the command line, with subgroups and moderators held against R."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from commands import run
from polars import col
from scipy.stats import binomtest

from aftercar.errors import OptionError
from aftercar.evidence.tables import table
from aftercar.serve.show import console
from aftercar.synthesis.moderators import BY, parted, regress, wald
from aftercar.synthesis.proportions import pooled
from aftercar.synthesis.published import LATE, counted, endpoint_named, endpoints, grouped, pool, without_counts

REGRESSION: dict[str, Any] = json.loads((Path(__file__).parent / "r" / "regression.json").read_text())
DIGITS = 1e-4  # relative


@pytest.mark.parametrize("name", REGRESSION)
@pytest.mark.parametrize("by", ["z", "g"])
def test_moderators_are_those_of_r(name: str, by: str) -> None:
    told = REGRESSION[name]
    k, n = told["events"], told["n"]
    group = np.arange(len(k)) % 3
    x = np.array(told["at"])[:, None] if by == "z" else np.column_stack([group == 1, group == 2]).astype(float)
    for method in ("glmm", "logit"):
        found = pooled(k, n, x, method=method)
        assert [*found.coefficient, *found.se, found.tau2] == pytest.approx(told[by][method], rel=DIGITS)
        statistic, df, p = wald(found)
        assert [statistic, p] == pytest.approx(told[by][f"{method}_qm"], rel=DIGITS) and df == x.shape[1]


def studies_of(told: dict[str, Any]) -> pl.DataFrame:
    k, n = told["events"], told["n"]
    share = [a / b for a, b in zip(k, n, strict=True)]
    frame = pl.DataFrame(
        {"events": k, "n": n, "share": share, "low": share, "high": share}, schema_overrides={"events": pl.Int64, "n": pl.Int64}
    )
    return frame.with_columns(
        product=pl.Series([f"p{i % 3}" for i in range(len(k))]), disease=pl.lit("d"), scale=pl.lit("s"), year=pl.Series(told["at"], dtype=pl.Float64, strict=False), verified=pl.lit("primary")
    )  # fmt: skip


@pytest.mark.parametrize("name", REGRESSION)
def test_a_moderator_of_studies_is_the_same_whatever_level_is_the_reference(name: str) -> None:
    """The test does not hang on it, and odds ratios turn round."""
    told = REGRESSION[name]
    found = regress("s", studies_of(told), "product")
    assert [found.statistic, found.p] == pytest.approx(told["g"]["glmm_qm"], rel=DIGITS)
    assert found.logit_p == pytest.approx(told["g"]["logit_qm"][1], rel=DIGITS)
    b1, b2 = told["g"]["glmm"][1:3]
    log_odds = {"p0": 0.0, "p1": b1, "p2": b2}
    assert found.reference in log_odds
    for term in found.terms:
        assert np.log(term.ratio) == pytest.approx(log_odds[term.name] - log_odds[found.reference], rel=1e-3, abs=1e-5)
        assert term.low < term.ratio < term.high and 0 <= term.p <= 1
    by_year = regress("s", studies_of(told), "year")
    assert by_year.terms[0].ratio == pytest.approx(float(np.exp(told["z"]["glmm"][1])), rel=DIGITS)


def test_subgroups_hold_every_study_once() -> None:
    studies, _ = counted("crs_any")
    for by in BY:
        found = parted("all", studies, by)
        assert sum(g.studies.height for g in found.groups) == studies.height
        assert {g.part for g in found.groups} == set(studies[by])
    with pytest.raises(OptionError, match="one of product, disease, scale"):
        parted("all", studies, "year")
    with pytest.raises(OptionError, match="A moderator is one of"):
        regress("all", studies, "colour")


def test_studies_of_which_a_moderator_is_not_known_are_counted() -> None:
    studies = counted("crs_any")[0].with_columns(target=pl.when(col("trial_id") == "ZUMA-1").then(None).otherwise("target"))
    found = regress("all", studies, "target")
    assert (found.left_out, found.studies) == (1, studies.height - 1)
    alike = regress("all", studies.with_columns(target=pl.lit("CD19")), "target")
    assert alike.statistic is None and "alike" in alike.why
    nobody = studies.with_columns(events=pl.lit(0))
    assert regress("all", nobody, "product").why


def test_no_count_is_made_from_a_percentage() -> None:
    late = table("late_effects")
    for endpoint, effects in LATE.items():
        kept, left_out = counted(endpoint)
        own = late.filter(col("effect").is_in(effects))
        whole = own.filter(col("n_events").is_not_null() & col("n_total").is_not_null())
        assert kept.height == whole.height and len(left_out) == own.height - whole.height
        assert kept.select("events", "n").rows() == whole.select("n_events", "n_total").rows()
    assert counted("spm")[0]["source"].to_list() == ["meta-analysis"]
    assert counted("nrm")[0].is_empty() and len(counted("nrm")[1]) == 4


CELLS = Path(__file__).parents[1] / "src/aftercar/evidence/data"


def cells(name: str) -> list[dict[str, str]]:
    """A table read by nothing of ours."""
    with (CELLS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("endpoint", endpoints())
def test_every_row_of_the_table_is_counted_or_shown_without_counts(endpoint: str) -> None:
    """None is lost or told twice, with the events and patients that the table has."""
    if endpoint in LATE:
        wanted = [(r["ref_id"], r["n_events"], r["n_total"]) for r in cells("late_effects") if r["effect"] in LATE[endpoint]]
    else:
        wanted = [
            (r["trial_id"], r[f"{r['recommended_source']}_events"], r[f"{r['recommended_source']}_n"])
            for r in cells("toxicity_rates")
            if r["endpoint"] == endpoint
        ]
    groups, left_out = pool(endpoint)
    alone = without_counts(endpoint)
    told = [row for frame in (*(g.studies for g in groups), alone) for row in frame.select("trial_id", "events", "n").rows()]
    assert sorted((t, str(k if k is not None else ""), str(n if n is not None else "")) for t, k, n in told) == sorted(wanted)
    assert len(left_out) == alone.height
    by_trial = {r["trial_id"]: r for r in cells("trials")}
    column = "crs_scale" if endpoint.startswith("crs") else "icans_scale" if endpoint.startswith("icans") else "nt_scale"
    for group in groups:
        if endpoint not in LATE:
            assert {by_trial[t][column] or "not told" for t in group.studies["trial_id"]} == {group.scale}


def test_a_meta_analysis_has_its_own_rate_and_interval() -> None:
    """Counts of many studies added up would have too narrow an interval."""
    (row,) = counted("spm")[0].to_dicts()
    assert [row[c] for c in ("share", "low", "high")] == pytest.approx([0.06, 0.048, 0.074])
    assert row["interval"] == "published" and row["events"] == 326


@pytest.mark.parametrize(("k", "said"), [(0, "0 of 100 together, at most 3.6"), (50, "100 of 100 together, at least 96.4")])
def test_where_nobody_or_everybody_had_it_the_exact_interval_is_told(k: int, said: str) -> None:
    group = grouped("s", counted("crs_any")[0].head(2).with_columns(events=pl.lit(k, pl.Int64), n=pl.lit(50, pl.Int64)))
    assert group.pooled is None and said in group.why
    assert binomtest(2 * k, 100).proportion_ci().low == pytest.approx(0.025 ** (1 / 100) if k else 0)


def test_rates_of_icans_are_of_one_scale_where_a_trial_says_so_of_icans() -> None:
    """CARTITUDE-1 graded ICANS by ASTCT 2019, and other neurologic events by CTCAE."""
    assert {g.scale for g in pool("icans_any")[0]} == {"ASTCT 2019"}
    scales = {g.scale: g.studies["trial_id"].to_list() for g in pool("nt_any")[0]}
    assert scales["CTCAE v5.0 and ASTCT 2019"] == ["CARTITUDE-1"] and scales["not told"] == ["FELIX"], (
        "of its label no scale was seen"
    )


@pytest.mark.parametrize(
    ("words", "name"),
    [("crs:3", "crs_g3plus"), ("CRS", "crs_any"), ("icans:1", "icans_any"), ("neuro", "nt_any"), ("neuro:3", "nt_g3plus"), ("nt_any", "nt_any"), ("spm", "spm"), ("spm-t-cell", "spm_t_cell")],
)  # fmt: skip
def test_an_endpoint_has_several_names(words: str, name: str) -> None:
    assert endpoint_named(words) == name


@pytest.mark.parametrize("words", ["crs:2", "crs:9", "gout", "spm:3", ""])
def test_an_endpoint_that_is_none_is_refused(words: str) -> None:
    with pytest.raises(OptionError, match="No endpoint is called"):
        endpoint_named(words)


# ---- the command


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import aftercar

    root, place = Path(__file__).parents[1], tmp_path_factory.mktemp("pool")
    aftercar.import_folder(str(root / "examples/cohort"), place / "timeline", root / "examples/cohort/mapping.toml")
    aftercar.grade_folder(place / "timeline", place / "grades", ["crs", "icans"])
    return place / "grades"


def test_rates_are_printed_by_scale_and_the_cohort_apart(graded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run("evidence", "pool", "crs:3", "--by", "product", "--moderator", "year", "--cohort", graded, capsys=capsys)
    assert code == 0, err
    flat = " ".join(out.split())
    assert flat.index("Graded by: Penn") < flat.index("Graded by: Lee 2014") < flat.index("Graded by: ASTCT 2019")
    assert "All scales together" not in flat
    assert "This cohort, not put together with them: CRS, ASTCT 2019, grade 3 or more, 5/38" in flat
    assert "By product, Lee 2014 (8 studies): chi-square" in flat and "By year of the paper" in flat
    assert "Made-up patients" in flat and "no product is ranked" in flat


def test_scales_are_compared_only_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("evidence", "pool", "crs_any", "--by", "scale", capsys=capsys)
    assert code == 0 and "By scale, all scales (12 studies)" in " ".join(out.split()) and "All scales together" not in out
    code, out, _ = run("evidence", "pool", "crs_any", "--mix", capsys=capsys)
    assert code == 0 and "All scales together: they do not grade alike" in out


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, graded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "width", width)
    for more in (["crs:3", "--by", "product", "--moderator", "year", "--mix", "--cohort", graded], ["neuro"], ["spm_t_cell"]):
        code, out, _ = run("evidence", "pool", *more, capsys=capsys)
        ours = [line.rstrip() for line in out.splitlines() if not line.startswith("Note: ")]
        assert code == 0 and max(map(len, ours)) <= width
        assert not [line for line in ours if line.startswith(("Tukey", "p = ", "one lies"))] and " 1 studies" not in out


def test_one_study_or_one_level_has_no_comparison_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(
        "evidence", "pool", "crs", "--product", "tisa-cel", "--moderator", "year", "--by", "disease", capsys=capsys
    )
    assert code == 0 and out.count("no comparison. Too few studies.") == 2
    for more in (
        ["icans", "--mix", "--moderator", "scale"],
        ["icans", "--by", "scale"],
        ["nrm", "--moderator", "year"],
        ["spm", "--by", "disease"],
    ):
        assert "Nothing to compare" in run("evidence", "pool", *more, capsys=capsys)[1]
    code, out, _ = run("evidence", "pool", "crs", "--disease", "FL", "--moderator", "n", "--mix", capsys=capsys)
    assert code == 0 and "Not put together: one study." in out and "By size of the study, Lee 2014: no comparison." in out


def test_what_tells_no_counts_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("evidence", "pool", "nrm", capsys=capsys)
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0 and "cordas2024 all LBCL 6.1 meta-analysis" in lines and "nothing is put together" in out
    code, out, _ = run("evidence", "pool", "spm_myeloid", capsys=capsys)
    assert code == 0 and "19 (5.5 to 38.7)" in out and out.index("Until 1 year") < out.index("Until 24 months")


def test_numbers_and_pictures_are_written(graded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("f.svg", "f.csv", "f.json"):
        code, _, err = run("evidence", "pool", "icans:3", "--cohort", graded, "--out", tmp_path / name, capsys=capsys)
        assert code == 0, err
    assert ET.parse(tmp_path / "f.svg").getroot().get("role") == "img"
    told = json.loads((tmp_path / "f.json").read_text())
    assert told["cohort"]["n"] + told["cohort"]["undecided"] == 39
    rows = pl.read_csv(tmp_path / "f.csv")
    assert set(rows["kind"]) == {"study", "together", "cohort"}
    together = rows.filter(kind="together").row(0, named=True)
    assert together["events"] == sum(r["events"] for r in told["rows"] if r["trial_id"]), (
        "the cohort is not put together with them"
    )
    code, out, _ = run("evidence", "pool", "icans:3", "--json", capsys=capsys)
    assert code == 0 and json.loads(out)["endpoint"] == "icans_g3plus"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["gout"], "No endpoint is called"),
        (["crs", "--out", "f.pdf"], "the ending says the format"),
        (["crs", "--outcome", "crs"], "name its results folder"),
        (["crs", "--moderator", "scale"], "add --mix"),
        (["crs", "--disease", "gout"], "No study of this endpoint"),
        (["crs", "--product", "nobody-cel"], "is about product"),
        (["icans", "--product", "axi-cel"], "No study tells icans_any of axi-cel."),
        (["spm_t_cell", "--disease", "MM"], "No study of this endpoint is of 'MM': University of Pennsylvania."),
        (["crs", "--out", "nowhere/f.csv"], "nowhere/f.csv cannot be written"),
        (["crs", "--out", "nowhere/f.svg"], "nowhere/f.svg cannot be written"),
    ],
)
def test_what_cannot_be_put_together_is_said(more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("evidence", "pool", *more, capsys=capsys)
    assert code == 2 and said in err


def test_a_cohort_without_a_course_is_refused(graded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pl.read_parquet(graded / "worst.parquet").clear().write_parquet(tmp_path / "worst.parquet")
    (tmp_path / "run.json").write_bytes((graded / "run.json").read_bytes())
    code, _, err = run("evidence", "pool", "crs", "--cohort", tmp_path, capsys=capsys)
    assert code == 2 and "holds no course" in err


def test_a_cohort_that_was_not_graded_so_is_refused(graded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, said in {
        ("nt",): "name one by --outcome",
        ("nrm",): "No outcome of a cohort is nrm",
        ("crs", "--outcome", "crs:3"): "is not crs_any but crs_g3plus",
        ("crs", "--outcome", "crs_penn2018"): "was not graded on",
    }.items():
        code, _, err = run("evidence", "pool", *more, "--cohort", graded, capsys=capsys)
        assert code == 2 and said in err
