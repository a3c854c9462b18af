"""Removes the rows that a run's tenants have left on a platform that is there for tests.

Owns whose rows are removed. Never touches another tenant, never a production target, and never the audit rows: they
are append-only by the platform's own rule, and what stays is reported.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import psycopg

from soak_pipeline.dialect.stores import Tables, Timelines
from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.target import Target
from soak_pipeline.model.tenants import SIZING_TENANT, tenant_id_of
from soak_pipeline.target.config import ResolvedTarget
from soak_pipeline.target.databases import Unreadable, connect, in_words
from soak_pipeline.target.queues import redis_client


class Cleaned(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed.

    Attributes:
        removed: rows by `database.table`, and Redis keys under `redis`.
        kept: rows that stay, by `database.table`.
        problems: what could not be cleaned, in words.
    """

    removed: dict[str, int]
    kept: dict[str, int]
    problems: tuple[str, ...]


def refuse_unless_cleanable(target: Target) -> None:
    """Stands before every removal.

    Raises:
        BadInput: the target file does not say `production: false`.
    """
    if target.production is not False:
        said = "is marked as production" if target.production else "is not marked as non-production"
        raise BadInput(
            f"target {target.name}", [f"{said}; rows are removed only where the target file says `production: false`"]
        )


def clean_run(resolved: ResolvedTarget, plan: Plan) -> Cleaned:
    """Removes what a run's tenants left in the databases and in Redis; may be repeated.

    Usage records go although their audit rows stay, so a reconciliation of the whole platform reports these tenants
    from then on.

    Args:
        resolved: the target.
        plan: of the run.

    Raises:
        BadInput: the target file does not say `production: false`, or the plan names a tenant of somebody else.
    """
    refuse_unless_cleanable(resolved.target)
    tenant_ids = _own_tenant_ids(plan)
    removed: dict[str, int] = {}
    kept: dict[str, int] = {}
    problems = []
    for database, tables in resolved.dialect.tables.items():
        dsn = resolved.dsns.get(database)
        if dsn is None:
            problems.append(f"the target gives no access to databases.{database}; its rows stay")
            continue
        try:
            with connect(dsn) as connection:
                rows = _remove(connection, resolved.dialect.timelines, tables, tenant_ids)
                removed |= {f"{database}.{table}": count for table, count in rows}
                kept |= {
                    f"{database}.{table}": _count(connection, tables.count_rows(table), tenant_ids)
                    for table in tables.kept
                }
        except psycopg.Error as error:
            problems.append(f"databases.{database}: {in_words(error, dsn)}; its rows stay")
    try:
        removed["redis"] = _remove_keys(resolved, tenant_ids)
    except Unreadable as reason:
        problems.append(f"{reason}; its keys stay")
    return Cleaned(removed=removed, kept=kept, problems=tuple(problems))


def _own_tenant_ids(plan: Plan) -> list[str]:
    """Ids of the run's tenants; they are derived from the run id, so they are nobody else's.

    Raises:
        BadInput: the plan names another tenant; a plan is a file that anybody may have changed.
    """
    foreign = [tenant.name for tenant in plan.tenants if tenant.tenant_id != tenant_id_of(plan.run_id, tenant.name)]
    if foreign:
        raise BadInput(
            f"run {plan.run_id}",
            [f"tenant {name} in plan.json is not this run's tenant; nothing was removed" for name in foreign],
        )
    of_sizing = [] if plan.sizing is None else [tenant_id_of(plan.run_id, SIZING_TENANT)]
    return [*(tenant.tenant_id for tenant in plan.tenants), *of_sizing]


def _remove(
    connection: psycopg.Connection[tuple[object, ...]], timelines: Timelines, tables: Tables, tenant_ids: list[str]
) -> Iterator[tuple[str, int]]:
    """All tables of one database in one transaction."""
    for table in tables.removed:
        if not _exists(connection, table):
            continue
        if table == timelines.table and _exists(connection, timelines.steps_table):
            yield timelines.steps_table, connection.execute(timelines.delete_steps, [tenant_ids]).rowcount
        yield table, connection.execute(tables.delete_rows(table), [tenant_ids]).rowcount


def _count(connection: psycopg.Connection[tuple[object, ...]], statement: str, tenant_ids: list[str]) -> int:
    row = connection.execute(statement, [tenant_ids]).fetchone()
    return int(str(row[0])) if row else 0


def _exists(connection: psycopg.Connection[tuple[object, ...]], table: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [table]).fetchone()
    return bool(row and row[0])


def _remove_keys(resolved: ResolvedTarget, tenant_ids: list[str]) -> int:
    """Keys of these tenants: limits, quotas, checkpoints, switches."""
    count = 0
    with redis_client(resolved) as client:
        for tenant_id in tenant_ids:
            for key in client.scan_iter(match=resolved.dialect.queues.keys_of(tenant_id), count=1_000):
                count += int(str(client.unlink(key)))
    return count
