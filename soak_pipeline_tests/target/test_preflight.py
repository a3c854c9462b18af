from __future__ import annotations

import resource
import time
from email.utils import formatdate

import httpx
import psycopg
import pytest

from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.stage_outputs import Capability
from soak_pipeline.model.target import DatabaseNames
from soak_pipeline.target import preflight as preflight_module
from soak_pipeline.target.config import MetricsPage, ResolvedTarget
from soak_pipeline.target.preflight import DATABASES, preflight, require_reachable, ruled_out
from soak_pipeline_tests.target import examples
from soak_pipeline_tests.target.small_platform import SmallPlatform
from soak_pipeline_tests.target.web import serving

PLAN = examples.plan()
PAGE = b"# TYPE acp_gateway_request_latency_seconds histogram\nprocess_open_fds 5\n"


def _platform(skew_s: float | None = None) -> SmallPlatform:
    """A platform with a clock of its own; without skew it shows none."""

    def health(request: httpx.Request) -> httpx.Response | None:
        if skew_s is None or request.url.path != "/health":
            return None
        return httpx.Response(200, json={}, headers={"date": formatdate(time.time() + skew_s, usegmt=True)})

    return SmallPlatform(override=health)


def _capabilities(resolved: ResolvedTarget) -> dict[str, Capability]:
    found, _ = preflight(resolved, PLAN, transport=_platform().transport)
    return {capability.name: capability for capability in found}


def test_a_target_that_offers_everything(dsns: dict[str, str], redis_url: str) -> None:
    with serving(lambda path, headers: (200, PAGE)) as url:
        target = examples.target(prometheus_url=url)
        pages = (MetricsPage("gateway", f"{url}/metrics"),)
        found = _capabilities(examples.resolved(target, dsns=dsns, redis_url=redis_url, pages=pages))
    assert all(capability.available and not capability.reason for capability in found.values())
    assert set(found) == {
        "gateway", "operator_credentials", "database.identity", "database.audit", "database.usage",
        "database.flight_recorder", "database.identity_graph", "redis", "metrics", "server_latency", "prometheus",
    }  # fmt: skip


def test_a_target_that_offers_a_gateway_only() -> None:
    found = _capabilities(examples.resolved())
    assert {name for name, capability in found.items() if capability.available} == {"gateway", "operator_credentials"}
    assert all(capability.reason for capability in found.values() if not capability.available)


def test_what_the_target_file_rules_out_is_known_without_asking() -> None:
    found = _capabilities(examples.resolved())
    known = {capability.name: capability for capability in ruled_out(examples.target())}
    assert set(known) == {*(f"database.{name}" for name in DATABASES), "redis", "metrics"}
    assert known == {name: found[name] for name in known}


def test_what_the_target_file_names_is_left_to_preflight() -> None:
    names = DatabaseNames(audit="T_AUDIT", usage="T_USAGE")
    target = examples.target(databases=names, redis_url_env="T_REDIS", metrics_urls=("/metrics",))
    assert [capability.name for capability in ruled_out(target)] == [
        "database.identity",
        "database.flight_recorder",
        "database.identity_graph",
    ]


def test_what_is_named_but_does_not_work_is_absent_with_its_reason(
    dsns: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight_module, "PAGES_TIMEOUT_S", 0.0)
    dsns["audit"] = dsns["usage"]
    dsns["usage"] = "postgresql://acp:secret-3@127.0.0.1:1/x"
    with serving(lambda path, headers: (401, b"")) as url:
        pages = (MetricsPage("gateway", f"{url}/metrics"),)
        resolved = examples.resolved(dsns=dsns, redis_url="redis://:secret-2@127.0.0.1:1/0", pages=pages)
        found = _capabilities(resolved)
    assert found["database.audit"].reason == "the database of databases.audit has no table audit_logs that may be read"
    assert found["database.usage"].reason.startswith("usage database: ")
    assert found["redis"].reason == "Redis: ConnectionError"
    assert "answered 401" in found["metrics"].reason
    assert found["server_latency"].available is False
    assert found["database.identity"].available
    assert "secret-" not in repr(found)


def test_a_prometheus_stands_in_for_a_metrics_page_with_the_latencies() -> None:
    with serving(lambda path, headers: (200 if path == "/-/ready" else 404, b"")) as url:
        found = _capabilities(examples.resolved(examples.target(prometheus_url=url)))
    assert found["prometheus"].available
    assert found["server_latency"].available
    assert found["metrics"].available is False


def test_a_page_that_comes_late_is_waited_for() -> None:
    answers = iter([(503, b""), (200, PAGE)])
    with serving(lambda path, headers: next(answers)) as url:
        found = _capabilities(examples.resolved(pages=(MetricsPage("gateway", f"{url}/metrics"),)))
    assert found["metrics"].available
    assert found["server_latency"].available


def test_a_table_that_may_not_be_read_is_absent(dsns: dict[str, str]) -> None:
    with psycopg.connect(dsns["flight_recorder"], autocommit=True) as connection:
        connection.execute("CREATE ROLE onlooker LOGIN PASSWORD 'p'")
        try:
            dsns["flight_recorder"] = (
                dsns["flight_recorder"]
                .replace("//acp:", "//onlooker:")
                .replace(dsns["flight_recorder"].split(":")[2].split("@")[0], "p")
            )
            found = _capabilities(examples.resolved(dsns=dsns))
        finally:
            connection.execute("DROP ROLE onlooker")
    assert found["database.flight_recorder"].available is False


@pytest.mark.parametrize("skew_s", [0.0, 0.4, -0.4])
def test_a_clock_within_the_headers_resolution_is_right(skew_s: float) -> None:
    _, skew = preflight(examples.resolved(), PLAN, transport=_platform(skew_s).transport)
    assert skew is not None
    assert abs(skew) < 1.0


@pytest.mark.parametrize("skew_s", [300.0, -300.0])
def test_a_clock_that_is_off_by_minutes_is_found(skew_s: float, dsns: dict[str, str]) -> None:
    for resolved in (examples.resolved(), examples.resolved(dsns=dsns)):
        _, skew = preflight(resolved, PLAN, transport=_platform(skew_s).transport)
        assert skew == pytest.approx(skew_s, abs=1.0)


def test_the_database_shows_the_clock_more_exactly(dsns: dict[str, str]) -> None:
    _, skew = preflight(examples.resolved(dsns=dsns), PLAN, transport=_platform(0.9).transport)
    assert skew == pytest.approx(0.0, abs=0.1)


def test_a_platform_without_clock_has_an_unknown_skew() -> None:
    _, skew = preflight(examples.resolved(), PLAN, transport=_platform().transport)
    assert skew is None


def test_a_gateway_that_is_gone_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"no answer \(ConnectError\)"):
        require_reachable(examples.resolved(gateway_url="http://127.0.0.1:1"))


def test_an_operator_who_is_refused_is_bad_input() -> None:
    platform = SmallPlatform(users={examples.ADMIN_EMAIL: ("another", "operator")})
    with pytest.raises(BadInput, match="ACP_ADMIN_EMAIL and ACP_ADMIN_PASSWORD") as caught:
        require_reachable(examples.resolved(), transport=platform.transport)
    assert examples.ADMIN_PASSWORD not in str(caught.value)
    require_reachable(examples.resolved(), transport=SmallPlatform().transport)


def test_too_few_open_files_are_said_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    platform = SmallPlatform()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 699))
    plan = examples.plan(users=1_000, load_workers=2)
    with pytest.raises(BadInput, match="needs 700 open files, the hard limit is 699"):
        preflight(examples.resolved(), plan, transport=platform.transport)
    assert platform.calls.total() == 0
