"""The tutorial, the how-tos and the notebook do what they show: their commands and Python run in order, and print what stands there."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import sys
from bisect import bisect_left
from collections.abc import Iterator
from datetime import date
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from pages import notebook
from test_workbook import rows_of, workbook

from aftercar.serve import cli

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
HOW_TO = [*sorted((DOCS / "howto").glob("*.md"))]
COUNTS = [["patient_id", "cart_date", "date", "anc"], *([1, date(2024, 5, 2), date(2024, 5, day), 480] for day in range(3, 20))]
LONG = [
    ["patient_id", "date", "what", "anc"],
    [1, date(2024, 5, 2), "infusion", None],
    *([1, date(2024, 5, day), "count", 480] for day in range(3, 20)),
]

Block = tuple[str, str]  # its language, and what it holds


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page that are run or shown as output."""
    return re.findall(r"^```(sh|python|text)\n(.*?)^```$", text, re.S | re.M)


def sections(page: Path) -> dict[str, str]:
    """A page by its headings of second rank."""
    parts = re.split(r"^## (.+)$", page.read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def told(command: list[str]) -> str:
    """What a command of aftercar prints; it must go well."""
    sys.argv = ["aftercar", *command]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code, (command, stopped.value.code)
    return out.getvalue()


def demo() -> list[str]:
    """The commands of `make demo`."""
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert recipe
    lines = (line.strip().replace("$(DEMO)", "out/demo") for line in recipe[1].splitlines())
    return [line.replace("$(BIN)/", "") for line in lines if line.startswith("$(BIN)/aftercar")]


def shell(script: str) -> str:
    """Run the few words of a shell that our pages use, in this process, and give what was printed."""
    printed = ""
    lines = iter(script.replace("\\\n", " ").splitlines())
    for line in lines:
        words = shlex.split(line)
        if not words:
            continue
        match words:
            case ["cat", ">", name, here]:
                end = here.removeprefix("<<")
                body = "".join(f"{row}\n" for row in iter(lambda: next(lines), end))
                Path(name).write_text(body, encoding="utf-8")
            case ["printf", text, ">" | ">>" as how, name]:
                with Path(name).open("w" if how == ">" else "a", encoding="utf-8") as file:
                    file.write(text.replace("\\n", "\n"))
            case ["mkdir", "-p", name]:
                Path(name).mkdir(parents=True, exist_ok=True)
            case ["mkdir", name]:
                Path(name).mkdir()
            case ["cd", name]:
                os.chdir(name)
            case ["make", "demo"]:
                printed += "".join(told(shlex.split(command)[1:]) for command in demo())
            case ["aftercar" | ".venv/bin/aftercar", *command]:
                printed += told(command)
            case _:
                pytest.fail(f"a page shows a command that no test runs: {line}")
    return printed


def stands_in(shown: str, printed: str) -> None:
    """Each line of a shown output stands in the printed one, in this order; `...` stands for lines that are left out. Runs of blanks are one."""
    rows = [" ".join(row.split()) for row in printed.splitlines() if row.strip()]
    flat, ends = " ".join(rows), list(accumulate(len(row) + 1 for row in rows))
    at, last = 0, len(flat) + 1  # the next line begins between the two
    for words in (" ".join(line.split()) for line in shown.splitlines() if line.strip()):
        if words == "...":
            last = len(flat) + 1
            continue
        place = flat.find(words, at)
        assert 0 <= place < last, (words, flat[at : at + 2000])
        at = place + len(words)
        row = bisect_left(ends, at)  # the rest of its row, and the next one
        last = ends[min(row + 1, len(ends) - 1)]


def run(text: str) -> None:
    """Run a page from the top to the end; the output that it shows is that of the block before."""
    printed = ""
    for language, body in blocks(text):
        if language == "sh":
            printed = shell(body)
        elif language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(body, "page", "exec"), {})
            printed = out.getvalue()
        else:
            stands_in(body, printed)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a reader would try a page: the examples are there."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [DOCS / "tutorial.md", *HOW_TO], ids=lambda p: p.stem)
def test_a_page_does_what_it_shows(page: Path, room: Path) -> None:
    assert {language for language, _ in blocks(page.read_text(encoding="utf-8"))} >= {"sh"}
    run(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "rows"), [("anc", COUNTS), ("long", LONG)])
def test_the_workbooks_of_the_examples_hold_what_the_tests_write(name: str, rows: list[list[Any]], tmp_path: Path) -> None:
    """To make them anew: `workbook(ROOT / "examples" / "excel" / "anc.xlsx", ANC=COUNTS)`."""
    assert rows_of(ROOT / "examples" / "excel" / f"{name}.xlsx") == rows_of(workbook(tmp_path / "made.xlsx", ANC=rows))


@pytest.mark.parametrize("page", [DOCS / "users.md", DOCS / "tutorial.md", *HOW_TO], ids=lambda p: p.stem)
def test_what_a_page_writes_stays_under_out(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    first = blocks(text)[0][1].splitlines() if page in HOW_TO else []
    if first[1:] and first[1].startswith("cd out/"):
        return
    for language, body in blocks(text):
        for option, target in re.findall(r"--(out|to|ics|redcap|csv|plot)[ =](\S+)", body) if language == "sh" else []:
            assert target.startswith("out/") or (option == "to" and re.fullmatch(r"[a-z]+\d*", target)), (
                target
            )  # a format or scale


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which the demo has run."""
    folder = tmp_path_factory.mktemp("users")
    (folder / "examples").symlink_to(ROOT / "examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shell("make demo")
        yield folder


USERS = {name: text for name, text in sections(DOCS / "users.md").items() if blocks(text)}


@pytest.mark.parametrize("user", USERS)
def test_each_user_can_do_what_is_shown(user: str, graded: Path) -> None:
    run(USERS[user])


def test_each_user_has_a_section() -> None:
    assert len(USERS) == 13


def test_the_notebook_runs_and_is_committed_without_output() -> None:
    path = DOCS / "notebook.ipynb"
    book = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert book["nbformat"] == 4
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    given = [(printed, value) for kind, _, printed, value in notebook.run(path) if kind == "code"]
    assert all(printed or value is not None for printed, value in given)
    assert any(hasattr(value, "_repr_svg_") for _, value in given)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [("a b\n...\nc", "a  b\nx\nc"), ("a", "b a c"), ("a b\nc", "a b z\n\nc")],
    ids=["in order", "within a line", "one after the other"],
)
def test_an_output_is_found(shown: str, printed: str) -> None:
    stands_in(shown, printed)


def test_an_output_that_is_not_printed_and_a_command_that_fails_are_found(room: Path) -> None:
    with pytest.raises(AssertionError):
        stands_in("c\na", "a b c")
    with pytest.raises(AssertionError):
        stands_in("a\nc", "a\nb\nc")
    with pytest.raises(AssertionError):
        shell("aftercar grade nowhere --out results")
    with pytest.raises(pytest.fail.Exception):
        shell("rm -rf results")
