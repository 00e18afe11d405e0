"""What a toxicity is called elsewhere, the rows of `diagnoses.csv`: ICD-10-CM by grade [icd10cm2026], and the term that safety reports use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from aftercar.evidence.tables import rows


@dataclass(frozen=True)
class Diagnosis:
    """One code of a toxicity; `grade` is null where the code leaves it unspecified."""

    toxicity: str
    grade: int | None
    code: str
    display: str


def _rows(kind: str) -> list[dict[str, str]]:
    return [row for row in rows("diagnoses") if row["kind"] == kind]


@cache
def icd10cm() -> tuple[Diagnosis, ...]:
    """The codes of ICD-10-CM that hold a grade of the ASTCT consensus.

    >>> [d.code for d in icd10cm() if d.toxicity == "crs" and d.grade == 2]
    ['D89.832']
    """
    return tuple(
        Diagnosis(row["toxicity"], int(row["grade"]) if row["grade"] else None, row["code"], row["display"])
        for row in _rows("ICD10CM")
    )


@cache
def terms() -> dict[str, str]:
    """Toxicities that have a preferred term of safety reports, and its words; its number is under licence.

    >>> terms()["crs"]
    'Cytokine release syndrome'
    """
    return {row["toxicity"]: row["display"] for row in _rows("term")}
