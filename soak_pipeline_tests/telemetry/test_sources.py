from __future__ import annotations

from types import SimpleNamespace

import psycopg
import pytest
import redis

from soak_pipeline.dialect.platforms import nominal
from soak_pipeline.model.series import LEAK_SERIES
from soak_pipeline.target.config import MetricsPage
from soak_pipeline.target.databases import APPLICATION_NAME, Unreadable
from soak_pipeline.telemetry import platform_source
from soak_pipeline.telemetry.host_source import HostSource, OwnCost
from soak_pipeline.telemetry.platform_source import PageSource
from soak_pipeline.telemetry.sampler import default_sources
from soak_pipeline.telemetry.source import Reading
from soak_pipeline.telemetry.store_sources import DatabaseSource, RedisSource
from soak_pipeline_tests.target import examples
from soak_pipeline_tests.target.web import serving

pytestmark = pytest.mark.every_redis

PLAN = examples.plan()
A, B = PLAN.tenants[0].tenant_id, PLAN.tenants[1].tenant_id


def _values(readings: list[Reading]) -> dict[tuple[str, str], float]:
    return {(reading.owner, reading.series): reading.value for reading in readings}


def _page(requests: int, retries: str) -> bytes:
    return f"""
# HELP acp_gateway_request_latency_seconds x
# TYPE acp_gateway_request_latency_seconds histogram
acp_gateway_request_latency_seconds_bucket{{tenant_id="{A}",method="POST",path="/execute/{{tool}}",le="0.2"}} 5
acp_gateway_request_latency_seconds_bucket{{tenant_id="{A}",method="POST",path="/execute/{{tool}}",le="0.25"}} 7
acp_gateway_request_latency_seconds_bucket{{tenant_id="{A}",method="POST",path="/execute/{{tool}}",le="+Inf"}} 9
acp_gateway_request_latency_seconds_count{{tenant_id="{A}",method="POST",path="/execute/{{tool}}"}} 9
acp_gateway_request_latency_seconds_bucket{{tenant_id="{A}",method="GET",path="/audit/logs",le="0.25"}} 3
acp_gateway_request_latency_seconds_count{{tenant_id="{A}",method="GET",path="/audit/logs"}} 4
acp_gateway_request_latency_seconds_bucket{{tenant_id="somebody else",method="GET",path="/",le="0.25"}} 99
acp_gateway_request_latency_seconds_count{{tenant_id="somebody else",method="GET",path="/"}} 99
acp_gateway_requests_total{{tenant_id="{A}",status="200"}} {requests}
acp_gateway_requests_total{{tenant_id="{B}",status="403"}} 10
{retries}
process_resident_memory_bytes{{process="gateway-0"}} 1e+06
process_resident_memory_bytes{{process="gateway-1"}} 2e+06
process_start_time_seconds{{process="gateway-0"}} 1700000000.5
acp_gateway_db_pool_waiters{{process="gateway-0"}} 3
process_open_fds 17
""".encode()


def test_a_page_gives_processes_by_label_or_by_page_and_latencies_by_tenant() -> None:
    with serving(lambda path, headers: (200, _page(100, ""))) as url:
        source = PageSource(examples.resolved(), PLAN, MetricsPage("gateway", f"{url}/metrics"))
        values = _values(source.read())
        source.close()
    assert values == {
        ("gateway-0", "rss_bytes"): 1e6,
        ("gateway-1", "rss_bytes"): 2e6,
        ("gateway-0", "process_start_time_s"): 1700000000.5,
        ("gateway-0", "db_pool_waiters"): 3.0,
        ("gateway", "open_fds"): 17.0,
        ("tenant A", "server_requests_total"): 13.0,
        ("tenant A", "server_requests_within_slo_total"): 10.0,
    }


def test_retries_are_counted_per_request_between_two_reads() -> None:
    pages = iter(
        [_page(100, ""), _page(300, 'acp_gateway_retries_total{operation="redis"} 4'),
         _page(300, 'acp_gateway_retries_total{operation="redis"} 4'), _page(20, "")]
    )  # fmt: skip
    with serving(lambda path, headers: (200, next(pages))) as url:
        source = PageSource(examples.resolved(), PLAN, MetricsPage("gateway", f"{url}/metrics"))
        shares = [_values(source.read()).get(("gateway", "retries_per_request")) for _ in range(4)]
        source.close()
    # Nothing before the first difference, none without new requests, none after the counters were reset.
    assert shares == [None, 4 / 200, None, None]


