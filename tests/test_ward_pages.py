"""The pages of a ward, on both databases: what each role sees and does, and what is kept of it."""

from __future__ import annotations

import html
import io
import os
import re
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
import sqlalchemy as sa
import ward_work

from aftercar.cohort import describe, needs
from aftercar.errors import InputError, OptionError
from aftercar.evidence.tables import tables as tables_of_evidence
from aftercar.grade.run import scales_named
from aftercar.manage.rules import DEFAULT_PROFILE, rulebook
from aftercar.registry.decisions import DECISION_LOG
from aftercar.report.figures import forest
from aftercar.simulate.run import Scenario, follow
from aftercar.synthesis import published
from aftercar.timeline.concepts import concepts
from aftercar.timeline.statements import broken
from aftercar.ward import accounts, audit, decisions, intake, record, statements, tables
from aftercar.ward.accounts import Person, Role
from aftercar.ward.database import Database, opened
from aftercar.ward.jobs import MOST_WAITING, Jobs
from aftercar.ward.overview import line, rounds
from aftercar.ward.ward import Ward
from aftercar.web import course, simulated
from aftercar.web.app import create_app
from aftercar.web.cds import cards
from aftercar.web.pages import safety
from aftercar.web.settings import Settings

with warnings.catch_warnings(action="ignore"):  # that httpx serves here; what it would rather have is not needed
    from fastapi.testclient import TestClient

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
ROLES = {"ann": Role.ADJUDICATOR, "ben": Role.ADJUDICATOR, "rea": Role.READER, "cat": Role.CHARTING, "adm": Role.ADMINISTRATOR}
ZERO = datetime(2026, 3, 4, 10)


@dataclass
class Served:
    """A ward that is served, with browsers of several people."""

    ward: Ward
    app: object

    def browser(self, name: str) -> Browser:
        """A browser in which somebody is signed in."""
        with self.ward.database.writing() as connection:
            secret = accounts.sign_in(connection, Person(name, ROLES[name]))
            found = accounts.of_browser(connection, secret)
        assert found is not None
        client = TestClient(self.app, cookies={"aftercar": secret})  # type: ignore[arg-type]
        return Browser(client, found[0].csrf)


@dataclass
class Browser:
    """A browser: pages by path, forms with the token that their page has."""

    client: TestClient
    csrf: str

    def page(self, path: str, status: int = 200) -> str:
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    def send(self, path: str, status: int = 200, **form: object) -> str:
        answer = self.client.post(path, data={"csrf": self.csrf, **form})
        assert answer.status_code == status, answer.text
        return answer.text


def entries(subject: int, rows: list[tuple[float, str, object]]) -> pl.DataFrame:
    """Rows of hours after the infusion, concept, and value."""
    told = [
        {"time": (ZERO + timedelta(hours=h)).isoformat(), "code": code, "text_value": v}
        if isinstance(v, str)
        else {"time": (ZERO + timedelta(hours=h)).isoformat(), "code": code, "numeric_value": v, "unit": concepts()[code].unit}
        for h, code, v in rows
    ]
    read = intake.rows(told, subject, source="test")
    assert read.rejected.is_empty(), read.rejected
    return read.timeline


FEVER = [
    (0.0, "cart_infusion", "axi-cel"), (0.0, "age", 60), (0.0, "disease", "LBCL"), (20.0, "temperature", 38.9), (20.0, "sbp", 120), (20.0, "o2_device", "room_air"),
    (24.0, "temperature", 39.1), (24.0, "sbp", 118), (24.0, "o2_device", "nasal_cannula"), (24.0, "o2_flow", 2), (24.0, "spo2", 90), (28.0, "temperature", 37.0),
    (28.0, "sbp", 120), (28.0, "o2_device", "room_air"), (40.0, "ice", 10), (40.0, "consciousness", "alert"),
]  # fmt: skip


@pytest.fixture
def served(url: str) -> Iterator[Served]:
    """A ward with one patient and an account of each role, on a database of each kind."""
    database = opened(url)
    ward = Ward(database, ZoneInfo("UTC"), rulebook(DEFAULT_PROFILE, None), clock=lambda: NOW)
    with database.writing() as connection:
        for name, role in ROLES.items():
            accounts.add(connection, name, role, issuer="test", issued_to=name)
        number = record.register(connection, "T-1")
        record.add(connection, number, entries(number, FEVER), "test")
    with TestClient(create_app(ward, Settings(hosts=("testserver",)))) as client:
        yield Served(ward, client.app)


def log_of(database: Database) -> pl.DataFrame:
    with database.reading() as connection:
        return statements.log(connection)


CRS = {"infusion": "1", "toxicity": "crs", "scale": "crs_astct2019"}
AT = "/patients/1/adjudicate"


# ---- adjudication


def test_two_readers_lock_what_they_agree_on_and_neither_sees_the_other_before(served: Served) -> None:
    ann, ben, rea = served.browser("ann"), served.browser("ben"), served.browser("rea")
    assert "not adjudicated" in rea.page("/patients/1")
    assert "grade 2" in ann.page(AT)
    ann.send(f"{AT}/grade", **CRS, grade=3, comment="worse than charted")
    blind = ben.page(AT)
    assert "worse than charted" not in blind
    assert "1 other reader has graded" in blind
    assert "shown when you have graded" in blind
    assert "Give your own grade first" in ben.send(f"{AT}/agree", 422, **CRS)
    ben.send(f"{AT}/grade", **CRS, grade=2)
    seen = ben.page(AT)
    assert "ann <b>3</b>" in seen and "worse than charted" in seen
    assert "No other reader" in ben.send(f"{AT}/agree", 422, **CRS)  # they differ
    ann.send(f"{AT}/grade", **CRS, grade=2)
    ann.send(f"{AT}/agree", **CRS)
    assert "worst grade 2</b>, locked" not in rea.page("/patients/1")  # one alone locks nothing
    assert "agreed already" in ann.send(f"{AT}/agree", 422, **CRS)
    ben.send(f"{AT}/agree", **CRS)
    assert "worst grade 2</b>, locked by ann and ben" in rea.page("/patients/1")
    assert "CRS 2 adjudicated, ann and ben" in rea.page("/")
    assert "ann and ben locked grade 2 meanwhile" in ann.send(
        f"{AT}/grade", 422, **CRS, grade=4
    )  # from a page of before the lock
    assert "says why" in ben.send(f"{AT}/unlock", 422, **CRS, comment="")
    ben.send(f"{AT}/unlock", **CRS, comment="a new record came")
    assert "locked by" not in rea.page("/patients/1")
    log = log_of(served.ward.database)
    assert log["kind"].to_list() == ["grade", "grade", "grade", "lock", "lock", "unlock"]
    assert log["grade"].to_list() == [3, 2, 2, 2, 2, None]
    assert broken(log).is_empty()


