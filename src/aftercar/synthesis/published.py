"""Published rates of one endpoint put together, within a scale: rates that were graded otherwise are not the same rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
from polars import col, lit

from aftercar.errors import InputError, OptionError, nearest
from aftercar.evidence.select import GRADED_BY, GRADED_BY_NOTE, SCALES, select
from aftercar.evidence.sources import references
from aftercar.evidence.tables import table
from aftercar.intervals import wilson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polars._typing import PolarsDataType

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
LECTURE = "lecture"  # the key of what no paper was seen of
WILSON, PUBLISHED, RANGE = (
    "Wilson",
    "published",
    "range",
)  # whose `low` and `high` are: ours, the paper's, or the ends of a range of rates without a middle
STUDY = (
    "trial_id", "product", "disease", "target", "costim", "scale", "events", "n", "ref_id", "source", "verified", "year", "low", "high", "share", "interval", "note",
)  # fmt: skip
_SPOKEN = {"crs": "crs_any", "icans": "icans_any", "nt": "nt_any", "neuro": "nt_any"}


@dataclass(frozen=True)
class Group:
    """Studies that graded on one scale, or (`MIXED`) on several.

    Attributes:
        scale: of late effects, until when they were counted.
        studies: the columns of `STUDY`, a row a study.
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
    found = _found(endpoint, product, disease)
    return found.filter(_COUNTS).select(STUDY), found.filter(~_COUNTS)["told"].to_list()


def without_counts(endpoint: str, *, product: str | None = None, disease: str | None = None) -> pl.DataFrame:
    """The studies that `counted` leaves out: to be shown, each with the percentage that it tells, and put together with nothing.

    `low` and `high` are those of the paper, where it has them (`interval`); of a `RANGE` of rates `share` is null. Arguments and errors as for `counted`.
    """
    return _found(endpoint, product, disease).filter(~_COUNTS).select(STUDY)


_COUNTS = col("events").is_not_null() & col("n").is_not_null()


def _found(endpoint: str, product: str | None, disease: str | None) -> pl.DataFrame:
    """Every study of an endpoint: the columns of `STUDY`, and in `told` a line of what it says."""
    if endpoint not in endpoints():
        raise OptionError(f"No endpoint is called {endpoint!r}: {', '.join(endpoints())}.")
    found = _late(endpoint, product) if endpoint in LATE else _rates(endpoint, product)
    if found.is_empty():
        raise OptionError(f"No study tells {endpoint} of {product}." if product else f"No study tells {endpoint}.")
    if disease is not None:
        groups = found["disease"].drop_nulls().unique().sort().to_list()
        found = found.filter(disease=disease)
        if found.is_empty():
            others = f": {', '.join(groups)}" if groups else ", for none tells its disease"
            raise OptionError(f"No study of this endpoint is of {disease!r}{others}.")
    papers = references()
    years = {key: papers[key].year for key in found["ref_id"].drop_nulls() if key in papers}
    own = [wilson(k, n) if k is not None and n is not None else (None, None) for k, n in found.select("events", "n").iter_rows()]
    ours = _COUNTS & col("interval").ne_missing(PUBLISHED)
    return found.with_columns(
        pl.Series("wilson_low", [low for low, _ in own], dtype=pl.Float64), pl.Series("wilson_high", [high for _, high in own], dtype=pl.Float64),
        year=col("ref_id").replace_strict(years, default=None, return_dtype=pl.String).cast(pl.Int64, strict=False),
    ).with_columns(
        share=pl.when(ours).then(col("events") / col("n")).otherwise("share"), low=pl.when(ours).then("wilson_low").otherwise("low"),
        high=pl.when(ours).then("wilson_high").otherwise("high"), interval=pl.when(ours).then(lit(WILSON)).otherwise("interval"),
    )  # fmt: skip


def _rates(endpoint: str, product: str | None) -> pl.DataFrame:
    """Of each trial the source that is recommended."""
    rates = select("rates", product=product).filter(endpoint=endpoint)
    trials = table("trials").select("trial_id", "target", SCALES, disease="disease_group", costim="costim_domain")
    own = rates.join(trials, on="trial_id", how="left", maintain_order="left")
    label = col("recommended_source") == "label"

    def of_source(name: str) -> pl.Expr:
        return pl.when(label).then(f"label_{name}").otherwise(f"primary_{name}").alias(name)

    return own.select(
        "trial_id", "product", "disease", "target", "costim", of_source("events"), of_source("n"), of_source("ref_id"), scale=GRADED_BY, note=GRADED_BY_NOTE,
        source="recommended_source", verified=pl.when(label).then("verified_label").otherwise("verified_primary"), told="trial_id",
        share=col("recommended_pct") / 100, low=lit(None, pl.Float64), high=lit(None, pl.Float64), interval=lit(None, pl.String),
    )  # fmt: skip


