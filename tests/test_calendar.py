"""The late-effects calendar: every item is due where it should be and not beside it; days around each window; a slow reading of the same file agrees."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import naive_calendar as naive
import polars as pl
import pytest
import yaml
from commands import run
from hypothesis import given
from hypothesis import strategies as st
from polars import col

import aftercar
from aftercar.errors import InputError, OptionError
from aftercar.manage import calendar as module
from aftercar.manage.calendar import Calendar, calendar_folder, calendar_shards, calendar_timeline, write_calendar
from aftercar.manage.calendar_tables import CALENDAR, COURSES, ITEMS, STATE, added, counts
from aftercar.manage.fields import Basis
from aftercar.manage.ics import folded, icalendar
from aftercar.manage.items import HORIZON_Y, TOPICS, Item, calendar_items, check_items, span
from aftercar.manage.judge import APPLIES, STATUS
from aftercar.manage.lint import ITEM_CHECKS, lint
from aftercar.manage.when import parse
from aftercar.timeline.concepts import concept

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "calendar.yaml").read_text())
ZERO = datetime(2020, 1, 1, 10)
Charted = tuple[float, str, object]  # day since the infusion, concept, number or word
DATES = sum(len(list(i.occurrences(HORIZON_Y))) for i in calendar_items())


def timeline(
    *rows: Charted, subject: str = "A", product: str | None = "axi-cel", target: str | None = None, zero: datetime = ZERO
) -> pl.DataFrame:
    every: list[Charted] = [(0, "cart_infusion", product), *([(0, "target", target)] if target else []), *rows]
    return pl.DataFrame(
        {
            "subject_id": [subject] * len(every),
            "time": [zero + timedelta(days=d) for d, _, _ in every],
            "code": [c for _, c, _ in every],
            "numeric_value": [float(v) if isinstance(v, (int, float)) else None for _, _, v in every],
            "text_value": [v if isinstance(v, str) else None for _, _, v in every],
            "source": [f"chart.csv:{n}" for n in range(1, len(every) + 1)],
            "event_id": range(len(every)),
        },
        schema_overrides={"text_value": pl.String, "numeric_value": pl.Float64},
    )


def on(day: int) -> date:
    return ZERO.date() + timedelta(days=day)


def state(frame: pl.DataFrame, item: str, day: int) -> tuple[str, str]:
    return calendar_timeline(frame, on(day)).items.filter(col("item") == item).select("state", "applies").row(0)


def statuses(frame: pl.DataFrame, item: str, at: date) -> list[str]:
    return calendar_timeline(frame, at).calendar.filter(col("item") == item)["status"].to_list()


# ---- every item


def record(case: dict[str, Any]) -> pl.DataFrame:
    return timeline(*map(tuple, case.get("chart", [])), product=case.get("product", "axi-cel"), target=case.get("target"))


def test_every_item_has_cases_and_no_case_is_of_nothing() -> None:
    assert set(CASES) == {i.id for i in calendar_items()}
    assert all(case["not"] for case in CASES.values())


@pytest.mark.parametrize("item", CASES)
def test_an_item_is_due_in_its_case_and_not_just_beside_it(item: str) -> None:
    case = CASES[item]
    assert state(record(case["due"]), item, case["due"]["day"]) == ("due", "yes")
    for other in case["not"]:
        assert state(record(other), item, other["day"])[0] not in ("due", "overdue", "may_apply"), other


def test_every_source_and_convention_is_on_the_table() -> None:
    table = calendar_timeline(timeline(), on(30)).calendar
    assert table.select("strength", "source", "source_at", "mark").null_count().sum_horizontal().item() == 0
    assert (table.filter(col("mark") == "P")["note"] != "").all()


# ---- the days around a window


@pytest.mark.parametrize(
    ("day", "says"),
    [(15, "upcoming"), (16, "due"), (31, "due"), (41, "due"), (42, "overdue"), (44, "overdue"), (45, "missed"), (4000, "missed")],
)  # fmt: skip
def test_the_days_around_the_first_window(day: int, says: str) -> None:
    # Due on 2020-02-01 (day 31), from 15 days before to 10 days after; the window of 2020-03-01 opens on day 45.
    assert statuses(timeline(), "visit-monthly", on(day))[0] == says


@pytest.mark.parametrize(
    ("day", "says"), [(15, "missed"), (16, "done"), (41, "done"), (42, "done_late"), (44, "done_late"), (45, "missed")]
)
def test_a_record_counts_for_the_window_that_it_falls_in(day: int, says: str) -> None:
    found = statuses(timeline((day, "follow_up_visit", None)), "visit-monthly", on(400))
    assert found[0] == says and found.count("missed") == (11 if says.startswith("done") or day == 45 else 12)


@pytest.mark.parametrize(("day", "late"), [(41, None), (42, 1), (45, 4), (72, 31)])
def test_an_item_is_overdue_from_the_day_after_its_window_on(day: int, late: int | None) -> None:
    overdue = calendar_timeline(timeline(), on(day)).overdue.filter(col("item") == "visit-monthly")
    assert overdue["overdue_d"].to_list() == ([] if late is None else [late])
    assert overdue["overdue_since"].to_list() == ([] if late is None else [on(41)])


def test_a_record_at_any_hour_of_its_day_counts_on_that_day() -> None:
    for hour in (-9.9, 0.0, 13.9):  # of day 16: 00:06, 10:00, 23:54
        assert statuses(timeline((16 + hour / 24, "follow_up_visit", None)), "visit-monthly", on(16))[0] == "done"


def test_what_is_due_once_stays_overdue_until_it_is_done_or_given_up() -> None:
    assert statuses(timeline(), "vaccine-covid19", on(5000)) == ["overdue"]
    assert statuses(timeline((4000, "vaccination", "covid19")), "vaccine-covid19", on(5000)) == ["done_late"]
    assert statuses(timeline(), "registry-100-days", on(149)) == ["overdue"]
    assert statuses(timeline(), "registry-100-days", on(150)) == ["missed"]


def test_blood_counts_of_one_day_are_one_count() -> None:
    whole: list[Charted] = [(30, "anc", 900), (30.1, "platelets", 40), (30.2, "hemoglobin", 8)]
    table = calendar_timeline(timeline(*whole), on(40)).calendar.filter(
        (col("item") == "counts-monthly") & (col("status") == "done")
    )
    assert table["evidence"].item().to_list() == [1, 2, 3] and table["record"].item() == "chart.csv:2"
    assert statuses(timeline(*whole[:2], (31, "hemoglobin", 8)), "counts-monthly", on(40))[0] == "due"


def test_the_first_record_in_a_window_is_the_evidence() -> None:
    table = calendar_timeline(timeline((40, "igg", 300), (20, "igg", 350)), on(44)).calendar
    row = table.filter((col("item") == "igg-monthly") & (col("occurrence") == 1)).row(0, named=True)
    assert (row["status"], row["evidence"], row["done_at"]) == ("done", [2], ZERO + timedelta(days=20))


# ---- what is not known


def test_an_unknown_target_is_told_as_may_apply_with_what_would_settle_it() -> None:
    frame = timeline(product=None)
    assert state(frame, "handwriting", 31) == ("may_apply", "may")
    rows = calendar_timeline(frame, on(60)).items.filter(col("item").is_in(["igg-monthly", "handwriting"]))
    assert rows["missing"].to_list() == [["a product against CD19", "a product against BCMA"], ["a product against BCMA"]]
    assert rows["times_missed"].to_list() == [0, 0]  # nobody knows that it was to be done
    assert "handwriting" in calendar_timeline(frame, on(60)).overdue["item"].to_list()


def test_a_product_against_two_antigens_is_one_against_each() -> None:
    frame = timeline(product=None, target="BCMA/CD19")
    assert state(frame, "handwriting", 31) == ("due", "yes") and state(frame, "igg-monthly", 31) == ("due", "yes")


def test_a_stop_needs_to_be_known_and_what_is_not_charted_does_not_stop() -> None:
    assert state(timeline(), "cd4-monthly", 100)[0] == "overdue"
    assert state(timeline((60, "cd4", 300)), "cd4-monthly", 100)[0] == "stopped"


@pytest.mark.parametrize(
    ("igg", "ivig", "says"),
    [(183, None, "stopped"), (182, None, "due"), (190, 162, "due"), (190, 161.9, "stopped"), (190, 191, "stopped"), (190, 190, "due")],
)  # fmt: skip
def test_only_an_igg_of_the_patients_own_ends_its_series(igg: float, ivig: float | None, says: str) -> None:
    rows: list[Charted] = [(igg, "igg", 401), *([(ivig, "ivig", 30)] if ivig is not None else [])]
    assert state(timeline(*rows), "igg-monthly", 215)[0] == says


def test_a_record_that_ends_is_not_done_and_says_so() -> None:
    rows = calendar_timeline(timeline((40, "follow_up_visit", None)), on(300)).calendar
    seen = {
        r["occurrence"]: (r["status"], r["reasons"]) for r in rows.filter(col("item") == "visit-monthly").iter_rows(named=True)
    }
    assert seen[1] == ("done", [])
    assert seen[2] == ("missed", ["not seen in this record, which ends before"])
    assert statuses(timeline((40, "last_follow_up", None)), "visit-monthly", on(300)).count("done") == 0


def test_what_was_declined_was_not_done() -> None:
    for word in ("declined", "Cancelled", "pending", "no show"):
        assert statuses(timeline((31, "skin_exam", word), (31, "follow_up_visit", word)), "visit-monthly", on(31))[0] == "due"
    assert statuses(timeline((31, "mnt_sign", "unknown")), "neuro-monthly", on(31))[0] == "due"


# ---- ends


def test_after_a_death_nothing_is_due() -> None:
    frame = timeline((40, "follow_up_visit", None), (200, "death", "infection"))
    found = calendar_timeline(frame, on(500))
    assert set(found.items["state"]) == {"ended"} and found.overdue.is_empty()
    open_then = set(found.calendar.filter(col("due_from") >= on(200))["status"])
    assert open_then == {"stopped"}
    assert found.courses["ended_by"].item() == "death"
    # What was missed while the patient lived stays missed.
    assert "missed" in found.calendar.filter(col("closes") <= on(200))["status"].to_list()
    # Before the death is known it is not known.
    assert calendar_timeline(frame, on(199)).overdue.height


def test_another_infusion_begins_another_calendar() -> None:
    frame = timeline((500, "cart_infusion", "cilta-cel"), (520, "igg", 300))
    found = calendar_timeline(frame, on(540))
    assert found.courses["ended_by"].to_list() == ["another infusion", None]
    assert set(found.items.filter(col("infusion") == 1)["state"]) == {"ended"}
    own = found.calendar.filter((col("infusion") == 2) & (col("item") == "igg-monthly") & (col("occurrence") == 1))
    assert own["status"].item() == "done" and own["due"].item() == date(2021, 6, 15)


def test_the_next_therapy_ends_only_what_says_so() -> None:
    frame = timeline((190, "next_therapy", None))
    found = calendar_timeline(frame, on(400))
    ended = {i.id for i in calendar_items() if "next_therapy" in i.ends_with}
    stopped = found.items.filter(col("state") == "stopped")
    assert set(stopped["item"]) == ended and {r for rs in stopped["reasons"] for r in rs} == {"next anti-tumour therapy"}
    assert (
        "gene-therapy-examination" in found.overdue["item"].to_list() or state(frame, "gene-therapy-examination", 400)[0] == "due"
    )


def test_without_an_infusion_by_then_there_is_nothing_to_count_from() -> None:
    early = calendar_timeline(timeline(), on(-1))
    assert early.calendar.is_empty() and early.items.is_empty() and early.courses["asked"].to_list() == [False]
    for table, schema in ((early.calendar, CALENDAR), (early.items, ITEMS), (early.courses, COURSES)):
        assert dict(table.drop("subject_id").schema) == {k: v for k, v in schema.items() if k != "subject_id"}


# ---- dates


@pytest.mark.parametrize(
    ("zero", "item", "n", "due"),
    [
        (datetime(2024, 2, 29), "registry-yearly", 1, date(2025, 2, 28)),
        (datetime(2024, 2, 29), "registry-yearly", 4, date(2028, 2, 29)),  # from the infusion, not from the date before
        (datetime(2024, 2, 29), "registry-yearly", 15, date(2039, 2, 28)),
        (datetime(2021, 1, 31), "visit-monthly", 1, date(2021, 2, 28)),
        (datetime(2021, 1, 31), "visit-monthly", 2, date(2021, 3, 31)),
        (datetime(2020, 10, 31), "visit-later", 1, date(2022, 4, 30)),
        (datetime(2021, 3, 27, 23, 59), "registry-100-days", 1, date(2021, 7, 5)),  # over the change of clocks
    ],
)
def test_calendar_months_and_years(zero: datetime, item: str, n: int, due: date) -> None:
    rows = calendar_timeline(timeline(zero=zero), zero.date()).calendar
    assert rows.filter((col("item") == item) & (col("occurrence") == n))["due"].item() == due


@given(
    st.dates(date(1990, 1, 1), date(2060, 12, 31)) | st.builds(date, st.sampled_from([1996, 2000, 2024]), st.just(2), st.just(29))
)
def test_windows_are_in_order_tile_and_are_those_of_plain_arithmetic(day: date) -> None:
    rows = calendar_timeline(timeline(zero=datetime.combine(day, ZERO.time())), day).calendar
    assert rows.height == DATES
    assert rows.select((col("due_from") <= col("due")).all() & (col("due") <= col("overdue_after")).all()).item()
    assert rows.select((col("overdue_after") < col("closes")).fill_null(True).all()).item()
    following = col("due_from").shift(-1).over("item")
    assert rows.filter(following.is_not_null() & (following != col("closes"))).is_empty()
    for item in naive.ITEMS:
        own = rows.filter(col("item") == item["id"]).select("due_from", "due", "overdue_after", "closes").rows()
        assert own == [(w.opens, w.due, w.late, w.closes) for w in naive.windows(item, day)]


def test_for_life_goes_on_as_long_as_one_asks_and_the_rest_ends() -> None:
    longer = calendar_timeline(timeline(), on(0), until_y=40).calendar
    last = dict(longer.group_by("item").agg(col("due").max()).iter_rows())
    assert last["malignancy-yearly"] == last["skin-yearly"] == date(2060, 1, 1)
    assert max(d for item, d in last.items() if item not in ("malignancy-yearly", "skin-yearly")) == date(2035, 1, 1)
    assert calendar_timeline(timeline(), on(0), until_y=0.5).calendar["due"].max() == date(2020, 7, 1)


@pytest.mark.parametrize("years", [0.25, 0.75, 1, 1.5, 7])
def test_asking_for_fewer_years_leaves_out_dates_and_changes_none(years: float) -> None:
    whole = calendar_timeline(timeline(), on(150)).calendar
    part = calendar_timeline(timeline(), on(150), until_y=years).calendar
    assert part.equals(whole.filter(col("due") <= naive.plus(ZERO.date(), (round(12 * years), 0))))


@pytest.mark.parametrize(("told", "months", "days"), [("30d", 0, 30), ("2w", 0, 14), ("6mo", 6, 0), ("15y", 180, 0)])
def test_spans(told: str, months: int, days: int) -> None:
    assert (span(told).months, span(told).days) == (months, days)
    with pytest.raises(OptionError, match="span such as"):
        span(told.upper())


# ---- a slow reading of the same file


CODES = sorted({a.code for i in calendar_items() for a in i.done_by} | {"ivig"})


def random_value(code: str, rng: random.Random) -> float | str | None:
    near = {"anc": [300, 999, 1000, 1500, 2500], "platelets": [20, 49, 50, 100, 200], "hemoglobin": [7, 8, 10, 12]}
    near |= {
        "igg": [100, 400, 401, 900],
        "cd4": [20, 200, 201, 500],
        "b_cells": [0, 49, 50, 200],
        "b_cell_fraction": [1, 5],
        "ivig": [30],
    }
    if code in near:
        return float(rng.choice(near[code]))
    values = concept(code).values
    return rng.choice(values) if values else rng.choice([None, None, "declined"])


def patients(n: int, seed: str) -> tuple[pl.DataFrame, dict[tuple[str, int], naive.Course]]:
    """Random records of some years, as a timeline and as plain rows of each course."""
    rng, frames, courses = random.Random(seed), [], {}
    for k in range(n):
        subject = f"S{k:03d}"
        zero = datetime(2010 + rng.randrange(8), rng.randrange(1, 13), rng.randrange(1, 29), 10)
        product, target = rng.choice([("axi-cel", "CD19"), ("cilta-cel", "BCMA"), ("talq", None), (None, None)])
        length = rng.choice([100, 500, 2000, 6000])
        days = rng.sample(range(1, length + 2), min(rng.randrange(120), length))
        rows: list[Charted] = []
        for day in days:
            # A hundredth of a day apart, so that no two rows of a concept share a time.
            for j, code in enumerate(rng.sample(CODES, rng.randrange(1, 6))):
                rows.append((day + j / 100, code, random_value(code, rng)))
        if rng.random() < 0.4:
            rows += [
                (d + j / 200, c, random_value(c, rng))
                for d in days[:20]
                for j, c in enumerate(("anc", "platelets", "hemoglobin"), 20)
            ]
        if rng.random() < 0.5:
            rows.append((-rng.randrange(1, 60), "anti_hbc", rng.choice(["negative", "positive"])))
        again = length // 2 + 0.5 if rng.random() < 0.2 else None
        if again:
            rows.append((again, "cart_infusion", product))
        if rng.random() < 0.3:
            rows.append((length + 1.9, "death", "other"))
        if rng.random() < 0.3:
            rows.append((rng.randrange(1, length) + 0.7, "next_therapy", None))
        rows.sort(key=lambda r: r[0])
        frames.append(timeline(*rows, subject=subject, product=product, zero=zero))
        plain = [(zero + timedelta(days=d), c, v) for d, c, v in rows]
        first = naive.Course(zero, target, [r for r in plain if r[0] >= zero], plain)
        courses[(subject, 1)] = first
        if again:
            second = zero + timedelta(days=again)
            first.next = second
            first.rows = [r for r in first.rows if r[0] < second]
            courses[(subject, 2)] = naive.Course(second, target, [r for r in plain if r[0] >= second], plain)
    frame = pl.concat(frames).with_columns(event_id=pl.int_range(pl.len(), dtype=pl.Int64))
    return frame, courses


def cut(course: naive.Course, at: date) -> naive.Course:
    """What is known of a course at the end of a day."""
    rows = [r for r in course.rows if r[0].date() <= at]
    following = course.next if course.next and course.next.date() <= at else None
    return naive.Course(course.zero, course.target, rows, [r for r in course.ever if r[0].date() <= at], following)


@pytest.mark.parametrize("at", [date(2012, 2, 29), date(2017, 6, 30), date(2031, 1, 1)])
def test_a_slow_reading_of_the_file_agrees(at: date) -> None:
    frame, courses = patients(60, f"calendar {at}")
    rows = calendar_timeline(frame, at).calendar
    assert set(rows.select("subject_id", "infusion").unique().rows()) == {k for k, c in courses.items() if c.zero.date() <= at}
    seen: set[tuple[str, str]] = set()
    for (subject, infusion, name), own in rows.group_by("subject_id", "infusion", "item"):
        item = next(i for i in naive.ITEMS if i["id"] == name)
        want = naive.judge(item, cut(courses[(subject, infusion)], at), at)
        got = own.sort("occurrence").select("due", "status", "applies", col("done_at").dt.date()).rows()
        assert got == [(w.due, status, applies, done) for w, status, applies, done in want], (subject, infusion, name)
        seen |= {(status, applies) for _, status, applies, _ in want}
    assert {s for s, _ in seen} >= {"done", "done_late", "missed", "stopped", "not_applicable"}
    assert {("missed", "may"), ("missed", "yes")} <= seen


# ---- promises


@pytest.fixture(scope="module")
def cohort() -> pl.DataFrame:
    return patients(40, "a cohort")[0]


AT = date(2018, 5, 17)
KEY = ["subject_id", "infusion", "item", "occurrence"]


def test_hiding_a_record_never_makes_an_item_done(cohort: pl.DataFrame) -> None:
    before = calendar_timeline(cohort, AT).calendar.select(*KEY, "status", "applies")
    fixed = ["cart_infusion", "death", "next_therapy"]  # what says when a course begins and ends
    for seed in range(8):
        kept = pl.Series([random.Random(f"{seed} {n}").random() < 0.7 for n in range(cohort.height)])
        less = calendar_timeline(cohort.filter(kept | col("code").is_in(fixed)), AT).calendar.select(*KEY, "status")
        both = before.join(less, on=KEY, suffix="_less", validate="1:1")
        done = ["done", "done_late"]
        assert both.height == before.height
        assert both.filter(col("status_less").is_in(done) & ~col("status").is_in(done)).is_empty()
        assert both.filter((col("status_less") == "done") & (col("status") == "done_late")).is_empty()
        assert both.filter(col("status").is_in(done) & ~col("status_less").is_in(done)).height


def test_hiding_what_a_condition_reads_settles_nothing(cohort: pl.DataFrame) -> None:
    bare = cohort.with_columns(text_value=pl.when(col("code") != "cart_infusion").then("text_value"))
    both = calendar_timeline(cohort, AT).items.join(
        calendar_timeline(bare, AT).items, on=["subject_id", "infusion", "item"], suffix="_less"
    )
    bcma = both.filter(col("item") == "handwriting")
    assert bcma.filter((col("applies_less") != "may") & (col("state_less") != "ended") & (col("times_done_less") == 0)).is_empty()


def fifths(cohort: pl.DataFrame) -> list[pl.DataFrame]:
    """The subjects in five parts, one of them of a single subject."""
    names = sorted(cohort["subject_id"].unique())
    return [
        cohort.filter(col("subject_id").is_in(part)) for part in (names[:1], names[1:4], names[4:20], names[20:21], names[21:])
    ]


def test_order_and_sharding_do_not_matter(cohort: pl.DataFrame) -> None:
    whole = calendar_timeline(cohort, AT)
    shuffled = calendar_timeline(cohort.sample(fraction=1, shuffle=True, seed=3), AT)
    parts = [calendar_timeline(part, AT) for part in fifths(cohort)]
    for name in ("calendar", "items", "courses", "overdue"):
        table = getattr(whole, name)
        assert table.equals(getattr(shuffled, name))
        assert table.equals(getattr(module.joined(parts), name))


def test_chunks_do_not_matter(cohort: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = calendar_timeline(cohort, AT)
    monkeypatch.setattr(module, "_CHUNK", DATES * 3)
    few = calendar_timeline(cohort, AT)
    assert whole.calendar.equals(few.calendar) and whole.items.equals(few.items)


def test_what_is_charted_later_changes_nothing(cohort: pl.DataFrame) -> None:
    now = calendar_timeline(cohort, AT)
    known = calendar_timeline(cohort.filter(col("time").dt.date() <= AT), AT)
    assert now.calendar.equals(known.calendar) and now.items.equals(known.items)


def test_what_was_done_stays_done(cohort: pl.DataFrame) -> None:
    fixed = cohort.filter(~col("code").is_in(["death", "next_therapy"]))
    one, two = (calendar_timeline(fixed, at).calendar.filter(col("done_at").is_not_null()) for at in (AT, date(2019, 5, 17)))
    later = one.join(two, on=KEY, how="left", suffix="_later")
    assert one.height and later.filter(col("done_at").ne_missing(col("done_at_later"))).is_empty()


def test_every_date_has_one_status_and_counts_add_up(cohort: pl.DataFrame) -> None:
    found = calendar_timeline(cohort, AT)
    asked = found.courses.filter("asked").height
    assert found.calendar.height == asked * DATES and found.items.height == asked * len(calendar_items())
    assert found.calendar.select("status", "applies").null_count().sum_horizontal().item() == 0
    by_item = counts(found.items)
    assert set(by_item.select(pl.sum_horizontal(list(STATE.categories))).to_series()) == {asked}
    parts = [counts(calendar_timeline(part, AT).items) for part in fifths(cohort)]
    assert added(parts).sort("item").equals(by_item.sort("item"))


def test_overdue_is_the_longest_first_and_names_what_is_behind(cohort: pl.DataFrame) -> None:
    found = calendar_timeline(cohort, AT)
    late = found.overdue
    first = late.group_by("subject_id", maintain_order=True).agg(col("overdue_d").max())["overdue_d"]
    assert late.height and first.to_list() == sorted(first, reverse=True)
    assert set(late["state"]) <= {"overdue", "may_apply"} and (late["overdue_d"] > 0).all()
    open_ = found.calendar.filter(col("status").is_in(["due", "overdue"]))
    assert late.join(open_, on=["subject_id", "infusion", "item", "due"], how="anti").is_empty()
    # A series that lapsed long ago is overdue since then, although a new window has just opened.
    lapsed = (
        calendar_timeline(timeline((30, "follow_up_visit", None)), on(200))
        .items.filter(col("item") == "visit-monthly")
        .row(0, named=True)
    )
    assert (lapsed["state"], lapsed["last_done"], lapsed["times_missed"]) == ("overdue", on(30), 5)
    assert lapsed["overdue_since"] == date(2020, 3, 11) and lapsed["overdue_d"] == (on(200) - date(2020, 3, 11)).days


# ---- folders of items


GOOD = """
[[item]]
id       = "ward-skin"
topic    = "malignancy"
todo     = "Dermatology clinic"
done_by  = ["skin_exam"]
due      = { first = "6mo", every = "6mo", last = "5y" }
window   = { early = "1mo", late = "1mo" }
when     = { target_cd19 = true }
source   = { key = "local", at = "protocol 7", date = 2026-01-31 }
strength = "O"
mark     = "V"
"""


def write(folder: Path, text: str, name: str = "mine.toml") -> Path:
    (folder / name).write_text(text)
    return folder


def test_topics_of_a_folder_of_ones_own_stand_in_for_ours(tmp_path: Path) -> None:
    items = calendar_items(write(tmp_path, GOOD))
    assert [i.id for i in items if i.topic == "malignancy"] == ["ward-skin"]
    assert {i.id for i in items if i.topic != "malignancy"} == {i.id for i in calendar_items() if i.topic != "malignancy"}
    assert check_items(tmp_path) == []
    found = calendar_timeline(timeline(), on(183), rules=tmp_path, topic="malignancy")
    assert found.items.select("item", "state", "source", "source_date").rows() == [("ward-skin", "due", "local", "2026-01-31")]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('topic    = "malignancy"', 'topic = "skin"', "mine.toml, ward-skin, topic: 'skin' is not known"),
        ('["skin_exam"]', '["skin_exm"]', "done_by: No concept is called 'skin_exm'. Did you mean skin_exam"),
        ('["skin_exam"]', '["vaccination=flue"]', "'flue' is not a word of vaccination"),
        ('["skin_exam"]', "[]", "names at least one concept"),
        ('first = "6mo"', 'first = "6 months"', 'due.first: it must be a span such as "30d"'),
        ('first = "6mo", ', "", "a series has both `first` and `every`"),
        ('{ first = "6mo", every = "6mo", last = "5y" }', "{}", "due: must be a table of"),
        ('{ first = "6mo", every = "6mo", last = "5y" }', '{ at = ["6mo", "3mo"] }', "its dates must rise"),
        ('{ first = "6mo", every = "6mo", last = "5y" }', '{ at = "20y" }', "has no date within 15 years"),
        ('{ first = "6mo", every = "6mo", last = "5y" }', '{ at = "6mo", closes = "7mo" }', "must come after the end of the window"),
        ('{ first = "6mo", every = "6mo", last = "5y" }', '{ at = "1y", first = "20y", every = "1y", last = "10y" }', "mine.toml, ward-skin, due.last: comes before"),
        ('every = "6mo"', 'every = "0d"', "must be longer than nothing"),
        ('late = "1mo"', 'late = "5mo"', "must end before the next one opens"),
        (', late = "1mo"', "", "window: needs both"),
        ("target_cd19 = true", "target_cd20 = true", "there is no fact 'target_cd20'"),
        ("target_cd19 = true", "crs_min = 2", "crs is not asked here"),
        ("target_cd19 = true", "limit.tocilizumab_total = true", "limit.tocilizumab_total is not asked here"),
        ('todo     = "Dermatology clinic"', "", "todo: is missing"),
        ('mark     = "V"', 'mark = "V"\nevery = "1y"', "ward-skin, every: is not a field"),
        ('mark     = "V"', 'mark = "V"\ntogether = 1', "together: is yes or no"),
        ('mark     = "V"', 'mark = "V"\nends_with = ["relapse"]', "'relapse' is not known"),
        (", date = 2026-01-31", "", "`date` is a day"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_folder_is_told_with_its_place(old: str, new: str, says: str, tmp_path: Path) -> None:
    assert old in GOOD
    write(tmp_path, GOOD.replace(old, new, 1))
    assert any(says in str(p) for p in check_items(tmp_path)), [str(p) for p in check_items(tmp_path)]
    with pytest.raises(InputError, match="items of the calendar that cannot be used"):
        calendar_items(tmp_path)


def test_items_and_rules_of_one_folder_are_told_apart(tmp_path: Path) -> None:
    from aftercar.manage.rules import check, rulebook

    write(tmp_path, GOOD)
    assert check(tmp_path) == []
    with pytest.raises(InputError, match="no rule there"):
        rulebook("local", tmp_path)
    write(tmp_path, 'topic = "crs"\n', "rules.toml")
    assert check(tmp_path) and check_items(tmp_path) == []
    (tmp_path / "mine.toml").unlink()
    with pytest.raises(InputError, match="no file there has a row"):
        calendar_items(tmp_path)
    write(write(tmp_path, GOOD), GOOD, "more.toml")
    assert "mine.toml has an item of that name" in str(check_items(tmp_path)[0])


def test_our_items_have_no_problem() -> None:
    assert lint() == [] and {i.topic for i in calendar_items()} == set(TOPICS)


@pytest.mark.parametrize(
    "change",
    [
        {"basis": Basis("nobody2020", "t", "", "O", "V")}, {"basis": Basis("tix2024", "", "", "O", "V")}, {"basis": Basis("tix2024", "t", "", "Z", "V")},
        {"basis": Basis("tix2024", "t", "", "O", "P"), "note": ""}, {"topic": "malignancy", "together": True}, {"topic": "elsewhere"},
    ],
    ids=str,
)  # fmt: skip
def test_the_lint_finds_what_is_broken(change: dict[str, Any]) -> None:
    items = list(calendar_items())
    place = next(n for n, i in enumerate(items) if i.id == "infection-review")
    items[place] = Item(**{**items[place].__dict__, **change})
    assert [p for one in ITEM_CHECKS for p in one(tuple(items))]


def test_a_condition_without_words_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from aftercar.manage import lint as linting

    items = (Item(**{**calendar_items()[0].__dict__, "when": parse({"anc_under": 5})}),)
    monkeypatch.setattr(linting, "fact", lambda name: type("Fact", (), {"label": ""}))
    assert list(linting.items_told(items))


# ---- iCalendar


def unfolded(text: str) -> list[str]:
    assert text.endswith("\r\n") and "\n" not in text.replace("\r\n", "")
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    return text.replace("\r\n ", "").split("\r\n")[:-1]


def test_the_dates_of_a_subject_as_icalendar() -> None:
    found = calendar_timeline(timeline(subject="P-001"), on(40))
    lines = unfolded(icalendar(found))
    assert lines[:2] == ["BEGIN:VCALENDAR", "VERSION:2.0"] and lines[-1] == "END:VCALENDAR"
    to_come = found.calendar.filter(col("status").is_in(["due", "overdue", "upcoming"]))
    starts = [line.split(":")[1] for line in lines if line.startswith("DTSTART")]
    assert starts == [f"{d:%Y%m%d}" for d in to_come["due"].unique().sort()]
    names = [line for line in lines if line.startswith("UID")]
    assert len(set(names)) == len(names) == len(starts) and not any("P-001" in n for n in names)
    told = "".join(line for line in lines if line.startswith("DESCRIPTION"))
    assert (
        sum(
            told.count(f"{row['todo'].replace(',', chr(92) + ',').replace(';', chr(92) + ';')} (")
            for row in to_come.iter_rows(named=True)
        )
        >= to_come.height
    )
    later = unfolded(icalendar(calendar_timeline(timeline(subject="P-001"), on(41))))
    assert [line for line in later if line.startswith("UID")] == names  # the same events, so that a calendar program updates them


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=200))
def test_long_lines_are_folded_without_cutting_a_sign(text: str) -> None:
    assert unfolded(folded(text)) == [text.replace("\r\n ", "")]


# ---- folders and the command line


@pytest.fixture
def folder(cohort: pl.DataFrame, tmp_path: Path) -> Path:
    target = tmp_path / "timeline"
    (target / "data").mkdir(parents=True)
    half = sorted(cohort["subject_id"].unique())[20]
    cohort.filter(col("subject_id") < half).write_parquet(target / "data" / "0.parquet")
    cohort.filter(col("subject_id") >= half).write_parquet(target / "data" / "1.parquet")
    return target


def same(one: Calendar, other: Calendar) -> bool:
    return all(getattr(one, name).equals(getattr(other, name)) for name in ("calendar", "items", "courses"))


def test_a_folder_is_asked_as_a_frame(folder: Path, cohort: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = calendar_timeline(cohort)
    steps: list[tuple[int, int]] = []
    assert same(calendar_folder(folder, progress=lambda *n: steps.append(n)), whole) and steps == [(1, 2), (2, 2)]
    assert whole.at == cohort.filter(col("code") != "birth")["time"].max().date()  # type: ignore[union-attr]
    monkeypatch.setattr(module, "_SUBJECTS", 7)
    assert same(calendar_folder(folder), whole) and len(list(calendar_shards(folder))) == 6
    one = calendar_folder(folder, subject="S003")
    assert one.at == whole.at and one.calendar.equals(whole.calendar.filter(col("subject_id") == "S003"))


def test_a_folder_of_tables_holds_what_the_frames_do(folder: Path, tmp_path: Path) -> None:
    out, whole = tmp_path / "out", calendar_folder(folder, AT)
    told = write_calendar(calendar_shards(folder, AT), out)
    assert json.loads((out / "calendar.json").read_text()) == told and told["asked"] == "2018-05-17"
    assert (told["courses"], told["due_dates"]) == (whole.courses.height, whole.calendar.height)
    for name in ("calendar", "items", "courses"):
        assert pl.read_parquet(out / name / "*.parquet").equals(getattr(whole, name))
    assert pl.read_parquet(out / "overdue.parquet").equals(whole.overdue)
    assert write_calendar(calendar_shards(folder, AT), out) == told  # a former one is replaced
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="holds other files"):
        write_calendar(calendar_shards(folder, AT), tmp_path / "full")


def test_the_screen_of_a_subject(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(
        "calendar", folder, "--subject", "S001", "--at", "2019-06-01", "--ics", tmp_path / "s.ics", capsys=capsys
    )
    assert code == 0, err
    for words in ("Asked for 2019-06-01.", "Infusion 1", "To come", "So far", "Not an order", "must not be the only basis"):
        assert words in out
    assert (tmp_path / "s.ics").read_bytes().startswith(b"BEGIN:VCALENDAR\r\n")
    code, out, _ = run("calendar", folder, "--subject", "S001", "--at", "2009-01-01", capsys=capsys)
    assert code == 0 and "No infusion is charted by then" in out


def test_the_screen_says_what_is_not_known_and_what_is_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    timeline((40, "igg", 300), product=None).write_parquet(tmp_path / "data" / "0.parquet")
    code, out, _ = run("calendar", tmp_path, "--subject", "A", "--at", "2020-06-01", capsys=capsys)
    assert code == 0
    for words in (
        "May apply",
        "a product against BCMA",
        "product not charted",
        "not seen in this record",
        "[V]",
        "[P]",
        "a convention of this project",
    ):
        assert words in out, words
    code, out, _ = run("calendar", tmp_path, capsys=capsys)
    assert "Asked for 2020-02-10, the day on which anything was last charted in this timeline" in out


def test_the_cohort_its_overdue_list_and_files(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = calendar_folder(folder, AT)
    code, out, _ = run("calendar", folder, "--at", AT, "--out", tmp_path / "c.csv", capsys=capsys)
    assert code == 0 and "visit-later" in out and "more; --overdue lists all" in out and "Not an order" in out
    assert pl.read_csv(tmp_path / "c.csv", infer_schema=False).height == whole.calendar.height
    code, out, _ = run("calendar", folder, "--at", AT, "--overdue", "--out", tmp_path / "o.parquet", capsys=capsys)
    assert code == 0 and "more; --overdue" not in out
    assert pl.read_parquet(tmp_path / "o.parquet").equals(whole.overdue)
    assert all(f"{s} " in out for s in whole.overdue["subject_id"].unique())
    code, _, err = run("calendar", folder, "--at", "today", "--out", tmp_path / "tables", capsys=capsys)
    assert code == 0 and (tmp_path / "tables" / "calendar.json").is_file(), err
    code, out, _ = run("calendar", folder, "--topic", "counts", "--until", "3", capsys=capsys)
    assert code == 0 and "counts-later" in out and "igg-monthly" not in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--at", "noon"], "--at takes a day"), (["--at", "2020-02-30"], "--at takes a day"), (["--topic", "cuonts"], "Did you mean counts"),
        (["--subject", "nobody"], "not in the timeline"), (["--until", "0"], "above 0"), (["--until", "1e9"], "at most 100"), (["--until", "nan"], "at most 100"), (["--ics", "x.ics"], "name it with --subject"),
        (["--out", "x.xlsx"], "ends with .parquet"), (["--subject", "S001", "--out", "folder"], "ends with .parquet"), (["--rules", "nowhere"], "no rules there"),
    ],
)  # fmt: skip
def test_a_mistake_is_a_sentence(words: Sequence[str], says: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("calendar", folder, *words, capsys=capsys)
    assert code == 2 and says in err and "Traceback" not in err


def test_the_items_are_printed_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("rules", "--calendar", capsys=capsys)
    assert code == 0 and all(i.id in out for i in calendar_items()) and "every 6 months from 18 months until 15 years" in out
    code, out, _ = run("rules", "--calendar", "--topic", "hbv", capsys=capsys)
    assert "hbv-dna" in out and "igg-later" not in out
    assert run("rules", "--calendar", "--profile", "asco2021", capsys=capsys)[0] == 2
    write(tmp_path, GOOD.replace("skin_exam", "skin"))
    code, out, _ = run("rules", "--check", tmp_path, capsys=capsys)
    assert code == 1 and "mine.toml, ward-skin, done_by" in out


def test_no_value_of_a_patient_is_in_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data" / "0.parquet").write_bytes(b"IgG 312 of S001")
    code, _, err = run("calendar", folder, capsys=capsys)
    assert code == 2 and "312" not in err


def test_it_is_there_from_python() -> None:
    assert {"calendar_timeline", "calendar_folder", "write_calendar"} <= set(aftercar.__all__)


# ---- the manual


MANUAL = (Path(__file__).parents[1] / "docs" / "calendar.md").read_text()


def test_the_manual_names_every_column_word_and_topic() -> None:
    words = [*CALENDAR, *ITEMS, *COURSES, *STATUS.categories, *APPLIES.categories, *STATE.categories, *TOPICS]
    assert [w for w in words if f"`{w}" not in MANUAL] == []


def test_the_items_that_the_manual_shows_are_items(tmp_path: Path) -> None:
    lines = MANUAL.split("## Your own items")[1].splitlines()
    write(tmp_path, "\n".join(line[4:] for line in lines if line.startswith("    ") or not line))
    assert check_items(tmp_path) == [] and calendar_items(tmp_path)
