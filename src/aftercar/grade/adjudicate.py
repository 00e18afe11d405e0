"""Grades by people: what readers said beside the software, how far they agree, and what two of them locked.

Everything here is frames in, frames out. The log itself is `timeline.statements`: the rows made here are appended there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl
from polars import col, lit

from aftercar.errors import InputError
from aftercar.timeline.statements import as_id, as_time, same_person, sifted, who_and_when

KEY = ["subject_id", "infusion", "toxicity", "family"]
SOFTWARE, LOCKED = "(software)", "(locked)"  # in brackets, so that no rater is called that
ALIKE = "all grades of both are one and the same: chance alone would agree as well"
NOBODY = "nobody was graded by both"


# ---- what is locked


def adjudicated(worst: pl.DataFrame, statements: pl.DataFrame) -> pl.DataFrame:
    """`worst` with what two readers locked: `adjudicated_grade`, `adjudicated_by`, `adjudicated_at`; null until then.

    Args:
        worst: the table `worst`.
        statements: the log of its timeline.
    """
    held = locks(_of(worst, statements)).select(
        *KEY, adjudicated_grade="grade", adjudicated_by="by", adjudicated_at="at"
    )  # fmt: skip
    return with_family(worst).join(held, on=KEY, how="left", maintain_order="left").drop("family")


def locks(statements: pl.DataFrame) -> pl.DataFrame:
    """What is locked now: `subject_id, infusion, toxicity, family, grade, by, at`, and `n`, its place in the log.

    A lock is a statement of each of its readers; an unlock that comes later in the log ends it.
    """
    found = (
        agreed(statements)
        .group_by(KEY, maintain_order=True)
        .agg(
            col("grade").first(),
            by=col("rater").unique().sort(),
            at=col("said_at").max(),
            n=col("n").max(),
            alike=col("grade").n_unique() == 1,
        )
    )
    return found.filter(col("alike") & (col("by").list.len() >= 2)).drop("alike")


def agreed(statements: pl.DataFrame) -> pl.DataFrame:
    """The statements of readers who agree to lock a grade, in order, with `family`; those that an unlock ended are left out."""
    rows = with_family(statements.filter(col("kind").is_in(["lock", "unlock"])))
    opened = pl.when(col("kind") == "unlock").then("n").max().over(KEY).fill_null(0)
    return rows.filter((col("n") > opened) & (col("kind") == "lock")).sort("n")


def blind(statements: pl.DataFrame, reader: str) -> pl.DataFrame:
    """Statements as a reader may see them, with `hidden`: without grade and comment of others where the reader has not yet graded the same.

    What is locked is seen by all.
    """
    rows = with_family(statements)
    own = rows.filter((col("kind") == "grade") & (same_person() == reader.lower())).select(*KEY, _graded=lit(True)).unique()
    held = locks(statements).select(*KEY, _locked=lit(True))
    rows = rows.join(own, on=KEY, how="left", maintain_order="left").join(held, on=KEY, how="left", maintain_order="left")
    known = pl.coalesce("_graded", "_locked", lit(False)) | (same_person() == reader.lower()) | col("toxicity").is_null()
    rows = rows.with_columns(hidden=~known)
    shown = (pl.when(~col("hidden")).then(c).alias(c) for c in ("grade", "comment"))
    return rows.with_columns(shown).drop("_graded", "_locked", "family")


def history(statements: pl.DataFrame) -> pl.DataFrame:
    """Every statement in order, with `after_lock`: it was made while its grade was locked, and does not change it.

    An attribution or comment on a subject as a whole is after the lock where any grade of the subject is locked.
    """
    rows = with_family(statements).sort("n")
    turn = pl.when(col("kind") == "lock").then(1).when(col("kind") == "unlock").then(0)
    rows = rows.with_columns(_now=turn.forward_fill().over(KEY).fill_null(0))
    rows = rows.with_columns(_was=col("_now").shift(1, fill_value=0).over(KEY))
    locked = (col("_now") - col("_was")).cum_sum().over("subject_id") > 0
    own = pl.when(col("toxicity").is_null()).then(locked).otherwise(col("_was") == 1)
    after = own & col("kind").is_in(["attribution", "grade", "comment"])
    return rows.with_columns(after_lock=after).drop("_now", "_was", "family")


# ---- statements from what people write


def grades_said(worst: pl.DataFrame, given: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Grades as statements, and those that cannot be used: `row, column, reason`.

    Args:
        worst: the table `worst`: which subjects, infusions, toxicities and scales there are.
        given: `row, subject_id, infusion, toxicity, scale, grade, rater, said_at, comment`, as written. Infusion 1 and the default
            scale of the toxicity where they are null.
    """
    rows = _found(worst, given).with_columns(
        grade=as_id("grade", pl.Int64()), said_at=as_time("said_at"), written=col("said_at").is_not_null()
    )
    good, bad = sifted(
        rows,
        *_about(worst),
        (
            "grade",
            (col("grade") >= 0) & (col("grade") <= col("highest").fill_null(5)),
            "must be a whole number that the scale has",
        ),
        *who_and_when(),
    )
    good = good.with_columns(kind=lit("grade"), scale="own_scale")
    return good.select("said_at", "rater", "kind", "subject_id", "infusion", "toxicity", "scale", "grade", "comment"), bad


