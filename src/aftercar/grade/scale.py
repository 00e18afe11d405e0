"""The machinery of a published scale, written once: criteria in, grade bounds with their reasons out.

An unknown criterion is null. `grade` counts it as unmet and `grade_upper` as met, so missing data widen the answer and
never lower it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.grade.options import Options
from aftercar.timeline.state import HOUR, SPAN, Record, clock

# Findings charted within this time are one assessment: a pressure at 8:00 and a temperature at 8:20. A convention of ours.
ONE_ASSESSMENT_S = HOUR

# The last four are words of a diagnosis: its criteria are met, met but for an exclusion, met in part, or its forerunner is there.
STATUS = pl.Enum(["graded", "not_met", "incomplete", "not_applicable", "criteria_met", "possible", "suspected", "watch"])
MEASURES = pl.List(pl.Struct({"name": pl.String, "value": pl.Float64}))
_NO_MEASURES = lit([], MEASURES)

GRADES: dict[str, Any] = {
    "subject_id": None,  # as in the timeline
    "infusion": pl.Int32,
    "toxicity": pl.String,
    "scale": pl.String,
    "start": pl.Datetime("us"),
    "end": pl.Datetime("us"),
    "grade": pl.Int8,
    "grade_upper": pl.Int8,
    "upper_assessed": pl.Int8,
    "status": STATUS,
    "group": pl.String,
    "criteria": pl.List(pl.String),
    "missing": pl.List(pl.String),
    "flags": pl.List(pl.String),
    "evidence": pl.List(pl.Int64),
    "measures": MEASURES,
    "rules": pl.String,
    "options": pl.String,
}


@dataclass(frozen=True, eq=False)  # eq=False: `==` on a Polars expression is an expression
class Criterion:
    """One cell of a published table: met, unmet, or unknown (null). A cell of grade 0 is a feature: it counts towards another cell, and is told
    where it holds, or where it is unknown.

    `evidence` names the columns that hold the `event_id` of the rows behind it. `assessed` is `when` without what an earlier gap
    in charting leaves open, where the two differ. `mark` says what stands behind the cell: V checked against a source, M from memory,
    `M?` from memory and to be checked, P a convention of this project.
    """

    grade: int
    axis: str
    text: str
    when: pl.Expr
    evidence: tuple[str, ...] = ()
    gated: bool = True
    assessed: pl.Expr | None = None
    mark: str = "V"

    @property
    def label(self) -> str:
        """The cell as results show it; what is not checked or not published says so."""
        return self.text if self.mark == "V" else f"{self.text} [{self.mark}]"


@dataclass(frozen=True, eq=False)
class Scale:
    """A published scale: its table, its source, and how its inputs are drawn from a record.

    Attributes:
        title: the scale as people write it.
        source, also: the paper of the table, and others that its inputs or options stand on; keys of `evidence.sources`.
        default: whether it is the scale of its toxicity where none is named.
        window: instead of `state`, for scales that give one row a course: `(Record, Options, Scale) -> grade rows`, as `course_rows` makes them.
        needs: concepts of which one must be charted for there to be anything to say; without them no course is looked at.
        lasts: whether a toxicity of one row a course has an end within its window; without one it has no duration.
        status: words of a diagnosis, null where the usual ones serve.
        group: a class beside the grade, such as a phenotype.
        measures: numbers that go with each row; a score comes first.
        observed: whether what the scale reads was charted at that very time.
        gate: what must hold before any gated criterion counts (null: unknown); `gate_assessed` the same without what an
            earlier gap in charting leaves open.
        gate_evidence: columns with the rows behind the gate.
        flags: warnings, by name.
        state: `(Record, Options) -> frame` with `course, at, last_at, observed` and the columns that the table reads.
        applies: whether the scale is for this subject and time at all.
        met: where false, grade 0 reads `not_met` (the syndrome is absent) and not `graded` (assessed and normal).
        present: whether the toxicity is there, for episodes.
        hidden: when it may go on unseen, such as under sedation; that time does not part two episodes, and is no look that could show an end.
        between: when a time without signs lies between two; that time does not part two episodes either.
    """

    name: str
    title: str
    toxicity: str
    source: str
    version: str
    criteria: Callable[[Options], tuple[Criterion, ...]]
    codes: tuple[str, ...]
    options: tuple[str, ...]
    also: tuple[str, ...] = ()
    state: Callable[[Record, Options], pl.DataFrame] | None = None
    window: Callable[[Record, Options, Scale], pl.LazyFrame] | None = None
    default: bool = True
    needs: tuple[str, ...] = ()
    lasts: bool = True
    status: pl.Expr | None = None
    group: pl.Expr | None = None
    measures: dict[str, pl.Expr] | None = None
    observed: pl.Expr = col("observed")
    gate: pl.Expr = lit(True)
    gate_assessed: pl.Expr | None = None
    gate_evidence: tuple[str, ...] = ()
    applies: pl.Expr = lit(True)
    met: pl.Expr = lit(True)
    present: pl.Expr = col("grade") > 0
    flags: dict[str, pl.Expr] | None = None
    hidden: pl.Expr | None = None
    between: pl.Expr = lit(False)
    marks: dict[str, str] | None = None

    @property
    def rules(self) -> str:
        """Name and version, as results carry them."""
        return f"{self.name}@{self.version}"

    @property
    def papers(self) -> tuple[str, ...]:
        """The keys of all papers that it stands on."""
        return (self.source, *self.also)

    @property
    def family(self) -> str:
        """Scales of one family take turns by age; a subject has one worst grade a family."""
        return self.toxicity if self.default else self.name


def quiet_once(states: pl.DataFrame, quiet: pl.Expr, warnings: tuple[str, ...] = ()) -> pl.DataFrame:
    """Keep one row of each stretch in which nothing can count, so that it is not assessed at every charting.

    Args:
        quiet: the gate is surely shut, and no outcome happens.
        warnings: columns that may be told all the same; where they change, a row stays.
    """
    died = (col("at") == col("death_at")).fill_null(False)
    same = [col(c).shift(1).eq_missing(col(c)) for c in ("course", *warnings)]
    again = quiet & quiet.shift(1).fill_null(False) & ~died & ~died.shift(1).fill_null(False) & pl.all_horizontal(same)
    return states.filter(~again)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is asked of the states of a scale: expressions made once, for all shards."""

    criteria: tuple[Criterion, ...]
    axes: list[str]
    flags: list[str]
    measures: list[str]
    steps: tuple[list[pl.Expr], ...]
    changed: pl.Expr
    look: pl.Expr
    evidence: dict[str, pl.Expr]  # for each column, where it stands behind the grade


