"""Figures of a cohort: what is drawn is what the tables say, in grey and aloud too."""

from __future__ import annotations

import itertools
import re
import stat
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from commands import run
from polars import col

import aftercar
from aftercar.cohort.incidence import cumulative_incidence, first_days
from aftercar.cohort.outcome import Outcome
from aftercar.errors import AftercarError, InputError, OptionError
from aftercar.grade.regrade import Regraded, compare
from aftercar.grade.run import Result
from aftercar.report import pdf
from aftercar.report.figures import curves, forest, sankey, save, spaghetti, strip, swimmer
from aftercar.report.figures.cohort import COURSE, Cohort, spread
from aftercar.report.figures.draw import Figure
from aftercar.report.methods import methods
from aftercar.report.svg import alone
from aftercar.synthesis.published import LATE, MIXED, counted, pool, without_counts

ROOT = Path(__file__).parents[1]
OUTCOMES = [Outcome.of(words) for words in ("crs", "crs:3", "icans")]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def timeline() -> pl.DataFrame:
    return aftercar.read(str(ROOT / "examples/cohort/data"), str(ROOT / "examples/cohort/mapping.toml")).timeline


@pytest.fixture(scope="module")
def graded(timeline: pl.DataFrame) -> Result:
    return aftercar.grade_timeline(timeline, scales=["crs", "icans", "crs_penn2018"])


def results_of(graded: Result, timeline: pl.DataFrame | None, **more: Any) -> Cohort:
    told = {"rules": ["crs_astct2019@1", "icans_astct@1"], "aftercar": "0.1.0"} | more
    return Cohort.of(told, graded.subjects, graded.episodes, graded.grades.lazy(), None if timeline is None else timeline.lazy())


@pytest.fixture(scope="module")
def results(graded: Result, timeline: pl.DataFrame) -> Cohort:
    return results_of(graded, timeline)


@pytest.fixture(scope="module")
def shifted(graded: Result) -> Regraded:
    one, two = (graded.worst.filter(scale=s) for s in ("crs_penn2018", "crs_astct2019"))
    ours = compare(one, two, *(graded.episodes.filter(scale=s) for s in ("crs_penn2018", "crs_astct2019")))
    return Regraded(
        **{**vars(ours), "facts": {"from": "crs_penn2018", "to": "crs_astct2019", "simulated": False, "timeline_note": None}}
    )


KINDS: dict[str, Callable[[Cohort], Figure]] = {
    "swimmer": swimmer.swimmer,
    "swimmer by product": lambda r: swimmer.swimmer(r, by="product"),
    "strip": strip.strip,
    "strip of many": lambda r: strip.strip(r, most=3),
    "strip by sex": lambda r: strip.strip(r, "icans", by="sex"),
    "incidence": lambda r: curves.incidence(r, OUTCOMES),
    "incidence by product": lambda r: curves.incidence(r, OUTCOMES, by="product"),
    "values": spaghetti.spaghetti,
}


@pytest.fixture(scope="module")
def drawn(results: Cohort, graded: Result, shifted: Regraded) -> dict[str, Figure]:
    own = forest.own_rate(graded.worst, Outcome.of("crs:3"))
    rates = forest.forest("CRS", forest.sections(pool("crs_g3plus", mix=True)[0], own, mix=True))
    return {name: draw(results) for name, draw in KINDS.items()} | {"sankey": sankey.sankey(shifted), "forest": rates}


def parsed(figure: Figure) -> ET.Element:
    return ET.fromstring(alone(figure.svg, figure.title))


def words(figure: Figure) -> list[str]:
    return [e.text or "" for e in parsed(figure).iter(f"{SVG}text")]


# ---- all of them


