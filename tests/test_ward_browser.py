"""The pages in a real browser: widths, print, keyboard, the main workflows, accessibility by axe, and that nothing is asked of another host.

Screenshots go to `out/screenshots`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright
from ward_support import PASSWORD, ROOT, Live, a_server, accounts_of_all_roles, events, needed, registered

from aftercar.ward import accounts
from aftercar.ward.accounts import Role
from aftercar.ward.database import opened

pytestmark = pytest.mark.slow
expect.set_options(timeout=60_000)  # the machine may be busy

PICTURES = ROOT / "out" / "screenshots"
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
# Pages of a patient and of the ward; a page that is added is added here.
PAGES = {
    "ward": "/", "cohort": "/cohort", "cohort-parted": "/cohort?by=sex&outcome=crs&cut=2&first=crs&second=crs_lee2014", "evidence": "/evidence", "pooled": "/evidence/pooled", "safety": "/cohort/safety", "references": "/evidence/references", "mechanism": "/mechanism", "simulate": "/simulate", "register": "/patients/new",
    "timeline": "/patients/{n}", "options": "/patients/{n}/options", "enter": "/patients/{n}/enter", "history": "/patients/{n}/history",
    "scores": "/patients/{n}/scores", "calendar": "/patients/{n}/calendar", "adjudicate": "/patients/{n}/adjudicate", "registry": "/patients/{n}/registry", "infusion": "/patients/{n}/infusion",
}  # fmt: skip


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = needed(shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome"), "Chromium")
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The example cohort, where everybody may enter."""
    with a_server(tmp_path_factory.mktemp("example"), "--zone", "Europe/Berlin") as live:
        yield live


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A ward with an account for each role, and a second adjudicator."""
    folder = tmp_path_factory.mktemp("guarded")
    url = f"sqlite:///{folder}/ward.db"
    with opened(url) as database:
        accounts_of_all_roles(database)
        with database.writing() as connection:
            accounts.add(connection, "second", Role.ADJUDICATOR, PASSWORD)
        registered(database, "P-1", events((0, "cart_infusion", None), (10, "temperature", 39.0)))
    with a_server(folder, "--database", url) as live:
        yield live


@pytest.fixture
def page(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page that may ask its own server alone and must leave no error on the console."""
    context = chromium.new_context(viewport=WIDE, locale="en-GB")
    made = watched(context)
    yield made
    context.close()
    assert made.complaints == []  # type: ignore[attr-defined]


def watched(context: BrowserContext) -> Page:
    """A new page with `complaints`: requests to others, errors of scripts, what the console calls an error or warning."""
    page, complaints = context.new_page(), []
    page.complaints = complaints  # type: ignore[attr-defined]

    def asked(url: str) -> None:
        if urlsplit(url).hostname not in ("127.0.0.1", None):
            complaints.append(f"asked {url}")

    page.on("request", lambda request: asked(request.url))
    page.on("pageerror", lambda error: complaints.append(f"script: {error}"))
    page.on("console", lambda said: complaints.append(f"console: {said.text}") if said.type in ("error", "warning") else None)
    return page


def settled(page: Page, url: str) -> None:
    """The ward list once every record is graded."""
    page.goto(url)
    for _ in range(120):
        if not page.locator("[data-again]").count():
            return
        page.wait_for_timeout(1000)
        page.goto(url)
    raise AssertionError("The records were not graded.")


def picture(page: Page, name: str, *, whole: bool = True) -> None:
    page.screenshot(path=PICTURES / f"{name}.png", full_page=whole)


def first_patient(page: Page, live: Live) -> int:
    """The number of the patient who comes first in the list."""
    settled(page, live.url)
    href = page.locator("table.ward tbody th a").first.get_attribute("href")
    assert href
    return int(href.rpartition("/")[2])


def serious(page: Page) -> list[str]:
    """What axe calls a serious or critical fault: its rule, and where."""
    found = (
        Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).response
    )
    return [
        f"{v['id']}: {v['help']} at {[n['target'] for n in v['nodes'][:3]]}" for v in found["violations"] if v["impact"] in ("serious", "critical")
    ]  # fmt: skip


# ---- every page


