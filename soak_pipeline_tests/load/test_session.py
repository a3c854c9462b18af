"""Whole load sessions against a small platform: everything from the plan to the Parquet rows, on real processes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families

from soak_pipeline.evidence.progress import read_progress
from soak_pipeline.evidence.requests import RequestTable, read_requests
from soak_pipeline.evidence.run_folder import read_json
from soak_pipeline.load.sender.samples import Sample
from soak_pipeline.load.sender.schedule import AUTH_SEQUENCE_BASE, UserSchedule, user_indices
from soak_pipeline.load.session import report_session, run_session
from soak_pipeline.model.credentials import tenant_password
from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.plan import LoadSession, Plan
from soak_pipeline.model.progress import Progress
from soak_pipeline.model.stage_outputs import SessionReport, StageStatus
from soak_pipeline_tests.infra.servers import free_port
from soak_pipeline_tests.load.example_run import (
    ENVIRONMENT,
    behaviour_for,
    example_plan,
    example_session,
    example_spec,
    provisioned_for,
)
from soak_pipeline_tests.load.processes import load_processes
from soak_pipeline_tests.load.small_platform import OPERATOR_PASSWORD, running_platform
from soak_pipeline_tests.policies import EXECUTED_ONLY
from soak_pipeline_tests.waiting import PATIENCE_S


def run(
    run_dir: Path,
    url: str,
    *,
    plan: Plan | None = None,
    session: LoadSession | None = None,
    still_wanted: Callable[[], bool] = lambda: True,
    on_progress: Callable[[Progress], None] | None = None,
    metrics_port: str = "",
    page_port: str = "",
) -> SessionReport:
    plan = plan or example_plan()
    return run_session(
        session or example_session(),
        plan=plan,
        provisioned=provisioned_for(plan),
        run_dir=run_dir,
        gateway_url=url,
        environment={**ENVIRONMENT, "SOAK_METRICS_PORT": metrics_port, "SOAK_LOCUST_PAGE_PORT": page_port},
        still_wanted=still_wanted,
        on_progress=on_progress,
    )


class WholeSession:
    """A session over two workers, run once for the tests that only look at what it left."""

    def __init__(self, run_dir: Path, soak_s: float) -> None:
        self.run_dir = run_dir
        self.plan = example_plan(load_workers=2)
        self.session = example_session(soak_s=soak_s)
        self.progress: list[Progress] = []
        self.command_lines: set[str] = set()
        self.metrics_port = free_port()
        self.scrapes: list[str] = []
        self.page = f"http://127.0.0.1:{free_port()}"
        self.shown: list[httpx.Response] = []
        self.refused: list[httpx.Response] = []
        with running_platform(behaviour_for(self.plan)) as platform:
            self.report = run(
                run_dir,
                platform.url,
                plan=self.plan,
                session=self.session,
                on_progress=self.look,
                metrics_port=str(self.metrics_port),
                page_port=self.page.rpartition(":")[2],
            )
            self.seen = platform.seen()

    def look(self, progress: Progress) -> None:
        self.progress.append(progress)
        self.command_lines |= set(load_processes(self.run_dir).values())
        if progress.phase != "soak" or progress.latency_ms_p95.keys() != self.session.users.keys():
            return
        # Near its end the session may be over before an answer arrives.
        with contextlib.suppress(httpx.TransportError), httpx.Client(timeout=PATIENCE_S) as client:
            scrape = client.get(f"http://127.0.0.1:{self.metrics_port}/metrics").text
            shown = [client.get(f"{self.page}{path}") for path in ("/", "/stats/requests")]
            refused = [client.get(f"{self.page}/stop"), client.get(f"{self.page}/stats/reset")]
            refused.append(client.post(f"{self.page}/swarm", data={"user_count": "1", "spawn_rate": "1"}))
            self.scrapes.append(scrape)
            self.shown += shown
            self.refused += refused

    @property
    def table(self) -> RequestTable:
        return read_requests(self.run_dir / "requests")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> WholeSession:
    """A short one; a longer one where the machine is too slow to look at anything in mid-session."""
    for soak_s in (2.0, 20.0, 200.0):
        session = WholeSession(tmp_path_factory.mktemp("run"), soak_s)
        if session.scrapes:
            break
    return session


def test_it_is_complete(whole: WholeSession) -> None:
    report = whole.report
    assert (report.status, report.reason) == (StageStatus.COMPLETE, "")
    assert [worker.worker for worker in report.workers] == [0, 1]
    assert not any(worker.lost for worker in report.workers)
    assert report.records == len(whole.table)
    assert report.zero_us is not None
    assert report.ended_us is not None
    assert report.ended_us > report.zero_us
    assert read_json(whole.run_dir / "control" / "session-soak.json", SessionReport) == report


def test_the_platform_saw_what_is_recorded(whole: WholeSession) -> None:
    assert whole.seen["total"] == whole.report.records
    assert whole.seen["duplicate_request_ids"] == 0
    assert whole.seen["tenant_headers_without_token"] == 0
    table = whole.table
    seen = whole.seen["seen"]
    assert table.where(operation="verify_chain").sum() == seen["GET /audit/logs/verify"]
    assert table.where(kind="auth").sum() == seen["POST /auth/token"] == 11


def test_what_was_sent_was_scheduled_so_and_nothing_was_left_out_or_sent_twice(whole: WholeSession) -> None:
    table = whole.table
    scheduled = {}
    for tenant, indices in user_indices(whole.session).items():
        for index, user in enumerate(indices):
            entries = UserSchedule(seed=whole.plan.seed, session=whole.session, tenant=tenant, index=index, agents=10)
            for sequence, entry in enumerate(entries):
                place = (tenant, entry.operation.value, entry.window, entry.settled, entry.intended_us)
                scheduled[user, sequence] = place
    kept = table.take(~table.where(kind="auth"))
    columns = kept.columns
    zero_us = whole.report.zero_us
    assert zero_us is not None
    sent = {}
    for row, (tenant, operation) in enumerate(zip(kept.text("tenant"), kept.text("operation"), strict=True)):
        # Both clocks are read as microseconds, so a time may differ by one.
        offset_us = int(columns["intended_us"][row]) - zero_us
        place = (tenant, operation, int(columns["window"][row]), bool(columns["settled"][row]))
        sent[int(columns["user"][row]), int(columns["sequence"][row])] = (place, offset_us)
    assert len(sent) == len(kept), "a request was sent twice"
    # A user that is late at the end of the session sends no more: it may lack its last requests, and no other one.
    for user in {user for user, _ in scheduled}:
        sequences = sorted(sequence for of, sequence in sent if of == user)
        assert sequences == list(range(len(sequences)))
    for key, (place, offset_us) in sent.items():
        assert place == scheduled[key][:4]
        assert abs(offset_us - scheduled[key][4]) <= 3


def test_due_and_sent_agree_with_the_records(whole: WholeSession) -> None:
    table = whole.table
    kept = Counter(table.take(~table.where(kind="auth")).text("tenant"))
    sent: Counter[str] = Counter()
    due: Counter[str] = Counter()
    for worker in whole.report.workers:
        sent.update(worker.sent)
        due.update(worker.due)
    assert sent == kept
    # One request per 0.25 s.
    requests = round(whole.session.duration_s / 0.25)
    assert due == {tenant: requests * users for tenant, users in whole.session.users.items()}
    assert sent <= due


def test_everything_was_answered_as_it_must_be(whole: WholeSession) -> None:
    assert set(whole.table.text("outcome")) == {"ok"}
    assert set(whole.table.text("kind")) == {"allowed", "denied", "read", "verify", "misc", "auth"}


def test_logins_come_before_time_zero_with_numbers_of_their_own(whole: WholeSession) -> None:
    logins = whole.table.take(whole.table.where(kind="auth"))
    assert set(logins.columns["window"]) == {-1}
    assert set(logins.text("phase")) == {"warmup"}
    assert logins.columns["sequence"].min() >= AUTH_SEQUENCE_BASE


def test_no_request_was_sent_before_it_was_intended(whole: WholeSession) -> None:
    columns = whole.table.columns
    assert np.all(columns["start_us"] >= columns["intended_us"])
    assert np.all(columns["service_us"] >= 0)


def test_telemetry_of_every_process_is_kept(whole: WholeSession) -> None:
    rows = [
        row
        for path in (whole.run_dir / "telemetry").glob("load-soak-*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    series = {(row["owner"], row["series"]) for row in rows}
    for worker in ("load-0", "load-1"):
        assert {
            (worker, name) for name in ("rss_bytes", "cpu_share", "loop_lag_ms_p99", "due_unsent", "sent")
        } <= series
    assert {row["source"] for row in rows} == {"generator"}


def test_progress_went_from_the_logins_to_the_end(whole: WholeSession) -> None:
    phases = [progress.phase for progress in whole.progress]
    assert phases[0] == "starting"
    assert "soak" in phases
    last = read_progress(whole.run_dir / "control" / "progress.json")
    assert last is not None
    assert (last.phase, last.users, last.seconds_left) == ("ended", 11, 0.0)
    assert sum(last.outcomes.values()) == whole.report.records
    assert set(last.latency_ms_p95) == {"A", "B", "C", "D", "E"}


def test_no_process_is_left(whole: WholeSession) -> None:
    assert load_processes(whole.run_dir) == {}


def test_no_secret_is_on_disk_or_on_a_command_line(whole: WholeSession) -> None:
    secrets = [OPERATOR_PASSWORD, *(tenant_password(OPERATOR_PASSWORD, whole.plan.run_id, name) for name in "ABCDE")]
    assert len(whole.command_lines) == 4
    for text in whole.command_lines:
        assert not any(secret in text for secret in secrets)
    files = [path for path in whole.run_dir.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        content = path.read_bytes()
        assert not any(secret.encode() in content for secret in secrets), path
        assert b"Bearer" not in content, path


def test_latency_from_the_intended_start_shows_a_stall_that_the_service_time_hides(tmp_path: Path) -> None:
    # 4 executions per second and user; the platform stalls once for 4 s. Each user has one request in flight then: by
    # service time one request of each is slow, from the intended start about eight are.
    plan = example_plan()
    session = example_session(users={"A": 10}, pace_s=0.25, warmup_s=0.5, soak_s=6.0, mix=dict(EXECUTED_ONLY))
    with running_platform(behaviour_for(plan, stall_after_s=1.0, stall_s=4.0)) as platform:
        report = run(tmp_path, platform.url, plan=plan, session=session)
    assert report.status is StageStatus.COMPLETE
    table = read_requests(tmp_path / "requests")
    table = table.take(table.where(kind="allowed"))
    assert np.all(table.latency_ms >= table.service_ms)
    # The slowness of this machine adds some; what it kept from being sent at all was late as well.
    slow_service = int((table.service_ms > 2_000).sum())
    slow_latency = int((table.latency_ms > 2_000).sum()) + 260 - len(table)
    assert slow_service <= 20
    assert slow_latency >= 60
    assert set(table.text("outcome")) == {"ok"}


def test_tokens_are_refreshed_before_they_expire(tmp_path: Path) -> None:
    plan = example_plan()
    with running_platform(behaviour_for(plan, token_life_s=3.0, token_grace_s=PATIENCE_S)) as platform:
        report = run(tmp_path, platform.url, plan=plan, session=example_session(soak_s=5.0))
        seen = platform.seen()["seen"]
    assert report.status is StageStatus.COMPLETE
    assert seen["POST /auth/refresh"] >= 11
    assert seen["POST /auth/token"] == 11
    assert set(read_requests(tmp_path / "requests").text("outcome")) == {"ok"}


def test_where_no_refresh_is_allowed_users_log_in_again(tmp_path: Path) -> None:
    plan = example_plan()
    with running_platform(
        behaviour_for(plan, token_life_s=3.0, token_grace_s=PATIENCE_S, refresh_works=False)
    ) as platform:
        report = run(tmp_path, platform.url, plan=plan, session=example_session(soak_s=5.0))
        seen = platform.seen()["seen"]
    assert report.status is StageStatus.COMPLETE
    assert seen["POST /auth/token"] >= 22
    table = read_requests(tmp_path / "requests")
    assert set(table.take(~table.where(kind="auth")).text("outcome")) == {"ok"}
    assert table.where(operation="refresh", outcome="wrongly_denied").sum() >= 11


def test_an_attack_that_passes_is_wrongly_allowed(tmp_path: Path) -> None:
    plan = example_plan()
    with running_platform(behaviour_for(plan, attacks_pass=True)) as platform:
        report = run(tmp_path, platform.url, plan=plan)
    assert report.status is StageStatus.COMPLETE
    table = read_requests(tmp_path / "requests")
    attacks = table.where(kind="denied")
    assert attacks.sum() > 0
    assert np.array_equal(table.where(outcome="wrongly_allowed"), attacks)
    samples = msgspec.json.decode((tmp_path / "control" / "samples-soak-0.json").read_bytes(), type=list[Sample])
    assert {sample.outcome for sample in samples} == {"wrongly_allowed"}
    assert sum(sample.count for sample in samples) == attacks.sum()


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "client_error"),
        ('HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"success": true', "malformed"),
        ("", "transport_error"),
    ],
    ids=["redirect", "truncated", "closed"],
)
def test_broken_answers_are_told_apart(tmp_path: Path, answer: str, outcome: str) -> None:
    plan = example_plan()
    with running_platform(behaviour_for(plan, execute_answer=answer)) as platform:
        session = example_session(users={"A": 3}, soak_s=1.0, mix=dict(EXECUTED_ONLY))
        report = run(tmp_path, platform.url, plan=plan, session=session)
    assert report.status is StageStatus.COMPLETE
    table = read_requests(tmp_path / "requests")
    assert set(table.take(table.where(kind="allowed")).text("outcome")) == {outcome}


def test_users_that_cannot_log_in_fail_the_session_at_once(tmp_path: Path) -> None:
    plan = example_plan()
    with running_platform(behaviour_for(plan, logins_work=False)) as platform:
        report = run(tmp_path, platform.url, plan=plan)
        seen = platform.seen()["seen"]
    assert report.status is StageStatus.FAILED
    assert "login of a user of tenant" in report.reason
    assert report.zero_us is None
    assert set(seen) == {"POST /auth/token"}
    assert load_processes(tmp_path) == {}


def test_a_platform_that_is_not_there_fails_the_session(tmp_path: Path) -> None:
    report = run(tmp_path, "http://127.0.0.1:1", session=example_session(users={"A": 1}))
    assert report.status is StageStatus.FAILED
    assert "no answer that holds a token" in report.reason


def test_a_session_that_is_no_longer_wanted_is_cut_short(tmp_path: Path) -> None:
    plan = example_plan()
    wanted = threading.Event()
    wanted.set()

    def on_progress(progress: Progress) -> None:
        if progress.phase == "soak":
            wanted.clear()

    with running_platform(behaviour_for(plan)) as platform:
        report = run(
            tmp_path,
            platform.url,
            plan=plan,
            session=example_session(soak_s=60.0),
            still_wanted=wanted.is_set,
            on_progress=on_progress,
        )
        seen = platform.seen()
    assert report.status is StageStatus.CUT_SHORT
    assert "lease" in report.reason
    assert report.zero_us is not None
    # What was on its way when the worker stopped is not in the records. Nor is the last second, at 44 requests per
    # second, of a worker that was too slow to end and was killed.
    assert seen["total"] - 100 <= report.records <= seen["total"]
    assert load_processes(tmp_path) == {}


class Interrupted(Exception):
    """What an interrupted caller raises."""


def test_a_caller_that_raises_stops_the_load_and_the_report_is_kept(tmp_path: Path) -> None:
    plan = example_plan()

    def on_progress(progress: Progress) -> None:
        if progress.phase == "soak":
            raise Interrupted

    with running_platform(behaviour_for(plan)) as platform, pytest.raises(Interrupted):
        run(
            tmp_path,
            platform.url,
            plan=plan,
            session=example_session(soak_s=60.0),
            on_progress=on_progress,
        )
    assert load_processes(tmp_path) == {}
    report = read_json(tmp_path / "control" / "session-soak.json", SessionReport)
    assert report.status is StageStatus.CUT_SHORT
    assert report.records == len(read_requests(tmp_path / "requests")) > 11


def test_the_targets_cap_holds_over_all_workers(tmp_path: Path) -> None:
    plan = example_plan(load_workers=2)
    plan = msgspec.structs.replace(plan, target=msgspec.structs.replace(plan.target, max_requests_per_second=20.0))
    session = example_session(users={"A": 10}, pace_s=0.1, warmup_s=0.5, soak_s=2.5, mix=dict(EXECUTED_ONLY))
    with running_platform(behaviour_for(plan)) as platform:
        report = run(tmp_path, platform.url, plan=plan, session=session)
    assert report.status is StageStatus.COMPLETE
    assert [worker.lost for worker in report.workers] == [False, False]
    assert sum(worker.due["A"] for worker in report.workers) == 300
    # 3 s at 20 per second, and the tenth of a second that may come at once.
    assert 0 < sum(worker.sent["A"] for worker in report.workers) <= 75


def test_a_second_run_of_a_session_sets_the_first_records_aside(tmp_path: Path) -> None:
    plan = example_plan()
    session = example_session(users={"A": 2}, soak_s=0.5)
    with running_platform(behaviour_for(plan)) as platform:
        first = run(tmp_path, platform.url, plan=plan, session=session)
        second = run(tmp_path, platform.url, plan=plan, session=session)
    assert first.records == second.records == len(read_requests(tmp_path / "requests"))
    assert len(list((tmp_path / "requests" / "superseded").rglob("*.parquet"))) == len(first.request_files)


def test_a_worker_that_left_nothing_is_lost_and_fails_the_session(tmp_path: Path) -> None:
    report = report_session(example_spec(tmp_path, "http://127.0.0.1:1"), StageStatus.COMPLETE, "", zero_us=5)
    assert (report.status, report.zero_us, report.records) == (StageStatus.FAILED, 5, 0)
    assert [(worker.worker, worker.lost, sum(worker.sent.values())) for worker in report.workers] == [(0, True, 0)]
    assert read_json(tmp_path / "control" / "session-soak.json", SessionReport) == report


def test_without_the_operators_password_nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACP_ADMIN_PASSWORD", raising=False)
    plan = example_plan()
    with pytest.raises(BadInput, match="ACP_ADMIN_PASSWORD"):
        run_session(
            example_session(),
            plan=plan,
            provisioned=provisioned_for(plan),
            run_dir=tmp_path,
            gateway_url="http://127.0.0.1:1",
            environment={},
            still_wanted=lambda: True,
        )
    assert list(tmp_path.iterdir()) == []


def test_the_live_figures_are_metrics_while_the_session_lasts(whole: WholeSession) -> None:
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(whole.scrapes[-1])
        for sample in family.samples
    }
    last = read_progress(whole.run_dir / "control" / "progress.json")
    assert last is not None
    assert 0 < samples["soak_requests_total", (("outcome", "ok"),)] <= last.outcomes["ok"]
    assert samples["soak_users", ()] == sum(whole.session.users.values())
    shown = {dict(labels)["tenant"] for name, labels in samples if name == "soak_latency_p95_seconds"}
    assert shown == set(last.latency_ms_p95)
    sessions = [dict(labels) for name, labels in samples if name == "soak_session_info"]
    assert [(info["session"], info["run_id"]) for info in sessions] == [(whole.session.name, whole.plan.run_id)]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{whole.metrics_port}/metrics")


def test_locusts_page_shows_the_session_and_changes_nothing(whole: WholeSession) -> None:
    assert {answer.status_code for answer in whole.shown} == {200}
    assert "<!doctype html>" in whole.shown[0].text.lower()
    tenants = {row["name"] for row in whole.shown[-1].json()["stats"]}
    assert tenants <= {"tenant A", "tenant B", "tenant C", "tenant D", "tenant E", "Aggregated"}
    assert {answer.status_code for answer in whole.refused} == {403}
    assert whole.report.status is StageStatus.COMPLETE


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1"])
def test_a_port_that_is_none_is_refused_before_any_load(tmp_path: Path, port: str) -> None:
    with pytest.raises(BadInput, match="SOAK_METRICS_PORT"):
        run(tmp_path, "http://127.0.0.1:9", metrics_port=port)
    with pytest.raises(BadInput, match="SOAK_LOCUST_PAGE_PORT"):
        run(tmp_path, "http://127.0.0.1:9", page_port=port)


def test_a_taken_metrics_port_does_not_end_the_session(tmp_path: Path) -> None:
    plan = example_plan()
    with running_platform(behaviour_for(plan)) as platform, socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        session = example_session(warmup_s=0.2, soak_s=0.5)
        report = run(tmp_path, platform.url, session=session, metrics_port=port)
    assert report.status is StageStatus.COMPLETE
    assert f"no metrics on 127.0.0.1:{port}" in (tmp_path / "control" / "load-soak.log").read_text()
