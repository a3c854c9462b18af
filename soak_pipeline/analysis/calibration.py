"""How often is each statistical decision wrong? Answers by simulation on the decision functions themselves.

Owns the scenarios, their targets and the table. It never changes a threshold: a target that is missed is shown as
missed. Run `python -m soak_pipeline.analysis.calibration --repetitions 1000` to print the table as Markdown.

Targets: a false FAIL in at most 1 % where the truth is well within the limit, a false PASS in at most 5 % where the
truth is beyond it. Scenarios without a target show power, or what the method cannot tell.
"""

from __future__ import annotations

import argparse
import math
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
from numpy.random import Generator

from soak_pipeline.analysis import simulation
from soak_pipeline.analysis.arrays import FloatArray
from soak_pipeline.analysis.comparison import Change, compare_runs
from soak_pipeline.analysis.decision import Decision, Side
from soak_pipeline.analysis.dependence import exceedance_design_effect
from soak_pipeline.analysis.fairness import FairnessResult, LookPlan, judge_fairness
from soak_pipeline.analysis.percentiles import compare_to_limit, percentile_estimate
from soak_pipeline.analysis.phases import compare_phases
from soak_pipeline.analysis.proportions import rise_against_margin
from soak_pipeline.analysis.run_trends import run_course
from soak_pipeline.analysis.trends import judge_growth

FALSE_FAIL_TARGET = 0.01
FALSE_PASS_TARGET = 0.05
DAY_S = 86_400.0
HISTORY_ALPHA = 0.0025
"""A history shows four figures, and shares a chance of 1 % among them."""

