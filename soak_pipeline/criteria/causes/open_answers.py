"""Why an answer stayed open, where the criterion knows more than that something is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from soak_pipeline.criteria.causes.figures import Diagnosis, total
from soak_pipeline.criteria.generator_health import generator_trouble
from soak_pipeline.criteria.host import idle_share_during
from soak_pipeline.criteria.sources import EVENTS_WAITING
from soak_pipeline.criteria.wording import count, share
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.stage_outputs import PhaseEvidence, StageStatus
from soak_pipeline.model.verdict import Finding

IDLE_SHARE_LEAST = 0.05
"""A host with less idle CPU, of all its cores, has none to spare (share)."""


def invalid_load(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis | None:
    """A condition of a valid load that does not hold; None when none is known."""
    if _was_cut_short(evidence):
        # Its workers are lost because of that, not the other way round.
        return Diagnosis("run_cut_short", "The run was stopped or cut short.", "See its log for why; start a new run.")
    subjects = [finding.subject for finding in findings]
    if any(key in subject for subject in subjects for key in ("event loop", "generator CPU", "rate of tenant")) and (
        busy := _busy_host(evidence, (evidence.baseline, evidence.burst, evidence.soak))
    ):
        return busy
    causes = (
        ("load workers", "load_worker_lost", "A load worker died.", "See the log of the load supervisor; run again."),
        ("stage ", "stage_failed", "A stage did not run to its end.", "See the run's log for why; start a new run."),
        (
            "event loop",
            "generator_starved",
            "The load generator had too little CPU to be on time.",
            "Give it more load workers or another host, or take other work off this one; run again.",
        ),
        (
            "generator CPU",
            "generator_overloaded",
            "A load worker used up its core.",
            "Use more load workers, or fewer users per worker; run again.",
        ),
        (
            "host steal",
            "host_stolen",
            "The host's CPU was taken by other guests.",
            "Run on a quieter or dedicated host.",
        ),
        ("clock", "clock_off", "The platform's clock is off.", "Synchronise it (NTP), and run again."),
        (
            "rate of tenant",
            "load_not_sent",
            "Users waited for slow answers and could not send what was due, or the generator fell behind.",
            "If a latency criterion fails as well, mend that first; else give the generator more workers.",
        ),
        (
            "telemetry",
            "telemetry_gap",
            "The sampler could not reach the platform for a while.",
            "Check the metrics pages; run again.",
        ),
        ("records", "records_lost", "Request records are missing on disk.", "Check for a full disk; run again."),
    )
    return next((Diagnosis(cause, words, fix) for key, cause, words, fix in causes if _begins(subjects, key)), None)


def _begins(subjects: Iterable[str], key: str) -> bool:
    """Whether a subject begins with the words; further on it names a tenant, which may be called anything."""
    return any(subject.startswith(key) for subject in subjects)


def _was_cut_short(evidence: RunEvidence) -> bool:
    stages = (evidence.baseline, evidence.burst, evidence.agent_fanout, evidence.soak)
    return any(stage is not None and stage.status is StageStatus.CUT_SHORT for stage in stages)


def rows_late(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis | None:
    """Audit rows that were not written yet when the platform was read; None where something else is missing."""
    waiting = max((total([finding], EVENTS_WAITING) for finding in findings), default=0)
    if not waiting:
        return None
    return Diagnosis(
        "audit_worker_slow",
        f"The audit worker is slower than the load: {count(waiting, 'event')} waited for it when the audit was read.",
        "Look at the time that audit workers wait for the chain locks, at their batch size and number; materialise "
        "platform_evidence again once the stream is empty.",
    )


def no_pressure(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis | None:
    """A host without CPU, an unfit generator, a noisy tenant that never pressed, or windows too noisy to tell."""
    if busy := _busy_host(evidence, (evidence.baseline, evidence.burst)):
        return busy
    if unfit := _unfit_generator(evidence, (evidence.baseline, evidence.burst)):
        return unfit
    noisy = evidence.plan.noisy_tenant.name
    pressure = next((finding for finding in findings if finding.subject == f"tenant {noisy} pressure"), None)
    if pressure is not None:
        achieved = "none" if pressure.observed is None else share(pressure.observed)
        return Diagnosis(
            "noisy_tenant_never_pressed",
            f"Tenant {noisy} did not press: {achieved} of the planned rise was answered.",
            f"Check tenant {noisy}'s limits and the load generator's capacity; run again.",
        )
    return Diagnosis(
        "windows_vary",
        "The windows vary too much, or hold too few calls, for the interval to be on one side of the limit.",
        "Run again when nothing else uses the host; where it stays open, take a larger profile (--profile: longer "
        "windows, more pairs), or ten minutes of baseline and of burst (--fairness-order classic).",
    )


def few_samples(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """An unfit generator, a Prometheus that was away, a host without CPU, or an interval that straddles the limit."""
    if unfit := _unfit_generator(evidence, (evidence.soak,)):
        return unfit
    if findings[0].subject == "Prometheus":
        return Diagnosis(
            "prometheus_lost",
            "The target's Prometheus was away, or did not scrape the gateway, during the soak.",
            "Where it has the soak by now, materialise platform_evidence again; else mend it and run again.",
        )
    if busy := _busy_host(evidence, (evidence.soak,)):
        return busy
    return Diagnosis(
        "too_few_samples",
        "There were too few executed calls, or p95 is too near its limit, for the interval to be on one side.",
        "Run longer or with more users; where the generator or the server's histogram is named, mend that first.",
    )


def _unfit_generator(evidence: RunEvidence, stages: Sequence[PhaseEvidence | None]) -> Diagnosis | None:
    sessions = [session for stage in stages if stage is not None for session in stage.sessions]
    trouble = generator_trouble(sessions, evidence.thresholds)
    if not trouble:
        return None
    if busy := _busy_host(evidence, stages):
        return busy
    return Diagnosis(
        "generator_unfit",
        f"The load generator was not fit to measure: {trouble}.",
        "Give it more load workers or another host, or take other work off this one; run again.",
    )


def _busy_host(evidence: RunEvidence, stages: Iterable[PhaseEvidence | None]) -> Diagnosis | None:
    """A host without idle CPU: everything on it waits, and more load workers would make it worse."""
    idle = idle_share_during(evidence, stages)
    if idle is None or idle >= IDLE_SHARE_LEAST:
        return None
    return Diagnosis(
        "host_busy",
        f"The load generator's host had {share(idle)} of its CPU idle during the load, so everything on it waited.",
        "Stop what else runs there, or put platform and load generator on different hosts; run again. More load "
        "workers would not help.",
    )


def growth_open(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis | None:
    """Growth that can neither be shown nor excluded; None when a series is missing."""
    if not all("points" in finding.figures for finding in findings):
        return None
    return Diagnosis(
        "growth_open",
        "The soak was too short, or the series wanders too much, to exclude growth beyond the headroom.",
        "Run longer; slope_per_hour_detectable in the figures says which growth this run could have seen.",
    )
