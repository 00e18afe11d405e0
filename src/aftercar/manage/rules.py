"""Rules, drugs and profiles out of TOML, checked: what is wrong comes as a list with file, rule, field and what to do."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

from aftercar.errors import InputError, OptionError, nearest
from aftercar.evidence.sources import MARKS
from aftercar.manage.fields import BASIS, LOCAL, Fields, Problem, contents, each_once, refuse, rows_of, toml_files
from aftercar.manage.questions import Choice, defaults, questions, unfit
from aftercar.manage.vocabulary import limited
from aftercar.manage.when import All, Condition, chosen
from aftercar.timeline.concepts import of_group

UNITS = ("mg", "mg/kg", "g", "g/kg", "ug/kg", "mg/m2", "10*6/kg")
TOPICS = {
    "crs": "CRS", "icans": "ICANS", "refractory": "Refractory CRS and ICANS", "prophylaxis": "Early and prophylactic strategies",
    "iechs": "IEC-HS", "cytopenia": "Cytopenia", "late": "Later toxicities", "infection": "Infection and immunoglobulin",
    "block": "Block list",
}  # fmt: skip
EVERY = "all"  # the variant of a topic that every profile follows
DEFAULT_PROFILE = "asco2021"


@dataclass(frozen=True)
class Band:
    """A dose from `from_kg` up to below `below_kg` of body weight, at most `maximum` mg a dose (or the unit's own amount)."""

    value: float
    unit: str
    from_kg: float = 0.0
    below_kg: float = float("inf")
    maximum: float | None = None

    @property
    def by_weight(self) -> bool:
        """Whether the weight must be known."""
        return self.unit.endswith("/kg") or self.from_kg > 0 or self.below_kg != float("inf")


@dataclass(frozen=True)
class Drug:
    """A row of the drug table: dose by weight, limits, cautions, evidence."""

    name: str
    label: str
    dose: tuple[Band, ...] = ()
    route: str = ""
    schedule: str = ""
    interval_h: float | None = None
    most_in_24h: int | None = None
    most_in_all: int | None = None
    cautions: tuple[str, ...] = ()
    strength: str = ""
    mark: str = ""
    source: str = ""

    @property
    def limited(self) -> bool:
        """Whether there is a limit to how often it is given."""
        return bool(self.interval_h or self.most_in_24h or self.most_in_all)


@dataclass(frozen=True)
class Rule:
    """One row of a decision table.

    Attributes:
        at, date: where in the source it stands, and its date: of a paper the year.
        unless: where it holds the option is not offered.
        action: one word for it, as worked cases name it.
        drug: the row of the drug table whose dose and cautions go with it, and which the block list may block.
        most_a_day: how often a day its dose is given at most, so that steroids of two tables can be compared.
        blocks: of a rule of the block list, the actions and drugs that it blocks.
        question, position: on what sources disagree here, and which side the rule takes: it stands only where nothing else was chosen.
    """

    id: str
    topic: str
    variant: str
    file: str
    when: Condition
    option: str
    action: str
    source: str
    at: str
    date: str
    strength: str
    mark: str
    unless: Condition | None = None
    drug: Drug | None = None
    schedule: str = ""
    most_a_day: float | None = None
    cautions: tuple[str, ...] = ()
    population: str = ""
    blocks: tuple[str, ...] = ()
    question: str = ""
    position: str = ""


@dataclass(frozen=True)
class Profile:
    """Which variant of each topic a source, or a ward, follows beside the rules for all, and what it chooses where sources disagree."""

    name: str
    title: str
    note: str
    use: dict[str, str] = field(default_factory=dict)
    choose: dict[str, Choice] = field(default_factory=dict)


@dataclass(frozen=True)
class RuleBook:
    """The rules of one profile, the block list last, and the drug table.

    Attributes:
        choices: what was chosen where sources disagree.
        asked: the questions whose choice makes a difference here.
    """

    profile: Profile
    rules: tuple[Rule, ...]
    drugs: dict[str, Drug]
    choices: dict[str, Choice]
    asked: frozenset[str]


# ---- reading


def _read(path: Any) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _own() -> list[Any]:
    folder = files("aftercar.manage").joinpath("rules")
    return sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)