@pytest.mark.parametrize("name", [*KINDS, "sankey", "forest"])
def test_a_figure_is_well_formed_named_and_alone(drawn: dict[str, Figure], name: str) -> None:
    figure = drawn[name]
    root, text = parsed(figure), alone(figure.svg, figure.title)
    assert root.get("role") == "img" and len(root.get("aria-label", "")) > 40
    assert root[0].tag == f"{SVG}title" and root[0].text == figure.title
    assert "://" not in text.replace("http://www.w3.org/2000/svg", "") and "var(" not in text
    assert set(re.findall(r"url\(#(\w+)\)", text)) <= set(re.findall(r'id="(\w+)"', text))
    assert not {"script", "image", "use", "foreignObject"} & {e.tag.removeprefix(SVG) for e in root.iter()}
    _, _, width, height = (float(n) for n in root.get("viewBox", "").split())
    ends = [float(e.get("y", 0)) for e in root.iter(f"{SVG}text")]
    assert width == 900 and 0 < max(ends) < height, "nothing is written outside"
    assert figure.data.height and figure.data.is_duplicated().sum() == 0
    css = "".join(e.text or "" for e in root.iter(f"{SVG}style"))
    used = {c for e in root.iter() for c in (e.get("class") or "").split()} - {"course"}
    assert {c for c in used if not re.search(rf"\.{c}\b", css)} <= {"all"}, "every class has its look"


@pytest.mark.parametrize("name", [*KINDS, "sankey"])
def test_virtual_patients_are_called_so(name: str, graded: Result, timeline: pl.DataFrame, shifted: Regraded) -> None:
    virtual = results_of(graded, timeline, simulated=True)
    figure = (
        sankey.sankey(Regraded(**{**vars(shifted), "facts": shifted.facts | {"simulated": True}}))
        if name == "sankey"
        else KINDS[name](virtual)
    )
    assert any("SIMULATED" in t for t in words(figure)) and "SIMULATED" in parsed(figure).get("aria-label", "")


def empties(results: Cohort) -> dict[str, Cohort]:
    """Cohorts that are hard to draw."""
    none = results.courses.clear().drop("name")
    lone = results.courses.head(1).drop("name")
    bare = lone.with_columns(pl.lit(None, pl.Datetime("us")).alias("day0"))

    def of(subjects: pl.DataFrame, **more: Any) -> Cohort:
        given = {"episodes": results.episodes, "grades": results.grades, "timeline": results.timeline} | more
        return Cohort.of(results.run, subjects, given["episodes"], given["grades"], given["timeline"])

    nothing = results.grades.filter(pl.lit(False))
    return {
        "nobody": of(none),
        "no infusion": of(bare),
        "one": of(lone),
        "nothing happened": of(lone, episodes=results.episodes.clear()),
        "nothing graded": of(lone, episodes=results.episodes.clear(), grades=nothing),
        "no timeline": of(lone, timeline=None),
        "nothing charted": of(lone, timeline=results.timeline.filter(pl.lit(False)) if results.timeline is not None else None),
    }


@pytest.mark.parametrize("name", KINDS)
def test_cohorts_that_are_hard_to_draw_are_drawn_and_say_why_they_are_empty(results: Cohort, name: str) -> None:
    for what, cohort in empties(results).items():
        figure = KINDS[name](cohort)
        assert parsed(figure).get("aria-label"), what
        assert any(len(w) > 20 for w in words(figure)), what


def test_text_of_a_record_stays_text(results: Cohort) -> None:
    odd = '<b>"&\x00\u202e'
    renamed = results.courses.with_columns(
        subject_id=pl.when(col("subject_id") == "P-040").then(pl.lit(odd)).otherwise("subject_id"),
        product=pl.lit("</svg><script>"),
    ).drop("name")
    new = pl.when(col("subject_id") == "P-040").then(pl.lit(odd)).otherwise("subject_id").alias("subject_id")
    cohort = Cohort.of(
        results.run,
        renamed,
        results.episodes.with_columns(new),
        results.grades.with_columns(new),
        results.timeline.with_columns(new),
    )  # type: ignore[union-attr]
    for name, draw in KINDS.items():
        root = parsed(draw(cohort))
        assert not [e for e in root.iter() if e.tag.removeprefix(SVG) in ("b", "script")], name


