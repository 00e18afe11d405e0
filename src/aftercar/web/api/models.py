"""What the REST interface takes and gives; the tables are those of `docs/tables.md` and `docs/management.md`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

import polars as pl
from polars import col
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

UNADJUDICATED = "Grades derived by software, not adjudicated."
MOST_ROWS = 20_000  # of a request


def _plain(text: str) -> str:
    """Text that every database and file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a character") from None
    if any(ord(c) < 32 and c not in "\t\n\r" for c in text):
        raise ValueError("holds a control character")
    return text


Text = Annotated[str, StringConstraints(max_length=4000), AfterValidator(_plain)]
Short = Annotated[str, StringConstraints(max_length=200), AfterValidator(_plain)]
Local = Annotated[
    datetime, Field(description="Local wall-clock time of the ward, without a zone.", examples=["2026-11-25T14:30:00"])
]
Names = Annotated[list[str], Field(default_factory=list)]


class Taken(BaseModel):
    """What comes in: a field that nobody knows is refused, for it may be a misspelt one."""

    model_config = ConfigDict(extra="forbid")


class Given(BaseModel):
    """What goes out."""

    model_config = ConfigDict(from_attributes=True)


# ---- signing in


class Credentials(Taken):
    """A name and its password."""

    name: Annotated[Short, Field(examples=["dr.example"])]
    password: Annotated[str, StringConstraints(max_length=1000), AfterValidator(_plain), Field(examples=["a long pass phrase"])]


class Token(Given):
    """A bearer token: send it as `Authorization: Bearer TOKEN`."""

    token: Annotated[str, Field(description="Keep it secret; it is stored nowhere.")]
    token_type: Literal["bearer"] = "bearer"
    name: str
    role: str
    idle_s: Annotated[int, Field(description="[s] Without a request for so long it ends.")]
    longest_s: Annotated[int, Field(description="[s] After so long it ends in any case.")]


class Asking(Given):
    """Who asks."""

    name: str
    role: str
    csrf: Annotated[str | None, Field(description="Without a bearer token writes send this as `X-CSRF-Token`; null with one.")]


# ---- patients and events


class PatientIn(Taken):
    """A new patient."""

    label: Annotated[
        Short,
        Field(
            description="What the ward calls the patient: a pseudonym, or the id in the record system.",
            min_length=1,
            max_length=64,
            examples=["CART-017"],
        ),
    ]
    complete: Annotated[
        list[Short],
        Field(default_factory=lambda: ["drugs"], max_length=10, examples=[["drugs"]], description="Streams of which nothing is left out: what is not charted of them did not happen."),
    ]  # fmt: skip


class PatientOut(Given):
    """A patient; `version` counts the changes of the record and is the `ETag`."""

    subject_id: int
    label: str
    version: int
    made_up: bool
    complete: list[str]
    changed_at: Annotated[datetime, Field(description="UTC, without a zone.")]


class RowIn(Taken):
    """What was charted: one row of the timeline."""

    time: Annotated[
        datetime,
        Field(
            description="When it was charted, or when an infusion or device began; with an offset it is brought to the zone of the ward.",
            examples=["2026-11-25T14:30:00"],
        ),
    ]
    code: Annotated[
        Short,
        Field(
            min_length=1,
            description="A concept (`aftercar concepts` lists them) or a public code.",
            examples=["temperature", "LOINC//8310-5"],
        ),
    ]
    numeric_value: Annotated[float | None, Field(allow_inf_nan=False, examples=[38.6])] = None
    text_value: Annotated[Text | None, Field(examples=[None])] = None
    unit: Annotated[Short | None, Field(description="UCUM unit of the number.", examples=["Cel"])] = None
    end_time: Annotated[datetime | None, Field(description="End of an infusion or a device.", examples=[None])] = None


class RowsIn(Taken):
    """Rows of one patient; those that cannot be used are listed, and the others are kept."""

    rows: Annotated[list[RowIn], Field(min_length=1, max_length=MOST_ROWS)]


class Rejected(Given):
    """A row that was not used. `row` counts from 1: of FHIR the entry of the Bundle. Never a value."""

    row: int | None
    column: str | None = None
    reason: Annotated[str, Field(examples=["unknown_unit"])]
    code: str | None
    detail: Annotated[str | None, Field(description="What to do.")]


class Noted(Given):
    """A row that was read otherwise than it was charted, and how. Never a value."""

    row: int | None
    code: str
    detail: Annotated[str, Field(examples=["read as [degF]: charted as Cel"])]


class Written(Given):
    """What a write made. `accepted + rejected = read`."""

    subject_id: int
    version: Annotated[int, Field(description="Of the record now.")]
    events: Annotated[list[int], Field(description="The numbers of the events that were added.")]
    read: int
    accepted: int
    rejected: list[Rejected]
    warnings: Annotated[
        list[Noted],
        Field(
            description="What was kept, but read otherwise than it was charted, as a unit mistaken for another. Correct it where that is wrong."
        ),
    ]


