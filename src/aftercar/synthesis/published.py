"""Published rates of one endpoint put together, within a scale: rates that were graded otherwise are not the same rate."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from polars import col, lit

from aftercar.errors import InputError, OptionError
from aftercar.evidence.select import select
from aftercar.evidence.tables import table
from aftercar.intervals import wilson
from aftercar.synthesis.proportions import Method, Pooled, pooled

MIXED = "several scales"


@dataclass(frozen=True)
class Group:
    """Studies that graded on one scale, or (`MIXED`) on several.

    Attributes:
        studies: `trial_id, product, disease, scale, events, n, share, low, high, source, ref_id, verified`; a row a study, intervals after Wilson.
        pooled: null where there is one study, or no rate is likeliest (`why` says so).
        logit, freeman_tukey: the same by transformed shares, for comparison.
    """

    scale: str
    studies: pl.DataFrame
    pooled: Pooled | None
    logit: Pooled | None
    freeman_tukey: Pooled | None
    why: str = ""


def endpoints() -> list[str]:
    """What rates there are of."""
    return table("rates")["endpoint"].unique().sort().to_list()


def counted(endpoint: str, *, product: str | None = None, disease: str | None = None) -> tuple[pl.DataFrame, list[str]]:
    """The studies of an endpoint with their events and patients, from the source that is recommended of each, and the trials that tell no counts.

    Args:
        product: by any of its names.
        disease: a disease group of the trials.
    Raises:
        OptionError: there is no such endpoint, product or disease, or no study is left.
    """
    if endpoint not in endpoints():
        raise OptionError(f"No endpoint is called {endpoint!r}: {', '.join(endpoints())}.")
    rates = select("rates", product=product).filter(endpoint=endpoint)
    of_crs = endpoint.startswith("crs")
    trials = table("trials").select("trial_id", disease="disease_group", scale="crs_scale" if of_crs else "nt_scale")
    own = rates.join(trials, on="trial_id", how="left", maintain_order="left")
    if disease is not None:
        groups = own["disease"].drop_nulls().unique().sort().to_list()
        if disease not in groups:
            raise OptionError(f"No study of this endpoint is of {disease!r}: {', '.join(groups)}.")
        own = own.filter(disease=disease)
    if own.is_empty():
        raise OptionError(f"No study tells {endpoint} of that product.")
    label = col("recommended_source") == "label"

    def of_source(name: str) -> pl.Expr:
        return pl.when(label).then(f"label_{name}").otherwise(f"primary_{name}").alias(name)

    found = own.select(
        "trial_id", "product", "disease", "scale", of_source("events"), of_source("n"), of_source("ref_id"),
        source="recommended_source", verified=pl.when(label).then("verified_label").otherwise("verified_primary"),
    )  # fmt: skip
    whole = col("events").is_not_null() & col("n").is_not_null()
    kept = found.filter(whole)
    limits = [wilson(k, n) for k, n in kept.select("events", "n").iter_rows()]
    kept = kept.with_columns(
        pl.Series("low", [low for low, _ in limits], dtype=pl.Float64), pl.Series("high", [high for _, high in limits], dtype=pl.Float64), share=col("events") / col("n")
    )  # fmt: skip
    return kept, found.filter(~whole)["trial_id"].to_list()


def pool(
    endpoint: str, *, product: str | None = None, disease: str | None = None, mix: bool = False
) -> tuple[list[Group], list[str]]:
    """Pool an endpoint within each scale, and the trials that tell no counts; arguments and errors as for `counted`.

    Args:
        mix: also all scales together, as a group that says so.
    """
    studies, left_out = counted(endpoint, product=product, disease=disease)
    by_scale = studies.with_columns(col("scale").fill_null("scale not told")).partition_by(
        "scale", as_dict=True, maintain_order=True
    )
    groups = [_group(str(scale), own) for (scale,), own in by_scale.items()]
    if mix and len(groups) > 1:
        groups.append(_group(MIXED, studies))
    return groups, left_out


def _group(scale: str, studies: pl.DataFrame) -> Group:
    k, n = studies["events"].to_list(), studies["n"].to_list()
    if len(k) < 2:
        return Group(scale, studies, None, None, None, "one study")
    others: dict[Method, Pooled] = {method: pooled(k, n, method=method) for method in ("logit", "freeman_tukey")}
    try:
        found, why = pooled(k, n), ""
    except InputError as error:
        found, why = None, str(error)
    return Group(scale, studies, found, others["logit"], others["freeman_tukey"], why)


ROWS = {
    "endpoint": pl.String, "scale": pl.String, "trial_id": pl.String, "product": pl.String, "disease": pl.String, "studies": pl.Int64, "events": pl.Int64, "n": pl.Int64,
    "share": pl.Float64, "low": pl.Float64, "high": pl.Float64, "further_low": pl.Float64, "further_high": pl.Float64, "tau2": pl.Float64, "heterogeneity_p": pl.Float64,
    "logit": pl.Float64, "freeman_tukey": pl.Float64, "source": pl.String, "ref_id": pl.String, "verified": pl.String, "why": pl.String,
}  # fmt: skip


def rows(endpoint: str, groups: list[Group]) -> pl.DataFrame:
    """Studies and, behind those of each scale, what they make together (`trial_id` is null), as one table with the columns of `ROWS`."""
    parts: list[pl.DataFrame] = []
    for group in groups:
        if group.scale != MIXED:
            parts.append(group.studies.with_columns(studies=lit(1)))
        parts.append(pl.DataFrame([_together(group)]))
    whole = pl.concat(parts, how="diagonal_relaxed").with_columns(endpoint=lit(endpoint))
    missing = [lit(None, dtype).alias(name) for name, dtype in ROWS.items() if name not in whole.columns]
    return whole.with_columns(missing).select(col(name).cast(dtype) for name, dtype in ROWS.items())


def _together(group: Group) -> dict[str, object]:
    told: dict[str, object] = {
        "scale": group.scale, "studies": group.studies.height, "events": group.studies["events"].sum(), "n": group.studies["n"].sum(), "why": group.why or None,
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
