"""`python -m soak_pipeline_tests.benchmarks.bench_chain_verification`: audit rows verified per second, against a COPY.

On an embedded PostgreSQL with valid rows of five tenants, of the soak's shares, readings of the same rows take turns:

- two plain `COPY ... TO STDOUT`, drained and thrown away: of the columns of the audit rows that the verification reads,
  in chain order; and of these and the keys of the usage records;
- the chain: hashes, gaps, forks, order, duplicates, and a row for every acknowledged request;
- the same, and usage against audit in both directions;
- everything: the same, and the Merkle roots of the days computed anew.

It prints audit rows per second of each, the median of the ratios to the COPY of the same rows in the same turn, CPU of
this process and its readers per row, and the peak of the memory that a reader of one tenant takes, for the greatest
tenant and for one with a tenth of its rows. A benchmark: it prints, and asserts nothing but that the rows are found
valid.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg
from psycopg import sql

from soak_pipeline.dialect.platforms import nominal
from soak_pipeline.model.plan import TenantPlan
from soak_pipeline.model.target import Target
from soak_pipeline.model.tenants import split_by_share
from soak_pipeline.target.audit import TenantAudit, read_tenant
from soak_pipeline.target.audit_readers import read_tenants
from soak_pipeline.target.databases import connect
from soak_pipeline_tests.infra.servers import Servers, running_servers
from soak_pipeline_tests.policies import SHARES
from soak_pipeline_tests.target import rows
from soak_pipeline_tests.target.rows import Call

TURNS = 5
TENTH = 10
LEAST_ROWS = 1_000
_STEP = timedelta(milliseconds=5)
_AGENTS = [str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))) for number in range(20)]
_CHUNK_BYTES = 65_536
_COLUMNS = (
    'prev_hash, event_hash, request_id, "timestamp", id, agent_id, reason, metadata_json, action, tool, decision,'
    " hash_version, chain_shard"
)
_PLAIN_COPIES = {
    "audit": f"COPY (SELECT {_COLUMNS} FROM audit_logs WHERE tenant_id = {{}} ORDER BY chain_sequence) TO STDOUT",
    "usage": "COPY (SELECT audit_id FROM usage_records WHERE tenant_id = {}) TO STDOUT",
}
_COPY_AUDIT, _COPY_BOTH = "COPY of audit", "COPY of audit and usage"
_FILL = f"COPY audit_logs (org_id, tenant_id, {_COLUMNS}) FROM STDIN"
_FILL_USAGE = 'COPY usage_records (id, tenant_id, tool, audit_id, units, cost, "timestamp") FROM STDIN'
_DROP_INDEXES = """
    ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_pkey;
    DROP INDEX audit_logs_request, audit_logs_time
"""
_DROP_USAGE_INDEXES = """
    ALTER TABLE usage_records DROP CONSTRAINT usage_records_pkey, DROP CONSTRAINT usage_records_audit_id_key
"""
_PUBLISH = """
    INSERT INTO transparency_roots (tenant_id, root_date, root_hash, leaf_count, signed_root_payload,
                                    leaf_range_start_id, leaf_range_end_id, window_end, signing_key_fingerprint)
    SELECT tenant_id, ("timestamp" AT TIME ZONE 'UTC')::date, '', count(*), '{}', tenant_id, tenant_id, now(), ''
    FROM audit_logs GROUP BY 1, 2
