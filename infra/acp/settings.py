"""What one process of the platform needs to know, read once from the environment.

Owns the names of the `ACP_*` variables and their nominal values. Never reads a file, never writes anything, and never
shows a secret: the repr of a Settings holds none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

Database = Literal["identity", "audit", "usage", "flight", "graph"]

DATABASE_NAMES: dict[Database, str] = {
    "identity": "acp_identity",
    "audit": "acp_audit",
    "usage": "acp_usage",
    "flight": "acp_flight_recorder",
    "graph": "acp_identity_graph",
}

#: scrypt's cost parameter N. Cheap on purpose, so that a thousand logins in a ramp do not dominate the machine.
PASSWORD_COST = 1024

DEFAULT_TENANT_ID = "00000000-0000-0000-0000-000000000001"


class SettingsError(ValueError):
    """The environment does not describe a platform; the message names every variable at fault."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One process's view of the platform.

    Every field is the environment variable `ACP_<FIELD NAME IN CAPITALS>`; durations end in `_s` or `_ms` and are given
    in that unit. Fields without a default are required. Secrets are kept out of the repr.
    """

    redis_url: str = field(repr=False)
    identity_dsn: str = field(repr=False)
    audit_dsn: str = field(repr=False)
    usage_dsn: str = field(repr=False)
    flight_dsn: str = field(repr=False)
    graph_dsn: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    #: Hex of the 32-byte ed25519 seed that signs receipts and roots.
    signing_key: str = field(repr=False)
    admin_email: str = "admin@acp.local"
    admin_password: str = field(default="", repr=False)
    #: When set, `/metrics` of the gateway answers 401 without the same value in `X-Prometheus-Secret`.
    prometheus_secret: str = field(default="", repr=False)

    #: The name this process carries in metrics and logs, such as `gateway-0` or `audit`.
    process_name: str = "acp"
    #: Loopback port of this process's own `/metrics`; 0 means none.
    metrics_port: int = 0
    #: Loopback port on which this process's faults are set and cleared; 0 means none. See `admin.py`.
    admin_port: int = 0
    #: What a request to that port must carry.
    admin_token: str = field(default="", repr=False)
    #: Directory of the shared metric files of the gateway's worker processes.
    metrics_dir: str = ""
    #: Loopback port of the process that renders the gateway's `/metrics`.
    gateway_metrics_port: int = 0

    gateway_host: str = "127.0.0.1"
    gateway_port: int = 18000
    #: Requests of all tenants that one gateway worker works on at once. At least the highest rate of one worker times
    #: the mean service time; not many more, since what is under way delays everyone else's next request.
    gateway_slots: int = 56
    #: Requests of one tenant that may wait for a slot in one gateway worker; one more is answered 429.
    gateway_queue_per_tenant: int = 1024
    max_payload_bytes: int = 10_000
    request_timeout_s: float = 2.0

    #: Tool execution time: log-normal with this median, and this standard deviation of its logarithm. p99 is 50 ms. The
    #: spread is narrow because it is noise to a comparison of p99s, which short windows on a slow machine have to bear.
    service_time_median_ms: float = 100.0
    service_time_sigma: float = 0.1
    service_time_seed: int = 20_260_731

    token_ttl_s: int = 900
    password_cost: int = PASSWORD_COST

    #: Executions that stay in the outbox at least this long before they are billed.
    outbox_grace_s: float = 10.0
    #: Tries of one outbox row before it goes to the dead letters.
    outbox_max_retries: int = 5
    audit_consumers: int = 2
    audit_batch: int = 200
    sealer_interval_s: float = 5.0
    #: A timeline in progress for longer than this is closed by the flight worker as `recovered_backfill`.
    flight_backfill_grace_s: float = 300.0
    flight_backfill_interval_s: float = 30.0

    def dsn(self, database: Database) -> str:
        """The PostgreSQL DSN of one of the five databases (a secret)."""
        return {
            "identity": self.identity_dsn,
            "audit": self.audit_dsn,
            "usage": self.usage_dsn,
            "flight": self.flight_dsn,
            "graph": self.graph_dsn,
        }[database]


def variable(field_name: str) -> str:
    """The environment variable of a field of Settings."""
    return f"ACP_{field_name.upper()}"


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Read Settings from the environment.

    Args:
        environment: defaults to the process's own.

    Raises:
        SettingsError: a required variable is missing or a value is no number; all problems are named at once.
    """
    source = os.environ if environment is None else environment
    converters = {"int": int, "float": float, "str": str}
    values: dict[str, object] = {}
    problems: list[str] = []
    for item in fields(Settings):
        name = variable(item.name)
        text = source.get(name, "")
        if text == "":
            if item.default is item.default_factory:
                problems.append(f"{name} is not set")
            continue
        try:
            values[item.name] = converters[str(item.type)](text)
        except ValueError:
            problems.append(f"{name} is not a number of type {item.type}")
    if problems:
        raise SettingsError(
            "; ".join(problems) + ". `acp up` sets these for the processes it starts, `acp env` prints them."
        )
    return Settings(**values)  # type: ignore[arg-type]
