"""The history page in a real browser: with one run, a few, and two months of nights."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By

from soak_pipeline.report.history import history_html
from soak_pipeline_tests.browser.accessibility import headings_out_of_order, nameless, poor_contrasts
from soak_pipeline_tests.browser.chromium import Browser
from soak_pipeline_tests.report.test_history import run

NIGHTS = (1, 5, 28)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Address of a history per number of runs."""
    folder = tmp_path_factory.mktemp("history")
    verdicts = ("PASS", "PASS", "FAIL", "PASS", "INCONCLUSIVE")
    for count in NIGHTS:
        runs = [run(number, verdicts[number % 5]) for number in range(1, count + 1)]
        (folder / f"{count}.html").write_text(history_html(runs, [("20261130T010000Z", "has no readable verdict")]))
    return {count: (folder / f"{count}.html").as_uri() for count in NIGHTS}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "is_phone"), [(360, True), (1_280, False)])
@pytest.mark.parametrize("count", NIGHTS)
def test_it_fits_and_can_be_read(
    browser: Browser, pages: dict[int, str], count: int, width: int, is_phone: bool, scheme: str
) -> None:
    browser.size(width, is_phone=is_phone)
    browser.prefer(prefers_color_scheme=scheme)
    browser.get(pages[count])
    assert browser.overflow_px() == 0
    assert poor_contrasts(browser) == []
    assert nameless(browser) == []
    assert headings_out_of_order(browser) == []
    assert bool(browser.find_elements(By.CSS_SELECTOR, "figure")) is (count > 1)


def test_it_fetches_nothing_and_its_console_stays_empty(browser: Browser, pages: dict[int, str]) -> None:
    browser.complaints()
    browser.requested()
    browser.get(pages[28])
    assert browser.requested() == [pages[28]]
    assert browser.complaints() == []


def test_each_run_leads_to_its_report_beside_the_page(browser: Browser, pages: dict[int, str]) -> None:
    browser.get(pages[5])
    links = [str(link.get_attribute("href")) for link in browser.find_elements(By.CSS_SELECTOR, "table.runs a")]
    folder = pages[5].rpartition("/")[0]
    assert links == [f"{folder}/202611{number:02d}T010000Z/report.html" for number in (5, 4, 3, 2, 1)]
