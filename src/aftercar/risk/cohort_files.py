"""Scores and outcomes of a cohort from files: what `aftercar risk` and `grade` wrote, or a table of the user's own."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
from polars import col, lit

from aftercar.errors import InputError, OptionError, nearest
from aftercar.files import write_whole
from aftercar.frames import load
from aftercar.timeline.store import read_json

_YES, _NO = ("1", "1.0", "true", "yes", "y"), ("0", "0.0", "false", "no", "n")


def read_table(path: Path | str) -> pl.DataFrame:
    """A Parquet, CSV or JSON table with a `subject_id`.

    Raises:
        InputError: it cannot be read, or has no such column.
    """
    path = Path(path)
    readers = {".parquet": load, ".json": pl.read_json, ".csv": lambda p: pl.read_csv(p, infer_schema_length=None)}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: a table ends with {', '.join(readers)}.")
    try:
        frame = readers[path.suffix.lower()](path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path}: cannot be read as a table ({type(error).__name__}).") from None
    if "subject_id" not in frame.columns:
        raise InputError(f"{path}: no column subject_id. {nearest('subject_id', frame.columns)}")
    return frame


def says_simulated(path: Path | str) -> bool:
    """Whether a table, or the `run.json` of a results folder, says that its patients are virtual; of a path that `read_table` can read."""
    path = Path(path)
    if path.is_dir():
        run = path / "run.json"
        return run.is_file() and bool(read_json(run).get("simulated", False))
    frame = read_table(path)
    return "simulated" in frame.columns and bool(frame["simulated"].cast(pl.String).str.to_lowercase().is_in(_YES).any())


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write a table by the ending of its name; in CSV lists are joined by `; `.

    Raises:
        InputError: another ending.
    """
    lists = [name for name, dtype in table.schema.items() if dtype == pl.List]
    flat = table.with_columns(col(c).cast(pl.List(pl.String)).list.join("; ") for c in lists)
    writers = {".parquet": table.write_parquet, ".csv": flat.write_csv, ".json": table.write_json}
    if path.suffix.lower() not in writers:
        raise InputError(f"{path}: name a file that ends with {', '.join(writers)}.")
    write_whole(path, writers[path.suffix.lower()])


def read_scores(path: Path | str, score: str | None = None, window: str | None = None, column: str | None = None) -> pl.DataFrame:
    """One score of each course: `subject_id`, perhaps `infusion`, `value`, perhaps `value_upper`, `group`.

    Args:
        score, window: which rows of a table of `aftercar risk`; the window may be left out where there is one.
        column: the value in a table of the user's own.
    Raises:
        InputError: there is no such column, or several scores or windows to choose from.
        OptionError: there is no such score or window in it.
    """
    frame = read_table(path)
    for name, given in (("score", score), ("window", window)):
        if name not in frame.columns:
            if given:
                raise InputError(f"{path}: no column {name}; --column names the value in a table of your own.")
            continue
        known = [str(k) for k in frame[name].drop_nulls().unique(maintain_order=True)]
        if given is None and len(known) > 1:
            if name == "window":  # the first one is the score's own
                given = known[0]
            else:
                raise InputError(f"{path} holds several scores. --score takes one of {', '.join(known)}.")
        if given is not None and given not in known:
            raise OptionError(f"{path} holds no {name} {given!r}. {nearest(given, known)}")
        frame = frame.filter(col(name) == given) if given is not None else frame
    value = column or "value"
    if value not in frame.columns or (not frame.schema[value].is_numeric() and frame.schema[value] != pl.Null):
        raise InputError(f"{path}: no column of numbers is called {value!r}. {nearest(value, frame.columns)}")
    # In a table of the user's own an upper end belongs to `value` only.
    beside = ["infusion", "group", *(["value_upper"] if value == "value" else []), *(["score", "window"] if not column else [])]
    return frame.select("subject_id", col(value).alias("value"), *(c for c in beside if c in frame.columns))


def read_outcomes(path: Path | str, outcome: str) -> pl.DataFrame:
    """Whether each course had an event: `subject_id`, perhaps `infusion`, `event` (null where open).

    Args:
        path: a results folder of `aftercar grade` (or its worst.parquet), or a table of the user's own.
        outcome: of grades a toxicity or scale and a least grade, `icaht_early>=3`; else the column that holds yes or no.
    Raises:
        InputError: the file cannot be read, has no such column, or holds something else than yes, no and blank.
        OptionError: it was not graded.
    """
    path = Path(path)
    path = path / "worst.parquet" if path.is_dir() else path
    frame = read_table(path)
    asked = re.fullmatch(r"\s*(\w+)\s*>=\s*([1-5])\s*", outcome)
    if asked and {"scale", "toxicity", "grade", "grade_upper", "status"} <= set(frame.columns):
        return _graded(path, frame, asked[1], int(asked[2]))
    if outcome not in frame.columns:
        hint = (
            "Of grades, say a scale and a least grade, such as icaht_early>=3."
            if "grade_upper" in frame.columns
            else nearest(outcome, frame.columns)
        )
        raise InputError(f"{path}: no column is called {outcome!r}. {hint}")
    said = col(outcome).cast(pl.String).str.strip_chars().str.to_lowercase()
    said = pl.when(said != "").then(said)
    event = pl.when(said.is_in(_YES)).then(True).when(said.is_in(_NO)).then(False)
    if strange := frame.select((said.is_not_null() & event.is_null()).sum()).item():
        raise InputError(f"{path}: {strange} rows of {outcome!r} are neither yes (1, true) nor no (0, false) nor blank.")
    return frame.select("subject_id", *(c for c in ("infusion",) if c in frame.columns), event=event)


def _graded(path: Path, frame: pl.DataFrame, name: str, least: int) -> pl.DataFrame:
    """The event is a worst grade of so much or more; open where missing data leave it open, or the scale does not apply."""
    own = frame.filter(col("scale") == name)
    own = own if own.height else frame.filter(col("toxicity") == name)
    if own.is_empty():
        raise OptionError(f"{path}: {name!r} was not graded. {nearest(name, {*frame['scale'], *frame['toxicity']})}")
    if own.select("subject_id", "infusion").is_duplicated().any():
        raise InputError(f"{path}: {name} was graded on several scales. Name one: {', '.join(sorted(set(own['scale'])))}.")
    applies = col("status").cast(pl.String) != "not_applicable"
    event = pl.when(col("grade") >= least).then(lit(True)).when(col("grade_upper") < least).then(lit(False))
    return own.select("subject_id", "infusion", event=pl.when(applies).then(event))
