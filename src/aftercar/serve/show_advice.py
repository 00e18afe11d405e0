"""What `advise` and `rules` print. Options, never orders: every screen says so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl
from polars import col
from rich.table import Table

from aftercar.evidence.sources import MARKS, references
from aftercar.manage.advise import Advice
from aftercar.manage.doses import EQUIVALENT_MG
from aftercar.manage.fields import LOCAL, STRENGTH, Problem
from aftercar.manage.questions import questions, shown
from aftercar.manage.rules import TOPICS, Drug, Rule, RuleBook, every_rule, rulebook
from aftercar.manage.rules import profiles as known_profiles
from aftercar.manage.vocabulary import LIMITS
from aftercar.serve.show import console

NEVER_ORDERS = (
    "Options, never orders: what published tables say of the records at hand, derived by software. It does not replace assessment at the bedside and "
    "must not be the only basis of a decision. Confirm with the local protocol; a pharmacist confirms every dose whose mark is not [V]."
)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name in ("rule", "topic", "action", "drug", "last"))
    return table


def of_subject(advice: Advice, book: RuleBook) -> None:
    """The screen of one subject: grades, options by topic with reasons, what to measure first, the block list, doses."""
    for course in advice.facts.iter_rows(named=True):
        own = (col("subject_id") == course["subject_id"]) & (col("infusion") == course["infusion"])
        rows = advice.advice.filter(own)
        console.print(
            f"Infusion {course['infusion']}, {course['time']:%Y-%m-%d %H:%M}, day {course['day:lo']:.0f}. {_grades(course)}",
            soft_wrap=True,
        )
        console.print(f"Profile {book.profile.name}: {book.profile.title}. {book.profile.note}", soft_wrap=True)
        _options(rows.filter(col("status") == "option"))
        _stronger(rows.filter(col("status") == "option"))
        _measure_first(rows.filter(col("status") == "measure_first"))
        _withheld(rows.filter((col("status") == "blocked") & (col("topic") != "block")))
        _block_list(rows.filter(col("topic") == "block"))
        _doses(advice.ledger.filter(own), advice.limits.filter(own), book)
    if advice.facts.is_empty():
        console.print("Nothing to advise on: no infusion, or the time is before it or after a death.")
    _foot(advice.advice)


def _grades(course: dict[str, Any]) -> str:
    told = []
    for name, label in (("crs", "CRS"), ("icans", "ICANS"), ("iechs", "IEC-HS suspected")):
        lo, hi = int(course[f"{name}:lo"]), int(course[f"{name}:hi"])
        if name == "iechs":
            told.append(f"{label}: {'not settled' if lo < hi else 'yes' if lo else 'no'}")
        else:
            told.append(f"{label} grade {lo}" if lo == hi else f"{label} grade {lo}, may be up to {hi}")
    return "; ".join(told) + "."


def _options(rows: pl.DataFrame) -> None:
    if rows.is_empty():
        console.print("\nNo option fires surely.")
    for (topic,), part in rows.group_by("topic", maintain_order=True):
        console.print(f"\n{TOPICS[str(topic)]}: options", style="bold")
        for row in part.iter_rows(named=True):
            console.print(f"  {row['option']}" + (f": {row['dose']}" if row["dose"] else ""), soft_wrap=True)
            console.print(f"    because {'; '.join(row['reasons'])}  ({_basis(row)})", soft_wrap=True)
            if row["population"]:
                console.print(f"    for {row['population']}", soft_wrap=True)
            if row["cautions"]:
                console.print(f"    caution: {'; '.join(row['cautions'])}", soft_wrap=True)


def _basis(row: dict[str, Any]) -> str:
    strength = _strength(row["strength"])
    return "; ".join([row["rule"], strength, f"{row['source']} {row['source_date']}".strip(), f"[{row['mark']}]"])


def _stronger(options: pl.DataFrame) -> None:
    """Of CRS and ICANS at once the stronger steroid of the two tables."""
    steroids = options.filter(col("topic").is_in(["crs", "icans"]) & col("dexamethasone_mg_a_day").is_not_null())
    if steroids["topic"].n_unique() < 2:
        return
    most = steroids.sort("dexamethasone_mg_a_day", descending=True, maintain_order=True).row(0, named=True)
    console.print(
        f"\nCRS and ICANS at once: of the two tables the stronger steroid is that of {most['rule']}, up to "
        f"{most['dexamethasone_mg_a_day']:g} mg of dexamethasone a day (equivalents [M]).", soft_wrap=True,
    )  # fmt: skip


def _strength(letters: str) -> str:
    return ", ".join(STRENGTH[letter] for letter in letters.split(", "))


def _measure_first(rows: pl.DataFrame) -> None:
    if rows.is_empty():
        return
    console.print("\nMeasure first: these depend on what is not known", style="bold")
    by_missing = rows.group_by("missing", maintain_order=True).agg("rule", "option")
    for row in by_missing.iter_rows(named=True):
        console.print(f"  {'; '.join(row['missing'])}", soft_wrap=True)
        console.print(f"    would settle: {'; '.join(row['rule'])}", soft_wrap=True)


def _withheld(rows: pl.DataFrame) -> None:
    for row in rows.iter_rows(named=True):
        console.print(f"\nNot offered, see the block list: {row['option']} ({row['rule']})", soft_wrap=True)


_BLOCK_WORDS = {"blocked": "blocked", "perhaps_blocked": "measure first"}


def _block_list(rows: pl.DataFrame) -> None:
    console.print("\nBlock list", style="bold")
    free = col("status") == "not_blocked"
    for row in rows.filter(~free).iter_rows(named=True):
        why = row["reasons"] if row["status"] == "blocked" else row["missing"]
        note = f" ({'; '.join(why)})" if why else ""
        console.print(
            f"  {_BLOCK_WORDS[row['status']]:14}{row['option']}{note}  [{row['source']}, {row['mark']}]", soft_wrap=True
        )
        if row["status"] == "blocked" and row["cautions"]:
            console.print(f"{'':16}{'; '.join(row['cautions'])}", soft_wrap=True)
    if rows.filter(free).height:
        console.print(f"  On the block list, and not in the way now ({rows.filter(free).height})")
    for row in rows.filter(free).iter_rows(named=True):
        console.print(f"    does not hold: {row['option']}  [{row['source']}, {row['mark']}]", soft_wrap=True)


def _limits_of(drug: Drug) -> str:
    """The limits of a drug in words, with their source."""
    told = [
        f"{drug.interval_h:g} h apart" if drug.interval_h else "",
        f"at most {drug.most_in_24h} in 24 h" if drug.most_in_24h else "",
        f"at most {drug.most_in_all} in all" if drug.most_in_all else "",
    ]
    return f"{', '.join(filter(None, told))} [{drug.source}, {drug.mark}]"


def _doses(given: pl.DataFrame, limits: pl.DataFrame, book: RuleBook) -> None:
    console.print(
        "\nDose ledger: doses that were charted, since CRS and ICANS were last surely absent for 48 h",
        style="bold",
        soft_wrap=True,
    )
    for row in limits.iter_rows(named=True):
        reached = [LIMITS[word].format(row["drug"]) for word in row["reached"]]
        console.print(
            f"  {row['drug']}: {row['n']} so far, {row['n_24h']} in 24 h; a dose would be {row['dose']}; "
            + ("; ".join(reached) if reached else "no limit is reached")
            + f": {_limits_of(book.drugs[row['drug']])}",
            soft_wrap=True,
        )
    if given.height:
        shown = _table("drug", "doses", "in 24 h", "mg", "mg in 24 h", "not readable", "as dexamethasone, mg [M]", "last")
        for row in given.iter_rows(named=True):
            equivalent = f"{row['dexamethasone_mg']:.1f}" if row["dexamethasone_mg"] is not None else ""
            mg, mg_24h = (f"{row[c]:g}" if row[c] is not None else "not known" for c in ("mg", "mg_24h"))
            numbers = (row["n"], row["n_24h"], mg, mg_24h, row["unread"] or "", equivalent)
            shown.add_row(row["drug"], *map(str, numbers), f"{row['last']:%Y-%m-%d %H:%M}")
        console.print(shown)
        steroids = given.filter(col("drug").is_in(list(EQUIVALENT_MG)))
        if steroids.height:
            least = "at least " if steroids["unread"].sum() else ""
            console.print(f"  steroids together: {least}{steroids['dexamethasone_mg'].sum():.1f} mg of dexamethasone")


def cohort(advice: Advice, book: RuleBook) -> None:
    """How many courses each rule says something of."""
    counts = advice.advice.group_by("rule", col("status").cast(pl.String)).agg(n=pl.struct("subject_id", "infusion").n_unique())
    told = {(rule, status): n for rule, status, n in counts.iter_rows()}
    shown = _table("topic", "rule", "option", "measure first", "blocked", "mark")
    for rule in book.rules:
        cells = [told.get((rule.id, s), 0) for s in ("option", "measure_first", "blocked")]
        cells[1] += told.get((rule.id, "perhaps_blocked"), 0)
        if any(cells):
            shown.add_row(rule.topic, rule.id, *(str(c or "") for c in cells), rule.mark)
    asked = advice.asked
    console.print(
        f"Profile {book.profile.name}: {book.profile.title}. Courses: {asked['advised']:,} of {asked['courses']:,}", end=""
    )
    console.print(f" ({asked['not_advised']:,} without an infusion, or outside of the record)" if asked["not_advised"] else "")
    console.print(shown)
    _foot(advice.advice)


def differences(table: pl.DataFrame, first: str, second: str) -> None:
    """What two profiles say differently: counted over all courses, and each where there is one."""
    one = table.select("subject_id", "infusion").n_unique() <= 1 if table.height else False
    if table.is_empty():
        console.print(f"{first} and {second} say the same.")
    elif one:
        shown = _table("topic", "action", first, second)
        for row in table.iter_rows(named=True):
            shown.add_row(row["topic"], row["action"], *(_said(row, side) for side in ("first", "second")))
        console.print(shown)
    else:
        counts = (
            table.group_by("topic", "action", "first_status", "second_status")
            .len()
            .sort("len", "topic", "action", descending=[True, False, False])
        )
        shown = _table("topic", "action", first, second, "courses")
        for topic, action, a, b, n in counts.iter_rows():
            shown.add_row(topic, action, a or "nothing", b or "nothing", str(n))
        console.print(shown)
    console.print(NEVER_ORDERS, soft_wrap=True)


def _said(row: dict[str, Any], side: str) -> str:
    if row[f"{side}_status"] is None:
        return "nothing"
    return f"{row[f'{side}_status']}: {row[f'{side}_option']}" + (f", {dose}" if (dose := row[f"{side}_dose"]) else "")


def profiles() -> None:
    """The profiles, and how many rules each topic has."""
    shown = _table("profile", "whose", "note")
    for profile in known_profiles().values():
        shown.add_row(profile.name, profile.title, profile.note)
    console.print(shown)
    counts = _table("topic", "rules", "variants")
    for topic, title in TOPICS.items():
        own = [r for r in every_rule() if r.topic == topic]
        counts.add_row(f"{topic}: {title}", str(len(own)), ", ".join(dict.fromkeys(r.variant for r in own)))
    console.print(counts)
    console.print(
        "`aftercar rules --topic crs` prints the rules of a topic, `aftercar rules --disagree` where sources disagree.",
        soft_wrap=True,
    )


def disagreements() -> None:
    """Where sources disagree: what each says, and what each profile follows."""
    books = [rulebook(name) for name in known_profiles() if name != LOCAL]
    for q in questions().values():
        console.print(q.question, style="bold")
        for p in q.positions:
            console.print(f"  {p.name + ': ' if p.name else ''}{p.told}", soft_wrap=True)
        if not q.allowed:
            console.print(f"  not to be chosen: {q.decided}", soft_wrap=True)
            continue
        followed = "; ".join(
            f"{b.profile.name}: {shown(b.choices.get(q.name)) if q.name in b.asked else 'by its own table'}" for b in books
        )
        console.print(f"  {q.name} = {' | '.join(shown(c) for c in q.allowed)}. {followed}", soft_wrap=True)
    keys = {p.source for q in questions().values() for p in q.positions}
    sources(keys, {p.mark for q in questions().values() for p in q.positions})
    console.print(
        'To choose, put a line such as toci_max = "ema" into the choices.toml of your own folder, and name it with --rules.',
        soft_wrap=True,
    )


def rules(chosen: Iterable[Rule]) -> None:
    """Each rule: when, what, basis."""
    rows = list(chosen)
    for rule in rows:
        unless = f"; unless {rule.unless.text}" if rule.unless else ""
        console.print(f"{rule.id}  [{rule.variant}]", style="bold")
        console.print(f"  when {rule.when.text}{unless}", soft_wrap=True)
        if rule.position:
            console.print(f"  where sources disagree: {rule.question} = {rule.position}", soft_wrap=True)
        console.print(f"  {rule.option}" + (f"  ({rule.schedule})" if rule.schedule else ""), soft_wrap=True)
        console.print(f"  {place_of(rule.source, rule.at, rule.date, rule.strength, rule.mark)}", soft_wrap=True)
    sources({r.source for r in rows}, {r.mark for r in rows})


def place_of(source: str, at: str, date: str, strength: str, mark: str) -> str:
    """What a rule stands on, in one line."""
    return f"{_strength(strength)}; {', '.join(filter(None, (source, at, date)))}; [{mark}]"


def problems(found: list[Problem]) -> None:
    """What is wrong in files of rules."""
    for problem in found:
        console.print(str(problem), soft_wrap=True)
    console.print(f"{len(found)} problems." if found else "No problem found.")


def _foot(rows: pl.DataFrame) -> None:
    fired = rows.filter(col("status").is_in(["option", "blocked"]))
    sources(set(fired["source"]), set(fired["mark"]))
    console.print(NEVER_ORDERS, soft_wrap=True)


def sources(keys: set[str], marks: set[str]) -> None:
    """The papers behind a screen, and what its marks mean."""
    console.print()
    for key in sorted(keys & set(references())):  # one's own protocol is no paper
        console.print(f"{key}: {references()[key].line}", soft_wrap=True)
    console.print("; ".join(f"[{mark}] {words}" for mark, words in MARKS.items() if mark in marks), soft_wrap=True)
