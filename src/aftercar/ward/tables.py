"""The tables of a ward's database. `migrations/` makes them; a test holds the two together.

What people charted, said and did is only ever added to: triggers refuse to change or delete rows of `event`, `result`, `statement`, `decision` and `audit`.
Times without a zone are local wall clock, as in every timeline; `*_at` are UTC.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only where the key is an INTEGER

# Who may sign in. `issuer` and `issued_to` name a person of an identity provider, who has no password here.
account = Table(
    "account", metadata,
    Column("account_id", _NUMBER, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("password", Text),
    Column("issuer", Text),
    Column("issued_to", Text),
    Column("active", Boolean, nullable=False),
    Column("created_at", DateTime, nullable=False),
    CheckConstraint("role IN ('reader', 'charting', 'adjudicator', 'administrator')", name="role"),
    UniqueConstraint("issuer", "issued_to"),
)  # fmt: skip

# A browser that is signed in. The cookie holds a secret, the table its hash.
login = Table(
    "login", metadata,
    Column("secret_hash", String(64), primary_key=True),
    Column("account_id", ForeignKey("account.account_id"), nullable=False),
    Column("csrf", String(64), nullable=False),
    Column("created_at", DateTime, nullable=False),
    Column("seen_at", DateTime, nullable=False),
)  # fmt: skip

# `version` counts the changes of a record; a result belongs to one. `complete`: streams of which nothing is left out (`record_complete` of the timeline).
patient = Table(
    "patient", metadata,
    Column("subject_id", _NUMBER, primary_key=True),
    Column("label", String(64), nullable=False, unique=True),
    Column("version", Integer, nullable=False),
    Column("made_up", Boolean, nullable=False),
    Column("complete", Text, nullable=False),
    Column("changed_at", DateTime, nullable=False),
)  # fmt: skip

# Rows of the timeline. One that corrects or withdraws another names it in `replaces`; both stay.
event = Table(
    "event", metadata,
    Column("event_id", _NUMBER, primary_key=True),
    Column("subject_id", ForeignKey("patient.subject_id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("time", DateTime),
    Column("code", String(64), nullable=False),
    Column("numeric_value", Double),
    Column("text_value", Text),
    Column("end_time", DateTime),
    Column("unit", String(32)),
    Column("source", Text),
    Column("attributable_to", String(16)),
    Column("note", Text),
    Column("recorded_at", DateTime, nullable=False),
    Column("recorded_by", String(64), nullable=False),
    Column("replaces", ForeignKey("event.event_id"), unique=True),
    Column("withdrawn", Boolean, nullable=False),
    Index(None, "subject_id", "version"),
)  # fmt: skip

# What the software found of a version of a record: frames as bytes. Former ones stay.
result = Table(
    "result", metadata,
    Column("result_id", _NUMBER, primary_key=True),
    Column("subject_id", ForeignKey("patient.subject_id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("as_of", DateTime, nullable=False),
    Column("made_at", DateTime, nullable=False),
    Column("software", String(32), nullable=False),
    Column("frames", LargeBinary, nullable=False),
    Index(None, "subject_id", "version", "as_of"),
)  # fmt: skip

# The log of `timeline.statements`: grades, locks, comments and attributions of people. `version`: of the record, from which on the statement counts.
statement = Table(
    "statement", metadata,
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("said_at", DateTime, nullable=False),
    Column("rater", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("subject_id", ForeignKey("patient.subject_id"), nullable=False, index=True),
    Column("infusion", Integer),
    Column("toxicity", String(64)),
    Column("scale", String(64)),
    Column("event_id", _NUMBER),
    Column("attributable_to", String(16)),
    Column("grade", SmallInteger),
    Column("comment", Text),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("version", Integer, nullable=False, server_default="0"),
)  # fmt: skip

# The log of `registry.decisions`: what people decided on drafted answers of registry forms.
decision = Table(
    "decision", metadata,
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("said_at", DateTime, nullable=False),
    Column("rater", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("subject_id", ForeignKey("patient.subject_id"), nullable=False),
    Column("infusion", Integer, nullable=False),
    Column("form", String(32), nullable=False),
    Column("revision", String(32), nullable=False),
    Column("period", String(16), nullable=False),
    Column("field", String(64), nullable=False),
    Column("answer", Text),
    Column("drafted", Text),
    Column("basis", String(64)),
    Column("comment", Text),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index(None, "subject_id", "form"),
)  # fmt: skip

# Who read or wrote what, and when; each row holds the hash of the one before.
audit = Table(
    "audit", metadata,
    Column("n", _NUMBER, primary_key=True, autoincrement=False),
    Column("at", String(32), nullable=False),
    Column("account", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject_id", _NUMBER),
    Column("detail", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index(None, "subject_id"),
)  # fmt: skip

# Work in the background, such as a simulation.
job = Table(
    "job", metadata,
    Column("job_id", String(32), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("account", String(64), nullable=False),
    Column("asked", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("done", Integer, nullable=False),
    Column("all", Integer, nullable=False),
    Column("found", LargeBinary),
    Column("problem", Text),
    Column("created_at", DateTime, nullable=False),
    Column("changed_at", DateTime, nullable=False),
    CheckConstraint("state IN ('waiting', 'running', 'done', 'failed', 'cancelled')", name="state"),
)  # fmt: skip

# Writes that name themselves: asked again they are answered as before, and nothing is written twice.
answered = Table(
    "answered", metadata,
    Column("account", String(64), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("answered_at", DateTime, nullable=False),
)  # fmt: skip

# What was done with a card of CDS Hooks.
feedback = Table(
    "feedback", metadata,
    Column("feedback_id", _NUMBER, primary_key=True),
    Column("service", String(64), nullable=False),
    Column("card", String(64), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("told", Text, nullable=False),
    Column("received_at", DateTime, nullable=False),
)  # fmt: skip
