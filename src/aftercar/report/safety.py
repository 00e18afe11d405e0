"""The page for a safety board, and its figure: events as courses came to count, against the boundary."""

from __future__ import annotations

from typing import Any

import polars as pl
from markupsafe import Markup

from aftercar.cohort.outcome import COURSE
from aftercar.errors import many
from aftercar.grade.results import Results
from aftercar.report import cohort, other
from aftercar.report.page import resource, template
from aftercar.report.svg import ValueAxis, alone, area, esc, label, line, polyline, px
from aftercar.simulate.run import BANNER
from aftercar.trial.safety import APART, EVENT, IN_WINDOW, UNDECIDED, Safety

LEFT, RIGHT, WIDTH = 44.0, 700.0, 900.0
TOP, TALL = 30.0, 260.0


def answer(found: Safety) -> str:
    """Whether the boundary was crossed, in a sentence."""
    surely, perhaps = found.facts["crossed"], found.facts["crossed_if_undecided_had_it"]
    last = found.cuts.row(-1, named=True)
    if not found.facts["looks"]:
        return f"No look was made yet: the first is at {many(int(found.boundary.n[0]), 'counted course')}, and {last['counted']} count so far."
    if surely:
        return f"Crossed{', whatever the undecided had' if last['undecided'] else ''}: at {many(surely['patients'], 'counted course')}, on {surely['on']}."
    if perhaps:
        return f"Perhaps crossed: not if no undecided course had an event; if all of them had one, at {many(perhaps['patients'], 'counted course')}, on {perhaps['on']}. Chart what is missing, or adjudicate those courses."
    made = f"at {many(found.facts['looks'], 'look')}, the last at {many(found.looks.filter('look')['n'][-1], 'counted course')}"
    return f"Not crossed {made}{', whatever the undecided had' if last['undecided'] else ''}."


def rule_text(found: Safety) -> str:
    """The rule in words."""
    told = found.plan.stopping
    limit = f"{told.limit:.0%}"
    strict = (
        f"is more than {told.certainty:g}"
        if told.certainty is not None
        else f"is so high as a rate of {limit} brings about with {told.chance:.0%} at the most, at any look"
    )
    looks = f"every {told.every} from {told.first} on" if told.every > 1 else f"each from {told.first} on"
    return f"stop where the probability that the rate is above {limit} {strict} (beta prior {told.prior[0]:g}, {told.prior[1]:g}; looks at {looks} of {found.plan.patients} patients)."


def steps_text(found: Safety) -> str:
    """The boundary in words."""
    steps = found.boundary.steps()
    return (
        ", ".join(f"{e} of {a}" if a == b else f"{e} of {a} to {b}" for a, b, e in steps)
        or "it cannot be reached among so few patients"
    )


def safety_page(found: Safety, results: Results) -> str:
    """The page as HTML that loads nothing from elsewhere."""
    last = found.cuts.row(-1, named=True)
    shown = found.patients.select(COURSE)
    worst = cohort.charted(other.parted(results.worst.join(shown, on=COURSE, how="semi"))[0])[0]
    return template("safety.html.j2").render(
        css=Markup(resource("page.css")),
        facts=found.facts,
        simulated=found.simulated,
        answer=answer(found),
        rule=rule_text(found),
        limit=f"{found.plan.stopping.limit:.0%}",
        figures=[
            ("Infused", last["infused"]), ("Counted", last["counted"]), ("Events", last["event"]), ("No event", last["no_event"]), ("Undecided", last["undecided"]), ("In the window", last["in_window"]),
            ("Cannot be graded", last["cannot_be_graded"]), ("Deaths", last["deaths"]), ("Posterior", _two(last)),
        ],
        figure=Markup(_figure(found)),
        cuts=[c | {"posterior": _two(c), "word": _word(c), "stop": "no look" if c["stops_at"] is None else c["stops_at"]} for c in found.cuts.iter_rows(named=True)],
        months=found.months.to_dicts(),
        lists=[(heading, _listed(found.patients.filter(state=state))) for heading, state in (
            ("Events", EVENT), ("Undecided", UNDECIDED), ("Still in the window", IN_WINDOW), ("Cannot be graded", APART),
        )],
        deaths=[d | {"subject": _subject(d)} for d in found.deaths.iter_rows(named=True)],
        worst=cohort.worst_table(worst) if worst.height else [],
        operating=[{"rate": f"{r:.0%}", "stops": f"{s:.1%}", "patients": f"{p:.1f}", "events": f"{e:.1f}"} for r, s, p, e in found.operating.iter_rows()],
        steps=steps_text(found),
    )  # fmt: skip


def _two(cut: dict[str, Any]) -> str:
    a, b = f"{cut['probability']:.2f}", f"{cut['probability_if']:.2f}"
    return a if cut["undecided"] == 0 else f"{a}, {b}"


