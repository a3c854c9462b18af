"""`python -m soak_pipeline.load.sender.measure`: calls as fast as the platform answers, for a few seconds, and counts.

The probe, one JSON line, comes on standard input; the result goes to standard output. Owns the calling. It ends when
its time is over, when it has made its number of calls, or when its parent is gone, whichever is first.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
import uuid

import gevent
import msgspec

from soak_pipeline.dialect.registry import dialect_of
from soak_pipeline.load.authority import authority_of
from soak_pipeline.load.capacity import CapacityProbe
from soak_pipeline.load.sender.classify import classify
from soak_pipeline.load.sender.client import Reaper, connection_to
from soak_pipeline.load.sender.operations import Catalogue, caller_headers
from soak_pipeline.load.sender.process import go_first
from soak_pipeline.model.plan import TOOLS
from soak_pipeline.model.sizing import Capacity
from soak_pipeline.model.stage_outputs import ProvisionedTenant
from soak_pipeline.model.traffic import Operation, Outcome

AT_CAP_SHARE = 0.9
"""Of the highest rate allowed: a measurement from there on was held back by that, not by the platform."""

UNHURRIED_RATIO = 1.25
"""Up to this ratio of the latency among all callers to that of one alone, the platform was not busy: more callers would
have got more answers."""

PARENT_CHECK_S = 0.5


class CapacityMeasurement:
    """One measurement.

    Args:
        probe: what to call, as whom and how long.
    """

    def __init__(self, probe: CapacityProbe) -> None:
        self._probe = probe
        self._dialect = dialect_of(probe.target)
        self._authority = authority_of(probe.gateway_url)._replace(addresses=probe.addresses)
        self._reaper = Reaper()
        tenant = ProvisionedTenant(
            name="sizing",
            tenant_id=probe.tenant_id,
            user_email="",
            benign_agents=(probe.agent_id,),
            attack_agents=(),
        )
        catalogue = Catalogue(self._authority, self._dialect, tenant, other_tenant_id="")
        self._template = catalogue.execute(probe.agent_id, TOOLS[0])
        self._headers = caller_headers(self._dialect, probe.token, probe.tenant_id)
        self._next_slot_s = 0.0
        self._begun = 0
        self._ends: list[tuple[float, float, bool]] = []

    def run(self) -> Capacity:
        """Measures; see `Capacity`."""
        probe = self._probe
        watchers = [gevent.spawn(self._reaper.run), gevent.spawn(_end_with_parent, os.getppid())]
        began_s = time.monotonic()
        self._call_until(began_s + probe.alone_s, users=1)
        alone = [latency_s for _, latency_s, _ in self._ends]
        from_s = time.monotonic() + probe.settle_s
        self._call_until(from_s + probe.measure_s, users=probe.users)
        to_s = min(from_s + probe.measure_s, time.monotonic())
        gevent.killall(watchers)
        return self._result(alone, from_s, to_s)

    def _result(self, alone: list[float], from_s: float, to_s: float) -> Capacity:
        counted = [(latency_s, right) for end_s, latency_s, right in self._ends if from_s <= end_s <= to_s]
        right = [latency_s for latency_s, is_right in counted if is_right]
        seconds = max(0.0, to_s - from_s)
        rate = len(right) / seconds if seconds else 0.0
        at_rate_cap = rate >= AT_CAP_SHARE * self._probe.requests_per_second_max
        unhurried = bool(alone and right) and (statistics.median(right) <= UNHURRIED_RATIO * statistics.median(alone))
        return Capacity(
            requests=len(right), failed=len(counted) - len(right), seconds=seconds, at_cap=at_rate_cap or unhurried
        )

    def _call_until(self, end_s: float, *, users: int) -> None:
        gevent.joinall([gevent.spawn(self._call_again, end_s) for _ in range(users)], raise_error=True)

    def _call_again(self, end_s: float) -> None:
        probe = self._probe
        connection = connection_to(self._authority, probe.timeout_s, self._reaper)
        while self._wait_for_slot(end_s) and self._begun < probe.requests_most:
            self._begun += 1
            request_id = str(uuid.uuid4())
            began_s = time.monotonic()
            reply = connection.exchange(
                b"".join((self._template.head, self._headers, request_id.encode(), self._template.tail))
            )
            ended_s = time.monotonic()
            outcome = reply.failure or classify(
                self._dialect.answers, Operation.EXECUTE, reply.status, reply.body, request_id
            )
            self._ends.append((ended_s, ended_s - began_s, outcome is Outcome.OK))
            if outcome is not Outcome.OK:
                # A platform that refuses is quick; it must not be asked in a tight loop.
                gevent.sleep(0.1)
        connection.close()

    def _wait_for_slot(self, end_s: float) -> bool:
        """Waits until the next call may begin; false when that is not before the end."""
        now_s = time.monotonic()
        slot_s = max(self._next_slot_s, now_s)
        if slot_s >= end_s:
            return False
        self._next_slot_s = slot_s + 1.0 / self._probe.requests_per_second_max
        gevent.sleep(slot_s - now_s)
        return True


def _end_with_parent(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        gevent.sleep(PARENT_CHECK_S)
    os._exit(1)


def main() -> int:
    """Measures what standard input names."""
    probe = msgspec.json.decode(sys.stdin.readline(), type=CapacityProbe)
    # Whatever hangs: the calls end.
    signal.alarm(int(probe.seconds + probe.timeout_s) + 1)
    go_first()
    print(msgspec.json.encode(CapacityMeasurement(probe).run()).decode(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