@pytest.mark.parametrize("width", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", PAGES)
def test_every_page_at_both_widths(page: Page, example: Live, name: str, width: Any) -> None:
    number = first_patient(page, example)
    page.set_viewport_size(width)
    page.goto(example.url + PAGES[name].format(n=number))
    picture(page, f"{name}-{width['width']}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width["width"], "the page itself never scrolls sideways"
    assert serious(page) == []
    assert page.locator("h1").count() == 1 and page.locator("main").count() == 1
    text = page.inner_text("body")
    assert "Europe/Berlin" in text and "not cleared or certified" not in page.locator("main").inner_text()
    if width is NARROW:
        small = page.evaluate(
            """[...document.querySelectorAll("button, input:not([type=hidden]), select, nav a")].filter(e => e.offsetParent && !e.closest("label.tick"))
                 .map(e => [e.outerHTML.slice(0, 80), e.getBoundingClientRect()]).filter(([_, r]) => r.height < 24 || r.width < 24).map(([h]) => h)"""
        )
        assert small == [], "targets are at least 24 px (WCAG 2.5.8)"


@pytest.mark.parametrize("name", PAGES)
def test_every_page_in_print(page: Page, example: Live, name: str) -> None:
    page.goto(example.url + PAGES[name].format(n=first_patient(page, example)))
    page.emulate_media(media="print")
    picture(page, f"{name}-print")
    for hidden in (".bar nav", ".skip", "button"):
        for each in page.locator(hidden).all():
            assert not each.is_visible(), hidden
    assert page.locator("h1").is_visible()
    (PICTURES / f"{name}.pdf").write_bytes(page.pdf(format="A4"))


def test_on_paper_every_stretch_shows_its_reasons_and_no_hint_to_click(page: Page, example: Live) -> None:
    page.goto(f"{example.url}/patients/{first_patient(page, example)}")
    hint, reasons = page.get_by_text("click a grade band"), page.locator("details.why dl")
    shown = "all => [all.length, all.filter(e => e.checkVisibility() && e.getBoundingClientRect().height > 0).length]"
    assert hint.is_visible() and reasons.evaluate_all(shown)[1] == 0
    page.emulate_media(media="print")
    found, visible = reasons.evaluate_all(shown)
    assert found == visible > 0 and not hint.is_visible()
    assert page.get_by_text("is for research, education").is_visible()  # the intended use too
    page.emulate_media(media="screen")
    reasons.first.evaluate("e => window.dispatchEvent(new Event('beforeprint'))")  # of browsers that know no ::details-content
    assert reasons.evaluate_all(shown) == [found, found]
    reasons.first.evaluate("e => window.dispatchEvent(new Event('afterprint'))")
    assert reasons.evaluate_all(shown) == [found, 0]


def test_the_list_fits_a_phone(page: Page, example: Live) -> None:
    settled(page, example.url)
    wide = page.locator("table.ward thead th").all_inner_texts()
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    beyond = "all => all.filter(e => e.getBoundingClientRect().right > innerWidth || e.scrollWidth > e.clientWidth + 1).length"
    assert page.locator("table.ward, table.ward tbody, table.ward tbody tr, table.ward tbody td").evaluate_all(beyond) == 0
    first = page.locator("table.ward tbody tr").first
    labels = first.locator("td").evaluate_all("all => all.map(e => getComputedStyle(e, '::before').content.replaceAll('\"', ''))")
    assert ["Patient", *labels] == wide, "each value is named as its column is"
    shown = first.locator("td:visible").count()
    assert first.get_by_role("cell").count() == shown > 4, "a program that reads the page aloud still finds a table"


def test_the_list_says_grades_in_words_and_not_by_colour_alone(page: Page, example: Live) -> None:
    settled(page, example.url)
    grades = page.locator("table.ward .grade").all_inner_texts()
    assert grades and all(re.fullmatch(r"[0-5](–[0-5])?|cannot grade", g.strip()) for g in grades)
    assert "not adjudicated" in page.inner_text("main")


@pytest.mark.parametrize("path", ["/no/such/page", "/patients/4711", "/static/none.css"])
def test_a_problem_is_a_page_with_a_way_back(chromium: Browser, example: Live, path: str) -> None:
    context = chromium.new_context(viewport=NARROW)
    page = context.new_page()
    page.goto(example.url + path)
    assert serious(page) == []
    page.get_by_role("link", name="Back to the ward").click()
    expect(page.locator("h1")).to_have_text("Ward")
    context.close()


# ---- by keyboard


@pytest.mark.parametrize("name", PAGES)
def test_every_page_by_keyboard(page: Page, example: Live, name: str) -> None:
    """The skip link comes first, and whatever has the focus shows it."""
    page.goto(example.url + PAGES[name].format(n=first_patient(page, example)))
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    assert page.locator(".skip").bounding_box()["x"] >= 0  # type: ignore[index]
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    reached: list[str] = []
    for _ in range(25):
        page.keyboard.press("Tab")
        what = page.evaluate(
            """() => { const e = document.activeElement, s = getComputedStyle(e);
                       return [e.tagName + ' ' + (e.name || e.textContent || '').trim().slice(0, 30), s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 1]; }"""
        )
        if what[0].startswith("BODY"):
            break
        assert what[1], f"{what[0]} does not show its focus"
        reached.append(what[0])
    assert reached


def test_ice_is_entered_by_keyboard_and_the_grade_changes(page: Page, example: Live) -> None:
    """From the ward to the grade without a mouse; the sum stands beside the baseline before it is kept."""
    settled(page, example.url)
    row = page.locator("table.ward tbody tr", has=page.locator("td:nth-of-type(4) .grade", has_text=re.compile("^0$"))).first
    label = row.locator("th a").inner_text()
    row.locator("th a").focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text(label)
    before = page.locator(".now > div", has_text="ICANS").locator(".grade").inner_text()
    page.get_by_role("link", name="Enter").focus()
    page.keyboard.press("Enter")
    assert "Baseline before infusion" in page.inner_text("main")
    for code, value in (("orientation", 1), ("naming", 1), ("command", 0), ("writing", 0), ("attention", 0)):
        page.locator(f"input[name=ice_{code}][value='{value}']").focus()
        page.keyboard.press("Space")
    expect(page.locator("[data-total]")).to_have_text("2")
    picture(page, "enter-ice")
    page.locator("[data-ice] button").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".notice[role=status]")).to_contain_text("Kept: 5 entries")
    page.get_by_role("link", name="See the grades").focus()
    page.keyboard.press("Enter")
    icans = page.locator(".now > div", has_text="ICANS")
    expect(icans.locator(".grade")).to_contain_text("3")
    assert before != icans.locator(".grade").inner_text()
    picture(page, "grade-after-ice")
    settled(page, example.url)
    assert label in page.locator("table.ward tbody tr").first.inner_text(), "who changed most comes first"
    assert "▲" in page.locator("table.ward tbody tr").first.inner_text()