def test_who_graded_is_told_that_the_record_has_changed_since(served: Served) -> None:
    ann, ben = served.browser("ann"), served.browser("ben")
    for reader in (ann, ben):
        reader.send(f"{AT}/grade", **CRS, grade=2)
    assert "The record has changed" not in ann.page(AT)
    ann.send(f"{AT}/attribute", events="1", cause="other")
    assert "The record has changed since you gave your grade" in ann.page(AT)
    ann.send(f"{AT}/grade", **CRS, grade=1)
    assert "The record has changed" not in ann.page(AT)
    assert "The record has changed" in ben.page(AT)
    ben.send(f"{AT}/grade", **CRS, grade=1)
    for reader in (ann, ben):
        reader.send(f"{AT}/agree", **CRS)
    assert "The record has changed" not in ben.page(AT)
    ann.send(f"{AT}/attribute", events="1", cause="iec")
    assert "The record has changed since this was locked" in ben.page(AT)


def test_a_grade_that_the_scale_does_not_have_is_refused_whole(served: Served) -> None:
    ann = served.browser("ann")
    for wrong in ({"grade": "7"}, {"grade": "x"}, {"grade": "2", "toxicity": "nothing"}, {"grade": "2", "infusion": "9"}):
        assert "Nothing was kept" in ann.send(f"{AT}/grade", 422, **{**CRS, **wrong})
    assert log_of(served.ward.database).is_empty()


def test_what_had_another_cause_no_longer_counts_and_the_former_result_stays(served: Served) -> None:
    ann, ben = served.browser("ann"), served.browser("ben")
    before = served.ward.found(1)
    assert before is not None
    crs = before.worst.filter(pl.col("scale") == "crs_astct2019")
    assert crs["grade"].to_list() == [2]
    charted = served.ward.timeline(1)
    oxygen = charted.filter(
        pl.col("code").is_in(["o2_device", "o2_flow", "spo2"]) & (pl.col("time") == ZERO + timedelta(hours=24))
    )
    ticks = [str(e) for e in oxygen["event_id"]]
    assert any(f'name="event" value="{e}"' in ann.page(AT) for e in ticks)
    assert "Tick the events" in ann.send(f"{AT}/attribute", 422, cause="other")
    assert "no row of that subject" in ann.send(f"{AT}/attribute", 422, cause="other", events="99999")
    ann.send(f"{AT}/attribute", event=ticks, cause="other", comment="pneumothorax")
    after = served.ward.found(1)
    assert after is not None and after.version == before.version + 1
    assert after.worst.filter(pl.col("scale") == "crs_astct2019")["grade"].to_list() == [1]
    formerly = served.ward.timeline(1, before.version)
    assert formerly.filter(pl.col("attributable_to") == "other").is_empty()
    assert (
        served.ward.timeline(1).filter(pl.col("attributable_to") == "other")["event_id"].to_list() == oxygen["event_id"].to_list()
    )
    assert "another cause" in ben.page(AT)  # causes are no secret among readers
    ben.send(f"{AT}/attribute", event=ticks, cause="iec")
    assert set(served.ward.timeline(1).filter(pl.col("event_id").is_in(oxygen["event_id"].implode()))["attributable_to"]) == {
        "unknown"
    }


def test_statements_of_several_patients_make_one_chain_that_shows_a_change(served: Served) -> None:
    ann = served.browser("ann")
    with served.ward.database.writing() as connection:
        other = record.register(connection, "T-2")
        record.add(connection, other, entries(other, FEVER), "test")
    ann.send(f"{AT}/grade", **CRS, grade=1)
    ann.send(f"/patients/{other}/adjudicate/grade", **CRS, grade=2)
    ann.send(f"{AT}/grade", **CRS, grade=2)
    log = log_of(served.ward.database)
    assert log["n"].to_list() == [1, 2, 3]
    assert broken(log).is_empty()
    forged = log.with_columns(grade=pl.when(pl.col("n") == 2).then(0).otherwise("grade").cast(pl.Int8))
    assert broken(forged)["n"].to_list() == [2]


def test_only_adjudicators_adjudicate_and_every_step_is_in_the_audit_trail_without_values(served: Served) -> None:
    for name in ("rea", "cat", "adm"):
        served.browser(name).page(AT, 403)
        served.browser(name).send(f"{AT}/grade", 403, **CRS, grade=1)
    served.browser("ann").send(f"{AT}/grade", **CRS, grade=1, comment="a secret word")
    with served.ward.database.reading() as connection:
        assert audit.verify(connection).broken is None
        trail = [dict(r) for r in connection.execute(tables.audit.select()).mappings()]
    assert [r["subject_id"] for r in trail if r["action"] == "statement.grade"] == [1]
    assert not any(re.search("secret", str(r)) for r in trail)


# ---- jobs


def until(done: Callable[[], bool], what: str) -> None:
    """Wait for something that happens in the background."""
    for _ in range(1500):
        if done():
            return
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come about")


@pytest.fixture
def jobs(served: Served) -> Iterator[Jobs]:
    """Jobs of other kinds than those of the server, beside them."""
    made = Jobs(served.ward.database, ward_work.WORKS)
    served.app.state.jobs.close()  # type: ignore[attr-defined]
    made.begin()
    yield made
    made.close()


ANN, BEN = Person("ann", Role.ADJUDICATOR), Person("ben", Role.ADJUDICATOR)


def test_jobs_are_done_in_the_order_in_which_they_were_asked_for(jobs: Jobs) -> None:
    asked = [jobs.ask(ANN, "sums", {"n": n}) for n in (3, 10)]
    until(lambda: all(not jobs.find(n).open for n in asked), "the end")
    assert [jobs.found(n) for n in asked] == [b"6", b"55"]
    last = jobs.find(asked[1])
    assert (last.state, last.done, last.all) == ("done", 10, 10)
    assert [j.job_id for j in jobs.latest("sums")] == asked[::-1]


