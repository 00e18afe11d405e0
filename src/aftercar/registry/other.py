"""Answers beside CRS and neurotoxicity: infusion, survival, relapse, blood counts, immunoglobulin, organ toxicity and markers."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade.b_cells import IGG_CUT
from aftercar.grade.days import daily
from aftercar.registry.charted import Charted, answers, first_of, of_all, of_first
from aftercar.registry.forms import UNKNOWN
from aftercar.timeline.concepts import concept
from aftercar.timeline.state import SPAN, calendar_day, midnight, readings

ANC_CUT, PLATELET_CUT = 500.0, 20.0  # /uL, 10^9/L; at or above is recovered
RECOVERY_DAYS = 3  # with a count, one after the other
TRANSFUSED_D = 7  # days after a platelet transfusion that show no recovery
ORGANS = {
    "gut": ("colitis",),
    "kidney": ("ctcae_creatinine",),
    "liver": ("ctcae_transaminases", "ctcae_bilirubin"),
    "lung": (),  # pulmonary oedema as stated
    "neuro": ("neuro_ctcae",),
}
OTHER_TOXICITIES = ("iechs_dx", "mnt", "cranial_nerve_palsy", "tian", "b_cell_aplasia")
PEAKS = {"il6": 1.0, "scd25": 1.0, "ferritin": 1.0, "crp": 0.1}  # concept -> what turns our unit into the form's
SCALES = (*(s for scales in ORGANS.values() for s in scales), *OTHER_TOXICITIES, "hypogammaglobulinaemia")
CODES = (
    "cart_infusion", "death", "last_follow_up", "progression", "anc", "platelets", "platelet_transfusion", "second_malignancy", "igg", "ivig",
    "pulmonary_oedema", *PEAKS,
)  # fmt: skip


def derive(charted: Charted) -> dict[str, pl.DataFrame]:
    """All these answers by the name of the derivation."""
    return {
        **_infusion(charted),
        **_survival(charted),
        **_followed(charted),
        "blood.anc": _recovery(charted, "anc", ANC_CUT),
        "blood.platelets": _recovery(charted, "platelets", PLATELET_CUT, transfusion="platelet_transfusion"),
        **_malignancy(charted),
        **_immunoglobulin(charted),
        **_toxicities(charted),
        **_organs(charted, 3),
        **_organs(charted, 4),
        **_peaks(charted),
    }


# ---- infusion and survival


def _infusion(charted: Charted) -> dict[str, pl.DataFrame]:
    doses = charted.rec.of("cart_infusion").group_by("course").agg(ids=col("event_id").sort(), n=pl.len())
    rows = charted.cases.join(doses, on="course", how="left", maintain_order="left").with_columns(col("ids").fill_null([]))
    split = pl.when(col("n") > 1).then(pl.format("day 0; {} doses are one course", "n")).otherwise(lit("day 0"))
    return {
        "infusion.date": answers(rows, "yes", split, col("day0_at"), col("ids")),
        "infusion.product": answers(rows.drop_nulls("product"), col("product"), "as charted", ids=col("ids")),
    }


def _survival(charted: Charted) -> dict[str, pl.DataFrame]:
    deaths = charted.events("death", counted=False).select("case", "at", "event_id", cause="text_value")
    dead = of_first(deaths, "a death is charted", "dead")
    seen = charted.last_seen.with_columns(ids=pl.concat_list("event_id"))
    alive = answers(seen, "alive", "something was charted on that day, and no death", col("at"), col("ids"))
    words = concept("death").values
    cause = pl.when(col("cause").is_in([w for w in words if w != UNKNOWN])).then("cause").otherwise(lit(UNKNOWN))
    why = pl.when(cause == UNKNOWN).then(lit("a death without a cause")).otherwise(lit("as charted"))
    told = deaths.group_by("case", maintain_order=True).first().with_columns(ids=pl.concat_list("event_id"))
    return {
        "survival.status": first_of(dead, alive),
        "survival.contact": first_of(dead, alive),
        "survival.cause": answers(told, cause, why, ids=col("ids")),
    }


def _followed(charted: Charted) -> dict[str, pl.DataFrame]:
    """What ends or changes a course; that it did not come is said only where the patient was followed to the end of the period."""
    cases = charted.cases
    following = cases.filter(col("until").is_not_null() & (col("until").dt.date() <= col("closes")))
    again = answers(following, "yes", "another infusion is charted", col("base") + col("until").dt.epoch("s"))
    reached = cases.filter("whole")
    relapsed = charted.events("progression", counted=False)
    before = cases.filter(col("progression").is_not_null() & (col("base") + col("progression").dt.epoch("s") < col("from_at")))
    seen = cases.filter((col("last_follow_up").dt.date() >= col("closes")).fill_null(False))
    return {
        "further.cells": first_of(
            again,
            answers(reached, "no", "none is charted, and the record reaches the end of the period or of the patient's life"),
            answers(cases, UNKNOWN, "the record ends before the period does"),
        ),
        "disease.relapse": first_of(
            of_first(relapsed, "a relapse or progression is charted"),
            answers(before, UNKNOWN, "it was charted in an earlier period; whether there was another is not"),
            answers(seen, "no", "none is charted, and follow-up is charted to the end of the period"),
            answers(cases, UNKNOWN, "none is charted, and follow-up is not charted to the end of the period"),
        ),
    }


# ---- blood counts


def _recovery(charted: Charted, code: str, cut: float, transfusion: str | None = None) -> pl.DataFrame:
    """The first of three days with a count, one after the other, at or above a cut, after a day below it.

    Args:
        transfusion: on its day and the seven after it no count shows recovery; where the record of drugs is not complete nobody can tell.
    """
    counts = daily(charted.rec, charted.options, code).collect().filter(col("day") >= 0)
    given = charted.rec.of(*([transfusion] if transfusion else []))
    given = given.select("course", given=_day_of(charted, given)).sort("course", "given") if transfusion else None
    counts = counts.sort("course", "day")
    aided = lit(False)
    if given is not None and given.height:
        counts = (
            counts.sort("day").join_asof(given.sort("given"), left_on="day", right_on="given", by="course").sort("course", "day")
        )
        aided = (col("day") - col("given") <= TRANSFUSED_D).fill_null(False)
    good = (col("count") >= cut) & ~aided
    counts = counts.with_columns(good=good, fallen=(col("count") < cut).cum_max().over("course"))
    three = pl.all_horizontal(col("good").shift(-k).over("course") for k in range(RECOVERY_DAYS))
    counts = counts.with_columns(recovers=three & col("fallen"), third=col("day").shift(1 - RECOVERY_DAYS).over("course"))
    zero = charted.rec.courses.select("course", "base", "opens", midnight=midnight())
    cases = charted.cases.join(zero.select("course", "midnight"), on="course", how="left", maintain_order="left")
    days = cases.select(
        "case", "course", "whole", "base",
        first=calendar_day(col("from_at"), col("midnight")), last=calendar_day(col("to_at") - 1, col("midnight")), opens="opens", midnight="midnight",
    )  # fmt: skip
    rows = days.join(counts, on="course", how="inner", maintain_order="left").filter(col("day") <= col("last"))
    told = rows.group_by("case", maintain_order=True).agg(
        pl.exclude("course", "day", "count", "event_id", "good", "fallen", "recovers", "third").first(),
        ever=col("fallen").any(), own=(col("day") >= col("first")).sum(), n=pl.len(),
        on=col("day").filter(col("recovers") & (col("third") <= col("last"))).min(),
        ids=col("event_id").filter(col("recovers") & (col("third") <= col("last"))).first(),
        low=col("event_id").filter(col("count") < cut).first(),
    ).with_columns(ids=pl.concat_list(pl.coalesce("ids", "low")).list.drop_nulls())  # fmt: skip
    drugs = _drugs_complete(charted) if transfusion else cases.select("case")
    surely = col("case").is_in(drugs["case"].implode())
    at = col("base") + col("opens").dt.epoch("s") - col("midnight") + col("on") * 86_400
    enough = col("own") >= RECOVERY_DAYS
    answer = (
        pl.when(col("on").is_not_null() & (col("on") < col("first"))).then(lit("previously_reported"))
        .when(col("on").is_not_null() & surely).then(lit("yes"))
        .when(col("on").is_not_null()).then(lit(UNKNOWN))
        .when(~col("ever") & enough).then(lit("never_below"))
        .when(col("ever") & enough & col("whole")).then(lit("no"))
        .otherwise(lit(UNKNOWN))
    )  # fmt: skip
    reason = (
        pl.when(answer == "previously_reported").then(lit("it came in an earlier period"))
        .when(answer == "yes").then(pl.format("first of {} days with a count at or above {}", lit(RECOVERY_DAYS), lit(f"{cut:g}")))
        .when(col("on").is_not_null()).then(lit("whether platelets were transfused is not said to be charted"))
        .when(answer == "never_below").then(pl.format("no count below {} on {} days with one", lit(f"{cut:g}"), "n"))
        .when(answer == "no").then(pl.format("no {} days in a row at or above {} after the fall", lit(RECOVERY_DAYS), lit(f"{cut:g}")))
        .otherwise(lit("too few counts in this period"))
    )  # fmt: skip
    found = answers(told, answer, reason, pl.when(answer == "yes").then(at), col("ids"))
    return first_of(found, answers(cases, UNKNOWN, "no count is charted"))


def _day_of(charted: Charted, rows: pl.DataFrame) -> pl.Series:
    zero = charted.rec.courses.select("course", midnight=midnight())
    return (
        rows.join(zero, on="course", how="left", maintain_order="left")
        .select(calendar_day(col("at"), col("midnight")))
        .to_series()
    )


def _drugs_complete(charted: Charted) -> pl.DataFrame:
    """Cases throughout which the record of drugs is complete."""
    whole = charted.cases.select("case", "course", begin="from_at", end=pl.min_horizontal("to_at", "last_at"))
    return charted.complete("drugs", whole)


# ---- later toxicities


def _malignancy(charted: Charted) -> dict[str, pl.DataFrame]:
    rows = charted.events("second_malignancy")
    found = rows.filter((col("text_value") != "none").fill_null(False))
    none = rows.filter(col("text_value") == "none")
    earlier = charted.rec.of("second_malignancy").filter((col("text_value") != "none").fill_null(False)).select("course", "at")
    before = (
        charted.cases.select("case", "course", "from_at")
        .join(earlier, on="course", how="inner")
        .filter(col("at") < col("from_at"))
    )
    return {
        "malignancy.new": first_of(
            of_first(found, "as charted"),
            answers(before.unique("case", maintain_order=True), "previously_reported", "charted in an earlier period"),
            of_all(none, "no", "charted that there is none"),
            answers(charted.cases, UNKNOWN, "nobody charted that there is one, or none"),
        ),
        "malignancy.kind": of_all(found, col("text_value").unique().sort().str.join(", "), "as charted"),
    }


def _immunoglobulin(charted: Charted) -> dict[str, pl.DataFrame]:
    values = (
        readings(charted.rec, "igg").filter(~col("excluded") & col("value").is_not_null()).with_columns(course=col("at") // SPAN)
    )
    values = values.join(charted.bounds, on="course", how="inner", maintain_order="left")
    own = values.filter(col("at").is_between("from_at", "to_at", closed="left"))
    low = own.filter(col("value") < IGG_CUT)
    spans = charted.bounds.rename({"from_at": "begin", "to_at": "end"})
    stands = charted.within(values.select("course", "at", "until").unique(), spans).sort("case", "at")
    held = stands.group_by("case").agg(
        had=(col("until") - pl.max_horizontal("at", col("until").cum_max().shift(1))).clip(0).sum(),
        whole=(col("end") - col("begin")).first(),
    )
    full = held.filter(col("had") >= col("whole")).join(low.select("case"), on="case", how="anti")
    replaced = charted.events("ivig")
    after = own.join(low.group_by("case").agg(worst=col("at").max()), on="case", how="inner").filter(col("at") > col("worst"))
    back = after.join(replaced.select("case"), on="case", how="anti")
    ill = low.unique("case", maintain_order=True)
    return {
        "igg.present": first_of(
            of_first(low, f"first IgG below {IGG_CUT:g} mg/dL"),
            answers(
                full.join(replaced.select("case"), on="case", how="anti"),
                "no",
                f"IgG was at or above {IGG_CUT:g} mg/dL, with values that stand for the whole period",
            ),
            of_all(own, UNKNOWN, f"no IgG below {IGG_CUT:g} mg/dL, but values do not stand for the whole period"),
            answers(charted.cases, UNKNOWN, "no IgG is charted in this period"),
        ),
        "igg.replaced": first_of(
            of_first(replaced, "immunoglobulin was given"),
            answers(_drugs_complete(charted), "no", "none in a complete record of drugs"),
            answers(ill, UNKNOWN, "the record of drugs is not said to be complete"),
        ),
        "igg.resolved": first_of(
            of_first(back, f"first IgG at or above {IGG_CUT:g} mg/dL behind the last low one, without replacement"),
            answers(ill, UNKNOWN, "no later value without replacement settles it"),
        ),
    }


def _toxicities(charted: Charted) -> dict[str, pl.DataFrame]:
    """What the scales surely find beside what is asked for by name."""
    rows = charted.grades(*OTHER_TOXICITIES).filter(
        (col("grade") >= 1) & ~col("status").cast(pl.String).is_in(["not_met", "watch", "incomplete"])
    )
    told = rows.sort("case", "at").group_by("case", maintain_order=True).agg(
        at=col("at").first(), what=col("toxicity").unique().sort().str.join(", "), rules=col("rules").unique().sort().str.join(", "),
        ids=col("evidence").list.explode(keep_nulls=False, empty_as_null=False).unique().sort(),
    )  # fmt: skip
    return {
        "toxicity.other": first_of(
            answers(told, "yes", pl.format("by {}", "rules"), col("at"), col("ids")),
            answers(charted.cases, UNKNOWN, "no scale finds one for sure; what has no scale is not ruled out"),
        ),
        "toxicity.what": answers(told, col("what"), pl.format("by {}", "rules"), col("at"), col("ids")),
    }


def _organs(charted: Charted, grade: int) -> dict[str, pl.DataFrame]:
    """Toxicity of one grade (4: or more) by organ; no only where no stretch of the period leaves it open."""
    found: dict[str, pl.DataFrame] = {}
    for organ, scales in ORGANS.items():
        found[f"organ{grade}.{organ}"] = _stated(charted, grade) if organ == "lung" else _organ(charted, grade, scales)
    yes = [f.filter(col("answer") == "yes") for f in found.values()]
    named = pl.concat([y.with_columns(organ=lit(o)) for y, o in zip(yes, ORGANS, strict=True)])
    told = named.sort("case", "at").group_by("case", maintain_order=True).agg(
        col("at").first(), why=col("organ").unique().sort().str.join(", "), ids=col("evidence").list.explode(keep_nulls=False, empty_as_null=False).unique().sort()
    )  # fmt: skip
    return found | {
        f"organ{grade}.any": first_of(
            answers(told, "yes", pl.format("organs: {}", "why"), col("at"), col("ids")),
            answers(charted.cases, UNKNOWN, "none found; organs without a concept are not ruled out"),
        )
    }


def _organ(charted: Charted, grade: int, scales: tuple[str, ...]) -> pl.DataFrame:
    rows = charted.grades(*scales).filter(col("scale").is_in(scales))
    here = col("grade") == grade if grade == 3 else col("grade") >= grade
    low, high = (col("grade"), col("grade_upper"))
    could = (low <= grade) & (high >= grade) if grade == 3 else high >= grade
    hit = rows.filter(here & ~col("gap")).select("case", "at", ids="evidence", rule="rules")
    free = rows.group_by("case").agg(open=could.any(), n=col("scale").n_unique()).filter(~col("open") & (col("n") == len(scales)))
    whole = charted.cases.filter("whole").select("case")
    return first_of(
        of_first(hit, pl.format("first grade {} on {}", lit(grade), "rule")),
        answers(free.join(whole, on="case", how="semi"), "no", f"grade {grade} was possible at no time of the period"),
        answers(
            rows.unique("case", maintain_order=True), UNKNOWN, f"grade {grade} was not charted, and not ruled out at some time"
        ),
        answers(charted.cases, UNKNOWN, "nothing that it is graded by was charted"),
    )


def _stated(charted: Charted, grade: int) -> pl.DataFrame:
    rows = charted.events("pulmonary_oedema")
    hit = rows.filter(col("numeric_value") == grade if grade == 3 else col("numeric_value") >= grade)
    return first_of(
        of_first(hit, "pulmonary oedema of this grade as stated"),
        answers(charted.cases, UNKNOWN, "no lung toxicity is charted as such"),
    )


def _peaks(charted: Charted) -> dict[str, pl.DataFrame]:
    found: dict[str, pl.DataFrame] = {}
    for code, factor in PEAKS.items():
        rows = charted.events(code, counted=False).filter(col("numeric_value").is_not_null())
        top = (
            rows.sort("case", "numeric_value", "at", descending=[False, True, False], maintain_order=True)
            .group_by("case", maintain_order=True)
            .first()
        )
        told, ids = pl.format("the highest of {} in the period", "n"), pl.concat_list("event_id")
        top = top.join(rows.group_by("case").agg(n=pl.len()), on="case", how="left", maintain_order="left")
        value = (col("numeric_value") * factor).round(3).cast(pl.String).str.replace(r"\.0$", "")
        found[f"peak.{code}"] = first_of(
            answers(top, "known", told, col("at"), ids), answers(charted.cases, UNKNOWN, "no value is charted in this period")
        )
        found[f"peak.{code}_value"] = answers(top, value, told, col("at"), ids)
    return found
