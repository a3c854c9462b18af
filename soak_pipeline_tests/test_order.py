"""The order of the tests: long files first, whatever the rest of the order is."""

from __future__ import annotations

import pytest

from soak_pipeline_tests.conftest import FIRST, TESTS, place_of


def test_folders_with_long_files_come_before_all_others() -> None:
    files = [*TESTS.glob("test_*.py"), *TESTS.glob("*/**/test_*.py")]
    places = {file.relative_to(TESTS).as_posix(): place_of(file) for file in files}
    assert set(places.values()) == set(range(len(FIRST) + 1)), "each of the folders is there"
    assert places["integration/test_whole_run.py"] == 0
    assert (
        places["defs/test_graph.py"] < places["report/charts/test_charts.py"] == places["test_order.py"] == len(FIRST)
    )


def test_this_very_session_is_in_that_order_and_hands_its_files_out_so(request: pytest.FixtureRequest) -> None:
    places = [place_of(item.path) for item in request.session.items]
    assert places == sorted(places)
    assert request.config.getoption("loadscopereorder") is False