# ---- workflows


def test_a_band_opens_its_reasons_and_the_figure_grows(page: Page, example: Live) -> None:
    page.goto(f"{example.url}/patients/{first_patient(page, example)}")
    band = page.locator("svg [data-band]").last
    anchor = band.get_attribute("data-band")
    band.dispatch_event("click")
    why = page.locator(f"[id='{anchor}']")
    expect(why).to_have_attribute("open", "")
    expect(why.locator("summary")).to_be_focused()
    assert all(word in why.inner_text() for word in ("Rule", "Criteria met", "Records"))
    picture(page, "band-open", whole=False)
    svg = page.locator("figure svg").first
    before = svg.bounding_box()["width"]  # type: ignore[index]
    page.get_by_role("button", name="Larger").first.click()
    page.get_by_role("button", name="Larger").first.click()
    assert svg.bounding_box()["width"] > 1.9 * before  # type: ignore[index]
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    picture(page, "figure-larger", whole=False)
    page.get_by_role("button", name="Smaller").first.click()
    page.get_by_role("button", name="Smaller").first.click()
    assert abs(svg.bounding_box()["width"] - before) < 2  # type: ignore[index]


def test_a_value_is_corrected_and_withdrawn_and_both_stay_in_the_history(page: Page, example: Live) -> None:
    number = first_patient(page, example)
    page.goto(f"{example.url}/patients/{number}/enter")
    form = page.locator("form.form", has=page.locator("h2", has_text="Round"))
    form.get_by_label("Temperature").fill("41.3")
    form.get_by_role("button", name="Keep").click()
    expect(page.locator(".notice[role=status]")).to_contain_text("Kept: 1 entry")
    row = page.locator("tbody tr", has_text="41.3").first
    row.locator("summary", has_text="Correct").click()
    row.get_by_role("spinbutton").fill("38.7")
    row.get_by_role("button", name="Keep").click()
    expect(page.locator("tbody tr", has_text="38.7").first).to_be_visible()
    assert not page.locator("tbody tr", has_text="41.3").count()
    row = page.locator("tbody tr", has_text="38.7").first
    assert not row.get_by_role("button").count(), "one click does not withdraw"
    row.locator("summary", has_text="Withdraw").focus()
    page.keyboard.press("Enter")
    expect(row).to_contain_text("it stays in the history and no longer counts")
    picture(page, "enter-withdraw", whole=False)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".notice[role=status]")).to_contain_text("Kept: 1 entry")
    assert not page.locator("tbody tr", has_text="38.7").count()
    page.goto(f"{example.url}/patients/{number}/history")
    text = page.locator("table").last.inner_text()
    assert "41.3" in text and "38.7" in text and "corrects" in text and "withdraws" in text
    link = page.locator("table").first.get_by_role("link").last
    link.click()
    expect(page.locator(".notice[role=status]")).to_contain_text("As found at")


