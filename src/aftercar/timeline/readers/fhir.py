"""FHIR R4 resources as charted rows [fhir_r4]: Bundles, and NDJSON as bulk exports write it; plain or gzipped, a file or a folder.

Only the fields that a timeline needs are decoded, and only their types are checked: a resource of which one cannot be read is
listed with its line, and the rest go on.
"""

from __future__ import annotations

import codecs
import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from polars import col, lit

from aftercar.errors import InputError
from aftercar.timeline.concepts import coded_words, codes
from aftercar.timeline.readers.batches import DAMAGED, cut_off, no_table, open_packed, unpacked
from aftercar.timeline.readers.mapping import Mapping, Mappings
from aftercar.timeline.readers.normalise import CHARTED, meanings
from aftercar.timeline.readers.piece import Piece, each_file, files_in
from aftercar.timeline.readers.table import date_only, parse_time, says_offsets
from aftercar.timeline.schema import REJECTED

BATCH = 100_000  # resources of a piece; memory while reading is bounded by it

SYSTEMS = {
    "http://loinc.org": "LOINC",
    "http://snomed.info/sct": "SNOMED",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "RXNORM",
    "http://hl7.org/fhir/sid/ndc": "NDC",
    "http://hl7.org/fhir/sid/cvx": "CVX",
    "http://hl7.org/fhir/sid/icd-10": "ICD10",
    "http://hl7.org/fhir/sid/icd-10-cm": "ICD10CM",
    "http://hl7.org/fhir/sid/icd-9-cm": "ICD9CM",
    "http://www.cms.gov/Medicare/Coding/ICD10": "ICD10PCS",
    "http://www.ama-assn.org/go/cpt": "CPT4",
    "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets": "HCPCS",
    "http://www.whocc.no/atc": "ATC",
}
# Encounters in which the patient was in a bed.
_INPATIENT = ("IMP", "ACUTE", "NONAC", "OBSENC")
_WITHDRAWN = {"entered-in-error", "cancelled", "refuted", "draft", "planned", "proposed", "preparation", "intended"}
_NOT_DONE = ("not-done", "not-taken")
_SUFFIXES = (".json", ".ndjson", ".jsonl", ".json.gz", ".ndjson.gz", ".jsonl.gz")
_LINES = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz")


# ---- the fields that are read


class _Struct(msgspec.Struct, rename="camel", gc=False):
    pass


class Coding(_Struct):
    system: str | None = None
    code: str | None = None
    display: str | None = None


class Concept(_Struct):
    coding: list[Coding] = []
    text: str | None = None


class Quantity(_Struct):
    value: float | None = None
    comparator: str | None = None
    unit: str | None = None
    code: str | None = None


class Ratio(_Struct):
    numerator: Quantity | None = None
    denominator: Quantity | None = None


class Reference(_Struct):
    reference: str | None = None


class Period(_Struct):
    start: str | None = None
    end: str | None = None


class Range(_Struct):
    low: Quantity | None = None
    high: Quantity | None = None


class Dosage(_Struct):
    dose: Quantity | None = None
    rate_quantity: Quantity | None = None
    rate_ratio: Ratio | None = None


class Component(_Struct, kw_only=True):
    code: Concept | None = None
    value_quantity: Quantity | None = None
    value_codeable_concept: Concept | None = None
    value_string: str | None = None
    value_boolean: bool | None = None
    value_integer: int | None = None
    value_date_time: str | None = None
    reference_range: list[Range] = []


class _Resource(_Struct, tag_field="resourceType", kw_only=True):
    id: str | None = None
    status: str | None = None
    subject: Reference | None = None


class Patient(_Resource, tag="Patient"):
    gender: str | None = None
    birth_date: str | None = None
    deceased_boolean: bool | None = None
    deceased_date_time: str | None = None


class Observation(Component, tag_field="resourceType", tag="Observation", kw_only=True):
    status: str | None = None
    subject: Reference | None = None
    effective_date_time: str | None = None
    effective_instant: str | None = None
    effective_period: Period | None = None
    issued: str | None = None
    component: list[Component] = []


class _Contained(_Struct):
    id: str | None = None
    code: Concept | None = None


