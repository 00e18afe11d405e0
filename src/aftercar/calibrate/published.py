"""Published trials as they are compared with virtual ones: how each was treated and graded, its rates and its onsets."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import polars as pl
from polars import col

import aftercar.calibrate
from aftercar.evidence import table
from aftercar.intervals import wilson
from aftercar.simulate.run import Scenario

ENDPOINTS = ("crs_any", "crs_g3plus", "nt_any", "nt_g3plus")


@dataclass(frozen=True)
class Trial:
    """A published trial and the virtual one that stands for it.

    Attributes:
        product, disease, policy: of the mechanism.
        crs, nt: the scales of its grading.
        in_lecture: whether the lecture tabulates it.
        held_out: whether nothing is fitted to it.
        changed: what differs from the product as it is sold.
    """

    name: str
    product: str
    disease: str
    policy: str
    crs: str
    nt: str
    in_lecture: bool
    held_out: bool
    onset: str | None = None
    changed: tuple[tuple[str, float], ...] = ()

    def scenario(self, changed: dict[str, float], days: float) -> Scenario:
        """Its virtual patients, with some parameters."""
        return Scenario(self.product, self.disease, self.policy, (), tuple((changed | dict(self.changed)).items()), days)


def interval(events: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a published rate, in per cent (Wilson)."""
    low, high = wilson(events, n)
    assert low is not None and high is not None, "nobody was counted"
    return 100 * low, 100 * high


@cache
def trials() -> dict[str, Trial]:
    """All trials that are compared, by name.

    >>> trials()["ELIANA"].crs
    'crs_penn2018'
    """
    told = tomllib.loads(files(aftercar.calibrate).joinpath("trials.toml").read_text(encoding="utf-8"))
    known = {row["trial_id"]: row for row in table("trials").to_dicts()}
    return {
        name: Trial(
            name, known[name]["product_alias"].split(" ")[0], entry["disease"], entry["policy"], entry["crs"], entry["nt"],
            known[name]["in_lecture_table"] == "yes", entry["use"] == "held out", entry.get("onset"), tuple(entry.get("changed", {}).items()),
        )
        for name, entry in told.items()
    }  # fmt: skip


@cache
def rates() -> pl.DataFrame:
    """`trial, endpoint, events, n, pct, source` of each trial and endpoint.

    Where a trial graded neurotoxicity as ICANS, its rate of ICANS is the one of `nt_...`. Events follow from the recommended per cent.
    """
    told = table("toxicity_rates").filter(col("trial_id").is_in(list(trials())))
    icans = pl.Series([name for name, t in trials().items() if t.nt == "icans_astct"], dtype=pl.String)
    as_nt = col("endpoint").str.replace("^icans_", "nt_")
    own = col("endpoint").str.starts_with("nt_") & col("trial_id").is_in(icans)
    chosen = told.filter(~own).with_columns(endpoint=as_nt).filter(col("endpoint").is_in(ENDPOINTS))
    of_label = col("recommended_source") == "label"
    n = pl.when(of_label).then("label_n").otherwise("primary_n").cast(pl.Int64)
    return chosen.select(
        trial="trial_id", endpoint="endpoint", events=(col("recommended_pct") * n / 100).round().cast(pl.Int64), n=n, pct="recommended_pct",
        source=pl.when(of_label).then("label_ref_id").otherwise("primary_ref_id"),
        verified=pl.when(of_label).then("verified_label").otherwise("verified_primary"),
    )  # fmt: skip


@cache
def onsets() -> pl.DataFrame:
    """`trial, what` (crs or nt), `median_d, n, source` of the trials whose median day of onset was told."""
    told = table("onset").filter(col("source_median_d").is_not_null())
    what = {"crs": "crs", "neurologic": "nt", "icans": "nt"}
    rows = [
        row.select(
            trial=pl.lit(name), what=col("event").replace_strict(what), median_d="source_median_d", n="source_n", source="ref_id",
            verified="verified",
        )
        for name, trial in trials().items()
        if trial.onset
        for row in [told.filter(source_population=trial.onset)]
    ]  # fmt: skip
    return pl.concat(rows).unique(["trial", "what"], keep="first", maintain_order=True)