def one_key(worst: pl.DataFrame, subject: str, toxicity: str, infusion: int, scale: str | None) -> dict[str, Any]:
    """What a lock is about: `subject_id, infusion, toxicity, scale` of one row of `worst`.

    Raises:
        InputError: there is none.
    """
    given = {"row": 1, "subject_id": subject, "infusion": str(infusion), "toxicity": toxicity, "scale": scale}
    types = dict.fromkeys(given, pl.String) | {"row": pl.Int64}
    good, bad = sifted(_found(worst, pl.DataFrame([given], schema=types)), *_about(worst))
    if bad.height:
        raise InputError("; ".join(f"{column}: {reason}" for column, reason in bad.select("column", "reason").iter_rows()) + ".")
    return good.select("subject_id", "infusion", "toxicity", scale="own_scale").row(0, named=True)


def _found(worst: pl.DataFrame, given: pl.DataFrame) -> pl.DataFrame:
    """Rows as written, each with the row of `worst` that it is about."""
    there = with_family(worst.select("subject_id", "infusion", "toxicity", "scale")).rename({"scale": "own_scale"})
    there = there.with_columns(
        highest=col("own_scale").replace_strict(highest_grades(), default=5, return_dtype=pl.Int64),
        subject=lit(True),
        course=lit(True),
    )
    rows = given.with_columns(
        subject_id=as_id("subject_id", worst.schema["subject_id"]),
        infusion=pl.when(col("infusion").is_null()).then(lit(1, pl.Int32)).otherwise(as_id("infusion", pl.Int32())),
        toxicity=col("toxicity").str.to_lowercase(),
        scale=col("scale").str.to_lowercase(),
    )
    rows = rows.with_columns(family=pl.coalesce(_family("scale"), "toxicity"))
    one, course = ["subject_id"], ["subject_id", "infusion"]
    return (
        rows.join(there.select(*one, "subject").unique(), on=one, how="left", maintain_order="left")
        .join(there.select(*course, "course").unique(), on=course, how="left", maintain_order="left")
        .join(there.select(*KEY, "own_scale", "highest"), on=KEY, how="left", maintain_order="left")
        .with_columns(graded=col("toxicity").is_in(there["toxicity"].unique().implode()))
    )


def _about(worst: pl.DataFrame) -> list[tuple[str, pl.Expr, str]]:
    known, scales = (", ".join(worst[c].unique().sort()) for c in ("toxicity", "scale"))
    who, when, what = col("subject").fill_null(False), col("course").fill_null(False), col("graded").fill_null(False)
    return [
        ("subject_id", who, "no such subject among the results; write ids as in the source"),
        ("infusion", ~who | when, "the subject has no such infusion"),
        ("toxicity", what, f"was not graded; those that were: {known}"),
        ("scale", ~when | ~what | col("own_scale").is_not_null(), f"not among the results; scales there: {scales}"),
    ]  # fmt: skip


def lock_said(statements: pl.DataFrame, about: dict[str, Any], raters: Iterable[str], comment: str | None = None) -> pl.DataFrame:
    """The statements that lock a grade, one of each reader.

    Raises:
        InputError: it is locked, there are no two readers, one of them has not graded it, or their latest grades differ.
    """
    names = {" ".join(r.split()).lower(): " ".join(r.split()) for r in raters if r.strip()}
    if len(names) < 2:
        raise InputError("A lock needs two different readers: name each with --by.")
    own = _matching(statements, about)
    if locks(own).height:
        raise InputError("It is locked already. `unlock` it first, with a comment that says why.")
    latest = readings(own).filter(col("reading") == "latest").with_columns(who=same_person())
    latest = latest.filter(col("who").is_in(list(names)))
    silent = [name for who, name in names.items() if who not in latest["who"]]
    if silent:
        raise InputError(f"{' and '.join(silent)} has not graded it. `aftercar adjudicate grade RESULTS` records a grade.")
    if latest["grade"].n_unique() > 1:
        raise InputError("The readers' latest grades differ. Let them talk, and one of them grade it again; then lock it.")
    return latest.select("rater", *(lit(v).alias(k) for k, v in _of_key(about).items()), "grade").with_columns(
        kind=lit("lock"), comment=lit(comment, pl.String)
    )