class _Medicated(_Resource, kw_only=True):
    medication_codeable_concept: Concept | None = None
    medication_reference: Reference | None = None
    contained: list[_Contained] = []
    effective_date_time: str | None = None
    effective_period: Period | None = None


class MedicationAdministration(_Medicated, tag="MedicationAdministration"):
    dosage: Dosage | None = None


class MedicationStatement(_Medicated, tag="MedicationStatement"):
    pass


class MedicationRequest(_Medicated, tag="MedicationRequest"):
    authored_on: str | None = None


class Procedure(_Resource, tag="Procedure"):
    code: Concept | None = None
    performed_date_time: str | None = None
    performed_period: Period | None = None


class Condition(_Resource, tag="Condition"):
    code: Concept | None = None
    verification_status: Concept | None = None
    onset_date_time: str | None = None
    onset_period: Period | None = None
    abatement_date_time: str | None = None
    recorded_date: str | None = None


class Encounter(_Resource, tag="Encounter"):
    class_: Coding | None = msgspec.field(default=None, name="class")
    period: Period | None = None


class DeviceUseStatement(_Resource, tag="DeviceUseStatement"):
    timing_date_time: str | None = None
    timing_period: Period | None = None
    device: Reference | None = None


class Device(_Resource, tag="Device"):
    type: Concept | None = None


class Medication(_Resource, tag="Medication"):
    code: Concept | None = None


_Known = (
    Patient | Observation | MedicationAdministration | MedicationStatement | MedicationRequest | Procedure | Condition | Encounter
    | DeviceUseStatement | Device | Medication
)  # fmt: skip


class _Head(_Struct):
    resource_type: str


class _Entry(_Struct):
    full_url: str | None = None
    resource: msgspec.Raw = msgspec.Raw()


class _Bundle(_Struct, tag_field="resourceType", tag="Bundle"):
    entry: list[_Entry] = []


class _Id(_Struct):
    id: str | None = None


_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_decode = msgspec.json.Decoder(_Known).decode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode_bundle = msgspec.json.Decoder(_Bundle).decode
_decode_id = msgspec.json.Decoder(_Id).decode


# ---- files


def is_fhir(source: Path) -> bool:
    """Whether a file, or some file of a folder, begins as a FHIR resource does."""
    return any(_begins(path) for path in _files(source))


def _begins(path: Path) -> bool:
    try:
        with open_packed(path) as file:
            return re.search(rb'"resourceType"\s*:', file.read(1 << 16)) is not None
    except DAMAGED:
        return False


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source] if source.name.casefold().endswith(_SUFFIXES) else []
    if not source.is_dir():
        return []
    return [p for p in files_in(source) if p.name.casefold().endswith(_SUFFIXES)]


def pieces(source: Path, mappings: Mappings) -> Iterator[Piece]:
    """Each file of a source, a long one in batches.

    Raises:
        InputError: a file that is no FHIR: the only one, or one that a part of the mapping names.
    """
    index = _Index()
    files = _files(source)
    for path in files:
        index.learn(path)
    yield from each_file(source, mappings, files, lambda path, name, mapping: _batches(path, name, mapping, index))


def _batches(path: Path, name: str, mapping: Mapping, index: _Index) -> Iterator[Piece]:
    """The resources of a file. Where it is damaged, those before that place are read, and the place is listed.

    Raises:
        InputError: none of it can be read.
    """
    rows, n = _Rows(name, mapping, index), 0
    try:
        for n, share, raw in _resources(path, name, index):
            rows.add(n, raw)
            if rows.resources >= BATCH:
                yield replace(rows.piece(), share=share)
                rows = _Rows(name, mapping, index)
    except DAMAGED as damage:
        if n == 0:
            raise no_table(name, damage) from damage
        rows.bad.append(cut_off(name, n + 1, damage))
    yield rows.piece()


