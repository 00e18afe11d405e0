"""Late and local neurotoxicity: movement and neurocognitive toxicity, cranial nerve palsy, and inflammation of a tumour of the
nervous system.

MNT after [vanoekelen2021] and [cohen2022], with the lymphocyte peak that foretells it [ash2025_5953]; TIAN after [mahdi2023]. The
first two are graded by CTCAE, as somebody stated it.
"""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.evidence.cuts import ALC_WATCH
from aftercar.grade.course import NO_IDS, blank_rows, bounded, course_rows, gather, ids
from aftercar.grade.days import EARLY_LAST_DAY, course_days, ever
from aftercar.grade.findings import covered, settings
from aftercar.grade.icans import CN6_LATE_D
from aftercar.grade.late import any_charted, bears, charted, joined, signs, stated_grades, worst_stated
from aftercar.grade.options import Options
from aftercar.grade.scale import Criterion, Scale
from aftercar.timeline.concepts import of_group
from aftercar.timeline.state import DAY, SPAN, ZERO, Record, midnight

_CTCAE = ("mild, or of a grade that nobody stated", "moderate", "severe", "life-threatening", "death")
_WHEN = [col("day").min().alias("onset"), col("event_id").alias("sign_ids"), col("unsure").any()]

# Movement and neurocognitive toxicity

MOVEMENT = ("bradykinesia", "rigidity", "postural_instability", "hypomimia", "hypophonia", "micrographia")


def mnt_criteria(options: Options) -> tuple[Criterion, ...]:
    """The grade as stated; the signs, and the lymphocyte peak, behind the diagnosis."""
    return (
        *stated_grades(col("signs") > 0, col("stated"), 4, _CTCAE),
        Criterion(0, "signs", "two different signs, one of movement or more", (col("signs") >= 2) & col("movement")),
        Criterion(0, "signs", "a sign of movement or neurocognitive toxicity", (col("signs") > 0) & ~((col("signs") >= 2) & col("movement"))),
        Criterion(0, "lymphocytes", f"ALC above {ALC_WATCH} x 10^9/L by day {EARLY_LAST_DAY}", col("alc_peak") > ALC_WATCH),
    )  # fmt: skip


def mnt(record: Record, options: Options, scale: Scale) -> pl.LazyFrame:
    """MNT, one row a course."""
    found = signs(record, "mnt_sign").group_by("course").agg(
        *_WHEN, signs=col("text_value").n_unique(), movement=col("text_value").is_in(MOVEMENT).any()
    )  # fmt: skip
    counts = charted(record, "alc").filter(
        ~col("away") & col("day").is_between(0, EARLY_LAST_DAY) & col("numeric_value").is_not_null()
    )
    peak = counts.sort("course", "numeric_value", "at", descending=[False, True, False]).group_by("course", maintain_order=True)
    peak = peak.agg(alc_peak=col("numeric_value").first(), alc_peak_day=col("day").first(), alc_ids=col("event_id").head(1))
    read = any_charted(record, "mnt_sign", "alc")
    frame = gather(course_days(record), found, peak, worst_stated(record, "mnt_grade", "stated"), read)
    frame = frame.with_columns(col("signs").fill_null(0), col("movement", "charted").fill_null(False))
    there, bcma = col("signs") > 0, bears("BCMA")
    whole = (col("signs") >= 2) & col("movement")
    watch = (col("alc_peak") > ALC_WATCH).fill_null(False) & bcma.fill_null(True)
    status = (
        pl.when(whole & bcma.fill_null(True)).then(lit("criteria_met"))
        .when(whole).then(lit("possible"))
        .when(there).then(lit("suspected"))
        .when(watch).then(lit("watch"))
        .when("charted").then(lit("not_met"))
        .otherwise(lit("not_applicable"))
    )  # fmt: skip
    evidence = pl.when(there).then(ids("sign_ids", "stated_ids")).otherwise(ids("alc_ids"))
    frame = bounded(frame, scale.criteria(options)).with_columns(status=status)
    flags = {
        "not_bcma": col("charted") & ~bcma,
        "target_unknown": col("charted") & bcma.is_null(),
        "grade_without_sign": ~there & (col("stated") > 0),
        "attribution_unknown": col("unsure"),
    }
    measures = {"alc_peak": col("alc_peak"), "alc_peak_day": col("alc_peak_day"), "onset_day": col("onset")}
    return course_rows(frame, onset=col("onset"), evidence=evidence, flags=flags, measures=measures)


# Cranial nerve palsy


def palsy_criteria(options: Options) -> tuple[Criterion, ...]:
    """The grade as stated, for any nerve."""
    return (
        *stated_grades(col("group").is_not_null(), col("stated"), 3, _CTCAE),
        Criterion(0, "nerve", "cranial nerve palsy", col("stated_nerve")),
        Criterion(0, "nerve", f"sixth nerve palsy as the only sign of pressure, after day {CN6_LATE_D} of a BCMA product", ~col("stated_nerve") & col("group").is_not_null(), mark="P"),
    )  # fmt: skip


