"""Grades as SDTM and ADaM datasets in Dataset-JSON 1.1, and the way back.

An episode is an adverse event (AE), a stretch of a grade a finding about it (FA); what has no variable is a supplemental qualifier (SUPPAE, SUPPFA).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import msgspec
import polars as pl
from polars import col, lit

from aftercar import __version__
from aftercar.errors import InputError, OptionError
from aftercar.evidence.diagnoses import terms
from aftercar.export.json_text import number, row, text
from aftercar.export.names import term
from aftercar.export.results import Exported, Slice, Tables, as_tables, beside
from aftercar.grade.scale import MEASURES

_TIME = "%Y-%m-%dT%H:%M:%S%.f"
# A dataset is written, and read back, by lines: a head, this, a row a line, an end.
_ROWS = '"rows": [\n'
_BATCH = 100_000  # rows at a time on the way back
_STUDY = re.compile(r"[A-Za-z0-9._\-]{1,40}")


# ---- what the datasets hold


@dataclass(frozen=True, eq=False)
class _Variable:
    """A column: its label, its type in Dataset-JSON, and what it is of our rows."""

    name: str
    label: str
    kind: str
    value: pl.Expr

    @property
    def cell(self) -> pl.Expr:
        return number(self.value) if self.kind in ("integer", "float") else text(self.value)

    def described(self, dataset: str) -> dict[str, str]:
        return {"itemOID": f"IT.{dataset}.{self.name}", "name": self.name, "label": self.label, "dataType": self.kind}


def _text(name: str, label: str, value: str | pl.Expr) -> _Variable:
    return _Variable(name, label, "string", col(value) if isinstance(value, str) else value)


def _integer(name: str, label: str, value: str | pl.Expr) -> _Variable:
    return _Variable(name, label, "integer", col(value) if isinstance(value, str) else value)


def _float(name: str, label: str, column: str) -> _Variable:
    return _Variable(name, label, "float", col(column))


def _when(name: str, label: str, time: str) -> _Variable:
    """A date and time in ISO 8601, as local time."""
    return _Variable(name, label, "datetime", col(time).dt.to_string(_TIME))


def _date(name: str, label: str, time: str) -> _Variable:
    return _Variable(name, label, "date", col(time).dt.to_string("%Y-%m-%d"))


_USUBJID = _text("USUBJID", "Unique Subject Identifier", col("subject_id").cast(pl.String))
_INFUSION = _integer("INFUSION", "Infusion, 1, 2 ...", "infusion")
_LINK = pl.concat_str(col("scale"), lit("-"), col("infusion"), lit("-"), col("episode"))
_SETTLED = col("grade") == col("grade_upper")


def _domain(name: str) -> _Variable:
    return _text("DOMAIN", "Domain Abbreviation", lit(name))


def _study_day(time: str, day0: str) -> pl.Expr:
    """Days as SDTM counts them: the day of the infusion is day 1, the day before it day -1."""
    return _counted((col(time).dt.date() - col(day0).dt.date()).dt.total_days())


def _counted(days: pl.Expr) -> pl.Expr:
    return pl.when(days >= 0).then(days + 1).otherwise(days)


def _range(low: str, high: str) -> pl.Expr:
    """`2`, or `1-4` where the bounds differ."""
    return pl.when(col(low) == col(high)).then(col(low).cast(pl.String)).otherwise(pl.concat_str(low, lit("-"), high))


_DM = (
    _domain("DM"),
    _USUBJID,
    _text("SUBJID", "Subject Identifier for the Study", col("subject_id").cast(pl.String)),
    _when("RFSTDTC", "Subject Reference Start Date/Time", "day0"),
    _when("RFENDTC", "Subject Reference End Date/Time", "record_end"),
    _when("RFXSTDTC", "Date/Time of First Study Treatment", "day0"),
    _when("RFXENDTC", "Date/Time of Last Study Treatment", "last_day0"),
    _when("DTHDTC", "Date/Time of Death", "death"),
    _text("DTHFL", "Subject Death Flag", pl.when(col("death").is_not_null()).then(lit("Y"))),
    _integer("AGE", "Age", col("age_y").floor().cast(pl.Int64)),
    _text("AGEU", "Age Units", pl.when(col("age_y").is_not_null()).then(lit("YEARS"))),
    _text("SEX", "Sex", col("sex").replace_strict({"male": "M", "female": "F"}, default="U", return_dtype=pl.String)),
)

_AE = (
    _domain("AE"),
    _USUBJID,
    _integer("AESEQ", "Sequence Number", "seq"),
    _text("AELNKID", "Link ID", _LINK),
    _text("AETERM", "Reported Term for the Adverse Event", "word"),
    _text("AEDECOD", "Dictionary-Derived Term", "preferred"),
    _text("AECAT", "Category for Adverse Event", "toxicity"),
    _text("AESCAT", "Subcategory for Adverse Event", "scale"),
    _text(
        "AETOXGR",
        "Standard Toxicity Grade",
        pl.when(col("max_grade") == col("max_grade_upper")).then(col("max_grade").cast(pl.String)),
    ),
    _when("AESTDTC", "Start Date/Time of Adverse Event", "onset"),
    _when("AEENDTC", "End Date/Time of Adverse Event", "resolution"),
    _integer("AESTDY", "Study Day of Start of Adverse Event", _study_day("onset", "reference")),
    _integer("AEENDY", "Study Day of End of Adverse Event", _study_day("resolution", "reference")),
)
_SUPPAE = {
    "INFUSION": ("infusion", pl.Int32, "Infusion, 1, 2 ..."),
    "EPISODE": ("episode", pl.Int32, "Episode, 1, 2 ..."),
    "TOXGRLO": ("max_grade", pl.Int8, "Highest grade, unknown as unmet"),
    "TOXGRUP": ("max_grade_upper", pl.Int8, "Highest grade, unknown as met"),
    "ONSETDAY": ("onset_day", pl.Int32, "Days from the infusion to the onset"),
    "DURATION": ("duration_d", pl.Float64, "Duration in days"),
    "CENSORED": ("censored", pl.Boolean, "The end was not seen"),
}

_ADAE = (
    _USUBJID,
    _integer("AESEQ", "Sequence Number", "seq"),
    _INFUSION,
    _text("AETERM", "Reported Term for the Adverse Event", "word"),
    _text("AEDECOD", "Dictionary-Derived Term", "preferred"),
    _text("AECAT", "Category for Adverse Event", "toxicity"),
    _text("AESCAT", "Subcategory for Adverse Event", "scale"),
    _date("TRTSDT", "Date of Exposure to Treatment", "day0"),
    _date("ASTDT", "Analysis Start Date", "onset"),
    _when("ASTDTM", "Analysis Start Date/Time", "onset"),
    _date("AENDT", "Analysis End Date", "resolution"),
    _when("AENDTM", "Analysis End Date/Time", "resolution"),
    _integer("ASTDY", "Analysis Start Relative Day", _counted(col("onset_day"))),
    _integer("AENDY", "Analysis End Relative Day", _study_day("resolution", "day0")),
    _float("ADURN", "Analysis Duration (N)", "duration_d"),
    _text("ADURU", "Analysis Duration Units", pl.when(col("duration_d").is_not_null()).then(lit("DAYS"))),
    _integer("AETOXGRN", "Toxicity Grade (N), Unknown as Unmet", "max_grade"),
    _integer("AETOXGRU", "Toxicity Grade (N), Unknown as Met", "max_grade_upper"),
    _text("CNSRFL", "End Not Seen Flag", pl.when("censored").then(lit("Y")).otherwise(lit("N"))),
)

_APPLIES = col("status") != "not_applicable"
_FA = (
    _domain("FA"),
    _USUBJID,
    _integer("FASEQ", "Sequence Number", "seq"),
    _text("FALNKID", "Link ID", _LINK),
    _text("FATESTCD", "Findings About Test Short Name", lit("TOXGR")),
    _text("FATEST", "Findings About Test Name", lit("Toxicity Grade")),
    _text("FAOBJ", "Object of the Observation", "word"),
    _text("FACAT", "Category for Findings About", "toxicity"),
    _text("FASCAT", "Subcategory for Findings About", "scale"),
    _text("FAORRES", "Result or Finding in Original Units", pl.when(_APPLIES).then(_range("grade", "grade_upper"))),
    _text("FASTRESC", "Character Result/Finding in Std Format", pl.when(_APPLIES).then(_range("grade", "grade_upper"))),
    _integer("FASTRESN", "Numeric Result/Finding in Standard Units", pl.when(_APPLIES & _SETTLED).then("grade")),
    _text("FASTAT", "Completion Status", pl.when(~_APPLIES).then(lit("NOT DONE"))),
    _text("FAREASND", "Reason Not Performed", pl.when(~_APPLIES).then(lit("The scale does not apply"))),
    _text("FAMETHOD", "Method of Test or Examination", "rules"),
    _when("FADTC", "Date/Time of Collection", "start"),
    _when("FAENDTC", "End Date/Time of Collection", "end"),
    _integer("FADY", "Study Day of Visit/Collection/Exam", _study_day("start", "reference")),
    _integer("FAENDY", "Study Day of End of Collection", _study_day("end", "reference")),
)
_SUPPFA = {
    "INFUSION": ("infusion", pl.Int32, "Infusion, 1, 2 ..."),
    "TOXGRLO": ("grade", pl.Int8, "Grade, unknown as unmet"),
    "TOXGRUP": ("grade_upper", pl.Int8, "Grade, unknown as met"),
    "TOXGRAS": ("upper_assessed", pl.Int8, "Grade, unknown as met, without gaps"),
    "STATUS": ("status", pl.String, "Status of the grade"),
    "GROUP": ("group", pl.String, "Class beside the grade"),
}
# Lists: an item is a qualifier with a number, CRIT1, CRIT2 ...
_ITEMS = {
    "CRIT": ("criteria", "Criterion behind the grade"),
    "MISS": ("missing", "Finding that would settle the grade"),
    "FLAG": ("flags", "Warning"),
    "EVID": ("evidence", "Event id of a record behind the grade"),
    "MEAS": ("measures", "Number that the scale works with"),
}

_SUPP = (
    _text("RDOMAIN", "Related Domain Abbreviation", "domain"),
    _USUBJID,
    _text("IDVAR", "Identifying Variable", pl.concat_str(col("domain"), lit("SEQ"))),
    _text("IDVARVAL", "Identifying Variable Value", col("seq").cast(pl.String)),
    _text("QNAM", "Qualifier Variable Name", "name"),
    _text("QLABEL", "Qualifier Variable Label", "label"),
    _text("QVAL", "Data Value", "value"),
    _text("QORIG", "Origin", lit("Derived")),
)

# One row a subject and infusion, the table `subjects`: SDTM and ADaM have no dataset of courses.
_COURSES = {
    "infusion": _INFUSION,
    "day0": _when("TRTSDTM", "Datetime of First Exposure to Treatment", "day0"),
    "age_y": _float("AGEY", "Age at the Infusion (Years)", "age_y"),
    "sex": _text("SEXTXT", "Sex", "sex"),
    "weight_kg": _float("WEIGHTBL", "Weight at the Infusion (kg)", "weight_kg"),
    "product": _text("TRT", "Product", "product"),
    "target": _text("TARGET", "Target Antigen", "target"),
    "disease": _text("DISEASE", "Disease", "disease"),
    "last_follow_up": _when("LFUDTM", "Datetime of Last Follow-Up", "last_follow_up"),
    "progression": _when("PROGDTM", "Datetime of Progression", "progression"),
    "next_therapy": _when("NXTTDTM", "Datetime of Next Therapy", "next_therapy"),
    "death": _when("DTHDTM", "Datetime of Death", "death"),
    "death_cause": _text("DTHCAUS", "Cause of Death", "death_cause"),
    "record_end": _when("EOSDTM", "Datetime of the End of the Record", "record_end"),
}
_RELREC = (
    _text("RDOMAIN", "Related Domain Abbreviation", "domain"),
    _text("USUBJID", "Unique Subject Identifier", lit(None, pl.String)),
    _text("IDVAR", "Identifying Variable", pl.concat_str("domain", lit("LNKID"))),
    _text("IDVARVAL", "Identifying Variable Value", lit(None, pl.String)),
    _text("RELTYPE", "Relationship Type", "many"),
    _text("RELID", "Relationship Identifier", lit("AEFA")),
)
# A row of AE has many of FA.
_RELATED = pl.DataFrame({"domain": ["AE", "FA"], "many": ["ONE", "MANY"]})

DATASETS: dict[str, tuple[str, tuple[_Variable, ...]]] = {
    "DM": ("Demographics", _DM),
    "AE": ("Adverse Events", _AE),
    "SUPPAE": ("Supplemental Qualifiers for AE", _SUPP),
    "FA": ("Findings About", _FA),
    "SUPPFA": ("Supplemental Qualifiers for FA", _SUPP),
    "ADAE": ("Adverse Events Analysis Dataset", _ADAE),
    "ADCOURSE": ("Courses, a Row a Subject and Infusion", (_USUBJID, *_COURSES.values())),
    "RELREC": ("Related Records", _RELREC),
}


# ---- writing


def write(results: Exported, folder: Path, *, study: str = "AFTERCAR") -> None:
    """Write one Dataset-JSON file a dataset.

    Args:
        study: STUDYID.
    Raises:
        OptionError: a study identifier with other characters than letters, digits, `.`, `_` and `-`.
    """
    if not _STUDY.fullmatch(study):
        raise OptionError("A study identifier is 1 to 40 letters, digits, dots, dashes and underscores.")
    files = {name: _File(folder, name, study) for name in DATASETS}
    for part in results.slices():
        for name, rows in _of_slice(part).items():
            files[name].add(rows)
    files["RELREC"].add(_RELATED)
    for file in files.values():
        file.close(results)


class _File:
    """A dataset whose rows are written first: the head holds their count."""

    def __init__(self, folder: Path, name: str, study: str) -> None:
        self.path, self.name, self.study = folder / f"{name.lower()}.json", name, study
        self.label, own = DATASETS[name]
        self.variables = (_text("STUDYID", "Study Identifier", lit(study)), *own)
        self.rows: IO[str] = self.path.with_suffix(".part").open("w+", encoding="utf-8")
        self.records = 0

    def add(self, rows: pl.DataFrame) -> None:
        if rows.is_empty():
            return
        lines = rows.select(row(*(v.cell for v in self.variables))).to_series()
        self.rows.write(",\n" if self.records else "")
        self.rows.write(lines.str.join(",\n").item())
        self.records += rows.height

    def close(self, results: Exported) -> None:
        head = {
            # When the grades were made, so that a second export is the same.
            "datasetJSONCreationDateTime": str(results.run.get("created", "1970-01-01T00:00:00+00:00")),
            "datasetJSONVersion": "1.1.0",
            "fileOID": f"{self.study}.{self.name}",
            "originator": results.statement,
            "sourceSystem": {"name": "aftercar", "version": __version__},
            "studyOID": self.study,
            "itemGroupOID": f"IG.{self.name}",
            "records": self.records,
            "name": self.name,
            "label": self.label + (" (virtual patients)" if results.simulated else ""),
            "columns": [v.described(self.name) for v in self.variables],
        }
        self.rows.seek(0)
        with self.path.open("w", encoding="utf-8") as file:
            file.write(json.dumps(head, ensure_ascii=False).removesuffix("}") + ",\n" + _ROWS)
            shutil.copyfileobj(self.rows, file)
            file.write("\n]}\n")
        self.rows.close()
        self.path.with_suffix(".part").unlink()


def _of_slice(part: Slice) -> dict[str, pl.DataFrame]:
    people = part.subjects.group_by("subject_id", maintain_order=True).agg(
        col("day0").min(), col("record_end", "death").max(), col("age_y", "sex").first(), last_day0=col("day0").max()
    )
    starts = people.select("subject_id", reference="day0")
    day0 = part.subjects.select("subject_id", "infusion", "day0")

    def told(rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with their number within the subject, the subject's first infusion, and the toxicity in words."""
        toxicities = rows["toxicity"].unique().to_list()
        words = pl.DataFrame({"toxicity": toxicities, "word": [term(t) for t in toxicities], "preferred": [terms().get(t) for t in toxicities]},
                             schema=dict.fromkeys(("toxicity", "word", "preferred"), pl.String))  # fmt: skip
        seq = pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("subject_id")
        return beside(beside(rows, starts, "subject_id").with_columns(seq=seq), words, "toxicity")

    events = beside(told(part.episodes), day0, "subject_id", "infusion")
    findings = told(part.grades)
    return {
        "DM": people,
        "AE": events,
        "SUPPAE": _qualifiers(events, "AE", _SUPPAE),
        "FA": findings,
        "SUPPFA": _qualifiers(findings, "FA", _SUPPFA, _ITEMS),
        "ADAE": events,
        "ADCOURSE": part.subjects,
    }


