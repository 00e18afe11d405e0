"""What rules may ask about: every fact by name, with the words that reasons and missing measurements are told in.

A fact is an interval, from its lower to its upper bound. What is known is an interval of one number; a flag is 0 or 1, and 0 to 1 where it
is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from aftercar.errors import OptionError, nearest
from aftercar.timeline.concepts import of_group

# Grades that rules read, by fact: the scales (they take turns by age) and the highest grade that is not death.
GRADED = {
    "crs": ("crs_astct2019",),
    "icans": ("icans_astct", "icans_astct_peds"),
    "iechs_grade": ("iechs_grade",),
}
# A diagnosis is a word; for rules it is suspected or not.
DIAGNOSED = {"iechs": ("iechs_dx",)}
TOP_GRADE = 4

# How long a grade has been at or above a level without a break, by fact: the graded fact and the level.
SPELLS = {
    "crs_h": ("crs", 1), "crs_2_h": ("crs", 2), "crs_3_h": ("crs", 3),
    "icans_h": ("icans", 1), "icans_2_h": ("icans", 2), "icans_3_h": ("icans", 3),
    "iechs_h": ("iechs", 1),
}  # fmt: skip

# How a grade has changed within 24 hours, by fact: the graded fact, and the column of `changes.changes`.
CHANGES = {
    "crs_rise_24h": ("crs", "rise"), "crs_fall_24h": ("crs", "fall"), "icans_rise_24h": ("icans", "rise"), "icans_fall_24h": ("icans", "fall"),
    "iechs_rise_24h": ("iechs_grade", "rise"), "iechs_fall_24h": ("iechs_grade", "fall"),
}  # fmt: skip

# Counts and markers, as they were last charted and still stand.
MEASURED = ("anc", "platelets", "hemoglobin", "alc", "ferritin", "fibrinogen", "igg", "b_cells", "cd4", "diarrhoea_grade")
# However old it is: the last value (`last.NAME`), and how many days after the infusion it was charted (`day_of.NAME`). `igg_unaided` leaves out what
# was measured within so many days after immunoglobulin.
LAST, DAY_OF = "last.", "day_of."
UNAIDED = {"igg_unaided": ("igg", "ivig", 28)}

# Charted once, there from then on: the concept, and its words that count (none: every word but the first).
CHARTED: dict[str, tuple[str, tuple[str, ...]]] = {
    "mnt_sign": ("mnt_sign", ()),
    "tian_sign": ("tian_sign", ()),
    "facial_palsy": ("cranial_nerve_palsy", ("vii",)),
    "second_malignancy": ("second_malignancy", ()),
    "gut_inflammation": ("biopsy", ("inflammation",)),
    "gut_lymphoproliferation": ("biopsy", ("t_cell_lymphoproliferation",)),
}

# Parts of a product's name, by fact.
PRODUCTS = {
    "product_cd28": ("axi-cel", "axicabtagene", "yescarta", "brexu-cel", "brexucabtagene", "tecartus"),
    "product_cilta": ("cilta-cel", "ciltacabtagene", "carvykti"),
    "product_liso": ("liso-cel", "lisocabtagene", "breyanzi"),
}

DRUG_FACTS = {
    "given": "doses of {} so far",
    "given_24h": "doses of {} in the last 24 h",
    "since_h": "hours since the last {}",
    "first_h": "hours since {} was first given as treatment",
}
LIMITS = {
    "interval": "the interval between two doses of {} has not passed",
    "in_24h": "the most doses of {} in 24 h are given",
    "total": "the most doses of {} in all are given",
}


@dataclass(frozen=True)
class Fact:
    """One thing that a rule may ask: its `label` in words, its `unit`, and whether it is yes or no."""

    name: str
    label: str
    unit: str = ""
    flag: bool = False


_PLAIN = (
    Fact("crs", "CRS grade"), Fact("icans", "ICANS grade"), Fact("iechs_grade", "IEC-HS grade"),
    Fact("iechs", "IEC-HS suspected", flag=True),
    Fact("crs_h", "CRS without a break", "h"), Fact("crs_2_h", "CRS of grade 2 or more without a break", "h"),
    Fact("crs_3_h", "CRS of grade 3 or more without a break", "h"),
    Fact("icans_h", "ICANS without a break", "h"), Fact("icans_2_h", "ICANS of grade 2 or more without a break", "h"),
    Fact("icans_3_h", "ICANS of grade 3 or more without a break", "h"), Fact("iechs_h", "IEC-HS suspected without a break", "h"),
    Fact("crs_rise_24h", "rise of the CRS grade within 24 h, from its lowest"), Fact("crs_fall_24h", "fall of the CRS grade within 24 h, from its highest"),
    Fact("icans_rise_24h", "rise of the ICANS grade within 24 h, from its lowest"),
    Fact("icans_fall_24h", "fall of the ICANS grade within 24 h, from its highest"),
    Fact("iechs_rise_24h", "rise of the IEC-HS grade within 24 h, from its lowest"),
    Fact("iechs_fall_24h", "fall of the IEC-HS grade within 24 h, from its highest"),
    Fact("crs_onset_h", "from the infusion to the onset of this CRS", "h"),
    Fact("day", "day after the infusion"), Fact("age_y", "age", "years"),
    Fact("anc", "ANC", "/uL"), Fact("anc_500_d", "ANC below 500/uL without a break", "d"), Fact("platelets", "platelets", "10*9/L"),
    Fact("hemoglobin", "haemoglobin", "g/dL"), Fact("alc", "ALC", "10*9/L"), Fact("ferritin", "ferritin", "ng/mL"),
    Fact("fibrinogen", "fibrinogen", "mg/dL"), Fact("igg", "IgG", "mg/dL"), Fact("diarrhoea_grade", "diarrhoea grade"),
    Fact("b_cells", "B cells", "/uL"), Fact("cd4", "CD4 cells", "/uL"), Fact("anti_hbc", "anti-HBc positive", flag=True),
    Fact("infection", "infection work-up positive", flag=True), Fact("infection_excluded", "infection work-up negative", flag=True),
    Fact("product_cd28", "a product with CD28 (axi-cel, brexu-cel)", flag=True), Fact("product_cilta", "cilta-cel", flag=True),
    Fact("product_liso", "liso-cel", flag=True), Fact("disease_cll", "CLL", flag=True),
    Fact("ferritin_doubled", "ferritin at least twice an earlier value of the last 24 h", flag=True),
    Fact("target_bcma", "a product against BCMA", flag=True), Fact("target_cd19", "a product against CD19", flag=True),
    Fact("mnt_sign", "a sign of movement and neurocognitive toxicity", flag=True),
    Fact("tian_sign", "a sign of tumour inflammation-associated neurotoxicity", flag=True),
    Fact("facial_palsy", "palsy of cranial nerve VII", flag=True), Fact("second_malignancy", "a second malignancy", flag=True),
    Fact("gut_inflammation", "gut biopsy: inflammation", flag=True),
    Fact("gut_lymphoproliferation", "gut biopsy: T-cell lymphoproliferation", flag=True),
)  # fmt: skip


@cache
def plain() -> dict[str, Fact]:
    """The facts that are no drug's, by name."""
    return {f.name: f for f in _PLAIN}