@lru_cache(maxsize=256)
def _plan(scale: Scale, chosen: tuple[tuple[str, Any], ...]) -> _Plan:
    criteria = scale.criteria(Options(dict(chosen)))
    gate_assessed = scale.gate if scale.gate_assessed is None else scale.gate_assessed
    held = {f"_c{n}": scale.gate & c.when if c.gated else c.when for n, c in enumerate(criteria)}
    cells = [(f"_c{n}", c) for n, c in enumerate(criteria)]
    cells_assessed = list(cells)
    for n, c in enumerate(criteria):
        # Where the two do not differ there is one column.
        if c.assessed is not None or (c.gated and scale.gate_assessed is not None):
            when = c.when if c.assessed is None else c.assessed
            held[f"_a{n}"] = gate_assessed & when if c.gated else when
            cells_assessed[n] = (f"_a{n}", c)
    axes = list(dict.fromkeys(c.axis for c in criteria))
    gap = col("upper_assessed") < col("grade_upper")
    flags = {"stale": gap & ~col("_seen"), "earlier_gap": gap & col("_seen")} | (scale.flags or {})
    measures = scale.measures or {}
    known = {"_held": [col(c).fill_null(False) for c, _ in cells], "_open": [col(c).is_null() for c, _ in cells]}
    if cells_assessed != cells:
        known |= {
            "_held_now": [col(c).fill_null(False) for c, _ in cells_assessed],
            "_open_now": [col(c).is_null() for c, _ in cells_assessed],
        }
    # An assessment stands until something becomes known or unknown, or what was charted expires: a row that is there for the sake of
    # another finding changes nothing.
    turn = col("_observed") | _any_new("course", "_applies", "_ids", *known)
    assessed = ("_held_now", "_open_now") if cells_assessed != cells else ("_held", "_open")
    held_or_open, held_or_open_now = (col(h) | col(o) for h, o in (("_held", "_open"), assessed))
    steps = (
        [*_named(held), *_named({"_applies": scale.applies, "_met": scale.met, "_observed": scale.observed.fill_null(False)})],
        _named({name: _bits(conditions) for name, conditions in known.items()}),
        _named({
            "grade": _worst(criteria, col("_held")),
            "grade_upper": _worst(criteria, held_or_open),
            "upper_assessed": _worst(criteria, held_or_open_now),
            # An outcome such as death is known without a charting round.
            "_outcome": _worst(criteria, held_or_open_now, lambda c: not c.gated),
            "_seen": pl.when(turn).then("_observed").forward_fill(),
        }),
        _named({
            "upper_assessed": pl.max_horizontal("grade", pl.when("_seen").then("upper_assessed").otherwise("_outcome")),
            "_higher": pl.when("_applies").then(col("_open") & _at_grade(criteria, lambda c, grade: c.grade == 0 or c.grade > grade)).otherwise(0),
        }),
        _named({
            "_flags": _bits([f.fill_null(False) & col("_applies") for f in flags.values()]),
            "_criteria": col("_held") & _at_grade(criteria, lambda c, grade: c.grade in (0, grade)),
            # What is unknown and could raise the grade.
            "_missing": _bits([(col("_higher") & _mask(criteria, lambda c, axis=axis: c.axis == axis)) != 0 for axis in axes]),
            "status": _status() if scale.status is None else pl.coalesce(pl.when("_applies").then(scale.status), _status()),
            "present": scale.present,
            "_bridge": (scale.between if scale.hidden is None else scale.between | scale.hidden).fill_null(False),
            "_group": lit(None, pl.String) if scale.group is None else scale.group,
            **{f"_m{n}": m.cast(pl.Float64) for n, m in enumerate(measures.values())},
        }),
    )  # fmt: skip
    same = ["course", "grade", "grade_upper", "upper_assessed", "status", "present", "_bridge", "_flags", "_criteria", "_missing"]
    same += [*(["_group"] if scale.group is not None else []), *(f"_m{n}" for n in range(len(measures)))]
    return _Plan(criteria, axes, list(flags), list(measures), steps, _any_new(*same), _look(scale), _evidence(criteria, scale))


