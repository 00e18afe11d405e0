"""Pages that lie outside of `docs/`, and links that work in the repository made to work in the site."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
# Files of the repository that are pages of the site too, beneath `generated/`.
OUTSIDE = {
    "CHANGELOG.md": "project/changelog",
    "CONTRIBUTING.md": "project/contributing",
    "benchmarks/RESULTS.md": "validation/benchmarks",
    "tests/r/README.md": "validation/r",
    "examples/cohort/README.md": "examples/cohort",
    "examples/mimic4_demo/README.md": "examples/mimic4_demo",
    "examples/naive_grader/README.md": "examples/naive_grader",
}
_LINK = re.compile(r"(?<!!)\[([^\[\]]+)\]\(([^()#\s]+)(#[^()\s]+)?\)")


def pages() -> Iterator[tuple[str, str]]:
    """Each file, with its links."""
    for file, name in OUTSIDE.items():
        path = ROOT / file
        yield name, relinked(path.read_text(encoding="utf-8"), path.parent)


def relinked(text: str, folder: Path) -> str:
    """The text of a page of `folder`, its links leading to pages of the site; what is no page is named by its path."""

    def new(link: re.Match[str]) -> str:
        said, target, anchor = link[1], link[2], link[3] or ""
        if "://" in target or target.startswith(("/", "{")):
            return link[0]
        there = Path(os.path.normpath(folder / target))
        if there == DOCS / "notebook.ipynb":
            return f"[{said}](/generated/notebook/index.md{anchor})"
        if there.is_relative_to(DOCS) and there.suffix == ".md":
            return f"[{said}](/{there.relative_to(DOCS).as_posix()}{anchor})"
        place = there.relative_to(ROOT).as_posix()
        if place in OUTSIDE:
            return f"[{said}](/generated/{OUTSIDE[place]}.md{anchor})"
        if place == "README.md":
            return f"[{said}](/index.md)"
        if not there.exists():
            return link[0]  # Sphinx says so
        return f"`{place}`" if said.strip("`") in place else f"{said} (`{place}`)"

    return _LINK.sub(new, text)
