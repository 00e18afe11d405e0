"""General SBML: the cases of the SBML Test Suite at their own tolerances, published models, closed forms, and what bad input is told."""

from __future__ import annotations

import csv
import io
import math
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from commands import run

from aftercar.errors import InputError, OptionError
from aftercar.simulate.document import contents, findings, quantities, read_sbml
from aftercar.simulate.general import LOGS, run_sbml, vary
from aftercar.simulate.model import load_model
from aftercar.simulate.sbml import antimony_text, to_sbml
from aftercar.simulate.trajectories import Trajectories

ROOT = Path(__file__).parents[1]
OURS = ROOT / "tests" / "cases" / "sbml"
CLEARANCE, TOSS, LEVELS = (OURS / f"{name}.xml" for name in ("clearance", "toss", "levels"))
SHARED = ROOT.parent / "shared" / "data" / "sbml"
SUITE = SHARED / "sbml_test_suite_semantic_subset.zip"
needs_suite = pytest.mark.skipif(not SUITE.is_file(), reason="the SBML Test Suite is not part of the repository")
needs_models = pytest.mark.skipif(not SHARED.is_dir(), reason="BioModels are not part of the repository")
UNSUPPORTED = pl.read_csv(OURS / "unsupported.csv", schema_overrides={"case": pl.String})


# ---- the SBML Test Suite


class Case:
    """A case of the suite: its documents by level, settings, tags and what is expected."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        def text(end: str) -> str:
            return archive.read(f"{name}/{name}-{end}").decode()

        self.name = name
        self.documents = {
            n[-12:-4]: archive.read(n).decode() for n in archive.namelist() if n.startswith(f"{name}/") and "-sbml-" in n
        }
        lines = [line.partition(":") for line in text("settings.txt").splitlines()]
        self.settings = {key.strip(): value.strip() for key, _, value in lines}
        self.tags = re.findall(r"\w+", " ".join(re.findall(r"(?:componentTags|testTags):(.*)", text("model.m"))))
        self.expected = text("results.csv")

    def words(self, key: str) -> list[str]:
        return re.findall(r"\w+", self.settings.get(key, ""))

    def selections(self, document: str) -> list[str]:
        """What to read: amounts and concentrations are those of species; a compartment among the amounts is its size."""
        parsed = read_sbml(document)
        species = {s.getId() for s in parsed.getModel().getListOfSpecies()}
        concentrations, amounts = self.words("concentration"), species.intersection(self.words("amount"))
        return [f"[{v}]" if v in concentrations else f"amount({v})" if v in amounts else v for v in self.words("variables")]

    def agrees(self, document: str) -> bool:
        """Whether every value is within the case's own absolute and relative tolerance."""
        times = np.linspace(0, float(self.settings["duration"]), int(self.settings["steps"]) + 1) + float(self.settings["start"])
        got = run_sbml(document, times, self.selections(document), seed=1).values[0]
        head, *rows = [row for row in csv.reader(io.StringIO(self.expected)) if row]
        columns = [[name.strip() for name in head].index(v) for v in self.words("variables")]
        want = np.array([[float(cell) for cell in row] for row in rows])[:, columns]
        near = np.abs(got - want) <= float(self.settings["absolute"]) + float(self.settings["relative"]) * np.abs(want)
        return bool(
            (near | (got == want) | (np.isnan(got) & np.isnan(want))).all()
        )  # infinities and no numbers are expected, too


def cases() -> Iterator[Case]:
    with zipfile.ZipFile(SUITE) as archive:
        for name in sorted({n.split("/")[0] for n in archive.namelist() if re.match(r"\d{5}/", n)}):
            yield Case(archive, name)