def test_time_of_garbage_collection_is_a_share_of_the_time_between_two_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def counters(first: float, second: float) -> str:
        return "\n".join(
            f'process_gc_seconds_total{{process="gateway-{number}"}} {value}'
            for number, value in enumerate((first, second))
        )

    pages = iter([_page(1, counters(*values)) for values in ((10.0, 7.0), (10.5, 0.2), (10.5, 0.4))])
    clock = iter([100.0, 105.0, 110.0])
    monkeypatch.setattr(platform_source, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with serving(lambda path, headers: (200, next(pages))) as url:
        source = PageSource(examples.resolved(), PLAN, MetricsPage("gateway", f"{url}/metrics"))
        reads = [_values(source.read()) for _ in range(3)]
        source.close()

    shares = [[read.get((f"gateway-{number}", "gc_share")) for number in (0, 1)] for read in reads]
    # Half a second of five; the second process was started anew, and then took a fifth of a second of five.
    assert shares == [[None, None], [pytest.approx(0.1), None], [0.0, pytest.approx(0.04)]]


def test_a_page_without_anything_wanted_is_unreadable() -> None:
    with serving(lambda path, headers: (200, b"<html>not metrics</html>")) as url:
        source = PageSource(examples.resolved(), PLAN, MetricsPage("x", url))
        with pytest.raises(Unreadable, match="none of the metrics"):
            source.read()
        source.close()


def test_a_database_gives_connections_sizes_and_outbox(dsns: dict[str, str]) -> None:
    with (
        psycopg.connect(dsns["audit"]) as idle_in_transaction,
        psycopg.connect(dsns["audit"], application_name=APPLICATION_NAME),
    ):
        for status in ("pending", "pending", "failed"):
            idle_in_transaction.execute(
                "INSERT INTO pending_usage_events (org_id, tenant_id, audit_id, status, occurred_at, created_at)"
                " VALUES (%s, %s, gen_random_uuid(), %s, now(), now() - interval '90 s')",
                [A, A, status],
            )
        idle_in_transaction.commit()
        idle_in_transaction.execute("SELECT 1")
        source = DatabaseSource(nominal.DIALECT, dsns["audit"], "audit")
        tables = _values(source.read())
        values = {series: value for (owner, series), value in tables.items() if owner == "audit"}
        source.close()
    assert values["db_connections"] == 1  # Neither the source's own nor another of the harness.
    assert values["db_connections_idle_in_transaction"] == 1
    assert (values["outbox_pending"], values["outbox_failed"]) == (2, 1)
    assert 89 < values["outbox_oldest_pending_age_s"] < 200
    assert tables["audit audit_logs", "appended_table_bytes"] > 0
    assert tables["audit pending_usage_events", "table_bytes"] > 0
    assert ("audit audit_logs", "table_bytes") not in tables
    assert values["process_start_time_s"] > 1.6e9


def test_a_database_is_connected_to_again_after_a_failure(dsns: dict[str, str]) -> None:
    source = DatabaseSource(nominal.DIALECT, dsns["usage"], "usage")
    source.read()
    with psycopg.connect(dsns["usage"], autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", [APPLICATION_NAME]
        )
    with pytest.raises(psycopg.Error):
        source.read()
    assert source.read()
    source.close()


def test_redis_gives_memory_keys_streams_and_dead_letters(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("a", 1)
        client.set("b", 1, ex=100)
        for _ in range(3):
            client.xadd("acp:audit_stream", {"x": "y"})
        client.xgroup_create("acp:audit_stream", "acp:audit:consumers", id="0")
        client.xreadgroup("acp:audit:consumers", "c", {"acp:audit_stream": ">"}, count=1)
        client.rpush("acp:billing_dlq", "x")
    source = RedisSource(nominal.DIALECT, redis_url)
    first, second = _values(source.read()), _values(source.read())
    source.close()
    assert first["redis", "redis_keys"] == 4
    assert first["redis", "redis_keys_without_expiry"] == 3
    assert first["redis", "redis_memory_bytes"] > 0
    assert (first["acp:audit_stream", "stream_length"], first["acp:audit_stream", "consumer_lag"]) == (3, 2)
    assert first["acp:audit_stream", "pending_entries"] == 1
    assert first["acp:billing_dlq", "dead_letter_length"] == 1
    assert first["redis", "process_start_time_s"] == second["redis", "process_start_time_s"]


def test_sizes_that_redis_8_tells_beside_a_database_are_no_keys(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = redis.Redis.info

    def of_redis_8(client: redis.Redis) -> dict[str, object]:
        return {**info(client), "db0": {"keys": 2, "expires": 1}, "db0_distrib_strings_sizes": {"1": 2}}  # type: ignore[dict-item]

    monkeypatch.setattr(redis.Redis, "info", of_redis_8)
    source = RedisSource(nominal.DIALECT, redis_url)
    values = _values(source.read())
    source.close()
    assert (values["redis", "redis_keys"], values["redis", "redis_keys_without_expiry"]) == (2, 1)


def test_every_leak_series_has_a_source(dsns: dict[str, str], redis_url: str) -> None:
    own = "process_threads 3\nprocess_unique_memory_bytes 5e6\nprocess_gc_seconds_total"
    page = _page(1, f"{own} 1")
    with redis.Redis.from_url(redis_url) as client:
        client.xadd("acp:audit_stream", {"x": "y"})
    with serving(lambda path, headers: (200, page)) as url:
        resolved = examples.resolved(dsns=dsns, redis_url=redis_url, pages=(MetricsPage("gateway", url),))
        sources = default_sources(resolved, PLAN)
        series = {reading.series for source in sources for reading in source.read()}
        page = _page(2, f"{own} 2")
        series |= {reading.series for source in sources for reading in source.read()}
        for source in sources:
            source.close()
    assert set(LEAK_SERIES) <= series
    assert {"cpu_idle_share", "cpu_steal_share", "load_average"} <= series


def test_host_and_own_cost_are_shares_and_bytes() -> None:
    host = _values(HostSource().read())
    assert 0 <= host["host", "cpu_idle_share"] <= 1
    assert 0 <= host["host", "cpu_steal_share"] <= 1
    own = _values(OwnCost().read())
    assert own["sampler", "cpu_share"] >= 0
    assert own["sampler", "rss_bytes"] > 1e6
