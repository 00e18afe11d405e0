"""The command line as it describes itself: a page a command."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from aftercar.serve.cli import app
from pages.text import code, contents, page, plain, table


def every_command() -> dict[str, Any]:
    """Each command by its words, those of groups too."""
    root: Any = typer.main.get_command(app)
    found: dict[str, Any] = {}
    for name, command in root.commands.items():
        found[name] = command
        found |= {f"{name} {sub}": c for sub, c in getattr(command, "commands", {}).items()}
    return found


def pages() -> Iterator[tuple[str, str]]:
    """The list of commands, and a page for each that stands alone or has others beneath."""
    every = every_command()
    first = {name: c for name, c in every.items() if " " not in name}
    rows = [[f"[{code('aftercar ' + name)}]({name}.md)", plain(_says(c).split("\n\n")[0])] for name, c in first.items()]
    yield (
        "commands/index",
        page(
            "Commands",
            "`aftercar COMMAND --help` says the same. Exit codes: 0 done, 1 a check failed, 2 something that you can mend, 70 a fault of aftercar, 130 interrupted.",
            table(["command", "does"], rows),
            contents(*first, hidden=True),
        ),
    )
    for name, command in first.items():
        beneath = {sub: c for sub, c in every.items() if sub.startswith(f"{name} ")}
        parts = [part for sub, c in beneath.items() for part in (f"## {sub}", *_told(sub, c))]
        yield f"commands/{name}", page(f"aftercar {name}", *_told(name, command), *parts)


def _says(command: Any) -> str:
    return inspect.cleandoc(command.help or "")


def _told(name: str, command: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=f"aftercar {name}")
    yield "\n\n".join(plain(part) for part in _says(command).split("\n\n"))
    yield "```text\n" + " ".join(command.get_usage(context).split()).removeprefix("Usage: ") + "\n```"
    for title, kind in (("Arguments", "argument"), ("Options", "option")):
        records = [p.get_help_record(context) for p in command.params if p.param_type_name == kind]
        rows = [[code(names), plain(says)] for names, says in filter(None, records)]
        if rows:
            yield f"**{title}**"
            yield table([title.lower()[:-1], "meaning"], rows)
