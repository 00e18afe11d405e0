"""Our own check of rules, profiles, the items of the calendar and what they cite: each class looks for one kind of fault. A part of `make check`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from aftercar.evidence.sources import MARKS, references
from aftercar.manage.fields import LOCAL, STRENGTH, Problem
from aftercar.manage.items import TOPICS as ITEM_TOPICS
from aftercar.manage.items import Item, calendar_items, check_items
from aftercar.manage.questions import questions
from aftercar.manage.rules import EVERY, TOPICS, Rule, check, every_rule, profiles, rulebook
from aftercar.manage.vocabulary import fact
from aftercar.manage.when import All, leaves


def lint() -> list[Problem]:
    """What is wrong in the rules and the items of the calendar that come with aftercar; empty where nothing is."""
    found = [*check(), *check_items()]  # fields, names, references, doses, dates: without these the rest cannot be read
    if found:
        return found
    of_rules = [problem for one in CHECKS for problem in one(every_rule())]
    return [*of_rules, *(problem for one in ITEM_CHECKS for problem in one(calendar_items()))]


def known_facts(rules: tuple[Rule, ...]) -> Iterator[Problem]:
    """Every comparison is of a fact that can be told in words."""
    for rule in rules:
        for leaf in rule.when.leaves():
            if not fact(leaf.fact).label:
                yield Problem(rule.file, rule.id, "when", f"{leaf.fact} has no words")


def only_blocks_always_hold(rules: tuple[Rule, ...]) -> Iterator[Problem]:
    """An option that always holds is no option of a patient."""
    for rule in rules:
        if not rule.blocks and isinstance(rule.when, All) and not rule.when.parts:
            yield Problem(rule.file, rule.id, "when", "only rules of the block list may always hold")


def cited(rules: tuple[Rule, ...]) -> Iterator[Problem]:
    """Every source is a paper of the evidence, with its place, strength and mark."""
    for rule in rules:
        if rule.source not in references():
            yield Problem(rule.file, rule.id, "source", f"{rule.source!r} is not a key of the references")
        if not rule.at:
            yield Problem(rule.file, rule.id, "source", "`at` says where in the source it stands")
        if rule.strength not in STRENGTH or rule.mark not in MARKS:
            yield Problem(rule.file, rule.id, "strength", "a strength and a mark that are known")


def blocks_name_something(rules: tuple[Rule, ...]) -> Iterator[Problem]:
    """What the block list blocks is offered by some rule, or is known never to be."""
    offered = {name for r in rules if not r.blocks for name in (r.action, r.drug.name if r.drug else "")}
    for rule in rules:
        for name in rule.blocks:
            if name not in offered | NEVER_OFFERED:
                yield Problem(rule.file, rule.id, "blocks", f"no rule offers {name!r}")


# Blocked although no rule offers them: what somebody might think of.
NEVER_OFFERED = {"gm_csf", "etanercept", "live_vaccine"}


def every_profile_is_whole(rules: tuple[Rule, ...]) -> Iterator[Problem]:
    """A profile has rules for every topic, and every rule is of some profile."""
    used: set[tuple[str, str]] = set()
    for profile in profiles().values():
        book = rulebook(profile.name) if profile.name != LOCAL else None
        topics = {r.topic for r in book.rules} if book else set(TOPICS)
        used |= {(r.topic, r.variant) for r in book.rules} if book else set()
        for topic in set(TOPICS) - topics:
            yield Problem("profiles.toml", profile.name, topic, "it has no rule for this topic")
    for rule in rules:
        if (rule.topic, rule.variant) not in used:
            yield Problem(rule.file, rule.id, "variant", f"no profile follows {rule.variant!r}; {EVERY} is for all")


def questions_are_whole(rules: tuple[Rule, ...]) -> Iterator[Problem]:
    """Where sources disagree each position has a mark, and a source or none that is checked; what may be chosen changes something."""
    sides = {(r.question, r.position) for r in rules}
    asked = {r.question for r in rules} | {leaf.asks for r in rules for leaf in r.when.leaves()}
    for q in questions().values():
        if q.name not in asked:
            yield Problem(_QUESTIONS, q.name, "", "no rule names it")
        if bool(q.allowed) == bool(q.decided):
            yield Problem(_QUESTIONS, q.name, "decided", "either something may be chosen, or it says how it is decided")
        if q.default is not None and q.default not in q.allowed:
            yield Problem(_QUESTIONS, q.name, "default", f"{q.default!r} is none of its positions")
        for p in q.positions:
            if p.mark not in MARKS or p.source not in {"", *references()} or (p.mark == "V" and not p.source):
                yield Problem(
                    _QUESTIONS, q.name, p.says, "a mark that is known, and a key of the references; without one it is not checked"
                )
            if p.name and p.name != q.default and not p.lifts and (q.name, p.name) not in sides:
                yield Problem(_QUESTIONS, q.name, p.name, "no rule takes this side")


_QUESTIONS = "questions.toml"

CHECKS: tuple[Callable[[tuple[Rule, ...]], Iterator[Problem]], ...] = (
    known_facts, only_blocks_always_hold, cited, blocks_name_something, every_profile_is_whole, questions_are_whole,
)  # fmt: skip


# ---- the calendar


def items_told(items: tuple[Item, ...]) -> Iterator[Problem]:
    """Every comparison is of a fact that can be told in words."""
    for item in items:
        for leaf in leaves([item.when, item.stop]):
            if not fact(leaf.fact).label:
                yield Problem(item.file, item.id, "when", f"{leaf.fact} has no words")


def items_cited(items: tuple[Item, ...]) -> Iterator[Problem]:
    """Every source is a paper of the evidence, with its place, strength and mark; and what is ours says what that is."""
    for item in items:
        basis = item.basis
        if basis.source not in references():
            yield Problem(item.file, item.id, "source", f"{basis.source!r} is not a key of the references")
        if not basis.at:
            yield Problem(item.file, item.id, "source", "`at` says where in the source it stands")
        if basis.strength not in STRENGTH or basis.mark not in MARKS:
            yield Problem(item.file, item.id, "strength", "a strength and a mark that are known")
        if basis.mark == "P" and not item.note:
            yield Problem(item.file, item.id, "note", "a convention of ours says in `note` what of it is not in the source")


def items_of_every_topic(items: tuple[Item, ...]) -> Iterator[Problem]:
    """No topic is empty, and what is done together is more than one thing."""
    for topic in set(ITEM_TOPICS) - {i.topic for i in items}:
        yield Problem("calendar.toml", "", "topic", f"no item is of the topic {topic!r}")
    for item in items:
        if item.together and len(item.done_by) < 2:
            yield Problem(item.file, item.id, "together", "needs two things or more that are done on one day")


ITEM_CHECKS: tuple[Callable[[tuple[Item, ...]], Iterator[Problem]], ...] = (items_told, items_cited, items_of_every_topic)
