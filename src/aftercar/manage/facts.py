"""The facts of each asked time: what rules may ask, each as an interval `NAME:lo`, `NAME:hi`. Only what was charted up to then counts.

What is not known is as wide as it can be. Of drugs, signs of later toxicities and biopsies only what was charted is claimed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import polars as pl
from polars import col, lit

from aftercar.grade.late import bears
from aftercar.grade.scale import GRADES, ONE_ASSESSMENT_S
from aftercar.manage import ledger
from aftercar.manage.changes import changes
from aftercar.manage.rules import Drug
from aftercar.manage.vocabulary import (
    CHANGES,
    CHARTED,
    DAY_OF,
    DIAGNOSED,
    GRADED,
    MEASURED,
    PRODUCTS,
    SPELLS,
    TOP_GRADE,
    UNAIDED,
    drug_of,
    lasting,
    limited,
)
from aftercar.manage.when import Leaf
from aftercar.timeline.concepts import concept, of_group
from aftercar.timeline.state import DAY, HOUR, SPAN, Record, age_at, calendar_day, look, midnight, of_course, origin, readings

INFINITE = float("inf")
OLDEST_Y = 130.0
LOW_ANC = 500.0  # per uL
RUN_GAP_D = 7  # counts further apart are no run, as for ICAHT
CLL = r"(?i)\bCLL\b|chronic lymphocytic"  # in the disease: by its letters or its name
_STOOLS = ((1, 0.5), (2, 4.0), (3, 7.0))  # CTCAE diarrhoea by stools a day over baseline

GRADES_OF = {**GRADED, **DIAGNOSED}
SCALES = tuple(dict.fromkeys(s for scales in GRADES_OF.values() for s in scales))

Bounds = tuple[pl.Expr, pl.Expr]


def ungraded(record: Record) -> pl.DataFrame:
    """A table of grades without a row, for conditions that ask for none."""
    return pl.DataFrame(schema={**GRADES, "subject_id": record.courses.schema["subject_id"]})


def codes(names: Iterable[str]) -> list[str]:
    """The concepts that must be read for these facts, beside those of the scales."""
    wanted = {"infection_workup", "diarrhoea", "weight", "anti_hbc", *MEASURED, *(code for code, _ in CHARTED.values())}
    for name in names:
        if (of := lasting(name)) in UNAIDED:
            wanted |= {*UNAIDED[of][:2]}
        if found := drug_of(name):
            drug = found[1] if found[0] != "limit" else limited(found[1])[0]
            wanted |= set(of_group(drug))
    return sorted(wanted)


@dataclass
class Graded:
    """The course of a graded fact on the axis: `at, until, lo, hi, settled, missing` (number of a list in `lists`), sorted.

    `settled` is `hi` as it is seen from later: what another charting settled within the hour was not open.
    """

    table: pl.DataFrame
    lists: pl.Series


def graded(grades: pl.DataFrame, record: Record, name: str) -> Graded:
    """A fact's course out of the table of grades.

    The upper bound leaves out what only a gap between two assessments leaves open, but for stale time, in which nothing is known.

    Args:
        grades: made without hindsight.
    """
    rows = grades.filter(col("scale").is_in(GRADES_OF[name]) & (col("status") != "not_applicable"))
    courses = record.courses.select("subject_id", "infusion", "course", "base", "last_at")
    rows = rows.join(courses, on=["subject_id", "infusion"], how="inner")
    stale = col("flags").list.contains("stale")
    if name in DIAGNOSED:
        lo = col("status").cast(pl.String).is_in(["suspected", "possible", "criteria_met"]).cast(pl.Int8)
        hi = pl.when((col("status") == "not_met") & ~stale).then(0).otherwise(1).cast(pl.Int8)
    else:
        lo = col("grade").clip(0, TOP_GRADE)
        hi = pl.when(stale).then("grade_upper").otherwise("upper_assessed").clip(0, TOP_GRADE)
    hi = pl.max_horizontal(lo, hi)
    # Of a diagnosis every finding counts at its own time.
    followed = (
        lit(name not in DIAGNOSED) & ~stale & (col("end") - col("start") < pl.duration(seconds=ONE_ASSESSMENT_S)).fill_null(False)
    )
    table = rows.select(
        at=col("base") + col("start").dt.epoch("s"),
        until=(col("base") + col("end").dt.epoch("s")).fill_null(col("last_at") + 1),
        lo=lo,
        hi=hi,
        settled=pl.when(followed).then(lo).otherwise(hi),
        missing="missing",
    ).sort("at")
    lists = table["missing"].unique(maintain_order=True)
    number = pl.DataFrame({"missing": lists, "number": pl.int_range(len(lists), dtype=pl.Int64, eager=True)})
    table = table.join(number, on="missing", how="left", maintain_order="left").drop("missing").rename({"number": "missing"})
    return Graded(table, lists)


def spell(graded: Graded, bound: str, level: int) -> pl.DataFrame:
    """Stretches in which a bound is at or above a level without a break: `at, until, since`."""
    later = "settled" if bound == "hi" else bound
    rows = graded.table.filter(col(bound) >= level).select("at", "until", later)
    begins = (col("at") != col("until").shift(1)) | (col(later).shift(1) < level)
    return rows.select("at", "until", since=pl.when(begins.fill_null(True)).then("at").forward_fill())


class Facts:
    """Makes facts at asked times from a record and its grades; each is made when it is first asked."""

    def __init__(self, record: Record, grades: pl.DataFrame, drugs: dict[str, Drug]) -> None:
        """Courses of grades, and when doses begin to count anew."""
        self.record, self.drugs = record, drugs
        self._given: dict[str, ledger.Counts] = {}
        self._counts: dict[str, pl.DataFrame] = {}
        self._start = pl.Series(dtype=pl.Int64)  # when doses begin to count, for each asked time
        self._changes: dict[str, pl.DataFrame] = {}
        self._looked_up: dict[str, dict[str, pl.DataFrame]] = {}  # tables of each fact
        self.graded = {name: graded(grades, record, name) for name in GRADES_OF}
        self.starts = ledger.fresh_starts([self._maybe("crs"), self._maybe("icans")], record)

    def _maybe(self, name: str) -> pl.DataFrame:
        """When a toxicity may be there: `at, until, settled` (it was seen within the hour that it was not). Not graded at all it may be there always."""
        table = self.graded[name].table
        maybe = table.filter(col("hi") > 0).select("at", "until", settled=col("settled") == 0)
        blank = self.record.courses.filter(~col("course").is_in((table["at"] // SPAN).unique().implode()))
        return pl.concat([maybe, blank.select(at=origin(col("course") * SPAN), until="last_at", settled=lit(False))])

    def _changed(self, name: str) -> pl.DataFrame:
        """How the grade of a toxicity has changed within a day, at every time."""
        if name not in self._changes:
            self._changes[name] = changes(self.graded[name].table)
        return self._changes[name]

    def at(self, asked: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
        """Facts at `asked` (`course, at`, sorted by `at`).

        Returns:
            `asked` with `NAME:lo` and `NAME:hi` of every name, and of graded facts `NAME:missing`: which list of findings would settle it.
        """
        wanted = list(dict.fromkeys(names))
        self._counts.clear()
        self._start = ledger.count_from(asked, self.starts)
        frame = look(asked, self._kept(wanted))
        frame = frame.with_columns(
            of_course(self.record.courses, frame["course"], "product", "target", "disease", "day0_at"),
            age=age_at(asked, self.record.courses),
            midnight=self.record.courses.select(midnight()).to_series().gather(frame["course"]),
        )
        bounds: dict[str, pl.Expr] = {}
        for name in wanted:
            lo, hi = self._bounds(name, asked)
            bounds |= {f"{name}:lo": lo, f"{name}:hi": hi}
            if name in GRADES_OF:
                bounds[f"{name}:missing"] = pl.when(lo < hi).then(f"{name}_missing")
        return frame.select("course", "at", **bounds)

    def turns(self, leaves: Iterable[Leaf]) -> pl.Series:
        """Every time on the axis, within the records, at which one of these comparisons may come to hold or cease to: sorted, each once.

        Between two of them nothing that rules say can change.
        """
        by_fact: dict[str, set[float]] = {}
        for leaf in leaves:
            by_fact.setdefault(leaf.fact, set()).add(leaf.value)
        tables = self._kept(list(by_fact))
        points = [_edges(_merged(t, by_fact[n]) if n in MEASURED and n != "diarrhoea_grade" else t) for n, t in tables.items()]
        for name, values in by_fact.items():
            points += [_passed(times, values, unit) for times, unit in self._clocks(name, values, tables)]
        every = pl.concat([p.cast(pl.Int64) for p in points] or [pl.Series(dtype=pl.Int64)])
        return every.drop_nulls().unique().sort()

    def _clocks(self, name: str, values: set[float], tables: dict[str, pl.DataFrame]) -> list[tuple[pl.Series, float]]:
        """Times from which a fact counts on, and the seconds of its unit."""
        courses = self.record.courses
        if name in SPELLS:
            return [(tables[f"{name}_{bound}"]["since"], HOUR) for bound in ("lo", "hi")]
        if name == "day":
            began = courses.select(origin(col("course") * SPAN) - midnight()).to_series()
            return [(began, DAY), (began + DAY, DAY)]
        if name == "crs_onset_h":
            return [(courses["day0_at"], HOUR)]
        if name == "anc_500_d":
            runs = tables[name]
            return [(t, DAY) for t in (runs["since"], runs["high_at"], courses["day0_at"])]
        if name == "age_y":
            return [(_birthdays(courses, values), 1)]
        if found := drug_of(name):
            drug, limit = limited(found[1]) if found[0] == "limit" else (found[1], "")
            given = ledger.doses(self.record, drug)["at"]
            gap = self.drugs[drug].interval_h or 0.0 if limit else 0.0
            day_later = given + ledger.WINDOW_H * HOUR
            return [(given, HOUR), (given + int(gap * HOUR), 1), (day_later, 1), (self.starts["at"], 1)]
        return []

    def _kept(self, names: list[str]) -> dict[str, pl.DataFrame]:
        """`_tables`, made once."""
        self._looked_up |= {name: self._tables([name]) for name in names if name not in self._looked_up}
        return {of: table for name in names for of, table in self._looked_up[name].items()}

    def _tables(self, names: list[str]) -> dict[str, pl.DataFrame]:
        """What is looked up for these facts, by the words before its columns."""
        tables: dict[str, pl.DataFrame] = {}
        for name in names:
            if name in GRADES_OF:
                tables[name] = self.graded[name].table
            elif name in SPELLS:
                of, level = SPELLS[name]
                tables |= {f"{name}_{bound}": spell(self.graded[of], bound, level) for bound in ("lo", "hi")}
            elif name == "crs_onset_h":
                tables |= self._tables(["crs_h"])
            elif name in CHANGES:
                of = CHANGES[name][0]
                tables[f"{of}_change"] = self._changed(of)
            elif name == "ferritin_doubled":
                tables[name] = _doubled(_values(self.record, "ferritin"))
            elif name == "diarrhoea_grade":
                tables |= {"stools": _values(self.record, "diarrhoea"), name: _values(self.record, name)}
            elif name in MEASURED:
                tables[name] = _values(self.record, name)
            elif name == "anc_500_d":
                tables |= {name: _runs(_values(self.record, "anc")), "anc": _values(self.record, "anc")}
            elif (of := lasting(name)) is not None:
                tables[name] = _last_values(self.record, of)
            elif name in ("infection", "infection_excluded"):
                tables["infection"] = _last_word(self.record.of("infection_workup").filter(col("at") >= origin(col("at"))))
            elif name == "anti_hbc":  # mostly charted before the infusion
                tables[name] = _last_word(self.record.of(name))
            elif name in CHARTED:
                tables[name] = _since(self.record, *CHARTED[name])
        return tables

    def _bounds(self, name: str, asked: pl.DataFrame) -> Bounds:
        if name in GRADES_OF:
            return col(f"{name}_lo").fill_null(0), col(f"{name}_hi").fill_null(1 if name in DIAGNOSED else TOP_GRADE)
        if name in SPELLS:
            lo, hi = ((col("at") - col(f"{name}_{side}_since")) / HOUR for side in ("lo", "hi"))
            return lo.fill_null(0.0), pl.max_horizontal(hi, lo).fill_null(0.0)
        if name in CHANGES:
            of, way = CHANGES[name]
            return col(f"{of}_change_{way}_lo").fill_null(0), col(f"{of}_change_{way}_hi").fill_null(TOP_GRADE)
        if found := drug_of(name):
            return self._drug(*found, asked)
        if name.startswith(DAY_OF):
            day = calendar_day(col(f"{name}_at"), col("midnight")).cast(pl.Float64)
            return day.fill_null(0.0), day.fill_null(INFINITE)
        return _SINGLE[name]() if name in _SINGLE else _measured(name)

    def _drug(self, asked_for: str, drug: str, asked: pl.DataFrame) -> Bounds:
        name, limit = limited(drug) if asked_for == "limit" else (drug, "")
        if name not in self._counts:
            if name not in self._given:
                self._given[name] = ledger.Counts(self.record, name)
            self._counts[name] = self._given[name].at(asked, self._start)
        counts = self._counts[name]
        if limit:
            series = ledger.reached(self.drugs[name], counts)[limit].cast(pl.Int8)
        else:
            series = counts[{"given": "n", "given_24h": "n_24h"}.get(asked_for, asked_for)]
        return lit(series), lit(series)


def _edges(table: pl.DataFrame) -> pl.Series:
    return pl.concat([table["at"], table["until"]])


def _merged(values: pl.DataFrame, cuts: set[float]) -> pl.DataFrame:
    """Values of which no cut is between two neighbours, and that follow without a gap, as one: `at, until`."""
    side = pl.sum_horizontal((col("value") > cut).cast(pl.Int8) + (col("value") >= cut).cast(pl.Int8) for cut in cuts)
    new = (side != side.shift(1)) | (col("until").shift(1) < col("at")) | (col("at") // SPAN != col("at").shift(1) // SPAN)
    runs = values.group_by(new.fill_null(True).cum_sum().alias("_"), maintain_order=True)
    return runs.agg(col("at").first(), col("until").max()).drop("_")


def _passed(times: pl.Series, values: set[float], unit: float) -> pl.Series:
    """When so many units have passed since some times, and the second after."""
    parts = [times + int(value * unit) + after for value in values | {0.0} for after in (0, 1)]
    return pl.concat(parts)


_YEAR_S = 365.2425 * DAY


def _birthdays(courses: pl.DataFrame, ages: set[float]) -> pl.Series:
    """When an age is reached: the midnight of that birthday, or the share of a year since day 0."""
    parts = []
    for age in ages:
        by_share = col("day0_at") + ((age - col("age_y")) * _YEAR_S).ceil().cast(pl.Int64)
        day = col("birth").dt.offset_by(f"{math.ceil(age)}y").dt.truncate("1d").dt.epoch("s") + col("base")
        parts += [by_share, day, day + DAY]  # who is born on a 29 February is a year older on 1 March
    return courses.select(pl.concat(parts)).to_series().drop_nulls()


def _measured(name: str) -> Bounds:
    if name in MEASURED or lasting(name) is not None:
        return col(f"{name}_value").fill_null(0.0), col(f"{name}_value").fill_null(INFINITE)
    return _claimed(col(f"{name}_at").is_not_null())


def _flag(known: pl.Expr) -> Bounds:
    return known.cast(pl.Int8).fill_null(0), known.cast(pl.Int8).fill_null(1)


def _claimed(charted: pl.Expr) -> Bounds:
    there = charted.cast(pl.Int8).fill_null(0)
    return there, there


def _product(names: tuple[str, ...]) -> Bounds:
    return _flag(col("product").str.to_lowercase().str.contains("|".join(names)))


def _target(name: str) -> Bounds:
    return _flag(bears(name))


def _diarrhoea() -> Bounds:
    by_stools = pl.max_horizontal(pl.when(col("stools_value") >= least).then(grade) for grade, least in reversed(_STOOLS))
    grade = pl.coalesce("diarrhoea_grade_value", by_stools.cast(pl.Float64)).fill_null(0.0)
    return grade, grade


def _anc_run() -> Bounds:
    """Days of the run of low counts: up to the last one, or to now while that stands; at most since the last count that was not low."""
    stands = col("anc_value").is_not_null()
    until = pl.when(stands).then("at").otherwise("anc_500_d_last")
    lo = pl.when(col("anc_500_d_low")).then((until - col("anc_500_d_since")) / DAY).fill_null(0.0)
    since = pl.coalesce("anc_500_d_high_at", "day0_at")
    hi = pl.when(stands & ~col("anc_500_d_low")).then(0.0).otherwise((col("at") - since).clip(0) / DAY)
    return lo, pl.max_horizontal(lo, hi.fill_null(INFINITE))


def _day() -> Bounds:
    day = calendar_day(col("at"), col("midnight"))
    return day, day


def _onset() -> Bounds:
    """Hours from the infusion to the onset of the CRS that is there, or may be: it may have begun as early as it may be, at the latest when it surely is."""
    early, late = col("crs_h_hi_since"), pl.coalesce("crs_h_lo_since", "at")
    hours = [((since - col("day0_at")) / HOUR).clip(0) for since in (early, late)]
    return hours[0].fill_null(0.0), pl.max_horizontal(*hours)


_SINGLE: dict[str, Callable[[], Bounds]] = {
    "day": _day,
    "crs_onset_h": _onset,
    "disease_cll": lambda: _flag(col("disease").str.contains(CLL)),
    "age_y": lambda: (col("age").fill_null(0.0), col("age").fill_null(OLDEST_Y)),
    "infection": lambda: _flag(_word_is("infection", "positive", "negative")),
    "infection_excluded": lambda: _flag(_word_is("infection", "negative", "positive")),
    "anti_hbc": lambda: _flag(_word_is("anti_hbc", "positive", "negative")),
    "target_bcma": lambda: _target("BCMA"),
    "target_cd19": lambda: _target("CD19"),
    "diarrhoea_grade": _diarrhoea,
    "ferritin_doubled": lambda: _claimed(col("ferritin_doubled_so")),
    "anc_500_d": _anc_run,
    **{name: partial(_product, names) for name, names in PRODUCTS.items()},
}


def _word_is(name: str, yes: str, no: str) -> pl.Expr:
    return pl.when(col(f"{name}_word") == yes).then(True).when(col(f"{name}_word") == no).then(False)


def _values(record: Record, code: str) -> pl.DataFrame:
    """`at, until, value` of a concept from day 0 on."""
    rows = readings(record, code).filter((col("at") >= origin(col("at"))) & ~col("excluded"))
    return rows.select("at", "until", "value")


def _last_values(record: Record, name: str) -> pl.DataFrame:
    """`at, until, value` of a concept, each until the next one to the end of the course, however old it is by then."""
    code, aid, days = UNAIDED.get(name, (name, "", 0))
    values = _values(record, code).with_columns(until=(col("at") // SPAN + 1) * SPAN)
    if not aid:
        return values
    aided = ledger.doses(record, aid).select("at", given="at")
    beside = values.join_asof(aided, on="at", strategy="backward", coalesce=True)
    return beside.filter((col("at") - col("given") > days * DAY).fill_null(True)).drop("given")


def _doubled(ferritin: pl.DataFrame) -> pl.DataFrame:
    """Whether each value is at least twice an earlier one of the last 24 h: `at, until, so`. A doubling that cannot be judged is not claimed."""
    least = col("value").rolling_min_by("at", f"{DAY}i", closed="left")
    rows = ferritin.select("at", "until", so=(col("value") >= 2 * least).fill_null(False))
    return rows.filter(col("so") | col("so").shift(1))  # the others change nothing


def _runs(anc: pl.DataFrame) -> pl.DataFrame:
    """Of each count whether it is low, when its run began, the last low count and the last that was not: they stand to the end of the course."""
    low, course = col("value") < LOW_ANC, col("at") // SPAN
    apart = (col("at") - col("at").shift(1).over(course) > RUN_GAP_D * DAY).fill_null(True)
    begins = low & (~low.shift(1).over(course).fill_null(False) | apart)
    return anc.select(
        "at",
        until=(course + 1) * SPAN,
        low=low,
        since=pl.when(begins).then("at").forward_fill().over(course),
        last=pl.when(low).then("at").forward_fill().over(course),
        high_at=pl.when(~low).then("at").forward_fill().over(course),
    )


def _last_word(events: pl.DataFrame) -> pl.DataFrame:
    rows = events.sort("at", "text_value", nulls_last=False)
    return rows.unique("at", keep="last", maintain_order=True).select(
        "at", until=(col("at") // SPAN + 1) * SPAN, word="text_value"
    )


def _since(record: Record, code: str, words: tuple[str, ...]) -> pl.DataFrame:
    """From the first time at which one of the words is charted to the end of the course."""
    own = list(words or concept(code).values[1:])
    rows = record.of(code).filter(col("text_value").is_in(own) & (col("at") >= origin(col("at"))))
    rows = rows.filter(~col("attributable_to").eq_missing(lit("other")))
    return rows.unique("course", keep="first", maintain_order=True).select("at", until=(col("at") // SPAN + 1) * SPAN)
