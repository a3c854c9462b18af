"""Reads and chain verifications: p95 by a second method, at the limit, by tenant and kind; when nothing is asked."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from soak_pipeline.model.verdict import Verdict, at_most
from soak_pipeline_tests.criteria.judging import SMALL, evidence_of, finding_of, judged, result_of
from soak_pipeline_tests.evidence_factory import SyntheticRun

READS = "reads_are_under_slo"
#: 100 users a second for five minutes: tenant E, with 5 % of the traffic, reads about 150 times.
PROFILE = msgspec.structs.replace(SMALL, users=100, soak_s=300.0, pace_s=1.0)


def constant_latency(milliseconds: float, kind: str, **where: str) -> object:
    """Every such request of the soak takes exactly this long from its intended start."""

    def defect(run: SyntheticRun) -> None:
        mask = run.requests.where(phase="soak", kind=kind, **where)
        columns = run.requests.columns
        columns["start_us"][mask] = columns["intended_us"][mask] + 1_000
        columns["service_us"][mask] = round(milliseconds * 1_000) - 1_000

    return defect


@pytest.mark.parametrize(
    ("kind", "milliseconds", "verdict"),
    [
        ("read", 500.0, Verdict.PASS),
        ("read", 500.001, Verdict.FAIL),
        ("verify", 1_000.0, Verdict.PASS),
        ("verify", 1_000.001, Verdict.FAIL),
    ],
)
def test_exactly_at_the_limit_keeps_the_budget(
    tmp_path: Path, kind: str, milliseconds: float, verdict: Verdict
) -> None:
    result = judged(tmp_path, READS, constant_latency(milliseconds, kind), profile=PROFILE)  # type: ignore[arg-type]
    assert result.verdict is verdict
    assert (result.observed, result.limit) == (pytest.approx(milliseconds), at_most(float(int(milliseconds)), "ms"))


def test_p95_is_that_of_an_independent_computation(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path, profile=PROFILE)
    result = result_of(evidence, READS)
    requests = evidence.requests
    for tenant in "ABCDE":
        for kind, words in (("read", "reads"), ("verify", "chain verifications")):
            mask = requests.where(phase="soak", tenant=tenant, kind=kind)
            latency_us = (
                requests.columns["start_us"][mask]
                - requests.columns["intended_us"][mask]
                + requests.columns["service_us"][mask]
            )
            finding = finding_of(result, f"tenant {tenant} {words}")
            assert finding.observed == np.quantile(latency_us / 1_000, 0.95, method="inverted_cdf")
            assert finding.figures["samples"] == int(mask.sum())


def test_one_slow_tenant_fails_and_is_named_with_its_cause(tmp_path: Path) -> None:
    result = judged(tmp_path, READS, constant_latency(700.0, "read", tenant="D"), profile=PROFILE)  # type: ignore[arg-type]
    assert [finding.subject for finding in result.findings if finding.verdict is Verdict.FAIL] == ["tenant D reads"]
    assert result.cause == "reads_slow"


def test_slow_verifications_have_a_cause_of_their_own(tmp_path: Path) -> None:
    result = judged(tmp_path, READS, constant_latency(3_000.0, "verify"), profile=PROFILE)  # type: ignore[arg-type]
    assert result.cause == "verification_slow"


def test_only_tenants_with_enough_requests_are_asked_about(tmp_path: Path) -> None:
    # In 60 s tenant A reads about 360 times, tenant E about 30, and p95 needs 72.
    result = result_of(evidence_of(tmp_path, profile=msgspec.structs.replace(PROFILE, soak_s=60.0)), READS)
    assert {finding.subject for finding in result.findings} == {
        "tenant A reads", "tenant A chain verifications", "tenant B reads", "tenant B chain verifications",
    }  # fmt: skip
    assert result.asked


def test_a_level_with_too_few_of_them_is_not_asked(tmp_path: Path) -> None:
    result = result_of(evidence_of(tmp_path, profile=msgspec.structs.replace(PROFILE, soak_s=6.0)), READS)
    assert not result.asked
    assert "no tenant has 72 reads or chain verifications" in result.why


def test_a_limit_of_zero_asks_nothing(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path, profile=PROFILE, read_latency_ms_p95_max=0.0, verify_latency_ms_p95_max=0.0)
    assert not result_of(evidence, READS).asked


def test_requests_that_were_planned_and_are_missing_leave_it_open(tmp_path: Path) -> None:
    def lose(run: SyntheticRun) -> None:
        mask = run.requests.where(phase="soak", tenant="E", kind="read")
        run.requests.set_text("kind", mask, "misc")

    result = judged(tmp_path, READS, lose, profile=PROFILE)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert finding_of(result, "tenant E reads").why == "tenant E: 0 reads in the soak, p95 needs at least 72"


def test_an_unanswered_read_counts_at_the_timeout(tmp_path: Path) -> None:
    def hang(run: SyntheticRun) -> None:
        mask = run.requests.where(phase="soak", tenant="B", kind="read")
        run.requests.set_text("outcome", mask, "timeout")

    result = judged(tmp_path, READS, hang, profile=PROFILE)
    assert finding_of(result, "tenant B reads").verdict is Verdict.FAIL
    assert finding_of(result, "tenant B reads").observed >= PROFILE.request_timeout_s * 1_000.0  # type: ignore[operator]
