"""A whole run, small, against the real stack, through the stages; then damaged, and judged again.

Its tenants, level and limits come from a policy file and from nothing else.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.commands.clean import clean_run
from soak_pipeline.evidence.run_folder import RunFolder, read_json
from soak_pipeline.model.credentials import tenant_password
from soak_pipeline.model.plan import run_id_of
from soak_pipeline.model.request import SoakRequest
from soak_pipeline.model.stage_outputs import PlatformEvidence, ProvisionedRun, StageStatus, TeardownReceipt
from soak_pipeline.model.verdict import CriterionResult, Verdict
from soak_pipeline.report.verdict_document import VerdictDocument
from soak_pipeline.stages.agent_fanout import fan_out
from soak_pipeline.stages.context import StageContext
from soak_pipeline.stages.fairness import measure_fairness
from soak_pipeline.stages.platform_evidence import collect
from soak_pipeline.stages.post_run_checks import judge_folder
from soak_pipeline.stages.provision import plan_of, provision
from soak_pipeline.stages.report import report
from soak_pipeline.stages.soak import soak
from soak_pipeline.stages.target_lock import release_target
from soak_pipeline.stages.teardown import teardown
from soak_pipeline.target.config import load_target, resolve
from soak_pipeline_tests.hostile.secrets import Search
from soak_pipeline_tests.waiting import PATIENCE_S

pytestmark = pytest.mark.integration

EMBEDDED = PROJECT_ROOT / "infra" / "targets" / "embedded.yaml"
STATISTICAL = {"quiet_tenants_are_protected", "gateway_p95_is_under_slo", "load_was_valid"}
"""Decided by latency or load on a shared machine, in windows too short to decide: anything but FAIL is right."""

POLICY = """
tenants:
  acme: {share: 0.40}
  burst-co: {share: 0.20, role: noisy}
  cedar: {share: 0.15}
  delta: {share: 0.10, limits: {gateway_latency_ms_p95_max: 5000}}
  elm: {share: 0.10}
  fir: {share: 0.05}
levels:
  whole:
    like: pull_request
    description: Every stage, as short as can be.
    users: 20
    pace_s: 0.1
    soak_s: 8
    warmup_s: 1
    agents_per_tenant: 2
    fairness:
      quiet_users: 5
      noisy_users_baseline: 1
      noisy_users_burst: 10
      window_s: 1.5
      settle_s: 0.5
      warmup_s: 1
      pairs_by_look: [3]
      long_burst_s: 0
"""
TENANTS = ["acme", "burst-co", "cedar", "delta", "elm", "fir"]


def _platform(directory: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ACP_")} | {
        "ACP_STATE_DIR": str(directory),
        "ACP_OUTBOX_GRACE_S": "1",
        "ACP_GATEWAY_PORT": "27000",
        "ACP_POSTGRES_PORT": "27433",
        "ACP_REDIS_PORT": "27380",
        "ACP_METRICS_FIRST_PORT": "27100",
    }
    done = subprocess.run(
        [sys.executable, "-m", "infra.acp", *arguments],
        env=environment,
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    return done.stdout


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the run: its platform, its state, its reports."""
    return tmp_path_factory.mktemp("whole-run")


@pytest.fixture(scope="module")
def search(directory: Path) -> Iterator[Search]:
    """Looks for the secrets of the run in every process that it starts, from the first to the last."""
    _platform(directory / "platform", "up")
    try:
        stack = json.loads(_platform(directory / "platform", "env", "--json"))
        kept = json.loads((directory / "platform" / "secrets.json").read_text())
        resolved = resolve(load_target(EMBEDDED), stack)
        yield Search(
            {f"platform's {name}": value for name, value in kept.items()}
            | {f"secret {number} of the target": value for number, value in enumerate(set(resolved.secrets()))}
        )
    finally:
        _platform(directory / "platform", "down")