def test_fills_and_lines_differ_in_grey() -> None:
    css = files("aftercar.report").joinpath("page.css").read_text(encoding="utf-8")

    def look(cls: str, what: str) -> str:
        return re.findall(rf"svg \.{re.escape(cls)} {{[^}}]*?{what}: ([^;}}]+)", css)[0]

    def grey(colour: str) -> float:
        r, g, b = (
            int(c * 2 if len(colour) == 4 else c, 16)
            for c in re.findall(r"[0-9a-f]" if len(colour) == 4 else r"[0-9a-f]{2}", colour)
        )
        return 0.299 * r + 0.587 * g + 0.114 * b

    shades = [grey(look(f"g{n}", "fill")) for n in range(6)]
    assert all(a - b >= 20 for a, b in itertools.pairwise(shades)), "each grade is darker than the one below"
    assert look("up", "fill").startswith("url(") and look("dots", "fill").startswith("url(")
    lines = [(look(f"l.{d}", "stroke-dasharray"),) for d in curves.LINES[1:5]]
    assert len(set(lines)) == len(lines) and len(set(curves.MARKS)) == len(curves.MARKS)


# ---- each of them


def test_the_swimmer_plot_draws_every_episode_and_death(results: Cohort, graded: Result, drawn: dict[str, Figure]) -> None:
    data = drawn["swimmer"].data
    ours = graded.episodes.filter(col("scale").is_in(["crs_astct2019", "icans_astct", "icans_astct_peds"]))
    episodes = data.filter(what="episode")
    keyed = ours.select(*COURSE, "max_grade", "duration_d").sort([*COURSE, "max_grade"])
    assert episodes.select(*COURSE, "grade").sort([*COURSE, "grade"]).rows() == keyed.select(*COURSE, "max_grade").rows()
    spans = episodes.filter(~col("open_end"))
    assert (spans["to_day"] - spans["from_day"]).sum() == pytest.approx(
        ours.filter(~col("censored"))["duration_d"].sum(), rel=1e-6
    )
    assert data.filter(what="event", detail="death").height == graded.subjects["death"].is_not_null().sum()
    assert data.filter(what="follow-up").height == results.courses.height == data["row"].n_unique()
    worst = episodes.group_by("row").agg(col("grade").max())
    by_row = data.select("row").unique().join(worst, on="row", how="left").sort("row")["grade"].fill_null(0).to_list()
    assert by_row == sorted(by_row, reverse=True)
    assert set(results.courses["name"]) <= set(words(drawn["swimmer"]))


def test_the_grade_of_every_bar_is_told_and_under_no_mark(drawn: dict[str, Figure]) -> None:
    figure = drawn["swimmer"]
    numbers = [e for e in parsed(figure).iter(f"{SVG}text") if (e.get("class") or "").split()[:1] == ["s"]]
    graded = figure.data.filter(col("grade") > 0)
    close = graded.with_columns(gap=col("from_day").diff().over("row", "detail")).filter(col("gap") < 5, col("from_day") > 21)
    assert graded.height - close.height - 1 <= len(numbers) <= graded.height  # bars side by side in the narrow part have no room
    assert close["subject_id"].unique().to_list() == ["P-020"]
    marks = [float(f) for f in re.findall(r'<g class="[mo] halo"><path d="M([\d.]+)', figure.svg)]
    heights = [float(f) for f in re.findall(r'<g class="[mo] halo"><path d="M[\d.]+ ([\d.]+)', figure.svg)]
    assert marks and len(marks) == len(heights)
    for number in numbers:
        x, y = float(number.get("x") or 0) + swimmer.DIGIT / 2, float(number.get("y") or 0)
        assert all(abs(x - at) > 6.5 for at, height in zip(marks, heights, strict=True) if abs(y - height) < swimmer.ROW / 2)


@pytest.mark.parametrize(
    ("bar", "marks", "others", "at"),
    [
        ((200, 260), [], [], 202),
        ((200, 260), [205], [], 211),  # behind the mark
        ((200, 204), [], [], 206),  # too narrow: beside it
        ((200, 204), [208], [], 193),
        ((200, 204), [208], [(190, 196)], None),
        ((119, 122), [125], [], None),  # never under the names
    ],
)
def test_a_number_stands_where_it_can_be_read(
    bar: tuple[float, float], marks: list[float], others: list[tuple[float, float]], at: float | None
) -> None:
    assert swimmer._free(*bar, marks, others) == at


