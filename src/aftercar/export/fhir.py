"""Grades as FHIR R4 resources, NDJSON a resource type, and the way back.

A stretch of a grade is an Observation, an episode a Condition and an AdverseEvent, an infusion a Procedure, a scale with its options a Device.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, Any
from zoneinfo import available_timezones

import polars as pl
from polars import col, lit

from aftercar import __version__
from aftercar.errors import InputError, OptionError, nearest
from aftercar.export.json_text import array, literal, number, obj, plain, text
from aftercar.export.names import icd_codes, term, title
from aftercar.export.results import RUN, Exported, Slice, Tables, as_tables, beside
from aftercar.grade.scale import MEASURES
from aftercar.timeline.subjects import SUBJECTS

RESOURCES = ("Patient", "Device", "Procedure", "Observation", "Condition", "AdverseEvent")
# Code systems and extensions of our own. No address stands behind them: they only need to be unique.
OWN = "urn:aftercar:"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
_ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, OWN)
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_BATCH = 10_000  # resources at a time on the way back

# Facts of an episode that a Condition has no element for.
_EPISODE = {"infusion": "Integer", "episode": "Integer", "max_grade": "Integer", "max_grade_upper": "Integer", "onset_day": "Integer", "duration_d": "Decimal", "censored": "Boolean"}  # fmt: skip
_VALUES = {pl.Int32: "Integer", pl.Float64: "Decimal", pl.String: "String", pl.Datetime("us"): "DateTime"}
_COURSE = {name: _VALUES[dtype] for name, dtype in SUBJECTS.items() if dtype is not None}
_BOUNDS = ("grade", "grade_upper", "upper_assessed")
_WORDS = {"criterion": "criteria", "missing": "missing", "flag": "flags"}  # the code of a component, and our column


# ---- writing


def write(results: Exported, folder: Path, *, zone: str | None = None) -> None:
    """Write one NDJSON file a resource type.

    Args:
        zone: where the clocks of the records stood, such as `Europe/Berlin`; without it times carry a placeholder and say so.
    Raises:
        OptionError: there is no such zone.
    """
    if zone is not None and zone not in available_timezones():
        raise OptionError(f"No time zone is called {zone!r}. {nearest(zone, available_timezones())}")
    meta, clock = _meta(results, zone), _Clock(zone)
    of_scales = _of_scales(results.scales)
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.ndjson").open("wb")) for name in RESOURCES}
        devices = _devices(beside(results.scales, of_scales, "scale"))
        _write(files["Device"], devices.select(_device(meta)))
        for part in results.slices():
            grades, episodes, courses = _with_ids(part, of_scales)
            patients = courses.group_by("patient", maintain_order=True).agg(
                col("subject_id", "sex").first(),
                col("death").max(),
                _facts("course", _COURSE, clock).str.join(",").alias("courses"),
            )
            _write(files["Patient"], patients.select(_patient(meta, clock)))
            _write(files["Procedure"], courses.filter(col("day0").is_not_null()).select(_procedure(meta, clock)))
            _write(files["Observation"], grades.select(_observation(meta, clock)))
            _write(files["Condition"], episodes.select(_condition(meta, clock)))
            _write(files["AdverseEvent"], episodes.select(_adverse_event(meta, clock)))


def _with_ids(part: Slice, of_scales: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Grades, episodes and courses of a slice with the ids of the resources that they become or refer to."""

    patients = _patients(part.subjects)
    courses = _named(beside(part.subjects, patients, "subject_id"), "course_id", "subject_id", "infusion")
    rows = [part.grades, part.episodes]
    runs = _named(pl.concat([r.select(*RUN) for r in rows]).unique(maintain_order=True), "run_id", *RUN)
    grades, episodes = (beside(beside(beside(r, patients, "subject_id"), runs, *RUN), of_scales, "scale") for r in rows)
    infused = courses.filter(col("day0").is_not_null()).select("subject_id", "infusion", "course_id")
    episodes = beside(episodes, infused, "subject_id", "infusion")
    return beside(grades, _lists(grades), "n"), beside(episodes, icd_codes(), "scale", "max_grade", "max_grade_upper"), courses


