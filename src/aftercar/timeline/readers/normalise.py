"""Charted rows into timeline rows: code, number, unit, word and time checked, each refusal with its reason.

Every reader ends here, so a rule about a unit or a word is written once. All of it is column expressions; the only loops
are over the distinct codes and units of a file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl
from polars import col, lit

from aftercar.errors import UnitError
from aftercar.timeline.concepts import Concept, coded_words, codes, concepts
from aftercar.timeline.readers.mapping import Mapping, Target
from aftercar.timeline.schema import ATTRIBUTIONS, REJECTED, TIMELINE
from aftercar.timeline.units import is_ucum, line, times, ucum_dose

RELATIVE_EPOCH = "2000-01-01"  # the infusion of a table whose times are hours or days since it

CHARTED: dict[str, type[pl.DataType] | pl.DataType] = {
    "file": pl.String,
    "row": pl.Int64,
    "column": pl.String,
    "subject_id": pl.String,
    "time": pl.Datetime("us"),
    "time_given": pl.Boolean,  # something stood in the time cell
    "date_only": pl.Boolean,  # a date without a time of day
    "end_time": pl.Datetime("us"),
    "end_given": pl.Boolean,
    "code": pl.String,
    "numeric_value": pl.Float64,
    "text_value": pl.String,
    "unit": pl.String,
    "attributable_to": pl.String,
}

# A timeline row that is not settled: what becomes of it may hang on other rows of its subject, anywhere in the source.
UNSETTLED: dict[str, type[pl.DataType] | pl.DataType] = {
    **{name: dtype for name, dtype in TIMELINE.items() if name not in ("subject_id", "source", "event_id")},
    "subject_id": pl.String,
    "file": pl.String,
    "row": pl.Int64,
    "column": pl.String,
    "edge": pl.String,  # start or end of what `state` of the code names
    "take": pl.String,
    "state": pl.String,
    "written": pl.String,  # the code as the source wrote it, where there is an edge or a take
}

_HAIR = 1e-6
DATE_ONLY = "date only: taken as the end of the day"  # note of a death or last follow-up
REFUSED = "row rejected"  # how the note begins of a row that is left beside one that was
_WITHIN = col("numeric_value").is_between("low", "high") | col("low").is_null()
_YEARS = (1850, 2300)  # de-identified records may be shifted by centuries, but not further
# Words that may stand beside a dose; the second line says that it was not given.
_DRUG_WORDS = {
    "treatment": "treatment", "therapeutic": "treatment", "prophylaxis": "prophylaxis", "prophylactic": "prophylaxis",
    "premedication": "prophylaxis", "bolus": "bolus", "push": "bolus", "push_dose": "bolus", "given": "", "administered": "", "done": "",
    "completed": "", "infusion": "", "continuous": "", "running": "",
}  # fmt: skip
_NOT_GIVEN = {
    "not_given",
    "held",
    "hold",
    "refused",
    "omitted",
    "missed",
    "cancelled",
    "canceled",
    "stopped",
    "not_done",
    "none",
    "no",
}

DETAIL = {
    "missing_subject": "no subject id",
    "bad_time": "the time cannot be read; give [time] format in the mapping, or mend the row",
    "missing_time": "no time",
    "bad_end_time": "the end time cannot be read; mend the row",
    "implausible_time": f"outside the years {_YEARS[0]} to {_YEARS[1]}; mend the row",
    "not_given": "it says that the drug was not given",
    "negative_dose": "a dose or rate below 0; mend the row",
    "end_before_start": "it ends before it starts; mend the row, or the mapping of start and end",
    "unknown_code": "no concept for this code; add it under [codes] (or [wide]) of the mapping if it matters",
    "missing_value": "no value",
    "not_a_number": 'the value is not a number; for 38,5 say decimal = "," in the mapping',
    "not_whole": "this score takes whole numbers only",
    "missing_unit": "no unit; give it in the row, or in the mapping",
    "implausible_value": "outside what a living patient can have; is the unit right?",
    "unknown_value": "not a word of this concept; add it under [text] of the mapping",
    "unknown_attribution": f"attributable_to takes {', '.join(ATTRIBUTIONS)}",
    "not_first": "only the first of a subject counts here (take = first)",
    "withdrawn": "entered in error, cancelled or only planned",
    "not_done": "it says that it was not done, or did not happen",
    "partial_date": "the day of the date is not known, so it has no place in the course; complete the date",
    "no_start": "an end without a start before it; its start may lie before this export",
}


# Words of these stand until the next: a row that cannot be read for one of these reasons ends the word before it.
_STANDING = [c.name for c in concepts().values() if c.values and (c.valid_for_h is not None or c.name == "setting")]
_CHARTED_ANEW = ("unknown_value", "unknown_attribution", "bad_end_time", "end_before_start")
# Oxygen of an amount that nobody can read: room air does not hold beside it.
_GIVEN = ("o2_flow", "fio2")
_AMOUNT_UNREAD = ("not_a_number", "missing_unit", "unknown_unit", "implausible_value")


@dataclass(frozen=True)
class Normalised:
    """Rows of one piece: `rows` (columns of `UNSETTLED`) and `rejected`; `accepted` counts charted rows that are not rejected.

    `rows` also holds a row `unknown` for each rejected row that ends a state, and one without its dose for each that says that a drug was given.
    """

    rows: pl.DataFrame
    rejected: pl.DataFrame
    accepted: int


def normalise(charted: pl.DataFrame, mapping: Mapping, targets: dict[str, Target] | None = None) -> Normalised:
    """Turn charted rows (columns of `CHARTED`) into rows that `settle` makes a timeline of, and rejected rows.

    Args:
        charted: one row a charted thing.
        mapping: the site's words and codes.
        targets: what each `code` means; by default from the mapping and the codes that need none.
    """
    causes = mapping.text.get("attributable_to", {})
    rows = _resolve(charted, targets if targets is not None else meanings(charted, mapping), causes)
    rows = _end_of_day(_open_ends(rows.with_columns(reason=_first_reason())))
    rows = _numbers(_units_apart(_flag_words(rows, mapping)))
    rows = _words(rows, mapping)
    rows = rows.with_columns(
        reason=pl.coalesce(
            "reason",
            pl.when(col("attributable_to").is_not_null() & ~col("attributable_to").is_in(ATTRIBUTIONS)).then(
                lit("unknown_attribution")
            ),
            pl.when((col("kind") == "drug") & ~_WITHIN).then(lit("implausible_value")),
        )
    )
    bad = col("reason").is_not_null()
    good = rows.filter(~bad)
    accepted = good.height
    good = pl.concat([good, _given_all_the_same(rows)])
    hangs = col("edge").is_not_null() | col("take").is_not_null()
    good = good.with_columns(
        state=pl.when(col("edge").is_not_null()).then(col("map_text").fill_null("")), written=pl.when(hangs).then("code")
    )
    unknown = _unknown_states(rows).with_columns(lit(None, pl.String).alias(c) for c in ("edge", "take", "state", "written"))
    return Normalised(
        rows=pl.concat([good, unknown]).with_columns(code="concept").select(col(c).cast(t) for c, t in UNSETTLED.items()),
        rejected=_rejected(rows.filter(bad)),
        accepted=accepted,
    )


def _rejected(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(detail=pl.coalesce("detail", col("reason").replace_strict(DETAIL, default=None))).select(
        col(name).cast(dtype) for name, dtype in REJECTED.items()
    )


def settle(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Timeline rows from all rows of whole subjects (columns of `UNSETTLED`), and the rows that these refuse.

    The timeline rows have no `event_id`; their `subject_id` is text as before.
    """
    refused = pl.DataFrame(schema=REJECTED)
    if rows["written"].null_count() < rows.height:
        rows = _edges(_first_only(rows.with_columns(reason=lit(None, pl.String))))
        bad = col("reason").is_not_null()
        refused = _rejected(
            rows.filter(bad).with_columns(code="written", detail=lit(None, pl.String)).sort("file", "row", "column")
        )
        rows = rows.filter(~bad & (col("edge") != "end").fill_null(True))
    column = pl.when(col("column").is_null()).then(lit("")).otherwise(pl.format(":{}", "column"))
    rows = rows.with_columns(source=pl.format("{}:{}{}", "file", "row", column))
    return rows.select(c for c in TIMELINE if c != "event_id"), refused