@needs_suite
@pytest.mark.slow
def test_every_case_of_the_suite_agrees_or_is_listed_with_its_reason() -> None:
    agree: list[str] = []
    wrong: list[str] = []
    refused: dict[str, set[str]] = {}
    for case in cases():
        for level, document in case.documents.items():
            try:
                (agree if case.agrees(document) else wrong).append(f"{case.name} {level}")
            except InputError as error:
                assert "cannot run this model" in str(error)
                refused.setdefault(case.name, set()).update(r for r in UNSUPPORTED["reason"].unique() if r in str(error))
    assert wrong == []
    assert refused == {case: {reason} for case, _, reason in UNSUPPORTED.iter_rows()}
    listed = sum(len(case.documents) for case in cases() if case.name in refused)
    assert (len(agree), listed) == (130, 40)  # of 108 cases; most have a document of level 2 as well


@needs_suite
def test_what_is_listed_as_unsupported_is_what_has_the_tag() -> None:
    tagged = {
        (case.name, tag) for case in cases() for tag in case.tags if tag in ("AlgebraicRule", "CSymbolDelay", "FastReaction")
    }
    assert tagged == set(UNSUPPORTED.select("case", "tag").iter_rows())


# ---- published models

ENDS = {"537": 1000.0, "550": 1000.0, "837": 500.0}  # in each model's unit of time; 200 days for the others


@needs_models
@pytest.mark.slow
def test_the_models_of_biomodels_run_to_the_end() -> None:
    files = sorted(SHARED.glob("BIOMD*.xml"))
    assert len(files) == 12
    for file in files:
        assert findings(read_sbml(file), units=False).filter(pl.col("severity").is_in(["error", "unsupported"])).is_empty(), (
            file.name
        )
        found = run_sbml(file, np.linspace(0, ENDS.get(file.stem[-3:], 200.0), 101))
        assert found.names and np.isfinite(found.values).all(), file.name
        changed = [k for k, name in enumerate(found.names) if np.ptp(found.of(name)) > 0]
        assert changed, file.name


# ---- closed forms


def test_a_dose_and_its_clearance_are_those_of_the_formula() -> None:
    times = np.array([0.0, 1, 1.9, 2.5, 4, 10])
    got = run_sbml(
        CLEARANCE, times, ["il6", "[il6]", "amount(il6)", "lost", "twice", "signal", "start", "clear"], rtol=1e-9, atol=1e-12
    )
    il6 = 10 * np.exp(-0.5 * times) + np.where(times >= 2, 6 * np.exp(-0.5 * (times - 2)), 0)
    given = 3 * (10 + np.where(times >= 2, 6, 0))
    want = [il6, il6, 3 * il6, given - 3 * il6, 2 * il6, np.exp(-0.5 * times), np.full(6, 4.0), 1.5 * il6]
    assert np.allclose(got.values[0], np.column_stack(want), rtol=1e-6)
    assert got.units == ("ng/L", "", "", "ng", "ng/L", "1", "ng/L", "")


def test_what_is_read_later_than_the_start_began_at_the_start() -> None:
    late = run_sbml(CLEARANCE, [3.0, 4.0], ["il6"])
    whole = run_sbml(CLEARANCE, [0.0, 3.0, 4.0], ["il6"])
    assert np.allclose(late.values[0], whole.values[0, 1:], rtol=1e-4)
    assert late.times.tolist() == [3.0, 4.0]


def test_values_that_are_set_stand_in_for_the_document_and_what_follows_from_them() -> None:
    rows = {"loss": np.array([0.5, 1.0, 0.25]), "il6": np.array([10.0, 20, 40]), "clear_scale": 2.0, "reset": 100.0}
    times = np.linspace(0, 3, 4)
    got = run_sbml(CLEARANCE, times, ["il6", "start", "signal"], pl.DataFrame(rows), rtol=1e-9)
    for n in range(3):
        loss = rows["loss"][n]
        assert np.allclose(got.values[n, :, 0], rows["il6"][n] * np.exp(-2 * loss * times), rtol=1e-5)
        assert np.allclose(got.values[n, :, 1], 8 * loss)
        assert np.allclose(got.values[n, :, 2], np.exp(-loss * times), rtol=1e-5)


