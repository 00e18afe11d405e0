"""Alert rehearsal: only what was known by then, what an alert is, the counting beside a slow one, the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from math import exp, lgamma, log
from pathlib import Path

import naive_rehearse as naive
import polars as pl
import pytest
from commands import run
from hypothesis import given
from hypothesis import strategies as st
from polars import col, lit
from strategies_ward import cut_off, random_ward
from test_advise import Row, timeline
from test_properties import SEEDS, few

from aftercar.errors import InputError, OptionError
from aftercar.grade.options import Options
from aftercar.grade.run import codes_of, graded, opened, scales_named
from aftercar.intervals import poisson
from aftercar.manage import alerts
from aftercar.manage.advise import advise_timeline
from aftercar.manage.facts import SCALES
from aftercar.manage.rehearse import ALERTS, Rehearsal, rehearse_folder, rehearse_timeline
from aftercar.manage.rules import rulebook
from aftercar.manage.spoken import STATUS
from aftercar.manage.tallies import DAYS, RULES
from aftercar.manage.vocabulary import CHANGES, DAY_OF, LAST, LIMITS, MEASURED, UNAIDED, plain
from aftercar.timeline.readers import read
from aftercar.timeline.state import SPAN, origin
from aftercar.timeline.statements import append

ROOT = Path(__file__).parents[1]
ZERO = datetime(2024, 1, 1)


# ---- only what was known by then


CUTS = {
    **dict.fromkeys(("crs", "icans", "iechs_grade"), (1, 2, 3, 4)), "day": (1, 2, 7, 30), "age_y": (12, 18), "anc": (500, 1000),
    "anc_500_d": (0.5, 2, 7), "platelets": (20, 50), "hemoglobin": (8,), "alc": (1.5, 3), "ferritin": (500, 2000), "fibrinogen": (100, 150),
    "igg": (400,), "diarrhoea_grade": (1, 3), **dict.fromkeys(CHANGES, (1, 2, 3)),
}  # fmt: skip
HOURS = (1, 6, 24, 48)


@pytest.fixture(scope="module")
def every_fact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of rules that compare each fact with a few numbers."""
    asked = []
    for fact in plain().values():
        asked += [f"{fact.name} = true"] if fact.flag else [f"{fact.name}_min = {v}" for v in CUTS.get(fact.name, HOURS)]
    for drug in ("tocilizumab", "corticosteroid", "anakinra"):
        asked += [f"{what}.{drug}_min = {n}" for what in ("given", "given_24h") for n in (1, 2, 3)]
        asked += [f"{what}.{drug}_min = {h}" for what in ("since_h", "first_h") for h in HOURS]
    asked += [f"limit.tocilizumab_{limit} = true" for limit in LIMITS]
    asked += [f"{what}{of}_min = {n}" for of in (*MEASURED, *UNAIDED) for what, n in ((LAST, 20), (LAST, 400), (DAY_OF, 2))]
    head = 'topic = "crs"\nvariant = "local"\ntitle = "All"\nsource = { key = "local", at = "1", date = 2026-01-31 }\nstrength = "O"\nmark = "V"\n'
    rules = (f'[[rule]]\nid = "fact-{n}"\nwhen = {{ {when} }}\noption = "x"\naction = "x{n}"\n' for n, when in enumerate(asked))
    folder = tmp_path_factory.mktemp("rules")
    (folder / "all.toml").write_text(head + "\n".join(rules))
    return folder


def same_until_the_cut(whole: pl.DataFrame, copies: pl.DataFrame, names: pl.DataFrame, words: Sequence[str]) -> int:
    """Assert that the rows of the copies up to their cut are those of the subject itself; how many there were."""
    one = whole.join(names, on="subject_id").filter(col("time") <= col("cut")).select("copy", *words)
    other = copies.rename({"subject_id": "copy"}).join(names, on="copy").filter(col("time") <= col("cut")).select("copy", *words)
    order = ["copy", "infusion", "time", "rule"]
    assert one.sort(order).equals(other.sort(order))
    return one.height


