"""Pages of risks, requirements and known anomalies, from the data beside the documentation."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pages.text import code, listed, page, plain, table


def read(docs: Path, name: str) -> dict[str, Any]:
    """One of the data files."""
    return tomllib.loads((docs / f"{name}.toml").read_text(encoding="utf-8"))


def pages(docs: Path) -> Iterator[tuple[str, str]]:
    """The risk file, the trace and the list of anomalies."""
    risks, requirements, anomalies = (read(docs, name) for name in ("risks", "requirements", "anomalies"))
    yield "safety/risks", page(
        "Risk file",
        plain(risks["about"]),
        table(
            ["risk", "hazard", "severity", "without measures", "with them"],
            ([f"[{code(r['id'])}](#{r['id'].lower()})", plain(r["hazard"]), plain(r["severity"]), plain(r["before"]), plain(r["after"])] for r in risks["risk"]),
        ),
        *(part for r in risks["risk"] for part in _risk(r)),
    )  # fmt: skip
    yield (
        "safety/requirements",
        page(
            "Requirements and their tests",
            plain(requirements["about"]),
            *(
                part
                for group in dict.fromkeys(r["from"] for r in requirements["requirement"])
                for part in (
                    f"## {plain(group)}",
                    _traced(
                        ["id", "requirement", "tests"],
                        (
                            [code(r["id"]), plain(r["says"]), "\n".join(map(code, r["tests"]))]
                            for r in requirements["requirement"]
                            if r["from"] == group
                        ),
                    ),
                )
            ),
        ),
    )
    yield (
        "safety/anomalies",
        page(
            "Known anomalies",
            plain(anomalies["about"]),
            *(
                part
                for a in anomalies["anomaly"]
                for part in (
                    f"## {a['id']}: {plain(a['title'])}",
                    listed({"What happens": plain(a["what"]), "Who is affected": plain(a["whom"]), "What to do": plain(a["do"])}),
                )
            ),
        ),
    )


def _risk(r: dict[str, Any]) -> Iterator[str]:
    yield f"## {r['id']}"
    yield f"**{plain(r['hazard'])}**"
    yield listed({
        "How it may come about": plain(r["cause"]),
        "What may follow": plain(r["harm"]),
        "Severity": plain(r["severity"]),
        "How likely, without and with what is done": f"{plain(r['before'])}; {plain(r['after'])}",
    })  # fmt: skip
    yield "What is done, and the tests that show it:"
    yield _traced(["measure", "tests"], ([plain(m["does"]), "\n".join(map(code, m["tests"]))] for m in r["measure"]))
    yield f"**What is left**: {plain(r['left'])}"


def _traced(head: list[str], rows: Iterable[list[str]]) -> str:
    """A table of tests, whose long names may break."""
    return f":::{{container}} trace\n\n{table(head, rows)}\n\n:::"