def _given_all_the_same(rows: pl.DataFrame) -> pl.DataFrame:
    """What a row still says whose dose nobody can have been given: the drug was. Without this a fever would not count as treated."""
    return rows.filter((col("kind") == "drug") & (col("reason") == "implausible_value")).with_columns(
        numeric_value=lit(None, pl.Float64),
        unit=lit(None, pl.String),
        note=lit(f"{REFUSED} (implausible_value): taken as given, dose unknown"),
    )


def _unknown_states(rows: pl.DataFrame) -> pl.DataFrame:
    """What a rejected row still says of a state: that somebody charted it anew. Without this the state before it would stand."""
    ended = (col("reason").is_in(_CHARTED_ANEW) & col("concept").is_in(_STANDING)) | (
        col("reason").is_in(_AMOUNT_UNREAD) & col("concept").is_in(_GIVEN)
    )
    return rows.filter(ended & (col("edge") != "end").fill_null(True)).with_columns(
        text_value=pl.when(col("concept").is_in(_STANDING)).then(lit("unknown")),
        numeric_value=lit(None, pl.Float64),
        unit=lit(None, pl.String),
        end_time=pl.when(col("end_time") > col("time")).then("end_time"),
        attributable_to=pl.when(col("attributable_to").is_in(ATTRIBUTIONS)).then("attributable_to"),
        note=pl.format(REFUSED + " ({}): unknown from then on", "reason"),
    )


