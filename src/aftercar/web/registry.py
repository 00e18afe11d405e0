"""The draft of a registry form for one patient, with what people decided on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from functools import lru_cache

import polars as pl
from polars import col, lit

from aftercar import __version__
from aftercar.errors import InputError
from aftercar.registry.decisions import OPTIONAL, decided, reviewed
from aftercar.registry.draft import NOTE, Draft, draft_timeline
from aftercar.registry.forms import form_named
from aftercar.registry.periods import periods_named
from aftercar.timeline.statements import as_given
from aftercar.ward import audit, decisions, record, statements
from aftercar.ward.accounts import Person
from aftercar.ward.record import Patient
from aftercar.ward.ward import Ward

MOST = 200  # decisions at once


def drafted(ward: Ward, who: Patient, form: str, period: str | None = None) -> tuple[Draft, pl.DataFrame]:
    """The draft as the record stands now, and its answers with what was decided (`registry.decisions.reviewed`).

    What is not charted yet stays unknown: that nobody wrote of a relapse today does not say that there is none.

    Raises:
        OptionError: there is no such form or period.
    """
    periods = periods_named([period] if period else None, form_named(form).periods)
    now = ward.now()
    times = ward.timeline(who.subject_id).filter(col("time") <= now)["time"]
    with ward.database.reading() as connection:
        said, log = statements.log(connection, who.subject_id), decisions.log(connection, who.subject_id)
    draft = _drafted(ward, who.subject_id, who.version, times.max(), said["hash"].last() if said.height else "", form, periods)  # type: ignore[arg-type]
    return draft, reviewed(draft.answers, draft.evidence, log)


@lru_cache(maxsize=64)
def _drafted(
    ward: Ward, subject_id: int, version: int, until: datetime | None, said: str, form: str, periods: tuple[str, ...]
) -> Draft:
    """The draft of a version of a record, of what lies not after `until`, with what people `said` to that statement; once, for it takes a grading."""
    chosen = form_named(form)
    revision, fields = chosen.of()
    timeline = ward.timeline(subject_id, version).filter(col("time").is_null() | (col("time") <= until))
    with ward.database.reading() as connection:
        log = statements.log(connection, subject_id, version)
    parts = draft_timeline(timeline.lazy(), chosen, fields, revision, periods, ward.options, log)
    return Draft(chosen, revision, periods, *parts, facts={"aftercar": __version__, "simulated": False, "note": NOTE})


def decide(ward: Ward, person: Person, who: Patient, form: str, period: str, given: Iterable[dict[str, str | None]]) -> int:
    """Keep decisions of a person on the draft as it stands; how many.

    Args:
        given: `infusion, field, decision, answer, drafted, comment` of each; one of which the draft has changed since is refused.
    Raises:
        InputError: one of them cannot be kept. Nothing is kept then.
    """
    rows = [row | {"subject_id": str(who.subject_id), "period": period, "rater": person.name} for row in given]
    if not 0 < len(rows) <= MOST:
        raise InputError(f"Tick the answers that you decide on, up to {MOST}.")
    asked = as_given(pl.DataFrame(rows, infer_schema_length=None), OPTIONAL)
    draft, _ = drafted(ward, who, form, period)
    good, bad = decided(draft.answers, draft.evidence, draft.form, asked)
    if bad.height:
        wrong = bad.select("column", "reason").unique(maintain_order=True)
        raise InputError("; ".join(f"{column}: {reason}" for column, reason in wrong.iter_rows()) + ".")
    with ward.database.writing() as connection:
        # As every write: its record first and the chains then. What was charted while the draft was looked at shows as changed.
        record.hold(connection, who.subject_id)
        new = decisions.add(connection, good)
        audit.note(connection, person.name, "registry.decide", who.subject_id, {"form": form, "decisions": new.height})
    return new.height


def labelled(who: Patient, draft: Draft, rows: pl.DataFrame) -> tuple[Draft, pl.DataFrame]:
    """The same under the label by which people know the patient, to be handed on."""
    named = lit(who.label).alias("subject_id")
    frames = {name: getattr(draft, name).with_columns(named) for name in ("answers", "evidence", "courses")}
    return replace(draft, **frames), rows.with_columns(named)