def _look(scale: Scale) -> pl.Expr:
    """Where nothing is hidden, the time itself; where it is, the next time at which somebody looked and there was no sign."""
    if scale.hidden is None:
        return col("at")
    hidden = scale.hidden.fill_null(False)
    shown = col("_applies") & ~hidden & ~col("present").fill_null(False) & (col("_observed") | (col("grade_upper") == 0))
    return pl.when(~hidden).then("at").otherwise(pl.when(shown).then("at").backward_fill())


def _any_new(*columns: str) -> pl.Expr:
    """Whether a column differs from the row before."""
    return pl.any_horizontal(col(c).ne_missing(col(c).shift(1)) for c in columns)


def assess(states: pl.DataFrame, scale: Scale, options: Options, *, hindsight: bool = True) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Grade every state row and join rows in which nothing changed.

    Args:
        states: what `scale.state` gives; sorted by `at`.
        hindsight: whether what one charting left open is not open where another settled it within `ONE_ASSESSMENT_S`.
    Returns:
        `course, at, last_at` (end of the record), `end_at`, the columns of `GRADES` from `grade` to `measures` but `evidence`, `present`, `bridge`
        (no gap between episodes), `look_at` (`at`, or the next look behind what is hidden), `stale` and `charted` (what the scale reads was), a row a stretch; `end_at` is null
        where the record ends, `look_at` where nobody looked again, and it may lie in a later course; `criteria`, `missing` and `flags` are bits, whose `names` are to be had.
        Beside them the rows behind: `row` (number), `id`, in no order.
    """
    plan = _plan(scale, tuple(options.items()))
    lists = {name for name, dtype in states.schema.items() if dtype == pl.List}
    ids = (col(c).list.sum() if c in lists else col(c) for c in plan.evidence)
    lazy = states.lazy().with_columns(_ids=pl.sum_horizontal(*ids, lit(0, pl.Int64)))  # changes where a row comes or goes
    for step in plan.steps:
        lazy = lazy.with_columns(step)
    lazy = lazy.with_columns(_look=plan.look)
    rows = lazy.filter(plan.changed).select(
        "course",
        "at",
        "last_at",
        "grade",
        "grade_upper",
        end_at=pl.when(col("course").shift(-1) == col("course")).then(col("at").shift(-1)),
        upper_assessed=_settled("upper_assessed") if hindsight else col("upper_assessed"),
        status=col("status").cast(STATUS),
        group="_group",
        criteria="_criteria",
        missing="_missing",
        flags="_flags",
        measures=_NO_MEASURES,
        present=col("present").fill_null(False),
        bridge="_bridge",
        look_at="_look",
        stale=(col("_flags") & 1) != 0,  # the first of the flags
        charted="_seen",
        **{f"_m{n}": col(f"_m{n}") for n in range(len(plan.measures))},
        **{f"_e{n}": pl.when(met).then(c) for n, (c, met) in enumerate(plan.evidence.items())},
    ).collect(engine="in-memory")  # fmt: skip
    behind = _behind(rows, len(plan.evidence))
    if plan.measures and rows.height:
        rows = rows.with_columns(_each(rows, plan.measures).alias("measures"))
    return rows.select(c for c in rows.columns if not c.startswith(("_m", "_e"))), behind


def names(scale: Scale, options: Options) -> dict[str, list[str]]:
    """The words behind the bits of `criteria`, `missing` and `flags` that `assess` gives, the lowest bit first."""
    plan = _plan(scale, tuple(options.items()))
    return {"criteria": [c.label for c in plan.criteria], "missing": plan.axes, "flags": plan.flags}


def _named(exprs: dict[str, pl.Expr]) -> list[pl.Expr]:
    return [e.alias(name) for name, e in exprs.items()]


def measured(measures: dict[str, pl.Expr]) -> pl.Expr:
    """Numbers by name, those that are known."""
    if not measures:
        return _NO_MEASURES
    each = [pl.struct(name=lit(n), value=m.cast(pl.Float64)) for n, m in measures.items()]
    # Lists that are filtered out of arrays cost a tenth of lists that are built row by row.
    known = pl.element().filter(pl.element().struct.field("value").is_not_null())
    return pl.concat_arr(each).arr.to_list().list.eval(known)


def _each(rows: pl.DataFrame, names: list[str]) -> pl.Series:
    """The columns `_m0, _m1 ...` as numbers by name, known or not."""
    # Lists built row by row cost ten times as much as numbers that are laid out in a row and folded.
    values = rows.select(pl.concat_arr(f"_m{n}" for n in range(len(names)))).to_series().explode()
    place = pl.int_range(len(values), eager=True) % len(names)
    flat = pl.DataFrame({"name": pl.Series(names).gather(place), "value": values}).to_struct()
    return flat.reshape((rows.height, len(names))).arr.to_list()


def _mask(criteria: tuple[Criterion, ...], chosen: Callable[[Criterion], bool]) -> pl.Expr:
    """The bits of some cells."""
    return lit(sum(1 << n for n, c in enumerate(criteria) if chosen(c)), pl.Int32)


def _at_grade(criteria: tuple[Criterion, ...], chosen: Callable[[Criterion, int], bool]) -> pl.Expr:
    """The bits of the cells that are chosen at a row's grade."""
    grades = sorted({0, *(c.grade for c in criteria)})
    return pl.coalesce(pl.when(col("grade") == g).then(_mask(criteria, lambda c, g=g: chosen(c, g))) for g in grades)


