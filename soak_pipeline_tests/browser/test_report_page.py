"""The report in a real browser: on a phone, in the dark, on paper, by keyboard, without a network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By

from soak_pipeline_tests.browser.accessibility import headings_out_of_order, nameless, poor_contrasts
from soak_pipeline_tests.browser.chromium import Browser
from soak_pipeline_tests.report.runs import reported_run

DEFECTS = {
    "FAIL": ["quiet_tenant_suffers", "server_errors"],
    "INCONCLUSIVE": ["usage_unread", "worker_lost"],
    "PASS": [],
}
WIDTHS = {"small phone": (360, True), "phone": (390, True), "tablet": (768, True), "desktop": (1_280, False)}
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Address of a report per verdict."""
    folders = {
        verdict: reported_run(tmp_path_factory.mktemp(verdict), defects=defects)[0]
        for verdict, defects in DEFECTS.items()
    }
    return {verdict: (folder.path / "report.html").as_uri() for verdict, folder in folders.items()}


@pytest.fixture
def desktop(browser: Browser) -> Browser:
    browser.size(1_280)
    prefer(browser, "light")
    browser.complaints()
    browser.requested()
    return browser


def prefer(browser: Browser, scheme: str) -> None:
    # Without motion, a jump to an anchor is over when the next command comes.
    browser.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")


def show(browser: Browser, address: str, anchor: str = "") -> None:
    # Without the blank page between them, another anchor of the same page would not load it again.
    browser.get("about:blank")
    browser.get(f"{address}#{anchor}" if anchor else address)


def focused_id(browser: Browser) -> str:
    return str(browser.execute_script("return (document.activeElement.closest('[id]') || {}).id || ''"))


def tip(browser: Browser) -> str:
    return browser.find_element(By.ID, "tip").text


@pytest.mark.parametrize("verdict", DEFECTS)
def test_nothing_is_fetched_and_the_console_stays_empty(desktop: Browser, pages: dict[str, str], verdict: str) -> None:
    show(desktop, pages[verdict])
    assert desktop.requested() == [pages[verdict]]
    assert desktop.complaints() == []


def test_the_console_would_show_a_script_that_its_policy_forbids(desktop: Browser, pages: dict[str, str]) -> None:
    show(desktop, pages["FAIL"])
    desktop.execute_script("document.body.append(Object.assign(document.createElement('script'), {text: 'foreign()'}))")
    assert "Content Security Policy" in desktop.complaints()[0]


@pytest.mark.parametrize("verdict", DEFECTS)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits(desktop: Browser, pages: dict[str, str], width: str, verdict: str) -> None:
    pixels, is_phone = WIDTHS[width]
    desktop.size(pixels, is_phone=is_phone)
    show(desktop, pages[verdict])
    assert desktop.overflow_px() == 0
    assert desktop.find_element(By.CSS_SELECTOR, ".narrow-only").is_displayed() is (pixels <= 640)


@pytest.mark.parametrize(("verdict", "size"), [("FAIL", (1_280, 720)), ("INCONCLUSIVE", (390, 844))])
def test_verdict_reason_and_next_step_are_above_the_fold(
    desktop: Browser, pages: dict[str, str], verdict: str, size: tuple[int, int]
) -> None:
    desktop.size(*size, is_phone=size[0] < 640)
    show(desktop, pages[verdict])
    assert desktop.find_element(By.TAG_NAME, "h1").text.startswith(verdict)
    for part in ("h1", ".why", ".next div"):
        rectangle = desktop.find_element(By.CSS_SELECTOR, part).rect
        assert rectangle["y"] + rectangle["height"] < size[1], part


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("verdict", DEFECTS)
def test_every_text_can_be_read(desktop: Browser, pages: dict[str, str], verdict: str, scheme: str) -> None:
    prefer(desktop, scheme)
    show(desktop, pages[verdict])
    desktop.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    assert poor_contrasts(desktop) == []


def test_it_follows_the_reader_s_preference_for_dark(desktop: Browser, pages: dict[str, str]) -> None:
    grounds = {}
    for scheme in SCHEMES:
        prefer(desktop, scheme)
        show(desktop, pages["FAIL"])
        grounds[scheme] = desktop.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
    assert grounds == {"light": "rgba(255, 255, 255, 1)", "dark": "rgba(14, 17, 22, 1)"}


@pytest.mark.parametrize("verdict", DEFECTS)
def test_everything_has_a_name_and_headings_are_in_order(desktop: Browser, pages: dict[str, str], verdict: str) -> None:
    show(desktop, pages[verdict])
    assert nameless(desktop) == []
    assert headings_out_of_order(desktop) == []


