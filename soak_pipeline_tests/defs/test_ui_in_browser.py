"""The Dagster UI in a real browser: what an operator reads of a run without a click, with its lines drawn."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import dagster as dg
import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.commands.ui import GRPC_TIMEOUT_S, GRPC_TIMEOUT_VARIABLE
from soak_pipeline.criteria.registry import CRITERIA
from soak_pipeline.definitions import defs
from soak_pipeline.defs.partitions import ensure_soak_run
from soak_pipeline.evidence.seal import seal_new
from soak_pipeline.stages.dagster_home import prepare_dagster_home
from soak_pipeline_tests.browser.chromium import MISSING, Browser, chromium
from soak_pipeline_tests.defs.conftest import RUN_ID
from soak_pipeline_tests.defs.dagster_dev import end_dagster, serves
from soak_pipeline_tests.evidence_factory import make_run
from soak_pipeline_tests.infra.servers import free_port
from soak_pipeline_tests.waiting import wait_for

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture(scope="module")
def web_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a web server over the project's own code location, with one run that failed."""
    folder = tmp_path_factory.mktemp("ui")
    environment = {
        **os.environ,
        "SOAK_REPORTS_DIR": str(folder / "reports"),
        "DAGSTER_HOME": str(folder / "home"),
        GRPC_TIMEOUT_VARIABLE: str(GRPC_TIMEOUT_S),
    }
    run = make_run(folder / "reports", run_id=RUN_ID, defects=["slow_tenant"])
    seal_new(run.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOAK_REPORTS_DIR", environment["SOAK_REPORTS_DIR"])
        patch.setenv("DAGSTER_HOME", environment["DAGSTER_HOME"])
        prepare_dagster_home(folder / "home")
        with dg.DagsterInstance.get() as instance:
            ensure_soak_run(instance, RUN_ID)
            job = defs().resolve_job_def("rejudge")
            job.execute_in_process(instance=instance, partition_key=RUN_ID, raise_on_error=False)
    port = free_port()
    command = [sys.executable, "-m", "dagster_webserver", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=PROJECT_ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"

    try:
        wait_for(lambda: serves(process, url, folder / "log"), "Dagster's web server answers")
        yield url
    finally:
        end_dagster(process)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        browser.size(1600, 2000)
        yield browser


def _text(browser: Browser) -> str:
    return str(browser.execute_script("return document.body.innerText"))


def test_a_run_is_read_without_a_click_and_its_lines_are_drawn(web_server: str, browser: Browser) -> None:
    browser.get(f"{web_server}/assets/report?view=partitions&partition={RUN_ID}")
    at_a_glance = [
        *(criterion.name for criterion in CRITERIA),
        "gateway_p95_is_under_slo: tenant C p95 was",
        "service p99",
        "p99 in burst",
        "first to last",
    ]
    wait_for(lambda: all(words in _text(browser) for words in at_a_glance), "the page says everything")
    assert _text(browser).count("[Show Markdown]") == 1, "only the sentences of the criteria hide behind a click"

    selector = "img[src^='data:image/svg+xml']"
    count = f'return document.querySelectorAll("{selector}").length'
    wait_for(lambda: browser.execute_script(count) >= 5, "five lines are there")
    drawn = f'return [...document.querySelectorAll("{selector}")].every((each) => each.complete)'
    wait_for(lambda: browser.execute_script(drawn), "every line is drawn")
    sizes = browser.execute_script(
        f'return [...document.querySelectorAll("{selector}")].map((each) => [each.naturalWidth, each.alt])'
    )
    assert {width for width, _ in sizes} == {180}
    assert any("p99 ratio of the pairs" in words for _, words in sizes)
