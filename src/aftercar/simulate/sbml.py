"""A model as text for exchange: an Antimony source filled with the values and units of tables, and that as SBML level 3."""

from __future__ import annotations

import re
from functools import cache
from types import ModuleType
from typing import Any

import polars as pl
from polars import col

from aftercar.errors import AftercarError, InputError, nearest
from aftercar.simulate.document import findings, libsbml, quantities, read_sbml

# UCUM atoms that have a kind of unit in SBML: the kind, and how much of it. Counts of cells are items; other words in braces are no unit.
ATOMS = {
    "g": ("gram", 1.0), "L": ("litre", 1.0), "l": ("litre", 1.0), "mol": ("mole", 1.0), "m": ("metre", 1.0), "1": ("dimensionless", 1.0),
    "s": ("second", 1.0), "min": ("second", 60.0), "h": ("second", 3600.0), "d": ("second", 86400.0), "wk": ("second", 604800.0),
    "{cells}": ("item", 1.0), "cells": ("item", 1.0), "cell": ("item", 1.0), "%": ("dimensionless", 0.01), "[IU]": ("dimensionless", 1.0), "[iU]": ("dimensionless", 1.0), "U": ("dimensionless", 1.0),
}  # fmt: skip
PREFIXES = {"k": 1e3, "d": 1e-1, "c": 1e-2, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
_TERM = re.compile(r"(\{[^}]*\}|\[[^\]]*\]|10\*|[A-Za-z%]+|1)(-?\d+)?")


def antimony_text(structure: str, parameters: pl.DataFrame) -> str:
    """The source of a model with its numbers.

    Args:
        structure: Antimony without values: units, species, rules, reactions.
        parameters: a row a value: `name`, `value`, and where they are known `unit` (UCUM, or a unit that the structure declares), `meaning`,
            `source`, `confidence`; the last two go into the notes. A row without a value gives its name a unit and meaning only.
    Raises:
        InputError: a name twice or not in the structure, or a unit that SBML has no word for.
    """
    bare = re.sub(r"//[^\n]*|/\*.*?\*/", " ", structure, flags=re.DOTALL)
    words = set(re.findall(r"[A-Za-z_]\w*", bare))
    declared = set(re.findall(r"\bunit\s+([A-Za-z_]\w*)", bare))
    has_unit = set(re.findall(r"\b([A-Za-z_]\w*)\s+has\b", bare))
    if twice := parameters.filter(col("name").is_duplicated())["name"].to_list():
        raise InputError(f"parameters: {twice[0]} stands there twice.")
    lines: list[str] = []
    units: dict[str, str] = {}
    for row in parameters.iter_rows(named=True):
        name = row["name"]
        if name not in words:
            raise InputError(f"parameters: the model has no {name!r}. {nearest(name, words)}")
        if row["value"] is not None:
            lines.append(f"{name} = {row['value']!r};")
        if (unit := (row.get("unit") or "").strip()) and name not in has_unit:
            word, definition = (unit, None) if unit in declared else _unit(unit)
            if definition and word not in declared:
                units[word] = definition
            lines.append(f"{name} has {word};")
        if meaning := row.get("meaning"):
            lines.append(f'{name} is "{meaning.replace(chr(34), chr(39))}";')
        if told := "; ".join(f"{key}: {row[key]}" for key in ("source", "confidence") if row.get(key)):
            lines.append(f"{name} notes ```{_escaped(told)}```;")
    filled = [*(f"unit {word} = {definition};" for word, definition in units.items()), *lines]
    body, end, rest = structure.rpartition("\nend")
    block = "\n  // ---- values\n" + "\n".join(f"  {line}" for line in filled) + "\n"
    return f"{body}\n{block}{end}{rest}" if end and not rest.strip(" ;\n") else structure + block


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("`", "'")


@cache
def _unit(ucum: str) -> tuple[str, str]:
    """A UCUM unit as a word of Antimony, and what it is in units of SBML.

    >>> _unit("pg/mL")
    ('pg_per_mL', '1e-12 gram / 0.001 litre')
    >>> _unit("10*9/L")
    ('billion_per_L', '1e+09 dimensionless / 1 litre')
    >>> _unit("1/d")
    ('per_d', '1 dimensionless / 86400 second')
    >>> _unit("ug/L per pg/mL")
    ('ug_per_L_per_pg_mL', '1e-06 gram * 0.001 litre / 1 litre / 1e-12 gram')
    """
    top: list[str] = []
    bottom: list[str] = []
    words: list[str] = []
    for term, up in _terms(ucum):
        kind, amount, power, word = _term(term, ucum)
        up = up == (power > 0)
        (top if up else bottom).append(f"{amount:g} {kind}" if abs(power) == 1 else f"({amount:g} {kind})^{abs(power)}")
        words.append(("" if up else "per_") + word)
    if not bottom and top in ([], ["1 dimensionless"]):
        return "dimensionless", ""
    return "_".join(w for w in words if w), " / ".join([" * ".join(top) or "1 dimensionless", *bottom])


def _terms(ucum: str) -> list[tuple[str, bool]]:
    """The factors of a unit, and whether each stands above the line; of `pg/mL per cells/uL` the second part is below it whole."""
    halves = enumerate(ucum.split(" per "))
    parts = [(part, (n > 0) == (k > 0)) for n, half in halves for k, part in enumerate(half.split("/"))]
    return [(term.strip(), up) for part, up in parts for term in part.split(".") if term.strip()]


def _term(term: str, ucum: str) -> tuple[str, float, int, str]:
    """Of one factor its kind, how much of it, its power, and a word for it."""
    found = _TERM.fullmatch(term)
    symbol, power = (found[1], int(found[2] or 1)) if found else (term, 1)
    if symbol == "10*":
        amount = 10.0**power
        return (
            "dimensionless",
            amount,
            1,
            {1e3: "thousand", 1e6: "million", 1e9: "billion"}.get(amount, f"e{power}".replace("-", "_")),
        )
    word = {"1": "", "%": "percent"}.get(symbol, re.sub(r"\W", "_", symbol.strip("{}[]"))) + (
        str(abs(power)) if abs(power) != 1 else ""
    )
    if symbol in ATOMS:
        return *ATOMS[symbol], power, word
    if symbol.startswith("{"):
        return "dimensionless", 1.0, power, word
    if symbol[:1] in PREFIXES and symbol[1:] in ATOMS:
        kind, amount = ATOMS[symbol[1:]]
        return kind, amount * PREFIXES[symbol[0]], power, word
    raise InputError(f"parameters: no unit of SBML for {ucum!r}. Units are UCUM, such as pg/mL, 1/d, 10*9/L, {{cells}}/uL.")


def to_sbml(text: str) -> str:
    """Antimony as SBML level 3 version 2; a number in a formula has no unit.

    Raises:
        InputError: it is no Antimony (with the line), a name has no value, or what comes out is no valid SBML.
    """
    antimony = _antimony()
    antimony.clearPreviousLoads()
    antimony.setWriteSBMLTimestamp(False)  # the same text, the same file
    if antimony.loadAntimonyString(text) < 0:
        raise InputError(f"The model cannot be read as Antimony: {antimony.getLastError().strip()}")
    sbml: str = antimony.getSBMLString(antimony.getMainModuleName())
    document = read_sbml(sbml)
    started = {a.getSymbol() for a in document.getModel().getListOfInitialAssignments()}
    if lacking := [
        q.name for q in quantities(document.getModel()) if q.value != q.value and q.role != "assigned" and q.name not in started
    ]:
        raise InputError(f"The model has no value for {', '.join(lacking[:5])}{' and others' if len(lacking) > 5 else ''}.")
    if (wrong := findings(document, units=False).filter(severity="error")).height:
        raise InputError(f"The model is no valid SBML: line {wrong['line'][0]}: {wrong['message'][0]}")
    for rule in document.getModel().getListOfRules():
        formula = rule.getMath().deepCopy()
        _without_units(formula)
        rule.setMath(formula)
    return str(libsbml().writeSBMLToString(document))


def _without_units(node: Any) -> None:
    """Say of the numbers in a formula that they have no unit: libSBML can check none with a number of which it is not said."""
    if node.isNumber() and not node.isSetUnits():
        node.setUnits("dimensionless")
    for n in range(node.getNumChildren()):
        _without_units(node.getChild(n))


def _antimony() -> ModuleType | Any:
    try:
        import antimony
    except ImportError as error:
        raise AftercarError("Antimony needs the extra: pip install 'aftercar[simulate]'.") from error
    return antimony
