"""CTCAE laboratory grades [ctcae5]: creatinine, transaminases, bilirubin, counts and fibrinogen.

The organ items of the CRS scales and the features of IEC-HS read the same cells, so each threshold stands here once. Version 4.03 differs
where the baseline was abnormal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import polars as pl
from polars import col, lit

from aftercar.grade.findings import covered
from aftercar.grade.options import Options
from aftercar.grade.scale import Criterion, Scale
from aftercar.timeline.concepts import concept, concepts
from aftercar.timeline.state import SPAN, Record, grid, look, origin, readings

MOST = {"hemoglobin": 3}  # the highest grade that a value alone can have, where it is not 4
ORGAN = ("creatinine", "alt", "ast", "bilirubin")  # what `record_complete` = organ covers
DIGITS = 9  # significant figures of a comparison; readers keep ten of a value
_LIMITS = tuple(c for c in concepts() if c.endswith(("_uln", "_lln")))
_ANALYTES = tuple(c.rpartition("_")[0] for c in _LIMITS)


def multiple(factor: float, reference: pl.Expr) -> pl.Expr:
    """So many times a limit or baseline; 1.5 x 1.2 is 1.8, not a hair less. Both sides are rounded alike, so that the unit does not matter."""
    return (factor * reference).round_sig_figs(DIGITS)


class Reference:
    """Value, limits and baseline of one analyte, as columns `<name>_value`, `_uln`, `_lln`, `_base`.

    `whole`: whether a baseline that is not recorded was normal; else what depends on it is unknown.
    """

    def __init__(self, name: str, whole: pl.Expr) -> None:
        """Name the columns of an analyte."""
        self.value, self.base = col(f"{name}_value").round_sig_figs(DIGITS), col(f"{name}_base")
        self.uln = col(f"{name}_uln") if f"{name}_uln" in _LIMITS else lit(None, pl.Float64)
        self.lln = col(f"{name}_lln") if f"{name}_lln" in _LIMITS else lit(None, pl.Float64)
        self.whole = whole

    def over_limit(self, times: float) -> pl.Expr:
        """Above so many times the upper limit."""
        return self.value > multiple(times, self.uln)

    def over_baseline(self, times: float) -> pl.Expr:
        """Above so many times the baseline."""
        return pl.when(self.base.is_not_null()).then(self.value > multiple(times, self.base)).when(self.whole).then(False)

    def over_reference(self, times: float, at_abnormal: float | None = None) -> pl.Expr:
        """Above so many times the limit, or the baseline where that is abnormal; `at_abnormal` (inclusive) replaces it there."""
        high = self.base > self.uln
        inclusive = self.value >= multiple(at_abnormal or times, self.base)
        abnormal = inclusive if at_abnormal else self.value > multiple(times, self.base)
        by_limit = self.over_limit(times)
        # With a baseline that is not known a value under the line of the limit is under that of a higher baseline too.
        guess = pl.when(self.whole | ~by_limit).then(by_limit)
        # Nor is a value under the line of the baseline over that of a limit that is not known, if the baseline was normal.
        no_limit = pl.when(self.value <= multiple(times, self.base)).then(False) if at_abnormal is None else lit(None, pl.Boolean)
        known = pl.when(high).then(abnormal).otherwise(by_limit)
        return pl.when(self.base.is_null()).then(guess).when(self.uln.is_null()).then(no_limit).otherwise(known)

    def under(self, share: float) -> pl.Expr:
        """Below a share of the lower limit, or of the baseline where that is below it."""
        low = self.base < self.lln
        by_limit = self.value < multiple(share, self.lln)
        guess = pl.when(self.whole | ~by_limit).then(by_limit)
        no_limit = pl.when(self.value >= multiple(share, self.base)).then(False)
        known = pl.when(low).then(self.value < multiple(share, self.base)).otherwise(by_limit)
        return pl.when(self.base.is_null()).then(guess).when(self.lln.is_null()).then(no_limit).otherwise(known)


Cells = Sequence[tuple[int, str, pl.Expr]]


def _creatinine(r: Reference, version: str) -> Cells:
    first = r.over_limit(1) | r.over_baseline(1) if version == "v4.03" else r.over_limit(1)
    return (
        (1, "creatinine > ULN", first),
        (2, "creatinine > 1.5 x baseline or ULN", r.over_limit(1.5) | r.over_baseline(1.5)),
        (3, "creatinine > 3 x baseline or ULN", r.over_limit(3) | r.over_baseline(3)),
        (4, "creatinine > 6 x ULN", r.over_limit(6)),
    )


def _transaminase(name: str, r: Reference, version: str) -> Cells:
    what = name.upper()
    if version == "v4.03":
        cells = (r.over_limit(1), r.over_limit(3), r.over_limit(5), r.over_limit(20))
        return tuple(
            (k, f"{what} > {'' if n == 1 else f'{n} x '}ULN", c)
            for k, n, c in zip((1, 2, 3, 4), (1, 3, 5, 20), cells, strict=True)
        )
    return (
        (1, f"{what} > ULN (>= 1.5 x an abnormal baseline)", r.over_reference(1, at_abnormal=1.5)),
        (2, f"{what} > 3 x ULN (or an abnormal baseline)", r.over_reference(3)),
        (3, f"{what} > 5 x ULN (or an abnormal baseline)", r.over_reference(5)),
        (4, f"{what} > 20 x ULN (or an abnormal baseline)", r.over_reference(20)),
    )


def _bilirubin(r: Reference, version: str) -> Cells:
    return (
        (1, "bilirubin > ULN", r.over_limit(1)),
        (2, "bilirubin > 1.5 x ULN", r.over_limit(1.5)),
        (3, "bilirubin > 3 x ULN", r.over_limit(3)),
        (4, "bilirubin > 10 x ULN", r.over_limit(10)),
    )


def _neutrophils(r: Reference, version: str) -> Cells:
    return (
        (1, "ANC < LLN", r.value < r.lln),
        (2, "ANC < 1500/uL", r.value < 1500),
        (3, "ANC < 1000/uL", r.value < 1000),
        (4, "ANC < 500/uL", r.value < 500),
    )


def _platelets(r: Reference, version: str) -> Cells:
    return (
        (1, "platelets < LLN", r.value < r.lln),
        (2, "platelets < 75 x 10^9/L", r.value < 75),
        (3, "platelets < 50 x 10^9/L", r.value < 50),
        (4, "platelets < 25 x 10^9/L", r.value < 25),
    )


def _hemoglobin(r: Reference, version: str) -> Cells:
    return (
        (1, "haemoglobin < LLN", r.value < r.lln),
        (2, "haemoglobin < 10 g/dL", r.value < 10),
        (3, "haemoglobin < 8 g/dL", r.value < 8),  # grade 4 is a judgement
    )


def _fibrinogen(r: Reference, version: str) -> Cells:
    return (
        (1, "fibrinogen < LLN", r.under(1)),
        (2, "fibrinogen < 0.75 x LLN", r.under(0.75)),
        (3, "fibrinogen < 0.5 x LLN", r.under(0.5)),
        (4, "fibrinogen < 0.25 x LLN, or < 50 mg/dL", r.under(0.25) | (r.value < 50)),
    )


_TABLES: dict[str, Callable[[Reference, str], Cells]] = {
    "creatinine": _creatinine,
    "alt": partial(_transaminase, "alt"),
    "ast": partial(_transaminase, "ast"),
    "bilirubin": _bilirubin,
    "anc": _neutrophils,
    "platelets": _platelets,
    "hemoglobin": _hemoglobin,
    "fibrinogen": _fibrinogen,
}


def values(record: Record, name: str) -> pl.DataFrame:
    """Values of a concept from day 0 on, as `readings` gives them."""
    return record.once(("from day 0", name), lambda: readings(record, name).filter(col("at") >= origin(col("at"))))


def beside_limits(record: Record, name: str) -> pl.LazyFrame:
    """Values of an analyte from day 0 on with its limits and its baseline, as `<name>_uln`, `_lln`, `_base`."""
    known = record.once("limits", lambda: _limits(record))
    course = col("at") // SPAN  # the row of a course
    beside = (lit(known[c]).gather(course).alias(c) for c in known.columns if c.rpartition("_")[0] == name)
    return values(record, name).lazy().with_columns(beside)


def _limits(record: Record) -> pl.DataFrame:
    """Of each course the limits (`_uln`, `_lln`) of all analytes and the last value before day 0 (`_base`)."""
    before = [
        record.of(name).lazy().filter(col("at") < origin(col("at"))).with_columns(code=lit(f"{name}_base")) for name in _ANALYTES
    ]
    # At one time the worst value counts; of two limits the wider.
    low = col("code").str.ends_with("_lln") | col("code").is_in([f"{n}_base" for n in _ANALYTES if concept(n).worst == "min"])
    rows = pl.concat([*(record.of(name).lazy() for name in _LIMITS), *before]).filter(col("numeric_value").is_not_null())
    rows = rows.sort("at", pl.when(low).then(-col("numeric_value")).otherwise("numeric_value"))
    last = rows.pivot(
        "code", [*_LIMITS, *(f"{n}_base" for n in _ANALYTES)], index="course", values="numeric_value", aggregate_function="last"
    )
    courses = record.courses.lazy().select("course").sort("course")
    return courses.join(last, on="course", how="left", maintain_order="left").collect(engine="in-memory")


def graded(record: Record, name: str, options: Options) -> pl.DataFrame:
    """Values of an analyte with their grade, surely and at most: `at, until, event_id, unsure, low, up`, and `low_whole, up_whole` where
    what is not recorded was normal.
    """
    return record.once(("ctcae", name), lambda: _graded(record, name, options))


def _graded(record: Record, name: str, options: Options) -> pl.DataFrame:
    met, grades = _grading(name, options["ctcae"])
    found = beside_limits(record, name).rename({"value": f"{name}_value"}).with_columns(met)
    return found.select(col("at").set_sorted(), "until", "event_id", "unsure", *grades).collect(engine="in-memory")


@cache
def _grading(name: str, version: str) -> tuple[list[pl.Expr], list[pl.Expr]]:
    """The cells of an analyte and the grades that they make; expressions made once, for all shards."""
    cells = {
        (suffix, k): cell
        for suffix, whole in (("", lit(False)), ("_whole", lit(True)))
        for k, _, cell in _TABLES[name](Reference(name, whole), version)
    }
    met = [pl.when(~col("excluded")).then(c).otherwise(False).alias(f"_{k}{s}") for (s, k), c in cells.items()]
    grades = [
        pl.max_horizontal(
            lit(0, pl.Int8), *(col(f"_{k}{s}").fill_null(unknown).cast(pl.Int8) * k for s, k in cells if s == suffix)
        )
        .cast(pl.Int8)
        .alias(f"{side}{suffix}")
        for side, unknown in (("low", False), ("up", True))
        for suffix in ("", "_whole")
    ]
    return met, grades


def bounds(*names: str, whole: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """The grade that the highest of some analytes surely has, and may have, on a frame that looks at their `graded` values."""

    def bound(name: str, side: str) -> pl.Expr:
        charted = pl.when(whole).then(f"{name}_{side}_whole").otherwise(f"{name}_{side}")
        most = MOST.get(name, 4) if side == "up" else 0
        absent = pl.when(whole).then(0).otherwise(most) if name in ORGAN else lit(most)
        return charted.fill_null(absent).cast(pl.Int8)

    low, up = (pl.max_horizontal(bound(name, side) for name in names) for side in ("low", "up"))
    return low, up


def state(record: Record, options: Options) -> pl.DataFrame:
    """All analytes on one grid: they are drawn together."""
    tables = {n: graded(record, n, options) for n in _TABLES} | {"organ": covered(record, "organ")}
    return look(grid(record, *tables.values()), tables)


def _criteria(names: tuple[str, ...], options: Options) -> tuple[Criterion, ...]:
    low, up = bounds(*names, whole=col("organ_at").is_not_null())
    tables = [_TABLES[name](Reference(name, lit(False)), options["ctcae"]) for name in names]
    axis = "transaminases" if "alt" in names else "".join(names)
    evidence = tuple(f"{name}_event_id" for name in names)
    return tuple(
        Criterion(
            grade, axis, " or ".join(table[n][1] for table in tables),
            pl.when(low >= grade).then(True).when(up < grade).then(False), evidence, mark="M",
        )
        for n, (grade, _, _) in enumerate(tables[0])
    )  # fmt: skip


def _scale(name: str, title: str, *names: str) -> Scale:
    options = ("day0", "unknown_attribution", "resolution_h", "new_episode_gap_h")
    if set(names) & {"creatinine", "alt"}:
        options += ("ctcae",)
    limited = [f"{n}{side}" for n in names for side in ("_uln", "_lln") if f"{n}{side}" in _LIMITS]
    return Scale(
        name=f"ctcae_{name}", title=f"{title}, CTCAE v5", toxicity=name, source="ctcae5", version="1", criteria=partial(_criteria, names),
        state=state, codes=(*names, *limited, "record_complete"), options=options,
        observed=pl.any_horizontal(col(f"{n}_at") == col("at") for n in names).fill_null(False),
        flags={"attribution_unknown": pl.any_horizontal(col(f"{n}_unsure").fill_null(False) for n in names)},
        gate_evidence=tuple(f"{n}_event_id" for n in names), marks={"thresholds": "M"},
    )  # fmt: skip


SCALES = (
    _scale("creatinine", "Creatinine", "creatinine"),
    _scale("transaminases", "AST and ALT", "alt", "ast"),
    _scale("bilirubin", "Bilirubin", "bilirubin"),
    _scale("neutrophils", "Neutrophils", "anc"),
    _scale("platelets", "Platelets", "platelets"),
    _scale("hemoglobin", "Haemoglobin", "hemoglobin"),
    _scale("fibrinogen", "Fibrinogen", "fibrinogen"),
)
