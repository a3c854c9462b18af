"""A lane gives each run ports, state and faults of its own, and takes its answer from files and exit code."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.acp import settings
from soak_pipeline.evidence.run_folder import write_json
from soak_pipeline.model.progress import Progress
from soak_pipeline.model.verdict import LOAD_WAS_VALID, CriterionResult, Verdict
from soak_pipeline.prove import lane, platform
from soak_pipeline.prove.catalogue import CATALOGUE, rows_named
from soak_pipeline.prove.disturbing import Planting, starve
from soak_pipeline.prove.judging import Outcome, RowResult, judge_row
from soak_pipeline.prove.lane import POLICY, Lane, pages_of, prove_row, run_command, run_row
from soak_pipeline.prove.rows import Disturbance, Fault, Row, Turn, When
from soak_pipeline_tests.waiting import PATIENCE_S, wait_for, wait_until_gone

BOTH = Row(
    name="both",
    what="",
    faults=(Fault(name="backfill_dead"), Fault(name="latency_step", parameters={"share": 0.1})),
    settings={"ACP_GATEWAY_SLOTS": "3", "ACP_OUTBOX_GRACE_S": "9"},
    turns=(Turn(criterion="x", verdict=Verdict.FAIL, cause="y"),),
)


def lane_of(directory: Path, **environment: str) -> Lane:
    return Lane(number=1, state=directory / "lane", first_port=24_100, environment={"PATH": "/bin", **environment})


def test_a_run_has_state_ports_and_faults_of_its_own(tmp_path: Path) -> None:
    variables = lane_of(
        tmp_path, ACP_FAULTS="clock_off", ACP_STATE_DIR="/elsewhere", LOCUST_USERS="9", SOAK_PROFILE="nightly"
    ).variables(BOTH)

    assert variables["ACP_FAULTS"] == "backfill_dead;latency_step:share=0.1"
    assert variables["ACP_STATE_DIR"] == str(tmp_path / "lane" / "platform")
    assert variables["SOAK_STATE_DIR"] == str(tmp_path / "lane" / "harness")
    assert (variables["ACP_GATEWAY_PORT"], variables["ACP_METRICS_FIRST_PORT"]) == ("24100", "24130")
    assert (variables["ACP_GATEWAY_SLOTS"], variables["ACP_OUTBOX_GRACE_S"]) == ("3", "9")
    assert not {"LOCUST_USERS", "SOAK_PROFILE"} & set(variables)
    assert variables["PATH"] == "/bin"


def test_faults_of_the_soak_are_not_there_at_the_start(tmp_path: Path) -> None:
    late = Row(name="late", what="", faults=(Fault(name="errors_5xx", when=When.SOAK),))
    assert "ACP_FAULTS" not in lane_of(tmp_path).variables(late)


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
def test_every_setting_is_one_of_the_platforms(row: Row, tmp_path: Path) -> None:
    # The number of gateway processes is no setting of a process.
    known = {settings.variable(name) for name in settings.Settings.__dataclass_fields__} | {"ACP_GATEWAY_WORKERS"}
    assert set(lane.SETTINGS) | set(row.settings) <= known


def test_the_command_carries_size_and_limits() -> None:
    command = run_command(rows_named(["clean_leaks"])[0], Path("/r"), Path("/t.yaml"))

    text = " ".join(command)
    assert "--profile prove --target /t.yaml --reports /r --run-time" in text
    assert f"run --policy {POLICY} " in text
    assert "--set fairness_latency_p99_ratio_max=2 " in text
    assert "--set leak_horizon_h=0.25" in text


def test_pages_are_those_that_the_platform_names() -> None:
    document = (
        b'{"ACP_GATEWAY_URL": "http://127.0.0.1:1", "ACP_METRICS_URLS": "audit=http://a/metrics,usage=http://u/m"}'
    )
    assert pages_of(document) == {
        "gateway": "http://127.0.0.1:1/metrics",
        "audit": "http://a/metrics",
        "usage": "http://u/m",
    }
    assert pages_of(b"{}") == {}


def test_a_run_that_cannot_begin_is_a_failure_of_the_harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "run_command", lambda *_: [sys.executable, "-c", "raise SystemExit(254)"])
    monkeypatch.setattr(lane, "_stop_platform", lambda variables: None)

    result = run_row(BOTH, lane_of(tmp_path), tmp_path / "proof", threading.Event(), lambda words: None)

    assert result is not None
    assert result.outcome is Outcome.HARNESS_FAILED
    assert result.problems == ("soak run ended with exit code 254; see row.log and run.log",)


def test_a_cancelled_run_is_stopped_and_gives_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid_file = tmp_path / "pid"
    code = f"import os, pathlib, time; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(3600)"
    monkeypatch.setattr(lane, "run_command", lambda *_: [sys.executable, "-c", code])
    monkeypatch.setattr(lane, "_stop_platform", lambda variables: None)
    cancelled = threading.Event()

    def tell(words: str) -> None:
        if pid_file.exists() and pid_file.read_text():
            cancelled.set()

    assert run_row(BOTH, lane_of(tmp_path), tmp_path / "proof", cancelled, tell) is None
    assert not psutil.pid_exists(int(pid_file.read_text()))


@pytest.mark.parametrize(("second", "outcome"), [(Verdict.PASS, "passed"), (Verdict.INCONCLUSIVE, "false alarm")])
def test_a_spoiled_run_is_run_once_more_and_that_one_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: Verdict, outcome: str
) -> None:
    row, answers = Row(name="clean", what=""), [Verdict.INCONCLUSIVE, second, Verdict.PASS]

    def played(*_: object, **__: object) -> RowResult:
        validity = CriterionResult(name=LOAD_WAS_VALID, verdict=answers.pop(0), why="busy")
        return judge_row(row, [validity], duration_s=90.0)

    monkeypatch.setattr(lane, "run_row", played)

    result = prove_row(row, lane_of(tmp_path), tmp_path, threading.Event(), lambda words: None)

    assert result is not None
    assert (result.outcome, result.attempts, result.duration_s) == (outcome, 2, 180.0)
    assert len(answers) == 1


@pytest.fixture
def family() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a child whose command line names the load worker's module."""
    child = "import time; time.sleep(3600)"
    code = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}, 'soak_pipeline.load.sender.worker'])\n"
        "print(flush=True)\ntime.sleep(3600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    children = psutil.Process(process.pid).children(recursive=True)
    try:
        yield process
    finally:
        for member in (process, *children):
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()
        process.stdout.close()


