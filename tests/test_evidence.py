"""The evidence tables: those that ship are sound, every kind of fault is found where it is, and what goes out comes back."""

from __future__ import annotations

import csv
import json
import re
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pytest
from commands import run
from hypothesis import given
from hypothesis import strategies as st

from aftercar.errors import InputError, OptionError
from aftercar.evidence import check, table
from aftercar.evidence.discrepancies import discrepancies
from aftercar.evidence.off_tumour import off_tumour_effects
from aftercar.evidence.select import select
from aftercar.evidence.sources import keys, references
from aftercar.evidence.tables import rows, tables, verified
from aftercar.serve.evidence import TABLES, WHOLE
from aftercar.serve.show_evidence import SHOWN

DATA = files("aftercar.evidence").joinpath("data")


def test_what_ships_is_sound() -> None:
    assert check().rows() == []


def test_every_file_is_described_and_every_description_has_its_file() -> None:
    assert {f.name for f in DATA.iterdir()} == {about.file for about in tables().values()}
    for name, about in tables().items():
        named = {*about.key, *about.required, *about.product, *about.classes, *about.toxicity, *about.drug, *about.picks}
        named |= {c for group in (*about.shares, *about.ranges, *(about.marks or {}).values()) for c in group} | set(
            about.marks or {}
        )
        named |= {c for pick in about.picks.values() for c in pick.values()}
        assert named <= set(about.columns), name


@pytest.mark.parametrize("name", [n for n in tables() if n != "mechanism_nodes"])
def test_every_row_has_a_mark(name: str) -> None:
    for row in rows(name):
        marks = [value for column, value in row.items() if column.startswith("verified") and value]
        assert marks and set(marks) <= set(verified()), row


def test_frames_hold_what_the_files_hold() -> None:
    for name in tables():
        frame = table(name)
        assert frame.height == len(rows(name)) > 0
        assert frame.null_count().row(0) == tuple(sum(r[c] == "" for r in rows(name)) for c in frame.columns)
    assert table("toxicity_rates").schema["lecture_pct"] == pl.Float64
    assert table("late-effects").schema["n_events"] == pl.Int64
    with pytest.raises(OptionError, match="Did you mean trials"):
        table("trails")


# ---- faults are found


def written(folder: Path, name: str, lines: list[dict[str, str]]) -> Path:
    with (folder / tables()[name].file).open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, list(tables()[name].columns))
        out.writeheader()
        out.writerows(lines)
    return folder


def changed(folder: Path, name: str, row: int, **cells: str) -> pl.DataFrame:
    """What is found where a row, counted from 1, has other cells."""
    lines = [dict(line) for line in rows(name)]
    lines[row - 1] |= cells
    return check(written(folder, name, lines))


def first(name: str, **cells: str) -> int:
    """The number of the first row with these cells."""
    return next(n for n, row in enumerate(rows(name), start=1) if cells.items() <= row.items())


