"""`acp verify-chain`: recompute every tenant's audit chain, from the database or over HTTP.

Owns the command's arguments, output and exit code; what is a violation, `chain` decides.  It writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import httpx
import psycopg

from infra.acp.chain import GENESIS, VIOLATIONS_KEPT, ChainRow, ChainVerifier

ROWS_PER_FETCH: Final = 5_000
ROWS_PER_PAGE: Final = 10_000

_TENANTS = """
    SELECT tenant_id::text FROM (SELECT tenant_id FROM audit_counters UNION SELECT tenant_id FROM audit_logs) AS known
    ORDER BY 1
"""
_COUNTED = "SELECT row_count FROM audit_counters WHERE tenant_id = %s"
_ROWS = f"SELECT {ChainRow.COLUMNS} FROM audit_logs WHERE tenant_id = %s ORDER BY chain_sequence"


class Unreadable(RuntimeError):
    """The rows could not be read; `reason` is one word of the JSON output."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(slots=True)
class Verification:
    """What was found, over one tenant or several."""

    processed: int = 0
    total_violations: int = 0
    violations: list[dict[str, Any]] = field(default_factory=list)
    tenants: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, tenant_id: str, processed: int, error_count: int, violations: Sequence[dict[str, Any]]) -> None:
        """Take in the result of one tenant."""
        self.processed += processed
        self.total_violations += error_count
        self.tenants[tenant_id] = {"processed": processed, "violations": error_count}
        room = VIOLATIONS_KEPT - len(self.violations)
        self.violations += [{"tenant_id": tenant_id, **violation} for violation in violations[:room]]

    def as_json(self) -> dict[str, Any]:
        return {
            "valid": self.total_violations == 0,
            "processed": self.processed,
            "total_violations": self.total_violations,
            "violations": self.violations,
            "tenants": self.tenants,
        }


def verify_database(dsn: str, tenant_id: str | None = None) -> Verification:
    """Verify the chain of one tenant or of all, reading the rows once, in one snapshot.

    The writer's own row count is compared too: a row that is missing at the end of a chain leaves no gap.

    Raises:
        Unreadable: the database refused or is not there.
    """
    result = Verification()
    try:
        with psycopg.connect(dsn, connect_timeout=5, options="-c timezone=UTC") as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            tenants = [tenant_id] if tenant_id else [row[0] for row in connection.execute(_TENANTS).fetchall()]
            for tenant in tenants:
                _verify_tenant(connection, tenant, result)
    except psycopg.Error as error:
        raise Unreadable("database", str(error).strip()) from error
    return result


def _verify_tenant(connection: psycopg.Connection[Any], tenant_id: str, result: Verification) -> None:
    verifier = ChainVerifier()
    with connection.cursor(name="verify_chain") as cursor:
        cursor.itersize = ROWS_PER_FETCH
        for row in cursor.execute(_ROWS, [tenant_id]):
            verifier.walk(ChainRow(*row))
    counted = connection.execute(_COUNTED, [tenant_id]).fetchone()
    violations, errors = list(verifier.violations), verifier.error_count
    missing = (counted[0] if counted else 0) - verifier.processed_count
    if missing:
        errors += abs(missing)
        kind = "row_missing" if missing > 0 else "row_not_counted"
        violations.append({"kind": kind, "error": f"{abs(missing)} rows differ from the writer's own count"})
    result.add(tenant_id, verifier.processed_count, errors, violations)


def verify_export(base_url: str, token: str, tenant_id: str | None = None, timeout_s: float = 30.0) -> Verification:
    """Verify one tenant's chain from `GET /audit/export`, page by page from the newest row back to the first.

    Args:
        tenant_id: default is the token's own tenant.
        timeout_s: of one page.
    Raises:
        Unreadable: the gateway refused (`http_<code>`), is not there (`network`) or answered nonsense (`malformed`).
    """
    processed, errors, seen_tenant = 0, 0, tenant_id or ""
    violations: list[dict[str, Any]] = []
    newer_prev: str | None = None
    headers = {"Authorization": f"Bearer {token}"} | ({"X-Tenant-ID": tenant_id} if tenant_id else {})
    with httpx.Client(base_url=base_url, headers=headers, timeout=timeout_s) as client:
        for page in _pages(client):
            verifier = ChainVerifier(head=page[0].prev_hash)
            for row in page:
                verifier.walk(row)
            processed, errors = processed + len(page), errors + verifier.error_count
            violations += verifier.violations
            if newer_prev is not None and newer_prev != verifier.head:
                errors += 1
                violations.append(_gap(page[-1], verifier.head, newer_prev))
            newer_prev, seen_tenant = page[0].prev_hash, page[0].tenant_id
            oldest = page[0]
    if newer_prev is not None and newer_prev != GENESIS:
        errors += 1
        violations.append(_gap(oldest, GENESIS, newer_prev))
    result = Verification()
    result.add(seen_tenant, processed, errors, violations)
    return result


