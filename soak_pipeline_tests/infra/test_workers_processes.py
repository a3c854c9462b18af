"""The workers as processes: killed, suspended, cut off and stopped, they lose nothing and repeat nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any
from uuid import uuid4

import psycopg
import redis

from infra.acp import events, reconcile, verify_chain
from infra.acp.settings import Settings, variable
from soak_pipeline_tests.infra.platform_events import (
    TENANTS,
    append,
    audit_event,
    flight_event,
    graph_event,
    query,
    send_audit,
    verified,
)
from soak_pipeline_tests.infra.servers import Servers, free_port
from soak_pipeline_tests.waiting import PATIENCE_S, wait_for

WORKERS = ("audit", "usage", "flight", "graph", "sealer")
RUN = (
    "import importlib, sys; from infra.acp.settings import from_environment;"
    " sys.exit(importlib.import_module('infra.acp.workers.' + sys.argv[1]).main(from_environment()))"
)


def start(worker: str, settings: Settings) -> subprocess.Popen[bytes]:
    environment = os.environ | {variable(item.name): str(getattr(settings, item.name)) for item in fields(settings)}
    return subprocess.Popen([sys.executable, "-c", RUN, worker], env=environment, stderr=subprocess.DEVNULL)


@contextmanager
def running(settings: Settings, *workers: str) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    processes = {worker: start(worker, settings) for worker in workers}
    try:
        yield processes
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def send_calls(client: redis.Redis, count: int) -> list[tuple[str, str]]:
    """Send what the gateway sends of so many executed calls, some of it twice; returns (tenant, request) of each."""
    calls = []
    for _ in range(count):
        tenant, request = random.choice(TENANTS), str(uuid4())
        calls.append((tenant, request))
        sent: list[tuple[str, Any]] = [
            (events.FLIGHT_STREAM, events.encode_flight(flight_event("in_progress", request, tenant))),
            (events.FLIGHT_STREAM, events.encode_flight(flight_event("ok", request, tenant))),
            (events.GRAPH_STREAM, events.encode_graph(graph_event(tenant, request_id=request))),
            (events.AUDIT_STREAM, events.encode_audit(audit_event(tenant, request_id=request))),
        ]
        for stream, entry in sent + random.sample(sent, 1):
            append(client, stream, entry)
    return calls


def is_settled(servers: Servers, client: redis.Redis, rows: int) -> bool:
    backlog = sum(client.xlen(key) for key in (events.AUDIT_STREAM, events.FLIGHT_STREAM, events.GRAPH_STREAM))
    statement = (
        "SELECT (SELECT count(*) FROM pending_usage_events), (SELECT coalesce(sum(leaf_count), 0)"
        " FROM transparency_roots), (SELECT count(*) FROM audit_logs)"
    )
    return backlog == 0 and query(servers, "acp_audit", statement) == [(0, rows, rows)]


def test_killed_suspended_and_cut_off_at_any_moment_they_lose_nothing_and_repeat_nothing(
    servers: Servers, client: redis.Redis
) -> None:
    settings = servers.settings()
    calls: list[tuple[str, str]] = []
    with running(settings, *WORKERS) as processes:
        for blow in range(24):
            calls += send_calls(client, 60)
            time.sleep(random.uniform(0.05, 0.3))
            if blow % 4 == 3:
                # Every connection of every worker breaks, on both servers.
                client.client_kill_filter(_type="normal", skipme=True)
                with psycopg.connect(servers.dsn("postgres")) as connection:
                    connection.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'acp-%'"
                    )
            elif blow % 4 == 1:
                suspended = processes[random.choice(WORKERS)]
                suspended.send_signal(signal.SIGSTOP)
                time.sleep(0.3)
                suspended.send_signal(signal.SIGCONT)
            else:
                victim = random.choice(WORKERS)
                processes[victim].kill()
                processes[victim].wait()
                processes[victim] = start(victim, settings)
        wait_for(lambda: is_settled(servers, client, len(calls)), "all events written, billed and sealed")
        assert all(process.poll() is None for process in processes.values())

    requests = sorted(request for _, request in calls)
    assert [row[0] for row in query(servers, "acp_audit", "SELECT request_id FROM audit_logs ORDER BY 1")] == requests
    usage = query(servers, "acp_usage", "SELECT audit_id::text FROM usage_records ORDER BY 1")
    assert [row[0] for row in usage] == requests
    timelines = "SELECT request_id, status FROM execution_timelines ORDER BY 1"
    assert query(servers, "acp_flight_recorder", timelines) == [(request, "ok") for request in requests]
    assert query(servers, "acp_flight_recorder", "SELECT count(*) FROM execution_steps") == [(len(calls),)]
    edges = query(servers, "acp_identity_graph", "SELECT request_id::text FROM graph_edges ORDER BY 1")
    assert [row[0] for row in edges] == requests
    assert query(servers, "acp_identity_graph", "SELECT count(*) FROM graph_nodes") == [(2 * len(TENANTS),)]
    for tenant in TENANTS:
        verifier = verified(servers, tenant)
        count = sum(1 for owner, _ in calls if owner == tenant)
        assert (verifier.violations, verifier.processed_count) == ([], count)
        counters = "SELECT row_count, billable_count FROM audit_counters WHERE tenant_id = %s"
        assert query(servers, "acp_audit", counters, tenant) == [(count, count)]
        counters = "SELECT record_count, total_units FROM usage_counters WHERE tenant_id = %s"
        assert query(servers, "acp_usage", counters, tenant) == [(count, count)]
    assert verify_chain.verify_database(servers.dsn("acp_audit")).total_violations == 0
    report = reconcile.reconcile(servers.dsn("acp_audit"), servers.dsn("acp_usage"), servers.redis_url, None, 0.0)
    assert (report.status, report.billable_audit_count) == ("VERIFIED", len(calls))
    assert client.keys("*:dlq") == []


def test_asked_to_stop_they_finish_what_they_hold_and_leave_with_0(servers: Servers, client: redis.Redis) -> None:
    with running(servers.settings(), *WORKERS) as processes:
        send_calls(client, 30)
        wait_for(lambda: is_settled(servers, client, 30), "all events written, billed and sealed")
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        assert {worker: process.wait(PATIENCE_S) for worker, process in processes.items()} == dict.fromkeys(WORKERS, 0)
    for stream, group in (
        (events.AUDIT_STREAM, events.AUDIT_GROUP),
        (events.FLIGHT_STREAM, events.FLIGHT_GROUP),
        (events.GRAPH_STREAM, events.GRAPH_GROUP),
    ):
        assert client.xpending(stream, group)["pending"] == 0


def test_a_lock_left_by_a_dead_writer_holds_the_chain_up_for_its_time_to_live_only(
    servers: Servers, client: redis.Redis
) -> None:
    key = f"acp:audit_chain_lock:{TENANTS[0]}"
    client.set(key, "a dead writer's token", px=1_000)
    send_audit(client, audit_event())
    with running(servers.settings(), "audit"):
        wait_for(lambda: client.xlen(events.AUDIT_STREAM) == 0, "the event written")
    assert verified(servers, TENANTS[0]).processed_count == 1


def test_each_tells_its_own_state_and_that_of_its_queue(servers: Servers, client: redis.Redis) -> None:
    expected = {
        "audit": [
            "acp_audit_stream_length 0.0",
            "acp_audit_duplicates_dropped_total",
            "acp_audit_chain_lock_wait_seconds",
        ],
        "usage": ["acp_outbox_pending_count 0.0", "acp_outbox_retry_total", "acp_usage_drain_latency_seconds_bucket"],
        "flight": ["acp_flight_stream_length 0.0"],
        "graph": ["acp_graph_stream_length 0.0"],
        "sealer": ["acp_transparency_scheduler_last_success", "acp_transparency_roots_committed_total"],
    }
    ports = {worker: free_port() for worker in WORKERS}

    def metrics_of(worker: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{ports[worker]}/metrics", timeout=PATIENCE_S) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    processes = {worker: start(worker, servers.settings(metrics_port=port)) for worker, port in ports.items()}
    try:
        for worker, names in expected.items():
            wanted = [*names, "process_resident_memory_bytes", "process_open_fds", "acp_worker_db_connections{"]

            def complete(worker: str = worker, wanted: list[str] = wanted) -> bool:
                text = metrics_of(worker)
                return all(name in text for name in wanted)

            wait_for(complete, f"metrics of {worker}")
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