def _write(file: IO[bytes], lines: pl.DataFrame) -> None:
    lines.write_csv(file, include_header=False, quote_style="never")


class _Clock:
    """Local wall-clock times as FHIR instants, which must have an offset."""

    def __init__(self, zone: str | None) -> None:
        self.zone = zone

    def __call__(self, time: pl.Expr) -> pl.Expr:
        return plain(pl.concat_str(time.dt.to_string("%Y-%m-%dT%H:%M:%S%.f"), self._offset(time)))

    def _offset(self, time: pl.Expr) -> pl.Expr:
        if self.zone is None:
            return lit("Z")
        # An hour that the clock left out when summer time began has the offset of the hour before; one that it went through twice, the first.
        hours = (
            t.dt.replace_time_zone(self.zone, ambiguous="earliest", non_existent="null")
            for t in (time, time - pl.duration(hours=1))
        )
        return pl.coalesce(t.dt.to_string("%:z") for t in hours)


def _meta(results: Exported, zone: str | None) -> pl.Expr:
    tags = [_coding("tag", "research-use", results.statement)]
    if results.simulated:
        tags.append(
            obj(system=literal(_TERMINOLOGY + "v3-ActReason"), code=literal("HTEST"), display=literal("test health data"))
        )
        tags.append(_coding("tag", "simulated", "Simulated"))
    if zone is None:
        tags.append(_coding("tag", "local-time", "Times are local wall-clock times; their offset Z is a placeholder."))
    return obj(tag=array(*tags))


def _coding(system: str, code: str | pl.Expr, display: str | pl.Expr | None = None) -> pl.Expr:
    """A code of our own; an expression is JSON text already."""
    shown = {} if display is None else {"display": literal(display) if isinstance(display, str) else display}
    return obj(system=literal(OWN + system), code=literal(code) if isinstance(code, str) else code, **shown)


def _concept(*codings: pl.Expr, words: pl.Expr | None = None) -> pl.Expr:
    return obj(coding=array(*codings), **({} if words is None else {"text": words}))


def _standard(system: str, code: str) -> pl.Expr:
    return _concept(obj(system=literal(_TERMINOLOGY + system), code=literal(code)))


def _reference(kind: str, id_: pl.Expr) -> pl.Expr:
    return obj(reference=plain(pl.concat_str(lit(f"{kind}/"), id_)))


def _facts(url: str, facts: dict[str, str], clock: _Clock) -> pl.Expr:
    """An extension of our own with those columns of a row that have a value."""
    writers = {"Integer": number, "Decimal": number, "Boolean": number, "String": text, "DateTime": clock}
    parts = [
        pl.when(col(name).is_not_null()).then(obj(url=literal(name), **{f"value{kind}": writers[kind](col(name))}))
        for name, kind in facts.items()
    ]
    return obj(url=literal(OWN + url), extension=array(*parts))


# ---- ids: the same for the same subject, whatever else is exported


def _patients(subjects: pl.DataFrame) -> pl.DataFrame:
    """`subject_id, patient`: the subject's own id where FHIR allows it, else one that is made from it."""
    ids = subjects["subject_id"].unique(maintain_order=True)
    made = [s if _ID.fullmatch(s) else str(uuid.uuid5(_NAMESPACE, s)) for s in ids.cast(pl.String)]
    return pl.DataFrame({"subject_id": ids, "patient": made}, schema_overrides={"patient": pl.String})


def _named(rows: pl.DataFrame, name: str, *key: str) -> pl.DataFrame:
    """Rows with an id that is made from a key: stretches and episodes add their time or number to it."""
    keys = rows.select(pl.concat_str(col(key).cast(pl.String), separator="\x1f")).to_series()
    return rows.with_columns(pl.Series(name, [str(uuid.uuid5(_NAMESPACE, k)) for k in keys], dtype=pl.String))