Draw = Callable[[Generator], Decision]
Shape = Callable[[Generator, FloatArray], FloatArray]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One simulated truth. `most_fail` and `most_pass` are the largest acceptable shares; None asks nothing."""

    rule: str
    truth: str
    draw: Draw
    most_fail: float | None = None
    most_pass: float | None = None


@dataclass(frozen=True, slots=True)
class CalibrationRow:
    """Shares (0..1) of the answers over the repetitions of one scenario, and whether its targets were met."""

    rule: str
    truth: str
    repetitions: int
    share_pass: float
    share_fail: float
    share_open: float
    most_fail: float | None
    most_pass: float | None

    @property
    def is_met(self) -> bool | None:
        """Whether every target holds within two standard errors of the simulation; None without a target."""
        if self.most_fail is None and self.most_pass is None:
            return None
        return all(
            share <= most + 2.0 * math.sqrt(most * (1.0 - most) / self.repetitions)
            for share, most in ((self.share_fail, self.most_fail), (self.share_pass, self.most_pass))
            if most is not None
        )


def scenarios() -> list[Scenario]:
    """Every scenario of the table, in its order."""
    return list(
        chain(
            _latency_scenarios(),
            _share_scenarios(),
            _fairness_scenarios(),
            _phase_scenarios(),
            _growth_noise_scenarios(),
            _growth_shape_scenarios(),
            _run_scenarios(),
        )
    )


def calibrate(chosen: Sequence[Scenario], repetitions: int, seed: int = 1) -> list[CalibrationRow]:
    """Simulate each scenario `repetitions` times; the same seed gives the same table, whatever else is chosen."""
    rows = []
    for scenario in chosen:
        # A seed from the text of the scenario makes a row independent of the rows before it.
        key = zlib.crc32(f"{scenario.rule}|{scenario.truth}".encode())
        random = np.random.default_rng([seed, key])
        counts = Counter(scenario.draw(random) for _ in range(repetitions))
        rows.append(
            CalibrationRow(
                rule=scenario.rule,
                truth=scenario.truth,
                repetitions=repetitions,
                share_pass=counts[Decision.PASS] / repetitions,
                share_fail=counts[Decision.FAIL] / repetitions,
                share_open=counts[Decision.OPEN] / repetitions,
                most_fail=scenario.most_fail,
                most_pass=scenario.most_pass,
            )
        )
    return rows


def markdown_table(rows: Sequence[CalibrationRow]) -> str:
    """The rows as a Markdown table with shares in per cent."""
    lines = ["| rule | truth | PASS | FAIL | open | target | met |", "|---|---|---:|---:|---:|---|---|"]
    for row in rows:
        targets = [
            f"{name} <= {most:.0%}"
            for name, most in (("FAIL", row.most_fail), ("PASS", row.most_pass))
            if most is not None
        ]
        met = {None: "", True: "yes", False: "**no**"}[row.is_met]
        shares = f"{row.share_pass:.1%} | {row.share_fail:.1%} | {row.share_open:.1%}"
        lines.append(f"| {row.rule} | {row.truth} | {shares} | {', '.join(targets)} | {met} |")
    return "\n".join(lines)


def _of_side(side: Side) -> Decision:
    return {Side.BELOW: Decision.PASS, Side.ABOVE: Decision.FAIL, Side.OPEN: Decision.OPEN}[side]


def _latency_scenarios() -> Iterator[Scenario]:
    """p95 of ten minutes at 20/s against 250 ms, independent requests and a level that wanders for minutes."""
    one_sided_95 = 1.6448536269514722

    def draw_with(true_p95_share_of_limit: float, block_log_sd: float, phi: float) -> Draw:
        spread = math.hypot(simulation.SERVICE_LOG_SD, block_log_sd)
        limit = simulation.MEDIAN_MS * math.exp(one_sided_95 * spread) / true_p95_share_of_limit

        def draw(random: Generator) -> Decision:
            times, values = simulation.phase_latencies_ms(
                random, 0.0, 600.0, 20.0, block_log_sd=block_log_sd, phi=phi, block_s=5.0
            )
            effect = exceedance_design_effect(times, values, 0.95)
            return _of_side(compare_to_limit(percentile_estimate(values, 0.95, design_effect=effect), limit))

        return draw

    rule = "latency p95 against its limit"
    for noise, block_log_sd, phi in (("independent", 0.0, 0.0), ("clustered", 0.1, 0.5)):
        yield Scenario(rule, f"{noise}, p95 10 % under", draw_with(0.9, block_log_sd, phi), most_fail=FALSE_FAIL_TARGET)
        yield Scenario(rule, f"{noise}, p95 2 % under", draw_with(0.98, block_log_sd, phi), most_fail=FALSE_FAIL_TARGET)
        yield Scenario(
            rule, f"{noise}, p95 0.1 % over", draw_with(1.001, block_log_sd, phi), most_pass=FALSE_PASS_TARGET
        )
        yield Scenario(rule, f"{noise}, p95 10 % over", draw_with(1.1, block_log_sd, phi), most_pass=FALSE_PASS_TARGET)


def _share_scenarios() -> Iterator[Scenario]:
    """Error share from baseline to burst, 2,000 requests each, margin 1 percentage point."""

    def draw_with(before: float, after: float) -> Draw:
        def draw(random: Generator) -> Decision:
            side, _ = rise_against_margin(
                int(random.binomial(2000, before)), 2000, int(random.binomial(2000, after)), 2000, margin=0.01
            )
            return _of_side(side)

        return draw

    rule = "rise of an error share against 1 point"
    yield Scenario(rule, "0 % and 0 %", draw_with(0.0, 0.0), most_fail=FALSE_FAIL_TARGET)
    yield Scenario(rule, "1 % and 1 %", draw_with(0.01, 0.01), most_fail=FALSE_FAIL_TARGET)
    yield Scenario(rule, "1 % and 2.1 %", draw_with(0.01, 0.021), most_pass=FALSE_PASS_TARGET)
    yield Scenario(rule, "0 % and 3 %", draw_with(0.0, 0.03), most_pass=FALSE_PASS_TARGET)


SMOKE_PLAN = LookPlan((8, 12))
SMOKE_SAMPLES = 210


def _run_fairness(
    random: Generator, ratios: Sequence[float], drift: float, window_log_sd: float
) -> list[FairnessResult]:
    """Four tenants, pairs added up to the plan's cap while any answer is open."""
    tenants = [
        simulation.abba_pairs(
            random, SMOKE_PLAN.cap, SMOKE_SAMPLES, ratio=ratio, window_log_sd=window_log_sd, drift_per_window=drift
        )
        for ratio in ratios
    ]
    results: list[FairnessResult] = []
    for look in SMOKE_PLAN.pairs_at_look:
        results = list(judge_fairness([pairs[:look] for pairs in tenants], limit=1.2, plan=SMOKE_PLAN))
        if all(result.decision is not Decision.OPEN for result in results):
            break
    return results


