"""Every limit that a criterion holds a figure against: names and meanings; the numbers stand in the policy file.

A run's plan freezes a copy; `soak judge --set NAME=VALUE` re-judges under another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from soak_pipeline.model.errors import BadInput

Limit = Annotated[float, Meta(ge=0)]


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
        generator_rss_growth_bytes_max: growth of a load worker's resident memory over one session (bytes).
        read_latency_ms_p95_max, verify_latency_ms_p95_max: p95 of every tenant's reads and of its verifications of the
            audit chain, from the intended start (ms). 0 asks nothing, as in plans from before there were such limits.
    """

    gateway_latency_ms_p95_max: Limit
    fairness_latency_p99_ratio_max: Limit
    fairness_error_share_rise_max: Limit
    fairness_pressure_share_min: Limit
    error_share_max: Limit
    leak_horizon_h: Limit
    leak_min_duration_s: Limit
    achieved_rate_share_min: Limit
    generator_loop_lag_ms_p99_max: Limit
    generator_cpu_share_max: Limit
    telemetry_gap_s_max: Limit
    clock_skew_s_max: Limit
    drain_s_max: Limit
    recovered_timelines_share_max: Limit
    probe_allowed_max: Limit
    host_steal_share_max: Limit
    generator_rss_growth_bytes_max: Limit
    read_latency_ms_p95_max: Limit = 0.0
    verify_latency_ms_p95_max: Limit = 0.0


LIMIT_NAMES: tuple[str, ...] = Thresholds.__struct_fields__

LIMITS_PER_TENANT: tuple[str, ...] = (
    "gateway_latency_ms_p95_max",
    "fairness_latency_p99_ratio_max",
    "fairness_error_share_rise_max",
    "error_share_max",
    "recovered_timelines_share_max",
    "probe_allowed_max",
    "read_latency_ms_p95_max",
    "verify_latency_ms_p95_max",
)
"""Limits that hold one tenant's figure, so that a tenant may have its own."""


def with_overrides(thresholds: Thresholds, changes: Mapping[str, float]) -> Thresholds:
    """A copy with some limits changed.

    Raises:
        BadInput: an unknown name, or a value that is not a finite number >= 0; every problem is named.
    """
    problems = [
        f"unknown threshold {name!r}; known: {', '.join(sorted(LIMIT_NAMES))}"
        for name in changes
        if name not in LIMIT_NAMES
    ]
    problems += [
        f"{name}={value}: a threshold is a finite number >= 0"
        for name, value in changes.items()
        if not 0 <= value < float("inf")
    ]
    if problems:
        raise BadInput("thresholds", problems)
    return msgspec.structs.replace(thresholds, **changes)
