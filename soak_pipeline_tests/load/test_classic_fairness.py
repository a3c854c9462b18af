"""The classic order from the plan to the report, with real load: one baseline, one burst, one comparison."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from soak_pipeline.criteria.fairness import decision, samples, tables
from soak_pipeline.criteria.registry import judge_run
from soak_pipeline.evidence.bundle import read_evidence
from soak_pipeline.evidence.run_folder import RunFolder, read_json
from soak_pipeline.model.documents import FairnessDocument
from soak_pipeline.model.profile import FairnessProfile, classic_fairness
from soak_pipeline.model.stage_outputs import StageStatus
from soak_pipeline.stages.context import StageContext
from soak_pipeline.stages.fairness import measure_fairness
from soak_pipeline.stages.report import report_folder
from soak_pipeline.stages.target_lock import release_target
from soak_pipeline_tests.load.example_run import ENVIRONMENT, behaviour_for, example_plan, provisioned_for
from soak_pipeline_tests.load.small_platform import running_platform
from soak_pipeline_tests.policies import profile_of

FEW = 5
SHORT: FairnessProfile = msgspec.structs.replace(
    classic_fairness(profile_of("smoke").fairness),
    quiet_users=12,
    quiet_pace_s=0.2,
    noisy_users_baseline=5,
    noisy_users_burst=25,
    window_s=5.5,
    warmup_s=0.5,
)


def test_a_classic_run_is_measured_compared_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Phases of seconds instead of ten minutes need sub-windows of half a second, with as many samples as fit.
    monkeypatch.setattr(decision, "SHORTEST_SUB_WINDOW_S", 0.5)
    for module in (decision, samples, tables):
        monkeypatch.setattr(module, "MINIMUM_SAMPLES", FEW)
    environment = {**ENVIRONMENT, "SOAK_STATE_DIR": str(tmp_path / "state")}
    plan = example_plan(fairness=SHORT)
    with running_platform(behaviour_for(plan)) as platform:
        plan = msgspec.structs.replace(plan, target=msgspec.structs.replace(plan.target, gateway_url=platform.url))
        folder = RunFolder(tmp_path / "reports", plan.run_id)
        folder.write_plan(plan)
        context = StageContext(folder, environment, lambda: True, lambda progress: None, lambda line: None)
        try:
            baseline, burst = measure_fairness(context, provisioned_for(plan))
        finally:
            release_target(plan.target.name, environment)
    for phase in (baseline, burst):
        folder.write_output(phase.phase, phase)

    evidence = read_evidence(folder, plan.thresholds)
    report_folder(folder, judge_run(evidence))
    comparison = read_json(folder.path / "comparison.json", FairnessDocument)

    assert (baseline.status, baseline.looks, burst.looks) == (StageStatus.COMPLETE, 1, 1)
    assert [session.name for session in burst.sessions] == ["fairness-1"]
    assert (comparison.order, comparison.looks) == ("classic", (1,))
    assert [tenant.tenant for tenant in comparison.tenants] == ["B", "C", "D", "E"]
    requests = evidence.requests
    window = {"baseline": 1, "burst": 2}
    answered = {
        phase: int((requests.where(tenant="A", phase=phase) & (requests.columns["status"] > 0)).sum())
        for phase in window
    }
    pressure = comparison.pressure
    assert (pressure.planned_baseline, pressure.planned_burst) == (10.0, 50.0)
    assert pressure.requests_per_second_baseline == pytest.approx(answered["baseline"] / 5.5)
    assert pressure.requests_per_second_burst == pytest.approx(answered["burst"] / 5.5)
    assert answered["burst"] > answered["baseline"] > 0
    for tenant in comparison.tenants:
        (pair,) = tenant.pairs
        latency_ms = {
            phase: requests.latency_ms[
                requests.where(tenant=tenant.tenant, phase=phase, outcome="ok")
                & requests.columns["settled"]
                & (requests.columns["window"] == number)
            ]
            for phase, number in window.items()
        }
        assert (pair.samples_baseline, pair.samples_burst) == (len(latency_ms["baseline"]), len(latency_ms["burst"]))
        assert (pair.latency_ms_p99_baseline, pair.latency_ms_p99_burst) == pytest.approx(
            tuple(np.quantile(values, 0.99, method="inverted_cdf") for values in latency_ms.values())
        )
        assert tenant.ratio is not None
        assert tenant.without_drift is not None
    assert "one long burst (classic order)" in (folder.path / "report.html").read_text(encoding="utf-8")