def _qualifiers(
    rows: pl.DataFrame, domain: str, single: dict[str, tuple[str, Any, str]], lists: dict[str, tuple[str, str]] | None = None
) -> pl.DataFrame:
    """`subject_id, seq, domain, name, label, value`: a row each value and each item of a list."""
    key = ("n", "subject_id", "seq")
    parts = [
        rows.select(*key, value=col(column).cast(pl.String), name=lit(name), label=lit(label)).filter(col("value").is_not_null())
        for name, (column, _, label) in single.items()
    ]
    for name, (column, label) in (lists or {}).items():
        each = rows.select(*key, value=col(column), item=pl.int_ranges(1, col(column).list.len() + 1))
        each = each.filter(col("value").list.len() > 0).explode("value", "item")
        parts.append(each.select(*key, value=_item(column), name=pl.concat_str(lit(name), "item"), label=lit(label)))
    return pl.concat(parts).sort("n", maintain_order=True).with_columns(domain=lit(domain))


def _item(column: str) -> pl.Expr:
    """An item of a list as text; a measure as `name=value`, without a value where it has none."""
    if column != "measures":
        return col("value").cast(pl.String)
    field = col("value").struct.field
    return pl.concat_str(field("name"), lit("="), field("value").cast(pl.String).fill_null(""))