def _of_scales(scales: pl.DataFrame) -> pl.DataFrame:
    """What is told of each scale: `device` (the id of the scale with its options), `options_told`, `title`, `word`."""
    told = [
        {
            "scale": row["scale"],
            "device": str(uuid.uuid5(_NAMESPACE, f"{__version__}\x1f{row['rules']}\x1f{row['options']}")),
            "options_told": [{"name": name, "value": json.dumps(value)} for name, value in json.loads(row["options"]).items()],
            "title": title(row["scale"]),
            "word": term(row["toxicity"]),
        }
        for row in scales.to_dicts()
    ]
    words = dict.fromkeys(("scale", "device", "title", "word"), pl.String)
    return pl.DataFrame(told, schema=words | {"options_told": pl.List(pl.Struct({"name": pl.String, "value": pl.String}))})


def _stamped(time: pl.Expr) -> pl.Expr:
    return pl.concat_str(col("run_id"), time.dt.to_string("-%Y%m%dT%H%M%S%6f").fill_null(""))


_CONDITION = pl.concat_str(col("run_id"), lit("-"), col("episode"))


# ---- resources


def _device(meta: pl.Expr) -> pl.Expr:
    return obj(
        resourceType=literal("Device"),
        id=plain(col("device")),
        meta=meta,
        deviceName=array(obj(name=text(pl.concat_str(lit("aftercar "), col("rules"))), type=literal("model-name"))),
        version=array(obj(value=literal(__version__))),
        property=array(col("properties")),
    )


def _devices(scales: pl.DataFrame) -> pl.DataFrame:
    """Scales with their options as the properties of a Device."""
    each = scales.select("device", "options_told").explode("options_told").drop_nulls().unnest("options_told")
    option = obj(type=obj(text=text(col("name"))), valueCode=array(obj(text=text(col("value")))))
    properties = each.group_by("device", maintain_order=True).agg(option.str.join(",").alias("properties"))
    return beside(scales, properties, "device")


def _patient(meta: pl.Expr, clock: _Clock) -> pl.Expr:
    known = {"male": literal("male"), "female": literal("female")}
    return obj(
        resourceType=literal("Patient"),
        id=plain(col("patient")),
        meta=meta,
        extension=array(col("courses")),
        identifier=array(obj(system=literal(f"{OWN}subject"), value=text(col("subject_id")))),
        gender=pl.coalesce(pl.when(col("sex") == sex).then(code) for sex, code in known.items()),
        deceasedDateTime=clock(col("death")),
    )


def _procedure(meta: pl.Expr, clock: _Clock) -> pl.Expr:
    return obj(
        resourceType=literal("Procedure"),
        id=plain(col("course_id")),
        meta=meta,
        status=literal("completed"),
        code=_concept(_coding("concept", "cart_infusion"), words=literal("Infusion of CAR-T cells")),
        subject=_reference("Patient", col("patient")),
        performedDateTime=clock(col("day0")),
        usedCode=array(obj(text=text(col("product")))),
    )


