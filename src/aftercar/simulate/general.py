"""Any SBML model, for one or many virtual patients: libRoadRunner behind the same arrays that the compiled engine gives."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aftercar.errors import AftercarError, InputError, OptionError, nearest
from aftercar.processes import in_processes, processors
from aftercar.simulate.document import Quantity, libsbml, quantities, read_sbml, unsupported
from aftercar.simulate.trajectories import Trajectories

RTOL, ATOL = 1e-6, 1e-9
MOST_STEPS = 200_000  # of the solver between two times, before a row is given up
ROWS = 32  # that a process should have to work on, at the least: to start one costs as much
LOGS = ("SUNLOGGER_WARNING_FILENAME", "SUNLOGGER_ERROR_FILENAME")  # where CVODE is told what file to write to

Rows = Mapping[str, NDArray[np.float64]]


def run_sbml(
    source: Path | str,
    times: Sequence[float] | NDArray[np.float64],
    select: Sequence[str] | None = None,
    parameters: pl.DataFrame | Mapping[str, Any] | None = None,
    *,
    seed: int | None = None,
    rtol: float = RTOL,
    atol: float = ATOL,
    workers: int | None = None,
) -> Trajectories:
    """Run an SBML model, once for each row of parameters; the result is the same whatever the number of processes.

    Args:
        source: a file of SBML of any level, or its text.
        times: when to read the states, ascending, in the model's unit of time, from 0 on; the model always starts at 0.
        select: what to read. A name stands for its value as the model's formulas read it: of a species the concentration, unless the model counts
            it by amount; `[S]` is the concentration and `amount(S)` the amount. A reaction's name is its rate. By default all that changes.
        parameters: named values in place of the document's, a column a name and a row a patient: of parameters and compartments, and of species
            and other states the initial value. What the document works out from them at the start follows. A single number holds for all rows.
        seed: for what is drawn within a run: the order of events at one time, and distributions. The same seed, the same runs.
        rtol, atol: tolerances of the solver (CVODE), for each step and state.
        workers: processes at a time; by default one a processor where there are rows enough.
    Returns:
        values of shape `[patient, time, state]`. A row that could not be solved is NaN, and in `faults` with the reason; one of which the solver warned is in `warned`.
    Raises:
        InputError: it is no SBML, needs what libRoadRunner cannot do, or could not be solved for any row.
        OptionError: a name that is not in the model or cannot be set, times or values that are none.
    """
    document = read_sbml(source)
    model = document.getModel()
    place = "the text" if isinstance(source, str) and source.lstrip().startswith("<") else str(source)
    if barred := [f"{what} (line {line})" for severity, line, _, what in unsupported(model) if severity == "unsupported"]:
        raise InputError(f"{place}: libRoadRunner cannot run this model. It has {'; '.join(barred)}.")
    known = {q.name: q for q in quantities(model)}
    names = list(select) if select is not None else [q.name for q in known.values() if q.role in ("state", "assigned", "event")]
    rows = _rows(parameters, known)
    n = len(next(iter(rows.values()))) if rows else 1
    table = np.column_stack(list(rows.values())) if rows else np.empty((1, 0))
    job = Job(
        sbml=libsbml().writeSBMLToString(document),
        times=_times(times),
        select=tuple(_selection(name, model, known) for name in names),
        set=tuple(rows),
        tolerances=(float(rtol), float(atol)),
        anew=n == 1 or _sizes_follow(model, rows, known),
    )
    seeds = np.random.SeedSequence(seed).generate_state(n) >> np.uint32(1)  # a negative one would ask for the clock
    try:
        parts = _work(job, table, seeds, workers)
    except InputError as error:  # the model could not be compiled
        raise InputError(f"{place}: {error}") from error
    values = np.concatenate([part.values for part in parts])
    faults: dict[int, str] = {}
    warned: list[int] = []
    first = 0
    for part in parts:
        faults |= {first + row: why for row, why in part.faults.items()}
        warned += [first + row for row in part.warned]
        first += len(part.values)
    if len(faults) == n:
        raise InputError(f"{place}: could not be solved{f' for any of {n} rows' if n > 1 else ''}: {next(iter(faults.values()))}")
    units = tuple(_unit_read(name, known) for name in names)
    return Trajectories(np.asarray(job.times), tuple(names), values, units, faults, tuple(warned))


def vary(
    values: Mapping[str, float], sd_log: Mapping[str, float], n: int, seed: int | None = None
) -> dict[str, NDArray[np.float64]]:
    """Rows of parameters: each value times a log-normal factor, whose logarithm has this standard deviation.

    >>> vary({"k": 2.0}, {"k": 0.0}, 3)
    {'k': array([2., 2., 2.])}
    """
    draws = np.random.default_rng(seed)
    return {name: values[name] * np.exp(sd * draws.standard_normal(n)) for name, sd in sd_log.items()}


# ---- what is asked


def _times(times: Sequence[float] | NDArray[np.float64]) -> tuple[float, ...]:
    given = np.asarray(times, dtype=float)
    if (
        given.ndim != 1
        or not len(given)
        or not np.isfinite(given).all()
        or given[0] < 0
        or given[-1] <= 0
        or (np.diff(given) <= 0).any()
    ):
        raise OptionError("Times are ascending numbers from 0 on, of which the last is above 0.")
    return tuple(given.tolist())


def _rows(parameters: pl.DataFrame | Mapping[str, Any] | None, known: Mapping[str, Quantity]) -> dict[str, NDArray[np.float64]]:
    """The columns that are set, all of one length.

    Raises:
        OptionError: see `run_sbml`.
    """
    given = (
        {c: np.asarray(parameters[c]) for c in parameters.columns}
        if isinstance(parameters, pl.DataFrame)
        else dict(parameters or {})
    )
    rows: dict[str, NDArray[np.float64]] = {}
    for name, column in given.items():
        if name not in known:
            raise OptionError(f"The model has no parameter or state {name!r}. {nearest(name, known)}")
        if known[name].role == "assigned":
            raise OptionError(f"{name} cannot be set: the model works it out, {known[name].formula.removeprefix('= ')}.")
        try:
            rows[name] = np.atleast_1d(np.asarray(column, dtype=float))
        except (TypeError, ValueError):
            raise OptionError(f"{name}: its values are numbers, one a row.") from None
        if rows[name].ndim != 1 or not np.isfinite(rows[name]).all():
            raise OptionError(f"{name}: its values are finite numbers, one a row.")
    lengths = {len(column) for column in rows.values()} - {1}
    if len(lengths) > 1 or 0 in lengths:
        raise OptionError(f"Parameters need one number of rows, above 0; these have {' and '.join(map(str, sorted(lengths)))}.")
    n = lengths.pop() if lengths else 1
    return {name: np.broadcast_to(column, (n,)) for name, column in rows.items()}


def _sizes_follow(model: Any, rows: Rows, known: Mapping[str, Quantity]) -> bool:
    """Whether stoichiometries or the sizes of compartments may follow from what is set: libRoadRunner works them out only when it compiles."""
    for q in known.values():
        if q.kind == "compartment" and (q.name in rows or q.formula):
            return True
    references = [
        r for reaction in model.getListOfReactions() for r in (*reaction.getListOfReactants(), *reaction.getListOfProducts())
    ]
    if any(r.isSetStoichiometryMath() for r in references):
        return True
    symbols = [*(a.getSymbol() for a in model.getListOfInitialAssignments()), *(r.getVariable() for r in model.getListOfRules())]
    return any(symbol and symbol not in known for symbol in symbols)


def _with_row(sbml: str, names: Sequence[str], row: NDArray[np.float64]) -> str:
    """A document with these values in place of its own; what it worked out for them at the start goes."""
    document = libsbml().readSBMLFromString(sbml)
    model = document.getModel()
    for name, value in zip(names, row.tolist(), strict=True):
        model.removeInitialAssignment(name)
        if (species := model.getSpecies(name)) is not None:
            in_amount = species.getHasOnlySubstanceUnits()
            species.unsetInitialConcentration() if in_amount else species.unsetInitialAmount()
            species.setInitialAmount(value) if in_amount else species.setInitialConcentration(value)
        elif (compartment := model.getCompartment(name)) is not None:
            compartment.setSize(value)
        else:
            model.getParameter(name).setValue(value)
    return str(libsbml().writeSBMLToString(document))


def _selection(name: str, model: Any, known: Mapping[str, Quantity]) -> str:
    """What libRoadRunner calls it: its bare name of a species is the amount."""
    found = re.fullmatch(r"\[(\w+)\]|amount\((\w+)\)", name)
    species = (found[1] or found[2]) if found else None
    if species is not None and species in known and known[species].kind == "species":
        return f"[{species}]" if found and found[1] else species
    if name in known:
        return name if known[name].in_amount else f"[{name}]"
    references = {
        r.getId()
        for reaction in model.getListOfReactions()
        for r in (*reaction.getListOfReactants(), *reaction.getListOfProducts())
    }
    others = references | {r.getId() for r in model.getListOfReactions()}
    if name and name in others:
        return name
    raise OptionError(f"The model has no {name!r} to read. {nearest(name, {*known, *others} - {''})}")


def _unit_read(name: str, known: Mapping[str, Quantity]) -> str:
    return known[name].unit if name in known else ""


# ---- the work


@dataclass(frozen=True)
class Part:
    """Some rows, solved: their values, shape `[row, time, state]`; why some could not be solved; of which the solver warned."""

    values: NDArray[np.float64]
    faults: dict[int, str]
    warned: tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """What a process needs to run any rows of a model.

    Attributes:
        select: as libRoadRunner calls what is read.
        set: what each column of a row sets.
        tolerances: relative, absolute.
        anew: compile each row's document, which costs far more than to run it.
    """

    sbml: str
    times: tuple[float, ...]
    select: tuple[str, ...]
    set: tuple[str, ...]
    tolerances: tuple[float, float]
    anew: bool

    def run(self, rows: NDArray[np.float64], seeds: NDArray[np.uint32]) -> Part:
        """Solve some rows."""
        with _warnings_kept() as warnings:
            return self._solved(rows, seeds, warnings)

    def _solved(self, rows: NDArray[np.float64], seeds: NDArray[np.uint32], warnings: Callable[[], bool]) -> Part:
        times = list(self.times) if self.times[0] == 0 else [0.0, *self.times]
        values = np.full((len(rows), len(self.times), len(self.select)), np.nan)
        faults: dict[int, str] = {}
        warned: list[int] = []
        begin = None if self.anew else _compiled(self, _with_row(self.sbml, self.set, rows[0]))
        for n, row in enumerate(rows):
            solver, initial = begin or _compiled(self, _with_row(self.sbml, self.set, row))
            if not self.anew:
                for name, value in zip(initial, row.tolist(), strict=True):
                    solver.model[name] = value  # on the model: the same on the solver compiles it anew
            _sow(solver, int(seeds[n]))
            solver.resetAll()
            try:
                values[n] = np.asarray(solver.simulate(times=times))[-len(self.times) :, 1:]
            except RuntimeError as error:
                faults[n] = _said(error)
            if warnings() and n not in faults:
                warned.append(n)
        return Part(values, faults, tuple(warned))


def _compiled(job: Job, sbml: str) -> tuple[Any, list[str]]:
    """A document compiled, and what each column of a row is called there as an initial value."""
    roadrunner = _roadrunner()
    try:
        solver = roadrunner.RoadRunner(sbml)
        solver.timeCourseSelections = ["time", *job.select]
    except RuntimeError as error:
        raise InputError(
            f"libRoadRunner cannot run this model. It says: {_said(error)} `aftercar model check` may say why."
        ) from error
    integrator = solver.integrator
    integrator.relative_tolerance, integrator.absolute_tolerance = job.tolerances
    integrator.maximum_num_steps = MOST_STEPS
    model = solver.model
    species = {*model.getFloatingSpeciesIds(), *model.getBoundarySpeciesIds()}
    amounts = {name for name in species if solver.getHasOnlySubstanceUnits(name)}
    return solver, [f"init([{name}])" if name in species - amounts else f"init({name})" for name in job.set]


def _sow(solver: Any, seed: int) -> None:
    """Seed all that is drawn. Which of several events at one time comes first is drawn by the C library, which libRoadRunner seeds by the clock."""
    ctypes.CDLL(None).srand(seed)
    solver.model.setRandomSeed(seed)


@contextlib.contextmanager
def _warnings_kept() -> Generator[Callable[[], bool]]:
    """Keep what the solver would print, with places in its source, in files; what is given tells whether there was any since it was last asked.

    CVODE opens the files that its environment names for each model that is compiled within.
    """
    before = {name: os.environ.get(name) for name in LOGS}
    with tempfile.TemporaryDirectory() as folder:
        logs = {name: Path(folder, name) for name in LOGS}

        def warned() -> bool:
            ctypes.CDLL(None).fflush(None)
            told = [log for log in logs.values() if log.is_file() and log.stat().st_size]
            for log in told:
                os.truncate(log, 0)
            return bool(told)

        os.environ.update({name: str(log) for name, log in logs.items()})
        try:
            yield warned
        finally:
            for name, value in before.items():
                del os.environ[name]
                if value is not None:
                    os.environ[name] = value


def _roadrunner() -> Any:
    try:
        import roadrunner
    except ImportError as error:
        raise AftercarError("Models need the extra: pip install 'aftercar[simulate]'.") from error
    roadrunner.Logger.disableLogging()
    # Else a parameter that is called as a method of the solver stands in for it.
    roadrunner.Config.setValue(roadrunner.Config.ROADRUNNER_DISABLE_PYTHON_DYNAMIC_PROPERTIES, True)
    return roadrunner


def _said(error: Exception) -> str:
    """What libRoadRunner says, without the place in its source."""
    text = re.split(r",? at \w[\w:<>*& ]*\(|; In ", str(error).replace("\n", " "))[0].strip()
    return text if text.endswith(".") else f"{text}."


def _work(job: Job, rows: NDArray[np.float64], seeds: NDArray[np.uint32], workers: int | None) -> list[Part]:
    """All rows in order, in parts."""
    processes = min(workers or min(processors(), len(rows) // ROWS), len(rows))
    if processes < 2:
        return [job.run(rows, seeds)]
    # Each part compiles the model once; where every row does so, small parts share the work better.
    parts = np.array_split(np.arange(len(rows)), min(8 * processes, len(rows)) if job.anew else processes)
    with in_processes(processes, "simulating", "Take fewer workers.") as pool:
        waiting = [pool.submit(job.run, rows[part], seeds[part]) for part in parts]
        return [one.result() for one in waiting]
