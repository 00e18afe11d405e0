"""A results folder as counts that may leave the site: no subject, no date, no free text, and no small cell."""

from __future__ import annotations

import hashlib
import re

import polars as pl
from polars import col, lit

from aftercar import __version__
from aftercar.cohort.incidence import first_days
from aftercar.cohort.outcome import COURSE, Outcome
from aftercar.errors import InputError, OptionError
from aftercar.evidence.select import product_names
from aftercar.grade.results import Results
from aftercar.grade.run import SCALES
from aftercar.sites.counts import BANDS, CLASSES, KIND, SCHEMA, WHAT, YES, Band, Cell, ScaleCounts, Site
from aftercar.sites.hide import Sum, hidden

OTHER = "other"  # also where it is not recorded
DISEASES = {
    "multiple myeloma": r"myeloma|plasma cell|\bMM\b",
    "mantle cell lymphoma": r"mantle|\bMCL\b",
    "follicular lymphoma": r"follicular|\bFL\b",
    "chronic lymphocytic leukaemia": r"chronic lymphocytic|\bCLL\b|\bSLL\b",
    "acute lymphoblastic leukaemia": r"\b(B-)?ALL\b|lymphoblastic",
    "large B-cell lymphoma": r"large b.?cell|\bD?LBCL\b|\bHGBL\b|\bPMBCL\b",
}
MIN_CELLS = (2, 100)


def summarise(results: Results, *, min_cell: int = 5, site: str | None = None) -> Site:
    """Count a results folder.

    The first infusion of each subject counts, so that a cell counts persons.

    Args:
        min_cell: cells of 1 to one less are hidden.
        site: how the site is called; by default after the fingerprint of its timeline.
    Raises:
        OptionError: the name or the least cell cannot be.
        InputError: there are fewer subjects than the least cell.
    """
    if not MIN_CELLS[0] <= min_cell <= MIN_CELLS[1]:
        raise OptionError(f"--min-cell is a whole number from {MIN_CELLS[0]} to {MIN_CELLS[1]}.")
    if site is not None and not re.fullmatch(r"[\w][\w .-]{0,39}", site):
        raise OptionError("--site: up to 40 letters, digits, blanks, dots and hyphens, a letter or digit first.")
    courses = (
        results.subjects.filter(col("day0").is_not_null())
        .sort("subject_id", "infusion")
        .unique("subject_id", keep="first", maintain_order=True)
    )
    if courses.height < min_cell:
        raise InputError(
            f"{results.folder}: fewer than {min_cell} subjects with an infusion; any count of them would be a small cell. Nothing was written."
        )
    courses = courses.with_columns(
        product=_known(courses["product"], _product), disease=_known(courses["disease"], _disease)
    )  # fmt: skip
    for by in ("product", "disease"):
        courses = courses.with_columns(_merged(courses[by], min_cell))
    fingerprint = hashlib.sha256(f"aftercar {results.run.get('timeline_fingerprint')}".encode()).hexdigest()[:16]
    groups = {
        by: dict(sorted(courses[by].value_counts().iter_rows())) for by in ("product", "disease") if courses[by].n_unique() > 1
    }
    scales = {}
    graded = results.graded
    for family in dict.fromkeys(s.family for s in SCALES.values()):
        if set(Outcome(family).scales) <= graded:
            scales[family] = _scale(results, courses, family, groups, min_cell)
    return Site(
        KIND, SCHEMA, __version__, site or f"site-{fingerprint[:6]}", fingerprint, results.simulated, min_cell, courses.height, groups, scales
    )  # fmt: skip


# ---- groups


def _known(words: pl.Series, name: object) -> pl.Series:
    """Words of a record as names that are ours; all others are `OTHER`, so that no free text leaves the site."""
    names = {w: name(w) for w in words.drop_nulls().unique()}  # type: ignore[operator]
    return (
        words.replace_strict(names, default=OTHER, return_dtype=pl.String).fill_null(OTHER) if names else words.fill_null(OTHER)
    )


def _product(word: str) -> str:
    names, targets = product_names(word)
    return next((n for n in names if n.endswith("-cel")), OTHER) if targets else OTHER


def _disease(word: str) -> str:
    return next((name for name, pattern in DISEASES.items() if re.search(pattern, word, re.IGNORECASE)), OTHER)


def _merged(groups: pl.Series, min_cell: int) -> pl.Series:
    """Groups of fewer than `min_cell` courses put together with `OTHER`, and the smallest of the rest too where that is still a small cell."""
    sizes = dict(groups.value_counts().sort("count", groups.name).iter_rows())
    small = [g for g, n in sizes.items() if n < min_cell and g != OTHER]
    together = sizes.get(OTHER, 0) + sum(sizes[g] for g in small)
    rest = [g for g in sizes if g not in small and g != OTHER]
    while 0 < together < min_cell and rest:
        small.append(rest.pop(0))
        together += sizes[small[-1]]
    return groups.replace(dict.fromkeys(small, OTHER)) if small else groups


# ---- one scale


