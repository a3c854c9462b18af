"""Why a load was not valid."""

from __future__ import annotations

from collections.abc import Sequence

from soak_pipeline.criteria.criterion import Diagnosis
from soak_pipeline.criteria.host import busy_host
from soak_pipeline.criteria.validity.condition import (
    CLOCK,
    EVENT_LOOP,
    GENERATOR_CPU,
    HOST_STEAL,
    LOAD_WORKERS,
    RATE,
    RECORDS,
    STAGE,
    TELEMETRY,
)
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.stage_outputs import StageStatus
from soak_pipeline.model.verdict import Finding

_SHORT_OF_CPU = {EVENT_LOOP, GENERATOR_CPU, RATE}
"""Conditions that a host without idle CPU breaks, whoever uses it up."""

_CAUSES = {
    LOAD_WORKERS: Diagnosis(
        "load_worker_lost",
        "A load worker died.",
        "See the log of the load supervisor for why; run again.",
    ),
    STAGE: Diagnosis(
        "stage_failed",
        "A stage did not run to its end.",
        "See the run's log for why; start a new run.",
    ),
    EVENT_LOOP: Diagnosis(
        "generator_starved",
        "The load generator got too little CPU to be on time.",
        "Raise `load_workers` of this level in the policy, or stop other work on this host; run again.",
    ),
    GENERATOR_CPU: Diagnosis(
        "generator_overloaded",
        "A load worker used up its core.",
        "Raise `load_workers` of this level in the policy, or lower its `users`; run again.",
    ),
    HOST_STEAL: Diagnosis(
        "host_stolen",
        "Other guests took the host's CPU.",
        "Run on a quieter or a dedicated host.",
    ),
    CLOCK: Diagnosis(
        "clock_off",
        "The platform's clock is off.",
        "Synchronise both clocks (NTP), and run again.",
    ),
    RATE: Diagnosis(
        "load_not_sent",
        "Users waited for slow answers and could not send what was due, or the generator fell behind.",
        "If a latency criterion fails too, fix that first; else raise `load_workers` of this level in the policy.",
    ),
    TELEMETRY: Diagnosis(
        "telemetry_gap",
        "The sampler could not reach the platform for a while.",
        "Check the metrics pages; run again.",
    ),
    RECORDS: Diagnosis(
        "records_lost",
        "Request records are missing on disk.",
        "Check for a full disk; run again.",
    ),
}
"""By the condition that is not met; the first one that applies is named."""


def invalid_load(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis | None:
    """A condition of a valid load that does not hold; None when none is known."""
    if _was_cut_short(evidence):
        # Its workers are lost because of that, not the other way round.
        return Diagnosis("run_cut_short", "The run was stopped or cut short.", "See its log for why; start a new run.")
    unmet = {finding.about for finding in findings}
    if unmet & _SHORT_OF_CPU and (busy := busy_host(evidence, (evidence.baseline, evidence.burst, evidence.soak))):
        return busy
    return next((diagnosis for about, diagnosis in _CAUSES.items() if about in unmet), None)


def _was_cut_short(evidence: RunEvidence) -> bool:
    stages = (evidence.baseline, evidence.burst, evidence.agent_fanout, evidence.soak)
    return any(stage is not None and stage.status is StageStatus.CUT_SHORT for stage in stages)
