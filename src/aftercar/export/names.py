"""What toxicities, scales and episodes are called in exports: words, and codes of ICD-10-CM."""

from __future__ import annotations

import polars as pl

from aftercar.evidence.diagnoses import icd10cm, terms
from aftercar.grade.run import SCALES


def term(toxicity: str) -> str:
    """A toxicity in words: its preferred term where it has one, else as its default scale is called without who made it.

    >>> term("crs"), term("iec_hs")
    ('Cytokine release syndrome', 'IEC-HS diagnosis')
    """
    titles = (s.title.split(",")[0] for s in SCALES.values() if s.default and s.toxicity == toxicity)
    return terms().get(toxicity) or next(titles, toxicity.replace("_", " "))


def title(scale: str) -> str:
    """A scale as people write it."""
    return SCALES[scale].title if scale in SCALES else scale


def icd_codes() -> pl.DataFrame:
    """`scale, max_grade, max_grade_upper, icd, shown, why`: the code of ICD-10-CM of an episode on a default scale, that of the ASTCT.

    A code holds one grade: where the bounds differ it is the unspecified one, and `why` says so.
    """
    codes = {(d.toxicity, d.grade): d for d in icd10cm()}
    rows = [
        (s.name, low, high, code.code, code.display, None if low == high else "The grade is open: the code leaves it unspecified.")
        for s in SCALES.values() if s.default and (s.toxicity, None) in codes
        for low in range(6) for high in range(low, 6)
        if (code := codes.get((s.toxicity, low if low == high else None), codes[s.toxicity, None]))
    ]  # fmt: skip
    names = {
        "scale": pl.String,
        "max_grade": pl.Int8,
        "max_grade_upper": pl.Int8,
        **dict.fromkeys(("icd", "shown", "why"), pl.String),
    }
    return pl.DataFrame(rows, schema=names, orient="row")
