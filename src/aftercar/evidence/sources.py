"""The papers by key, `sources.toml`, and the marks that say how far a rule or number is checked against them."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

MARKS = {
    "V": "checked against a source",
    "M": "from memory",
    "M?": "from memory, to be checked against the paper",
    "P": "a convention of this project: the source is silent",
    "memory": "from memory",
    "lecture-only": "only the lecture says so",
}


@cache
def sources() -> dict[str, dict[str, str]]:
    """The papers by key."""
    return tomllib.loads(files("aftercar.evidence").joinpath("sources.toml").read_text(encoding="utf-8"))


def citation(key: str) -> str:
    """A paper in one line."""
    paper = sources()[key]
    return ". ".join(paper[part] for part in ("authors", "title", "where") if part in paper)