def _observation(meta: pl.Expr, clock: _Clock) -> pl.Expr:
    absent = (col("status") == "not_applicable") & (col("grade") == 0) & (col("grade_upper") == 0)
    open_ = col("grade") != col("grade_upper")
    span = obj(low=obj(value=number(col("grade"))), high=obj(value=number(col("grade_upper"))))
    return obj(
        resourceType=literal("Observation"),
        id=plain(_stamped(col("start"))),
        meta=meta,
        extension=array(obj(url=literal(f"{OWN}infusion"), valueInteger=number(col("infusion")))),
        status=literal("preliminary"),
        category=array(_standard("observation-category", "survey")),
        code=_concept(_coding("scale", text(col("scale"))), words=text(col("title"))),
        subject=_reference("Patient", col("patient")),
        focus=array(_reference("Condition", _CONDITION)),
        effectivePeriod=obj(start=clock(col("start")), end=clock(col("end"))),
        valueInteger=pl.when(~absent & ~open_).then(number(col("grade"))),
        valueRange=pl.when(~absent & open_).then(span),
        dataAbsentReason=pl.when(absent).then(_standard("data-absent-reason", "not-applicable")),
        interpretation=array(_concept(_coding("status", plain(col("status").cast(pl.String))))),
        method=_concept(_coding("rules", text(col("rules")))),
        device=_reference("Device", col("device")),
        derivedFrom=array(col("behind")),
        component=array(
            *(pl.when(~absent | (col(name) != 0)).then(_component(name, valueInteger=number(col(name)))) for name in _BOUNDS),
            pl.when(col("group").is_not_null()).then(_component("group", valueString=text(col("group")))),
            col("parts"),
        ),
    )


def _component(part: str, **value: pl.Expr) -> pl.Expr:
    return obj(code=_concept(_coding("part", part)), **value)


def _lists(grades: pl.DataFrame) -> pl.DataFrame:
    """`n, parts, behind`: the lists of each stretch as components and references, joined by commas."""

    def each(column: str, item: pl.Expr) -> pl.DataFrame:
        rows = grades.lazy().select("n", v=col(column)).filter(col("v").list.len() > 0).explode("v")
        return rows.select("n", item=item).collect(engine="in-memory")

    def joined(parts: Iterable[pl.DataFrame], name: str) -> pl.DataFrame:
        return pl.concat(parts).group_by("n").agg(col("item").str.join(",").alias(name))

    value = obj(value=number(col("v").struct.field("value")))
    measured = obj(code=_concept(_coding("measure", text(col("v").struct.field("name")))), valueQuantity=value)
    words = [each(column, _component(part, valueString=text(col("v")))) for part, column in _WORDS.items()]
    event = obj(identifier=obj(system=literal(f"{OWN}event"), value=plain(col("v").cast(pl.String))))
    behind = joined([each("evidence", event)], "behind")
    return joined([*words, each("measures", measured)], "parts").join(behind, on="n", how="full", coalesce=True)


def _event_concept() -> pl.Expr:
    """A toxicity, with its code of ICD-10-CM where it has one."""
    standard = pl.when(col("icd").is_not_null()).then(
        obj(system=literal(_ICD10CM), code=text(col("icd")), display=text(col("shown")))
    )
    return _concept(_coding("toxicity", text(col("toxicity"))), standard, words=text(col("word")))


def _condition(meta: pl.Expr, clock: _Clock) -> pl.Expr:
    ended, range_ = col("resolution").is_not_null(), col("max_grade") != col("max_grade_upper")
    grade = pl.concat_str(
        lit("grade "),
        col("max_grade"),
        pl.when(range_).then(pl.concat_str(lit(" to "), col("max_grade_upper"))).otherwise(lit("")),
    )
    seen = pl.when(~ended).then(obj(text=literal("The end was not seen.")))
    return obj(
        resourceType=literal("Condition"),
        id=plain(_CONDITION),
        meta=meta,
        extension=array(_facts("episode", _EPISODE, clock)),
        clinicalStatus=pl.when(ended).then(_standard("condition-clinical", "resolved")),
        verificationStatus=_standard("condition-ver-status", "provisional"),
        code=_event_concept(),
        subject=_reference("Patient", col("patient")),
        onsetDateTime=clock(col("onset")),
        abatementDateTime=clock(col("resolution")),
        stage=array(obj(summary=obj(text=plain(grade)), type=_concept(_coding("scale", text(col("scale")))))),
        note=array(pl.when(col("why").is_not_null()).then(obj(text=text(col("why")))), seen),
    )