def meanings(charted: pl.DataFrame, mapping: Mapping) -> dict[str, Target]:
    """The meaning of each distinct code: the mapping first (exact, then `*` endings), then codes that need none."""
    endings = sorted(((k[:-1], t) for k, t in mapping.codes.items() if k.endswith("*")), key=lambda e: -len(e[0]))
    known = codes()
    found: dict[str, Target] = {}
    for code in charted["code"].drop_nulls().unique():
        if code in mapping.codes:
            found[code] = mapping.codes[code]
        elif target := next((t for start, t in endings if code.startswith(start)), None):
            found[code] = target
        elif code in known:
            found[code] = Target(known[code])
        elif code in coded_words():
            found[code] = Target(coded_words()[code][0], text=coded_words()[code][1])
        elif code.startswith("GENDER//"):
            found[code] = Target("sex", text=code.removeprefix("GENDER//"))
        elif (stem := "//".join(code.split("//")[:2])) in known:  # MEDS extracts may append the unit: LOINC//8310-5//Cel
            found[code] = Target(known[stem], unit=code.removeprefix(stem).strip("/") or None)
    return found


def _resolve(charted: pl.DataFrame, targets: dict[str, Target], causes: dict[str, str]) -> pl.DataFrame:
    concept = [concepts()[t.concept] for t in targets.values()]
    table = pl.DataFrame(
        {
            "code": list(targets),
            "concept": [c.name for c in concept],
            "kind": [c.kind for c in concept],
            "map_unit": [t.unit for t in targets.values()],
            "map_text": [t.text for t in targets.values()],
            "edge": [t.edge for t in targets.values()],
            "take": [t.take for t in targets.values()],
        },
        schema=dict.fromkeys(("code", "concept", "kind", "map_unit", "map_text", "edge", "take"), pl.String),
    )
    cause = col("attributable_to").str.strip_chars().str.to_lowercase()
    blank = {"detail": lit(None, pl.String), "note": lit(None, pl.String)}
    return charted.join(table, on="code", how="left", maintain_order="left").with_columns(
        **blank,
        unit=pl.coalesce(col("unit").str.strip_chars().replace({"": None}), "map_unit"),
        text_value=pl.coalesce("map_text", col("text_value").str.strip_chars().replace({"": None})),
        attributable_to=cause.replace({"": None, **causes}),
    )


