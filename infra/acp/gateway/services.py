"""What the handlers of one gateway worker share: connections, caches and the settings.

Owns opening and closing them. It holds no logic of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg

from infra.acp.gateway.admission import AdmissionGate
from infra.acp.gateway.directory import Directory
from infra.acp.gateway.fair_slots import FairSlots
from infra.acp.gateway.journal import Journal
from infra.acp.gateway.redis_link import RedisLink
from infra.acp.gateway.tokens import TokenAuthority
from infra.acp.settings import Database, Settings
from infra.acp.signing import Signer
from infra.acp.switches import Switches
from infra.acp.switches import from_environment as switches_from_environment

#: Connections of one worker to each database; the reads of all tenants share them in turn.
POOL_SIZES: dict[Database, int] = {"identity": 2, "audit": 4, "usage": 1, "flight": 2, "graph": 1}
#: Requests of one tenant that may wait for a database connection in one worker.
READ_QUEUE_PER_TENANT = 256
STATEMENT_TIMEOUT_S = 10.0


@dataclass(slots=True)
class Services:
    """One per gateway worker process."""

    settings: Settings
    link: RedisLink
    pools: dict[Database, asyncpg.Pool]
    gate: AdmissionGate
    directory: Directory
    journal: Journal
    tokens: TokenAuthority
    slots: FairSlots
    read_slots: FairSlots
    signer: Signer
    switches: Switches


@contextlib.asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Connect to Redis and PostgreSQL, and close the connections at the end."""
    switches = switches_from_environment()
    link = RedisLink(settings.redis_url)
    await link.open()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(link.close)
        pools: dict[Database, asyncpg.Pool] = {}
        for database, size in POOL_SIZES.items():
            pools[database] = await stack.enter_async_context(
                _pool(settings.dsn(database), size, settings.process_name)
            )
        gate = AdmissionGate(link)
        yield Services(
            settings=settings,
            link=link,
            pools=pools,
            gate=gate,
            directory=Directory(pools["identity"], gate, rpm_zero=switches.rpm_zero),
            journal=Journal(link),
            tokens=TokenAuthority(settings.jwt_secret, ttl_s=settings.token_ttl_s),
            slots=FairSlots(settings.gateway_slots, queue_per_tenant=settings.gateway_queue_per_tenant),
            read_slots=FairSlots(POOL_SIZES["audit"], queue_per_tenant=READ_QUEUE_PER_TENANT),
            signer=Signer(settings.signing_key),
            switches=switches,
        )


async def _leave_as_is(connection: object) -> None:
    """Keep a returned connection as it is."""


def _pool(dsn: str, size: int, application: str) -> asyncpg.Pool:
    return asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=size,
        max_inactive_connection_lifetime=0,
        max_queries=10_000_000,
        command_timeout=STATEMENT_TIMEOUT_S,
        # No handler leaves session state behind, so a returned connection needs no round trip to be reset.
        reset=_leave_as_is,
        server_settings={"application_name": application, "jit": "off", "timezone": "UTC"},
    )
