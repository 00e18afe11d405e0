"""The HTML report, on three made-up subjects: CRS with a vasopressor, ICANS, and an incomplete record that ends in death."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as ET
from datetime import datetime, timedelta
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from commands import run
from graded import example

from aftercar.cohort.describe import describe
from aftercar.cohort.told import share
from aftercar.cohort.worst import reached
from aftercar.errors import InputError
from aftercar.grade.folder import grade_folder, on_this_machine
from aftercar.grade.results import TABLES, open_results
from aftercar.grade.run import SCALES, grade_timeline
from aftercar.grade.scale import GRADES
from aftercar.intervals import wilson
from aftercar.report import render_report, write_report
from aftercar.report.bands import bands
from aftercar.report.cohort import Rate, Worst, charted, timing_table, unsettled, worst_table
from aftercar.report.cohort_figures import LEFT, onset_svg, worst_svg
from aftercar.report.course import Course, courses
from aftercar.report.figure import figure_svg, summary
from aftercar.report.methods import methods
from aftercar.report.names import in_order, toxicity_name
from aftercar.report.other import parted
from aftercar.report.panels import not_charted
from aftercar.report.pdf import write_pdf
from aftercar.report.svg import DayAxis, number
from aftercar.simulate.run import Scenario, simulate_folder
from aftercar.timeline.schema import REJECTED, conform

DAY0 = datetime(2026, 3, 2, 10)


def at(day: float) -> datetime:
    """A time, in days of 24 h since the infusion."""
    return DAY0 + timedelta(days=day)


def row(subject: int, day: float, code: str, number: float | None = None, text: str | None = None, unit: str | None = None, end: float | None = None, **more: Any) -> dict[str, Any]:  # fmt: skip
    """A row of a timeline."""
    until = None if end is None else at(end)
    return {
        "subject_id": subject,
        "time": at(day),
        "code": code,
        "numeric_value": number,
        "text_value": text,
        "unit": unit,
        "end_time": until,
    } | more


def series(subject: int, code: str, unit: str, start: float, step: float, values: list[float]) -> list[dict[str, Any]]:
    """Readings at even times."""
    return [row(subject, start + n * step, code, v, unit=unit) for n, v in enumerate(values)]


def crs_subject(s: int) -> list[dict[str, Any]]:
    """CRS grade 3: norepinephrine, tocilizumab, nasal cannula to high flow; neutropenia."""
    temperature = [
        36.8,
        36.9,
        37.0,
        37.4,
        38.2,
        38.9,
        39.4,
        39.1,
        39.6,
        40.1,
        39.2,
        38.6,
        38.1,
        37.8,
        37.2,
        37.0,
        36.9,
        36.8,
        36.9,
        36.7,
        36.8,
        36.9,
    ]
    sbp = [128, 124, 126, 120, 116, 104, 97, 92, 84, 78, 96, 102, 104, 108, 114, 118, 121, 124, 122, 125, 127, 126]
    spo2 = [97, 97, 96, 96, 95, 94, 92, 89, 93, 91, 95, 94, 95, 96, 96, 95, 96, 97, 97, 96, 97, 97]
    rows = [row(s, 0, "cart_infusion", text="axi_cel"), row(s, 0, "age", 61, unit="a"), row(s, 0, "sex", text="male")]
    rows += series(s, "temperature", "Cel", -0.2, 0.5, temperature) + series(
        s, "sbp", "mm[Hg]", -0.2, 0.5, [float(v) for v in sbp]
    )
    rows += series(s, "map", "mm[Hg]", -0.2, 0.5, [round(v * 0.68, 0) for v in sbp]) + series(
        s, "spo2", "%", -0.2, 0.5, [float(v) for v in spo2]
    )
    rows += [row(s, -0.2 + n, "o2_device", text="room_air") for n in range(4)]
    rows += [
        row(s, 3.3, "o2_device", text="nasal_cannula"), row(s, 3.3, "o2_flow", 2, unit="L/min"), row(s, 3.9, "o2_flow", 5, unit="L/min"),
        row(s, 4.2, "o2_device", text="hfnc"), row(s, 4.2, "o2_flow", 40, unit="L/min"), row(s, 4.2, "fio2", 50, unit="%"),
        row(s, 5.1, "o2_device", text="nasal_cannula"), row(s, 5.1, "o2_flow", 3, unit="L/min"),
        *(row(s, 6.1 + n, "o2_device", text="room_air") for n in range(5)),
        row(s, 3.9, "norepinephrine", 0.05, unit="ug/kg/min", end=4.2), row(s, 4.2, "norepinephrine", 0.12, unit="ug/kg/min", end=4.8),
        row(s, 4.8, "norepinephrine", 0.04, unit="ug/kg/min", end=5.3), row(s, 4.3, "vasopressin", 0.03, unit="U/min"),
        row(s, 3.6, "fluid_bolus", 1000, unit="mL"), row(s, 3.8, "fluid_bolus", 500, unit="mL"),
        row(s, 2.2, "acetaminophen", 1000, unit="mg"), row(s, 2.8, "acetaminophen", 1000, unit="mg"), row(s, 3.3, "acetaminophen", 1000, unit="mg"),
        row(s, 3.4, "tocilizumab", 640, unit="mg", text="treatment"), row(s, 4.1, "tocilizumab", 640, unit="mg", text="treatment"),
        *(row(s, 4.2 + n / 2, "dexamethasone", 10, unit="mg") for n in range(5)), row(s, -0.5, "levetiracetam", 500, unit="mg", text="prophylaxis"),
        *(row(s, n + 0.4, "ice", 10.0) for n in range(10)), *(row(s, n + 0.4, "consciousness", text="alert") for n in range(10)),
        *(row(s, 5.9 + n, "filgrastim", 300, unit="ug") for n in range(4)), row(s, 30, "last_follow_up"), row(s, 45, "platelets", 88, unit="10*9/L"),
    ]  # fmt: skip
    for code, unit, values in (
        ("crp", "mg/L", [12, 20, 64, 142, 218, 175, 96, 51, 30, 18, 12, 9]),
        ("ferritin", "ng/mL", [420, 510, 900, 2400, 5800, 7200, 5100, 3300, 2100, 1500, 1200, 1000]),
        ("anc", "/uL", [1800, 1100, 640, 410, 220, 90, 60, 110, 380, 900, 1600, 2300]),
        ("platelets", "10*9/L", [132, 118, 96, 71, 54, 41, 33, 36, 44, 52, 60, 71]),
    ):
        rows += series(s, code, unit, -0.1, 1.0, [float(v) for v in values])
    return rows


def icans_subject(s: int) -> list[dict[str, Any]]:
    """ICANS grade 3 with a seizure, after fever only."""
    rows = [row(s, 0, "cart_infusion", text="brexu-cel"), row(s, 0, "age", 48, unit="a")]
    rows += series(s, "temperature", "Cel", 0.1, 0.5, [36.9, 37.1, 38.3, 38.8, 38.4, 37.6, 37.2, *[36.9] * 17])
    rows += [
        row(s, 0.3 + n * 0.5, "ice", v)
        for n, v in enumerate([10, 10, 10, 10, 10, 10, 9, 8, 8, 6, 5, 3, 2, 1, 4, 6, 7, 8, 9, 10, 10.0, 10])
    ]
    rows += [row(s, 0.3 + n * 0.5, "consciousness", text=w) for n, w in enumerate(["alert"] * 9 + ["voice"] * 3 + ["touch"] * 2 + ["voice", "drowsy_spontaneous"] + ["alert"] * 6)]  # fmt: skip
    rows += [row(s, 6.6, "seizure", text="clinical_generalised"), row(s, 6.6, "seizure_duration", 2, unit="min"), row(s, 6.6, "seizure_outcome", text="resolved_fast")]  # fmt: skip
    rows += [row(s, 4.9 + n * 0.25, "dexamethasone", 10, unit="mg") for n in range(14)]
    rows += [row(s, 0.1, "levetiracetam", 500, unit="mg", text="prophylaxis"), row(s, 6.7, "levetiracetam", 1500, unit="mg")]
    return rows


def incomplete_subject(s: int) -> list[dict[str, Any]]:
    """Fever and a pressure, oxygen never charted, then silence and death; text that would be a script."""
    rows = [row(s, 0, "cart_infusion", text="<script>alert(1)</script>")]
    rows += series(s, "temperature", "Cel", 0.5, 0.4, [37.0, 38.4, 38.9, 39.0]) + series(
        s, "sbp", "mm[Hg]", 0.5, 0.4, [110.0, 96.0, 88.0, 86.0]
    )
    rows += [
        row(s, 1.2, "o2_flow", 4, unit="L/min", attributable_to="other", note="</title><script>x</script>"),
        row(s, 6.0, "death", text="unknown"),
    ]
    return rows


def make_timeline() -> pl.DataFrame:
    """All three, as the timeline."""
    rows = crs_subject(1) + icans_subject(2) + incomplete_subject(3)
    frame = conform(pl.from_dicts(rows, schema_overrides={"end_time": pl.Datetime("us"), "attributable_to": pl.String, "note": pl.String}, infer_schema_length=None))  # fmt: skip
    return frame.with_columns(source=pl.format("vitals.csv:{}", "event_id"))


def course_rows(
    subject: int, toxicity: str, scale: str, spans: list[tuple[float, float | None, int, int, str, list[str], list[str]]]
) -> list[dict[str, Any]]:
    """Rows of `grades`: start, end, grade, upper, status, criteria, flags."""
    return [
        {
            "subject_id": subject, "infusion": 1, "toxicity": toxicity, "scale": scale, "start": at(a), "end": None if b is None else at(b),
            "grade": low, "grade_upper": high, "upper_assessed": low if "stale" in flags else high, "status": status, "criteria": why, "missing": ["positive pressure"] if high > low else [],
            "flags": flags, "evidence": [subject, subject + 1], "measures": [], "rules": f"{scale}@1", "options": "{}",
        }
        for a, b, low, high, status, why, flags in spans
    ]  # fmt: skip


def make_tables() -> dict[str, pl.DataFrame]:
    """Hand-made results for the three subjects, after docs/tables.md."""
    crs = "crs_astct2019"
    rows = [
        *course_rows(1, "crs", crs, [
            (0, 1.8, 0, 0, "not_met", [], []), (1.8, 3.3, 1, 1, "graded", ["fever >= 38.0 C"], []),
            (3.3, 3.9, 2, 2, "graded", ["low-flow oxygen"], []), (3.9, 5.3, 3, 3, "graded", ["one vasopressor"], []),
            (5.3, 6.1, 2, 2, "graded", ["low-flow oxygen"], []), (6.1, None, 0, 0, "graded", [], []),
        ]),
        *course_rows(1, "icans", "icans_astct", [(0, None, 0, 0, "graded", [], [])]),
        *course_rows(1, "icans", "icans_astct_peds", [(0, None, 0, 0, "not_applicable", [], [])]),
        *course_rows(1, "icaht_late", "icaht_late", [(40, None, 0, 2, "incomplete", [], [])]),
        *course_rows(2, "crs", crs, [(0, 1.1, 0, 0, "not_met", [], []), (1.1, 2.6, 1, 3, "incomplete", ["fever >= 38.0 C"], []), (2.6, None, 0, 0, "graded", [], [])]),
        *course_rows(2, "icans", "icans_astct", [(0, 3.3, 0, 0, "graded", [], []), (3.3, 6.3, 2, 2, "graded", ["ICE 3-6"], []), (6.3, 7.3, 3, 3, "graded", ["ICE 0-2"], []), (7.3, None, 0, 0, "graded", [], [])]),
        *course_rows(3, "crs", crs, [(0, 0.9, 0, 4, "incomplete", [], []), (0.9, 2.2, 2, 4, "incomplete", ["hypotension, no vasopressor"], []), (2.2, 6, 0, 4, "incomplete", [], ["stale"]), (6, None, 2, 5, "incomplete", [], ["death_cause_unknown"])]),
        *course_rows(3, "icans", "icans_astct", [(0, None, 0, 4, "incomplete", [], ["stale"])]),
    ]  # fmt: skip
    overrides = {n: t for n, t in GRADES.items() if t is not None}
    grades = pl.from_dicts(rows, schema_overrides=overrides)
    worst = grades.filter(pl.col("status") != "not_applicable").group_by("subject_id", "infusion", "toxicity").agg(
        pl.col("scale").first(), pl.col("criteria").last(), pl.col("grade").max(), pl.col("grade_upper").max(), pl.col("flags").first(), pl.col("measures").first(),
        group=pl.lit(None, pl.String), assessed=pl.lit(True), time=pl.col("start").first(), day=pl.lit(4, pl.Int32), unassessed_h=pl.lit(0.0), rules=pl.col("rules").first(), options=pl.col("options").first(),
        status=pl.when(pl.col("grade").max() < pl.col("grade_upper").max()).then(pl.lit("incomplete")).otherwise(pl.lit("graded")).cast(GRADES["status"]),
    ).sort("subject_id", "toxicity")  # fmt: skip
    episodes = pl.DataFrame({
        "subject_id": [1, 2, 2, 3], "infusion": [1, 1, 1, 1], "toxicity": ["crs", "crs", "icans", "crs"], "scale": [crs, crs, "icans_astct", crs],
        "episode": [1, 1, 1, 1], "onset": [at(1.8), at(1.1), at(3.3), at(0.9)], "resolution": [at(6.1), at(2.6), at(7.3), None],
        "max_grade": [3, 1, 3, 2], "max_grade_upper": [3, 3, 3, 4], "onset_day": [2, 1, 3, 1], "duration_d": [4.3, 1.5, 4.0, 1.3],
        "censored": [False, False, False, True],
    })  # fmt: skip
    subjects = pl.DataFrame({
        "subject_id": [1, 2, 3], "infusion": [1, 1, 1], "day0": [DAY0] * 3, "age_y": [61.0, 48.0, None], "sex": ["male", None, None],
        "weight_kg": [80.0, None, None], "product": ["axi_cel", "brexu-cel", "<script>alert(1)</script>"], "target": ["CD19", "CD19", None],
        "last_follow_up": [at(30), None, None], "death": [None, None, at(6)], "death_cause": [None, None, "unknown"], "progression": [None] * 3,
        "next_therapy": [None] * 3, "record_end": [at(45), at(11.6), at(6)],
    })  # fmt: skip
    rejected = pl.DataFrame([("labs.csv", 7, None, "missing_unit", "<b>CRP</b>", "add the unit")], schema=REJECTED, orient="row")
    return {"grades": grades, "worst": worst, "episodes": episodes, "subjects": subjects, "rejected": rejected}


def make_run(**more: Any) -> dict[str, Any]:
    """run.json."""
    return {
        "aftercar": "0.1.0", "polars": pl.__version__, "created": "2026-04-01T08:00:00+00:00",
        "counts": {"read": 420, "accepted": 419, "rejected": 1, "subjects": 3}, "rules": ["crs_astct2019@1", "icans_astct@1"],
        "options": {"fever_carry_h": 24, "map_cut": 65}, "timeline": "../timeline", "timeline_note": None, "simulated": False,
    } | more  # fmt: skip


@pytest.fixture(scope="module")
def timeline() -> pl.DataFrame:
    return make_timeline()


@pytest.fixture(scope="module")
def tables() -> dict[str, pl.DataFrame]:
    return make_tables()


@pytest.fixture(scope="module")
def drawn(timeline: pl.DataFrame, tables: dict[str, pl.DataFrame]) -> dict[str, Course]:
    found = courses(tables["subjects"], timeline, tables["grades"], tables["episodes"], tables["worst"])
    return {c.subject: c for c in found}


@pytest.fixture(scope="module")
def page(timeline: pl.DataFrame, tables: dict[str, pl.DataFrame]) -> str:
    return render_report(run=make_run(timeline_note="made <up>"), timeline=timeline, shown=[1, 2, 3], **tables)


def svg_of(course: Course, **more: Any) -> ET.Element:
    """The figure, parsed: a figure that is not well-formed fails here."""
    return ET.fromstring(figure_svg(course, course.subject, **more)[0])


def titles(figure: ET.Element) -> list[str]:
    return [t.text or "" for t in figure.iter("title")]


def labels(figure: ET.Element) -> list[str]:
    return [t.text or "" for t in figure.iter("text")]


class Page(HTMLParser):
    """Headings, attributes and elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))


