"""Rules of management: every one fires where it should and just does not beside it; a slow reading of the same files agrees; unknown is wide."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from naive_manage import Interval, read_rules, status

from aftercar.errors import InputError, OptionError
from aftercar.manage.advise import ADVICE
from aftercar.manage.lint import CHECKS, lint
from aftercar.manage.rules import RuleBook, check, every_rule, profiles, rulebook
from aftercar.manage.spoken import STATUS, statuses
from aftercar.manage.vocabulary import DRUG_FACTS, LIMITS, fact, plain
from aftercar.manage.when import parse

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "management.yaml").read_text())
NAMED = [name for name in profiles() if name != "local"]
HIGH = {"anc": 3000.0, "platelets": 200.0, "hemoglobin": 12.0, "fibrinogen": 300.0, "igg": 900.0, "day": 400.0, "age_y": 50.0}


def fact_names(book: RuleBook) -> list[str]:
    return sorted({leaf.fact for r in book.rules for c in (r.when, r.unless) if c for leaf in c.leaves()})


def calm(name: str) -> float:
    return float("inf") if name.startswith("since_h.") else HIGH.get(name, 0.0)


def frame(rows: list[Mapping[str, Interval]]) -> pl.DataFrame:
    return pl.DataFrame({f"{n}:{side}": [float(r[n][k]) for r in rows] for n in rows[0] for k, side in enumerate(("lo", "hi"))})


def told(book: RuleBook, **given: float) -> dict[str, str | None]:
    facts = {n: (given.get(n, calm(n)),) * 2 for n in fact_names(book)}
    assert set(given) <= set(facts), set(given) - set(facts)
    return statuses(frame([facts]), book).row(0, named=True)


def book_of(rule: str, folder: Path) -> RuleBook:
    """The book of some profile that has the rule, with the choices that its case needs."""
    chosen = CASES[rule].get("choose", {})
    write(folder, "".join(f"{k} = {v!r}\n" for k, v in chosen.items()), "choices.toml")
    books = (rulebook(name, folder if chosen else None) for name in NAMED)
    return next(b for b in books if rule in {r.id for r in b.rules})


def test_every_rule_has_cases_and_no_case_is_of_nothing() -> None:
    assert set(CASES) == {r.id for r in every_rule()}


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_fires_in_its_case_and_not_just_beside_it(rule: str, tmp_path: Path) -> None:
    book, case = book_of(rule, tmp_path), CASES[rule]
    fires = told(book, **case["fires"])[rule]
    assert fires in ("option", "blocked")
    if case["spares"] is not None:
        assert told(book, **case["spares"])[rule] in (None, "not_blocked")


# ---- a slow reading of the same files


def random_facts(
    names: list[str], cuts: dict[str, list[float]], rng: random.Random, *, known: float = 0.7
) -> dict[str, Interval]:
    """Facts near the thresholds of the rules, some of them wide."""
    found = {}
    for name in names:
        near = [v + d for v in cuts[name] for d in (-1.0, -0.1, 0.0, 0.1, 1.0)] if not fact(name).flag else [0.0, 1.0]
        a, b = (max(0.0, rng.choice(near)) for _ in range(2))
        if name == "day":
            a, b = float(round(a)), float(round(b))
        elif name.split("_")[0] in ("crs", "icans", "iechs") and not name.endswith("_h"):
            a, b = (float(min(4, round(v))) for v in (a, b))
        found[name] = (a, a) if rng.random() < known else (min(a, b), max(a, b))
    return found


def cuts_of(book: RuleBook) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {n: [0.0] for n in fact_names(book)}
    for r in book.rules:
        for c in (r.when, r.unless):
            for leaf in c.leaves() if c else ():
                found[leaf.fact].append(leaf.value)
    return found


OTHERWISE = {"toci_max": "ema", "g1_toci_after_h": 48, "g_csf_from": "week_3", "toci_with_icans": "avoid", "first_il6": "either"}


@pytest.mark.parametrize(("profile", "choices"), [*((name, {}) for name in NAMED), ("asco2021", OTHERWISE)])
def test_a_slow_reading_of_the_files_agrees(profile: str, choices: dict[str, Any], tmp_path: Path) -> None:
    folder = write(tmp_path, "".join(f"{k} = {v!r}\n" for k, v in choices.items()), "choices.toml") if choices else None
    book, rng, plain = rulebook(profile, folder), random.Random(profile), read_rules(profile, choices)
    assert {r["id"] for r in plain} == {r.id for r in book.rules}
    rows = [random_facts(fact_names(book), cuts_of(book), rng) for _ in range(300)]
    found = statuses(frame(rows), book).to_dicts()
    seen: set[tuple[str, str | None]] = set()
    for facts, answers in zip(rows, found, strict=True):
        for rule in plain:
            assert answers[rule["id"]] == status(rule, plain, facts), rule["id"]
            seen.add((rule["topic"], answers[rule["id"]]))
    assert {("crs", s) for s in ("option", "measure_first", "blocked", None)} <= seen


@pytest.mark.parametrize("profile", NAMED)
def test_knowing_less_adds_no_sure_option_and_removes_no_measure_first(profile: str) -> None:
    book, rng = rulebook(profile), random.Random(f"{profile}, less")
    cuts, names = cuts_of(book), fact_names(book)
    full = [random_facts(names, cuts, rng) for _ in range(300)]
    less = []
    for facts in full:
        wider = dict(facts)
        for name in rng.sample(names, 8):
            wider[name] = (0.0, 4.0 if name in ("crs", "icans", "iechs_grade") else 1.0 if fact(name).flag else float("inf"))
            assert wider[name][0] <= facts[name][0] <= facts[name][1] <= wider[name][1]
        less.append(wider)
    before, after = statuses(frame(full), book), statuses(frame(less), book)
    changes = {(a, b) for rule in book.rules for a, b in zip(before[rule.id], after[rule.id], strict=True)}
    for was, now in changes:
        assert now not in ("option", "not_blocked") or now == was
        assert was not in ("measure_first", "perhaps_blocked") or now == was
    blocks = [r.id for r in book.rules if r.blocks]
    assert not any((after[r] == "blocked").any() and ((after[r] == "blocked") & (before[r] != "blocked")).any() for r in blocks)
    assert {("option", "measure_first"), ("blocked", "perhaps_blocked"), (None, "measure_first")} <= changes


# ---- the files: what is wrong is told with its place


GOOD = """
topic = "crs"
variant = "local"
title = "Ward"
source = { key = "local", at = "protocol 3", date = 2026-01-31 }
strength = "O"
mark = "V"