def test_a_job_that_is_cancelled_stops_and_the_next_begins(jobs: Jobs, tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    endless = jobs.ask(ANN, "beats", {"file": str(beat)})
    after = jobs.ask(ANN, "sums", {"n": 2})
    never = jobs.ask(ANN, "sums", {"n": 2})
    until(beat.exists, "the beat")
    assert jobs.find(endless).state == "running"
    assert jobs.find(after).state == "waiting"  # one at a time
    with pytest.raises(InputError, match="another person's"):
        jobs.cancel(BEN, endless)
    jobs.cancel(ANN, never)
    jobs.cancel(ANN, endless)
    until(lambda: jobs.find(after).state == "done", "the next")
    pid = int(beat.read_text().split()[0])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert [jobs.find(n).state for n in (endless, never)] == ["cancelled", "cancelled"]
    jobs.cancel(ANN, after)
    assert jobs.find(after).state == "done"  # what has ended stays as it is
    assert jobs.found(endless) is None


@pytest.mark.parametrize(
    ("how", "said"), [("told", "That cannot be done."), ("fault", "ValueError"), ("killed", "for want of memory")]
)
def test_a_job_that_fails_says_why_without_a_value(jobs: Jobs, how: str, said: str) -> None:
    number = jobs.ask(ANN, "fails", {"how": how})
    until(lambda: not jobs.find(number).open, "the end")
    found = jobs.find(number)
    assert found.state == "failed"
    assert said in str(found.problem) and "39.1" not in str(found.problem)


def test_a_job_of_a_server_that_ended_is_told_as_failed_and_its_process_ends(jobs: Jobs, tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    number = jobs.ask(ANN, "beats", {"file": str(beat)})
    until(beat.exists, "the beat")
    jobs.close()
    assert jobs.find(number).state == "failed"
    with pytest.raises(ProcessLookupError):
        os.kill(int(beat.read_text().split()[0]), 0)
    with jobs.database.writing() as connection:  # as a server leaves it that was killed
        connection.execute(tables.job.update().where(tables.job.c.job_id == number), {"state": "running", "problem": None})
    anew = Jobs(jobs.database, ward_work.WORKS)
    anew.begin()
    found = anew.find(number)
    anew.close()
    assert found.state == "failed" and "server ended" in str(found.problem)


def test_the_process_of_a_job_ends_with_a_server_that_is_killed(url: str, tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    program = (
        "import sys, time; import ward_work; from aftercar.ward.jobs import Jobs; from aftercar.ward.database import opened; "
        "from aftercar.ward.accounts import Person, Role\n"
        f"if __name__ == '__main__':\n jobs = Jobs(opened({url!r}), ward_work.WORKS); jobs.begin(); "
        f"jobs.ask(Person('ann', Role.READER), 'beats', {{'file': {str(beat)!r}}}); time.sleep(600)\n"
    )
    (tmp_path / "server.py").write_text(program)
    server = subprocess.Popen(
        [sys.executable, str(tmp_path / "server.py")], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )
    until(lambda: beat.exists() and beat.read_text().strip() != "", "the beat")
    server.kill()
    server.wait()
    pid = int(beat.read_text().split()[0])

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
        except FileNotFoundError:
            return True

    until(gone, "the end of the process")


def test_nobody_can_ask_for_more_than_a_few_at_once(jobs: Jobs, tmp_path: Path) -> None:
    first = jobs.ask(ANN, "beats", {"file": str(tmp_path / "beat")})
    for _ in range(MOST_WAITING - 1):
        jobs.ask(ANN, "sums", {"n": 1})
    with pytest.raises(OptionError, match="not done yet"):
        jobs.ask(ANN, "sums", {"n": 1})
    jobs.ask(BEN, "sums", {"n": 1})
    jobs.cancel(ANN, first)


# ---- simulate


SIMULATED = "not a prediction for a person"
ASKED = {
    "product": "axi-cel",
    "disease": "LBCL",
    "policy": "standard",
    "burden": "2",
    "n": "130",
    "days": "12",
    "seed": "3",
    "drugs": "anakinra@day2-10",
}


@pytest.mark.slow
def test_a_simulation_runs_in_the_background_and_stands_beside_what_was_published(served: Served) -> None:
    rea = served.browser("rea")
    assert SIMULATED in rea.page("/simulate")
    answer = rea.client.post("/simulate", data={"csrf": rea.csrf, **ASKED})
    path = answer.url.path
    assert SIMULATED in answer.text and "Cancel" in answer.text
    until(lambda: "Beside what was published" in rea.page(path), "the simulation")
    page = rea.page(path)
    assert page.count("irtual patients") > 5
    assert "ZUMA-1" in page and "94 of 101" in page  # 93 per cent: the published rate with its source
    assert "<style" not in page and " style=" not in page
    result = simulated.found(served.app.state.jobs.found(path.rsplit("/")[-1]))  # type: ignore[attr-defined]
    assert result.worst["subject_id"].n_unique() == 130
    scenario = Scenario(
        "axi-cel", "LBCL", "standard", ("anakinra@day2-10",), (("tumour", 1.0),), 12.0
    )  # 0.5 of the disease, twice
    apart = follow(scenario, 130, 3, workers=1).graded(scales_named(["crs"])).worst
    assert result.worst.filter(pl.col("scale") == "crs_astct2019")["grade"].to_list() == apart["grade"].to_list()


def test_what_cannot_be_simulated_is_told_before_it_begins(served: Served) -> None:
    rea = served.browser("rea")
    for wrong in (
        {"product": "x"},
        {"n": "2001"},
        {"n": "0"},
        {"n": "1.5"},
        {"burden": "nan"},
        {"days": "1e9"},
        {"drugs": "water"},
        {"policy": "x"},
        {"seed": "-1"},
    ):
        assert "Not begun" in rea.send("/simulate", 422, **{**ASKED, **wrong})
    assert "None yet" in rea.page("/simulate")
    served.browser("adm").page("/simulate", 403)
    rea.page("/simulate/nothing", 422)


# ---- counting together


def test_the_cohort_counts_each_course_once_and_what_filters_leave_out_not_at_all(served: Served) -> None:
    rea = served.browser("rea")
    with served.ward.database.writing() as connection:
        calm = record.register(connection, "T-2")
        rows = [
            (h, c, "tisa-cel" if c == "cart_infusion" else 37.0 if c == "temperature" else v)
            for h, c, v in FEVER
            if c not in ("o2_flow", "spo2")
        ]
        record.add(connection, calm, entries(calm, [(h, c, "room_air" if c == "o2_device" else v) for h, c, v in rows]), "test")
        record.register(connection, "T-3")
    for number in (1, calm):
        served.ward.found(number)
    page = rea.page("/cohort")
    assert "1 of 2, 50%" in rate_of(page, "CRS")
    assert facts(page) == {"Patients": "2", "Courses": "2", "No infusion on record": "0", "Nothing charted": "1"}
    assert "1 of 1, 100%" in rate_of(rea.page("/cohort?product=axi-cel"), "CRS")
    assert "0 of 1, 0%" in rate_of(rea.page("/cohort?product=tisa-cel"), "CRS")
    assert "No patient of that product" in rea.page("/cohort?product=axi-cel&disease=MM")
    shift = rea.page("/cohort?first=crs&second=crs_lee2014")
    moved = re.findall(r"<caption>The same courses by worst grade: a row.*?</table>", shift, re.DOTALL)[0]
    assert sum(int(n) for n in re.findall(r'<td class="num">(\d+)</td>', moved)) == 2
    assert "two different scales" in rea.page("/cohort?first=crs&second=icans", 422)


def rate_of(page: str, scale: str) -> str:
    """The row of a scale, whoever it is of, in the table of courses that reached a grade."""
    table = re.findall(r"<caption>Courses that reached a grade.*?</table>", page, re.DOTALL)[0]
    return re.findall(rf'<tr><th scope="row">{scale}.*?</tr>', table, re.DOTALL)[0]


def facts(page: str) -> dict[str, str]:
    return dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))


def test_a_missing_input_gives_a_score_no_value_and_never_zero(served: Served) -> None:
    page = served.browser("rea").page("/patients/1/scores")
    easix = page[page.index("EASIX, Luft 2017</h2>") :][:2500]
    assert "no value: inputs are missing" in easix
    assert "ldh" in easix.lower()
    points = page[page.index("CAR-HEMATOTOX") :][:2500]
    assert "<td>0 to 7" in points  # of a table of points: between the least and the most
    assert "not charted in this window" in page


def test_evidence_shows_the_scale_beside_each_rate_and_warns_where_they_are_mixed(served: Served) -> None:
    rea = served.browser("rea")
    page = rea.page("/evidence")
    assert "cannot be ranked or pooled" in page
    one = rea.page("/evidence?product=axi-cel&endpoint=crs_any")
    assert "ZUMA-1" in one and "ELIANA" not in one.split("Where sources differ")[0]
    for name in tables_of_evidence():
        rea.page(f"/evidence/{name}")
    rea.page("/evidence/nothing", 404)


# ---- registering, and administration


NEW = {"label": "Ward-7", "age": "61", "weight": "80", "infused": "2026-03-08T09:30", "product": "liso-cel", "disease": "B-NHL", "ice_baseline": "9", "language": "Turkish", "hearing": "impaired", "complete_drugs": "on"}  # fmt: skip


def test_a_patient_is_registered_with_all_that_a_form_says_or_not_at_all(served: Served) -> None:
    cat = served.browser("cat")
    served.browser("rea").page("/patients/new", 403)
    for wrong in (
        {"label": ""},
        {"label": "T-1"},
        {"infused": "2026-03-11T09:30"},
        {"infused": "soon"},
        {"product": ""},
        {"infused": ""},
        {"age": "old"},
        {"weight": "-3"},
    ):
        assert "Nothing was kept" in cat.send("/patients/new", 422, **{**NEW, **wrong})
    with served.ward.database.reading() as connection:
        assert [p.label for p in record.patients(connection)] == ["T-1"]
    assert "day 2" in cat.send("/patients/new", **NEW)
    with served.ward.database.reading() as connection:
        who = record.labelled(connection, "Ward-7")
    assert who is not None and who.complete == ("drugs",)
    charted = served.ward.timeline(who.subject_id).filter(pl.col("event_id") >= 0)
    assert dict(charted.filter(pl.col("numeric_value").is_not_null()).select("code", "numeric_value").iter_rows()) == {
        "age": 61,
        "weight": 80,
        "ice_baseline": 9,
    }
    assert "Language: turkish; hearing: impaired" in cat.page(f"/patients/{who.subject_id}/enter")


def test_who_hears_badly_still_does_when_the_product_is_corrected(served: Served) -> None:
    cat = served.browser("cat")
    cat.send("/patients/new", label="T-3", infused="2026-03-09T10:00", product="axi-cell", language="Turkish", hearing="deaf")
    with served.ward.database.reading() as connection:
        own = record.labelled(connection, "T-3")
        assert own is not None
        infusion = next(e for e in record.history(connection, own.subject_id) if e["code"] == "cart_infusion")
    page = cat.send(f"/patients/{own.subject_id}/events/{infusion['event_id']}/correct", text="axi-cel")
    assert "Language: turkish; hearing: deaf" in page and "axi-cell" not in page


def test_a_patient_can_be_registered_before_the_infusion(served: Served) -> None:
    cat = served.browser("cat")
    early = {k: v for k, v in NEW.items() if k not in ("infused", "product", "language", "hearing")}
    assert "Record the infusion" in cat.send("/patients/new", **early)
    assert "Nothing was kept" in cat.send("/patients/2/infusion", 422, infused="", product="liso-cel")
    assert "day 0" in cat.send("/patients/2/infusion", infused="2026-03-10T08:00", product="liso-cel")


def test_the_administrator_keeps_accounts_and_reads_no_record(served: Served) -> None:
    adm = served.browser("adm")
    for path in ("/", "/patients/1", "/cohort", "/patients/1/scores"):
        adm.page(path, 403)
    assert "The account was added" in adm.send(
        "/administration/accounts", name="dan", role="reader", password="long enough words"
    )
    for wrong in (
        {"name": "dan"},
        {"role": "king"},
        {"password": "short"},
        {"name": "a b"},
        {"issuer": "https://hospital.example"},
    ):
        told = {"name": "eve", "role": "reader", "password": "long enough words", **wrong}
        assert "Nothing was changed" in adm.send("/administration/accounts", 422, **told)
    adm.send("/administration/accounts/dan", role="charting")
    adm.send("/administration/accounts/dan", active="off")
    for own in ({"active": "off"}, {"role": "reader"}):
        assert "nobody takes their own role away" in adm.send("/administration/accounts/adm", 422, **own)
    with served.ward.database.reading() as connection:
        dan = next(a for a in accounts.everyone(connection) if a["name"] == "dan")
        assert (dan["role"], dan["active"]) == ("charting", False)
    ann = served.browser("ann")
    adm.send("/administration/accounts/ann", role="reader")
    assert "Sign in" in ann.page("/")  # who is changed signs in again
    for name in ("rea", "cat", "ben"):
        served.browser(name).page("/administration", 403)
        served.browser(name).send("/administration/accounts", 403, name="x", role="administrator", password="long enough words")


def test_the_trail_is_read_by_pages_and_verified(served: Served) -> None:
    adm, ann = served.browser("adm"), served.browser("ann")
    for _ in range(110):
        with served.ward.database.writing() as connection:
            audit.note(connection, "ann", "patient.read", 1)
    page = adm.page("/administration/trail")
    numbers = [int(n) for n in re.findall(r'<tr><td class="num">(\d+)</td>', page)]
    assert len(numbers) == 100 and numbers == sorted(numbers, reverse=True)
    older = re.search(r"before=(\d+)", page)
    assert older is not None
    rest = [int(n) for n in re.findall(r'<tr><td class="num">(\d+)</td>', adm.page(f"/administration/trail?before={older[1]}"))]
    assert rest[0] == numbers[-1] - 1 and rest[-1] == 1
    assert "<td>adm</td>" not in adm.page("/administration/trail?account=ann")
    ann.send(f"{AT}/grade", **CRS, grade=1)
    whole = adm.page("/administration/trail?check=true")
    assert "unbroken. Last hash" in whole and "statements is unbroken" in whole


# ---- every page


PATHS = {
    "ann": ("/", "/patients/1", "/patients/1/options", "/patients/1/enter", AT, "/patients/1/scores", "/patients/1/calendar", "/patients/1/history", "/patients/1/infusion", "/patients/new",
            "/cohort", "/evidence", "/evidence/references", "/mechanism", "/simulate"),
    "adm": ("/administration", "/administration/trail"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in PATHS.items() for path in paths])
def test_a_page_holds_nothing_that_its_policy_forbids_and_names_all_that_it_shows(served: Served, name: str, path: str) -> None:
    if name == "ann":
        served.ward.found(1)
    page = served.browser(name).page(path)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
    assert all(kind in ("src", "type") for kind in re.findall(r"<script (\w+)=", page)) and "<script>" not in page
    for table in re.findall(r"<table.*?</table>", page, re.DOTALL):
        assert "<caption" in table and 'scope="col"' in table, table[:300]
    for field in re.findall(r"<(?:input|select)[^>]*>", page):
        if 'type="hidden"' not in field and "aria-label=" not in field:
            at = page.index(field)
            assert page.rfind("<label", 0, at) > page.rfind("</label", 0, at), field
    assert page.count("<h1") == 1
    assert "has not been cleared or certified" in page


def test_the_calendar_names_what_is_due_with_its_source_and_can_be_taken_along(served: Served) -> None:
    rea = served.browser("rea")
    page = rea.page("/patients/1/calendar")
    assert "Blood count with differential" in page and "Not an order" in page
    assert "Ward</a>" in page and "/patients/1/history" in page  # nothing of the page takes the place of the navigation
    file = rea.client.get("/patients/1/calendar.ics")
    assert file.headers["content-type"].startswith("text/calendar") and "BEGIN:VEVENT" in file.text
    with served.ward.database.writing() as connection:
        bare = record.register(connection, "T-2")
    assert "nothing to count from" in rea.page(f"/patients/{bare}/calendar")


# ---- what a reader must not be led to think


def charted(served: Served, rows: list[tuple[float, str, object]], label: str = "T-2") -> int:
    """Another patient."""
    with served.ward.database.writing() as connection:
        number = record.register(connection, label)
        record.add(connection, number, entries(number, rows), "test")
    served.ward.found(number)
    return number


def row_of(page: str, label: str) -> str:
    """The row of a patient in the list."""
    return next(row for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL) if f">{label}</a>" in row)


