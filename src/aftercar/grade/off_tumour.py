"""Effects on healthy tissue that bears the target: those that `evidence/data/off_tumor.csv` lists, and whether the record shows them."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.evidence.off_tumour import off_tumour_effects
from aftercar.grade import b_cells, colitis
from aftercar.grade.course import NO_IDS, course_rows, gather, texts
from aftercar.grade.days import course_days, ever
from aftercar.grade.icans import ICE_ITEMS
from aftercar.grade.late import bears, charted
from aftercar.grade.options import Options
from aftercar.grade.scale import Criterion, Scale
from aftercar.timeline.concepts import concept
from aftercar.timeline.state import Record

# What in a record shows an effect, by the site that the list names.
SHOWN_BY = {
    "B cells": "b_cells",
    "brain mural cells": "neurotoxicity",
    "plasma cells": "igg",
    "caudate nucleus, basal ganglia": "mnt",
    "gut mucosa": "colitis",
    "brain": "neurotoxicity",
    "lung": "lung",
    "skin, nails, tongue": "skin_nail_taste",
    "melanocytes": "skin",
}


def criteria(options: Options) -> tuple[Criterion, ...]:
    """One effect of the list a row, asked only of subjects with its target."""

    def shown(site: str, target: str) -> pl.Expr:
        return pl.when(bears(target)).then(SHOWN_BY[site]).otherwise(False)

    return tuple(Criterion(1, e.effect, e.text, shown(e.site, e.target), mark=e.mark) for e in off_tumour_effects())


def _findings(record: Record, options: Options) -> pl.LazyFrame:
    """What was charted about each kind of effect: `course, day, event_id, kind`, and whether it is `shown`."""
    counts, igg = b_cells.b_cells(record, options), b_cells.igg(record)
    found = [
        *(("b_cells", t.lazy().with_columns(shown="low")) for t in counts.values()),
        ("igg", igg.lazy().with_columns(shown="low")),
        ("neurotoxicity", _neurotoxicity(record)),
    ]
    # Many records hold nothing of what follows.
    if ever(record, "mnt_sign"):
        found.append(("mnt", _words(record, "mnt_sign").with_columns(shown=(col("text_value") != "none") & ~col("away"))))
    if ever(record, *colitis.COLITIS.needs):
        gut = colitis.diagnosis(record).filter("charted").explode("evidence")
        met = col("word").is_in(["criteria_met", "suspected"])
        found.append(("colitis", gut.select("course", day="onset", event_id="evidence", shown=met)))
    if ever(record, "organ_effect"):
        organs = _words(record, "organ_effect")
        for kind, words in (("lung", ["pulmonary"]), ("skin_nail_taste", ["skin", "nail", "taste"]), ("skin", ["skin"])):
            found.append((kind, organs.with_columns(shown=col("text_value").is_in(words) & ~col("away"))))
    return pl.concat(rows.select("course", "day", "event_id", "shown", kind=lit(kind)) for kind, rows in found)


def _words(record: Record, code: str) -> pl.LazyFrame:
    return charted(record, code).filter(col("text_value").is_in(concept(code).values))


def _neurotoxicity(record: Record) -> pl.LazyFrame:
    """An ICE score of 9 or less (an item short of its most says as much), or a consciousness other than alert."""
    most = {"ice": 10, **ICE_ITEMS}
    scores = charted(record, *most).filter(col("numeric_value").is_not_null())
    scores = scores.with_columns(shown=col("numeric_value") < col("code").replace_strict(most, return_dtype=pl.Float64))
    levels = _words(record, "consciousness").with_columns(shown=col("text_value") != "alert")
    return pl.concat([scores, levels]).with_columns(shown=col("shown") & ~col("away"))


def window(record: Record, options: Options, scale: Scale) -> pl.LazyFrame:
    """One row a course. Effects of which nothing was charted are `missing`; they raise no bound."""
    facts: list[pl.Expr] = []
    for kind in dict.fromkeys(SHOWN_BY.values()):
        own = col("kind") == kind
        shown = own & col("shown")
        facts += [
            pl.when(own.any()).then(shown.any()).alias(kind),
            col("event_id").filter(shown).drop_nulls().alias(f"{kind}_ids"),
            col("day").filter(shown).min().alias(f"{kind}_day"),
        ]
    frame = gather(course_days(record), _findings(record, options).group_by("course").agg(facts))
    effects, cells = off_tumour_effects(), scale.criteria(options)
    borne = {e.target: bears(e.target).fill_null(False) for e in effects}
    frame = frame.with_columns(
        *(c.when.alias(f"_{n}") for n, c in enumerate(cells)),
        listed=pl.any_horizontal(borne.values()),
        told=pl.any_horizontal(borne[e.target] & c.when.is_not_null() for e, c in zip(effects, cells, strict=True)),
    )
    met = [(SHOWN_BY[e.site], c.label, col(f"_{n}")) for n, (e, c) in enumerate(zip(effects, cells, strict=True))]
    frame = frame.with_columns(
        grade=pl.any_horizontal(when.fill_null(False) for _, _, when in met).cast(pl.Int8),
        criteria=texts((when, label) for _, label, when in met),
        missing=texts((col(f"_{n}").is_null(), e.effect) for n, e in enumerate(effects)),
        onset=pl.min_horizontal(pl.when(when).then(f"{kind}_day") for kind, _, when in met),
    )
    status = (
        pl.when(~col("told")).then(lit("not_applicable")).when(col("grade") > 0).then(lit("graded")).otherwise(lit("not_met"))
    )
    frame = frame.with_columns(grade_upper="grade", status=status)
    evidence = pl.concat_list(pl.when(when).then(f"{kind}_ids").fill_null(NO_IDS) for kind, _, when in met)
    flags = {"target_unknown": col("target").is_null(), "target_not_listed": col("target").is_not_null() & ~col("listed")}
    return course_rows(frame, onset=col("onset"), evidence=evidence, flags=flags, measures={"onset_day": col("onset")})


OFF_TUMOUR = Scale(
    name="off_tumour", title="Effects on healthy tissue that bears the target", toxicity="off_tumour", source="lecture",
    also=tuple(sorted({e.source for e in off_tumour_effects()} - {"lecture"})), version="1", criteria=criteria, window=window, lasts=False,
    codes=(*b_cells.B_CELL_APLASIA.codes, "igg", *colitis.COLITIS.codes, "ice", *ICE_ITEMS, "consciousness", "mnt_sign", "organ_effect"),
    options=("day0", "unknown_attribution", "bca_cut"),
    marks={e.text: e.mark for e in off_tumour_effects() if e.mark != "V"},
)  # fmt: skip

SCALES = (OFF_TUMOUR,)
