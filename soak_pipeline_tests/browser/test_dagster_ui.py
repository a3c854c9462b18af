"""`dagster dev` as an operator uses it, over fake stages: web server, daemon, sensors and run workers.

In a browser: the graph, the form, the verdict, judging again. Through the web server's GraphQL, which is all that the
UI itself has: the automation; and the form, where there is no browser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import yaml
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from soak_pipeline.criteria.registry import CRITERIA
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.stage_outputs import FinalVerdict
from soak_pipeline_tests.browser.chromium import MISSING, Browser
from soak_pipeline_tests.defs.dagster_dev import ENDED, LOCATION, Dagster, dagster_dev
from soak_pipeline_tests.defs.test_graph import PARENTS
from soak_pipeline_tests.waiting import wait_for

FORM = (
    "ops: {accept_request: {config: {profile: smoke, release: v9, users: 60, run_time: 1s,"
    " thresholds: {gateway_latency_ms_p95_max: 300.0}}}}"
)


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    with dagster_dev(tmp_path_factory.mktemp("project")) as dagster:
        yield dagster


@pytest.fixture(scope="module")
def operator(browser: Browser, dagster: Dagster) -> Browser:
    """The browser of an operator with a large screen."""
    browser.size(1_600, 1_400)
    return browser


@pytest.fixture(scope="module")
def soak(request: pytest.FixtureRequest, dagster: Dagster) -> dict:
    """The soak run that an operator asked for with the form, once it has ended."""
    if MISSING:
        asked = dagster.launch(
            "request_soak", yaml.safe_load(FORM)["ops"]["accept_request"]["config"], "accept_request"
        )
    else:
        asked = launch_in_the_browser(request.getfixturevalue("operator"), dagster)
    run_id = str(wait_for(lambda: dagster.run(asked)["tags"].get("soak/requested_run")))

    def ended() -> list[dict]:
        runs = [run for run in dagster.runs() if run["tags"].get("dagster/partition") == run_id]
        return [run for run in runs if run["jobName"] == "smoke_soak" and run["status"] in ENDED]

    return wait_for(ended)[0]


def launch_in_the_browser(operator: Browser, dagster: Dagster) -> str:
    """Fills in the form and sends it off; the Dagster id of the request, which has succeeded."""
    operator.get(f"{dagster.url}/locations/soak_pipeline/jobs/request_soak/playground")
    fill_in(operator, FORM)
    button(operator, "Launch Run").click()
    wait_for(lambda: "/runs/" in operator.current_url)
    request = operator.current_url.rpartition("/")[2]
    wait_for(lambda: dagster.run(request)["status"] in ENDED)
    wait_for(lambda: "Success" in text(operator))
    wait_for(reads(operator, "/runs?q[0]=tag:dagster/partition="))
    return request


def text(browser: Browser) -> str:
    return str(browser.execute_script("return document.body.innerText"))


def button(browser: Browser, words: str) -> WebElement:
    """The last button with those words, once there is one that can be pressed."""

    def pressable() -> WebElement | None:
        try:
            found = browser.find_elements(By.XPATH, f"//button[contains(normalize-space(.), '{words}')]")
            return found[-1] if found and found[-1].is_displayed() and found[-1].is_enabled() else None
        except StaleElementReferenceException:
            return None

    return wait_for(pressable)


def fill_in(browser: Browser, form: str) -> None:
    """Types a form over what the launchpad proposes."""
    editor = wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, ".CodeMirror"))[0]
    wait_for(lambda: "accept_request" in editor.text)
    editor.click()
    ActionChains(browser).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).send_keys(form).perform()


def reads(browser: Browser, words: str) -> Callable[[], bool]:
    """Whether the page says something by now."""
    return lambda: words in text(browser)


def partition_of(run: dict) -> str:
    return str(run["tags"]["dagster/partition"])


def test_the_ui_shows_the_graph_and_the_automation(dagster: Dagster) -> None:
    repository = dagster.ask(
        """query($selector: RepositorySelector!) { repositoryOrError(repositorySelector: $selector) {
             ... on Repository { assetNodes { assetKey { path } dependencyKeys { path } description hasAssetChecks
               assetChecksOrError { ... on AssetChecks { checks { name blocking } } } }
             jobs { name }
             schedules { name scheduleState { status } }
             sensors { name sensorState { status } } } } }""",
        selector=LOCATION,
    )["repositoryOrError"]
    nodes = {node["assetKey"]["path"][-1]: node for node in repository["assetNodes"]}
    assert {name: {key["path"][-1] for key in node["dependencyKeys"]} for name, node in nodes.items()} == PARENTS
    checks = nodes["post_run_checks"]["assetChecksOrError"]["checks"]
    assert {check["name"] for check in checks} == {criterion.name for criterion in CRITERIA}
    assert nodes["report"]["assetChecksOrError"]["checks"] == [{"name": "promotion_is_allowed", "blocking": True}]
    assert {job["name"] for job in repository["jobs"]} >= {"smoke_soak", "nightly_soak", "rejudge", "request_soak"}
    assert [schedule["scheduleState"]["status"] for schedule in repository["schedules"]] == ["STOPPED"]
    sensors = {sensor["name"]: sensor["sensorState"]["status"] for sensor in repository["sensors"]}
    assert sensors.pop("release_candidate_sensor") == "STOPPED"
    assert set(sensors.values()) == {"RUNNING"}


def test_the_graph_shows_every_asset(operator: Browser, dagster: Dagster) -> None:
    operator.get(f"{dagster.url}/asset-groups")
    wait_for(reads(operator, "report"))
    wait_for(lambda: set(PARENTS) <= set(text(operator).split()))


def test_a_misspelt_field_is_told_before_anything_starts(operator: Browser, dagster: Dagster) -> None:
    before = len(dagster.runs())
    operator.get(f"{dagster.url}/locations/soak_pipeline/jobs/request_soak/playground")
    fill_in(operator, "ops: {accept_request: {config: {profil: smoke}}}")
    wait_for(reads(operator, 'Received unexpected config entry "profil"'))
    launch = operator.find_elements(By.XPATH, "//button[contains(., 'Launch Run')]")[-1]
    assert not launch.is_enabled()
    assert len(dagster.runs()) == before


def test_the_form_starts_the_run_that_was_asked_for(dagster: Dagster, soak: dict) -> None:
    assert soak["status"] == "SUCCESS"
    folder = RunFolder(dagster.reports, partition_of(soak))
    plan, final = folder.read_plan(), folder.read_output("report", FinalVerdict)
    assert (plan.profile.name, plan.profile.users, plan.profile.soak_s, plan.release) == ("smoke", 60, 1.0, "v9")
    assert (final.release, final.verdict) == ("v9", "PASS")


def test_the_list_of_runs_names_it(operator: Browser, dagster: Dagster, soak: dict) -> None:
    operator.get(f"{dagster.url}/runs")
    wait_for(reads(operator, "smoke_soak"))
    wait_for(reads(operator, partition_of(soak)))


def test_the_page_of_the_report_says_the_verdict(operator: Browser, dagster: Dagster, soak: dict) -> None:
    operator.get(f"{dagster.url}/assets/report?view=partitions&partition={partition_of(soak)}")
    wait_for(reads(operator, "Nothing to do: smoke gates no promotion."))
    rows = [row.text.split() for row in operator.find_elements(By.TAG_NAME, "tr")]
    assert ["verdict", "PASS"] in rows
    assert ["release", "v9"] in rows


def test_each_criterion_is_a_check_with_its_question(operator: Browser, dagster: Dagster, soak: dict) -> None:
    operator.get(f"{dagster.url}/assets/post_run_checks?view=checks")
    wait_for(lambda: all(criterion.name in text(operator) for criterion in CRITERIA))
    wait_for(reads(operator, "Evaluation result\nPassed"))
    wait_for(reads(operator, "Is every tenant's audit chain whole"))


def test_only_the_judgement_is_made_again(operator: Browser, dagster: Dagster, soak: dict) -> None:
    folder = RunFolder(dagster.reports, partition_of(soak))
    stages = [*PARENTS]
    before = {stage: folder.output_versions(stage) for stage in stages}
    operator.get(f"{dagster.url}/locations/soak_pipeline/jobs/rejudge")
    button(operator, "Materialize all").click()
    wait_for(reads(operator, "Launch runs to materialize 2 assets"))
    operator.find_element(By.XPATH, "//button[normalize-space(.)='All']").click()
    button(operator, "Launch 1 run").click()
    again = wait_for(lambda: [run for run in dagster.runs() if run["jobName"] == "rejudge"])[0]
    wait_for(lambda: dagster.run(again["runId"])["status"] in ENDED)
    assert dagster.run(again["runId"])["status"] == "SUCCESS"
    made = {stage for stage in stages if folder.output_versions(stage) != before[stage]}
    assert made == {"post_run_checks", "report"}
    assert folder.read_output("report", FinalVerdict).release == "v9"
