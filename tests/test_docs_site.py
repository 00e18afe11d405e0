"""The documentation site: what its data name exists, every definition has its page, and it builds without a warning and loads nothing from elsewhere."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from commands import run
from pages import api, calendar, commands, evidence, outside, rules, scales, scores, simulator, trace
from pages.text import legend

import aftercar
from aftercar.evidence.sources import MARKS
from aftercar.grade.run import SCALES
from aftercar.manage.items import calendar_items
from aftercar.manage.rules import every_rule, rulebook
from aftercar.risk.run import REGISTRY

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
RISKS = trace.read(DOCS, "risks")["risk"]
REQUIREMENTS = trace.read(DOCS, "requirements")["requirement"]
ANOMALIES = trace.read(DOCS, "anomalies")["anomaly"]
NAMED = sorted({t for r in REQUIREMENTS for t in r["tests"]} | {t for r in RISKS for m in r["measure"] for t in m["tests"]})
HAZARDS = ("wrong patient", "wrong unit", "stale", "missing read as normal", "wrong scale", "over-trust", "clock")
PAGES = [*sorted(path for path in DOCS.rglob("*.md") if "generated" not in path.parts), ROOT / "README.md"]


# ---- risks, requirements and the tests that they name


@cache
def named_in(file: str) -> set[str]:
    """The tests that pytest takes from a file: functions of the module whose name begins with `test_`."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name.startswith("test_")}


def test_every_test_that_is_named_exists() -> None:
    gone = [name for name in NAMED if name.split("::")[1] not in named_in(name.split("::")[0])]
    assert gone == []


def test_every_requirement_and_measure_has_a_test_and_a_name_of_its_own() -> None:
    assert all(r["tests"] for r in REQUIREMENTS)
    assert all(m["tests"] for r in RISKS for m in r["measure"])
    assert all(r["measure"] for r in RISKS)
    for entries in (RISKS, REQUIREMENTS, ANOMALIES):
        ids = [entry["id"] for entry in entries]
        assert len(ids) == len(set(ids))


@pytest.mark.parametrize("hazard", HAZARDS)
def test_every_hazard_is_in_the_risk_file(hazard: str) -> None:
    (risk,) = [r for r in RISKS if r["hazard"].lower().startswith(hazard)]
    assert {"cause", "harm", "severity", "before", "after", "left"} <= set(risk)
    assert risk["severity"] in ("minor", "serious", "critical")
    assert {risk["before"], risk["after"]} <= {"frequent", "probable", "occasional", "remote"}


def test_every_promise_of_the_design_is_a_requirement() -> None:
    assert [r["id"] for r in REQUIREMENTS if r["from"] == "Promises"] == [f"P{n}" for n in range(1, 8)]


# ---- every definition has its page


def test_every_scale_score_rule_drug_and_item_has_its_page() -> None:
    named = dict(scales.pages([])) | dict(scores.pages([])) | dict(rules.pages()) | dict([calendar.the_page()])
    assert {f"scales/{name}" for name in SCALES} | {f"scores/{name}" for name in REGISTRY} <= set(named)
    for rule in every_rule():
        assert f"\n## {rule.id}\n" in named[f"rules/{rule.file.removesuffix('.toml')}"]
    for drug in rulebook().drugs:
        assert f"({drug})=" in named["rules/drugs"]
    for item in calendar_items():
        assert f"\n### {item.id}\n" in named["calendar"]


def test_a_page_of_a_scale_shows_its_marks_cells_and_options() -> None:
    text = dict(scales.pages([]))["scales/crs_astct2019"]
    assert r"vasopressin alone \[P\]" in text
    assert "| `fever_carry_h` | `24` |" in text
    assert "**\\[M\\]** from memory" in text
    assert r"with or without vasopressin; <br>vasopressin alone \[P\]" in text
    assert "A letter and number in front only names a rule." in text


