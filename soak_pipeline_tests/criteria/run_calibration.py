"""How often is a whole run judged wrongly? Answers by simulation of run folders, judged as `soak judge` does.

`python -m soak_pipeline_tests.criteria.run_calibration --repetitions 200` prints the table as Markdown. The decision
functions have a table of their own (`soak_pipeline.analysis.calibration`); this one adds what the criteria do around
them: selection of records, windows, several tenants and series at once, guards.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.random import Generator

from soak_pipeline.analysis.calibration import (
    FALSE_FAIL_TARGET,
    FALSE_PASS_TARGET,
    Scenario,
    calibrate,
    markdown_table,
)
from soak_pipeline.analysis.decision import Decision
from soak_pipeline.analysis.simulation import ar1_noise
from soak_pipeline.criteria.registry import CRITERIA, judge_run, judged_safely
from soak_pipeline.evidence.bundle import RunEvidence, read_evidence
from soak_pipeline.model.profile import Profile
from soak_pipeline.model.verdict import Verdict
from soak_pipeline_tests.criteria.judging import HALF_HOUR, SMALL
from soak_pipeline_tests.evidence_defects import grow, slow_down
from soak_pipeline_tests.evidence_factory import Defect, SyntheticRun, make_run
from soak_pipeline_tests.policies import HEADROOMS

SLO = "gateway_p95_is_under_slo"
FAIRNESS = "quiet_tenants_are_protected"
LEAKS = "nothing_leaks"
DECISIONS = "decisions_are_correct"
WHOLE_RUN = "a whole run"

_DECISION = {Verdict.PASS: Decision.PASS, Verdict.FAIL: Decision.FAIL, Verdict.INCONCLUSIVE: Decision.OPEN}
P95_MS = 30.0 * float(np.exp(0.2 * 1.6448536269514722))
"""Of the factory's executed calls: log-normal, median 30 ms, 0.2."""


def shaken(log_sd: float) -> Defect:
    """Each fairness window of each tenant is slower or quicker than the last, as on a host with other work."""

    def shake(run: SyntheticRun) -> None:
        columns = run.requests.columns
        fairness = run.requests.where(session="fairness-1")
        windows = columns["window"].astype(np.int64) + 1
        for tenant in "ABCDE":
            factors = np.exp(log_sd * run.rng.standard_normal(int(windows[fairness].max()) + 1))
            rows = fairness & run.requests.where(tenant=tenant)
            columns["service_us"][rows] = (columns["service_us"][rows] * factors[windows[rows]]).astype(np.int64)

    return shake


def wandering(phi: float, share: float = 0.03) -> Defect:
    """Memory of every process wanders around its level, by a share of it, instead of scattering independently."""

    def wander(run: SyntheticRun) -> None:
        for key, (times, values) in run.telemetry.items():
            if key[2] in ("rss_bytes", "uss_bytes", "redis_memory_bytes") and key[0] != "generator":
                level = float(values.mean())
                run.telemetry[key] = (times, level * (1.0 + share * ar1_noise(run.rng, len(times), phi)))

    return wander


def failing(probability: float) -> Defect:
    """Each call fails with a probability, independently."""

    def fail(run: SyntheticRun) -> None:
        rows = np.flatnonzero(run.rng.random(len(run.requests)) < probability)
        rows = rows[np.isin(rows, np.flatnonzero(~run.requests.where(session="fanout")))]
        run.requests.set_text("outcome", rows, "server_error")
        run.requests.columns["status"][rows] = 500

    return fail


def leaking(times_headroom: float) -> Defect:
    """One gateway process grows by so many headrooms a day."""
    per_hour = times_headroom * HEADROOMS["rss_bytes"] / 24.0
    return lambda run: grow(run, "platform", "gateway-1", "rss_bytes", per_hour)


def slowed(factor: float, **where: str) -> Defect:
    return lambda run: slow_down(run, factor, **where)


def scenarios() -> Iterator[Scenario]:
    """Every scenario of the table, in its order."""

    def none(rule: str, truth: str, profile: Profile, *defects: Defect) -> Scenario:
        return Scenario(rule, truth, _draw(rule, profile, *defects), most_fail=FALSE_FAIL_TARGET)

    def effect(rule: str, truth: str, profile: Profile, *defects: Defect) -> Scenario:
        return Scenario(rule, truth, _draw(rule, profile, *defects), most_pass=FALSE_PASS_TARGET)

    noisy = shaken(0.05)
    yield none(WHOLE_RUN, "nothing wrong, 45 s", SMALL, noisy)
    yield none(WHOLE_RUN, "nothing wrong, 30 min, wandering memory", HALF_HOUR, noisy, wandering(0.8))
    yield none(SLO, "p95 of tenant C 10 % under", SMALL, slowed(225.0 / P95_MS, phase="soak", tenant="C"))
    yield effect(SLO, "p95 of tenant C 2 % over", SMALL, slowed(255.0 / P95_MS, phase="soak", tenant="C"))
    yield effect(SLO, "p95 of tenant C 30 % over", SMALL, slowed(325.0 / P95_MS, phase="soak", tenant="C"))
    yield none(FAIRNESS, "every quiet tenant 1.1", SMALL, noisy, *(_burst(1.1, name) for name in "BCDE"))
    yield effect(FAIRNESS, "tenant E 1.2", SMALL, noisy, _burst(1.21, "E"))
    yield effect(FAIRNESS, "tenant E 1.3", SMALL, noisy, _burst(1.31, "E"))
    yield effect(FAIRNESS, "tenant E 1.5", SMALL, noisy, _burst(1.51, "E"))
    for phi in (0.0, 0.8):
        memory = wandering(phi)
        yield none(LEAKS, f"no leak, phi {phi}", HALF_HOUR, memory)
        yield none(LEAKS, f"half the headroom, phi {phi}", HALF_HOUR, memory, leaking(0.5))
        yield effect(LEAKS, f"1.1 times the headroom, phi {phi}", HALF_HOUR, memory, leaking(1.1))
        yield effect(LEAKS, f"4 times the headroom, phi {phi}", HALF_HOUR, memory, leaking(4.0))
    yield none(DECISIONS, "0.1 % errors", SMALL, failing(0.001))
    yield effect(DECISIONS, "1 % errors", SMALL, failing(0.01))


def _burst(factor: float, tenant: str) -> Defect:
    # The delay before a call is sent is not multiplied; 1 % more than the ratio makes up for it.
    return slowed(factor, phase="burst", tenant=tenant)


def _draw(rule: str, profile: Profile, *defects: Defect) -> Callable[[Generator], Decision]:
    def draw(random: Generator) -> Decision:
        with tempfile.TemporaryDirectory() as folder:
            run = make_run(Path(folder), profile=profile, seed=int(random.integers(2**31)), defects=defects)
            return _DECISION[_verdict(rule, read_evidence(run))]

    return draw


def _verdict(rule: str, evidence: RunEvidence) -> Verdict:
    if rule == WHOLE_RUN:
        return judge_run(evidence).verdict
    return next(judged_safely(criterion, evidence).verdict for criterion in CRITERIA if criterion.name == rule)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(description="Simulate how often whole runs are judged wrongly.")
    parser.add_argument("--repetitions", type=int, default=200, help="simulated runs per scenario (default 200)")
    parser.add_argument("--only", default="", help="only scenarios whose rule contains this text")
    options = parser.parse_args(arguments)
    rows = calibrate([scenario for scenario in scenarios() if options.only in scenario.rule], options.repetitions)
    sys.stdout.write(markdown_table(rows) + "\n")
    return 1 if any(row.is_met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