def palsy(record: Record, options: Options, scale: Scale) -> pl.LazyFrame:
    """Cranial nerve palsy, one row a course."""
    found = signs(record, "cranial_nerve_palsy").group_by("course").agg(*_WHEN, nerves=joined("cranial_nerve_palsy"))
    alone = signs(record, "icp_sign").filter((col("text_value") == "cn6").all().over("course", "at") & (col("day") > CN6_LATE_D))
    sixth = alone.group_by("course").agg(
        sixth=lit(True), sixth_day=col("day").min(), sixth_ids=col("event_id"), sixth_unsure=col("unsure").any()
    )
    stated = worst_stated(record, "cranial_nerve_palsy_grade", "stated")
    frame = gather(course_days(record), found, sixth, stated, any_charted(record, *_PALSY_CODES))
    known = col("nerves").is_not_null()
    perhaps = ~known & col("sixth").fill_null(False) & bears("BCMA").fill_null(False)
    frame = frame.with_columns(
        col("charted").fill_null(False),
        stated_nerve=known,
        group=pl.when(perhaps).then(lit("vi")).otherwise("nerves"),
        onset=pl.when(perhaps).then("sixth_day").otherwise("onset"),
        unsure=pl.when(perhaps).then("sixth_unsure").otherwise("unsure"),
        sign_ids=pl.when(perhaps).then("sixth_ids").otherwise("sign_ids"),
    )
    status = (
        pl.when(known).then(lit("criteria_met"))
        .when(col("group").is_not_null()).then(lit("possible"))
        .when("charted").then(lit("not_met"))
        .otherwise(lit("not_applicable"))
    )  # fmt: skip
    frame = bounded(frame, scale.criteria(options)).with_columns(status=status)
    flags = {"grade_without_sign": col("group").is_null() & (col("stated") > 0), "attribution_unknown": col("unsure")}
    evidence = pl.when(col("group").is_not_null()).then(ids("sign_ids", "stated_ids")).otherwise(NO_IDS)
    return course_rows(
        frame, onset=col("onset"), evidence=evidence, group=col("group"), flags=flags, measures={"onset_day": col("onset")}
    )


# Tumour inflammation-associated neurotoxicity

TYPE_1 = ("oedema", "mass_effect", "raised_icp", "hydrocephalus", "herniation")  # inflammation that takes space
TYPE_2 = ("local_dysfunction",)
TREATED_D = 7  # what is given so soon after a sign answers it
TREATMENT = tuple(dict.fromkeys((*of_group("corticosteroid"), *of_group("anticytokine"))))


def tian_criteria(options: Options) -> tuple[Criterion, ...]:
    """One scale for both types."""
    return (
        Criterion(1, "sign", "mild, no intervention", col("there"), mark="M?"),
        Criterion(2, "drugs", "moderate, intervention: corticosteroid or anticytokine drug", col("treated"), mark="M?"),
        Criterion(3, "setting", "severe, in hospital", col("admitted"), mark="M?"),
        Criterion(
            4, "pressure", "life-threatening: herniation, or urgent action on intracranial pressure", col("urgent"), mark="M?"
        ),
        Criterion(5, "death", "death due to TIAN", col("died"), mark="M?"),
        Criterion(0, "type", "type 1: inflammation with mass effect", col("type_1")),
        Criterion(0, "type", "type 2: local dysfunction without oedema", col("type_2")),
        Criterion(0, "tumour", "tumour of the nervous system", col("tumour") & col("there")),
    )


def tian(record: Record, options: Options, scale: Scale) -> pl.LazyFrame:
    """TIAN, one row a course."""
    of_it = (record.courses["death_cause"] == "tian").any()
    if not of_it and not ever(record, "tian_sign", "cns_tumour"):
        return blank_rows(record)
    shown = signs(record, "tian_sign")
    found = shown.group_by("course").agg(
        *_WHEN,
        type_1=col("text_value").is_in(TYPE_1).any(),
        type_2=col("text_value").is_in(TYPE_2).any(),
        herniation=(col("text_value") == "herniation").any(),
    )
    tumour = record.of("cns_tumour").lazy().filter(col("numeric_value") == 1).group_by("course").agg(stated=lit(True))
    frame = gather(
        course_days(record), found, tumour, any_charted(record, "tian_sign", "cns_tumour"),
        _after(record, shown, ("icp_intervention",), "relieved"), _after(record, shown, TREATMENT, "treated"),
        _drugs_known(record, shown), _admitted(record, shown),
    )  # fmt: skip
    died = (col("death_cause") == "tian").fill_null(False)
    there = col("onset").is_not_null() | died
    known = pl.coalesce("drugs_known", lit(True))
    frame = frame.with_columns(
        col("type_1", "type_2", "charted").fill_null(False),
        died=died,
        there=there,
        tumour=col("stated").fill_null(False) | col("disease").str.to_uppercase().str.contains("CNS").fill_null(False),
        urgent=(col("herniation") | col("relieved").is_not_null()).fill_null(False),
        treated=pl.when(col("treated").is_not_null()).then(True).when(known).then(False),
        admitted=pl.when(col("onset").is_null()).then(False).otherwise("admitted"),
    )
    both = pl.when(col("type_1") & col("type_2")).then(lit("type 1+2"))
    group = both.when("type_1").then(lit("type 1")).when("type_2").then(lit("type 2"))
    status = (
        pl.when(there & col("tumour")).then(lit("criteria_met"))
        .when(there).then(lit("possible"))
        .when("charted").then(lit("not_met"))
        .otherwise(lit("not_applicable"))
    )  # fmt: skip
    frame = bounded(frame, scale.criteria(options)).with_columns(status=status)
    onset = pl.coalesce("onset", pl.when("died").then("death_day"))
    flags = {"no_cns_tumour": there & ~col("tumour"), "attribution_unknown": col("unsure")}
    evidence = ids("sign_ids", "relieved_ids", "treated_ids", "admitted_ids")
    return course_rows(frame, onset=onset, evidence=evidence, group=group, flags=flags, measures={"onset_day": onset})


