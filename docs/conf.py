"""How Sphinx makes the documentation site: `make docs`. Pages that follow from definitions are written by `dev/pages` first."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "dev"), str(ROOT / "src"), str(ROOT)]

import pages  # noqa: E402
from pages import outside  # noqa: E402

import aftercar  # noqa: E402

project = "aftercar"
author = "the authors of aftercar"
version = release = aftercar.__version__
language = "en-GB"
smartquotes = False  # `...` and `--` stay what one types

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "index"
exclude_patterns = ["conf.py", "generated/root"]
highlight_language = "none"  # what is shown indented is a shell, a screen or a table

html_theme = "furo"
html_title = f"aftercar {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_search_scorer = str(ROOT / "docs" / "_static" / "scorer.js")
html_extra_path = ["generated/root"]
html_show_copyright = False
html_show_search_summary = False  # it would fetch each page, which a browser refuses to files
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"top_of_page_buttons": []}

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
default_role = "code"
napoleon_custom_sections = ["Error"]
napoleon_attr_annotations = False  # signatures have them


def prepare(app: Any, config: Any) -> None:
    """Write what follows from definitions, before Sphinx looks which pages there are."""
    pages.write(ROOT / "docs")


def relink(app: Any, docname: str, source: list[str]) -> None:
    """Links between files of the repository become links between pages."""
    path = app.env.doc2path(docname)
    if path.suffix == ".md":
        source[0] = outside.relinked(source[0], path.parent)


# Napoleon takes what stands before a colon in the docstring of a property for its type; ours are sentences.
COLON, KEPT = ":", "\ue000"


def hide_colons(app: Any, what: str, name: str, of: Any, options: Any, lines: list[str]) -> None:
    """Before Napoleon."""
    if what in ("property", "attribute"):
        lines[:] = [line.replace(COLON, KEPT) for line in lines]


def show_colons(app: Any, what: str, name: str, of: Any, options: Any, lines: list[str]) -> None:
    """After it."""
    lines[:] = [line.replace(KEPT, COLON) for line in lines]


def fold(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """The side bar unfolds what one is in, not all of some hundred pages in each of them; its headings have a level."""
    if whole := context.get("toctree"):
        level = ('role="heading"', 'role="heading" aria-level="2"')
        context["toctree"] = lambda **options: (whole(**options | {"collapse": True}) or "").replace(*level)


def reach(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """What scrolls can be reached by keyboard."""
    if body := context.get("body"):
        context["body"] = re.sub(r'<pre(?=[ >])|<div(?= class="table-wrapper)', r'\g<0> tabindex="0"', body)


def setup(app: Any) -> None:
    """What Sphinx calls."""
    app.connect("autodoc-process-docstring", hide_colons, priority=100)
    app.connect("autodoc-process-docstring", show_colons, priority=900)
    app.connect("config-inited", prepare)
    app.connect("source-read", relink)
    app.connect("html-page-context", fold, priority=100)  # before the theme asks for it
    app.connect("html-page-context", reach)