def test_a_form_that_stands_open_goes_with_the_clock_until_somebody_sets_a_time(page: Page, example: Live) -> None:
    """What is seen two hours after a page was loaded is not charted at the time at which it was."""
    number = first_patient(page, example)
    page.clock.install()
    page.goto(f"{example.url}/patients/{number}/enter")
    ice, round_ = (
        page.locator("form.form", has=page.locator("h2", has_text=name)).get_by_label("Time") for name in ("ICE", "Round")
    )
    shown = datetime.fromisoformat(ice.input_value())
    round_.fill(f"{shown - timedelta(minutes=30):%Y-%m-%dT%H:%M}")
    page.clock.fast_forward("02:00:00")
    page.clock.run_for(10_000)
    later = datetime.fromisoformat(ice.input_value())
    assert timedelta(hours=2) <= later - shown <= timedelta(hours=2, minutes=2)
    assert datetime.fromisoformat(round_.input_value()) == shown - timedelta(minutes=30)
    assert ice.evaluate("input => input.checkValidity()")


def test_what_cannot_be_kept_is_said_and_what_was_filled_in_stands(page: Page, example: Live) -> None:
    number = first_patient(page, example)
    page.goto(f"{example.url}/patients/{number}/enter")
    form = page.locator("form.form", has=page.locator("h2", has_text="Round"))
    form.get_by_label("Temperature").fill("99")
    form.get_by_label("Systolic pressure").fill("118")
    form.get_by_role("button", name="Keep").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was kept")
    assert form.get_by_label("Systolic pressure").input_value() == "118"
    assert serious(page) == []
    picture(page, "enter-wrong")
    page.complaints[:] = [c for c in page.complaints if "422" not in c]  # type: ignore[attr-defined]  # the console tells the status of the answer


def test_signing_in_and_out(page: Page, guarded: Live) -> None:
    page.goto(f"{guarded.url}/patients/1")
    expect(page.locator("h1")).to_have_text("Sign in")
    for width in (WIDE, NARROW):
        page.set_viewport_size(width)  # type: ignore[arg-type]
        assert serious(page) == []
        picture(page, f"sign-in-{width['width']}")
    page.keyboard.type("charting")
    page.keyboard.press("Tab")
    page.keyboard.type("wrong horse battery")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    page.complaints[:] = [c for c in page.complaints if "401" not in c]  # type: ignore[attr-defined]
    page.get_by_label("Name").fill("charting")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("P-1")
    expect(page.locator(".who")).to_contain_text("charting")
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("h1")).to_have_text("Sign in")
    page.goto(f"{guarded.url}/")
    expect(page.locator("h1")).to_have_text("Sign in")


@pytest.mark.parametrize("role", ["reader", "charting", "adjudicator"])
def test_who_may_not_enter_is_not_shown_how(page: Page, guarded: Live, role: str) -> None:
    page.goto(f"{guarded.url}/sign-in?next=/patients/1")
    page.get_by_label("Name").fill(role)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("P-1")
    assert page.get_by_role("link", name="Enter").count() == (role != "reader")


@contextmanager
def signed_in(chromium: Browser, live: Live, name: str, path: str, password: str = PASSWORD) -> Iterator[Page]:
    """A browser of its own in which somebody is signed in, at a page."""
    context = chromium.new_context(viewport=WIDE, locale="en-GB")
    page = watched(context)
    page.goto(f"{live.url}/sign-in?next={path}")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    yield page
    context.close()
    assert page.complaints == []  # type: ignore[attr-defined]


def looked_at(page: Page, name: str) -> None:
    """Pictures at both widths, without a serious fault and without scrolling sideways."""
    for width in (WIDE, NARROW):
        page.set_viewport_size(width)  # type: ignore[arg-type]
        picture(page, f"{name}-{width['width']}")
        assert serious(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width["width"]
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]


