"""A cohort described: its counts against R and by hand, what must hold of any cohort, and the command on the example."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars import col
from scipy.stats import binom
from typer.testing import CliRunner

from aftercar.cohort.baseline import baseline
from aftercar.cohort.describe import MARKER, TABLES, Asked, Described, describe, outcomes_asked, write_described
from aftercar.cohort.episodes import QUARTILES
from aftercar.cohort.exact import exact
from aftercar.cohort.groups import grouped, with_beside
from aftercar.cohort.incidence import cumulative_incidence, first_days
from aftercar.cohort.malignancy import at_risk, rate, read_reference, standardised
from aftercar.cohort.mortality import ALL, UNSURE, causes, endings, mortality, shares
from aftercar.cohort.outcome import Outcome
from aftercar.cohort.survival import kaplan_meier, quantile, turnbull
from aftercar.cohort.table_one import MISSING, Variable, of_means, of_shares, table_one
from aftercar.cohort.times import between, timed
from aftercar.cohort.worst import reached, worst_counts
from aftercar.errors import AftercarError, InputError, OptionError
from aftercar.grade.folder import grade_folder
from aftercar.grade.results import Results, open_results
from aftercar.grade.run import Result
from aftercar.intervals import poisson
from aftercar.serve.cli import app
from aftercar.timeline.store import import_folder, open_timeline

ROOT = Path(__file__).parent.parent
R = Path(__file__).parent / "r"
TOLD: dict[str, Any] = json.loads((R / "describe.json").read_text())
DAY0 = datetime(2026, 3, 2, 10)


def close(found: object, expected: object) -> None:
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


# ---- against R


def test_exact_intervals_are_those_of_r() -> None:
    low, high = exact(pl.Series(TOLD["exact"]["k"], dtype=pl.Int64), pl.Series(TOLD["exact"]["n"], dtype=pl.Int64))
    close(low.to_list(), TOLD["exact"]["low"])
    close(high.to_list(), TOLD["exact"]["high"])


def test_rates_by_person_time_are_those_of_r() -> None:
    for n, years, low, high in zip(*TOLD["rates"].values(), strict=True):
        people = pl.DataFrame({"what": ["event"] * n or ["censored"], "years": years / max(n, 1), "day": 1})
        found = rate(people, [1]).row(0, named=True)
        close([found["rate"], found["rate_low"], found["rate_high"]], [1000 * n / years, low, high])


def test_non_relapse_mortality_by_cause_is_that_of_r() -> None:
    told = TOLD["nonrelapse"]
    found = mortality(pl.read_csv(R / "nonrelapse.csv"), told["at"])
    for cause in ("infection", "iec", "other", "unsure", "relapse", ALL):
        close(found.filter(cause=cause)["incidence"].to_list(), told[cause])
    close(found.filter(cause="infection")["greatest"].to_list(), told["infection_most"])


def test_the_standardised_ratio_is_that_of_r() -> None:
    people = pl.read_csv(R / "sir.csv").with_columns(
        what=pl.when(col("event") == 1).then(pl.lit("event")).otherwise(pl.lit("censored"))
    )
    found = standardised(people, read_reference(R / "sir_rates.csv"))
    first = found.row(0, named=True)
    close([first[c] for c in ("observed", "expected", "ratio", "low", "high")], TOLD["sir"])
    assert found["person_years"][1:].sum() == pytest.approx(people["years"].sum())
    assert found["observed"][1:].sum() == first["observed"] == people["event"].sum()


def test_standardised_differences_are_those_of_their_formulas() -> None:
    rows = pl.read_csv(R / "differences.csv")
    found = table_one(rows, {"x": Variable("x"), "y": Variable("y")}).drop_nulls("smd")
    close(found["smd"].to_list(), TOLD["smd"])


def test_durations_uncertain_at_both_ends_are_those_of_r() -> None:
    rows = pl.read_csv(R / "durations.csv", schema_overrides={"least": pl.Float64, "greatest": pl.Float64})
    found = turnbull(rows["least"].to_numpy(), rows["greatest"].to_numpy())
    for time, share in zip(TOLD["durations"]["time"], TOLD["durations"]["share"], strict=True):
        low, high = found.by(time)
        assert low - 2e-3 <= share <= high + 2e-3  # R stops earlier than we do
    for p in QUARTILES.values():
        low, high = found.quantile(p)
        assert found.by(low - 0.5)[0] <= p + 1e-6 and found.by(high)[1] >= p - 1e-6


# ---- shares


@given(st.integers(0, 60), st.integers(1, 60))
def test_an_exact_interval_has_its_tails_and_holds_the_share(k: int, n: int) -> None:
    k = min(k, n)
    (low,), (high,) = exact(pl.Series([k]), pl.Series([n]))
    assert low <= k / n <= high
    if k:
        assert binom.sf(k - 1, n, low) == pytest.approx(0.025, rel=1e-6)
    if k < n:
        assert binom.cdf(k, n, high) == pytest.approx(0.025, rel=1e-6)


WORST = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from(["graded", "not_applicable", "not_met"])),
    min_size=1,
    max_size=30,
)


def worst_of(rows: list[tuple[int, int, str]]) -> pl.DataFrame:
    made = [(n, 1, "crs", "crs_astct2019", min(a, b), max(a, b), status) for n, (a, b, status) in enumerate(rows)]
    schema = {
        "subject_id": pl.Int64,
        "infusion": pl.Int32,
        "toxicity": pl.String,
        "scale": pl.String,
        "grade": pl.Int8,
        "grade_upper": pl.Int8,
        "status": pl.String,
    }
    return pl.DataFrame(made, schema=schema, orient="row")


@given(WORST, st.randoms())
def test_what_is_not_known_only_widens_and_the_order_of_rows_is_nothing(rows: list[tuple[int, int, str]], random: Any) -> None:
    found = reached(worst_of(rows))
    counts = worst_counts(worst_of(rows)).row(0, named=True)
    assert (
        counts["n"] == len(rows) == sum(counts[c] for c in ("g0", "g1", "g2", "g3", "g4", "g5", "incomplete", "not_applicable"))
    )
    told = found.drop_nulls("share")
    assert (told["least"] <= told["share"] + 1e-12).all() and (told["share"] <= told["greatest"] + 1e-12).all()
    assert (told["low"] <= told["share"]).all() and (told["share"] <= told["high"]).all()
    assert (found["least_low"] <= found["least"]).all() and (found["greatest"] <= found["greatest_high"]).all()
    assert reached(worst_of(rows).sample(fraction=1, shuffle=True, seed=random.randint(0, 99))).equals(found)
    hidden = [
        (min(a, b, random.randint(0, 5)), max(a, b, random.randint(0, 5)), s if s != "not_met" else "graded") for a, b, s in rows
    ]
    wider = reached(worst_of(hidden)) if not any(s == "not_met" for *_, s in rows) else found
    assert (wider["least"] <= found["least"]).all() and (found["greatest"] <= wider["greatest"]).all()


# ---- times


def stretches(marks: str, *, flags: list[str] | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A course of stretches of an hour: `-` surely without CRS of grade 2, `x` surely with it, `?` open."""
    of = {"-": (1, 1), "x": (2, 3), "?": (1, 3)}
    rows = [
        {
            "subject_id": 1, "infusion": 1, "scale": "crs_astct2019", "start": DAY0 + timedelta(hours=n), "end": DAY0 + timedelta(hours=n + 1),
            "grade": of[m][0], "grade_upper": of[m][1], "upper_assessed": of[m][1], "status": "graded", "flags": flags or [], "group": None,
        }
        for n, m in enumerate(marks)
    ]  # fmt: skip
    rows[-1]["end"] = None
    subjects = pl.DataFrame(
        {"subject_id": [1], "infusion": [1], "day0": [DAY0], "record_end": [DAY0 + timedelta(hours=len(marks))]},
        schema_overrides={"infusion": pl.Int32},
    )
    schema = {"infusion": pl.Int32, "flags": pl.List(pl.String), "end": pl.Datetime("us"), "group": pl.String}
    return subjects, pl.DataFrame(rows, schema_overrides=schema)


