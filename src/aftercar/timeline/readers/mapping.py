"""The mapping file: a site's names and units as ours (`docs/mapping.md` is its manual)."""

from __future__ import annotations

from collections.abc import Mapping as Table
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

import polars as pl

from aftercar.errors import MappingError, UnitError, nearest
from aftercar.files import read_text, toml_of
from aftercar.timeline.concepts import codes, concepts
from aftercar.timeline.schema import ATTRIBUTIONS, TIMELINE
from aftercar.timeline.units import line

Layout = Literal["long", "wide", "meds"]

_COLUMNS = {"subject_id", "time", "code", "value", "numeric_value", "text_value", "unit", "end_time", "attributable_to"}
_SECTIONS = {"layout", "decimal", "columns", "time", "codes", "wide", "text", "record", "limits", "note", "file", "match", "fhir"}
_STREAMS = frozenset(concepts()["record_complete"].values)
_LIMITS = frozenset(name for name in concepts() if name.endswith(("_uln", "_lln")))
# Events whose cell in a wide table is a date rather than a word.
_DATED = {"cart_infusion", "birth", "death", "last_follow_up", "progression", "next_therapy"}


@dataclass(frozen=True)
class Target:
    """What one local code, or one column of a wide table, means."""

    concept: str
    unit: str | None = None
    text: str | None = None
    edge: Literal["start", "end"] | None = None
    take: Literal["first"] | None = None
    dated: bool = False
    text_from: str | None = None
    unit_from: str | None = None
    attributable_from: str | None = None


@dataclass(frozen=True)
class Mapping:
    """One file's mapping. `codes` and `wide` name a `Target` for each local name."""

    match: str = "*"
    layout: Layout | None = None
    columns: dict[str, str] = field(default_factory=dict)
    time_format: str | None = None
    relative: Literal["hours", "days"] | None = None
    zone: str | None = None  # where the patients are, for times that carry an offset
    codes: dict[str, Target] = field(default_factory=dict)
    wide: dict[str, Target] = field(default_factory=dict)
    text: dict[str, dict[str, str]] = field(default_factory=dict)
    decimal: str = "."
    orders: bool = False  # whether an order of a drug counts as given (FHIR MedicationRequest)
    own_wide: frozenset[str] = frozenset()  # columns that this part itself names, and so must be there


@dataclass(frozen=True)
class Mappings:
    """All of a mapping file: one part for each kind of file, and what is said of the whole dataset."""

    parts: tuple[Mapping, ...] = (Mapping(),)
    complete: tuple[str, ...] | None = None
    limits: dict[str, float] = field(default_factory=dict)  # of the site's laboratory, in each concept's own unit
    banner: str | None = None
    simulated: bool = False  # virtual patients: every result says so

    def of(self, name: str) -> Mapping:
        """The first part whose `match` fits a file name; the last part is the one without `match`."""
        return next((part for part in self.parts if part.match == name or fnmatch(name, part.match)), Mapping())


def read_mapping(path: Path | None) -> Mappings:
    """Read a mapping file, or give the empty mapping.

    Raises:
        InputError: it is not there, or is not TOML.
        MappingError: with the section and entry that is wrong, and the nearest right names.
    """
    if path is None:
        return Mappings()
    content = toml_of(read_text(path), str(path))
    try:
        return _mappings(content)
    except MappingError as error:
        raise MappingError(f"{path}: {error}") from error
    except (TypeError, AttributeError, ValueError, KeyError) as error:
        raise MappingError(f"{path}: an entry has the wrong type; docs/mapping.md shows each.") from error


