"""What a safety board is shown of a cohort under way: events against a stopping boundary, as they became known, with the undecided counted as no and as yes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars import col, lit

from aftercar import __version__
from aftercar.cohort.contrast import write_facts
from aftercar.cohort.decided import decided_by
from aftercar.cohort.outcome import COURSE, Outcome
from aftercar.errors import InputError, OptionError, nearest
from aftercar.files import read_text, replace_folder, toml_of
from aftercar.frames import labelled
from aftercar.grade.results import Results
from aftercar.grade.run import SCALES
from aftercar.told import Wrong, field_of, need, only, read_as, reading, table_of
from aftercar.trial.boundary import Boundary, boundary, operating
from aftercar.trial.chances import distributions
from aftercar.trial.design import Component, Stopping
from aftercar.trial.told import check_parts, check_stopping, components, without_day

MARKER = "safety.json"
RATES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6)  # true rates of the operating characteristics
COLUMNS = ("product", "disease", "target", "sex")  # by which a plan can say whom it is about

# How a course stands at a data cut.
EVENT, FREE, UNDECIDED, IN_WINDOW, APART = "event", "no event", "undecided", "in the window", "cannot be graded"
COUNTED = {
    EVENT: "event",
    FREE: "no_event",
    UNDECIDED: "undecided",
    IN_WINDOW: "in_window",
    APART: "cannot_be_graded",
}  # columns of counts


@dataclass(frozen=True)
class Plan:
    """A plan of monitoring; `docs/compare.md` has every key.

    Attributes:
        patients: how many are planned; the last look is at all of them.
        only: whom it is about, by columns of `subjects`.
        cuts: data cuts, each at the end of that day; by default the last day of any record.
    """

    title: str
    patients: int
    stopping: Stopping
    only: Mapping[str, str] = field(default_factory=dict[str, str])
    cuts: tuple[date, ...] = ()
    rates: tuple[float, ...] = RATES


@dataclass(frozen=True, eq=False)
class Safety:
    """The pack; `docs/compare.md` describes each table.

    Attributes:
        patients: a row a course, in the order of infusion, as it stands at the last cut.
        looks: a row a course that counts at the last cut (its outcome is known, or its window is over and the outcome undecided), in the order in which it came to count.
        cuts: a row a data cut.
        months: a row a month of infusion.
    """

    plan: Plan
    boundary: Boundary
    patients: pl.DataFrame
    looks: pl.DataFrame
    cuts: pl.DataFrame
    months: pl.DataFrame
    operating: pl.DataFrame
    deaths: pl.DataFrame
    facts: dict[str, Any]

    TABLES = ("patients", "looks", "cuts", "months", "operating", "deaths")

    @property
    def simulated(self) -> bool:
        return bool(self.facts["simulated"])


# ---- the plan


def read_plan(path: Path | str) -> Plan:
    """Read a plan.

    Raises:
        InputError: the file is not there, is not TOML, or says something that cannot be: where, and what to do.
    """
    file = Path(path)
    told = toml_of(read_text(file), file.name)
    with reading(file.name, "docs/compare.md"):
        return plan_of(told)


def plan_of(told: dict[str, Any]) -> Plan:
    """A plan from the tables of its TOML.

    Raises:
        Wrong: it says something that cannot be.
    """
    only(told, ("title", "patients", "only", "cuts", "rates", "stopping"), "the file")
    for name in ("patients", "stopping"):
        need(name in told, f"{name}: is missing.")
    stopping = table_of(told["stopping"], "stopping")
    plan = Plan(
        title=field_of(str, told.get("title", "Monitoring of harm"), "title"),
        patients=field_of(int, told["patients"], "patients"),
        stopping=read_as(Stopping, without_day(stopping), "stopping", any_of=components(stopping, "stopping")),
        only=field_of(dict[str, str], told.get("only", {}), "only"),
        cuts=field_of(tuple[date, ...], told.get("cuts", []), "cuts"),
        rates=field_of(tuple[float, ...], told.get("rates", list(RATES)), "rates"),
    )
    need(plan.patients > 0, "patients: must be above 0.")
    need(plan.stopping.method == "bayes", 'stopping.method: a board is told the posterior probability; write method = "bayes".')
    need(not plan.stopping.arms, "stopping.arms: a cohort has no arms; `only` says whom it is about.")
    need(
        bool(plan.stopping.any_of),
        'stopping.any_of: names no toxicity; write any_of = [{ scale = "crs", grade = 3, by_day = 30 }].',
    )
    check_parts(plan.stopping.any_of, "stopping")
    check_stopping(plan.stopping, plan.patients)
    for key in plan.only:
        need(key in COLUMNS, f"only: {key!r} is none of {', '.join(COLUMNS)}.")
    need(all(0 <= r <= 1 for r in plan.rates), "rates: are shares from 0 to 1.")
    _one_scale_each(plan.stopping.any_of)
    return plan


def _one_scale_each(parts: tuple[Component, ...]) -> None:
    """Refuse an event that is a grade of one scale or of another of the same toxicity."""
    scales: dict[str, str] = {}
    for part in parts:
        told = _outcome(part)
        first = scales.setdefault(told.toxicity, told.family)
        need(
            first == told.family,
            f"stopping.any_of: {first} and {told.family} are two scales of {told.toxicity}; grades of different scales are not the same event. Name one.",
        )


def _outcome(part: Component) -> Outcome:
    try:
        return Outcome.of(f"{part.scale}:{part.grade}")
    except OptionError as error:
        raise Wrong(f"stopping.any_of: {error}") from None


# ---- the pack


def safety(results: Results, plan: Plan) -> Safety:
    """Look at a cohort as a board would have at each data cut.

    Grades are those of the whole record: an event counts from when it began, and a course without one when its window has closed.

    Raises:
        OptionError: a scale that was not graded, or nobody whom the plan is about.
        InputError: the event was graded under several rule versions or options, more patients count than the plan has, or a cut is before every infusion.
    """
    courses = _about(results, plan)
    for part in plan.stopping.any_of:
        results.require(_outcome(part).scales)
        _refuse_mixed(results, _outcome(part))
    ends: date = courses.select(pl.max_horizontal("record_end", "day0").dt.date().max()).item()
    cuts = sorted(set(plan.cuts)) or [ends]
    if (begins := courses["day0"].dt.date().min()) > cuts[0]:  # type: ignore[operator]
        raise InputError(f"Nobody was infused by {cuts[0]}: the first infusion is on {begins}. Name later cuts in the plan.")
    known = _known(results, courses, plan)
    last = _end(cuts[-1])
    looks = _sequence(_at(known, last))
    if looks.height > plan.patients:
        raise InputError(
            f"{looks.height} patients count by {cuts[-1]}, and the plan has {plan.patients}. Say `patients` as planned, or an earlier cut."
        )
    rule = boundary(plan.stopping, plan.patients)
    looks = _judged(looks, plan, rule)
    return Safety(
        plan, rule, _at(known, last).drop("counts_at", "closes"), looks, pl.DataFrame([_cut(known, c, plan, rule) for c in cuts], schema=CUTS, orient="row"),
        _months(_at(known, last)), _operating(plan, rule), _deaths(courses, known, last), _facts(results, plan, cuts, looks, ends),
    )  # fmt: skip


def _about(results: Results, plan: Plan) -> pl.DataFrame:
    courses = results.subjects.filter(col("day0").is_not_null())
    for column, word in plan.only.items():
        there = sorted(courses[column].drop_nulls().unique())
        courses = courses.filter(col(column) == word)
        if courses.is_empty():
            raise OptionError(f"only: no course has the {column} {word!r}. {nearest(word, there)}")
    if courses.is_empty():
        raise OptionError("No course has an infusion.")
    return courses.sort("day0", *COURSE)


def _refuse_mixed(results: Results, outcome: Outcome) -> None:
    own = results.worst.filter(col("scale").is_in(outcome.scales)).select("scale", "rules", "options").unique()
    if own["scale"].is_duplicated().any():
        raise InputError(
            f"{outcome.name} was graded under several rule versions or options; they are not the same event. Grade again."
        )


def _end(cut: date) -> datetime:
    """When the day of a cut is over."""
    return datetime.combine(cut + timedelta(days=1), time())


def _known(results: Results, courses: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """Of each course: `events`, each a struct of `at` and `what` it was (null without one), `closes` (its windows have ended), the `answer` then, and `counts_at`."""
    told = courses.select(*COURSE, "product", "disease", "day0", "death", "record_end")
    answers, events, ends = [], [], []
    for n, part in enumerate(plan.stopping.any_of):
        outcome = _outcome(part)
        grades = results.grades(outcome.scales)
        closes = col("day0").dt.truncate("1d") + pl.duration(days=part.by_day + 1)
        answer = decided_by(courses, grades, outcome, part.by_day).select(
            *COURSE, pl.col("answer").cast(pl.String).alias(f"answer{n}")
        )
        reached = grades.filter(outcome.reached()).sort("start").group_by(COURSE, maintain_order=True)
        reached = reached.agg(pl.col("start").first().alias(f"at{n}"), pl.col("grade").first().alias(f"grade{n}"))
        told = told.join(answer, on=COURSE, how="left", maintain_order="left").join(
            reached, on=COURSE, how="left", maintain_order="left"
        )
        # Of a scale that grades a window of days as a whole the event is known when the window is over.
        at = col(f"at{n}") if outcome.over_time else closes
        what = pl.format("{}: grade {}", lit(SCALES[outcome.scales[0]].title), col(f"grade{n}"))
        events.append(pl.when(col(f"answer{n}") == "yes").then(pl.struct(at=at, what=what)))
        answers.append(col(f"answer{n}"))
        ends.append(closes)
    yes, none = pl.any_horizontal(a == "yes" for a in answers), pl.all_horizontal(a == "not applicable" for a in answers)
    no = pl.all_horizontal(a == "no" for a in answers)
    told = told.with_columns(
        events=pl.concat_list(events).list.drop_nulls(), closes=pl.max_horizontal(ends),
        answer=pl.when(yes).then(lit(EVENT)).when(none).then(lit(APART)).when(no).then(lit(FREE)).otherwise(lit(UNDECIDED)),
    )  # fmt: skip
    over = pl.min_horizontal("closes", pl.coalesce("death", "closes"))
    why = (
        pl.when(col("answer") == APART).then(lit("the scale does not apply"))
        .when((col("answer") == UNDECIDED) & (col("record_end") < col("closes") - pl.duration(days=1)) & col("death").is_null()).then(lit("the record ends before the window"))
        .when(col("answer") == UNDECIDED).then(lit("missing data leave it open"))
    )  # fmt: skip
    first = col("events").list.eval(pl.element().struct["at"]).list.min()
    kept = told.with_columns(counts_at=pl.coalesce(first, over), why=why)
    return kept.select(*COURSE, "product", "disease", "day0", "death", "events", "closes", "counts_at", "answer", "why")


def _at(known: pl.DataFrame, end: datetime) -> pl.DataFrame:
    """The courses that were infused by then, as they stand: `state`, `event_day` of the first event, and `event`, each that there was by then."""
    state = (
        pl.when(col("answer") == APART).then(lit(APART))
        .when(col("counts_at") < end).then(col("answer"))
        .when((col("counts_at") <= end) & (col("answer") != EVENT)).then(col("answer"))
        .otherwise(lit(IN_WINDOW))
    )  # fmt: skip
    days = (col("counts_at").dt.date() - col("day0").dt.date()).dt.total_days()
    shown = known.filter(col("day0") < end).with_columns(state=state)
    by_then = col("events").list.filter(pl.element().struct["at"] < end).list.eval(pl.element().struct["what"]).list.join("; ")
    return shown.with_columns(
        event_day=pl.when(col("state") == EVENT).then(days), event=pl.when(col("state") == EVENT).then(by_then), why=pl.when(col("state").is_in([UNDECIDED, APART])).then("why"),
        death=pl.when(col("death") < end).then("death"), closes_on=(col("closes") - pl.duration(days=1)).dt.date(),
    ).drop("answer", "events")  # fmt: skip


def _sequence(shown: pl.DataFrame) -> pl.DataFrame:
    """The courses that count, in the order in which they came to."""
    counted = shown.filter(col("state").is_in([EVENT, FREE, UNDECIDED])).sort("counts_at", "day0", *COURSE)
    return counted.select(
        *COURSE, "day0", counted_on=col("counts_at").dt.date(), state="state", n=pl.int_range(1, pl.len() + 1, dtype=pl.Int64), events=(col("state") == EVENT).cum_sum().cast(pl.Int64),
        events_if=col("state").is_in([EVENT, UNDECIDED]).cum_sum().cast(pl.Int64),
    )  # fmt: skip


def _judged(looks: pl.DataFrame, plan: Plan, rule: Boundary) -> pl.DataFrame:
    """Each look against the boundary: events with the undecided as no, and `_if` they were yes."""
    n, least, most = (np.array(looks[c].to_list(), dtype=np.int64) for c in ("n", "events", "events_if"))
    stops = rule.after(plan.patients)[n] if len(n) else np.zeros(0, np.int64)
    looked = np.isin(n, rule.n)
    return looks.with_columns(
        pl.Series("look", looked, dtype=pl.Boolean),
        pl.Series(
            "stops_at", [int(s) if a and s <= k else None for s, a, k in zip(stops, looked, n, strict=True)], dtype=pl.Int64
        ),
        pl.Series("probability", _probability(plan.stopping, least, n), dtype=pl.Float64),
        pl.Series("probability_if", _probability(plan.stopping, most, n), dtype=pl.Float64),
        pl.Series("crossed", looked & (least >= stops), dtype=pl.Boolean),
        pl.Series("crossed_if", looked & (most >= stops), dtype=pl.Boolean),
    )


def _probability(told: Stopping, events: Any, n: Any) -> Any:
    """The posterior probability that the rate is above the limit."""
    a, b = told.prior
    return distributions().beta.sf(told.limit, a + np.asarray(events), b + np.asarray(n) - np.asarray(events))


CUTS = {
    "cut": pl.Date, "infused": pl.Int64, "event": pl.Int64, "no_event": pl.Int64, "undecided": pl.Int64, "in_window": pl.Int64, "cannot_be_graded": pl.Int64, "deaths": pl.Int64,
    "known": pl.Int64, "counted": pl.Int64, "probability": pl.Float64, "probability_if": pl.Float64, "stops_at": pl.Int64, "crossed": pl.Boolean, "crossed_if": pl.Boolean,
}  # fmt: skip


def _cut(known: pl.DataFrame, cut: date, plan: Plan, rule: Boundary) -> dict[str, Any]:
    """What a board saw at a data cut; `crossed` at that cut or at a look before it, null where there was no look yet. `known` outcomes and the undecided are `counted`."""
    shown = _at(known, _end(cut))
    looks = _judged(_sequence(shown), plan, rule)
    counts = {column: shown.filter(state=state).height for state, column in COUNTED.items()}
    n, yes, maybe = looks.height, counts["event"], counts["event"] + counts["undecided"]
    looked = bool(looks["look"].any())
    return {
        "cut": cut, "infused": shown.height, **counts, "deaths": shown["death"].count(), "known": n - counts["undecided"], "counted": n, "probability": float(_probability(plan.stopping, yes, n)),
        "probability_if": float(_probability(plan.stopping, maybe, n)), "stops_at": looks["stops_at"][-1] if n else None,
        "crossed": bool(looks["crossed"].any()) if looked else None, "crossed_if": bool(looks["crossed_if"].any()) if looked else None,
    }  # fmt: skip


def _months(shown: pl.DataFrame) -> pl.DataFrame:
    """How the courses of each month of infusion stand, and how many were infused by then."""
    months = shown.group_by(col("day0").dt.strftime("%Y-%m").alias("month")).agg(
        pl.len().alias("infused"), *((col("state") == s).sum().alias(c) for s, c in COUNTED.items())
    )
    return months.sort("month").with_columns(
        col("infused").cum_sum().alias("infused_by_then"), col("event").cum_sum().alias("events_by_then")
    )


def _operating(plan: Plan, rule: Boundary) -> pl.DataFrame:
    rates = sorted({*plan.rates, float(plan.stopping.limit or 0)})
    found = operating(rule, rates)
    return pl.DataFrame({"rate": rates, "stops": found.stops, "patients": found.patients, "events": found.events})


def _deaths(courses: pl.DataFrame, known: pl.DataFrame, end: datetime) -> pl.DataFrame:
    """Deaths until then, by cause: `subject_id, infusion, day, cause, in_window`."""
    died = courses.filter((col("death") < end) & (col("day0") < end)).join(known.select(*COURSE, "closes"), on=COURSE)
    days = (col("death").dt.date() - col("day0").dt.date()).dt.total_days()
    return died.sort("death", *COURSE).select(
        *COURSE, day=days, cause=col("death_cause").fill_null("not recorded"), in_window=col("death") < col("closes")
    )


def _facts(results: Results, plan: Plan, cuts: list[date], looks: pl.DataFrame, ends: date) -> dict[str, Any]:
    outcomes = [_outcome(p) for p in plan.stopping.any_of]
    scales = {s for o in outcomes for s in o.scales}
    read = {o for s in scales for o in SCALES[s].options}

    def first(column: str) -> dict[str, Any] | None:
        hit = looks.filter(col(column)).head(1)
        return {"patients": hit["n"][0], "on": str(hit["counted_on"][0])} if hit.height else None

    return {
        "aftercar": __version__, "title": plan.title, "event": [f"{o.name} by day {p.by_day}" for o, p in zip(outcomes, plan.stopping.any_of, strict=True)],
        "patients": plan.patients, "only": dict(plan.only), "limit": plan.stopping.limit, "certainty": plan.stopping.certainty, "chance": plan.stopping.chance,
        "prior": list(plan.stopping.prior), "cuts": [str(c) for c in cuts], "crossed": first("crossed"), "crossed_if_undecided_had_it": first("crossed_if"),
        "rules": results.rules(scales), "options": {k: v for k, v in results.run["options"].items() if k in read},
        "timeline_fingerprint": results.run.get("timeline_fingerprint"), "timeline_note": results.run.get("timeline_note"), "simulated": results.simulated,
        "looks": int(looks["look"].sum()), "records_end": str(ends),
        "after_records": f"The records end on {ends}: nothing later is known, so a cut after that day shows what was charted by then." if cuts[-1] > ends else None,
        "note": "Derived by software, not adjudicated. Grades are those of the whole record as it was read, also at earlier cuts.",
    }  # fmt: skip


def write_safety(found: Safety, out: Path | str, page: str, figure: str) -> None:
    """Write a folder of the tables as CSV, `safety.html`, `boundary.svg` and `safety.json`; a former one is replaced whole.

    Raises:
        InputError: the folder holds something else.
    """
    with replace_folder(Path(out), marker=MARKER) as fresh:
        for name in Safety.TABLES:
            labelled(getattr(found, name), found.simulated).write_csv(fresh / f"{name}.csv")
        (fresh / "boundary.svg").write_text(figure, encoding="utf-8")
        (fresh / "safety.html").write_text(page, encoding="utf-8")
        write_facts(fresh / MARKER, found.facts)
