"""Registry drafts: complete, as worked out by hand, never sure of what nobody charted; decisions that outlive a draft; exports that REDCap takes."""

from __future__ import annotations

import csv as csv_files
import io
import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from commands import run
from polars import col, lit
from polars.testing import assert_frame_equal

from aftercar.errors import InputError, OptionError
from aftercar.grade.folder import grade_folder, on_this_machine
from aftercar.grade.options import Options
from aftercar.registry import decisions, export, forms, neuro, periods
from aftercar.registry.decisions import DECISION_LOG
from aftercar.registry.draft import DRAFT, KEY, Draft, draft_folder, draft_timeline
from aftercar.registry.folder import read_reviewed, write_draft
from aftercar.report.registry import registry_page
from aftercar.timeline.schema import REJECTED, conform
from aftercar.timeline.statements import as_given, read_statements
from aftercar.timeline.store import Imported, import_folder, write_timeline

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "cohort"
HAND = pl.read_csv(Path(__file__).with_name("registry_by_hand.csv"), infer_schema=False)
CIBMTR = forms.form_named("cibmtr_4100")
FORMS = [forms.form_named(n) for n in forms.NAMES]
BY_ID = [pytest.param(f, id=f.id) for f in FORMS]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example cohort, graded by the scales that are graded without asking."""
    room = tmp_path_factory.mktemp("registry")
    import_folder(EXAMPLE, room / "timeline", EXAMPLE / "mapping.toml")
    grade_folder(room / "timeline", room / "grades", ["crs", "icans"], engine=on_this_machine(1))
    return room / "grades"


@pytest.fixture(scope="module")
def cibmtr(results: Path) -> Draft:
    return draft_folder(results, "cibmtr_4100")


@pytest.fixture(scope="module")
def timeline(results: Path) -> pl.DataFrame:
    return pl.read_parquet(results.parent / "timeline" / "data" / "*.parquet")


def drafted(timeline: pl.DataFrame, form: forms.Form = CIBMTR, asked: tuple[str, ...] = ("day100",)) -> pl.DataFrame:
    revision, fields = form.of()
    return draft_timeline(conform(timeline).lazy(), form, fields, revision, asked, Options(), read_statements("nowhere"))[0]


def answer(
    answers: pl.DataFrame, field: str, subject: str | None = None, period: str = "day100", infusion: int = 1
) -> str | None:
    own = answers.filter((col("field") == field) & (col("period") == period) & (col("infusion") == infusion))
    (row,) = own.filter(col("subject_id") == subject).rows(named=True) if subject else own.rows(named=True)
    return "not_asked" if row["status"] == "not_asked" else row["answer"]


# ---- the forms


@pytest.mark.parametrize("form", BY_ID)
def test_a_form_keeps_the_rules(form: forms.Form) -> None:
    seen: dict[str, forms.Field] = {}
    for one in form.fields:
        assert one.id not in seen and len(one.name) <= forms.LONGEST and re.fullmatch(r"[a-z][a-z0-9]*\.[a-z0-9_]+", one.id), (
            one.id
        )
        assert one.type in forms.TYPES and one.ask and one.mark in ("V", "M") and one.source in form.sources, one.id
        assert (one.mark == "M") == (one.source == "memory"), one.id
        assert set(one.periods) <= {"first", "later"} and set(one.revisions) <= set(form.revisions) and one.revisions, one.id
        assert bool(one.choices) == (one.type in forms.CODED), one.id
        assert len(set(one.codes.values())) == len(one.codes) and (
            not one.codes or one.codes[forms.UNKNOWN] == forms.UNKNOWN_CODE
        )
        if one.when is not None:
            parent, answers = one.when
            assert set(answers) <= set(seen[parent].codes) - {forms.UNKNOWN}, (
                f"{one.id} stands before its parent, or asks for no answer of it"
            )
            assert set(one.revisions) <= set(seen[parent].revisions), one.id
        seen[one.id] = one


@pytest.mark.parametrize("form", BY_ID)
def test_every_derivation_that_a_form_names_exists(form: forms.Form, results: Path) -> None:
    asked = ["all"] if "later" in form.periods else None
    assert draft_folder(results, form.id, periods=asked).answers.height  # a name that is none fails here


def test_no_question_is_named_by_its_number() -> None:
    for name in forms.NAMES:
        text = (ROOT / "src/aftercar/registry" / f"{name}.toml").read_text(encoding="utf-8")
        assert not re.search(r"\bq(uestion)?s? ?\d", text, re.IGNORECASE)


def test_revisions_differ_where_they_must() -> None:
    old, new = ({f.id for f in CIBMTR.of(r)[1]} for r in ("R4.0", "current"))
    assert new - old == {"crs.reported", "crs.grade", "neuro.reported", "neuro.grade"} and not old - new
    with pytest.raises(OptionError, match="R5"):
        CIBMTR.of("R5")


# ---- the example cohort


def test_the_draft_is_complete(cibmtr: Draft) -> None:
    """Every field of every course, each answer one that the field takes, with a reason; and its sources are in the files."""
    rows = cibmtr.answers
    fields = {f.id: f for f in CIBMTR.of()[1]}
    assert rows.height == 40 * len(fields) and rows.select(KEY).is_duplicated().sum() == 0
    assert list(rows.columns) == list(DRAFT) and rows["reason"].null_count() == 0 and rows["mark"].null_count() == 0
    for row in rows.iter_rows(named=True):
        one = fields[row["field"]]
        assert (row["answer"] is None) == (row["status"] == "not_asked") and (row["answer"] == "unknown") == (
            row["status"] == "unknown"
        )
        if row["status"] == "drafted":
            assert decisions.canonical(one, row["answer"]) == row["answer"], row["field"]
            assert (row["answer_code"] is not None) == (one.type in forms.CODED), row["field"]
            assert row["rule"] == f"{one.derive}@1"
            assert (row["source"] is not None) == bool(row["evidence"])
        if one.derive is None and row["status"] != "not_asked":
            assert row["status"] == "unknown"
    lost = rows.filter((col("status") == "drafted") & col("answer").is_in(["yes", "known"]) & (col("evidence").list.len() == 0))
    assert lost.filter(col("field") != "crs.reported").is_empty(), "a yes without a row behind it"
    cited = rows.select("subject_id", event_id="evidence").explode("event_id").drop_nulls().unique()
    assert cited.join(cibmtr.evidence, on=["subject_id", "event_id"], how="anti").is_empty()


def test_the_answers_are_those_worked_out_by_hand(cibmtr: Draft) -> None:
    """Five awkward patients, all fields; `part.*` stands for the fields of a part that have no line of their own."""
    asked = pl.when(col("status").cast(pl.String) == "not_asked").then(lit("not_asked")).otherwise("answer")
    rows = cibmtr.answers.filter(col("subject_id").is_in(HAND["subject_id"].unique().implode()))
    rows = rows.with_columns(said=asked, part=col("field").str.replace(r"\..*", ".*"))
    rows = rows.join(HAND.select("subject_id", "field", own="answer"), on=["subject_id", "field"], how="left")
    rows = rows.join(HAND.select("subject_id", part="field", rest="answer"), on=["subject_id", "part"], how="left").with_columns(
        hand=pl.coalesce("own", "rest")
    )
    assert rows.height == 5 * len(CIBMTR.of()[1]) and rows["hand"].null_count() == 0
    assert rows.filter(col("said") != col("hand")).select("subject_id", "field", "said", "hand").rows() == []
    named = HAND.filter(~col("field").str.ends_with("*"))
    assert named.join(rows, on=["subject_id", "field"], how="anti").is_empty(), "a line for a field that is none"


def test_who_has_no_infusion_is_asked_nothing(cibmtr: Draft) -> None:
    own = cibmtr.answers.filter(col("subject_id") == "P-010")
    assert own["status"].unique().to_list() == ["not_asked"] and "no infusion" in own["reason"][0]


@pytest.mark.parametrize(
    ("subject", "field", "said"),
    [
        ("P-008", "crs.present", "unknown"),  # thirty hours without a round
        ("P-028", "crs.grade", "unknown"),  # a cannula without a flow: 2 or 3
        ("P-028", "crs.o2_rich", "unknown"),
        ("P-012", "crs.ppv", "no"),  # CPAP as before the infusion
        ("P-032", "neuro.present", "unknown"),  # ICE not done for three days
        ("P-033", "neuro.lowest", "unknown"),  # 6 or 7: an item is missing
        ("P-031", "crs.pressors", "no"),
        ("P-037", "crs.pressors_n", "2_or_more"),
        ("P-026", "crs.bp_other_what", "Dobutamine"),
        ("P-030", "crs.ppv", "no"),  # the shock of day 36 was put down to an infection
        ("P-027", "crs.resolved_date", "2024-04-10"),  # of the second episode
        ("P-034", "neuro.seizure_gr", "3"),
        ("P-038", "neuro.seizure_type", "status"),
        ("P-038", "neuro.oedema_gr", "4"),
        ("P-038", "blood.anc", "yes"),
        ("P-039", "neuro.drowsy", "unknown"),  # sedated
        ("P-001", "blood.anc", "never_below"),
        ("P-022", "survival.cause", "progression"),
        ("P-018", "disease.relapse", "yes"),
    ],
)
def test_what_is_awkward_is_answered_as_it_should(cibmtr: Draft, subject: str, field: str, said: str) -> None:
    assert answer(cibmtr.answers, field, subject) == said


def test_ebmt_has_onset_resolution_and_grade_of_the_scales(results: Path) -> None:
    own = draft_folder(results, "ebmt_day100").answers
    worst = pl.read_parquet(results / "worst.parquet").filter((col("scale") == "crs_astct2019") & (col("grade") >= 1))
    for subject, low, high in worst.select("subject_id", "grade", "grade_upper").iter_rows():
        assert answer(own, "crs.grade", subject) == (str(low) if low == high else "unknown"), subject
    first = pl.read_parquet(results / "episodes.parquet").filter((col("scale") == "crs_astct2019") & (col("episode") == 1))
    for subject, onset in first.select("subject_id", "onset").iter_rows():
        assert answer(own, "crs.date", subject) == str(onset.date()), subject
    assert answer(own, "icans.resolved", "P-040") == "no"  # sedated until death: nobody saw it end


def test_a_grade_that_two_readers_locked_goes_before_software(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(command: str, *words: object) -> int:
        return run("adjudicate", command, own, *words, capsys=capsys)[0]

    shutil.copytree(results.parent, tmp_path / "own")
    own = tmp_path / "own" / "grades"
    for who in ("Ann", "Bob"):
        assert said("grade", "--subject", "P-028", "--toxicity", "crs", "--grade", 3, "--by", who) == 0
    assert said("lock", "--subject", "P-028", "--toxicity", "crs", "--by", "Ann", "--by", "Bob") == 0
    with pytest.raises(InputError, match="said more"):
        draft_folder(own, "ebmt_day100")
    grade_folder(own.parent / "timeline", own, ["crs"], engine=on_this_machine(1))
    row = draft_folder(own, "ebmt_day100").answers.filter((col("subject_id") == "P-028") & (col("field") == "crs.grade"))
    assert row["answer"].item() == "3" and row["reason"].item() == "locked by Ann and Bob"


# ---- unknown is not no


@pytest.mark.parametrize(
    "hidden",
    [["temperature"], ["sbp", "map"], ["o2_device", "o2_flow", "fio2"], ["o2_flow", "fio2"], ["ice", "consciousness"], ["record_complete"], ["anc"], ["last_follow_up"]],
    ids="+".join,
)  # fmt: skip
def test_hiding_records_makes_no_new_no(timeline: pl.DataFrame, cibmtr: Draft, hidden: list[str]) -> None:
    some = ["P-002", "P-013", "P-025", "P-034", "P-036", "P-037", "P-038", "P-040"]
    own = drafted(timeline.filter(col("subject_id").is_in(some) & ~col("code").is_in(hidden)))
    denied = own.filter(
        col("answer").is_in(["no", "none", "never_below"]) & (col("field") != "crs.reported") & (col("field") != "neuro.reported")
    )
    before = cibmtr.answers.select(*KEY, was="answer")
    new = denied.join(before, on=list(KEY), how="left").filter(col("was").is_null() | (col("was") != col("answer")))
    assert new.select("subject_id", "field", "answer", "was").rows() == []


@pytest.mark.parametrize("part", [30, 60, 120])
def test_a_record_that_ends_early_denies_nothing_later(timeline: pl.DataFrame, part: int) -> None:
    """Of P-001, who never has anything, the first hours alone."""
    own = timeline.filter((col("subject_id") == "P-001") & ~col("code").is_in(["last_follow_up", "record_complete"]))
    zero = own.filter(col("code") == "cart_infusion")["time"].item()
    answers = drafted(own.filter(col("time") < zero + pl.duration(hours=part)))
    for field in ("crs.present", "neuro.present", "further.cells", "disease.relapse"):
        assert answer(answers, field) == "unknown", field


def test_nothing_charted_but_the_infusion() -> None:
    answers = drafted(pl.DataFrame({"subject_id": [1], "time": [datetime(2024, 1, 1, 12)], "code": ["cart_infusion"]}))
    said = answers.filter(col("status") == "drafted")["field"].to_list()
    assert said == ["infusion.date", "survival.contact", "survival.status"]
    assert answers.height == len(CIBMTR.of()[1])


def test_no_subject_at_all() -> None:
    assert drafted(pl.DataFrame(schema={"subject_id": pl.Int64, "time": pl.Datetime("us"), "code": pl.String})).is_empty()


# ---- periods

DAY0 = datetime(2024, 1, 31, 10)


def charted(*rows: tuple[Any, ...]) -> pl.DataFrame:
    """Rows `day, code, number, word` of subject 1, and the infusion."""
    every = [(0.0, "cart_infusion", None, "axi-cel"), *rows]
    frame = pl.DataFrame(
        every, schema={"d": pl.Float64, "code": pl.String, "numeric_value": pl.Float64, "text_value": pl.String}, orient="row"
    )
    return frame.select(
        "code", "numeric_value", "text_value", subject_id=lit(1), source=lit("x.csv:1"),
        time=(lit(DAY0) + pl.duration(seconds=(col("d") * 86_400).round(0).cast(pl.Int64))).cast(pl.Datetime("us")),
    ).sort("time")  # fmt: skip


def fever(day: float, days: float = 0.5) -> list[tuple[Any, ...]]:
    hot = [(day + k / 6, "temperature", 39.0, None) for k in range(max(int(days * 6), 1))]
    return [
        *hot,
        *(
            (day + days + k / 6, c, v, w)
            for k in range(10)
            for c, v, w in (("temperature", 36.8, None), ("sbp", 120.0, None), ("o2_device", None, "room_air"))
        ),
    ]


def test_periods_meet_and_months_keep_to_the_calendar() -> None:
    courses = pl.DataFrame({"day0": [DAY0]}).with_columns(col("day0").cast(pl.Datetime("us")))
    ends = {n: courses.select(periods.last_day(n, col("day0"))).item() for n in periods.NAMES}
    assert str(ends["day100"]) == "2024-05-10" and str(ends["month6"]) == "2024-07-31" and str(ends["year1"]) == "2025-01-31"
    assert periods.periods_named(["all"], ("later",))[0] == "month6" and periods.periods_named(None, ("first", "later")) == (
        "day100",
    )
    with pytest.raises(OptionError, match="day100"):
        periods.periods_named(["week1"], ("first", "later"))
    with pytest.raises(OptionError, match="only day100"):
        periods.periods_named(["month6"], ("first",))


@pytest.mark.parametrize(("day", "first", "second"), [(100.9, "yes", "unknown"), (101.0, "no or unknown", "yes")])
def test_the_border_of_day_100(day: float, first: str, second: str) -> None:
    """Day 100 ends at midnight: day 0 is from 10:00 on, so 100.5 days later it is 22:00 of that day, and 100.6 days later day 101."""
    at = day - 0.4 if day < 101 else day - 0.416
    answers = drafted(charted(*fever(at, 0.1), (200.0, "last_follow_up", None, None)), asked=("day100", "month6"))
    assert answer(answers, "crs.present", period="day100") in first.split(" or ")
    assert answer(answers, "crs.present", period="month6") in (second, "yes")


def test_what_goes_on_into_the_next_period_was_reported_before() -> None:
    answers = drafted(charted(*fever(99.5, 3.0), (200.0, "last_follow_up", None, None)), asked=("day100", "month6"))
    assert answer(answers, "crs.reported") == "no" and answer(answers, "crs.resolved") == "no"
    assert answer(answers, "crs.present", period="month6") == "yes" and answer(answers, "crs.reported", period="month6") == "yes"
    assert answer(answers, "crs.resolved", period="month6") == "yes"
    assert answer(answers, "crs.date", period="month6") == answer(answers, "crs.date")


def test_a_second_infusion_ends_the_period_and_opens_its_own() -> None:
    rows = charted(*fever(2.0), (40.0, "cart_infusion", None, "cilta-cel"), *fever(42.0), (300.0, "last_follow_up", None, None))
    answers = drafted(rows, asked=("day100", "month6"))
    assert answer(answers, "further.cells") == "yes" and answer(answers, "further.cells_date") == "2024-03-11"
    assert answer(answers, "crs.date") == "2024-02-02" and answer(answers, "crs.date", infusion=2) == "2024-03-13"
    assert answer(answers, "infusion.product", infusion=2) == "cilta-cel" and answer(answers, "further.cells", infusion=2) == "no"
    later = answers.filter((col("infusion") == 1) & (col("period") == "month6"))
    assert later["status"].unique().to_list() == ["not_asked"] and "another infusion" in later["reason"][0]


def test_blood_that_recovered_before_is_reported_before() -> None:
    counts = [
        (float(d), "anc", v, None) for d, v in ((1, 900.0), (5, 300.0), (10, 600.0), (12, 700.0), (14, 800.0), (120, 2000.0))
    ]
    answers = drafted(charted(*counts), asked=("day100", "month6"))
    assert answer(answers, "blood.anc") == "yes" and answer(answers, "blood.anc_date") == "2024-02-10"
    assert answer(answers, "blood.anc", period="month6") == "previously_reported"


def test_platelets_under_transfusion_are_no_recovery() -> None:
    counts = [
        (float(d), "platelets", v, None)
        for d, v in ((1, 60.0), (5, 10.0), (7, 30.0), (8, 40.0), (9, 50.0), (20, 60.0), (21, 70.0), (22, 80.0))
    ]
    whole = charted(*counts, (6.0, "platelet_transfusion", 1.0, None))
    complete = (
        charted((0.0, "record_complete", None, "drugs"))
        .filter(col("code") == "record_complete")
        .with_columns(end_time=lit(datetime(2025, 1, 1)).cast(pl.Datetime("us")))
    )
    assert answer(drafted(whole), "blood.platelets") == "unknown"  # nobody says that all transfusions are charted
    answers = drafted(pl.concat([whole, complete], how="diagonal").sort("time"))
    assert answer(answers, "blood.platelets") == "yes" and answer(answers, "blood.platelets_date") == "2024-02-20"


def test_prophylaxis_that_goes_on_after_onset_is_therapy_of_crs_and_not_of_neurotoxicity() -> None:
    rows = charted(
        *fever(2.0, 1.0),
        (1.0, "dexamethasone", 10.0, "prophylaxis"),
        (2.5, "dexamethasone", 10.0, "prophylaxis"),
        (2.2, "ice", 6.0, None),
        (2.9, "ice", 10.0, None),
        (3.4, "ice", 10.0, None),
    )
    answers = drafted(rows)
    assert answer(answers, "crs.drugs") == "corticosteroids" and answer(answers, "neuro.therapy") == "unknown"


def test_late_events_of_the_nervous_system_go_to_the_later_forms() -> None:
    late = forms.form_named("ebmt_follow_up")
    rows = charted(
        (120.0, "mnt_sign", None, "rigidity"),
        (121.0, "mnt_sign", None, "bradykinesia"),
        (121.0, "mnt_grade", 2.0, None),
        (0.0, "target", None, "BCMA"),
        (300.0, "last_follow_up", None, None),
    )
    answers = drafted(rows, late, ("month6", "year1"))
    assert answer(answers, "late.present", period="month6") == "yes" and answer(answers, "late.kind", period="month6") == "mnt"
    assert answer(answers, "late.date", period="month6") == "2024-05-30"
    assert answer(answers, "late.present", period="year1") == "unknown"


@pytest.mark.parametrize(("score", "band"), [(10, "10"), (9, "7-9"), (7, "7-9"), (6, "3-6"), (3, "3-6"), (2, "0-2"), (0, "0-2")])
def test_bands_of_the_score(score: int, band: str) -> None:
    assert pl.DataFrame({"s": [float(score)]}).select(neuro._band("s")).item() == band


# ---- decisions


@pytest.fixture
def folder(cibmtr: Draft, tmp_path: Path) -> Path:
    return write_draft(cibmtr, tmp_path / "draft", registry_page)


def say(folder: Path, **row: str) -> pl.DataFrame:
    """Record one decision; what could not be used comes back."""
    draft, _ = read_reviewed(folder)
    given = as_given(pl.DataFrame([{"rater": "Ann", **row}]), decisions.OPTIONAL)
    bad = pl.DataFrame()

    def rows(_: pl.DataFrame) -> pl.DataFrame:
        nonlocal bad
        good, bad = decisions.decided(draft.answers, draft.evidence, draft.form, given)
        return good

    DECISION_LOG.append(folder, rows)
    return bad


def state(folder: Path, field: str, subject: str = "P-013") -> tuple[str, str | None]:
    row = read_reviewed(folder)[1].filter((col("field") == field) & (col("subject_id") == subject)).row(0, named=True)
    return str(row["review"]), row["decided"]


def test_decisions_are_kept_and_the_latest_counts(folder: Path, cibmtr: Draft) -> None:
    assert say(folder, subject_id="P-013", field="crs.present", decision="accept").is_empty()
    assert say(
        folder, subject_id="P-013", field="crs.date", decision="correct", answer="2024-02-16", comment="note of the night"
    ).is_empty()
    assert say(folder, subject_id="P-013", field="crs.grade", decision="unknown").is_empty()
    assert say(folder, subject_id="P-013", field="crs.grade", decision="correct", answer="2", rater="Bob").is_empty()
    assert state(folder, "crs.present") == ("accepted", "yes") and state(folder, "crs.date") == ("corrected", "2024-02-16")
    assert state(folder, "crs.grade") == ("corrected", "2")
    before = DECISION_LOG.read(folder)
    write_draft(cibmtr, folder, registry_page)  # made anew
    assert_frame_equal(DECISION_LOG.read(folder), before)
    assert DECISION_LOG.verify(folder).is_empty() and state(folder, "crs.date") == ("corrected", "2024-02-16")


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"subject_id": "P-999", "field": "crs.present", "decision": "accept"}, "subject_id"),
        ({"subject_id": "P-013", "field": "crs.presence", "decision": "accept"}, "field"),
        ({"subject_id": "P-013", "field": "crs.present", "decision": "agree"}, "decision"),
        ({"subject_id": "P-013", "field": "crs.fluids", "decision": "accept"}, "decision"),
        ({"subject_id": "P-013", "field": "crs.present", "decision": "correct", "answer": "perhaps"}, "answer"),
        ({"subject_id": "P-013", "field": "crs.date", "decision": "correct", "answer": "2024-02-31"}, "answer"),
        ({"subject_id": "P-013", "field": "crs.present", "decision": "accept", "answer": "yes"}, "answer"),
        ({"subject_id": "P-013", "field": "crs.present", "decision": "accept", "infusion": "2"}, "infusion"),
        ({"subject_id": "P-013", "field": "crs.present", "decision": "accept", "period": "month6"}, "period"),
        ({"subject_id": "P-013", "field": "crs.present", "decision": "accept", "drafted": "no"}, "drafted"),
        ({"subject_id": "P-013", "field": "crs.present", "decision": "accept", "said_at": "2999-01-01"}, "said_at"),
        ({"subject_id": "P-013", "field": "crs.present", "decision": "accept", "rater": ""}, "rater"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_decision_that_cannot_be_used_says_why(folder: Path, row: dict[str, str], column: str) -> None:
    bad = say(folder, **row)
    assert bad["column"].to_list() == [column] and DECISION_LOG.read(folder).is_empty()


def test_new_data_show_which_decisions_they_no_longer_bear_out(
    results: Path, folder: Path, timeline: pl.DataFrame, tmp_path: Path
) -> None:
    """A fever that was charted later, a row that only moved, and a value that was corrected under the same answer."""
    for field in ("crs.date", "crs.fever", "infusion.date", "blood.anc_date"):
        assert say(folder, subject_id="P-013", field=field, decision="accept").is_empty()
    fresh = timeline.with_columns(source=col("source").str.replace(r":(\d+)", ":9$1"), event_id=col("event_id") + 1000)
    first = col("subject_id").eq("P-013") & col("code").eq("temperature") & col("numeric_value").eq(38.5)
    begun = fresh.filter(first).sort("time").head(1)["time"].item()
    fresh = fresh.with_columns(
        time=pl.when(first & (col("time") == begun)).then(col("time") - pl.duration(hours=3)).otherwise("time")
    )
    write_timeline(
        Imported(timeline=conform(fresh), rejected=pl.DataFrame(schema=REJECTED), read=fresh.height, accepted=fresh.height),
        tmp_path / "t",
    )
    grade_folder(tmp_path / "t", tmp_path / "g", ["crs"], engine=on_this_machine(1))
    write_draft(draft_folder(tmp_path / "g", "cibmtr_4100"), folder, registry_page)
    assert state(folder, "crs.date") == ("changed", "2024-02-17") and state(folder, "crs.fever") == ("changed", "yes")
    assert state(folder, "infusion.date")[0] == "accepted" and state(folder, "blood.anc_date")[0] == "accepted"
    rows = read_reviewed(folder)[1].filter((col("field") == "crs.date") & (col("subject_id") == "P-013"))
    assert rows["answer"].item() == "2024-02-16" and rows["decided_was"].item() == "2024-02-17"
    assert "changed since accepted: 2024-02-17" in (folder / "draft.html").read_text()
    only = export.long(*read_reviewed(folder), only="accepted")
    assert only["field"].to_list() == ["infusion.date", "blood.anc_date"]


def test_a_log_that_was_changed_stops_both_review_and_draft(folder: Path, cibmtr: Draft) -> None:
    say(folder, subject_id="P-013", field="crs.present", decision="accept")
    log = DECISION_LOG.read(folder).with_columns(answer=lit("no"))
    log.write_parquet(folder / DECISION_LOG.file, metadata={"head": log["hash"][-1]})
    with pytest.raises(InputError, match="changed by other means"):
        say(folder, subject_id="P-013", field="crs.date", decision="accept")
    with pytest.raises(InputError, match="decision 1 changed"):
        write_draft(cibmtr, folder, registry_page)


def test_a_draft_of_another_form_takes_nobodys_place(folder: Path, results: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cibmtr_4100"):
        write_draft(draft_folder(results, "ebmt_day100"), folder, registry_page)
    with pytest.raises(InputError, match="results of grading"):
        write_draft(draft_folder(results, "ebmt_day100"), results, registry_page)


def test_a_draft_that_fails_leaves_the_old_one_and_its_decisions(folder: Path, cibmtr: Draft) -> None:
    say(folder, subject_id="P-013", field="crs.present", decision="accept")
    before = {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}

    def broken(*_: object) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_draft(cibmtr, folder, broken)
    assert {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")} == before


# ---- exports


def parsed(table: pl.DataFrame) -> list[dict[str, str]]:
    """A table as another program reads its CSV."""
    return list(csv_files.DictReader(io.StringIO(table.write_csv())))


def redcap_faults(dictionary: list[dict[str, str]], rows: list[dict[str, str]], repeating: str) -> list[str]:
    """What REDCap would refuse, by its published rules, read here without the code that made the files."""
    faults, fields = [], {}
    for line in dictionary:
        name, kind, choices = line["Variable / Field Name"], line["Field Type"], line["Choices, Calculations, OR Slider Labels"]
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,25}", name) or "__" in name or name.endswith("_") or name in fields:
            faults.append(f"name {name}")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", line["Form Name"]) or not line["Field Label"]:
            faults.append(f"form or label of {name}")
        if kind not in ("text", "radio", "checkbox", "dropdown", "notes", "calc", "descriptive", "yesno", "truefalse"):
            faults.append(f"type of {name}")
        coded: list[str] = []
        if kind in ("radio", "checkbox", "dropdown"):
            for part in choices.split("|"):
                code, comma, label = part.strip().partition(",")
                if not comma or not re.fullmatch(r"[A-Za-z0-9_.\-]+", code.strip()) or not label.strip():
                    faults.append(f"choices of {name}")
                coded.append(code.strip())
            if len(set(coded)) != len(coded) or not coded:
                faults.append(f"codes of {name}")
        elif choices:
            faults.append(f"choices of {name}, which takes none")
        if line["Text Validation Type OR Show Slider Number"] not in ("", "date_ymd", "number", "integer"):
            faults.append(f"validation of {name}")
        logic = line["Branching Logic (Show field only if...)"]
        for other, code in re.findall(r"\[(\w+)\] = '(\w+)'", logic):
            if other not in fields or code not in fields[other][1]:
                faults.append(f"branching of {name}")
        if logic and re.sub(r"\[\w+\] = '\w+'", "x", logic).replace("x or ", "") != "x":
            faults.append(f"branching of {name}: {logic}")
        fields[name] = (kind, coded, line["Text Validation Type OR Show Slider Number"], logic, line["Form Name"])
    if next(iter(fields)) != "record_id" or len({f[4] for f in fields.values()}) != 2:
        faults.append("first field, or forms")
    seen = set()
    for row in rows:
        key = (row["record_id"], row["redcap_repeat_instrument"], row["redcap_repeat_instance"])
        if (
            key in seen
            or row["redcap_repeat_instrument"] != repeating
            or not row["redcap_repeat_instance"].isdigit()
            or not row["record_id"]
        ):
            faults.append(f"instance {key}")
        seen.add(key)
        for name, value in row.items():
            field, tick, code = name.partition("___")
            if field in ("redcap_repeat_instrument", "redcap_repeat_instance", "redcap_event_name", f"{repeating}_complete"):
                continue
            if field not in fields or (tick and (fields[field][0] != "checkbox" or code not in fields[field][1])):
                faults.append(f"column {name}")
                continue
            kind, coded, validation, logic, _ = fields[field]
            if kind == "checkbox" and not tick:
                faults.append(f"column {name}")
            if not value:
                continue
            fits = {"checkbox": value in ("0", "1"), "radio": value in coded}.get(kind, True)
            fits &= validation != "date_ymd" or bool(re.fullmatch(r"\d{4}-\d\d-\d\d", value))
            fits &= validation != "number" or bool(re.fullmatch(r"-?\d+(\.\d+)?", value))
            if not fits:
                faults.append(f"value of {name}: {value}")
            shown = not logic or any(row.get(other) == code for other, code in re.findall(r"\[(\w+)\] = '(\w+)'", logic))
            if not shown:
                faults.append(f"value of {name}, which is hidden")
    return faults


@pytest.mark.parametrize("form", BY_ID)
def test_redcap_would_take_the_dictionary_and_the_file(form: forms.Form, results: Path) -> None:
    draft = draft_folder(results, form.id, periods=["all"] if form.id != "ebmt_day100" else None)
    rows = decisions.reviewed(draft.answers, draft.evidence, pl.DataFrame(schema=decisions.DECISIONS))
    dictionary = export.dictionary(draft)
    assert tuple(dictionary.columns) == export.DICTIONARY and len(export.DICTIONARY) == 18
    file = export.redcap(draft, rows, event="report_arm_1")
    assert file.columns[1] == "redcap_event_name"
    assert redcap_faults(parsed(dictionary), parsed(file), form.id) == []
    told = {line["Variable / Field Name"] for line in parsed(dictionary) if line["Identifier?"] == "y"}
    assert told == {export.RECORD, *(f.name for f in draft.form.of(draft.revision)[1] if f.type == "date")}


def test_the_check_of_redcap_can_fail(cibmtr: Draft) -> None:
    rows = decisions.reviewed(cibmtr.answers, cibmtr.evidence, pl.DataFrame(schema=decisions.DECISIONS))
    dictionary, file = parsed(export.dictionary(cibmtr)), parsed(export.redcap(cibmtr, rows))
    assert redcap_faults(dictionary, file, "cibmtr_4100") == []
    assert redcap_faults([d for d in dictionary if d["Variable / Field Name"] != "crs_present"], file, "cibmtr_4100")
    assert redcap_faults(dictionary, [f | {"crs_present": "7"} for f in file], "cibmtr_4100")
    assert redcap_faults(dictionary, [*file, file[0]], "cibmtr_4100")
    assert redcap_faults(
        [d | {"Variable / Field Name": d["Variable / Field Name"].upper()} for d in dictionary], file, "cibmtr_4100"
    )


def test_what_redcap_holds_is_what_was_exported(cibmtr: Draft, folder: Path) -> None:
    """Back from the dictionary and the file alone: every answer that is shown, unknown ones too."""
    say(folder, subject_id="P-013", field="crs.drugs", decision="correct", answer="tocilizumab; other")
    say(folder, subject_id="P-013", field="crs.therapy", decision="correct", answer="yes")
    draft, rows = read_reviewed(folder)
    dictionary, file = parsed(export.dictionary(draft)), parsed(export.redcap(draft, rows))
    labels = {(f.name, code): value for f in CIBMTR.fields for value, code, _ in f.choices}
    back: dict[tuple[str, str], str] = {}
    for row in file:
        for line in dictionary:
            name, kind = line["Variable / Field Name"], line["Field Type"]
            key = (row["record_id"], name.removesuffix("_unk"))
            if kind == "checkbox":
                ticked = [
                    labels[name, c]
                    for c in re.findall(r"(?:^|\| )(\w+),", line["Choices, Calculations, OR Slider Labels"])
                    if row[f"{name}___{c}"] == "1"
                ]
                if ticked:
                    back[key] = "; ".join(sorted(ticked))
            elif name.endswith("_unk") and row[name] == "1":
                back[key] = "unknown"
            elif row.get(name):
                back[key] = labels.get((name, row[name]), row[name])
    sent = export.standing(draft, rows)
    sent = sent.filter(export._shown(sent, CIBMTR.of()[1]) & col("final").is_not_null())
    want = {(str(s), f.replace(".", "_")): a for s, f, a in sent.select("subject_id", "field", "final").iter_rows()}
    assert {k: v for k, v in back.items() if not k[1].startswith(("about", "record"))} == want
    assert want["P-013", "crs_drugs"] == "other; tocilizumab"


def test_a_report_is_complete_once_all_that_is_asked_was_decided(folder: Path) -> None:
    draft, rows = read_reviewed(folder)
    assert "P-010" not in export.redcap(draft, rows)["record_id"]  # nothing is asked
    own = decisions.as_template(rows.filter(col("subject_id") == "P-002"), ["open"]).with_columns(
        decision=lit("accept"), rater=lit("Ann")
    )
    given = as_given(own, decisions.OPTIONAL)
    DECISION_LOG.append(folder, lambda _: decisions.decided(draft.answers, draft.evidence, draft.form, given.head(-1))[0])
    state_of = lambda: dict(export.redcap(*read_reviewed(folder)).select("record_id", "cibmtr_4100_complete").iter_rows())  # noqa: E731
    assert state_of()["P-002"] == "1"
    DECISION_LOG.append(folder, lambda _: decisions.decided(draft.answers, draft.evidence, draft.form, given.tail(1))[0])
    assert state_of()["P-002"] == "2" and state_of()["P-013"] == "1"
    accepted = export.redcap(*read_reviewed(folder), only="accepted")
    assert accepted["record_id"].to_list() == ["P-002"] and accepted["crs_present"].to_list() == ["0"]


def test_a_corrected_parent_opens_and_shuts_what_hangs_on_it(folder: Path) -> None:
    say(folder, subject_id="P-002", field="crs.present", decision="correct", answer="yes")
    say(folder, subject_id="P-013", field="crs.present", decision="correct", answer="no")
    found = export.standing(*read_reviewed(folder))
    own = dict(found.filter(col("subject_id") == "P-002").select("field", "final").iter_rows())
    assert own["crs.fever"] == "unknown" and own["crs.fever_date"] == "unknown"
    shut = found.filter((col("subject_id") == "P-013") & col("field").str.starts_with("crs.") & (col("field") != "crs.present"))
    assert shut["final"].null_count() == shut.height


def test_long_and_wide_hold_the_same(cibmtr: Draft, folder: Path) -> None:
    draft, rows = read_reviewed(folder)
    long, wide = export.long(draft, rows), export.wide(draft, rows)
    fields = [f.id for f in CIBMTR.of()[1]]
    again = wide.unpivot(on=fields, index=list(export.COURSE), variable_name="field", value_name="final")
    order = [*export.COURSE, "field"]
    assert_frame_equal(long.select(*order, "final").sort(order), again.select(*order, "final").sort(order))
    assert set(wide["included"]) == {"all"} and wide.height == 40


def test_simulated_patients_are_named_so_everywhere(timeline: pl.DataFrame, cibmtr: Draft, tmp_path: Path) -> None:
    draft = Draft(
        cibmtr.form,
        cibmtr.revision,
        cibmtr.periods,
        cibmtr.answers,
        cibmtr.evidence,
        cibmtr.courses,
        cibmtr.facts | {"simulated": True},
    )
    folder = write_draft(draft, tmp_path / "sim", registry_page)
    again, rows = read_reviewed(folder)
    export.write_export(again, rows, tmp_path / "l.csv")
    assert (
        pl.read_parquet(folder / "answers.parquet")["simulated"].all() and "Simulated data" in (folder / "draft.html").read_text()
    )
    assert "simulated" in (tmp_path / "l.csv").read_text().splitlines()[0]
    assert "simulated" in export.redcap(again, rows)["about_software"][0]


# ---- the commands


def test_the_commands(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def aftercar(*words: object) -> tuple[int, str, str]:
        return run("registry", *words, capsys=capsys)

    out = tmp_path / "draft"
    code, told, _ = aftercar("draft", results, "--form", "cibmtr_4100", "--out", out)
    assert code == 0 and "Cytokine release syndrome" in told
    assert aftercar("review", out, "--template", tmp_path / "open.csv")[0] == 0
    rows = pl.read_csv(tmp_path / "open.csv", infer_schema=False).filter(col("subject_id") == "P-013")
    accepted = pl.when(col("field").str.starts_with("crs")).then(lit("accept"))
    rows.with_columns(decision=accepted, rater=lit("Ann")).write_csv(tmp_path / "said.csv")
    code, told, _ = aftercar("review", out, "--file", tmp_path / "said.csv")
    assert code == 0 and re.search(r"\d+ decisions recorded", told)
    assert aftercar("review", out, "--accept", "crs.fluids", "--subject", "P-013", "--by", "Ann")[0] == 1
    assert aftercar("review", out, "--accept", "crs.date")[0] == 2  # of whom, and who says so
    assert aftercar("review", out, "--verify")[0] == 0 and aftercar("review", out, "--verify", "--head", "abc")[0] == 1
    assert (
        "crs.present" in aftercar("review", out, "--subject", "P-013")[1]
        and aftercar("review", out, "--subject", "P-999")[0] == 2
    )
    assert "crs.pressors_n" in aftercar("fields")[1]
    code, _, _ = aftercar("export", out, "--to", tmp_path / "i.csv", "--redcap", tmp_path / "dd.csv", "--only", "accepted")
    assert code == 0 and "accepted answers only" in (tmp_path / "i.csv").read_text()
    for wrong in (
        ("export", out, "--to", tmp_path / "x.txt"),
        ("export", tmp_path, "--to", tmp_path / "x.csv"),
        ("export", out, "--to", tmp_path / "x.csv", "--redcap", tmp_path / "x.csv"),
        ("draft", tmp_path, "--out", out),
        ("draft", results, "--out", results),
        ("draft", results, "--form", "cibmtr_4200", "--out", tmp_path / "new"),
        ("review", out, "--file", tmp_path / "none.csv"),
        ("review", out, "--accept", "crs.date", "--unknown", "crs.date"),
    ):
        code, _, error = aftercar(*wrong)
        assert code == 2 and error and "P-013" not in error, wrong