SHOCK = [*FEVER, (140.0, "temperature", 39.5), (140.0, "sbp", 80), (140.0, "norepinephrine", 8), (140.0, "ice", 4)]


def test_who_died_is_told_as_dead_and_nothing_stands(served: Served) -> None:
    rea, dead = served.browser("rea"), charted(served, [*SHOCK, (141.0, "death", None)])
    served.ward.found(1)
    listed = rea.page("/")
    row = row_of(listed, "T-2")
    assert "<b>died</b> 2026-03-10" in row and 'data-label="CRS now"' not in row and "late" not in row and ">none<" not in row
    assert "CRS 3" in row  # at worst
    assert listed.index(">T-1</a>") < listed.index(">T-2</a>")
    page = rea.page(f"/patients/{dead}")
    assert "Died on 2026-03-10" in page and "CRS now" not in page and "overdue since" not in page
    options = rea.page(f"/patients/{dead}/options")
    assert "there are no options" in options and "<article" not in options


def test_another_therapy_or_a_relapse_is_told_wherever_a_grade_or_an_option_is(served: Served) -> None:
    rea = served.browser("rea")
    number = charted(served, [*SHOCK, (130.0, "next_therapy", None), (120.0, "progression", None)])
    served.ward.found(1)
    said = "after progression on 2026-03-09 and next anti-tumour therapy on 2026-03-09: check the cause"
    listed = rea.page("/")
    assert said in row_of(listed, "T-2") and "check the cause" not in row_of(listed, "T-1")
    for path in ("", "/options"):
        assert said[1:] in rea.page(f"/patients/{number}{path}")
        assert "check the cause" not in rea.page(f"/patients/1{path}")
    before = served.ward.found(number)
    assert before is not None
    with served.ward.database.reading() as connection:
        who = record.find(connection, number)
    assert line(who, before, ZERO + timedelta(hours=125)).check == "after progression on 2026-03-09: check the cause"
    assert line(who, before, ZERO + timedelta(hours=100)).check is None


