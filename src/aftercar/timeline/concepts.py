"""The concepts of `concepts.toml`, as typed records."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from aftercar.errors import OptionError, nearest

Kind = Literal["number", "text", "flag", "drug", "event", "record"]


@dataclass(frozen=True)
class Concept:
    """One thing that a timeline can hold.

    `unit` is UCUM and null where the concept is not a number; `valid_for_h` is null where a value stands for ever.
    """

    name: str
    label: str
    kind: Kind
    unit: str | None = None
    plausible: tuple[float, float] | None = None
    look_alike: dict[str, tuple[float, float]] = field(default_factory=dict)
    plausible_dose: dict[str, tuple[float, float]] = field(default_factory=dict)  # of a drug, by unit
    valid_for_h: float | None = None
    worst: Literal["max", "min"] = "max"
    unit_optional: bool = False
    whole: bool = False
    molar_mass: float | None = None
    values: tuple[str, ...] = ()
    alias: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    codes: dict[str, list[str]] = field(default_factory=dict)
    word_codes: dict[str, list[str]] = field(default_factory=dict)  # public codes that mean one of `values`


def _concept(name: str, entry: dict[str, Any]) -> Concept:
    fixed: dict[str, Any] = {k: tuple(v) if isinstance(v, list) and k != "codes" else v for k, v in entry.items()}
    for by_unit in fixed.keys() & {"look_alike", "plausible_dose"}:
        fixed[by_unit] = {unit: (low, high) for unit, (low, high) in fixed[by_unit].items()}
    return Concept(name=name, **fixed)


@cache
def concepts() -> dict[str, Concept]:
    """All concepts by name, in the order of `concepts.toml`."""
    text = files("aftercar.timeline").joinpath("concepts.toml").read_text(encoding="utf-8")
    found = {name: _concept(name, entry) for name, entry in tomllib.loads(text).items()}
    # A limit of normal converts as its analyte does.
    limits = {name: found[name[:-4]] for name in found if name.endswith(("_uln", "_lln"))}
    return found | {name: replace(found[name], molar_mass=analyte.molar_mass) for name, analyte in limits.items()}


def concept(name: str) -> Concept:
    """One concept.

    Raises:
        OptionError: there is none of that name.
    """
    try:
        return concepts()[name]
    except KeyError:
        raise OptionError(f"No concept is called {name!r}. {nearest(name, concepts())}") from None


@cache
def codes() -> dict[str, str]:
    """Every code that needs no mapping, and its concept: our names, `LOINC//8310-5`, `RxNorm//612865`, MEDS' own."""
    systems = {"RXNORM": ("RxNorm", "RXNORM"), "ICD10PCS": ("ICD10PCS", "PROCEDURE//ICD//10")}
    known = {"MEDS_BIRTH": "birth", "MEDS_DEATH": "death"}
    for name, item in concepts().items():
        known |= {name: name} | dict.fromkeys(item.names, name)
        for system, values in item.codes.items():
            for prefix in systems.get(system, (system,)):
                known |= {f"{prefix}//{value}": name for value in values}
        if item.kind == "drug":  # SDTM names a drug by its decode, in capitals
            spoken = [n.replace("_", " ").upper() for n in (name, *item.names)]
            known |= {f"SDTM//{domain}//{drug}": name for domain in ("CM", "EX", "PR") for drug in spoken}
    return known


@cache
def coded_words() -> dict[str, tuple[str, str]]:
    """Every public code that means a word of a concept, such as a device: the concept and its word."""
    return {code: (c.name, word) for c in concepts().values() for word, those in c.word_codes.items() for code in those}


@cache
def of_group(group: str) -> tuple[str, ...]:
    """Drugs of a group, or the drug itself where `group` names one.

    Raises:
        OptionError: neither a group nor a drug.
    """
    members = tuple(c.name for c in concepts().values() if group in c.groups)
    if members:
        return members
    name = codes().get(group)
    if name is None or concepts()[name].kind != "drug":
        known = {g for c in concepts().values() for g in c.groups} | {c.name for c in concepts().values() if c.kind == "drug"}
        raise OptionError(f"No drug or group of drugs is called {group!r}. {nearest(group, known)}")
    return (name,)