@pytest.fixture(scope="module")
def context(directory: Path, search: Search) -> Iterator[StageContext]:
    """A finished run: every load stage done, nothing judged yet."""
    platform = json.loads((directory / "platform" / "stack.json").read_text())
    with search.processes(directory, [process["pid"] for process in platform["processes"]]):
        stack = json.loads(_platform(directory / "platform", "env", "--json"))
        environment = {**os.environ, **stack, "SOAK_STATE_DIR": str(directory / "state")}
        run_id = run_id_of(datetime.now(UTC))
        folder = RunFolder(directory / "reports", run_id)
        policy = directory / "soak.yaml"
        policy.write_text(POLICY)
        request = SoakRequest(profile="whole", policy_path=str(policy), target_path=str(EMBEDDED), seed=1, release="v1")
        plan = plan_of(request, run_id, environment)
        folder.write_plan(plan)
        search.also(
            {
                f"password of tenant {tenant.name}": tenant_password(stack["ACP_ADMIN_PASSWORD"], run_id, tenant.name)
                for tenant in plan.tenants
            }
        )
        context = StageContext(
            folder=folder,
            environment=environment,
            still_wanted=lambda: True,
            on_progress=lambda progress: None,
            log=lambda line: None,
        )
        _send_load(context)
    yield context
    release_target("embedded", environment)


def _send_load(context: StageContext) -> None:
    folder = context.folder
    provisioned = provision(context, SoakRequest(target_path=str(EMBEDDED)))
    folder.write_output("provision", provisioned)
    baseline, burst = measure_fairness(context, provisioned)
    folder.write_output("baseline", baseline)
    folder.write_output("burst", burst)
    folder.write_output("agent_fanout", fan_out(context, provisioned))
    soaked = soak(context, provisioned)
    assert soaked.status is StageStatus.COMPLETE, soaked.reason
    folder.write_output("soak", soaked)
    folder.write_output("teardown", teardown(context, provisioned))


def _judged(context: StageContext) -> dict[str, CriterionResult]:
    """Reads the platform again, and judges."""
    folder = context.folder
    provisioned = folder.read_output("provision", ProvisionedRun)
    evidence = collect(context, provisioned, folder.read_output("teardown", TeardownReceipt))
    folder.write_output("platform_evidence", evidence)
    return {result.name: result for result in judge_folder(folder, {}).criteria}


def _failed(results: dict[str, CriterionResult]) -> set[str]:
    return {name for name, result in results.items() if result.verdict is Verdict.FAIL and name not in STATISTICAL}


def test_a_healthy_platform_passes_and_damage_turns_the_right_criterion(context: StageContext) -> None:
    results = _judged(context)
    for name, result in results.items():
        if result.asked and name not in STATISTICAL:
            assert result.verdict is Verdict.PASS, f"{name}: {result.why}"
    assert not results["nothing_leaks"].asked
    assert results["load_was_valid"].verdict is not Verdict.FAIL

    tenant = context.plan.tenant("cedar").tenant_id
    with psycopg.connect(context.environment["ACP_USAGE_DSN"], autocommit=True) as usage:
        lost = usage.execute(
            "DELETE FROM usage_records WHERE id = (SELECT id FROM usage_records WHERE tenant_id = %s LIMIT 1)", [tenant]
        )
        assert lost.rowcount == 1
    results = _judged(context)
    assert _failed(results) == {"usage_matches_audit"}
    assert "tenant cedar" in results["usage_matches_audit"].why
    readings = context.folder.read_output("platform_evidence", PlatformEvidence).readings
    assert [reading.gaps for reading in readings[-2:]] == [0, 1]
    assert readings[-2].at_s < readings[-1].at_s
    assert "gaps by reading: 0 at " in (results["usage_matches_audit"].likely_cause or "")

    with psycopg.connect(context.environment["ACP_AUDIT_DSN"], autocommit=True) as audit:
        audit.execute("ALTER TABLE audit_logs DISABLE TRIGGER USER")
        tampered = audit.execute(
            "UPDATE audit_logs SET reason = 'as if nothing had happened' WHERE tenant_id = %s AND chain_sequence ="
            " (SELECT chain_sequence FROM audit_logs WHERE tenant_id = %s ORDER BY chain_sequence OFFSET 3 LIMIT 1)",
            [tenant, tenant],
        )
        audit.execute("ALTER TABLE audit_logs ENABLE TRIGGER USER")
        assert tampered.rowcount == 1
    results = _judged(context)
    assert "chain_has_no_violations" in _failed(results)
    assert results["chain_has_no_violations"].likely_cause

    assert clean_run(context.folder.path, context.environment, lambda question: True) == 0
    with psycopg.connect(context.environment["ACP_USAGE_DSN"]) as usage:
        assert usage.execute("SELECT count(*) FROM usage_records WHERE tenant_id = %s", [tenant]).fetchone() == (0,)


