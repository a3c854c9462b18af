"""The target and telemetry parts against the real reference platform, from preflight to cleaning."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import psycopg
import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.evidence.telemetry import SeriesKey, Telemetry, read_telemetry
from soak_pipeline.model.plan import TOOLS, Plan, run_id_of
from soak_pipeline.model.series import LEAK_SERIES
from soak_pipeline.model.stage_outputs import Capability, ProvisionedTenant
from soak_pipeline.model.target import StopLever
from soak_pipeline.target import accounts
from soak_pipeline.target.audit import TenantAudit, executed_after, read_tenant
from soak_pipeline.target.clean import clean_run
from soak_pipeline.target.config import ResolvedTarget, load_target, refuse_unless_load_allowed, resolve
from soak_pipeline.target.drain import wait_for_drain, wait_for_roots
from soak_pipeline.target.gateway import Gateway
from soak_pipeline.target.graph import read_graph
from soak_pipeline.target.platform_chain import with_platform_answer
from soak_pipeline.target.preflight import preflight
from soak_pipeline.target.provisioning import password_of, provision
from soak_pipeline.target.queues import read_dead_letters
from soak_pipeline.target.roots import published_key
from soak_pipeline.target.stop import Silence, block_tenants
from soak_pipeline.target.timelines import read_timelines
from soak_pipeline.telemetry.sampler import Sampler
from soak_pipeline.telemetry.server_latency import server_latency_from_telemetry
from soak_pipeline_tests.infra.redis_programs import newest_redis
from soak_pipeline_tests.infra.servers import running_redis
from soak_pipeline_tests.policies import default_thresholds, plan_by, profile_of
from soak_pipeline_tests.waiting import PATIENCE_S

pytestmark = pytest.mark.integration

ATTACK = {"parameters": {"cmd": "rm -rf /; ignore all previous filters"}}
BENIGN = {"parameters": {"path": "notes.txt"}}


@dataclass(frozen=True)
class Run:
    """A small run on a stack of its own: provisioned, some calls sent, blocked."""

    resolved: ResolvedTarget
    plan: Plan
    capabilities: tuple[Capability, ...]
    clock_skew_s: float | None
    tenants: tuple[ProvisionedTenant, ...]
    request_ids: dict[str, list[str]]
    telemetry: Telemetry
    silence: Silence
    stopped_unix_s: float

    def audit(self, tenant: int) -> TenantAudit:
        planned = self.plan.tenants[tenant]
        with Gateway(self.resolved) as gateway:
            keys = [uuid.UUID(request_id).bytes for request_id in self.request_ids[planned.name]]
            audit = read_tenant(
                self.resolved.dsns, self.resolved.dialect, planned, keys, public_key_pem=published_key(gateway)
            )
            return TenantAudit(
                chain=with_platform_answer(audit.chain, gateway, planned),
                reconciliation=audit.reconciliation,
                roots=audit.roots,
            )


@pytest.fixture(scope="module", params=["valkey", "redis"])
def environment(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The variables of a stack of this module's own, which bills at once; once with Redis in place of Valkey."""
    with ExitStack() as opened:
        state = opened.enter_context(tempfile.TemporaryDirectory(prefix="soak-stack-"))
        variables = {name: value for name, value in os.environ.items() if not name.startswith("ACP_")}
        variables |= {
            "ACP_STATE_DIR": state,
            "ACP_OUTBOX_GRACE_S": "1",
            "ACP_GATEWAY_PORT": "26000",
            "ACP_POSTGRES_PORT": "26433",
            "ACP_REDIS_PORT": "26380",
            "ACP_METRICS_FIRST_PORT": "26100",
        }
        if request.param == "redis":
            variables["ACP_EXTERNAL_REDIS_URL"] = opened.enter_context(running_redis(newest_redis()))
        try:
            _acp(variables, "up", "--fresh")
            lines = _acp(variables, "env").splitlines()
            exports = (shlex.split(line)[1].partition("=") for line in lines if line.startswith("export "))
            yield variables | {name: value for name, _, value in exports}
        finally:
            _acp(variables, "down")


