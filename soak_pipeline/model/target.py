"""The platform under test as a target file describes it: addresses, capabilities, names of secrets, never a secret."""

from __future__ import annotations

from enum import StrEnum

import msgspec

DEFAULT_DIALECT = "nominal"
"""That of the embedded platform: the documented surface."""


class StopLever(StrEnum):
    """What blocks a tenant: its `rpm_limit` set to 0, or the kill switch."""

    RPM_LIMIT = "rpm_limit"
    KILL_SWITCH = "kill_switch"


class DatabaseNames(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names of the environment variables that hold the DSNs; None where the target gives no access."""

    identity: str | None = None
    audit: str | None = None
    usage: str | None = None
    flight_recorder: str | None = None
    identity_graph: str | None = None


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A target file.

    Attributes:
        name: how runs call it; also the key of the one-soak-per-target lock.
        allow_load: without true, no load is sent there.
        embedded: true for the reference platform, which `soak run` starts and stops itself.
        production: true asks for a second, explicit confirmation; `soak clean` removes rows only where the file says
            false. None: the file does not say.
        dialect: the platform's words, by the name of their file; see `soak_pipeline.dialect`.
        gateway_url, gateway_url_env: base URL of the gateway, or the environment variable that holds it; one of both.
        load_hosts: hosts that load may be sent to when the URL comes from the environment; the file, not the
            environment, decides where load goes. With `gateway_url` it is that URL's host.
        max_users: most virtual users at a time; None leaves it to the profile.
        max_requests_per_second: most requests per second of all load processes together; None leaves it to the profile.
        execute_path: path of an execution, `{tool}` standing for the tool; None takes the dialect's.
        admin_email_env, admin_password_env: environment variables with the operator credentials.
        databases: DSNs by environment variable.
        redis_url_env: environment variable with the Redis URL.
        metrics_urls: `/metrics` pages to scrape directly; one that begins with `/` is a path at the gateway, and
            `owner=` before it says whose process it shows.
        metrics_urls_env: environment variable with more of them, comma-separated; it may be unset.
        metrics_secret_env: environment variable with the secret that the pages want, if any.
        prometheus_url: a Prometheus that scrapes the platform, if there is one.
        stop_lever: see `StopLever`.
    """

    name: str
    allow_load: bool = False
    production: bool | None = None
    embedded: bool = False
    dialect: str = DEFAULT_DIALECT
    gateway_url: str | None = None
    gateway_url_env: str | None = None
    load_hosts: tuple[str, ...] = ()
    max_users: int | None = None
    max_requests_per_second: float | None = None
    execute_path: str | None = None
    admin_email_env: str = "ACP_ADMIN_EMAIL"
    admin_password_env: str = "ACP_ADMIN_PASSWORD"
    databases: DatabaseNames = DatabaseNames()
    redis_url_env: str | None = None
    metrics_urls: tuple[str, ...] = ()
    metrics_urls_env: str | None = None
    metrics_secret_env: str | None = None
    prometheus_url: str | None = None
    stop_lever: StopLever = StopLever.RPM_LIMIT
