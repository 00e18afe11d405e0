"""The tutorial notebook as a page: its cells are run here, as plain Python in one name space, and what they give stands beneath them.

The cells hold no magic words, so that neither Jupyter nor a kernel is needed to make the site.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

NOTEBOOK = "notebook.ipynb"


def run(path: Path) -> Iterator[tuple[str, str, str, object]]:
    """Each cell: its kind (`markdown`, `code`), its source, what it printed, and the value of its last line, if that is an expression."""
    space: dict[str, Any] = {"__name__": "__main__"}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield "markdown", source, "", None
            continue
        tree = ast.parse(source)
        last = ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.chdir(path.parent):
            exec(compile(tree, path.name, "exec"), space)
            value = eval(compile(last, path.name, "eval"), space) if last else None
        yield "code", source, out.getvalue(), value


@cache
def _made(docs: Path) -> tuple[str, dict[str, str]]:
    """The page, and its figures by name."""
    parts, figures = list[str](), dict[str, str]()
    for kind, source, printed, value in run(docs / NOTEBOOK):
        parts.append(source if kind == "markdown" else f"```python\n{source}\n```")
        if printed:
            parts.append(f"```text\n{printed.rstrip()}\n```")
        if hasattr(value, "_repr_svg_"):
            name = f"figure_{len(figures) + 1}.svg"
            figures[name] = value._repr_svg_()
            parts.append(f"![{_spoken(figures[name])}]({name})")
        elif hasattr(value, "_repr_html_"):
            parts.append(f'```{{raw}} html\n<div class="table-wrapper">{value._repr_html_()}</div>\n```')
        elif value is not None:
            parts.append(f"```text\n{value!r}\n```")
    parts.append(
        f"This page is {{download}}`{NOTEBOOK} </{NOTEBOOK}>`, run when the site was made; open the file in Jupyter, with aftercar installed, to go on from here."
    )
    return "\n\n".join(parts) + "\n", figures


def _spoken(svg: str) -> str:
    """What a figure of ours says of itself to those who do not see it."""
    return svg.split('aria-label="', 1)[-1].split('"', 1)[0] if 'aria-label="' in svg else "figure"


def pages(docs: Path) -> Iterator[tuple[str, str]]:
    """The page."""
    yield "notebook/index", _made(docs)[0]


def figures(docs: Path) -> Iterator[tuple[str, str]]:
    """Its figures."""
    for name, svg in _made(docs)[1].items():
        yield f"notebook/{name}", svg