def check_what_was_known(seed: int, subjects: int, cuts: int, rules: Path) -> None:
    known = random_ward(seed, subjects)
    copies, names = cut_off(known, seed, cuts)
    told = [advise_timeline(t, every_h=0.5, profile="local", rules=rules).advice for t in (known, copies)]
    assert same_until_the_cut(*told, names, ["infusion", "time", "rule", "status", "reasons", "missing"]) > 1000
    begun = [rehearse_timeline(t, every_h=0.5, profile="local", rules=rules, suppress_h=12).alerts for t in (known, copies)]
    assert same_until_the_cut(*begun, names, [c for c in ALERTS if c not in ("subject_id", "lead_h")]) > 300


@few(3)
@given(seed=SEEDS)
def test_what_comes_later_changes_nothing_that_was_said(seed: int, every_fact: Path) -> None:
    check_what_was_known(seed, 6, 6, every_fact)


@pytest.mark.slow
@few(5)
@given(seed=SEEDS)
def test_what_comes_later_changes_nothing_that_was_said_in_many(seed: int, every_fact: Path) -> None:
    check_what_was_known(seed, 50, 8, every_fact)


@cache
def example() -> pl.DataFrame:
    return read(ROOT / "examples" / "cohort", ROOT / "examples" / "cohort" / "mapping.toml").timeline


def test_what_comes_later_changes_nothing_in_the_example_cohort() -> None:
    numbers = {subject: n for n, subject in enumerate(sorted(example()["subject_id"].unique()))}
    frame = example().with_columns(col("subject_id").replace_strict(numbers, return_dtype=pl.Int64))
    copies, names = cut_off(frame, 1, 8)
    told = [advise_timeline(t, every_h=1.0).advice for t in (frame, copies)]
    assert same_until_the_cut(*told, names, ["infusion", "time", "rule", "status", "reasons", "missing"]) > 10_000


def says(frame: pl.DataFrame, rule: str, *hours: float) -> list[str | None]:
    """What a rule says at some hours, asked every quarter of an hour."""
    rows = advise_timeline(frame, every_h=0.25).advice.filter(rule=rule).select("status", "time", "until").rows()
    times = [ZERO + timedelta(hours=hour) for hour in hours]
    return [next((status for status, first, last in rows if first <= at <= last), None) for at in times]


def complete(frame: pl.DataFrame, *streams: str) -> pl.DataFrame:
    """A timeline in which nothing of these streams is left out."""
    frame = frame if "end_time" in frame.columns else frame.with_columns(end_time=lit(None, pl.Datetime("us")))
    rows = [
        frame.head(1).with_columns(
            code=lit("record_complete"), text_value=lit(s), end_time=ZERO + timedelta(days=99), event_id=lit(9000 + n)
        )
        for n, s in enumerate(streams)
    ]
    return pl.concat([frame, *(row.cast(dict(frame.schema)) for row in rows)])


def calm(*hours: float) -> list[Row]:
    found = {"temperature": 36.8, "hypotension": 0, "o2_device": "room_air", "ice": 10, "consciousness": "alert"}
    return [(h, code, value) for h in hours for code, value in found.items()]


def test_two_vasopressors_may_be_a_hand_over_until_they_have_overlapped_for_an_hour() -> None:
    rows: list[Row] = [(30, "temperature", 39.0), (30, "hypotension", 1), (30, "o2_device", "room_air"), (36, "heart_rate", 80)]
    rows += [(30, "norepinephrine", 5), (31, "epinephrine", 5)]

    def told(*hours: float, stopped: float) -> list[str | None]:
        """What grade 4 is told at some hours, where the first drug is stopped then and the second at hour 36."""
        ends = {"norepinephrine": int(stopped * 60), "epinephrine": 36 * 60}
        minutes = col("code").replace_strict(ends, default=None, return_dtype=pl.Int64)
        return says(
            complete(timeline(*rows).with_columns(end_time=ZERO + pl.duration(minutes=minutes)), "drugs"),
            "crs-4-ventilation",
            *hours,
        )

    assert told(30.5, 31, 31.75, 32, 33.75, 34, stopped=34) == [None, "measure_first", "measure_first", "option", "option", None]
    # Until it is stopped within the hour nobody can tell.
    assert told(30.5, 31, 31.75, 32, 33.75, stopped=31.8) == [None, "measure_first", "measure_first", None, None]


