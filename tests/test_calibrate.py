"""The mechanism beside published trials: what is fitted, that the smoother is right where the answer is known, and what comparisons say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from commands import run as command
from hypothesis import given
from hypothesis import strategies as st
from polars import col

from aftercar.calibrate import fit as fitting
from aftercar.calibrate import sensitivity
from aftercar.calibrate import translate as translation
from aftercar.calibrate.adopt import adopt
from aftercar.calibrate.compare import compare
from aftercar.calibrate.ensemble import as_frame, centre, in_a_row, parameters, read
from aftercar.calibrate.fit import Observed, fit, observed, predicted, results_of, smoothed
from aftercar.calibrate.interventions import arms
from aftercar.calibrate.peaks import TRIAL, peaks, ranges
from aftercar.calibrate.published import ENDPOINTS, onsets, rates, trials
from aftercar.calibrate.virtual import ANALYTES, Outcome, medians, run
from aftercar.errors import InputError, OptionError
from aftercar.evidence import table
from aftercar.grade.run import scales_named
from aftercar.report.published import comparison_svg
from aftercar.simulate.model import load_model
from aftercar.simulate.observe import numbers_of, observation_map
from aftercar.simulate.population import values_of

# ---- what is compared


def test_every_trial_has_its_four_rates_and_the_lecture_its_forty() -> None:
    counted = rates().group_by("trial").agg(col("endpoint").sort())
    assert {row["trial"]: row["endpoint"] for row in counted.to_dicts()} == {name: sorted(ENDPOINTS) for name in trials()}
    lecture = [name for name, trial in trials().items() if trial.in_lecture]
    assert len(lecture) == 10
    assert set(lecture) == set(table("trials").filter(in_lecture_table="yes")["trial_id"]) & set(trials())


def test_rates_are_the_recommended_ones_and_icans_where_a_trial_graded_it() -> None:
    told = {(r["trial"], r["endpoint"]): (r["events"], r["n"]) for r in rates().to_dicts()}
    assert told["ELIANA", "crs_g3plus"] == (34, 75)  # 46 % of 75: the recommended number, printed without a decimal
    assert told["CARTITUDE-1", "nt_any"] == (16, 97)  # ICANS; all neurotoxicity is 20
    assert told["FELIX", "nt_any"] == (29, 127)


def test_scales_and_policies_are_known() -> None:
    for trial in trials().values():
        assert {s.toxicity for s in scales_named([trial.crs, trial.nt])} == {"crs", "icans"}
        values_of(load_model(), trial.product, trial.disease)
    assert sum(trial.held_out for trial in trials().values()) >= 3


def test_nothing_of_a_trial_that_is_held_out_is_fitted() -> None:
    fitted = {trial for trial, _ in observed().told}
    assert fitted == {name for name, trial in trials().items() if not trial.held_out}
    assert len(observed().told) == 4 * len(fitted) + onsets().filter(col("trial").is_in(list(fitted))).height + ranges().height


def test_parameters_exist_and_start_where_they_say() -> None:
    assert len({p.key for p in parameters()}) == len(parameters())
    for trial in trials().values():
        own = [p for p in parameters() if p.bears_on(trial)]
        assert len({p.name for p in own}) == len(own), "no parameter twice in one trial"
    products, diseases = (set(load_model().tables[t][t[:-1]]) for t in ("products", "diseases"))
    assert {p.of for p in parameters() if p.of} <= products | diseases


# ---- the smoother


@given(st.lists(st.lists(st.one_of(st.just(float("nan")), st.floats(0, 60)), min_size=5, max_size=5), min_size=1, max_size=4))
def test_medians_are_those_of_numpy_where_there_is_one(days: list[list[float]]) -> None:
    found = medians(np.array(days))
    for row, median in zip(days, found, strict=True):
        kept = [d for d in row if not np.isnan(d)]
        assert median == pytest.approx(np.median(kept)) if kept else np.isnan(median)


def test_the_smoother_finds_the_posterior_of_a_linear_problem() -> None:
    """Two parameters, three results of them, everything normal: the posterior is known."""
    design = np.array([[1.0, 0.5], [0.0, 2.0], [1.5, -1.0]])
    target = Observed([("t", "a"), ("t", "b"), ("t", "c")], np.array([1.0, -0.5, 2.0]), np.array([0.3, 0.2, 0.5]))
    start = np.random.default_rng(0).standard_normal((4_000, 2))
    logs = smoothed(start, lambda logs: logs @ design.T, target, np.ones((2, 3), bool), 4, seed=1)
    precision = np.eye(2) + design.T @ np.diag(1 / target.variance) @ design
    exact = np.linalg.solve(precision, design.T @ (target.value / target.variance))
    assert logs.mean(axis=0) == pytest.approx(exact, abs=0.03)
    assert np.cov(logs.T) == pytest.approx(np.linalg.inv(precision), abs=0.03)


def test_a_parameter_does_not_move_by_trials_that_it_does_not_bear_on() -> None:
    start = np.random.default_rng(1).standard_normal((50, 2))
    target = Observed([("t", "a")], np.array([3.0]), np.array([0.1]))
    moved = smoothed(start, lambda logs: logs[:, :1], target, np.array([[True], [False]]), 2, seed=1)
    assert np.array_equal(moved[:, 1], start[:, 1]) and not np.allclose(moved[:, 0], start[:, 0])


def test_a_member_without_patients_of_a_group_says_nothing_of_it() -> None:
    """It gets what the others say on average, and where nobody says anything what was published."""
    target = observed()
    severe = [n for n, (_, what) in enumerate(target.told) if what.endswith(">=3")]
    mild, ill = (np.full(8, crs, np.int64) for crs in (1, 3))
    nobody, level = np.full(16, np.nan), np.tile(np.repeat([[2.0], [50.0]], 8, axis=0), len(ANALYTES))
    none = np.zeros(16, np.int64)

    def said(crs: np.ndarray) -> np.ndarray:
        everywhere = dict.fromkeys({trial for trial, _ in target.told}, Outcome(crs, none, nobody, nobody, level))
        return results_of(everywhere, 2, target)[:, severe]

    assert len(severe) >= 3
    assert np.exp(said(np.concatenate([mild, ill]))) == pytest.approx(50.0)
    assert said(np.concatenate([mild, mild])) == pytest.approx(np.stack([target.value[severe]] * 2))


# ---- virtual trials


def two_members() -> pl.DataFrame:
    start = np.log([p.start for p in parameters()])
    return as_frame(np.stack([start, start + 0.2]))


def test_members_beside_one_another_are_as_each_alone() -> None:
    trial, both = trials()["CARTITUDE-1"], two_members()
    together = run(trial, 12, 5, varied=in_a_row(both, trial, 6), days=14.0)
    for member in (0, 1):
        own = {p.name: float(both[p.key][member]) for p in parameters() if p.bears_on(trial)}
        alone = run(trial, 6, 5, changed=own, first=6 * member, days=14.0)
        here = slice(6 * member, 6 * member + 6)
        assert np.array_equal(alone.crs, together.crs[here]) and np.array_equal(alone.nt, together.nt[here])
        assert np.array_equal(alone.crs_day, together.crs_day[here], equal_nan=True)


def test_what_a_trial_has_is_counted_by_member() -> None:
    peak = np.tile(np.array([[1.0], [2.0], [8.0], [32.0]]), len(ANALYTES))
    outcome = Outcome(
        np.array([0, 1, 3, 4]), np.array([0, 0, 0, 3]), np.array([np.nan, 2.0, 1.0, 5.0]), np.array([np.nan] * 3 + [7.0]), peak
    )
    found = predicted(outcome, 2)
    odds = {e: np.round(3 / (1 + np.exp(-found[e])) - 0.5, 9).tolist() for e in ENDPOINTS}  # events of two patients
    assert odds == {"crs_any": [1, 2], "crs_g3plus": [0, 2], "nt_any": [0, 1], "nt_g3plus": [0, 1]}
    assert np.exp(found["crs_onset"]).tolist() == pytest.approx([2.0, 3.0])
    assert np.exp(found["nt_onset"]).tolist() == pytest.approx([fitting.NOBODY_D, 7.0])
    assert np.exp(found["peak of CRP, grade 0-1"]).tolist() == pytest.approx([1.5, np.nan], nan_ok=True)
    assert np.exp(found["peak of CRP, grade >=3"]).tolist() == pytest.approx([np.nan, 20.0], nan_ok=True)


@pytest.mark.slow
def test_a_fit_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: trials()[name] for name in ("CARTITUDE-1", "ZUMA-1")}
    for module in ("fit", "ensemble"):
        monkeypatch.setattr(f"aftercar.calibrate.{module}.trials", lambda: few)

    def in_this_process(names: list[str], ensemble: pl.DataFrame, patients: int, seed: int, **_: object) -> dict[str, Outcome]:
        if len(calls) == stop:
            raise KeyboardInterrupt
        calls.append(seed)
        return {name: run(few[name], ensemble.height * patients, seed, varied=in_a_row(ensemble, few[name], patients), days=14.0) for name in names}  # fmt: skip

    monkeypatch.setattr(fitting, "simulated", in_this_process)
    settings = {"seed": 3, "members": 8, "patients": 8, "steps": 1}
    calls: list[int] = []
    stop = 1
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "a", **settings)
    stop = 99
    halves = fit(tmp_path / "a", **settings)
    assert len(calls) == 2
    whole = fit(tmp_path / "b", **settings)
    assert halves.equals(whole) and (tmp_path / "a" / "fit.json").read_text() == (tmp_path / "b" / "fit.json").read_text()
    assert read(tmp_path / "a").shape == (8, len(parameters()))
    with pytest.raises(InputError, match="other settings"):
        fit(tmp_path / "a", **settings | {"seed": 4})


def test_a_fit_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="At least 8 members"):
        fit(tmp_path / "f", members=2)
    with pytest.raises(InputError, match="name the folder of a finished fit"):
        read(tmp_path)
    (tmp_path / "ensemble.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="fit again"):
        read(tmp_path)


# ---- beside what was published


@pytest.fixture(scope="module")
def compared() -> object:
    return compare(two_members(), patients=8, days=14.0, workers=2)


@pytest.mark.slow
def test_a_comparison_says_what_lies_inside(compared: object) -> None:
    found = compared.rates  # type: ignore[attr-defined]
    assert found.height == 4 * len(trials())
    inside = found.filter(col("simulated_pct").is_between("published_low", "published_high"))
    assert inside.equals(found.filter("inside"))
    assert (found["difference"] - (found["simulated_pct"] - found["published_pct"])).abs().max() < 1e-9
    told = {line["of"]: line for line in compared.summary()}  # type: ignore[attr-defined]
    assert (told["lecture"]["cells"], told["fitted"]["cells"] + told["held out"]["cells"]) == (40, found.height)
    assert found["verified"].null_count() == 0, "marks survive"


@pytest.mark.slow
def test_the_figure_says_that_it_is_simulated(compared: object) -> None:
    figure = comparison_svg(compared, "Title")  # type: ignore[arg-type]
    assert "SIMULATED" in figure and all(name in figure for name in trials())


def test_peaks_are_of_the_groups_that_the_table_names() -> None:
    found = peaks(two_members(), patients=24)
    told = ranges()
    assert found.height == told.height > 12
    of = {(r["analyte"], r["group"]): r for r in found.to_dicts()}
    groups = [of["IL-6", g]["patients"] for g in ("no or mild CRS", "grade 2", "grade >=3 or 4-5")]
    assert sum(groups) == 24 and of["CRP", "grade 0-1"]["patients"] == groups[0]
    for row in found.to_dicts():
        assert (row["inside"] is None) == (row["patients"] == 0)
        median = row["simulated_median"]
        assert row["inside"] in (None, median is not None and row["low"] <= median <= row["high"])
    assert "simulated" not in found.columns, "the mark of the written table goes by that name"


# ---- one scale in the words of another


def counts_of(pairs: dict[tuple[int, int], int]) -> np.ndarray:
    counts = np.zeros((1, translation.GRADES, translation.GRADES))
    for (a, b), n in pairs.items():
        counts[0, a, b] = n
    return counts


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_a_scale_in_its_own_words_changes_nothing(grades: list[int]) -> None:
    counts = counts_of({(g, g): grades.count(g) for g in set(grades)})
    rows = translation._tables("ELIANA", "crs", counts.sum(axis=0), np.repeat(counts, 50, axis=0), np.random.default_rng(0))
    told = {r["endpoint"]: r for r in rates().filter(trial="ELIANA").to_dicts()}
    for row in rows:
        published = 100 * told[row["endpoint"]]["events"] / told[row["endpoint"]]["n"]
        assert row["would_be_pct"] == pytest.approx(published) and row["low"] <= published <= row["high"]
    moves = translation._moves("ELIANA", counts[0])
    assert (moves["lower"], moves["higher"]) == (0, 0) and moves["n"] == sum(g > 0 for g in grades)


def test_a_published_table_in_the_words_of_another_scale_by_hand() -> None:
    # Of those with 1 or 2 a quarter has 0 on the other scale; of those with 3 or more a half has 3 or more.
    counts = counts_of({(0, 0): 10, (1, 0): 5, (1, 1): 5, (2, 2): 10, (3, 2): 8, (4, 3): 8})
    rows = translation._tables("ELIANA", "crs", counts.sum(axis=0), np.repeat(counts, 10, axis=0), np.random.default_rng(0))
    events = {r["endpoint"]: r["events"] / r["n"] for r in rates().filter(trial="ELIANA").to_dicts()}
    mild = events["crs_any"] - events["crs_g3plus"]
    found = {row["endpoint"]: row["would_be_pct"] for row in rows}
    assert found["crs_any"] == pytest.approx(100 * (0.75 * mild + events["crs_g3plus"]))
    assert found["crs_g3plus"] == pytest.approx(100 * 0.5 * events["crs_g3plus"])
    shares = {
        (r["from_grade"], r["to_grade"]): r["share"] for r in translation._shares("ELIANA", counts, np.repeat(counts, 10, axis=0))
    }
    assert (shares[1, 0], shares[3, 2], shares[4, 3]) == (0.5, 1.0, 1.0)
    assert translation._moves("ELIANA", counts[0]) == {"trial": "ELIANA", "n": 36, "lower": pytest.approx(100 * 21 / 36), "same": pytest.approx(100 * 15 / 36), "higher": 0.0}  # fmt: skip


@pytest.mark.parametrize(
    ("from_", "to", "said"),
    [("crs_astct2019", "icans_astct", "not two scales"), ("crs_mskcc", "crs_astct2019", "No published trial")],
)
def test_scales_that_cannot_be_translated(from_: str, to: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        translation.translate(two_members(), from_, to)


# ---- what toxicity hangs on


def test_what_the_data_tell_is_the_variance_that_is_gone() -> None:
    draw = np.random.default_rng(0)
    sd = np.array([p.sd_log for p in parameters()])
    logs = np.log([p.start for p in parameters()]) + sd * draw.standard_normal((4_000, len(sd)))
    logs[:, 0] = np.log(parameters()[0].start) + (logs[:, 0] - np.log(parameters()[0].start)) / 2
    logs[:, 2] = logs[:, 1] + 0.01 * draw.standard_normal(4_000)
    told = {r["parameter"]: r for r in sensitivity.identified(as_frame(logs)).to_dicts()}
    first, second, third = (p.key for p in parameters()[:3])
    assert told[first]["told"] == pytest.approx(0.75, abs=0.03)
    assert (told[second]["with"], told[third]["with"]) == (third, second) and told[second]["correlation"] > 0.99
    assert fitting.informed(as_frame(logs)) == pytest.approx(sum(max(r["told"], 0.0) for r in told.values()), abs=1e-6)


@pytest.mark.slow
def test_what_has_no_part_in_a_toxicity_explains_none_of_it() -> None:
    found = sensitivity.between_patients(draws=4, workers=1).filter(toxicity="crs")
    of = {r["parameter"]: r["total"] for r in found.to_dicts()}
    assert of["platelets_normal"] == of["igg"] == 0.0
    assert max(of.values()) > 0.1
    screened = sensitivity.of_parameters(only=["platelets_normal", "igg_loss", "inflammation"], patients=20, workers=1)
    effects = {(r["parameter"], r["toxicity"]): r["mean_grade"] for r in screened.to_dicts()}
    assert [effects[p, t] for p in ("platelets_normal", "igg_loss") for t in ("crs", "icans")] == [0.0] * 4
    assert effects["inflammation", "crs"] > 0.0


# ---- what comes with the software


def test_the_ensemble_that_ships_is_of_the_parameters_and_data_of_now() -> None:
    told = json.loads((Path(fitting.__file__).with_name("fit.json")).read_text(encoding="utf-8"))
    assert told["data"] == fitting.fingerprint(), "the mechanism or the data changed: fit again"
    assert read().height == told["members"]
    assert told["free_parameters"] == len(parameters())


def test_the_tables_of_the_mechanism_hold_the_middle_of_the_ensemble() -> None:
    middle = centre(read())
    for trial in trials().values():
        values = values_of(load_model(), trial.product, trial.disease)
        for p in parameters():
            if p.bears_on(trial) and p.name in values:
                assert values[p.name] == pytest.approx(middle[p.key], rel=0.02), p.key


def test_interventions_name_what_exists() -> None:
    studies = {*table("intervention_trials")["study_id"]}
    experiments = {*table("preclinical")["study_id"]}
    for arm in arms():
        assert set(arm.trials) <= studies and set(arm.studies) <= experiments, arm.name
        assert arm.trials or arm.studies
        assert set(arm.expect.values()) <= {"lower", "same", "higher"}


@pytest.mark.parametrize("words", [("fit", "--members", "2"), ("compare", "--ensemble", "nowhere")])
def test_the_commands_tell_what_is_wrong(words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = command("calibrate", *words, "--out", tmp_path / "o", capsys=capsys)
    assert code == 2 and "Traceback" not in err and err.strip()


def test_adopted_files_of_the_model_hold_the_middle_and_all_else_stays(tmp_path: Path) -> None:
    ensemble = two_members()
    adopt(ensemble, tmp_path)
    middle, own = centre(ensemble), load_model(tmp_path)
    for trial in trials().values():
        values, ours = (values_of(model, trial.product, trial.disease) for model in (own, load_model()))
        fitted = {p.name: middle[p.key] for p in parameters() if p.bears_on(trial) and p.name in values}
        assert {name: values[name] for name in fitted} == pytest.approx(fitted, rel=0.01)
        assert {k: v for k, v in values.items() if k not in fitted} == {k: v for k, v in ours.items() if k not in fitted}
    chart, ours = numbers_of(observation_map(tmp_path)), numbers_of(observation_map())
    of_map = {p.name: middle[p.key] for p in parameters() if p.name in chart}
    assert {name: chart[name] for name in of_map} == pytest.approx(of_map, rel=0.01) and len(of_map) > 5
    assert {k: v for k, v in chart.items() if k not in of_map} == {k: v for k, v in ours.items() if k not in of_map}
    products = load_model(tmp_path).tables["products"]
    of_peaks = products.filter(col("source").str.contains("cytokine peaks"))
    assert set(of_peaks["product"]) == {trials()[TRIAL].product}, "ranges of peaks were told of one trial"
    assert "# a temperature stands for 12 h" in (tmp_path / "observation.toml").read_text(), "comments stay"