# ---- the page


def test_it_loads_nothing_from_elsewhere(page: str) -> None:
    found = Page(page)
    assert "://" not in page
    assert not {"script", "link", "img", "iframe", "object", "image", "use"} & set(found.tags)
    assert all(value.startswith("#") for _, name, value in found.attributes if name in ("href", "src", "xlink:href"))
    assert not [n for _, n, _ in found.attributes if n.startswith("on")]
    assert "@import" not in page and not re.search(r"url\((?!#)", page)


def test_headings_are_in_order_and_the_language_is_told(page: str) -> None:
    found = Page(page)
    assert found.headings[0] == 1 and found.headings.count(1) == 1 and max(found.headings) <= 3
    assert all(b - a <= 1 for a, b in pairwise(found.headings))
    assert ("html", "lang", "en") in found.attributes


def test_what_it_is_for_and_not_for_is_said(page: str) -> None:
    words = " ".join(page.split())
    assert "It is not a monitor or an alarm, does not replace assessment at the bedside" in words
    assert "has not been cleared or certified as a medical device anywhere" in words
    assert "grade derived by software, not adjudicated" in words
    assert "made &lt;up&gt;" in words


def test_text_of_the_record_stays_text(page: str) -> None:
    assert "<script" not in page and "script" not in Page(page).tags
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;CRP&lt;/b&gt;" in page


