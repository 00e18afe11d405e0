"""The Python interface: what the package hands on, and the modules behind it, by package in the order of the data flow."""

from __future__ import annotations

from collections.abc import Iterator

import aftercar
from pages.text import code, contents, page, table

# What one may want to call or read of each package beside what `aftercar` itself hands on; an empty name is the package.
MODULES = {
    "timeline": ("schema", "readers", "readers.mapping", "store", "concepts", "state", "subjects", "units"),
    "grade": ("run", "folder", "scale", "options", "explain", "describe", "adjudicate", "regrade", "cite"),
    "manage": ("advise", "rules", "ledger", "calendar", "items", "rehearse", "diff"),
    "risk": ("run", "score", "options", "factors", "validate"),
    "evidence": ("tables", "sources", "select", "graph", "checks"),
    "cohort": ("outcome", "describe", "incidence", "survival", "times", "compare", "contrast", "multiverse"),
    "synthesis": ("proportions", "published"),
    "simulate": ("run", "model", "population", "policy", "observe", "general", "document"),
    "calibrate": ("compare", "forecast", "ensemble", "translate", "sensitivity"),
    "trial": ("design", "read", "run", "boundary", "compare", "summary"),
    "conformance": ("run", "against"),
    "registry": ("draft", "forms", "decisions", "export"),
    "sites": ("summarise", "pool"),
    "export": ("", "results"),
    "report": ("", "virtual"),
}
ALONE = ("errors", "intervals", "options")


def documented() -> list[str]:
    """The modules that have a page, without `aftercar.`."""
    return [_named(package, module) for package, modules in MODULES.items() for module in modules] + list(ALONE)


def _named(package: str, module: str) -> str:
    return f"{package}.{module}" if module else package


def pages() -> Iterator[tuple[str, str]]:
    """What `aftercar` hands on, and a page a module."""
    names = documented()
    handed = [[f"{{py:obj}}`aftercar.{name} <{home(name)}>`", _line(name)] for name in aftercar.__all__]
    packages = [
        [code(f"aftercar.{p}"), ", ".join(f"[{code(m or p)}]({_named(p, m)}.md)" for m in modules)]
        for p, modules in MODULES.items()
    ]
    packages.append(["`aftercar`", ", ".join(f"[{code(m)}]({m}.md)" for m in ALONE)])
    yield (
        "api/index",
        page(
            "Python",
            "Frames in, frames out. What `aftercar` itself hands on is the interface; the modules below are what stands behind it, for those who want a part alone. "
            "What other pages do not name may change between versions, and the [changelog](../project/changelog.md) says when the first table does.",
            "## What `aftercar` hands on",
            table(["name", "does"], handed),
            "## Modules",
            table(["package", "modules"], packages),
            contents(*names, hidden=True),
        ),
    )
    for name in names:
        yield f"api/{name}", page(f"aftercar.{name}", f"```{{eval-rst}}\n.. automodule:: aftercar.{name}\n```")


def home(name: str) -> str:
    """Where what the package hands on is documented."""
    module, _, own = aftercar._HOMES[name].partition(":")
    return f"{module}.{own or name}"


def _line(name: str) -> str:
    return (getattr(aftercar, name).__doc__ or "").strip().split("\n")[0]
