"""Second malignancies: person-years at risk, incidence with death in the way, and the number that a reference population would have had."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.cohort.incidence import WHAT, by_day, cumulative_incidence, days_since
from aftercar.errors import InputError, OptionError, nearest
from aftercar.intervals import poisson
from aftercar.timeline.concepts import concept

SPM = "spm"
YEAR_D = 365.25
PER = 1000  # person-years of a rate of ours; reference rates are by 100,000
COLUMNS = ("sex", "age_from", "age_to", "rate", "source")
SEXES = ("female", "male")


def at_risk(subjects: pl.DataFrame, episodes: pl.DataFrame, grades: pl.DataFrame, without: Collection[str] = ()) -> pl.DataFrame:
    """Each subject from the first infusion to a second malignancy, death or the end of the record.

    Args:
        subjects, episodes, grades: tables of results that were graded by `spm`.
        without: classes that do not count, such as `skin`: a malignancy of none but these is no event. Of several classes in one course the first has the day.
    Returns:
        A row a subject: `subject_id, infusion` (the first one), `age_y, sex, years, day, what`, and `malignancy`, its classes, joined by `+`.
    Raises:
        OptionError: there is no such class.
    """
    known = [word for word in concept("second_malignancy").values if word != "none"]
    if strange := set(without) - set(known):
        raise OptionError(f"No class of second malignancy is called {min(strange)!r}. {nearest(min(strange), known)}")
    own = grades.filter((col("scale") == SPM) & (col("grade") > 0)).select("subject_id", "infusion", malignancy="group")
    if without:
        own = own.filter(~col("malignancy").str.split("+").list.eval(pl.element().is_in(list(without))).list.all())
    onset = (
        episodes.filter(col("scale") == SPM).select("subject_id", "infusion", "onset").join(own, on=["subject_id", "infusion"])
    )
    first = onset.sort("onset").group_by("subject_id", maintain_order=True).agg(col("onset", "malignancy").first())
    treated = subjects.filter(col("day0").is_not_null()).sort("subject_id", "infusion")
    people = treated.group_by("subject_id", maintain_order=True).agg(
        col("infusion", "day0", "age_y", "sex").first(), col("death").min(), col("record_end").max()
    )
    people = people.join(first, on="subject_id", how="left", maintain_order="left")
    stop = pl.coalesce("onset", "death", "record_end")
    what = (
        pl.when(col("onset").is_not_null()).then(lit("event"))
        .when(col("death").is_not_null()).then(lit("competing"))
        .otherwise(lit("censored"))
    )  # fmt: skip
    years = ((stop - col("day0")).dt.total_seconds() / 86_400 / YEAR_D).clip(0.0)
    return people.select(
        "subject_id", "infusion", "age_y", "sex", years=years, day=days_since(stop), what=what.cast(WHAT), malignancy="malignancy"
    )


def rate(people: pl.DataFrame, days: Iterable[int]) -> pl.DataFrame:
    """Events by person-time, and cumulative incidence with death in the way: `n, events, person_years, rate, rate_low, rate_high, day, incidence, low, high`.

    The rate is by 1,000 person-years, with the exact interval of a Poisson count; a row a day of `days`.
    """
    events, years = int((people["what"] == "event").sum()), float(people["years"].sum())
    low, high = poisson(events)
    per = PER / years if years else None
    curve = cumulative_incidence(people)
    told: dict[str, Any] = {"n": people.height, "events": events, "person_years": years}
    told |= {"rate": events * per, "rate_low": low * per, "rate_high": high * per} if per else {}
    return pl.DataFrame([told | {"day": day} | by_day(curve, day) for day in days], schema=RATE)


def classes(people: pl.DataFrame) -> pl.DataFrame:
    """Of which class the malignancies were: `malignancy, n`, the most frequent first."""
    own = people.filter(col("what") == "event")
    return own.group_by("malignancy").agg(n=pl.len().cast(pl.Int64)).sort("n", "malignancy", descending=[True, False])


CLASSES: dict[str, Any] = {"malignancy": pl.String, "n": pl.Int64}
RATE: dict[str, Any] = {
    "n": pl.Int64, "events": pl.Int64, "person_years": pl.Float64, **dict.fromkeys(("rate", "rate_low", "rate_high"), pl.Float64),
    "day": pl.Int64, **dict.fromkeys(("incidence", "low", "high"), pl.Float64),
}  # fmt: skip


def read_reference(path: Path | str) -> pl.DataFrame:
    """Reference rates: a CSV file of `sex, age_from, age_to, rate, source`.

    `sex` is female or male; a band holds ages from `age_from` on and below `age_to` (blank: without end), in years; `rate` is by 100,000 person-years.

    Raises:
        InputError: it cannot be read, lacks a column, or its bands are none: a row that is not whole, two that overlap, or a gap between them.
    """
    path = Path(path)
    try:
        frame = pl.read_csv(path, infer_schema=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path}: cannot be read as a CSV table ({type(error).__name__}).") from None
    if lacking := [c for c in COLUMNS if c not in frame.columns]:
        raise InputError(f"{path}: no column {lacking[0]}. {nearest(lacking[0], frame.columns)} It needs {', '.join(COLUMNS)}.")
    text = frame.select(col(COLUMNS).str.strip_chars().replace("", None)).with_row_index("row", offset=1)
    numbers = text.with_columns(col("age_from", "age_to", "rate").cast(pl.Float64, strict=False), col("sex").str.to_lowercase())
    whole = (
        col("sex").is_in(SEXES) & col("age_from").is_finite() & (col("age_from") >= 0) & col("rate").is_finite() & (col("rate") >= 0)
        & col("source").is_not_null() & (text["age_to"].is_null() | (col("age_to") > col("age_from")).fill_null(False))
    )  # fmt: skip
    wrong = numbers.filter(~whole.fill_null(False))["row"].to_list()
    if wrong:
        raise InputError(
            f"{path}, row {wrong[0]}: each needs a sex ({' or '.join(SEXES)}), age_from below age_to (blank: without end), a rate of 0 or more by 100,000 person-years, and its source."
        )
    bands = numbers.with_columns(col("age_to").fill_null(float("inf"))).sort("sex", "age_from")
    if bands.is_empty():
        raise InputError(f"{path}: no row is in it.")
    breaks = bands.with_columns(before=col("age_to").shift(1).over("sex")).filter(col("before") != col("age_from"))
    for sex, before, after in breaks.select("sex", "before", "age_from").iter_rows():
        what = "overlap at" if after < before else "leave a gap between"
        ends = f"{after:g}" if after < before else f"{before:g} and {after:g}"
        raise InputError(
            f"{path}: bands of {sex} {what} {ends} years. A band ends where the next begins: age_to is the first age that it does not hold."
        )
    return bands.select(COLUMNS)


def standardised(people: pl.DataFrame, reference: pl.DataFrame) -> pl.DataFrame:
    """Events beside those that a reference population of the same age and sex would have had: person-years split by the age that a subject has then.

    Args:
        people: of `at_risk`.
        reference: of `read_reference`.
    Returns:
        `sex, age_from, age_to, person_years, observed, rate, expected, ratio, low, high, left_out, source`: first all bands together (without a sex), with observed by expected, the exact
        interval of a Poisson count, and how many subjects without a known age and sex count on neither side; then each band.
    Raises:
        InputError: the bands do not hold all person-years.
    """
    known = people.filter(col("age_y").is_not_null() & col("sex").is_in(SEXES))
    known = known.select("sex", "what", begins="age_y", ends=col("age_y") + col("years"))
    _covered(known, reference)
    each = reference.with_row_index("band").join(known, on="sex", how="left", maintain_order="left")
    within = (pl.min_horizontal("ends", "age_to") - pl.max_horizontal("begins", "age_from")).clip(0.0).fill_null(0.0)
    then = ((col("what") == "event") & (col("ends") >= col("age_from")) & (col("ends") < col("age_to"))).fill_null(False)
    bands = each.group_by("band", maintain_order=True).agg(
        col("sex", "age_from", "age_to", "rate", "source").first(), person_years=within.sum(), observed=then.sum().cast(pl.Int64)
    )  # fmt: skip
    last = pl.when(col("age_to").is_finite()).then("age_to")
    bands = bands.with_columns(expected=col("person_years") * col("rate") / 100_000, age_to=last)
    observed, expected = int(bands["observed"].sum()), float(bands["expected"].sum())
    total: dict[str, Any] = {"observed": observed, "expected": expected, "person_years": float(bands["person_years"].sum())}
    total |= {"left_out": people.height - known.height, "source": "; ".join(reference["source"].unique(maintain_order=True))}
    if expected:
        low, high = poisson(observed)
        total |= {"ratio": observed / expected, "low": low / expected, "high": high / expected}
    return pl.concat([pl.DataFrame([total], schema=STANDARDISED), bands.drop("band")], how="diagonal").select(*STANDARDISED)


STANDARDISED: dict[str, Any] = {
    "sex": pl.String, "age_from": pl.Float64, "age_to": pl.Float64, "person_years": pl.Float64, "observed": pl.Int64,
    **dict.fromkeys(("rate", "expected", "ratio", "low", "high"), pl.Float64), "left_out": pl.Int64, "source": pl.String,
}  # fmt: skip


def _covered(known: pl.DataFrame, reference: pl.DataFrame) -> None:
    """Refuse bands that do not hold all person-years. Bands have no gaps, so their ends say it."""
    held = reference.group_by("sex").agg(least=col("age_from").min(), most=col("age_to").max())
    spans = known.group_by("sex").agg(col("begins").min(), col("ends").max()).join(held, on="sex", how="left").sort("sex")
    outside = (col("begins") < col("least")) | (col("ends") >= col("most")) | col("least").is_null()
    for sex, least, most in spans.filter(outside).select("sex", "least", "most").iter_rows():
        told = "no band" if least is None else f"ages from {least:g} to below {most:g} only"
        raise InputError(
            f"The reference rates have {told} for {sex} subjects, and the cohort has person-years outside of that. Add bands to the file."
        )