def _adverse_event(meta: pl.Expr, clock: _Clock) -> pl.Expr:
    # Who died of it did so by the grade; that it went is known where its end was seen.
    outcome = (
        pl.when(col("max_grade") == 5).then(_standard("adverse-event-outcome", "fatal"))
        .when(col("resolution").is_not_null()).then(_standard("adverse-event-outcome", "resolved"))
        .otherwise(_standard("adverse-event-outcome", "unknown"))
    )  # fmt: skip
    return obj(
        resourceType=literal("AdverseEvent"),
        id=plain(_CONDITION),
        meta=meta,
        actuality=literal("actual"),
        event=_event_concept(),
        subject=_reference("Patient", col("patient")),
        date=clock(col("onset")),
        resultingCondition=array(_reference("Condition", _CONDITION)),
        outcome=outcome,
        contributor=array(_reference("Device", col("device"))),
        suspectEntity=array(obj(instance=_reference("Procedure", col("course_id")))),
    )


# ---- and back


def _fields(**fields: Any) -> pl.Struct:
    return pl.Struct(fields)


_CODED = _fields(coding=pl.List(_fields(system=pl.String, code=pl.String)))
_LINK = _fields(reference=pl.String)
_TYPES = {"Integer": pl.Int64, "Decimal": pl.Float64, "Boolean": pl.Boolean, "String": pl.String, "DateTime": pl.String}
_EXTENSION = _fields(url=pl.String, **{f"value{kind}": dtype for kind, dtype in _TYPES.items()})
_NESTED = pl.List(_fields(url=pl.String, extension=pl.List(_EXTENSION)))

_PATIENT = _fields(id=pl.String, identifier=pl.List(_fields(system=pl.String, value=pl.String)), extension=_NESTED)
_OBSERVATION = _fields(
    extension=pl.List(_fields(url=pl.String, valueInteger=pl.Int64)),
    code=_CODED,
    subject=_LINK,
    effectivePeriod=_fields(start=pl.String, end=pl.String),
    interpretation=pl.List(_CODED),
    derivedFrom=pl.List(_fields(identifier=_fields(system=pl.String, value=pl.String))),
    component=pl.List(
        _fields(code=_CODED, valueInteger=pl.Int64, valueString=pl.String, valueQuantity=_fields(value=pl.Float64))
    ),
)
_CONDITIONS = _fields(
    extension=_NESTED, subject=_LINK, stage=pl.List(_fields(type=_CODED)), onsetDateTime=pl.String, abatementDateTime=pl.String
)


def read(folder: Path, manifest: dict[str, Any]) -> Tables:
    """Our tables from Patient, Observation and Condition.

    Raises:
        InputError: a file is missing or damaged.
    """
    patients = pl.concat([_patients_of(rows) for rows in _resources(folder, "Patient", _PATIENT)])
    ids = patients.select("patient", "subject_id").unique(maintain_order=True)
    grades = [beside(_grades_of(rows), ids, "patient") for rows in _resources(folder, "Observation", _OBSERVATION)]
    episodes = [beside(_episodes_of(rows), ids, "patient") for rows in _resources(folder, "Condition", _CONDITIONS)]
    return as_tables(manifest, grades=pl.concat(grades), episodes=pl.concat(episodes), subjects=patients)


def _resources(folder: Path, name: str, kind: pl.Struct) -> Iterator[pl.DataFrame]:
    """The resources of a file in batches, at least one, as columns."""
    path = folder / f"{name}.ndjson"
    try:
        with path.open(encoding="utf-8") as file:
            while True:
                lines = list(islice(file, _BATCH))
                yield pl.Series(lines, dtype=pl.String).str.json_decode(kind).struct.unnest()
                if len(lines) < _BATCH:
                    return
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path}: not there, or no NDJSON of FHIR ({type(error).__name__}). Export again.") from error


def _local(time: str) -> pl.Expr:
    """A local time: what the offset adds is taken off again."""
    return col(time).str.replace(r"(Z|[+-]\d{2}:\d{2})$", "").str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us").alias(time)


