"""Pages of the documentation that follow from definitions: written before Sphinx reads `docs/`, never by hand.

A page that a definition no longer gives is removed, one that has not changed is left alone, so that Sphinx reads only what is new.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from aftercar.evidence.graph import mechanism
from aftercar.report.mechanism import render_mechanism
from pages import api, calendar, cases, commands, evidence, notebook, outside, rules, scales, scores, simulator, trace

Page = tuple[str, str]  # where it lies beneath the folder, without `.md`; its Markdown


def every_page(docs: Path) -> Iterator[Page]:
    """All pages, from the definitions of the package and the data beside `docs`."""
    checks = cases.checked()
    yield from scales.pages(checks)
    yield from scores.pages(checks)
    yield from rules.pages()
    yield calendar.the_page()
    yield from evidence.pages()
    yield from simulator.pages()
    yield from commands.pages()
    yield from api.pages()
    yield cases.the_page(checks)
    yield from trace.pages(docs)
    yield from ((name, outside.relinked(text, docs)) for name, text in notebook.pages(docs))
    yield from outside.pages()


def every_figure(docs: Path) -> Iterator[Page]:
    """Figures and pages of their own, with their ending."""
    yield "root/mechanism.html", render_mechanism(mechanism())
    yield from simulator.figures()
    yield from notebook.figures(docs)


def write(docs: Path) -> None:
    """Write all pages to `docs/generated`."""
    folder = docs / "generated"
    written = set[Path]()
    for name, text in chain(((f"{name}.md", text) for name, text in every_page(docs)), every_figure(docs)):
        path = folder / name
        assert path not in written, f"two pages are called {name}"
        written.add(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for old in {path for path in folder.rglob("*") if path.is_file()} - written:
        old.unlink()
