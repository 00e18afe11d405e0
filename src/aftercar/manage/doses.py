"""Doses in numbers: by body weight, rounded, then capped. Without a weight there is none, and it says so."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from aftercar.manage.rules import Band, Drug, Rule

# A pharmacist must confirm what is not checked against a source.
CHECKED = ("V",)
# Milligrams of each steroid that are as much as 0.75 mg of dexamethasone: from memory [M].
EQUIVALENT_MG = {"dexamethasone": 0.75, "methylprednisolone": 4.0, "prednisone": 5.0, "prednisolone": 5.0, "hydrocortisone": 20.0}
TO_MG = {"mg": 1.0, "g": 1000.0, "ug": 0.001}


def band_for(bands: Sequence[Band], weight_kg: float | None) -> Band | None:
    """The band of a weight; null where there is none, or the weight must be known and is not."""
    for band in bands:
        if not band.by_weight or (weight_kg is not None and band.from_kg <= weight_kg < band.below_kg):
            return band
    return None


def amount(band: Band, weight_kg: float | None) -> tuple[float, str] | None:
    """How much, and its unit: rounded to a whole number (grams to one decimal), then capped; null where it depends on what is not known.

    >>> amount(Band(8.0, "mg/kg", maximum=800.0), 70.0)
    (560.0, 'mg')
    >>> amount(Band(8.0, "mg/kg", maximum=800.0), 120.0)
    (800.0, 'mg')
    """
    unit, _, per = band.unit.partition("/")
    if per == "kg" and weight_kg is None:
        return None
    if per not in ("", "kg"):
        return None
    much = round(band.value * (weight_kg or 0.0), 1 if unit == "g" else 0) if per else band.value
    return (min(much, band.maximum) if band.maximum is not None else much), unit


def dose(drug: Drug, weight_kg: float | None, schedule: str = "") -> tuple[str, float | None]:
    """A drug's dose in words, and in mg where it is a number of them; a rule may have a schedule of its own."""
    rest = " ".join(filter(None, (drug.route, schedule or drug.schedule)))
    if not drug.dose:
        return rest, None
    band = band_for(drug.dose, weight_kg)
    if band is None:
        per = ", ".join(_band_words(b) for b in drug.dose)
        why = "no weight is charted" if weight_kg is None else "no band for this weight"
        return f"no dose: {why} ({per}) {rest}".strip(), None
    found = amount(band, weight_kg)
    if found is None:
        return f"{band.value:g} {band.unit} {rest}".strip(), None
    much, unit = found
    how = f" ({band.value:g} {band.unit} x {weight_kg:g} kg{_capped(band, much)})" if band.unit.endswith("/kg") else ""
    return f"{much:g} {unit}{how} {rest}".strip(), much * TO_MG[unit] if unit in TO_MG else None


def _capped(band: Band, much: float) -> str:
    return f", at most {band.maximum:g}" if band.maximum is not None and much == band.maximum else ""


def _band_words(band: Band) -> str:
    below = f" below {band.below_kg:g} kg" if band.below_kg != float("inf") else ""
    above = f" from {band.from_kg:g} kg" if band.from_kg else ""
    most = f", at most {band.maximum:g}" if band.maximum is not None else ""
    return f"{band.value:g} {band.unit}{above}{below}{most}"


def cautions(rule: Rule) -> list[str]:
    """What must be said of a dose that is not checked against a source."""
    if rule.drug is None or (rule.mark in CHECKED and rule.drug.mark in CHECKED):
        return []
    return [
        f"dose not checked against a source [{rule.drug.mark if rule.mark in CHECKED else rule.mark}]: a pharmacist must confirm it"
    ]


def amounts(rules: Sequence[Rule], rows: pl.DataFrame) -> pl.DataFrame:
    """Of each rule (`rule`, its number) and weight that occur in `rows`: `dose` in words, `dose_mg`, and of steroids `dexamethasone_mg_a_day`."""
    pairs = rows.select("rule", "weight_kg").unique(maintain_order=True)
    told = [dose(r.drug, w, r.schedule) if (r := rules[n]).drug else ("", None) for n, w in pairs.iter_rows()]
    steroids = [r.drug.name if r.drug else "" for r in (rules[n] for n in pairs["rule"])]
    a_day = pl.Series([rules[n].most_a_day for n in pairs["rule"]], dtype=pl.Float64)
    return pairs.with_columns(
        dose=pl.Series([t[0] for t in told], dtype=pl.String), dose_mg=pl.Series([t[1] for t in told], dtype=pl.Float64)
    ).with_columns(
        dexamethasone_mg_a_day=dexamethasone_equivalent(pl.lit(pl.Series(steroids, dtype=pl.String)), pl.col("dose_mg") * a_day)
    )


def dexamethasone_equivalent(drug: pl.Expr, mg: pl.Expr) -> pl.Expr:
    """Milligrams of a steroid as milligrams of dexamethasone; null for other drugs.

    >>> pl.select(dexamethasone_equivalent(pl.lit("methylprednisolone"), pl.lit(1000.0))).item()
    187.5
    """
    factor = {name: EQUIVALENT_MG["dexamethasone"] / much for name, much in EQUIVALENT_MG.items()}
    return mg * drug.replace_strict(factor, default=None, return_dtype=pl.Float64)
