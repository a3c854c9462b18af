"""Likely causes of growth, of restarts, and of an answer that stays open."""

from __future__ import annotations

from collections.abc import Sequence

from soak_pipeline.criteria.criterion import Diagnosis
from soak_pipeline.criteria.wording import listed, quantity
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.verdict import Finding

RESTARTS = "restarts"
"""What the finding on a restarted process is about (`Finding.about`); the others are about their series."""


def leaks(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """A resource that grows, or a process that restarted."""
    restarted = [finding for finding in findings if finding.about == RESTARTS]
    if len(restarted) == len(findings):
        return Diagnosis(
            "process_restarted",
            f"{listed(finding.subject.removesuffix(' restarts') for finding in restarted)} crashed or was restarted.",
            "Look for its exit in the process log and for the kernel's out-of-memory messages, then run again.",
        )
    growing = next(finding for finding in findings if finding.about != RESTARTS)
    series = growing.about
    owner = growing.subject.removesuffix(f" {series}")
    fixes = {
        "rss_bytes": "Take heap snapshots of that process an hour apart and compare; look for caches without a bound.",
        "uss_bytes": "Take heap snapshots of that process an hour apart and compare; look for caches without a bound.",
        "gc_share": "Count the objects that the collector tracks, by type, an hour apart; what grows is what it walks.",
        "open_fds": "List the process's open files and sockets (/proc/PID/fd) and look for what is never closed.",
        "threads": "List the process's threads by name; look for executors that are created per request.",
        "db_connections": "Look in pg_stat_activity for idle connections, by application_name; close what is opened.",
        "db_connections_idle_in_transaction": "Look in pg_stat_activity for the query after which they wait: its "
        "commit or rollback is missing on some path.",
        "table_bytes": "Look for a transaction that holds vacuum back (xact_start in pg_stat_activity), and whether "
        "rows go once they are done with.",
        "redis_keys": "Sample keys by prefix for those without a time to live, and give them one.",
        "redis_memory_bytes": "Sample keys by size (MEMORY USAGE) and prefix; give them a time to live or a bound.",
        "retries_per_request": "Find the call that is retried, and why it fails the first time more and more often.",
    }
    queues = "Its consumer is slower than the load: compare arrival and service rate, and give it more workers."
    return Diagnosis(
        # Memory of its own is part of the resident memory: one cause, whichever of the two grows faster.
        f"{'rss_bytes' if series == 'uss_bytes' else series}_grows",
        f"{owner} keeps what it should give back: {series} grows{_rate(growing)} all along the soak.",
        fixes.get(series, queues),
    )


def _rate(growing: Finding) -> str:
    slope = growing.figures.get("slope_per_hour")
    return f" by {quantity(float(slope), growing.unit)} per hour" if isinstance(slope, int | float) else ""


def growth_open(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis | None:
    """Growth that can neither be shown nor excluded; None when a series is missing."""
    if not all("points" in finding.figures for finding in findings):
        return None
    return Diagnosis(
        "growth_open",
        "The soak was too short, or the series wanders too much, to exclude growth beyond the headroom.",
        "Run longer; slope_per_hour_detectable in the figures says which growth this run could have seen.",
    )