def test_a_size_that_is_set_keeps_concentrations_that_the_document_gives() -> None:
    sizes = np.array([1.0, 3.0, 9.0])
    got = run_sbml(CLEARANCE, [0.0, 1.0], ["amount(il6)", "[il6]"], {"plasma": sizes})
    assert np.allclose(got.values[:, 0, 0], 10 * sizes) and np.allclose(got.values[:, 0, 1], 10)
    # Where the document gives an amount, the amount stays.
    assert np.allclose(run_sbml(LEVELS, [0.0, 1.0], ["x"], {"cell": sizes}).values[:, 0, 0], 0.5 / sizes)


def edited(document: Any, values: dict[str, float]) -> str:
    """A document with other values, written by libSBML alone."""
    import libsbml

    copy = document.clone()
    model = copy.getModel()
    for name, value in values.items():
        model.removeInitialAssignment(name)
        thing = model.getElementBySId(name)
        if model.getSpecies(name) is not None:
            thing.unsetInitialAmount()
            thing.unsetInitialConcentration()
            (thing.setInitialAmount if thing.getHasOnlySubstanceUnits() else thing.setInitialConcentration)(value)
        else:
            (thing.setSize if model.getCompartment(name) is not None else thing.setValue)(value)
    return libsbml.writeSBMLToString(copy)


def refuse_any_other_than_edited(source: Path | str, rng: np.random.Generator, *, random: bool = False) -> None:
    """A row that sets values gives what the document with these values gives, also after other rows."""
    document = read_sbml(source)
    known = quantities(document.getModel())
    free = [q for q in known if q.role != "assigned" and rng.random() < 0.5]
    base = {q.name: rng.uniform(0.8, 1.3) * (q.value if math.isfinite(q.value) and q.value else 1.0) for q in free}
    if not base:
        return
    factors = np.array([1.0, 2.0, 1.0])
    times, names = np.linspace(0, 1, 6), [q.name for q in known]
    got = run_sbml(source, times, names, {name: value * factors for name, value in base.items()}, seed=1)
    for n, factor in enumerate(factors[: 1 if random else 3]):
        want = run_sbml(edited(document, {name: value * factor for name, value in base.items()}), times, names, seed=1)
        assert np.allclose(got.values[n], want.values[0], rtol=1e-4, atol=1e-5, equal_nan=True), (n, list(base))


@pytest.mark.parametrize("file", [CLEARANCE, LEVELS], ids=lambda f: f.stem)
def test_rows_give_what_edited_documents_give(file: Path) -> None:
    for seed in range(3):
        refuse_any_other_than_edited(file, np.random.default_rng(seed))


@needs_suite
@pytest.mark.slow
def test_rows_of_the_suite_give_what_edited_documents_give() -> None:
    for case in cases():
        if case.name not in set(UNSUPPORTED["case"]):
            refuse_any_other_than_edited(
                list(case.documents.values())[-1], np.random.default_rng(1), random="RandomEventExecution" in case.tags
            )


# ---- many patients


def test_the_same_seed_gives_the_same_runs_and_another_seed_others() -> None:
    rows = {"heads": np.zeros(40)}
    one, same, other = (run_sbml(TOSS, [0.0, 2.0], ["heads", "tails"], rows, seed=s).values for s in (1, 1, 2))
    assert (one == same).all() and (one != other).any()
    assert (one[:, 1].sum(axis=1) == 1).all() and 5 < one[:, 1, 0].sum() < 35  # one of both, and not always the same one


def test_what_a_model_draws_follows_the_seed() -> None:
    drawn = to_sbml("model m\n x = normal(0, 1); p = 0; p' = 0; at time > 1: p = normal(5, 1);\nend")
    one, same, other = (run_sbml(drawn, [0.0, 2.0], ["x", "p"], {"p": np.zeros(40)}, seed=s).values[:, -1] for s in (1, 1, 2))
    assert (one == same).all() and (one != other).all() and len(np.unique(one)) == 80
    assert np.allclose(one.mean(axis=0), [0, 5], atol=0.6)