def test_the_list_of_scales_explains_the_marks_of_scales_alone(capsys: pytest.CaptureFixture[str]) -> None:
    told = " ".join(run("scales", capsys=capsys)[1].split())
    assert (
        "Marks: V checked against a source; M from memory; M? from memory, to be checked against the paper; P a convention"
        in told
    )
    assert "memory from memory" not in told


CHECKED = "Everything here was checked against a source."
DEFINED = ("scales/", "scores/", "rules/", "calendar", "evidence/", "model/")


def test_a_page_names_every_mark_that_is_on_it_and_says_that_all_was_checked_only_without_one() -> None:
    named = [*scales.pages([]), *scores.pages([]), *rules.pages(), calendar.the_page(), *evidence.pages(), *simulator.pages()]
    assert {prefix for name, _ in named for prefix in DEFINED if name.startswith(prefix)} == set(DEFINED)
    seen = set[str]()
    for name, text in named:
        told, *_ = text.partition("\n## ")
        marks = {mark for mark in MARKS if mark != "V" and rf"\[{mark}\]" in text.replace(rf"**\[{mark}\]**", "")}
        assert {mark for mark in MARKS if rf"**\[{mark}\]** {MARKS[mark]}" in told} == marks, name
        assert not (marks and CHECKED in text), name
        assert "{" + "legend}" not in text, name
        seen |= marks
    assert seen >= {"M", "M?", "P", "lecture-only"}


@pytest.mark.parametrize("name", ["scores/all_hematotox", "scores/easix_f"])
def test_a_page_whose_paper_was_not_seen_says_so(name: str) -> None:
    text = dict(scores.pages([]))[name]
    assert CHECKED not in text
    assert re.search(r"not confirmed.* \\\[M\\\]\.?$", text, re.M)


def test_a_page_without_a_mark_says_that_all_was_checked() -> None:
    assert legend(r"a cell \[V\]") == CHECKED
    assert legend(r"a cell \[M?\]").endswith(r"**\[M?\]** from memory, to be checked against the paper.")


def test_every_command_and_its_options_are_on_a_page() -> None:
    text = "\n".join(dict(commands.pages()).values())
    for name, command in commands.every_command().items():
        assert f"aftercar {name}" in text
        for option in (o for p in command.params for o in p.opts if o.startswith("--")):
            assert option in text, (name, option)


def test_every_name_that_the_package_hands_on_says_what_it_does_and_has_a_page() -> None:
    for name in aftercar.__all__:
        assert (getattr(aftercar, name).__doc__ or "").strip()
        assert api.home(name).removeprefix("aftercar.").rpartition(".")[0] in api.documented()


# ---- what the pages show