def _first_reason() -> pl.Expr:
    timeless = col("concept").is_in(["sex", "birth"])  # MEDS charts static facts without a time
    return (
        pl.when(col("concept").is_null()).then(lit("unknown_code"))
        .when(col("subject_id").is_null() | (col("subject_id") == "")).then(lit("missing_subject"))
        .when(col("time").is_null() & col("time_given")).then(lit("bad_time"))
        .when(col("time").is_null() & ~timeless).then(lit("missing_time"))
        .when(col("end_time").is_null() & col("end_given")).then(lit("bad_end_time"))
        .when(~col("time").dt.year().is_between(*_YEARS)).then(lit("implausible_time"))
        .when(col("end_time") < col("time")).then(lit("end_before_start"))
    )  # fmt: skip


def _open_ends(rows: pl.DataFrame) -> pl.DataFrame:
    """Ends that say that there is none: a year such as 9999, or the very time of the start."""
    never = col("end_time").dt.year() > _YEARS[1]
    at_once = col("end_time") == col("time")
    return rows.with_columns(
        end_time=pl.when(never | at_once).then(None).otherwise("end_time"),
        note=pl.when(never).then(lit("end beyond all years: taken as not recorded"))
        .when(at_once).then(lit("end equals start: taken as not recorded"))
        .otherwise("note"),
    )  # fmt: skip


def _end_of_day(rows: pl.DataFrame) -> pl.DataFrame:
    """A death or last follow-up of which only the date is known stands at the end of that day: what was charted on it counts."""
    last = col("concept").is_in(["death", "last_follow_up"]) & col("date_only").fill_null(False)
    return rows.with_columns(
        time=pl.when(last).then(col("time") + pl.duration(days=1, seconds=-1)).otherwise("time"),
        note=pl.when(last).then(lit(DATE_ONLY)).otherwise("note"),
    )


