"""B-cell aplasia and hypogammaglobulinaemia: values that stand for weeks. The cuts differ by trial."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade.options import Options
from aftercar.grade.scale import Criterion, Scale
from aftercar.timeline.state import SPAN, Record, calendar_day, grid, look, midnight, of_course, origin, readings
from aftercar.timeline.subjects import ALL_LEUKAEMIA

FRACTION_CUT = 3.0  # percent of lymphocytes
IGG_CUT = 400.0  # mg/dL
EARLY_LOSS_D = 183  # B cells back so soon tell that the CAR-T cells are gone
IVIG_D = 28  # a value measured so soon after immunoglobulin is partly what was given


def b_cell_criteria(options: Options) -> tuple[Criterion, ...]:
    """By count or by share of lymphocytes; where only one of the two is charted, that one says."""
    cut, stands = float(options["bca_cut"]), pl.any_horizontal(col(f"{c}_low").is_not_null() for c in ("count", "fraction"))

    def low(column: str) -> pl.Expr:
        return pl.when(stands).then(col(f"{column}_low").fill_null(False))

    return (
        Criterion(1, "B cells", f"B cells < {cut:g}/uL", low("count"), ("count_event_id",), mark="M?"),
        Criterion(1, "B cells", f"B cells < {FRACTION_CUT:g} % of lymphocytes", low("fraction"), ("fraction_event_id",), mark="M?"),
    )  # fmt: skip


def igg_criteria(options: Options) -> tuple[Criterion, ...]:
    """Severe hypogammaglobulinaemia."""
    return (Criterion(1, "IgG", f"IgG < {IGG_CUT:g} mg/dL", col("igg_low"), ("igg_event_id",), mark="M"),)


def b_cells(record: Record, options: Options) -> dict[str, pl.DataFrame]:
    """Counts and shares of B cells: `at, until, value, low, day, course` and the row behind each."""
    return {
        "count": _judged(record, "b_cells", float(options["bca_cut"])),
        "fraction": _judged(record, "b_cell_fraction", FRACTION_CUT),
    }


def igg(record: Record) -> pl.DataFrame:
    """IgG in the same shape."""
    return _judged(record, "igg", IGG_CUT)


def _judged(record: Record, code: str, cut: float) -> pl.DataFrame:
    """Readings since the infusion; `low` is below the cut and not due to another cause."""
    return record.once(("judged", code, cut), lambda: _readings_with_day(record, code, cut))


def _readings_with_day(record: Record, code: str, cut: float) -> pl.DataFrame:
    found = readings(record, code).filter((col("at") >= origin(col("at"))) & col("value").is_not_null())
    found = found.with_columns(course=col("at") // SPAN, low=(col("value") < cut) & ~col("excluded"))
    return found.with_columns(_day(record, found))


def _day(record: Record, rows: pl.DataFrame) -> pl.Series:
    zero = of_course(record.courses.select(midnight=midnight()), rows["course"], "midnight")
    return rows.select("at", *zero).select(day=calendar_day(col("at"), col("midnight"))).to_series()


def b_cell_state(record: Record, options: Options) -> pl.DataFrame:
    """Aplasia at each time, and whether B cells are back early after it (`lost`)."""
    tables = b_cells(record, options)
    low = pl.concat([t.filter("low").select("course", "day") for t in tables.values()])
    began = low.group_by("course").agg(began=col("day").min())
    for name, table in tables.items():
        table = table.join(began, on="course", how="left", maintain_order="left")
        lost = ~col("low") & ~col("excluded") & (col("day") >= col("began")) & (col("day") - col("began") <= EARLY_LOSS_D)
        tables[name] = table.with_columns(lost=lost.fill_null(False)).drop("began", "course", "day")
    frame = _states(record, tables)
    leukaemia = record.courses.select("course", leukaemia=col("disease").str.contains(ALL_LEUKAEMIA).fill_null(False))
    frame = frame.join(leukaemia, on="course", how="left", maintain_order="left")
    lost = pl.any_horizontal(col(f"{n}_lost").fill_null(False) for n in tables)
    aplastic = pl.any_horizontal(col(f"{n}_low").fill_null(False) for n in tables)
    return frame.with_columns(lost=lost & ~aplastic & col("leukaemia"))


def igg_state(record: Record, options: Options) -> pl.DataFrame:
    """IgG at each time, and whether immunoglobulin was given in the weeks before the value that stands."""
    values = igg(record)
    given = record.of("ivig").filter((col("numeric_value") != 0).fill_null(True)).select("at", "course")
    given = given.with_columns(_day(record, given).alias("given"), col("at").set_sorted())
    values = values.join_asof(given.rename({"course": "given_course"}), on="at", strategy="backward", coalesce=True)
    recent = (col("given_course") == col("course")) & (col("day") - col("given") <= IVIG_D)
    values = values.with_columns(ivig=recent.fill_null(False)).drop("given", "given_course", "course", "day")
    return _states(record, {"igg": values})


def _states(record: Record, tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """A row a time at which a value is charted or expires; `charted` says whether the course has any value."""
    frame = look(grid(record, *tables.values()), tables)
    any_value = pl.concat([t.select(course=col("at") // SPAN) for t in tables.values()]).unique().with_columns(charted=lit(True))
    frame = frame.join(any_value, on="course", how="left", maintain_order="left")
    return frame.with_columns(
        col("charted").fill_null(False),
        observed=pl.any_horizontal(col(f"{n}_at") == col("at") for n in tables).fill_null(False),
        unsure=pl.any_horizontal((col(f"{n}_unsure") & col(f"{n}_low")).fill_null(False) for n in tables),
    )


_OPTIONS = ("day0", "unknown_attribution", "resolution_h", "new_episode_gap_h")

B_CELL_APLASIA = Scale(
    name="b_cell_aplasia", title="B-cell aplasia", toxicity="b_cell_aplasia", source="lecture", version="1",
    criteria=b_cell_criteria, state=b_cell_state, codes=("b_cells", "b_cell_fraction"), options=("bca_cut", *_OPTIONS),
    applies=col("charted"), flags={"early_loss": col("lost"), "attribution_unknown": col("unsure")},
    marks={"cut": "M?", "90 days": "P", "early loss": "M?"},
)  # fmt: skip

HYPOGAMMAGLOBULINAEMIA = Scale(
    name="hypogammaglobulinaemia", title="Hypogammaglobulinaemia", toxicity="hypogammaglobulinaemia", source="lecture", version="1",
    criteria=igg_criteria, state=igg_state, codes=("igg", "ivig"), options=_OPTIONS,
    applies=col("charted"), flags={"ivig": col("igg_ivig"), "attribution_unknown": col("unsure")},
    marks={"cut": "M", "30 days": "P", "28 days": "M"},
)  # fmt: skip

SCALES = (B_CELL_APLASIA, HYPOGAMMAGLOBULINAEMIA)
