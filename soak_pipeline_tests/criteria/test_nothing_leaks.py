"""Leaks: asked or not, at the headroom, what looks like a leak and is none, what hides one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from soak_pipeline.criteria.leaks.nothing_leaks import CAPABILITY_OF
from soak_pipeline.criteria.registry import judge_run
from soak_pipeline.model.series import LEAK_SERIES
from soak_pipeline.model.stage_outputs import Capability
from soak_pipeline.model.verdict import Verdict, at_most
from soak_pipeline_tests.criteria.judging import HALF_HOUR, evidence_of, finding_of, judged
from soak_pipeline_tests.evidence_defects import MIB, change_output, drop_series, grow
from soak_pipeline_tests.evidence_factory import SyntheticRun
from soak_pipeline_tests.policies import HEADROOMS

LEAKS = "nothing_leaks"
GATEWAY_RSS = ("platform", "gateway-1", "rss_bytes")


def replace_values(run: SyntheticRun, key: tuple[str, str, str], shape: object) -> None:
    """Gives a series values by seconds since the start of the soak."""
    times, _ = run.telemetry[key]
    run.telemetry[key] = (times, shape(times - run.soak_stretch_s()[0]))  # type: ignore[operator]


@pytest.mark.parametrize(("soak_s", "asked"), [(1_799.0, False), (1_800.0, True)])
def test_a_soak_of_exactly_the_least_length_is_asked(tmp_path: Path, soak_s: float, asked: bool) -> None:
    profile = msgspec.structs.replace(HALF_HOUR, soak_s=soak_s)

    result = judged(tmp_path, LEAKS, profile=profile)

    assert result.asked is asked
    if not asked:
        assert "too short" in result.why


def test_what_is_not_asked_takes_no_part_in_the_verdict(tmp_path: Path) -> None:
    assert judge_run(evidence_of(tmp_path)).verdict is Verdict.PASS


@pytest.mark.parametrize(("factor", "verdict"), [(0.999, Verdict.PASS), (1.0, Verdict.PASS), (1.01, Verdict.FAIL)])
def test_growth_of_exactly_the_headroom_is_allowed(tmp_path: Path, factor: float, verdict: Verdict) -> None:
    per_second = factor * HEADROOMS["rss_bytes"] / 86_400.0

    def line(run: SyntheticRun) -> None:
        replace_values(run, GATEWAY_RSS, lambda seconds: 100e6 + 0.5 + per_second * seconds)

    finding = finding_of(judged(tmp_path, LEAKS, line, profile=HALF_HOUR), "gateway-1 rss_bytes")

    assert finding.verdict is verdict
    assert finding.observed == pytest.approx(factor * 1024 * MIB)
    assert finding.limit == at_most(1024 * MIB, "bytes")


def test_a_fail_names_process_resource_rate_and_time_left(tmp_path: Path) -> None:
    result = judged(tmp_path, LEAKS, "rss_leak", profile=HALF_HOUR)

    assert result.why.startswith("resident memory of gateway-1 grew by ")
    assert "MiB per hour" in result.why
    # 400 MiB an hour use up 1,024 MiB of headroom in 2.56 h.
    assert result.why.endswith("used up after 2.6 h")
    assert "heap snapshots" in (result.fix or "")


def test_a_warm_up_that_saturates_is_no_leak(tmp_path: Path) -> None:
    def saturate(run: SyntheticRun) -> None:
        noise = run.rng.standard_normal(len(run.telemetry[GATEWAY_RSS][0])) * 0.2e6
        replace_values(
            run,
            GATEWAY_RSS,
            lambda seconds: 100e6 + 60e6 * (1 - np.exp(-np.maximum(seconds, 0) / 120.0)) + noise,
        )

    assert judged(tmp_path, LEAKS, saturate, profile=HALF_HOUR).verdict is Verdict.PASS


def test_a_healthy_sawtooth_is_no_leak(tmp_path: Path) -> None:
    def sawtooth(run: SyntheticRun) -> None:
        noise = run.rng.standard_normal(len(run.telemetry[GATEWAY_RSS][0])) * 0.1e6
        replace_values(run, GATEWAY_RSS, lambda seconds: 100e6 + (seconds % 180.0) * 0.2e6 + noise)

    assert judged(tmp_path, LEAKS, sawtooth, profile=HALF_HOUR).verdict is not Verdict.FAIL


def test_series_too_coarse_to_exclude_hidden_growth_are_judged_by_what_shows(tmp_path: Path) -> None:
    # One dead letter hidden in half an hour would be 48 a day, beyond the headroom of 10.
    healthy = judged(tmp_path / "healthy", LEAKS, profile=HALF_HOUR)
    growing = judged(
        tmp_path / "growing",
        LEAKS,
        lambda run: replace_values(
            run, ("redis", "acp:billing_dlq", "dead_letter_length"), lambda seconds: np.maximum(seconds, 0) // 60.0
        ),
        profile=HALF_HOUR,
    )

    assert finding_of(healthy, "acp:billing_dlq dead_letter_length").verdict is Verdict.PASS
    assert finding_of(growing, "acp:billing_dlq dead_letter_length").verdict is Verdict.FAIL


def test_a_restart_is_a_finding_and_does_not_hide_the_growth_before_it(tmp_path: Path) -> None:
    def leak_and_restart(run: SyntheticRun) -> None:
        grow(run, "platform", "gateway-1", "rss_bytes", 2_000 * MIB)
        times, values = run.telemetry[GATEWAY_RSS]
        start_s, end_s = run.soak_stretch_s()
        restarted = times > start_s + 0.7 * (end_s - start_s)
        run.telemetry[GATEWAY_RSS] = (times, np.where(restarted, 120e6, values))
        started = run.telemetry["platform", "gateway-1", "process_start_time_s"]
        run.telemetry["platform", "gateway-1", "process_start_time_s"] = (
            started[0],
            np.where(started[0] > start_s + 0.7 * (end_s - start_s), started[1] + 3_000, started[1]),
        )

    result = judged(tmp_path, LEAKS, leak_and_restart, profile=HALF_HOUR)

    assert finding_of(result, "gateway-1 restarts").verdict is Verdict.FAIL
    leak = finding_of(result, "gateway-1 rss_bytes")
    assert leak.verdict is Verdict.FAIL
    assert leak.figures["restarts"] == 1


EXPECTED = sorted(name for name, leak in LEAK_SERIES.items() if leak.is_expected)


def test_a_series_that_not_every_platform_has_may_be_missing(tmp_path: Path) -> None:
    def poorer(run: SyntheticRun) -> None:
        for series in set(LEAK_SERIES) - set(EXPECTED):
            drop_series(run, series)

    assert set(LEAK_SERIES) - set(EXPECTED) == {"uss_bytes", "gc_share", "table_bytes"}
    assert judged(tmp_path, LEAKS, poorer, profile=HALF_HOUR).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("key", "per_hour"),
    [
        (("platform", "gateway-1", "uss_bytes"), 400 * MIB),
        (("platform", "gateway-2", "gc_share"), 0.05),
        (("database", "acp_usage", "db_connections_idle_in_transaction"), 12.0),
        (("database", "acp_audit pending_usage_events", "table_bytes"), 500 * MIB),
    ],
)
def test_each_resource_that_grows_is_named_with_its_owner(
    tmp_path: Path, key: tuple[str, str, str], per_hour: float
) -> None:
    result = judged(tmp_path, LEAKS, lambda run: grow(run, *key, per_hour), profile=HALF_HOUR)

    assert result.verdict is Verdict.FAIL
    assert [finding.subject for finding in result.findings if finding.verdict is Verdict.FAIL] == [f"{key[1]} {key[2]}"]
    assert result.why.startswith(f"{LEAK_SERIES[key[2]].resource} of {key[1]} grew by ")


@pytest.mark.parametrize("series", EXPECTED)
def test_each_expected_series_that_is_missing_is_named(tmp_path: Path, series: str) -> None:
    result = judged(tmp_path, LEAKS, lambda run: drop_series(run, series), profile=HALF_HOUR)

    assert result.verdict is Verdict.INCONCLUSIVE
    assert finding_of(result, series).verdict is Verdict.INCONCLUSIVE
    assert f"({series}) was not watched" in result.why


def test_a_capability_that_the_target_lacks_gives_its_reason(tmp_path: Path) -> None:
    def without_metrics(run: SyntheticRun) -> None:
        for series, capability in CAPABILITY_OF.items():
            if capability == "metrics":
                drop_series(run, series)
        provision = run.outputs["provision"]
        capabilities = tuple(
            Capability(name="metrics", available=False, reason="the target names no metrics page")
            if entry.name == "metrics"
            else entry
            for entry in provision.capabilities  # type: ignore[attr-defined]
        )
        change_output(run, "provision", capabilities=capabilities)

    result = judged(tmp_path, LEAKS, without_metrics, profile=HALF_HOUR)

    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the target names no metrics page" in result.why
    assert "Give the target file access to metrics" in (result.fix or "")


def test_every_series_has_its_capability() -> None:
    assert set(CAPABILITY_OF) == set(LEAK_SERIES)


def test_a_process_that_vanishes_is_not_taken_for_healthy(tmp_path: Path) -> None:
    def vanish(run: SyntheticRun) -> None:
        start_s, end_s = run.soak_stretch_s()
        for key, (times, values) in run.telemetry.items():
            if key[1] == "gateway-2":
                kept = times < (start_s + end_s) / 2
                run.telemetry[key] = (times[kept], values[kept])

    result = judged(tmp_path, LEAKS, vanish, profile=HALF_HOUR)

    assert result.verdict is Verdict.INCONCLUSIVE
    assert "gateway-2 was seen only from" in finding_of(result, "gateway-2 rss_bytes").why
    assert finding_of(result, "gateway-1 rss_bytes").verdict is Verdict.PASS


def test_growth_of_the_load_generator_is_not_the_platforms(tmp_path: Path) -> None:
    result = judged(
        tmp_path, LEAKS, lambda run: grow(run, "generator", "worker-0", "rss_bytes", 4_000 * MIB), profile=HALF_HOUR
    )

    assert result.verdict is Verdict.PASS


def test_growth_in_the_warm_up_alone_is_not_judged(tmp_path: Path) -> None:
    def warm_up(run: SyntheticRun) -> None:
        replace_values(run, GATEWAY_RSS, lambda seconds: 100e6 + 1e6 * np.minimum(seconds, 0.0))

    assert judged(tmp_path, LEAKS, warm_up, profile=HALF_HOUR).verdict is Verdict.PASS