def _settled(upper: str) -> pl.Expr:
    """What one charting left open and another settled within `ONE_ASSESSMENT_S` is not open."""
    followed = (col("course").shift(-1) == col("course")) & (col("at").shift(-1) - col("at") < ONE_ASSESSMENT_S)
    return pl.when(followed.fill_null(False)).then("grade").otherwise(upper)


def _worst(criteria: tuple[Criterion, ...], bits: pl.Expr, among: Callable[[Criterion], bool] = lambda c: True) -> pl.Expr:
    """The highest grade of the cells whose bits are set."""
    worst = lit(0, pl.Int8)
    for g in sorted({c.grade for c in criteria if among(c)}):
        worst = (
            pl.when((bits & _mask(criteria, lambda c, g=g: among(c) and c.grade == g)) != 0)
            .then(lit(g, pl.Int8))
            .otherwise(worst)
        )
    return pl.when("_applies").then(worst).otherwise(lit(0, pl.Int8))


def _status() -> pl.Expr:
    return (
        pl.when(~col("_applies")).then(lit("not_applicable"))
        .when(col("grade") < col("grade_upper")).then(lit("incomplete"))
        .when((col("grade") == 0) & ~col("_met").fill_null(False)).then(lit("not_met"))
        .otherwise(lit("graded"))
    )  # fmt: skip