def test_every_tenant_of_the_policy_is_in_the_report(context: StageContext) -> None:
    _judged(context)
    report(context, judge_folder(context.folder, {}))
    page = (context.folder.path / "report.html").read_text()
    document = json.loads((context.folder.path / "verdict.json").read_text())
    assert document["policy"]["name"] == "soak.yaml"
    assert f"soak.yaml ({document['policy']['digest'][:12]})" in page
    slo = next(result for result in document["criteria"] if result["name"] == "gateway_p95_is_under_slo")
    limits = {finding["subject"]: finding["limit"]["value"] for finding in slo["findings"] if finding["limit"]}
    assert {subject: limits[subject] for subject in limits if "," not in subject} == {
        f"tenant {name}": 5000.0 if name == "delta" else 250.0 for name in TENANTS
    }
    assert [name for name in TENANTS if name not in page] == []
    assert "tenant A" not in page


def test_a_run_is_reported_and_judged_again_from_its_folder_alone(context: StageContext, tmp_path: Path) -> None:
    _judged(context)
    final = report(context, judge_folder(context.folder, {}))
    for name in ("verdict.json", "latency.json", "chain_verify.json", "reconcile.json", "errors.log", "report.html"):
        assert (context.folder.path / name).is_file(), name
    assert (context.folder.path / "comparison.json").is_file()
    verdict = read_json(context.folder.path / "verdict.json", VerdictDocument)
    cited = {name for result in verdict.criteria for name in result.evidence}
    assert [name for name in sorted(cited) if not (context.folder.path / name).exists()] == []
    moved = tmp_path / "reports"
    context.folder.reports.rename(moved)
    try:
        again = judge_folder(RunFolder(moved, context.folder.run_id), {})
        assert again.verdict is final.verdict
        stricter = judge_folder(RunFolder(moved, context.folder.run_id), {"gateway_latency_ms_p95_max": 0.001})
        slo = next(result for result in stricter.criteria if result.name == "gateway_p95_is_under_slo")
        assert slo.verdict is not Verdict.PASS
    finally:
        moved.rename(context.folder.reports)


def test_no_secret_is_in_any_file_or_process_of_the_run(context: StageContext, search: Search, directory: Path) -> None:
    """Tokens are found by their form, so none of those that the platform issued needs to be known."""
    report(context, judge_folder(context.folder, {}))
    assert search.looked_at > 10, "processes were looked at while the load went on"
    looked_at = search.looked_at
    for folder in (context.folder.reports, directory / "state", directory / "platform" / "logs"):
        search.folder(folder)
    assert search.looked_at > looked_at + 20
    assert search.found == set()


def test_the_platforms_secrets_are_its_owners_alone(directory: Path, search: Search) -> None:
    path = directory / "platform" / "secrets.json"
    assert stat.filemode(path.stat().st_mode) == "-rw-------"
    assert not path.is_relative_to(directory / "reports")