def test_treatments_are_those_of_the_timeline_once_a_day(drawn: dict[str, Figure], timeline: pl.DataFrame) -> None:
    given = drawn["swimmer"].data.filter(col("what").is_in(["treatment", "prophylaxis"]), detail="anticytokine")
    dates = timeline.filter(code="tocilizumab").select("subject_id", col("time").dt.date()).unique()
    assert sorted(given["subject_id"]) == sorted(dates["subject_id"])


def test_a_large_cohort_is_drawn_in_part_and_says_so(results: Cohort) -> None:
    figure = swimmer.swimmer(results, most=10)
    assert figure.data["row"].n_unique() == 10
    assert any("10 of 39 courses are drawn" in w for w in words(figure))
    assert spread(pl.DataFrame({"x": range(1000)}), 4)["x"].to_list() == [0, 250, 500, 750]
    counts = strip.strip(results, most=10)
    assert "subject_id" not in counts.data.columns and any("too many for a row each" in w for w in words(counts))


def naive_days(grades: pl.DataFrame, subjects: pl.DataFrame, last: int) -> dict[tuple[str, int], tuple[int, int, bool]]:
    """The worst grade of each day, hour by hour."""
    found: dict[tuple[str, int], list[tuple[int, int, bool]]] = {}
    ends = {r["subject_id"]: (r["day0"], r["record_end"]) for r in subjects.iter_rows(named=True)}
    for r in grades.iter_rows(named=True):
        day0, record_end = ends[r["subject_id"]]
        midnight = datetime(day0.year, day0.month, day0.day)
        end = r["end"] or record_end
        zero = r["status"] == "not_met"
        for day in range(last + 1):
            a, b = midnight + timedelta(days=day), midnight + timedelta(days=day + 1)
            if (r["start"] < b and end > a) or a <= r["start"] == end < b:
                what = (0, 0) if zero else (r["grade"], r["upper_assessed"])
                found.setdefault((r["subject_id"], day), []).append((*what, "stale" not in r["flags"]))
    told = {}
    for key, every in found.items():
        fresh = [x for x in every if x[2]]
        used = fresh or every
        grade = max(x[0] for x in used)
        told[key] = (grade, max(grade, max(x[1] for x in used)), bool(fresh))
    return told


def test_the_strip_holds_the_worst_of_each_day(results: Cohort, graded: Result) -> None:
    grades = graded.grades.filter(col("scale") == "crs_astct2019", col("status") != "not_applicable", col("start").is_not_null())
    days = strip.daily(results, "crs", 20)
    ours = {(r[0], r[2]): r[3:] for r in days.iter_rows()}
    assert ours == naive_days(grades.join(results.courses, on=COURSE, how="semi"), results.courses, 20)
    counts = strip.strip(results, most=1).data
    assert counts["n"].sum() == strip.daily(results, "crs").height
    assert counts.group_by("day").agg(col("share").sum())["share"].to_list() == pytest.approx([1.0] * 31)


def test_incidence_draws_the_estimate_and_the_numbers_at_risk(results: Cohort, graded: Result, drawn: dict[str, Figure]) -> None:
    first = first_days(results.courses, graded.grades, OUTCOMES[0])
    curve = cumulative_incidence(first)
    ours = drawn["incidence"].data.filter(outcome=OUTCOMES[0].name)
    assert ours.select(curve.columns).rows() == curve.rows()
    figure = curves.incidence(results, OUTCOMES[:1])
    at_risk = [str(first.filter(col("day") >= d).height) for d in (0, 7, 14, 21, 28)]
    told = words(figure)
    row = told.index("all")
    assert told[row + 1 : row + 6] == at_risk
    groups = drawn["incidence by product"]
    shown = set(groups.data["group"])
    assert len(shown) == 6 and shown <= set(words(groups)) and any("obe-cel" in n for n in groups.notes)
    assert any("Gray's test" in n for n in groups.notes)
    by_disease = words(curves.incidence(results, OUTCOMES[:1], by="disease", last_day=60))
    assert by_disease.count("large B-cell lymphoma") == 2  # in the key, and beside the numbers at risk
    assert {"14", "28", "42", "56"} <= set(by_disease)
    with pytest.raises(OptionError, match="cannot be grouped by 'height'"):
        curves.incidence(results, OUTCOMES, by="height")