def shown_commands(text: str) -> list[list[str]]:
    """The words of each command of ours that a page shows: in a block, indented, or in a sentence as code."""
    text = text.replace("\\\n", " ")
    fenced = "\n".join(re.findall(r"^```(?:sh)?\n(.*?)^```$", text, re.S | re.M))
    indented = re.findall(r"^(?: {4}|\t)(.*)$", text, re.M)
    inline = re.findall(r"`((?:\.venv/bin/)?aftercar [^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M))
    found = (re.match(r"^\s*(?:\.venv/bin/)?aftercar ([a-z].*)$", line) for line in (*fenced.splitlines(), *indented, *inline))
    return [words for f in found if f and (words := shlex.split(f[1], comments=True))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_command_that_a_page_shows_is_one_and_has_the_options(page: Path) -> None:
    every = commands.every_command()
    for words in shown_commands(page.read_text(encoding="utf-8")):
        name = words[0]
        assert name in every, words
        beneath = next((f"{name} {w}" for w in words[1:] if f"{name} {w}" in every), None)
        known = {
            o
            for c in filter(None, (every[name], every.get(beneath or "")))
            for p in c.params
            for o in (*p.opts, *p.secondary_opts)
        }
        used = {w.split("=")[0] for w in words[1:] if re.match(r"--?[a-z]", w)}
        assert used <= known, (words, used - known)


def test_every_page_is_in_the_navigation() -> None:
    """Sphinx says so too; this is quicker."""
    listed = re.findall(r"^(?:.*<)?([\w/*]+)>?$", (DOCS / "index.md").read_text(encoding="utf-8"), re.M)
    names = {p.relative_to(DOCS).with_suffix("").as_posix() for p in PAGES[:-1]} - {"index"}
    lost = {name for name in names if name not in listed and f"{name.split('/')[0]}/*" not in listed}
    assert lost == set(), "give each a line in docs/index.md"


@pytest.mark.parametrize(
    ("link", "becomes"),
    [
        ("[a](scales.md#x)", "[a](/scales.md#x)"),
        ("[a](../CHANGELOG.md)", "[a](/generated/project/changelog.md)"),
        ("[`src/aftercar`](../src/aftercar)", "`src/aftercar`"),
        ("[cases](../src/aftercar/conformance)", "cases (`src/aftercar/conformance`)"),
        ("[a](https://doi.org/10.1/x)", "[a](https://doi.org/10.1/x)"),
        ("[a](#here)", "[a](#here)"),
        ("![a](a.svg)", "![a](a.svg)"),
        ("[a](gone.md)", "[a](/gone.md)"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(link: str, becomes: str) -> None:
    assert outside.relinked(link, DOCS) == becomes


# ---- the site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it; a warning fails."""
    pytest.importorskip("furo", reason="the documentation group is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-d",
        str(folder / "read"),
        "docs",
        str(folder / "site"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert not done.stderr.strip()
    return folder / "site"


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 200
    loads = re.compile(
        r"""<(?:script|img|iframe|source|video|audio|embed|object|link(?![^>]*rel="(?:canonical|license)"))\b[^>]*?(?:src|href|data)=["']?(?:https?:)?//"""
    )
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not loads.search(text), page
        for picture in re.findall(r'<img[^>]* src="([^":]+)"', text):
            assert (page.parent / picture).is_file(), (page, picture)
    for sheet in site.rglob("*.css"):
        assert not re.search(r"""(?:url\(|@import)\s*["']?(?:https?:)?//""", sheet.read_text(encoding="utf-8")), sheet


@pytest.mark.slow
def test_the_site_is_searched_from_the_disk_and_serves_everybody(site: Path) -> None:
    chromium = which("chromium")
    if chromium is None:
        if os.environ.get("AFTERCAR_TEST_ALL"):
            pytest.fail("no Chromium")
        pytest.skip("no Chromium")
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    shown = (
        "index",
        "generated/scales/crs_astct2019",
        "generated/rules/crs_asco2021",
        "generated/api/grade.run",
        "users",
        "generated/notebook/index",
    )
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        try:
            page = browser.new_page(viewport={"width": 390, "height": 800})
            asked: list[str] = []
            faults: list[Any] = []
            page.on("request", lambda request: asked.append(request.url))
            page.on("pageerror", lambda fault: faults.append(fault))
            page.goto(f"{site.as_uri()}/search.html?q=vasopressin")
            page.wait_for_selector(".search li a")
            assert page.locator(".search li a", has_text="CRS, ASTCT 2019").count()
            page.goto(f"{site.as_uri()}/search.html?q=ICE")
            page.wait_for_function("document.querySelectorAll('.search li a').length > 8")
            first = page.locator(".search li a").all_inner_texts()[:8]
            assert "ICANS, ASTCT 2019" in first and not [found for found in first if found.startswith("aftercar.")]
            for name in shown:
                page.goto(f"{site.as_uri()}/{name}.html")
                assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
                assert not [url for url in asked if not url.startswith(("file:", "data:"))]
                assert not faults
                found = Axe().run(page).response["violations"]
                assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == [], name
        finally:
            browser.close()
