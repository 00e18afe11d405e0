"""What is asked of every syndrome with a course: was it there, since when, how high, and did it end."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.registry.charted import SURE_D, SURE_GAP_H, Charted, answers, bands, first_of, of_first
from aftercar.registry.forms import UNKNOWN


def present(charted: Charted, scales: tuple[str, ...], name: str, extra: tuple[str, ...] = ()) -> pl.DataFrame:
    """Yes where a grade was surely reached; no only where none was possible and the first days were charted without a gap.

    Args:
        extra: further scales that can show it, and whose silence rules nothing out.
    """
    rows = charted.grades(*scales)
    judged = rows.filter(~col("gap"))
    yes = pl.concat([judged, charted.grades(*extra).filter(~col("gap"))]) if extra else judged
    yes = yes.filter((col("grade") >= 1) & (col("status").cast(pl.String) != "not_met")).select(
        "case", "at", ids="evidence", rule="rules"
    )
    there = of_first(yes, pl.format("grade 1 or more on {}", "rule"))
    # What goes on from before, or was seen in a stretch that is no longer charted.
    goes_on = charted.episodes(*scales, *extra).select("case", at="onset_at", event_id=lit(None, pl.Int64), rule="rules")
    goes_on = of_first(goes_on, pl.format("an episode on {}", "rule"))
    most = judged.group_by("case").agg(upper=col("upper_assessed").max(), looks=pl.len())
    gaps = charted.sure(*scales)
    both = charted.cases.select("case", "kind").join(most, on="case", how="left").join(gaps, on="case", how="left")
    both = both.join(_assessed(charted, scales), on="case", how="left").with_columns(assessed=col("assessed").fill_null(False))
    possible = answers(
        both.filter(col("upper") >= 1), UNKNOWN, pl.format("what is missing leaves {} open, up to grade {}", lit(name), "upper")
    )
    none = col("assessed") & (col("upper").fill_null(0) == 0)
    no = answers(
        both.filter(none & col("upper").is_not_null() & (col("gap_h") <= SURE_GAP_H)),
        "no", pl.format("no grade on {}, and days 0 to {} were charted without a gap", lit(_rules(charted, scales)), lit(SURE_D)),
    )  # fmt: skip
    gap = answers(
        both.filter(none & (col("kind") == "first") & (col("gap_h") > SURE_GAP_H)),
        UNKNOWN, pl.format("nothing found, but {} h of days 0 to {} were not charted", col("gap_h").round(0).cast(pl.Int64), lit(SURE_D)),
    )  # fmt: skip
    later = answers(both.filter(none), UNKNOWN, "nothing found, but this period was not charted throughout")
    nothing = answers(both, UNKNOWN, f"nothing that {name} is graded by was charted in this period")
    return first_of(there, goes_on, possible, no, gap, later, nothing)


def _assessed(charted: Charted, scales: tuple[str, ...]) -> pl.DataFrame:
    worst = charted.result.worst.filter(col("scale").is_in(scales)).select("subject_id", "infusion", "assessed")
    places = charted.cases.select("case", "subject_id", "infusion")
    return places.join(worst, on=["subject_id", "infusion"], how="inner").group_by("case").agg(col("assessed").any())


def _rules(charted: Charted, scales: tuple[str, ...]) -> str:
    return " or ".join(charted.result.worst.filter(col("scale").is_in(scales))["rules"].unique().sort())


def onset(charted: Charted, scales: tuple[str, ...], extra: tuple[str, ...] = ()) -> pl.DataFrame:
    """The beginning of the first episode of the period."""
    begun = charted.episodes(*scales, *extra).select("case", at="onset_at", rule="rules")
    first = begun.sort("case", "at").group_by("case", maintain_order=True).first()
    rows = charted.grades(*scales, *extra).filter(col("grade") >= 1).select("case", seen="at", ids="evidence")
    seen = rows.sort("case", "seen").group_by("case", maintain_order=True).first()
    both = first.join(seen, on="case", how="left", maintain_order="left").with_columns(col("ids").fill_null([]))
    return answers(both, "yes", pl.format("onset of the first episode on {}", "rule"), col("at"), col("ids"))


def reported(charted: Charted, scales: tuple[str, ...], extra: tuple[str, ...] = ()) -> pl.DataFrame:
    """Whether the first episode of the period began in an earlier one."""
    begun = (
        charted.episodes(*scales, *extra)
        .group_by("case", maintain_order=True)
        .agg(at=col("onset_at").min(), start=col("from_at").first())
    )
    before = col("at") < col("start")
    return answers(begun, pl.when(before).then(lit("yes")).otherwise(lit("no")),
                   pl.when(before).then(lit("it began in an earlier period")).otherwise(lit("it began in this period")))  # fmt: skip


def highest(charted: Charted, scales: tuple[str, ...]) -> pl.DataFrame:
    """The highest grade of the period: as locked by two readers, else by software where the bounds agree."""
    rows = charted.grades(*scales).filter(~col("gap"))
    top = (
        rows.sort("case", "grade", "at", descending=[False, True, False], maintain_order=True)
        .group_by("case", maintain_order=True)
        .first()
    )
    upper = rows.group_by("case").agg(
        most=col("upper_assessed").max(),
        opened=col("missing").filter(col("upper_assessed") == col("upper_assessed").max()).first(),
    )
    both = top.join(upper, on="case", how="left", maintain_order="left")
    both = both.filter(col("grade") >= 1).with_columns(most=pl.max_horizontal("most", "grade"), missing="opened")
    software = bands(both, "grade", "most", "highest grade by software, not adjudicated")
    locked = charted.locked(*scales)
    return first_of(answers(locked, col("locked").cast(pl.String), pl.format("locked by {}", "by")), software)


def resolved(charted: Charted, scales: tuple[str, ...], codes: tuple[str, ...], extra: tuple[str, ...] = ()) -> pl.DataFrame:
    """Whether the last episode of the period ended in it, and when.

    Args:
        codes: what shows the end; its last rows up to then stand behind it.
    """
    rows = charted.case_column(charted.episodes(*scales, *extra), "death", "whole")
    last = rows.sort("case", pl.col("end_at").fill_null(pl.col("to_at") + 1)).group_by("case", maintain_order=True).last()
    ended = (col("end_at") < col("to_at")).fill_null(False)
    # What stood at the end: the last charting up to it, for an end may be that of an infusion.
    shown = charted.rec.of(*codes).group_by("course", "at").agg(ids=col("event_id").unique().sort()).sort("at")
    last = (
        last.drop("at", strict=False)
        .sort("end_at")
        .join_asof(shown, left_on="end_at", right_on="at", by="course", check_sortedness=False)
    )
    last = last.with_columns(col("ids").fill_null([]))
    on = col("end_at").is_not_null() & ~ended
    died = col("death").is_not_null() & col("end_at").is_null()
    answer = pl.when(ended).then(lit("yes")).when(on | died).then(lit("no")).otherwise(lit(UNKNOWN))
    reason = (
        pl.when(ended).then(pl.format("first clear charting after the last sign on {}", "rules"))
        .when(on).then(lit("it went on beyond this period"))
        .when(died).then(lit("the patient died with it"))
        .otherwise(lit("its end was not charted"))
    )  # fmt: skip
    return answers(last, answer, reason, pl.when(ended).then("end_at"), col("ids"))
