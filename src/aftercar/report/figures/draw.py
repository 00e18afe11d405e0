"""What all figures of a cohort have: a title, the drawing, notes beneath, and the table of what is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from textwrap import wrap

import polars as pl

from aftercar.report.figures.cohort import Cohort
from aftercar.report.svg import esc, label, px

WIDTH = 900.0
TOP = 26.0  # px that the title takes
NOTE_CHARS, NOTE_PX = 160, 14.0  # of a line of the notes
DERIVED = "Derived by software, not adjudicated."
VIRTUAL = "SIMULATED: virtual patients, not a prediction for a person."


@dataclass(frozen=True)
class Figure:
    """A figure of the page (`svg`), and every number in it (`data`).

    Attributes:
        notes: what stands beneath, such as what is left out.
    """

    title: str
    svg: str
    data: pl.DataFrame
    notes: tuple[str, ...] = field(default_factory=tuple)


def notes_of(cohort: Cohort, *more: str) -> list[str]:
    """Notes that every figure of a cohort has, behind its own."""
    every = [*more]
    if cohort.uninfused:
        n = cohort.uninfused
        every.append(f"{n} course{'s' * (n > 1)} without an infusion on record {'are' if n > 1 else 'is'} not drawn.")
    return [*every, *dataset_notes(cohort.simulated, cohort.run.get("timeline_note")), DERIVED]


def dataset_notes(simulated: bool, note: str | None) -> list[str]:
    """What every figure of a dataset must say; the simulator's own note says of virtual patients what we say of them, once."""
    same = simulated and (note or "").lower().startswith("virtual patients")
    return [*([VIRTUAL] if simulated else []), *([note] if note and not same else [])]


def framed(title: str, spoken: str, height: float, parts: list[str], notes: list[str], data: pl.DataFrame) -> Figure:
    """A figure with its title above and its notes beneath; `parts` begin at `TOP` and end at `height`.

    Args:
        spoken: the figure in words, for who does not see it.
    """
    body = [label(0, 13, title, "p"), *parts]
    y = height + 6
    for note in notes:
        for row in wrap(note, NOTE_CHARS):
            y += NOTE_PX
            body.append(label(0, y, row, "k" if note == VIRTUAL else "t"))
    name = " ".join([f"{title}.", spoken, *notes])
    svg = f'<svg class="course" role="img" aria-label="{esc(name)}" viewBox="0 -2 {px(WIDTH)} {px(y + 8)}">{"".join(body)}</svg>'
    return Figure(title, svg, data, tuple(notes))


def empty(title: str, why: str, cohort: Cohort, data: pl.DataFrame) -> Figure:
    """A figure of nothing, which says why."""
    return framed(title, why, TOP + 22, [label(0, TOP + 14, why, "n")], notes_of(cohort), data)