def _resources(path: Path, name: str, index: _Index) -> Iterator[tuple[int, float, bytes | msgspec.Raw]]:
    """Each resource with its number (the line of an NDJSON file, the entry of a Bundle) and the share of the file that is read."""
    if path.name.casefold().endswith(_LINES):
        yield from _lines(path)
        return
    with open_packed(path) as file:
        content = file.read().removeprefix(codecs.BOM_UTF8)
    try:
        kind = _decode_head(content).resource_type
    except _BROKEN as error:
        if _type_of(content.lstrip().split(b"\n", 1)[0]):
            yield from _lines(path)  # lines under the name of a document
            return
        raise InputError(f"{name}: no FHIR, or cut off: {_place(error)}") from error
    if kind != "Bundle":
        yield 1, 1.0, content
        return
    try:
        bundle = _decode_bundle(content)
    except _BROKEN as error:
        raise InputError(f"{name}: a Bundle that cannot be read: {_place(error)}") from error
    index.in_bundle(bundle)
    yield from ((n, n / len(bundle.entry), entry.resource) for n, entry in enumerate(bundle.entry, 1) if bytes(entry.resource))


def _lines(path: Path) -> Iterator[tuple[int, float, bytes]]:
    size = max(1, path.stat().st_size)
    with path.open("rb") as raw, unpacked(raw, path) as file:
        for n, line in enumerate(file, 1):
            if n == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if line.strip():
                yield n, raw.tell() / size, line


def _type_of(raw: bytes) -> str | None:
    try:
        return _decode_head(raw).resource_type
    except _BROKEN:
        return None


def _place(error: Exception) -> str:
    """What is wrong and where, without what stands there."""
    if isinstance(error, UnicodeDecodeError):
        return "bytes that are no UTF-8"
    return re.sub(r"value '.*?'", "value", str(error)).splitlines()[0]


# ---- what resources point at


@dataclass
class _Index:
    """Medications and devices by reference, and the ids behind the `urn:uuid` names of Bundles."""

    concepts: dict[str, Concept] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def learn(self, path: Path) -> None:
        """Take in a file of medications or devices: others point at them."""
        try:
            for n, _, line in _lines(path) if path.name.casefold().endswith(_LINES) else ():
                if n == 1 and _type_of(line) not in ("Medication", "Device"):
                    return
                self.take(line)
        except DAMAGED:
            return  # told when the file is read

    def take(self, raw: bytes | msgspec.Raw) -> None:
        with contextlib.suppress(*_BROKEN):  # told when the resource is read
            self.add(_decode(raw))

    def add(self, resource: _Known) -> None:
        if isinstance(resource, Medication) and resource.code and resource.id:
            self.concepts[f"Medication/{resource.id}"] = resource.code
        elif isinstance(resource, Device) and resource.type and resource.id:
            self.concepts[f"Device/{resource.id}"] = resource.type

    def in_bundle(self, bundle: _Bundle) -> None:
        """Take in what the entries of a Bundle may point at."""
        for entry in bundle.entry:
            kind = _type_of(bytes(entry.resource))
            if kind in ("Patient", "Medication", "Device"):
                if entry.full_url and (own := _decode_id(entry.resource).id):
                    self.ids[entry.full_url] = f"{kind}/{own}"
                self.take(entry.resource)

    def resolve(self, reference: str) -> str:
        """`Patient/1` for whatever names it: relative, absolute, with a version, or by `urn:uuid`."""
        if reference in self.ids:
            return self.ids[reference]
        if reference.startswith("urn:"):
            return reference.rpartition(":")[2]
        parts = reference.partition("/_history/")[0].rsplit("/", 2)
        return "/".join(parts[-2:])

    def subject(self, reference: Reference | None) -> str | None:
        if reference is None or not reference.reference or "?" in reference.reference:
            return None
        kind, _, ident = self.resolve(reference.reference).rpartition("/")
        return ident if kind in ("", "Patient") else None


# ---- charted rows