class Event(Given):
    """An entry as it was made; none is ever overwritten."""

    event_id: int
    version: Annotated[int, Field(description="Of the record, which this entry made.")]
    time: datetime | None
    code: str
    numeric_value: float | None
    text_value: str | None
    unit: str | None
    end_time: datetime | None
    source: str | None
    attributable_to: str | None
    note: str | None
    recorded_at: Annotated[datetime, Field(description="UTC, without a zone.")]
    recorded_by: str
    replaces: Annotated[int | None, Field(description="The event that this one corrects or withdraws.")]
    withdrawn: Annotated[bool, Field(description="This entry says that the one it replaces no longer counts.")]
    replaced_by: Annotated[int | None, Field(description="The event that corrected or withdrew this one.")]


T = TypeVar("T")


class Page(Given, Generic[T]):
    """A page of a list; `next` is the `cursor` of the page after it, null on the last."""

    items: list[T]
    next: str | None


# ---- what was found


class Result(Given):
    """A result that was stored; former ones stay."""

    result_id: int
    version: int
    as_of: Local
    made_at: Annotated[datetime, Field(description="UTC, without a zone.")]
    software: str


class Found(Given):
    """What a list of findings was read from."""

    subject_id: int
    version: Annotated[int | None, Field(description="Of the record; null where nothing is charted.")]
    as_of: Annotated[datetime | None, Field(description="Local time at which the record was read.")]
    note: str = UNADJUDICATED
    made_up: bool


class Measure(Given):
    """A number that a scale works with."""

    name: str
    value: float | None


class Grade(Given):
    """A stretch of time `[start, end)` in which nothing about a grade changed."""

    infusion: int
    toxicity: Annotated[str, Field(examples=["crs"])]
    scale: Annotated[str, Field(examples=["crs_astct2019"])]
    start: datetime | None
    end: Annotated[datetime | None, Field(description="Null where the record ends.")]
    grade: Annotated[int | None, Field(description="Unknown criteria counted as unmet.")]
    grade_upper: Annotated[int | None, Field(description="Unknown criteria counted as met.")]
    upper_assessed: Annotated[
        int | None, Field(description="`grade_upper` without what only a gap between assessments leaves open.")
    ]
    status: str
    group: str | None
    criteria: Names
    missing: Annotated[list[str], Field(description="What `grade_upper` supposes; charting it settles the grade.")]
    flags: Names
    evidence: Annotated[list[int], Field(description="The events behind the grade.")]
    measures: list[Measure]
    rules: str
    options: dict[str, Any]


class Worst(Given):
    """The highest grade of a course on a scale."""

    infusion: int
    toxicity: str
    scale: str
    grade: int | None
    grade_upper: int | None
    status: str
    group: str | None
    criteria: Names
    flags: Names
    measures: list[Measure]
    time: datetime | None
    day: Annotated[int | None, Field(description="[d] Since the infusion, which is day 0.")]
    assessed: bool | None
    unassessed_h: Annotated[float | None, Field(description="[h] Time in which what the scale reads was too old.")]
    rules: str
    options: dict[str, Any]


class Episode(Given):
    """From onset to resolution."""

    infusion: int
    toxicity: str
    scale: str
    episode: int
    onset: datetime | None
    resolution: Annotated[datetime | None, Field(description="Null where the end was not seen.")]
    max_grade: int | None
    max_grade_upper: int | None
    onset_day: int | None
    duration_d: Annotated[float | None, Field(description="[d] A lower bound where `censored`.")]
    censored: bool
    rules: str
    options: dict[str, Any]


class Grades(Found, Page[Grade]):
    """Stretches of grades, by infusion, scale and time."""


class Worsts(Found):
    """The worst grade of each course and scale."""

    items: list[Worst]


class Episodes(Found):
    """Episodes of each course and scale."""

    items: list[Episode]


class Record(Given):
    """A row of the timeline behind a grade."""

    event_id: int
    time: datetime | None
    end_time: datetime | None
    code: str
    numeric_value: float | None
    text_value: str | None
    unit: str | None
    source: str | None
    attributable_to: str | None


class Explanation(Found):
    """Why a grade stood at a time: the cells of the published table, what is missing, and the records behind it."""

    stretch: Grade
    source: Annotated[str, Field(description="Key of the published scale among the references.")]
    reference: str | None
    records: list[Record]


# ---- options, doses, scores


class Option(Given):
    """An option of management with its reasons; never an order."""

    infusion: int
    time: datetime
    topic: str
    rule: str
    status: Annotated[
        str,
        Field(
            description="`option`; `measure_first`: only at the upper bound; `blocked`, `perhaps_blocked`; of the block list `not_blocked`."
        ),
    ]
    option: str
    action: str | None
    dose: str | None
    dose_mg: Annotated[float | None, Field(description="[mg]")]
    dexamethasone_mg_a_day: Annotated[float | None, Field(description="[mg/d] Of a steroid, the most a day.")]
    reasons: Names
    missing: Names
    cautions: Names
    population: str | None
    strength: str | None
    source: str | None
    source_date: str | None
    mark: str | None
    blocks: Names
    profile: str


