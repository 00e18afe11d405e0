"""What is counted of a course: a grade that was reached, on one scale."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from polars import col

from aftercar.errors import OptionError, nearest
from aftercar.grade.run import SCALES

COURSE = ["subject_id", "infusion"]


@dataclass(frozen=True, order=True)
class Outcome:
    """A grade of `cut` or more on the scales of a family, which take turns by age.

    >>> Outcome.of("icans:3")
    Outcome(family='icans', cut=3)
    >>> Outcome.of("crs_penn2018").name
    'CRS, Penn 2018, any grade'
    """

    family: str
    cut: int = 1

    @classmethod
    def of(cls, words: str) -> Outcome:
        """An outcome as a user writes it: a toxicity, which means its default scale, or a scale, and the least grade behind a colon; any grade where none is named.

        Raises:
            OptionError: there is no such scale, or the grade is none of 1 to 5.
        """
        name, colon, cut = words.strip().lower().partition(":")
        families = {s.name: s.family for s in SCALES.values()} | {s.family: s.family for s in SCALES.values()}
        if name not in families:
            raise OptionError(f"No toxicity or scale is called {name!r}. {nearest(name, families)}")
        if colon and cut not in ("1", "2", "3", "4", "5"):
            raise OptionError(f"{words!r}: behind the colon stands the least grade, 1 to 5, such as {name}:3.")
        return cls(families[name], int(cut or 1))

    @property
    def toxicity(self) -> str:
        return SCALES[self.scales[0]].toxicity

    @property
    def scales(self) -> tuple[str, ...]:
        """The scales of the family."""
        return tuple(s.name for s in SCALES.values() if s.family == self.family)

    @property
    def over_time(self) -> bool:
        """Whether the scales grade each time on its own; else they have one row a course or a window."""
        return all(SCALES[scale].window is None for scale in self.scales)

    @property
    def key(self) -> str:
        """As a user writes it: `crs:3`."""
        return f"{self.family}:{self.cut}"

    @property
    def name(self) -> str:
        """As it is printed: the scale and the grade."""
        return f"{SCALES[self.scales[0]].title}, {'any grade' if self.cut == 1 else f'grade {self.cut} or more'}"

    def reached(self, bound: str = "grade") -> pl.Expr:
        """Whether a row of `grades` or `worst` is of these scales and reaches the grade by a bound, `grade` (surely) or `grade_upper` (possibly).

        A diagnosis that is ruled out (`not_met`) may have a grade of its own, which does not count.
        """
        counts = ~col("status").cast(pl.String).is_in(["not_applicable", "not_met"])
        return col("scale").is_in(self.scales) & counts & (col(bound) >= self.cut)
