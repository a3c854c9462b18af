"""Finds out, before any load, what can be measured on a target and what is missing.

Owns the list of capabilities. What no run can do without ends it here; anything else is a capability that is absent
with its reason, so that the criterion it belongs to is known to be inconclusive before the first hour is spent.
"""

from __future__ import annotations

import resource
import time
from email.utils import parsedate_to_datetime

import httpx

from soak_pipeline.model.errors import BadInput, TargetFailed
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.stage_outputs import Capability
from soak_pipeline.model.target import Target
from soak_pipeline.target.config import ResolvedTarget
from soak_pipeline.target.databases import Unreadable, no_access, reading
from soak_pipeline.target.gateway import Gateway, GatewayRefused, GatewayUnreachable
from soak_pipeline.target.metrics import fetch_page, metrics_client, parse_metrics
from soak_pipeline.target.queues import NO_ACCESS as NO_REDIS
from soak_pipeline.target.queues import redis_client

DATABASES = ("identity", "audit", "usage", "flight_recorder", "identity_graph")
PAGES_TIMEOUT_S = 10.0
_CLOCK_SAMPLES = 5
_DATE_RESOLUTION_S = 2.0
_OTHER_OPEN_FILES = 200
_NO_PAGES = "the target names no metrics page (metrics_urls)"


def preflight(
    resolved: ResolvedTarget, plan: Plan, *, transport: httpx.BaseTransport | None = None
) -> tuple[tuple[Capability, ...], float | None]:
    """Tries everything that the run will need, reading only.

    Args:
        resolved: the target.
        plan: how many connections its load needs is held against this machine's limit.
        transport: for tests.

    Returns:
        The capabilities, and the platform's clock minus ours (seconds), None when it shows no clock.

    Raises:
        BadInput: the gateway cannot be reached or refuses the operator, or this machine allows too few open files.
    """
    _require_open_files(plan)
    require_reachable(resolved, transport=transport)
    prometheus = _prometheus(resolved)
    with Gateway(resolved, transport=transport) as gateway:
        capabilities = [
            Capability(name="gateway", available=True),
            Capability(name="operator_credentials", available=True),
            *(_database(resolved, name) for name in DATABASES),
            _redis(resolved),
            *_metrics(resolved, has_prometheus=any(capability.available for capability in prometheus)),
            *prometheus,
        ]
        return tuple(capabilities), clock_skew_s(resolved, gateway)


def ruled_out(target: Target) -> tuple[Capability, ...]:
    """What the target file alone rules out, with preflight's reasons; connects to nothing."""
    missing = [(f"database.{name}", no_access(name)) for name in DATABASES if getattr(target.databases, name) is None]
    if target.redis_url_env is None:
        missing.append(("redis", NO_REDIS))
    if not target.metrics_urls and target.metrics_urls_env is None:
        missing.append(("metrics", _NO_PAGES))
    return tuple(Capability(name=name, available=False, reason=reason) for name, reason in missing)


def require_reachable(resolved: ResolvedTarget, *, transport: httpx.BaseTransport | None = None) -> None:
    """Makes sure that the gateway answers and accepts the operator.

    Raises:
        BadInput: it does not; nothing has been sent but a look at its health and a sign-in.
    """
    target = resolved.target
    subject = f"target {target.name}"
    with Gateway(resolved, transport=transport) as gateway:
        try:
            gateway.send(gateway.dialect.health)
            gateway.login(resolved.admin_email, resolved.admin_password)
        except GatewayUnreachable as failure:
            raise BadInput(subject, [str(failure)]) from None
        except GatewayRefused as refusal:
            variables = f"{target.admin_email_env} and {target.admin_password_env}"
            raise BadInput(
                subject, [f"the operator's sign-in was refused ({refusal.status}); check {variables}"]
            ) from None