def _scale(results: Results, courses: pl.DataFrame, family: str, groups: dict[str, dict[str, int]], min_cell: int) -> ScaleCounts:
    """The counts of a scale with its small cells hidden, those that follow from several tables together included."""
    outcome = Outcome(family)
    own = results.worst.filter(col("scale").is_in(outcome.scales))
    rows = (
        courses.select(*COURSE, "product", "disease")
        .join(_classes(own), on=COURSE, how="left")
        .with_columns(col("class").fill_null("not applicable"))
    )
    table = _Table()
    whole = table.public(len(rows))
    worst = {c: table.add(int((rows["class"] == c).sum())) for c in CLASSES}
    table.sum(whole, worst.values())
    table.stage = 1
    onset = _onset(results, courses, outcome, table, whole, worst) if outcome.over_time else {}
    table.stage = 2
    by: dict[str, dict[str, dict[str, int]]] = {}
    for name, sizes in groups.items():
        by[name] = {}
        for group, size in sizes.items():
            inside = rows.filter(col(name) == group)
            cells = {c: table.add(int((inside["class"] == c).sum())) for c in CLASSES}
            table.sum(table.public(size), cells.values())
            by[name][group] = cells
        for c in CLASSES:
            table.sum(worst[c], (cells[c] for cells in by[name].values()))
    gone = hidden(table.values, table.sums, min_cell, secret=table.secret, public=table.told, stage=table.stages)

    def shown(place: int) -> Cell:
        return None if place in gone else table.values[place]

    read = {o for s in outcome.scales for o in SCALES[s].options}
    return ScaleCounts(
        toxicity=outcome.toxicity,
        rules=sorted(results.rules(outcome.scales)),
        options={k: v for k, v in sorted(results.run["options"].items()) if k in read},
        worst={c: shown(p) for c, p in worst.items()},
        by={name: {g: {c: shown(p) for c, p in cells.items()} for g, cells in told.items()} for name, told in by.items()},
        onset={cut: _bands(table.values[whole], [{w: shown(p) for w, p in cells.items()} for cells in bands]) for cut, bands in onset.items()},
    )  # fmt: skip


class _Table:
    """Cells with the sums that hold between them."""

    def __init__(self) -> None:
        self.values: list[int] = []
        self.sums: list[Sum] = []
        self.secret: set[int] = set()
        self.told: set[int] = set()
        self.stage = 0  # of the cells that are added now
        self.stages: list[int] = []

    def add(self, value: int) -> int:
        """A cell; its place."""
        self.values.append(value)
        self.stages.append(self.stage)
        return len(self.values) - 1

    def public(self, value: int) -> int:
        """A cell that the file tells in any case; its place."""
        self.told.add(place := self.add(value))
        return place

    def sum(self, total: int, parts: object) -> None:
        """Say that a cell is the sum of others."""
        self.sums.append(Sum(total, tuple(parts)))  # type: ignore[arg-type]

    def apart(self, larger: int, smaller: int) -> None:
        """Say that one cell holds another, so that a reader could take their difference: a cell that nobody is told."""
        rest = self.add(self.values[larger] - self.values[smaller])
        self.secret.add(rest)
        self.sum(larger, (smaller, rest))


def _classes(own: pl.DataFrame) -> pl.DataFrame:
    """`subject_id, infusion, class`: between which of 0, 1-2 and 3-5 the worst grade lies."""
    status = col("status").cast(pl.String)
    low, high = (pl.when(status == "not_met").then(0).otherwise(c) for c in ("grade", "grade_upper"))
    first = pl.when(low >= 3).then(lit("3")).when(low >= 1).then(lit("1")).otherwise(lit("0"))
    last = pl.when(high >= 3).then(lit("5")).when(high >= 1).then(lit("2")).otherwise(lit("0"))
    name = pl.when(last == "0").then(lit("0")).otherwise(pl.concat_str(first, lit("-"), last))
    return own.select(*COURSE, pl.when(status == "not_applicable").then(lit("not applicable")).otherwise(name).alias("class"))


def _onset(
    results: Results, courses: pl.DataFrame, outcome: Outcome, table: _Table, whole: int, worst: dict[str, int]
) -> dict[str, list[dict[str, int]]]:
    """Cells by least grade and days: what happened first. Those that never reached the higher grade hold those that never reached the lower one."""
    grades = results.grades(outcome.scales)
    found: dict[str, list[dict[str, int]]] = {}
    for cut in YES:
        first = first_days(results.subjects, grades, Outcome(outcome.family, cut)).join(
            courses.select(COURSE), on=COURSE, how="semi"
        )
        bands = [_band(first, a, b, table) for a, b in BANDS]
        table.sum(whole, (p for cells in bands for p in cells.values()))
        found[str(cut)] = bands
        events = sum(table.values[cells["events"]] for cells in bands)
        if events == sum(table.values[worst[c]] for c in YES[cut]):  # the same courses, so the same sum
            total = table.add(events)
            table.secret.add(total)
            table.sum(total, (cells["events"] for cells in bands))
            table.sum(total, (worst[c] for c in YES[cut]))
    lower, higher = found.values()
    for a, b in zip(lower, higher, strict=True):
        for what in ("competing", "censored"):
            table.apart(b[what], a[what])
    return found


def _band(first: pl.DataFrame, begin: int, end: int | None, table: _Table) -> dict[str, int]:
    within = first.filter((col("day") >= begin) & (col("day") <= end if end is not None else lit(True)))
    return {
        word: table.add(int((within["what"] == what).sum()))
        for word, what in zip(WHAT, ("event", "competing", "censored"), strict=True)
    }


def _bands(n: int, told: list[dict[str, Cell]]) -> list[Band]:
    bands, at_risk = [], n
    left: Cell = at_risk
    for (first, last), cells in zip(BANDS, told, strict=True):
        bands.append(Band(first, last, left, cells["events"], cells["competing"], cells["censored"]))
        gone = [c for c in cells.values() if c is not None]
        left = left - sum(gone) if left is not None and len(gone) == len(cells) else None
    return bands
