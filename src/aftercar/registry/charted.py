"""What the derivations read: the record, the grades and the episodes of courses, cut to the reporting periods; and answers in one shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.grade.adjudicate import adjudicated
from aftercar.grade.findings import covered
from aftercar.grade.options import Options
from aftercar.grade.run import Result
from aftercar.registry.forms import UNKNOWN
from aftercar.timeline.state import DAY, HOUR, SPAN, Record, elsewhere

SURE_D = 14  # "no" is said of CRS and neurotoxicity only where these days from the infusion on were charted without a gap
SURE_GAP_H = 12  # and a gap is a stretch longer than this in which what was charted before no longer stands
_GAPS = ("stale", "earlier_gap")

ANSWERS: dict[str, Any] = {
    "case": pl.UInt32,
    "answer": pl.String,
    "at": pl.Int64,
    "reason": pl.String,
    "evidence": pl.List(pl.Int64),
}
NO_IDS = lit([], pl.List(pl.Int64))


@dataclass(frozen=True)
class Charted:
    """Whole subjects and their reporting periods.

    Attributes:
        cases: `periods.cases` of those with something to report.
        result: the tables of grading.
        last_seen: `case, at, event_id`: the last row charted of a case, of whatever code.
        statements: what people said of the timeline.
    """

    rec: Record
    options: Options
    cases: pl.DataFrame
    result: Result
    last_seen: pl.DataFrame
    statements: pl.DataFrame
    _made: dict[object, Any] = field(default_factory=dict, repr=False)

    def once(self, key: object, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        """What several derivations ask for, made once."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    @property
    def bounds(self) -> pl.DataFrame:
        """`case, course, from_at, to_at`."""
        return self.cases.select("case", "course", "from_at", "to_at")

    def events(self, *codes: str, counted: bool = True) -> pl.DataFrame:
        """Rows of these codes charted within each case, with its `case`, sorted by time.

        Args:
            counted: leave out what a person put down to another cause.
        """
        rows = self.rec.of(*codes)
        if counted:
            rows = rows.filter(~elsewhere(self.rec))
        rows = rows.join(self.bounds, on="course", how="inner", maintain_order="left")
        return rows.filter((col("at") >= col("from_at")) & (col("at") < col("to_at"))).sort("at", "event_id")

    def grades(self, *scales: str) -> pl.DataFrame:
        """Rows of grades on these scales cut to the cases: `case, at, until` and the columns of grades; those that do not apply are left out."""
        return self.once(("grades", scales), lambda: self._cut(self.result.grades, scales, "start", "end"))

    def episodes(self, *scales: str) -> pl.DataFrame:
        """Episodes that are there in each case: `case, onset_at, end_at` (null: not seen) and the columns of episodes, uncut."""
        return self.once(("episodes", scales), lambda: self._episodes(scales))

    def _on_axis(self, rows: pl.DataFrame, *columns: str) -> pl.DataFrame:
        places = self.rec.courses.select("subject_id", "infusion", "course", "base")
        rows = rows.join(places, on=["subject_id", "infusion"], how="inner", maintain_order="left")
        return rows.with_columns((col("base") + col(c).dt.epoch("s")).alias(f"{c}_at") for c in columns)

    def _cut(self, table: pl.DataFrame, scales: tuple[str, ...], start: str, end: str) -> pl.DataFrame:
        own = table.filter(col("scale").is_in(scales) & (col("status").cast(pl.String) != "not_applicable"))
        rows = self._on_axis(own, start, end).join(self.bounds, on="course", how="inner", maintain_order="left")
        rows = rows.with_columns(until=col(f"{end}_at").fill_null(col("to_at")), at=pl.max_horizontal(f"{start}_at", "from_at"))
        rows = rows.with_columns(
            until=pl.min_horizontal("until", "to_at"), gap=col("flags").list.set_intersection(list(_GAPS)).list.len() > 0
        )
        # The last row of a record may last no time at all, as a death does.
        there = (col("until") > col("at")) | (col(f"{start}_at") == col("to_at") - 1)
        return rows.filter(there & (col(f"{start}_at") < col("to_at"))).sort("case", "at")

    def _episodes(self, scales: tuple[str, ...]) -> pl.DataFrame:
        own = self.result.episodes.filter(col("scale").is_in(scales) & (col("max_grade") >= 1))
        rows = self._ended(self._on_axis(own, "onset", "resolution"), scales)
        rows = rows.join(self.bounds, on="course", how="inner", maintain_order="left")
        there = (col("onset_at") < col("to_at")) & (col("end_at") > col("from_at")).fill_null(True)
        # Of one that nothing but the death tells of, the death is no onset.
        there = there & ~((col("max_grade") == 5) & (col("onset_at") >= col("to_at") - 1))
        # One whose end nobody saw is not known to go on: only its own period holds it.
        return rows.filter(there & (col("end_at").is_not_null() | (col("onset_at") >= col("from_at")))).sort("case", "onset_at")

    def _ended(self, episodes: pl.DataFrame, scales: tuple[str, ...]) -> pl.DataFrame:
        """Episodes with `end_at`: the first time from the resolution on at which what was charted leaves no grade possible.

        The end of an episode is where its lower bound ends, the earliest that it can be: a fever may still count then, and sedation hide what there is.
        """
        own = self.result.grades.filter(col("scale").is_in(scales) & (col("status").cast(pl.String) != "not_applicable"))
        rows = self._on_axis(own, "start").select("course", "scale", "flags", "upper_assessed", at="start_at").sort("at")
        clear = (col("upper_assessed") == 0) & ~col("flags").list.contains("stale")
        held = rows.with_columns(clear=clear).select("course", "scale", "at", "clear")
        key = ["course", "scale"]
        ends = (
            episodes.sort("resolution_at")
            .join_asof(held, left_on="resolution_at", right_on="at", by=key, check_sortedness=False)
            .drop("at")
        )
        after = held.filter("clear").select(*key, later="at")
        ends = ends.join_asof(
            after, left_on="resolution_at", right_on="later", by=key, strategy="forward", check_sortedness=False
        )
        return ends.with_columns(end_at=pl.when("clear").then("resolution_at").otherwise("later")).drop(
            "resolution_at", "clear", "later"
        )

    def spans(self, *scales: str) -> pl.DataFrame:
        """The stretches of a toxicity within each case: `case, course, begin, end`, an end that nobody saw at the end of the case."""
        return self.episodes(*scales).select(
            "case", "course",
            begin=pl.max_horizontal("onset_at", "from_at"),
            end=pl.min_horizontal(col("end_at").fill_null(col("to_at")), "to_at"),
        )  # fmt: skip

    def span(self, *scales: str) -> pl.DataFrame:
        """From the first beginning to the last end: one row a case of `spans`."""
        return (
            self.spans(*scales)
            .group_by("case", maintain_order=True)
            .agg(col("course").first(), col("begin").min(), col("end").max())
        )

    def within(self, rows: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
        """Intervals (`course, at, until`) cut to spans; each keeps its beginning of old as `since`, and has the `case`."""
        both = rows.join(spans, on="course", how="inner", maintain_order="left")
        both = both.filter((col("at") < col("end")) & (col("until") > col("begin")))
        return both.with_columns(
            since="at", at=pl.max_horizontal("at", "begin"), until=pl.min_horizontal("until", "end")
        ).sort("case", "at")  # fmt: skip

    def complete(self, stream: str, spans: pl.DataFrame) -> pl.DataFrame:
        """The cases throughout whose span (`case, course, begin, end`) a stream of the record is said to be complete: `case`."""
        whole = covered(self.rec, stream).select("at", "until", course=col("at") // SPAN)
        held = self.within(whole, spans).group_by("case").agg(had=(col("until") - col("at")).sum())
        return spans.join(held, on="case", how="inner").filter(col("had") >= col("end") - col("begin")).select("case")

    def sure(self, *scales: str) -> pl.DataFrame:
        """Of first periods, how long the longest gap of the first days is: `case, gap_h`."""
        rows = self.grades(*scales).join(
            self.cases.select("case", "day0_at", "kind"), on="case", how="left", maintain_order="left"
        )
        rows = rows.filter((col("kind") == "first") & (col("at") < col("day0_at") + SURE_D * DAY))
        rows = rows.with_columns(until=pl.min_horizontal("until", col("day0_at") + SURE_D * DAY))
        rows = rows.with_columns(gap=col("flags").list.contains("stale"))
        new = (col("gap") & ~col("gap").shift(1).over("case").fill_null(False)) | (
            col("gap") & (col("at") > col("until").shift(1).over("case"))
        )
        rows = rows.with_columns(run=new.cum_sum().over("case"))
        gaps = rows.filter("gap").group_by("case", "run").agg(length=(col("until") - col("at")).sum())
        longest = gaps.group_by("case").agg(gap_h=col("length").max() / HOUR)
        # Days that nobody charted because the record had ended are a gap as well.
        ends = self.cases.filter(col("kind") == "first").select(
            "case",
            left=pl.when(col("death").is_null() & col("until").is_null())
            .then(((col("day0_at") + SURE_D * DAY) - col("to_at")) / HOUR)
            .otherwise(0.0)
            .clip(lower_bound=0.0),
        )
        found = ends.join(longest, on="case", how="left", maintain_order="left")
        return found.select("case", gap_h=pl.max_horizontal(col("gap_h").fill_null(0.0), "left"))

    def locked(self, *scales: str) -> pl.DataFrame:
        """Grades that two readers locked, of the case in which the worst grade of the course began: `case, locked, by`."""
        own = adjudicated(self.result.worst.filter(col("scale").is_in(scales)), self.statements)
        own = self._on_axis(own.filter(col("adjudicated_grade").is_not_null()), "time")
        own = own.join(self.bounds, on="course", how="inner")
        inside = col("time_at").is_between("from_at", "to_at", closed="left")
        return (
            own.filter(inside)
            .select("case", locked="adjudicated_grade", by=col("adjudicated_by").list.join(" and "))
            .unique("case")
        )

    def case_column(self, rows: pl.DataFrame, *columns: str) -> pl.DataFrame:
        """Rows with columns of their case."""
        return rows.join(self.cases.select("case", *columns), on="case", how="left", maintain_order="left")


# ---- answers


def blank() -> pl.DataFrame:
    """No answer at all."""
    return pl.DataFrame(schema=ANSWERS)


def answers(
    rows: pl.DataFrame,
    answer: pl.Expr | str,
    reason: pl.Expr | str = "",
    at: pl.Expr | None = None,
    ids: pl.Expr | None = None,
) -> pl.DataFrame:
    """Rows (one a case) as answers; words are taken as they are."""

    def word(x: pl.Expr | str) -> pl.Expr:
        return lit(x) if isinstance(x, str) else x

    told = {
        "answer": word(answer),
        "at": lit(None) if at is None else at,
        "reason": word(reason),
        "evidence": NO_IDS if ids is None else ids,
    }
    return rows.select("case", **{c: e.cast(ANSWERS[c]) for c, e in told.items()})


def first_of(*parts: pl.DataFrame) -> pl.DataFrame:
    """Of several tables of answers the first that has one for a case."""
    every = [p for p in parts if p.height]
    if not every:
        return blank()
    return pl.concat(every).unique("case", keep="first", maintain_order=True)


def of_first(found: pl.DataFrame, reason: pl.Expr | str, answer: str = "yes") -> pl.DataFrame:
    """An answer for each case with findings (`case, at, event_id`, or lists of ids as `ids`): the first of them, and the rows behind it."""
    ids = (
        col("ids").first()
        if "ids" in found.columns
        else col("event_id").filter(col("at") == col("at").min()).drop_nulls().unique().sort()
    )
    word = lit(reason) if isinstance(reason, str) else reason
    found = found.sort("case", "at")
    told = found.group_by("case", maintain_order=True).agg(at=col("at").first(), ids=ids, why=word.first())
    return answers(told, answer, col("why"), col("at"), col("ids"))


def of_all(found: pl.DataFrame, answer: pl.Expr | str, reason: pl.Expr | str) -> pl.DataFrame:
    """An answer for each case with findings (`case, at, event_id`) out of all of them; expressions are read within the group."""
    word = [lit(x) if isinstance(x, str) else x for x in (answer, reason)]
    told = (
        found.sort("case", "at")
        .group_by("case", maintain_order=True)
        .agg(at=col("at").first(), ids=col("event_id").drop_nulls().unique().sort(), said=word[0].first(), why=word[1].first())
    )
    return answers(told, col("said"), col("why"), col("at"), col("ids"))


def bands(rows: pl.DataFrame, low: str, high: str, reason: str) -> pl.DataFrame:
    """Grades of which the two bounds agree, and unknown ones that say what is possible."""
    settled = col(low) == col(high)
    answer = pl.when(settled).then(col(low).cast(pl.String)).otherwise(lit(UNKNOWN))
    told = pl.format("at least {}, and {} is possible: {}", low, high, pl.col("missing").list.join(", "))
    return answers(rows, answer, pl.when(settled).then(lit(reason)).otherwise(told), col("at"), col("evidence"))