# ---- and back


_Cells = list[str | int | float | None]


class _Column(msgspec.Struct):
    name: str


class _Head(msgspec.Struct):
    columns: list[_Column]
    records: int


def read(folder: Path, manifest: dict[str, Any]) -> Tables:
    """Our tables from AE, FA, their supplemental qualifiers, and ADCOURSE.

    Raises:
        InputError: a dataset is missing, damaged or not whole.
    """
    events = _with_qualifiers(_dataset(folder, "AE"), _dataset(folder, "SUPPAE"), "AESEQ", _SUPPAE)
    findings = _with_qualifiers(_dataset(folder, "FA"), _dataset(folder, "SUPPFA"), "FASEQ", _SUPPFA, _ITEMS)
    courses = _dataset(folder, "ADCOURSE").rename({v.name: name for name, v in _COURSES.items()})
    dates = [name for name, v in _COURSES.items() if v.kind == "datetime"]
    return as_tables(
        manifest,
        grades=findings.with_columns(scale="FASCAT", start=_time("FADTC"), end=_time("FAENDTC"), subject_id="USUBJID"),
        episodes=events.with_columns(scale="AESCAT", onset=_time("AESTDTC"), resolution=_time("AEENDTC"), subject_id="USUBJID"),
        subjects=courses.with_columns(*map(_time, dates), subject_id="USUBJID"),
    )