def hours(marks: str, gap_h: float = 48) -> tuple[float | None, ...]:
    row = between(*stretches(marks), Outcome("crs", 2), gap_h).row(0)[2:]
    return tuple(None if x is None else round(x * 24, 6) for x in row)


NEVER = float("inf")


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ("--xx--", (2, 2, 4, 4)),
        ("-??xx?--", (1, 3, 5, 6)),
        ("??x??-", (0, 2, 3, 5)),
        ("x-", (0, 0, 1, 1)),
        ("--xx", (2, 2, 4, NEVER)),  # it was there when the record ended
        ("--xx??", (2, 2, 4, NEVER)),
        ("----", (4, NEVER, None, None)),
        ("-???", (1, NEVER, None, None)),  # it may have come
        ("????", (0, NEVER, None, None)),
        ("-?-x-", (3, 3, 4, 4)),  # what came and went in a gap was seen by nobody
        ("-x-x--", (1, 1, 4, 4)),  # parted by less than the gap: one episode
        ("-x?x??", (1, 1, 4, NEVER)),
    ],
)
def test_onset_and_end_lie_where_the_record_has_them(marks: str, expected: tuple[float | None, ...]) -> None:
    assert hours(marks) == expected


def test_an_episode_ends_where_the_next_begins_at_the_latest() -> None:
    assert hours("-x--x--", gap_h=2) == (1, 1, 2, 2)
    assert hours("-x??x--", gap_h=2) == (1, 1, 2, 4)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.data())