def test_a_model_that_is_composed_of_others_is_made_flat() -> None:
    import antimony

    antimony.clearPreviousLoads()
    antimony.loadAntimonyString("model inner()\n A' = -k*A; A = 3; k = 0.5;\nend\nmodel *outer()\n x: inner(); y: inner();\nend")
    composed = antimony.getCompSBMLString("outer")
    found = run_sbml(composed, [0.0, 1.0], parameters={"y__k": 2.0})
    assert found.names == ("x__A", "y__A")
    assert np.allclose(found.values[0, 1], 3 * np.exp([-0.5, -2.0]), rtol=1e-4)


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing() -> None:
    for name in ("loss", "plasma"):  # the second has every row compiled
        rows = vary({name: 0.7}, {name: 0.5}, 13, seed=4)
        one, two = (run_sbml(CLEARANCE, np.linspace(0, 5, 6), parameters=rows, seed=7, workers=w).values for w in (1, 2))
        assert one.tobytes() == two.tobytes()
    toss = [run_sbml(TOSS, [0.0, 2.0], parameters={"heads": np.zeros(9)}, seed=7, workers=w).values for w in (1, 3)]
    assert toss[0].tobytes() == toss[1].tobytes()


def test_a_row_that_cannot_be_solved_is_named_and_leaves_the_others_whole() -> None:
    rate = np.array([0.1, 1.0, 0.2])  # x' = k x^2 from 1: at time 4 the second has left the numbers
    found = run_sbml(LEVELS, [0.0, 2.0, 4.0], ["x"], {"k": rate})
    assert list(found.faults) == [1] and found.faults[1]
    assert np.isnan(found.values[1]).all()
    for n in (0, 2):
        assert np.allclose(found.values[n, :, 0], 1 / (1 - rate[n] * found.times), rtol=1e-4)
    assert found.quantiles([0.5])["n"].to_list() == [2, 2, 2]
    with pytest.raises(InputError, match="could not be solved"):
        run_sbml(LEVELS, [0.0, 4.0], ["x"], {"k": 1.0})


STIFF = "model m\n  x = 1; k = {k}\n  J: x -> ; k*x\n  at (time > 1): x = 1\nend\n"  # after the event a first step too small for its time


@pytest.mark.parametrize("workers", [1, 3])
def test_the_solver_prints_nothing_and_rows_of_which_it_warned_are_named(workers: int, capfd: pytest.CaptureFixture[str]) -> None:
    before = {name: os.environ.get(name) for name in LOGS}
    rates = np.array([1.0, 1e18, 1e18, 2.0, 1e18])
    found = run_sbml(to_sbml(STIFF.format(k=1)), [0.0, 2.0], ["x"], {"k": rates}, workers=workers)
    assert found.warned == (1, 2, 4) and not found.faults
    assert capfd.readouterr() == ("", "")
    assert {name: os.environ.get(name) for name in LOGS} == before


def test_a_warning_of_the_solver_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for rate, warns in (("1e18", True), ("1", False)):
        (tmp_path / "m.xml").write_text(to_sbml(STIFF.format(k=rate)))
        code, out, err = run("model", "run", tmp_path / "m.xml", "--end", "2", capsys=capfd)
        assert code == 0 and "[WARNING]" not in out + err and ".c:" not in out + err
        assert ("The solver warned of numerical trouble, and went on: read these values with care." in out) is warns
    code, out, err = run(
        "model", "run", tmp_path / "m.xml", "--end", "2", "--n", "4", "--vary", "k:0", "--set", "k=1e18", capsys=capfd
    )
    assert code == 0 and "trouble for 4 of 4 patients, and went on" in " ".join(out.split()) and ".c:" not in out + err