def _bits(conditions: list[pl.Expr]) -> pl.Expr:
    return pl.sum_horizontal(c.cast(pl.Int32) * (1 << n) for n, c in enumerate(conditions))


def _evidence(criteria: tuple[Criterion, ...], scale: Scale) -> dict[str, pl.Expr]:
    """The columns with the rows behind the gate and behind each cell, and where they stand behind the grade."""
    behind: dict[str, int] = {}  # for each column, the cells that it stands behind
    for n, criterion in enumerate(criteria):
        for column in criterion.evidence:
            behind[column] = behind.get(column, 0) | (1 << n)
    always = dict.fromkeys(scale.gate_evidence, lit(True))
    return always | {c: (col("_criteria") & cells) != 0 for c, cells in behind.items() if c not in always}


def _behind(rows: pl.DataFrame, n: int) -> pl.DataFrame:
    """The columns `_e0, _e1 ...` one under the other: `row` (number), `id`."""
    row = pl.int_range(rows.height, dtype=pl.Int64, eager=True)
    columns = [rows[f"_e{i}"] for i in range(n)]
    one = [c.cast(pl.Int64).alias("id") for c in columns if c.dtype != pl.List]
    parts = [pl.DataFrame({"row": pl.concat([row] * len(one)), "id": pl.concat(one)})] if one else []
    # A score of several items has a list.
    parts += [pl.DataFrame({"row": row, "id": c}).explode("id") for c in columns if c.dtype == pl.List]
    return pl.concat(parts).drop_nulls() if parts else pl.DataFrame(schema={"row": pl.Int64, "id": pl.Int64})


