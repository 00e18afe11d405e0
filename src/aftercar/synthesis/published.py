"""Published rates of one endpoint put together, within a scale: rates that were graded otherwise are not the same rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
from polars import col, lit

from aftercar.errors import InputError, OptionError, nearest
from aftercar.evidence.select import select
from aftercar.evidence.sources import references
from aftercar.evidence.tables import table
from aftercar.intervals import wilson

if TYPE_CHECKING:
    from aftercar.synthesis.proportions import Method, Pooled

MIXED = "several scales"
NOT_TOLD = "not told"
# Endpoints of the late effects, by the effects that they are: rates of different horizons are not the same rate, so that the horizon stands where others have their scale.
LATE = {
    "spm": ("second primary malignancy (all)",),
    "spm_myeloid": ("second myeloid neoplasm", "therapy-related myeloid neoplasm, CHIP positive", "therapy-related myeloid neoplasm, CHIP negative"),
    "spm_t_cell": ("T-cell lymphoma",),
    "nrm": ("non-relapse mortality",),
}  # fmt: skip
REVIEW = "pooled"  # how the measure of a rate begins that is of several studies already
_SPOKEN = {"crs": "crs_any", "icans": "icans_any", "nt": "nt_any", "neuro": "nt_any"}


@dataclass(frozen=True)
class Group:
    """Studies that graded on one scale, or (`MIXED`) on several.

    Attributes:
        scale: of late effects, until when they were counted.
        studies: `trial_id, product, disease, target, costim, year, scale, events, n, share, low, high, source, ref_id, verified`; a row a study, intervals after Wilson.
        pooled: null where there is one study, or no rate is likeliest (`why` says so).
        logit, freeman_tukey: the same by transformed shares, for comparison.
        part: a product or disease, of a subgroup of the scale.
    """

    scale: str
    studies: pl.DataFrame
    pooled: Pooled | None
    logit: Pooled | None
    freeman_tukey: Pooled | None
    why: str = ""
    part: str | None = None


def endpoints() -> list[str]:
    """What rates there are of."""
    return [*table("rates")["endpoint"].unique().sort(), *LATE]


def endpoint_named(words: str) -> str:
    """An endpoint by its name, or as an outcome is written: `crs:3` is `crs_g3plus`, `neuro` is `nt_any`.

    Raises:
        OptionError: there is none.
    """
    name, colon, cut = words.strip().lower().replace("-", "_").partition(":")
    told = _SPOKEN.get(name, name)
    if colon:
        told = f"{told.removesuffix('_any')}_g3plus" if cut == "3" else told if cut == "1" else words
    if told not in endpoints():
        raise OptionError(f"No endpoint is called {words!r}: {', '.join(endpoints())}. {nearest(told, endpoints())}".rstrip())
    return told


def counted(endpoint: str, *, product: str | None = None, disease: str | None = None) -> tuple[pl.DataFrame, list[str]]:
    """The studies of an endpoint with their events and patients, from the source that is recommended of each, and those that tell no counts: no count is made from a percentage.

    Args:
        product: by any of its names.
        disease: a disease group of the trials.
    Raises:
        OptionError: there is no such endpoint, product or disease, or no study is left.
    """
    if endpoint not in endpoints():
        raise OptionError(f"No endpoint is called {endpoint!r}: {', '.join(endpoints())}.")
    found = _late(endpoint, product) if endpoint in LATE else _rates(endpoint, product)
    if disease is not None:
        groups = found["disease"].drop_nulls().unique().sort().to_list()
        if disease not in groups:
            raise OptionError(f"No study of this endpoint is of {disease!r}: {', '.join(groups)}.")
        found = found.filter(disease=disease)
    if found.is_empty():
        raise OptionError(f"No study tells {endpoint} of that product.")
    papers = references()
    years = {key: papers[key].year for key in found["ref_id"].drop_nulls() if key in papers}
    found = found.with_columns(
        year=col("ref_id").replace_strict(years, default=None, return_dtype=pl.String).cast(pl.Int64, strict=False)
    )
    whole = col("events").is_not_null() & col("n").is_not_null()
    kept = found.filter(whole).drop("told")
    limits = [wilson(k, n) for k, n in kept.select("events", "n").iter_rows()]
    kept = kept.with_columns(
        pl.Series("low", [low for low, _ in limits], dtype=pl.Float64), pl.Series("high", [high for _, high in limits], dtype=pl.Float64), share=col("events") / col("n")
    )  # fmt: skip
    return kept, found.filter(~whole)["told"].to_list()


def _rates(endpoint: str, product: str | None) -> pl.DataFrame:
    """Of each trial the source that is recommended."""
    rates = select("rates", product=product).filter(endpoint=endpoint)
    of_crs = endpoint.startswith("crs")
    trials = table("trials").select(
        "trial_id", "target", disease="disease_group", costim="costim_domain", scale="crs_scale" if of_crs else "nt_scale"
    )  # fmt: skip
    own = rates.join(trials, on="trial_id", how="left", maintain_order="left")
    if endpoint.startswith("icans"):  # "ASTCT 2019 for ICANS; CTCAE v5.0 for other"
        own = own.with_columns(col("scale").str.replace(r" for ICANS;.*$", ""))
    label = col("recommended_source") == "label"

    def of_source(name: str) -> pl.Expr:
        return pl.when(label).then(f"label_{name}").otherwise(f"primary_{name}").alias(name)

    return own.select(
        "trial_id", "product", "disease", "target", "costim", "scale", of_source("events"), of_source("n"), of_source("ref_id"),
        source="recommended_source", verified=pl.when(label).then("verified_label").otherwise("verified_primary"), told="trial_id",
    )  # fmt: skip


def _late(endpoint: str, product: str | None) -> pl.DataFrame:
    """Late effects of whole populations: the paper stands for the trial, the population for the disease."""
    rows = select("late-effects", product=product).filter(col("effect").is_in(LATE[endpoint]))
    value = pl.concat_str(col("value"), col("unit"), separator=" ", ignore_nulls=True)
    return rows.select(
        trial_id="ref_id", product="product", disease="population", target=lit(None, pl.String), costim=lit(None, pl.String), scale="horizon",
        events=pl.when(col("n_total").is_not_null()).then("n_events"), n="n_total", ref_id="ref_id",
        source=pl.when(col("measure").str.starts_with(REVIEW)).then(lit("meta-analysis")).otherwise(lit("paper")), verified="verified",
        told=pl.concat_str("ref_id", lit(": "), "effect", lit(", "), value, pl.concat_str(lit(", "), "population"), pl.concat_str(lit(", "), "horizon"), ignore_nulls=True),
    )  # fmt: skip


def pool(
    endpoint: str, *, product: str | None = None, disease: str | None = None, mix: bool = False
) -> tuple[list[Group], list[str]]:
    """Pool an endpoint within each scale, and the studies that tell no counts; arguments and errors as for `counted`.

    Args:
        mix: also all scales together, as a group that says so.
    """
    studies, left_out = counted(endpoint, product=product, disease=disease)
    by_scale = studies.with_columns(col("scale").fill_null(NOT_TOLD)).partition_by("scale", as_dict=True, maintain_order=True)
    groups = [grouped(str(scale), own) for (scale,), own in by_scale.items()]
    if mix and len(groups) > 1:
        groups.append(grouped(MIXED, studies))
    return groups, left_out


def grouped(scale: str, studies: pl.DataFrame, part: str | None = None) -> Group:
    """Studies put together, if there are two at least."""
    from aftercar.synthesis.proportions import pooled

    k, n = studies["events"].to_list(), studies["n"].to_list()
    if len(k) < 2:
        return Group(scale, studies, None, None, None, "one study", part)
    others: dict[Method, Pooled] = {method: pooled(k, n, method=method) for method in ("logit", "freeman_tukey")}
    try:
        found, why = pooled(k, n), ""
    except InputError as error:
        found, why = None, str(error)
    return Group(scale, studies, found, others["logit"], others["freeman_tukey"], why, part)


ROWS = {
    "endpoint": pl.String, "scale": pl.String, "part": pl.String, "trial_id": pl.String, "product": pl.String, "disease": pl.String, "studies": pl.Int64, "events": pl.Int64, "n": pl.Int64,
    "share": pl.Float64, "low": pl.Float64, "high": pl.Float64, "further_low": pl.Float64, "further_high": pl.Float64, "tau2": pl.Float64, "heterogeneity_p": pl.Float64,
    "logit": pl.Float64, "freeman_tukey": pl.Float64, "source": pl.String, "ref_id": pl.String, "verified": pl.String, "why": pl.String,
}  # fmt: skip


def rows(endpoint: str, groups: list[Group]) -> pl.DataFrame:
    """Studies and, behind those of each scale, what they make together (`trial_id` is null), as one table with the columns of `ROWS`."""
    parts: list[pl.DataFrame] = []
    for group in groups:
        if group.scale != MIXED and group.part is None:
            parts.append(group.studies.with_columns(studies=lit(1)))
        parts.append(pl.DataFrame([_together(group)]))
    whole = pl.concat(parts, how="diagonal_relaxed").with_columns(endpoint=lit(endpoint))
    missing = [lit(None, dtype).alias(name) for name, dtype in ROWS.items() if name not in whole.columns]
    return whole.with_columns(missing).select(col(name).cast(dtype) for name, dtype in ROWS.items())


def _together(group: Group) -> dict[str, object]:
    told: dict[str, object] = {
        "scale": group.scale, "part": group.part, "studies": group.studies.height, "events": group.studies["events"].sum(), "n": group.studies["n"].sum(), "why": group.why or None,
    }  # fmt: skip
    if group.pooled is None:
        return told
    share, low, high = group.pooled.rate()
    further = group.pooled.prediction() or (None, None)
    assert group.logit is not None and group.freeman_tukey is not None
    return told | {
        "share": share, "low": low, "high": high, "further_low": further[0], "further_high": further[1], "tau2": group.pooled.tau2,
        "heterogeneity_p": group.pooled.p, "logit": group.logit.rate()[0], "freeman_tukey": group.freeman_tukey.rate()[0],
    }  # fmt: skip