def _fairness_scenarios() -> Iterator[Scenario]:
    """p99 ratio against 1.20: four tenants, looks at 8 and 12 ABBA pairs, 210 requests per window."""
    ten_per_cent_over_the_phase = math.log(1.1) / (2 * SMOKE_PLAN.cap)

    def one(ratio: float, drift: float = 0.0, window_log_sd: float = 0.05) -> Draw:
        return lambda random: _run_fairness(random, (ratio, 1.0, 1.0, 1.0), drift, window_log_sd)[0].decision

    def family(ratios: Sequence[float], drift: float = 0.0, window_log_sd: float = 0.05) -> Draw:
        def draw(random: Generator) -> Decision:
            answers = {result.decision for result in _run_fairness(random, ratios, drift, window_log_sd)}
            if Decision.FAIL in answers:
                return Decision.FAIL
            return Decision.PASS if answers == {Decision.PASS} else Decision.OPEN

        return draw

    rule = "fairness, one tenant"
    yield Scenario(rule, "ratio 1.0", one(1.0), most_fail=FALSE_FAIL_TARGET)
    yield Scenario(rule, "ratio 1.0, drift 10 %", one(1.0, ten_per_cent_over_the_phase), most_fail=FALSE_FAIL_TARGET)
    yield Scenario(rule, "ratio 1.0, noisy windows", one(1.0, 0.0, 0.15), most_fail=FALSE_FAIL_TARGET)
    yield Scenario(rule, "ratio 1.1", one(1.1), most_fail=FALSE_FAIL_TARGET)
    yield Scenario(rule, "ratio 1.1, drift 10 %", one(1.1, ten_per_cent_over_the_phase), most_fail=FALSE_FAIL_TARGET)
    yield Scenario(rule, "ratio 1.2", one(1.2), most_pass=FALSE_PASS_TARGET)
    yield Scenario(rule, "ratio 1.2, noisy windows", one(1.2, 0.0, 0.15), most_pass=FALSE_PASS_TARGET)
    yield Scenario(rule, "ratio 1.3", one(1.3), most_pass=FALSE_PASS_TARGET)
    yield Scenario(rule, "ratio 1.5", one(1.5), most_pass=FALSE_PASS_TARGET)
    rule = "fairness, four tenants together"
    yield Scenario(rule, "all 1.0", family((1.0,) * 4), most_fail=FALSE_FAIL_TARGET)
    yield Scenario(rule, "all 1.1", family((1.1,) * 4), most_fail=FALSE_FAIL_TARGET)
    yield Scenario(rule, "all exactly 1.2", family((1.2,) * 4), most_fail=0.05, most_pass=FALSE_PASS_TARGET)
    yield Scenario(rule, "one 1.2, three 1.0", family((1.2, 1.0, 1.0, 1.0)), most_pass=FALSE_PASS_TARGET)
    yield Scenario(rule, "one 1.5, three 1.0", family((1.5, 1.0, 1.0, 1.0)), most_pass=FALSE_PASS_TARGET)


def _phase_scenarios() -> Iterator[Scenario]:
    """One baseline and one burst of ten minutes each at 10/s, p99 ratio against 1.20."""

    def draw_with(ratio: float, drift: float, phi: float) -> Draw:
        drift_log_per_s = math.log1p(drift) / 1200.0

        def draw(random: Generator) -> Decision:
            before = simulation.phase_latencies_ms(random, 0.0, 600.0, 10.0, drift_log_per_s=drift_log_per_s, phi=phi)
            after = simulation.phase_latencies_ms(
                random, 600.0, 600.0, 10.0, ratio=ratio, drift_log_per_s=drift_log_per_s, phi=phi
            )
            return compare_phases(*before, *after, limit=1.2, sub_window_s=20.0).decision

        return draw

    rule = "fairness, two long phases"
    for ratio, drift, phi in ((1.0, 0.0, 0.0), (1.0, 0.1, 0.0), (1.0, 0.1, 0.8), (1.1, 0.0, 0.0), (1.1, 0.1, 0.0)):
        truth = f"ratio {ratio}, drift {drift:.0%}, phi {phi}"
        yield Scenario(rule, truth, draw_with(ratio, drift, phi), most_fail=FALSE_FAIL_TARGET)
    for ratio, drift, phi in ((1.2, 0.0, 0.0), (1.2, -0.1, 0.0), (1.2, 0.0, 0.8), (1.3, 0.0, 0.0), (1.5, 0.0, 0.0)):
        truth = f"ratio {ratio}, drift {drift:.0%}, phi {phi}"
        yield Scenario(rule, truth, draw_with(ratio, drift, phi), most_pass=FALSE_PASS_TARGET)