def test_the_sankey_diagram_holds_the_shift_table(drawn: dict[str, Figure], shifted: Regraded) -> None:
    data = drawn["sankey"].data
    assert data.select("from", "to", "n").sort("from", "to").rows() == shifted.shift.select("from", "to", "n").rows()
    moved = data.filter(col("change") == "higher")
    assert all(a < b for a, b in moved.select("from", "to").iter_rows())
    ribbons = [e for e in parsed(drawn["sankey"]).iter(f"{SVG}path") if "rib" in (e.get("class") or "")]
    assert len(ribbons) == data.height
    total = sum(
        int(n.replace(",", ""))
        for w in words(drawn["sankey"])
        if (m := re.fullmatch(r"(?:grade \d|open): ([\d,]+) \(\d+%\)", w))
        for n in m.groups()
    )
    assert total == 2 * data["n"].sum(), "both sides name all courses"


def test_bands_are_quantiles_where_enough_were_measured(
    results: Cohort, timeline: pl.DataFrame, drawn: dict[str, Figure]
) -> None:
    data = drawn["values"].data
    band, lines = data.filter(series="band"), data.filter(series="course")
    assert band["n"].min() >= spaghetti.LEAST_N and (band["n"] / band["followed"]).min() >= spaghetti.LEAST_SHARE  # type: ignore[operator]
    day = lines.filter(code="crp", day=5)["value"]
    told = band.filter(code="crp", day=5).row(0, named=True)
    assert told["n"] == day.len() and told["median"] == day.median() and told["p90"] == day.quantile(0.9, "linear")
    lowest = timeline.filter(code="anc").filter(col("subject_id") == "P-036")["numeric_value"].min()
    assert lines.filter(code="anc", subject_id="P-036")["value"].min() == lowest
    few = spaghetti.spaghetti(empties(results)["one"])
    assert few.data.filter(series="band").is_empty() and few.data.height
    with pytest.raises(OptionError, match="No value is called"):
        spaghetti.spaghetti(results, ["crpp"])


# ---- beside published rates


def test_a_forest_holds_studies_what_they_make_and_the_cohort_apart(graded: Result) -> None:
    own = forest.own_rate(graded.worst, Outcome.of("crs:3"))
    worst = graded.worst.filter(col("scale") == "crs_astct2019", col("status") != "not_applicable")
    assert (own.events, own.n + own.undecided) == ((worst["grade"] >= 3).sum(), worst.height)
    groups, _ = pool("crs_g3plus")
    shown = forest.sections(groups, own)
    data = forest.forest("CRS", shown).data
    studies, _ = counted("crs_g3plus")
    assert sorted(data.filter(kind="study")["trial_id"]) == sorted(studies["trial_id"])
    assert data.filter(kind="together")["events"].sum() == studies["events"].sum(), "the cohort is not put together with them"
    beside = data.filter(kind="cohort")
    assert beside["section"].to_list() == ["ASTCT 2019"], "once, among all studies of its scale"
    assert studies.filter(scale="ASTCT 2019")["trial_id"].to_list() == ["FELIX", "CARTITUDE-1"]
    for section in shown:
        weights = [w for w in forest.weights(section.group) if w is not None]
        assert not weights or sum(weights) == pytest.approx(1)
    mixed = forest.forest("CRS", forest.sections(pool("crs_g3plus", mix=True)[0], own, mix=True)).data
    assert mixed.filter(kind="cohort", section=MIXED).height == 1


def test_a_cohort_on_another_scale_is_not_drawn(graded: Result) -> None:
    own = forest.own_rate(graded.worst, Outcome.of("crs_penn2018:3"))
    assert {s.heading for s in forest.sections(pool("crs_g3plus")[0], own) if s.own} == {"Penn"}
    assert forest.endpoint_of(Outcome.of("crs_penn2018:3")) == "crs_g3plus" and forest.endpoint_of(Outcome.of("crs:2")) is None