def test_variation_is_log_normal_about_the_value() -> None:
    drawn = vary({"k": 3.0, "m": 1.0}, {"k": 0.5}, 20_000, seed=3)
    assert list(drawn) == ["k"]
    assert abs(np.log(drawn["k"]).mean() - math.log(3)) < 0.02 and abs(np.log(drawn["k"]).std() - 0.5) < 0.01
    assert (drawn["k"] == vary({"k": 3.0}, {"k": 0.5}, 20_000, seed=3)["k"]).all()


# ---- what comes back


def test_frames_and_quantiles_tell_the_same_values() -> None:
    rng = np.random.default_rng(0)
    found = Trajectories(np.array([0.0, 1, 2]), ("x", "time"), rng.normal(size=(5, 3, 2)), ("ng/L", ""), {4: "why"})
    wide, long = found.frame(), found.frame(long=True)
    assert wide.columns == ["patient", "time", "x", "time_"] and wide.height == 15 and long.height == 30
    assert (
        wide["x"].to_list() == long.filter(name="x")["value"].to_list()
        and wide["time_"].to_list() == long.filter(name="time")["value"].to_list()
    )
    for patient, time, name, value, unit in long.iter_rows():
        assert value == found.of(name)[patient, int(time)] and unit == found.unit(name)
    for name, time, n, median in found.quantiles([0.5]).iter_rows():
        assert n == 4 and median == pytest.approx(np.median(found.of(name)[:4, int(time)]))
    with pytest.raises(OptionError, match="No state"):
        found.of("y")


# ---- Antimony with values, and SBML

STRUCTURE = """// a cytokine
model *small()
  unit day = 86400 second; time_unit = day;
  compartment plasma; plasma has litre;
  species il6 in plasma; il6 has pg_per_mL;
  unit pg_per_mL = 1e-12 gram / 1e-3 litre;
  il6' = made - loss*il6;
  twice := 2*il6;
end
"""
VALUES = pl.DataFrame(
    {
        "name": ["plasma", "il6", "made", "loss", "twice"],
        "value": [3.0, 4.0, 30.0, 10.0, None],
        "unit": ["L", "pg/mL", "pg/mL/d", "1/d", "pg/mL"],
        "meaning": [None, "Interleukin 6", 'made by "cells" & others', "<loss>", None],
        "source": [None, "lee2019", "", "Smith & Jones; 2020", None],
        "confidence": [None, "S", "C", "K", None],
    }
)