def _flag_words(rows: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """The site's words for yes and no, where it names them for a concept."""
    for name, words in mapping.text.items():
        if name in concepts() and concepts()[name].kind == "flag":
            said = col("text_value").str.to_lowercase().replace(words)
            rows = rows.with_columns(text_value=pl.when(col("concept") == name).then(said).otherwise("text_value"))
    return rows


def _units_apart(rows: pl.DataFrame) -> pl.DataFrame:
    """A number and its unit that stand in one cell (`3 L/min`), where no unit stands beside it, as number and unit."""
    parts = col("text_value").str.extract_groups(r"^\s*([<>]=?)?\s*(\d+(?:\.\d+)?)\s*([^\d\s.,<>].*?)\s*$").struct
    whole = col("kind").is_in(["number", "drug"]) & col("numeric_value").is_null() & col("unit").is_null()
    rows = rows.with_columns(_tail=pl.when(whole).then(parts.field("3")))
    pairs = rows.filter(col("_tail").is_not_null()).select("concept", "_tail").unique().rows()
    units = [pair for pair in pairs if not {"unit_reason", "dose_unknown"} & set(_unit(concepts()[pair[0]], pair[1]))]
    if not units:
        return rows.drop("_tail")
    known = pl.DataFrame(units, schema={"concept": pl.String, "_tail": pl.String}, orient="row").with_columns(_is=lit(True))
    rows = rows.join(known, on=["concept", "_tail"], how="left", maintain_order="left")
    number = pl.concat_str(parts.field("1").fill_null(""), parts.field("2"))
    return rows.with_columns(
        unit=pl.when("_is").then("_tail").otherwise("unit"), text_value=pl.when("_is").then(number).otherwise("text_value")
    ).drop("_tail", "_is")


def _numbers(rows: pl.DataFrame) -> pl.DataFrame:
    """Numbers in the concept's own unit; look-alikes of another unit are read as that, with a note."""
    numeric = col("kind").is_in(["number", "flag"])
    comparator = col("text_value").str.extract(r"^\s*([<>]=?)\s*[\d.]+\s*$", 1)
    yes_no = {
        "yes": 1.0,
        "y": 1.0,
        "true": 1.0,
        "present": 1.0,
        "no": 0.0,
        "n": 0.0,
        "false": 0.0,
        "absent": 0.0,
        "none": 0.0,
    }
    rows = rows.with_columns(
        numeric_value=pl.coalesce(
            col("numeric_value").replace({float("nan"): None}),
            pl.when(col("kind") == "flag")
            .then(col("text_value").str.to_lowercase().replace_strict(yes_no, default=None, return_dtype=pl.Float64)),
            pl.when(numeric | (col("kind") == "drug"))
            .then(col("text_value").str.strip_chars().str.strip_prefix("<").str.strip_prefix(">").str.strip_prefix("=")
                  .str.strip_chars().cast(pl.Float64, strict=False)),
        ),
        strict=pl.when(numeric).then(comparator.replace_strict({"<": -1.0, ">": 1.0}, default=0.0)),
        note=pl.when(numeric & comparator.is_not_null()).then(pl.format("charted as {}", comparator)).otherwise("note"),
    )  # fmt: skip
    number, given = col("numeric_value"), col("text_value").is_not_null()
    usable = number.is_not_null() & number.is_finite()
    rows = rows.with_columns(
        reason=pl.coalesce(
            "reason",
            pl.when((col("kind") == "flag") & ~usable.fill_null(False) & given).then(lit("unknown_value")),
            pl.when(numeric & ~usable.fill_null(False) & given).then(lit("not_a_number")),
            pl.when(numeric & ~usable.fill_null(False)).then(lit("missing_value")),
        )
    )
    rows = rows.join(_unit_table(rows), on=["concept", "unit"], how="left", nulls_equal=True, maintain_order="left")
    rows = rows.with_columns(
        reason=pl.coalesce("reason", "unit_reason"),
        detail=pl.when(col("reason").is_null()).then("unit_detail").otherwise("detail"),
    )
    fine = col("reason").is_null() & (col("kind") == "number")
    # A rate of 0 is 0 in every unit: it stops an infusion.
    unread = col("dose_unknown").fill_null(False) & (number != 0).fill_null(True)
    rows = rows.with_columns(
        note=pl.when(unread).then(lit("unit of the dose not known: taken as given, dose unknown")).otherwise("note")
    )
    rows = rows.with_columns(
        # "<38.0" is below 38.0 and ">0.5" is above 0.5, by a hair: neither meets a threshold that includes it.
        numeric_value=pl.when(fine)
        .then((number * col("a") + col("b")).round_sig_figs(10) * (1.0 + col("strict").fill_null(0.0) * _HAIR))
        .otherwise(pl.when(~unread).then(number)),
        charted_value=number,
        unit=pl.when(~unread).then("unit"),
    )
    rows = _look_alikes(rows)
    unit = pl.when(col("kind") == "number").then("own_unit").when(col("kind") == "drug").then("unit")
    return rows.with_columns(
        unit=unit,
        # A dose that stood in the same cell as words do is a number now.
        text_value=pl.when(
            ~numeric & ~((col("kind") == "drug") & col("text_value").cast(pl.Float64, strict=False).is_not_null())
        ).then("text_value"),
        reason=pl.coalesce(
            "reason",
            pl.when((col("kind") == "drug") & (number < 0)).then(lit("negative_dose")),
            pl.when((col("kind") == "flag") & ~number.is_in([0.0, 1.0])).then(lit("unknown_value")),
            pl.when((col("kind") == "number") & ~_WITHIN).then(lit("implausible_value")),
            pl.when((col("kind") == "number") & col("whole") & (number != number.round())).then(lit("not_whole")),
        ),
    )


def _unit_table(rows: pl.DataFrame) -> pl.DataFrame:
    """For each distinct concept and unit: the line to the concept's own unit, or why there is none."""
    pairs = rows.filter(col("kind").is_in(["number", "drug"])).select("concept", "unit").unique()
    table: list[dict[str, object]] = []
    for name, unit in pairs.iter_rows():
        concept = concepts()[name]
        entry: dict[str, object] = {"concept": name, "unit": unit, **_unit(concept, unit)}
        if concept.kind == "number" and concept.plausible:
            entry |= {
                "own_unit": concept.unit,
                "low": concept.plausible[0],
                "high": concept.plausible[1],
                "whole": concept.whole,
            }
        elif unit is not None:
            entry |= _dose_range(concept, unit)
        table.append(entry)
    schema = {
        "concept": pl.String, "unit": pl.String, "a": pl.Float64, "b": pl.Float64, "unit_reason": pl.String,
        "unit_detail": pl.String, "dose_unknown": pl.Boolean, "own_unit": pl.String, "low": pl.Float64, "high": pl.Float64, "whole": pl.Boolean,
    }  # fmt: skip
    return pl.DataFrame(table, schema=schema)


def _dose_range(concept: Concept, unit: str) -> dict[str, float]:
    """What is plausible of a dose, in the unit it was charted in; nothing where no limit is in a unit that it converts to."""
    for own, (low, high) in concept.plausible_dose.items():
        if factor := times(unit, own):
            return {"low": float(f"{low / factor:.12g}"), "high": float(f"{high / factor:.12g}")}
    return {}


def _unit(concept: Concept, unit: str | None) -> dict[str, object]:
    if concept.kind == "drug":  # a dose keeps the unit it was charted in; it must only be one
        if unit is None or is_ucum(ucum_dose(unit)):
            return {}
        # That the drug was given counts, whatever was meant by the dose.
        return {"dose_unknown": True}
    if unit is None:
        if concept.unit_optional:
            return {"a": 1.0, "b": 0.0}
        return {
            "unit_reason": "missing_unit",
            "unit_detail": f"{concept.name} without a unit; give it in the row, or in the mapping",
        }
    try:
        a, b = line(unit, concept)
    except UnitError as error:
        return {"unit_reason": "unknown_unit", "unit_detail": str(error)}
    return {"a": a, "b": b}


def _look_alikes(rows: pl.DataFrame) -> pl.DataFrame:
    """A value that is impossible in the unit charted and possible only in another is read in that other.

    Both ways: 101.3 in a Celsius column, and 38.2 in a Fahrenheit column; 0.4 in a percent column, 40 as a fraction.
    """
    number, charted = col("numeric_value"), col("charted_value")
    for concept in concepts().values():
        for other, (low, high) in concept.look_alike.items():
            here = (col("concept") == concept.name) & col("reason").is_null() & ~number.is_between("low", "high")
            a, b = line(other, concept)
            as_other, as_own = here & charted.is_between(low, high), here & charted.is_between("low", "high")
            rows = rows.with_columns(
                numeric_value=pl.when(as_other).then((charted * a + b).round_sig_figs(10)).when(as_own).then(charted).otherwise(number),
                note=pl.when(as_other).then(lit(f"read as {other}: charted as {concept.unit}"))
                .when(as_own).then(lit(f"read as {concept.unit}: charted as {other}"))
                .otherwise("note"),
            )  # fmt: skip
    return rows


def _words(rows: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """Words as ours: the mapping's first, then ours whatever their case and spacing."""
    wordy = col("kind").is_in(["text", "event", "record", "drug"]) & col("text_value").is_not_null()
    pairs = rows.filter(wordy).select("concept", "text_value").unique()
    table = [{"concept": n, "text_value": w, "ours": _word(concepts()[n], w, mapping)} for n, w in pairs.iter_rows()]
    rows = rows.join(
        pl.DataFrame(table, schema={"concept": pl.String, "text_value": pl.String, "ours": pl.String}),
        on=["concept", "text_value"], how="left", maintain_order="left",
    )  # fmt: skip
    blank = (col("kind") == "text") & col("text_value").is_null()
    return rows.with_columns(
        reason=pl.coalesce(
            "reason",
            pl.when(blank).then(lit("missing_value")),
            pl.when(wordy & (col("ours") == "not_given")).then(lit("not_given")),
            pl.when(wordy & col("ours").is_null() & (col("concept") != "death")).then(lit("unknown_value")),
        ),
        # That somebody died counts even where the word for why is not known.
        note=pl.when(wordy & col("ours").is_null())
        .then(lit("cause not mapped: taken as unknown"))
        .when(wordy & (col("kind") == "drug") & (col("ours") == "") & col("text_value").str.contains(r"\d"))
        .then(lit("dose cannot be read: taken as given, dose unknown"))
        .otherwise("note"),
        text_value=pl.when(wordy & (col("concept") == "death"))
        .then(col("ours").fill_null("unknown"))
        .when(wordy)
        .then(col("ours").replace({"": None}))
        .otherwise("text_value"),
    )


def _word(concept: Concept, word: str, mapping: Mapping) -> str | None:
    mapped = mapping.text.get(concept.name, {}).get(word.casefold(), word)
    tidy = re.sub(r"[\s\-/]+", "_", mapped.strip().casefold())
    if concept.kind == "drug":
        # What holds a number is a dose that cannot be read: the drug was given all the same.
        return "not_given" if tidy in _NOT_GIVEN else "" if re.search(r"\d", tidy) else _DRUG_WORDS.get(tidy)
    if not concept.values:
        return mapped
    tidy = concept.alias.get(tidy, tidy)
    return tidy if tidy in (*concept.values, "unknown") else None


def _first_only(rows: pl.DataFrame) -> pl.DataFrame:
    if rows["take"].null_count() == rows.height:
        return rows
    first = col("time").filter(col("take") == "first").min().over("subject_id", "code")
    return rows.with_columns(reason=pl.when((col("take") == "first") & (col("time") > first)).then(lit("not_first")))


def _edges(rows: pl.DataFrame) -> pl.DataFrame:
    """Give each start row the time of its end row: the first start with the first end, and so on.

    Where infusions of one drug overlap, which end belongs to which start does not change when the drug ran.
    """
    rows = rows.with_row_index("_n")
    edged = rows.filter(col("edge").is_not_null() & col("reason").is_null())
    if edged.is_empty():
        return rows
    keys = ["subject_id", "code", "state"]  # two devices are one concept: each pairs with its own end
    edged = edged.with_columns(is_end=col("edge") == "end")
    # At one time an end comes first: it closes what ran, and a start opens the next rate.
    edged = edged.sort(*keys, "time", col("is_end").not_(), "file", "row", "column")
    running = (pl.when("is_end").then(-1).otherwise(1)).cum_sum().over(keys)
    # An end while nothing runs has no start; drop it, and pair the rest by rank.
    lowest = pl.min_horizontal(running.cum_min().over(keys), 0)
    spare = col("is_end") & (lowest < pl.coalesce(lowest.shift(1).over(keys), 0))
    edged = edged.with_columns(spare=spare).with_columns(rank=pl.when(~col("spare")).then(1).cum_sum().over([*keys, "is_end"]))
    ends = edged.filter(col("is_end") & ~col("spare")).select(*keys, "rank", col("time").alias("edge_end"))
    starts = edged.filter(~col("is_end")).join(ends, on=[*keys, "rank"], how="left").select("_n", "edge_end")
    spares = edged.filter("spare").select("_n", spare=lit(True))
    rows = rows.join(starts, on="_n", how="left", maintain_order="left").join(spares, on="_n", how="left", maintain_order="left")
    return rows.with_columns(
        end_time=pl.coalesce("edge_end", "end_time"), reason=pl.when("spare").then(lit("no_start")).otherwise("reason")
    )