def test_a_cohort_on_a_scale_of_no_study_stands_alone(graded: Result) -> None:
    """In a section without a study, of which nothing is put together."""
    own = forest.own_rate(graded.worst, Outcome.of("crs_penn2018:3"))
    shown = forest.sections([g for g in pool("crs_g3plus")[0] if g.scale != "Penn"], own)
    assert [s.own is own for s in shown] == [False, False, True] and "No study" in shown[-1].heading
    drawn = forest.forest("CRS", shown)
    assert (
        drawn.data.filter(section=shown[-1].heading)["kind"].to_list() == ["cohort"]
        and "Not put together: no study" not in drawn.svg
    )


def test_what_is_to_be_known_of_a_scale_stands_at_the_study() -> None:
    told = forest.forest("CRS", forest.sections(pool("crs_g3plus")[0], None))
    assert (
        "CARTITUDE-1, cilta-cel §" in words(told)
        and "§ CARTITUDE-1: phase 1b graded by Lee 2014, mapped to ASTCT 2019." in told.notes
    )


@pytest.mark.parametrize("endpoint", LATE)
def test_percentages_without_counts_are_drawn_apart(endpoint: str) -> None:
    """A triangle where the source tells one number, a line where it tells an interval or a range; no square, and no weight."""
    alone, groups = without_counts(endpoint), pool(endpoint)[0]
    told = forest.forest(endpoint, forest.sections(groups, None), without_counts=alone)
    drawn = told.data.filter(kind=forest.NO_COUNTS)
    assert drawn.height == alone.height and drawn["events"].null_count() == drawn["n"].null_count() == drawn.height
    assert drawn["section"].n_unique() == alone["scale"].fill_null("").n_unique(), "different horizons are apart"
    assert told.svg.count("l5 -9l5 9z") == alone["share"].count() and told.svg.count('class="div2"') == 0
    assert drawn["weight"].null_count() == drawn.height


def test_numbers_from_memory_are_marked(drawn: dict[str, Figure]) -> None:
    data = drawn["forest"].data.filter(kind="study")
    told = [w for w in words(drawn["forest"]) if w.endswith("†")]
    assert len(told) == data.filter(verified="memory").height > 0


# ---- methods, and print


def test_methods_name_versions_options_and_papers_that_are_listed(graded: Result) -> None:
    told = {
        "aftercar": "0.1.0", "polars": "2.1.0", "created": "2026-04-01T08:00:00", "counts": {"read": 420, "accepted": 419, "rejected": 1}, "rules": ["crs_astct2019@1", "icans_astct@1"],
        "options": {"fever_carry_h": 12, "map_cut": 65}, "sources": ["lee2019astct"], "timeline_fingerprint": "abc",
    }  # fmt: skip
    found = methods(told, graded.worst, trials=["munshi2021"], pooled=True)
    text = " ".join(found.paragraphs)
    for word in (
        "aftercar 0.1.0",
        "420 rows were read",
        "CRS, ASTCT 2019 (version 1)",
        "death as a competing event",
        "neither taken for normal",
        "abc",
    ):
        assert word in text, word
    assert [row[:3] for row in found.changed] == [("fever_carry_h", "12", "24")]
    cited = {int(n) for n in re.findall(r'href="#ref-(\d+)"', text)}
    assert cited <= set(range(1, len(found.papers) + 1))
    listed = " ".join(found.papers)
    assert all(doi in listed for doi in ("10.1080/01621459.1927.10502953", "10.1002/sim.4040")) and "Aalen OO" in listed
    assert len(set(found.papers)) == len(found.papers)


def fake(folder: Path, script: str) -> str:
    path = folder / "browser"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_report_is_printed_by_a_browser_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = 'for a in "$@"; do case "$a" in --print-to-pdf=*) out="${a#*=}";; file:*) in="${a#file:}"; in="${in#//}";; esac; done; echo "$@" > "$out"; cat "$in" >> "$out"'
    monkeypatch.setenv(pdf.VARIABLE, fake(tmp_path, copy))
    pdf.write_pdf("<style>a{}</style><p>x", tmp_path / "r.pdf", paper="letter")
    told = (tmp_path / "r.pdf").read_text()
    assert "--headless" in told and "MAP * ~NOTFOUND" in told and "@page { size: letter; }</style>" in told
    monkeypatch.setenv(pdf.VARIABLE, fake(tmp_path, "exit 3"))
    with pytest.raises(AftercarError, match="printed nothing"):
        pdf.write_pdf("<style></style>", tmp_path / "s.pdf")
    with pytest.raises(InputError, match="cannot be written"):
        pdf.write_pdf("<style></style>", tmp_path / "none" / "s.pdf")
    monkeypatch.setenv(pdf.VARIABLE, "no-such-browser")
    with pytest.raises(AftercarError, match="no program"):
        pdf.browser()
    monkeypatch.delenv(pdf.VARIABLE)
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    monkeypatch.setattr(pdf, "PLACES", ())
    with pytest.raises(AftercarError, match=pdf.VARIABLE):
        pdf.browser()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["browser", "r.pdf"]