def evidence(behind: pl.DataFrame, height: int) -> pl.Series:
    """Of each of so many rows the `id` of `behind` (`row, id`) as a list, each once, sorted."""
    # Sorting all at once costs a tenth of sorting list by list, and one number a fifth of two columns.
    least = behind["id"].min() or 0
    span = (behind["id"].max() or 0) - least + 1  # type: ignore[operator]
    if span * max(height, 1) < 1 << 63:
        keys = behind.lazy().select(key=col("row") * span + (col("id") - least)).sort("key")
        each = keys.filter((col("key") != col("key").shift(1)).fill_null(True))
        each = each.select(row=(col("key") // span).set_sorted(), id=col("key") % span + least)
    else:  # ids of someone else's that are far apart
        each = behind.lazy().unique().sort("row", "id")
    lists = each.group_by("row", maintain_order=True).agg("id").collect(engine="in-memory")
    place = pl.repeat(None, height, dtype=pl.UInt32, eager=True)
    place = place.scatter(lists["row"], pl.int_range(lists.height, dtype=pl.UInt32, eager=True))
    return lists["id"].gather(place).fill_null(pl.Series([[]], dtype=pl.List(pl.Int64)))


def beside(rows: pl.DataFrame, n: int, record: Record) -> pl.DataFrame:
    """Assessed rows of the n-th scale on a stretch of the axis of their own, so that all scales go on together."""
    shift = n * max(record.courses.height, 1)
    return rows.with_columns(col("course") + shift, *(col(c) + shift * SPAN for c in ("at", "end_at", "last_at", "look_at")))


def to_times(rows: pl.DataFrame, record: Record, *columns: str) -> pl.DataFrame:
    """Rows of several scales with their `_scale`, subject and infusion, and times for columns on the axis."""
    each = max(record.courses.height, 1)
    return clock(rows.with_columns(col("course") % each, _scale=col("course") // each), record.courses, *columns)


def episodes(rows: pl.DataFrame, gap_h: float, resolution_h: float) -> pl.DataFrame:
    """Episodes from graded rows: stretches in which the toxicity is present, joined across gaps shorter than `gap_h`.

    Returns:
        `course, episode, at, end_at, last_at, max_grade, max_grade_upper`. `end_at` is the first charted clear time after the last
        sign (`last_at`), if it comes within `gap_h`; it is null where it does not, or where fewer than `resolution_h` hours of record
        follow it and no other episode does. Where that time is hidden, a look behind it must show that there was an end: `gap_h` then counts
        from where it is no longer hidden, and `resolution_h` from the look.
    """
    gap = int(gap_h * HOUR)
    rows = rows.select(
        "course",
        "at",
        "end_at",
        "grade",
        "upper_assessed",
        "present",
        "bridge",
        "look_at",
        seen=~col("stale"),
        record_end="last_at",
    )
    there = rows.filter(col("present") | col("bridge"))
    stop = pl.coalesce("end_at", pl.max_horizontal("at", "record_end"))
    # Rows follow one another in time and course by course: comparing neighbours costs a tenth of windows over courses.
    parted = (col("course") != col("course").shift(1)) | (col("at") - col("stop").shift(1) >= gap)
    there = there.with_columns(stop=stop).with_columns(spell=parted.fill_null(True).cum_sum())
    # What is hidden before the first sign or after the last is no part of the episode.
    signs = there.filter("present").group_by("spell").agg(first=col("at").min(), last=col("stop").max())
    veiled = there.filter((col("spell") != col("spell").shift(-1)).fill_null(True)).select("spell", veiled="stop")
    there = there.join(signs, on="spell", maintain_order="left")
    there = there.filter(col("present") | ((col("at") >= col("first")) & (col("at") < col("last"))))
    found = there.group_by("spell", maintain_order=True).agg(
        course=col("course").first(),
        at=col("at").min(),
        last_at=col("last").first(),
        max_grade=col("grade").max(),
        max_grade_upper=pl.max_horizontal(col("grade").max(), col("upper_assessed").max()),
        record_end=col("record_end").first(),
    )
    found = found.join(veiled, on="spell", maintain_order="left")
    found = found.with_columns(episode=col("spell").rank("dense").over("course").cast(pl.Int32)).drop("spell")
    clear = rows.filter(~col("present") & col("seen")).select("look_at", clear_at="at").with_columns(col("clear_at").set_sorted())
    found = found.sort("last_at").join_asof(clear, left_on="last_at", right_on="clear_at", strategy="forward").sort("at")
    # A clear reading after a long silence does not say when the signs went.
    own = (
        (col("look_at") // SPAN == col("course"))
        & (col("clear_at") - col("last_at") < gap)
        & (col("look_at") - col("veiled") < gap)
    )
    another = (col("course").shift(-1) == col("course")).fill_null(False)
    ended = another | (col("record_end") - col("look_at") >= int(resolution_h * HOUR))
    return found.with_columns(end_at=pl.when(ended & own).then("clear_at")).drop("record_end", "clear_at", "look_at", "veiled")
