"""A page for each decision table of management with every rule of it, and pages of drugs, profiles and disagreements."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.resources import files
from itertools import groupby

from aftercar.evidence.sources import references
from aftercar.manage.fields import STRENGTH
from aftercar.manage.questions import questions, shown
from aftercar.manage.rules import EVERY, TOPICS, Band, Drug, Rule, every_rule, profiles, rulebook
from pages.text import LEGEND, bibliography, code, codes, contents, listed, marked, page, plain, table

OPTIONS_ONLY = "Options with reasons, never orders: check the local protocol."


def pages() -> Iterator[tuple[str, str]]:
    """The list of tables, a page each, and what they share."""
    tables = {file: list(rules) for file, rules in groupby(sorted(every_rule(), key=_place), key=lambda r: r.file)}
    rows = [
        [
            f"[{plain(_title(file))}]({_name(file)}.md)",
            TOPICS[rules[0].topic],
            _followed(rules[0]),
            str(len(rules)),
            " ".join(sorted({marked(r.mark) for r in rules} - {""})),
        ]
        for file, rules in tables.items()
    ]
    yield (
        "rules/index",
        page(
            "Rules of management",
            f"{OPTIONS_ONLY} Each page is made from the TOML that `aftercar advise` reads. How a rule is asked, what *measure first* means, and how your own rules stand in for "
            f"these, is told in [management](../../management.md). {LEGEND}",
            table(["table", "topic", "followed by", "rules", "marks"], rows),
            contents(*map(_name, tables), "drugs", "profiles", hidden=True),
        ),
    )
    for file, rules in tables.items():
        yield f"rules/{_name(file)}", one(rules)
    yield "rules/drugs", drugs()
    yield "rules/profiles", chosen()


def _place(rule: Rule) -> tuple[int, str]:
    return list(TOPICS).index(rule.topic), rule.file


def _name(file: str) -> str:
    return file.removesuffix(".toml")


def _followed(rule: Rule) -> str:
    if rule.variant == EVERY:
        return "every profile"
    return codes(name for name, p in profiles().items() if p.use.get(rule.topic) == rule.variant)


def _title(file: str) -> str:
    text = files("aftercar.manage").joinpath("rules", file).read_text(encoding="utf-8")
    return str(tomllib.loads(text)["title"])


def one(rules: list[Rule]) -> str:
    """One decision table, a section a rule."""
    head = rules[0]
    return page(
        plain(_title(head.file)),
        f"{OPTIONS_ONLY} {len(rules)} rules of {code(head.file)}, followed by {_followed(head)}. {LEGEND}",
        f"    aftercar rules --topic {head.topic}",
        *(part for rule in rules for part in _rule(rule)),
        "## Sources",
        bibliography(r.source for r in rules),
    )


def _rule(rule: Rule) -> Iterator[str]:
    yield f"## {rule.id}"
    yield f"{plain(rule.option)} {marked(rule.mark)}"
    strength = ", ".join(STRENGTH[letter] for letter in rule.strength.split(", "))
    yield listed({
        "When": plain(rule.when.text),
        "Unless": plain(rule.unless.text) if rule.unless else "",
        "Drug": f"[{plain(rule.drug.label)}](drugs.md#{rule.drug.name})" if rule.drug else "",
        "Dose": "; ".join(plain(band(b)) for b in rule.drug.dose) if rule.drug else "",
        "Schedule": plain(rule.schedule),
        "Population": plain(rule.population),
        "Cautions": "; ".join(map(plain, rule.cautions)),
        "Blocks": codes(rule.blocks),
        "Where sources disagree": f"[{code(rule.question)}](profiles.md#{rule.question})" + (f" = {code(rule.position)}" if rule.position else "") if rule.question else "",
        "Source": f"{code(rule.source)}, {plain(rule.at)}, {plain(rule.date)}; {strength}",
    })  # fmt: skip


def band(b: Band) -> str:
    """A dose in words."""
    most = f", at most {b.maximum:g} mg" if b.maximum is not None else ""
    whom = [f"from {b.from_kg:g} kg"] if b.from_kg else []
    whom += [f"below {b.below_kg:g} kg"] if b.below_kg != float("inf") else []
    return f"{b.value:g} {b.unit}{most}" + (f" ({' '.join(whom)})" if whom else "")


def drugs() -> str:
    """The drug table."""
    book = rulebook()
    return page(
        "Drugs and their limits",
        f"{OPTIONS_ONLY} What a rule that names a drug brings along: dose by weight, limits and cautions. {LEGEND}",
        *(part for drug in book.drugs.values() for part in _drug(drug)),
        "## Sources",
        bibliography(d.source for d in book.drugs.values()),
    )


def _drug(drug: Drug) -> Iterator[str]:
    yield f"({drug.name})=\n## {plain(drug.label)}"
    limits = [
        f"{drug.interval_h:g} h between doses" if drug.interval_h else "",
        f"{drug.most_in_24h} in 24 h" if drug.most_in_24h else "",
        f"{drug.most_in_all} in all" if drug.most_in_all else "",
    ]
    yield listed({
        "Dose": "; ".join(plain(band(b)) for b in drug.dose),
        "Route": plain(drug.route),
        "Schedule": plain(drug.schedule),
        "Limits": "; ".join(filter(None, limits)),
        "Cautions": "; ".join(map(plain, drug.cautions)),
        "Source": f"{code(drug.source)} {marked(drug.mark)}",
    })  # fmt: skip


def chosen() -> str:
    """Profiles, and the questions on which sources disagree."""
    follow = [
        [code(p.name), plain(p.title), codes(f"{t} = {v}" for t, v in p.use.items()), codes(f"{q} = {shown(c)}" for q, c in p.choose.items()), plain(p.note)]
        for p in profiles().values()
    ]  # fmt: skip
    return page(
        "Profiles, and where sources disagree",
        f"A profile says which table of a topic is followed beside those for all, and what it chooses where sources disagree. `aftercar advise --profile NAME` follows one. {LEGEND}",
        "## Profiles",
        table(["profile", "follows", "tables", "chooses", "note"], follow),
        *(part for q in questions().values() for part in _question(q.name)),
        "## Sources",
        bibliography(p.source for q in questions().values() for p in q.positions if p.source in references()),
    )


def _question(name: str) -> Iterator[str]:
    q = questions()[name]
    yield f"({q.name})=\n## {code(q.name)}"
    yield plain(q.question)
    rows = [
        [
            plain(p.says),
            code(p.name),
            codes(p.lifts),
            code(p.source) if p.source in references() else plain(p.source),
            marked(p.mark),
        ]
        for p in q.positions
    ]
    yield table(["what is said", "chosen as", "lifts", "source", "mark"], rows)
    yield listed({
        "May be": codes(map(shown, q.allowed)),
        "Default": code(shown(q.default)) if q.default is not None else "none: the rules of all positions stand side by side" if q.allowed else "",
        "Decided": plain(q.decided),
    })  # fmt: skip
    if used := sorted({r.id for r in every_rule() if r.question == name}):
        yield f"Rules that name it: {codes(used)}."
