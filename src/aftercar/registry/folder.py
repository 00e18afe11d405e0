"""A draft on disk: its tables, a page to print, and the decisions that people made on it, which outlive it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from polars import col

from aftercar.errors import InputError
from aftercar.files import replace_folder, write_text, writing
from aftercar.frames import labelled, load
from aftercar.registry.decisions import DECISION_LOG, reviewed
from aftercar.registry.draft import Draft
from aftercar.registry.forms import form_named
from aftercar.timeline.store import read_json

MARKER = "registry.json"
PAGE = "draft.html"
TABLES = ("answers", "evidence", "courses")


def write_draft(draft: Draft, out: Path | str, page: Callable[[Draft, pl.DataFrame], str]) -> Path:
    """Write a draft; a former one of the same form is replaced whole, and the decisions on it stay.

    Args:
        page: makes the page from the draft and `decisions.reviewed`.
    Raises:
        InputError: the folder holds something else, the draft of another form, or decisions that were changed by other means.
    """
    target = Path(out)
    with _decisions_held(target, draft) as log, replace_folder(target, marker=MARKER) as fresh:
        if log is not None:
            shutil.copy2(log, fresh / log.name)
        rows = reviewed(draft.answers, draft.evidence, DECISION_LOG.read(fresh))
        with writing(fresh):
            for name in TABLES:
                labelled(getattr(draft, name), draft.simulated).write_parquet(fresh / f"{name}.parquet")
            flat = draft.answers.with_columns(col("evidence").cast(pl.List(pl.String)).list.join("; "))
            labelled(flat, draft.simulated).write_csv(fresh / "answers.csv")
        write_text(fresh / PAGE, page(draft, rows))
        facts = {"created": datetime.now(UTC).isoformat(timespec="seconds"), **draft.facts}
        write_text(fresh / MARKER, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    return target


@contextlib.contextmanager
def _decisions_held(target: Path, draft: Draft) -> Generator[Path | None]:
    """The log of a former draft, held so that nobody adds to it while it is carried over; none where there is none."""
    if not (target / MARKER).is_file():
        yield None
        return
    told = read_json(target / MARKER).get("form")
    if told != draft.form.id:
        raise InputError(
            f"{target} holds a draft of {told}. Name another folder for {draft.form.id}: decisions belong to one form."
        )
    with DECISION_LOG.alone(target):
        if (broken := DECISION_LOG.verify(target)).height:
            raise InputError(
                f"{target}: decision {broken['n'][0]} {broken['problem'][0]}. `{DECISION_LOG.verify_with.format(folder=target)}` lists all; "
                f"restore {DECISION_LOG.file} from a backup."
            )
        log = DECISION_LOG.read(target)
        if log.height and log.schema["subject_id"] != draft.answers.schema["subject_id"]:
            raise InputError(
                "Subject ids are numbers in one of draft and decisions, and words in the other. Was it imported otherwise?"
            )
        yield target / DECISION_LOG.file if log.height else None


def read_draft(folder: Path | str) -> Draft:
    """A draft as it was written.

    Raises:
        InputError: there is none, or it is damaged.
    """
    folder = Path(folder)
    if not (folder / MARKER).is_file():
        raise InputError(
            f"{folder} holds no registry draft (no {MARKER}). `aftercar registry draft RESULTS --form FORM --out {folder}` makes one."
        )
    facts = read_json(folder / MARKER)
    if not {"form", "revision", "periods"} <= set(facts):
        raise InputError(
            f"{folder / MARKER} is not what `aftercar registry draft` wrote. Draft again; {DECISION_LOG.file} in it holds the decisions."
        )
    try:
        tables = {name: load(folder / f"{name}.parquet").drop("simulated", strict=False) for name in TABLES}
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"{folder} is damaged ({type(error).__name__}). Draft it again; {DECISION_LOG.file} in it holds the decisions."
        ) from None
    return Draft(form_named(facts["form"]), facts["revision"], tuple(facts["periods"]), facts=facts, **tables)


def read_reviewed(folder: Path | str) -> tuple[Draft, pl.DataFrame]:
    """A draft, and its answers with what was decided. Errors as for `read_draft`."""
    draft = read_draft(folder)
    return draft, reviewed(draft.answers, draft.evidence, DECISION_LOG.read(folder))
