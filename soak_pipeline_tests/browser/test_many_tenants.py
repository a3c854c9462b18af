"""The report of a run of fifty tenants in a real browser."""

from __future__ import annotations

import msgspec
import pytest
from selenium.webdriver.common.by import By

from soak_pipeline_tests.browser.accessibility import headings_out_of_order, nameless, poor_contrasts
from soak_pipeline_tests.browser.chromium import Browser
from soak_pipeline_tests.policies import profile_of
from soak_pipeline_tests.report.runs import reported_run
from soak_pipeline_tests.tenant_tables import FIFTY

PHONE, DESKTOP = (360, True), (1_280, False)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    smoke = msgspec.structs.replace(profile_of("smoke"), users=150)
    folder, _ = reported_run(tmp_path_factory.mktemp("fifty"), profile=smoke, tenants=FIFTY)
    return (folder.path / "report.html").as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "is_phone"), [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_it_fits_can_be_read_and_has_names(
    browser: Browser, page: str, width: int, is_phone: bool, scheme: str
) -> None:
    browser.size(width, is_phone=is_phone)
    browser.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    browser.get("about:blank")
    browser.get(page)
    assert browser.overflow_px() == 0
    assert poor_contrasts(browser) == []
    assert headings_out_of_order(browser) == []
    assert nameless(browser) == []
    assert not [line for line in browser.complaints() if "SEVERE" in line]


def test_long_tables_scroll_under_their_headings(browser: Browser, page: str) -> None:
    browser.size(*DESKTOP[:1])
    browser.get(page)
    tables = browser.find_elements(By.CSS_SELECTOR, ".scroll.tall")
    assert len(tables) == 2
    for table in tables:
        height, whole, moved = browser.execute_script(
            "const box = arguments[0], head = box.querySelector('thead'); box.scrollTop = 400;"
            "return [box.clientHeight, box.scrollHeight,"
            " head.getBoundingClientRect().top - box.getBoundingClientRect().top]",
            table,
        )
        assert height <= 34 * 16 + 1
        assert whole > 50 * 20
        assert abs(moved) <= 1