def test_what_one_charting_leaves_open_is_open_until_another_settles_it() -> None:
    rows = [*calm(10, 20), (20.5, "consciousness", "alert"), (21, "ice", 10), (30, "heart_rate", 80)]
    frame = complete(timeline(*rows), "drugs", "seizure", "motor", "icp")
    told = says(frame, "icans-supportive", 20.25, 20.5, 20.75, 21)
    assert told == [None, "measure_first", "measure_first", None]


def test_what_was_settled_within_the_hour_is_no_time_with_the_toxicity() -> None:
    rows = [*calm(10, 20), (20.5, "consciousness", "alert"), (21, "ice", 1), (30, "heart_rate", 80)]
    frame = complete(timeline(*rows), "drugs", "seizure", "motor", "icp")
    hours = [advise_timeline(frame, at).facts.select("icans_3_h:lo", "icans_3_h:hi").row(0) for at in (20.75, 21, 24)]
    assert hours == [(0.0, 0.25), (0.0, 0.0), (3.0, 3.0)]


def test_doses_count_anew_when_it_is_known_that_the_toxicity_was_absent() -> None:
    doses: list[Row] = [(1, "tocilizumab", 560), (60, "heart_rate", 80)]
    frame = timeline(*calm(2, 12, 22, 32, 42, 52), *doses, (49.75, "consciousness", "alert"), (50.5, "ice", 10))
    frame = complete(frame, "drugs", "seizure", "motor", "icp")

    def given(hour: float) -> int:
        return int(advise_timeline(frame, hour).limits["n"].item())

    # From hour 2 on both are surely absent; as 48 hours are over the score is missing, until hour 50.5.
    assert [given(hour) for hour in (49.9, 50, 50.25, 50.5, 51)] == [1, 1, 1, 0, 0]


def test_the_option_that_looks_ahead_is_refused() -> None:
    with pytest.raises(OptionError, match="first dose"):
        rehearse_timeline(timeline(), options={"day0": "last_infusion"})


# ---- what an alert is


FEVERS: list[Row] = [(h, "temperature", 39.0) for h in (30, 40, 50)]


def alerts_of(found: Rehearsal, rule: str) -> list[tuple[float, str, bool]]:
    rows = found.alerts.filter(rule=rule).select("time", "status", "suppressed").iter_rows()
    return [((t - ZERO).total_seconds() / 3600, s, hidden) for t, s, hidden in rows]


def test_what_goes_on_is_one_alert_and_an_escalation_another() -> None:
    # Not charted: CRS may be there from the infusion on. Fever from hour 30 to 62; what stands is known until then, and unknown after.
    found = rehearse_timeline(timeline(*FEVERS, (200, "heart_rate", 80)))
    assert alerts_of(found, "crs-workup") == [(0, "measure_first", False), (30, "option", False)]
    row = found.rules.filter(rule="crs-workup", status="option").row(0, named=True)
    assert (row["courses"], row["alerts"], row["suppressed"], row["lead_h_median"]) == (1, 1, 0, 0.0)
    measured = found.rules.filter(rule="crs-workup", status="measure_first").row(0, named=True)
    assert measured["hours"] + row["hours"] == 201 and measured["lead_h_median"] == 30.0


SEQUENCES = """
    said at each hour (- nothing, m measure first, o option, b blocked)  | suppress_h | alerts: hour, kind; in brackets where suppressed
    - o o o o -                                                         | 24         | 1o
    m m o o                                                             | 24         | 0m 2o
    o m o                                                               | 24         | 0o (2o)
    o - o - o                                                           | 24         | 0o (2o) (4o)
    o - o - o                                                           | 0          | 0o 2o 4o
    o - o - o                                                           | 2          | 0o 2o 4o
    o - o - o                                                           | 3          | 0o (2o) 4o
    o - o - o - o - o                                                   | 5          | 0o (2o) (4o) 6o (8o)
    o b o b b                                                           | 24         | 0o 1b (2o) (3b)
    b m o                                                               | 24         | 0b 1m 2o
    m - m o - m                                                         | 3          | 0m (2m) 3o 5m
"""


