"""Grades as tables of the OMOP CDM 5.4, and the way back.

A stretch of a grade is a row of `measurement`: a number that a standardised assessment gives. An episode is a `condition_occurrence`. What the
CDM has no column for stands in tables of our own beside it (`aftercar_*`), by the same ids; these alone are read back.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, Literal

import polars as pl
from polars import col, lit

from aftercar import __version__
from aftercar.errors import InputError, OptionError
from aftercar.export.names import icd_codes, term, title
from aftercar.export.results import RUN, Exported, Slice, Tables, as_tables, beside
from aftercar.frames import load
from aftercar.grade.scale import GRADES, MEASURES
from aftercar.grade.table import EPISODES
from aftercar.timeline.readers.omop import OPERATORS, SEX
from aftercar.timeline.subjects import SUBJECTS

VOCABULARY = "aftercar"
# Concepts of ours are above two billion, where the CDM leaves room for a site's own: they come from names, so that they stay the same.
_LOCAL, _ROOM = 2_000_000_000, 147_000_000
# Named so in several public ETLs.
_ALGORITHM = 32882  # Standard algorithm from EHR
_EHR = 32817  # EHR
_OF_CONDITION = 1147127  # condition_occurrence.condition_occurrence_id
_AT_LEAST = next(id_ for id_, sign in OPERATORS.items() if sign == ">=")
_SEX_CONCEPT = {sex: id_ for id_, sex in SEX.items()}
_LARGEST_ID = 2**31 - 1
_TIME = "%Y-%m-%d %H:%M:%S%.f"

TableFormat = Literal["csv", "parquet"]


def write(results: Exported, folder: Path, *, table_format: TableFormat = "csv") -> None:
    """Write a file a table.

    Args:
        table_format: `csv` or `parquet`.
    Raises:
        OptionError: another one.
    """
    if table_format not in ("csv", "parquet"):
        raise OptionError(f"Tables can be csv or parquet, not {table_format!r}.")
    files = _Files(folder, table_format)
    for name, frame in _vocabulary(results).items():
        files.add(name, frame)
    persons, infusions = _persons(results.subjects), 0
    for part in results.slices():
        tables = _of_slice(part, persons, infusions)
        for name, frame in tables.items():
            files.add(name, frame)
        infusions += tables["procedure_occurrence"].height
    files.close()


class _Files:
    """One file a table, written slice by slice."""

    def __init__(self, folder: Path, table_format: TableFormat) -> None:
        self.folder, self.table_format = folder, table_format
        self.parts: dict[str, list[Path]] = {}

    def add(self, name: str, frame: pl.DataFrame) -> None:
        parts = self.parts.setdefault(name, [])
        if self.table_format == "csv":
            with (self.folder / f"{name}.csv").open("ab") as file:
                frame.write_csv(file, include_header=not parts, datetime_format=_TIME)
            parts.append(self.folder / f"{name}.csv")
        else:
            parts.append(self.folder / f"{name}-{len(parts):05d}.part")
            frame.write_ipc(parts[-1])

    def close(self) -> None:
        if self.table_format == "csv":
            return
        for name, parts in self.parts.items():
            pl.scan_ipc(parts, glob=False).sink_parquet(self.folder / f"{name}.parquet", maintain_order=True)
            for part in parts:
                part.unlink()


# ---- ids


def local_concept(kind: str, name: str) -> int:
    """The id of a concept of ours."""
    return _LOCAL + 1 + zlib.crc32(f"{kind}:{name}".encode()) % _ROOM


def _local(kind: str, column: str, names: pl.Series) -> pl.Expr:
    ids = {name: local_concept(kind, name) for name in names.unique()}
    return col(column).replace_strict(ids, default=None, return_dtype=pl.Int64)


def _persons(subjects: pl.DataFrame) -> pl.DataFrame:
    """`subject_id, person_id`: the subject's own number where all have one that the CDM allows, else its place."""
    ids = subjects.select("subject_id").unique(maintain_order=True)
    own = col("subject_id").is_between(1, _LARGEST_ID).all()
    if ids.schema["subject_id"] == pl.Int64 and ids.select(own).item():
        return ids.with_columns(person_id=col("subject_id"))
    return ids.with_columns(person_id=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))


# ---- tables


def _of_slice(part: Slice, persons: pl.DataFrame, infusions: int) -> dict[str, pl.DataFrame]:
    """All tables of a slice; so many infusions came before it."""
    courses = beside(part.subjects, persons, "subject_id")
    episodes = beside(beside(part.episodes, persons, "subject_id"), icd_codes(), "scale", "max_grade", "max_grade_upper")
    episodes = episodes.with_columns(condition_occurrence_id=col("n").cast(pl.Int64) + 1)
    grades = beside(
        beside(part.grades, persons, "subject_id"), episodes.select(*RUN, "episode", "condition_occurrence_id"), *RUN, "episode"
    )
    grades = grades.with_columns(measurement_id=col("n") + 1)
    return {
        "person": _person(courses),
        "observation_period": _observation_period(courses),
        "death": _death(courses),
        "procedure_occurrence": _procedure(courses, infusions),
        "condition_occurrence": _condition(episodes),
        "measurement": _measurement(grades),
        "aftercar_subjects": courses.select("person_id", *SUBJECTS),
        "aftercar_episodes": episodes.select("condition_occurrence_id", "person_id", *_own(EPISODES)),
        "aftercar_grades": grades.select("measurement_id", "person_id", *_own(GRADES), *_lists()),
        "aftercar_evidence": grades.select("measurement_id", event_id="evidence")
        .filter(col("event_id").list.len() > 0)
        .explode("event_id"),
    }