def test_an_administrator_adds_changes_and_turns_off_an_account_and_verifies_the_trail(chromium: Browser, guarded: Live) -> None:
    with signed_in(chromium, guarded, "administrator", "/administration") as page:
        expect(page.locator("h1")).to_have_text("Accounts")
        looked_at(page, "administration")
        form = page.locator("form.form", has=page.get_by_role("button", name="Add", exact=True))
        form.get_by_label("Name").fill("newcomer")
        form.get_by_label("Role").select_option("reader")
        form.get_by_label("Password").fill(PASSWORD)
        form.get_by_role("button", name="Add").click()
        expect(page.get_by_role("status")).to_have_text("The account was added.")
        with signed_in(chromium, guarded, "newcomer", "/patients/1") as other:
            expect(other.locator("h1")).to_contain_text("P-1")
            page.get_by_label("Role of newcomer", exact=True).select_option("charting")
            page.get_by_role("button", name="Change the role of newcomer").click()
            expect(page.get_by_role("status")).to_have_text("The account was changed.")
            other.reload()
            expect(other.locator("h1")).to_have_text("Sign in")  # who is changed signs in again
        page.get_by_role("button", name="Turn newcomer off").click()
        row = page.locator("tbody tr", has=page.get_by_role("rowheader", name="newcomer"))
        expect(row).to_contain_text("charting")
        expect(row.get_by_role("cell", name="off", exact=True)).to_be_visible()
        picture(page, "administration-changed")
        context = chromium.new_context()
        refused = context.new_page()
        refused.goto(f"{guarded.url}/sign-in")
        refused.get_by_label("Name").fill("newcomer")
        refused.get_by_label("Password").fill(PASSWORD)
        refused.get_by_role("button", name="Sign in").click()
        expect(refused.get_by_role("alert")).to_be_visible()
        context.close()
        page.get_by_role("link", name="trail").click()
        looked_at(page, "trail")
        assert "account.add" in page.inner_text("main") and "account newcomer" in page.inner_text("main")
        page.get_by_role("button", name="Verify the whole trail").click()
        expect(page.get_by_role("status")).to_contain_text("unbroken. Last hash")
        looked_at(page, "trail-verified")


def test_two_readers_grade_blind_and_lock_what_they_agree_on(chromium: Browser, guarded: Live) -> None:
    path = "/patients/1/adjudicate"
    with signed_in(chromium, guarded, "adjudicator", path) as one, signed_in(chromium, guarded, "second", path) as two:

        def crs(page: Page) -> Any:
            return page.locator("[id='crs-1']")

        crs(one).get_by_label("Grade").select_option("2")
        crs(one).get_by_label("Comment").fill("sicker than charted")
        crs(one).get_by_role("button", name="Grade").click()
        expect(crs(one)).to_contain_text("Your grade: 2")
        two.reload()
        expect(crs(two)).to_contain_text("1 other reader has graded")
        looked_at(two, "adjudicate-blind")
        assert "sicker than charted" not in two.content() and "adjudicator 2" not in two.inner_text("main")
        assert crs(two).get_by_role("button", name="Agree to lock").count() == 0
        crs(two).get_by_label("Grade").select_option("1")
        crs(two).get_by_role("button", name="Grade").click()
        expect(crs(two)).to_contain_text("adjudicator 2")
        assert crs(two).get_by_role("button", name="Agree to lock").count() == 0, "they differ"
        crs(two).get_by_label("Grade").select_option("2")
        crs(two).get_by_role("button", name="Grade again").click()
        crs(two).get_by_role("button", name="Agree to lock").click()
        expect(crs(two)).to_contain_text("second agreed to lock; a second reader must agree")
        one.reload()
        looked_at(one, "adjudicate-agree")
        crs(one).get_by_role("button", name="Agree to lock").click()
        expect(crs(one)).to_contain_text("Locked: grade 2, by")
        looked_at(one, "adjudicate-locked")
        two.goto(f"{guarded.url}/patients/1")
        expect(two.locator("main")).to_contain_text("locked by")
        looked_at(two, "timeline-locked")


