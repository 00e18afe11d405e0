"""From SBML to machine code: the rate rules of a model as one numba function, kept on disk under the hash of its text.

Only what our own model is written in is compiled: species or parameters with rate rules, assignment rules, initial values that are numbers. Any
other SBML runs through libRoadRunner: `aftercar.simulate.general`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from aftercar.errors import AftercarError, InputError
from aftercar.simulate.document import libsbml


@dataclass(frozen=True)
class Equations:
    """The equations of a model, in the order in which they are worked out.

    Attributes:
        states: names and initial values of what has a rate.
        parameters: names and values of what stays as it is.
        assigned: name and expression of what follows from them, each after what it reads. Expressions are Python, in which the name `k` is `m_k`.
        rates: expression of each state, in the order of `states`.
    """

    states: dict[str, float]
    parameters: dict[str, float]
    assigned: dict[str, str]
    rates: list[str]

    def source(self) -> str:
        """The right-hand side as a Python function of `t, y, p, dy`."""
        lines = [f"    {_word(name)} = y[{n}]" for n, name in enumerate(self.states)]
        lines += [f"    {_word(name)} = p[{n}]" for n, name in enumerate(self.parameters)]
        lines += [f"    {_word(name)} = {expression}" for name, expression in self.assigned.items()]
        lines += [f"    dy[{n}] = {rate}" for n, rate in enumerate(self.rates)]
        head = 'import numpy as np\nfrom numba import njit\n\n\n@njit(cache=True, nogil=True, error_model="numpy")\ndef rhs(t, y, p, dy):\n'
        return head + "\n".join(lines) + "\n"


def equations(sbml: str) -> Equations:
    """Read the equations of a model.

    Raises:
        InputError: it holds something that is not compiled, such as reactions, events or delays.
    """
    document = libsbml().readSBMLFromString(sbml)
    if document.getNumErrors(libsbml().LIBSBML_SEV_ERROR):
        raise InputError(f"The model is no valid SBML: {document.getError(0).getMessage().strip()}")
    model = document.getModel()
    counts = {
        "reactions": model.getNumReactions(), "events": model.getNumEvents(), "functions of its own": model.getNumFunctionDefinitions(),
        "initial assignments": model.getNumInitialAssignments(), "constraints": model.getNumConstraints(),
    }  # fmt: skip
    for what, n in counts.items():
        if n:
            raise InputError(f"The model has {what}; the compiled engine takes rate rules and assignment rules only.")
    things = [*model.getListOfSpecies(), *model.getListOfParameters(), *model.getListOfCompartments()]
    values = {t.getId(): _value(t) for t in things}
    rules = list(model.getListOfRules())
    if any(r.isAlgebraic() for r in rules):
        raise InputError("The model has algebraic rules; the compiled engine takes rate rules and assignment rules only.")
    rates = {r.getVariable(): _python(r.getMath()) for r in rules if r.isRate()}
    assigned = {r.getVariable(): r.getMath() for r in rules if r.isAssignment()}
    return Equations(
        states={name: values[name] for name in rates},
        parameters={name: v for name, v in values.items() if name not in rates and name not in assigned},
        assigned={name: _python(assigned[name]) for name in _in_order(assigned)},
        rates=list(rates.values()),
    )


def _word(name: str) -> str:
    """A name of the model that is no word of Python."""
    return f"m_{name}"


def _value(thing: Any) -> float:
    for of in ("InitialConcentration", "InitialAmount", "Value", "Size"):
        if getattr(thing, f"isSet{of}", lambda: False)():
            return float(getattr(thing, f"get{of}")())
    return 0.0


def _in_order(assigned: dict[str, Any]) -> Iterator[str]:
    """Names, each after those that it reads."""
    done: set[str] = set()

    def place(name: str, above: tuple[str, ...]) -> Iterator[str]:
        if name in above:
            raise InputError(f"The assignment rules of {' and '.join(above)} read each other.")
        if name in done:
            return
        for read in sorted(_names(assigned[name])):  # one order in all processes, so that what is compiled is found again
            if read in assigned:
                yield from place(read, (*above, name))
        done.add(name)
        yield name

    for name in assigned:
        yield from place(name, ())


def _names(node: Any) -> set[str]:
    own = {node.getName()} if node.isName() else set()
    return own.union(*(_names(node.getChild(n)) for n in range(node.getNumChildren())))


def _python(node: Any) -> str:
    """A formula as Python."""
    sbml = libsbml()
    if node.isNumber():
        return repr(float(node.getValue()))
    if node.isName():
        return "t" if node.getType() == sbml.AST_NAME_TIME else _word(node.getName())
    parts = [_python(node.getChild(n)) for n in range(node.getNumChildren())]
    kind = node.getType()
    if kind == sbml.AST_MINUS and len(parts) == 1:
        return f"(-{parts[0]})"
    names = {sbml.AST_PLUS: "+", sbml.AST_MINUS: "-", sbml.AST_TIMES: "*", sbml.AST_DIVIDE: "/"}
    if kind in names:
        return "(" + f" {names[kind]} ".join(parts or ["0.0" if kind == sbml.AST_PLUS else "1.0"]) + ")"
    if kind in (sbml.AST_POWER, sbml.AST_FUNCTION_POWER):
        return _power(*parts)
    functions = {
        sbml.AST_FUNCTION_EXP: "np.exp", sbml.AST_FUNCTION_LN: "np.log", sbml.AST_FUNCTION_ABS: "abs",
        sbml.AST_FUNCTION_MAX: "max", sbml.AST_FUNCTION_MIN: "min", sbml.AST_FUNCTION_TANH: "np.tanh",
    }  # fmt: skip
    if kind == sbml.AST_FUNCTION_ROOT:
        return f"({parts[-1]}) ** (1.0 / ({parts[0] if len(parts) > 1 else '2.0'}))"
    if kind in functions:
        return f"{functions[kind]}({', '.join(parts)})"
    raise InputError(f"The formula {sbml.formulaToL3String(node)!r} of the model is not compiled.")


def _power(base: str, exponent: str) -> str:
    """Whole powers are multiplied out: a tenth of the cost."""
    if exponent in ("2.0", "3.0", "4.0") and base.isidentifier():
        return "(" + " * ".join([base] * int(exponent[0])) + ")"
    return f"({base} ** {exponent})"


@lru_cache(maxsize=8)
def kernel(source: str) -> ModuleType:
    """The integrator compiled with a right-hand side; machine code of an earlier process is used again."""
    if importlib.util.find_spec("numba") is None:
        raise AftercarError("The simulator needs the extra: pip install 'aftercar[simulate]'.")
    text = Path(__file__).with_name("kernel.py").read_text(encoding="utf-8")
    key = hashlib.sha256((source + text).encode()).hexdigest()[:16]
    folder = _cache() / key
    if not (folder / "kernel.py").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent))
        (fresh / "right_hand_side.py").write_text(source, encoding="utf-8")
        (fresh / "kernel.py").write_text(text, encoding="utf-8")
        try:
            fresh.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(fresh)
    return _loaded(folder, key)


@contextlib.contextmanager
def one_compiles(compiled: ModuleType) -> Generator[None]:
    """Wait until no other process is compiling this model: it keeps machine code, which this one then reads.

    Two at once would both do the work, and where their processors differ one could find the machine code of the other: numba puts its index
    and what the index names on disk in two steps.
    """
    folder = os.open(Path(compiled.__file__ or "").parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems know no locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _loaded(folder: Path, key: str) -> ModuleType:
    import sys

    loaded = None
    for part in ("right_hand_side", "kernel"):
        spec = importlib.util.spec_from_file_location(f"aftercar_{part}_{key}", folder / f"{part}.py")
        if spec is None or spec.loader is None:
            raise AftercarError(f"The compiled model in {folder} cannot be read. Remove that folder.")
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = loaded
        sys.modules[part] = loaded  # the kernel imports its right-hand side by this name
        spec.loader.exec_module(loaded)
    del sys.modules["right_hand_side"], sys.modules["kernel"]
    assert loaded is not None
    return loaded


def _cache() -> Path:
    """Where compiled models are kept: `AFTERCAR_CACHE`, or the user's cache folder."""
    named = os.environ.get("AFTERCAR_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aftercar"
