"""Products, periods or other groups of a cohort held against each other, plainly and made alike in what was measured; with what such a comparison cannot say."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import col, lit

from aftercar import __version__
from aftercar.cohort import covariates as before
from aftercar.cohort.compare import Compared, gray
from aftercar.cohort.decided import decided, decided_by, unassessed
from aftercar.cohort.difference import difference, e_value, e_value_of_interval
from aftercar.cohort.groups import PERIOD, group_of, of_nobody, with_beside
from aftercar.cohort.incidence import cumulative_incidence, first_days
from aftercar.cohort.outcome import COURSE, Outcome
from aftercar.cohort.overlap import Floats, Separated, Weighted, overlap, standardised
from aftercar.cohort.survival import log_rank
from aftercar.errors import OptionError, many, nearest
from aftercar.files import replace_folder
from aftercar.frames import labelled
from aftercar.grade.results import Results
from aftercar.grade.run import SCALES
from aftercar.intervals import wilson
from aftercar.risk.cohort_files import read_table

MARKER = "comparison.json"
CHARTED_DAYS = 14  # after the infusion, in which the density of charting is told
FEW = 10.0  # courses or events for each covariate: fewer than this are few (Peduzzi 1996)

# How the undecided courses count: in the group, and in the reference.
FILLED: dict[str, tuple[int | None, int | None]] = {
    "left out": (None, None),
    "all no": (0, 0),
    "all yes": (1, 1),
    "yes in the group, no in the reference": (1, 0),
    "no in the group, yes in the reference": (0, 1),
}

OBSERVED = (
    "Observed, not randomised: what was not measured, or is not among the covariates, may make the difference.",
    "Grades derived by software, not adjudicated.",
)


@dataclass(frozen=True)
class Asked:
    """What is compared.

    Attributes:
        by: a column of `subjects` or of the user's table, or `period`.
        cuts: of periods, the dates with which a new one begins.
        groups: only these; by default all.
        reference: against which group; by default the earliest period, else the largest group.
        day: the outcome by the end of this day; by default over the whole record.
        adjust: covariates.
        missing: `drop`: courses that lack a covariate are left out of what is adjusted; `category`: missing is a level of its own.
    """

    by: str
    outcome: Outcome
    cuts: tuple[date, ...] = ()
    groups: tuple[str, ...] = ()
    reference: str | None = None
    day: int | None = None
    adjust: tuple[str, ...] = ()
    missing: Literal["drop", "category"] = "drop"


@dataclass(frozen=True, eq=False)
class Contrast:
    """A comparison; `docs/compare.md` describes each table.

    Attributes:
        notes: what limits it, in words.
    """

    groups: pl.DataFrame
    differences: pl.DataFrame
    tests: pl.DataFrame
    incidence: pl.DataFrame
    balance: pl.DataFrame
    left_out: pl.DataFrame
    facts: dict[str, Any]
    notes: list[str] = field(default_factory=list[str])

    TABLES = ("groups", "differences", "tests", "incidence", "balance", "left_out")

    @property
    def simulated(self) -> bool:
        return bool(self.facts["simulated"])


def contrast(results: Results, asked: Asked, table: Path | str | None = None, timeline: Path | None = None) -> Contrast:
    """Compare groups of a results folder.

    Args:
        table: a CSV of the user's own: `subject_id`, perhaps `infusion`, and columns to compare by or to adjust for.
        timeline: where the timeline is, if it was moved; only measurements among the covariates need it.
    Raises:
        OptionError: a scale that was not graded, a column, group or covariate that does not exist, or not two groups.
        InputError: the table cannot be read, or the timeline is gone.
    """
    results.require(asked.outcome.scales)
    courses, notes = _columns(results, asked, table, timeline)
    grades = results.grades(asked.outcome.scales)
    answers = (
        decided(results.subjects, results.worst, asked.outcome)
        if asked.day is None
        else decided_by(results.subjects, grades, asked.outcome, asked.day)
    )
    hours = unassessed(results.subjects, grades, asked.outcome, CHARTED_DAYS)
    for more in (answers.select(*COURSE, "answer"), hours):
        courses = courses.join(more, on=COURSE, how="left", maintain_order="left")
    courses = courses.with_columns(group_of(courses, asked.by, asked.cuts))
    names, reference = _groups(courses, asked)
    own = courses.filter(col("group").is_in(names) & (col("answer") != "not applicable"))
    left_out = _left_out(courses, names, asked)
    parts: list[dict[str, Any]] = []
    balance: list[pl.DataFrame] = []
    for name in names:
        if name == reference:
            continue
        pair = own.filter(col("group").is_in([name, reference]))
        parts += _plain(pair, name, reference)
        if asked.adjust:
            rows, table_, said, lacking = _adjusted(pair, name, reference, asked)
            parts, notes = parts + rows, notes + said
            balance.append(table_)
            left_out += lacking
    found = _group_table(own, names)
    firsts = None  # of a scale that grades a window as a whole nobody knows the day
    if asked.outcome.over_time:
        firsts = first_days(results.subjects, grades, asked.outcome).join(courses.select(*COURSE, "group"), on=COURSE)
    return Contrast(
        groups=found,
        differences=pl.DataFrame(parts, schema=DIFFERENCES, orient="row"),
        tests=_tests(firsts, names, reference) if firsts is not None else pl.DataFrame(schema=TESTS),
        incidence=_incidence(firsts, names) if firsts is not None else pl.DataFrame(schema=INCIDENCE),
        balance=pl.concat(balance) if balance else pl.DataFrame(schema=BALANCE),
        left_out=pl.DataFrame(left_out, schema={"group": pl.String, "reference": pl.String, "why": pl.String, "courses": pl.Int64}, orient="row"),
        facts=_facts(results, asked, names, reference),
        notes=[*OBSERVED, *_limits(found, asked), *notes],
    )  # fmt: skip


# ---- who is compared


def _columns(results: Results, asked: Asked, table: Path | str | None, timeline: Path | None) -> tuple[pl.DataFrame, list[str]]:
    """`subjects` with the covariates that stand elsewhere, and what is to be said of that."""
    courses, notes = results.subjects, []
    if table is not None:
        own = read_table(table)
        courses = with_beside(courses, own)
        notes += of_nobody(courses, own, Path(table).name)
    wanted = [name for name in asked.adjust if name not in courses.columns]
    for name in wanted:
        if not before.measured(name):
            raise OptionError(
                f"No covariate is called {name!r}: it is no column, and no concept that is measured. {nearest(name, [*before.OF_SUBJECTS, *courses.columns])}"
            )
    if asked.by in asked.adjust:
        raise OptionError(f"{asked.by} is what is compared by; it cannot be adjusted for as well.")
    if strange_times := [n for n in asked.adjust if n in courses.columns and (courses.schema[n].is_temporal() or n in COURSE)]:
        raise OptionError(f"{strange_times[0]} cannot be a covariate: it is no number and no word.")
    if wanted:
        courses = before.baseline(courses, results.timeline(timeline), wanted)
        notes.append(f"Baseline of {', '.join(wanted)}: {before.before_ld()}.")
    return courses, notes


def _groups(courses: pl.DataFrame, asked: Asked) -> tuple[list[str], str]:
    """The groups that are compared, and the reference."""
    infused = courses.filter(col("day0").is_not_null() & col("group").is_not_null() & (col("answer") != "not applicable"))
    sizes = infused.group_by("group").agg(n=pl.len(), first=col("day0").min()).sort("group")
    there = sizes["group"].to_list()
    for name in (*asked.groups, *([asked.reference] if asked.reference else [])):
        if name not in there:
            raise OptionError(f"No course that could be graded is of the group {name!r}. {nearest(name, there)}")
    names = [n for n in there if not asked.groups or n in asked.groups or n == asked.reference]
    if len(names) < 2:
        raise OptionError(
            f"A comparison by {asked.by} needs two groups of courses that could be graded; there is {'1' if names else 'none'}."
        )
    order = sizes.filter(col("group").is_in(names)).sort(
        "first" if asked.by == PERIOD else "n", "group", descending=[asked.by != PERIOD, False]
    )
    reference = asked.reference or str(order["group"][0])
    return [reference, *(n for n in order["group"] if n != reference)], reference


def _left_out(courses: pl.DataFrame, names: list[str], asked: Asked) -> list[dict[str, Any]]:
    """Courses that no comparison holds, each once, by why."""
    why = (
        pl.when(col("day0").is_null()).then(lit("no infusion"))
        .when(col("group").is_null()).then(lit(f"{asked.by} not recorded"))
        .when(~col("group").is_in(names)).then(lit("another group"))
        .when(col("answer") == "not applicable").then(lit("the scale does not apply"))
    )  # fmt: skip
    told = courses.with_columns(why=why).filter(col("why").is_not_null())
    rows = (
        told.group_by("why", pl.when(col("group").is_in(names)).then("group").alias("group"))
        .len()
        .sort("why", "group", nulls_last=True)
    )
    undecided = courses.filter(why.is_null() & (col("answer") == "open")).group_by("group").len().sort("group")
    return [
        {"group": r["group"], "reference": None, "why": r["why"], "courses": r["len"]} for r in rows.iter_rows(named=True)
    ] + [
        {"group": r["group"], "reference": None, "why": "undecided: missing data leave it open", "courses": r["len"]} for r in undecided.iter_rows(named=True)
    ]  # fmt: skip


# ---- groups as they are


def _group_table(own: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    last = pl.min_horizontal("record_end", "death")
    told = own.group_by("group").agg(
        courses=pl.len(), subjects=col("subject_id").n_unique(),
        yes=(col("answer") == "yes").sum(), no=(col("answer") == "no").sum(), open=(col("answer") == "open").sum(),
        unassessed_h=col("unassessed_h").median(), follow_up_d=(last - col("day0")).dt.total_days().median(), deaths=col("death").is_not_null().sum(),
    )  # fmt: skip
    rows = {r["group"]: r for r in told.iter_rows(named=True)}
    found = []
    for name in names:
        r = rows[name]
        low, high = wilson(r["yes"], r["yes"] + r["no"])
        share = r["yes"] / (r["yes"] + r["no"]) if r["yes"] + r["no"] else None
        found.append(r | {
            "share": share, "low": low, "high": high, "least": r["yes"] / r["courses"], "most": (r["yes"] + r["open"]) / r["courses"],
        })  # fmt: skip
    return pl.DataFrame(found, schema=GROUPS, orient="row")


GROUPS = {
    "group": pl.String, "courses": pl.Int64, "subjects": pl.Int64, "yes": pl.Int64, "no": pl.Int64, "open": pl.Int64, "share": pl.Float64, "low": pl.Float64,
    "high": pl.Float64, "least": pl.Float64, "most": pl.Float64, "unassessed_h": pl.Float64, "follow_up_d": pl.Float64, "deaths": pl.Int64,
}  # fmt: skip
_ENDS = ("", "_low", "_high")
DIFFERENCES = {
    "group": pl.String, "reference": pl.String, "adjusted": pl.Boolean, "undecided": pl.String, "n": pl.Int64, "reference_n": pl.Int64,
    "events": pl.Int64, "reference_events": pl.Int64, "share": pl.Float64, "reference_share": pl.Float64,
    **{f"{name}{end}": pl.Float64 for name in ("difference", "ratio", "odds_ratio") for end in _ENDS},
    "e_value": pl.Float64, "e_value_interval": pl.Float64, "effective_n": pl.Float64, "reference_effective_n": pl.Float64, "why": pl.String,
}  # fmt: skip
BALANCE = {
    "group": pl.String, "reference": pl.String, "covariate": pl.String, "mean": pl.Float64, "reference_mean": pl.Float64, "standardised": pl.Float64,
    "weighted_mean": pl.Float64, "weighted_reference_mean": pl.Float64, "weighted_standardised": pl.Float64, "used": pl.Boolean,
}  # fmt: skip
TESTS = {"test": pl.String, "group": pl.String, "reference": pl.String, "statistic": pl.Float64, "df": pl.Int64, "p": pl.Float64}
INCIDENCE = {
    "group": pl.String, "day": pl.Int32, "at_risk": pl.Int64, "events": pl.Int64, "competing": pl.Int64, "incidence": pl.Float64, "low": pl.Float64, "high": pl.Float64,
}  # fmt: skip


def _counted(pair: pl.DataFrame, name: str, filled: tuple[int | None, int | None]) -> pl.DataFrame:
    """The courses of a pair that count, with `z` (of the group) and `y` (had it), the undecided filled in."""
    z = col("group") == name
    fill = pl.when(z).then(lit(filled[0], pl.Int8)).otherwise(lit(filled[1], pl.Int8))
    y = pl.when(col("answer") == "yes").then(1).when(col("answer") == "no").then(0).otherwise(fill)
    return pair.with_columns(z=z, y=y.cast(pl.Int8)).filter(col("y").is_not_null())


def _fillings(pair: pl.DataFrame) -> dict[str, tuple[int | None, int | None]]:
    """Ways to count the undecided that differ."""
    return FILLED if (pair["answer"] == "open").any() else {"left out": FILLED["left out"]}


def _plain(pair: pl.DataFrame, name: str, reference: str) -> list[dict[str, Any]]:
    rows = []
    for word, filled in _fillings(pair).items():
        counts = _counted(pair, name, filled)
        own, other = counts.filter("z"), counts.filter(~col("z"))
        row: dict[str, Any] = {
            "group": name, "reference": reference, "adjusted": False, "undecided": word, "n": own.height, "reference_n": other.height,
            "events": int(own["y"].sum()), "reference_events": int(other["y"].sum()),
        }  # fmt: skip
        found = difference(row["events"], own.height, row["reference_events"], other.height)
        if found is None:
            rows.append(row | {"why": "in one of the groups nobody is decided"})
            continue
        row |= {"share": found.events / found.n, "reference_share": found.reference_events / found.reference_n}
        row |= _ends("difference", found.difference) | _ends("ratio", found.ratio) | _ends("odds_ratio", found.odds_ratio)
        row |= _e_values(found.ratio)
        if found.ratio is None:
            row["why"] = "no ratios: in both groups nobody or everybody had it"
        elif found.corrected:
            row["why"] = "0.5 was added to each count for the ratios: one count is 0"
        rows.append(row)
    return rows


def _ends(name: str, interval: tuple[float, float, float] | None) -> dict[str, float | None]:
    return dict(zip((f"{name}{e}" for e in _ENDS), interval or (None,) * 3, strict=True))


def _e_values(ratio: tuple[float, float, float] | None) -> dict[str, float | None]:
    if ratio is None or not ratio[0] > 0:
        return {"e_value": None, "e_value_interval": None}
    return {"e_value": e_value(ratio[0]), "e_value_interval": e_value_of_interval(ratio[1], ratio[2])}


# ---- made alike


def _adjusted(
    pair: pl.DataFrame, name: str, reference: str, asked: Asked
) -> tuple[list[dict[str, Any]], pl.DataFrame, list[str], list[dict[str, Any]]]:
    """Rows of differences, the table of balance, what is to be said, and who fell out."""
    table = before.encoded(pair, list(asked.adjust), as_category=asked.missing == "category")
    whole = pl.Series("whole", table.whole(), dtype=pl.Boolean)
    x = np.array([[np.nan if v is None else v for v in column] for column in table.columns], dtype=np.float64).T
    pair = pair.with_columns(whole, place=pl.int_range(pl.len()))
    lacking = []
    if asked.missing == "drop":
        for covariate, n in table.missing.items():
            if n:
                lacking.append(
                    {
                        "group": name,
                        "reference": reference,
                        "why": f"from what is adjusted: {covariate} not recorded",
                        "courses": n,
                    }
                )
        if n := int((~whole).sum()):
            lacking.append(
                {"group": name, "reference": reference, "why": "from what is adjusted: any covariate not recorded", "courses": n}
            )
    rows, notes = [], []
    balance = pl.DataFrame(schema=BALANCE)
    pair = pair.filter("whole")
    for word, filled in _fillings(pair).items():
        counts = _counted(pair, name, filled)
        row: dict[str, Any] = {"group": name, "reference": reference, "adjusted": True, "undecided": word}
        z = np.array(counts["z"].to_list(), dtype=bool)
        y = np.array(counts["y"].to_list(), dtype=np.float64)
        row |= {
            "n": int(z.sum()),
            "reference_n": int((~z).sum()),
            "events": int(y[z].sum()),
            "reference_events": int(y[~z].sum()),
        }
        own = x[counts["place"].to_list()] if counts.height else x[:0]
        if not z.any() or z.all():
            rows.append(row | {"why": "one of the groups has nobody left"})
            continue
        try:
            made = overlap(z, own, table.names)
        except Separated as apart:
            rows.append(row | {"why": str(apart)})
            continue
        rows.append(row | _weighed(made, y, _clusters(counts)))
        if word == "left out":
            balance = _balance(made, own, table.names, name, reference)
            notes += _few(made, y, name, reference)
    if rows and rows[0].get("why"):
        notes.append(f"{name} against {reference}: not adjusted. {rows[0]['why']}")
    return rows, balance, notes, lacking


def _clusters(counts: pl.DataFrame) -> NDArray[np.int64]:
    return np.array(counts["subject_id"].rank("dense").cast(pl.Int64).to_list(), dtype=np.int64) - 1


def _weighed(made: Weighted, y: Floats, clusters: NDArray[np.int64]) -> dict[str, Any]:
    shares, (effective, reference_effective) = made.shares(y, clusters), made.effective()
    gap, ratio = shares.difference(), shares.ratio()
    found: dict[str, Any] = {
        "share": shares.group, "reference_share": shares.reference, "effective_n": effective, "reference_effective_n": reference_effective,
    }  # fmt: skip
    found |= _ends("difference", gap) | _ends("ratio", ratio) | _e_values(ratio)
    if gap is None:
        found |= {"difference": shares.group - shares.reference, "why": "no interval: in both groups nobody or everybody had it"}
    elif ratio is None:
        found["why"] = "no ratio: one of the groups has no event; the interval of the difference is too narrow then"
    return found


def _balance(made: Weighted, x: Floats, names: list[str], name: str, reference: str) -> pl.DataFrame:
    z = made.group
    plain, weighted = standardised(z, x), standardised(z, x, made.weight)

    def mean(who: NDArray[np.bool_], k: int, w: Floats) -> float:
        return float(np.average(x[who, k], weights=w[who]))

    one = np.ones(len(z))
    rows = [
        {
            "group": name, "reference": reference, "covariate": label, "mean": mean(z, k, one), "reference_mean": mean(~z, k, one), "standardised": _known(plain[k]),
            "weighted_mean": mean(z, k, made.weight), "weighted_reference_mean": mean(~z, k, made.weight), "weighted_standardised": _known(weighted[k]),
            "used": k in made.kept,
        }
        for k, label in enumerate(names)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=BALANCE, orient="row")


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _few(made: Weighted, y: Floats, name: str, reference: str) -> list[str]:
    p = max(len(made.kept), 1)
    courses, events = int(min(made.group.sum(), (~made.group).sum())), int(y.sum())
    if not made.kept:
        return [f"{name} against {reference}: the covariates do not vary, so nothing is adjusted."]
    told = f"{name} against {reference}: {courses} courses of the smaller group and {events} events for {p} covariate columns, {courses / p:.1f} and {events / p:.1f} each"
    return [told + (f"; fewer than {FEW:g} are few, and intervals may be too narrow." if min(courses, events) / p < FEW else ".")]


# ---- over time


def _tests(firsts: pl.DataFrame, names: list[str], reference: str) -> pl.DataFrame:
    own = firsts.filter(col("group").is_in(names))
    sets: list[tuple[str | None, str | None, pl.DataFrame]] = [
        (n, reference, own.filter(col("group").is_in([n, reference]))) for n in names if n != reference
    ]
    if len(names) > 2:
        sets.append((None, None, own))
    rows = []
    for name, against, frame in sets:
        for word, test in (("gray", gray), ("log-rank", log_rank)):
            found: Compared = test(frame, "group")
            rows.append(
                {"test": word, "group": name, "reference": against, "statistic": found.statistic, "df": found.df, "p": found.p}
            )
    return pl.DataFrame(rows, schema=TESTS, orient="row")


def _incidence(firsts: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    curves = [
        cumulative_incidence(firsts.filter(col("group") == name)).select(lit(name).alias("group"), pl.all()) for name in names
    ]
    return pl.concat(curves).select(col(c).cast(dtype) for c, dtype in INCIDENCE.items())


# ---- what it cannot say


def _limits(groups: pl.DataFrame, asked: Asked) -> list[str]:
    notes = []
    if n := int(groups["open"].sum()):
        notes.append(
            f"{many(n, 'course')} undecided and left out of the estimate; rows with another word under `undecided` count them as no or as yes. A yes takes one finding and a no takes all, so the decided alone overstate both shares."
        )
    hours = groups.drop_nulls("unassessed_h")
    if hours.height:
        told = "; ".join(f"{g} {h:.0f} h" for g, h in hours.select("group", "unassessed_h").iter_rows())
        notes.append(
            f"Hours of the first {CHARTED_DAYS} days that were not assessed (median of a course): {told}. A group that is charted more often is seen to have more."
        )
    told = "; ".join(f"{g} {d:.0f}" for g, d in groups.drop_nulls("follow_up_d").select("group", "follow_up_d").iter_rows())
    if asked.day is None and told:
        notes.append(f"Days of record (median): {told}. Shares are of whatever was seen; --day N asks for the same time of all.")
    if groups.select((col("courses") > col("subjects")).any()).item():
        notes.append(
            "Some subjects have several courses. Adjusted intervals allow for that; unadjusted ones and tests take courses for independent."
        )
    if not asked.outcome.over_time:
        notes.append(
            "The scale grades a window of days as a whole, so there is no day of onset: no cumulative incidence and no test over time."
        )
    if asked.by == PERIOD:
        notes.append(
            "Periods differ in products, care and charting as well; a difference between them is not the effect of any one change."
        )
    if groups.height > 2:
        notes.append("Several comparisons with one reference, none corrected for their number.")
    return notes


def _facts(results: Results, asked: Asked, names: list[str], reference: str) -> dict[str, Any]:
    read = {o for s in asked.outcome.scales for o in SCALES[s].options}
    return {
        "aftercar": __version__, "outcome": asked.outcome.name, "asked": asked.outcome.key, "day": asked.day, "by": asked.by, "cuts": [str(c) for c in sorted(set(asked.cuts))],
        "groups": names, "reference": reference, "adjust": list(asked.adjust), "missing": asked.missing, "rules": results.rules(asked.outcome.scales),
        "options": {k: v for k, v in results.run["options"].items() if k in read}, "timeline_fingerprint": results.run.get("timeline_fingerprint"),
        "timeline_note": results.run.get("timeline_note"), "simulated": results.simulated,
    }  # fmt: skip


def write_contrast(found: Contrast, out: Path | str) -> None:
    """Write a folder of the tables as CSV and `comparison.json`; a former one is replaced whole.

    Raises:
        InputError: the folder holds something else.
    """
    with replace_folder(Path(out), marker=MARKER) as fresh:
        for name in Contrast.TABLES:
            labelled(getattr(found, name), found.simulated).write_csv(fresh / f"{name}.csv")
        write_facts(fresh / MARKER, found.facts | {"notes": found.notes})


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Write what a folder of tables is about, the same bytes for the same facts."""
    path.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
