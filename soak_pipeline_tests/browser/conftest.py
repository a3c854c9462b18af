"""One browser per module; without Chromium or its driver every test here is skipped and says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from soak_pipeline_tests.browser.chromium import MISSING, Browser, chromium


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if MISSING:
        pytest.skip(MISSING)
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser
