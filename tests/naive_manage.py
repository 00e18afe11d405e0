"""The rules of management once more, patient by patient, from the TOML files themselves: plain three-valued logic, slow and in sight."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "src" / "aftercar" / "manage"

Interval = tuple[float, float]


def read_rules(profile: str, choices: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The rules of a profile as they are written, each with its topic, without those of a side that is not taken."""
    follows = tomllib.loads((FOLDER / "profiles.toml").read_text())[profile]
    answers: dict[str, Any] = {}
    for name, question in tomllib.loads((FOLDER / "questions.toml").read_text()).items():
        answers[name] = question.get("default", next(iter(question.get("values", [])), None))
    answers |= {**follows.get("choose", {}), **(choices or {})}
    found = []
    for path in sorted((FOLDER / "rules").glob("*.toml")):
        content = tomllib.loads(path.read_text())
        if "topic" in content and content["variant"] in ("all", follows["use"].get(content["topic"])):
            found += [{"topic": content["topic"], **_answered(rule, answers)} for rule in content["rule"]]
    return [r for r in found if r.get("position") is None or answers[r["question"]] in (None, r["position"])]


def _answered(rule: Any, answers: Mapping[str, Any]) -> Any:
    """A rule, or a part of one, with a number wherever a comparison names a question."""
    if isinstance(rule, list):
        return [_answered(part, answers) for part in rule]
    if not isinstance(rule, dict):
        return rule
    named = {k: answers[v] for k, v in rule.items() if k.endswith(("_min", "_max", "_over", "_under")) and isinstance(v, str)}
    return {k: _answered(v, answers) for k, v in rule.items()} | named


def holds(when: Mapping[str, Any], facts: Mapping[str, Interval], before: str = "") -> bool | None:
    """Whether a condition holds: true, false, or null where what is known does not say."""
    answers: list[bool | None] = []
    for key, value in when.items():
        if key == "any":
            each = [holds(v, facts) for v in value]
            answers.append(True if True in each else None if None in each else False)
        elif isinstance(value, Mapping):
            answers.append(holds(value, facts, f"{before}{key}."))
        else:
            answers.append(_compare(f"{before}{key}", float(value), facts))
    return False if False in answers else None if None in answers else True


def _compare(key: str, value: float, facts: Mapping[str, Interval]) -> bool | None:
    tests = {
        "_min": lambda x: x >= value, "_max": lambda x: x <= value, "_over": lambda x: x > value, "_under": lambda x: x < value,
    }  # fmt: skip
    for suffix, test in tests.items():
        if key.endswith(suffix):
            low, high = map(test, facts[key.removesuffix(suffix)])
            return low if low == high else None
    low, high = facts[key]
    return True if low == high == value else None if low <= value <= high else False


def status(rule: Mapping[str, Any], rules: list[dict[str, Any]], facts: Mapping[str, Interval]) -> str | None:
    """What a rule says."""
    fires = holds(rule["when"], facts)
    if "unless" in rule:
        spared = holds(rule["unless"], facts)
        fires = False if spared or fires is False else True if fires and spared is False else None
    if rule["topic"] == "block":
        return {True: "blocked", None: "perhaps_blocked", False: "not_blocked"}[fires]
    if fires is False:
        return None
    names = {rule.get("action"), rule.get("drug")} - {None}
    blocked = [holds(b["when"], facts) for b in rules if names & set(b.get("blocks", []))]
    if True in blocked:
        return "blocked"
    return "option" if fires and None not in blocked else "measure_first"