def test_values_units_and_sources_go_into_the_document_and_come_back() -> None:
    sbml = to_sbml(antimony_text(STRUCTURE, VALUES))
    document = read_sbml(sbml)
    assert (document.getLevel(), document.getVersion()) == (3, 2)
    assert findings(document).filter(severity="error").is_empty()
    assert sbml == to_sbml(antimony_text(STRUCTURE, VALUES))
    rows = {row["name"]: row for row in contents(document).iter_rows(named=True)}
    assert {n: (r["value"], r["unit"]) for n, r in rows.items()} == {
        "plasma": (3.0, "L"), "il6": (4.0, "pg/mL"), "made": (30.0, "pg/mL/d"), "loss": (10.0, "1/d"), "twice": (None, "pg/mL"),
    }  # fmt: skip
    assert (rows["loss"]["meaning"], rows["made"]["meaning"]) == ("<loss>", "made by 'cells' & others")
    assert (rows["il6"]["source"], rows["il6"]["confidence"], rows["made"]["confidence"]) == ("lee2019", "S", "C")
    assert rows["loss"]["source"].startswith("Smith & Jones") and rows["loss"]["confidence"] == "K"
    times = np.linspace(0, 1, 5)
    assert np.allclose(run_sbml(sbml, times, ["il6"]).values[0, :, 0], 3 + np.exp(-10 * times), rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (pl.col("name").replace("loss", "los"), "no 'los'. Did you mean loss"),
        (pl.col("name").replace("loss", "made"), "made stands there twice"),
        (pl.col("unit").replace("1/d", "furlong"), "no unit of SBML for 'furlong'"),
        (pl.when(pl.col("name") != "loss").then("value").alias("value"), "no value for loss"),
    ],
)
def test_tables_that_do_not_fit_the_structure_are_refused(change: pl.Expr, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        to_sbml(antimony_text(STRUCTURE, VALUES.with_columns(change)))


def test_antimony_that_cannot_be_read_is_told_with_its_line() -> None:
    with pytest.raises(InputError, match="line 8"):
        to_sbml(antimony_text(STRUCTURE.replace("twice :=", "twice :="[:-1] + "* :="), VALUES))


# ---- bad input

TEXT = CLEARANCE.read_text(encoding="utf-8")
ALGEBRAIC = """<algebraicRule><math xmlns="http://www.w3.org/1998/Math/MathML"><apply><minus/><ci> twice </ci><ci> il6 </ci></apply></math></algebraicRule>
    </listOfRules>"""
DELAY = '<apply><csymbol encoding="text" definitionURL="http://www.sbml.org/sbml/symbols/delay"> delay </csymbol><ci> il6 </ci><cn> 1 </cn></apply>'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TEXT[:3000], "line "),
        (TEXT.replace("level3/version2/core", "level3/version7/core"), "cannot be read as SBML"),
        ("<records/>", "cannot be read as SBML"),
        (TEXT.replace('<model id="clearance"', '<modell id="clearance"').replace("</model>", "</modell>"), "SBML"),
        (TEXT.replace("</listOfRules>", ALGEBRAIC), "algebraic rules"),
        (TEXT.replace("<cn> 2 </cn><ci> il6 </ci>", f"<cn> 2 </cn>{DELAY}"), "delays in a formula"),
        (TEXT.replace("version2", "version1").replace('version="2"', 'version="1"').replace('id="clear" ', 'id="clear" fast="true" '), "fast reactions, such as clear"),
        (TEXT.replace("<ci> loss </ci><cn> 8 </cn>", "<ci> nobody </ci><cn> 8 </cn>"), "model"),
    ],
    ids=["cut off", "unknown version", "other XML", "no model", "algebraic", "delay", "fast", "unknown symbol"],
)  # fmt: skip
def test_what_is_no_model_or_cannot_be_run_is_named(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "m.xml").write_text(text)
    with pytest.raises(InputError, match=re.escape(says)) as told:
        run_sbml(tmp_path / "m.xml", [0.0, 1.0])
    assert "m.xml" in str(told.value)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"times": [1.0, 0.5]}, "ascending"),
        ({"times": [0.0]}, "above 0"),
        ({"times": [-1.0, 2.0]}, "from 0 on"),
        ({"times": [0.0, math.nan]}, "Times"),
        ({"select": ["il7"]}, "no 'il7' to read. Did you mean il6"),
        ({"select": ["[loss]"]}, "to read"),
        ({"parameters": {"los": 1.0}}, "no parameter or state 'los'. Did you mean"),
        ({"parameters": {"twice": 1.0}}, "cannot be set"),
        ({"parameters": {"loss": ["a"]}}, "numbers"),
        ({"parameters": {"loss": [math.inf]}}, "finite"),
        ({"parameters": {"loss": [1.0, 2.0], "reset": [1.0, 2.0, 3.0]}}, "2 and 3"),
    ],
)
def test_what_the_model_does_not_have_is_named(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=re.escape(says)):
        run_sbml(CLEARANCE, asked.pop("times", [0.0, 1.0]), **asked)


# ---- the command line