def test_a_simulation_shows_how_far_it_is_and_can_be_cancelled(page: Page, example: Live) -> None:
    def asked(n: str) -> None:
        page.goto(f"{example.url}/simulate")
        page.get_by_label("Product").select_option("axi-cel")
        page.locator("select[name=disease]").select_option("LBCL")
        page.get_by_label("Virtual patients").fill(n)
        page.get_by_label("Days charted").fill("14")
        page.get_by_role("button", name="Simulate").click()
        expect(page.locator("h1")).to_contain_text("axi-cel in LBCL")

    asked("2000")
    expect(page.get_by_role("status")).to_contain_text(
        re.compile("Running: [1-9][0-9]* of 2000"), timeout=120_000
    )  # the page looks again by itself
    page.evaluate("() => { for (let n = 0; n < 1000; n++) clearTimeout(n) }")  # hold it still for the pictures
    assert page.locator("progress").is_visible()
    looked_at(page, "simulation-running")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status")).to_contain_text(re.compile("Cancelled, after [0-9]+ of 2000 patients"))
    looked_at(page, "simulation-cancelled")
    asked("20")
    expect(page.get_by_role("heading", name="Beside what was published")).to_be_visible(timeout=240_000)
    assert "ZUMA-1" in page.inner_text("main") and page.locator("figure svg").count() >= 3
    looked_at(page, "simulation-done")
    page.goto(f"{example.url}/simulate")
    assert [page.locator("tbody tr").nth(-k).locator("td").last.inner_text() for k in (2, 1)] == ["done", "cancelled"]


def test_a_patient_is_registered_and_given_a_second_infusion(page: Page, example: Live) -> None:
    def local(ago: timedelta) -> str:
        now = datetime.fromisoformat(page.locator("[data-now]").first.get_attribute("data-now") or "")
        return f"{now - ago:%Y-%m-%dT%H:%M}"

    page.goto(f"{example.url}/patients/new")
    page.get_by_label("Label").fill("CART-900")
    told = {"disease": "LBCL", "age": "61", "weight": "80", "ice_baseline": "10", "product": "axi-cel", "language": "Turkish"}
    for name, value in told.items():
        page.locator(f"input[name={name}]").fill(value)
    page.get_by_label("Sex").select_option("female")
    page.get_by_label("Hearing").select_option("impaired")
    page.get_by_label("Time").fill(local(timedelta(days=60)))
    page.get_by_label("drugs given").check()
    picture(page, "register-filled")
    page.get_by_role("button", name="Register").click()
    expect(page.locator("h1")).to_contain_text("CART-900")
    expect(page.locator("main")).to_contain_text("day 60")
    number = page.url.rpartition("/")[2]
    page.goto(f"{example.url}/patients/{number}/infusion")
    page.locator("input[name=product]").fill("axi-cel")
    page.locator("input[name=language]").fill("Turkish")
    page.get_by_label("Time").fill(local(timedelta(days=2)))
    page.get_by_role("button", name="Keep").click()
    expect(page.locator("main")).to_contain_text("day 2")
    looked_at(page, "second-infusion")
    page.goto(f"{example.url}/patients/{number}/enter")
    assert "turkish" in page.inner_text("main").lower() and "10" in page.inner_text("main")
    page.goto(f"{example.url}/patients/{number}/history")
    assert page.locator("table").last.inner_text().count("axi-cel") == 2


def test_without_scripts_the_pages_say_the_same(chromium: Browser, example: Live) -> None:
    context = chromium.new_context(viewport=NARROW, java_script_enabled=False)
    page = context.new_page()
    page.goto(example.url)
    page.locator("table.ward tbody th a").first.click()
    page.locator("details.why summary").first.click()
    assert page.locator("details.why").first.get_attribute("open") is not None
    page.get_by_role("link", name="Enter").click()
    form = page.locator("form.form", has=page.locator("h2", has_text="Round"))
    form.get_by_label("Temperature").fill("38.1")
    form.get_by_role("button", name="Keep").click()
    expect(page.locator(".notice[role=status]")).to_contain_text("Kept: 1 entry")
    context.close()


def test_another_site_can_neither_frame_nor_ask_it(chromium: Browser, example: Live, tmp_path: Path) -> None:
    context = chromium.new_context()
    page = context.new_page()
    (tmp_path / "evil.html").write_text(f'<iframe src="{example.url}/"></iframe>')
    page.goto((tmp_path / "evil.html").as_uri())
    page.wait_for_timeout(500)
    assert "Ward" not in (page.frames[1].evaluate("document.body ? document.body.innerText : ''") if len(page.frames) > 1 else "")
    with pytest.raises(Error):
        page.evaluate(f"fetch('{example.url}/').then(r => r.text())")
    context.close()
