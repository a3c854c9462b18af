"""Two runs against each other: the same load on the same platform, and on one that became slower or faster."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest

from soak_pipeline.analysis.comparison import Change
from soak_pipeline.criteria.documents import latency_document
from soak_pipeline.criteria.run_comparison import ComparedMetric, compare_evidence, spread_between_runs
from soak_pipeline.evidence.bundle import RunEvidence, read_evidence
from soak_pipeline.model.documents import LatencyDocument
from soak_pipeline.model.profile import Profile
from soak_pipeline.model.traffic import Kind, Phase
from soak_pipeline_tests.evidence_defects import slow_down
from soak_pipeline_tests.evidence_factory import make_run
from soak_pipeline_tests.policies import profile_of

LONG: Profile = msgspec.structs.replace(profile_of("smoke"), users=100, pace_s=0.25, soak_s=300.0)


def _evidence(path: Path, *, seed: int, factor: float = 1.0) -> RunEvidence:
    defect = partial(slow_down, factor=factor, phase=Phase.SOAK, tenant="B")
    return read_evidence(make_run(path, profile=LONG, defects=[defect], seed=seed))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> RunEvidence:
    return _evidence(tmp_path_factory.mktemp("reference"), seed=1)


def _by_name(compared: tuple[ComparedMetric, ...]) -> dict[tuple[str, str], ComparedMetric]:
    return {(entry.tenant, entry.metric): entry for entry in compared}


def test_the_same_platform_is_not_worse(reference: RunEvidence, tmp_path: Path) -> None:
    compared = compare_evidence(reference, _evidence(tmp_path, seed=2))
    assert len(compared) == 5 * 4
    assert Change.WORSE not in {entry.result.change for entry in compared}
    assert _by_name(compared)["A", "latency_ms_p50"].result.change is Change.SAME
    assert _by_name(compared)["A", "answers_per_second"].result.change is Change.SAME


@pytest.mark.parametrize(("factor", "change"), [(1.3, Change.WORSE), (0.7, Change.BETTER)])
def test_a_slower_or_faster_tenant_is_named_alone(
    reference: RunEvidence, tmp_path: Path, factor: float, change: Change
) -> None:
    compared = _by_name(compare_evidence(reference, _evidence(tmp_path, seed=2, factor=factor)))
    entry = compared["B", "latency_ms_p95"]
    assert entry.result.change is change
    assert entry.result.ratio == pytest.approx(factor, rel=0.05)
    assert {name for (tenant, name), other in compared.items() if other.result.change is change} <= {
        "latency_ms_p50",
        "latency_ms_p95",
        "latency_ms_p99",
    }
    assert all(tenant == "B" for (tenant, _), other in compared.items() if other.result.change is change)


def test_a_figure_is_that_of_the_records(reference: RunEvidence, tmp_path: Path) -> None:
    entry = _by_name(compare_evidence(reference, reference))["A", "latency_ms_p50"]
    rows = reference.requests.where(phase=Phase.SOAK, tenant="A", kind=Kind.ALLOWED, outcome="ok")
    assert entry.reference == pytest.approx(float(np.median(reference.requests.latency_ms[rows])), rel=0.05)
    assert (entry.result.change, entry.result.ratio) == (Change.SAME, 1.0)


def test_the_spread_between_runs_is_that_of_neighbours(reference: RunEvidence) -> None:
    """Levels 100, 110, 100, 110, 100 ms: each difference is ln 1.1, so the spread is ln(1.1) / sqrt 2."""
    document = latency_document(reference)
    nights = [_with_p95(document, value) for value in (100.0, 110.0, 100.0, 110.0, 100.0)]

    spread = spread_between_runs(nights)

    assert spread["A", "latency_ms_p95"] == pytest.approx(math.log(1.1) / math.sqrt(2.0))
    assert spread["A", "latency_ms_p50"] == 0.0
    assert spread_between_runs(nights[:4]) == {}


def _with_p95(document: LatencyDocument, value: float) -> LatencyDocument:
    rows = tuple(
        msgspec.structs.replace(
            row,
            latency_ms=msgspec.structs.replace(
                row.latency_ms, p95=msgspec.structs.replace(row.latency_ms.p95, value=value)
            ),
        )
        for row in document.rows
    )
    return msgspec.structs.replace(document, rows=rows)


def test_too_few_samples_are_unknown(reference: RunEvidence) -> None:
    entry = _by_name(compare_evidence(reference, reference))["E", "latency_ms_p99"]
    assert entry.result.change is Change.UNKNOWN
    assert entry.reference is None
