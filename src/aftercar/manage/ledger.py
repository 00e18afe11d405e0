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
    return record.once(("doses", *drugs), lambda: _doses(record, *drugs))


def _doses(record: Record, *drugs: str) -> pl.DataFrame:
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
        present: of CRS and of ICANS, when it is there or may be: `at, until, settled` (that it was not there is known from `until` on), sorted.
    """
    clear = _clear([rows.filter(~col("settled")) for rows in present], record)
    begins = col("since") + int(CLEAR_H * HOUR)
    starts = clear.filter(begins <= col("until")).select("since", at=begins).sort("at")
    # Where something is not settled yet as the hours are over, they count from when it is.
    return starts.with_columns(at=pl.max_horizontal("at", *(_settled_at(starts["at"], rows) for rows in present))).sort("at")


def _settled_at(at: pl.Series, rows: pl.DataFrame) -> pl.Series:
    """When it is settled what may be there at each time, and may have been before it; null where nothing may be."""
    open_ = rows.filter("settled").select("until", begin="at").sort("begin")
    last = at.to_frame().join_asof(open_, left_on="at", right_on="begin", strategy="backward", allow_exact_matches=False)
    return last.select(pl.when(col("until") > col("at")).then("until")).to_series()


def _clear(present: list[pl.DataFrame], record: Record) -> pl.DataFrame:
    """When CRS and ICANS are surely absent: `since, until`."""
    ends = record.courses.select(at=col("course") * SPAN, until=origin(col("course") * SPAN))
    after = record.courses.select(at="last_at", until=(col("course") + 1) * SPAN)
    busy = union(pl.concat([t.select("at", "until") for t in (*present, ends, after)]).with_columns(event_id=lit(None, pl.Int64)))
    return busy.select(since="until", until=col("at").shift(-1)).drop_nulls()


def count_from(asked: pl.DataFrame, starts: pl.DataFrame) -> pl.Series:
    """From when on doses count at each asked time (`course, at`, sorted): a day before the infusion, or the last of the `fresh_starts`."""
    since = _as_of(asked["at"], starts, "since")
    begin = origin(col("at")) - DAY
    own = pl.when(col("since") // SPAN == col("course")).then("since")
    return asked.select("course", "at", since).select(pl.max_horizontal(own, begin)).to_series().alias("start")


class Counts:
    """Counts of one drug or group at asked times."""

    def __init__(self, record: Record, drug: str) -> None:
        """Doses of the drug; of two drugs of a group at one time they are one."""
        given = doses(record, drug).group_by("at").agg(col("treatment").any()).sort("at")
        self.given, self.treated = given["at"], given.filter("treatment")["at"]

    def at(self, asked: pl.DataFrame, start: pl.Series) -> pl.DataFrame:
        """For each row of `asked` (`course, at`, sorted): `n` doses, `n_24h`, `since_h` and `first_h` in hours.

        `since_h` is infinite where none was given, `first_h` 0 where none was given as treatment.

        Args:
            start: `count_from` of it.
        """
        at = asked["at"]
        if self.given.is_empty():  # as most drugs are to a cohort
            none = {"n": 0, "n_24h": 0, "since_h": float("inf"), "first_h": 0.0}
            return pl.select(pl.repeat(value, at.len()).alias(name) for name, value in none.items()).cast(
                {"n": pl.Int64, "n_24h": pl.Int64}
            )
        upto, before = self._number(at), self._number(start - 1)
        frame = pl.DataFrame({"at": at, "start": start, "upto": upto, "before": before})
        frame = frame.with_columns(
            day_ago=pl.max_horizontal(self._number(at - WINDOW_H * HOUR), "before"),
            last=_with_none(self.given).gather(upto - 1),
            first=_with_none(self.treated).gather(self.treated.search_sorted(start, side="left").cast(pl.Int64)),
        )
        own = col("upto") > col("before")
        return frame.select(
            n=col("upto") - col("before"),
            n_24h=col("upto") - col("day_ago"),
            since_h=pl.when(own).then((col("at") - col("last")) / HOUR).otherwise(float("inf")),
            first_h=pl.when(col("first") <= col("at")).then((col("at") - col("first")) / HOUR).otherwise(0.0).fill_null(0.0),
        )

    def _number(self, at: pl.Series) -> pl.Series:
        """How many doses there are on the axis up to a time."""
        return self.given.search_sorted(at, side="right").cast(pl.Int64)


def _with_none(times: pl.Series) -> pl.Series:
    """Times and, behind the last, null: the place -1 is that, too."""
    return pl.concat([times, pl.Series(times.name, [None], dtype=times.dtype)])


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
        asked: `course, at`, sorted by `at`.
        starts: `fresh_starts`.
    Returns:
        a row a course, asked time and drug: `course, at, drug, n, n_24h, since_h` (infinite: none was given), `reached` (words of `vocabulary.LIMITS`),
        `next_at` (the interval has passed), `dose`, `dose_mg`.
    """
    parts: list[pl.DataFrame] = [pl.DataFrame(schema=_LIMITS)]
    weights, start = weight_at(record, asked["at"]), count_from(asked, starts)
    for name, drug in drugs.items():
        if not drug.limited:
            continue
        counts = Counts(record, name).at(asked, start)
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
    """What each course was given up to an asked time.

    Args:
        asked: `course, at`.
        starts: `fresh_starts`.
    Returns:
        a row a course, asked time and drug that was given: `course, at, drug, n, n_24h, mg, mg_24h, unread` (doses whose amount is not known), `dexamethasone_mg`
        (equivalent, of steroids), `last_at`. An amount is that of the doses that can be read, so a least one where others cannot; null where none can.
    """
    begin = pl.max_horizontal(origin(col("until")) - DAY, pl.when(col("since") // SPAN == col("course")).then("since"))
    times = asked.sort("at").with_columns(until="at", since=_as_of(asked.sort("at")["at"], starts, "since"))
    times = times.select("course", "until", begin=begin)
    given = doses(record, *counted(drugs)).join(times, on="course")
    given = given.filter(col("at").is_between("begin", "until"))
    recent = col("at") > col("until") - WINDOW_H * HOUR

    def read(mg: pl.Expr) -> pl.Expr:
        return pl.when(mg.is_not_null().any() | (mg.len() == 0)).then(mg.sum())

    table = given.group_by("course", "until", "drug").agg(
        n=pl.len().cast(pl.Int64), n_24h=recent.sum().cast(pl.Int64), mg=read(col("mg")), mg_24h=read(col("mg").filter(recent)),
        unread=col("mg").is_null().sum().cast(pl.Int64), last_at=col("at").max(),
    ).sort("course", "until", "drug").rename({"until": "at"})  # fmt: skip
    return table.with_columns(dexamethasone_mg=dexamethasone_equivalent(col("drug"), col("mg")))
