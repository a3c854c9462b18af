"""Every limit that a criterion holds a figure against: the one place where each number stands.

A run's plan freezes a copy; `soak judge --set NAME=VALUE` re-judges under another.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from soak_pipeline.model.errors import BadInput


class Thresholds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits by criterion; each may be reached, not passed (`<=` or `>=`).

    Attributes:
        gateway_latency_ms_p95_max: p95 gateway latency of every tenant, from the intended start (ms).
        fairness_latency_p99_ratio_max: p99(burst) / p99(baseline) of every quiet tenant.
        fairness_error_share_rise_max: rise of a quiet tenant's error share from baseline to burst (share).
        fairness_pressure_share_min: achieved part of the planned rise of the noisy tenant's rate (share).
        error_share_max: requests of a tenant that ended in timeout, transport error, server error, malformed
            or unplanned throttling (share).
        leak_horizon_h: how long the platform must live without a restart (hours).
        leak_min_duration_s: a soak shorter than this cannot ask about leaks (seconds): at ordinary noise, five
            minutes never decide, fifteen do not always, thirty do.
        achieved_rate_share_min: sent part of the requests that were due (share).
        generator_loop_lag_ms_p99_max: lateness of the load workers' event loop (ms).
        generator_cpu_share_max: CPU of one load worker, of one core (share).
        telemetry_gap_s_max: longest stretch without a telemetry sample (seconds).
        clock_skew_s_max: difference between the platform's clock and ours (seconds).
        drain_s_max: time for the pipelines to empty after the load stopped (seconds).
        recovered_timelines_share_max: timelines closed by the backfill (share).
        probe_allowed_max: calls of a blocked tenant that were still served after teardown (count).
        host_steal_share_max: CPU time that the hypervisor took (share); above it the run is not valid.
    """

    gateway_latency_ms_p95_max: float = 250.0
    fairness_latency_p99_ratio_max: float = 1.20
    fairness_error_share_rise_max: float = 0.005
    fairness_pressure_share_min: float = 0.90
    error_share_max: float = 0.005
    leak_horizon_h: float = 24.0
    leak_min_duration_s: float = 1_800.0
    achieved_rate_share_min: float = 0.95
    generator_loop_lag_ms_p99_max: float = 100.0
    generator_cpu_share_max: float = 0.90
    telemetry_gap_s_max: float = 30.0
    clock_skew_s_max: float = 5.0
    drain_s_max: float = 180.0
    recovered_timelines_share_max: float = 0.0
    probe_allowed_max: float = 0.0
    host_steal_share_max: float = 0.10


def with_overrides(thresholds: Thresholds, changes: Mapping[str, float]) -> Thresholds:
    """A copy with some limits changed.

    Raises:
        BadInput: an unknown name, or a value that is not a finite number >= 0; every problem is named.
    """
    known = set(Thresholds.__struct_fields__)
    problems = [
        f"unknown threshold {name!r}; known: {', '.join(sorted(known))}" for name in changes if name not in known
    ]
    problems += [
        f"{name}={value}: a threshold is a finite number >= 0"
        for name, value in changes.items()
        if not 0 <= value < float("inf")
    ]
    if problems:
        raise BadInput("thresholds", problems)
    return msgspec.structs.replace(thresholds, **changes)
