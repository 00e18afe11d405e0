"""An SBML document as libSBML reads it: what is in it, what is wrong with it, and what of it libRoadRunner cannot run."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from aftercar.errors import AftercarError, InputError

CONTENTS = {"kind": pl.String, "name": pl.String, "value": pl.Float64, "unit": pl.String, "role": pl.String, "formula": pl.String, "meaning": pl.String, "source": pl.String, "confidence": pl.String}  # fmt: skip
FINDINGS = {"severity": pl.String, "line": pl.Int64, "category": pl.String, "message": pl.String}
# What libSBML and libRoadRunner resolve, or what is for drawing only; another package without which a model means something else cannot be run.
PACKAGES = ("comp", "distrib", "l3v2extendedmath", "layout", "render")
_REPEATED = "Unit consistency reported as either no errors or further unit errors related to this object may not be accurate."


def libsbml() -> Any:
    """The library, loaded when it is first needed.

    Raises:
        AftercarError: it is not installed.
    """
    try:
        import libsbml
    except ImportError as error:
        raise AftercarError("SBML needs the extra: pip install 'aftercar[simulate]'.") from error
    return libsbml


def read_sbml(source: Path | str) -> Any:
    """An SBML document of any level, flat: composed of no other models, with each parameter known to the whole model.

    A parameter that was local to a reaction is called `reaction_parameter` afterwards. Keep the document for as long as its model is used: libSBML
    frees it with all that is in it.

    Args:
        source: a file, or the text itself.
    Raises:
        InputError: it cannot be read, or is no SBML with a model in it; with the line and what libSBML says.
    """
    sbml = libsbml()
    if is_text := isinstance(source, str) and source.lstrip("\ufeff \t\r\n").startswith("<"):
        document = sbml.readSBMLFromString(str(source))
    else:
        if not Path(source).is_file():
            raise InputError(f"{source}: no such file.")
        document = sbml.readSBMLFromFile(str(source))
    place = "the text" if is_text else str(source)
    faults = [document.getError(n) for n in range(document.getNumErrors())]
    if wrong := next((e for e in faults if e.isError() or e.isFatal()), None):
        raise InputError(f"{place}, line {wrong.getLine()}: cannot be read as SBML. libSBML: {_sentence(wrong)}")
    if document.getModel() is None:
        raise InputError(f"{place}: an SBML document without a model.")
    if document.getPlugin("comp") is not None:
        _convert(document, "flatten comp", place, {"leavePorts": False, "abortIfUnflattenable": "requiredOnly"})
    _convert(document, "promoteLocalParameters", place)
    return document


def _convert(document: Any, how: str, place: str, options: dict[str, Any] | None = None) -> None:
    properties = libsbml().ConversionProperties()
    properties.addOption(how, True)
    for name, value in (options or {}).items():
        properties.addOption(name, value)
    if document.convert(properties) != libsbml().LIBSBML_OPERATION_SUCCESS:
        faults = [document.getError(n) for n in range(document.getNumErrors())]
        why = next((f" It says: {_sentence(e)}" for e in faults if e.isError() or e.isFatal()), "")
        raise InputError(f"{place}: libSBML cannot make one flat model of it ({how}).{why}")


def _sentence(error: Any) -> str:
    """What libSBML says of this place: the rule and its reference stand before it in the message, and alone where nothing follows."""
    lines = [re.sub(r"\s+", " ", line).strip() for line in error.getMessage().split("\n")]
    said = [line for line in lines if line and not line.startswith("Reference:")]
    text = " ".join(said[1:] or said).replace(_REPEATED, "").strip()
    return text or f"{error.getShortMessage()}."


# ---- what is wrong


def findings(document: Any, *, units: bool = True) -> pl.DataFrame:
    """What libSBML finds (structure, mathematics, units), and what libRoadRunner cannot do.

    Args:
        units: also whether the units of formulas agree.
    Returns:
        a row a finding, the worst first: `severity` (error, unsupported, warning, note), `line`, `category`, `message`.
    """
    sbml = libsbml()
    document.setConsistencyChecks(sbml.LIBSBML_CAT_MODELING_PRACTICE, False)  # opinions: every value without units
    document.setConsistencyChecks(sbml.LIBSBML_CAT_UNITS_CONSISTENCY, units)
    document.checkConsistency()
    rows: list[dict[str, Any]] = [dict(zip(FINDINGS, row, strict=True)) for row in unsupported(document.getModel())]
    for n in range(document.getNumErrors()):
        error = document.getError(n)
        severity = "error" if error.isError() or error.isFatal() else "warning" if error.isWarning() else "note"
        rows.append(
            {"severity": severity, "line": error.getLine(), "category": error.getCategoryAsString(), "message": _sentence(error)}
        )
    order = pl.col("severity").replace_strict({"error": 0, "unsupported": 1, "warning": 2, "note": 3}, return_dtype=pl.Int64)
    return pl.DataFrame(rows, schema=FINDINGS).unique(maintain_order=True).sort(order, "line", maintain_order=True)


def unsupported(model: Any) -> Iterator[tuple[str, int, str, str]]:
    """What of a model libRoadRunner cannot run (`unsupported`), and what it leaves out (`note`), as rows of findings."""
    sbml, who = libsbml(), "libRoadRunner"
    for rule in model.getListOfRules():
        if rule.isAlgebraic():
            yield "unsupported", rule.getLine(), who, f"algebraic rules, such as 0 = {_formula(rule)}"
    for reaction in model.getListOfReactions():
        if reaction.isSetFast() and reaction.getFast():
            yield "unsupported", reaction.getLine(), who, f"fast reactions, such as {reaction.getId()}"
    for element in model.getListOfAllElements():
        math_of = getattr(element, "getMath", lambda: None)()
        if math_of is not None and _has(math_of, sbml.AST_FUNCTION_DELAY):
            yield "unsupported", element.getLine(), who, f"delays in a formula, such as {_formula(element)}"
    document = model.getSBMLDocument()
    plugins = [document.getPlugin(n).getPackageName() for n in range(document.getNumPlugins())]
    packages = [(name, document.getPackageRequired(name)) for name in plugins]
    unknown = range(document.getNumUnknownPackages())
    packages += [
        (document.getUnknownPackagePrefix(n), document.getPkgRequired(document.getUnknownPackageURI(n))) for n in unknown
    ]
    for name, required in packages:
        if name not in PACKAGES and required:
            yield "unsupported", document.getLine(), who, f"the package {name}, without which the model means something else"
        elif name not in PACKAGES:
            yield "note", document.getLine(), who, f"what the package {name} adds is left out"
    if model.getNumConstraints():
        yield "note", model.getListOfConstraints().getLine(), who, "constraints are not watched"


def _has(node: Any, kind: int) -> bool:
    return node.getType() == kind or any(_has(node.getChild(n), kind) for n in range(node.getNumChildren()))


def _formula(element: Any) -> str:
    return str(libsbml().formulaToL3String(element.getMath())) if element.isSetMath() else ""


# ---- what is in it


@dataclass(frozen=True)
class Quantity:
    """A thing of a model that has a value.

    `role` is how it goes on: `constant`, `state` (changed by reactions or a rate rule), `assigned` (by a rule, at all times), `event` (changed by
    events only), `input` (not constant, and nothing changes it).
    """

    kind: str
    name: str
    value: float
    unit: str
    role: str
    formula: str
    in_amount: bool = True  # as formulas read it; a species is otherwise read as a concentration


def quantities(model: Any) -> list[Quantity]:
    """Compartments, species and parameters, in the order of the model; values as the document gives them, NaN where it gives none."""
    rules = {r.getVariable(): r for r in model.getListOfRules() if not r.isAlgebraic()}
    moved = {
        s.getSpecies()
        for r in model.getListOfReactions()
        for s in (*r.getListOfReactants(), *r.getListOfProducts())
        if not model.getSpecies(s.getSpecies()).getBoundaryCondition()
    }
    by_event = {a.getVariable() for e in model.getListOfEvents() for a in e.getListOfEventAssignments()}
    starts = {a.getSymbol(): a for a in model.getListOfInitialAssignments()}

    def one(kind: str, thing: Any) -> Quantity:
        name = thing.getId()
        rule = rules.get(name)
        role = (
            ("assigned" if rule.isAssignment() else "state") if rule is not None
            else "state" if name in moved else "event" if name in by_event else "constant" if thing.getConstant() else "input"
        )  # fmt: skip
        said = f"{'= ' if rule.isAssignment() else 'rate = '}{_formula(rule)}" if rule is not None else ""
        if not said and name in starts:
            said = f"at the start {_formula(starts[name])}"
        in_amount = kind != "species" or thing.getHasOnlySubstanceUnits()
        unit = _unit_of(model, thing, in_amount)
        value = math.nan if name in starts or role == "assigned" else _value(model, thing, kind, in_amount)
        return Quantity(kind, name, value, unit, role, said, in_amount)

    lists = {
        "compartment": model.getListOfCompartments(),
        "species": model.getListOfSpecies(),
        "parameter": model.getListOfParameters(),
    }
    return [one(kind, thing) for kind, things in lists.items() for thing in things]


def _value(model: Any, thing: Any, kind: str, in_amount: bool) -> float:
    if kind == "compartment":
        return thing.getSize() if thing.isSetSize() else math.nan
    if kind == "parameter":
        return thing.getValue() if thing.isSetValue() else math.nan
    size = model.getCompartment(thing.getCompartment()).getSize()
    if thing.isSetInitialConcentration():
        return thing.getInitialConcentration() * (size if in_amount else 1)
    if thing.isSetInitialAmount():
        return thing.getInitialAmount() / (1 if in_amount else size or math.nan)
    return math.nan


def contents(document: Any) -> pl.DataFrame:
    """A row a compartment, species and parameter, with what its notes say of source and confidence; see `CONTENTS`."""
    model = document.getModel()
    rows = []
    for q in quantities(model):
        thing = model.getElementBySId(q.name)
        notes = html.unescape(re.sub(r"<[^>]*>", "\n", thing.getNotesString())) if thing.isSetNotes() else ""
        told = {key: found[1].strip() for key in ("source", "confidence") if (found := re.search(rf"\b{key}:([^;\n]*)", notes))}
        value = None if math.isnan(q.value) else q.value
        rows.append(
            {"kind": q.kind, "name": q.name, "value": value, "unit": q.unit, "role": q.role, "formula": q.formula or None}
            | {"meaning": thing.getName() or None, "source": told.get("source"), "confidence": told.get("confidence")}
        )
    return pl.DataFrame(rows, schema=CONTENTS)


def counts(document: Any) -> dict[str, int]:
    """How many of what a model has."""
    model = document.getModel()
    parts = (
        "Compartments",
        "Species",
        "Parameters",
        "Reactions",
        "Rules",
        "InitialAssignments",
        "Events",
        "FunctionDefinitions",
        "Constraints",
    )
    return {re.sub(r"(?<=[a-z])(?=[A-Z])", " ", part).lower(): getattr(model, f"getNum{part}")() for part in parts}


# ---- units

_SYMBOLS = {"litre": "L", "gram": "g", "mole": "mol", "metre": "m", "second": "s", "kilogram": "kg", "dimensionless": "1"}
_TIMES = {60.0: "min", 3600.0: "h", 86400.0: "d", 604800.0: "wk"}
_PREFIXES = {1: "", 1e-3: "m", 1e-6: "u", 1e-9: "n", 1e-12: "p", 1e-15: "f", 1e-18: "a", 1e3: "k", 1e-1: "d", 1e-2: "c"}
_BUILT_IN = {"substance": "mol", "volume": "L", "area": "m2", "length": "m", "time": "s"}  # before level 3


def time_unit(model: Any) -> str:
    """The unit of time, blank where the model gives none."""
    return _text(_parts(model, model.getTimeUnits() if model.getLevel() > 2 else "time"))


def _unit_of(model: Any, thing: Any, in_amount: bool) -> str:
    old = model.getLevel() < 3  # whose units have defaults
    if not hasattr(thing, "getSubstanceUnits"):
        default = "" if not hasattr(thing, "getSize") else "volume" if old else model.getVolumeUnits()
        return _text(_parts(model, thing.getUnits() or default))
    where = model.getCompartment(thing.getCompartment())
    substance = _parts(model, thing.getSubstanceUnits() or ("substance" if old else model.getSubstanceUnits()))
    size = _parts(model, where.getUnits() or ("volume" if old else model.getVolumeUnits()))
    if in_amount or not (substance or size):
        return _text(substance)
    return _text([*(substance or [("?", 1.0)]), *((label, -power) for label, power in size)])


def _parts(model: Any, unit: str) -> list[tuple[str, float]]:
    """What a unit is made of: labels and powers. A name that the model gives it stands for the whole."""
    definition = model.getUnitDefinition(unit) if unit else None
    if definition is None:
        label = _SYMBOLS.get(unit, _BUILT_IN.get(unit, unit) if model.getLevel() < 3 else unit)
        return [(label, 1.0)] if label else []
    if definition.isSetName() and definition.getName() not in (unit, *_BUILT_IN):
        return [(definition.getName(), 1.0)]
    return [(_part(u), u.getExponentAsDouble()) for u in definition.getListOfUnits()]


def _text(parts: list[tuple[str, float]]) -> str:
    powers: dict[str, float] = {}
    for label, power in parts:
        powers[label] = powers.get(label, 0.0) + (power if label != "1" else 0.0)
    if list(powers.values()) == [1.0]:
        return next(iter(powers))
    above, below = ([_power(label, abs(p)) for label, p in powers.items() if p * way > 0] for way in (1, -1))
    return "/".join([".".join(above) or "1", *below]) if powers else ""


def _power(label: str, power: float) -> str:
    label = f"({label})" if "/" in label else label
    return label if power == 1 else f"{label}{power:g}"


def _part(unit: Any) -> str:
    kind = libsbml().UnitKind_toString(unit.getKind())
    factor = float(f"{unit.getMultiplier() * 10.0 ** unit.getScale():.12g}")
    if kind == "second" and factor in _TIMES:
        return _TIMES[factor]
    symbol = _SYMBOLS.get(kind, kind)
    if symbol not in ("1", "item") and factor in _PREFIXES:
        return _PREFIXES[factor] + symbol
    return symbol if factor == 1 else f"{factor:g}" if symbol == "1" else f"{factor:g} {symbol}"