def _word(cut: dict[str, Any]) -> str:
    if cut["crossed"] is None:
        return "no look yet"
    return "yes" if cut["crossed"] else "perhaps" if cut["crossed_if"] else "no"


def _subject(row: dict[str, Any]) -> str:
    return str(row["subject_id"]) + (f" (infusion {row['infusion']})" if row["infusion"] > 1 else "")


def _listed(rows: pl.DataFrame) -> list[dict[str, str]]:
    return [
        {
            "subject": _subject(r), "infused": f"{r['day0']:%Y-%m-%d}", "product": r["product"] or "", "closes_on": str(r["closes_on"]),
            "what": f"{r['event']}, first on day {r['event_day']}" if r["event_day"] is not None else r["why"] or "",
        }
        for r in rows.iter_rows(named=True)
    ]  # fmt: skip


def safety_figure(found: Safety) -> str:
    """The figure as a file of its own."""
    return alone(_figure(found))


def _figure(found: Safety) -> str:
    """Events, and with the undecided, by counted courses; the boundary as far as the plan goes."""
    rule, looks, n = found.boundary, found.looks, found.plan.patients
    can = [(int(a), int(e)) for a, e in zip(rule.n, rule.events, strict=True) if e <= a]
    most = 1 + max([4, *(e for _, e in can), *looks["events_if"].to_list()])
    across, up = ValueAxis(0.0, float(n), RIGHT, LEFT), ValueAxis(0.0, float(most), TOP, TOP + TALL)
    parts = [label(0, 12, f"events among counted courses, by {found.facts['cuts'][-1]}", "p")]
    every = next(s for s in (1, 2, 5, 10, 20, 50, 100, 1_000) if most / s <= 8 or s == 1_000)
    for k in range(0, most + 1, every):
        parts += [line(LEFT, up.y(k), RIGHT, up.y(k), "g"), label(LEFT - 6, up.y(k) + 4, str(k), "t", "end")]
    wide = next(s for s in (1, 2, 5, 10, 20, 50, 100, 1_000, 10_000) if n / s <= 14 or s == 10_000)
    parts += [label(across.y(k), TOP + TALL + 14, str(k), "t", "middle") for k in range(0, n + 1, wide)]
    parts += [
        line(LEFT, TOP + TALL, RIGHT, TOP + TALL, "ax"),
        label(RIGHT, TOP + TALL + 29, "courses counted: outcome known, or undecided behind the window", "t", "end"),
    ]
    if can:
        corners = [(across.y(a - 0.5 + half), up.y(e - 0.5)) for a, e in can for half in (0.0, 1.0)]
        stop = [(LEFT if not k else x, y) for k, (x, y) in enumerate(corners)][1:]
        first = corners[0]
        parts.append(area([first, *stop], [(first[0], TOP), (stop[-1][0], TOP)], "most"))
        parts.append(polyline(((x, y, k > 0) for k, (x, y) in enumerate([first, *stop])), "div"))
        parts.append(label(first[0] + 8, TOP + 14, "stop", "n"))
    paths = {
        c: [(across.y(0), up.y(0)), *((across.y(a), up.y(k)) for a, k in looks.select("n", c).iter_rows())]
        for c in ("events", "events_if")
    }
    if looks.height:
        parts.append(polyline(((x, y, k > 0) for k, (x, y) in enumerate(paths["events_if"])), "l q"))
        parts.append(polyline(((x, y, k > 0) for k, (x, y) in enumerate(paths["events"])), "l w"))
        (x, least), (_, top) = paths["events"][-1], paths["events_if"][-1]
        parts.append(label(x + 6, least + 12, many(looks["events"][-1], "event"), "v h"))
        if top != least:
            parts.append(label(x + 6, top - 4, f"{looks['events_if'][-1]} with the undecided", "v h"))
    y = TOP + TALL + 44
    for x, cls, text in (
        (LEFT, "l w", "undecided as no event"),
        (LEFT + 180, "l q", "undecided as an event"),
        (LEFT + 360, "div", "boundary"),
    ):
        parts += [line(x, y, x + 26, y, cls), label(x + 32, y + 4, text, "t")]
    height = y + 14
    for note in (f"{BANNER[0].upper()}{BANNER[1:]}." if found.simulated else None, found.facts["timeline_note"]):
        if note:
            parts.append(label(0, height + 6, note, "k"))
            height += 16
    spoken = f"{found.plan.title}. {answer(found)} Numbers are in looks.csv."
    head = f'<svg class="course" role="img" aria-label="{esc(spoken)}" viewBox="-8 -8 {px(WIDTH + 16)} {px(height + 16)}">'
    return head + "".join(parts) + "</svg>"
