"""`dev/audit.py`, held against a database of vulnerabilities on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from served import serving

ROOT = Path(__file__).parents[1]
KNOWN = {"id": "PYSEC-2099-1", "summary": "made up", "affected": [{"package": {"name": "jinja2", "ecosystem": "PyPI"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}]}]}  # fmt: skip


def audited(url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("AFTERCAR_AUDIT")} | {"AFTERCAR_AUDIT_URL": url} | environment
    return subprocess.run([sys.executable, "dev/audit.py"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)


@contextmanager
def a_database(vulnerable: str | None = None, status: int = 200) -> Iterator[tuple[str, set[str]]]:
    """A database that knows of one vulnerable package, and what was asked for."""
    asked: set[str] = set()

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], Any]:
        name = json.loads(body)["package"]["name"]
        asked.add(name)
        return status, {}, {"vulns": [KNOWN]} if name == vulnerable else {}

    with serving(answer) as url:
        yield f"{url}/v1/query", asked


@pytest.mark.slow
def test_all_that_the_locks_name_is_asked_for_and_a_vulnerability_fails() -> None:
    with a_database("jinja2") as (url, asked):
        found = audited(url)
    assert found.returncode == 1
    assert "jinja2" in found.stderr and "PYSEC-2099-1, mended in 99" in found.stderr
    for lock in ROOT.glob("requirements*.lock"):
        named = {line.partition("==")[0] for line in lock.read_text().splitlines() if "==" in line and ";" not in line}
        assert named and {n.split("[")[0].lower().replace("_", "-").replace(".", "-") for n in named} <= asked, lock.name
    with a_database() as (url, _):
        clean = audited(url)
    assert clean.returncode == 0 and clean.stderr == "" and "No known vulnerability" in clean.stdout


@pytest.mark.parametrize("status", [404, 500])
def test_where_nobody_can_answer_it_says_so_and_fails_only_if_it_must(status: int) -> None:
    with a_database(status=status) as (url, _):
        _not_audited(url)
    _not_audited(url)  # and nobody listens there any more


def _not_audited(url: str) -> None:
    free, must = audited(url), audited(url, AFTERCAR_AUDIT="required")
    assert free.returncode == 0 and free.stderr.startswith("not audited: ") and free.stdout == ""
    assert must.returncode == 1 and must.stderr.startswith("not audited: ")
