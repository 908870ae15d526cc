"""The report's page in a real browser: it works without network, is readable by everybody, and runs nothing foreign."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from plugins.module_utils._core.report import ReportData
from plugins.plugin_utils.report.page import HERE, render_page
from tests.support.reports import DAY, HOSTILE, NOW, example_report, hostile_report

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
STALE = 26 * 3600.0
SIZES = [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")]
REPORTS = {"example": example_report, "hostile": hostile_report}
BIDI = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f]")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium, "the tests of the page need Debian's chromium, see requirements/system.txt"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()


class Visit:
    """A page that was opened, and everything that it did which a page must not do."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        page.on("request", lambda request: self.requests.append(request.url))

    def unfold(self) -> None:
        """Open everything that can be opened, and look at all of it, so that every chart is drawn."""
        self.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        for figure in self.page.query_selector_all("figure[data-plot]"):
            figure.scroll_into_view_if_needed()
        self.page.wait_for_function(
            "document.querySelectorAll('figure[data-plot] canvas').length"
            " === document.querySelectorAll('figure[data-plot]').length"
        )


@pytest.fixture
def visit(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Visit]]:
    with contextlib.ExitStack() as opened:

        def open_page(html: str, width: int = 1280, scheme: str = "light", **context: Any) -> Visit:
            file = tmp_path / "report.html"
            file.write_text(html, encoding="utf-8")
            made = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **context)
            opened.callback(made.close)
            visited = Visit(made.new_page())
            visited.page.goto(file.as_uri())
            return visited

        yield open_page


def html_of(report: ReportData, generated_at: float = NOW) -> str:
    return render_page(report, generated_at, STALE)


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_the_page_is_readable_by_everybody_and_asks_nobody(
    visit: Callable[..., Visit], name: str, width: int, scheme: str
) -> None:
    seen = visit(html_of(REPORTS[name]()), width, scheme)
    seen.unfold()
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    violations = Axe().run(seen.page).response["violations"]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in violations] == []
    assert seen.complaints == []
    assert [url for url in seen.requests if not url.startswith(("file://", "data:"))] == []
    assert len(seen.requests) <= 2


def test_the_verdict_stands_at_the_top_with_what_needs_a_person_and_its_command(visit: Callable[..., Visit]) -> None:
    page = visit(html_of(example_report()), 360).page
    assert page.title() == "Shop: Critical. Operations report"
    verdict = page.locator(".verdict")
    assert verdict.inner_text().startswith("Critical") and verdict.bounding_box()["y"] < 400  # type: ignore[index]
    first = page.locator("#needs li").first
    assert "weekly-maintenance: overdue" in first.inner_text()
    assert first.locator("code").inner_text() == "ansible-playbook -i inventories/shop playbooks/weekly-maintenance.yml"
    for text in ("slot old_dr holds back 48 GB", "Availability", "proof is stale", "RPO missed", "Checkout was down"):
        assert page.get_by_text(text).count() > 0, text


@pytest.mark.parametrize("report", [example_report, hostile_report])
def test_a_verdict_is_told_by_a_word_and_a_shape_not_by_colour_alone(
    visit: Callable[..., Visit], report: Callable[[], ReportData]
) -> None:
    page = visit(html_of(report())).page
    badges = page.locator(".badge").all()
    assert badges
    assert all(badge.text_content().strip() and badge.locator("svg").count() for badge in badges)  # type: ignore


def test_nothing_from_outside_becomes_markup_runs_or_turns_the_text_around(visit: Callable[..., Visit]) -> None:
    html = html_of(hostile_report())
    assert not BIDI.search(html) and "\x1b" not in html
    seen = visit(html)
    seen.unfold()
    assert "owned" in seen.page.title() and seen.page.title() != "owned"  # the text is there, as a text
    assert seen.page.locator("script").count() == 4
    assert seen.page.locator("img").count() == 0
    assert seen.page.locator("[onerror], [onclick], [onload]").count() == 0
    assert seen.page.locator("a[href^='javascript:']").count() == 0
    assert seen.page.get_by_text("{{ 7 * 7 }}{% raw %}").count() > 0
    assert seen.page.get_by_text(HOSTILE[2]).count() > 0
    assert seen.complaints == []