@cache
def profiles() -> dict[str, Profile]:
    """All profiles by name, in the order of `profiles.toml`."""
    text = files("aftercar.manage").joinpath("profiles.toml").read_text(encoding="utf-8")
    return {name: Profile(name, **entry) for name, entry in tomllib.loads(text).items()}


@cache
def _ours() -> tuple[tuple[Rule, ...], dict[str, Drug]]:
    found = _load(_own())
    if found.problems:
        raise AssertionError("\n".join(map(str, found.problems)))
    return found.rules, found.drugs


def rulebook(profile: str = DEFAULT_PROFILE, folder: Path | str | None = None) -> RuleBook:
    """The rules that a profile chooses.

    Args:
        profile: its name.
        folder: one's own TOML files, laid out as ours: their topics stand in for those of the profile, their drugs for ours of that name,
            and the answers of its `choices.toml` for those of the profile.
    Raises:
        OptionError: there is no such profile, or `local` without a folder.
        InputError: the folder has no rules, or they are wrong: file, rule, field, and what is allowed.
    """
    if profile not in profiles():
        raise OptionError(f"There is no profile {profile!r}. {nearest(profile, profiles())}")
    followed = profiles()[profile]
    if profile == LOCAL and folder is None:
        raise OptionError("The profile local is made of your own rules: name their folder with --rules.")
    rules, drugs = _ours()
    variants = {topic: {EVERY, followed.use.get(topic, EVERY)} for topic in TOPICS}
    taken = [r for r in rules if r.variant in variants[r.topic]]
    own = _Folder() if folder is None else _folder(Path(folder))
    choices = defaults() | followed.choose | own.choices
    drugs = _lifted(drugs, choices)
    if folder is not None:
        mine = [r for r in own.rules if r.variant in (LOCAL, *variants[r.topic])]
        if not (mine or own.drugs or own.choices):
            raise InputError(f"{folder}: no rule there is of the variant {LOCAL}, {EVERY} or of {profile}.")
        kept = (r for r in taken if r.topic not in {o.topic for o in mine})
        taken = [*(_with_drug(r, drugs, own.drugs) for r in kept), *mine]
        drugs = drugs | own.drugs
    order = list(TOPICS)
    settled = [_settled(r, choices) for r in sorted(taken, key=lambda r: order.index(r.topic)) if _stands(r, choices)]
    asked = _asked(taken)
    if idle := own.choices.keys() - asked:
        raise InputError(f"{folder}, {_CHOICES}: no rule of the profile {profile} asks for {', '.join(sorted(idle))}.")
    return RuleBook(followed, tuple(settled), drugs, choices, asked)


def _stands(rule: Rule, choices: Mapping[str, Choice]) -> bool:
    """Whether a rule takes the side that was chosen, or none."""
    return not rule.position or choices.get(rule.question, rule.position) == rule.position


def _settled(rule: Rule, choices: Mapping[str, Choice]) -> Rule:
    """A rule with the numbers that were chosen, and with what the sources say that disagree."""
    told = (questions()[rule.question].told,) if rule.question else ()
    unless = chosen(rule.unless, choices) if rule.unless else None
    return replace(rule, when=chosen(rule.when, choices), unless=unless, cautions=(*rule.cautions, *told))


def _lifted(drugs: dict[str, Drug], choices: Mapping[str, Choice]) -> dict[str, Drug]:
    """The drug table without the limits that the chosen positions do not have."""
    positions = (p for name, choice in choices.items() for p in questions()[name].positions if p.name == choice)
    lifted = dict(drugs)
    for name, limit in (limited(told) for p in positions for told in p.lifts):
        lifted[name] = replace(lifted[name], **{_LIMIT[limit]: None})
    return lifted


def _asked(rules: Iterable[Rule]) -> frozenset[str]:
    """The questions that some rules ask, or take a side on."""
    rows = list(rules)
    conditions = (c for r in rows for c in (r.when, r.unless) if c is not None)
    return frozenset({r.question for r in rows if r.position} | {leaf.asks for c in conditions for leaf in c.leaves()})