def _late(endpoint: str, product: str | None) -> pl.DataFrame:
    """Late effects of whole populations: the paper stands for the trial, the population for the disease, and what the paper says of the middle and its interval for what counts make."""
    rows = select("late-effects", product=product).filter(col("effect").is_in(LATE[endpoint]))
    value = pl.concat_str(col("value"), col("unit"), separator=" ", ignore_nulls=True)
    ends = col("value").str.extract_groups(r"^(?<low>[0-9.]+)-(?<high>[0-9.]+)$")
    percent = pl.when(unit="percent")
    low, high = (
        percent.then(pl.coalesce(f"ci_{end}", ends.struct.field(end).cast(pl.Float64)).truediv(100).round(6))
        for end in ("low", "high")
    )
    return rows.select(
        trial_id="ref_id", product="product", disease="population", target=lit(None, pl.String), costim=lit(None, pl.String), scale="horizon",
        events=pl.when(col("n_total").is_not_null()).then("n_events"), n="n_total", ref_id="ref_id",
        source=pl.when(col("measure").str.starts_with(REVIEW)).then(lit("meta-analysis")).when(col("ref_id") == LECTURE).then(lit(LECTURE)).otherwise(lit("paper")), verified="verified",
        told=pl.concat_str("ref_id", lit(": "), "effect", lit(", "), value, pl.concat_str(lit(", "), "population"), pl.concat_str(lit(", "), "horizon"), ignore_nulls=True),
        share=percent.then(col("value").cast(pl.Float64, strict=False).truediv(100).round(6)), low=low, high=high,
        interval=pl.when(col("ci_low").is_not_null()).then(lit(PUBLISHED)).when(low.is_not_null()).then(lit(RANGE)),
        note=col("effect").str.extract(r", (.+)$"),
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
        found, why = None, _all_alike(sum(k), sum(n)) or str(error)
    return Group(scale, studies, found, others["logit"], others["freeman_tukey"], why, part)


def _all_alike(k: int, n: int) -> str:
    """Where nobody or everybody had it no rate is likeliest; what can be said instead, with the exact interval (Clopper and Pearson)."""
    edge = 0.025 ** (1 / n)
    if k == 0:
        return f"Nobody had it in any study, so that no rate is likeliest: 0 of {n} together, at most {100 * (1 - edge):.2g} per cent (exact 95 % interval)"
    if k == n:
        return f"Everybody had it in every study, so that no rate is likeliest: {n} of {n} together, at least {100 * edge:.3g} per cent (exact 95 % interval)"
    return ""


ROWS = {
    "endpoint": pl.String, "scale": pl.String, "part": pl.String, "trial_id": pl.String, "product": pl.String, "disease": pl.String, "studies": pl.Int64, "events": pl.Int64, "n": pl.Int64,
    "share": pl.Float64, "low": pl.Float64, "high": pl.Float64, "further_low": pl.Float64, "further_high": pl.Float64, "tau2": pl.Float64, "heterogeneity_p": pl.Float64,
    "logit": pl.Float64, "freeman_tukey": pl.Float64, "source": pl.String, "ref_id": pl.String, "verified": pl.String, "why": pl.String, "interval": pl.String, "note": pl.String,
}  # fmt: skip


def rows(endpoint: str, groups: list[Group]) -> pl.DataFrame:
    """Studies and, behind those of each scale, what they make together (`trial_id` is null), as one table with the columns of `ROWS`."""
    parts: list[pl.DataFrame] = []
    for group in groups:
        if group.scale != MIXED and group.part is None:
            parts.append(group.studies.with_columns(studies=lit(1)))
        parts.append(pl.DataFrame([_together(group)]))
    return shaped(pl.concat(parts, how="diagonal_relaxed") if parts else pl.DataFrame(), ROWS).with_columns(
        endpoint=lit(endpoint)
    )


def shaped(frame: pl.DataFrame, columns: Mapping[str, PolarsDataType]) -> pl.DataFrame:
    """A frame with these columns of these types, null where it has none."""
    missing = [lit(None, dtype).alias(name) for name, dtype in columns.items() if name not in frame.columns]
    return frame.with_columns(missing).select(col(name).cast(dtype) for name, dtype in columns.items())


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