def test_a_script_that_got_into_the_page_all_the_same_would_not_run(visit: Callable[..., Visit]) -> None:
    inside = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
    seen = visit(html_of(example_report()).replace("</main>", f"{inside}</main>"))
    seen.page.wait_for_function("document.getElementById('age').textContent !== ''")
    assert seen.page.title() == "Shop: Critical. Operations report"
    assert any("Content Security Policy" in text for text in seen.complaints)


def test_without_any_script_the_drawings_and_the_moments_are_there(visit: Callable[..., Visit]) -> None:
    page = visit(html_of(example_report()), java_script_enabled=False).page
    figures = page.locator("figure[data-plot]")
    assert figures.count() == 4
    assert figures.locator("svg path.curve").count() >= figures.count()
    assert page.get_by_role("button").count() == 0
    assert "2026-11-20 23:00 UTC" in page.locator("#needs").inner_text()
    assert page.get_by_text("could not be judged").is_visible()


def test_a_chart_tells_its_values_under_the_pointer(visit: Callable[..., Visit]) -> None:
    seen = visit(html_of(example_report()))
    seen.unfold()
    figure = seen.page.locator("#history figure").first
    figure.locator(".u-over").hover()
    readout = figure.locator(".readout").inner_text()
    assert re.fullmatch(r"2026-05-\d\d \d\d:\d\d UTC · home [\d.]+ ms · api [\d.]+ ms", readout), readout


def test_the_theme_can_be_chosen_and_is_kept(visit: Callable[..., Visit]) -> None:
    seen = visit(html_of(example_report()))
    seen.unfold()
    background = "getComputedStyle(document.body).backgroundColor"
    light = seen.page.evaluate(background)
    seen.page.locator("#theme").click()
    dark = seen.page.evaluate(background)
    assert dark != light
    seen.page.reload()
    assert seen.page.evaluate(background) == dark
    assert seen.complaints == []


def test_a_command_is_copied_or_at_least_selected(visit: Callable[..., Visit]) -> None:
    page = visit(html_of(example_report())).page
    button = page.locator("button[data-copy]").first
    button.click()
    page.wait_for_function("['Copied', 'Selected'].includes(document.querySelector('button[data-copy]').textContent)")
    if button.inner_text() == "Selected":
        assert "weekly-maintenance.yml" in page.evaluate("getSelection().toString()")


@pytest.mark.parametrize(("age", "warned"), [(3600.0, False), (3 * DAY, True)])
def test_a_page_that_is_too_old_says_so_itself(visit: Callable[..., Visit], age: float, warned: bool) -> None:
    page = visit("<p>a clock</p>").page
    now = page.evaluate("Date.now() / 1000")
    page = visit(html_of(example_report(), now - age)).page
    assert page.locator("#stale").is_visible() is warned


def test_on_paper_there_are_no_buttons_and_nothing_is_cut_off(visit: Callable[..., Visit]) -> None:
    seen = visit(html_of(example_report()), scheme="dark")
    seen.page.emulate_media(media="print")
    assert seen.page.locator("nav").is_hidden() and seen.page.locator("#theme").is_hidden()
    assert seen.page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_the_chart_library_is_the_one_that_was_published() -> None:
    noted = dict(re.findall(r"^\| `(\S+)` \| `([0-9a-f]{64})` \|$", (HERE / "assets/README.md").read_text(), re.M))
    assert set(noted) == {"uPlot.iife.min.js", "uPlot.min.css", "uPlot.LICENSE"}
    found = {name: hashlib.sha256((HERE / "assets" / name).read_bytes()).hexdigest() for name in noted}
    assert found == noted