def _with_drug(rule: Rule, ours: dict[str, Drug], own: dict[str, Drug]) -> Rule:
    """A rule of ours with the user's row of the drug table; a dose that the rule itself states stays."""
    if rule.drug is None or rule.drug.name not in own:
        return rule
    drug = own[rule.drug.name]
    stated = rule.drug.dose != ours[drug.name].dose
    return replace(rule, drug=replace(drug, dose=rule.drug.dose) if stated else drug)


def every_rule() -> tuple[Rule, ...]:
    """The rules of all profiles."""
    return _ours()[0]


def check(folder: Path | str | None = None) -> list[Problem]:
    """What is wrong in a folder of rules; without one, in those that come with aftercar.

    Raises:
        InputError: there is no file of rules.
    """
    if folder is None:
        return [*_load(_own()).problems, *_profile_problems()]
    found = _load(toml_files(Path(folder)))
    return [*found.problems, *_followed(found.rules)]


def _folder(folder: Path) -> _Folder:
    found = _load(toml_files(folder))
    refuse(folder, [*found.problems, *_followed(found.rules)])
    return found


def _followed(rules: tuple[Rule, ...]) -> Iterator[Problem]:
    """A variant that no profile follows would be lost in silence."""
    known = {LOCAL, EVERY, *(variant for p in profiles().values() for variant in p.use.values())}
    for file, variant in dict.fromkeys((r.file, r.variant) for r in rules):
        if variant not in known:
            yield Problem(
                file, "", "variant", f"no profile follows {variant!r}; {LOCAL} is for your own, {EVERY} for all profiles"
            )


def _profile_problems() -> Iterator[Problem]:
    variants = {(r.topic, r.variant) for r in _ours()[0]}
    for profile in profiles().values():
        for name, problem in unfit(profile.choose):
            yield Problem("profiles.toml", profile.name, name, problem)
        for topic, variant in profile.use.items():
            if (topic, variant) not in variants:
                yield Problem("profiles.toml", profile.name, topic, f"there is no variant {variant!r} of this topic")


_DRUGS, _CHOICES = "drugs.toml", "choices.toml"
_FILE = {"topic", "variant", "title", "rule", *BASIS}
_RULE = {
    "id", "when", "unless", "option", "action", "drug", "dose", "schedule", "most_a_day", "cautions", "population", "blocks", "question", "position",
    *BASIS,
}  # fmt: skip
_LIMIT = {"interval": "interval_h", "in_24h": "most_in_24h", "total": "most_in_all"}  # the field of each limit of a drug
_DRUG = {
    "label", "dose", "route", "schedule", "interval_h", "most_in_24h", "most_in_all", "cautions", "strength", "mark", "source",
}  # fmt: skip
_BAND = {"value", "unit", "from_kg", "below_kg", "maximum"}


@dataclass(frozen=True)
class _Folder:
    """What some files hold, and what is wrong in them."""

    rules: tuple[Rule, ...] = ()
    drugs: dict[str, Drug] = field(default_factory=dict)
    choices: dict[str, Choice] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def _load(paths: Iterable[Any]) -> _Folder:
    problems: list[Problem] = []
    # A file with items is one of the calendar.
    found = {name: content for name, content in contents(paths, problems).items() if "item" not in content}
    choices = found.pop(_CHOICES, {})
    problems += [Problem(_CHOICES, "", name, problem) for name, problem in unfit(choices)]
    own = found.pop(_DRUGS, {})
    drugs = {name: d for name, entry in own.items() if (d := _drug(name, entry, problems))}
    known = _known_drugs() | drugs
    rules = [r for name, content in found.items() for r in _rules(name, content, known, problems)]
    each_once(((r.file, r.id) for r in rules), "a rule", problems)
    return _Folder(tuple(rules), drugs, choices, problems)


@cache
def _known_drugs() -> dict[str, Drug]:
    ours = _read(next(p for p in _own() if p.name == _DRUGS))
    problems: list[Problem] = []
    return {name: d for name, entry in ours.items() if (d := _drug(name, entry, problems))}