def _code(concept: pl.Expr) -> pl.Expr:
    return concept.struct.field("coding").list.first().struct.field("code")


def _given(rows: pl.DataFrame, url: str, facts: dict[str, str]) -> pl.DataFrame:
    """The facts of our extension as columns, a row an extension, with the number `n` of the row that holds it."""
    held = rows.select("n", "extension").explode("extension").with_columns(col("extension").struct.unnest())
    held = held.filter(col("url") == OWN + url).select("n", "extension").with_row_index("x")
    parts = held.select("x", "extension").explode("extension").select("x", col("extension").struct.unnest())
    wanted = [col(f"value{kind}").filter(col("url") == name).first().alias(name) for name, kind in facts.items()]
    found = held.select("x", "n").join(parts.group_by("x").agg(wanted), on="x", how="left", maintain_order="left")
    return found.with_columns(_local(name) for name, kind in facts.items() if kind == "DateTime")


def _patients_of(resources: pl.DataFrame) -> pl.DataFrame:
    rows = resources.with_row_index("n")
    who = rows.select("n", patient="id", subject_id=col("identifier").list.first().struct.field("value"))
    return _given(rows, "course", _COURSE).join(who, on="n", maintain_order="left")


def _episodes_of(resources: pl.DataFrame) -> pl.DataFrame:
    rows = resources.with_row_index("n")
    plain_ = rows.select(
        "n",
        scale=_code(col("stage").list.first().struct.field("type")),
        patient=_patient_of(),
        onset=col("onsetDateTime"),
        resolution=col("abatementDateTime"),
    ).with_columns(_local("onset"), _local("resolution"))
    return plain_.join(_given(rows, "episode", _EPISODE), on="n", maintain_order="left")


def _patient_of() -> pl.Expr:
    return col("subject").struct.field("reference").str.strip_prefix("Patient/")


def _grades_of(resources: pl.DataFrame) -> pl.DataFrame:
    rows = resources.with_row_index("n")
    period = col("effectivePeriod").struct
    found = rows.select(
        "n",
        patient=_patient_of(),
        infusion=col("extension").list.first().struct.field("valueInteger"),
        scale=_code(col("code")),
        start=period.field("start"),
        end=period.field("end"),
        status=_code(col("interpretation").list.first()),
    ).with_columns(_local("start"), _local("end"))
    parts = (
        rows.select("n", "component").explode("component").drop_nulls("component").select("n", col("component").struct.unnest())
    )
    coding = col("code").struct.field("coding").list.first().struct
    parts = parts.with_columns(system=coding.field("system"), code=coding.field("code"))
    measure = pl.struct(name="code", value=col("valueQuantity").struct.field("value"))
    own, measured = col("system") == f"{OWN}part", col("system") == f"{OWN}measure"
    lists = parts.group_by("n").agg(
        *(col("valueInteger").filter(own & (col("code") == name)).first().alias(name) for name in _BOUNDS),
        group=col("valueString").filter(own & (col("code") == "group")).first(),
        measures=measure.filter(measured),
        **{column: col("valueString").filter(own & (col("code") == part)) for part, column in _WORDS.items()},
    )
    events = rows.select("n", "derivedFrom").explode("derivedFrom").drop_nulls("derivedFrom")
    event = col("derivedFrom").struct.field("identifier").struct.field("value").cast(pl.Int64)
    lists = lists.join(events.group_by("n", maintain_order=True).agg(evidence=event), on="n", how="full", coalesce=True)
    empty = {"measures": lit([], MEASURES), "evidence": lit([], pl.List(pl.Int64))} | dict.fromkeys(
        _WORDS.values(), lit([], pl.List(pl.String))
    )
    return found.join(lists, on="n", how="left", maintain_order="left").with_columns(
        *(col(name).fill_null(0) for name in _BOUNDS), *(col(name).fill_null(blank) for name, blank in empty.items())
    )