def agree_said(statements: pl.DataFrame, about: dict[str, Any], rater: str, comment: str | None = None) -> pl.DataFrame:
    """The statement of one reader who agrees to lock a grade; it is locked when a second one has agreed to the same.

    Raises:
        InputError: it is locked, the reader has not graded it or has agreed already, no other reader's latest grade is the same, or another
            grade waits to be locked.
    """
    own = _matching(statements, about)
    if locks(own).height:
        raise InputError("It is locked already. Unlock it first, with a reason.")
    latest = readings(own).filter(col("reading") == "latest").with_columns(who=same_person())
    mine = latest.filter(col("who") == rater.lower())
    if mine.is_empty():
        raise InputError("Give your own grade first; then you can agree to lock it.")
    grade = mine["grade"][0]
    if latest.filter((col("who") != rater.lower()) & (col("grade") == grade)).is_empty():
        raise InputError("No other reader's latest grade is the same. A lock needs two readers who agree.")
    waiting = agreed(own)
    if waiting.filter(same_person() == rater.lower()).height:
        raise InputError("You have agreed already; a second reader must agree too.")
    if waiting.filter(col("grade") != grade).height:
        raise InputError("Another grade waits to be locked. Take that back first, with a reason.")
    row = {"rater": rater, "kind": "lock", **_of_key(about), "grade": grade, "comment": comment}
    return pl.DataFrame([row], schema_overrides={"comment": pl.String})


def unlock_said(statements: pl.DataFrame, about: dict[str, Any], rater: str, comment: str) -> pl.DataFrame:
    """The statement that opens a lock, also one that waits for its second reader.

    Raises:
        InputError: nobody has locked it, or the comment is empty.
    """
    if not comment.strip():
        raise InputError("An unlock needs a comment that says why.")
    if agreed(_matching(statements, about)).is_empty():
        raise InputError("It is not locked.")
    row = {"rater": rater, "kind": "unlock", **_of_key(about), "comment": comment}
    return pl.DataFrame([row])


def _of_key(about: dict[str, Any]) -> dict[str, Any]:
    return {c: about[c] for c in ("subject_id", "infusion", "toxicity", "scale")}


def _matching(statements: pl.DataFrame, about: dict[str, Any]) -> pl.DataFrame:
    """The statements about one row of `worst`."""
    family = scale_families().get(about["scale"], about["scale"])
    same = (col("subject_id").cast(pl.String) == str(about["subject_id"])) & (col("infusion") == about["infusion"])
    return statements.filter(same & (col("toxicity") == about["toxicity"]) & (_family("scale") == family))


# ---- agreement


@dataclass(frozen=True)
class Agreement:
    """How far readers agree.

    Attributes:
        pairs: `toxicity, family, a, b, reading, open` and the columns of `kappas`: a row a pair of readers. `b` is `(software)` where
            a reader, or the `(locked)` grade, is set against the software. `open` are those whose software grade is not settled.
        cross: `toxicity, family, a, b, reading, grade_a, grade_b, n`: the table behind each row.
    """

    pairs: pl.DataFrame
    cross: pl.DataFrame


def agreement(statements: pl.DataFrame, worst: pl.DataFrame | None = None) -> Agreement:
    """Every pair of readers, and each reader and the locked grade against the software.

    `reading` is `first` (each reader's first grade, made before they talked, if they kept to that) or `latest`. Grades after a lock
    are left out.
    """
    said = readings(statements)
    kept = ["reader", "reading", *KEY, "grade"]
    by_people = said.with_columns(reader="rater", who=same_person())
    groups = ["toxicity", "family", "a", "b", "reading"]
    left = by_people.select("reading", *KEY, "who", a="reader", grade_a="grade")
    right = by_people.select("reading", *KEY, who_b="who", b="reader", grade_b="grade")
    pairs = left.join(right, on=["reading", *KEY]).filter(col("who") < col("who_b")).drop("who", "who_b")
    pairs = pairs.with_columns(open=lit(False))
    if worst is not None:
        held = locks(statements).with_columns(reader=lit(LOCKED), reading=lit("latest"))
        people = pl.concat([by_people.select(kept), held.select(kept)])
        software = with_family(worst).filter(col("status") != "not_applicable")
        software = software.select(
            *KEY, b=lit(SOFTWARE), grade_b="grade", open=(col("status") == "incomplete") | (col("grade") < col("grade_upper"))
        ).with_columns(col("subject_id").cast(people.schema["subject_id"], strict=False))
        against = people.rename({"reader": "a", "grade": "grade_a"}).join(software, on=KEY)
        pairs = pl.concat([pairs, against.select(pairs.columns)])
    cross = pairs.filter(~col("open")).group_by(*groups, "grade_a", "grade_b").len("n").sort(*groups, "grade_a", "grade_b")
    table = pairs.group_by(groups).agg(open=col("open").sum()).join(kappas(cross, groups), on=groups, how="left")
    table = table.with_columns(
        col("n", "agreed").fill_null(0), reason=pl.when(col("n").is_null()).then(lit(NOBODY)).otherwise("reason")
    )
    return Agreement(table.sort(groups), cross)