@pytest.mark.parametrize("line", SEQUENCES.strip().splitlines()[1:])
def test_repeats_are_suppressed_as_the_table_says(line: str) -> None:
    said, hours, wanted = (part.strip() for part in line.split("|"))
    words = [{"-": None, "m": "measure_first", "o": "option", "b": "blocked"}[w] for w in said.split()]
    at = pl.Series([origin_of(0) + 3600 * n for n in range(len(words))])
    spoken = pl.DataFrame({"course": 0, "at": at, "until": at, "7": pl.Series(words, dtype=STATUS)})
    begun = alerts.suppressed(alerts.onsets(spoken), int(float(hours) * 3600)).sort("at")
    ours = [((t - at[0]) // 3600, kind, hidden) for t, kind, hidden in begun.select("at", "status", "suppressed").iter_rows()]
    for found in (ours, naive.alerts(words, 1, float(hours))):
        assert [f"({n}{kind[0]})" if hidden else f"{n}{kind[0]}" for n, kind, hidden in found] == wanted.split()
    assert dict(alerts.times_said(spoken, 3600).select("status", "asked").iter_rows()) == {
        k: words.count(k) for k in alerts.KINDS
    }


def origin_of(course: int) -> int:
    """Where a course begins on the axis."""
    return pl.select(origin(lit(course * SPAN))).item()


def test_an_infusion_that_ends_the_record_and_a_death_end_the_days() -> None:
    died = timeline((47.5, "death", "crs"), (60, "heart_rate", 80))
    found = rehearse_timeline(died)
    assert found.counts == {"courses": 1, "rehearsed": 1, "not_rehearsed": 0, "patient_days": 2.0}
    again = pl.concat([timeline((100, "heart_rate", 80)), timeline(subject="B").filter(col("code") != "cart_infusion")])
    later = again.head(1).with_columns(time=lit(ZERO + timedelta(days=30)), event_id=lit(99, pl.Int64))
    found = rehearse_timeline(
        pl.concat([again, later, later.with_columns(code=lit("heart_rate"), time=lit(ZERO + timedelta(days=31)))])
    )
    assert found.counts == {"courses": 3, "rehearsed": 2, "not_rehearsed": 1, "patient_days": (30 * 24 + 25) / 24}
    assert found.days.filter(topic="crs")["courses"].to_list() == [2, 2, *[1] * 28]


# ---- the counting, beside a slow one


@cache
def cohort() -> pl.DataFrame:
    return pl.concat([random_ward(7, 14), random_ward(8, 14).with_columns(col("subject_id") + 100)])


@cache
def rehearsed(every_h: float = 1.0, suppress_h: float = 24.0) -> Rehearsal:
    return rehearse_timeline(cohort(), every_h=every_h, suppress_h=suppress_h)


def said_by_the_hour(every_h: float) -> tuple[dict[naive.Course, dict[str, list[str | None]]], dict[naive.Course, datetime]]:
    """Of each course what each rule says at each asked time, and when it begins."""
    advice = advise_timeline(cohort(), every_h=every_h).advice
    ends = advice.group_by("subject_id", "infusion").agg(col("until").max(), begin=col("time").min())
    begins = {(s, i): begin for s, i, _, begin in ends.iter_rows()}  # the block list speaks at every hour
    step = timedelta(hours=every_h)
    said: dict[naive.Course, dict[str, list[str | None]]] = {}
    for s, i, until, begin in ends.iter_rows():
        n = (until - begin) // step + 1
        said[s, i] = {rule.id: [None] * n for rule in rulebook().rules}
    for s, i, rule, status, time, until in advice.select("subject_id", "infusion", "rule", "status", "time", "until").iter_rows():
        first, last = (time - begins[s, i]) // step, (until - begins[s, i]) // step
        said[s, i][rule][first : last + 1] = [status] * (last - first + 1)
    return said, begins


@pytest.mark.parametrize(("every_h", "suppress_h"), [(1.0, 24.0), (1.0, 0.0), (2.0, 9.0)])
def test_a_slow_count_agrees(every_h: float, suppress_h: float) -> None:
    said, begins = said_by_the_hour(every_h)
    tallies = naive.tallies(said, begins, every_h, suppress_h)
    scales = scales_named(SCALES)
    rec, courses = opened(cohort().lazy(), codes_of(scales), Options(), hindsight=False)
    rows = graded(rec, courses, scales, Options()).grades.select("subject_id", "infusion", "scale", "start", "grade").iter_rows()
    outcomes = naive.outcomes([((s, i), scale, start, grade) for s, i, scale, start, grade in rows])
    found = rehearsed(every_h, suppress_h)
    days = sum(len(rules["crs-workup"]) for rules in said.values()) * every_h / 24
    assert found.counts["patient_days"] == pytest.approx(days)
    seen = {"preceded": 0, "followed": 0, "missed": 0, "suppressed": 0, "lead_n": 0}
    for row in found.rules.iter_rows(named=True):
        tally = tallies[row["rule"], row["status"]]
        assert (row["alerts"], row["suppressed"], row["courses"]) == (tally.shown, tally.hidden, len(tally.first)), row["rule"]
        assert row["hours"] == pytest.approx(tally.hours) and row["per_patient_day"] == pytest.approx(tally.shown / days)
        if row["topic"] in naive.TOXICITY:
            before, after, missed, leads = naive.against(tally, row["topic"], outcomes)
            assert (row["preceded"], row["followed"], row["missed"], row["lead_n"]) == (before, after, missed, len(leads))
            assert [row[f"lead_h_{q}"] for q in ("q1", "median", "q3")] == pytest.approx(naive.quartiles(leads))
            assert row["severe"] == before + after + missed and row["lead_before"] == sum(lead > 0 for lead in leads)
            assert row["predictive_value"] == (before / (len(tally.first) - after) if len(tally.first) > after else None)
        else:
            assert row["toxicity"] is row["severe"] is row["preceded"] is row["lead_h_median"] is row["predictive_value"] is None
        seen = {name: n + (row[name] or 0) for name, n in seen.items()}
    # Of what no row tells: rules say it of nobody, or could not.
    told = {(row["rule"], row["status"]) for row in found.rules.iter_rows(named=True)}
    assert not any(t.shown for key, t in tallies.items() if key not in told)
    assert all(seen[name] for name in seen if suppress_h or name != "suppressed"), seen


def test_days_and_rules_and_alerts_add_up() -> None:
    found = rehearsed()
    assert found.rules["alerts"].sum() == found.days["alerts"].sum() == (~found.alerts["suppressed"]).sum()
    assert found.rules["suppressed"].sum() == found.days["suppressed"].sum() == found.alerts["suppressed"].sum() > 0
    by_topic = found.days.group_by("topic").agg(col("patient_days").sum())
    assert by_topic["patient_days"].to_list() == pytest.approx([found.counts["patient_days"]] * by_topic.height)
    begin = cohort().filter(code="cart_infusion").group_by("subject_id").agg(begin=col("time").min())
    first = found.alerts.filter(infusion=1).join(begin, on="subject_id")
    assert (first["day"] == (first["time"] - first["begin"]).dt.total_days()).all()
    assert {n: found.alerts.schema[n] for n in ALERTS if n != "subject_id"} == {
        n: t for n, t in ALERTS.items() if n != "subject_id"
    }
    assert (dict(found.rules.schema), dict(found.days.schema)) == (RULES, DAYS)


@pytest.mark.parametrize("every_h", [30.0, 7.0, 0.75])
def test_days_add_up_however_seldom_it_is_asked(every_h: float) -> None:
    found = rehearse_timeline(cohort(), every_h=every_h, topics=["crs"])
    assert found.days["patient_days"].sum() == pytest.approx(found.counts["patient_days"])
    assert found.days["alerts"].sum() == found.rules["alerts"].sum() > 0


def test_suppressing_more_shows_less_and_loses_nothing() -> None:
    tables = [rehearsed(suppress_h=h).rules for h in (0.0, 3.0, 24.0, 100.0, 1e9)]
    assert tables[0]["suppressed"].sum() == 0
    for less, more in pairwise(tables):
        assert (less["alerts"] + less["suppressed"] == more["alerts"] + more["suppressed"]).all()
        assert (less["alerts"] >= more["alerts"]).all() and less["alerts"].sum() > more["alerts"].sum()
        kept = [c for c in RULES if not c.startswith("per_") and c not in ("alerts", "suppressed")]
        assert less.select(kept).equals(more.select(kept))  # the first alert of a course is always shown
    assert (tables[-1]["alerts"] == tables[-1]["courses"]).all()


def test_order_and_sharding_do_not_matter(tmp_path: Path) -> None:
    found = rehearsed()
    shuffled = rehearse_timeline(cohort().sample(fraction=1, shuffle=True, seed=1))
    folder = folder_of(cohort(), tmp_path, 3)
    for other in (shuffled, rehearse_folder(folder)):
        order = ["subject_id", "infusion", "time", "rule", "status"]
        assert found.alerts.sort(order).equals(other.alerts.sort(order))
        assert found.rules.equals(other.rules) and found.days.equals(other.days) and found.counts == other.counts


def test_a_part_of_the_rules_is_told_as_in_the_whole(tmp_path: Path) -> None:
    whole = rehearsed()
    part = rehearse_timeline(cohort(), topics=["crs"], only=["icans-3-icu", "block-gm-csf"])
    chosen = (col("topic") == "crs") | col("rule").is_in(["icans-3-icu", "block-gm-csf"])
    assert part.rules.equals(whole.rules.filter(chosen)) and part.alerts.equals(whole.alerts.filter(chosen))
    assert part.days["topic"].unique().sort().to_list() == ["block", "crs", "icans"]
    one = rehearse_folder(folder_of(cohort(), tmp_path, 3), subject=105)
    assert one.alerts.equals(whole.alerts.filter(subject_id=105)) and one.counts["courses"] >= 1


def test_a_rule_that_never_spoke_has_a_row_with_its_interval() -> None:
    found = rehearsed()
    book = rulebook()
    assert {r.id for r in book.rules} == set(found.rules["rule"])
    silent = found.rules.filter(alerts=0)
    assert silent.height and (silent["per_100_low"] == 0).all() and (silent["per_100_high"] > 0).all()
    assert found.rules.filter(col("topic") == "block", status="option").is_empty()


def test_nobody_to_rehearse() -> None:
    found = rehearse_timeline(timeline().filter(col("code") != "cart_infusion"))
    assert found.alerts.is_empty() and found.days.is_empty() and found.counts["patient_days"] == 0
    assert found.rules["per_100"].null_count() == found.rules.height and found.rules["alerts"].sum() == 0


# ---- what people said afterwards


def folder_of(frame: pl.DataFrame, folder: Path, shards: int) -> Path:
    target = folder / "timeline"
    (target / "data").mkdir(parents=True)
    subjects = frame["subject_id"].unique().sort()
    frame = frame.with_columns(event_id=pl.int_range(pl.len(), dtype=pl.Int64)) if frame["event_id"].null_count() else frame
    for n in range(shards):
        own = subjects.gather_every(shards, n)
        frame.filter(col("subject_id").is_in(own.implode())).write_parquet(target / "data" / f"{n}.parquet")
    return target


def test_what_people_said_afterwards_counts_for_the_worst_grade_and_not_for_alerts(tmp_path: Path) -> None:
    frame = complete(timeline(*FEVERS, (40, "o2_device", "ventilator"), (70, "heart_rate", 80)), "drugs")
    folder = folder_of(frame, tmp_path, 1)
    before = rehearse_folder(folder)
    oxygen = frame.filter(code="o2_device")["event_id"].item()
    append(
        folder,
        pl.DataFrame(
            {"rater": ["Ann"], "kind": ["attribution"], "subject_id": ["A"], "event_id": [oxygen], "attributable_to": ["other"]}
        ),
    )
    after = rehearse_folder(folder)
    assert after.alerts.drop("lead_h").equals(before.alerts.drop("lead_h"))
    leads = [found.alerts.filter(rule="crs-workup", status="option")["lead_h"].item() for found in (before, after)]
    assert leads == [10.0, 0.0]  # to the ventilator at hour 40; to the fever at hour 30
    assert [found.rules.filter(topic="crs")["severe"].max() for found in (before, after)] == [1, 0]


# ---- intervals


@given(k=st.integers(0, 400))
def test_a_poisson_interval_leaves_a_fortieth_on_either_side(k: int) -> None:
    low, high = poisson(k)

    def chance(n: int, mean: float) -> float:
        return exp(n * log(mean) - mean - lgamma(n + 1))

    assert sum(chance(n, high) for n in range(k + 1)) == pytest.approx(0.025, rel=1e-9)
    if k:
        assert 1 - sum(chance(n, low) for n in range(k)) == pytest.approx(0.025, rel=1e-7)
    else:
        assert low == 0.0


# ---- the command line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(random_ward(7, 6), tmp_path_factory.mktemp("ward"), 2)


@pytest.mark.parametrize("columns", [80, 140])
def test_the_screen(columns: int, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from aftercar.serve import show

    monkeypatch.setattr(show.console, "_width", columns)
    code, out, _ = run("rehearse", folder, "--limit", "5", capsys=capsys)
    assert code == 0 and "a patient-day" in out and "by topic: crs" in out and "rules never fired" in out
    assert "not a monitor or an alarm" in out.replace("\n", " ") and "... and" in out
    assert ("later >= 3" in out) == (columns == 140)
    table = out.split("rule  ")[1].split("...")[0].splitlines()[1:6]
    counts = [int(line.split()[2].replace(",", "")) for line in table]
    assert counts == sorted(counts, reverse=True) and all(len(line) <= columns for line in table)


def test_tables_are_written_whole_or_not_at_all(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, target = rehearse_folder(folder, suppress_h=6.0), tmp_path / "out"
    code, out, _ = run("rehearse", folder, "--suppress", "6", "--out", target, capsys=capsys)
    assert code == 0 and f"Written: {target}" in out
    assert sorted(p.name for p in target.iterdir()) == ["alerts.parquet", "days.parquet", "rehearsal.json", "rules.parquet"]
    for name in ("alerts", "rules", "days"):
        assert pl.read_parquet(target / f"{name}.parquet").equals(getattr(found, name))
    told = json.loads((target / "rehearsal.json").read_text())
    assert (
        told["suppress_h"] == 6.0
        and told["patient_days"] == found.counts["patient_days"]
        and told["options"]["fever_carry_h"] == 24
    )
    code, _, err = run("rehearse", folder, "--profile", "nobody", "--out", target, capsys=capsys)
    assert code == 2 and "no profile" in err and (target / "rules.parquet").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    for name in ("rules", "alerts", "days"):
        file = tmp_path / f"{name}.csv"
        assert run("rehearse", folder, "--out", file, "--table", name, "--suppress", "6", capsys=capsys)[0] == 0
        assert pl.read_csv(file, infer_schema=False).height == getattr(found, name).height
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    code, _, err = run("rehearse", folder, "--out", tmp_path / "mine", capsys=capsys)
    assert code == 2 and "holds other files" in err


def test_json_is_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("rehearse", folder, "--topic", "crs", "--json", capsys=capsys)
    told = json.loads(out)
    assert code == 0 and told["topics"] == ["crs"] and {r["topic"] for r in told["rules"]} == {"crs"} and told["patient_days"] > 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--profile", "asko2021"], "Did you mean asco2021"), (["--topic", "crss"], "Did you mean crs"), (["--rule", "crs-4"], "no rule 'crs-4'"),
        (["--every", "0"], "above 0"), (["--suppress", "-1"], "0 or more"), (["--subject", "nobody"], "not in the timeline"),
        (["--option", "no_such=1"], "no_such"), (["--option", "day0=last_infusion"], "first dose"), (["--table", "alert"], "Did you mean alerts"),
        (["--profile", "local"], "--rules"),
    ],
)  # fmt: skip
def test_a_mistake_is_a_sentence(words: list[str], says: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("rehearse", folder, *words, capsys=capsys)
    assert code == 2 and says in err and "Traceback" not in err


def test_no_timeline_and_a_damaged_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("rehearse", tmp_path, capsys=capsys)
    assert code == 2 and "no timeline there" in err
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "0.parquet").write_bytes(b"39.4 of A1")
    code, _, err = run("rehearse", tmp_path, "--out", tmp_path / "out", capsys=capsys)
    assert code == 2 and "39.4" not in err and not (tmp_path / "out").exists()


def test_without_end() -> None:
    found = rehearse_timeline(timeline(*FEVERS), every_h=float("inf"), suppress_h=float("inf"))
    assert found.counts["rehearsed"] == 1 and found.rules["alerts"].sum() > 0


def test_hours_of_suppression_that_are_none() -> None:
    with pytest.raises(InputError, match="0 or more"):
        rehearse_timeline(timeline(), suppress_h=float("nan"))