def test_the_checks_would_notice(desktop: Browser, pages: dict[str, str]) -> None:
    show(desktop, pages["PASS"])
    desktop.execute_script("""
      document.querySelector("main").insertAdjacentHTML("afterbegin",
        "<img><h5>deep</h5><p style='color: #999999'>pale</p><div style='width: 3000px'>wide</div>");
    """)
    assert len(nameless(desktop)) == 1
    assert any("h5 'deep' follows h1" in problem for problem in headings_out_of_order(desktop))
    assert [problem for problem in poor_contrasts(desktop) if "pale" in problem]
    assert desktop.overflow_px() > 1_000


def test_a_criterion_opens_by_its_anchor_and_by_the_links_above_the_fold(
    desktop: Browser, pages: dict[str, str]
) -> None:
    show(desktop, pages["FAIL"], "teardown_is_silent")
    assert desktop.find_element(By.ID, "teardown_is_silent").get_attribute("open")
    assert not desktop.find_element(By.ID, "roots_are_sealed").get_attribute("open")

    first = desktop.find_element(By.CSS_SELECTOR, ".why a")
    criterion = desktop.find_element(By.ID, str(first.get_attribute("href")).partition("#")[2])
    desktop.execute_script("arguments[0].open = false", criterion)
    first.click()
    assert criterion.get_attribute("open")
    assert criterion.find_element(By.TAG_NAME, "summary").rect["height"] > 0


def test_folded_charts_open_by_the_anchor_of_one(desktop: Browser, pages: dict[str, str]) -> None:
    show(desktop, pages["FAIL"], "leak-3")
    assert desktop.find_element(By.ID, "leak-3").is_displayed()


def test_the_keyboard_reaches_and_opens_everything(desktop: Browser, pages: dict[str, str]) -> None:
    show(desktop, pages["PASS"])
    desktop.switch_to.active_element.send_keys(Keys.TAB)
    assert desktop.switch_to.active_element.text == "Skip to the criteria"
    desktop.switch_to.active_element.send_keys(Keys.ENTER)
    seen = []
    for _ in range(40):
        desktop.switch_to.active_element.send_keys(Keys.TAB)
        seen.append(focused_id(desktop))
        if seen[-1] == "course":
            break
    criteria = [each.get_attribute("id") for each in desktop.find_elements(By.CSS_SELECTOR, ".criterion")]
    assert [name for name in seen if name in criteria] == criteria
    assert seen[-1] == "course", "the first chart follows the criteria"

    summary = desktop.find_element(By.CSS_SELECTOR, "#roots_are_sealed > summary")
    summary.send_keys(Keys.ENTER)
    assert desktop.find_element(By.ID, "roots_are_sealed").get_attribute("open")


def test_the_pointer_reads_a_chart(desktop: Browser, pages: dict[str, str]) -> None:
    show(desktop, pages["FAIL"])
    drawing = desktop.find_element(By.CSS_SELECTOR, "#latency-0 .drawing")
    desktop.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", drawing)
    ActionChains(desktop).move_to_element(drawing).perform()
    assert "p95 ms" in tip(desktop)
    ActionChains(desktop).move_to_element(desktop.find_element(By.CSS_SELECTOR, "#latency h2")).perform()
    assert tip(desktop) == ""


def test_the_arrow_keys_read_a_chart_and_escape_ends_it(desktop: Browser, pages: dict[str, str]) -> None:
    show(desktop, pages["FAIL"])
    drawing = desktop.find_element(By.CSS_SELECTOR, "#latency-0 .drawing")
    cells = [row.get_attribute("textContent") for row in desktop.find_elements(By.CSS_SELECTOR, "#latency-0 tbody td")]
    columns = len(desktop.find_elements(By.CSS_SELECTOR, "#latency-0 thead th"))
    drawing.send_keys(Keys.ARROW_RIGHT)
    assert str(cells[0]) in tip(desktop)
    drawing.send_keys(Keys.ARROW_RIGHT)
    assert all(str(cell) in tip(desktop) for cell in cells[columns : 2 * columns])
    drawing.send_keys(Keys.ESCAPE)
    assert tip(desktop) == ""


def test_it_is_whole_without_scripts(browser: Browser, pages: dict[str, str]) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.size(1_280)
        show(browser, pages["FAIL"])
        assert browser.find_element(By.CSS_SELECTOR, "#quiet_tenants_are_protected .findings").is_displayed()
        assert browser.find_element(By.CSS_SELECTOR, "#latency-0 svg").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_it_prints_on_few_pages(desktop: Browser, pages: dict[str, str]) -> None:
    show(desktop, pages["FAIL"])
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", desktop.printed())) <= 8


def test_a_copy_elsewhere_is_the_same_page(desktop: Browser, pages: dict[str, str], tmp_path: Path) -> None:
    copy = tmp_path / "attached to a ticket.html"
    copy.write_bytes(Path(pages["FAIL"].removeprefix("file://")).read_bytes())
    show(desktop, copy.as_uri())
    assert desktop.requested() == [copy.as_uri()]
    assert desktop.complaints() == []
