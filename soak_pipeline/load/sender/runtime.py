"""What the virtual users of one load process share: clock, lease, pacing limit, recorder and counters.

Owns every side effect of a request except the request itself. Never decides what is sent, and never judges it beyond
its outcome.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable

import gevent

from soak_pipeline.dialect.registry import dialect_of
from soak_pipeline.evidence.request_spool import RequestSpool
from soak_pipeline.load.authority import Authority, authority_of
from soak_pipeline.load.clock import RunClock
from soak_pipeline.load.control import LoadSpec
from soak_pipeline.load.lease import CHECK_EVERY_S, LeaseFile
from soak_pipeline.load.sender.client import Connection, Reaper, Reply, connection_to
from soak_pipeline.load.sender.samples import SampleBook
from soak_pipeline.model.traffic import KIND_OF, Kind, Operation, Outcome, request_id_of

# Bound once: looking a member up on its class costs as much as packing a record.
_OK, _AUTH = Outcome.OK, Kind.AUTH

BURST_S = 0.1
"""How much of the hard cap may be sent at once after a pause (seconds' worth)."""


class LeaseLost(Exception):
    """The lease has expired: nothing may be sent any more."""


class LoadRuntime:
    """State of one load process.

    Args:
        spec: the session.
        worker: index of this process.
        requests_per_second_max: share of this process in the hard cap.

    Attributes:
        dialect: the platform's words.
        authority, timeout_s: of every connection.
        clock: the run's.
        spool: of the records.
        sent: requests of the schedule that were sent, by tenant.
        outcomes: requests by outcome, logins included.
        fresh_latency_us: per tenant, latencies from the intended start since they were last taken.
        samples: of unexpected answers.
        last_end_us: when the last request ended, since the plan's epoch; None before the first.
        zero_s: time zero of the windows on this process's monotonic clock; None until it is known.
        also_tell: told of every request when somebody looks on: tenant, operation, outcome, latency from the intended
            start (microseconds), bytes of the body.
    """

    def __init__(self, spec: LoadSpec, worker: int, requests_per_second_max: float) -> None:
        plan = spec.plan
        self.spec = spec
        self.worker = worker
        self.dialect = dialect_of(plan.target)
        self.authority: Authority = authority_of(spec.gateway_url)._replace(
            addresses=spec.provisioned.gateway_addresses
        )
        self.timeout_s = plan.profile.request_timeout_s
        self.tenants = tuple(tenant.name for tenant in plan.tenants)
        self._tenant_codes = {name: code for code, name in enumerate(self.tenants)}
        self.spool = RequestSpool(
            spec.requests_dir,
            session=spec.session.name,
            worker=worker,
            phases=[window.phase for window in spec.session.windows],
            tenants=self.tenants,
            phase_before_zero=spec.session.windows[0].phase,
        )
        self.sent = dict.fromkeys(self.tenants, 0)
        self.outcomes = dict.fromkeys(Outcome, 0)
        self.fresh_latency_us = {name: array("Q") for name in self.tenants}
        self.samples = SampleBook()
        self.last_end_us: int | None = None
        self.zero_s: float | None = None
        self.also_tell: Callable[[str, Operation, Outcome, int, int], None] | None = None
        self.reaper = Reaper()
        self.clock = RunClock(plan.epoch_unix_us)
        self._lease = LeaseFile(spec.control.lease)
        self._leased_until_s = 0.0
        self._interval_s = 1.0 / requests_per_second_max
        self._next_slot_s = 0.0

    def connection(self) -> Connection:
        """A new connection to the gateway, for one user."""
        return connection_to(self.authority, self.timeout_s, self.reaper)

    def request_id(self, user: int, sequence: int) -> str:
        """The request id of one request of this session."""
        return request_id_of(self.spec.plan.seed, self.spec.session.name, user, sequence)

    def check_lease(self) -> bool:
        """Reads the lease; false when it has expired."""
        left_s = self._lease.seconds_left()
        self._leased_until_s = time.monotonic() + left_s if left_s > 0 else 0.0
        return left_s > 0

    def watch_lease(self, still_watched: Callable[[], bool]) -> None:
        """Returns when the lease has expired, or nobody watches this process any more; a greenlet of its own."""
        while self.check_lease() and still_watched():
            gevent.sleep(CHECK_EVERY_S)

    def admit(self) -> float:
        """Waits until a request may be sent: under the lease, and not faster than the hard cap.

        Returns:
            Now, on the monotonic clock.

        Raises:
            LeaseLost: nothing may be sent any more.
        """
        now = time.monotonic()
        # Looked at for every request, so that a process that was frozen sends nothing when it wakes.
        if now > self._leased_until_s and not self.check_lease():
            raise LeaseLost
        slot_s = max(self._next_slot_s, now - BURST_S)
        self._next_slot_s = slot_s + self._interval_s
        if slot_s <= now:
            return now
        gevent.sleep(slot_s - now)
        return time.monotonic()

    def record(
        self,
        tenant: str,
        user: int,
        sequence: int,
        window: int,
        settled: bool,
        operation: Operation,
        outcome: Outcome,
        reply: Reply,
        intended_s: float,
        start_s: float,
        end_s: float,
    ) -> None:
        """Keeps one request: its record, the counters, and a sample of its answer when that is not as it should be."""
        offset_us = self.clock.offset_us
        end_us = int(end_s * 1e6)
        start_us = int(start_s * 1e6)
        intended_us = int(intended_s * 1e6)
        self.spool.append(
            intended_us + offset_us,
            start_us + offset_us,
            end_us - start_us,
            len(reply.body),
            user,
            sequence,
            window,
            reply.status,
            operation,
            outcome,
            self._tenant_codes[tenant],
            settled,
        )
        self.last_end_us = end_us + offset_us
        self.outcomes[outcome] += 1
        if outcome is not _OK:
            self.samples.add(operation, outcome, reply, start_us + offset_us)
        if self.also_tell is not None:
            self.also_tell(tenant, operation, outcome, end_us - intended_us, len(reply.body))
        if KIND_OF[operation] is not _AUTH:
            self.sent[tenant] += 1
            self.fresh_latency_us[tenant].append(end_us - intended_us)

    def take_latencies(self) -> dict[str, bytes]:
        """The latencies since the last call, per tenant, as 64-bit numbers of microseconds."""
        taken = {name: values.tobytes() for name, values in self.fresh_latency_us.items() if values}
        for name in taken:
            self.fresh_latency_us[name] = array("Q")
        return taken
