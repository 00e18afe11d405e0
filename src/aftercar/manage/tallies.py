"""What a rehearsal counts: each rule's alerts by patient-day, held against the worst grade of its toxicity, and the burden of each day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.intervals import poisson, wilson
from aftercar.manage.alerts import possible
from aftercar.manage.rules import Rule
from aftercar.manage.spoken import STATUS
from aftercar.manage.vocabulary import GRADED
from aftercar.timeline.state import DAY, HOUR

SEVERE = 3  # a grade from which on it is called severe
# The toxicities whose worst grade the alerts of a topic are held against; the other topics have none.
TOXICITY = {"crs": ("crs",), "icans": ("icans",), "refractory": ("crs", "icans"), "iechs": ("iechs_grade",)}

RULES: dict[str, Any] = {
    "topic": pl.String, "rule": pl.String, "status": STATUS, "courses": pl.Int64, "alerts": pl.Int64, "suppressed": pl.Int64,
    "hours": pl.Float64, "patient_days": pl.Float64,
    "per_patient_day": pl.Float64, "per_100": pl.Float64, "per_100_low": pl.Float64, "per_100_high": pl.Float64,
    "toxicity": pl.String, "severe": pl.Int64, "preceded": pl.Int64, "followed": pl.Int64, "missed": pl.Int64,
    "predictive_value": pl.Float64, "predictive_low": pl.Float64, "predictive_high": pl.Float64,
    "lead_n": pl.Int64, "lead_before": pl.Int64, "lead_h_q1": pl.Float64, "lead_h_median": pl.Float64, "lead_h_q3": pl.Float64,
}  # fmt: skip
DAYS: dict[str, Any] = {
    "day": pl.Int32, "topic": pl.String, "courses": pl.Int64, "patient_days": pl.Float64, "alerts": pl.Int64, "suppressed": pl.Int64,
    "per_patient_day": pl.Float64,
}  # fmt: skip


def outcomes(grades: pl.DataFrame) -> pl.DataFrame:
    """Of each course and graded fact when the highest grade was first known (`NAME_worst`), and the first severe one (`NAME_severe`).

    A course whose highest grade is 0 has none.
    """
    rows = grades.filter((col("grade") > 0) & (col("status") != "not_applicable"))

    def first(scales: tuple[str, ...], when: pl.Expr) -> pl.Expr:
        return col("start").filter(col("scale").is_in(scales) & when).min()

    def highest(scales: tuple[str, ...]) -> pl.Expr:
        return col("grade") == col("grade").filter(col("scale").is_in(scales)).max()

    return rows.group_by("subject_id", "infusion").agg(
        *(first(scales, highest(scales)).alias(f"{name}_worst") for name, scales in GRADED.items()),
        *(first(scales, col("grade") >= SEVERE).alias(f"{name}_severe") for name, scales in GRADED.items()),
    )


def of_topic(which: str) -> pl.Expr:
    """Of rows with a `topic` and `outcomes`: when its toxicity was `worst`, or first `severe`; of several the earliest; null where it has none."""
    earliest = {topic: pl.min_horizontal(f"{name}_{which}" for name in names) for topic, names in TOXICITY.items()}
    return pl.coalesce(pl.when(col("topic") == topic).then(time) for topic, time in earliest.items())


# ---- rules


def of_rules(
    alerts: pl.DataFrame, said: pl.DataFrame, courses: pl.DataFrame, rules: tuple[Rule, ...], chosen: Sequence[int], step: int
) -> pl.DataFrame:
    """The table of rules; those that never spoke have a row, too.

    Args:
        alerts: the table of alerts.
        said: `rule, status, asked`, as `alerts.times_said` gives them.
        courses: `asked` (times, `step` seconds apart) and the columns of `outcomes`, a row a course.
        rules, chosen: all, and the numbers of those that are counted.
    """
    pairs = [(n, rules[n].topic, rules[n].id, kind) for n in chosen for kind in possible(rules[n], rules)]
    keys = pl.DataFrame(pairs, schema={"n": pl.Int64, "topic": pl.String, "rule": pl.String, "status": STATUS}, orient="row")
    hours = said.group_by(n="rule", status="status").agg(hours=col("asked").sum() * step / HOUR)
    counts = alerts.group_by("rule", "status").agg(alerts=(~col("suppressed")).sum(), suppressed=col("suppressed").sum())
    table = keys.join(hours, on=["n", "status"], how="left", maintain_order="left")
    for found in (counts, _against_the_worst(alerts, courses)):
        table = table.join(found, on=["rule", "status"], how="left", maintain_order="left")
    toxic = col("topic").is_in(list(TOXICITY))
    counted = ("courses", "alerts", "suppressed", "hours")
    held = ("preceded", "followed", "lead_n", "lead_before")
    every = courses.select(
        pl.min_horizontal(f"{name}_severe" for name in names).count().alias(t) for t, names in TOXICITY.items()
    )
    days = int(courses["asked"].sum()) * step / DAY
    table = table.with_columns(
        col(counted).fill_null(0),
        *(pl.when(toxic).then(col(c).fill_null(0)).alias(c) for c in held),
        patient_days=lit(days),
        toxicity=col("topic").replace_strict({t: " or ".join(names) for t, names in TOXICITY.items()}, default=None),
        severe=col("topic").replace_strict(every.row(0, named=True), default=None, return_dtype=pl.Int64),
    )
    table = table.with_columns(
        missed=col("severe") - col("preceded") - col("followed"), **_rates(table, days), **_predictive(table)
    )
    return table.select(col(c).cast(t) for c, t in RULES.items())


def _against_the_worst(alerts: pl.DataFrame, courses: pl.DataFrame) -> pl.DataFrame:
    """Of each rule and kind: the courses in which it spoke, and how its first alert stands to the first severe and to the worst grade."""
    first = alerts.group_by("subject_id", "infusion", "topic", "rule", "status").agg(col("time").min(), col("lead_h").max())
    first = first.join(courses, on=["subject_id", "infusion"], how="left").with_columns(severe_at=of_topic("severe"))
    lead, before = col("lead_h"), col("time") < col("severe_at")
    return first.group_by("rule", "status").agg(
        courses=pl.len(),
        preceded=before.sum(),
        followed=(~before).sum(),
        lead_n=lead.count(),
        lead_before=(lead > 0).sum(),
        lead_h_q1=lead.quantile(0.25, "linear"),
        lead_h_median=lead.median(),
        lead_h_q3=lead.quantile(0.75, "linear"),
    )


def _rates(table: pl.DataFrame, days: float) -> dict[str, pl.Series]:
    """Alerts that were shown by patient-day, with the exact interval of their number."""
    ends = [poisson(n) for n in table["alerts"]]
    counts = {
        "per_patient_day": table["alerts"] * 1.0,
        "per_100": table["alerts"] * 100.0,
        "per_100_low": pl.Series([100 * low for low, _ in ends], dtype=pl.Float64),
        "per_100_high": pl.Series([100 * high for _, high in ends], dtype=pl.Float64),
    }
    return {name: n / days if days else n.clear(len(n)) for name, n in counts.items()}


def _predictive(table: pl.DataFrame) -> dict[str, pl.Series]:
    """Of the courses in which an alert came before any severe grade, the share that reached one."""
    n = table["courses"] - table["followed"]
    ends = [wilson(k, of) if k is not None else (None, None) for k, of in zip(table["preceded"], n, strict=True)]
    return {
        "predictive_value": pl.select(pl.when(n > 0).then(table["preceded"] / n)).to_series(),
        "predictive_low": pl.Series([low for low, _ in ends], dtype=pl.Float64),
        "predictive_high": pl.Series([high for _, high in ends], dtype=pl.Float64),
    }


# ---- days


def of_days(alerts: pl.DataFrame, courses: pl.DataFrame, topics: Sequence[str], step: int) -> pl.DataFrame:
    """The table of days: every day since the infusion on which a course is asked, for each topic."""
    days = _days_asked(courses["asked"].sort().cast(pl.Int64), step)
    counts = alerts.group_by("day", "topic").agg(alerts=(~col("suppressed")).sum(), suppressed=col("suppressed").sum())
    table = days.join(pl.DataFrame({"topic": topics}, schema={"topic": pl.String}), how="cross")
    table = table.join(counts, on=["day", "topic"], how="left", maintain_order="left")
    table = table.with_columns(col("alerts", "suppressed").fill_null(0))
    return table.with_columns(per_patient_day=col("alerts") / col("patient_days")).select(col(c).cast(t) for c, t in DAYS.items())


def _days_asked(asked: pl.Series, step: int) -> pl.DataFrame:
    """`day, courses, patient_days` of courses that are asked so many times each (sorted), `step` seconds apart."""
    last = (int(asked[-1]) - 1) * step // DAY if asked.len() else -1
    # The asked times of a course are numbered; those of a day begin with this one.
    first = pl.Series([-(-day * DAY // step) for day in range(last + 2)], dtype=pl.Int64)
    over = asked.search_sorted(first, side="right").cast(pl.Int64)  # courses that are over before it
    before = pl.concat([pl.Series([0]), asked.cum_sum()]).gather(over) + (asked.len() - over) * first
    days = pl.DataFrame(
        {"day": range(last + 1), "courses": (asked.len() - over).head(last + 1)}, schema_overrides={"day": pl.Int32}
    )
    days = days.with_columns(patient_days=before.diff().slice(1) * step / DAY)
    return days.filter(col("patient_days") > 0)
