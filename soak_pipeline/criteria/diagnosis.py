"""Likely cause and fix of a criterion that is not PASS, from the evidence.

Owns the rules that an experienced operator would go through, most specific first. It never changes a verdict, and names
a cause as likely, not as certain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from soak_pipeline.criteria.sources import why_missing
from soak_pipeline.criteria.wording import count, listed, ms, seconds, share
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.tenants import NOISY_TENANT
from soak_pipeline.model.verdict import Finding, Verdict

Diagnosis = tuple[str, str]
Rule = Callable[[RunEvidence, Sequence[Finding]], Diagnosis]


def diagnose(name: str, evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """Likely cause and fix.

    Args:
        name: of the criterion.
        evidence: of the run.
        findings: worst first; the first decides whether this is a FAIL or something that was not measured.
    """
    missing = [stage for stage in _STAGES_OF.get(name, ()) if getattr(evidence, stage) is None]
    if missing:
        return _stage_missing(evidence, missing[0])
    if findings[0].verdict is Verdict.FAIL:
        rule = _RULES.get(name, _unknown)
        return rule(evidence, [finding for finding in findings if finding.verdict is Verdict.FAIL])
    return _not_measured(name, evidence, [finding for finding in findings if finding.verdict is Verdict.INCONCLUSIVE])


_STAGES_OF: Mapping[str, tuple[str, ...]] = {
    "chain_has_no_violations": ("platform_evidence",),
    "usage_matches_audit": ("platform_evidence",),
    "no_timeline_is_stuck": ("platform_evidence",),
    "roots_are_sealed": ("platform_evidence",),
    "gateway_p95_is_under_slo": ("soak",),
    "quiet_tenants_are_protected": ("baseline", "burst"),
    "nothing_leaks": ("soak",),
    "decisions_are_correct": ("soak",),
    "fanout_is_correct": ("agent_fanout", "platform_evidence"),
    "teardown_is_silent": ("teardown",),
    "load_was_valid": ("baseline", "burst", "agent_fanout", "soak"),
}


def _stage_missing(evidence: RunEvidence, stage: str) -> Diagnosis:
    reason = why_missing(evidence, stage)
    cheap = stage in ("platform_evidence", "teardown")
    how = (
        f"Materialise {stage} of this run again, then post_run_checks and report; that sends no load."
        if cheap
        else "See the run's log for why it ended there, and start a new run."
    )
    return f"Stage {stage} did not finish: {reason}", how


def _not_measured(name: str, evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    lacking = [] if evidence.provision is None else [c for c in evidence.provision.capabilities if not c.available]
    named = [entry for entry in lacking if any(entry.name in finding.why for finding in findings)]
    if named:
        return (
            f"The target does not offer {named[0].name}: {named[0].reason}",
            f"Give the target file access to {named[0].name}, and start a new run.",
        )
    rule = _NOT_MEASURED_RULES.get(name)
    diagnosis = rule(evidence, findings) if rule else None
    if diagnosis is not None:
        return diagnosis
    return (
        f"Not everything could be measured: {findings[0].why}.",
        "Remove the reason given in each finding, then run again; where only platform_evidence lacks, materialise it "
        "again.",
    )


def _unknown(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    return f"Unknown; it shows in {listed(finding.subject for finding in findings)}.", "See the evidence files."


def _total(findings: Sequence[Finding], figure: str) -> int:
    return sum(int(value) for finding in findings if isinstance(value := finding.figures.get(figure), int | float))


def _chain(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    if _total(findings, "forks"):
        return (
            f"{count(_total(findings, 'forks'), 'fork')}: two writers held the chain of one tenant at once, so its "
            "lock was skipped, expired before the write ended, or was released by another owner.",
            "Check the chain lock in Redis (acp:audit_chain_lock:{tenant_id}): SET NX with an owner token, a time to "
            "live longer than the slowest write, and release only by its owner.",
        )
    if _total(findings, "tampered_rows"):
        return (
            f"{count(_total(findings, 'tampered_rows'), 'row')} changed after being written, or hashed from other "
            "values than were stored.",
            "Compare the sampled rows with their hashes; check that audit_logs refuses UPDATE and DELETE, and that "
            "writer and verifier hash the same timestamp and metadata.",
        )
    if _total(findings, "acknowledged_missing"):
        return (
            f"{count(_total(findings, 'acknowledged_missing'), 'acknowledged call')} left no audit row: events were "
            "lost between the gateway and the audit worker, or rows were deleted.",
            "Check that the gateway answers only after its event is in the stream, that the stream is not trimmed "
            "behind its consumer, and that audit_logs refuses DELETE.",
        )
    if _total(findings, "gaps"):
        return (
            f"{count(_total(findings, 'gaps'), 'row')} do not follow the row before them: a row between was deleted, "
            "or was written outside the lock.",
            "Look for missing chain_sequence numbers around the samples, and for writers that bypass the audit worker.",
        )
    if _total(findings, "duplicate_requests"):
        return (
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
        return (
            "The platform's verification stops before the end of the chain, so its answer says nothing about the rest.",
            "Lift the row limit of /audit/logs/verify, or verify incrementally from a checkpoint.",
        )
    return (
        "The platform's answer and the rows contradict each other.",
        "Run `acp verify-chain` for the tenant and compare its violations with the samples in chain_verify.json.",
    )


def _usage(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    platform = evidence.platform_evidence
    drain = None if platform is None else platform.drain
    took = "an unknown time" if drain is None else seconds(drain.seconds)
    pending, failed = _total(findings, "outbox_pending"), _total(findings, "outbox_failed")
    gaps, phantom = _total(findings, "audit_without_usage"), _total(findings, "usage_without_audit")
    dead = {} if platform is None else {queue: number for queue, number in platform.dead_letters.items() if number}
    if pending or (drain is not None and drain.drained is False):
        return (
            f"The usage worker is slower than the load or stopped: {count(pending, 'row')} of pending_usage_events "
            f"left {took} after the load.",
            "Check that the usage worker runs, its batch size and poll interval against the rate of billable calls; "
            "then materialise platform_evidence again and see whether it converges, and how long it took.",
        )
    if _total(findings, "billed_twice"):
        return (
            "A usage event was delivered twice and recorded twice.",
            "Make usage_records.audit_id unique and insert with ON CONFLICT DO NOTHING.",
        )
    if dead or failed:
        where = listed(f"{count(number)} in {queue}" for queue, number in dead.items()) if dead else "the outbox"
        return (
            f"Events were given up after their retries ({where}).",
            "Read the stored error of the dead letters, mend its cause, and replay them.",
        )
    if gaps or phantom:
        return (
            f"The outbox was not drained when audit and usage were compared, or events were dropped on the way "
            f"({count(gaps)} audit rows without usage, {count(phantom)} usage rows without audit, {took} after the "
            "load).",
            "Materialise platform_evidence again: if the gap closes, the worker is slow and the time to converge says "
            "by how much; if it stays, usage events are lost, and audit row and outbox row are not written in one "
            "transaction.",
        )
    return (
        f"The usage worker drains too slowly: the pipelines were empty only {took} after the load.",
        "Raise the usage worker's batch size or number, or allow more time with drain_s_max.",
    )


def _timelines(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    stuck, recovered = _total(findings, "in_progress"), _total(findings, "recovered_backfill")
    if recovered:
        return (
            f"A gateway worker crashed or was killed in the middle of {count(recovered + stuck, 'call')}, whose "
            "timelines the backfill closed later.",
            "Look for restarts of gateway processes in the telemetry and in their logs, and for the memory limit that "
            "kills them.",
        )
    return (
        f"{count(stuck, 'timeline')} never got their end event, and no backfill closed them: the backfill is not "
        "running, or its grace period is longer than the wait after the load.",
        "Check that the flight-recorder worker and its backfill run, and the gateway's log for calls that never ended.",
    )


def _roots(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    words = " ".join(finding.why for finding in findings)
    if "is missing" in words:
        return "The root sealer skips a tenant or does not run.", "Check the sealer's log for the tenants named."
    if "signature" in words:
        return (
            "The root was signed with another key than the published one, or changed after being signed.",
            "Compare signing_key_fingerprint with the published key, and check for a key rotation during the run.",
        )
    if "another hash" in words:
        return (
            "The sealer builds its tree from other rows, or in another order, than are stored.",
            "Recompute the day's tree from the rows in chain order and compare leaf by leaf.",
        )
    return (
        "The sealer stopped before the last rows, or seals less often than it should.",
        "Check the sealer's interval and its last success, then materialise platform_evidence again.",
    )


def _slo(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    tenants = [finding.subject for finding in findings]
    service = max(
        (float(value) for f in findings if isinstance(value := f.figures.get("service_ms_p95"), float)), default=0
    )
    latency = max((finding.observed or 0.0 for finding in findings), default=0.0)
    unanswered = _total(findings, "unanswered")
    if unanswered:
        return (
            f"{count(unanswered, 'call')} got no answer within the timeout: calls hang behind an exhausted pool or "
            "lock.",
            "Look at pool waiters and gateway slots at that time, and at slow statements of the databases.",
        )
    if service and latency > 1.5 * service:
        return (
            f"The platform stalls now and then: from the intended start p95 is {ms(latency)}, from the actual start "
            f"{ms(service)}; calls wait behind others.",
            "Look for pauses (garbage collection, checkpoints, locks) at the times of the worst window.",
        )
    if len(tenants) < len(evidence.plan.tenants):
        return (
            f"Only {listed(tenants)} {'is' if len(tenants) == 1 else 'are'} slow: that tenant's limit, its data or its "
            "share of the gateway's slots holds it back.",
            "Compare rate-limit and queue figures of that tenant with the others, and slow queries on its rows.",
        )
    return (
        "The gateway is saturated: every tenant is slow.",
        "Look at the gateway's CPU and slots, and at pool waiters; add gateway workers or lower the load.",
    )


def _fairness(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    if all(finding.unit == "share" for finding in findings):
        return (
            f"Quiet tenants are refused or fail while tenant {NOISY_TENANT} presses: a limit that is shared by all "
            "tenants, or a pool that the noisy one exhausts.",
            "Check for global rate limits and shared pools; give each tenant its own bucket and its own share of "
            "slots.",
        )
    return (
        f"Tenant {NOISY_TENANT} takes more than its share: gateway slots or database connections are handed out first "
        f"come, first served, or tenant {NOISY_TENANT}'s rate limit is above what the platform can isolate.",
        f"Limit the gateway's concurrency per tenant (fair sharing), or lower tenant {NOISY_TENANT}'s rpm_limit; then "
        "run again.",
    )


def _leaks(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    restarted = [finding for finding in findings if finding.unit == "restarts"]
    if len(restarted) == len(findings):
        return (
            f"{listed(finding.subject.removesuffix(' restarts') for finding in restarted)} crashed or was restarted.",
            "Look for its exit in the process log and for the kernel's out-of-memory messages, then run again.",
        )
    growing = next(finding for finding in findings if finding.unit != "restarts")
    owner, _, series = growing.subject.rpartition(" ")
    fixes = {
        "rss_bytes": "Take heap snapshots of that process an hour apart and compare; look for caches without a bound.",
        "open_fds": "List the process's open files and sockets (/proc/PID/fd) and look for what is never closed.",
        "threads": "List the process's threads by name; look for executors that are created per request.",
        "db_connections": "Look in pg_stat_activity for idle connections, by application_name; close what is opened.",
        "redis_keys": "Sample keys by prefix for those without a time to live, and give them one.",
        "redis_memory_bytes": "Sample keys by size (MEMORY USAGE) and prefix; give them a time to live or a bound.",
        "retries_per_request": "Find the call that is retried, and why it fails the first time more and more often.",
    }
    queues = "Its consumer is slower than the load: compare arrival and service rate, and give it more workers."
    return f"{owner} keeps what it should give back: {series} grows all along the soak.", fixes.get(series, queues)


def _decisions(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    if _total(findings, "wrongly_allowed"):
        return (
            "A call that policy must deny was executed: a rule is missing, a cache answered for another caller, or the "
            "policy engine fails open.",
            "Replay the operation named, with the request id in errors.log, against the policy; check what happens "
            "when the policy engine does not answer. Do not promote.",
        )
    if _total(findings, "wrongly_denied"):
        return (
            "Legitimate calls were refused: an agent was quarantined, a permission was lost, or tokens ended early.",
            "Look up the reason of the denial in the audit row of the request named in errors.log.",
        )
    if _total(findings, "client_error"):
        return (
            "The platform calls well-formed requests malformed, or an endpoint is gone.",
            "Compare status and body of the sample in errors.log with the interface; check the target's dialect.",
        )
    kinds = {outcome: _total(findings, outcome) for outcome in ("server_error", "timeout", "throttled", "malformed")}
    most = max(kinds, key=lambda outcome: kinds[outcome])
    causes = {
        "server_error": (
            "Part of the platform fails under load.",
            "Look up the samples of errors.log in the gateway's log.",
        ),
        "timeout": ("Calls hang.", "Look at pool waiters and locks at the times that errors.log gives."),
        "throttled": (
            "A rate limit is lower than the planned load, or is shared between tenants.",
            "Check rpm_limit and requests_per_second of the tenant, and limits that are not per tenant.",
        ),
        "malformed": (
            "Answers are cut short or rewritten on the way.",
            "Fetch the sample of errors.log again by hand; look for redaction that keeps the old Content-Length.",
        ),
    }
    return causes[most]


def _fanout(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    subjects = {finding.subject for finding in findings}
    if "revocation" in subjects or "re-grant" in subjects:
        return (
            "The gateway decides from a cached permission after it was changed.",
            "Invalidate the agent's permission cache on all gateway workers before the change is acknowledged.",
        )
    if "chain" in subjects:
        return (
            "Concurrent calls wrote to the chain at once: its lock does not exclude.",
            "Check the chain lock in Redis: SET NX with an owner token, time to live, release only by its owner.",
        )
    if "identity graph" in subjects:
        return (
            "Concurrent events create nodes or edges twice, or are lost.",
            "Make nodes unique by tenant, type and external id, edges by request id, and insert with ON CONFLICT.",
        )
    return (
        "Concurrent calls of one tenant block or fail: a lock is never released, or a pool is too small.",
        "Look for the chain lock's time to live, and for pool waiters during the fan-out.",
    )


def _teardown(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    lever = "the stop lever" if evidence.teardown is None else evidence.teardown.lever
    if any(finding.subject == "load after the block" for finding in findings):
        return (
            "The load generator went on after the tenants were blocked.",
            "Check for load processes that are left over, and the log of the load supervisor.",
        )
    return (
        f"The platform does not honour {lever}: it is ignored, cached, or falls back to a default limit.",
        "Check how long the gateway caches tenant limits, and whether 0 is taken as unlimited; use the kill switch as "
        "the target's stop_lever until then.",
    )


def _invalid_load(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis | None:
    subjects = " ".join(finding.subject for finding in findings)
    causes = (
        ("stage ", "The run was stopped or cut short.", "See the run's log for why, and start a new run."),
        ("load workers", "A load worker died.", "See the log of the load supervisor; run again."),
        (
            "event loop",
            "The load generator had too little CPU to be on time.",
            "Give it more load workers or another host, or take other work off this one; run again.",
        ),
        (
            "generator CPU",
            "A load worker used up its core.",
            "Use more load workers, or fewer users per worker; run again.",
        ),
        ("host steal", "The host's CPU was taken by other guests.", "Run on a quieter or dedicated host."),
        ("clock", "The platform's clock is off.", "Synchronise it (NTP), and run again."),
        (
            "rate of tenant",
            "Users waited for slow answers and could not send what was due, or the generator fell behind.",
            "If a latency criterion fails as well, mend that first; else give the generator more workers.",
        ),
        ("telemetry", "The sampler could not reach the platform for a while.", "Check the metrics pages; run again."),
        ("records", "Request records are missing on disk.", "Check for a full disk; run again."),
    )
    return next(((cause, fix) for key, cause, fix in causes if key in subjects), None)


def _pressure_missing(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis | None:
    pressure = next((finding for finding in findings if finding.subject.endswith("pressure")), None)
    if pressure is not None:
        achieved = "none" if pressure.observed is None else share(pressure.observed)
        return (
            f"Tenant {NOISY_TENANT} did not press: {achieved} of the planned rise was answered.",
            f"Check tenant {NOISY_TENANT}'s limits and the load generator's capacity; run again.",
        )
    return (
        "The windows vary too much, or hold too few calls, for the interval to be on one side of the limit.",
        "Raise the cap of pairs or the quiet tenants' rate in the profile, or remove what disturbs the host; run "
        "again.",
    )


def _few_samples(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    return (
        "There were too few executed calls, or p95 is too near its limit, for the interval to be on one side.",
        "Run longer or with more users; where the generator or the server's histogram is named, mend that first.",
    )


def _growth_open(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis | None:
    if not all("points" in finding.figures for finding in findings):
        return None
    return (
        "The soak was too short, or the series wanders too much, to exclude growth beyond the headroom.",
        "Run longer; slope_per_hour_detectable in the figures says which growth this run could have seen.",
    )


_RULES: Mapping[str, Rule] = {
    "chain_has_no_violations": _chain,
    "usage_matches_audit": _usage,
    "no_timeline_is_stuck": _timelines,
    "roots_are_sealed": _roots,
    "gateway_p95_is_under_slo": _slo,
    "quiet_tenants_are_protected": _fairness,
    "nothing_leaks": _leaks,
    "decisions_are_correct": _decisions,
    "fanout_is_correct": _fanout,
    "teardown_is_silent": _teardown,
}

_NOT_MEASURED_RULES: Mapping[str, Callable[[RunEvidence, Sequence[Finding]], Diagnosis | None]] = {
    "gateway_p95_is_under_slo": _few_samples,
    "quiet_tenants_are_protected": _pressure_missing,
    "nothing_leaks": _growth_open,
    "load_was_valid": _invalid_load,
}
