"""Pages of the documentation that follow from definitions: written before Sphinx reads `docs/`, never by hand.

A page that a definition no longer gives is removed, one that has not changed is left alone, so that Sphinx reads only what is new.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pages import api, calendar, cases, commands, evidence, outside, rules, scales, scores, simulator, trace

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
    yield from outside.pages()


def write(docs: Path) -> None:
    """Write all pages to `docs/generated`."""
    folder = docs / "generated"
    written = set[Path]()
    for name, text in every_page(docs):
        path = folder / f"{name}.md"
        assert path not in written, f"two pages are called {name}"
        written.add(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for old in {*folder.rglob("*.md")} - written:
        old.unlink()