def drug_of(name: str) -> tuple[str, str] | None:
    """What is asked of which drug or group, by a name such as `given.tocilizumab`; null where no drug is meant.

    >>> drug_of("since_h.corticosteroid")
    ('since_h', 'corticosteroid')
    """
    asked, _, drug = name.partition(".")
    return (asked, drug) if drug and (asked in DRUG_FACTS or asked == "limit") else None


def lasting(name: str) -> str | None:
    """What is asked of, by a name such as `last.igg` or `day_of.igg`; null where neither is meant.

    >>> lasting("day_of.igg")
    'igg'
    """
    for prefix in (LAST, DAY_OF):
        if name.startswith(prefix) and (of := name.removeprefix(prefix)) in (*MEASURED, *UNAIDED):
            return of
    return None


@cache
def fact(name: str) -> Fact:
    """A fact by name.

    Raises:
        OptionError: there is none of that name.

    >>> fact("given.tocilizumab").label
    'doses of tocilizumab so far'
    """
    if name in plain():
        return plain()[name]
    if (of := lasting(name)) is not None:
        of, _, beside = UNAIDED.get(of, (of, "", 0))
        what = plain()[of].label + (f" without immunoglobulin in the {beside} days before" if beside else "")
        return (
            Fact(name, f"day of the last {what}", "d")
            if name.startswith(DAY_OF)
            else Fact(name, f"{what}, as last charted", plain()[of].unit)
        )
    if found := drug_of(name):
        asked, drug = found
        if asked == "limit":
            whom, limit = limited(drug)
            if not limit:
                raise OptionError(f"{name} ends with one of {', '.join(f'_{limit}' for limit in LIMITS)}.")
            of_group(whom)
            return Fact(name, LIMITS[limit].format(_spoken(whom)), flag=True)
        of_group(drug)
        return Fact(name, DRUG_FACTS[asked].format(_spoken(drug)), "h" if asked.endswith("_h") else "")
    old = (f"{prefix}{of}" for prefix in (LAST, DAY_OF) for of in (*MEASURED, *UNAIDED))
    known = [*plain(), *old, *(f"{asked}.DRUG" for asked in (*DRUG_FACTS, "limit"))]
    raise OptionError(f"there is no fact {name!r}. {nearest(name, known)}")


def limited(name: str) -> tuple[str, str]:
    """Drug and limit of a fact such as `limit.tocilizumab_in_24h`, without its `limit.`; an empty limit where none is named.

    >>> limited("tocilizumab_in_24h")
    ('tocilizumab', 'in_24h')
    """
    for limit in LIMITS:
        if name.endswith(f"_{limit}"):
            return name.removesuffix(f"_{limit}"), limit
    return name, ""


def _spoken(drug: str) -> str:
    return {"g_csf": "G-CSF", "corticosteroid": "a corticosteroid", "ivig": "immunoglobulin"}.get(drug, drug.replace("_", " "))
