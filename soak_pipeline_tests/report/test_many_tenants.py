"""The report of runs with other tenants than the default policy's: six with odd names, and fifty."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.report.history import StoredRun, history_html, stored_run
from soak_pipeline_tests.policies import profile_of
from soak_pipeline_tests.report.runs import reported_run
from soak_pipeline_tests.report.test_html import Page
from soak_pipeline_tests.tenant_tables import FIFTY, ODD_NAMES, SIX, names

ODD = dict.fromkeys(ODD_NAMES, 1 / len(ODD_NAMES))
NOISY = {"six": "globex", "fifty": "customer-07-eu", "odd": "errors"}
TABLES = {"six": SIX, "fifty": FIFTY, "odd": ODD}
MOST_BYTES = 1_500_000
"""Of the page of a smoke run with 50 tenants."""


@pytest.fixture(scope="module", params=list(TABLES))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, RunFolder]:
    name = request.param
    # Three users of each of the fifty: enough calls for a p95.
    smoke = msgspec.structs.replace(profile_of("smoke"), users=150 if name == "fifty" else 100)
    folder, final = reported_run(tmp_path_factory.mktemp(name), profile=smoke, tenants=TABLES[name], noisy=NOISY[name])
    assert "report.html" in final.files
    return name, folder


def page_of(folder: RunFolder) -> str:
    return (folder.path / "report.html").read_text()


def test_the_run_passes_and_names_every_tenant(run: tuple[str, RunFolder]) -> None:
    name, folder = run
    text = page_of(folder)
    # A small share has too few calls of its own to be judged; nothing else may be open.
    open_ones = re.findall(r'class="criterion (?:fail|open)" id="(\w+)"', text)
    assert set(open_ones) <= {"gateway_p95_is_under_slo", "load_was_valid"} if name == "odd" else open_ones == []
    for tenant in TABLES[name]:
        assert f"</i>{tenant}</th>" in text


def test_the_page_is_well_formed_and_bounded(run: tuple[str, RunFolder]) -> None:
    _, folder = run
    text = page_of(folder)
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert len(text.encode()) < MOST_BYTES


def test_classes_and_identifiers_are_never_made_of_a_name(run: tuple[str, RunFolder]) -> None:
    name, folder = run
    text = page_of(folder)
    classes = {word for found in re.findall(r'class="swatch ([^"]*)"', text) for word in found.split()}
    assert {word for word in classes if word.startswith("tenant-")} <= {
        *(f"tenant-{index}" for index in range(8)),
        "tenant-other",
    }
    identifiers = re.findall(r'<figure id="([^"]*)"', text)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+|-\d+)*", identifier) for identifier in identifiers), identifiers
    assert all(f'id="latency-{tenant}"' not in text for tenant in TABLES[name] if not tenant.isdigit())


def test_the_noisy_tenant_is_the_plan_s_own(run: tuple[str, RunFolder]) -> None:
    name, folder = run
    noisy = NOISY[name]
    text = page_of(folder)
    assert f"tenant {noisy}, the noisy one" in text
    assert f"Tenant {noisy} went from" in text


def test_of_many_tenants_few_are_drawn_and_all_are_in_the_tables(run: tuple[str, RunFolder]) -> None:
    name, folder = run
    text = page_of(folder)
    drawn = len(re.findall(r'<figure id="latency-\d+"', text))
    count = len(TABLES[name])
    assert drawn == min(count, 24)
    assert ("26 stand in the table only" in text) is (count == 50)
    assert ("scroll tall" in text) is (count > 12)


def test_ci_files_can_be_read(run: tuple[str, RunFolder]) -> None:
    name, folder = run
    ET.fromstring((folder.path / "junit.xml").read_bytes())
    summary = (folder.path / "summary.md").read_text()
    table = [line for line in summary.splitlines() if line.startswith("| ") and line.count("|") == 7]
    assert len(table) - 2 >= len(TABLES[name])


def test_a_run_is_read_back_with_its_own_tenants_in_their_order(run: tuple[str, RunFolder]) -> None:
    name, folder = run
    assert list(stored_run(folder).latency_ms_p95) == list(TABLES[name])


def stored(number: int, tenants: Sequence[str]) -> StoredRun:
    return StoredRun(
        run_id=f"202611{number:02d}T010000Z",
        profile="nightly",
        target="local",
        release="v1",
        verdict="PASS",
        why="because",
        latency_ms_p95={name: 40.0 + position for position, name in enumerate(tenants)},
        latency_ms_p99={name: 60.0 + position for position, name in enumerate(tenants)},
    )


def test_history_joins_the_tenants_of_all_runs_the_newest_first() -> None:
    text = history_html([stored(1, ["old", "acme"]), stored(2, ["acme", "globex"])])
    assert re.findall(r'<i class="swatch (tenant-\w+)"></i>tenant (\w+)', text) == [
        ("tenant-0", "acme"),
        ("tenant-1", "globex"),
        ("tenant-2", "old"),
    ]
    assert '<th scope="col">tenant old</th>' in text


def test_history_of_many_tenants_draws_the_slowest_and_the_slowest_of_the_others() -> None:
    text = history_html([stored(1, list(FIFTY)), stored(2, list(FIFTY))])
    assert "slowest of 42 other tenants" in text
    assert text.count('class="swatch tenant-') == 9
    assert len(text.encode()) < 100_000


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(before=names(), now=names(), data=st.data())
def test_history_takes_any_names(before: list[str], now: list[str], data: st.DataObject) -> None:
    text = history_html([stored(1, before), stored(2, now)])
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))


def test_a_page_of_two_tenants(tmp_path: Path) -> None:
    folder, final = reported_run(tmp_path, tenants={"a": 0.5, "b": 0.5}, noisy="b")
    assert final.verdict == "PASS"
    assert "tenant b, the noisy one" in page_of(folder)