def _time(name: str) -> pl.Expr:
    return col(name).str.to_datetime(_TIME, time_unit="us")


def _dataset(folder: Path, name: str) -> pl.DataFrame:
    """A dataset as text."""
    path = folder / f"{name.lower()}.json"
    try:
        with path.open("rb") as file:
            head = msgspec.json.decode(file.readline().removesuffix(b",\n") + b"}", type=_Head)
            if file.readline() != _ROWS.encode():
                raise ValueError("the rows do not follow the head")
            names = [c.name for c in head.columns]
            frame = pl.concat(list(_batches(file, names)))
    except (OSError, ValueError, msgspec.MsgspecError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path}: not there, or not as it was exported ({type(error).__name__}). Export again.") from error
    if frame.height != head.records:
        raise InputError(f"{path}: it says {head.records} records and holds {frame.height}. Is the file whole?")
    return frame


def _batches(file: IO[bytes], names: list[str]) -> Iterator[pl.DataFrame]:
    """Rows so many at a time, at least one frame."""
    while True:
        lines = [line.rstrip(b",\n") for line in islice(file, _BATCH)]
        rows = msgspec.json.decode(b"[%b]" % b",".join(line for line in lines if line not in (b"", b"]}")), type=list[_Cells])
        columns = zip(*rows, strict=True) if rows else ([] for _ in names)
        yield pl.DataFrame(
            {name: pl.Series(map(_as_text, cells), dtype=pl.String) for name, cells in zip(names, columns, strict=True)}
        )
        if len(lines) < _BATCH:
            return