"""


@dataclass(frozen=True)
class Filled:
    """A tenant whose rows are in the database.

    Attributes:
        acknowledged: file with the keys of its requests.
    """

    name: str
    tenant_id: str
    count: int
    acknowledged: Path

    def planned(self) -> TenantPlan:
        """The tenant as a plan has it."""
        share = SHARES.get(self.name, 0.0)
        return TenantPlan(name=self.name, tenant_id=self.tenant_id, share=share, soak_users=0, rpm_limit=0)

    def calls(self) -> Iterator[Call]:
        """Six calls in ten allowed, two denied, two reads, as the reference platform writes them."""
        chance = random.Random(self.name)
        for number in range(self.count):
            common = {
                "request_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
                "timestamp": rows.START + number * _STEP,
                "agent_id": _AGENTS[number % len(_AGENTS)],
            }
            kind = number % 10
            if kind < 6:
                metadata: dict[str, object] = {"risk": 0.12, "latency_ms": round(chance.uniform(5, 40), 3)}
                yield Call(**common, reason=None, metadata=metadata)  # type: ignore[arg-type]
            elif kind < 8:
                metadata = {"status": 403, "findings": ["prompt_injection"]}
                yield Call(**common, decision="block", reason="prompt_injection", metadata=metadata)  # type: ignore[arg-type]
            else:
                metadata = {"method": "GET", "path": "/audit/logs", "status": 200}
                yield Call(**common, tool="management_api", reason=None, metadata=metadata)  # type: ignore[arg-type]

    def acknowledged_keys(self) -> Iterator[bytes]:
        with self.acknowledged.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk


def fill(dsns: dict[str, str], tenants: list[Filled]) -> None:
    """Rows of all tenants, dealt in turn, a usage record of each, and the file of the keys.

    Indexes that no reading uses are dropped before: random keys by the million are slow to insert.
    """
    with (
        psycopg.connect(dsns["audit"], autocommit=True) as audit,
        psycopg.connect(dsns["usage"], autocommit=True) as usage,
    ):
        audit.execute(_DROP_INDEXES)
        usage.execute(_DROP_USAGE_INDEXES)
        with audit.cursor().copy(_FILL) as audit_copy, usage.cursor().copy(_FILL_USAGE) as usage_copy:
            files = [tenant.acknowledged.open("wb") for tenant in tenants]
            chains = [rows.chain_of(tenant.tenant_id, tenant.calls()) for tenant in tenants]
            for turn in itertools.zip_longest(*chains):
                for tenant, file, row in zip(tenants, files, turn, strict=True):
                    if row is None:
                        continue
                    audit_copy.write(f"{tenant.tenant_id}\t{tenant.tenant_id}\t".encode() + rows.copy_line(row))
                    usage_copy.write(
                        f"{row.row_id}\t{tenant.tenant_id}\tread_file\t{row.request_id}\t1\t0.001\t{row.timestamp}\n"
                    )
                    file.write(uuid.UUID(row.request_id).bytes)
            for file in files:
                file.close()
        audit.execute("VACUUM ANALYZE audit_logs")
        usage.execute("VACUUM ANALYZE usage_records")


def drain(dsns: dict[str, str], tenants: list[Filled]) -> None:
    """Reads the rows of all tenants from the databases that are given, and throws them away."""
    for database, dsn in dsns.items():
        with connect(dsn) as connection:
            connection.execute("SET TIME ZONE 'UTC'")
            for tenant in tenants:
                statement = sql.SQL(_PLAIN_COPIES[database]).format(tenant.tenant_id)
                with connection.cursor().copy(statement) as copy:
                    for _ in copy:
                        pass


def read(dsns: dict[str, str], tenants: list[Filled]) -> None:
    """Verifies the rows of all tenants, which must be valid."""
    audits = read_tenants(
        dsns,
        Target(name="benchmark"),
        {tenant.name: tenant.acknowledged_keys() for tenant in tenants},
        [tenant.planned() for tenant in tenants],
        public_key_pem=None,
        directory=tenants[0].acknowledged.parent,
    )
    for tenant, audit in zip(tenants, audits, strict=True):
        check(tenant, audit, dsns)


def check(tenant: Filled, audit: TenantAudit, dsns: dict[str, str]) -> None:
    """All rows of a tenant were read and found valid."""
    chain, books = audit.chain.independent, audit.reconciliation
    assert chain is not None, audit.chain.reason
    assert (chain.rows, chain.acknowledged, chain.samples) == (tenant.count, tenant.count, ())
    assert (chain.duplicate_requests, chain.acknowledged_missing) == (0, 0)
    assert "usage" not in dsns or (books.audit_without_usage, books.usage_without_audit) == (0, 0)


def with_roots(dsns: dict[str, str], are_published: bool) -> None:
    """Publishes a root of every day of every tenant, or none; what they say makes no difference to the work."""
    with psycopg.connect(dsns["audit"]) as connection:
        connection.execute("TRUNCATE transparency_roots")
        if are_published:
            connection.execute(_PUBLISH)


def measure(dsns: dict[str, str], tenants: list[Filled], turns: int) -> None:
    """Lets the readings take turns, and prints their figures."""
    only_audit = {"audit": dsns["audit"]}
    # Name: what is done, whether roots are published, and the COPY of the same rows.
    readings: dict[str, tuple[Callable[[], None], bool, str]] = {
        _COPY_AUDIT: (partial(drain, only_audit, tenants), False, _COPY_AUDIT),
        _COPY_BOTH: (partial(drain, dsns, tenants), False, _COPY_BOTH),
        "chain": (partial(read, only_audit, tenants), False, _COPY_AUDIT),
        "chain and usage": (partial(read, dsns, tenants), False, _COPY_BOTH),
        "everything": (partial(read, dsns, tenants), True, _COPY_BOTH),
    }
    count = sum(tenant.count for tenant in tenants)
    wall_s: dict[str, list[float]] = {name: [] for name in readings}
    cpu_s: dict[str, list[float]] = {name: [] for name in readings}
    for _ in range(turns):
        for name, (reading, need_roots, _) in readings.items():
            with_roots(dsns, need_roots)
            began_s, cpu_began_s = time.perf_counter(), cpu_used_s()
            reading()
            wall_s[name].append(time.perf_counter() - began_s)
            cpu_s[name].append(cpu_used_s() - cpu_began_s)
    print(f"{count:,} audit rows of {len(tenants)} tenants, median of {turns} turns")
    print(f"{'':24}{'rows/s':>10}{'of the COPY':>14}{'lowest':>9}{'highest':>9}{'client CPU':>14}")
    for name, (_, _, same_rows) in readings.items():
        ratios = [copy / own for copy, own in zip(wall_s[same_rows], wall_s[name], strict=True)]
        print(
            f"{name:24}{count / statistics.median(wall_s[name]):10,.0f}{statistics.median(ratios):13.0%}"
            f"{min(ratios):10.0%}{max(ratios):9.0%}{statistics.median(cpu_s[name]) / count * 1e6:10.2f} us/row"
        )


def cpu_used_s() -> float:
    """CPU time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def peak_rss_bytes(dsns: dict[str, str], tenant: Filled) -> int:
    """Peak resident memory of a process that reads one tenant and does nothing else."""
    question = {"dsns": dsns, "tenant": {**vars(tenant), "acknowledged": str(tenant.acknowledged)}}
    command = [sys.executable, "-m", "soak_pipeline_tests.benchmarks.bench_chain_verification", "--peak"]
    # The question holds a password, so it is asked through a pipe.
    return int(subprocess.run(command, input=json.dumps(question), text=True, capture_output=True, check=True).stdout)


