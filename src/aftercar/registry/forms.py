"""Registry forms as data: fields by their meaning, never by question number, each with its answers, when it is asked, and what derives it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from aftercar.errors import OptionError, nearest

NAMES = ("cibmtr_4100", "ebmt_day100", "ebmt_follow_up")
TYPES = ("yes_no_unknown", "choice", "many", "date", "number", "text")
CODED = ("yes_no_unknown", "choice", "many")  # answered by one or several of `choices`
UNKNOWN = "unknown"
UNKNOWN_CODE = "99"
_UNKNOWN = (UNKNOWN, UNKNOWN_CODE, "Unknown")
YES_NO_UNKNOWN = (("yes", "1", "Yes"), ("no", "0", "No"), _UNKNOWN)
LONGEST = 22  # characters of a field's name in REDCap, so that `_unk` behind it stays within the 26 that it recommends


@dataclass(frozen=True)
class Field:
    """One question of a form.

    Attributes:
        id: our name, such as `crs.fever_date`; what stands before the point is its part of the form.
        group: the heading under which it is shown.
        type: one of `TYPES`.
        ask: the question in our words.
        derive: the derivation that answers it; null: the timeline has no concept for it.
        when: the parent's id and the answers of it with which this is asked; null: always.
        choices: of a coded type, the answers as (ours, code for REDCap, label); unknown is among them.
        periods: in which kinds of period it is asked: `first`, `later`.
        revisions: of the form in which it stands.
        source, mark: what stands behind the question: a key of the form's `sources`, and V (read there) or M (memory).
        critical: an auditor looks it up: the page prints its source line.
        note: what of the answer is a convention of this project.
    """

    id: str
    group: str
    type: str
    ask: str
    source: str
    mark: str
    derive: str | None = None
    when: tuple[str, tuple[str, ...]] | None = None
    choices: tuple[tuple[str, str, str], ...] = ()
    periods: tuple[str, ...] = ("first", "later")
    revisions: tuple[str, ...] = ()
    critical: bool = False
    note: str = ""

    @property
    def name(self) -> str:
        """The variable in REDCap.

        >>> Field("crs.fever_date", "CRS", "date", "?", "encoding", "V").name
        'crs_fever_date'
        """
        return self.id.replace(".", "_")

    @property
    def codes(self) -> dict[str, str]:
        """Answer -> code."""
        return {value: code for value, code, _ in self.choices}


@dataclass(frozen=True)
class Form:
    """A form of a registry.

    Attributes:
        periods: the kinds of period for which it is filled: `first` (to day 100), `later` (6 months, then each year).
        revisions: name -> what is known of it. The last one is the default.
        sources: key -> what was read.
    """

    id: str
    registry: str
    title: str
    periods: tuple[str, ...]
    revisions: dict[str, str]
    sources: dict[str, str]
    fields: tuple[Field, ...]

    def of(self, revision: str | None = None) -> tuple[str, tuple[Field, ...]]:
        """The name of a revision, and the fields of it.

        Raises:
            OptionError: there is no such revision.
        """
        chosen = revision or list(self.revisions)[-1]
        if chosen not in self.revisions:
            raise OptionError(f"{self.id} has no revision {chosen!r}. {nearest(chosen, self.revisions)}")
        return chosen, tuple(f for f in self.fields if chosen in f.revisions)

    def field(self, name: str) -> Field:
        """A field by its id.

        Raises:
            OptionError: there is none.
        """
        found = {f.id: f for f in self.fields}
        if name not in found:
            raise OptionError(f"{self.id} has no field {name!r}. {nearest(name, found)}")
        return found[name]


@cache
def form_named(name: str) -> Form:
    """A form by its id.

    Raises:
        OptionError: there is none.
    """
    if name not in NAMES:
        raise OptionError(f"No form is called {name!r}. {nearest(name, NAMES)}")
    return read_form(files("aftercar.registry").joinpath(f"{name}.toml").read_text(encoding="utf-8"))


def read_form(text: str) -> Form:
    """A form from its TOML; a test holds the rules that every form must keep."""
    told: dict[str, Any] = tomllib.loads(text)
    about = told["form"]
    revisions = dict(about["revisions"])
    shared: dict[str, Any] = told.get("choices", {})
    fields = tuple(_field(entry, told["group"], shared, tuple(revisions)) for entry in told["field"])
    return Form(
        about["id"], about["registry"], about["title"], tuple(about["periods"]), revisions, dict(about["sources"]), fields
    )


def _field(
    entry: dict[str, Any], groups: dict[str, Any], shared: dict[str, list[list[str]]], revisions: tuple[str, ...]
) -> Field:
    """One field: what its entry does not say its group says."""
    part = entry["id"].partition(".")[0]
    told = groups[part] | entry
    kind = told.get("type", "yes_no_unknown")
    given: Any = told.get("choices", ())
    choices = tuple((value, code, label) for value, code, label in (shared[given] if isinstance(given, str) else given))
    if kind in CODED:
        choices = YES_NO_UNKNOWN if kind == "yes_no_unknown" else (*choices, _UNKNOWN)
    when = None
    if told.get("when"):
        parent, _, answers = told["when"].partition(" = ")
        when = (parent, tuple(answers.split("|")))
    return Field(
        id=entry["id"], group=told["title"], type=kind, ask=told["ask"], source=told["source"], mark=told["mark"],
        derive=told.get("derive"), when=when, choices=choices, periods=tuple(told.get("periods", ("first", "later"))),
        revisions=tuple(told.get("revisions", revisions)), critical=told.get("critical", False), note=told.get("note", ""),
    )  # fmt: skip
