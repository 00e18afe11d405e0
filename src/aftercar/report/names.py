"""Names and order of toxicities and scales, as people write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aftercar.grade.run import SCALES
from aftercar.grade.worst import WORDS

# Toxicities that a figure draws as a band, in reading order; the others of a subject stand in a table.
TOXICITIES = {
    "crs": "CRS",
    "icans": "ICANS",
    "iec_hs": "IEC-HS",
    "iec_hs_grade": "IEC-HS, grade",
    "icaht_early": "ICAHT, early",
    "icaht_late": "ICAHT, late",
    "ticaht_early": "T-ICAHT, early",
    "ticaht_late": "T-ICAHT, late",
}

# Drawn even where nothing was charted: that they cannot be graded is the finding.
ALWAYS = ("crs", "icans", "icaht_early", "icaht_late")

# Published endpoints, as `synthesis.published` calls them.
ENDPOINTS = {
    "crs_any": "CRS of any grade", "crs_g3plus": "CRS of grade 3 or more", "icans_any": "ICANS of any grade", "icans_g3plus": "ICANS of grade 3 or more",
    "nt_any": "Neurologic events of any grade", "nt_g3plus": "Neurologic events of grade 3 or more", "spm": "Second primary malignancies",
    "spm_myeloid": "Second myeloid neoplasms", "spm_t_cell": "T-cell lymphoma after CAR-T", "nrm": "Non-relapse mortality",
}  # fmt: skip


def endpoint_name(endpoint: str) -> str:
    """A published endpoint as people write it."""
    return ENDPOINTS.get(endpoint, endpoint.replace("_", " "))


def toxicity_name(toxicity: str) -> str:
    """A toxicity as people write it."""
    found = next((s.title for s in SCALES.values() if s.default and s.toxicity == toxicity), toxicity.replace("_", " "))
    return TOXICITIES.get(toxicity, found)


def scale_name(scale: str) -> str:
    """A scale as people write it."""
    return SCALES[scale].title if scale in SCALES else scale.replace("_", " ")


def in_order(toxicities: Iterable[str]) -> list[str]:
    """Toxicities in reading order: those that are drawn, then others in the order of the scales."""
    rank = {t: n for n, t in enumerate(dict.fromkeys([*TOXICITIES, *(s.toxicity for s in SCALES.values())]))}
    return sorted(set(toxicities), key=lambda t: (rank.get(t, len(rank)), t))


def is_drawn(row: dict[str, Any]) -> bool:
    """Whether a row of `worst` has a band in the figure: always for the main ones, for others where something is there."""
    there = row["assessed"] and (row["grade"] > 0 or row["status"] in WORDS)
    return row["toxicity"] in ALWAYS or (row["toxicity"] in TOXICITIES and there)