def test_run_prints_states_and_writes_every_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "values.csv"
    code, said, _ = run("model", "run", CLEARANCE, "--end", 10, "--points", 20, "--set", "reset=100", "--out", out, capsys=capsys)
    assert code == 0 and "il6" in said and "ng/L" in said and "peak at (d)" in said
    table = pl.read_csv(out)
    assert table.columns == ["patient", "time", "il6", "lost", "twice", "signal"] and table.height == 21
    assert np.allclose(table["il6"], 10 * np.exp(-0.5 * np.array(table["time"])), rtol=1e-4)
    code, said, _ = run(
        "model", "run", CLEARANCE, "--n", 5, "--vary", "loss:0.3", "--select", "il6, [il6]", "--out", out, capsys=capsys
    )
    assert code == 0 and "5 virtual patients" in said
    assert pl.read_csv(out)["patient"].n_unique() == 5
    assert pl.read_csv(out).columns[2:] == ["il6", "[il6]"]


def test_check_tells_apart_what_runs_and_what_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = run("model", "check", CLEARANCE, capsys=capsys)
    assert code == 0 and "warning" in said and "can be run" in said
    assert run("model", "check", CLEARANCE, "--no-units", capsys=capsys)[:2] == (0, "Nothing found. The model can be run.\n")
    (tmp_path / "m.xml").write_text(TEXT.replace("</listOfRules>", ALGEBRAIC))
    code, said, _ = run("model", "check", tmp_path / "m.xml", capsys=capsys)
    assert code == 1 and "unsupported" in said and "algebraic" in said and "can be run" not in said
    (tmp_path / "m.xml").write_text(TEXT.replace("<ci> loss </ci><cn> 8 </cn>", "<ci> nobody </ci><cn> 8 </cn>"))
    code, said, _ = run("model", "check", tmp_path / "m.xml", capsys=capsys)
    assert code == 1 and "error" in said and "nobody" in said


def test_show_lists_what_is_in_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = run("model", "show", CLEARANCE, "--formulas", capsys=capsys)
    assert code == 0 and "3 species" in said and "Time in d" in said and "2 * il6" in said and "Interleukin 6" in said
    code, said, _ = run("model", "show", capsys=capsys)
    assert code == 0 and "Confidence" in said and "L from the lecture" in said


@pytest.mark.parametrize("form", ["sbml", "antimony"])
def test_our_own_model_is_written_and_read_again(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "ours"
    assert run("model", "export", "--to", form, out, capsys=capsys)[0] == 0
    text = out.read_text(encoding="utf-8")
    document = read_sbml(text if form == "sbml" else to_sbml(text))
    assert findings(document, units=False).filter(severity="error").is_empty()
    rows = contents(document).filter(role="constant", kind="parameter")
    assert rows["value"].null_count() == 0 and rows["confidence"].is_in(["L", "S", "K", "C"]).all() and (rows["unit"] != "").all()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--end", "0"], "--end"),
        (["--end", "nan"], "--end"),
        (["--set", "los=1"], "no parameter or state 'los'. Did you mean"),
        (["--set", "loss"], "name=number"),
        (["--set", "loss=much"], "not a number"),
        (["--n", "3"], "--vary"),
        (["--vary", "loss:0.2"], "go together"),
        (["--n", "3", "--vary", "los:0.2"], "--vary los: the model has no such parameter"),
        (["--n", "3", "--vary", "lost:0.2"], "other than 0"),
        (["--n", "3", "--vary", "loss:-1"], "from 0 on"),
        (["--select", "il7"], "il6"),
        (["--out", "values.txt"], ".csv"),
    ],
)
def test_the_command_line_says_what_is_wrong(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = run("model", "run", CLEARANCE, *words, capsys=capsys)
    assert code == 2 and says in said and "Traceback" not in said


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = run("model", "run", "nowhere.xml", capsys=capsys)
    assert code == 2 and said == "InputError: nowhere.xml: no such file.\n"


def test_our_own_model_has_nothing_to_find_units_included() -> None:
    assert findings(read_sbml(load_model().sbml)).rows() == []