def _growth(values_of: Shape, times_s: FloatArray, headroom: float) -> Draw:
    return lambda random: judge_growth(times_s, values_of(random, times_s), headroom=headroom, horizon_s=DAY_S).decision


def _growth_noise_scenarios() -> Iterator[Scenario]:
    """Lines in AR(1) noise of standard deviation 1, one point per 15 s; leaks are measured in noise per run."""

    def line(growth_in_sd: float, phi: float) -> Shape:
        def values_of(random: Generator, times_s: FloatArray) -> FloatArray:
            noise = simulation.ar1_noise(random, times_s.size, phi)
            return np.asarray(100.0 + growth_in_sd * times_s / times_s[-1] + noise, dtype=np.float64)

        return values_of

    rule = "growth in wandering noise"
    for points in (60, 240):
        times_s = simulation.regular_times_s(points, 15.0)
        day_per_run = DAY_S / float(times_s[-1])
        for phi in (0.0, 0.5, 0.8, 0.95):
            where = f"{points} points, phi {phi}"
            # A headroom of nearly nothing is the hardest case for both errors: no growth is both "within" and "at" it.
            yield Scenario(
                rule,
                f"{where}, no growth, headroom nearly 0",
                _growth(line(0.0, phi), times_s, 1e-9),
                most_fail=FALSE_FAIL_TARGET,
                most_pass=FALSE_PASS_TARGET,
            )
            yield Scenario(
                rule,
                f"{where}, leak of 3 sd, exactly the headroom",
                _growth(line(3.0, phi), times_s, 3.0 * day_per_run),
                most_pass=FALSE_PASS_TARGET,
            )
            yield Scenario(
                rule,
                f"{where}, no growth, headroom 3 sd",
                _growth(line(0.0, phi), times_s, 3.0 * day_per_run),
                most_fail=FALSE_FAIL_TARGET,
            )
            for growth in (5.0, 10.0, 20.0):
                yield Scenario(
                    rule,
                    f"{where}, leak of {growth:g} sd, 4 times the headroom",
                    _growth(line(growth, phi), times_s, growth / 4.0 * day_per_run),
                    most_pass=FALSE_PASS_TARGET,
                )


def _fixed(function: Callable[[FloatArray, float, float], FloatArray], scale_s: float, amplitude: float) -> Shape:
    """A shape without chance, as one that takes a generator like the others."""
    return lambda random, times_s: function(times_s, scale_s, amplitude)


def _growth_shape_scenarios() -> Iterator[Scenario]:
    """One hour of 5 s samples with noise 1 and headroom 200 per day; a leak grows by 2,000 per day."""
    times_s = simulation.regular_times_s(721, 5.0)
    headroom, leak_per_s = 200.0, 2000.0 / DAY_S

    def shaped(shape: Shape, leak: float) -> Draw:
        def values_of(random: Generator, at_s: FloatArray) -> FloatArray:
            noise = simulation.ar1_noise(random, at_s.size, 0.5)
            return np.asarray(300.0 + shape(random, at_s) + leak * at_s + noise, dtype=np.float64)

        return _growth(values_of, times_s, headroom)

    shapes: dict[str, Shape] = {}
    for period_s in (60.0, 200.0, 500.0, 1500.0):
        shapes[f"sawtooth of {period_s:g} s"] = partial(simulation.sawtooth, period_s=period_s, amplitude=60.0)
    for constant_s in (120.0, 600.0, 1200.0, 2400.0):
        shapes[f"warm-up of {constant_s:g} s"] = _fixed(simulation.saturating, constant_s, 100.0)
    shapes["step of 50 after 25 min"] = _fixed(simulation.step, 1500.0, 50.0)
    shapes["logarithmic warm-up"] = _fixed(simulation.logarithmic, 30.0, 30.0)
    for name, shape in shapes.items():
        yield Scenario("growth of a shape", f"{name}, no leak", shaped(shape, 0.0), most_fail=FALSE_FAIL_TARGET)
        yield Scenario("growth of a shape", f"{name}, leak", shaped(shape, leak_per_s), most_pass=FALSE_PASS_TARGET)
    for per_hour in (0, 2, 6, 20):

        def counted(random: Generator, at_s: FloatArray, rate: int = per_hour) -> FloatArray:
            return np.asarray(np.floor(40.0 + rate * at_s / 3600.0 + random.uniform()), dtype=np.float64)

        yield Scenario(
            "growth of a counter, headroom 48 per day",
            f"{per_hour} per hour",
            _growth(counted, times_s, 48.0),
            most_fail=FALSE_FAIL_TARGET if per_hour == 0 else None,
            most_pass=FALSE_PASS_TARGET if per_hour >= 2 else None,
        )


