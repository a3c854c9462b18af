"""When each judged window was, by the plan and by the sessions that were really run.

Owns the reconstruction of windows and pairs from the plan. Never reads request records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.plan import SOAK_SESSION, LoadSession, Plan, Window, fairness_session, soak_session
from soak_pipeline.model.stage_outputs import PhaseEvidence, SessionReport
from soak_pipeline.model.traffic import Phase


@dataclass(frozen=True, slots=True)
class WindowOfSession:
    """A window and the load session that carries it."""

    session: str
    window: Window


@dataclass(frozen=True, slots=True)
class WindowPair:
    """One baseline and one burst window that stand next to each other; `first` is the phase that came first."""

    number: int
    baseline: WindowOfSession
    burst: WindowOfSession
    first: Phase


@dataclass(frozen=True, slots=True)
class FairnessWindows:
    """Every judged fairness window of some looks: the pairs in order, and the long burst where one was planned."""

    pairs: tuple[WindowPair, ...]
    long_burst: WindowOfSession | None

    def of_phase(self, phase: Phase) -> list[WindowOfSession]:
        """All windows of one phase, the long burst included."""
        windows = [pair.baseline if phase is Phase.BASELINE else pair.burst for pair in self.pairs]
        return [*windows, self.long_burst] if self.long_burst and phase is Phase.BURST else windows


def judged_span_s(entry: WindowOfSession, zero_s: Mapping[str, float]) -> tuple[float, float] | None:
    """Start, after settling, and planned end of a window, seconds since the run's epoch.

    Args:
        entry: the window.
        zero_s: time zero of each session that began, by name.

    Returns:
        None when its session never began.
    """
    zero = zero_s.get(entry.session)
    return None if zero is None else (zero + entry.window.start_s + entry.window.settle_s, zero + entry.window.end_s)


def session_zeros_s(evidence: RunEvidence) -> dict[str, float]:
    """Time zero of each load session that began, seconds since the run's epoch."""
    return {
        report.name: report.zero_us / 1e6
        for stage in (evidence.baseline, evidence.burst, evidence.soak)
        for report in _sessions(stage)
        if report.zero_us is not None
    }


def fairness_windows(plan: Plan, looks: int) -> FairnessWindows:
    """The windows of the first `looks` looks, paired as they were run."""
    pairs: list[WindowPair] = []
    long_burst = None
    for look in range(looks):
        session = fairness_session(plan, look)
        judged = [
            WindowOfSession(session.name, window) for window in session.windows if window.phase is not Phase.WARMUP
        ]
        if len(judged) % 2:
            long_burst = judged.pop()
        for one, other in zip(judged[::2], judged[1::2], strict=True):
            baseline, burst = (one, other) if one.window.phase is Phase.BASELINE else (other, one)
            pairs.append(WindowPair(len(pairs) + 1, baseline, burst, one.window.phase))
    return FairnessWindows(tuple(pairs), long_burst)


def seconds_of(windows: Sequence[WindowOfSession]) -> float:
    """Length of some windows (seconds)."""
    return sum(entry.window.duration_s for entry in windows)


def judged_seconds(windows: Sequence[WindowOfSession]) -> float:
    """Length of some windows without their settling (seconds)."""
    return sum(entry.window.duration_s - entry.window.settle_s for entry in windows)


def looks_taken(evidence: RunEvidence) -> int:
    """How many looks at the fairness question were taken whole."""
    if evidence.burst is None or evidence.baseline is None:
        return 0
    return min(evidence.burst.looks, evidence.baseline.looks, len(evidence.plan.profile.fairness.pairs_by_look))


def load_sessions(evidence: RunEvidence) -> list[tuple[LoadSession, SessionReport]]:
    """The planned and the reported side of every fairness and soak session, in order."""
    plan = evidence.plan
    planned = {
        session.name: session
        for session in (
            *(fairness_session(plan, look) for look in range(len(plan.profile.fairness.pairs_by_look))),
            soak_session(plan),
        )
    }
    reports: dict[str, SessionReport] = {}
    for stage in (evidence.baseline, evidence.burst, evidence.soak):
        reports.update({report.name: report for report in _sessions(stage)})
    return [(planned[name], report) for name, report in reports.items() if name in planned]


def soak_report(evidence: RunEvidence) -> SessionReport | None:
    """How the soak session went; None when it never began."""
    return next((report for report in _sessions(evidence.soak) if report.name == SOAK_SESSION), None)


def soak_stretch_s(evidence: RunEvidence) -> tuple[float, float] | None:
    """Start and planned end of the judged soak, seconds since the run's epoch; None when it never began."""
    report = soak_report(evidence)
    if report is None or report.zero_us is None:
        return None
    window = soak_session(evidence.plan).windows[-1]
    zero_s = report.zero_us / 1e6
    return zero_s + window.start_s, zero_s + window.end_s


def _sessions(stage: PhaseEvidence | None) -> tuple[SessionReport, ...]:
    return () if stage is None else stage.sessions
