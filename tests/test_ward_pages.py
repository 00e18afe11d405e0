"""The pages of a ward on SQLite: what each role sees and does, and what is kept of it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from aftercar.manage.rules import DEFAULT_PROFILE, rulebook
from aftercar.timeline.concepts import concepts
from aftercar.timeline.statements import broken
from aftercar.ward import accounts, audit, intake, record, statements, tables
from aftercar.ward.accounts import Person, Role
from aftercar.ward.database import Database, opened
from aftercar.ward.ward import Ward
from aftercar.web.app import create_app
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
        client = TestClient(self.app, base_url="http://localhost", cookies={"aftercar": secret})  # type: ignore[arg-type]
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
def served(tmp_path: Path) -> Iterator[Served]:
    """A ward with one patient and an account of each role."""
    database = opened(f"sqlite:///{tmp_path}/ward.db")
    ward = Ward(database, ZoneInfo("UTC"), rulebook(DEFAULT_PROFILE, None), clock=lambda: NOW)
    with database.writing() as connection:
        for name, role in ROLES.items():
            accounts.add(connection, name, role, issuer="test", issued_to=name)
        number = record.register(connection, "T-1")
        record.add(connection, number, entries(number, FEVER), "test")
    with TestClient(create_app(ward, Settings())) as client:
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
    assert "says why" in ben.send(f"{AT}/unlock", 422, **CRS, comment="")
    ben.send(f"{AT}/unlock", **CRS, comment="a new record came")
    assert "locked by" not in rea.page("/patients/1")
    log = log_of(served.ward.database)
    assert log["kind"].to_list() == ["grade", "grade", "grade", "lock", "lock", "unlock"]
    assert log["grade"].to_list() == [3, 2, 2, 2, 2, None]
    assert broken(log).is_empty()


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
