"""The gateway's metrics, right over all of its worker processes.

Owns names, labels and buckets. Worker processes write into shared files (prometheus_client's multiprocess mode); one
process of its own renders them, so that no scrape ever holds up a request; see `metrics_server.py`. The metrics are in
no registry of this process, since nothing here ever renders them.

`PROMETHEUS_MULTIPROC_DIR` must be set before this module is imported.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from infra.acp.process_figures import GcClock, resident_bytes, unique_bytes

if TYPE_CHECKING:
    from infra.acp.gateway.fair_slots import FairSlots
    from infra.acp.gateway.services import Services

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0)
#: Tenants with labels of their own in one process; further ones share one, so that memory stays bounded.
LABELLED_TENANTS = 200
OTHER_TENANTS = "other"
NO_TENANT = "none"

LATENCY = Histogram(
    "acp_gateway_request_latency_seconds",
    "From the first byte parsed to the answer written, by route template",
    ["tenant_id", "method", "path"],
    buckets=LATENCY_BUCKETS_S,
    registry=None,
)
REQUESTS = Counter("acp_gateway_requests_total", "Answered requests", ["tenant_id", "status"], registry=None)
RATE_LIMITED = Counter(
    "acp_tenant_rate_limited_total",
    "Requests refused by a limit of their tenant",
    ["tenant", "limit_type"],
    registry=None,
)
DENIED = Counter("acp_gateway_policy_denied_total", "Executions refused by policy", ["finding"], registry=None)
AUTH_FAILURES = Counter("acp_auth_failures_total", "Requests without a valid token", ["reason"], registry=None)
TIMELINES_OPENED = Counter("acp_flight_timeline_open_total", "Timelines opened", registry=None)
TIMELINES_CLOSED = Counter("acp_flight_timeline_closed_total", "Timelines closed", registry=None)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(name, text, ["process", *labels], multiprocess_mode="livemostrecent", registry=None)


INFLIGHT = _gauge("acp_gateway_inflight_requests", "Requests being handled")
SLOTS = _gauge("acp_gateway_slots", "Request slots that the tenants share")
SLOTS_IN_USE = _gauge("acp_gateway_slots_in_use", "Request slots taken")
SLOT_WAITERS = _gauge("acp_gateway_queue_waiters", "Requests waiting for a slot")
POOL_IN_USE = _gauge("acp_gateway_db_pool_in_use", "Database connections taken", "database")
POOL_SIZE = _gauge("acp_gateway_db_pool_size", "Database connections open", "database")
POOL_WAITERS = _gauge("acp_gateway_db_pool_waiters", "Reads waiting for a database connection")
RETRIES = _gauge("acp_gateway_retries_total", "Attempts to reopen a lost connection to Redis")
REDIS_PENDING = _gauge("acp_gateway_redis_pending_commands", "Redis commands not answered yet")
LOOP_LAG = _gauge("acp_gateway_event_loop_lag_seconds", "How late the event loop's last timer was")
RSS = _gauge("process_resident_memory_bytes", "Resident memory")
OPEN_FDS = _gauge("process_open_fds", "Open file descriptors")
CPU = _gauge("process_cpu_seconds_total", "User and system CPU time")
START_TIME = _gauge("process_start_time_seconds", "Start of the process, unix seconds")
THREADS = _gauge("process_threads", "Threads")
UNIQUE_MEMORY = _gauge("process_unique_memory_bytes", "Resident memory that nothing else shares")
GC_SECONDS = _gauge("process_gc_seconds_total", "Time that the garbage collector took")

_GC_CLOCK = GcClock()
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class RequestMetrics:
    """Counts answered requests; remembers the labelled children, which are slow to look up."""

    def __init__(self) -> None:
        self._latencies: dict[tuple[str, str, str], Histogram] = {}
        self._requests: dict[tuple[str, int], Counter] = {}
        self._tenants: set[str] = set()

    def answered(self, tenant_id: str, method: str, template: str, status: int, duration_s: float) -> None:
        tenant = self.label(tenant_id)
        latency = self._latencies.get((tenant, method, template))
        if latency is None:
            latency = self._latencies[tenant, method, template] = LATENCY.labels(tenant, method, template)
        latency.observe(duration_s)
        count = self._requests.get((tenant, status))
        if count is None:
            count = self._requests[tenant, status] = REQUESTS.labels(tenant, str(status))
        count.inc()

    def label(self, tenant_id: str) -> str:
        """The label of a tenant, within the bound on labels."""
        if not tenant_id:
            return NO_TENANT
        if tenant_id in self._tenants:
            return tenant_id
        if len(self._tenants) >= LABELLED_TENANTS:
            return OTHER_TENANTS
        self._tenants.add(tenant_id)
        return tenant_id


def sample_process(services: Services, slots: FairSlots, inflight: int, loop_lag_s: float) -> None:
    """Write the gauges of this worker process."""
    name = services.settings.process_name
    INFLIGHT.labels(name).set(inflight)
    SLOTS.labels(name).set(slots.slots)
    SLOTS_IN_USE.labels(name).set(slots.running)
    SLOT_WAITERS.labels(name).set(slots.waiting)
    POOL_WAITERS.labels(name).set(services.read_slots.waiting)
    REDIS_PENDING.labels(name).set(services.link.pending)
    RETRIES.labels(name).set(services.link.reopenings)
    LOOP_LAG.labels(name).set(loop_lag_s)
    for database, pool in services.pools.items():
        POOL_SIZE.labels(name, database).set(pool.get_size())
        POOL_IN_USE.labels(name, database).set(pool.get_size() - pool.get_idle_size())
    RSS.labels(name).set(resident_bytes())
    UNIQUE_MEMORY.labels(name).set(unique_bytes())
    GC_SECONDS.labels(name).set(_GC_CLOCK.seconds)
    OPEN_FDS.labels(name).set(len(os.listdir("/proc/self/fd")))
    THREADS.labels(name).set(len(os.listdir("/proc/self/task")))
    times = os.times()
    CPU.labels(name).set(times.user + times.system)


def sample_start(name: str) -> None:
    """Write when this process started."""
    with open("/proc/self/stat") as file:
        started_ticks = int(file.read().rpartition(")")[2].split()[19])
    with open("/proc/stat") as file:
        boot_time = next(int(line.split()[1]) for line in file if line.startswith("btime"))
    START_TIME.labels(name).set(boot_time + started_ticks / _TICKS_PER_S)
