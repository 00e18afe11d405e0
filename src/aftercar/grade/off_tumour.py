"""Effects on healthy tissue that bears the target: those that `evidence/off_tumor.csv` lists, and whether the record shows them."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.evidence.off_tumour import off_tumour_effects
from aftercar.grade import b_cells, colitis
from aftercar.grade.icans import ICE_ITEMS
from aftercar.grade.late import NO_IDS, bears, charted, gather, whole_course
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


def _findings(record: Record, options: Options) -> dict[str, pl.DataFrame]:
    """What was charted about each kind of effect: `course, day, event_id`, and whether it is `shown`."""
    movement, organs = _words(record, "mnt_sign"), _words(record, "organ_effect")
    gut = colitis.diagnosis(record).filter("charted").explode("evidence")
    low = b_cells.b_cells(record, options).values()
    found = {
        "b_cells": pl.concat([t.select("course", "day", "event_id", shown="low") for t in low]),
        "igg": b_cells.igg(record).with_columns(shown="low"),
        "neurotoxicity": _neurotoxicity(record),
        "mnt": movement.with_columns(shown=(col("text_value") != "none") & ~col("away")),
        "colitis": gut.select("course", day="onset", event_id="evidence", shown=col("word").is_in(["criteria_met", "suspected"])),
    }
    for name, words in (("lung", ["pulmonary"]), ("skin_nail_taste", ["skin", "nail", "taste"]), ("skin", ["skin"])):
        found[name] = organs.with_columns(shown=col("text_value").is_in(words) & ~col("away"))
    return found


def _words(record: Record, code: str) -> pl.DataFrame:
    return charted(record, code).filter(col("text_value").is_in(concept(code).values))


def _neurotoxicity(record: Record) -> pl.DataFrame:
    """An ICE score of 9 or less (an item short of its most says as much), or a consciousness other than alert."""
    most = {"ice": 10, **ICE_ITEMS}
    scores = charted(record, *most).filter(col("numeric_value").is_not_null())
    scores = scores.with_columns(shown=col("numeric_value") < col("code").replace_strict(most, return_dtype=pl.Float64))
    levels = _words(record, "consciousness").with_columns(shown=col("text_value") != "alert")
    return pl.concat([scores, levels]).with_columns(shown=col("shown") & ~col("away"))


def window(record: Record, options: Options, scale: Scale) -> pl.DataFrame:
    """One row a course. Effects of which nothing was charted are `missing`; they raise no bound."""
    tables = [
        rows.group_by("course").agg(
            col("shown").any().alias(name),
            col("event_id").filter("shown").drop_nulls().alias(f"{name}_ids"),
            col("day").filter("shown").min().alias(f"{name}_day"),
        )
        for name, rows in _findings(record, options).items()
    ]
    frame = gather(record, *tables)
    cells = [(e, SHOWN_BY[e.site], c.label, c.when) for e, c in zip(off_tumour_effects(), scale.criteria(options), strict=True)]
    listed = pl.any_horizontal(bears(e.target).fill_null(False) for e, _, _, _ in cells)
    told = pl.any_horizontal(bears(e.target).fill_null(False) & when.is_not_null() for e, _, _, when in cells)
    frame = frame.with_columns(
        grade=pl.any_horizontal(when.fill_null(False) for _, _, _, when in cells).cast(pl.Int8),
        criteria=pl.concat_list(pl.when(when).then(lit(label)) for _, _, label, when in cells).list.drop_nulls(),
        missing=pl.concat_list(pl.when(when.is_null()).then(lit(e.effect)) for e, _, _, when in cells).list.drop_nulls(),
        evidence=pl.concat_list(pl.when(when).then(f"{name}_ids").fill_null(NO_IDS) for _, name, _, when in cells),
        onset=pl.min_horizontal(pl.when(when).then(f"{name}_day") for _, name, _, when in cells),
        listed=listed,
    )
    status = pl.when(~told).then(lit("not_applicable")).when(col("grade") > 0).then(lit("graded")).otherwise(lit("not_met"))
    frame = frame.with_columns(grade_upper="grade", status=status)
    flags = {"target_unknown": col("target").is_null(), "target_not_listed": col("target").is_not_null() & ~col("listed")}
    return whole_course(frame, record, onset=col("onset"), flags=flags, measures={"onset_day": col("onset")})


OFF_TUMOUR = Scale(
    name="off_tumour", title="Effects on healthy tissue that bears the target", toxicity="off_tumour", source="lecture", version="1",
    criteria=criteria, window=window, lasts=False,
    codes=(*b_cells.B_CELL_APLASIA.codes, "igg", *colitis.COLITIS.codes, "ice", *ICE_ITEMS, "consciousness", "mnt_sign", "organ_effect"),
    options=("day0", "unknown_attribution", "bca_cut"),
    marks={e.text: e.mark for e in off_tumour_effects() if e.mark != "V"},
)  # fmt: skip

SCALES = (OFF_TUMOUR,)