def _mappings(content: dict[str, Any]) -> Mappings:
    base = _part(content)
    for entry in content.get("file", []):
        if whole := sorted({"record", "limits", "note"} & set(entry)):
            raise MappingError(f"[{whole[0]}] holds for the whole source: write it outside of [[file]].")
    parts = [_part(entry, base) for entry in content.get("file", [])]
    record = content.get("record", {})
    for section, known in (("record", {"complete"}), ("note", {"banner", "simulated"})):
        _check_keys(section, content.get(section, {}), known)
    complete = record.get("complete")
    if complete is not None and not set(complete) <= _STREAMS:
        raise MappingError(f"[record] complete may name {', '.join(sorted(_STREAMS))}.")
    return Mappings(
        parts=(*parts, base),
        complete=None if complete is None else tuple(complete),
        limits={name: _limit(name, given) for name, given in content.get("limits", {}).items()},
        banner=content.get("note", {}).get("banner"),
        simulated=content.get("note", {}).get("simulated") is True,
    )


def _is_zone(name: Any) -> bool:
    if name is None:
        return True
    try:
        pl.select(pl.lit(None, pl.Datetime("us", "UTC")).dt.convert_time_zone(name))
    except (pl.exceptions.PolarsError, TypeError):
        return False
    return True


def _check_format(form: Any) -> None:
    if not isinstance(form, str):
        raise MappingError("[time] format is a text.")
    try:
        pl.Series([""]).str.to_datetime(form, strict=False)
    except pl.exceptions.PolarsError:
        raise MappingError(f'[time] format {form!r} cannot be used. It names the parts of a time: "%d.%m.%Y %H:%M".') from None


def _limit(name: str, given: Any) -> float:
    """A limit of normal in its concept's own unit."""
    if name not in _LIMITS:
        raise MappingError(f"[limits] {name}: not a limit of ours. {nearest(name, _LIMITS)}")
    if not isinstance(given, dict) or set(given) != {"value", "unit"}:
        raise MappingError(f'[limits] {name} is written {{ value = 40, unit = "U/L" }}.')
    try:
        factor, shift = line(str(given["unit"]), concepts()[name])
    except UnitError as error:
        raise MappingError(f"[limits] {error}") from error
    return float(given["value"]) * factor + shift


def _part(entry: dict[str, Any], base: Mapping | None = None) -> Mapping:
    base = base or Mapping()
    for section in entry:
        if section not in _SECTIONS:
            raise MappingError(f"there is no section {section!r}. {nearest(section, _SECTIONS)}")
    layout = entry.get("layout", base.layout)
    if layout not in (None, "long", "wide", "meds"):
        raise MappingError(f'layout {layout!r}: it is "long", "wide" or "meds".')
    columns: dict[str, str] = entry.get("columns", {})
    for ours in columns:
        if ours not in _COLUMNS:
            raise MappingError(f"[columns] {ours}: not a column of ours. {nearest(ours, _COLUMNS)}")
    time = entry.get("time", {})
    _check_keys("time", time, {"format", "relative", "zone"})
    if entry.get("decimal", ".") not in (".", ","):
        raise MappingError('decimal is "." or ",".')
    if not isinstance(entry.get("match", "*"), str):
        raise MappingError("match is a text.")
    if "format" in time:
        _check_format(time["format"])
    for local in entry.get("codes", {}):
        if "*" in local[:-1]:
            raise MappingError(f'[codes] "{local}": a * may only stand at the end.')
    _check_keys("fhir", fhir := entry.get("fhir", {}), {"orders"})
    if not isinstance(orders := fhir.get("orders", base.orders), bool):
        raise MappingError("[fhir] orders is true or false.")
    if not _is_zone(zone := time.get("zone", base.zone)):
        raise MappingError(f'[time] zone {zone!r}: no time zone of that name. They are written "Europe/Berlin".')
    if time.get("relative") not in (None, "hours", "days"):
        raise MappingError('[time] relative is "hours" or "days".')
    texts = {name: {k.casefold(): v for k, v in words.items()} for name, words in entry.get("text", {}).items()}
    for name, words in texts.items():
        if name == "attributable_to":
            if wrong := set(words.values()) - set(ATTRIBUTIONS):
                raise MappingError(f"[text.attributable_to] takes {', '.join(ATTRIBUTIONS)}, not {', '.join(sorted(wrong))}.")
            continue
        _check_concept("text", name)
        for ours in words.values():
            if concepts()[name].values and ours not in (*concepts()[name].values, "unknown"):
                raise MappingError(f"[text.{name}] {ours!r} is not a word of it. {nearest(ours, concepts()[name].values)}")
    return replace(
        base,
        match=entry.get("match", "*"),
        layout=layout,
        columns=base.columns | columns,
        time_format=time.get("format", base.time_format),
        relative=time.get("relative", base.relative),
        codes=base.codes | _targets("codes", entry.get("codes", {})),
        wide=base.wide | _targets("wide", entry.get("wide", {})),
        own_wide=frozenset(
            local for local, e in entry.get("wide", {}).items() if not (isinstance(e, dict) and e.get("optional") is True)
        ),
        decimal=entry.get("decimal", base.decimal),
        orders=orders,
        zone=zone,
        text=base.text | texts,
    )