def test_every_figure_is_well_formed_and_named(page: str) -> None:
    figures = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]
    assert len(figures) == 12  # key, eight of the cohort, three subjects
    assert all(f.get("role") == "img" and len(f.get("aria-label", "")) > 20 for f in figures)


def test_names_of_toxicities_end_before_the_bars() -> None:
    toxicities = list(dict.fromkeys(s.toxicity for s in SCALES.values()))
    rate = Rate("1 of 2, 50% (9-91)")
    table = [Worst(toxicity_name(t), "", 2, (1, 1), 0, 0, rate, rate) for t in toxicities]
    episodes = pl.DataFrame({"toxicity": toxicities, "episode": 1, "onset_day": 3})
    for svg in (worst_svg(table), onset_svg(episodes)):
        names = [e.text or "" for e in ET.fromstring(svg).iter() if e.get("class") == "p"]
        assert " ".join(names) == " ".join(map(toxicity_name, in_order(toxicities) if "onset" in svg else toxicities))
        assert max(map(len, names)) * 7 <= LEFT  # px of a letter of that size


def test_the_footer_holds_versions_rules_and_options(page: str) -> None:
    footer = page.split("<footer>")[1]
    assert "aftercar 0.1.0" in footer and f"Polars {pl.__version__}" in footer
    assert "crs_astct2019@1" in footer and "fever_carry_h" in footer


