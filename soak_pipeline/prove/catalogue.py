"""The catalogue: every fault that the gate must catch, with the criterion that must turn and the cause it must name.

Data only. A row's first turn is its main one; a further one says why the fault cannot but turn it too. Faults that
would make some windows of the fairness measurement worse than others begin with the soak's load.
"""

from __future__ import annotations

from collections.abc import Sequence

from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.verdict import LOAD_WAS_VALID, Verdict
from soak_pipeline.prove.rows import Disturbance, Fault, Row, Turn, When

CHAIN = "chain_has_no_violations"
USAGE = "usage_matches_audit"
TIMELINES = "no_timeline_is_stuck"
ROOTS = "roots_are_sealed"
SLO = "gateway_p95_is_under_slo"
READS = "reads_are_under_slo"
FAIRNESS = "quiet_tenants_are_protected"
LEAKS = "nothing_leaks"
DECISIONS = "decisions_are_correct"
FANOUT = "fanout_is_correct"
TEARDOWN = "teardown_is_silent"
LOAD = LOAD_WAS_VALID

ASKS_ABOUT_LEAKS = {"leak_min_duration_s": 20.0, "leak_horizon_h": 0.25}
"""A soak of minutes cannot look a day ahead: the headrooms are held against a quarter of an hour of it."""

ASKS_MORE_OF_READS = {"read_latency_ms_p95_max": 100.0, "verify_latency_ms_p95_max": 100.0}
"""A read as slow as the policy's own limit would make its user late for the next call, and executions look slow."""

LEAK_RUN_TIME = "90s"
LEAK_EXPECTED_S = 165.0
CLEAN_LEAK_RUN_TIME = "360s"
"""That nothing leaks takes longer to show than that something does: a count that flickers has to be outlasted."""
CLEAN_LEAK_EXPECTED_S = 440.0


def _fails(criterion: str, cause: str, because: str = "") -> Turn:
    return Turn(criterion=criterion, verdict=Verdict.FAIL, cause=cause, because=because)


def _stays_open(criterion: str, cause: str, because: str = "") -> Turn:
    return Turn(criterion=criterion, verdict=Verdict.INCONCLUSIVE, cause=cause, because=because)


def _fault(name: str, when: When = When.START, **parameters: float | str) -> Fault:
    return Fault(name=name, parameters=parameters, when=when)


def _leak(name: str, what: str, cause: str, *, reduced: bool = False, **parameters: float | str) -> Row:
    return Row(
        name=name,
        what=what,
        turns=(_fails(LEAKS, cause),),
        faults=(_fault(name, When.SOAK, **parameters),),
        run_time=LEAK_RUN_TIME,
        thresholds=ASKS_ABOUT_LEAKS,
        reduced=reduced,
        expected_s=LEAK_EXPECTED_S,
    )


