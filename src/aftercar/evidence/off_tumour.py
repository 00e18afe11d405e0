"""Where a target antigen stands beside the tumour, and what follows: the rows of `off_tumor.csv`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from aftercar.evidence.tables import rows

# What stands behind a row, as criteria are marked: V checked against a source, M from memory.
_MARKS = {"primary": "V", "memory": "M", "lecture-only": "lecture-only"}


@dataclass(frozen=True)
class OffTumourEffect:
    """One effect of one target.

    `questioned`: the source itself doubts it. `mark` says how far the row is checked, `source` names the paper.
    """

    target: str
    site: str
    effect: str
    questioned: bool
    mark: str
    source: str

    @property
    def text(self) -> str:
        """The effect as results show it; a doubt of the source stays in sight."""
        return f"{self.target}, {self.site}: {self.effect}{'?' if self.questioned else ''}"


@cache
def off_tumour_effects() -> tuple[OffTumourEffect, ...]:
    """All effects, in the order of the file.

    >>> [e.effect for e in off_tumour_effects() if e.target == "DLL3"]
    ['higher rate of neurotoxicity', 'pulmonary toxicity']
    """
    return tuple(
        OffTumourEffect(
            target=row["target"],
            site=row["off_tumour_site"],
            effect=row["off_tumour_effect"],
            questioned=row["certainty_in_lecture"] == "questioned",
            mark=_MARKS[row["verified"]],
            source=row["ref_id"],
        )
        for row in rows("off_tumor")
    )