[[rule]]
id = "ward-1"
when = { crs_min = 1 }
option = "Call the ward"
action = "call"
"""


def write(folder: Path, text: str, name: str = "crs.toml") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder


def test_a_folder_of_ones_own_stands_in_for_a_topic(tmp_path: Path) -> None:
    book = rulebook("local", write(tmp_path, GOOD))
    assert [r.id for r in book.rules if r.topic == "crs"] == ["ward-1"]
    assert {r.topic for r in book.rules} == {r.topic for r in rulebook().rules}
    assert book.rules[-1].topic == "block"
    assert check(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("crs_min = 1", "crs_mim = 1", "crs.toml, ward-1, when: there is no fact 'crs_mim'. Did you mean crs"),
        ("crs_min = 1", 'crs_min = "one"', "crs.toml, ward-1, when: crs_min is compared with a number"),
        ("crs_min = 1", "infection = 1", "crs.toml, ward-1, when: infection is yes or no"),
        ("crs_min = 1", "given.tocilizumabb_min = 1", "ward-1, when: No drug or group of drugs is called 'tocilizumabb'"),
        ("crs_min = 1", "limit.tocilizumab_weekly = true", "when: limit.tocilizumab_weekly ends with one of"),
        ("when = { crs_min = 1 }", "", "ward-1, when: is missing"),
        ("when = { crs_min = 1 }", "when = { any = [] }", "`any` takes a list of tables"),
        ('action = "call"', 'acton = "call"', "ward-1, acton: is not a field. Did you mean action"),
        ('action = "call"', 'drug = "tocilizumb"', "ward-1, drug: 'tocilizumb' is not known. Did you mean tocilizumab"),
        ('action = "call"', "dose = { value = 8, unit = 'mg' }", "ward-1, dose: needs `drug`"),
        ('action = "call"', "drug = 'tocilizumab'\ndose = { value = 8, unit = 'ml' }", "ward-1, unit: 'ml' is not known"),
        (
            'action = "call"',
            "drug = 'tocilizumab'\ndose = { value = -8, unit = 'mg' }",
            "ward-1, value: must be a number above 0",
        ),
        ('action = "call"', "blocks = ['x']", "ward-1, blocks: rules of the block list, and only they"),
        ('strength = "O"', 'strength = "Z"', "ward-1, strength: 'Z' is not known"),
        ('key = "local", at = "protocol 3", date = 2026-01-31', 'key = "lee2019", at = "t"', "'lee2019' is not a key"),
        (", date = 2026-01-31", "", "ward-1, source: `date` is a day"),
        (
            "crs_min = 1",
            'crs_h_min = "g1_toci"',
            "crs_h_min is compared with a number, or with the answer to a question. Did you mean g1",
        ),
        ('action = "call"', 'position = "ema"', "ward-1, position: needs `question`"),
        ('action = "call"', 'question = "toci_max"\nposition = "eu"', "ward-1, position: 'eu' is not known"),
        ('topic = "crs"', 'topic = "crss"', "crs.toml, topic: 'crss' is not known. Did you mean crs"),
        ("[[rule]]", "[rule]", "a file of rules has at least one [[rule]]"),
        ('option = "Call the ward"', "option = Call", "crs.toml: is not TOML"),
        ('id = "ward-1"', 'id = "ward-1"\nid = "ward-2"', "crs.toml: is not TOML"),
    ],
)
def test_what_is_wrong_in_a_folder_is_told_with_its_place(old: str, new: str, says: str, tmp_path: Path) -> None:
    assert old in GOOD
    write(tmp_path, GOOD.replace(old, new, 1))
    assert any(says in str(p) for p in check(tmp_path)), [str(p) for p in check(tmp_path)]
    with pytest.raises(InputError, match="rules that cannot be used"):
        rulebook("local", tmp_path)


def test_two_rules_of_one_name_are_refused(tmp_path: Path) -> None:
    write(write(tmp_path, GOOD), GOOD, "more.toml")
    assert "crs.toml has a rule of that name" in str(check(tmp_path)[0])


def test_a_profile_that_is_not_there_and_local_without_a_folder(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="Did you mean asco2021"):
        rulebook("asco2012")
    with pytest.raises(OptionError, match="--rules"):
        rulebook("local")
    with pytest.raises(InputError, match="no rules there"):
        rulebook("local", tmp_path)


def test_bands_of_weight_must_not_overlap(tmp_path: Path) -> None:
    drug = "[tocilizumab]\nlabel='T'\nstrength='G'\nmark='V'\nsource='local'\ndose=[{value=8,unit='mg/kg'},{below_kg=30,value=12,unit='mg/kg'}]\n"
    write(write(tmp_path, GOOD), drug, "drugs.toml")
    assert "its bands of weight overlap" in str(check(tmp_path)[0])


def test_a_drug_of_ones_own_stands_in_for_ours_in_our_rules(tmp_path: Path) -> None:
    drug = "[tocilizumab]\nlabel='T'\nstrength='O'\nmark='V'\nsource='local'\ninterval_h=12\ndose={value=4,unit='mg/kg'}\n"
    drug += "[methylprednisolone]\nlabel='M'\nstrength='O'\nmark='V'\nsource='local'\ndose={value=2,unit='mg/kg'}\n"
    book = rulebook("asco2021", write(tmp_path, drug, "drugs.toml"))
    rules = {r.id: r.drug for r in book.rules if r.drug}
    assert {r.id for r in book.rules} == {r.id for r in rulebook().rules}
    assert [b.value for b in rules["crs-2-tocilizumab"].dose] == [4] and book.drugs["tocilizumab"].interval_h == 12
    assert [b.value for b in rules["icans-2-with-crs-methylprednisolone"].dose] == [2]
    assert [b.value for b in rules["crs-4-methylprednisolone"].dose] == [500]  # the rule states it


def test_a_variant_that_no_profile_follows_is_not_lost_in_silence(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace('variant = "local"', 'variant = "mine"'))
    assert "no profile follows 'mine'" in str(check(tmp_path)[0])


# ---- the lint


def test_our_rules_have_no_problem() -> None:
    assert lint() == []


@pytest.mark.parametrize(
    "change",
    [
        {"when": parse({})}, {"source": "nobody2020"}, {"at": ""}, {"strength": "Z"}, {"mark": ""}, {"variant": "nobody"},
        {"topic": "block", "blocks": ("unheard_of",)},
    ],
    ids=str,
)  # fmt: skip
def test_the_lint_finds_what_is_broken(change: dict[str, Any]) -> None:
    rules = list(every_rule())
    place = next(n for n, r in enumerate(rules) if r.id == "crs-2-telemetry" or r.id == "crs-telemetry")
    rules[place] = type(rules[place])(**{**rules[place].__dict__, **change, **({"id": "new"} if "variant" in change else {})})
    assert [p for one in CHECKS for p in one(tuple(rules))]


def test_the_lint_finds_a_question_that_no_rule_names() -> None:
    kept = tuple(r for r in every_rule() if r.topic != "block")
    found = {p.rule for p in CHECKS[-1](kept)}
    assert {"toci_max", "gm_csf", "tnf_blockade", "toci_with_icans"} == found


def test_the_lint_finds_a_profile_without_a_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    from aftercar.manage import rules as module

    kept = tuple(r for r in every_rule() if r.topic != "iechs")
    drugs = rulebook().drugs
    monkeypatch.setattr(module, "_ours", lambda: (kept, drugs))
    assert any("no rule for this topic" in str(p) for one in CHECKS for p in one(kept))


# ---- the manual


MANUAL = (Path(__file__).parents[1] / "docs" / "management.md").read_text()


def test_the_rules_that_the_manual_shows_are_rules(tmp_path: Path) -> None:
    lines = MANUAL.split("## Your own rules")[1].splitlines()
    write(tmp_path, "\n".join(line[4:] for line in lines if line.startswith("    ") or not line))
    assert check(tmp_path) == []
    assert "ward-crs-2" in {r.id for r in rulebook("local", tmp_path).rules}


def test_the_manual_names_every_fact_column_and_profile() -> None:
    names = [*plain(), *DRUG_FACTS, *LIMITS, *ADVICE, *profiles(), *STATUS.categories]
    graded = {name for name in plain() if name.startswith("icans_")}  # "and the same of icans"
    assert [n for n in names if f"`{n}" not in MANUAL and f"_{n}`" not in MANUAL and n not in graded] == []