_LISTS = ("criteria", "missing", "flags")


def _own(schema: dict[str, Any]) -> list[pl.Expr]:
    """Our columns but lists and what the manifest says once of each scale."""
    apart = ("toxicity", "rules", "options", "evidence", "measures", *_LISTS)
    return [
        col(name).cast(pl.String) if isinstance(dtype, pl.Enum) else col(name)
        for name, dtype in schema.items()
        if name not in apart
    ]


def _lists() -> list[pl.Expr]:
    """Lists as JSON text, in a CSV and in Parquet."""
    return [_json(name) for name in (*_LISTS, "measures")]


def _json(name: str) -> pl.Expr:
    return pl.struct(v=name).struct.json_encode().str.strip_prefix('{"v":').str.strip_suffix("}").alias(name)


def _source_value(column: str) -> pl.Expr:
    """As many characters as the CDM has room for; all of it stands in `aftercar_subjects`."""
    return col(column).cast(pl.String).str.head(50)


def _person(courses: pl.DataFrame) -> pl.DataFrame:
    born = (col("day0") - pl.duration(days=(col("age_y") * 365.2425).cast(pl.Int64, strict=False))).dt.year()
    return courses.group_by("person_id", maintain_order=True).agg(
        gender_concept_id=col("sex").replace_strict(_SEX_CONCEPT, default=0, return_dtype=pl.Int64).first(),
        # Only an age is known; it may be the year before.
        year_of_birth=born.drop_nulls().first().cast(pl.Int64),
        race_concept_id=lit(0),
        ethnicity_concept_id=lit(0),
        person_source_value=_source_value("subject_id").first(),
        gender_source_value=_source_value("sex").first(),
    )


def _observation_period(courses: pl.DataFrame) -> pl.DataFrame:
    """From the first infusion to the end of the record; none for a subject without an infusion, whose beginning nobody told."""
    spans = courses.filter(col("day0").is_not_null()).group_by("person_id", maintain_order=True)
    return spans.agg(start=col("day0").min(), end=pl.max_horizontal("record_end", "day0").max()).select(
        observation_period_id="person_id",
        person_id="person_id",
        observation_period_start_date=col("start").dt.date(),
        observation_period_end_date=col("end").dt.date(),
        period_type_concept_id=lit(_ALGORITHM),
    )


def _death(courses: pl.DataFrame) -> pl.DataFrame:
    died = courses.filter(col("death").is_not_null()).unique("person_id", keep="last", maintain_order=True)
    return died.select(
        "person_id",
        death_date=col("death").dt.date(),
        death_datetime="death",
        death_type_concept_id=lit(_EHR),
        cause_concept_id=lit(0),
        cause_source_value=_source_value("death_cause"),
    )


def _procedure(courses: pl.DataFrame, before: int) -> pl.DataFrame:
    infused = courses.filter(col("day0").is_not_null())
    return infused.select(
        procedure_occurrence_id=pl.int_range(before + 1, before + 1 + pl.len(), dtype=pl.Int64),
        person_id="person_id",
        procedure_concept_id=lit(0),
        procedure_date=col("day0").dt.date(),
        procedure_datetime="day0",
        procedure_type_concept_id=lit(_EHR),
        procedure_source_value=lit("cart_infusion"),
        procedure_source_concept_id=lit(local_concept("concept", "cart_infusion")),
        modifier_source_value=_source_value("product"),
    )


def _condition(episodes: pl.DataFrame) -> pl.DataFrame:
    return episodes.select(
        "condition_occurrence_id",
        "person_id",
        condition_concept_id=lit(0),
        condition_start_date=col("onset").dt.date(),
        condition_start_datetime="onset",
        condition_end_date=col("resolution").dt.date(),
        condition_end_datetime="resolution",
        condition_type_concept_id=lit(_ALGORITHM),
        condition_source_value=pl.coalesce("icd", "toxicity"),
        condition_source_concept_id=_local("toxicity", "toxicity", episodes["toxicity"]),
    )