def readings(statements: pl.DataFrame) -> pl.DataFrame:
    """Each reader's first and latest grade of what they graded: `reading, rater, subject_id, ..., family, grade`, and `n`, its place in the log.

    Grades after a lock wait: they count again when it is opened.
    """
    held = locks(statements).select(*KEY, locked_n="n")
    said = with_family(statements.filter(col("kind") == "grade")).join(held, on=KEY, how="left", maintain_order="left")
    said = said.filter((col("n") < col("locked_n")).fill_null(True)).sort("said_at", "n")
    names = said.with_columns(who=same_person())
    names = names.with_columns(rater=col("rater").first().over("who"))  # one spelling of each name
    each = names.group_by(*KEY, "who", maintain_order=True)
    both = [
        each.agg(col("rater").first(), col("grade", "n").get(place)).with_columns(reading=lit(name))
        for name, place in (("first", 0), ("latest", -1))
    ]
    return pl.concat(both).select("reading", "rater", *KEY, "grade", "n")


def kappas(cross: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Cohen's kappa of cross tables (Cohen 1960), and weighted by the distance of the grades or its square (Cohen 1968).

    One less the ratio of the disagreement that is seen to that which the margins give by chance. It is null, with the reason, where
    chance alone gives none: all grades of both are one and the same.

    Args:
        cross: `by, grade_a, grade_b, n`.
        by: what tells one table from another.
    Returns:
        `by, n, agreed, raw` (share of agreement), `kappa, kappa_linear, kappa_quadratic, reason`.
    """
    distance = (col("grade_a").cast(pl.Int64) - col("grade_b").cast(pl.Int64)).abs()
    weights = {"kappa": (distance > 0).cast(pl.Int64), "kappa_linear": distance, "kappa_quadratic": distance**2}
    cross = cross.with_columns(col("n").cast(pl.Int64))
    margin_a = cross.group_by(*by, "grade_a").agg(n_a=col("n").sum())
    margin_b = cross.group_by(*by, "grade_b").agg(n_b=col("n").sum())
    chance = margin_a.join(margin_b, on=by).group_by(by)
    chance = chance.agg((w * col("n_a") * col("n_b")).sum().alias(f"chance_{k}") for k, w in weights.items())
    seen = cross.group_by(by).agg(
        col("n").sum(),
        agreed=col("n").filter(distance == 0).sum(),
        **{f"seen_{k}": (w * col("n")).sum() for k, w in weights.items()},
    )
    found = seen.join(chance, on=by).with_columns(
        pl.when(col(f"chance_{k}") > 0).then(1 - col(f"seen_{k}") * col("n") / col(f"chance_{k}")).alias(k) for k in weights
    )
    found = found.with_columns(raw=col("agreed") / col("n"), reason=pl.when(col("kappa").is_null()).then(lit(ALIKE)))
    return found.select(*by, "n", "agreed", "raw", *weights, "reason").sort(by)


# ---- scales


def scale_families() -> dict[str, str]:
    """Scale -> family: scales of one family take turns by age, and a subject has one worst grade a family."""
    from aftercar.grade.run import SCALES  # it calls `adjudicated`

    return {s.name: s.family for s in SCALES.values()}


def highest_grades() -> dict[str, int]:
    """Scale -> the highest grade that its table has."""
    from aftercar.grade.options import Options
    from aftercar.grade.run import SCALES

    options = Options()
    return {s.name: max((c.grade for c in s.criteria(options)), default=5) for s in SCALES.values()}


def _family(scale: str) -> pl.Expr:
    return col(scale).replace(scale_families())


def with_family(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame with the `family` of each row's `scale`."""
    return frame.with_columns(family=_family("scale"))


def _of(worst: pl.DataFrame, statements: pl.DataFrame) -> pl.DataFrame:
    """The statements with ids in the type of `worst`."""
    return statements.with_columns(col("subject_id").cast(worst.schema["subject_id"], strict=False))