def _run_scenarios() -> Iterator[Scenario]:
    """What a history of 30 nights names; and two runs of 12 windows (PASS is same or better)."""

    def history(*, step_sd: float = 0.0, drift_sd: float = 0.0, phi: float = 0.0, heavy: bool = False) -> Draw:
        def draw(random: Generator) -> Decision:
            values = simulation.ar1_noise(random, 30, phi)
            values = np.exp(0.8 * values) if heavy else values
            values = values + drift_sd * np.arange(30) / 29.0
            values[18:] += step_sd
            course = run_course(values, alpha=HISTORY_ALPHA)
            if course.changes:
                return Decision.FAIL
            return Decision.PASS if course.trend is None else Decision.OPEN

        return draw

    rule = "30 nights: FAIL a change, open a trend"
    yield Scenario(rule, "stable", history(), most_fail=FALSE_FAIL_TARGET)
    yield Scenario(rule, "stable, skewed", history(heavy=True), most_fail=FALSE_FAIL_TARGET)
    # Nights that depend on each other are outside what a permutation test promises; the line shows by how much.
    yield Scenario(rule, "stable, phi 0.3", history(phi=0.3))
    yield Scenario(rule, "2 sd after night 18", history(step_sd=2.0))
    yield Scenario(rule, "3 sd after night 18", history(step_sd=3.0), most_pass=FALSE_PASS_TARGET)
    yield Scenario(rule, "drift of 4 sd", history(drift_sd=4.0), most_pass=FALSE_PASS_TARGET)
    yield Scenario(rule, "drift of 6 sd", history(drift_sd=6.0), most_pass=FALSE_PASS_TARGET)

    def compared(ratio: float, phi: float) -> Draw:
        def draw(random: Generator) -> Decision:
            reference = 100.0 * np.exp(0.03 * simulation.ar1_noise(random, 12, phi))
            candidate = 100.0 * ratio * np.exp(0.03 * simulation.ar1_noise(random, 12, phi))
            change = compare_runs(reference, candidate).change
            if change is Change.UNKNOWN:
                return Decision.OPEN
            return Decision.FAIL if change is Change.WORSE else Decision.PASS

        return draw

    for phi in (0.0, 0.5):
        rule = "candidate against reference, margin 5 %"
        yield Scenario(rule, f"ratio 1.0, phi {phi}", compared(1.0, phi), most_fail=FALSE_FAIL_TARGET)
        yield Scenario(rule, f"ratio 1.051, phi {phi}", compared(1.051, phi), most_pass=FALSE_PASS_TARGET)
        yield Scenario(rule, f"ratio 1.2, phi {phi}", compared(1.2, phi), most_pass=FALSE_PASS_TARGET)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the calibration table; exit code 1 where a target is missed."""
    return print_table(scenarios, "Simulate how often the statistical decisions are wrong.", 400, arguments)


def print_table(
    scenarios_of: Callable[[], Iterable[Scenario]],
    description: str,
    repetitions: int,
    arguments: Sequence[str] | None = None,
) -> int:
    """The command line of a calibration: runs its scenarios and prints their table.

    Args:
        scenarios_of: every scenario.
        description: what is simulated, for `--help`.
        repetitions: simulated runs per scenario unless the command line says otherwise.
        arguments: of the command line; the process' own by default.

    Returns:
        Exit code: 1 where a target is missed.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--repetitions",
        type=int,
        default=repetitions,
        help=f"simulated runs per scenario (default {repetitions})",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulation (default 1)")
    parser.add_argument("--only", default="", help="only scenarios whose rule contains this text")
    options = parser.parse_args(arguments)
    if options.repetitions < 1:
        parser.error(f"--repetitions: {options.repetitions}, must be at least 1")
    chosen = [scenario for scenario in scenarios_of() if options.only in scenario.rule]
    if not chosen:
        parser.error(f"--only: no rule contains {options.only!r}")
    rows = calibrate(chosen, options.repetitions, options.seed)
    sys.stdout.write(markdown_table(rows) + "\n")
    return 1 if any(row.is_met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