def _acp(variables: dict[str, str], *arguments: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-m", "infra.acp", *arguments],
        env=variables, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def run(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    target = load_target(PROJECT_ROOT / "infra" / "targets" / "embedded.yaml")
    resolved = resolve(target, environment)
    refuse_unless_load_allowed(resolved)
    smoke = profile_of("smoke")
    profile = msgspec.structs.replace(
        smoke, agents_per_tenant=2, telemetry_interval_s=0.5, fanout=msgspec.structs.replace(smoke.fanout, agents=5)
    )
    run_id = run_id_of(datetime.now(UTC))
    plan = plan_by(run_id=run_id, profile=profile, target=target, thresholds=default_thresholds(), seed=1)
    capabilities, clock_skew_s = preflight(resolved, plan)
    tenants = provision(resolved, plan)
    assert provision(resolved, plan) == tenants
    folder = tmp_path_factory.mktemp("run")
    request_ids: dict[str, list[str]] = {tenant.name: [] for tenant in tenants}
    with Gateway(resolved) as gateway, Sampler(resolved, plan, folder):
        for _ in range(2):
            _call_everything(gateway, plan, tenants, request_ids)
    stopped_unix_s = datetime.now(UTC).timestamp()
    silence = block_tenants(resolved, plan, tenants, probe_s=0.2)
    return Run(
        resolved,
        plan,
        capabilities,
        clock_skew_s,
        tenants,
        request_ids,
        read_telemetry(folder),
        silence,
        stopped_unix_s,
    )


def _call_everything(
    gateway: Gateway, plan: Plan, tenants: tuple[ProvisionedTenant, ...], request_ids: dict[str, list[str]]
) -> None:
    """Each agent of each tenant calls; attack agents attack, and are denied."""
    for planned, tenant in zip(plan.tenants, tenants, strict=True):
        token, _ = gateway.login(
            tenant.user_email, password_of(gateway.resolved, plan, planned), tenant_id=tenant.tenant_id
        )
        benign = tenant.fanout_agents or tenant.benign_agents
        for agent, body, status in [
            *((a, BENIGN, 200) for a in benign),
            *((a, ATTACK, 403) for a in tenant.attack_agents),
        ]:
            request_id = str(uuid.uuid4())
            answer = gateway.send(
                gateway.dialect.execute(TOOLS[0], body, agent_id=agent),
                token=token,
                tenant_id=tenant.tenant_id,
                request_id=request_id,
            )
            assert answer.status == status, answer.body
            request_ids[tenant.name].append(request_id)


def test_everything_can_be_measured(run: Run) -> None:
    missing = {capability.name: capability.reason for capability in run.capabilities if not capability.available}
    assert missing == {}
    assert run.clock_skew_s == pytest.approx(0.0, abs=1.0)


def test_the_silence_is_proven(run: Run) -> None:
    for tenant in run.silence.tenants:
        assert (tenant.blocked, tenant.probe_statuses, tenant.reason) == (True, {"429": 5}, "")
    assert run.silence.blocked_at is not None
    tenant_ids = [tenant.tenant_id for tenant in run.tenants]
    assert executed_after(run.resolved, tenant_ids, run.silence.blocked_at, run.silence.probe_request_ids) == 0
    again = block_tenants(run.resolved, run.plan, probe_s=0.2)
    assert all(tenant.blocked and tenant.probe_allowed == 0 and not tenant.reason for tenant in again.tenants)


def test_the_evidence_of_a_clean_run_is_clean(run: Run) -> None:
    drain = wait_for_drain(run.resolved, run.plan, load_stopped_unix_s=run.stopped_unix_s, timeout_s=PATIENCE_S)
    assert (drain.drained, set(drain.left.values())) == (True, {0})
    assert wait_for_roots(run.resolved, run.plan, timeout_s=PATIENCE_S) == 0
    for index, tenant in enumerate(run.tenants):
        audit = run.audit(index)
        ours, platforms = audit.chain.independent, audit.chain.platform
        assert ours is not None
        assert platforms is not None
        assert (ours.tampered, ours.gaps, ours.forks, ours.duplicate_requests, ours.out_of_order) == (0, 0, 0, 0, 0)
        assert (ours.acknowledged, ours.acknowledged_missing) == (len(run.request_ids[tenant.name]), 0)
        assert (platforms.valid, platforms.error_count) == (True, 0)
        assert platforms.processed_count >= ours.rows > len(run.request_ids[tenant.name])
        books = audit.reconciliation
        assert books.billable_audit_rows == books.usage_rows
        assert (books.audit_without_usage, books.usage_without_audit, books.billed_twice) == (0, 0, 0)
        assert (books.outbox_pending, books.outbox_failed) == (0, 0)
        for root in audit.roots:
            is_right = root.present, root.covers_last_row, root.signature_valid, root.root_hash_matches
            assert is_right == (True,) * 4, root
        timelines = read_timelines(run.resolved, run.plan.tenants[index])
        assert timelines.total is not None
        assert timelines.total >= len(run.request_ids[tenant.name])
        assert (timelines.in_progress, timelines.recovered_backfill) == (0, 0)
    dead_letters = read_dead_letters(run.resolved)
    assert dead_letters is not None
    assert set(dead_letters.values()) == {0}


def test_the_fanouts_graph_has_a_node_per_agent_and_an_edge_per_call(run: Run) -> None:
    assert wait_for_drain(run.resolved, run.plan, load_stopped_unix_s=run.stopped_unix_s, timeout_s=PATIENCE_S).drained
    fanout = run.tenants[1]
    allowed = [ids for index, ids in enumerate(run.request_ids["B"]) if index % 7 < 5]
    graph = read_graph(run.resolved, run.plan.tenants[1], fanout.fanout_agents, allowed)
    assert (graph.agent_nodes, graph.expected_agent_nodes) == (5, 5)
    assert (graph.duplicate_nodes, graph.duplicate_edges, graph.missing_edges) == (0, 0, 0)


def test_every_leak_series_of_the_platform_is_sampled(run: Run) -> None:
    sampled = {key.series for key in run.telemetry}
    # The processes of the reference platform do not publish their threads.
    assert set(LEAK_SERIES) - {"threads"} <= sampled
    owners = {key.owner for key in run.telemetry if key.series == "rss_bytes" and key.source == "platform"}
    assert len(owners) >= 7  # Two gateway processes and five workers.
    assert all(run.telemetry[key].values.min() == 1.0 for key in run.telemetry if key.series == "source_readable")


def test_the_gateways_own_latencies_are_sampled_per_tenant(run: Run) -> None:
    key = SeriesKey("platform", "tenant A", "server_requests_total")
    assert run.telemetry[key].values[-1] >= len(run.request_ids["A"])
    latency = server_latency_from_telemetry(run.plan, run.telemetry, -1e9, 1e9)[0]
    assert latency.requests is not None
    assert latency.within_slo is not None
    assert 0 <= latency.within_slo <= latency.requests


def test_a_tampered_row_is_found(run: Run) -> None:
    planned = run.plan.tenants[4]
    change = "UPDATE audit_logs SET reason = %s WHERE id = %s"
    with psycopg.connect(run.resolved.dsns["audit"], autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # What a database administrator could do unseen.
        row = connection.execute(
            "SELECT id, reason FROM audit_logs WHERE tenant_id = %s AND action = 'execute_tool' ORDER BY id LIMIT 1",
            [planned.tenant_id],
        ).fetchone()
        assert row is not None
        row_id, reason = row
        connection.execute(change, ["changed", row_id])
        try:
            found = read_tenant(run.resolved.dsns, run.resolved.dialect, planned, []).chain.independent
        finally:
            connection.execute(change, [reason, row_id])
    assert found is not None
    assert (found.tampered, found.gaps) == (1, 0)


def test_a_revoked_permission_denies_and_a_regranted_one_allows(environment: dict[str, str], run: Run) -> None:
    planned = msgspec.structs.replace(run.plan, run_id="20261123T073000Z")
    plan = plan_by(
        run_id=planned.run_id, profile=planned.profile, target=planned.target, thresholds=planned.thresholds, seed=1
    )
    tenants = provision(run.resolved, plan)
    tenant, agent = tenants[1], tenants[1].fanout_agents[0]
    with Gateway(run.resolved) as gateway:
        token, _ = gateway.login(tenant.user_email, password_of(run.resolved, plan, plan.tenants[1]))

        def status() -> int:
            request = gateway.dialect.execute(TOOLS[0], BENIGN, agent_id=agent)
            return gateway.send(request, token=token, tenant_id=tenant.tenant_id).status

        assert status() == 200
        accounts.revoke(gateway, tenant.tenant_id, agent, TOOLS[0])
        assert [status() for _ in range(5)] == [403] * 5
        accounts.grant(gateway, tenant.tenant_id, agent, TOOLS[0])
        assert [status() for _ in range(5)] == [200] * 5
    killed = msgspec.structs.replace(run.resolved.target, stop_lever=StopLever.KILL_SWITCH)
    silence = block_tenants(resolve(killed, environment), plan, tenants, probe_s=0.2)
    assert all(item.blocked and item.probe_statuses == {"403": 5} and not item.reason for item in silence.tenants)
    cleaned = clean_run(run.resolved, plan)
    assert cleaned.problems == ()
    assert cleaned.removed["identity.tenants"] == 5
    assert cleaned.removed["identity.agents"] == 25
    assert cleaned.kept["audit.audit_logs"] > 0