def _pages(client: httpx.Client) -> Iterator[list[ChainRow]]:
    """Give the export in pages, newest page first, each in the order of the chain."""
    until: datetime | None = None
    while True:
        parameters = {"limit": str(ROWS_PER_PAGE)} | ({"until": until.isoformat()} if until else {})
        try:
            answer = client.get("/audit/export", params=parameters)
        except httpx.HTTPError as error:
            raise Unreadable("network", str(error)) from error
        if answer.status_code != httpx.codes.OK:
            raise Unreadable(f"http_{answer.status_code}", answer.text[:200])
        try:
            page = [_row_of(json.loads(line)) for line in answer.text.splitlines() if line]
        except (ValueError, KeyError, TypeError) as error:
            raise Unreadable("malformed", f"a line of the export cannot be read: {error!r}") from error
        page.reverse()
        if page:
            yield page
        if len(page) < ROWS_PER_PAGE:
            return
        until = page[0].timestamp


def _row_of(item: dict[str, Any]) -> ChainRow:
    return ChainRow(
        tenant_id=item["tenant_id"],
        agent_id=item["agent_id"],
        action=item["action"],
        tool=item["tool"],
        decision=item["decision"],
        reason=item["reason"],
        request_id=item["request_id"],
        timestamp=datetime.fromisoformat(item["timestamp"]),
        metadata=item["metadata"],
        event_hash=item["event_hash"],
        prev_hash=item["prev_hash"],
        chain_shard=item["chain_shard"],
    )


def _gap(row: ChainRow, expected_prev: str, actual_prev: str) -> dict[str, Any]:
    return {
        "request_id": row.request_id,
        "shard": row.chain_shard,
        "kind": "chain_gap",
        "error": "Chain gap detected",
        "expected_prev": expected_prev,
        "actual_prev": actual_prev,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """`acp verify-chain`: print `violations=N processed=N`, or all of it as JSON.

    Returns:
        0 when every chain is intact, 1 when one is not or could not be read.
    """
    parser = argparse.ArgumentParser(prog="acp verify-chain", description="Recompute the audit chain of each tenant.")
    parser.add_argument("--tenant", metavar="UUID", help="only this tenant; default: all (over HTTP: the token's own)")
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")
    parser.add_argument("--base-url", metavar="URL", help="read through this gateway instead of the database")
    parser.add_argument("--token", default=os.environ.get("ACP_TOKEN"), help="for --base-url; default: $ACP_TOKEN")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds per page over HTTP; default: %(default)s")
    arguments = parser.parse_args(argv)
    try:
        if arguments.base_url:
            if not arguments.token:
                raise Unreadable("token", "--base-url needs a token: set ACP_TOKEN")
            result = verify_export(arguments.base_url, arguments.token, arguments.tenant, arguments.timeout)
        else:
            dsn = os.environ.get("ACP_AUDIT_DSN")
            if not dsn:
                raise Unreadable(
                    "database", "no database: set ACP_AUDIT_DSN, as `acp env` prints it, or use --base-url"
                )
            result = verify_database(dsn, arguments.tenant)
    except Unreadable as error:
        if arguments.json:
            print(json.dumps({"valid": False, "reason": error.reason, "detail": error.detail}))
        print(f"acp verify-chain: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(result.as_json()))
    else:
        print(f"violations={result.total_violations} processed={result.processed}")
        for violation in result.violations:
            print(json.dumps(violation), file=sys.stderr)
    return 0 if result.total_violations == 0 else 1