def test_hiding_stretches_only_widens_onset_end_and_duration(before: int, there: int, clear: int, data: st.DataObject) -> None:
    marks = "-" * before + "x" * there + "-" * clear
    hide = data.draw(st.sets(st.integers(0, len(marks) - 1)).filter(lambda s: not set(range(before, before + there)) <= s))
    after, until, end_after, end_until = hours(marks)
    lower, upper, end_lower, end_upper = hours("".join("?" if n in hide else m for n, m in enumerate(marks)))
    assert lower <= after <= until <= upper and end_lower <= end_after <= end_until <= end_upper  # type: ignore[operator]
    own, wide = (
        timed(between(*stretches(m), Outcome("crs", 2), 48), "duration")
        for m in (marks, "".join("?" if n in hide else m for n, m in enumerate(marks)))
    )
    if wide.events:
        assert wide.least["median"] <= own.least["median"] + 1e-9 and own.greatest["median"] <= wide.greatest["median"] + 1e-9  # type: ignore[operator]
    assert wide.uncertain >= own.uncertain


TIMES = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=20)


@settings(max_examples=40)
@given(TIMES)
def test_where_charting_has_no_gaps_both_have_the_same_quartiles(rows: list[tuple[int, bool]]) -> None:
    times = pl.DataFrame({"after": [float(d) for d, _ in rows], "until": [float(d) if seen else NEVER for d, seen in rows]})
    found = timed(times, "onset_of_all")
    assert found.uncertain == 0 and found.n == len(rows)
    for q in QUARTILES:
        plain, low, high = found.plain[q], found.least[q], found.greatest[q]
        if plain is None or high is None:
            continue
        assert low is not None and low - 1e-9 <= plain <= high + 1e-9


def test_a_quantile_is_reached_where_the_curve_falls_so_far() -> None:
    curve = kaplan_meier(pl.DataFrame({"day": [1, 2, 3, 4], "what": ["event"] * 4}))
    assert [quantile(curve, p) for p in (0.25, 0.5, 0.6, 1.0)] == [1.5, 2.5, 3.0, 4.0]


# ---- when it was first reached


def test_days_of_scales_with_a_window_are_those_of_onset(example: tuple[Path, Result]) -> None:
    result = example[1]
    outcome = Outcome.of("icaht_early:3")
    found = first_days(result.subjects, result.grades, outcome, episodes=result.episodes).filter(col("what") == "event")
    onset = result.episodes.filter((col("scale") == "icaht_early") & (col("max_grade") >= 3))
    both = found.join(onset, on=["subject_id", "infusion"])
    assert both.height == found.height == onset.height > 0
    assert both["day"].to_list() == both["onset_day"].to_list()
    with pytest.raises(OptionError, match="episodes"):
        first_days(result.subjects, result.grades, outcome)


def test_who_may_have_had_it_is_who_is_open_in_the_worst_grades(example: tuple[Path, Result]) -> None:
    result = example[1]
    treated = result.worst.join(result.subjects.drop_nulls("day0"), on=["subject_id", "infusion"], how="semi")
    rates = {(r["family"], r["grade_at_least"]): r for r in reached(treated).iter_rows(named=True)}
    for words in ("crs", "crs:3", "icans", "icans:3", "icaht_early:3", "iec_hs_grade"):
        outcome = Outcome.of(words)
        told = rates[outcome.family, outcome.cut]
        for possibly, n in ((False, told["yes"]), (True, told["yes"] + told["undecided"])):
            found = first_days(result.subjects, result.grades, outcome, episodes=result.episodes, possibly=possibly)
            assert (found["what"] == "event").sum() == n, words


def test_a_next_therapy_competes_where_it_is_asked_to() -> None:
    subjects, grades = stretches("-" * 30 + "xx" + "-" * 30)
    dates = {"death": None, "progression": None, "next_therapy": DAY0 + timedelta(hours=5)}
    subjects = subjects.with_columns(pl.lit(d, pl.Datetime("us")).alias(c) for c, d in dates.items())
    outcome = Outcome("crs", 2)
    assert first_days(subjects, grades, outcome)["what"].to_list() == ["event"]
    found = first_days(subjects, grades, outcome, competing=("death", "next_therapy"))
    assert found.row(0)[2:] == (0, "competing")
    with pytest.raises(OptionError, match="compete"):
        first_days(subjects, grades, outcome, competing=("discharge",))


# ---- deaths