@pytest.mark.parametrize("simulated", [True, False])
def test_simulated_is_said_at_the_top_and_in_each_figure(
    simulated: bool, timeline: pl.DataFrame, tables: dict[str, pl.DataFrame]
) -> None:
    text = render_report(run=make_run(simulated=simulated), timeline=timeline, shown=[1, 2, 3], **tables)
    head = text.split("<main>")[0]
    assert ("virtual patients; not a prediction for a person." in head) is simulated and "calibrated" not in head
    figures = [f for f in re.findall(r"<svg.*?</svg>", text, re.DOTALL) if "Key." not in f]
    assert len(figures) == 11 and all(("simulated" in f.lower()) is simulated for f in figures)


def test_the_order_of_the_rows_does_not_matter(page: str, timeline: pl.DataFrame, tables: dict[str, pl.DataFrame]) -> None:
    mixed = {n: t.sample(fraction=1.0, shuffle=True, seed=3) for n, t in tables.items()}
    rows = timeline.sample(fraction=1.0, shuffle=True, seed=4)
    assert render_report(run=make_run(timeline_note="made <up>"), timeline=rows, shown=[3, 1, 2], **mixed) == page


def test_contents_and_references_lead_somewhere(page: str) -> None:
    found = Page(page)
    there = {value for _, name, value in found.attributes if name == "id"}
    led = [value.removeprefix("#") for tag, name, value in found.attributes if tag == "a" and name == "href"]
    assert set(led) <= there and {"methods", "limits", "references", "published", "ref-1"} <= set(led)
    ids = [value for _, name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids)), "no id twice"
    assert "Option" in page and "fever_carry_h" in page and "Every option had its default" in page
    assert "@bottom-left" in page and "aftercar 0.1.0" in page.split("@bottom-left")[2][:80]


