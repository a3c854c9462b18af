"""The other databases: usage, flight timelines and identity graph; and every table of each by what it is for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Usage:
    """The table of usage records.

    Attributes:
        table: its name.
        tenant_id: column.
        audit_id: column with the request id of the call that is billed.
    """

    table: str
    tenant_id: str
    audit_id: str

    @property
    def select_audit_ids(self) -> str:
        """Request ids of the records of tenant `{}`, those without one left out."""
        return f"""
            SELECT {self.audit_id} FROM {self.table} WHERE {self.tenant_id} = {{}} AND {self.audit_id} IS NOT NULL
        """

    @property
    def count_without_audit_id(self) -> str:
        """Records of tenant `%s` that name no request."""
        return f"SELECT count(*) FROM {self.table} WHERE {self.tenant_id} = %s AND {self.audit_id} IS NULL"


@dataclass(frozen=True, kw_only=True)
class Timelines:
    """The table of flight timelines, and that of their steps.

    Attributes:
        table, steps_table: their names.
        timeline_id: column of a step.
        row_id, tenant_id, status: columns of a timeline.
        in_progress, recovered: statuses of one that nothing has closed, and of one that a backfill has closed.
    """

    table: str
    steps_table: str
    timeline_id: str
    row_id: str
    tenant_id: str
    status: str
    in_progress: str
    recovered: str

    @property
    def count_by_status(self) -> str:
        """Timelines of tenant `%s` by status."""
        return f"SELECT {self.status}, count(*) FROM {self.table} WHERE {self.tenant_id} = %s GROUP BY {self.status}"

    @property
    def delete_steps(self) -> str:
        """Removes the steps of tenants `%s`."""
        return f"""
            DELETE FROM {self.steps_table} WHERE {self.timeline_id} IN (
                SELECT {self.row_id} FROM {self.table} WHERE {self.tenant_id} = ANY (%s::uuid[])
            )
        """


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The tables of the identity graph.

    Attributes:
        nodes_table, edges_table: their names.
        tenant_id: column of both.
        node_type, external_id: columns of a node.
        agent: type of a node that is an agent.
        request_id, request_id_type: column of an edge, and its type.
    """

    nodes_table: str
    edges_table: str
    tenant_id: str
    node_type: str
    external_id: str
    agent: str
    request_id: str
    request_id_type: str

    @property
    def _same_node(self) -> str:
        # Spellings that differ in case or blanks only are the same agent: two nodes for them are a collision, too.
        return f"lower(btrim({self.external_id}))"

    @property
    def count_agent_nodes(self) -> str:
        """Agents of tenant `%s` that are among `%s` and have a node."""
        return f"""
            SELECT count(DISTINCT {self._same_node}) FROM {self.nodes_table}
            WHERE {self.tenant_id} = %s AND {self.node_type} = '{self.agent}' AND {self._same_node} = ANY (%s)
        """

    @property
    def count_duplicate_nodes(self) -> str:
        """Things of tenant `%s` with more than one node."""
        return f"""
            SELECT count(*) FROM (
                SELECT 1 FROM {self.nodes_table} WHERE {self.tenant_id} = %s
                GROUP BY {self.node_type}, {self._same_node} HAVING count(*) > 1
            ) AS repeated
        """

    @property
    def count_duplicate_edges(self) -> str:
        """Requests of tenant `%s` with more than one edge."""
        return f"""
            SELECT count(*) FROM (
                SELECT 1 FROM {self.edges_table} WHERE {self.tenant_id} = %s AND {self.request_id} IS NOT NULL
                GROUP BY {self.request_id} HAVING count(*) > 1
            ) AS repeated
        """

    @property
    def count_missing_edges(self) -> str:
        """Of request ids `%s`, those without an edge in tenant `%s`."""
        return f"""
            SELECT count(*) FROM unnest(%s::text[]) AS expected (request_id)
            WHERE NOT EXISTS (
                SELECT 1 FROM {self.edges_table} WHERE {self.tenant_id} = %s
                AND {self.edges_table}.{self.request_id} = expected.request_id::{self.request_id_type}
            )
        """


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The tables of one database.

    Attributes:
        tenant_id: column of every table that is removed or kept.
        expected: the one by which preflight knows the database.
        appended: those that grow with every call, as they must.
        small: those whose size has nothing to do with how long the load goes on.
        removed: those whose rows of a tenant `soak clean` removes, in the order of removal; one that a platform does
            not have is passed over.
        kept: those whose rows stay for ever by the platform's own rule.
    """

    tenant_id: str
    expected: str
    appended: tuple[str, ...] = ()
    small: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def delete_rows(self, table: str) -> str:
        """Removes the rows of tenants `%s` from one of the tables."""
        return f"DELETE FROM {table} WHERE {self.tenant_id} = ANY (%s::uuid[])"

    def count_rows(self, table: str) -> str:
        """Rows of tenants `%s` in one of the tables."""
        return f"SELECT count(*) FROM {table} WHERE {self.tenant_id} = ANY (%s::uuid[])"
