"""Deaths without a relapse before them, by cause; a relapse competes."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.cohort.incidence import WHAT, by_day_between, cumulative_incidence, days_since
from aftercar.cohort.outcome import COURSE
from aftercar.evidence.tables import table
from aftercar.intervals import wilson

RELAPSE, UNSURE, ALL = "relapse", "unsure", "all"
# Deaths of which it is not known whether they are non-relapse deaths: the cause is unknown, or another therapy was begun and no relapse is charted.
LABELS = {
    ALL: "non-relapse mortality",
    UNSURE: "cause or relapse not known",
    RELAPSE: "relapse or progression, or death of it",
}


@cache
def causes() -> dict[str, dict[str, Any]]:
    """The groups of causes: label, our words, and the published share with the same meaning."""
    return tomllib.loads(files("aftercar.cohort").joinpath("causes.toml").read_text(encoding="utf-8"))


def label(cause: str) -> str:
    """A class of `endings` as it is printed."""
    return LABELS.get(cause) or causes()[cause]["label"]


def endings(subjects: pl.DataFrame, relapse: Sequence[str] = ("progression",)) -> pl.DataFrame:
    """How each course with an infusion ended: `subject_id, infusion, day, ending`.

    `ending` is a group of causes of death, `relapse` (also a death of it that nobody charted before), `unsure` for deaths of which it is not known, or null at the end of the record.
    A relapse that is not charted is taken for none, unless another therapy was begun.

    Args:
        relapse: the dates that are one: `progression`, perhaps `next_therapy`.
    """
    group = {word: name for name, about in causes().items() for word in about["words"]}
    relapsed = pl.min_horizontal(*relapse)
    died, dead = col("death"), col("death").is_not_null()
    before = relapsed.is_not_null() & ((relapsed <= died) | ~dead)
    treated = (col("next_therapy") <= died).fill_null(False)
    ending = (
        pl.when(before | (dead & (col("death_cause") == "progression").fill_null(False))).then(lit(RELAPSE))
        .when(dead & treated).then(lit(UNSURE))
        .when(dead).then(col("death_cause").replace_strict(group, default=UNSURE, return_dtype=pl.String))
    )  # fmt: skip
    time = pl.when(before).then(relapsed).otherwise(pl.coalesce(died, "record_end"))
    return subjects.filter(col("day0").is_not_null()).select(*COURSE, day=days_since(time), ending=ending)


def mortality(ended: pl.DataFrame, days: Iterable[int]) -> pl.DataFrame:
    """Cumulative incidence of non-relapse death in all and by group of causes, of relapse and death of it, and of deaths of which it is not known.

    Args:
        ended: `day, ending`, a row a course, as `endings` gives.
        days: by the end of which it is told.
    Returns:
        `cause, events, day, incidence, low, high, greatest, greatest_high`: all else that can come competes. `greatest` is the incidence if the deaths of which it is not known were all of that
        cause, or of relapse, with the upper end of its 95 % interval. Null where nobody was followed so long.
    """
    classes = {ALL: [*causes()], **{name: [name] for name in causes()}, UNSURE: [UNSURE], RELAPSE: [RELAPSE]}
    rows: list[dict[str, Any]] = []
    for cause, members in classes.items():
        curve = cumulative_incidence(_of(ended, members))
        most = curve if cause == UNSURE else cumulative_incidence(_of(ended, [*members, UNSURE]))
        for day in days:
            told = {"cause": cause, "events": int(curve["events"].sum()), "day": day}
            rows.append(told | by_day_between(curve, most, day))
    return pl.DataFrame(rows, schema=MORTALITY)


MORTALITY: dict[str, Any] = {
    "cause": pl.String, "events": pl.Int64, "day": pl.Int64, **dict.fromkeys(("incidence", "low", "high", "greatest", "greatest_high"), pl.Float64),
}  # fmt: skip


def _of(ended: pl.DataFrame, members: list[str]) -> pl.DataFrame:
    what = (
        pl.when(col("ending").is_in(members)).then(lit("event"))
        .when(col("ending").is_not_null()).then(lit("competing"))
        .otherwise(lit("censored"))
    )  # fmt: skip
    return ended.select("day", what=what.cast(WHAT))


def shares(ended: pl.DataFrame) -> pl.DataFrame:
    """What non-relapse deaths were of: `cause, deaths, share, low, high`, and the published share with `published_of`, its `source` and `mark`.

    `share` is of the deaths whose cause is known, with Wilson's interval; deaths of which it is not known are a row without one.
    """
    counts = dict(ended.group_by("ending").len().iter_rows())
    known = sum(counts.get(name, 0) for name in causes())
    rows: list[dict[str, Any]] = []
    for cause, about in [*causes().items(), (UNSURE, {})]:
        deaths = counts.get(cause, 0)
        of = known if cause != UNSURE else 0
        low, high = wilson(deaths, of)
        row = {"cause": cause, "deaths": deaths, "share": deaths / of if of else None, "low": low, "high": high}
        rows.append(row | _published(about.get("published")))
    return pl.DataFrame(rows, schema=SHARES)


SHARES: dict[str, Any] = {
    "cause": pl.String, "deaths": pl.Int64, **dict.fromkeys(("share", "low", "high", "published"), pl.Float64),
    "published_of": pl.Int64, "source": pl.String, "mark": pl.String,
}  # fmt: skip


def _published(effect: str | None) -> dict[str, Any]:
    if effect is None:
        return {}
    row = table("late_effects").row(by_predicate=(col("effect") == effect) & (col("unit") == "percent"), named=True)
    return {
        "published": float(row["value"]) / 100,
        "published_of": int(row["n_total"]),
        "source": row["ref_id"],
        "mark": row["verified"],
    }