def _require_open_files(plan: Plan) -> None:
    """Every virtual user keeps a connection; a process may raise its own limit up to the hard one."""
    users = max(plan.profile.users, plan.profile.fairness.noisy_users_burst + 4 * plan.profile.fairness.quiet_users)
    needed = -(-users // plan.profile.load_workers) + _OTHER_OPEN_FILES
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < needed:
        problem = f"a load worker needs {needed:,} open files, the hard limit is {limit:,}; raise it with `ulimit -Hn`"
        raise BadInput(f"profile {plan.profile.name}", [problem])


def clock_skew_s(resolved: ResolvedTarget, gateway: Gateway) -> float | None:
    """The platform's clock minus ours (seconds): the larger, by size, of the gateway's and the audit database's.

    The database's is good to milliseconds. The gateway's `Date` has whole seconds and may be renewed late, so it counts
    only where it differs from the database's by more than that.
    """
    by_gateway, by_database = _gateway_skew_s(gateway), _database_skew_s(resolved)
    if by_gateway is None or by_database is None:
        return by_database if by_gateway is None else by_gateway
    if abs(by_gateway - by_database) <= _DATE_RESOLUTION_S:
        return by_database
    return max(by_gateway, by_database, key=abs)


def gateway_lead_s(resolved: ResolvedTarget, gateway: Gateway) -> float:
    """How far the gateway's clock is ahead of the audit database's (seconds); 0 where it cannot be told from none.

    Rows bear the gateway's time, so a moment of the database's clock is moved by this before they are held against it.
    """
    by_gateway, by_database = _gateway_skew_s(gateway), _database_skew_s(resolved)
    if by_gateway is None or by_database is None or abs(by_gateway - by_database) <= _DATE_RESOLUTION_S:
        return 0.0
    return by_gateway - by_database


def _gateway_skew_s(gateway: Gateway) -> float | None:
    """Each answer says that the gateway's clock was within the second that begins at its `Date`."""
    low, high = float("-inf"), float("inf")
    for sample in range(_CLOCK_SAMPLES):
        if sample:
            time.sleep(0.11)
        asked_at = time.time()
        try:
            answer = gateway.send(gateway.dialect.health)
            said = parsedate_to_datetime(answer.headers["date"]).timestamp()
        except (TargetFailed, KeyError, ValueError, TypeError):
            continue
        low = max(low, said - answer.received_at)
        high = min(high, said + 1.0 - asked_at)
    if low == float("-inf"):
        return None
    # Some servers renew the header late; then the bounds cross by that much, and their middle is still the best guess.
    return 0.0 if low <= 0.0 <= high else (low + high) / 2


def _database_skew_s(resolved: ResolvedTarget) -> float | None:
    try:
        with reading(resolved.dsns, "audit", statement_timeout_s=5) as connection:
            asked_at = time.time()
            row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
            answered_at = time.time()
    except Unreadable:
        return None
    return float(row[0]) - (asked_at + answered_at) / 2 if row else None


def _database(resolved: ResolvedTarget, name: str) -> Capability:
    table = resolved.dialect.tables[name].expected
    try:
        with reading(resolved.dsns, name, statement_timeout_s=10) as connection:
            row = connection.execute(
                "SELECT to_regclass(%s) IS NOT NULL AND has_table_privilege(to_regclass(%s), 'SELECT')", [table, table]
            ).fetchone()
    except Unreadable as reason:
        return Capability(name=f"database.{name}", available=False, reason=str(reason))
    is_readable = bool(row and row[0])
    return Capability(
        name=f"database.{name}",
        available=is_readable,
        reason="" if is_readable else f"the database of databases.{name} has no table {table} that may be read",
    )


def _redis(resolved: ResolvedTarget) -> Capability:
    try:
        with redis_client(resolved) as client:
            client.ping()
    except Unreadable as reason:
        return Capability(name="redis", available=False, reason=str(reason))
    return Capability(name="redis", available=True)


def _metrics(resolved: ResolvedTarget, *, has_prometheus: bool) -> tuple[Capability, Capability]:
    """Whether the pages can be read, and whether one of them, or a Prometheus, has the gateway's latency per tenant.

    Pages that do not answer are asked again for a while: a platform that has just been started may not have all yet.
    """
    deadline = time.monotonic() + PAGES_TIMEOUT_S
    while True:
        problems, has_latency = _ask_pages(resolved)
        if (has_latency and not problems) or not resolved.metrics_pages or time.monotonic() >= deadline:
            break
        time.sleep(0.5)
    return (
        Capability(name="metrics", available=not problems, reason="; ".join(problems)),
        Capability(
            name="server_latency",
            available=has_latency or has_prometheus,
            reason="" if has_latency or has_prometheus else f"no metrics page has {resolved.dialect.metrics.latency}",
        ),
    )


def _ask_pages(resolved: ResolvedTarget) -> tuple[list[str], bool]:
    """What is wrong with the pages, and whether one has the latency metric."""
    problems = [] if resolved.metrics_pages else [_NO_PAGES]
    has_latency = False
    words = resolved.dialect.metrics
    with metrics_client() as client:
        for _, url in resolved.metrics_pages:
            try:
                page = fetch_page(client, url, resolved.metrics_headers())
            except Unreadable as reason:
                problems.append(str(reason))
                continue
            # A histogram that was never observed has no samples yet; its declaration is enough.
            has_latency |= f"# TYPE {words.latency} " in page or any(parse_metrics(page, {words.latency_count}))
    return problems, has_latency


def _prometheus(resolved: ResolvedTarget) -> tuple[Capability, ...]:
    """Whether the Prometheus can be asked; nothing where the target names none, because the pages do without one."""
    url = resolved.target.prometheus_url
    if url is None:
        return ()
    try:
        with metrics_client() as client:
            fetch_page(client, url.rstrip("/") + "/-/ready", {})
    except Unreadable as reason:
        return (Capability(name="prometheus", available=False, reason=str(reason)),)
    return (Capability(name="prometheus", available=True),)
