"""What somebody with the rights of a superuser does to audit rows behind the back of the platform: two of its faults.

Owns the faults `row_tampered` and `row_deleted`. With neither set it touches nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from infra.acp import faults
from infra.acp.events import MANAGEMENT_TOOL, AuditEvent
from infra.acp.workers.runtime import Database

_PAST_THE_TRIGGERS: Final = "SET LOCAL session_replication_role = replica"
_EDIT: Final = """
    UPDATE audit_logs SET metadata_json = metadata_json || '{"note": "corrected by hand"}'
    WHERE id = (
        SELECT row.id FROM audit_counters AS counters
        CROSS JOIN LATERAL (
            SELECT id FROM audit_logs
            WHERE audit_logs.tenant_id = counters.tenant_id ORDER BY chain_sequence DESC OFFSET 20 LIMIT 1
        ) AS row
        WHERE %s OR counters.tenant_id = ANY (%s) ORDER BY counters.last_sequence DESC LIMIT 1
    )
"""
_DELETE_ROW: Final = "DELETE FROM audit_logs WHERE request_id = %s"
_DELETE_OUTBOX_ROW: Final = "DELETE FROM pending_usage_events WHERE audit_id = %s"


def tamper_if_due(database: Database) -> None:
    """Edit the metadata of a row that was written a while ago, of the tenant concerned that wrote last.

    No leaf of a root holds the metadata, so that nothing but the row's own hash tells.

    Raises:
        psycopg.Error: among others, that this role may not pass the triggers.
    """
    fault = faults.active("row_tampered")
    if fault is None or not fault.is_due():
        return
    connection = database.connection()
    with connection.transaction():
        connection.execute(_PAST_THE_TRIGGERS)
        connection.execute(_EDIT, [not fault.tenant, list(fault.tenant_ids)])


def delete_one_of(connection: Any, written: Sequence[AuditEvent]) -> None:
    """Delete a row and its outbox row in the transaction that wrote them.

    So neither a root nor a bill tells of it, only the row that follows it and the caller, who was answered that the
    call was executed. The last row of a chain is spared: nothing would follow it.

    Args:
        connection: within the transaction.
        written: the event of each new row, in the order of the chains.
    Raises:
        psycopg.Error: among others, that this role may not pass the triggers.
    """
    fault = faults.active("row_deleted")
    if fault is None:
        return
    followed = [
        event.request_id
        for event, next_event in pairwise(written)
        if event.tenant_id == next_event.tenant_id and fault.concerns(event.tenant_id) and _is_executed(event)
    ]
    if followed and fault.is_due():
        connection.execute(_PAST_THE_TRIGGERS)
        connection.execute(_DELETE_ROW, [followed[0]])
        connection.execute(_DELETE_OUTBOX_ROW, [followed[0]])


def _is_executed(event: AuditEvent) -> bool:
    return event.is_billable and event.decision == "allow" and event.tool != MANAGEMENT_TOOL