def test_nobody_of_a_number_is_not_found(served: Served) -> None:
    ann = served.browser("ann")
    for path in ("", "/options", "/history", "/enter", "/scores", "/calendar", "/adjudicate", "/infusion"):
        for number in (4711, 0, 2**70):
            assert "no patient of that number" in ann.page(f"/patients/{number}{path}", 404)
    for path in ("enter", "infusion", "events/1/withdraw", "events/1/correct", "adjudicate/grade"):
        ann.send(f"/patients/4711/{path}", 404, number="38", **CRS)
    assert "no result of that number" in ann.page("/patients/1?result=4711", 404)


# ---- corrections


def event_of(served: Served, code: str, subject: int = 1) -> dict[str, object]:
    """The first event of a concept."""
    rows = served.ward.timeline(subject).filter(pl.col("code") == code).sort("time")
    return rows.row(0, named=True)


def test_an_entry_is_shown_once_more_before_it_is_withdrawn(served: Served) -> None:
    cat = served.browser("cat")
    number = event_of(served, "spo2")["event_id"]
    for path in ("/patients/1/enter", "/patients/1/history"):
        page = cat.page(path)
        folded = re.findall(
            rf"<details><summary>Withdraw(?:(?!</details>).)*events/{number}/withdraw.*?</details>", page, re.DOTALL
        )
        assert len(folded) == 1 and "spo2 90" in folded[0] and "2026-03-05 10:00" in folded[0] and "Yes, withdraw it" in folded[0]
        assert page.count(f"events/{number}/withdraw") == 1  # and there is no other way
    cat.send(f"/patients/1/events/{number}/withdraw")
    assert "events/{number}/withdraw" not in cat.page("/patients/1/history")
    assert "/withdraw" not in served.browser("rea").page("/patients/1/history")


