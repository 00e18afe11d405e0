"""The worked cases: each story in short, what is expected, and whether our graders say so now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from aftercar.conformance.run import TRAPS, Check, run_cases, suite
from aftercar.timeline.readers.cases import read_cases
from pages.text import code, page, plain, table

LONGEST = 400  # characters of a story: a series of counts may go over a hundred days
_JUDGED = ("grade", "min", "max", "status", "value", "group", "flags", "actions", "blocked")


@cache
def checked() -> list[Check]:
    """Every check of the suite, run now."""
    return run_cases(suite())


@cache
def _bodies() -> dict[str, dict[str, Any]]:
    return {case.id: case.body for path in suite() for case in read_cases(path)}


def of(checks: Iterable[Check], *, with_scale: bool) -> str:
    """A table of checks: case, story, time, expectation, reason. The story of a case stands once."""
    asked = list(checks)
    rows = [
        [
            f"{code(c.case)} {plain(c.title)}",
            *([code(c.scale)] if with_scale else []),
            "the same" if n and asked[n - 1].case == c.case else plain(story(_bodies()[c.case])),
            plain(c.at),
            plain(expected(c.expected)) + ("" if c.outcome == "passed" else f" **{c.outcome}: {plain(c.difference)}**"),
            plain(c.expected.get("why", "")),
        ]
        for n, c in enumerate(asked)
    ]
    if not rows:
        return "No worked case asks for this one alone."
    head = ["case", *(["of"] if with_scale else []), "charted", "asked at", "expected", "why"]
    told = f"{len(rows)} checks, all synthetic, run when this page was made: {_outcomes(asked)}. A story that says nothing of a drug or symptom says that it did not happen."
    return f"{told}\n\n:::{{container}} cases\n\n{table(head, rows)}\n\n:::"


def _outcomes(checks: Iterable[Check]) -> str:
    return ", ".join(f"{n} {outcome}" for outcome, n in Counter(c.outcome for c in checks).items())


def story(body: dict[str, Any]) -> str:
    """What a case charts, in short."""
    parts = [f"{name} {_short(body[name])}" for name in ("patient", "options") if body.get(name)]
    for entry in body.get("timeline") or []:
        rest = entry.get("vitals", {}) | {k: v for k, v in entry.items() if k not in ("h", "day", "vitals")}
        at = f"h {entry['h']}" if "h" in entry else f"day {entry.get('day')}"
        parts.append(f"{at}: {_short(rest)}")
    parts += [f"{name}: {_short(told)}" for name, told in (body.get("series") or {}).items()]
    parts += [f"findings {_short(body['findings'])}"] if body.get("findings") else []
    told = "; ".join(parts)
    return told if len(told) <= LONGEST else told[:LONGEST].rsplit(" ", 1)[0] + " …"


def _short(told: Any) -> str:
    if isinstance(told, dict):
        if set(told) == {"v", "u"}:
            return f"{told['v']} {told['u']}"
        return ", ".join(f"{k} {_short(v)}".strip() for k, v in told.items())
    if isinstance(told, list):
        return "none" if not told else " + ".join(_short(v) for v in told)
    if told is None or isinstance(told, bool):
        return {None: "not known", True: "yes", False: "no"}[told]
    return f"{told:.12g}" if isinstance(told, float) else str(told)


def expected(want: dict[str, Any]) -> str:
    """What a check expects, in short."""
    parts = [f"{name} {_short(want[name])}" for name in _JUDGED if name in want]
    if want.get("options"):
        parts.append(f"with {_short(want['options'])}")
    return "; ".join(parts)


def _counts(checks: list[Check], key: Callable[[Check], str], says: dict[str, str], head: str) -> str:
    """Passed of checked, by scale or by trap."""
    total, passed = Counter(map(key, checks)), Counter(key(c) for c in checks if c.outcome == "passed")
    rows = [[code(name), plain(says.get(name, "")), f"{passed[name]} of {n}"] for name, n in sorted(total.items()) if name]
    return table([head, "what it checks", "passed"], rows)


def the_page(checks: list[Check]) -> tuple[str, str]:
    """The suite in counts, run when the page was made."""
    failed = [c for c in checks if c.outcome != "passed"]
    return "validation/suite", page(
        "The conformance suite, run now",
        f"`aftercar conformance --suite`, run when this page was made: {len(checks)} checks of {len({c.case for c in checks})} worked cases; {_outcomes(checks)}. "
        "What a case is, and how another grader is held against the same ones, is told in [conformance](../../conformance.md).",
        "## By trap",
        _counts([c for c in checks if c.trap], lambda c: c.trap, TRAPS, "trap"),
        "## By scale, score or rule",
        _counts(checks, lambda c: c.scale, {}, "asked of"),
        "## What fails",
        of(failed, with_scale=True) if failed else "Nothing.",
    )