def _rules(file: str, content: dict[str, Any], drugs: dict[str, Drug], problems: list[Problem]) -> Iterator[Rule]:
    head = Fields(file, "", content, problems)
    head.only(_FILE)
    topic = head.word("topic", needed=True, among=TOPICS)
    variant = head.word("variant", needed=True)
    for given in rows_of(file, content, "rule", _RULE, problems):
        before = len(problems)
        rule = _rule(file, topic, variant, given, drugs)
        if rule is not None and len(problems) == before and topic in TOPICS:
            yield rule


def _rule(file: str, topic: str, variant: str, given: Fields, drugs: dict[str, Drug]) -> Rule | None:
    if "when" not in given.table:
        given.wrong("when", "is missing; {} always holds")
    when, unless, basis = given.condition("when"), given.condition("unless"), given.basis()
    if basis is None:
        return None
    drug = given.word("drug", among=drugs)
    blocks = given.words("blocks")
    if (topic == "block") != bool(blocks):
        given.wrong("blocks", "rules of the block list, and only they, name what they block")
    question = given.word("question", among=questions())
    sides = [p.name for p in questions()[question].positions if p.name] if question in questions() else []
    position = given.word("position", among=sides)
    if position and not sides:
        given.wrong("position", "needs `question`, and one of its positions that may be chosen")
    rule = Rule(
        id=given.word("id", needed=True), topic=topic, variant=variant, file=file, option=given.word("option", needed=True),
        action=given.word("action") or drug, source=basis.source, at=basis.at, date=basis.date, strength=basis.strength, mark=basis.mark,
        when=when or All(()), unless=unless, drug=_with_dose(given, drugs.get(drug)), schedule=given.word("schedule"),
        most_a_day=given.number("most_a_day"), cautions=given.words("cautions"), population=given.word("population"), blocks=blocks,
        question=question, position=position,
    )  # fmt: skip
    return rule if when is not None else None


def _with_dose(given: Fields, drug: Drug | None) -> Drug | None:
    """The drug, with the dose that the rule itself states in place of that of the drug table."""
    if "dose" not in given.table:
        return drug
    if drug is None:
        given.wrong("dose", "needs `drug`, the row of drugs.toml that it is a dose of")
        return None
    return replace(drug, dose=_bands(given))


def _bands(given: Fields) -> tuple[Band, ...]:
    told = given.table.get("dose", [])
    bands: list[Band] = []
    for entry in told if isinstance(told, list) else [told]:
        if not isinstance(entry, dict) or set(entry) - _BAND or not {"value", "unit"} <= set(entry):
            given.wrong("dose", 'must be { value = 8, unit = "mg/kg" }, if need be with from_kg, below_kg and maximum')
            return ()
        part = Fields(given.file, given.rule, entry, given.problems)
        part.word("unit", needed=True, among=UNITS)
        numbers = {k: part.number(k) for k in ("value", "from_kg", "below_kg", "maximum") if k in entry}
        if any(v is None for v in numbers.values()):
            return ()
        bands.append(Band(unit=str(entry["unit"]), **{k: float(v) for k, v in numbers.items() if v is not None}))
    ordered = sorted(bands, key=lambda b: b.from_kg)
    if any(a.below_kg > b.from_kg for a, b in pairwise(ordered)):
        given.wrong("dose", "its bands of weight overlap")
    return tuple(bands)


def _drug(name: str, entry: dict[str, Any], problems: list[Problem]) -> Drug | None:
    before = len(problems)
    given = Fields(_DRUGS, name, entry, problems)
    given.only(_DRUG)
    most = {k: given.number(k) for k in ("most_in_24h", "most_in_all")}
    if given.number("interval_h") or any(most.values()):
        try:
            of_group(name)  # doses are counted by the concept
        except OptionError as error:
            given.wrong("interval_h", str(error))
    drug = Drug(
        name=name, label=given.word("label", needed=True), dose=_bands(given), route=given.word("route"), schedule=given.word("schedule"),
        interval_h=given.number("interval_h"), **{k: int(v) if v else None for k, v in most.items()}, cautions=given.words("cautions"),
        strength=given.word("strength", needed=True), mark=given.word("mark", needed=True, among=MARKS),
        source=given.reference(entry.get("source")),
    )  # fmt: skip
    return drug if len(problems) == before else None