@dataclass
class _Rows:
    """Charted rows of one batch, column by column."""

    name: str
    mapping: Mapping
    index: _Index
    resources: int = 0
    row: list[int] = field(default_factory=list)
    column: list[str | None] = field(default_factory=list)
    subject: list[str | None] = field(default_factory=list)
    time: list[str | None] = field(default_factory=list)
    end: list[str | None] = field(default_factory=list)
    code: list[str | None] = field(default_factory=list)
    number: list[float | None] = field(default_factory=list)
    text: list[str | None] = field(default_factory=list)
    unit: list[str | None] = field(default_factory=list)
    bad: list[dict[str, Any]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    concepts: dict[str, str] = field(default_factory=dict)  # what codes mean, those that mean something
    _picked: dict[tuple[tuple[str | None, str | None], ...], str | None] = field(default_factory=dict)
    _about: dict[str | None, str | None] = field(default_factory=dict)  # the same subjects are pointed at again and again

    def add(self, n: int, raw: bytes | msgspec.Raw) -> None:
        self.resources += 1
        try:
            resource = _decode(raw)
        except msgspec.ValidationError as error:
            kind = _type_of(bytes(raw))
            if kind == "OperationOutcome":
                self.reject(
                    n, "export_error", kind, "the server says that its export lacks something; its operators can say what"
                )
            elif kind is None or kind in _READERS:
                self.reject(n, "bad_resource", kind, f"{_place(error)}; mend the resource")
            else:
                self.reject(n, "other_resource", kind, f"{kind} resources are not read")
            return
        except _BROKEN as error:
            self.reject(n, "malformed_line", None, f"not JSON: {_place(error)}; mend the line")
            return
        kind = type(resource).__name__
        if resource.status in _WITHDRAWN:
            self.reject(n, "withdrawn", kind, f"{kind} with status {resource.status}")
            return
        _READERS[kind](self, n, resource)

    def reject(self, n: int, reason: str, code: str | None, detail: str) -> None:
        self.bad.append({"file": self.name, "row": n, "reason": reason, "code": code, "detail": detail})

    def chart(
        self, n: int, subject: str | None, code: str | None, time: str | None, end: str | None = None, *,
        number: float | None = None, text: str | None = None, unit: str | None = None, column: str | None = None,
    ) -> None:  # fmt: skip
        """One charted row."""
        self.row.append(n)
        self.column.append(column)
        self.subject.append(subject)
        self.time.append(time)
        self.end.append(end)
        self.code.append(code)
        self.number.append(number)
        self.text.append(text)
        self.unit.append(unit)

    def about(self, subject: Reference | None) -> str | None:
        """The id of the Patient that a resource is about; None where it is about none."""
        name = subject.reference if subject else None
        if name not in self._about:
            self._about[name] = self.index.subject(subject)
        return self._about[name]

    def pick(self, concept: Concept | None) -> str | None:
        """The first coding that means something to the mapping or to us; else the first; else the text."""
        if concept is None:
            return None
        key = tuple([(c.system, c.code) for c in concept.coding]) or ((None, concept.text),)
        if key not in self._picked:
            said = [_code(c) for c in concept.coding if c.code]
            said = said or ([concept.text] if concept.text else [])
            known = meanings(pl.DataFrame({"code": said}, schema={"code": pl.String}), self.mapping)
            self.concepts |= {code: target.concept for code, target in known.items()}
            code = self._picked[key] = next((s for s in said if s in known), said[0] if said else None)
            shown = next((c.display for c in concept.coding if c.display), concept.text)
            if code and shown and shown != code:
                self.names.setdefault(code, shown)
        return self._picked[key]

    def piece(self) -> Piece:
        frame = pl.DataFrame(
            {
                "row": self.row, "column": self.column, "subject_id": self.subject, "_time": self.time, "_end": self.end, "code": self.code,
                "numeric_value": self.number, "text_value": self.text, "unit": self.unit,
            },
            schema={
                "row": pl.Int64, "column": pl.String, "subject_id": pl.String, "_time": pl.String, "_end": pl.String, "code": pl.String,
                "numeric_value": pl.Float64, "text_value": pl.String, "unit": pl.String,
            },
        )  # fmt: skip
        charted = frame.with_columns(
            file=lit(self.name),
            time=parse_time(col("_time"), pl.String(), self.mapping),
            time_given=col("_time").is_not_null(),
            date_only=date_only(col("_time"), pl.String(), self.mapping).fill_null(False),
            end_time=parse_time(col("_end"), pl.String(), self.mapping),
            end_given=col("_end").is_not_null(),
            attributable_to=lit(None, pl.String),
        ).select(col(c).cast(t) for c, t in CHARTED.items())
        return Piece(
            self.name, self.mapping, charted, pl.DataFrame(self.bad, schema=REJECTED), names=self.names,
            offsets=self.mapping.zone is None and says_offsets(frame["_time"]),
        )  # fmt: skip


def _code(coding: Coding) -> str:
    return f"{SYSTEMS.get(coding.system or '', coding.system or 'LOCAL')}//{coding.code}"


def _patient(rows: _Rows, n: int, r: Patient) -> None:
    if r.birth_date:
        rows.chart(n, r.id, "birth", r.birth_date, column="birthDate")
    if r.gender:
        rows.chart(n, r.id, "sex", None, text=r.gender, column="gender")
    if r.deceased_date_time or r.deceased_boolean:
        rows.chart(n, r.id, "death", r.deceased_date_time, column="deceased")
    if not (r.birth_date or r.gender or r.deceased_date_time or r.deceased_boolean):
        rows.reject(n, "missing_value", "Patient", "no birth date, gender or death")


def _observation(rows: _Rows, n: int, r: Observation) -> None:
    subject = rows.about(r.subject)
    period = r.effective_period or Period()
    time = r.effective_date_time or r.effective_instant or period.start or r.issued
    parts: list[tuple[Component, str]] = [(c, f"component[{i}]") for i, c in enumerate(r.component)]
    # A panel has no value of its own: its components are what was charted.
    if not parts or _valued(r):
        parts.insert(0, (r, ""))
    for part, place in parts:
        code = rows.pick(part.code)
        number, text, unit = _value(part, rows.mapping)
        rows.chart(n, subject, code, time, period.end, number=number, text=text, unit=unit, column=place or None)
        _limits(rows, n, subject, code, time, part, place)


def _valued(part: Component) -> bool:
    return any(
        v is not None
        for v in (part.value_quantity, part.value_codeable_concept, part.value_string, part.value_boolean, part.value_integer, part.value_date_time)
    )  # fmt: skip


def _value(part: Component, mapping: Mapping) -> tuple[float | None, str | None, str | None]:
    """Number, word and unit."""
    if (quantity := part.value_quantity) is not None:
        if quantity.comparator and quantity.value is not None:
            return None, f"{quantity.comparator}{quantity.value:.15g}", quantity.code or quantity.unit
        return quantity.value, None, quantity.code or quantity.unit
    if part.value_integer is not None:
        return float(part.value_integer), None, None
    if part.value_boolean is not None:
        return None, "yes" if part.value_boolean else "no", None
    if (word := part.value_codeable_concept) is not None:
        return None, _word(word, mapping), None
    return None, part.value_string or part.value_date_time, None


def _word(concept: Concept, mapping: Mapping) -> str | None:
    """A word as it is shown, where the mapping knows that; else ours, where a code of it is public; else as it is shown."""
    shown = next((c.display or c.code for c in concept.coding if c.display or c.code), concept.text)
    if shown and any(shown.casefold() in known for known in mapping.text.values()):
        return shown
    return next((coded_words()[_code(c)][1] for c in concept.coding if _code(c) in coded_words()), shown)


def _limits(rows: _Rows, n: int, subject: str | None, code: str | None, time: str | None, part: Component, place: str) -> None:
    """The laboratory's limits, where the concept has such."""
    if not part.reference_range or not (concept := rows.concepts.get(code or "")):
        return
    limits = part.reference_range[0]
    for side, limit in (("uln", limits.high), ("lln", limits.low)):
        name = f"{concept}_{side}"
        if limit is not None and limit.value is not None and name in codes():
            column = f"{place}.referenceRange".removeprefix(".")
            unit = (
                limit.code
                or limit.unit
                or (part.value_quantity and (part.value_quantity.code or part.value_quantity.unit))
                or None
            )
            rows.chart(n, subject, name, time, number=limit.value, unit=unit, column=f"{column}.{side}")


def _medication(rows: _Rows, r: _Medicated) -> str | None:
    if r.medication_codeable_concept is not None:
        return rows.pick(r.medication_codeable_concept)
    name = r.medication_reference.reference if r.medication_reference else None
    if not name:
        return None
    if name.startswith("#"):
        return rows.pick(next((c.code for c in r.contained if c.id == name[1:]), None))
    return rows.pick(rows.index.concepts.get(rows.index.resolve(name)))


def _administration(rows: _Rows, n: int, r: MedicationAdministration) -> None:
    period = r.effective_period or Period()
    number, unit = _dose(r.dosage or Dosage())
    rows.chart(
        n, rows.about(r.subject), _medication(rows, r), r.effective_date_time or period.start, period.end,
        number=number, unit=unit, text="not_done" if r.status in _NOT_DONE else None,
    )  # fmt: skip


def _dose(dosage: Dosage) -> tuple[float | None, str | None]:
    """The rate, else the dose."""
    if (ratio := dosage.rate_ratio) and ratio.numerator and ratio.denominator and ratio.numerator.value is not None:
        over = ratio.denominator
        unit = f"{ratio.numerator.code or ratio.numerator.unit}/{over.code or over.unit}"
        return (ratio.numerator.value / over.value, unit) if over.value else (None, None)
    quantity = dosage.rate_quantity or dosage.dose or Quantity()
    return quantity.value, quantity.code or quantity.unit


def _statement(rows: _Rows, n: int, r: MedicationStatement) -> None:
    period = r.effective_period or Period()
    text = "not_done" if r.status in _NOT_DONE else None
    rows.chart(n, rows.about(r.subject), _medication(rows, r), r.effective_date_time or period.start, period.end, text=text)


def _request(rows: _Rows, n: int, r: MedicationRequest) -> None:
    if rows.mapping.orders:
        rows.chart(n, rows.about(r.subject), _medication(rows, r), r.authored_on)
    else:
        rows.reject(n, "order", _medication(rows, r), "an order says not that the drug was given; [fhir] orders = true counts it")


def _procedure(rows: _Rows, n: int, r: Procedure) -> None:
    if r.status in _NOT_DONE:
        rows.reject(n, "withdrawn", rows.pick(r.code), "Procedure with status not-done")
        return
    period = r.performed_period or Period()
    rows.chart(n, rows.about(r.subject), rows.pick(r.code), r.performed_date_time or period.start, period.end)


def _condition(rows: _Rows, n: int, r: Condition) -> None:
    if r.verification_status and any(c.code in _WITHDRAWN for c in r.verification_status.coding):
        rows.reject(n, "withdrawn", rows.pick(r.code), "Condition refuted or entered in error")
        return
    onset = r.onset_date_time or (r.onset_period.start if r.onset_period else None) or r.recorded_date
    rows.chart(n, rows.about(r.subject), rows.pick(r.code), onset, r.abatement_date_time)


def _encounter(rows: _Rows, n: int, r: Encounter) -> None:
    subject, period = rows.about(r.subject), r.period or Period()
    kind = r.class_.code if r.class_ else None
    if kind not in _INPATIENT:
        rows.chart(n, subject, f"ENCOUNTER//{kind}", period.start, period.end)
        return
    rows.chart(n, subject, "setting", period.start, text="inpatient", column="period.start")
    if period.end:
        rows.chart(n, subject, "setting", period.end, text="outpatient", column="period.end")


def _device_use(rows: _Rows, n: int, r: DeviceUseStatement) -> None:
    period = r.timing_period or Period()
    device = rows.index.concepts.get(rows.index.resolve(r.device.reference)) if r.device and r.device.reference else None
    rows.chart(n, rows.about(r.subject), rows.pick(device), r.timing_date_time or period.start, period.end)


def _pointed_at(rows: _Rows, n: int, r: Device | Medication) -> None:
    """Medications and devices are read by what points at them."""
    rows.index.add(r)
    rows.reject(n, "pointed_at", type(r).__name__, "read where another resource points at it")


_READERS: dict[str, Callable[[_Rows, int, Any], None]] = {
    "Patient": _patient,
    "Observation": _observation,
    "MedicationAdministration": _administration,
    "MedicationStatement": _statement,
    "MedicationRequest": _request,
    "Procedure": _procedure,
    "Condition": _condition,
    "Encounter": _encounter,
    "DeviceUseStatement": _device_use,
    "Device": _pointed_at,
    "Medication": _pointed_at,
}