def _as_text(value: str | float | None) -> str | None:
    return value if value is None or isinstance(value, str) else repr(value)


def _with_qualifiers(
    rows: pl.DataFrame,
    qualifiers: pl.DataFrame,
    seq: str,
    single: dict[str, tuple[str, Any, str]],
    lists: dict[str, tuple[str, str]] | None = None,
) -> pl.DataFrame:
    """Rows with their supplemental qualifiers as columns."""
    named = qualifiers.select(
        "USUBJID", "QVAL", seq="IDVARVAL", name=col("QNAM").str.strip_chars_end("0123456789"), item=col("QNAM").str.extract(r"(\d+)$").cast(pl.Int64)
    ).sort("item", maintain_order=True)  # fmt: skip
    value = {name: col("QVAL").filter(col("name") == name) for name in (*single, *(lists or {}))}
    wide = named.group_by("USUBJID", "seq").agg(
        *(_parsed(value[name].first(), dtype).alias(column) for name, (column, dtype, _) in single.items()),
        *(value[name].alias(column) for name, (column, _) in (lists or {}).items()),
    )
    found = rows.join(wide, left_on=["USUBJID", seq], right_on=["USUBJID", "seq"], how="left", maintain_order="left")
    if lists is None:
        return found
    measure = pl.element().str.splitn("=", 2).struct
    pair = pl.struct(name=measure.field("field_0"), value=measure.field("field_1").replace("", None).cast(pl.Float64))
    return found.with_columns(col("evidence").cast(pl.List(pl.Int64)), col("measures").list.eval(pair).cast(MEASURES))


def _parsed(value: pl.Expr, dtype: Any) -> pl.Expr:
    return value == "true" if dtype == pl.Boolean else value.cast(dtype)