def test_text_has_enough_contrast() -> None:
    """WCAG AA, 4.5 to 1, for every colour that text has on white, and for numbers on their grade."""
    css = Path(str(files("aftercar.report").joinpath("page.css"))).read_text(encoding="utf-8")
    text = set(re.findall(r"(?<![-\w])color: (#\w{6})", css)) | {"#1b2128", "#525c68", "#17324f", "#39424c"}
    pairs = [(c, "#ffffff") for c in text] + [("#ffffff", g) for g in ("#3f5f80", "#101f30", "#2b4a6b", "#5d7690")]
    pairs += [("#1b2128", g) for g in ("#dbe3ea", "#b3c3d2", "#7f98b0")]
    assert all(shade in css for _, shade in pairs if shade != "#ffffff")
    assert {p: contrast(*p) for p in pairs if contrast(*p) < 4.5} == {}


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# ---- the cohort


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662), (10, 10, 0.7225, 1.0)],
)
def test_wilson_interval(k: int, n: int, low: float, high: float) -> None:
    """81 of 263 is the example of Newcombe 1998, table I; the others are in closed form."""
    assert wilson(k, n) == pytest.approx((low, high), abs=6e-5)
    assert wilson(0, 0) == (None, None)


def test_worst_grades_add_up_and_open_ones_are_apart(tables: dict[str, pl.DataFrame]) -> None:
    crs, icans, late = worst_table(tables["worst"])
    for row in (crs, icans, late):
        assert sum(row.grades) + row.incomplete + row.not_applicable == row.n
    assert (crs.name, crs.n, crs.grades, crs.incomplete) == ("CRS", 3, (0, 0, 0, 1, 0, 0), 2)
    # Grade 1 to 3 is surely any grade and perhaps grade 3; grade 2 to 5 likewise.
    assert (crs.any_grade.text, crs.any_grade.bounds) == ("3 of 3, 100% (44-100)", "")
    assert crs.severe.text == "1 of 3 surely"  # of those in whom it is decided all had it: that is no rate
    assert crs.severe.bounds == "2 undecided: between 33% and 100% of all 3"
    assert icans.grades == (1, 0, 0, 1, 0, 0)


def test_who_cannot_be_graded_is_listed(tables: dict[str, pl.DataFrame]) -> None:
    found = {(u.name, u.kind.split(":")[0]): u.subjects for u in unsettled(tables["worst"])}
    assert found["CRS", "incomplete"] == ["2 (1–3)", "3 (2–5)"]
    assert found["ICANS", "cannot grade"] == ["3 (0–4)"]


