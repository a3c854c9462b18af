"""Closes timelines that nothing else will close.

Owns the status `recovered_backfill`.  The flight recorder runs it periodically; an operator can run it by hand.
A gateway that died in the middle of a call leaves its timeline in progress; so does an end event that was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

NOMINAL_GRACE_MINUTES = 5.0

_STUCK = """
    SELECT timeline.id, timeline.tenant_id::text, timeline.request_id, timeline.started_at,
           CASE last_step.status
               WHEN 'ok' THEN 'allow' WHEN 'deny' THEN 'block' WHEN 'block' THEN 'block'
               WHEN 'pending' THEN 'escalate' ELSE 'error'
           END AS final_decision
    FROM execution_timelines AS timeline
    LEFT JOIN LATERAL (
        SELECT status FROM execution_steps
        WHERE execution_steps.timeline_id = timeline.id ORDER BY step_index DESC LIMIT 1
    ) AS last_step ON true
    WHERE timeline.status = 'in_progress' AND timeline.started_at < now() - make_interval(secs => %s)
    ORDER BY timeline.started_at
    LIMIT %s
"""
_CLOSE = """
    UPDATE execution_timelines AS timeline SET
        status = 'recovered_backfill', final_decision = stuck.final_decision,
        completed_at = now(), updated_at = now()
    FROM unnest(%s::uuid[], %s::varchar[]) AS stuck (id, final_decision)
    WHERE timeline.id = stuck.id AND timeline.status = 'in_progress'
"""


def find_stuck(connection: psycopg.Connection[Any], grace_s: float, limit: int) -> list[dict[str, Any]]:
    """List timelines in progress for longer than the grace, oldest first, with the decision inferred for each."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_STUCK, [grace_s, limit]).fetchall()


def close_stuck(connection: psycopg.Connection[Any], grace_s: float, limit: int = 1_000) -> int:
    """Close them, and say how many that were.

    `duration_ms` stays null: when the call really ended, nobody knows.
    """
    stuck = find_stuck(connection, grace_s, limit)
    if not stuck:
        return 0
    columns = [[row["id"] for row in stuck], [row["final_decision"] for row in stuck]]
    return connection.execute(_CLOSE, columns).rowcount


def main(argv: Sequence[str] | None = None) -> int:
    """`acp backfill`: list what is stuck, or with `--execute` close it.

    Returns:
        0 when done, 1 when the database refused, 2 when no database is named.
    """
    parser = argparse.ArgumentParser(prog="acp backfill", description="Close flight timelines that are stuck.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--dry-run", action="store_true", help="only list what would be closed (default)")
    mode.add_argument("--execute", action="store_true", help="close them as recovered_backfill")
    parser.add_argument("--grace-minutes", type=float, default=NOMINAL_GRACE_MINUTES, help="default: %(default)s")
    parser.add_argument("--limit", type=int, default=1_000, help="most timelines of one call; default: %(default)s")
    parser.add_argument("--database-url", default=os.environ.get("ACP_FLIGHT_DSN"), help="default: $ACP_FLIGHT_DSN")
    arguments = parser.parse_args(argv)
    if not arguments.database_url:
        print("acp backfill: no database: set ACP_FLIGHT_DSN, as `acp env` prints it", file=sys.stderr)
        return 2
    grace_s = 60 * arguments.grace_minutes
    try:
        with psycopg.connect(arguments.database_url, autocommit=True, connect_timeout=5) as connection:
            if arguments.execute:
                report = {"closed": close_stuck(connection, grace_s, arguments.limit)}
            else:
                stuck = find_stuck(connection, grace_s, arguments.limit)
                report = {"would_close": len(stuck)}
                for row in stuck:
                    print(json.dumps(row, default=str))
    except psycopg.Error as error:
        print(f"acp backfill: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report))
    return 0