def dead(*rows: tuple[str | None, int | None, int | None, int | None]) -> pl.DataFrame:
    """Courses by cause and the days of death, progression and next therapy; followed for 200 days."""

    def on(day: int | None) -> datetime | None:
        return None if day is None else DAY0 + timedelta(days=day)

    made = [
        {"subject_id": n, "infusion": 1, "day0": DAY0, "death_cause": cause, "death": on(death), "progression": on(relapse), "next_therapy": on(therapy), "record_end": on(200 if death is None else death)}
        for n, (cause, death, relapse, therapy) in enumerate(rows)
    ]  # fmt: skip
    dates = dict.fromkeys(("death", "progression", "next_therapy", "record_end"), pl.Datetime("us"))
    return pl.DataFrame(made, schema_overrides={"death_cause": pl.String, "infusion": pl.Int32, **dates})


def test_a_death_is_what_came_first_and_of_what_is_known() -> None:
    courses = dead(
        ("infection", 20, None, None), ("infection", 20, 10, None), ("crs", 5, None, None), ("progression", 40, None, None), (None, 30, None, None),
        ("unknown", 31, None, None), ("infection", 90, None, 60), (None, None, 50, None), (None, None, None, None), ("other", 7, None, 9),
    )  # fmt: skip
    found = endings(courses)
    assert list(zip(found["day"], found["ending"], strict=True)) == [
        (20, "infection"), (10, "relapse"), (5, "iec"), (40, "relapse"), (30, UNSURE), (31, UNSURE), (90, UNSURE), (50, "relapse"), (200, None), (7, "other"),
    ]  # fmt: skip
    assert endings(courses, ("progression", "next_therapy"))["ending"][6] == "relapse"
    counts = {r["cause"]: r["deaths"] for r in shares(found).iter_rows(named=True)}
    assert counts == {"infection": 1, "iec": 1, "other": 1, UNSURE: 3}


def test_a_death_of_unknown_cause_may_be_one_of_relapse(example: tuple[Path, Result], tmp_path: Path) -> None:
    ended = endings(dead(*[(None, 9, None, None)] * 3, *[(None, None, None, None)] * 7))
    row = mortality(ended, [30]).filter(cause="relapse").row(0, named=True)
    assert row["incidence"] == 0 and row["greatest"] == pytest.approx(0.3) and row["greatest_high"] > 0.3
    for file in example[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    subjects = example[1].subjects.with_columns(progression=pl.lit(None, pl.Datetime("us")), death="record_end")
    for cause, says in (("progression", "known only by a death of it"), ("infection", "Nobody's relapse is charted")):
        subjects.with_columns(death_cause=pl.lit(cause)).write_parquet(tmp_path / "subjects.parquet")
        notes = describe(open_results(tmp_path)).facts["notes"]
        assert [n for n in notes if "elapse" in n and says in n] and not (
            cause == "progression" and any("Nobody's" in n for n in notes)
        )


def test_rows_beside_that_are_of_nobody_are_told(example: tuple[Path, Result]) -> None:
    ids = example[1].subjects["subject_id"].unique().sort().to_list()
    beside = pl.DataFrame({"subject_id": [*ids, "NOBODY"], "centre": "north"})
    assert (
        "1 row of the table beside is of no course of the results."
        in describe(open_results(example[0]), beside=beside).facts["notes"]
    )
    assert not any("beside" in n for n in describe(open_results(example[0]), beside=beside.head(len(ids))).facts["notes"])


def test_every_word_of_a_cause_is_counted_and_published_shares_are_there() -> None:
    from aftercar.timeline.concepts import concept

    words = {w for about in causes().values() for w in about["words"]}
    assert words | {"progression", "unknown"} == set(concept("death").values)
    told = shares(pl.DataFrame({"ending": ["infection"]}))
    assert told.filter(cause="infection")["published"].to_list() == [0.509]
    assert told.drop_nulls("published")["source"].unique().to_list() == ["cordas2024"]


ENDINGS = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(["infection", "iec", "other", UNSURE, "relapse", None])),
    min_size=1,
    max_size=40,
)


@settings(max_examples=25)
@given(ENDINGS)
def test_causes_add_up_and_bounds_hold_the_value(rows: list[tuple[int, str | None]]) -> None:
    ended = pl.DataFrame(rows, schema={"day": pl.Int32, "ending": pl.String}, orient="row")
    found = mortality(ended, [5, 15, 30]).drop_nulls("incidence")
    assert (found["greatest"] >= found["incidence"] - 1e-12).all()
    for _, own in found.group_by("day"):
        at = dict(own.select("cause", "incidence").iter_rows())
        assert sum(at[c] for c in causes()) == pytest.approx(at[ALL])
        assert at[ALL] + at[UNSURE] + at["relapse"] <= 1 + 1e-9
    assert mortality(ended.reverse(), [5, 15, 30]).equals(mortality(ended, [5, 15, 30]))


# ---- second malignancies


