"""Answers on neurotoxicity: ICANS by the ASTCT table, signs by CTCAE where they are charted, and what was found from onset to resolution."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade import findings, icans, neuro_late, neuro_others
from aftercar.grade.icans import CONSCIOUSNESS, ICANS_ASTCT, ICANS_ASTCT_PEDS
from aftercar.registry import syndrome
from aftercar.registry.charted import Charted, answers, first_of, of_all, of_first
from aftercar.registry.crs import NAMED, OTHERS, therapy
from aftercar.registry.forms import UNKNOWN
from aftercar.timeline.concepts import concept, of_group
from aftercar.timeline.state import readings

ICANS = (ICANS_ASTCT.name, ICANS_ASTCT_PEDS.name)
CTCAE = tuple(s.name for s in neuro_others.SCALES if s.name == "neuro_ctcae")
LATE = tuple(s.name for s in neuro_late.SCALES)
SHOWN_BY = ("ice", *icans.ICE_ITEMS, "capd", "consciousness")
DRUGS = {**dict.fromkeys(of_group("antiseizure"), "antiepileptics"), **{d: a for d, a in NAMED.items() if a == "corticosteroids"}}
OTHER_DRUGS = (*(d for d in NAMED if d not in DRUGS), *OTHERS)
CODES = (
    *SHOWN_BY, *DRUGS, *OTHER_DRUGS, "cartox", "sedated", "seizure", "seizure_duration", "seizure_outcome", "motor", "icp_sign", "dysphasia", "tremor",
    "haemorrhage", "mnt_sign", "cranial_nerve_palsy", "tian_sign", "mnt_grade", "cranial_nerve_palsy_grade",
)  # fmt: skip
BANDS = ((10, "10"), (7, "7-9"), (3, "3-6"), (0, "0-2"))
UNSAID = "not charted, and the record is not said to be complete in it"


def derive(charted: Charted) -> dict[str, pl.DataFrame]:
    """All answers on neurotoxicity by the name of the derivation."""
    return {
        "icans.present": syndrome.present(charted, ICANS, "ICANS"),
        "icans.onset": syndrome.onset(charted, ICANS),
        "icans.grade": syndrome.highest(charted, ICANS),
        "icans.resolved": syndrome.resolved(charted, ICANS, SHOWN_BY),
        "neuro.present": syndrome.present(charted, ICANS, "ICANS", CTCAE),
        "neuro.onset": syndrome.onset(charted, ICANS, CTCAE),
        "neuro.reported": syndrome.reported(charted, ICANS, CTCAE),
        "neuro.grade": syndrome.highest(charted, ICANS),
        "neuro.resolved": syndrome.resolved(charted, ICANS, SHOWN_BY, CTCAE),
        **_scores(charted),
        "neuro.drowsy": _drowsy(charted),
        **_dysphasia(charted),
        **_seizures(charted),
        "neuro.motor": _sign(charted, "motor", "motor", ("focal_deep",), "motor deficit"),
        **_oedema(charted),
        "neuro.tremor": _sign(charted, "tremor", "symptoms", concept("tremor").values[1:], "tremor"),
        **_stroke(charted),
        **_others(charted),
        **_therapy(charted),
        **_late(charted),
    }


def _spans(charted: Charted) -> pl.DataFrame:
    """From the first onset to the last end, a row a case."""
    return charted.span(*ICANS, *CTCAE)


def _charted(charted: Charted, *codes: str) -> pl.DataFrame:
    """Rows of these codes from onset to resolution, that are not put down to another cause."""
    rows = charted.events(*codes).join(
        _spans(charted).select("case", "begin", "end"), on="case", how="inner", maintain_order="left"
    )
    return rows.filter(col("at").is_between("begin", "end"))


def _open(charted: Charted, why: str) -> pl.DataFrame:
    return answers(_spans(charted), UNKNOWN, why)


def _sign(charted: Charted, code: str, stream: str, words: tuple[str, ...], name: str) -> pl.DataFrame:
    """A sign: yes where a word for it is charted, no where its stream is complete and no word of it is unread."""
    rows = _charted(charted, code)
    found = rows.filter(col("text_value").is_in(words))
    unread = rows.filter(~col("text_value").is_in(concept(code).values))
    silent = charted.complete(stream, _spans(charted)).join(unread.select("case"), on="case", how="anti")
    return first_of(
        of_first(found, f"first {name}"),
        answers(silent, "no", f"none charted, in a record that is complete in it ({stream})"),
        _open(charted, f"{name}: {UNSAID}"),
    )


# ---- scores


def _frame(charted: Charted) -> pl.DataFrame:
    """The domains of ICANS from onset to resolution, a row a stretch."""

    def make() -> pl.DataFrame:
        frame = icans.state(charted.rec, charted.options)
        after = pl.when(col("course").shift(-1) == col("course")).then(col("at").shift(-1)).otherwise(col("last_at") + 1)
        return charted.within(frame.with_columns(until=after), _spans(charted))

    return charted.once("neuro states", make)


def _scores(charted: Charted) -> dict[str, pl.DataFrame]:
    """Whether ICE or CARTOX-10 was done, and the lowest of its scores."""
    cartox = readings(charted.rec, "cartox").filter(~col("excluded") & col("value").is_not_null())
    cartox = charted.within(
        cartox.select(
            course=col("at") // findings.SPAN,
            at="at",
            until=col("at") + 1,
            low="value",
            high="value",
            ids=pl.concat_list("event_id"),
        ),
        _spans(charted),
    ).select("case", "at", "low", "high", "ids")
    frame = _frame(charted)
    scored = frame.filter(
        col("ice_event_ids").is_not_null()
        & (col("ice_at") == col("since"))
        & ~col("ice_excluded").fill_null(False)
        & ~(col("sedated") & (col("ice_max") == 10) & (col("ice_min") == 0))
    )
    ice = scored.select(
        "case", "at", low=col("ice_min").cast(pl.Float64), high=col("ice_max").cast(pl.Float64), ids="ice_event_ids"
    )
    rows = pl.concat([ice, cartox])
    lowest = rows.group_by("case", maintain_order=True).agg(
        low=col("low").min(),
        high=col("high").min(),
        at=col("at").sort_by("high", "at").first(),
        ids=col("ids").sort_by("high", "at").first(),
    )
    band = [_band("low"), _band("high")]
    settled = band[0] == band[1]
    hidden = frame.filter("sedated").group_by("case").agg(hours=(col("until") - col("at")).sum() / 3600)
    lowest = lowest.join(hidden, on="case", how="left", maintain_order="left")
    told = (
        pl.when(settled)
        .then(pl.format("lowest score {}", col("high").cast(pl.Int64)))
        .otherwise(pl.format("lowest score {} to {}: items are missing", col("low").cast(pl.Int64), col("high").cast(pl.Int64)))
    )
    blind = (
        pl.when(col("hours") > 0)
        .then(pl.format("; not assessable for {} h of sedation", col("hours").round(0).cast(pl.Int64)))
        .otherwise(lit(""))
    )
    capd = _charted(charted, "capd").select("case").unique()
    return {
        "neuro.scored": first_of(
            of_first(rows, "a score is charted from onset to resolution"),
            answers(capd, UNKNOWN, "no ICE or CARTOX-10 is charted; CAPD is"),
            _open(charted, "no ICE or CARTOX-10 is charted from onset to resolution"),
        ),
        "neuro.lowest": answers(
            lowest, pl.when(settled).then(band[0]).otherwise(lit(UNKNOWN)), told + blind, col("at"), col("ids")
        ),
    }


def _band(column: str) -> pl.Expr:
    found = lit(BANDS[-1][1])
    for least, name in reversed(BANDS):
        found = pl.when(col(column) >= least).then(lit(name)).otherwise(found)
    return found


# ---- single signs


def _drowsy(charted: Charted) -> pl.DataFrame:
    """Less than alert at any time; no only where consciousness was known throughout."""
    frame = _frame(charted).with_columns(event_id="consciousness_event_id")
    less = frame.filter(col("consciousness") >= CONSCIOUSNESS["drowsy_spontaneous"])
    unknown = frame.filter(col("consciousness").is_null())
    clear = frame.select("case").unique(maintain_order=True).join(unknown.select("case"), on="case", how="anti")
    hidden = unknown.filter("sedated").select("case").unique()
    return first_of(
        of_first(less, "first charting of less than alert"),
        answers(clear, "no", "alert at every charting from onset to resolution"),
        answers(hidden, UNKNOWN, "consciousness could not be judged under sedation"),
        _open(charted, "consciousness was not charted at some time from onset to resolution"),
    )


def _dysphasia(charted: Charted) -> dict[str, pl.DataFrame]:
    rows, words = _charted(charted, "dysphasia"), concept("dysphasia").values
    found = rows.filter(col("text_value").is_in(words[1:]))
    frame = _frame(charted)
    # A lost point of ICE, or a child's score, may be language: silence on dysphasia then denies nothing.
    not_full = frame.filter((col("ice_min") < 10) | (col("capd_value") >= 1))
    silent = charted.complete("symptoms", _spans(charted)).join(not_full.select("case"), on="case", how="anti")
    silent = silent.join(rows.filter(~col("text_value").is_in(words)).select("case"), on="case", how="anti")
    rank = col("text_value").replace_strict({w: n for n, w in enumerate(words)}, default=None, return_dtype=pl.Int8)
    return {
        "neuro.dysphasia": first_of(
            of_first(found, "first dysphasia"),
            answers(silent, "no", "none charted, in a record that is complete in it, and every score was full"),
            answers(
                not_full.select("case").unique(),
                UNKNOWN,
                "none charted, but scores that were not full, or not done, may be language",
            ),
            _open(charted, f"dysphasia: {UNSAID}"),
        ),
        "neuro.dysphasia_gr": of_all(found, rank.max().cast(pl.String), "the worst charted"),
    }


def _seizures(charted: Charted) -> dict[str, pl.DataFrame]:
    """Seizures as charted, and their grade by ICANS."""
    words = concept("seizure").values[1:]
    found = _charted(charted, "seizure").filter(col("text_value").is_in(words))
    frame = _frame(charted).filter(col("seizure").fill_null(False))
    severe = frame.group_by("case", maintain_order=True).agg(
        surely=col("seizure_severe").any(), maybe=col("seizure_severe").fill_null(True).any(), at=col("at").min()
    )
    severe = severe.join(
        found.group_by("case").agg(ids=col("event_id").unique().sort()), on="case", how="left", maintain_order="left"
    ).with_columns(col("ids").fill_null([]))
    grade = pl.when("surely").then(lit("4")).when("maybe").then(lit(UNKNOWN)).otherwise(lit("3"))
    told = (
        pl.when("surely").then(lit("longer than 5 minutes, or no return to baseline"))
        .when("maybe").then(lit("neither duration nor end is charted: 3 or 4"))
        .otherwise(lit("short, and it resolved"))
    )  # fmt: skip
    worst = (
        found.group_by("case", maintain_order=True)
        .agg(
            electrical=(col("text_value") == "eeg_nonconvulsive").any(),
            generalised=(col("text_value") == "clinical_generalised").any(),
            ids=col("event_id").unique().sort(),
        )
        .join(severe.select("case", "surely", "maybe"), on="case", how="left", maintain_order="left")
    )
    kind = (
        pl.when(col("surely") & col("electrical") & ~col("generalised")).then(lit("nonconvulsive_status"))
        .when("surely").then(lit("status"))
        .when("maybe").then(lit(UNKNOWN))
        .when("generalised").then(lit("generalised"))
        .when("electrical").then(lit("other"))
        .otherwise(lit(UNKNOWN))
    )  # fmt: skip
    why = (
        pl.when(kind == "status").then(lit("longer than 5 minutes, or no return to baseline"))
        .when(kind == "nonconvulsive_status").then(lit("on EEG, without return to baseline or longer than 5 minutes"))
        .when(kind == "generalised").then(lit("generalised; that it was tonic-clonic is not charted"))
        .when(kind == "other").then(lit("on EEG alone, and it resolved"))
        .when("maybe").then(lit("neither duration nor end is charted"))
        .otherwise(lit("focal; whether awareness was kept is not charted"))
    )  # fmt: skip
    return {
        "neuro.seizure": _sign(charted, "seizure", "seizure", words, "seizure"),
        "neuro.seizure_type": answers(worst, kind, why, ids=col("ids")),
        "neuro.seizure_gr": answers(severe, grade, told, col("at"), col("ids")),
    }


def _oedema(charted: Charted) -> dict[str, pl.DataFrame]:
    words = ("focal_oedema", "diffuse_oedema")
    found = _charted(charted, "icp_sign").filter(col("text_value").is_in(words))
    diffuse = (col("text_value") == "diffuse_oedema").any()
    return {
        "neuro.oedema": _sign(charted, "icp_sign", "icp", words, "cerebral oedema"),
        "neuro.oedema_gr": of_all(
            found,
            pl.when(diffuse).then(lit("4")).otherwise(lit("3")),
            pl.when(diffuse).then(lit("diffuse")).otherwise(lit("focal")),
        ),
    }


def _stroke(charted: Charted) -> dict[str, pl.DataFrame]:
    """Haemorrhage is all that the timeline knows of stroke."""
    bled = _charted(charted, "haemorrhage").filter(col("numeric_value") == 1)
    return {
        "neuro.stroke": first_of(
            of_first(bled, "intracranial haemorrhage"), _open(charted, "ischaemia is not among the record's concepts")
        ),
        "neuro.stroke_kind": of_first(bled, "intracranial haemorrhage", "haemorrhagic"),
    }


def _others(charted: Charted) -> dict[str, pl.DataFrame]:
    """Signs that have scales of their own."""
    rows = _charted(charted, "mnt_sign", "cranial_nerve_palsy", "tian_sign")
    rows = rows.filter((col("text_value") != "none").fill_null(False))
    what = pl.format("{} {}", col("code").str.replace_all("_", " "), "text_value").unique().sort().str.join(", ")
    return {
        "neuro.other": first_of(of_all(rows, "yes", what), _open(charted, "other signs are not charted as such")),
        "neuro.other_what": of_all(rows, what, "as charted"),
    }


def _therapy(charted: Charted) -> dict[str, pl.DataFrame]:
    found = therapy(charted, "neuro", (*ICANS, *CTCAE), DRUGS, OTHER_DRUGS, prophylaxis=False)
    return {"neuro.therapy": found["neuro.drugs"], "neuro.other_drug": found["neuro.other_drug"]}


# ---- late events


def _late(charted: Charted) -> dict[str, pl.DataFrame]:
    """Neurological events that began in the period: ICANS, and the later syndromes."""
    scales = (*ICANS, *LATE)
    begun = charted.episodes(*scales).filter(col("onset_at") >= col("from_at"))
    rows = charted.grades(*scales).filter((col("grade") >= 1) & ~col("status").cast(pl.String).is_in(["not_met", "watch"]))
    ids = rows.group_by("case", "scale").agg(ids=col("evidence").first(), opened=col("missing").first())
    begun = begun.join(ids, on=["case", "scale"], how="left", maintain_order="left").with_columns(col("ids").fill_null([]))
    named = col("toxicity").unique().sort().str.join(", ")
    first = begun.group_by("case", maintain_order=True).agg(
        at=col("onset_at").min(), what=named, rules=col("rules").unique().sort().str.join(", "), ids=col("ids").list.explode(keep_nulls=False, empty_as_null=False).unique().sort(),
        low=col("max_grade").max(), high=pl.max_horizontal("max_grade", "max_grade_upper").max(), n=pl.len(),
        ended=col("end_at").is_not_null().all() & (col("end_at") < col("to_at")).all(), end=col("end_at").max(),
        going=(col("end_at") >= col("to_at")).any(),
    )  # fmt: skip
    settled = col("low") == col("high")
    ended = col("ended").fill_null(False)
    return {
        "late.present": first_of(
            answers(first, "yes", pl.format("it began in this period: {}", "rules"), col("at"), col("ids")),
            answers(charted.cases, UNKNOWN, "nothing found, but this period was not charted throughout"),
        ),
        "late.kind": answers(first, col("what"), pl.format("by {}", "rules"), col("at"), col("ids")),
        "late.grade": answers(
            first, pl.when(settled).then(col("low").cast(pl.String)).otherwise(lit(UNKNOWN)),
            pl.when(settled).then(lit("highest grade by software, not adjudicated")).otherwise(pl.format("at least {}, at most {}", "low", "high")),
            col("at"), col("ids"),
        ),
        "late.resolved": answers(
            first, pl.when(ended).then(lit("yes")).when("going").then(lit("no")).otherwise(lit(UNKNOWN)),
            pl.when(ended).then(lit("first clear charting after it")).when("going").then(lit("it went on beyond this period")).otherwise(lit("its end was not charted")),
            pl.when(ended).then("end"), col("ids"),
        ),
    }  # fmt: skip
