"""How often is the fairness question of a nightly or pre-release run answered wrongly, or not at all?

Owns the shape of those levels, its scenarios and its table; `calibration` owns how a scenario is simulated, and has the
shape of a smoke run. Run `python -m soak_pipeline.analysis.calibration_fairness --repetitions 1000` to print the table
as Markdown.

Every decision is that of `judge_fairness` and `compare_phases`, on latencies sample by sample. `window_log_sd` is what
the host and the platform add from window to window, beyond the scatter of the samples.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from numpy.random import Generator

from soak_pipeline.analysis import simulation
from soak_pipeline.analysis.calibration import (
    FALSE_FAIL_TARGET,
    FALSE_PASS_TARGET,
    Draw,
    Scenario,
    print_table,
)
from soak_pipeline.analysis.decision import Decision
from soak_pipeline.analysis.fairness import LookPlan, judge_fairness
from soak_pipeline.analysis.phases import compare_phases

LIMIT = 1.2
TENANTS = 4
ALPHA = 0.05

PLAN = LookPlan((6, 8, 10))
"""Looks of the pairs."""
REQUESTS_PER_S = 20.0
"""Of one quiet tenant: ten users, two executed calls per second each."""
WINDOW_S, SETTLE_S = 60.0, 5.0
SAMPLES = int(REQUESTS_PER_S * (WINDOW_S - SETTLE_S))
"""Of one quiet tenant in one judged window."""
CLASSIC_S = 600.0
"""Length of each of the two classic phases: 12,000 samples of one quiet tenant."""
SUB_WINDOW_S = 10.0

USUAL_LOG_SD, NOISY_LOG_SD = 0.05, 0.15
DRIFT_LOG = math.log(1.1)
"""Drift of 10 % from the first judged second to the last."""
LARGER_PLAN = LookPlan((6, 10, 14))
RULE_ONE, RULE_ALL, RULE_LARGER, RULE_CLASSIC = (
    "nightly fairness, one tenant",
    "nightly fairness, four tenants together",
    "nightly fairness made larger, four tenants together",
    "nightly fairness in classic order, one tenant",
)


def paired_decisions(
    random: Generator,
    ratios: Sequence[float],
    *,
    drift_log: float,
    window_log_sd: float,
    plan: LookPlan = PLAN,
    samples: int = SAMPLES,
) -> list[Decision]:
    """The answer for each tenant; pairs are added up to the cap while any answer is open, as a run does."""
    tenants = [
        simulation.abba_pairs(
            random,
            plan.cap,
            samples,
            ratio=ratio,
            window_log_sd=window_log_sd,
            drift_per_window=drift_log / (2 * plan.cap),
        )
        for ratio in ratios
    ]
    decisions: list[Decision] = []
    for look in plan.pairs_at_look:
        results = judge_fairness([pairs[:look] for pairs in tenants], limit=LIMIT, plan=plan)
        decisions = [result.decision for result in results]
        if Decision.FAIL in decisions or all(decision is Decision.PASS for decision in decisions):
            break
    return decisions


def one_tenant(random: Generator, ratio: float, drift_log: float, window_log_sd: float) -> Decision:
    """The answer for one tenant, the three others being untouched."""
    ratios = (ratio, *(1.0,) * (TENANTS - 1))
    return paired_decisions(random, ratios, drift_log=drift_log, window_log_sd=window_log_sd)[0]


def all_tenants(
    random: Generator, ratios: Sequence[float], window_log_sd: float, plan: LookPlan = PLAN, samples: int = SAMPLES
) -> Decision:
    """The answer for the run: FAIL by any tenant, PASS by all of them."""
    decisions = paired_decisions(random, ratios, drift_log=0.0, window_log_sd=window_log_sd, plan=plan, samples=samples)
    if Decision.FAIL in decisions:
        return Decision.FAIL
    return Decision.PASS if all(decision is Decision.PASS for decision in decisions) else Decision.OPEN


def classic(random: Generator, ratio: float, drift_log: float, block_log_sd: float) -> Decision:
    """The answer for one tenant from ten minutes and ten minutes; FAIL at a level shared over the quiet tenants."""
    phase = partial(
        simulation.phase_latencies_ms,
        random,
        per_second=REQUESTS_PER_S,
        drift_log_per_s=drift_log / (2 * CLASSIC_S),
        block_log_sd=block_log_sd,
        block_s=SUB_WINDOW_S,
    )
    before = phase(start_s=0.0, duration_s=CLASSIC_S)
    after = phase(start_s=CLASSIC_S, duration_s=CLASSIC_S, ratio=ratio)
    compare = partial(compare_phases, *before, *after, limit=LIMIT, sub_window_s=SUB_WINDOW_S)
    decision = compare(alpha=ALPHA).decision
    if decision is Decision.FAIL and compare(alpha=ALPHA / TENANTS).decision is not Decision.FAIL:
        return Decision.OPEN
    return decision


def scenarios() -> list[Scenario]:
    """Every scenario of the table, in its order."""
    return [
        *_one_tenant_scenarios(RULE_ONE, one_tenant),
        *_all_tenants_scenarios(),
        *_larger_scenarios(),
        *_one_tenant_scenarios(RULE_CLASSIC, classic),
    ]


def _one_tenant_scenarios(
    rule: str, decide: Callable[[Generator, float, float, float], Decision]
) -> Iterator[Scenario]:
    def draw(ratio: float, drift_log: float = 0.0, log_sd: float = USUAL_LOG_SD) -> Draw:
        return lambda random: decide(random, ratio, drift_log, log_sd)

    for ratio in (1.0, 1.1):
        yield Scenario(rule, f"ratio {ratio}", draw(ratio), most_fail=FALSE_FAIL_TARGET)
        yield Scenario(rule, f"ratio {ratio}, drift 10 %", draw(ratio, DRIFT_LOG), most_fail=FALSE_FAIL_TARGET)
        yield Scenario(
            rule, f"ratio {ratio}, noisy windows", draw(ratio, 0.0, NOISY_LOG_SD), most_fail=FALSE_FAIL_TARGET
        )
    for name, drift_log in (("", 0.0), (", drift 10 %", DRIFT_LOG), (", drift -10 %", -DRIFT_LOG)):
        yield Scenario(rule, f"ratio exactly 1.2{name}", draw(1.2, drift_log), most_pass=FALSE_PASS_TARGET)
    yield Scenario(rule, "ratio exactly 1.2, noisy windows", draw(1.2, 0.0, NOISY_LOG_SD), most_pass=FALSE_PASS_TARGET)
    for ratio in (1.3, 1.5):
        yield Scenario(rule, f"ratio {ratio}", draw(ratio), most_pass=FALSE_PASS_TARGET)


def _all_tenants_scenarios() -> Iterator[Scenario]:
    def draw(*ratios: float, log_sd: float = USUAL_LOG_SD) -> Draw:
        return lambda random: all_tenants(random, ratios, log_sd)

    rule = RULE_ALL
    yield Scenario(rule, "all 1.0", draw(1.0, 1.0, 1.0, 1.0), most_fail=FALSE_FAIL_TARGET)
    yield Scenario(
        rule, "all 1.0, noisy windows", draw(1.0, 1.0, 1.0, 1.0, log_sd=NOISY_LOG_SD), most_fail=FALSE_FAIL_TARGET
    )
    yield Scenario(rule, "all 1.1", draw(1.1, 1.1, 1.1, 1.1), most_fail=FALSE_FAIL_TARGET)
    yield Scenario(rule, "all exactly 1.2", draw(1.2, 1.2, 1.2, 1.2), most_fail=0.05, most_pass=FALSE_PASS_TARGET)
    yield Scenario(rule, "one 1.3, three 1.0", draw(1.3, 1.0, 1.0, 1.0), most_pass=FALSE_PASS_TARGET)
    yield Scenario(rule, "one 1.5, three 1.0", draw(1.5, 1.0, 1.0, 1.0), most_pass=FALSE_PASS_TARGET)


def _larger_scenarios() -> Iterator[Scenario]:
    """What a larger shape would decide where every quiet tenant is at half of what the limit allows."""

    def draw(plan: LookPlan, samples: int) -> Draw:
        return lambda random: all_tenants(random, (1.1,) * TENANTS, USUAL_LOG_SD, plan, samples)

    for truth, plan, samples in (
        ("all 1.1, twice the calls per window", PLAN, 2 * SAMPLES),
        ("all 1.1, looks at 6, 10 and 14 pairs", LARGER_PLAN, SAMPLES),
        ("all 1.1, both", LARGER_PLAN, 2 * SAMPLES),
    ):
        yield Scenario(RULE_LARGER, truth, draw(plan, samples), most_fail=FALSE_FAIL_TARGET)
    yield Scenario(
        RULE_LARGER,
        "one exactly 1.2, three 1.0, looks at 6, 10 and 14 pairs",
        lambda random: all_tenants(random, (1.2, 1.0, 1.0, 1.0), USUAL_LOG_SD, LARGER_PLAN),
        most_pass=FALSE_PASS_TARGET,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; exit code 1 where a target is missed."""
    return print_table(scenarios, "Simulate how a nightly run answers the fairness question.", 1000, arguments)


if __name__ == "__main__":
    sys.exit(main())
