"""Markdown out of values: tables, lists, marks, and text that stays text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from aftercar.evidence.sources import MARKS, Reference, references

LEGEND = "{legend}"  # where a page explains its marks; `plain` would break its braces


def plain(value: object) -> str:
    """Text on one line in which nothing is markup but what stands as `code`."""
    text = " ".join(str("" if value is None else value).split())
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backtick that nothing closes is one
        return _escaped(text)
    return "".join(code(part) if n % 2 else _escaped(part) for n, part in enumerate(parts))


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_<>\[\]|{}$#~])", r"\\\1", text)


def code(value: object) -> str:
    """Text as code, also in a table."""
    text = str(value).replace("|", "\\|")
    return f"`` {text} ``" if "`" in text else f"`{text}`" if text else ""


def codes(values: Iterable[object]) -> str:
    return ", ".join(code(v) for v in values)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are Markdown; a column that is empty throughout is left out."""
    body = [[cell.replace("\n", "<br>") for cell in row] for row in rows]
    kept = [n for n in range(len(head)) if n == 0 or any(row[n] for row in body)]
    lines = [[head[n] for n in kept], ["---"] * len(kept), *([row[n] for n in kept] for row in body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(title: str, *parts: str) -> str:
    """A page out of its parts, the empty ones left out; `LEGEND` becomes what its marks mean."""
    text = "\n\n".join([f"# {title}", *filter(None, parts)]) + "\n"
    return text.replace(LEGEND, legend(text))


def listed(pairs: Mapping[str, str]) -> str:
    """Names and what they say, the empty ones left out."""
    return "\n".join(f"- **{name}**: {said}" for name, said in pairs.items() if said)


def contents(*names: str, glob: bool = False, depth: int = 1, hidden: bool = False) -> str:
    """The pages beneath one."""
    options = [f":maxdepth: {depth}", *([":glob:"] if glob else []), *([":hidden:"] if hidden else [])]
    return "\n".join(["```{toctree}", *options, "", *names, "```"])


def marked(mark: str) -> str:
    """A mark, where it says more than that a source was checked."""
    return "" if mark in ("", "V") else f"\\[{mark}\\]"


def legend(text: str) -> str:
    """What the marks that stand in a text mean."""
    used = [mark for mark in MARKS if marked(mark) and marked(mark) in text]
    if not used:
        return "Everything here was checked against a source."
    told = "; ".join(f"**{marked(mark)}** {MARKS[mark]}" for mark in used)
    return f"What has no mark was checked against a source. {told}."


def cited(key: str) -> str:
    """A paper in one line with its DOI, and a mark where the citation itself was not checked; a key that is no paper stands as it is."""
    paper: Reference | None = references().get(key)
    if paper is None:
        return plain(key)
    doi = f", [doi {plain(paper.doi)}](https://doi.org/{quote(paper.doi, safe='/:;')})" if paper.doi else ""
    mark = marked({"primary": "V", "memory": "M"}.get(paper.verified, paper.verified))
    return f"{plain(paper.line)}{doi} {mark}".rstrip()


def bibliography(keys: Iterable[str]) -> str:
    """Papers behind a page."""
    return "\n".join(f"- {code(key)}: {cited(key)}" for key in sorted(set(keys)) if key in references())
