"""What raises the risk of a toxicity, the rows of `risk_factors.csv`: most without a size of effect, so that none of them is a weight."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from aftercar.evidence.tables import rows

# What stands behind a row, as criteria are marked: V checked against a source.
_MARKS = {"primary": "V", "memory": "memory", "lecture-only": "lecture-only"}


@dataclass(frozen=True)
class RiskFactor:
    """One factor of one outcome; `effect` in the words of the source, empty where none is given."""

    factor: str
    category: str
    outcome: str
    effect: str
    population: str
    in_lecture: bool
    source: str
    note: str
    mark: str


@cache
def risk_factors() -> tuple[RiskFactor, ...]:
    """All factors, in the order of the file.

    >>> risk_factors()[0].outcome
    'CRS and ICANS'
    """
    return tuple(
        RiskFactor(
            factor=row["factor"],
            category=row["category"],
            outcome=row["outcome"],
            effect=" ".join(
                w for w in (row["effect_measure"], row["effect_value"], row["p_value"] and f"(p {row['p_value']})") if w
            ),
            population=row["population"],
            in_lecture=row["in_lecture"] == "yes",
            source=row["ref_id"],
            note=row["note"],
            mark=_MARKS[row["verified"]],
        )
        for row in rows("risk_factors")
    )