def followed(onset: int | None, group: str | None) -> pl.DataFrame:
    subjects = dead((None, None, None, None), ("infection", 100, None, None)).with_columns(
        age_y=pl.lit(60.0), sex=pl.lit("female")
    )
    second = subjects.head(1).with_columns(
        infusion=pl.lit(2, pl.Int32), day0=DAY0 + timedelta(days=201), record_end=DAY0 + timedelta(days=400)
    )
    grades = pl.DataFrame(
        {"subject_id": [0], "infusion": [2], "scale": ["spm"], "grade": [1], "group": [group]},
        schema_overrides={"infusion": pl.Int32},
    )
    episodes = grades.select("subject_id", "infusion", "scale", onset=pl.lit(DAY0 + timedelta(days=onset or 0)))
    some = grades if onset else grades.clear()
    return at_risk(pl.concat([subjects, second]), episodes if onset else episodes.clear(), some)


def test_a_subject_is_at_risk_from_the_first_infusion_to_the_end_of_the_last_course() -> None:
    found = followed(None, None)
    assert (found["day"].to_list(), found["what"].to_list()) == ([400, 100], ["censored", "competing"])
    assert found["years"].to_list() == pytest.approx([400 / 365.25, 100 / 365.25])
    found = followed(300, "skin+solid")
    assert (found["day"][0], found["what"][0], found["malignancy"][0]) == (300, "event", "skin+solid")
    told = rate(found, [200, 400]).row(0, named=True)
    years = 400 / 365.25
    assert (told["n"], told["events"]) == (2, 1) and told["rate"] == pytest.approx(1000 / years)
    assert told["rate_high"] == pytest.approx(1000 * poisson(1)[1] / years)


def test_classes_that_do_not_count_are_no_event() -> None:
    subjects = dead((None, None, None, None)).with_columns(age_y=pl.lit(60.0), sex=pl.lit("female"))
    for group, event in (("skin", False), ("skin+solid", True)):
        grades = pl.DataFrame(
            {"subject_id": [0], "infusion": [1], "scale": ["spm"], "grade": [1], "group": [group]},
            schema_overrides={"infusion": pl.Int32},
        )
        episodes = grades.select("subject_id", "infusion", "scale", onset=pl.lit(DAY0 + timedelta(days=50)))
        found = at_risk(subjects, episodes, grades, ["skin"])
        assert (found["what"][0] == "event") == event and found["day"][0] == (50 if event else 200)


HEAD = "sex,age_from,age_to,rate,source\n"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("female,0,50,10,x\nfemale,60,,10,x\n", "gap between 50 and 60"),
        ("female,0,50,10,x\nfemale,40,,10,x\n", "overlap at 40"),
        ("female,0,,10,x\nfemale,40,,10,x\n", "overlap at 40"),
        ("woman,0,,10,x\n", "row 1"),
        ("female,0,,-1,x\n", "row 1"),
        ("female,0,,10,x\nfemale,,,10,x\n", "row 2"),
        ("female,0,0,10,x\n", "row 1"),
        ("female,0,ten,10,x\n", "row 1"),
        ("female,0,,10,\n", "its source"),
        ("", "no row"),
    ],
)
def test_reference_rates_that_are_none_are_refused(tmp_path: Path, rows: str, says: str) -> None:
    path = tmp_path / "rates.csv"
    path.write_text(HEAD + rows)
    with pytest.raises(InputError, match=says):
        read_reference(path)


def test_reference_rates_must_hold_the_cohort(tmp_path: Path) -> None:
    people = pl.DataFrame({"sex": ["female"], "age_y": [72.0], "years": [3.0], "what": ["censored"]})
    path = tmp_path / "rates.csv"
    for rows in ("male,0,,10,x\n", "female,0,75,10,x\n", "female,73,,10,x\n"):
        path.write_text(HEAD + rows)
        with pytest.raises(InputError, match="female subjects") as error:
            standardised(people, read_reference(path))
        assert "72" not in str(error.value)  # an age of a patient
    path.write_text(HEAD + "female,0,,100000,x\n")
    unknown = pl.concat([people, people.with_columns(sex=pl.lit("other")), people.with_columns(age_y=pl.lit(None, pl.Float64))])
    found = standardised(unknown, read_reference(path)).row(0, named=True)
    assert (found["left_out"], found["expected"], found["ratio"], found["low"]) == (2, 3.0, 0.0, 0.0)
    for wrong in ("missing.csv", "other.csv"):
        (tmp_path / "other.csv").write_text("sex,rate\n")
        with pytest.raises(InputError):
            read_reference(tmp_path / wrong)


# ---- Table 1 and groups

PEOPLE = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", None]), st.floats(0, 99, width=32) | st.none(), st.sampled_from(["p", "q", None])),
    min_size=1,
    max_size=25,
)
VARIABLES = {"x": Variable("x"), "y": Variable("y")}


