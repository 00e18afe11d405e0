"""One cohort graded on every scale and under every option that the papers leave open: how far does the result depend on these choices?

A universe is one scale with one set of options (Steegen 2016, Perspect Psychol Sci 11:702).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from math import comb
from pathlib import Path
from typing import Any

import polars as pl
from polars import col, lit

from aftercar import __version__
from aftercar.cohort.contrast import write_facts
from aftercar.cohort.decided import MOST_OPEN, decided, decided_by
from aftercar.cohort.difference import newcombe
from aftercar.cohort.groups import group_of
from aftercar.cohort.incidence import first_days
from aftercar.cohort.multiverse_spec import Change, Groups, Spec
from aftercar.cohort.outcome import COURSE
from aftercar.errors import OptionError, nearest
from aftercar.frames import labelled
from aftercar.grade.options import Options
from aftercar.grade.results import open_results
from aftercar.grade.run import codes_of, graded, opened
from aftercar.grade.scale import Scale
from aftercar.intervals import wilson
from aftercar.timeline.store import Store, open_timeline

MARKER = "multiverse.json"
OPENED_BY = ("day0", "unknown_attribution")  # options that the record is opened with; all others are read by scales alone
PLAIN = "default"


@dataclass(frozen=True, eq=False)
class Multiverse:
    """The results; `docs/compare.md` describes each table.

    Attributes:
        universes: a row an outcome, scale and set of options.
        choices: a row a choice: how far it moves the result.
        summary: a row an outcome.
    """

    universes: pl.DataFrame
    choices: pl.DataFrame
    summary: pl.DataFrame
    facts: dict[str, Any]


# ---- grading


def multiverse(
    folder: Path | str, spec: Spec, *, timeline: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> Multiverse:
    """Grade a cohort in every universe.

    Each set of options is graded once, on the scales that read them all; what scales share of the record is prepared once.

    Args:
        folder: a timeline folder, or a results folder, whose own options are then the default.
        timeline: where the timeline of a results folder is, if it was moved.
        progress: called with the gradings done and all.
    Raises:
        InputError: no timeline there.
        OptionError: a group that does not exist.
    """
    store, base = _opened(Path(folder), timeline)
    changes = _distinct(spec, base)
    say = progress or (lambda done, all_: None)
    say(done := 0, all_ := len(store.files) * len(changes))
    parts: list[pl.DataFrame] = []
    for n in range(len(store.files)):
        opened_as: dict[tuple[Any, ...], Any] = {}
        for change, scales in changes.items():
            options = _options(base, change)
            key = tuple(options[o] for o in OPENED_BY)
            if key not in opened_as:
                opened_as[key] = opened(store.shard(n), codes_of(spec.scales), options)
            parts += _counts(spec, *opened_as[key], scales, options, change)
            say(done := done + 1, all_)
    counts = pl.concat(parts).group_by("outcome", "scale", "options", "group", "answer", "onset").agg(col("n").sum())
    return _found(spec, counts, store, base)


def _opened(folder: Path, timeline: Path | None) -> tuple[Store, Options]:
    if not (folder / "run.json").is_file():
        return open_timeline(folder), Options()
    results = open_results(folder)
    return results.timeline(timeline), Options(results.run["options"])


def _options(base: Options, change: Change) -> Options:
    return Options(dict(base) | dict(change))


def _distinct(spec: Spec, base: Options) -> dict[Change, list[Scale]]:
    """Sets of options with the scales to be graded under each: those of a family that reads all of them."""
    families: dict[str, list[Scale]] = {}
    for scale in spec.scales:
        families.setdefault(scale.family, []).append(scale)
    found: dict[Change, list[Scale]] = {(): spec.scales}
    for change in spec.changes:
        real = tuple((name, value) for name, value in change if base[name] != value)
        own = [
            s for several in families.values() if {n for n, _ in real} <= {o for s in several for o in s.options} for s in several
        ]
        if real and own:
            found[real] = own
    return found


def _counts(
    spec: Spec, rec: Any, courses: pl.DataFrame, scales: list[Scale], options: Options, change: Change
) -> list[pl.DataFrame]:
    """How many courses gave each answer, by group and day of onset, of every outcome on these scales."""
    result = graded(rec, courses, scales, options)
    there = {s.name for s in scales}
    groups = (
        lit("").alias("group")
        if spec.groups is None
        else group_of(result.subjects, spec.groups.by, spec.groups.cuts).cast(pl.String)
    )
    subjects = result.subjects.with_columns(groups)
    parts = []
    for word, several in spec.outcomes.items():
        for outcome in several:
            if not set(outcome.scales) <= there:
                continue
            own = (
                decided(subjects, result.worst, outcome)
                if spec.day is None
                else decided_by(subjects, result.grades, outcome, spec.day)
            )
            rows = own.select(*COURSE, "answer").join(subjects.select(*COURSE, "group"), on=COURSE)
            if outcome.over_time:  # of a window that is graded as a whole nobody knows the day
                first = first_days(subjects, result.grades, outcome).select(*COURSE, onset="day")
                rows = rows.join(first, on=COURSE, how="left").with_columns(onset=pl.when(col("answer") == "yes").then("onset"))
            else:
                rows = rows.with_columns(onset=lit(None, pl.Int32))
            tallied = rows.group_by("group", "answer", "onset").agg(n=pl.len().cast(pl.Int64))
            parts.append(tallied.select(
                lit(word).alias("outcome"), lit(outcome.family).alias("scale"), lit(_told(change)).alias("options"), "group", "answer", "onset", "n",
            ))  # fmt: skip
    return parts


def _told(change: Change) -> str:
    return "; ".join(f"{name}={value}" for name, value in change) or PLAIN


# ---- results


_BOUNDED = ("share", "low", "high", "least", "most")
UNIVERSES = {
    "outcome": pl.String, "scale": pl.String, "options": pl.String, "courses": pl.Int64, "yes": pl.Int64, "no": pl.Int64, "open": pl.Int64, "not_applicable": pl.Int64,
    **dict.fromkeys(_BOUNDED, pl.Float64), "onset": pl.Float64, "onset_low": pl.Float64, "onset_high": pl.Float64, "conclusion": pl.String,
}  # fmt: skip
COMPARED = {
    **{f"{who}_{what}": pl.Int64 for who in ("group", "reference") for what in ("yes", "no", "open")},
    **{f"difference{end}": pl.Float64 for end in ("", "_low", "_high", "_least", "_most")}, "difference_conclusion": pl.String,
}  # fmt: skip


def _found(spec: Spec, counts: pl.DataFrame, store: Store, base: Options) -> Multiverse:
    if spec.groups is not None:
        there = sorted(set(counts["group"].drop_nulls()))
        for name in (spec.groups.group, spec.groups.reference):
            if name not in there:
                raise OptionError(f"No course is of the group {name!r} of {spec.groups.by}. {nearest(name, there)}")
    rows = []
    parts = counts.partition_by("outcome", "scale", "options", as_dict=True)
    options = [PLAIN, *(_told(c) for c in _distinct(spec, base) if c)]
    for (word, several), told in product(spec.outcomes.items(), options):
        for outcome in several:
            own = parts.get((word, outcome.family, told))
            if own is not None:
                rows.append({"outcome": word, "scale": outcome.family, "options": told} | _universe(own, spec))
    schema = UNIVERSES | (COMPARED if spec.groups else {})
    universes = pl.DataFrame(rows, schema=schema, orient="row")
    choices = _choices(spec, universes)
    return Multiverse(universes, choices, _summary(spec, universes, choices), _facts(spec, store, base))


def _universe(own: pl.DataFrame, spec: Spec) -> dict[str, Any]:
    yes, no, undecided = _answers(own)
    row: dict[str, Any] = {
        "courses": yes + no + undecided, "yes": yes, "no": no, "open": undecided, "not_applicable": int(own.filter(answer="not applicable")["n"].sum()),
    }  # fmt: skip
    low, high = wilson(yes, yes + no)
    if row["courses"]:
        row |= {"least": yes / row["courses"], "most": (yes + undecided) / row["courses"]}
    if low is not None and high is not None and undecided <= MOST_OPEN * row["courses"]:
        row |= {
            "share": yes / (yes + no),
            "low": low,
            "high": high,
            "conclusion": None if spec.limit is None else _conclusion(low, high, spec.limit),
        }
    row |= dict(zip(("onset", "onset_low", "onset_high"), _median(own), strict=True))
    return row | (_between(own, spec.groups) if spec.groups else {})


def _answers(own: pl.DataFrame) -> tuple[int, int, int]:
    yes, no, undecided = (int(own.filter(answer=word)["n"].sum()) for word in ("yes", "no", "open"))
    return yes, no, undecided


def _conclusion(low: float, high: float, limit: float) -> str:
    return "more" if low > limit else "less" if high < limit else "not settled"


def _median(own: pl.DataFrame) -> tuple[float | None, float | None, float | None]:
    """The median day of onset of those who had it, with the exact interval of its ranks; the ends are null with fewer than six."""
    days = (
        own.filter(col("onset").is_not_null()).sort("onset").select(col("onset").repeat_by("n").explode()).to_series().to_list()
    )
    n = len(days)
    if not n:
        return None, None, None
    middle = (days[(n - 1) // 2] + days[n // 2]) / 2
    tail, rank = 0.0, 0  # as many of the lowest as half the courses could fall short of with 2.5 %
    while rank < n and tail + comb(n, rank) / 2**n <= 0.025:
        tail, rank = tail + comb(n, rank) / 2**n, rank + 1
    return (middle, float(days[rank - 1]), float(days[n - rank])) if rank else (middle, None, None)


def _between(own: pl.DataFrame, groups: Groups) -> dict[str, Any]:
    (yes, no, undecided), (yes0, no0, undecided0) = (_answers(own.filter(group=g)) for g in (groups.group, groups.reference))
    row: dict[str, Any] = dict(
        zip(
            [c for c in COMPARED if c.endswith(("_yes", "_no", "_open"))],
            (yes, no, undecided, yes0, no0, undecided0),
            strict=True,
        )
    )
    n, n0 = yes + no + undecided, yes0 + no0 + undecided0
    if not (n and n0):
        return row
    row |= {"difference_least": yes / n - (yes0 + undecided0) / n0, "difference_most": (yes + undecided) / n - yes0 / n0}
    if not (yes + no and yes0 + no0) or undecided > MOST_OPEN * n or undecided0 > MOST_OPEN * n0:
        return row
    gap, low, high = newcombe(yes, yes + no, yes0, yes0 + no0)
    return row | {
        "difference": gap,
        "difference_low": low,
        "difference_high": high,
        "difference_conclusion": _conclusion(low, high, 0.0),
    }


CHOICES = {
    "outcome": pl.String, "kind": pl.String, "scale": pl.String, "choice": pl.String, "share_default": pl.Float64, "share": pl.Float64, "moved": pl.Float64,
    "difference_default": pl.Float64, "difference": pl.Float64, "difference_moved": pl.Float64,
}  # fmt: skip


def _choices(spec: Spec, universes: pl.DataFrame) -> pl.DataFrame:
    """How far each choice moves the result: a scale against the default scale, options against the default of the same scale, and the undecided
    counted as yes against counted as no."""
    rows = []
    for word, several in spec.outcomes.items():
        own = universes.filter(outcome=word)
        plain = {r["scale"]: r for r in own.filter(options=PLAIN).iter_rows(named=True)}
        first = plain[several[0].family]
        rows.append(
            _moved(
                word,
                "missing data",
                first["scale"],
                "undecided as yes, not as no",
                _ends_of(first, "least"),
                _ends_of(first, "most"),
            )
        )
        for r in own.iter_rows(named=True):
            if r["options"] != PLAIN:
                rows.append(_moved(word, "option", r["scale"], r["options"], plain[r["scale"]], r))
            elif r["scale"] != first["scale"]:
                rows.append(_moved(word, "scale", r["scale"], f"{r['scale']}, not {first['scale']}", first, r))
    order = ["_place", "_size", "scale", "choice"]
    place = {word: n for n, word in enumerate(spec.outcomes)}
    main = "difference_moved" if spec.groups else "moved"
    table = pl.DataFrame(rows, schema=CHOICES, orient="row").with_columns(
        _place=col("outcome").replace_strict(place, return_dtype=pl.Int64), _size=-col(main).abs().fill_null(0).round(12)
    )
    return (
        table.sort(order, maintain_order=True)
        .drop("_place", "_size")
        .select(*(c for c in CHOICES if spec.groups or "difference" not in c))
    )


def _ends_of(row: dict[str, Any], end: str) -> dict[str, Any]:
    return {"share": row[end], "difference": row.get(f"difference_{end}")}


def _moved(word: str, kind: str, scale: str, choice: str, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    row = {"outcome": word, "kind": kind, "scale": scale, "choice": choice}
    for what, moved in (("share", "moved"), ("difference", "difference_moved")):
        a, b = before.get(what), after.get(what)
        row |= {f"{what}_default": a, what: b, moved: None if a is None or b is None else b - a}
    return row


def _summary(spec: Spec, universes: pl.DataFrame, choices: pl.DataFrame) -> pl.DataFrame:
    """Of each outcome: the range over the universes, what moves it most, and in how many universes one would conclude otherwise."""
    what, moved = ("difference", "difference_moved") if spec.groups else ("share", "moved")
    conclusion = "difference_conclusion" if spec.groups else "conclusion"
    rows = []
    for word, several in spec.outcomes.items():
        own = universes.filter(outcome=word)
        default = own.filter((col("options") == PLAIN) & (col("scale") == several[0].family)).row(0, named=True)
        known = own.filter(col(what).is_not_null()).sort(what, "scale", "options", maintain_order=True)
        row: dict[str, Any] = {
            "outcome": word,
            "universes": own.height,
            "unsettled": own.filter(col(what).is_null()).height,
            "result": what,
            "default": default[what],
            "default_scale": default["scale"],
        }
        if known.height:
            row |= {"least": known[what][0], "least_in": _name(known, 0), "most": known[what][-1], "most_in": _name(known, -1)}
        for kind in ("scale", "option", "missing data"):
            most = choices.filter((col("outcome") == word) & (col("kind") == kind) & (col(moved).abs() > 1e-9)).head(1)
            key = kind.partition(" ")[0]
            row |= {f"by_{key}": most[moved][0] if most.height else None}
            if kind != "missing data":
                row |= {
                    f"by_{key}_choice": (most["choice"][0] if kind == "scale" else f"{most['scale'][0]}: {most['choice'][0]}")
                    if most.height
                    else None
                }
        if (spec.groups or spec.limit is not None) and default[conclusion] is not None:
            row |= {
                "conclusion": default[conclusion],
                "other_conclusion": known.filter(col(conclusion) != default[conclusion]).height,
            }
        if spec.groups and default["difference"] is not None:
            sign = col("difference").round(12).sign()
            row |= {
                "other_sign": known.filter(sign * round(default["difference"], 12) < 0).height,
                "either_sign": known.filter((col("difference_least") < 0) & (col("difference_most") > 0)).height,
            }
        rows.append(row)
    return pl.DataFrame(rows, schema=SUMMARY, orient="row")


SUMMARY = {
    "outcome": pl.String, "universes": pl.Int64, "unsettled": pl.Int64, "result": pl.String, "default_scale": pl.String, "default": pl.Float64, "least": pl.Float64, "least_in": pl.String,
    "most": pl.Float64, "most_in": pl.String, "by_scale": pl.Float64, "by_scale_choice": pl.String, "by_option": pl.Float64, "by_option_choice": pl.String,
    "by_missing": pl.Float64, "conclusion": pl.String, "other_conclusion": pl.Int64, "other_sign": pl.Int64, "either_sign": pl.Int64,
}  # fmt: skip


def _name(universes: pl.DataFrame, n: int) -> str:
    return f"{universes['scale'][n]}: {universes['options'][n]}"


def _facts(spec: Spec, store: Store, base: Options) -> dict[str, Any]:
    read = sorted({o for s in spec.scales for o in s.options})
    told = (
        None
        if spec.groups is None
        else {
            "by": spec.groups.by,
            "group": spec.groups.group,
            "reference": spec.groups.reference,
            "cuts": [str(c) for c in spec.groups.cuts],
        }
    )
    return {
        "aftercar": __version__, "title": spec.title, "outcomes": {word: [o.family for o in several] for word, several in spec.outcomes.items()},
        "day": spec.day, "limit": spec.limit, "groups": told, "rules": [s.rules for s in spec.scales], "default_options": {n: base[n] for n in read},
        "timeline_fingerprint": store.fingerprint, "timeline_note": store.info.get("banner"), "simulated": store.simulated,
        "note": "Derived by software, not adjudicated.",
    }  # fmt: skip


def write_multiverse(found: Multiverse, folder: Path, figures: Iterable[tuple[str, str]] = ()) -> None:
    """Write `universes.csv`, `choices.csv`, `summary.csv`, figures and `multiverse.json` into a folder, the same bytes for the same cohort and spec.

    Args:
        figures: name and SVG of each.
    """
    for name in ("universes", "choices", "summary"):
        table: pl.DataFrame = getattr(found, name)
        labelled(table, bool(found.facts["simulated"])).write_csv(folder / f"{name}.csv", float_precision=6)
    for name, svg in figures:
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    write_facts(folder / MARKER, found.facts)