class Doses(Given):
    """What was given of a drug so far."""

    infusion: int
    time: datetime
    drug: str
    n: int
    n_24h: int
    mg: Annotated[float | None, Field(description="[mg]")]
    mg_24h: Annotated[float | None, Field(description="[mg]")]
    unread: Annotated[int, Field(description="Doses whose amount cannot be read.")]
    dexamethasone_mg: Annotated[float | None, Field(description="[mg] Equivalent, of steroids.")]
    last: datetime | None


class Limit(Given):
    """What is left of a drug that has limits."""

    infusion: int
    time: datetime
    drug: str
    n: int
    n_24h: int
    since_h: Annotated[float | None, Field(description="[h] Since the last dose; null where none was given.")]
    reached: Annotated[list[str], Field(description="`interval`, `in_24h`, `total`.")]
    next: Annotated[datetime | None, Field(description="When the interval has passed.")]
    dose: str | None
    dose_mg: Annotated[float | None, Field(description="[mg]")]


class Advice(Found):
    """Options, doses given, and limits. Options, never orders."""

    profile: str
    options: list[Option]
    ledger: list[Doses]
    limits: list[Limit]


class Score(Given):
    """A risk score with what its missing inputs leave open; `docs/risk.md` describes each."""

    infusion: int
    score: Annotated[str, Field(examples=["easix"])]
    window: str | None
    value: float | None
    value_upper: Annotated[float | None, Field(description="Missing inputs at their worst.")]
    log2: float | None
    group: str | None
    group_lower: str | None
    group_upper: str | None
    status: Annotated[str, Field(description="`scored`, `incomplete`, `refused`, `not_applicable` or `not_computed`.")]
    criteria: Names
    missing: Names
    flags: Names
    evidence: Annotated[list[int], Field(description="The events behind it.")]
    published: Annotated[str | None, Field(description="For what and in whom it was published.")]
    rules: str
    options: dict[str, Any]


class Input(Given):
    """What a score was computed of."""

    infusion: int
    score: str
    window: str | None
    input: str
    value: float | None
    charted_as: str | None
    unit: str | None
    time: datetime | None
    day: int | None
    event_id: int | None


class Factor(Given):
    """A published risk factor, present or not."""

    infusion: int
    factor: str
    outcome: str
    state: Annotated[str, Field(description="`present`, `absent` or `unknown`.")]
    by: str | None
    effect: str | None
    source: str | None
    mark: str | None
    in_lecture: bool | None


class Scores(Found):
    """Risk scores, what they were computed of, and risk factors, of each course."""

    scores: list[Score]
    inputs: list[Input]
    factors: list[Factor]


# ---- virtual patients


class SimulationIn(Taken):
    """A few virtual patients."""

    product: Annotated[Short, Field(examples=["axi-cel"])]
    disease: Annotated[Short, Field(examples=["lbcl"])]
    policy: Annotated[Short, Field(examples=["standard"])] = "standard"
    patients: Annotated[int, Field(ge=1, le=200)] = 20
    days: Annotated[float, Field(gt=0, le=60, description="[d] Of charting after the infusion.")] = 30.0
    seed: Annotated[int, Field(ge=0, lt=2**31, description="The same seed gives the same numbers.")] = 1


class Rate(Given):
    """How many virtual patients reached a grade of a toxicity."""

    toxicity: str
    scale: str
    grade: Annotated[int, Field(description="At least this grade.")]
    n: int
    of: int
    rate: float
    median_onset_day: Annotated[float | None, Field(description="[d] Of the first episode, where there was one.")]


class Simulated(Given):
    """What came of virtual patients. Simulated: nothing here is about a real patient."""

    simulated: Literal[True] = True
    banner: str
    asked: SimulationIn
    patients: int
    events: int
    rates: list[Rate]


def rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as JSON can hold them: what is no finite number becomes null, no list an empty one, and the text of the options an object."""
    frame = frame.with_columns(col(pl.List).fill_null([]))
    return [{key: _value(key, value) for key, value in row.items()} for row in frame.iter_rows(named=True)]


def _value(key: str, value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if key == "options" and isinstance(value, str):
        return json.loads(value)
    if isinstance(value, list):
        return [_value("", v) for v in value]
    if isinstance(value, Mapping):
        return {k: _value(k, v) for k, v in value.items()}
    return value


def rejected(frame: pl.DataFrame) -> list[Rejected]:
    """The rows of a read that were not used, without a file's name."""
    return [Rejected.model_validate(row) for row in _known(frame.iter_rows(named=True))]


def noted(frame: pl.DataFrame) -> list[Noted]:
    """The rows of `intake.noted`."""
    return [Noted.model_validate(row) for row in frame.iter_rows(named=True)]


def _known(read: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    return ({key: row.get(key) for key in Rejected.model_fields} for row in read)
