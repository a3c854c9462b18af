"""The audit database: rows, outbox and roots, with the statements that read them.

A column may be any SQL expression of its type, such as `NULL::smallint` where a platform has no such column.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AuditRows:
    """The table of audit rows.

    Attributes:
        table: its name.
        order: columns in whose order rows were appended; without an index on the tenant and these a stream spills.
        prev_hash, event_hash, request_id, timestamp, row_id, agent_id, reason, metadata, action, tool, decision,
            hash_version, shard, tenant_id: columns.
        executed_action: action of the row of a call that the gateway let through or stopped at the tool.
        rejected_decision: decision of such a row that is not billed.
        own_tool: tool of the rows of read calls, which execute nothing.
        executed_decisions: decisions with which a call was executed.
    """

    table: str
    order: str
    prev_hash: str
    event_hash: str
    request_id: str
    timestamp: str
    row_id: str
    agent_id: str
    reason: str
    metadata: str
    action: str
    tool: str
    decision: str
    hash_version: str
    shard: str
    tenant_id: str
    executed_action: str
    rejected_decision: str
    own_tool: str
    executed_decisions: tuple[str, ...]

    def is_billable(self, action: str, decision: str) -> bool:
        """Reconciliation's definition: an executed tool that was not rejected."""
        return action == self.executed_action and decision != self.rejected_decision

    @property
    def select_rows(self) -> str:
        """The rows of tenant `{}` in chain order.

        Thirteen columns: those that differ from row to row, then the five that many rows have in common, from `action`.
        """
        return f"""
            SELECT {self.prev_hash}, {self.event_hash}, {self.request_id}, {self.timestamp}, {self.row_id},
                   {self.agent_id}, {self.reason}, coalesce({self.metadata}, '{{{{}}}}'), {self.action}, {self.tool},
                   {self.decision}, {self.hash_version}, {self.shard}
            FROM {self.table} WHERE {self.tenant_id} = {{}} ORDER BY {self.order}
        """

    @property
    def copy_namings(self) -> str:
        """The previous hashes of tenant `{}` that are among `{}`."""
        return f"""
            COPY (SELECT {self.prev_hash} FROM {self.table}
                  WHERE {self.tenant_id} = {{}} AND {self.prev_hash} = ANY ({{}})) TO STDOUT
        """

    @property
    def count_executed_after(self) -> str:
        """Rows of executed calls of tenants `%s` after time `%s` with decisions `%s`, but for request ids `%s`."""
        return f"""
            SELECT count(*) FROM {self.table}
            WHERE {self.tenant_id} = ANY (%s) AND {self.timestamp} > %s AND {self.action} = '{self.executed_action}'
              AND {self.tool} IS DISTINCT FROM '{self.own_tool}' AND {self.decision} = ANY (%s)
              AND NOT ({self.request_id} = ANY (%s))
        """


@dataclass(frozen=True, kw_only=True)
class Outbox:
    """Usage events that are still to be delivered; in the audit database.

    Attributes:
        table: its name.
        tenant_id, status, created_at: columns.
        pending, failed: statuses.
    """

    table: str
    tenant_id: str
    status: str
    created_at: str
    pending: str
    failed: str

    @property
    def count_pending_and_failed(self) -> str:
        """Pending rows and failed rows of tenant `%s`."""
        return f"SELECT {self._pending}, {self._failed} FROM {self.table} WHERE {self.tenant_id} = %s"

    @property
    def count_pending(self) -> str:
        """Pending rows: every tenant's where `%s` is true, else those of tenants `%s`."""
        return f"""
            SELECT count(*) FROM {self.table}
            WHERE {self.status} = '{self.pending}' AND (%s OR {self.tenant_id} = ANY (%s))
        """

    @property
    def totals(self) -> str:
        """Pending rows, failed rows, and the age of the oldest pending one (seconds), of all tenants."""
        return f"""
            SELECT {self._pending}, {self._failed}, coalesce(extract(epoch FROM now() - min({self.created_at})
                   FILTER (WHERE {self.status} = '{self.pending}')), 0)::float8
            FROM {self.table}
        """

    @property
    def _pending(self) -> str:
        return f"count(*) FILTER (WHERE {self.status} = '{self.pending}')"

    @property
    def _failed(self) -> str:
        return f"count(*) FILTER (WHERE {self.status} = '{self.failed}')"


@dataclass(frozen=True, kw_only=True)
class Roots:
    """The table of published transparency roots; in the audit database.

    Attributes:
        table: its name.
        tenant_id, date, root_hash, leaf_count, signed: columns.
        key_fingerprint: column with the fingerprint of the key, for people.
        window_end: expression for the moment up to which a root covers its day.
    """

    table: str
    tenant_id: str
    date: str
    root_hash: str
    leaf_count: str
    signed: str
    key_fingerprint: str
    window_end: str

    @property
    def select_roots(self) -> str:
        """Date, hash, leaf count and signed envelope of the roots of tenant `%s`, oldest first."""
        return f"""
            SELECT {self.date}::text, {self.root_hash}, {self.leaf_count}, {self.signed}
            FROM {self.table} WHERE {self.tenant_id} = %s ORDER BY {self.date}
        """

    def count_unsealed(self, rows: AuditRows) -> str:
        """Of tenants `%s`, those whose last audit row no root covers."""
        return f"""
            SELECT count(*) FROM unnest(%s::uuid[]) AS soaked (tenant_id)
            CROSS JOIN LATERAL (
                SELECT max({rows.timestamp}) AS last_row
                FROM {rows.table} WHERE {rows.table}.{rows.tenant_id} = soaked.tenant_id
            ) AS audit
            WHERE last_row > coalesce((
                SELECT max({self.window_end}) FROM {self.table} WHERE {self.table}.{self.tenant_id} = soaked.tenant_id
            ), '-infinity')
        """
