"""Treatment of virtual patients: what a protocol gives, and what a policy gives on seeing the grades of what was charted so far."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars import col

from aftercar.errors import InputError, OptionError, nearest
from aftercar.simulate.engine import Doses, Floats, Ints
from aftercar.simulate.model import Model, toml
from aftercar.simulate.population import WEIGHT_KG

TOXICITIES = ("crs", "icans")  # that a policy can see
# From a round to what is given at it: what is found at the round stands before the drug does, in the chart too.
AFTER_H = 0.25


@dataclass(frozen=True)
class Given:
    """One drug as it is given: `mg` at each of `hours` after the decision, or since the infusion for a protocol; and `AFTER_H` later than that."""

    drug: str
    mg: float
    hours: tuple[float, ...]


@dataclass(frozen=True)
class Rule:
    """What is given where toxicities are at least of these grades."""

    when: dict[str, int]
    give: tuple[Given, ...]
    for_h: float = 0.0
    again_h: float = float("inf")
    most: int = 1


@dataclass(frozen=True)
class Policy:
    """A treatment policy: its rules, and what is given in any case."""

    name: str
    title: str
    rules: tuple[Rule, ...] = ()
    protocol: tuple[Given, ...] = ()

    @property
    def toxicities(self) -> list[str]:
        """What must be graded for it."""
        return sorted({t for rule in self.rules for t in rule.when})


def policies(model: Model, folder: Path | str | None = None) -> dict[str, Policy]:
    """All policies by name; those of one's own `policies.toml` come on top.

    Raises:
        InputError: the file is wrong, and where.
    """
    told = toml("policies.toml", None) | toml("policies.toml", folder)
    return {name: _policy(name, told, model) for name in told}


def named(name: str, model: Model, folder: Path | str | None = None) -> Policy:
    """A policy by its name.

    Raises:
        OptionError: there is none of that name.
    """
    every = policies(model, folder)
    name = next((known for known in every if known.lower() == name.strip().lower()), name)
    if name not in every:
        raise OptionError(f"There is no policy {name!r}. {nearest(name, every) or 'Known: ' + ', '.join(every) + '.'}")
    return every[name]


def _policy(name: str, told: dict[str, Any], model: Model) -> Policy:
    entry = told[name]
    _only(name, entry, {"title", "source", "confidence", "like", "rule", "protocol"})
    try:
        base = _policy(entry["like"], told, model) if "like" in entry else Policy(name, "")
        for rule in entry.get("rule", []):
            _only(name, rule, {"when", "for_h", "give", "again_h", "most"})
            if wrong := [f"{t} = {g}" for t, g in rule["when"].items() if t not in TOXICITIES or g not in range(1, 6)]:
                raise InputError(
                    f"policies.toml, {name}, when: {wrong[0]}; a toxicity is {' or '.join(TOXICITIES)}, a grade 1 to 5."
                )
        rules = tuple(
            Rule(
                {t: int(g) for t, g in rule["when"].items()}, tuple(_given(g, model) for g in rule["give"]), float(rule.get("for_h", 0.0)),
                float(rule.get("again_h", float("inf"))), int(rule.get("most", 1)),
            )
            for rule in entry.get("rule", [])
        )  # fmt: skip
        protocol = tuple(_given(g, model) for g in entry.get("protocol", []))
        return Policy(name, entry["title"], base.rules + rules, base.protocol + protocol)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"policies.toml, {name}: {error} is missing or not as it must be; the head of our own file says how."
        ) from error


def _only(name: str, told: dict[str, Any], allowed: set[str]) -> None:
    for key in told:
        if key not in allowed:
            raise InputError(
                f"policies.toml, {name}: {key!r} is not known. {nearest(key, allowed) or 'Known: ' + ', '.join(sorted(allowed)) + '.'}"
            )


def _given(told: dict[str, Any], model: Model) -> Given:
    _only(told.get("drug", "a drug"), told, {"drug", "mg", "mg_per_kg", "most_mg", "days", "from_d", "to_d", "every_h", "for_h"})
    if "mg" in told and "mg_per_kg" in told:
        raise InputError(f"policies.toml, {told['drug']}: either mg or mg_per_kg.")
    if wrong := [k for k, v in told.items() if k not in ("drug", "days") and not (isinstance(v, (int, float)) and v >= 0)]:
        raise InputError(f"policies.toml, {told['drug']}, {wrong[0]}: must be a number, 0 or more.")
    usual = drug(told["drug"], model)
    mg = float(told.get("mg", told.get("mg_per_kg", 0.0) * WEIGHT_KG or usual["mg"]))
    mg = min(mg, float(told.get("most_mg", mg)))
    if "days" in told:
        hours = tuple(24.0 * d for d in told["days"])
    elif "from_d" in told:
        hours = tuple(np.arange(told["from_d"] * 24.0, told["to_d"] * 24.0 + 1e-9, told["every_h"]))
    else:
        hours = tuple(np.arange(0.0, told.get("for_h", 1e-3), told.get("every_h", 24.0)))
    return Given(told["drug"], mg, tuple(float(h) for h in hours))


def drug(name: str, model: Model) -> dict[str, Any]:
    """The row of a drug, with its usual dose in `mg`, how often (`every_h`, null: once) and what 1 mg adds to its `state`.

    Raises:
        OptionError: there is none of that name.
    """
    table = model.tables["drugs"]
    rows = table.filter(col("drug") == name)
    if rows.is_empty():
        known = table["drug"].to_list()
        raise OptionError(f"The mechanism has no drug {name!r}. {nearest(name, known) or 'Known: ' + ', '.join(known) + '.'}")
    row = rows.row(0, named=True)
    found = _DOSE.match(row["dose"] or "")
    if not found:
        raise InputError(f"drugs.csv, {name}, dose: must be such as `100 mg` or `8 mg/kg at most 800 mg`.")
    mg = float(found[1]) * (WEIGHT_KG if found[2] == "mg/kg" else 1.0)
    return row | {"mg": min(mg, float(found[3] or mg)), "every_h": _every(row["schedule"] or "")}


_DOSE = re.compile(r"([\d.]+) ?(mg/kg|mg)(?: at most ([\d.]+) mg)?")
_WORDS = {"daily": 24.0, "twice a day": 12.0, "weekly": 168.0, "twice a week": 84.0}


def _every(schedule: str) -> float | None:
    """Hours from one dose to the next; null where it is given once."""
    if found := re.match(r"every (\d+) (h|d)", schedule):
        return float(found[1]) * (24.0 if found[2] == "d" else 1.0)
    return next((hours for word, hours in _WORDS.items() if schedule.startswith(word)), None)


_ASKED = re.compile(r"(?P<drug>\w+)(?::(?P<mg>[\d.]+))?(?:/(?P<every>[\d.]+)h)?(?:@day(?P<first>[\d.]+)(?:-(?P<last>[\d.]+))?)?")


def asked(text: str, model: Model) -> Given:
    """A drug as a user asks for it: `anakinra`, `anakinra@day2-10`, `dexamethasone:10@day0-2`, `dasatinib:100/6h@day3-10`.

    Raises:
        OptionError: it is not written so, or there is no such drug.
    """
    found = _ASKED.fullmatch(text.strip())
    if not found:
        raise OptionError(
            f"{text!r}: write a drug such as anakinra@day2-10 or dasatinib:100/6h@day3-10 (mg, every so many hours, days since the infusion)."
        )
    usual = drug(found["drug"], model)
    first = float(found["first"] or 0.0) * 24
    last = first if found["last"] is None else float(found["last"]) * 24
    if last < first:
        raise OptionError(f"{text!r}: the last day comes before the first.")
    every = float(found["every"] or 0.0) or usual["every_h"] or last - first + 1
    hours = np.arange(first, last + 1e-9, every)
    return Given(found["drug"], float(found["mg"] or usual["mg"]), tuple(float(h) for h in hours))


class History:
    """What was given to whom, and what each rule may still do.

    Attributes:
        given: `row` (patient), `hour`, `drug`, `mg`.
    """

    def __init__(self, policy: Policy, n: int, protocol: tuple[Given, ...], model: Model, from_h: float = 0.0) -> None:
        """Begin with what is given in any case.

        Args:
            from_h: when the policy begins. What the protocol gave by then counts as if the policy had given it.
        """
        acts_on = dict(model.tables["drugs"].select("drug", "state").iter_rows())
        self.policy = policy
        self.fired = np.zeros((len(policy.rules), n), np.int64)
        self.next = np.full((len(policy.rules), n), from_h)
        self.last = np.full(n, -1.0)  # hour of the last decision
        for k, rule in enumerate(policy.rules):
            times, following = _already(rule, protocol, acts_on, from_h)
            self.fired[k], self.next[k] = times, max(from_h, following)
        own = [replace(g, hours=tuple(h for h in g.hours if h >= from_h)) for g in policy.protocol]
        self.given = pl.concat([_NOTHING, *(_rows(np.arange(n), np.zeros(n), g) for g in (*own, *protocol))])

    def decide(self, rows: Ints, hours: Floats, last: Ints, grades: dict[str, np.ndarray]) -> tuple[np.ndarray, Ints]:
        """The next decision of each patient, if there is one: what is due is given.

        Args:
            rows: patients.
            hours: of the rounds.
            last: for each of these patients the number of the last round that is graded.
            grades: of each toxicity the grade that was charted, `[patient, round]`.
        Returns:
            which of these patients were given something, and the number of the round of it.
        """
        n, t = len(rows), len(hours)
        open_ = (np.arange(t) <= last[:, None]) & (hours > self.last[rows][:, None] + 1e-9)
        due = np.zeros((len(self.policy.rules), n, t), bool)
        for k, rule in enumerate(self.policy.rules):
            held = np.ones((n, t), bool)
            for toxicity, least in rule.when.items():
                held &= grades[toxicity] >= least
            allowed = open_ & (hours >= self.next[k, rows][:, None] - 1e-9) & (self.fired[k, rows] < rule.most)[:, None]
            long_enough = not rule.for_h or _since(held, hours) >= rule.for_h - 1e-9
            due[k] = held & long_enough & allowed
        some = due.any(axis=0)
        acted = np.asarray(some.any(axis=-1))
        first: Ints = some.argmax(axis=-1)
        parts = [self.given]
        for k, rule in enumerate(self.policy.rules):
            fires = acted & due[k, np.arange(n), first]
            who, at = rows[fires], hours[first[fires]]
            self.fired[k, who] += 1
            self.next[k, who] = at + rule.again_h
            parts += [_rows(who, at, g) for g in rule.give]
        self.given = pl.concat(parts)
        self.last[rows[acted]] = hours[first[acted]]
        return acted, first[acted]

    def doses(self, model: Model, until_h: float) -> Doses:
        """What was given as jumps of states."""
        table = model.tables["drugs"].select("drug", "state", "per_mg")
        place = {s: k for k, s in enumerate(model.states)}
        rows = self.given.filter(col("hour") <= until_h).join(table, on="drug", how="left")
        return Doses(
            rows["row"].to_numpy().astype(np.int64), rows["hour"].to_numpy() / 24.0,
            rows["state"].replace_strict(place, return_dtype=pl.Int64).to_numpy().astype(np.int64),
            (rows["mg"] * rows["per_mg"]).to_numpy().astype(np.float64),
        )  # fmt: skip


_NOTHING = pl.DataFrame(schema={"row": pl.Int64, "hour": pl.Float64, "drug": pl.String, "mg": pl.Float64})


def _already(rule: Rule, protocol: tuple[Given, ...], acts_on: dict[str, str], until_h: float) -> tuple[int, float]:
    """How often a protocol has given what a rule gives, by a time, and from which hour on the rule may give it again.

    Args:
        acts_on: the state of each drug; two drugs of one state, such as two steroids, are the same.
    """
    times, following = 0, 0.0
    for course in rule.give:
        hours = sorted(h for g in protocol if acts_on[g.drug] == acts_on[course.drug] for h in g.hours if h < until_h)
        if hours:
            times = max(times, -(-len(hours) // len(course.hours)))
            following = max(following, hours[-1] - course.hours[-1] + rule.again_h)
    return times, following


def _rows(who: np.ndarray, at: Floats, given: Given) -> pl.DataFrame:
    hours = np.array(given.hours)
    n = len(who) * len(hours)
    return pl.DataFrame(
        {
            "row": pl.Series(np.repeat(who, len(hours)), dtype=pl.Int64), "hour": pl.Series((at[:, None] + hours[None, :] + AFTER_H).ravel(), dtype=pl.Float64),
            "drug": pl.repeat(given.drug, n, dtype=pl.String, eager=True), "mg": pl.repeat(given.mg, n, dtype=pl.Float64, eager=True),
        }
    )  # fmt: skip


def _since(held: np.ndarray, hours: Floats) -> Floats:
    """Hours since each unbroken stretch began."""
    n, t = held.shape
    began = np.full(n, np.nan)
    out = np.zeros((n, t))
    for k in range(t):  # rounds, not patients
        began = np.where(held[:, k], np.where(np.isnan(began), hours[k], began), np.nan)
        out[:, k] = np.where(held[:, k], hours[k] - began, 0.0)
    return out
