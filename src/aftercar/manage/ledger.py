"""The dose ledger: what was given, how often, how long ago, and what of the limits is left.

Doses are those that were charted; rows of one drug at one time are one dose. They count from a day before the infusion on, and anew once CRS and
ICANS have surely been absent for `CLEAR_H` hours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl
from polars import col, lit

from aftercar.grade.options import OPTIONS
from aftercar.manage.doses import TO_MG, dexamethasone_equivalent
from aftercar.manage.doses import dose as doses_in_words
from aftercar.manage.rules import Drug
from aftercar.timeline.concepts import concepts, of_group
from aftercar.timeline.state import DAY, HOUR, SPAN, Record, origin, union

CLEAR_H = float(OPTIONS["new_episode_gap_h"].default)
WINDOW_H = 24


def counted(drugs: Iterable[str]) -> list[str]:
    """The drugs and groups whose doses are counted: the steroids, and what of a drug table a timeline can hold."""
    return ["corticosteroid", *(name for name in drugs if name in concepts())]


def doses(record: Record, *drugs: str) -> pl.DataFrame:
    """Every dose of these drugs or groups: `course, at, drug, mg, treatment`, sorted by `at`.

    `mg` is null where the dose or its unit cannot be read, by the weight of that time; `treatment` is false for prophylaxis.
    """
    codes = dict.fromkeys(code for drug in drugs for code in of_group(drug))
    rows = record.of(*codes).filter(col("at") >= origin(col("at")) - DAY, ~(col("numeric_value") == 0).fill_null(False))
    unit, per_kg = col("unit").str.strip_suffix("/kg"), col("unit").str.ends_with("/kg")
    amount = col("numeric_value") * unit.replace_strict(TO_MG, default=None, return_dtype=pl.Float64)
    rows = rows.with_columns(weight_at(record, rows["at"])).select(
        "course",
        "at",
        drug="code",
        mg=pl.when(per_kg).then(amount * col("weight_kg")).otherwise(amount),
        treatment=~col("text_value").eq_missing(lit("prophylaxis")),
    )
    return rows.group_by("course", "at", "drug").agg(col("mg").max(), col("treatment").any()).sort("at", "drug")


def weight_at(record: Record, at: pl.Series) -> pl.Series:
    """Body weight in kg at times on the axis: the last that was charted up to then, from before the infusion too; null where none was."""
    charted = record.of("weight").drop_nulls("numeric_value").select("at", weight_at="at", weight_kg="numeric_value")
    own = _as_of(at, charted, "weight_at") // SPAN == at // SPAN
    return pl.select(pl.when(own).then(_as_of(at, charted, "weight_kg"))).to_series().alias("weight_kg")


def fresh_starts(present: list[pl.DataFrame], record: Record) -> pl.DataFrame:
    """When counts begin anew: `at` (from then on), `since` (doses from here on count).

    Args:
        present: `at, until` of time in which CRS or ICANS is there or may be.
    """
    ends = record.courses.select(at=col("course") * SPAN, until=origin(col("course") * SPAN))
    after = record.courses.select(at="last_at", until=(col("course") + 1) * SPAN)
    busy = union(pl.concat([t.select("at", "until") for t in (*present, ends, after)]).with_columns(event_id=lit(None, pl.Int64)))
    clear = busy.select(since="until", until=col("at").shift(-1)).drop_nulls()
    begins = col("since") + int(CLEAR_H * HOUR)
    return clear.filter(begins <= col("until")).select("since", at=begins).sort("at")


class Counts:
    """Counts of one drug or group at asked times."""

    def __init__(self, record: Record, drug: str, starts: pl.DataFrame) -> None:
        """Doses of the drug, numbered."""
        given = doses(record, drug)
        # Doses of two drugs of a group at one time are one.
        given = given.group_by("at", maintain_order=True).agg(col("course").first(), col("treatment").any())
        number = pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
        self.given = given.with_columns(n=number, last_at="at").sort("at")
        self.starts = starts

    def at(self, asked: pl.DataFrame) -> pl.DataFrame:
        """For each row of `asked` (`course, at`, sorted): `n` doses, `n_24h`, `since_h` and `first_h` in hours.

        `since_h` is infinite where none was given, `first_h` 0 where none was given as treatment.
        """
        last = _as_of(asked["at"], self.given, "last_at")
        start = _as_of(asked["at"], self.starts, "since")
        begin = origin(pl.col("at")) - DAY
        frame = (
            asked.select("course", "at")
            .with_columns(last_at=last, start=start)
            .with_columns(start=pl.max_horizontal(pl.when(col("start") // SPAN == col("course")).then("start"), begin))
        )
        upto = self._number(frame["at"])
        before = self._number(frame["start"] - 1)
        day_ago = self._number(frame.select(pl.max_horizontal(col("at") - WINDOW_H * HOUR, col("start") - 1)).to_series())
        first = self._first_treatment(frame["start"])
        own = (col("last_at") >= col("start")).fill_null(False)
        return frame.with_columns(first=first).select(
            n=upto - before,
            n_24h=upto - day_ago,
            since_h=pl.when(own).then((col("at") - col("last_at")) / HOUR).otherwise(float("inf")),
            first_h=pl.when(col("first") <= col("at")).then((col("at") - col("first")) / HOUR).otherwise(0.0).fill_null(0.0),
        )

    def _number(self, at: pl.Series) -> pl.Series:
        """How many doses there are on the axis up to a time."""
        return self.given["at"].search_sorted(at, side="right").cast(pl.Int64)

    def _first_treatment(self, at: pl.Series) -> pl.Series:
        """The first dose given as treatment at or after a time."""
        times = self.given.filter("treatment")["at"]
        place = times.search_sorted(at, side="left").cast(pl.Int64)
        return times.append(pl.Series([None], dtype=pl.Int64)).gather(place)


def _as_of(at: pl.Series, table: pl.DataFrame, column: str) -> pl.Series:
    """The value of a column in the last row at or before each time."""
    place = table["at"].search_sorted(at, side="right").cast(pl.Int64)
    return pl.concat([pl.Series(column, [None], dtype=table.schema[column]), table[column]]).gather(place)


def reached(drug: Drug, counts: pl.DataFrame) -> dict[str, pl.Series]:
    """Which limits of a drug are reached, by the words of `vocabulary.LIMITS`."""
    no = pl.repeat(False, counts.height, eager=True)
    return {
        "interval": no if drug.interval_h is None else counts["since_h"] < drug.interval_h,
        "in_24h": no if drug.most_in_24h is None else counts["n_24h"] >= drug.most_in_24h,
        "total": no if drug.most_in_all is None else counts["n"] >= drug.most_in_all,
    }


def limits(record: Record, asked: pl.DataFrame, drugs: Mapping[str, Drug], starts: pl.DataFrame) -> pl.DataFrame:
    """What is left of each drug that has limits.

    Args:
        asked: one row a course, `course, at`, sorted by `at`.
        starts: `fresh_starts`.
    Returns:
        a row a course and drug: `course, at, drug, n, n_24h, since_h` (infinite: none was given), `reached` (words of `vocabulary.LIMITS`),
        `next_at` (the interval has passed), `dose`, `dose_mg`.
    """
    parts: list[pl.DataFrame] = [pl.DataFrame(schema=_LIMITS)]
    weights = weight_at(record, asked["at"])
    for name, drug in drugs.items():
        if not drug.limited:
            continue
        counts = Counts(record, name, starts).at(asked)
        words = pl.concat_list(
            pl.when(held).then(lit([word])).otherwise(lit([], pl.List(pl.String))) for word, held in reached(drug, counts).items()
        )
        told = [doses_in_words(drug, w) for w in weights]
        last = col("at") - (col("since_h") * HOUR).cast(pl.Int64)
        rows = asked.select("course", "at").hstack(counts.select("n", "n_24h", "since_h"))
        parts.append(
            rows.with_columns(
                drug=lit(name), reached=words,
                next_at=pl.when(col("since_h").is_finite()).then(last + int((drug.interval_h or 0) * HOUR)),
                dose=pl.Series([t[0] for t in told], dtype=pl.String), dose_mg=pl.Series([t[1] for t in told], dtype=pl.Float64),
            ).select(_LIMITS.keys())
        )  # fmt: skip
    return pl.concat(parts)


_LIMITS = {
    "course": pl.Int64, "at": pl.Int64, "drug": pl.String, "n": pl.Int64, "n_24h": pl.Int64, "since_h": pl.Float64,
    "reached": pl.List(pl.String), "next_at": pl.Int64, "dose": pl.String, "dose_mg": pl.Float64,
}  # fmt: skip


def ledger(record: Record, asked: pl.DataFrame, drugs: Mapping[str, Drug], starts: pl.DataFrame) -> pl.DataFrame:
    """What each course was given up to its asked time.

    Args:
        asked: one row a course, `course, at`.
        starts: `fresh_starts`.
    Returns:
        a row a course and drug that was given: `course, drug, n, n_24h, mg, mg_24h, unread` (doses whose amount is not known), `dexamethasone_mg`
        (equivalent, of steroids), `last_at`.
    """
    begin = pl.max_horizontal(origin(col("until")) - DAY, pl.when(col("since") // SPAN == col("course")).then("since"))
    times = asked.sort("at").with_columns(until="at", since=_as_of(asked.sort("at")["at"], starts, "since"))
    times = times.select("course", "until", begin=begin)
    given = doses(record, *counted(drugs)).join(times, on="course")
    given = given.filter(col("at").is_between("begin", "until"))
    recent = col("at") > col("until") - WINDOW_H * HOUR
    table = given.group_by("course", "drug").agg(
        n=pl.len().cast(pl.Int64), n_24h=recent.sum().cast(pl.Int64), mg=col("mg").sum(), mg_24h=col("mg").filter(recent).sum(),
        unread=col("mg").is_null().sum().cast(pl.Int64), last_at=col("at").max(),
    ).sort("course", "drug")  # fmt: skip

    return table.with_columns(dexamethasone_mg=dexamethasone_equivalent(col("drug"), col("mg")))
