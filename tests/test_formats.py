"""Promise 2 of the design: the format does not change a grade. The same 200 synthetic subjects, written in every format that is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sdtm_files
from polars import col, lit
from polars.testing import assert_frame_equal

from aftercar.grade.run import Result, grade_timeline
from aftercar.timeline.readers import read

SUBJECTS = 200
START = np.datetime64("2024-01-01T00:00:00")
# Concept: unit, lowest and highest value, LOINC, OMOP concept, SDTM domain and test.
MEASURED: dict[str, tuple[str, float, float, str, int, str, str]] = {
    "temperature": ("Cel", 36.0, 40.5, "8310-5", 3020891, "VS", "TEMP"),
    "sbp": ("mm[Hg]", 70, 140, "8480-6", 3004249, "VS", "SYSBP"),
    "spo2": ("%", 84, 99, "59408-5", 40762499, "VS", "OXYSAT"),
    "alt": ("U/L", 10, 900, "1742-6", 3006923, "LB", "ALT"),
    "ferritin": ("ng/mL", 100, 30000, "2276-4", 3001122, "LB", "FERRITIN"),
    "platelets": ("10*9/L", 5, 200, "777-3", 3024929, "LB", "PLAT"),
    "anc": ("/uL", 50, 3000, "751-8", 3013650, "LB", "NEUT"),
}
# Drug: unit of its rate or dose, RxNorm, OMOP concept.
GIVEN: dict[str, tuple[str, str, int]] = {
    "norepinephrine": ("ug/min", "7512", 1321341),
    "tocilizumab": ("mg", "612865", 40171288),
    "dexamethasone": ("mg", "3264", 1518254),
}
DEVICES = ("room_air", "nasal_cannula", "face_mask", "bipap", "ventilator")
CODES = """
[codes]
"LOCAL//DEVICE" = "o2_device"
"LOCAL//CART" = "cart_infusion"
"DEVICE" = "o2_device"
"CART" = "cart_infusion"
"SDTM//VS//DEVICE" = "o2_device"
"SDTM//PR//CART" = "cart_infusion"
[record]
complete = ["drugs"]
"""


@cache
def cohort() -> pl.DataFrame:
    """`subject, time, code, value, word, unit, end`: whole minutes, values that every format can hold."""
    rng = np.random.default_rng(20_261_126)
    rows: list[tuple[Any, ...]] = []

    def minute(subject: int, at: float) -> Any:
        return (START + np.timedelta64(subject * 1440 + int(at), "m")).astype("datetime64[us]").item()

    for subject in range(1, SUBJECTS + 1):
        rows.append((subject, minute(subject, 0), "cart_infusion", None, None, None, None))
        for name, (unit, low, high, *_) in MEASURED.items():
            for at in np.unique(rng.integers(1, 20 * 1440, 12)):
                value = rng.uniform(low, high)
                rows.append((subject, minute(subject, at), name, float(np.round(value, 1 if high < 50 else 0)), None, unit, None))
        for at in np.unique(rng.integers(1, 20 * 1440, 8)):
            rows.append((subject, minute(subject, at), "o2_device", None, str(rng.choice(DEVICES)), None, None))
        for name, (unit, *_) in GIVEN.items():
            for at in np.unique(rng.integers(1, 20 * 1440, rng.integers(0, 3))):
                end = minute(subject, at + rng.integers(30, 2000)) if name == "norepinephrine" else None
                rows.append((subject, minute(subject, at), name, float(rng.integers(1, 30)), None, unit, end))
    names = {"subject": pl.Int64, "time": pl.Datetime("us"), "code": pl.String, "value": pl.Float64, "word": pl.String, "unit": pl.String, "end": pl.Datetime("us")}  # fmt: skip
    return pl.DataFrame(rows, schema=names, orient="row").sort("subject", "time", "code")


def written(frame: pl.DataFrame, *times: str) -> pl.DataFrame:
    return frame.with_columns(col(t).dt.strftime("%Y-%m-%dT%H:%M:%S") for t in times)


def csv_long(folder: Path) -> Path:
    value = pl.coalesce(col("value").cast(pl.String), "word")
    rows = cohort().select(subject_id="subject", time="time", code="code", value=value, unit="unit", end_time="end")
    written(rows, "time", "end_time").write_csv(folder / "events.csv")
    return folder / "events.csv"


def csv_wide(folder: Path) -> Path:
    """A row a time, one column a concept; what has an end stands in a long table beside it."""
    wide = cohort().filter(~col("code").is_in(list(GIVEN)) & (col("code") != "cart_infusion"))
    value = pl.coalesce(col("value").cast(pl.String), "word")
    table = wide.with_columns(shown=value).pivot(on="code", index=["subject", "time"], values="shown", aggregate_function="first")
    written(table.rename({"subject": "subject_id"}), "time").write_csv(folder / "wide.csv")
    rest = cohort().filter(col("code").is_in(list(GIVEN)) | (col("code") == "cart_infusion"))
    rest = rest.select(subject_id="subject", time="time", code="code", value="value", unit="unit", end_time="end")
    written(rest, "time", "end_time").write_csv(folder / "drugs.csv")
    return folder


def meds(folder: Path) -> Path:
    (folder / "data").mkdir()
    rows = cohort().select(
        subject_id="subject", time="time", code="code", numeric_value="value", text_value="word", unit="unit", end_time="end"
    )
    rows.write_parquet(folder / "data" / "0.parquet")
    return folder


def resources() -> list[dict[str, Any]]:
    """FHIR: observations, administrations and the infusion as a procedure."""
    made: list[dict[str, Any]] = []
    for r in written(cohort(), "time", "end").iter_rows(named=True):
        about: dict[str, Any] = {"subject": {"reference": f"Patient/{r['subject']}"}}
        name = r["code"]
        if name in GIVEN:
            unit, rxnorm, _ = GIVEN[name]
            code = {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": rxnorm}]}
            when = {"effectivePeriod": {"start": r["time"], "end": r["end"]}} if r["end"] else {"effectiveDateTime": r["time"]}
            dose = {"value": r["value"], "code": unit}
            made.append({"resourceType": "MedicationAdministration", "status": "completed", "medicationCodeableConcept": code, "dosage": {"dose": dose}, **when, **about})  # fmt: skip
        elif name == "cart_infusion":
            code = {"coding": [{"code": "CART"}]}
            made.append(
                {"resourceType": "Procedure", "status": "completed", "code": code, "performedDateTime": r["time"], **about}
            )
        else:
            system, code = ("http://loinc.org", MEASURED[name][3]) if name in MEASURED else (None, "DEVICE")
            value = (
                {"valueQuantity": {"value": r["value"], "code": r["unit"]}} if name in MEASURED else {"valueString": r["word"]}
            )
            coding = {"coding": [{"system": system, "code": code}]}
            made.append({"resourceType": "Observation", "status": "final", "code": coding, "effectiveDateTime": r["time"], **value, **about})  # fmt: skip
    return made


def fhir_lines(folder: Path) -> Path:
    (folder / "export.ndjson").write_text("\n".join(map(json.dumps, resources())))
    return folder / "export.ndjson"


def fhir_bundle(folder: Path) -> Path:
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in resources()]}
    (folder / "bundle.json").write_text(json.dumps(bundle))
    return folder / "bundle.json"


def omop(folder: Path) -> Path:
    rows = cohort().with_row_index("id", 1)
    ids = {n: v[4] for n, v in MEASURED.items()} | {n: v[2] for n, v in GIVEN.items()}
    concept = col("code").replace_strict(ids, default=0, return_dtype=pl.Int64)
    pl.DataFrame({"person_id": range(1, SUBJECTS + 1)}).write_csv(folder / "person.csv")
    measured = rows.filter(col("code").is_in(list(MEASURED))).select(
        measurement_id="id", person_id="subject", measurement_concept_id=concept, measurement_date=col("time").dt.date(),
        measurement_datetime="time", value_as_number="value", unit_concept_id=lit(0), unit_source_value="unit",
    )  # fmt: skip
    measured.write_parquet(folder / "measurement.parquet")
    observed = rows.filter(code="o2_device").select(
        observation_id="id", person_id="subject", observation_concept_id=lit(0), observation_date=col("time").dt.date(),
        observation_datetime="time", value_as_string="word", observation_source_value=lit("DEVICE"),
    )  # fmt: skip
    observed.write_parquet(folder / "observation.parquet")
    drugs = rows.filter(col("code").is_in(list(GIVEN))).select(
        drug_exposure_id="id", person_id="subject", drug_concept_id=concept, drug_exposure_start_date=col("time").dt.date(),
        drug_exposure_start_datetime="time", drug_exposure_end_date=col("end").dt.date(), drug_exposure_end_datetime="end",
        quantity="value", dose_unit_source_value="unit",
    )  # fmt: skip
    drugs.write_parquet(folder / "drug_exposure.parquet")
    done = rows.filter(code="cart_infusion").select(
        procedure_occurrence_id="id", person_id="subject", procedure_concept_id=lit(0), procedure_date=col("time").dt.date(),
        procedure_datetime="time", procedure_source_value=lit("CART"),
    )  # fmt: skip
    done.write_parquet(folder / "procedure_occurrence.parquet")
    return folder


def sdtm(folder: Path, form: str) -> Path:
    rows = written(cohort(), "time", "end").with_columns(col("subject").cast(pl.String))
    domains: dict[str, pl.DataFrame] = {}
    for domain in ("VS", "LB"):
        tests = {n: v[6] for n, v in MEASURED.items() if v[5] == domain} | ({"o2_device": "DEVICE"} if domain == "VS" else {})
        own = rows.filter(col("code").is_in(list(tests)))
        result = pl.coalesce(col("value").cast(pl.String), "word")
        domains[domain] = own.select(
            col("subject").alias("USUBJID"), col("code").replace_strict(tests).alias(f"{domain}TESTCD"), result.alias(f"{domain}ORRES"),
            col("unit").alias(f"{domain}ORRESU"), col("time").alias(f"{domain}DTC"),
        )  # fmt: skip
    domains["CM"] = rows.filter(col("code").is_in(list(GIVEN))).select(
        USUBJID="subject", CMTRT=col("code").str.to_uppercase(), CMDOSE="value", CMDOSU="unit", CMSTDTC="time", CMENDTC="end"
    )
    domains["PR"] = rows.filter(code="cart_infusion").select(USUBJID="subject", PRTRT=lit("CART"), PRSTDTC="time")
    return sdtm_files.write(folder, domains, form)


FORMATS: dict[str, Callable[[Path], Path]] = {
    "CSV, wide": csv_wide,
    "MEDS": meds,
    "FHIR, NDJSON": fhir_lines,
    "FHIR, Bundle": fhir_bundle,
    "OMOP": omop,
    "SDTM, XPT": lambda p: sdtm(p, "xpt5"),
    "SDTM, Dataset-JSON": lambda p: sdtm(p, "1.1.0"),
}
WIDE = (
    "[wide]\n"
    + "\n".join(f'{n} = {{ concept = "{n}", unit = "{v[0]}" }}' for n, v in MEASURED.items())
    + '\no2_device = "o2_device"\n'
)


def graded(folder: Path, write: Callable[[Path], Path]) -> Result:
    folder.mkdir()
    source = write(folder)
    (folder / "map.toml").write_text(
        CODES + (f'[[file]]\nmatch = "wide.csv"\n{WIDE.replace("[wide]", "[file.wide]")}' if write is csv_wide else "")
    )
    imported = read(source, folder / "map.toml")
    assert imported.rejected.is_empty(), imported.rejected.group_by("file", "reason", "code").len().rows()
    assert imported.accepted == cohort().height
    return grade_timeline(imported.timeline, ["all"])


def tables(result: Result) -> list[pl.DataFrame]:
    """All but which row stands behind a grade: they are numbered in the order of each source."""
    keys = ("subject_id", "infusion", "toxicity", "scale", "start", "episode", "onset")
    frames = (result.grades.drop("evidence"), result.episodes, result.worst)
    return [f.sort(k for k in keys if k in f.columns) for f in frames]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[pl.DataFrame]:
    return tables(graded(tmp_path_factory.mktemp("formats") / "csv", csv_long))


@pytest.mark.parametrize("name", FORMATS)
def test_the_format_does_not_change_a_grade(name: str, expected: list[pl.DataFrame], tmp_path: Path) -> None:
    for ours, theirs in zip(expected, tables(graded(tmp_path / "x", FORMATS[name])), strict=True):
        assert_frame_equal(ours, theirs)
    assert expected[0].filter(col("grade") > 0)["scale"].n_unique() > 10
