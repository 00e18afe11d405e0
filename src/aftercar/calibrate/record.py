"""A real record as twins need it: its product and disease as the mechanism calls them, and what was given up to the asked time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from polars import col

from aftercar.calibrate.likeness import cut
from aftercar.calibrate.twins import Start
from aftercar.errors import InputError, OptionError
from aftercar.evidence import table
from aftercar.grade.options import Options
from aftercar.grade.run import opened
from aftercar.manage.ledger import doses
from aftercar.simulate.model import Model, load_model
from aftercar.simulate.policy import AFTER_H
from aftercar.simulate.population import WEIGHT_KG, known_as
from aftercar.timeline.concepts import concepts
from aftercar.timeline.state import DAY
from aftercar.timeline.subjects import ALL_LEUKAEMIA, subjects

LAST_D = 28.0  # beyond it a record is compared on more days than twins could be near on
ADULT_Y = 18
_SILENT_H = 24

# Diseases of the mechanism by how records write them, the first that fits.
_DISEASES = {
    "ALL": ALL_LEUKAEMIA,
    "CLL": r"(?i)\bCLL\b|chronic lymphocytic|small lymphocytic",
    "MCL": r"(?i)\bMCL\b|mantle",
    "FL": r"(?i)\bFL\b|follicular",
    "MM": r"(?i)\bMM\b|myeloma",
    "LBCL": r"(?i)LBCL|large.?b.?cell",
}


@dataclass(frozen=True)
class Asked:
    """A record that a forecast is asked of.

    Attributes:
        infusion: its number.
        time: up to which the record counts.
        start: from where twins go on.
        notes: what of the record twins cannot share, in words.
    """

    infusion: int
    time: datetime
    start: Start
    notes: tuple[str, ...]


def asked(timeline: pl.DataFrame, at: datetime | float, infusion: int, product: str | None, disease: str | None) -> Asked:
    """Read a record up to a time; arguments and errors as for `forecast`."""
    own = subjects(timeline).filter(infusion=infusion).drop_nulls("day0")
    if own.is_empty():
        raise InputError(f"The record has no infusion {infusion} with a time: there is no day 0 to count from.")
    day0: datetime = own["day0"][0]
    time = at if isinstance(at, datetime) else day0 + timedelta(hours=at)
    at_d = (time - day0) / timedelta(days=1)
    if not 0 < at_d <= LAST_D:
        raise OptionError(f"--at must lie after the infusion, and at most {LAST_D:g} days.")
    known = cut(timeline, at_d, infusion)
    person = subjects(known).filter(infusion=infusion).row(0, named=True)
    if person["death"] is not None:
        raise InputError("The record ends with a death before --at: there is nothing to forecast.")
    model = load_model()
    given, notes = _given(known, infusion, day0, model)
    start = Start(_product(product, person, model), _disease(disease, person, model), at_d, given)
    return Asked(infusion, time, start, (*notes, *_unlike(person, known, time)))


def _product(asked: str | None, person: dict[str, Any], model: Model) -> str:
    if asked is not None:
        return known_as(model, "products", asked)
    trials = table("trials").select("product", col("product_alias").str.split(" ").list.first()).drop_nulls().unique()
    names = {name.lower(): alias for name, alias in trials.iter_rows()}
    said = (person["product"] or "").strip().lower()
    return _known(names.get(said, said), "product", model)


def _disease(asked: str | None, person: dict[str, Any], model: Model) -> str:
    if asked is not None:
        return known_as(model, "diseases", asked)
    said = pl.Series([person["disease"] or ""])
    found = next((name for name, pattern in _DISEASES.items() if said.str.contains(pattern)[0]), "")
    child = person["age_y"] is not None and person["age_y"] < ADULT_Y
    return _known("ALL_pediatric" if found == "ALL" and child else found, "disease", model)


def _known(name: str, what: str, model: Model) -> str:
    """A name that was taken from the record: an error must not repeat it."""
    try:
        return known_as(model, f"{what}s", name)
    except OptionError:
        known = model.tables[f"{what}s"][what].unique(maintain_order=True)
        raise OptionError(
            f"The record names no {what} that the mechanism knows. Name one with --{what}: {', '.join(known)}."
        ) from None


def _given(known: pl.DataFrame, infusion: int, day0: datetime, model: Model) -> tuple[tuple[str, ...], list[str]]:
    """What was given since the infusion, as `policy.asked` reads it: per kilogram of a twin as per kilogram of the person; and notes."""
    drugs = model.tables["drugs"].filter(col("concept") != "").unique("concept", keep="first", maintain_order=True)
    names = dict(drugs.select("concept", "drug").iter_rows())
    record, _ = opened(known.lazy(), [*names, "weight"], Options(None), hindsight=False)
    course = record.courses.filter(infusion=infusion).select("course", "day0_at", "weight_kg")
    rows = doses(record, *names).join(course, on="course", maintain_order="left")
    rows = rows.with_columns(day=(col("at") - col("day0_at")) / DAY, mg=col("mg") * (WEIGHT_KG / col("weight_kg")).fill_null(1.0))
    since = rows.filter(col("day") >= 0)
    given = tuple(
        f"{names[drug]}{'' if mg is None else f':{mg:.4f}'}@day{max(day - AFTER_H / 24, 0.0):.6f}"
        for drug, mg, day in since.select("drug", "mg", "day").iter_rows()
    )
    notes: list[str] = []
    if before := rows.height - since.height:
        notes.append(f"Doses from before the infusion that twins are not given, as the mechanism begins with it: {before}.")
    if unread := since["mg"].null_count():
        notes.append(f"Doses without an amount that can be read, given to twins as the usual dose: {unread}.")
    if since.height and since["weight_kg"].null_count():
        notes.append(f"No weight is charted: doses are given as they are to twins of {WEIGHT_KG:g} kg.")
    alike = {"cytotoxic", *(group for name in names for group in concepts()[name].groups)}
    others = {c.name for c in concepts().values() if c.kind == "drug" and alike & {*c.groups} and c.name not in names}
    if lacking := sorted(others & {*known.filter(col("time") >= day0)["code"]}):
        notes.append(f"Given, but unknown to the mechanism: {', '.join(lacking)}.")
    return given, notes


def _unlike(person: dict[str, Any], known: pl.DataFrame, time: datetime) -> list[str]:
    """In what twins differ from the person."""
    notes: list[str] = []
    if person["age_y"] is not None and person["age_y"] < ADULT_Y:
        notes.append("Twins are adults; the record is of a child.")
    charted = known.filter(~col("code").is_in(["record_complete", "birth"]))["time"].max()
    if isinstance(charted, datetime) and (hours := (time - charted) / timedelta(hours=1)) > _SILENT_H:
        notes.append(f"Nothing was charted in the {hours:.0f} h before --at.")
    return notes
