"""Open questions of a table or score as named options with defaults: the mechanism; each package keeps its own questions.

`mark` says what stands behind a default (P: a convention of this project, M: from memory, V: checked against a source). A result
carries all options that were used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from aftercar.errors import OptionError, nearest
from aftercar.timeline.concepts import of_group

Value = str | float | int | bool


@dataclass(frozen=True)
class Option:
    """One open question.

    `choices` lists the words or numbers that may be chosen; `number` allows any number in a range as well; words
    such as `within_days:n` take a number after the colon; `span` asks for two whole numbers within its limits, such as `-10..-3`.
    """

    name: str
    default: Value
    question: str
    choices: tuple[Value, ...] = ()
    number: tuple[float, float] | None = None
    whole: bool = False
    span: tuple[int, int] | None = None
    drugs: bool = False
    mark: str = "P"

    def parse(self, given: object) -> Value:
        """The value that a user gave, as ours.

        Raises:
            OptionError: it is not one that this option takes.
        """
        text = str(given).strip()
        if self.drugs:
            for group in text.split(","):
                of_group(group.strip())
            return ",".join(g.strip() for g in text.split(","))
        for choice in self.choices:
            if text.casefold() == str(choice).casefold():
                return choice
        word, _, tail = text.partition(":")
        if f"{word}:n" in self.choices and tail.isdigit():
            return text
        if self.span and (ends := ends_of(text)) and self.span[0] <= ends[0] <= ends[1] <= self.span[1]:
            return text
        if self.number:
            try:
                value = float(text)
            except ValueError:
                value = float("nan")
            if self.number[0] <= value <= self.number[1] and (value.is_integer() or not self.whole):
                return int(value) if value == int(value) else value
        allowed = [str(c) for c in self.choices]
        if self.number:
            allowed.append(f"a {'whole ' if self.whole else ''}number from {self.number[0]:g} to {self.number[1]:g}")
        if self.span:
            allowed.append(f"two whole numbers from {self.span[0]} to {self.span[1]}, such as {self.default}")
        raise OptionError(f"{self.name} cannot be {text!r}; it takes {', '.join(allowed)}.")


def ends_of(span: str) -> tuple[int, int] | None:
    """The two whole numbers of a span; null where it is none.

    >>> ends_of("-10..-3")
    (-10, -3)
    """
    found = re.fullmatch(r"(-?\d{1,4})\.\.(-?\d{1,4})", span)
    return (int(found[1]), int(found[2])) if found else None


# Asked by everything that counts days.
DAY0 = Option("day0", "first_infusion", "Which dose of a split infusion is day 0?", ("first_infusion", "last_infusion"))


class Chosen(Mapping[str, Any]):
    """A full set of the options of `table`: what the user chose, and the default of the rest."""

    table: ClassVar[Mapping[str, Option]] = {}

    def __init__(self, chosen: Mapping[str, object] | None = None) -> None:
        """Check and complete what the user chose.

        Raises:
            OptionError: an unknown option, or a value that it does not take.
        """
        for name in chosen or {}:
            if name not in self.table:
                raise OptionError(f"No option is called {name!r}. {nearest(name, self.table)}")
        self._values = {n: o.parse((chosen or {}).get(n, o.default)) for n, o in self.table.items()}

    @classmethod
    def of_words(cls, given: Iterable[str] | None) -> Self:
        """Options from `name=value` words.

        Raises:
            OptionError: a word without `=`, or an option or value that does not exist.
        """
        return cls(pairs(given or ()))

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def used_by(self, names: Iterable[str]) -> dict[str, Value]:
        """Those that a scale or score reads, sorted by name."""
        return {n: self._values[n] for n in sorted(names)}


def pairs(given: Iterable[str]) -> dict[str, str]:
    """`name=value` words as names and values.

    Raises:
        OptionError: a word without `=`.
    """
    found: dict[str, str] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals:
            raise OptionError(f"{pair!r} is not name=value.")
        found[name.strip()] = value
    return found