def tell_progress(reports: Path, phase: str, seconds_left: float) -> None:
    path = reports / "soak" / "20261123T073000Z" / "control" / "progress.json"
    write_json(path, Progress(session="soak", phase=phase, seconds_left=seconds_left))


def harmed(disturbance: Disturbance) -> Row:
    return Row(
        name="harmed",
        what="",
        disturbance=disturbance,
        turns=(Turn(criterion="x", verdict=Verdict.INCONCLUSIVE, cause="y"),),
    )


def test_a_load_worker_is_killed_near_the_end_of_the_soak(tmp_path: Path, family: subprocess.Popen[bytes]) -> None:
    planting = Planting(harmed(Disturbance.KILL_LOAD_WORKER), family.pid, tmp_path, {}, None)
    (child,) = psutil.Process(family.pid).children()

    assert planting.look() == ""
    tell_progress(tmp_path, "soak", 20.0)
    assert planting.look() == "soak soak"
    assert child.status() != psutil.STATUS_ZOMBIE
    assert "kill_load_worker could not be planted" in planting.problem()
    tell_progress(tmp_path, "soak", 2.5)
    planting.look()

    wait_until_gone(child)
    assert planting.problem() == ""


def test_a_starved_process_is_stopped_most_of_the_time_and_lives_on(family: subprocess.Popen[bytes]) -> None:
    (child,) = psutil.Process(family.pid).children()
    thread = threading.Thread(target=starve, args=(child,), daemon=True)
    thread.start()
    wait_for(lambda: child.status() == psutil.STATUS_STOPPED, "it is stopped", every_s=0.005)
    wait_for(lambda: child.status() != psutil.STATUS_STOPPED, "it goes on", every_s=0.005)
    wait_for(lambda: child.status() == psutil.STATUS_STOPPED, "it is stopped", every_s=0.005)
    child.send_signal(signal.SIGKILL)
    family.kill()
    family.wait()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_fault_of_the_soak_is_set_as_it_begins_and_cleared_as_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    code = f"import sys; open({str(said)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')"
    monkeypatch.setattr(platform, "PLATFORM", ("-c", code))
    row = Row(
        name="late",
        what="",
        faults=(Fault(name="errors_5xx", parameters={"share": 0.5}, when=When.SOAK), Fault(name="backfill_dead")),
        turns=(Turn(criterion="x", verdict=Verdict.FAIL, cause="y"),),
    )
    planting = Planting(row, 0, tmp_path, {}, None)
    for phase in ("starting", "warmup", "soak", "ended", "ended"):
        tell_progress(tmp_path, phase, 0.0)
        planting.look()

    assert said.read_text().splitlines() == ["fault set errors_5xx share=0.5", "fault clear errors_5xx"]
    assert planting.problem() == ""


def test_a_fault_that_the_platform_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; print('no such fault', file=sys.stderr); sys.exit(1)"
    monkeypatch.setattr(platform, "PLATFORM", ("-c", code))
    row = Row(
        name="late",
        what="",
        faults=(Fault(name="errors_5xx", when=When.SOAK),),
        turns=(Turn(criterion="x", verdict=Verdict.FAIL, cause="y"),),
    )
    planting = Planting(row, 0, tmp_path, {}, None)
    assert planting.problem() == "errors_5xx could not be planted: the soak's load never came to it"
    tell_progress(tmp_path, "warmup", 26.0)
    planting.look()
    assert planting.problem() == "fault errors_5xx could not be set: no such fault"