def answer_peak() -> None:
    """The other end of `peak_rss_bytes`."""
    question = json.load(sys.stdin)
    dsns = question["dsns"]
    tenant = Filled(**{**question["tenant"], "acknowledged": Path(question["tenant"]["acknowledged"])})
    check(tenant, read_tenant(dsns, nominal.DIALECT, tenant.planned(), tenant.acknowledged_keys()), dsns)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def tenants_of(count: int, directory: Path) -> list[Filled]:
    """The soak's tenants, which have the rows together by their shares, and one with a tenth of the greatest's."""
    sizes = split_by_share(count, SHARES)
    sizes["tenth"] = max(sizes.values()) // TENTH
    return [
        Filled(name, str(uuid.uuid5(uuid.NAMESPACE_OID, f"tenant {name}")), size, directory / f"{name}.keys")
        for name, size in sizes.items()
    ]


def run(servers: Servers, count: int, turns: int) -> None:
    """Fills, measures and prints."""
    dsns = {"audit": servers.dsn("acp_audit"), "usage": servers.dsn("acp_usage")}
    with tempfile.TemporaryDirectory(prefix="soak-bench-") as directory:
        *tenants, tenth = tenants_of(count, Path(directory))
        began_s = time.perf_counter()
        fill(dsns, [*tenants, tenth])
        print(f"filled {count + tenth.count:,} rows in {time.perf_counter() - began_s:.0f} s")
        measure(dsns, tenants, turns)
        with_roots(dsns, True)
        for tenant in (tenth, max(tenants, key=lambda tenant: tenant.count)):
            peak = peak_rss_bytes(dsns, tenant)
            print(f"peak memory of everything, one tenant of {tenant.count:9,} rows: {peak / 2**20:.0f} MiB")


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description="Rows verified per second, against a plain COPY of the same rows.")
    parser.add_argument("--rows", type=int, default=500_000, help="of all tenants together (default: 500,000)")
    parser.add_argument("--turns", type=int, default=TURNS, help=f"of the readings (default: {TURNS})")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        answer_peak()
        return
    if arguments.rows < LEAST_ROWS:
        parser.error(f"--rows: at least {LEAST_ROWS}")
    with running_servers() as servers:
        run(servers, arguments.rows, arguments.turns)


if __name__ == "__main__":
    main()