def test_onset_and_duration(tables: dict[str, pl.DataFrame]) -> None:
    crs, icans = timing_table(tables["episodes"])
    assert (crs.onset.n, crs.onset.text) == (3, "1 (1 to 1.5; 1 to 2)")
    assert (crs.duration.n, crs.duration.text, crs.censored) == (2, "2.9 (2.2 to 3.6; 1.5 to 4.3)", 1)
    assert (icans.duration.text, icans.censored) == ("4.0 (4.0 to 4.0; 4.0 to 4.0)", 0)
    assert timing_table(tables["episodes"].clear()) == []


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the example cohort on every scale."""
    return example(tmp_path_factory.mktemp("cohort"), ["all"])


@pytest.fixture(scope="module")
def whole(cohort: Path) -> str:
    write_report(cohort, cohort / "report.html", timeline=open_results(cohort).timeline().scan(), limit=1)
    return (cohort / "report.html").read_text(encoding="utf-8")


def test_who_is_open_is_listed_as_often_as_the_table_counts(cohort: Path) -> None:
    worst = charted(parted(open_results(cohort).worst)[0])[0]
    listed = {(u.name, u.kind == "not applicable"): 0 for u in unsettled(worst)}
    for u in unsettled(worst):
        listed[u.name, u.kind == "not applicable"] += u.n
    for row in worst_table(worst):
        assert listed.get((row.name, False), 0) == row.incomplete, row.name
        assert listed.get((row.name, True), 0) == row.not_applicable, row.name


def test_a_rate_says_of_whom_it_is_and_no_scale_has_one_of_grades_that_it_lacks(cohort: Path) -> None:
    rows = {row.name: row for row in worst_table(charted(parted(open_results(cohort).worst)[0])[0])}
    assert rows["IEC-HS, grade"].any_grade.text == "2 of 39 surely" and "37 undecided" in rows["IEC-HS, grade"].any_grade.bounds
    assert rows["IEC-HS"].any_grade.bounds == "39 undecided: between 0% and 100% of all 39"
    assert rows["CRS"].severe.text.startswith("5 of 38 decided, 13% (")
    for name in ("IEC-HS", "Neutrophil recovery, Rejeski 2021", "Second primary malignancy"):
        assert (rows[name].severe.text, rows[name].severe.bounds) == ("no such grade", ""), name
    rates = reached(open_results(cohort).worst)
    assert rates.filter(family="iec_hs")["grade_at_least"].to_list() == [1]
    assert rates.filter(family="crs")["grade_at_least"].to_list() == [1, 2, 3, 4, 5]


def test_incidence_of_a_report_is_that_of_a_description(cohort: Path, whole: str) -> None:
    table = describe(open_results(cohort)).incidence
    for outcome in ("crs:1", "crs:3", "icans:1", "icans:3"):
        own = table.filter((pl.col("outcome") == outcome) & pl.col("day").is_in([7, 14, 28])).to_dicts()
        told = whole.split(f'<tr><th scope="row">{own[0]["label"]}</th>')[1].split("</tr>")[0]
        cells = re.findall(r"<td[^>]*>(.*?)</td>", told)
        assert cells[:4] == [str(own[0][c]) for c in ("n", "events", "open", "competing")]
        assert cells[4:] == [share(r) for r in own]
    assert any("-" in share(r).split(" ")[0] for r in table.to_dicts()), "somebody is open"


def test_every_paper_that_is_listed_is_cited_in_the_text(whole: str) -> None:
    methods = whole.split('<section id="methods">')[1].split('<section id="references">')[0]
    listed = set(re.findall(r'<li id="ref-(\d+)"', whole))
    assert listed == set(re.findall(r'href="#ref-(\d+)"', methods))


def test_methods_of_virtual_patients_say_how_they_were_made(tmp_path: Path) -> None:
    simulate_folder(Scenario("axi-cel", "LBCL", days=6), 2, 7, tmp_path / "timeline", workers=1)
    grade_folder(tmp_path / "timeline", tmp_path / "grades", ["crs", "icans"], engine=on_this_machine(1))
    results = open_results(tmp_path / "grades")
    text = str(methods(results.run, results.worst).paragraphs[0])
    model = json.loads((tmp_path / "timeline" / "import.json").read_text())["simulation"]["model"]
    for words in (
        "No row is of a person",
        f"model {model}",
        "made 2 patients given axi-cel for LBCL",
        "the policy standard",
        "for 6 days",
        "seed 7",
    ):
        assert words in text, words
    assert "Virtual" not in str(methods(results.run | {"simulated": False}, results.worst).paragraphs[0])


def test_names_that_are_folded_on_the_screen_are_on_paper(cohort: Path, whole: str, tmp_path: Path) -> None:
    if not (shutil.which("chromium") and shutil.which("pdftotext")):
        pytest.skip("needs Chromium and pdftotext")
    part = whole.split('<section id="incidence">')[0] + "</section></main></body></html>"
    write_pdf(part, tmp_path / "r.pdf")
    told = subprocess.run(
        ["pdftotext", "-layout", str(tmp_path / "r.pdf"), "-"], capture_output=True, text=True, check=True
    ).stdout
    last = max(s for u in unsettled(charted(parted(open_results(cohort).worst)[0])[0]) if u.n > 12 for s in u.subjects)
    assert "<summary>List</summary>" in part and last.split(" ")[0] in told.split("Incomplete and ungradable")[1]


def test_files_that_cannot_be_are_named(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = tmp_path / "x.pdf"
    for words, says in (
        (("report", cohort, "--out", both, "--pdf", both), f"--pdf {both} prints it as PDF"),
        (
            ("report", cohort, "--out", tmp_path / "none" / "r.html", "--limit", "0"),
            f"The system refused {tmp_path / 'none' / 'r.html'}: No such",
        ),
        (("report", cohort.parent / "timeline"), "it is a timeline. `aftercar grade"),
        (("cohort", "safety", cohort, "--plan", tmp_path / "p.toml"), f"{tmp_path / 'p.toml'}: no such file"),
        (("cohort", "describe", cohort, "--beside", tmp_path / "b.csv"), f"{tmp_path / 'b.csv'}: no such file"),
    ):
        code, _, err = run(*words, capsys=capsys)
        assert code == 2 and says in err, err
    assert not both.exists()


# ---- a subject's figure


def test_drugs_and_devices_are_named_with_amounts(drawn: dict[str, Course]) -> None:
    figure = svg_of(drawn["1"])
    text = labels(figure)
    assert {"norepinephrine", "vasopressin", "tocilizumab", "dexamethasone", "acetaminophen", "filgrastim", "fluid bolus"} <= set(
        text
    )
    assert {"0.12", "640 mg", "HFNC 40 L/min", "nasal cannula 2–5 L/min", "1000 mL, 500 mL"} <= set(text)
    hover = titles(figure)
    assert any(t.startswith("Norepinephrine: 0.12 µg/kg/min, for 14.4 h; 2026-03-06 14:48, day 4; event ") for t in hover)
    assert any(t.startswith("Vasopressin: 0.03 U/min, end assumed;") for t in hover)
    assert any(t.startswith("Oxygen device: HFNC, 40 L/min, FiO₂ 50 %;") for t in hover)


def test_every_mark_tells_value_time_and_row(drawn: dict[str, Course]) -> None:
    for course in drawn.values():
        figure = svg_of(course)
        marks = [*figure.iter("circle"), *(r for r in figure.iter("rect") if r.get("class") in ("b", "ba", "o2"))]
        marks += [m for g in figure.iter("g") if (g.get("class") or "").split(" ")[0] in ("m", "o", "x") for m in g]
        assert marks
        for mark in marks:
            title = mark.find("title")
            assert title is not None and re.search(r"; \d{4}-\d\d-\d\d \d\d:\d\d, day -?\d+; event \d+", title.text or "")


def test_a_reading_just_under_the_cut_is_not_rounded_up_to_it() -> None:
    assert [number(v) for v in (37.96, 38.0, 12340.0, 0.05)] == ["37.96", "38", "12340", "0.05"]


def test_grade_bands_show_number_range_gap_and_episode(drawn: dict[str, Course]) -> None:
    crs = bands(drawn["3"])[0]
    band = ET.fromstring("<g>" + "".join(crs.body) + "</g>")
    assert {"0–4", "2–4", "2–5"} <= set(labels(band))
    classes = [e.get("class") for e in band.iter()]
    assert "up" in classes and "st" in classes and "g2" in classes and "ep" in classes
    assert any("cannot grade: a finding has expired; between 0 and 4" in t for t in titles(band))
    assert "episode 1, at least 1.3 d" in labels(band)
    whole = ET.fromstring("<g>" + "".join(bands(drawn["1"])[0].body) + "</g>")
    assert {"1", "2", "3"} <= set(labels(whole)) and "up" not in [e.get("class") for e in whole.iter()]
    heights = {r.get("class"): float(r.get("height", 0)) for r in whole.iter("rect")}
    assert heights["g1"] < heights["g2"] < heights["g3"]


def test_a_scale_that_does_not_apply_and_one_that_begins_later_are_said(drawn: dict[str, Course]) -> None:
    late = next(p for p in bands(drawn["1"]) if p.name == "ICAHT, late")
    assert "grade 0–2, from day 40: beyond this figure, see the table" in labels(
        ET.fromstring("<g>" + "".join(late.body) + "</g>")
    )


def test_what_is_not_charted_or_not_drawn_is_said(drawn: dict[str, Course], page: str) -> None:
    assert not_charted(drawn["3"]) == [
        "oxygen saturation", "oxygen device", "ICE or CAPD", "consciousness", "CRP", "ferritin", "neutrophils", "platelets",
    ]  # fmt: skip
    assert "Not drawn: 1 charted row after day 11 (the last on day 45)." in page
    assert drawn["1"].axis.last == 11 and drawn["3"].axis.last == 7


def test_the_figure_in_words(drawn: dict[str, Course]) -> None:
    assert summary(drawn["1"]).startswith("CRS: grade 3 at worst, day 4 (one vasopressor); onset day 2, lasting 4.3 d.")
    assert "CRS: incomplete, at least grade 2 and at most 5" in summary(drawn["3"])


def test_a_finding_due_to_another_cause_is_told_apart(drawn: dict[str, Course]) -> None:
    assert any("4 L/min" in t and "(attributed to another cause) (</title><script>" in t for t in titles(svg_of(drawn["3"])))


def dense(subject: int, days: int = 34) -> list[dict[str, Any]]:
    """Hourly readings with one fever spike."""
    rows = [row(subject, 0, "cart_infusion")]
    for code, unit, low in (("temperature", "Cel", 36.5), ("sbp", "mm[Hg]", 110.0), ("map", "mm[Hg]", 75.0), ("spo2", "%", 95.0)):
        rows += series(subject, code, unit, 0, 1 / 24, [low + (n * 7 % 10) / 10 for n in range(24 * days)])
    return [*rows, row(subject, 20.01, "temperature", 40.7, unit="Cel")]


def only(
    rows: list[dict[str, Any]], infusions: list[tuple[int, datetime | None]], grades: pl.DataFrame | None = None
) -> list[Course]:
    """Courses of one subject without results."""
    empty = make_tables()
    ids = [rows[0]["subject_id"]] * len(infusions)
    subjects = pl.DataFrame({"subject_id": ids, "infusion": [i for i, _ in infusions], "day0": [d for _, d in infusions]}, schema_overrides={"day0": pl.Datetime("us")})  # fmt: skip
    frame = conform(pl.from_dicts(rows, schema_overrides={"end_time": pl.Datetime("us")}, infer_schema_length=None))
    shown = empty["grades"].clear() if grades is None else grades
    return list(courses(subjects, frame, shown, empty["episodes"].clear(), empty["worst"].clear()))


def test_a_dense_record_stays_small_and_keeps_its_extremes() -> None:
    (course,) = only(dense(9), [(1, DAY0)])
    assert course.axis.knee == 15 and course.axis.last == 34
    svg, notes = figure_svg(course, "dense")
    assert len(svg) < 60_000
    assert "Temperature: 40.7 °C" in svg and any("highest and lowest" in n for n in notes)
    assert "drawn narrower (shaded)" in svg


def test_the_axis_rises_on_both_sides_of_the_knee() -> None:
    axis = DayAxis(-1, 34, 160, 892, knee=15)
    x = [axis.x(d / 4) for d in range(-4, 141)]
    assert x == sorted(set(x)) and x[0] == 160 and x[-1] == pytest.approx(892)
    assert axis.x(-9) == 160 and axis.x(99) == pytest.approx(892)


def test_a_second_infusion_has_a_figure_of_its_own() -> None:
    rows = [row(9, 0, "cart_infusion"), row(9, 60, "cart_infusion")]
    rows += series(9, "temperature", "Cel", 1, 1, [37.0, 38.5]) + series(9, "temperature", "Cel", 61, 1, [39.5, 37.0, 37.0])
    first, second = only(rows, [(1, DAY0), (2, at(60))])
    assert [e.number for e in first.of("temperature")] == [37.0, 38.5]
    assert [(e.day, e.number) for e in second.of("temperature")] == [(1, 39.5), (2, 37.0), (3, 37.0)]


def test_a_subject_without_infusion_has_words_and_no_figure(tables: dict[str, pl.DataFrame], timeline: pl.DataFrame) -> None:
    subjects = tables["subjects"].with_columns(day0=pl.when(pl.col("subject_id") != 3).then("day0"))
    text = render_report(run=make_run(), timeline=timeline, shown=[3], **(tables | {"subjects": subjects}))
    assert "No infusion is on record, so nothing can be graded." in text
    assert len(re.findall("<svg", text)) == 9


def test_items_of_the_ice_score_are_summed_where_all_are_charted() -> None:
    items = {"ice_orientation": 3.0, "ice_naming": 3.0, "ice_command": 1.0, "ice_writing": 0.0, "ice_attention": 1.0}
    rows = [row(9, 0, "cart_infusion"), *(row(9, 2, c, v) for c, v in items.items()), row(9, 3, "ice_naming", 3.0)]
    (course,) = only(rows, [(1, DAY0)])
    assert [t.split(";")[0] for t in titles(svg_of(course)) if t.startswith("ICE")] == ["ICE, sum of its items: 8"]


def test_a_figure_is_quick(timeline: pl.DataFrame, tables: dict[str, pl.DataFrame]) -> None:
    """10 ms on a laptop; the bound is loose, for machines that are busy."""
    (course, *_) = courses(tables["subjects"], timeline, tables["grades"], tables["episodes"], tables["worst"])
    figure_svg(course, "warm")
    start = time.perf_counter()
    for _ in range(5):
        svg, _ = figure_svg(course, "timed")
    assert (time.perf_counter() - start) / 5 < 0.05
    assert len(svg) < 60_000


# ---- from a folder


def results(folder: Path, tables: dict[str, pl.DataFrame]) -> Path:
    folder.mkdir()
    for name, table in tables.items():
        has = ((c, pl.col(c) if c in table.columns else pl.lit(None), dtype) for c, dtype in TABLES[name].items())
        table.select((e if dtype is None else e.cast(dtype)).alias(c) for c, e, dtype in has).write_parquet(
            folder / f"{name}.parquet"
        )
    (folder / "run.json").write_text(json.dumps(make_run()), encoding="utf-8")
    return folder


def test_writing_from_a_folder(tmp_path: Path, timeline: pl.DataFrame, tables: dict[str, pl.DataFrame]) -> None:
    folder = results(tmp_path / "grades", tables)
    out = tmp_path / "report.html"
    write_report(folder, out, timeline=timeline.lazy(), limit=2)
    text = out.read_text(encoding="utf-8")
    assert "Subject 1</h3>" in text and "Subject 2</h3>" in text and "Subject 3</h3>" not in text
    assert "2 of 3 subjects are shown" in text
    write_report(folder, out, timeline=timeline, subjects_shown=["3"])
    assert re.findall(r"<h3>Subject (\d)", out.read_text(encoding="utf-8")) == ["3"]


def test_a_folder_without_results_and_an_unknown_subject_are_told(
    tmp_path: Path, timeline: pl.DataFrame, tables: dict[str, pl.DataFrame]
) -> None:
    with pytest.raises(InputError, match="no results there"):
        write_report(tmp_path, tmp_path / "r.html", timeline=timeline)
    folder = results(tmp_path / "grades", tables)
    with pytest.raises(InputError, match="1 of the 2 subjects asked for are not in the results") as told:
        write_report(folder, tmp_path / "r.html", timeline=timeline, subjects_shown=[1, 77])
    assert "77" not in str(told.value)
    assert not (tmp_path / "r.html").exists()


def test_subjects_with_words_for_ids(tmp_path: Path, timeline: pl.DataFrame, tables: dict[str, pl.DataFrame]) -> None:
    named = {
        n: t.with_columns(pl.format("P<{}", "subject_id").alias("subject_id")) if "subject_id" in t.columns else t
        for n, t in tables.items()
    }
    rows = timeline.with_columns(pl.format("P<{}", "subject_id").alias("subject_id"))
    folder = results(tmp_path / "grades", named)
    write_report(folder, tmp_path / "r.html", timeline=rows, subjects_shown=["P<2"])
    assert "<h3>Subject P&lt;2</h3>" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_the_real_grader_feeds_the_page(timeline: pl.DataFrame, tables: dict[str, pl.DataFrame]) -> None:
    found = grade_timeline(timeline)
    text = render_report(
        run=make_run(), timeline=timeline, shown=[1, 2, 3], rejected=tables["rejected"],
        grades=found.grades, worst=found.worst, episodes=found.episodes, subjects=found.subjects,
    )  # fmt: skip
    assert len(re.findall("<svg", text)) == 12
    assert "one vasopressor, with or without vasopressin" in text and "vitals.csv:" in text
    assert max(len(s) for s in text.split('<section class="subject"')[1:]) < 70_000
