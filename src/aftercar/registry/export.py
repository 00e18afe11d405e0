"""A reviewed draft for others: long and wide tables, and a data dictionary with a file to import for REDCap."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import polars as pl
from polars import col, lit

from aftercar.files import write_whole
from aftercar.frames import labelled
from aftercar.registry.decisions import DECIDED, final
from aftercar.registry.draft import NO_CONCEPT, Draft
from aftercar.registry.forms import CODED, UNKNOWN, Field
from aftercar.registry.periods import NAMES

Only = Literal["all", "accepted"]
COURSE = ("subject_id", "infusion", "period")
NEVER_SEEN = "asked after a correction: the draft did not ask it"

# The columns of a data dictionary as REDCap reads it, in its order and wording.
DICTIONARY = (
    "Variable / Field Name", "Form Name", "Section Header", "Field Type", "Field Label", "Choices, Calculations, OR Slider Labels", "Field Note",
    "Text Validation Type OR Show Slider Number", "Text Validation Min", "Text Validation Max", "Identifier?", "Branching Logic (Show field only if...)",
    "Required Field?", "Custom Alignment", "Question Number (surveys only)", "Matrix Group Name", "Matrix Ranking?", "Field Annotation",
)  # fmt: skip
RECORD = "record_id"
FIRST_FORM = "registry_subject"  # holds the record's id alone, so that the other may repeat
ABOUT = {
    "about_infusion": "Infusion, 1 is the first",
    "about_period": "Reporting period",
    "about_revision": "Revision of the registry's form",
    "about_answers": "Which answers are in this file",
    "about_software": "Made by; simulated patients are named as such",
}
_TYPES = {"yes_no_unknown": "radio", "choice": "radio", "many": "checkbox", "date": "text", "number": "text", "text": "text"}
_VALIDATION = {"date": "date_ymd", "number": "number"}
_COMPLETE, _UNVERIFIED = "2", "1"


def standing(draft: Draft, rows: pl.DataFrame, only: Only = "all") -> pl.DataFrame:
    """The answer that stands of each row, with branching read anew where people corrected a parent.

    Adds `final` (null: not asked, or with `accepted` not decided), `final_code` and `included`.

    Args:
        rows: `decisions.reviewed`.
        only: `accepted` leaves out what nobody decided, and what was changed since.
    """
    rows = final(rows)
    fields = draft.form.of(draft.revision)[1]
    wide = {f.id: part for f, part in zip(fields, _by_field(rows, fields), strict=True)}
    asked: dict[str, pl.Series] = {}
    parts = []
    for one in fields:
        part = wide[one.id]
        if one.when is not None:
            parent, wanted = one.when
            met = asked[parent].is_in([*wanted, UNKNOWN]).fill_null(False)
            # Asked now, and not when it was drafted: nothing is known of it.
            new = met & part["final"].is_null()
            part = part.with_columns(
                final=pl.when(new).then(lit(UNKNOWN)).when(met).then("final"),
                reason=pl.when(new).then(lit(NEVER_SEEN)).otherwise("reason"),
            )
        asked[one.id] = part["final"]
        parts.append(part)
    found = pl.concat(parts).sort("row").drop("row")
    codes = pl.DataFrame(
        [(f.id, value, code) for f in fields for value, code in f.codes.items()], schema=dict.fromkeys(("field", "final", "final_code"), pl.String), orient="row"
    )  # fmt: skip
    found = found.join(codes, on=["field", "final"], how="left", maintain_order="left")
    if only == "accepted":
        found = found.with_columns(pl.when("settled").then(c).alias(c) for c in ("final", "final_code"))
    return found.with_columns(included=lit(only)).drop("settled")


def _by_field(rows: pl.DataFrame, fields: Sequence[Field]) -> list[pl.DataFrame]:
    parts = rows.with_row_index("row").partition_by("field", as_dict=True, maintain_order=True)
    return [parts[f.id,] for f in fields]


def long(draft: Draft, rows: pl.DataFrame, only: Only = "all") -> pl.DataFrame:
    """A row a course, period and field, with what was drafted and what was decided."""
    found = standing(draft, rows, only)
    return found.filter(col("final").is_not_null()) if only == "accepted" else found


def wide(draft: Draft, rows: pl.DataFrame, only: Only = "all") -> pl.DataFrame:
    """A row a course and period, a column a field; null: not asked, or left out."""
    found = standing(draft, rows, only)
    table = found.pivot(on="field", index=list(COURSE), values="final", maintain_order=True)
    about = found.select(*COURSE, "registry", "form", "revision", "included").unique(COURSE, maintain_order=True)
    return about.join(table, on=list(COURSE), how="left", maintain_order="left")


def dictionary(draft: Draft) -> pl.DataFrame:
    """The data dictionary: the columns of `DICTIONARY`, a row a variable; of dates, numbers and texts a second one says unknown."""
    form = draft.form.id
    rows = [_variable(RECORD, FIRST_FORM, "text", "Subject", note="the id in the source", identifies=True)]
    rows += [
        _variable(name, form, "text", told, header="About this report" if n == 0 else "")
        for n, (name, told) in enumerate(ABOUT.items())
    ]
    group = ""
    for one in draft.form.of(draft.revision)[1]:
        header, group = (one.group if one.group != group else ""), one.group
        note = "; ".join(filter(None, (one.note, "" if one.derive else NO_CONCEPT)))
        rows.append(
            _variable(one.name, form, _TYPES[one.type], one.ask, header=header, note=note, choices=_choices(one),
                      validation=_VALIDATION.get(one.type, ""), shown=_branching(draft, one), annotation=f"[{one.mark}] {one.source}",
                      identifies=one.type == "date")
        )  # fmt: skip
        if one.type not in CODED:
            rows.append(
                _variable(
                    f"{one.name}_unk", form, "radio", f"{one.ask}: unknown", choices="1, Unknown", shown=_branching(draft, one)
                )
            )
    return pl.DataFrame(rows, schema=dict.fromkeys(DICTIONARY, pl.String), orient="row")


def _variable(
    name: str, form: str, kind: str, label: str, *, header: str = "", note: str = "", choices: str = "", validation: str = "", shown: str = "", annotation: str = "",
    identifies: bool = False,
) -> tuple[str, ...]:  # fmt: skip
    return (
        name,
        form,
        header,
        kind,
        label,
        choices,
        note,
        validation,
        "",
        "",
        "y" if identifies else "",
        shown,
        "",
        "",
        "",
        "",
        "",
        annotation,
    )


def _choices(one: Field) -> str:
    return " | ".join(f"{code}, {label}" for _, code, label in one.choices)


def _branching(draft: Draft, one: Field) -> str:
    """When REDCap shows a field: where its parent has one of the codes of those answers."""
    if one.when is None:
        return ""
    parent, answers = one.when
    above = draft.form.field(parent)
    return " or ".join(f"[{above.name}] = '{above.codes[a]}'" for a in answers)


def redcap(draft: Draft, rows: pl.DataFrame, only: Only = "all", event: str | None = None) -> pl.DataFrame:
    """The file to import: a row a course and period of which something is known or asked, as an instance of the repeating form, values by their codes, dates as YYYY-MM-DD.

    Args:
        event: its unique name, where the project has events.
    """
    form, fields = draft.form.id, draft.form.of(draft.revision)[1]
    found = standing(draft, rows, only)
    shown = found.filter(_shown(found, fields) & col("final").is_not_null())
    table = shown.pivot(on="field", index=list(COURSE), values="final", maintain_order=True)
    table = table.join(_complete(standing(draft, rows), fields), on=list(COURSE), how="left", maintain_order="left")
    order = {name: n for n, name in enumerate(NAMES)}
    place = col("period").replace_strict(order, return_dtype=pl.Int64)
    software = f"aftercar {draft.facts.get('aftercar', '')}" + ("; simulated patients" if draft.simulated else "")
    columns: list[pl.Expr] = [
        col("subject_id").cast(pl.String).alias(RECORD),
        *([lit(event).alias("redcap_event_name")] if event else []),
        lit(form).alias("redcap_repeat_instrument"),
        # The same report has the same number whatever other periods are drafted.
        ((col("infusion").cast(pl.Int64) - 1) * len(NAMES) + place + 1).alias("redcap_repeat_instance"),
        col("infusion").cast(pl.String).alias("about_infusion"),
        col("period").alias("about_period"),
        lit(draft.revision).alias("about_revision"),
        lit("accepted answers only" if only == "accepted" else "all answers, drafted ones included").alias("about_answers"),
        lit(software).alias("about_software"),
    ]
    for one in fields:
        columns += _values(one, col(one.id) if one.id in table.columns else lit(None, pl.String))
    state = pl.when(col("done").fill_null(False)).then(lit(_COMPLETE)).otherwise(lit(_UNVERIFIED))
    return table.select(*columns, state.alias(f"{form}_complete"))


def _complete(every: pl.DataFrame, fields: Sequence[Field]) -> pl.DataFrame:
    """Whether every answer that is asked of a course and period was decided and still stands: `done`."""
    asked = every.filter(_shown(every, fields) & col("final").is_not_null())
    return asked.group_by(*COURSE).agg(done=col("review").cast(pl.String).is_in(list(DECIDED)).all())


def _shown(found: pl.DataFrame, fields: Sequence[Field]) -> pl.Expr:
    """Whether REDCap shows a field: it keeps no value of one that it hides."""
    parents = {f.id: f.when for f in fields if f.when is not None}
    told = found.select(*COURSE, "field", "final")
    hidden = []
    for name, (parent, answers) in parents.items():
        above = told.filter((col("field") == parent) & ~col("final").is_in(answers).fill_null(False)).select(
            *COURSE, field=lit(name)
        )
        hidden.append(above)
    gone = pl.concat(hidden) if hidden else told.select(*COURSE, "field").clear()
    mark = found.select(*COURSE, "field").join(
        gone.with_columns(hide=lit(True)), on=[*COURSE, "field"], how="left", maintain_order="left"
    )
    return lit(mark["hide"].is_null())


def _values(one: Field, value: pl.Expr) -> list[pl.Expr]:
    """The columns of one field."""
    if one.type == "many":
        each = value.str.split("; ")
        ticked = [
            (each.list.contains(v).cast(pl.Int8).cast(pl.String)).alias(f"{one.name}___{code}") for v, code in one.codes.items()
        ]
        return ticked
    if one.type in CODED:
        return [value.replace_strict(one.codes, default=None, return_dtype=pl.String).alias(one.name)]
    unknown = value == UNKNOWN
    return [pl.when(~unknown).then(value).alias(one.name), pl.when(unknown).then(lit("1")).alias(f"{one.name}_unk")]


def write_export(
    draft: Draft, rows: pl.DataFrame, to: Path, only: Only = "all", *, layout: Literal["long", "wide"] = "long"
) -> None:
    """Write the long or wide table as CSV."""
    table = (long if layout == "long" else wide)(draft, rows, only)
    lists = [c for c, t in table.schema.items() if t == pl.List]
    table = table.with_columns(col(c).cast(pl.List(pl.String)).list.join("; ") for c in lists)
    write_whole(to, labelled(table, draft.simulated).write_csv)


def write_redcap(
    draft: Draft, rows: pl.DataFrame, dictionary_to: Path, to: Path, only: Only = "all", event: str | None = None
) -> None:
    """Write the data dictionary and the file to import."""
    write_whole(dictionary_to, dictionary(draft).write_csv)
    write_whole(to, redcap(draft, rows, only, event).write_csv)
