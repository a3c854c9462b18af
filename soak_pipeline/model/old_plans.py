"""Plans from before there was a policy file: the numbers that were constants of this package then.

A stored run is judged by its own plan. Plans of formats 1 and 2 do not hold every number that judged them, so the
missing ones are added as they were, whatever today's policy says. Nothing else may use these numbers.
"""

from __future__ import annotations

from typing import Any

SEALED_FROM = 2
POLICY_FROM = 3

_GATING = ("pull_request", "nightly", "pre_release")
_MIX = {"allowed": 0.60, "denied": 0.15, "read": 0.10, "verify": 0.10, "misc": 0.05}
_MIB = 1024.0 * 1024.0
_PLAN: dict[str, Any] = {
    "profile": {
        "pace_s": 2.0,
        "mix": _MIX,
        "spawn_per_second": 50.0,
        "load_workers": 1,
        "fairness": {
            "order": "abba",
            "classic_window_s": 600.0,
            "long_burst_s": 0.0,
            "quiet_mix": {"allowed": 1.0},
            "noisy_mix": _MIX,
        },
        "fanout": {"tenant": "B", "agents": 50, "calls_per_agent": 4, "revoked_agents": 10},
        "telemetry_interval_s": 5.0,
        "agents_per_tenant": 10,
        "drain_timeout_s": 180.0,
        "request_timeout_s": 10.0,
        "max_requests_per_second": 2_000.0,
    },
    "thresholds": {
        "gateway_latency_ms_p95_max": 250.0,
        "fairness_latency_p99_ratio_max": 1.20,
        "fairness_error_share_rise_max": 0.005,
        "fairness_pressure_share_min": 0.90,
        "error_share_max": 0.005,
        "leak_horizon_h": 24.0,
        "leak_min_duration_s": 1_800.0,
        "achieved_rate_share_min": 0.95,
        "generator_loop_lag_ms_p99_max": 100.0,
        "generator_cpu_share_max": 0.90,
        "telemetry_gap_s_max": 30.0,
        "clock_skew_s_max": 5.0,
        "drain_s_max": 180.0,
        "recovered_timelines_share_max": 0.0,
        "probe_allowed_max": 0.0,
        "host_steal_share_max": 0.10,
        "generator_rss_growth_bytes_max": 256.0 * _MIB,
    },
    "headrooms": {
        "rss_bytes": 1024 * _MIB,
        "uss_bytes": 1024 * _MIB,
        "open_fds": 500.0,
        "threads": 100.0,
        "db_connections": 50.0,
        "db_connections_idle_in_transaction": 50.0,
        "db_pool_waiters": 20.0,
        "stream_length": 100_000.0,
        "consumer_lag": 10_000.0,
        "outbox_pending": 50_000.0,
        "table_bytes": 2048 * _MIB,
        "dead_letter_length": 10.0,
        "redis_memory_bytes": 1024 * _MIB,
        "redis_keys": 100_000.0,
        "retries_per_request": 0.05,
        "gc_share": 0.25,
    },
    "advisory": [],
    "adjustments": [],
    "policy": None,
    "format_version": 2,
}
_NOISY_TENANT = "A"
_ONE_VALUE = "mix"


def with_old_numbers(document: Any) -> Any:
    """A decoded plan document with the numbers of its time; one of today's format comes back as it is.

    What is not shaped like a plan comes back unchanged too, for the reader to refuse.
    """
    if not isinstance(document, dict) or not _is_old(document.get("format_version", SEALED_FROM)):
        return document
    plan = _filled(document, _PLAN)
    profile, tenants = plan["profile"], document.get("tenants")
    plan.setdefault("gates", isinstance(profile, dict) and profile.get("name") in _GATING)
    if isinstance(tenants, list):
        plan["tenants"] = [
            {"is_noisy": tenant.get("name") == _NOISY_TENANT, "limits": {}, **tenant}
            if isinstance(tenant, dict)
            else tenant
            for tenant in tenants
        ]
    return plan


def _is_old(version: object) -> bool:
    return isinstance(version, int) and version < POLICY_FROM


def _filled(stored: Any, old: Any) -> Any:
    """What is stored, and beneath it what is missing there; a mix is one value, since its shares sum to 1."""
    if not isinstance(stored, dict) or not isinstance(old, dict):
        return stored
    return {
        **old,
        **{
            name: value if name.endswith(_ONE_VALUE) else _filled(value, old.get(name))
            for name, value in stored.items()
        },
    }
