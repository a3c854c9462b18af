"""Whether the load generator was fit to measure, session by session.

A generator that is short of CPU sends late and reads late, and would blame the platform for it. So a latency criterion
does not accuse the platform with figures from such a session: it says INCONCLUSIVE, and why. Load that was not sent
because the platform answered slowly is not the generator's fault, and no excuse here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from soak_pipeline.criteria.criterion import Diagnosis
from soak_pipeline.criteria.host import busy_host
from soak_pipeline.criteria.validity.condition import EVENT_LOOP, GENERATOR_CPU, LOAD_WORKERS
from soak_pipeline.criteria.wording import ms, share
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.stage_outputs import PhaseEvidence, SessionReport
from soak_pipeline.model.thresholds import Thresholds
from soak_pipeline.model.verdict import Finding, Limit, Verdict, at_most


def generator_trouble(sessions: Iterable[SessionReport], thresholds: Thresholds) -> str:
    """Why latencies of these sessions accuse nobody but the generator; empty when it was fit."""
    for session in sessions:
        for finding in (lost_finding(session), lag_finding(session, thresholds), cpu_finding(session, thresholds)):
            if finding.verdict is not Verdict.PASS:
                return finding.why
    return ""


def lag_finding(session: SessionReport, thresholds: Thresholds) -> Finding:
    """The event loop of every load worker was on time."""
    limit = at_most(thresholds.generator_loop_lag_ms_p99_max, "ms")
    return _worst_worker(
        session,
        EVENT_LOOP,
        "event loop",
        "loop lag",
        [worker.loop_lag_ms_p99 for worker in session.workers],
        limit,
        lambda worst: (
            f"load generator's event loop was {ms(worst)} late at p99 in session {session.name}, "
            f"limit {ms(limit.value)}"
        ),
    )


def cpu_finding(session: SessionReport, thresholds: Thresholds) -> Finding:
    """No load worker used up its core."""
    limit = at_most(thresholds.generator_cpu_share_max, "share")
    return _worst_worker(
        session,
        GENERATOR_CPU,
        "generator CPU",
        "CPU share",
        [worker.cpu_share_max for worker in session.workers],
        limit,
        lambda worst: (
            f"busiest load worker used {share(worst)} of its core in session {session.name}, limit {share(limit.value)}"
        ),
    )


def _worst_worker(
    session: SessionReport,
    about: str,
    subject: str,
    figure: str,
    values: Sequence[float | None],
    limit: Limit,
    why: Callable[[float], str],
) -> Finding:
    """The worst of the workers' figures against a limit; not measured unless every worker reported its own."""
    subject = f"{subject}, session {session.name}"
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return _unknown(subject, about, limit, f"a load worker of session {session.name} reported no {figure}")
    worst = max(known)
    return Finding(
        subject=subject,
        about=about,
        verdict=Verdict.PASS if limit.allows(worst) else Verdict.INCONCLUSIVE,
        observed=worst,
        limit=limit,
        why=why(worst),
    )


def lost_finding(session: SessionReport) -> Finding:
    """Every load worker was there to the end."""
    lost = [worker.worker for worker in session.workers if worker.lost]
    subject = f"load workers, session {session.name}"
    if not session.workers:
        return _unknown(
            subject,
            LOAD_WORKERS,
            at_most(0.0, "lost workers"),
            f"session {session.name} has no report of a load worker",
        )
    names = ", ".join(str(worker) for worker in lost)
    return Finding(
        subject=subject,
        about=LOAD_WORKERS,
        verdict=Verdict.INCONCLUSIVE if lost else Verdict.PASS,
        observed=float(len(lost)),
        limit=at_most(0.0, "lost workers"),
        why=f"load worker {names} was lost during session {session.name}"
        if lost
        else f"no load worker was lost in session {session.name}",
    )


def _unknown(subject: str, about: str, limit: Limit, why: str) -> Finding:
    return Finding(subject=subject, about=about, verdict=Verdict.INCONCLUSIVE, limit=limit, why=why)


def unfit_generator(evidence: RunEvidence, stages: Sequence[PhaseEvidence | None]) -> Diagnosis | None:
    sessions = [session for stage in stages if stage is not None for session in stage.sessions]
    trouble = generator_trouble(sessions, evidence.thresholds)
    if not trouble:
        return None
    if busy := busy_host(evidence, stages):
        return busy
    return Diagnosis(
        "generator_unfit",
        f"The load generator was not fit to measure: {trouble}.",
        "Raise `load_workers` of this level in the policy, or stop other work on this host; run again.",
    )