@settings(max_examples=50)
@given(PEOPLE)
def test_rows_of_table_one_add_up_and_their_order_is_nothing(rows: list[tuple[str | None, float | None, str | None]]) -> None:
    people = pl.DataFrame(rows, schema={"group": pl.String, "x": pl.Float64, "y": pl.String}, orient="row")
    found = table_one(people, VARIABLES)
    sizes = {"all": len(rows), **dict(people.drop_nulls("group").group_by("group").len().iter_rows())}
    for (group, variable), own in found.group_by("group", "variable"):
        assert own["n"].sum() == sizes[str(group)], variable
    assert (found.filter(level=MISSING)["of"] >= found.filter(level=MISSING)["n"]).all()
    again = table_one(people.reverse(), VARIABLES)
    exactly = pl.exclude("mean", "sd", "smd")
    assert again.select(exactly).equals(found.select(exactly))
    for column in ("mean", "sd", "smd"):
        assert again[column].is_null().to_list() == found[column].is_null().to_list()
        assert again[column].fill_null(0).to_list() == pytest.approx(found[column].fill_null(0).to_list(), rel=1e-6, abs=1e-6)


def test_groups_that_cannot_be_told_apart_do_not_differ() -> None:
    assert of_means(np.array([1.0, 2, 4]), np.array([4.0, 1, 2])) == 0
    assert of_means(np.array([1.0, 1]), np.array([1.0, 1])) == 0
    assert of_means(np.array([1.0, 1]), np.array([2.0, 2])) is None, "no spread to stand beside"
    assert of_shares(np.array([1.0, 0]), np.array([0.0, 1])) is None, "nothing in common"
    assert of_shares(np.array([0.3, 0.7, 0]), np.array([0.3, 0.7, 0])) == 0


def test_values_before_treatment_are_in_the_unit_of_figures_and_say_what_lies_beyond_the_assay(
    example: tuple[Path, Result],
) -> None:
    """Against the rows that the example was charted with: the last of each course before lymphodepletion began."""
    timeline = open_timeline(open_results(example[0]).timeline().folder)
    wide, variables = baseline(timeline.folder)
    assert variables["crp"] == Variable("C-reactive protein (39 of 39 below the assay's limit)", "mg/L")
    assert variables["ferritin"] == Variable("Ferritin", "ng/mL")
    for code in ("crp", "ferritin", "anc", "platelets", "ldh", "creatinine"):
        rows = timeline.scan().filter(pl.col("code") == code).select("subject_id", "numeric_value").collect()
        charted = dict(rows.group_by("subject_id").agg("numeric_value").iter_rows())
        for subject, value in wide.select("subject_id", code).drop_nulls().iter_rows():
            assert any(value == pytest.approx(v, rel=1e-7) for v in charted[subject]), (code, subject)


def test_groups_are_columns_years_periods_and_columns_of_ones_own() -> None:
    courses = dead((None, None, None, None), (None, None, None, None)).with_columns(product=pl.Series(["axi-cel", None]))
    assert grouped(courses, None)["group"].to_list() == [None, None]
    assert grouped(courses, "product")["group"].to_list() == ["axi-cel", None]
    assert grouped(courses, "year")["group"].to_list() == ["2026", "2026"]
    assert grouped(courses, "period", cuts=(date(2026, 3, 2),))["group"].to_list() == ["from 2026-03-02 on"] * 2
    beside = pl.DataFrame({"subject_id": ["1", "0"], "centre": ["north", "south"]})
    assert grouped(courses, "centre", beside)["group"].to_list() == ["south", "north"]
    for asked in ({"by": "centr", "beside": beside}, {"by": "period"}, {"by": "product", "cuts": (date(2026, 1, 1),)}):
        with pytest.raises(OptionError):
            grouped(courses, **asked)
    for wrong in (pl.concat([beside, beside]), beside.rename({"centre": "product"})):
        with pytest.raises(InputError):
            with_beside(courses, wrong)
    with pytest.raises(OptionError, match="all"):
        grouped(courses.with_columns(product=pl.lit("all")), "product")


def test_periods_come_by_their_days(described: Described, example: tuple[Path, Result]) -> None:
    cuts = (date(2024, 3, 1), date(2024, 2, 1), date(2024, 4, 1))
    found = describe(open_results(example[0]), Asked(outcomes=("crs:3",), by="period", cuts=cuts))
    order = [
        "all",
        "before 2024-02-01",
        "2024-02-01 to before 2024-03-01",
        "2024-03-01 to before 2024-04-01",
        "from 2024-04-01 on",
    ]
    for name in ("baseline", "rates", "incidence", "mortality"):
        assert getattr(found, name)["group"].unique(maintain_order=True).to_list() == order, name
    assert list(found.facts["groups"]) == order