def test_one_pages_back_through_all_entries_and_corrects_the_oldest(served: Served) -> None:
    cat = served.browser("cat")
    with served.ward.database.writing() as connection:
        record.add(connection, 1, entries(1, [(48 + n / 10, "temperature", 37.0) for n in range(230)]), "test")
    seen: list[int] = []
    path: str | None = "/patients/1/history"
    while path:
        page = cat.page(path)
        own = [int(n) for n in re.findall(r"events/(\d+)/correct", page)]
        assert 0 < len(own) <= 100
        seen += own
        older = re.search(r'href="([^"]*before=\d+)[^"]*">Earlier entries', page)
        last, path = path, older and older[1]
    assert seen == sorted(seen, reverse=True) and len(seen) == 230 + len(FEVER)
    oldest, before = event_of(served, "temperature"), re.sub(r".*before=", "", last)
    back = cat.client.post(
        f"/patients/1/events/{oldest['event_id']}/correct",
        data={"csrf": cat.csrf, "number": "38.4", "before": before},
        follow_redirects=False,
    )
    assert back.headers["location"] == f"/patients/1/history?saved=1&before={before}"
    assert event_of(served, "temperature")["numeric_value"] == 38.4
    cat.page("/patients/1/history?before=0", 422)


def test_a_correction_moves_the_time_and_the_grade_with_it(served: Served) -> None:
    cat = served.browser("cat")
    former = event_of(served, "temperature")
    moved = {"number": "38.9", "time": "2026-03-04T12:00"}
    for wrong in ("", "soon", "2026-03-10T12:01"):
        assert "Nothing was kept" in cat.send(f"/patients/1/events/{former['event_id']}/correct", 422, **moved | {"time": wrong})
    cat.send(f"/patients/1/events/{former['event_id']}/correct", **moved)
    after = event_of(served, "temperature")
    assert (after["time"], after["numeric_value"], after["event_id"] != former["event_id"]) == (
        datetime(2026, 3, 4, 12),
        38.9,
        True,
    )
    found = served.ward.found(1)
    assert found is not None
    assert found.episodes.filter(pl.col("toxicity") == "crs")["onset"].min() == datetime(2026, 3, 4, 12)
    cat.send(f"/patients/1/events/{after['event_id']}/correct", time="2026-03-04T13:00")  # the time alone
    assert (event_of(served, "temperature")["time"], event_of(served, "temperature")["numeric_value"]) == (
        datetime(2026, 3, 4, 13),
        38.9,
    )


def test_a_time_that_was_not_changed_keeps_its_seconds(served: Served) -> None:
    cat = served.browser("cat")
    with served.ward.database.writing() as connection:
        record.add(connection, 1, entries(1, [(50.0125, "crp", 20)]), "test")
    crp = event_of(served, "crp")
    assert crp["time"].second == 45  # type: ignore[union-attr]
    cat.send(f"/patients/1/events/{crp['event_id']}/correct", number="25", time="2026-03-06T12:00")
    assert event_of(served, "crp")["time"] == crp["time"]


def test_an_infusion_that_has_ended_is_entered_with_its_end_and_one_that_ran_is_ended_later(served: Served) -> None:
    cat = served.browser("cat")
    drug = {"drug": "norepinephrine", "dose": "0.1", "dose_unit": "ug/kg/min", "time": "2026-03-08T10:00"}
    assert 'name="end"' in cat.page("/patients/1/enter")
    for wrong in ("2026-03-08T09:00", "2026-03-10T12:30", "soon"):
        assert "Nothing was kept" in cat.send("/patients/1/enter", 422, **drug, end=wrong)
    cat.send("/patients/1/enter", **drug, end="2026-03-08T20:30")
    assert event_of(served, "norepinephrine")["end_time"] == datetime(2026, 3, 8, 20, 30)
    cat.send("/patients/1/enter", **drug | {"drug": "vasopressin", "dose_unit": "", "dose": ""})
    runs = event_of(served, "vasopressin")
    assert runs["end_time"] is None
    cat.send(f"/patients/1/events/{runs['event_id']}/correct", end="2026-03-08T18:00")
    ended = event_of(served, "vasopressin")
    assert (ended["time"], ended["end_time"]) == (datetime(2026, 3, 8, 10), datetime(2026, 3, 8, 18))
    assert "The end lies before" in cat.send(f"/patients/1/events/{ended['event_id']}/correct", 422, time="2026-03-08T19:00")


