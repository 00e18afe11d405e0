"""Two scales of one toxicity side by side: who moves where, how far they agree, and what it does to the counts.

A course (subject and infusion) is compared only where both scales give a settled grade. Open ones (missing data leave a higher grade
possible) have a row or column of their own, and never count as agreement.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
from polars import col, lit

from aftercar import __version__
from aftercar.errors import InputError, OptionError, nearest
from aftercar.files import replace_folder
from aftercar.frames import labelled
from aftercar.grade.adjudicate import kappas
from aftercar.grade.options import Options
from aftercar.grade.results import Results, open_results, timeline_of
from aftercar.grade.run import SCALES, grade_timeline, named_in_part
from aftercar.intervals import wilson
from aftercar.timeline.store import open_timeline

COURSE = ["subject_id", "infusion"]
CUTS = (1, 2, 3)
MARKER = "regrading.json"
OPEN, NOT_APPLICABLE, NOT_GRADED = "open", "not applicable", "not graded"


@dataclass(frozen=True)
class Regraded:
    """The comparison. Each frame is one of `docs/regrading.md`.

    Attributes:
        shift: `from, to, n, subjects`: a row for each pair of worst grades that occurs; `open` stands for an unsettled one.
        agreement: one row: `n, agreed, raw, kappa, kappa_linear, kappa_quadratic, reason`, of those settled on both.
        incidence: a row for each cut: of those decided on both, how many reached it, by either scale.
        times: a row each for onset and duration of first episodes, by either scale and paired.
        ungraded: `from, to, n, subjects`: the pairs with a side that is open, not applicable or not graded.
        subjects: a row a course: the grades behind its cell.
        facts: scales, rules, options and notes.
    """

    shift: pl.DataFrame
    agreement: pl.DataFrame
    incidence: pl.DataFrame
    times: pl.DataFrame
    ungraded: pl.DataFrame
    subjects: pl.DataFrame
    facts: dict[str, Any]


def regrade(
    folder: Path | str,
    from_: str,
    to: str,
    *,
    timeline: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Regraded:
    """Compare two scales over a results folder.

    Its own tables serve where it was graded with both; else its timeline is graded again with both, under its own options.

    Args:
        folder: a results folder.
        from_, to: scales, such as `crs_penn2018`, or loosely `penn2018`.
        timeline: where the timeline is now, if it was moved.
        progress: called with the shards done and all, where the timeline is graded again.
    Raises:
        InputError: no results there, or the timeline is gone.
        OptionError: a scale that does not exist, or two that cannot be compared.
    """
    results = open_results(folder)
    pair = compared(from_, to)
    again = not all(set(_members(family)) <= results.graded for family in pair)
    worst, episodes = _graded_again(results, pair, timeline, progress) if again else (results.worst, results.episodes)
    sides = [(_of(worst, family), _of(episodes, family)) for family in pair]
    (worst_a, episodes_a), (worst_b, episodes_b) = sides
    found = compare(worst_a, worst_b, episodes_a, episodes_b)
    used = {k: v for side, _ in sides for text in side["options"].unique() for k, v in json.loads(text).items()}
    facts = {
        "aftercar": __version__,
        "from": _label(pair[0]),
        "to": _label(pair[1]),
        "rules": sorted({rule for side, _ in sides for rule in side["rules"].unique()}),
        "options": dict(sorted(used.items())),
        "graded_again": again,
        "timeline_note": results.run.get("timeline_note"),
        "simulated": results.simulated,
        "note": "Derived by software, not adjudicated.",
    }
    return replace(found, facts=facts)


# ---- which two


def compared(from_: str, to: str) -> tuple[str, str]:
    """The two scales (families: `icans` holds the adult and the children's scale) that a user means; of one toxicity.

    Raises:
        OptionError: one does not exist, both are the same, or they are not of one toxicity.
    """
    first, second = _candidates(from_), _candidates(to)
    pairs = sorted({(a, b) for a in first for b in second if a != b and first[a] == second[b]})
    if len(pairs) == 1:
        return pairs[0]
    if len(pairs) > 1:
        raise OptionError(f"{from_!r} to {to!r} may mean {'; '.join(f'{a} to {b}' for a, b in pairs)}. Name the scales in full.")
    why = "are the same scale" if set(first) & set(second) else "grade different toxicities"
    raise OptionError(f"{from_!r} and {to!r} {why}. {_comparable()}")


def _candidates(name: str) -> dict[str, str]:
    """Family -> toxicity of the scales that a loose name fits."""
    said = name.strip().lower().replace("-", "_")
    fits = [s for s in SCALES.values() if said in (s.name, s.family)] or named_in_part(said)
    if not fits:
        hint = nearest(said, {*SCALES, *(s.family for s in SCALES.values())})
        raise OptionError(f"No scale is called {name!r}. {hint or _comparable()}")
    return {s.family: s.toxicity for s in fits}


def _comparable() -> str:
    families: dict[str, list[str]] = {}
    for scale in SCALES.values():
        if scale.family not in (known := families.setdefault(scale.toxicity, [])):
            known.append(scale.family)
    lists = [f"{toxicity}: {', '.join(_label(f) for f in found)}" for toxicity, found in families.items() if len(found) > 1]
    return f"These can be compared with one another: {'; '.join(lists)}." if lists else "No toxicity has two scales yet."


def _label(family: str) -> str:
    """A family as a user writes it: by its only scale, or by its own name."""
    members = _members(family)
    return members[0] if len(members) == 1 else family


def _members(family: str) -> list[str]:
    return [s.name for s in SCALES.values() if s.family == family]


def _of(table: pl.DataFrame, family: str) -> pl.DataFrame:
    return table.filter(col("scale").is_in(_members(family)))


def _graded_again(
    results: Results,
    pair: tuple[str, str],
    timeline: Path | str | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`worst` and `episodes` of the timeline by both scales, shard by shard, with the options of the run."""
    store = open_timeline(timeline_of(results.folder, results.run, Path(timeline) if timeline else None))
    names, options = [n for family in pair for n in _members(family)], Options(results.run["options"])
    worst: list[pl.DataFrame] = []
    episodes: list[pl.DataFrame] = []
    for done, shard in enumerate(store.shards(), 1):
        result = grade_timeline(shard, names, options)
        worst.append(result.worst)
        episodes.append(result.episodes)
        if progress:
            progress(done, len(store.files))
    every = pl.concat(worst)
    if every.select(pl.struct(*COURSE, "toxicity", "scale").is_duplicated().any()).item():
        raise InputError("The rows of a subject stand in several files. `aftercar import` gathers them.")
    return every, pl.concat(episodes)


# ---- the comparison


def compare(worst_a: pl.DataFrame, worst_b: pl.DataFrame, episodes_a: pl.DataFrame, episodes_b: pl.DataFrame) -> Regraded:
    """Compare two gradings of the same courses: two scales, or one scale under two sets of options.

    Args:
        worst_a, worst_b: rows of `worst`, one a course, of the one and the other grading.
        episodes_a, episodes_b: rows of `episodes`.
    """
    sides = [w.select(*COURSE, "grade", "grade_upper", _cell().alias("cell")) for w in (worst_a, worst_b)]
    for side in sides:
        if side.select(pl.struct(COURSE).is_duplicated().any()).item():
            raise InputError("A course has several worst grades on one scale. Choose one of them first.")
    subjects = sides[0].join(sides[1], on=COURSE, how="full", coalesce=True, suffix="_to").sort(COURSE)
    subjects = subjects.select(
        *COURSE,
        pl.col("cell").fill_null(NOT_GRADED).alias("from"), pl.col("cell_to").fill_null(NOT_GRADED).alias("to"),
        grade_from="grade", grade_upper_from="grade_upper", grade_to="grade_to", grade_upper_to="grade_upper_to",
    )  # fmt: skip
    absent = pl.any_horizontal(col(c).is_in([NOT_APPLICABLE, NOT_GRADED]) for c in ("from", "to"))
    unsettled = absent | (col("from") == OPEN) | (col("to") == OPEN)
    both = subjects.filter(~absent)
    return Regraded(
        shift=_cells(both),
        agreement=_agreement(subjects.filter(~unsettled)),
        incidence=_incidence(both),
        times=_times(both.select(COURSE), episodes_a, episodes_b),
        ungraded=_cells(subjects.filter(unsettled)),
        subjects=subjects,
        facts={},
    )


def _cell() -> pl.Expr:
    """The worst grade as a row or column of the shift table."""
    return (
        pl.when(col("status") == "not_applicable").then(lit(NOT_APPLICABLE))
        .when((col("status") == "incomplete") | (col("grade") < col("grade_upper"))).then(lit(OPEN))
        .otherwise(col("grade").cast(pl.String))
    )  # fmt: skip


def _cells(subjects: pl.DataFrame) -> pl.DataFrame:
    """Pairs that occur, with their courses counted and the subjects behind them (each once)."""
    found = subjects.group_by("from", "to").agg(n=pl.len().cast(pl.Int64), subjects=col("subject_id").unique().sort())
    return found.sort("from", "to")


def _agreement(settled: pl.DataFrame) -> pl.DataFrame:
    cross = settled.group_by(grade_a="grade_from", grade_b="grade_to").len("n").with_columns(what=lit("worst grade"))
    found = kappas(cross, ["what"]).drop("what")
    if found.height:
        return found
    nothing = {"n": 0, "agreed": 0, "reason": "no course has a settled grade on both"}
    return pl.DataFrame([nothing], schema=found.schema)


def _incidence(both: pl.DataFrame) -> pl.DataFrame:
    """How many reached each cut, of those in whom both scales decide it: an open grade of 2 to 4 decides "2 or more"."""
    rows: list[dict[str, Any]] = []
    for cut in CUTS:
        reached = {side: col(f"grade_{side}") >= cut for side in ("from", "to")}
        decided = pl.all_horizontal(hit | (col(f"grade_upper_{side}") < cut) for side, hit in reached.items())
        known = both.filter(decided)
        row: dict[str, Any] = {"grade_at_least": cut, "n": known.height, "undecided": both.height - known.height}
        for side, hit in reached.items():
            count = int(known.select(hit.sum()).item())
            low, high = wilson(count, known.height)
            share = count / known.height if known.height else None
            row |= {f"reached_{side}": count, f"share_{side}": share, f"low_{side}": low, f"high_{side}": high}
        row["difference"] = row["share_to"] - row["share_from"] if known.height else None
        rows.append(row)
    numbers = {
        n: pl.Int64 if n in ("grade_at_least", "n", "undecided") or n.startswith("reached") else pl.Float64 for n in rows[0]
    }
    return pl.DataFrame(rows, schema=numbers)


def _times(courses: pl.DataFrame, episodes_a: pl.DataFrame, episodes_b: pl.DataFrame) -> pl.DataFrame:
    """Onset and duration of first episodes: median and quartiles by either scale, and of the differences where both have one.

    A duration whose end was not seen is counted (`censored`), and left out of the median.
    """
    firsts: list[pl.DataFrame] = []
    for table in (episodes_a, episodes_b):
        own = table.join(courses, on=COURSE, how="semi").sort(*COURSE, "onset")
        own = own.unique(COURSE, keep="first", maintain_order=True)
        ended = pl.when(~col("censored")).then("duration_d")
        firsts.append(own.select(*COURSE, "censored", onset_day=col("onset_day").cast(pl.Float64), duration_d=ended))
    pairs = firsts[0].join(firsts[1], on=COURSE, suffix="_to")
    rows: list[pl.DataFrame] = []
    for measure in ("onset_day", "duration_d"):
        unseen = [first["censored"].sum() if measure == "duration_d" else 0 for first in firsts]
        change = pairs.select((col(f"{measure}_to") - col(measure)).alias(measure))
        rows.append(
            pl.concat(
                [
                    pl.DataFrame({"measure": [measure]}),
                    _spread(firsts[0], measure, "from"), pl.DataFrame({"censored_from": [unseen[0]]}),
                    _spread(firsts[1], measure, "to"), pl.DataFrame({"censored_to": [unseen[1]]}),
                    _spread(change, measure, "difference"),
                ],
                how="horizontal",
            )
        )  # fmt: skip
    return pl.concat(rows, how="vertical_relaxed")


def _spread(frame: pl.DataFrame, column: str, of: str) -> pl.DataFrame:
    known = col(column).drop_nulls()
    quartiles = {"q1": 0.25, "median": 0.5, "q3": 0.75}
    return frame.select(
        known.len().cast(pl.Int64).alias(f"n_{of}"),
        *(known.quantile(q, "linear").cast(pl.Float64).alias(f"{name}_{of}") for name, q in quartiles.items()),
    )


# ---- on disk


def write_regraded(found: Regraded, out: Path | str) -> None:
    """`shift.csv`, `subjects.csv` and `regrading.json`; a former result is replaced whole.

    Raises:
        InputError: the folder holds something else.
    """
    with replace_folder(Path(out), marker=MARKER) as fresh:
        for name, table in (("shift", found.shift.drop("subjects")), ("subjects", found.subjects)):
            labelled(table, bool(found.facts.get("simulated"))).write_csv(fresh / f"{name}.csv")
        summary = found.facts | {
            "agreement": found.agreement.row(0, named=True),
            "incidence": found.incidence.to_dicts(),
            "times": found.times.to_dicts(),
            "ungraded": found.ungraded.drop("subjects").to_dicts(),
        }
        (fresh / MARKER).write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
