"""Files of rows in TOML, read field by field: what is wrong becomes a list with file, row, field and what to do."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from aftercar.errors import InputError, OptionError, nearest
from aftercar.evidence.sources import MARKS, references
from aftercar.manage.when import Condition, parse

STRENGTH = {
    "G": "guideline or consensus", "R": "randomised trial", "P1": "phase I trial", "P2": "phase II trial", "L": "label",
    "C": "case series", "X": "preclinical", "O": "opinion",
}  # fmt: skip
LOCAL = "local"  # the source of a user's own rows, which is no paper
BASIS = {"source", "strength", "mark"}
_SOURCE = {"key", "at", "date"}


@dataclass(frozen=True)
class Problem:
    """What is wrong in a file of rules, where, and what to do."""

    file: str
    rule: str
    field: str
    problem: str

    def __str__(self) -> str:
        """It in one line."""
        return ", ".join(filter(None, (self.file, self.rule, self.field))) + f": {self.problem}"


@dataclass(frozen=True)
class Basis:
    """What a row stands on: a key of the references, the place in it, its date (of a paper the year), strength and mark."""

    source: str
    at: str
    date: str
    strength: str
    mark: str


class Fields:
    """Reads the fields of one table of a file; what is wrong becomes a problem."""

    def __init__(self, file: str, rule: str, table: dict[str, Any], problems: list[Problem]) -> None:
        """A table of a file, and the list that its problems are added to."""
        self.file, self.rule, self.table, self.problems = file, rule, table, problems

    def wrong(self, name: str, problem: str) -> None:
        """Add a problem of a field."""
        self.problems.append(Problem(self.file, self.rule, name, problem))

    def only(self, allowed: set[str]) -> None:
        """No field but these."""
        for name in self.table:
            if name not in allowed:
                self.wrong(name, f"is not a field. {nearest(name, allowed) or 'Allowed: ' + ', '.join(sorted(allowed)) + '.'}")

    def word(self, name: str, *, needed: bool = False, among: Iterable[str] = ()) -> str:
        """A text, perhaps one of some; empty where there is none."""
        value, allowed = self.table.get(name, ""), list(among)
        if not isinstance(value, str):
            self.wrong(name, "must be a text in quotes")
            return ""
        if needed and not value:
            self.wrong(name, "is missing")
        elif value and allowed and value not in allowed:
            self.wrong(name, f"{value!r} is not known. {nearest(value, allowed) or 'Known: ' + ', '.join(allowed) + '.'}")
        return value

    def words(self, name: str, among: Iterable[str] = ()) -> tuple[str, ...]:
        """A list of texts, perhaps each one of some."""
        value, allowed = self.table.get(name, []), list(among)
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            self.wrong(name, "must be a list of texts")
            return ()
        for strange in (v for v in value if allowed and v not in allowed):
            self.wrong(name, f"{strange!r} is not known. {nearest(strange, allowed)}".strip())
        return tuple(value)

    def number(self, name: str) -> float | None:
        """A number above 0; null where there is none."""
        value = self.table.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0):
            self.wrong(name, "must be a number above 0")
            return None
        return value

    def yes(self, name: str) -> bool:
        """Yes or no; no where nothing is said."""
        value = self.table.get(name, False)
        if not isinstance(value, bool):
            self.wrong(name, "is yes or no: true, or false")
        return value is True

    def condition(self, name: str) -> Condition | None:
        """A condition; null where there is none or it is wrong."""
        if name not in self.table:
            return None
        try:
            return parse(self.table[name])
        except OptionError as error:
            self.wrong(name, str(error))
            return None

    def reference(self, key: object) -> str:
        """A key of the references, or `local`."""
        if key == LOCAL:
            return LOCAL
        if not isinstance(key, str) or key not in references():
            self.wrong("source", f"{key!r} is not a key of the references, nor local. {nearest(str(key), references())}".strip())
            return ""
        return key

    def basis(self) -> Basis | None:
        """The fields `source`, `strength` and `mark`; null where no source is given as it must be."""
        source = self.table.get("source")
        if not isinstance(source, dict) or set(source) - _SOURCE or not isinstance(source.get("at"), str):
            self.wrong(
                "source",
                'must be { key = "...", at = "table 2" }; of your own protocol { key = "local", at = "...", date = 2026-01-31 }',
            )
            return None
        return Basis(
            source=self.reference(source.get("key")), at=source["at"], date=self._date(source),
            strength=self.word("strength", needed=True, among=STRENGTH), mark=self.word("mark", needed=True, among=MARKS),
        )  # fmt: skip

    def _date(self, source: dict[str, Any]) -> str:
        """As it is given, else the year of the paper; one's own protocol has a date."""
        if isinstance(told := source.get("date"), date):
            return told.isoformat()
        if told is not None or source.get("key") == LOCAL:
            self.wrong("source", "`date` is a day, such as 2026-01-31")
        paper = references().get(str(source.get("key")))
        return paper.year if paper else ""


def toml_files(folder: Path) -> list[Path]:
    """The TOML files of a user's folder.

    Raises:
        InputError: there is none.
    """
    found = sorted(folder.glob("*.toml")) if folder.is_dir() else []
    if not found:
        raise InputError(f"{folder}: no rules there (no *.toml).")
    return found


def contents(paths: Iterable[Any], problems: list[Problem]) -> dict[str, dict[str, Any]]:
    """What some files hold, by the name of the file."""
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        try:
            found[path.name] = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            problems.append(Problem(path.name, "", "", "cannot be read"))
        except tomllib.TOMLDecodeError as error:
            problems.append(Problem(path.name, "", "", f"is not TOML: {error}"))
    return found


def rows_of(file: str, content: dict[str, Any], name: str, allowed: set[str], problems: list[Problem]) -> list[Fields]:
    """The rows `[[name]]` of a file. What they stand on may be said once for all of them, in the head of the file.

    Args:
        allowed: the fields of a row.
    """
    rows = content.get(name, [])
    if not isinstance(rows, list) or not rows or not all(isinstance(r, dict) for r in rows):
        Fields(file, "", content, problems).wrong(name, f"a file of {name}s has at least one [[{name}]]")
        return []
    common = {k: content[k] for k in BASIS if k in content}
    found: list[Fields] = []
    for n, row in enumerate(rows, 1):
        given = Fields(file, str(row.get("id") or f"{name} {n}"), row, problems)
        given.only(allowed)
        given.table = common | row
        found.append(given)
    return found


def each_once(ids: Iterable[tuple[str, str]], what: str, problems: list[Problem]) -> None:
    """No two rows of one name: `ids` are pairs of file and name."""
    seen: dict[str, str] = {}
    for file, name in ids:
        if name in seen:
            problems.append(Problem(file, name, "id", f"{seen[name]} has {what} of that name"))
        seen[name] = file


def refuse(folder: Path, problems: list[Problem], what: str = "rules") -> None:
    """Stop where something is wrong in a user's folder.

    Raises:
        InputError: the first problems, and how to see all.
    """
    if problems:
        more = f"\n  and {len(problems) - 5} more: `aftercar rules --check {folder}`" if len(problems) > 5 else ""
        raise InputError(f"{folder}: {what} that cannot be used.\n  " + "\n  ".join(map(str, problems[:5])) + more)