CATALOGUE: tuple[Row, ...] = (
    Row(name="clean", what="nothing is planted", reduced=True),
    Row(name="clean_busy", what="nothing is planted, and half as many users again call", users=120, reduced=True),
    Row(
        name="clean_leaks",
        what="nothing is planted, and leaks are asked about",
        run_time=CLEAN_LEAK_RUN_TIME,
        thresholds=ASKS_ABOUT_LEAKS,
        expected_s=CLEAN_LEAK_EXPECTED_S,
    ),
    # Audit chain
    Row(
        name="chain_lock_skipped",
        what="two writers of one chain do not wait for each other",
        turns=(
            _fails(CHAIN, "chain_forked"),
            _fails(FANOUT, "chain_forked", "the chain of the fan-out's own tenant is asked for forks as well"),
        ),
        faults=(_fault("chain_lock_skipped"),),
        reduced=True,
    ),
    Row(
        name="chain_lock_never_released",
        what="the lock of each chain is left to expire",
        turns=(
            _fails(USAGE, "audit_worker_slow"),
            _stays_open(CHAIN, "audit_worker_slow", "calls whose rows are still to be written cannot be looked for"),
            _stays_open(ROOTS, "audit_worker_slow", "no root can reach a row that is still to be written"),
        ),
        faults=(_fault("chain_lock_never_released"),),
    ),
    Row(
        name="row_tampered",
        what="an audit row is changed after it was written",
        turns=(_fails(CHAIN, "row_changed"),),
        faults=(_fault("row_tampered"),),
        reduced=True,
    ),
    Row(
        name="row_deleted",
        what="an audit row is deleted after it was written",
        turns=(_fails(CHAIN, "acknowledged_call_lost"),),
        faults=(_fault("row_deleted"),),
    ),
    Row(
        name="audit_event_dropped",
        what="one execution in two hundred is answered and never told to the audit",
        turns=(_fails(CHAIN, "acknowledged_call_lost"),),
        faults=(_fault("audit_event_dropped"),),
    ),
    # Usage
    Row(
        name="usage_dropped",
        what="one call in two hundred is taken from the outbox and not billed",
        turns=(_fails(USAGE, "usage_lost"),),
        faults=(_fault("usage_dropped"),),
    ),
    Row(
        name="usage_billed_twice",
        what="one call in two hundred is billed twice",
        turns=(_fails(USAGE, "usage_billed_twice"),),
        faults=(_fault("usage_billed_twice"),),
        reduced=True,
    ),
    Row(
        name="usage_worker_slow",
        what="billing is slower than calls come in",
        turns=(_fails(USAGE, "usage_worker_slow"),),
        faults=(_fault("usage_worker_slow"),),
    ),
    Row(
        name="outbox_stalled",
        what="nothing is taken from the outbox any more",
        turns=(_fails(USAGE, "usage_worker_stopped"),),
        faults=(_fault("outbox_stalled"),),
    ),
    Row(
        name="dead_letter",
        what="one call in five hundred cannot be billed and ends as a dead letter",
        turns=(_fails(USAGE, "events_given_up"),),
        faults=(_fault("dead_letter"),),
    ),
    # Timelines
    Row(
        name="gateway_killed",
        what="a gateway process is killed in the middle of a call; the backfill closes what it left open",
        turns=(_fails(TIMELINES, "gateway_crashed"),),
        faults=(_fault("gateway_killed", When.SOAK, every_s=10),),
        reduced=True,
    ),
    Row(
        name="backfill_dead",
        what="a gateway process is killed in the middle of a call, and no backfill closes what it left open",
        turns=(_fails(TIMELINES, "timeline_never_closed"),),
        faults=(_fault("gateway_killed", When.SOAK, every_s=10), _fault("backfill_dead")),
    ),
    Row(
        name="timeline_not_closed",
        what="the end of some calls is lost on its way to the flight recorder; the backfill closes their timelines",
        turns=(_fails(TIMELINES, "end_event_lost"),),
        faults=(_fault("timeline_not_closed"),),
    ),
    # Roots
    Row(
        name="root_missing",
        what="one tenant gets no root",
        turns=(_fails(ROOTS, "root_missing"),),
        faults=(_fault("root_missing"),),
    ),
    Row(
        name="root_stale",
        what="one tenant's root is not renewed any more once it has 200 leaves",
        turns=(_fails(ROOTS, "root_stale"),),
        faults=(_fault("root_stale"),),
    ),
    Row(
        name="root_signature_wrong",
        what="the signature of one tenant's root is not of its content",
        turns=(_fails(ROOTS, "root_signature_wrong"),),
        faults=(_fault("root_signature_wrong"),),
        reduced=True,
    ),
    Row(
        name="root_leaf_wrong",
        what="one tenant's root is not the root of its rows",
        turns=(_fails(ROOTS, "root_hash_wrong"),),
        faults=(_fault("root_leaf_wrong"),),
    ),
    # Latency and fairness
    Row(
        name="latency_step",
        what="one execution in seven of one tenant takes 300 ms longer",
        turns=(_fails(SLO, "tenant_held_back"),),
        faults=(_fault("latency_step"),),
        reduced=True,
    ),
    Row(
        name="latency_drift",
        what="executions take longer and longer, by three quarters of a second per minute",
        turns=(_fails(SLO, "latency_drifts"),),
        # At the soak's end a hundred executions per second take a third of a second each: two thirds of the gateway's
        # slots, so that every user can still send what is due.
        faults=(_fault("latency_drift", When.SOAK, ms_per_minute=750),),
    ),
    Row(
        name="gateway_paused",
        what="no answer leaves the gateway for two seconds, once in twenty",
        turns=(_fails(SLO, "platform_stalls"),),
        faults=(_fault("gateway_paused", When.SOAK),),
    ),
    Row(
        name="reads_slow",
        what="two reads and chain verifications in five take a fifth of a second longer",
        turns=(_fails(READS, "reads_slow"),),
        faults=(_fault("reads_slow"),),
        thresholds=ASKS_MORE_OF_READS,
        reduced=True,
    ),
    Row(
        name="fair_sharing_off",
        what="thirteen slots, handed out first come, first served: a burst is everybody's queue",
        turns=(_fails(FAIRNESS, "sharing_unfair"),),
        faults=(_fault("fair_sharing_off", slots=13),),
        profile="prove_pressed",
        # One process, so that the queue does not depend on how the kernel spreads connections, and a service time that
        # makes the machine's own hardly count. The noisy tenant's 36 waiting calls are a wait of a third of a second
        # for everybody.
        settings={
            "ACP_GATEWAY_WORKERS": "1",
            "ACP_GATEWAY_QUEUE_PER_TENANT": "36",
            "ACP_SERVICE_TIME_MEDIAN_MS": "60",
            "ACP_SERVICE_TIME_SIGMA": "0.3",
        },
        expected_s=140.0,
        reduced=True,
    ),
    # What grows
    _leak(
        "gateway_rss_leak",
        "every request leaves 20 KiB behind in the gateway",
        "rss_bytes_grows",
        bytes_per_request=20_480,
    ),
    _leak(
        "worker_rss_leak",
        "the audit worker keeps 16 KiB for every event",
        "rss_bytes_grows",
        bytes_per_request=16_384,
    ),
    _leak("gateway_fd_leak", "one request in fifty leaves a file open", "open_fds_grows", reduced=True),
    _leak(
        "db_connection_leak",
        "one request in four hundred leaves a database connection open",
        "db_connections_grows",
        per_requests=400,
    ),
    _leak("redis_keys_without_ttl", "every request leaves a key that never expires", "redis_keys_grows"),
    _leak("growing_queue", "handled timeline events stay in their stream", "stream_length_grows"),
    _leak(
        "retries_accumulating",
        "more and more requests need a second attempt, after the soak's minute and a half three in ten",
        "retries_per_request_grows",
        share_per_minute=0.2,
    ),
    # Decisions and answers
    Row(
        name="attack_allowed",
        what="one attack in fifty is executed",
        turns=(_fails(DECISIONS, "attack_allowed"),),
        faults=(_fault("attack_allowed", When.SOAK),),
        reduced=True,
    ),
    Row(
        name="allowed_denied",
        what="one allowed call in two hundred is refused",
        turns=(_fails(DECISIONS, "call_denied"),),
        faults=(_fault("allowed_denied", When.SOAK),),
    ),
    Row(
        name="errors_5xx",
        what="bursts in which three executions in ten are answered 500",
        turns=(_fails(DECISIONS, "server_errors"),),
        faults=(_fault("errors_5xx", When.SOAK, every_s=10),),
    ),
    Row(
        name="throttle_storm",
        what="one quiet tenant is told 429 though it is within its limits",
        turns=(_fails(DECISIONS, "limit_too_low"),),
        faults=(_fault("throttle_storm", When.SOAK),),
    ),
    Row(
        name="tokens_expire_early",
        what="tokens are forgotten long before they say",
        turns=(_fails(DECISIONS, "call_denied"),),
        faults=(_fault("tokens_expire_early", When.SOAK),),
    ),
    Row(
        name="truncated_bodies",
        what="the second half of one answer in fifty is missing",
        turns=(_fails(DECISIONS, "bodies_broken"),),
        faults=(_fault("truncated_bodies", When.SOAK, share=0.02),),
    ),
    Row(
        name="malformed_bodies",
        what="one answer in fifty is no JSON",
        turns=(_fails(DECISIONS, "bodies_broken"),),
        faults=(_fault("malformed_bodies", When.SOAK, share=0.02),),
    ),
    # Fan-out and teardown
    Row(
        name="revoke_not_honoured",
        what="a removed permission stays in force where the agent is known already",
        turns=(_fails(FANOUT, "revocation_not_honoured"),),
        faults=(_fault("revoke_not_honoured"),),
        reduced=True,
    ),
    Row(
        name="duplicate_graph_node",
        what="one call in fifty names its agent in another spelling, which makes it a second node",
        turns=(_fails(FANOUT, "graph_collides"),),
        faults=(_fault("duplicate_graph_node"),),
    ),
    Row(
        name="rpm_zero_ignored",
        what="the stop lever, rpm_limit=0, blocks nobody",
        turns=(_fails(TEARDOWN, "stop_lever_ignored"),),
        faults=(_fault("rpm_zero_ignored"),),
        reduced=True,
    ),
    # What makes a measurement worth nothing
    Row(
        name="clock_off",
        what="the platform's clock is five minutes ahead",
        turns=(_stays_open(LOAD, "clock_off"),),
        faults=(_fault("clock_off"),),
        reduced=True,
    ),
    Row(
        name="metrics_gone",
        what="the gateway's metrics page does not answer, from the start",
        turns=(_stays_open(LEAKS, "capability_missing"),),
        faults=(_fault("metrics_gone"),),
        thresholds=ASKS_ABOUT_LEAKS,
    ),
    Row(
        name="metrics_gone_midway",
        what="the gateway's metrics page stops answering as the soak begins",
        turns=(_stays_open(LOAD, "telemetry_gap"),),
        faults=(_fault("metrics_gone", When.SOAK),),
    ),
    Row(
        name="generator_starved",
        what="the load worker gets the CPU only now and then",
        turns=(_stays_open(LOAD, "generator_starved"),),
        disturbance=Disturbance.STARVE_LOAD_WORKER,
        reduced=True,
    ),
    Row(
        name="load_worker_killed",
        what="the load worker is killed three seconds before the soak's end",
        turns=(_stays_open(LOAD, "load_worker_lost"),),
        disturbance=Disturbance.KILL_LOAD_WORKER,
    ),
    Row(
        name="run_cut_short",
        what="the load is told to stop three seconds before the soak's end",
        turns=(_stays_open(LOAD, "run_cut_short"),),
        disturbance=Disturbance.STOP_LOAD_SUPERVISOR,
    ),
    Row(
        name="telemetry_blocked",
        what="the sampler no longer reaches the metrics pages",
        turns=(_stays_open(LOAD, "telemetry_gap"),),
        disturbance=Disturbance.BLOCK_TELEMETRY,
    ),
    Row(
        name="noisy_tenant_never_presses",
        what="the noisy tenant is as quiet in the burst as before it",
        turns=(_stays_open(FAIRNESS, "noisy_tenant_never_pressed"),),
        profile="prove_calm",
    ),
)


def rows_named(names: Sequence[str], *, reduced: bool = False) -> tuple[Row, ...]:
    """The rows of these names in the catalogue's order; all, or the reduced ones, when none is named.

    Raises:
        BadInput: a name is not in the catalogue; every one is told.
    """
    known = {row.name for row in CATALOGUE}
    problems = [f"{name!r} is no row; known: {', '.join(sorted(known))}" for name in names if name not in known]
    if problems:
        raise BadInput("rows to prove", problems)
    if names:
        return tuple(row for row in CATALOGUE if row.name in names)
    return tuple(row for row in CATALOGUE if row.reduced or not reduced)