def test_a_second_infusion_is_one_link_away(served: Served) -> None:
    served.ward.found(1)
    link = '<a href="/patients/1/infusion">Record another infusion</a>'
    for path in ("/patients/1", "/patients/1/enter"):
        assert link in served.browser("cat").page(path)
    assert link not in served.browser("rea").page("/patients/1")


def test_ice_by_its_items_stands_beside_the_form_as_it_is_graded(served: Served) -> None:
    cat = served.browser("cat")
    items = {"ice_orientation": "3", "ice_naming": "2", "ice_command": "1", "ice_writing": "0", "ice_attention": "1"}
    assert "last ICE 10 at" in cat.page("/patients/1/enter")
    cat.send("/patients/1/enter", time="2026-03-10T11:00", **items)
    assert "last ICE 7 at 2026-03-10 11:00" in cat.page("/patients/1/enter")
    cat.send("/patients/1/enter", time="2026-03-10T11:30", **{k: v for k, v in items.items() if k != "ice_orientation"})
    assert "last ICE 4 to 8, items missing, at 2026-03-10 11:30" in cat.page("/patients/1/enter")
    early = charted(
        served,
        [(0.0, "cart_infusion", "axi-cel"), (0.0, "age", 60), *((-5.0, code, float(value)) for code, value in items.items())],
    )
    assert "Baseline before infusion: <b>7</b>" in cat.page(f"/patients/{early}/enter")
    child = charted(served, [(0.0, "cart_infusion", "tisa-cel"), (0.0, "age", 8)], "T-3")
    cat.send(f"/patients/{child}/enter", time="2026-03-10T11:00", capd="11")
    assert "last 11 at 2026-03-10 11:00" in cat.page(f"/patients/{child}/enter")


# ---- causes


def test_all_fevers_of_a_stretch_can_be_ticked_and_then_it_has_no_grade(served: Served) -> None:
    ann = served.browser("ann")
    fevers = [(20.0 + 3 * n, "temperature", 38.5) for n in range(4)]
    calm = [(h, code, v) for h, _, _ in fevers for code, v in (("sbp", 120), ("o2_device", "room_air"), ("spo2", 97))]
    number = charted(served, [(0.0, "cart_infusion", "axi-cel"), (0.0, "age", 60), *fevers, *calm])
    at = f"/patients/{number}/adjudicate"
    own = served.ward.timeline(number).filter((pl.col("code") == "temperature") & (pl.col("event_id") >= 0))["event_id"].to_list()
    stretch = next(d for d in re.findall(r"<details class=\"why\">.*?</details>", ann.page(at), re.DOTALL) if "CRS" in d)
    ticks = re.findall(r'name="event" value="(\d+)"', stretch)
    assert {str(e) for e in own} <= set(ticks) and f"({len(ticks)} records)" in stretch
    ann.send(f"{at}/attribute", event=[str(e) for e in own], cause="other")
    found = served.ward.found(number)
    assert found is not None
    assert found.worst.filter(pl.col("scale") == "crs_astct2019")["grade"].to_list() == [0]


def test_records_behind_a_long_stretch_are_capped_and_the_rest_is_counted(served: Served) -> None:
    many = [(20.0 + n / 10, "temperature", 38.5) for n in range(course.MOST_TOLD + 30)]
    number = charted(served, [(0.0, "cart_infusion", "axi-cel"), (0.0, "age", 60), *many])
    page = served.browser("ann").page(f"/patients/{number}/adjudicate")
    stretch = next(d for d in re.findall(r"<details class=\"why\">.*?</details>", page, re.DOTALL) if "CRS" in d)
    left = re.search(r"and (\d+) more, charted later", stretch)
    assert left is not None
    assert stretch.count('name="event"') == course.MOST_TOLD
    assert f"({course.MOST_TOLD + int(left[1])} records)" in stretch and int(left[1]) >= 30


# ---- what stands behind, and what it costs


def test_why_an_assessment_is_overdue_stands_below_the_list(served: Served) -> None:
    served.ward.found(1)
    page = served.browser("rea").page("/")
    legend = re.findall(r'<details class="legend">.*?</details>', page, re.DOTALL)[0]
    for each in rounds():
        assert each.label in legend and each.behind in legend
    assert "every 12 h, day 0 to 14; Santomasso BD 2021, checked against a source" in legend
    assert "every 4 h, day 0 to 14; a convention of this project" in legend
    assert 'class="late" title="every ' in row_of(page, "T-1")


