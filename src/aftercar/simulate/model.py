"""The mechanism: an Antimony source without numbers, and tables that hold them; each may be changed by a modeller alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl

from aftercar.errors import InputError, nearest
from aftercar.files import read_text, toml_of
from aftercar.simulate.compiled import Equations, equations
from aftercar.simulate.sbml import antimony_text, to_sbml
from aftercar.timeline.concepts import concepts

STRUCTURE = "car_t.ant"
# The tables, and the columns that each must have. L lecture, S a published number that was read, K general knowledge, C calibrated or assumed.
TABLES = {
    "parameters": ("name", "value", "unit", "group", "meaning", "source", "confidence"),
    "variability": ("parameter", "sd_log", "correlated_with", "correlation", "source", "confidence"),
    "products": ("product", "parameter", "value", "source", "confidence"),
    "diseases": ("disease", "parameter", "value", "source", "confidence"),
    "drugs": ("drug", "state", "concept", "per_mg", "unit", "dose", "schedule", "source", "confidence"),
}
CONFIDENCE = ("L", "S", "K", "C")
_BOUNDS = {"value": (0.0, 1e15), "sd_log": (0.0, 5.0), "correlation": (-1.0, 1.0), "per_mg": (0.0, 1e15)}


@dataclass(frozen=True, eq=False)
class Model:
    """The mechanism, ready to be run.

    Attributes:
        text: Antimony with the values filled in.
        sbml: the same as SBML level 3.
        tables: see `TABLES`.
    """

    text: str
    sbml: str
    equations: Equations
    tables: dict[str, pl.DataFrame]

    @property
    def states(self) -> list[str]:
        """Names of what has a rate."""
        return list(self.equations.states)

    @property
    def units(self) -> tuple[str, ...]:
        """The unit of each state, as `parameters.csv` says."""
        told = dict(self.tables["parameters"].select("name", "unit").iter_rows())
        return tuple(told.get(name) or "" for name in self.states)

    @property
    def parameters(self) -> list[str]:
        """Names of what stays as it is."""
        return list(self.equations.parameters)


def load_model(folder: Path | str | None = None) -> Model:
    """The mechanism that comes with aftercar.

    Args:
        folder: one's own files; each stands in for ours of that name (`car_t.ant`, `parameters.csv` ...).
    Raises:
        InputError: a file is not as it must be: which, where, and what to do.
    """
    return _loaded(None if folder is None else str(Path(folder).absolute()))


@lru_cache(maxsize=4)
def _loaded(folder: str | None) -> Model:
    own = None if folder is None else Path(folder)
    if own is not None and not own.is_dir():
        raise InputError(f"{own}: no such folder.")
    if own is not None:
        _refuse_files(own)
    structure = _file(STRUCTURE, own).read_text(encoding="utf-8")
    tables = {name: _table(name, own) for name in TABLES}
    text = antimony_text(structure, tables["parameters"])
    sbml = to_sbml(text)
    model = Model(text, sbml, equations(sbml), tables)
    _refuse_unknown(model)
    return model


_FILES = {STRUCTURE, *(f"{name}.csv" for name in TABLES), "observation.toml", "policies.toml"}


def _refuse_files(own: Path) -> None:
    """A file that nothing reads would be lost in silence."""
    theirs = [f.name for f in sorted(own.iterdir()) if f.suffix in (".ant", ".csv", ".toml")]
    for name in theirs:
        if name not in _FILES:
            raise InputError(
                f"{own}: {name} is no file of the model. {nearest(name, _FILES) or 'Known: ' + ', '.join(sorted(_FILES)) + '.'}"
            )
    if not theirs:
        raise InputError(f"{own}: no file of the model there. Known: {', '.join(sorted(_FILES))}.")


def toml(name: str, own: Path | str | None) -> dict[str, Any]:
    """A TOML file of one's own, or ours.

    Raises:
        InputError: it cannot be read, or is not TOML.
    """
    return toml_of(read_text(_file(name, None if own is None else Path(own))), name)


def _file(name: str, own: Path | None) -> Any:
    theirs = own / name if own else None
    return theirs if theirs is not None and theirs.is_file() else files("aftercar.simulate").joinpath("model").joinpath(name)


def _table(name: str, own: Path | None) -> pl.DataFrame:
    file = _file(f"{name}.csv", own)
    try:
        table = pl.read_csv(file.read_bytes(), infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{name}.csv: cannot be read as a table with commas.") from error
    if len(table.columns) == 1 and ";" in table.columns[0]:
        raise InputError(f"{name}.csv: is written with semicolons; write it with commas.")
    if lacking := [c for c in TABLES[name] if c not in table.columns]:
        raise InputError(f"{name}.csv: the column {lacking[0]} is missing. Needed: {', '.join(TABLES[name])}.")
    cast = table.with_columns(pl.col(c).str.strip_chars().cast(pl.Float64, strict=False) for c in _BOUNDS if c in table.columns)
    for column in (c for c in _BOUNDS if c in table.columns):
        if (row := _first(cast[column].is_null() & table[column].is_not_null() & (table[column] != ""))) is not None:
            raise InputError(f"{name}.csv, row {row + 2}, {column}: not a number.")
        least, most = _BOUNDS[column]
        if (row := _first(~cast[column].is_between(least, most).fill_null(True))) is not None:
            raise InputError(f"{name}.csv, row {row + 2}, {column}: must be between {least:g} and {most:g}.")
    if (row := _first(~cast["confidence"].is_in(CONFIDENCE).fill_null(False))) is not None:
        raise InputError(f"{name}.csv, row {row + 2}, confidence: one of {', '.join(CONFIDENCE)}.")
    return cast


def _first(wrong: pl.Series) -> int | None:
    """The place of the first that is true."""
    return wrong.arg_max() if wrong.any() else None


def _refuse_unknown(model: Model) -> None:
    """What a table names must be in the model."""
    known = {*model.states, *model.parameters}
    for table, columns in {
        "variability": ("parameter", "correlated_with"),
        "products": ("parameter",),
        "diseases": ("parameter",),
    }.items():
        for column in columns:
            named = model.tables[table][column]
            if (row := _first(~named.is_in([*known, ""]) & named.is_not_null())) is not None:
                raise InputError(f"{table}.csv, row {row + 2}, {column}: the model has no {named[row]!r}.")
    drugs = model.tables["drugs"]
    of_drugs = [c.name for c in concepts().values() if c.kind == "drug"]
    if (row := _first(~drugs["concept"].is_in([*of_drugs, ""]) & drugs["concept"].is_not_null())) is not None:
        raise InputError(
            f"drugs.csv, row {row + 2}, concept: no drug is called {drugs['concept'][row]!r}. {nearest(drugs['concept'][row], of_drugs)}"
        )
    if (row := _first(~drugs["state"].is_in(model.states))) is not None:
        raise InputError(f"drugs.csv, row {row + 2}, state: the model has no state {drugs['state'][row]!r}.")
