"""Causes that show in the platform's rows: chain, usage, timelines, roots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soak_pipeline.analysis.series import START_TIME_JITTER_S
from soak_pipeline.criteria.criterion import Diagnosis, total
from soak_pipeline.criteria.sources import EVENTS_WAITING
from soak_pipeline.criteria.wording import count, listed, seconds
from soak_pipeline.dialect.registry import dialect_of
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.series import PROCESS_START_SERIES
from soak_pipeline.model.traffic import Operation
from soak_pipeline.model.verdict import Finding

OUTBOX = "outbox_pending"
PIPELINES = "pipelines"
"""What the finding on the drain is about (`Finding.about`), and its subject."""


def chain(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """Violations of the audit chain."""
    dialect = dialect_of(evidence.plan.target)
    table = dialect.audit_rows.table
    if total(findings, "forks"):
        return Diagnosis(
            "chain_forked",
            f"{count(total(findings, 'forks'), 'fork')}: two writers held the chain of one tenant at once, so its "
            "lock was skipped, expired before the write ended, or was released by another owner.",
            f"Check the chain lock in Redis ({dialect.queues.chain_lock}): SET NX with an owner token, a time to "
            "live longer than the slowest write, and release only by its owner.",
        )
    if total(findings, "tampered_rows"):
        return Diagnosis(
            "row_changed",
            f"{count(total(findings, 'tampered_rows'), 'row')} changed after being written, or hashed from other "
            "values than were stored.",
            f"Compare the sampled rows with their hashes; check that {table} refuses UPDATE and DELETE, and that "
            "writer and verifier hash the same timestamp and metadata.",
        )
    if total(findings, "acknowledged_missing"):
        return Diagnosis(
            "acknowledged_call_lost",
            f"{count(total(findings, 'acknowledged_missing'), 'acknowledged call')} left no audit row: events were "
            "lost between the gateway and the audit worker, or rows were deleted.",
            "Check that the gateway answers only after its event is in the stream, that the stream is not trimmed "
            f"behind its consumer, and that {table} refuses DELETE.",
        )
    if total(findings, "gaps"):
        return Diagnosis(
            "row_missing",
            f"{count(total(findings, 'gaps'), 'row')} do not follow the row before them: a row between was deleted, "
            "or was written outside the lock.",
            f"Look for missing {dialect.audit_rows.order} numbers around the samples, and for writers that bypass the "
            "audit worker.",
        )
    if total(findings, "duplicate_requests"):
        return Diagnosis(
            "event_written_twice",
            "Events were written twice: redelivered after a worker restart, without a check for the request id.",
            "Make the audit writer idempotent by request id (unique index and ON CONFLICT DO NOTHING).",
        )
    short = [
        finding
        for finding in findings
        if isinstance(checked := finding.figures.get("platform_processed_count"), int)
        and isinstance(rows := finding.figures.get("rows"), int)
        and checked < rows
    ]
    if short:
        return Diagnosis(
            "verification_cut_short",
            "The platform's verification stops before the end of the chain, so its answer says nothing about the rest.",
            f"Lift the row limit of {dialect.reads[Operation.VERIFY_CHAIN].path}, or verify incrementally from a "
            "checkpoint.",
        )
    return Diagnosis(
        "verifications_disagree",
        "The platform's answer and the rows contradict each other.",
        f"Run `{dialect.verify_command}` for the tenant and compare its violations with the samples in "
        "chain_verify.json.",
    )


def usage(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """Usage that does not match the audit rows, or a slow drain."""
    dialect = dialect_of(evidence.plan.target)
    platform = evidence.platform_evidence
    drain = None if platform is None else platform.drain
    took = "an unknown time" if drain is None else seconds(drain.seconds)
    pending, failed = total(findings, OUTBOX), total(findings, "outbox_failed")
    gaps, phantom = total(findings, "audit_without_usage"), total(findings, "usage_without_audit")
    queues = (None if platform is None else platform.dead_letters) or {}
    dead = {queue: number for queue, number in queues.items() if number}
    slow = any(finding.about == PIPELINES for finding in findings)
    if slow and _audit_backlog(evidence) > _usage_backlog(evidence):
        return Diagnosis(
            "audit_worker_slow",
            f"The audit worker is slower than the load: {count(_audit_backlog(evidence), 'event')} waited for it, "
            f"and the pipelines took {took} or more to empty after the load. Each chain is written under a lock, "
            "so one that is left to expire makes the next writer wait.",
            f"Look at the time that audit workers wait for {dialect.queues.chain_lock}, and whether its owner "
            "releases it; then at the worker's batch size and number.",
        )
    if pending or (drain is not None and drain.drained is False):
        stopped = drain is not None and drain.left.get(OUTBOX, 0) >= drain.found.get(OUTBOX, 0) > 0
        return Diagnosis(
            "usage_worker_stopped" if stopped else "usage_worker_slow",
            f"The usage worker {'has stopped' if stopped else 'is slower than the load or stopped'}: "
            f"{count(pending, 'row')} of {dialect.outbox.table} left {took} after the load"
            f"{', none fewer than when the load had just ended' if stopped else ''}.",
            "Check that the usage worker runs, its batch size and poll interval against the rate of billable calls; "
            "then materialise platform_evidence again and see whether it converges, and how long it took.",
        )
    if total(findings, "billed_twice"):
        return Diagnosis(
            "usage_billed_twice",
            "A usage event was delivered twice and recorded twice.",
            f"Make {dialect.usage.table}.{dialect.usage.audit_id} unique and insert with ON CONFLICT DO NOTHING.",
        )
    if dead or failed:
        where = listed(f"{count(number)} in {queue}" for queue, number in dead.items()) if dead else "the outbox"
        return Diagnosis(
            "events_given_up",
            f"Events were given up after their retries ({where}).",
            "Read the stored error of the dead letters, mend its cause, and replay them.",
        )
    if gaps or phantom:
        return Diagnosis(
            "usage_lost",
            f"The outbox was not drained when audit and usage were compared, or events were dropped on the way "
            f"({count(gaps)} audit rows without usage, {count(phantom)} usage rows without audit, {took} after the "
            f"load{_readings_so_far(evidence)}).",
            "Materialise platform_evidence again: if the gap closes, the worker is slow and the time to converge says "
            "by how much; if it stays, usage events are lost, and audit row and outbox row are not written in one "
            "transaction.",
        )
    drained = next((finding.why for finding in findings if finding.about == PIPELINES), f"it took {took}")
    return Diagnosis(
        "usage_drain_slow",
        f"The usage worker drains too slowly: {drained}.",
        "Raise the usage worker's batch size or number, or allow more time with drain_s_max.",
    )


def _readings_so_far(evidence: RunEvidence) -> str:
    """The gaps of each reading where there was more than one, such as `; 12 gaps at 45 s and 12 at 900 s`."""
    readings = () if evidence.platform_evidence is None else evidence.platform_evidence.readings
    counted = [(reading.gaps, reading.at_s) for reading in readings if reading.gaps is not None]
    if len(counted) < 2:
        return ""
    return f"; gaps by reading: {listed(f'{count(gaps)} at {seconds(at_s)}' for gaps, at_s in counted)}"


def timelines(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """Timelines that are stuck or were closed by the backfill."""
    stuck, recovered = total(findings, "in_progress"), total(findings, "recovered_backfill")
    if recovered and _no_gateway_restarted(evidence):
        return Diagnosis(
            "end_event_lost",
            f"The end events of {count(recovered + stuck, 'call')} were lost between gateway and flight recorder; the "
            "backfill closed their timelines later, and no gateway process restarted.",
            "Check that the flight stream is not trimmed behind its consumer, and the recorder's log for events that "
            "it gave up.",
        )
    if recovered:
        return Diagnosis(
            "gateway_crashed",
            f"A gateway worker crashed or was killed in the middle of {count(recovered + stuck, 'call')}, whose "
            "timelines the backfill closed later.",
            "Look for restarts of gateway processes in the telemetry and in their logs, and for the memory limit that "
            "kills them.",
        )
    return Diagnosis(
        "timeline_never_closed",
        f"{count(stuck, 'timeline')} never got their end event, and no backfill closed them: the backfill is not "
        "running, or its grace period is longer than the wait after the load.",
        "Check that the flight-recorder worker and its backfill run, and the gateway's log for calls that never ended.",
    )


def roots(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """Roots that are missing, stale or wrong."""

    def says(figure: str, answer: str) -> bool:
        return any(finding.figures.get(figure) == answer for finding in findings)

    if says("present", "no"):
        return Diagnosis(
            "root_missing",
            "The root sealer skips a tenant or does not run.",
            "Check the sealer's log for the tenants named.",
        )
    if says("signature_valid", "no"):
        return Diagnosis(
            "root_signature_wrong",
            "The root was signed with another key than the published one, or changed after being signed.",
            f"Compare {dialect_of(evidence.plan.target).roots.key_fingerprint} with the published key, and check for a "
            "key rotation during the run.",
        )
    if says("root_hash_matches", "no"):
        return Diagnosis(
            "root_hash_wrong",
            "The sealer builds its tree from other rows, or in another order, than are stored.",
            "Recompute the day's tree from the rows in chain order and compare leaf by leaf.",
        )
    return Diagnosis(
        "root_stale",
        "The sealer stopped before the last rows, or seals less often than it should.",
        "Check the sealer's interval and its last success, then materialise platform_evidence again.",
    )


def _audit_backlog(evidence: RunEvidence) -> int:
    """Events that waited for the audit worker: after the drain, or when it began where everything drained."""
    return dialect_of(evidence.plan.target).queues.audit_events_in(_backlog(evidence))


def _usage_backlog(evidence: RunEvidence) -> int:
    """Rows that waited for the usage worker, likewise."""
    return _backlog(evidence).get(OUTBOX, 0)


def _backlog(evidence: RunEvidence) -> dict[str, int]:
    if evidence.platform_evidence is None:
        return {}
    drain = evidence.platform_evidence.drain
    return drain.left if any(drain.left.values()) else drain.found


def _no_gateway_restarted(evidence: RunEvidence) -> bool:
    """Whether the gateway's processes were watched, and each kept its start time."""
    starts = [
        samples.values[np.isfinite(samples.values)]
        for key, samples in evidence.telemetry.items()
        if key.series == PROCESS_START_SERIES and key.owner.startswith("gateway")
    ]
    return bool(starts) and all(len(values) and np.ptp(values) <= START_TIME_JITTER_S for values in starts)


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
