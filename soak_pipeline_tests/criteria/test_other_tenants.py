"""Judgement of tenants with names that stand elsewhere too: in a subject, in a cause, in a rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from soak_pipeline.criteria.decisions import decisions_are_correct
from soak_pipeline.criteria.fairness.causes import PRESSURE, no_pressure
from soak_pipeline.criteria.fairness.tables import fairness_document
from soak_pipeline.criteria.validity.causes import invalid_load
from soak_pipeline.criteria.validity.condition import RATE
from soak_pipeline.evidence.bundle import RunEvidence, read_evidence
from soak_pipeline.model.verdict import Finding, Verdict
from soak_pipeline_tests.evidence_factory import SyntheticRun, make_run

TENANTS = {"pressure": 0.4, "clock": 0.3, "errors": 0.2, "stage": 0.1}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> RunEvidence:
    return read_evidence(make_run(tmp_path_factory.mktemp("run"), tenants=TENANTS, noisy="errors"))


def open_finding(subject: str, about: str = "") -> Finding:
    return Finding(subject=subject, about=about, verdict=Verdict.INCONCLUSIVE, why="unknown")


@pytest.mark.parametrize("name", ["clock", "stage", "telemetry", "records"])
def test_a_tenant_s_name_is_no_cause(evidence: RunEvidence, name: str) -> None:
    diagnosis = invalid_load(evidence, [open_finding(f"rate of tenant {name}, session soak", RATE)])
    assert diagnosis is not None
    assert diagnosis.cause == "load_not_sent"


def test_a_quiet_tenant_called_pressure_is_not_the_pressure(evidence: RunEvidence) -> None:
    other = no_pressure(evidence, [open_finding("tenant pressure")])
    assert other is not None
    assert other.cause == "windows_vary"
    noisy = no_pressure(evidence, [open_finding("tenant errors pressure", PRESSURE)])
    assert noisy is not None
    assert noisy.cause == "noisy_tenant_never_pressed"
    assert "Tenant errors did not press" in noisy.likely_cause


def test_fairness_is_that_of_the_quiet_tenants_in_the_plan_s_order(evidence: RunEvidence) -> None:
    document = fairness_document(evidence)
    assert [tenant.tenant for tenant in document.tenants] == ["pressure", "clock", "stage"]
    assert document.pressure.tenant == "errors"


def _throttled_in_the_burst(name: str) -> object:
    def throttle(run: SyntheticRun) -> None:
        rows = run.requests.where(tenant=name, phase="burst")
        run.requests.set_text("outcome", rows, "throttled")
        run.requests.columns["status"][rows] = 429

    return throttle


@pytest.mark.parametrize(("name", "verdict"), [("errors", "PASS"), ("clock", "FAIL")])
def test_only_the_noisy_tenant_may_be_throttled_in_its_burst(tmp_path: Path, name: str, verdict: str) -> None:
    folder = make_run(tmp_path, tenants=TENANTS, noisy="errors", defects=[_throttled_in_the_burst(name)])  # type: ignore[list-item]
    result = decisions_are_correct.judge(read_evidence(folder))
    finding = next(finding for finding in result.findings if finding.subject == f"tenant {name}")
    assert finding.verdict == verdict
