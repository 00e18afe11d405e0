"""What `test_properties.py` asks of the default scales, of all others: order, company, and that hiding a finding only widens."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars import col, lit
from polars.testing import assert_frame_equal
from test_differential_scales import COUNTS, GROUPS, LATE, at, ours
from test_properties import COPY, DRUGS, OXYGEN, PRESSURE, SEEDS, SEIZURE, copies, few, last_rows, tables

from aftercar.grade.run import grade_timeline
from aftercar.grade.scale import evidence

# What is hidden together, and the stream that no longer counts as complete.
HIDDEN: dict[str, dict[str, tuple[tuple[str, ...], str | None]]] = {
    "crs": {
        "temperature": (("temperature",), None),
        "blood pressure": (PRESSURE, None),
        "vasopressors": (DRUGS, "drugs"),
        "oxygen": (OXYGEN, None),
        "creatinine": (("creatinine",), "organ"),
        "liver": (("alt", "ast", "bilirubin"), "organ"),
    },
    "labs": {n: ((n,), "organ") for n in ("creatinine", "bilirubin", "anc", "platelets", "hemoglobin", "fibrinogen")},
    "neuro": {
        "score": (("cartox",), None),
        "motor": (("motor", "cartox"), "motor"),
        "seizure": ((*SEIZURE, "cartox"), "seizure"),
    },
    "hlh": {n: ((n,), None) for n in ("ferritin", "fibrinogen", "anc", "platelets", "triglycerides", "ldh")},
    "counts": {n: ((n,), None) for n in ("anc", "platelets")},
    "late": {"IgG": (("igg",), None), "B cells": (("b_cells", "b_cell_fraction"), None)},
}


# What nobody charted is not claimed: effects off the tumour, and the periods of the lineages that were counted.
COUNTED_ONLY = ("off_tumour", "cytopenia_split")


def cohort(name: str, seed: int, n: int) -> pl.DataFrame:
    """Random subjects of a group, their rows numbered, whose last row is one that no grader reads."""
    group = GROUPS[name]
    timeline = group.make(np.random.default_rng(seed), n, group.families)
    rows = pl.concat([timeline.drop("event_id"), last_rows(timeline)], how="diagonal_relaxed")
    return rows.sort("subject_id", "time", maintain_order=True).with_row_index("event_id")


@pytest.mark.parametrize("name", GROUPS)
@few(2)
@given(SEEDS)
def test_order_of_rows_changes_no_table(name: str, seed: int) -> None:
    timeline = cohort(name, seed, 40)
    shuffled = timeline.sample(fraction=1, shuffle=True, seed=seed % 2**31)
    scales = GROUPS[name].scales
    for a, b in zip(tables(grade_timeline(timeline, scales)), tables(grade_timeline(shuffled, scales)), strict=True):
        assert_frame_equal(a, b)


@pytest.mark.parametrize("name", GROUPS)
@few(1)
@given(SEEDS)
def test_company_changes_nothing(name: str, seed: int) -> None:
    """Neither other subjects nor other scales change what a scale says of a subject."""
    timeline, scales = cohort(name, seed, 5), GROUPS[name].scales
    alone = [
        tables(grade_timeline(rows, [scale]))
        for _, rows in timeline.group_by("subject_id", maintain_order=True)
        for scale in scales
    ]
    for n, together in enumerate(tables(grade_timeline(timeline, ["all"]))):
        apart = pl.concat([one[n] for one in alone])
        keys = [c for c in ("subject_id", "infusion", "scale", "start", "episode") if c in together.columns]
        assert_frame_equal(together.filter(col("scale").is_in(scales)).sort(keys), apart.select(together.columns).sort(keys))


@pytest.mark.parametrize("name", GROUPS)
@few(2)
@given(SEEDS)
def test_hiding_a_finding_only_widens(name: str, seed: int) -> None:
    timeline, scales = cohort(name, seed, 40).drop("event_id"), [s for s in GROUPS[name].scales if s not in COUNTED_ONLY]
    # That a person attributes signs to the cells says how the record is kept: hiding it would change more than the finding.
    timeline = timeline.with_columns(attributable_to=pl.when(col("attributable_to") != "iec").then("attributable_to"))
    changed = []
    for codes, stream in HIDDEN[name].values():
        declared = (col("code") == "record_complete") & (col("text_value") == lit(stream, pl.String))
        changed.append(timeline.filter(~col("code").is_in(codes), ~declared.fill_null(False)))
    said = ours(grade_timeline(copies(timeline, changed), scales))
    found = []
    for n, what in enumerate(HIDDEN[name], start=1):
        for (subject_id, infusion, scale), rows in said.items():
            if subject_id >= COPY:
                continue
            full, hidden = steps(rows), steps(said.get((subject_id + COPY * n, infusion, scale), []))
            if not hidden:
                continue
            once = scale in COUNTS or scale in LATE
            for t in [full[0][0]] if once else sorted({t for t, _ in (*full, *hidden)}):
                before, after = at(full, t), (hidden[0][1] if once else at(hidden, t))
                if before is None or after is None:
                    continue
                (low, high), (wide_low, wide_high) = before, after
                if not wide_low <= low <= high <= wide_high:
                    hour = (t - full[0][0]) / 3600
                    found.append(f"{what} of {subject_id} hidden: {scale} at {hour:.4f} h {before}, then {after}")
                    break
    assert not found, "\n".join([f"{len(found)} differences", *found[:10]])


def steps(rows: list[dict[str, object]]) -> list[tuple[int, tuple[int, int]]]:
    """The bounds over time; a row to which the scale does not apply says nothing."""
    return [(int(r["start"].timestamp()), (r["grade"], r["grade_upper"])) for r in rows if r["status"] != "not_applicable"]


def test_a_statement_about_a_count_counts_whatever_else_is_graded() -> None:
    """That a person attributed a platelet count to the cells says how the record is kept, also where no scale of counts is asked for."""
    timeline = pl.DataFrame(
        {
            "subject_id": [1, 1, 1],
            "time": ["2024-01-01T10:00", "2024-01-01T12:00", "2024-01-02T10:00"],
            "code": ["cart_infusion", "temperature", "platelets"],
            "numeric_value": [None, 36.8, 30.0],
            "attributable_to": [None, None, "iec"],
        }
    ).with_columns(col("time").str.to_datetime(time_unit="us"))
    alone, together = (grade_timeline(timeline, s).worst.filter(scale="crs_lee2014") for s in (["crs_lee2014"], ["all"]))
    assert alone.equals(together) and alone["grade_upper"].item() == 4


IDS = st.one_of(st.integers(0, 9), st.integers(-(1 << 63), (1 << 63) - 1))  # ours, or someone else's


@given(st.lists(st.tuples(st.integers(0, 5), IDS)), st.integers(6, 9))
def test_evidence_is_each_row_once_in_order(pairs: list[tuple[int, int]], height: int) -> None:
    behind = pl.DataFrame(pairs, schema={"row": pl.Int64, "id": pl.Int64}, orient="row")
    assert evidence(behind, height).to_list() == [sorted({i for r, i in pairs if r == n}) for n in range(height)]