# ---- the commands


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("figures")
    aftercar.import_folder(str(ROOT / "examples/cohort"), place / "timeline", ROOT / "examples/cohort/mapping.toml")
    aftercar.grade_folder(place / "timeline", place / "grades", ["crs", "icans"])
    return place / "grades"


def test_the_command_writes_a_figure_and_its_data(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, more in {
        "swimmer": ["--subject", "P-040", "--subject", "P-002"], "strip": ["--outcome", "icans"], "incidence": ["--outcome", "crs:2", "--by", "sex"], "values": ["--value", "crp"],
        "sankey": ["--from", "lee2014", "--to", "astct2019"], "forest": ["--outcome", "icans:3"],
    }.items():  # fmt: skip
        code, out, err = run("figure", kind, folder, "--out", tmp_path / f"{kind}.svg", *more, capsys=capsys)
        assert code == 0, err
        assert ET.parse(tmp_path / f"{kind}.svg").getroot().tag == f"{SVG}svg"
        assert pl.read_csv(tmp_path / f"{kind}.csv").height == int(re.search(r"\((\d[\d,]*) rows\)", out)[1].replace(",", ""))  # type: ignore[index]
    assert set(pl.read_csv(tmp_path / "swimmer.csv")["subject_id"]) == {"P-040", "P-002"}


def test_a_png_is_one(drawn: dict[str, Figure], tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    save.save(drawn["strip of many"], tmp_path / "f.png")
    picture = (tmp_path / "f.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and int.from_bytes(picture[16:20], "big") == 2700
    assert (tmp_path / "f.csv").is_file()


def test_a_png_without_its_words_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a font the library leaves all text out and says nothing."""
    library = pytest.importorskip("resvg_py")
    draw = library.svg_to_bytes
    monkeypatch.setattr(library, "svg_to_bytes", lambda **more: draw(skip_system_fonts=True, **more))
    with pytest.raises(AftercarError, match="needs a font"):
        save.png("<svg/>")


def test_without_the_extra_a_png_is_refused_and_nothing_is_left(
    drawn: dict[str, Figure], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "resvg_py", None)
    with pytest.raises(AftercarError, match=r"aftercar\[figures\]"):
        save.save(drawn["strip"], tmp_path / "f.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["strip", "--out", "f.pdf"], "the ending says the format"),
        (["strip", "--out", "none/f.svg"], "cannot be written"),
        (["swimmer", "--out", "f.svg", "--outcome", "crs"], "--outcome has no meaning for swimmer"),
        (["strip", "--out", "f.svg", "--outcome", "crs_mskcc"], "not graded on crs_mskcc"),
        (["strip", "--out", "f.svg", "--outcome", "crs", "--outcome", "icans"], "give --outcome once"),
        (["strip", "--out", "f.svg", "--by", "height"], "cannot be grouped by 'height'"),
        (["sankey", "--out", "f.svg"], "--from and --to"),
        (["forest", "--out", "f.svg", "--outcome", "crs:2"], "No published endpoint"),
        (["values", "--out", "f.svg", "--value", "nope"], "No value is called"),
        (["strip", "--out", "f.svg", "--subject", "nobody"], "not among the results"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    more: list[str], said: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run("figure", more[0], folder, *more[1:], capsys=capsys)
    assert code == 2 and said in err
    assert not list(tmp_path.iterdir())


def test_no_result_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("figure", "strip", tmp_path, "--out", tmp_path / "f.svg", capsys=capsys)
    assert code == 2 and "no results there" in err
