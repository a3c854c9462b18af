"""A tenant with a limit of its own is held against that one; a limit that the caller changes holds for everybody."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest

from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.verdict import Verdict, at_most
from soak_pipeline_tests.criteria.judging import evidence_of, finding_of, result_of
from soak_pipeline_tests.criteria.test_gateway_p95 import SLO, constant_latency

FAIRNESS = "quiet_tenants_are_protected"


def with_limits(evidence: RunEvidence, tenant: str, **limits: float) -> RunEvidence:
    """The evidence as if the policy had given the tenant these limits."""
    tenants = tuple(
        msgspec.structs.replace(entry, limits=limits) if entry.name == tenant else entry
        for entry in evidence.plan.tenants
    )
    return dataclasses.replace(evidence, plan=msgspec.structs.replace(evidence.plan, tenants=tenants))


@pytest.fixture
def at_270_ms(tmp_path: Path) -> RunEvidence:
    """A run whose every executed call of the soak takes 270 ms."""
    return evidence_of(tmp_path, constant_latency(270.0))  # type: ignore[arg-type]


def test_a_slo_of_300_ms_for_one_tenant_decides_its_verdict(at_270_ms: RunEvidence) -> None:
    result = result_of(with_limits(at_270_ms, "E", gateway_latency_ms_p95_max=300.0), SLO)
    assert finding_of(result, "tenant E").verdict is Verdict.PASS
    assert finding_of(result, "tenant E").limit == at_most(300.0, "ms")
    assert finding_of(result, "tenant D").verdict is Verdict.FAIL
    assert result.verdict is Verdict.FAIL


def test_a_stricter_slo_of_one_tenant_fails_it_alone(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path, constant_latency(200.0))  # type: ignore[arg-type]
    result = result_of(with_limits(evidence, "B", gateway_latency_ms_p95_max=150.0), SLO)
    failed = [finding.subject for finding in result.findings if finding.verdict is Verdict.FAIL]
    assert failed == ["tenant B"]
    assert (result.observed, result.limit) == (pytest.approx(200.0), at_most(150.0, "ms"))


@pytest.mark.parametrize(("limit", "verdict"), [(269.999, Verdict.FAIL), (270.0, Verdict.PASS)])
def test_a_tenant_at_its_own_limit_keeps_it(at_270_ms: RunEvidence, limit: float, verdict: Verdict) -> None:
    result = result_of(with_limits(at_270_ms, "C", gateway_latency_ms_p95_max=limit), SLO)
    assert finding_of(result, "tenant C").verdict is verdict


def test_a_limit_that_the_caller_changes_holds_for_every_tenant(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path, constant_latency(270.0), gateway_latency_ms_p95_max=280.0)  # type: ignore[arg-type]
    result = result_of(with_limits(evidence, "E", gateway_latency_ms_p95_max=260.0), SLO)
    assert finding_of(result, "tenant E").limit == at_most(280.0, "ms")
    assert finding_of(result, "tenant E").verdict is Verdict.PASS


def test_fairness_holds_each_quiet_tenant_against_its_own_limit(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path, looks=2)
    result = result_of(with_limits(evidence, "D", fairness_latency_p99_ratio_max=0.5), FAIRNESS)
    assert finding_of(result, "tenant D").verdict is Verdict.FAIL
    assert finding_of(result, "tenant D").limit == at_most(0.5, "ratio")
    assert finding_of(result, "tenant C").verdict is Verdict.PASS