def _targets(section: str, entries: dict[str, Any]) -> dict[str, Target]:
    return {local: _target(section, local, entry) for local, entry in entries.items()}


def _target(section: str, local: str, entry: str | dict[str, Any]) -> Target:
    fields: dict[str, Any] = {"concept": entry} if isinstance(entry, str) else dict(entry)
    if not fields.get("concept"):
        raise MappingError(f'[{section}] "{local}": it names no concept.')
    given = str(fields["concept"])
    name = fields["concept"] = codes().get(given, given)
    _check_concept(section, name)
    known = set(Target.__dataclass_fields__) - {"dated"} | {"as", "optional"}
    for key in fields:
        if key not in known:
            raise MappingError(f'[{section}] "{local}": {key!r} is not known here. {nearest(key, known)}')
    if fields.get("edge") not in (None, "start", "end"):
        raise MappingError(f'[{section}] "{local}": edge is "start" or "end".')
    if fields.get("take") not in (None, "first"):
        raise MappingError(f'[{section}] "{local}": take is "first".')
    fields.pop("optional", None)
    if any(not isinstance(v, str) for v in fields.values()):
        raise MappingError(f'[{section}] "{local}": its values are texts.')
    role = fields.pop("as", "time" if section == "wide" and name in _DATED else "value")
    if role not in ("time", "value"):
        raise MappingError(f'[{section}] "{local}": as is "time" or "value".')
    return Target(**fields, dated=role == "time")


def _check_keys(section: str, entry: dict[str, Any], known: set[str]) -> None:
    for key in entry:
        if key not in known:
            raise MappingError(f"[{section}] {key!r} is not known there. {nearest(key, known)}")


def _check_concept(section: str, name: str) -> None:
    if name not in concepts():
        raise MappingError(f"[{section}] {name!r} is not a concept. {nearest(name, concepts())}")


def by_unit_suffix(columns: list[str]) -> Table[str, Target]:
    """Wide columns that say what they are without a mapping: a concept's name, or its name and unit (`temperature_c`).

    >>> dict(by_unit_suffix(["sbp_mmhg", "note"]))["sbp_mmhg"].unit
    'mm[Hg]'
    """
    suffixes = {
        "c": "Cel", "f": "[degF]", "mmhg": "mm[Hg]", "pct": "%", "l_min": "L/min", "mg_l": "mg/L", "mg_dl": "mg/dL",
        "g_l": "g/L", "g_dl": "g/dL", "ng_ml": "ng/mL", "pg_ml": "pg/mL", "u_l": "U/L", "per_ul": "/uL", "k_ul": "10*3/uL",
        "10e9_l": "10*9/L", "kg": "kg", "y": "a", "umol_l": "umol/L", "mmol_l": "mmol/L", "min": "min",
    }  # fmt: skip
    found: dict[str, Target] = {}
    for column in columns:
        name = column.casefold()
        unit = None
        if name not in concepts():
            matches = [(s, u) for s, u in suffixes.items() if name.endswith(f"_{s}")]
            name, unit = next(
                ((name.removesuffix(f"_{s}"), u) for s, u in matches if name.removesuffix(f"_{s}") in codes()),
                (name, None),
            )
        if name in codes() and name not in TIMELINE:
            found[column] = Target(concept=codes()[name], unit=unit, dated=codes()[name] in _DATED)
    return found
