"""Where sources disagree: what each says, and what a profile or a ward may choose. Read from `questions.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

import msgspec

from aftercar.errors import nearest

Choice = str | float


class Position(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What some sources say on a question.

    Attributes:
        name: what is chosen to follow it; empty where it cannot be.
        lifts: limits of drugs that do not hold then, such as `tocilizumab_in_24h`.
    """

    says: str
    mark: str
    name: str = ""
    source: str = ""
    lifts: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """It in words, with its source and mark."""
        return f"{self.says} [{', '.join(filter(None, (self.source, self.mark)))}]"


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One question on which sources disagree.

    Attributes:
        values: numbers that may be chosen, which conditions ask for by the name of the question; the first by default.
        default: the position that holds where nothing is chosen; null: the rules of all positions stand side by side.
        decided: how, where it is not a matter of choice.
    """

    name: str
    question: str
    positions: tuple[Position, ...]
    values: tuple[float, ...] = ()
    default: Choice | None = None
    decided: str = ""

    @property
    def allowed(self) -> tuple[Choice, ...]:
        """What may be chosen."""
        return self.values or tuple(p.name for p in self.positions if p.name)

    @property
    def told(self) -> str:
        """All positions in one sentence."""
        return "sources disagree: " + "; ".join(p.told for p in self.positions)


@cache
def questions() -> dict[str, Question]:
    """All questions by name."""
    text = files("aftercar.manage").joinpath("questions.toml").read_text(encoding="utf-8")
    return {name: msgspec.convert({"name": name, **entry}, Question) for name, entry in tomllib.loads(text).items()}


def defaults() -> dict[str, Choice]:
    """What holds where nothing is chosen."""
    first = {q.name: q.values[0] if q.values else q.default for q in questions().values()}
    return {name: choice for name, choice in first.items() if choice is not None}


def unfit(choices: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """What of some choices is no question or no answer to it: the name, and what to do."""
    for name, choice in choices.items():
        asked = questions().get(name)
        if asked is None:
            yield name, f"is no question. {nearest(name, questions())}".strip()
        elif not asked.allowed:
            yield name, f"is no matter of choice: {asked.decided}"
        elif choice not in asked.allowed or isinstance(choice, bool):
            yield name, f"{choice!r} is not one of {', '.join(shown(c) for c in asked.allowed)}"


def shown(choice: Choice | None) -> str:
    """A choice in words."""
    return "all side by side" if choice is None else choice if isinstance(choice, str) else f"{choice:g}"
