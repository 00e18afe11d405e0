"""How much of each vasopressor runs: rates, norepinephrine equivalents, and the high doses of Lee 2014 [lee2014] and Penn [porter2018]."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.timeline.concepts import of_group
from aftercar.timeline.state import HOUR, Record, infusions, of_course, union
from aftercar.timeline.units import rate

SUSTAINED_S = 3 * HOUR  # a high dose counts if it runs for so long
# Alone, from this rate on: ug/min, but dopamine in ug/kg/min.
HIGH_ALONE = {"norepinephrine": 20.0, "dopamine": 10.0, "phenylephrine": 200.0, "epinephrine": 10.0}
# Norepinephrine equivalents (VASST): each rate times its factor.
EQUIVALENT = {"norepinephrine": 1.0, "dopamine": 0.5, "epinephrine": 1.0, "phenylephrine": 0.1}
HIGH_BESIDE_VASOPRESSIN, HIGH_TOGETHER = 10.0, 20.0  # ug/min of norepinephrine equivalent
# Penn, for rates charted per kilogram: ug/kg/min.
PENN_ALONE = {"norepinephrine": 0.2, "epinephrine": 0.1}
PENN_BESIDE_VASOPRESSIN = 0.1  # norepinephrine
_DIGITS = 6  # of a rate after conversion: 0.25 ug/kg/min x 80 kg is 20 ug/min


def rates(record: Record, codes: list[str], *, push_doses: bool) -> pl.DataFrame:
    """The rate of each drug that runs, at each turn of any: `at, until, code, rate, more, per_kg, event_id`.

    `rate` is in ug/min (dopamine in ug/kg/min), null: unknown; `more` says that it may be higher; `per_kg` is the rate in ug/kg/min where it
    was charted so. Of rows that overlap the last begun counts, of several at one time the highest.
    """
    rows = infusions(record, codes, push_doses=push_doses)
    units = {u: rate(u) for u in rows["unit"].drop_nulls().unique()}
    known = {u: r for u, r in units.items() if r is not None}
    factor = col("unit").replace_strict({u: f for u, (f, _) in known.items()}, default=None, return_dtype=pl.Float64)
    by_weight = col("unit").replace_strict({u: w for u, (_, w) in known.items()}, default=None, return_dtype=pl.Boolean)
    weight = of_course(record.courses, rows["course"], "weight_kg")[0]
    rows = rows.with_columns(weight).with_columns(
        amount=pl.when(~col("bolus")).then(col("numeric_value") * factor), by_weight=by_weight
    )
    kg = pl.when("by_weight").then("amount")
    flat = pl.when("by_weight").then(col("amount") * col("weight_kg")).otherwise("amount")
    dopamine = pl.when("by_weight").then("amount").otherwise(col("amount") / col("weight_kg"))
    rows = rows.select(
        "code",
        begin="at",
        stop="until",
        rate=pl.when(col("code") == "dopamine").then(dopamine).otherwise(flat).round(_DIGITS),
        per_kg=kg.round(_DIGITS),
        event_id=col("event_id"),
    )
    turns = pl.concat([rows["begin"], rows["stop"]]).unique().sort().to_frame("at").with_columns(until=col("at").shift(-1))
    held = turns.join_where(rows, col("begin") <= col("at"), col("stop") > col("at"))
    held = held.filter(col("begin") == col("begin").max().over("at", "code")).sort(
        "at", "code", "rate", "event_id", nulls_last=False
    )
    return held.group_by("at", "code", maintain_order=True).agg(
        col("until").first(),
        col("rate").last(),
        col("per_kg").max(),
        col("event_id").last(),
        more=col("rate").is_null().any(),
    )


def high(running: pl.DataFrame) -> pl.DataFrame:
    """At each turn, whether the dose is high by Lee 2014 (`lee`) and by Penn (`penn`): `at, until, event_id`; null: unknown."""
    beside = col("code").is_in(list(of_group("vasopressin_like")))
    agent, value = ~beside, col("rate")
    alone = col("code").replace_strict(HIGH_ALONE, default=None, return_dtype=pl.Float64)
    equivalent = value * col("code").replace_strict(EQUIVALENT, default=None, return_dtype=pl.Float64)
    per_kg = col("code").replace_strict(PENN_ALONE, default=None, return_dtype=pl.Float64)
    norepinephrine = col("code") == "norepinephrine"
    found = running.group_by("at", maintain_order=True).agg(
        until=col("until").first(),
        event_id=col("event_id").filter(agent).first().fill_null(col("event_id").first()),
        agents=agent.sum(),
        vasopressin=beside.any(),
        known=equivalent.filter(agent).sum(),
        open=(equivalent.is_null() | col("more")).filter(agent).any(),
        alone=pl.when(~col("more") | (value >= alone)).then(value >= alone).filter(agent).any(ignore_nulls=False),
        penn_alone=(col("per_kg") >= per_kg).filter(agent).any(),
        penn_beside=(col("per_kg").filter(norepinephrine) >= PENN_BESIDE_VASOPRESSIN).first(),
    )
    together = pl.when("vasopressin").then(HIGH_BESIDE_VASOPRESSIN).otherwise(HIGH_TOGETHER)
    enough = col("known") >= together
    summed = pl.when(enough).then(True).when("open").then(None).otherwise(False)
    single = (col("agents") == 1) & ~col("vasopressin")
    # A further drug never makes a dose low: what is high alone stays so.
    lee = pl.when(col("agents") == 0).then(False).when(single).then("alone").otherwise(summed | col("alone"))
    by_weight = (col("vasopressin") & col("penn_beside").fill_null(False)) | col("penn_alone").fill_null(False)
    return found.select("at", "until", "event_id", lee=lee, penn=lee | by_weight)


def sustained(turns: pl.DataFrame, what: str, unknown: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Stretches of at least three hours in which a dose is high, and those in which it is or may be: `at, until, event_id` each.

    `unknown` is when nobody knows what ran.
    """
    columns = ("at", "until", "event_id")
    sure = union(turns.filter(col(what)).select(columns))
    possible = union(pl.concat([turns.filter(col(what).fill_null(True)).select(columns), unknown.select(columns)]))
    long = col("until") - col("at") >= SUSTAINED_S
    return sure.filter(long), possible.filter(long)


def day_long(intervals: pl.DataFrame, gap_s: int, total_s: int) -> pl.DataFrame:
    """When any of the drugs ran, in stretches without a longer gap whose hours on a drug add up to `total_s`: `at, until, event_id`."""
    spells = union(intervals.select("at", "until", "event_id"))
    broken = (col("at") - col("until").shift(1) > gap_s).fill_null(True)
    spells = spells.with_columns(stretch=broken.cum_sum())
    return spells.filter((col("until") - col("at")).sum().over("stretch") >= total_s).drop("stretch")


def rolling_sum(rows: pl.DataFrame, amount: pl.Expr, hours: float) -> pl.DataFrame:
    """The sum of what was given in the last hours: `at, until, n, event_id`, a row each time it changes."""
    given = rows.select("at", "event_id", n=amount.cast(pl.Float64)).filter(col("n") > 0)
    gone = given.select(col("at") + int(hours * HOUR), event_id=lit(None, pl.Int64), n=-col("n"))
    turns = (
        pl.concat([given, gone])
        .sort("at", "event_id")
        .group_by("at", maintain_order=True)
        .agg(col("n").sum(), col("event_id").last())
    )
    turns = turns.with_columns(n=col("n").cum_sum(), event_id=col("event_id").forward_fill(), until=col("at").shift(-1))
    return turns.filter(col("n") > 0).select("at", "until", "n", "event_id")