def test_the_cohort_is_counted_once_until_something_changes(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    rea, ann, counts = served.browser("rea"), served.browser("ann"), []
    other = charted(served, FEVER)
    served.ward.found(1)
    really = describe.describe
    monkeypatch.setattr(describe, "describe", lambda *asked: counts.append(1) or really(*asked))
    first = rea.page("/cohort")
    assert rea.page("/cohort") == first and len(counts) == 1
    ann.send(f"/patients/{other}/adjudicate/grade", **CRS, grade=1)
    rea.page("/cohort")
    assert len(counts) == 2  # somebody said something
    served.ward.enter(ANN, other, entries(other, [(60.0, "temperature", 40.0), (60.0, "norepinephrine", 8)]))
    changed = rea.page("/cohort")
    assert len(counts) == 3 and rate_of(changed, "CRS") != rate_of(first, "CRS")
    rea.page("/cohort?product=axi-cel")
    rea.page("/cohort?outcome=crs&cut=2&by=product")
    assert len(counts) == 5
    rea.page("/cohort?product=axi-cel")
    rea.page("/cohort")
    assert len(counts) == 5


def test_the_cohort_is_told_as_cohort_describe_tells_it(served: Served) -> None:
    rea = served.browser("rea")
    charted(served, [(h, c, "tisa-cel" if c == "cart_infusion" else v) for h, c, v in FEVER])
    charted(served, [(0.0, "age", 50), (20.0, "temperature", 39.0)], "T-3")  # no infusion yet
    served.ward.found(1)
    assert facts(rea.page("/cohort")) == {"Patients": "3", "Courses": "2", "No infusion on record": "1", "Nothing charted": "0"}
    page = rea.page("/cohort?outcome=crs&cut=2&by=product")
    assert "CRS, ASTCT 2019, grade 2 or more" in page and "Gray" in page and "ICANS, ASTCT 2019, grade 3 or more" not in page
    for group, n in (("all", 2), ("axi-cel", 1), ("tisa-cel", 1)):
        row = rf'<th scope="row">CRS, ASTCT 2019, grade 2 or more</th><td>{group}</td><td class="num">{n}</td><td class="num">{n}</td>'
        assert re.search(row, page), group
    assert "2 of 2, 100% (16-100)" in rate_of(page, "CRS")  # exact, not Wilson's (34-100)
    assert 'aria-label="Cumulative incidence by product.' in page
    for asked in ("outcome=nothing", "outcome=crs&cut=9", "by=label"):
        assert "<h1>" in rea.page(f"/cohort?{asked}", 422)


def test_a_cohort_without_an_infusion_says_so(served: Served) -> None:
    rea = served.browser("rea")
    with served.ward.database.writing() as connection:
        lone = record.register(connection, "T-9")
        record.add(connection, lone, entries(lone, [(0.0, "disease", "MM"), (1.0, "temperature", 39.0)]), "test")
    for number in (1, lone):
        served.ward.found(number)
    page = rea.page("/cohort?disease=MM")
    assert "no infusion is on record" in page and "Cumulative incidence" not in page


def test_statistics_that_are_not_installed_are_asked_for(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    rea = served.browser("rea")
    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    assert "aftercar[statistics]" in rea.page("/cohort", 501)


def test_rates_are_put_together_within_a_scale_with_the_ward_beside_its_own(served: Served) -> None:
    rea = served.browser("rea")
    served.ward.found(1)
    page = rea.page("/evidence/pooled?endpoint=crs_any")
    groups, _ = published.pool("crs_any")
    together = next(g for g in groups if g.scale.startswith("Lee 2014")).pooled
    assert together is not None and forest.told_of(*together.rate()) in page
    assert "ZUMA-1" in page and "†" in page and "no product is ranked" in page
    assert "these patients, for comparison" in page
    beside = rea.page("/evidence/pooled?endpoint=crs_any&scale=crs_lee2014")
    own = re.findall(r'<td>([^<]*)</td><th scope="row">these patients', beside)
    assert own and all(scale.startswith("Lee 2014") for scale in own)
    assert "No study" in rea.page("/evidence/pooled?endpoint=crs_any&disease=gout")
    left = rea.page("/evidence/pooled?endpoint=nrm")
    assert "No grade of the ward" in left
    assert "Percentage only, not put together" in left
    for row in published.without_counts("nrm").iter_rows(named=True):
        assert f"<td>{row['disease']}</td>" in left and f'<td class="num">{forest.told_alone(row)}</td>' in left
    rea.page("/evidence/pooled?endpoint=nothing", 422)
    rea.page("/evidence/pooled?endpoint=crs_any&scale=icans", 422)


def test_a_safety_board_is_shown_the_ward_against_the_plan_that_is_handed_in(served: Served) -> None:
    rea = served.browser("rea")
    served.ward.found(1)
    text = rea.page("/cohort/safety")
    assert "stopping" in text
    page = rea.send("/cohort/safety", plan=safety.PLAN)
    assert "No look was made yet: the first is at 5 counted courses, and 0 count so far." in page and "no look yet" in page
    assert "In the window (1)" in page and "over-represented" in page
    with served.ward.database.reading() as connection:
        noted = connection.execute(sa.select(sa.func.count()).where(tables.audit.c.action == "cohort.safety.read")).scalar()
    assert noted == 1
    pack = rea.client.post("/cohort/safety", data={"csrf": rea.csrf, "plan": safety.PLAN, "pack": "1"})
    assert pack.headers["content-disposition"].startswith("attachment") and "not adjudicated" in pack.text
    for plan, said in (("= no", "is not TOML"), ("patients = 3", "stopping: is missing"), (safety.PLAN.replace("= 40", "= 5000"), "here up to"), (safety.PLAN.replace('"crs"', '"gout"'), "stopping.any_of")):  # fmt: skip
        assert said in html.unescape(rea.send("/cohort/safety", status=422, plan=plan)), plan


def test_decisions_on_a_registry_draft_are_kept_and_fall_when_the_draft_changes(served: Served) -> None:
    rea, ann = served.browser("rea"), served.browser("ann")
    at = "/patients/1/registry?form=ebmt_day100"
    about = {"form": "ebmt_day100", "period": "day100", "infusion": "1"}
    page = ann.page(at)
    assert "not adjudicated" in page and 'value="1 crs.present yes"' in page and "Accept what is ticked" not in rea.page(at)
    ann.send("/patients/1/registry", **about, accept="1 crs.present yes", comment="seen")
    ann.send("/patients/1/registry", **about, field="icans.present", decision="unknown", drafted="")
    with served.ward.database.reading() as connection:
        log = decisions.log(connection)
        trail = [r.detail for r in connection.execute(sa.select(tables.audit).where(tables.audit.c.action == "registry.decide"))]
    assert log["kind"].to_list() == ["accept", "unknown"] and log["rater"].unique().to_list() == ["ann"] and len(trail) == 2
    assert DECISION_LOG.broken(log).is_empty() and not any("yes" in t for t in trail)
    assert "accepted by ann" in rea.page(at)
    wrong = ann.send("/patients/1/registry", status=422, **about, field="crs.grade", decision="correct", answer="17", drafted="")
    assert "no answer that this field takes" in wrong
    stale = ann.send("/patients/1/registry", status=422, **about, field="crs.present", decision="accept", drafted="no")
    assert "look again" in stale
    table = pl.read_csv(io.BytesIO(rea.client.get("/patients/1/registry/export?form=ebmt_day100").content), infer_schema=False)
    assert table["subject_id"].unique().to_list() == ["T-1"] and table.filter(field="crs.present")["review"].item() == "accepted"
    with zipfile.ZipFile(
        io.BytesIO(rea.client.get("/patients/1/registry/export?form=ebmt_day100&kind=redcap&only=accepted").content)
    ) as packed:
        assert sorted(packed.namelist()) == ["dictionary.csv", "import.csv"]
    served.ward.enter(ANN, 1, entries(1, [(10.0, "temperature", 39.5)]))
    assert "changed since it was decided" in rea.page(at)


def test_a_summary_is_cut_between_words() -> None:
    for said in ("word " * 60, "anti-tumour " * 30, "short", "x" * 139):
        cut = cards.short(said.strip())
        assert len(cut) <= cards.LONGEST
        assert cut == said.strip() or (cut.endswith("…") and said.startswith(cut[:-1] + " "))