FAULTS = {
    "a wrong percentage": ("toxicity_rates", {"trial_id": "KarMMa", "endpoint": "nt_any"}, {"label_pct": "38"}, "label_pct", "36 of 127 is 28.3 %, not 38"),
    "a wrong percentage of a comparator": ("intervention_trials", {"study_id": "ZUMA-1-C4", "endpoint": "crs_g3plus"}, {"comp_pct": "15"}, "comp_pct", "12 of 108"),
    "a wrong percentage among words": ("late_effects", {"effect": "TIAN"}, {"value": "27"}, "value", "10 of 60 is 16.7 %, not 27"),
    "more events than patients": ("intervention_trials", {"study_id": "ZUMA-1-C6", "endpoint": "crs_any"}, {"events": "41"}, "events", "41 of 40"),
    "nobody at risk": ("intervention_trials", {"study_id": "ZUMA-1-C6", "endpoint": "crs_g3plus"}, {"n": "0"}, "events", "0 of 0"),
    "an unknown reference": ("onset", {"product": "axi-cel"}, {"ref_id": "label_yescatra"}, "ref_id", "label_yescatra is no key of references"),
    "an unknown reference among several": ("mechanisms", {"edge_id": "E001"}, {"ref_id": "hay2017;nobody1999"}, "ref_id", "nobody1999"),
    "an unknown node": ("mechanisms", {"edge_id": "E001"}, {"target": "cart_activaton"}, "target", "cart_activaton is no key of mechanism_nodes"),
    "an unknown trial": ("toxicity_rates", {"trial_id": "FELIX", "endpoint": "nt_any"}, {"trial_id": "FELYX"}, "trial_id", "FELYX"),
    "a missing mark": ("drug_pk", {"drug": "anakinra"}, {"verified": ""}, "verified", "blank"),
    "a missing mark of one number": ("toxicity_rates", {"trial_id": "FELIX", "endpoint": "nt_any"}, {"verified_label": ""}, "verified_label", "a number without its mark"),
    "a mark that is none": ("drug_pk", {"drug": "anakinra"}, {"verified": "checked"}, "verified", "checked is none of its words"),
    "seen, but where": ("mechanisms", {"edge_id": "E099"}, {"note": ""}, "verified", "marked primary, but nothing says where it was seen"),
    "a bad number": ("onset", {"product": "axi-cel"}, {"source_median_d": "2 d"}, "source_median_d", "2 d is not what this column holds"),
    "a count that is none": ("trials", {"trial_id": "FELIX"}, {"n_treated": "127.5"}, "n_treated", "127.5"),
    "a percentage over 100": ("toxicity_rates", {"trial_id": "ELIANA", "endpoint": "crs_any"}, {"lecture_pct": "177"}, "lecture_pct", "177"),
    "a word that is none": ("mechanisms", {"edge_id": "E001"}, {"species": "rat"}, "species", "rat is none of its words"),
    "a blank at the end": ("trials", {"trial_id": "FELIX"}, {"product_alias": "obe-cel "}, "product_alias", "obe-cel"),
    "bounds out of order": ("onset", {"product": "axi-cel"}, {"source_low_d": "3"}, "source_median_d", "not in order"),
    "a needed cell is blank": ("risk_factors", {"factor": "Higher CAR-T dose"}, {"outcome": ""}, "outcome", "blank"),
    "a choice that is not the chosen": ("toxicity_rates", {"trial_id": "KarMMa", "endpoint": "crs_any"}, {"recommended_pct": "76"}, "recommended_pct", "76 is not primary_pct, which is 84"),
    "a choice of nothing": ("toxicity_rates", {"trial_id": "CRB-401", "endpoint": "crs_any"}, {"recommended_source": "label"}, "recommended_pct", "76 is not label_pct, which is blank"),
    "a DOI that is none": ("references", {"ref_id": "hay2017"}, {"doi": "doi:10.1182/x"}, "doi", "doi:10.1182/x"),
    "a key twice": ("drug_pk", {"drug": "infliximab"}, {"drug": "vedolizumab"}, "drug", "an earlier row has the same key"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_where_it_is(fault: str, tmp_path: Path) -> None:
    name, where, cells, column, says = FAULTS[fault]
    row = first(name, **where)
    found = changed(tmp_path, name, row, **cells)
    assert found.select("file", "row", "column").row(0) == (tables()[name].file, row, column)
    assert says in found["problem"][0] and found["remedy"][0]
    assert found.height == 1, found.rows()


WRONG = {
    "list": "a;;b", "count": "-1", "number": "1,5", "percent": "101", "year": "20222", "mark": "yes", "doi": "10.1", "pmid": "PMC1", "nct": "NCT1",
    "text": " padded ",
}  # fmt: skip


@pytest.mark.parametrize("name", tables())
def test_a_wrong_value_is_found_in_every_column(name: str, tmp_path: Path) -> None:
    """Each column of a table has a wrong value in a row of its own."""
    lines = [dict(line) for line in rows(name)]
    lines = (lines * (1 + len(tables()[name].columns) // len(lines)))[: max(len(lines), len(tables()[name].columns))]
    put = set()
    for n, (column, kind) in enumerate(tables()[name].columns.items()):
        wrong = WRONG.get(kind, "no such key") if isinstance(kind, str) else "no such word"
        lines[n] = dict(lines[n]) | {column: wrong}
        put.add((n + 1, column))
    found = check(written(tmp_path, name, lines))
    assert put <= set(found.select("row", "column").iter_rows())


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    written(tmp_path, "drug_pk", [])
    text = (tmp_path / "drug_pk.csv").read_text().splitlines()[0]
    assert check(tmp_path).is_empty()
    (tmp_path / "drug_pk.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "trails.csv").write_text("x\n1\n")
    (tmp_path / "trials.csv").write_text("")
    assert set(check(tmp_path).select("file", "row").iter_rows()) == {
        ("drug_pk.csv", None),
        ("trails.csv", None),
        ("trials.csv", None),
    }
    (tmp_path / "drug_pk.csv").write_text(text.replace("route", "rout") + "\na,b\n")
    found = check(tmp_path).filter(file="drug_pk.csv")
    assert set(found.select("row", "column").iter_rows()) == {(None, "route"), (None, "rout"), (1, None)}
    assert "Did you mean route" in found.filter(column="rout")["remedy"].item()


def test_a_folder_may_name_rows_of_ours_and_its_own(tmp_path: Path) -> None:
    paper = {**dict.fromkeys(tables()["references"].columns, ""), "ref_id": "mine2026", "title": "Mine", "verified": "memory"}
    written(tmp_path, "references", [paper])
    line = dict(rows("onset")[0])
    assert check(written(tmp_path, "onset", [line | {"ref_id": "mine2026;hay2017"}])).is_empty()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no evidence table"):
        check(tmp_path.joinpath("empty"))
    with pytest.raises(InputError, match="is no folder"):
        check(tmp_path / "nowhere")


@given(part=st.integers(0, 400), extra=st.integers(1, 400), off=st.floats(-30, 30))
def test_a_percentage_is_held_against_its_counts(
    part: int, extra: int, off: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = part + extra
    printed = 100 * part / whole + off
    line = dict(rows("intervention_trials")[0]) | {"events": str(part), "n": str(whole), "pct": f"{printed:.6f}"}
    found = check(written(tmp_path_factory.mktemp("shares"), "intervention_trials", [line]))
    wrong = abs(off) > 1 or not 0 <= printed <= 100
    if abs(abs(off) - 1) > 1e-3 and min(abs(printed), abs(printed - 100)) > 1e-3:
        assert bool(found.filter(column="pct").height) == wrong


# ---- references, choices, discrepancies


def test_papers_as_bibtex_have_balanced_braces_and_one_key_each() -> None:
    entries = [paper.bibtex for paper in references().values()]
    for entry in entries:
        depth = 0
        for n, char in enumerate(entry):
            if char in "{}" and entry[n - 1] != "\\":
                depth += 1 if char == "{" else -1
            assert depth >= 0
        assert depth == 0
    assert len({e.split("{")[1] for e in entries}) == len(entries)
    assert "author = {Lee, D. W. and others}" in references()["lee2019astct"].bibtex
    assert "author = {{Centers for Medicare \\& Medicaid Services}" in references()["icd10cm2026"].bibtex
    assert "pages = {625--638}" in references()["lee2019astct"].bibtex


def test_what_the_rules_take_from_the_tables_names_papers() -> None:
    assert {effect.source for effect in off_tumour_effects()} <= set(references())
    assert keys(None) == [] and keys("a;b") == ["a", "b"]


@pytest.mark.parametrize(
    "names",
    [("axi-cel", "axi", "Yescarta", "axicabtagene ciloleucel", " AXI-CEL "), ("ide-cel", "Abecma"), ("obe-cel", "aucatzyl")],
)
def test_a_product_has_several_names(names: tuple[str, ...]) -> None:
    asked = [select("rates", product=name) for name in names]
    assert asked[0].height and all(rows.equals(asked[0]) for rows in asked)


def test_a_product_brings_the_rows_of_its_target_where_classes_are_listed() -> None:
    effects = select("late_effects", product="cilta-cel")
    assert {"all", "BCMA", "cilta-cel"} <= set(effects["product"]) and not set(effects["product"]) & {
        "CD19",
        "ide-cel",
        "axi-cel",
    }
    assert set(select("rates", product="cilta-cel")["product"]) == {"cilta-cel"}
    assert "B-ALL" not in " ".join(select("kinetics", product="cilta-cel")["context"])


def test_nt_and_icans_are_kept_apart() -> None:
    assert not select("rates", toxicity="nt")["endpoint"].str.contains("icans").any()
    assert select("rates", toxicity="icans")["endpoint"].str.starts_with("icans").all()


@pytest.mark.parametrize(
    ("name", "asked", "says"),
    [
        ("rates", {"product": "axi-sel"}, "Did you mean axi-cel"),
        ("interventions", {"drug": "tocilizumap"}, "Did you mean tocilizumab"),
        ("rates", {"product": "tisa-cel", "toxicity": "icans"}, "Known: crs_any"),
        ("trials", {"toxicity": "crs"}, "--toxicity has no meaning for trials, but --product has"),
        ("references", {"product": "axi-cel"}, "has no meaning for references."),
    ],
)
def test_what_is_not_there_is_said_with_the_nearest_names(name: str, asked: dict[str, str], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        select(name, **asked)


def test_every_number_of_the_lecture_that_its_source_does_not_print_is_told() -> None:
    told = discrepancies()
    assert set(table("lecture_discrepancies")["lecture_text"]) <= set(told["lecture"])
    rates = table("toxicity_rates").filter((pl.col("lecture_pct") - pl.col("recommended_pct")).abs() > 1)
    assert rates.height >= 5
    assert set(rates.select(pl.format("{} {}", "trial_id", "endpoint")).to_series()) <= set(told["topic"])
    onset = table("onset").filter(in_lecture="yes")
    differs = pl.any_horizontal(pl.col(f"lecture_{p}_d").ne_missing(pl.col(f"source_{p}_d")) for p in ("median", "low", "high"))
    assert set(onset.filter(differs)["agreement"]) == {"disagree"} and set(onset.filter(~differs)["agreement"]) == {"agree"}
    assert told["verified"].null_count() == told["used"].null_count() == told["source"].null_count() == 0
    assert all(key in references() for cell in told["ref_id"] for key in keys(cell))


# ---- the command line


def test_commands_are_those_of_the_schema() -> None:
    assert set(TABLES) == {about.command for about in tables().values() if about.command}
    assert set(SHOWN) | {"references"} == {about.name for about in tables().values() if about.command}
    asked = {about.command for about in tables().values() if about.product or about.toxicity or about.drug}
    assert set(TABLES) - asked == set(WHOLE)


@pytest.mark.parametrize("name", WHOLE)
def test_a_table_that_nothing_parts_offers_no_question(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not re.search("--(product|toxicity|drug)", run("evidence", name, "--help", capsys=capsys)[1])
    assert "--product" in run("evidence", "rates", "--help", capsys=capsys)[1]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("width", [80, 120])
def test_a_table_fits_the_terminal_with_marks_beside_its_numbers(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("aftercar.serve.show.console._width", width)
    code, out, _ = run("evidence", name, capsys=capsys)
    assert code == 0
    assert max(map(len, out.splitlines())) <= width
    assert "lecture-only, only the lecture says" in " ".join(out.split()) and "For research and education." in " ".join(
        out.split()
    )
    if name not in ("nodes", "references", "rates"):
        assert "verified" in out.splitlines()[1] + out.splitlines()[2] + out.splitlines()[3]


@pytest.mark.parametrize("name", TABLES)
def test_what_goes_out_comes_back(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = next(t for t in tables().values() if t.command == name)
    code, out, _ = run("evidence", name, "--json", "--csv", tmp_path / about.file, capsys=capsys)
    assert code == 0
    told = json.loads(out)
    assert told == table(name).to_dicts()
    back = pl.read_csv(tmp_path / about.file, schema=table(name).schema)
    assert back.equals(table(name))
    assert check(tmp_path).is_empty()


def test_wide_shows_every_cell(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run("evidence", "rates", "--product", "obe-cel", "--wide", capsys=capsys)
    flat = " ".join(out.split())
    for cell in table("rates").filter(product="obe-cel").cast(pl.String).row(0):
        assert cell is None or " ".join(cell.split()) in flat


def test_check_tells_row_and_column_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("evidence", "check", capsys=capsys)
    assert code == 0 and "Nothing is wrong" in out
    written(tmp_path, "drug_pk", [dict(rows("drug_pk")[0]) | {"verified": ""}])
    code, out, _ = run("evidence", "check", "--folder", tmp_path, capsys=capsys)
    assert code == 1 and "drug_pk.csv, row 1, verified: blank" in out
    code, out, _ = run("evidence", "check", "--folder", tmp_path, "--json", capsys=capsys)
    assert code == 1 and json.loads(out)[0]["column"] == "verified"
    code, _, err = run("evidence", "check", "--folder", tmp_path / "none", capsys=capsys)
    assert code == 2 and "is no folder" in err


def test_discrepancies_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("evidence", "discrepancies", capsys=capsys)
    assert code == 0 and "the lecture prints" in out and f"{discrepancies().height} places" in out
    code, out, _ = run("evidence", "discrepancies", "--severity", "critical", "--json", capsys=capsys)
    assert [row["severity"] for row in json.loads(out)] == ["critical"]


def test_cite_lists_the_papers_of_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.csv").write_text(
        "subject_id,time,code,value,unit\nA,2024-05-01T08:00,cart_infusion,axi-cel,\nA,2024-05-02T08:00,temperature,39,Cel\n"
    )
    run("import", tmp_path / "r.csv", "--to", tmp_path / "t", capsys=capsys)
    run("grade", tmp_path / "t", "--out", tmp_path / "o", "--scale", "crs_lee2014", "--scale", "icans", capsys=capsys)
    code, out, _ = run("cite", tmp_path / "o", capsys=capsys)
    flat = " ".join(out.split())
    assert code == 0 and "1. Lee DW ... Mackall CL" in flat and "3. Mahadeo KM" in flat
    _, out, _ = run("cite", tmp_path / "o", "--json", capsys=capsys)
    told = json.loads(out)
    assert [p["key"] for p in told["papers"]] == ["lee2014", "lee2019astct", "mahadeo2019"]
    assert next(p["scales"] for p in told["papers"]) == ["crs_lee2014@1"]
    assert told["unchecked"]["P"] > 0 and told["unknown"] == []
    _, out, _ = run("cite", tmp_path / "o", "--bibtex", capsys=capsys)
    assert out.count("\n@") + 1 == 3 and out.startswith("@article{lee2014,")
    made = json.loads((tmp_path / "o" / "run.json").read_text())
    made["sources"].append("gone1999")
    (tmp_path / "o" / "run.json").write_text(json.dumps(made))
    _, out, _ = run("cite", tmp_path / "o", capsys=capsys)
    assert "Not known to this version: gone1999" in out
    code, _, err = run("cite", tmp_path / "nowhere", capsys=capsys)
    assert code == 2 and "no results there" in err


def test_papers_of_the_statistics_have_the_doi_of_the_list() -> None:
    page = (Path(__file__).parents[1] / "docs/statistics.md").read_text(encoding="utf-8").partition("## Papers")[2]
    told = re.findall(r"([a-z]+\d{4}[a-z]*) \((?:\[[^\]]+\]\(https://doi.org/([^)]+)\))?", page)
    assert len(told) > 15 and {key: unquote(doi) for key, doi in told} == {key: references()[key].doi for key, _ in told}
