"""The course of a run: which stretch of time was what, and what happened when.

Owns reading stretches and events out of the stages' outputs. Never judges, and never fails: what a stage did not
record is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.evidence.requests import RequestTable
from soak_pipeline.evidence.telemetry import Telemetry
from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.plan import SOAK_SESSION, LoadSession, fairness_session, soak_session
from soak_pipeline.model.series import PROCESS_START_SERIES
from soak_pipeline.model.stage_outputs import SessionReport
from soak_pipeline.model.traffic import Phase

_NO_ROWS = RequestTable({}, {})


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time with one purpose; times in seconds since the plan's epoch.

    Attributes:
        phase: what it was for, a value of `Phase`, or `drain`.
        session: the load session it belongs to; empty for none.
        planned_requests_per_second: over all tenants; None where the plan names no rate.
    """

    phase: str
    session: str
    start_s: float
    end_s: float
    planned_requests_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at a moment, seconds since the plan's epoch; `trouble` when it should not have."""

    time_s: float
    text: str
    trouble: bool = False


@dataclass(frozen=True)
class Course:
    """A run as it went, with its records at hand.

    Attributes:
        stretches: by start.
        events: by time.
        requests: every request record; None when they cannot be read, and `problems` says why.
        telemetry: every series; empty when it cannot be read, and `problems` says why.
        soak: the judged part of the soak; None when there was none.
        ended_us: when the last evidence was taken, microseconds since the plan's epoch; None when unknown.
        problems: what is missing for drawing, one sentence each.
    """

    stretches: tuple[Stretch, ...]
    events: tuple[Event, ...]
    requests: RequestTable | None
    telemetry: Telemetry
    soak: Stretch | None
    ended_us: int | None
    problems: tuple[str, ...]


def course_of(evidence: RunEvidence) -> Course:
    """What a run's evidence says about how it went."""
    problems = [f"{stage}: {reason}" for stage, reason in evidence.missing.items()]
    requests: RequestTable | None = None
    telemetry: Telemetry = {}
    try:
        requests = evidence.requests if len(evidence.requests) else None
        if requests is None:
            problems.append("no request was recorded")
    except EvidenceUnreadable as error:
        problems.append(f"the request records cannot be read: {error}")
    try:
        telemetry = evidence.telemetry
    except EvidenceUnreadable as error:
        problems.append(f"the telemetry cannot be read: {error}")
    stretches = tuple(sorted(_stretches(evidence), key=lambda stretch: (stretch.start_s, stretch.end_s)))
    return Course(
        stretches=stretches,
        events=tuple(sorted(_events(evidence, telemetry), key=lambda event: event.time_s)),
        requests=requests,
        telemetry=telemetry,
        soak=next((stretch for stretch in stretches if stretch.phase == Phase.SOAK), None),
        ended_us=_ended_us(evidence),
        problems=tuple(problems),
    )


def sessions_of(evidence: RunEvidence) -> dict[str, SessionReport]:
    """Every load session of a run by name."""
    phases = [phase for phase in (evidence.baseline, evidence.burst, evidence.soak) if phase is not None]
    sessions = {session.name: session for phase in phases for session in phase.sessions}
    if evidence.agent_fanout is not None and evidence.agent_fanout.session is not None:
        sessions[evidence.agent_fanout.session.name] = evidence.agent_fanout.session
    return sessions


def _planned(evidence: RunEvidence, name: str) -> LoadSession | None:
    if name == SOAK_SESSION:
        return soak_session(evidence.plan)
    number = name.removeprefix("fairness-")
    looks = len(evidence.plan.profile.fairness.pairs_by_look)
    return fairness_session(evidence.plan, int(number) - 1) if number.isdigit() and 1 <= int(number) <= looks else None


def _stretches(evidence: RunEvidence) -> Iterator[Stretch]:
    for name, session in sessions_of(evidence).items():
        if session.zero_us is None:
            continue
        zero_s = session.zero_us / 1e6
        end_s = np.inf if session.ended_us is None else session.ended_us / 1e6
        planned = _planned(evidence, name)
        if planned is None:
            if np.isfinite(end_s):
                yield Stretch(Phase.FANOUT.value, name, zero_s, float(end_s))
            continue
        for window in planned.windows:
            start_s, stop_s = zero_s + window.start_s, min(zero_s + window.end_s, float(end_s))
            if stop_s > start_s:
                rate = sum(load.requests_per_second for load in window.loads.values())
                yield Stretch(window.phase.value, name, start_s, stop_s, rate)
    teardown, platform = evidence.teardown, evidence.platform_evidence
    if teardown is not None and platform is not None:
        stopped_s = teardown.load_stopped_us / 1e6
        yield Stretch("drain", "", stopped_s, stopped_s + platform.drain.seconds)


def _events(evidence: RunEvidence, telemetry: Telemetry) -> Iterator[Event]:
    for session in sessions_of(evidence).values():
        for worker in session.workers:
            if worker.lost and session.ended_us is not None:
                yield Event(session.ended_us / 1e6, f"load worker {worker.worker} lost in {session.name}", trouble=True)
        if session.reason and session.ended_us is not None:
            yield Event(session.ended_us / 1e6, f"{session.name}: {session.reason}", trouble=True)
    if evidence.teardown is not None:
        yield Event(evidence.teardown.load_stopped_us / 1e6, "load stopped")
        if evidence.teardown.blocked_us is not None:
            yield Event(evidence.teardown.blocked_us / 1e6, "every tenant blocked")
    yield from _restarts(telemetry)


def _restarts(telemetry: Telemetry) -> Iterator[Event]:
    for key, series in telemetry.items():
        if key.series != PROCESS_START_SERIES:
            continue
        known = np.isfinite(series.values)
        times, values = series.times_s[known], series.values[known]
        for index in np.flatnonzero(np.abs(np.diff(values)) > 1.0):
            yield Event(float(times[index + 1]), f"{key.owner} restarted", trouble=True)


def _ended_us(evidence: RunEvidence) -> int | None:
    times = [session.ended_us for session in sessions_of(evidence).values() if session.ended_us is not None]
    if evidence.teardown is not None:
        times.append(evidence.teardown.blocked_us or evidence.teardown.load_stopped_us)
    if evidence.platform_evidence is not None:
        collected = _micros(evidence.platform_evidence.collected_at)
        if collected is not None:
            times.append(collected - evidence.plan.epoch_unix_us)
    return max(times, default=None)


def _micros(moment: str) -> int | None:
    try:
        return round(datetime.fromisoformat(moment).timestamp() * 1e6)
    except ValueError:
        return None