# ---- the command on the example


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The results folder of the example cohort, and its tables."""
    root = tmp_path_factory.mktemp("described")
    import_folder(ROOT / "examples" / "cohort" / "data", root / "timeline", ROOT / "examples" / "cohort" / "mapping.toml")
    scales = ["crs", "icans", "icaht_early", "iec_hs_grade", "spm"]
    grade_folder(root / "timeline", root / "grades", scales)
    return root / "grades", Result(
        *(pl.read_parquet(root / "grades" / f"{t}.parquet") for t in ("grades", "episodes", "worst", "subjects"))
    )


@pytest.fixture(scope="module")
def described(example: tuple[Path, Result]) -> Described:
    return describe(open_results(example[0]), Asked(by="product"))


def test_every_table_tells_all_and_each_group(described: Described, example: tuple[Path, Result]) -> None:
    products = sorted(example[1].subjects.drop_nulls("day0")["product"].drop_nulls().unique())
    for name in ("baseline", "grades", "rates", "incidence", "times", "mortality", "causes", "malignancies"):
        table = getattr(described, name)
        assert table["group"].unique(maintain_order=False).sort().to_list() == ["all", *products], name
    parts = (
        described.grades.filter(col("group") != "all")
        .group_by("family")
        .agg(col("n", "g0", "g1", "g2", "incomplete").sum())
        .sort("family")
    )
    whole = described.grades.filter(group="all").select("family", "n", "g0", "g1", "g2", "incomplete").sort("family")
    assert parts.equals(whole)
    events = described.incidence.filter(day=28)
    sums = (
        events.filter(col("group") != "all")
        .group_by("outcome")
        .agg(col("n", "events", "competing", "open").sum())
        .sort("outcome")
    )
    assert sums.equals(events.filter(group="all").select("outcome", "n", "events", "competing", "open").sort("outcome"))


def test_incidence_without_censoring_before_is_the_share_of_the_worst_grades(
    described: Described, example: tuple[Path, Result]
) -> None:
    """Nobody of the example is lost before day 28, so the two ways to count agree, and the bounds are those of the worst grades."""
    rates = {(r["family"], r["grade_at_least"]): r for r in described.rates.filter(group="all").iter_rows(named=True)}
    for row in described.incidence.filter((col("group") == "all") & (col("day") == 28)).iter_rows(named=True):
        outcome = Outcome.of(row["outcome"])
        told = rates[outcome.family, outcome.cut]
        assert row["events"] == told["yes"] and row["open"] == told["undecided"]
        assert row["incidence"] == pytest.approx(told["least"]) and row["greatest"] == pytest.approx(told["greatest"])


def test_times_are_those_of_a_course_read_by_hand(example: tuple[Path, Result]) -> None:
    """The plain onset is that of the episodes; the record never puts it after that."""
    result = example[1]
    found = between(result.subjects, result.grades, Outcome.of("crs"), 48)
    first = result.episodes.filter((col("scale") == "crs_astct2019") & (col("episode") == 1)).join(
        result.subjects.select("subject_id", "infusion", "day0"), on=["subject_id", "infusion"]
    )
    both = first.join(found, on=["subject_id", "infusion"]).with_columns(
        onset_d=(col("onset") - col("day0")).dt.total_seconds() / 86_400
    )
    assert both.height == found.filter(col("until").is_finite()).height == first.height
    assert ((both["onset_d"] - both["until"]).abs() < 1 / 24).all() and (both["after"] <= both["until"]).all()
    ended = both.filter(~col("censored")).with_columns(longer=col("end_until") - col("until") - col("duration_d"))
    assert (ended["longer"] > -1.5 / 24).all()
    # By the grades a fever counts for a while after its last reading, which ends the episode.
    longer = ended.filter(col("longer") > 1.5 / 24)
    carried = result.grades.filter((col("scale") == "crs_astct2019") & col("flags").list.contains("fever_carried"))
    ends = carried.select("subject_id", "infusion", resolution="start")
    assert longer.join(ends, on=["subject_id", "infusion", "resolution"], how="semi").height == longer.height < ended.height / 10


def test_the_folder_holds_tables_and_says_of_what(described: Described, tmp_path: Path) -> None:
    write_described(described, tmp_path / "out")
    facts = json.loads((tmp_path / "out" / MARKER).read_text())
    assert facts["courses"] == 39 and facts["without_infusion"] == 1 and facts["simulated"] is False
    assert "crs_astct2019@1" in facts["rules"] and "not adjudicated" in facts["notes"][-1]
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        MARKER,
        *(f"{t}.{end}" for t in TABLES for end in ("parquet", "csv")),
    }
    for name in TABLES:
        table = pl.read_parquet(tmp_path / "out" / f"{name}.parquet")
        assert table.drop("scales", strict=False).height == pl.read_csv(tmp_path / "out" / f"{name}.csv").height
    write_described(described, tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="other files"):
        write_described(described, tmp_path / "other")


def test_what_is_simulated_says_so_in_every_table(example: tuple[Path, Result], tmp_path: Path) -> None:
    for path in example[0].iterdir():
        if path.name != "run.json":
            (tmp_path / path.name).symlink_to(path)
    run = json.loads((example[0] / "run.json").read_text()) | {"simulated": True, "timeline": str(example[0].parent / "timeline")}
    (tmp_path / "run.json").write_text(json.dumps(run))
    write_described(describe(open_results(tmp_path)), tmp_path / "out")
    assert json.loads((tmp_path / "out" / MARKER).read_text())["simulated"] is True
    for name in TABLES:
        assert "simulated" in pl.read_csv(tmp_path / "out" / f"{name}.csv").columns


@pytest.mark.parametrize("keep", [0, 1])
def test_nobody_and_one_subject_can_be_described(example: tuple[Path, Result], tmp_path: Path, keep: int) -> None:
    (tmp_path / "run.json").write_text((example[0] / "run.json").read_text())
    ids = example[1].subjects.drop_nulls("day0")["subject_id"].head(keep)
    for name in ("subjects", "grades", "worst", "episodes"):
        getattr(example[1], name).filter(col("subject_id").is_in(ids.implode())).write_parquet(tmp_path / f"{name}.parquet")
    found = describe(open_results(tmp_path), Asked(by="sex"))
    assert found.facts["courses"] == keep
    assert found.incidence.filter(group="all")["n"].unique().to_list() == [keep]
    write_described(found, tmp_path / "out")
    told = CliRunner().invoke(app, ["cohort", "describe", str(tmp_path)])
    assert told.exit_code == 0, told.output


def test_the_command_prints_and_writes(example: tuple[Path, Result], tmp_path: Path) -> None:
    beside, rates = tmp_path / "centres.csv", tmp_path / "rates.csv"
    ids = example[1].subjects["subject_id"].unique().sort()
    beside.write_text("subject_id,centre\n" + "\n".join(f"{i},{'north' if n % 2 else 'south'}" for n, i in enumerate(ids)))
    rates.write_text(HEAD + "female,0,,900,made up\nmale,0,,1000,made up\n")
    told = CliRunner().invoke(
        app,
        ["cohort", "describe", str(example[0]), "--out", str(tmp_path / "out"), "--by", "centre", "--beside", str(beside), "--reference", str(rates),
         "--outcome", "crs:2", "--competing", "next_therapy", "--day", "10"],
        env={"COLUMNS": "100"},
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    for words in (
        "39 courses of 39 subjects",
        "north",
        "day 10",
        "SMD",
        "Standardised incidence ratio, all: 0 observed",
        "not adjudicated",
        "Made-up patients",
    ):
        assert words in told.output, words
    table = pl.read_csv(tmp_path / "out" / "incidence.csv")
    assert table["outcome"].unique().to_list() == ["crs:2"] and table["day"].unique().to_list() == [10]
    assert "anc" in pl.read_csv(tmp_path / "out" / "baseline.csv")["variable"].to_list()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--outcome", "crs:9"], "least grade"),
        (["--outcome", "penn2018"], "called"),
        (["--outcome", "crs_penn2018:3"], "not graded on"),
        (["--by", "colour"], "grouped by"),
        (["--by", "period"], "--cut"),
        (["--competing", "discharge"], "compete"),
        (["--day", "-1"], "0 or more"),
        (["--reference", "none.csv"], "none.csv"),
        (["--beside", "none.csv"], "none.csv"),
        (["--timeline", "nowhere"], "nowhere"),
        (["--without", "tumour"], "tumour"),
    ],
)
def test_what_is_asked_wrongly_is_told(example: tuple[Path, Result], arguments: list[str], says: str, tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["cohort", "describe", str(example[0]), "--out", str(tmp_path / "out"), *arguments])
    assert isinstance(told.exception, (InputError, OptionError)) and says in str(told.exception), told.exception
    assert not (tmp_path / "out").exists()


def test_without_the_extra_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aftercar.cohort.needs.find_spec", lambda name: None if name == "scipy" else name)
    told = CliRunner().invoke(app, ["cohort", "describe", "results"])
    assert isinstance(told.exception, AftercarError) and "aftercar[statistics]" in str(told.exception)


def test_outcomes_are_named_once_and_usual_ones_must_be_graded() -> None:
    results = Results(Path("results"), {"rules": ["crs_astct2019@1"]})
    assert outcomes_asked(["crs:3", "crs_astct2019:3"], results) == [Outcome("crs", 3)]
    assert outcomes_asked([], results) == [Outcome("crs", 1), Outcome("crs", 3)]
    assert cumulative_incidence(pl.DataFrame(schema={"day": pl.Int32, "what": pl.String})).is_empty()
