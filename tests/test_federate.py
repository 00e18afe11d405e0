"""Counts that leave a site: no small cell can be worked out from them, nothing else is in them, and sites add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from commands import run
from graded import example
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from polars import col

from aftercar.cohort.outcome import COURSE
from aftercar.errors import InputError, OptionError
from aftercar.grade.results import Results, open_results
from aftercar.sites.counts import BANDS, CLASSES, NO, YES, ScaleCounts, Site, read_site, write_site
from aftercar.sites.hide import Sum, hidden
from aftercar.sites.pool import pool, write_pooled
from aftercar.sites.summarise import OTHER, summarise
from aftercar.synthesis.proportions import pooled

# ---- hiding


def solutions(values: list[int], sums: list[Sum], out: list[int]) -> list[dict[int, int]]:
    """All that a reader could think of the hidden cells, by trying every number that no sum forbids."""
    most = max(values)
    none = {p for s in sums if values[s.total] == 0 for p in s.parts}
    perhaps = {p for s in sums if {*out, *none}.issuperset(s.parts) for p in s.parts}  # others are 1 or more: 0 is told
    found: list[dict[int, int]] = []

    def go_on(cells: dict[int, int], left: list[int]) -> None:
        for s in sums:
            known = [cells[p] for p in s.parts if p in cells]
            if s.total in cells and (
                sum(known) > cells[s.total] or (len(known) == len(s.parts) and sum(known) != cells[s.total])
            ):
                return
        if not left:
            found.append(cells)
            return
        for guess in range(0 if left[0] in perhaps else 1, most + 1):
            go_on(cells | {left[0]: guess}, left[1:])

    go_on({n: v for n, v in enumerate(values) if n not in out}, out)
    return found


def table_of(rows: list[list[int]]) -> tuple[list[int], list[Sum]]:
    """Cells of a table with its row and column totals and the total of all."""
    height, width = len(rows), len(rows[0])
    values = [v for row in rows for v in row]
    sums, places = [], {(r, c): r * width + c for r in range(height) for c in range(width)}

    def total(parts: list[int]) -> int:
        values.append(sum(values[p] for p in parts))
        sums.append(Sum(len(values) - 1, tuple(parts)))
        return len(values) - 1

    by_row = [total([places[r, c] for c in range(width)]) for r in range(height)]
    by_column = [total([places[r, c] for r in range(height)]) for c in range(width)]
    whole = total(by_row)
    sums.append(Sum(whole, tuple(by_column)))
    return values, sums


@st.composite
def tables(draw: st.DrawFn) -> list[list[int]]:
    width = draw(st.integers(2, 3))
    return draw(st.lists(st.lists(st.integers(0, 6), min_size=width, max_size=width), min_size=2, max_size=3))


@settings(max_examples=80)
@given(tables(), st.integers(2, 4))
def test_no_small_cell_can_be_worked_out_from_margins(rows: list[list[int]], least: int) -> None:
    values, sums = table_of(rows)
    assume(values[-1] >= least)
    whole = len(values) - 1
    out = sorted(hidden(values, sums, least, public={whole}))
    small = [n for n, v in enumerate(values) if 0 < v < least]
    assert set(small) <= set(out)
    if not small:
        assert not out, "nothing is hidden without a reason"
    assume(len(out) <= 7)  # else there are too many to try
    thought = solutions(values, sums, out)
    for n in small:
        could = {cells[n] for cells in thought}
        assert len(could) > 1 and max(could) >= least


@settings(max_examples=60)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=5), st.lists(st.integers(0, 4), min_size=2, max_size=5))
def test_a_difference_of_two_tables_gives_nothing_away(first: list[int], more: list[int]) -> None:
    """Each cell of a second table holds one of the first: what lies between is hidden always."""
    n = min(len(first), len(more))
    first, more = first[:n], more[:n]
    values = [*first, *(a + b for a, b in zip(first, more, strict=True)), *more]
    sums = [Sum(n + k, (k, 2 * n + k)) for k in range(n)]
    out = hidden(values, sums, 3, secret=set(range(2 * n, 3 * n)))
    for k in range(n):
        if 0 < more[k] < 3:
            assert {k, n + k} & out, "else it is their difference"


def test_what_is_hidden_first_is_kept_whole_where_later_tables_can_give_way() -> None:
    # Two groups that add up to a row which is told: the groups give way, not the row.
    values = [9, 6, 2, 4, 7, 2]
    sums = [Sum(0, (2, 4)), Sum(1, (3, 5))]
    out = hidden(values, sums, 5, stage=[0, 0, 1, 1, 1, 1])
    assert not {0, 1} & out and {2, 3, 5} <= out and 4 in out


# ---- a site


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example(tmp_path_factory.mktemp("cohort"), ["crs", "icans", "crs_penn2018", "icaht_early"])


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return open_results(folder)


def part(results: Results, n: int, of: int, **run_: Any) -> Results:
    """Every so-manieth subject, as a site of its own."""
    ids = results.subjects["subject_id"].unique().sort()[n::of]
    own = results.run | {"timeline_fingerprint": f"part {n}"} | run_
    return results.having(own, subjects=results.subjects.filter(col("subject_id").is_in(ids.implode())))


@pytest.fixture(scope="module")
def site(results: Results) -> Site:
    return summarise(results, min_cell=5)


def cells_of(scale: ScaleCounts) -> list[int | None]:
    tables = [scale.worst, *(t for groups in scale.by.values() for t in groups.values())]
    found = [c for t in tables for c in t.values()]
    return found + [c for bands in scale.onset.values() for b in bands for c in (b.at_risk, b.events, b.competing, b.censored)]


@pytest.mark.parametrize("least", [3, 5, 11])
def test_no_small_cell_is_told(results: Results, least: int) -> None:
    found = summarise(results, min_cell=least)
    told = [c for s in found.scales.values() for c in cells_of(s) if c is not None]
    assert told and all(c == 0 or c >= least for c in told)
    assert all(n >= least for groups in found.groups.values() for n in groups.values())
    for s in found.scales.values():  # nor does it follow from two that are told
        for low, high in zip(*s.onset.values(), strict=True) if s.onset else ():
            for a, b in ((low.competing, high.competing), (low.censored, high.censored)):
                assert a is None or b is None or b - a == 0 or b - a >= least


def test_told_cells_are_the_counts_of_the_tables(results: Results, site: Site) -> None:
    worst = results.worst.join(results.subjects.filter(col("day0").is_not_null() & (col("infusion") == 1)), on=COURSE)
    for name, scales in {
        "crs": ["crs_astct2019"],
        "icans": ["icans_astct", "icans_astct_peds"],
        "icaht_early": ["icaht_early"],
    }.items():
        own = worst.filter(col("scale").is_in(scales)).to_dicts()
        counts = {
            "0": sum(r["grade_upper"] == 0 for r in own), "1-2": sum(r["grade"] >= 1 and r["grade_upper"] <= 2 for r in own), "3-5": sum(r["grade"] >= 3 for r in own),
        }  # fmt: skip
        for word, n in counts.items():
            assert site.scales[name].worst[word] in (None, n)
    assert site.scales["crs"].worst["0"] == 9 and site.scales["crs"].worst["1-2"] == 24
    assert site.courses == sum(site.groups["product"].values()) == sum(site.groups["disease"].values()) == 39


def test_a_cell_is_hidden_only_for_a_reason(results: Results) -> None:
    """Where no cell is small nothing is hidden."""
    found = summarise(results, min_cell=2)
    for name, scale in found.scales.items():
        if not any(c is None for c in scale.worst.values()):
            continue
        own = summarise(results, min_cell=2).scales[name].worst
        assert sum(c is None for c in own.values()) >= 2, "one alone would follow from the sum"


def test_nothing_but_counts_and_our_own_words_is_in_the_file(results: Results, tmp_path: Path) -> None:
    odd = results.having(
        subjects=results.subjects.with_columns(
            product=pl.when(col("subject_id") > "P-020").then(pl.lit("Dr Who's secret cells")).otherwise("product"),
            disease=pl.lit("seen on 3 May by Ann"),
        ),
    )
    write_site(summarise(odd), tmp_path / "s.json")
    text = (tmp_path / "s.json").read_text()
    assert "P-0" not in text and "2024" not in text and "secret" not in text and "Ann" not in text and "Made-up" not in text
    found = json.loads(text)
    assert set(found["groups"].get("product", {OTHER: 0})) <= {
        "axi-cel",
        "brexu-cel",
        "cilta-cel",
        "ide-cel",
        "liso-cel",
        "obe-cel",
        "tisa-cel",
        OTHER,
    }
    assert "disease" not in found["groups"], "one group is no breakdown"


def test_a_second_infusion_is_not_a_second_person(results: Results) -> None:
    again = results.subjects.filter(col("subject_id") == "P-001").with_columns(infusion=pl.lit(2, pl.Int32))
    found = summarise(results.having(subjects=pl.concat([results.subjects, again])))
    assert found.courses == 39


def test_too_few_subjects_are_not_counted_at_all(results: Results) -> None:
    with pytest.raises(InputError, match="fewer than 5 subjects"):
        summarise(part(results, 0, 10), min_cell=5)
    for how in ({"min_cell": 1}, {"site": "../x"}, {"site": ""}):
        with pytest.raises(OptionError):
            summarise(results, **how)  # type: ignore[arg-type]


# ---- several sites


def made(name: str, *scales: tuple[str, dict[str, int | None]], n: int = 30, **how: Any) -> Site:
    """A site with these worst grades and nothing else."""
    given: dict[str, Any] = {"rules": ["crs_astct2019@1"], "options": {"map_cut": 65}} | how
    counts = {
        s: ScaleCounts("crs", given["rules"], given["options"], dict.fromkeys(CLASSES, 0) | cells, {}, {}) for s, cells in scales
    }
    return Site("aftercar site counts", 1, "0", name, f"cohort of {name}", given.get("simulated", False), 5, n, {}, counts)


def test_sums_and_random_effects_are_those_of_the_sites() -> None:
    sites = [
        made("A", ("crs", {"0": 10, "1-2": 12, "3-5": 8})),
        made("B", ("crs", {"0": 20, "1-2": 5, "3-5": 5})),
        made("C", ("crs", {"0": 4, "1-2": 20, "3-5": 6})),
    ]
    row = pool(sites).pooled.filter(least_grade=3).row(0, named=True)
    assert (row["yes_least"], row["yes_most"], row["no_least"], row["sites"], row["sites_hidden"]) == (19, 19, 71, 3, 0)
    expected = pooled([8, 5, 6], [30, 30, 30])
    assert (row["random"], row["heterogeneity_p"]) == (expected.rate()[0], expected.p)
    assert row["share"] == 19 / 90


def test_hidden_cells_become_bounds_that_hold_the_truth(results: Results) -> None:
    parts = [part(results, n, 2) for n in range(2)]
    true = pool([summarise(p, min_cell=2, site=f"S{n}") for n, p in enumerate(parts)]).pooled
    bounded = pool([summarise(p, min_cell=5, site=f"S{n}") for n, p in enumerate(parts)]).pooled
    both = bounded.filter(col("by").is_null()).join(
        true.filter(col("by").is_null()), on=["scale", "variant", "least_grade"], suffix="_true"
    )
    assert both.height >= 8 and (both["sites_hidden"] > 0).any()
    for r in both.iter_rows(named=True):
        for name in ("yes", "no", "open", "not_applicable"):
            assert r[f"{name}_least"] <= r[f"{name}_most_true"] and r[f"{name}_least_true"] <= r[f"{name}_most"]
    worst = results.worst.filter((col("scale") == "crs_astct2019") & (col("status") != "not_applicable"))
    row = bounded.filter(col("by").is_null() & (col("scale") == "crs") & (col("least_grade") == 3)).row(0, named=True)
    assert row["yes_least"] <= (worst["grade"] >= 3).sum() <= row["yes_most"]


@settings(max_examples=15)
@given(st.lists(st.integers(0, 12), min_size=len(CLASSES), max_size=len(CLASSES)), st.sets(st.sampled_from(CLASSES)))
def test_bounds_hold_whatever_is_hidden(counts: list[int], gone: set[str]) -> None:
    true = dict(zip(CLASSES, counts, strict=True))
    n = max(sum(counts), 1)
    true["not applicable"] += n - sum(counts)
    site = made("A", ("crs", {c: None if c in gone else v for c, v in true.items()}), n=n)
    rows = pool([site, made("B", ("crs", {"0": 30}))]).sites.filter(site="A")
    for r in rows.iter_rows(named=True):
        cut = r["least_grade"]
        yes, no = (sum(true[c] for c in classes[cut]) for classes in (YES, NO))
        assert r["yes_least"] <= yes <= r["yes_most"] and r["no_least"] <= no <= r["no_most"]
        if yes + no:
            assert (r["share_least"] if r["share_least"] is not None else 0) <= yes / (yes + no) + 1e-12
            assert yes / (yes + no) <= (r["share_most"] if r["share_most"] is not None else 1) + 1e-12


def test_days_are_added_up(results: Results) -> None:
    sites = [summarise(part(results, n, 2), min_cell=2, site=f"S{n}") for n in range(2)]
    found = pool(sites).onset.filter(scale="crs", least_grade=1)
    assert found.height == len(BANDS) and found["at_risk"][0] == 39
    known = found.filter(col("incidence").is_not_null())
    assert known["incidence"].is_sorted()


def test_what_differs_is_kept_apart_and_said() -> None:
    cells: tuple[str, dict[str, int | None]] = ("crs", {"0": 10, "1-2": 20})
    sites = [
        made("A", cells),
        made("B", cells),
        made("C", cells, options={"map_cut": 60}),
        made("D", cells, rules=["crs_astct2019@2"]),
        made("E", ("icans", cells[1])),
    ]
    found = pool(sites)
    crs = found.pooled.filter(scale="crs", least_grade=1)
    assert crs.select("variant", "sites").rows() == [(1, 2), (2, 1), (3, 1)]
    text = " ".join(found.apart)
    assert (
        "C kept apart" in text
        and "map_cut=60, not 65" in text
        and "crs_astct2019@2, not crs_astct2019@1" in text
        and "not graded by E" in text
    )


def test_the_same_site_or_cohort_twice_and_mixed_kinds_are_refused() -> None:
    cells: tuple[str, dict[str, int | None]] = ("crs", {"0": 30})
    with pytest.raises(InputError, match="of that name"):
        pool([made("A", cells), made("a", cells)])
    twin = made("B", cells)
    twin.cohort = "cohort of A"
    with pytest.raises(InputError, match="same cohort"):
        pool([made("A", cells), twin])
    with pytest.raises(InputError, match="virtual"):
        pool([made("A", cells), made("B", cells, simulated=True)])
    with pytest.raises(InputError, match="two sites"):
        pool([made("A", cells)])


def test_virtual_sites_stay_virtual(tmp_path: Path) -> None:
    cells: tuple[str, dict[str, int | None]] = ("crs", {"0": 30})
    write_pooled(pool([made(n, cells, simulated=True) for n in "AB"]), tmp_path / "p")
    assert pl.read_csv(tmp_path / "p" / "pooled.csv")["simulated"].all()
    assert json.loads((tmp_path / "p" / "pooled.json").read_text())["simulated"] is True


def test_a_damaged_or_edited_file_is_refused(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    write_site(site, path)
    assert read_site(path).courses == 39
    text = path.read_text()
    other = {
        "edited": text.replace('"courses": 39', '"courses": 40'), "cut": text[: len(text) // 2], "empty": "", "list": "[]", "words": text.replace("39", '"many"', 1), "more": text.replace('"site"', '"note": "x", "site"', 1),
    }  # fmt: skip
    for name, content in other.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError):
            read_site(tmp_path / name)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "bytes", tmp_path / "nothing", tmp_path):
        with pytest.raises(InputError):
            read_site(path)


def test_counts_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    for cells in ({"0": 31}, {"0": 29}, {"0": -1, "1-2": 31}):
        write_site(made("A", ("crs", cells)), tmp_path / "s.json")  # type: ignore[arg-type]
        with pytest.raises(InputError, match="add up"):
            read_site(tmp_path / "s.json")


def test_the_commands_go_from_results_to_a_pool(
    folder: Path, results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run("summarise", folder, "--out", tmp_path / "north.json", "--site", "North", capsys=capsys)
    assert code == 0 and "hidden" in out
    first = (tmp_path / "north.json").read_bytes()
    assert run("summarise", folder, "--out", tmp_path / "north.json", "--site", "North", capsys=capsys)[0] == 0
    assert (tmp_path / "north.json").read_bytes() == first
    write_site(summarise(part(results, 0, 2), site="South"), tmp_path / "south.json")
    code, out, _ = run("pool", tmp_path / "north.json", tmp_path / "south.json", "--out", tmp_path / "pooled", capsys=capsys)
    assert code == 0 and "2 sites" in out and (tmp_path / "pooled" / "pooled.csv").is_file()
    for words in (
        ["pool", tmp_path / "north.json", tmp_path / "north.json"],
        ["summarise", folder, "--out", tmp_path],
        ["summarise", tmp_path, "--out", tmp_path / "x.json"],
    ):
        code, _, err = run(*words, capsys=capsys)
        assert code == 2 and err