def _measurement(grades: pl.DataFrame) -> pl.DataFrame:
    """Stretches of a scale that applies, from when they began."""
    told = grades.filter(col("start").is_not_null() & (col("status") != "not_applicable"))
    open_ = col("grade") < col("grade_upper")
    span = pl.concat_str("grade", lit("-"), "grade_upper")
    return told.select(
        "measurement_id",
        "person_id",
        measurement_concept_id=lit(0),
        measurement_date=col("start").dt.date(),
        measurement_datetime="start",
        measurement_type_concept_id=lit(_ALGORITHM),
        operator_concept_id=pl.when(open_).then(lit(_AT_LEAST)),
        value_as_number=col("grade").cast(pl.Float64),
        measurement_source_value="scale",
        measurement_source_concept_id=_local("scale", "scale", grades["scale"]),
        value_source_value=pl.when(open_).then(span).otherwise(col("grade").cast(pl.String)),
        measurement_event_id="condition_occurrence_id",
        meas_event_field_concept_id=pl.when(col("condition_occurrence_id").is_not_null()).then(lit(_OF_CONDITION)),
    )


def _vocabulary(results: Exported) -> dict[str, pl.DataFrame]:
    """What says where the rows are from, and our concepts; none is a standard concept."""
    made = str(results.run.get("created", ""))[:10] or None
    named = [("Measurement", "scale", s, title(s)) for s in results.scales["scale"].unique().sort()]
    named += [("Condition", "toxicity", t, term(t)) for t in results.scales["toxicity"].unique().sort()]
    named += [
        ("Procedure", "concept", "cart_infusion", "Infusion of CAR-T cells"),
        ("Metadata", "vocabulary", VOCABULARY, "aftercar"),
    ]
    concepts = [
        {
            "concept_id": local_concept(kind, name),
            "concept_name": words,
            "domain_id": domain,
            "vocabulary_id": VOCABULARY,
            "concept_class_id": kind.capitalize(),
            "standard_concept": None,
            "concept_code": f"{kind}:{name}",
            "valid_start_date": "1970-01-01",
            "valid_end_date": "2099-12-31",
            "invalid_reason": None,
        }
        for domain, kind, name, words in named
    ]
    blank = {"standard_concept": pl.String, "invalid_reason": pl.String}
    vocabulary = {
        "vocabulary_id": VOCABULARY,
        "vocabulary_name": "Scales and toxicities of aftercar",
        "vocabulary_reference": "aftercar",
        "vocabulary_version": __version__,
        "vocabulary_concept_id": local_concept("vocabulary", VOCABULARY),
    }
    source = {
        "cdm_source_name": "Grades derived by aftercar" + (", virtual patients" if results.simulated else ""),
        "cdm_source_abbreviation": VOCABULARY,
        "cdm_holder": "",
        "source_description": results.statement,
        "source_release_date": made,
        "cdm_release_date": made,
        "cdm_version": "5.4",
        "cdm_version_concept_id": 0,
        "vocabulary_version": f"{VOCABULARY} {__version__}",
    }
    dates = {"source_release_date": pl.String, "cdm_release_date": pl.String}
    return {
        "cdm_source": pl.DataFrame([source], schema_overrides=dates),
        "vocabulary": pl.DataFrame([vocabulary]),
        "concept": pl.DataFrame(concepts, schema_overrides=blank),
    }


# ---- and back


def read(folder: Path, manifest: dict[str, Any]) -> Tables:
    """Our tables from `aftercar_subjects`, `aftercar_episodes`, `aftercar_grades` and `aftercar_evidence`.

    Raises:
        InputError: a table is missing or damaged.
    """
    ids = {"subject_id": pl.Int64 if manifest["subject_id"] == "Int64" else pl.String}
    texts = dict.fromkeys((*_LISTS, "measures"), pl.String)
    subjects = _table(folder, "aftercar_subjects", SUBJECTS | ids)
    episodes = _table(folder, "aftercar_episodes", EPISODES | ids)
    grades = _table(folder, "aftercar_grades", GRADES | ids | texts | {"status": pl.String, "measurement_id": pl.Int64})
    evidence = _table(folder, "aftercar_evidence", {"measurement_id": pl.Int64, "event_id": pl.Int64})
    behind = evidence.group_by("measurement_id", maintain_order=True).agg(evidence="event_id")
    grades = beside(grades, behind, "measurement_id").with_columns(
        *(col(name).str.json_decode(pl.List(pl.String)) for name in _LISTS),
        col("measures").str.json_decode(MEASURES),
        col("evidence").fill_null(lit([], pl.List(pl.Int64))),
    )
    return as_tables(manifest, grades=grades, episodes=episodes, subjects=subjects)


def _table(folder: Path, name: str, schema: dict[str, Any]) -> pl.DataFrame:
    """A table of ours, whichever way it is written; columns that `schema` names have its type."""
    try:
        if (folder / f"{name}.parquet").is_file():
            return load(folder / f"{name}.parquet")
        frame = pl.read_csv(folder / f"{name}.csv", infer_schema=False, glob=False)
        return frame.with_columns(_parsed(c, schema[c]) for c in frame.columns if schema.get(c) is not None)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"{folder / name}: not there, or not as it was exported ({type(error).__name__}). Export again."
        ) from error


def _parsed(name: str, dtype: Any) -> pl.Expr:
    if isinstance(dtype, pl.Datetime):
        return col(name).str.to_datetime(_TIME, time_unit="us")
    if dtype == pl.Boolean:
        return col(name) == "true"
    return col(name).cast(dtype)