def _after(record: Record, shown: pl.LazyFrame, codes: tuple[str, ...], name: str) -> pl.LazyFrame:
    """Which of the drugs were given within `TREATED_D` days after a sign: `course, <name>` (true) and its rows `<name>_ids`."""
    given = charted(record, *codes).filter(~col("away") & (col("numeric_value") != 0).fill_null(True))
    given = given.join(shown, on="course", how="semi").sort("at", "event_id")  # few courses have a sign
    before = shown.select("at", sign_course="course", sign_day="day").with_columns(col("at").set_sorted())
    given = given.join_asof(before, on="at", strategy="backward", coalesce=True)
    close = (col("sign_course") == col("course")) & (col("day") - col("sign_day") <= TREATED_D)
    return given.filter(close).group_by("course").agg(lit(True).alias(name), col("event_id").alias(f"{name}_ids"))


def _drugs_known(record: Record, shown: pl.LazyFrame) -> pl.LazyFrame:
    """Whether the record of drugs is complete over the days after every sign: `course, drugs_known`."""
    whole = covered(record, "drugs").lazy().select("at", "until").with_columns(col("at").set_sorted())
    places = record.courses.lazy().select("course", "last_at", midnight=midnight())
    days = shown.select("course", "at", "day").join(places, on="course", how="left", maintain_order="left")
    close = col("course") * SPAN + ZERO - col("midnight") + (col("day") + TREATED_D + 1).cast(pl.Int64) * DAY
    days = days.with_columns(col("at").set_sorted()).join_asof(whole, on="at", strategy="backward", coalesce=True)
    enough = (col("until") >= pl.min_horizontal(close, "last_at")).fill_null(False)
    return days.group_by("course").agg(drugs_known=enough.all())


def _admitted(record: Record, shown: pl.LazyFrame) -> pl.LazyFrame:
    """Whether a patient was in hospital at a sign, null where that is not known of each: `course, admitted, admitted_ids`."""
    places = settings(record).lazy().rename({"course": "place_course"})
    at_sign = shown.select("course", "at").with_columns(col("at").set_sorted()).join_asof(
        places.with_columns(col("at").set_sorted()), on="at", strategy="backward", coalesce=True
    )  # fmt: skip
    inside = pl.when(col("place_course") == col("course")).then("inpatient")
    at_sign = at_sign.with_columns(inside=inside)
    return at_sign.group_by("course").agg(
        admitted=pl.when(col("inside").fill_null(False).any()).then(True).when(col("inside").is_not_null().all()).then(False),
        admitted_ids=col("event_id").filter(col("inside").fill_null(False)),
    )


_PALSY_CODES = ("cranial_nerve_palsy", "cranial_nerve_palsy_grade", "icp_sign")

MNT = Scale(
    name="mnt", title="Movement and neurocognitive toxicity", toxicity="mnt", source="vanoekelen2021", also=("cohen2022", "ash2025_5953"),
    version="1", criteria=mnt_criteria, window=mnt, lasts=False, codes=("mnt_sign", "mnt_grade", "alc"), needs=("mnt_sign", "mnt_grade", "alc"), options=("day0", "unknown_attribution"),
    marks={"two signs": "P", "grade": "M"},
)  # fmt: skip

CRANIAL_NERVE_PALSY = Scale(
    name="cranial_nerve_palsy", title="Cranial nerve palsy", toxicity="cranial_nerve_palsy", source="ims2025", version="1",
    criteria=palsy_criteria, window=palsy, lasts=False, codes=_PALSY_CODES, needs=_PALSY_CODES, options=("day0", "unknown_attribution"),
    marks={"sixth nerve": "P", "grade": "M"},
)  # fmt: skip

TIAN = Scale(
    name="tian", title="Tumour inflammation-associated neurotoxicity, Mahdi 2023", toxicity="tian", source="mahdi2023", version="1",
    criteria=tian_criteria, window=tian, lasts=False,
    needs=("tian_sign", "cns_tumour", "death"),
    codes=("tian_sign", "cns_tumour", "setting", "icp_intervention", *TREATMENT, "record_complete", "death"),
    options=("day0", "unknown_attribution"), marks={"grade": "M?", "7 days": "P"},
)  # fmt: skip

SCALES = (MNT, CRANIAL_NERVE_PALSY, TIAN)
