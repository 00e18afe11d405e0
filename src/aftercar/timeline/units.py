"""Units: what a site writes, as UCUM, and the line that leads to the concept's own unit.

UCUM parsing and conversion come from `ucumvert` and `pint`, which cost most of a second to import and are loaded only
when a unit differs from the concept's own. What they cannot know is here: hospital shorthand, and molar masses
(`concepts.toml`).
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from threading import RLock
from typing import Any

from aftercar.errors import UnitError
from aftercar.timeline.concepts import Concept

TOLERANCE_C = 1e-6  # a temperature that came from Fahrenheit may miss its cut by so much

# Hospital shorthand that is not UCUM, or means something else in it (K/uL is kelvin per microlitre).
SHORTHAND = {
    "K/uL": "10*3/uL", "K/mcL": "10*3/uL", "k/uL": "10*3/uL", "K/mm3": "10*3/uL", "thou/uL": "10*3/uL",
    "10*3/ul": "10*3/uL", "10*3/mm3": "10*3/uL", "10*3/mL": "10*3/mL", "10*6/L": "10*6/L",
    "G/L": "10*9/L", "10*9/l": "10*9/L", "Gpt/L": "10*9/L", "giga/L": "10*9/L",
    "/mm3": "/uL", "cells/uL": "/uL", "cells/mm3": "/uL", "/ul": "/uL", "uL-1": "/uL", "#/uL": "/uL",
    "mmHg": "mm[Hg]", "mm Hg": "mm[Hg]", "mm(hg)": "mm[Hg]",
    "°C": "Cel", "C": "Cel", "degC": "Cel", "deg C": "Cel", "celsius": "Cel", "Celsius": "Cel",
    "°F": "[degF]", "F": "[degF]", "degF": "[degF]", "deg F": "[degF]", "fahrenheit": "[degF]", "Fahrenheit": "[degF]",
    "IU/L": "U/L", "[iU]/L": "U/L", "IU/l": "U/L", "U/l": "U/L", "IU/mL": "U/mL", "[iU]/mL": "U/mL",
    "mg/dl": "mg/dL", "mg/l": "mg/L", "g/dl": "g/dL", "g/l": "g/L", "ng/ml": "ng/mL", "pg/ml": "pg/mL",
    "mcg/L": "ug/L", "mcg/min": "ug/min", "mcg/kg/min": "ug/kg/min", "mcg": "ug", "units/min": "U/min",
    "k/ul": "10*3/uL", "K/ul": "10*3/uL", "G/l": "10*9/L", "Gpt/l": "10*9/L", "cells/ul": "/uL", "Tsd/uL": "10*3/uL", "Tsd/ul": "10*3/uL",
    "mg/hr": "mg/h", "ug/hr": "ug/h", "ug/kg/hr": "ug/kg/h", "mcg/hr": "ug/h", "mcg/kg/hr": "ug/kg/h", "mg/kg/hr": "mg/kg/h",
    "mL/hr": "mL/h", "ml/hr": "mL/h", "ml/h": "mL/h", "gamma": "ug/kg/min", "IU/h": "[iU]/h", "IU/hr": "[iU]/h", "IU/min": "[iU]/min",
    "stools/day": "/d", "/day": "/d", "umol/l": "umol/L", "mmol/l": "mmol/L", "ug/l": "ug/L",
    "units/hour": "U/h", "units/h": "U/h", "U/hr": "U/h", "lpm": "L/min", "LPM": "L/min", "l/min": "L/min", "L/m": "L/min",
    "bpm": "/min", "minutes": "min", "years": "a", "yr": "a", "y": "a", "lb": "[lb_av]", "lbs": "[lb_av]", "Lbs": "[lb_av]",
    # CDISC terms
    "beats/min": "/min", "BEATS/MIN": "/min", "GI/L": "10*9/L", "THOU/uL": "10*3/uL", "LB": "[lb_av]", "mg/day": "mg/d",
    "YEARS": "a", "MONTHS": "mo", "WEEKS": "wk", "DAYS": "d",
    "fraction": "1", "percent": "%", "points": "{score}", "score": "{score}",
}  # fmt: skip


def ucum(unit: str) -> str:
    """A site's spelling as UCUM, where it is known shorthand; else the spelling itself, tidied.

    >>> ucum("K/µL"), ucum("x10^9/L"), ucum("mmHg")
    ('10*3/uL', '10*9/L', 'mm[Hg]')
    """
    tidy = unit.strip().replace("µ", "u").replace("μ", "u").replace("^", "*")
    tidy = re.sub("10([⁰¹²³⁴⁵⁶⁷⁸⁹])", lambda m: f"10*{unicodedata.digit(m[1])}", tidy)
    tidy = re.sub(r"^[x×]?\s*10[eE*](\d+)", r"10*\1", tidy)
    return SHORTHAND.get(tidy, tidy)


_ALONE = RLock()  # pint fills its registry without one, and a server reads in several threads


@cache
def _registry() -> Any:
    from ucumvert import PintUcumRegistry

    return PintUcumRegistry()


@cache
def is_ucum(unit: str) -> bool:
    """Whether a unit can be read as UCUM at all."""
    try:
        with _ALONE:
            _registry().from_ucum(ucum(unit))
    except Exception:  # the parser raises its own and lark's errors, without a common base
        return False
    return True


@cache
def _line(unit: str, target: str, molar_mass: float | None) -> tuple[float, float]:
    with _ALONE:
        return _converted(unit, target, molar_mass)


def _converted(unit: str, target: str, molar_mass: float | None) -> tuple[float, float]:
    registry = _registry()
    try:
        given, wanted = (registry.from_ucum(u) for u in (unit, target))
    except Exception as error:  # as above
        raise UnitError(unit) from error

    def convert(x: float) -> float:
        value = registry.Quantity(x * given.magnitude, given.units)
        if molar_mass and value.check("[substance]/[length]**3"):
            value = value * registry.Quantity(molar_mass, "g/mol")
        return float(value.to(wanted.units).magnitude / wanted.magnitude)

    try:
        at_0, at_1 = convert(0.0), convert(1.0)
    except Exception as error:  # pint's DimensionalityError and OffsetUnitCalculusError share no useful base
        raise UnitError(unit) from error
    return float(f"{at_1 - at_0:.12g}"), float(f"{at_0:.12g}")


def line(unit: str, concept: Concept) -> tuple[float, float]:
    """`(a, b)` such that `a * value + b` is in the concept's own unit.

    Raises:
        UnitError: the unit is unknown or measures something else; the message says which would do.
    """
    if unit == concept.unit or ucum(unit) == concept.unit:
        return 1.0, 0.0
    if concept.unit is None:
        raise UnitError(f"{concept.name} takes no unit")
    try:
        return _line(ucum(unit), concept.unit, concept.molar_mass)
    except UnitError:
        # The unit is not repeated: a shifted cell may hold anything, even a name.
        raise UnitError(
            f"{concept.name}: not a unit of it. It is kept in {concept.unit}; any UCUM unit that converts to "
            "that will do (UCUM is case-sensitive). Correct the file, or give the unit in the mapping."
        ) from None


def ucum_dose(unit: str) -> str:
    """The unit of a dose as UCUM: beside `ucum`, micrograms and units as charts write them before anything.

    >>> ucum_dose("mcg/kg"), ucum_dose("units/kg")
    ('ug/kg', 'U/kg')
    """
    return re.sub(r"^(mcg|units?)", lambda m: "ug" if m[0] == "mcg" else "U", ucum(unit))


@cache
def times(unit: str, own: str) -> float | None:
    """How many of a dose's `own` unit one of `unit` is; null where it measures something else. A dose per kilogram is none in all, nor the reverse.

    >>> times("g", "mg"), times("mcg/kg", "mg/kg"), times("mg/kg", "mg"), times("mg/h", "mg")
    (1000.0, 0.001, None, None)
    """
    given, wanted = ucum_dose(unit).split("/kg", 1), own.split("/kg", 1)
    if given[1:] != wanted[1:]:
        return None
    try:
        return _line(given[0], wanted[0], None)[0]
    except UnitError:
        return None


@cache
def rate(unit: str) -> tuple[float, bool] | None:
    """A drug's rate unit as micrograms per minute: the factor, and whether it is per kilogram; null where it is no mass per time.

    >>> rate("mg/h"), rate("mcg/kg/min"), rate("U/min")
    ((16.666666666666668, False), (1.0, True), None)
    """
    spelled = ucum(unit)
    per_kg = "/kg" in spelled
    try:
        with _ALONE:
            quantity = _registry().from_ucum(ucum(spelled.replace("/kg", "", 1)))
            factor = float((1 * quantity).to("microgram/minute").magnitude)
    except Exception:  # the parser and pint raise errors without a common base
        return None
    return factor, per_kg
