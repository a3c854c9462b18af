"""`acp reconcile`: is every billable call billed, once, and nothing else?

Owns the comparison of `audit_logs` with `usage_records`, its report and its exit codes.  It writes nothing.

Both sides are read as streams in the order of the request id and merged, so memory does not grow with the rows.
Usage is read first: its records are made after their audit rows, so whatever is seen on that side must be on the other.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

import httpx
import psycopg
import redis

from infra.acp.events import AUDIT_DLQ, BILLING_DLQ

NOMINAL_GRACE_S: Final = 60.0
SAMPLE: Final = 10
ROWS_PER_FETCH: Final = 20_000
LEAST_WATCH_INTERVAL_S: Final = 5.0

# Byte order on both sides: the order of a uuid and of its canonical text is the same only so.
_USAGE = """
    SELECT audit_id::text FROM usage_records
    WHERE %(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s ORDER BY audit_id
"""
_AUDIT = """
    SELECT request_id COLLATE "C" AS request_id,
           action = 'execute_tool' AND decision <> 'reject' AS is_billable,
           "timestamp" < now() - make_interval(secs => %(grace_s)s) AS is_due
    FROM audit_logs
    WHERE request_id IS NOT NULL AND (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s) ORDER BY 1
"""
_OUTBOX_AGE = """
    SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 FROM pending_usage_events
    WHERE status = 'pending' AND (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s)
"""


@dataclass(slots=True)
class Report:
    """The outcome of one comparison; its fields are the keys of the JSON output."""

    tenant_id: str | None
    billable_audit_count: int = 0
    usage_record_count: int = 0
    audit_without_usage_count: int = 0
    usage_without_audit_count: int = 0
    usage_billed_twice_count: int = 0
    audit_without_usage_sample: list[str] = field(default_factory=list)
    usage_without_audit_sample: list[str] = field(default_factory=list)
    billing_dlq_length: int | None = None
    audit_dlq_length: int | None = None
    outbox_pending_age_seconds: float | None = None
    is_integrous: bool = False
    status: Literal["VERIFIED", "GAP_DETECTED", "ERROR"] = "ERROR"
    error: str | None = None
    ts: str = ""

    def conclude(self) -> None:
        """Set status from the counts: integrous only if there is no gap and no dead letter."""
        gaps = self.audit_without_usage_count, self.usage_without_audit_count, self.usage_billed_twice_count
        self.is_integrous = not any(gaps) and self.billing_dlq_length == 0 and self.audit_dlq_length == 0
        self.status = "VERIFIED" if self.is_integrous else "GAP_DETECTED"


def merge(usage_ids: Iterator[str | None], audit_rows: Iterator[tuple[str, bool, bool]], report: Report) -> None:
    """Compare two streams, each in ascending order of the id, and count into the report.

    Args:
        usage_ids: the ids of the usage records; None (a record of no call) comes last.
        audit_rows: (request id, is billable, is older than the grace).
    """
    previous: str | None = None
    audit = next(audit_rows, None)

    def unbilled(row: tuple[str, bool, bool]) -> None:
        request_id, is_billable, is_due = row
        if is_billable:
            report.billable_audit_count += 1
            if is_due:
                report.audit_without_usage_count += 1
                if len(report.audit_without_usage_sample) < SAMPLE:
                    report.audit_without_usage_sample.append(request_id)

    for usage_id in usage_ids:
        report.usage_record_count += 1
        if usage_id is not None and usage_id == previous:
            report.usage_billed_twice_count += 1
            continue
        previous = usage_id
        while audit is not None and usage_id is not None and audit[0] < usage_id:
            unbilled(audit)
            audit = next(audit_rows, None)
        if audit is not None and audit[0] == usage_id:
            report.billable_audit_count += audit[1]
            audit = next(audit_rows, None)
        else:
            report.usage_without_audit_count += 1
            if usage_id is not None and len(report.usage_without_audit_sample) < SAMPLE:
                report.usage_without_audit_sample.append(usage_id)
    while audit is not None:
        unbilled(audit)
        audit = next(audit_rows, None)


def reconcile(audit_dsn: str, usage_dsn: str, redis_url: str, tenant_id: str | None, grace_s: float) -> Report:
    """Compare both sides, of one tenant or of all, and look at the dead letters.

    Returns:
        a report; what could not be read makes its status ERROR, never a zero.
    """
    report = Report(tenant_id=tenant_id, ts=datetime.now(UTC).isoformat())
    arguments = {"tenant": tenant_id, "grace_s": grace_s}
    options = {"connect_timeout": 5, "options": "-c timezone=UTC"}
    try:
        client = redis.Redis.from_url(redis_url, socket_timeout=10, socket_connect_timeout=5)
        report.billing_dlq_length = int(client.llen(BILLING_DLQ))
        report.audit_dlq_length = int(client.xlen(AUDIT_DLQ))
        client.close()
        with (
            psycopg.connect(usage_dsn, **options) as usage,  # type: ignore[arg-type]
            psycopg.connect(audit_dsn, **options) as audit,  # type: ignore[arg-type]
        ):
            usage_rows = _stream(usage, _USAGE, arguments)
            first = next(usage_rows, None)
            audit_rows = _stream(audit, _AUDIT, arguments)
            ids = (row[0] for rows in ([first] if first else [], usage_rows) for row in rows)
            merge(ids, ((row[0], row[1], row[2]) for row in audit_rows), report)
            age = audit.execute(_OUTBOX_AGE, arguments).fetchone()
            report.outbox_pending_age_seconds = round(age[0], 3) if age else None
    except (redis.RedisError, psycopg.Error, ValueError, OSError) as error:
        report.error = f"{type(error).__name__}: {error}".strip()
        return report
    report.conclude()
    return report


def _stream(connection: psycopg.Connection[Any], query: str, arguments: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Open a cursor on the server, so its snapshot is of now, and give its rows as they are asked for."""
    cursor = connection.cursor(name="reconcile")
    cursor.itersize = ROWS_PER_FETCH
    cursor.execute(query, arguments)
    return iter(cursor)


def _publish(gateway_url: str, report: Report) -> None:
    try:
        httpx.post(f"{gateway_url.rstrip('/')}/internal/reconciliation-report", json=asdict(report), timeout=10)
    except httpx.HTTPError as error:
        print(f"acp reconcile: report not published: {error}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """`acp reconcile`: print the report as JSON.

    Returns:
        0 integrous, 1 gap or error, 2 when a database or Redis is not named.
    """
    environment = os.environ
    parser = argparse.ArgumentParser(prog="acp reconcile", description="Compare the audit chain with what was billed.")
    parser.add_argument("--tenant", metavar="UUID", help="only this tenant; default: all")
    parser.add_argument(
        "--grace-seconds",
        type=float,
        default=NOMINAL_GRACE_S,
        help="age below which a call may still wait to be billed; default: %(default)s",
    )
    parser.add_argument("--json", action="store_true", help="accepted; the output is always JSON")
    parser.add_argument("--watch", type=float, metavar="SECONDS", help="repeat and publish the report, for ever")
    parser.add_argument("--gateway-url", default=environment.get("ACP_GATEWAY_URL"), help="default: $ACP_GATEWAY_URL")
    parser.add_argument("--audit-db", default=environment.get("ACP_AUDIT_DSN"), help="default: $ACP_AUDIT_DSN")
    parser.add_argument("--usage-db", default=environment.get("ACP_USAGE_DSN"), help="default: $ACP_USAGE_DSN")
    parser.add_argument("--redis-url", default=environment.get("ACP_REDIS_URL"), help="default: $ACP_REDIS_URL")
    arguments = parser.parse_args(argv)
    needed = {
        "ACP_AUDIT_DSN": arguments.audit_db,
        "ACP_USAGE_DSN": arguments.usage_db,
        "ACP_REDIS_URL": arguments.redis_url,
    }
    missing = [name for name, value in needed.items() if not value]
    if missing:
        print(f"acp reconcile: set {', '.join(missing)}, as `acp env` prints them", file=sys.stderr)
        return 2
    while True:
        report = reconcile(
            arguments.audit_db, arguments.usage_db, arguments.redis_url, arguments.tenant, arguments.grace_seconds
        )
        print(json.dumps(asdict(report)), flush=True)
        if arguments.watch is None:
            return 0 if report.is_integrous else 1
        if arguments.gateway_url:
            _publish(arguments.gateway_url, report)
        time.sleep(max(LEAST_WATCH_INTERVAL_S, arguments.watch))
