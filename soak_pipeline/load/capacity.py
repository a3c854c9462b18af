"""What a platform and this machine carry together: a few seconds of executed calls, in a process of its own.

Owns the caller's side and the document that the process is given. Imports no gevent, so that Dagster's process can use
it. The token goes through a pipe, and into no file.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

import msgspec

from soak_pipeline.evidence.own_process import module_command, module_environment
from soak_pipeline.model.sizing import ALONE_S, MEASURE_S, REQUESTS_MOST, SETTLE_S, Capacity
from soak_pipeline.model.target import Target

USERS = 180
"""Callers at once: enough to keep two cores busy, and few enough that a slow machine answers each within a second."""

START_LIMIT_S = 20.0
"""For the process to start, beyond the time of its calls (seconds)."""


class CapacityProbe(msgspec.Struct, frozen=True, kw_only=True):
    """What the measuring process is told.

    Attributes:
        gateway_url: base URL of the gateway.
        addresses: to connect to; empty looks the host up.
        target: whose words the calls are made in.
        tenant_id, agent_id, token: as whom it calls; the token is a secret.
        requests_per_second_max: never faster than this.
        timeout_s: a call without a whole answer by then has failed.
        users: callers at once.
        alone_s, settle_s, measure_s: with one caller; with all, not counted; with all, counted (seconds).
        requests_most: ends the measurement early.
    """

    gateway_url: str
    addresses: tuple[str, ...]
    target: Target
    tenant_id: str
    agent_id: str
    token: str
    requests_per_second_max: float
    timeout_s: float
    users: int = USERS
    alone_s: float = ALONE_S
    settle_s: float = SETTLE_S
    measure_s: float = MEASURE_S
    requests_most: int = REQUESTS_MOST

    def __repr__(self) -> str:
        return f"CapacityProbe({self.gateway_url}, {self.users} users)"

    @property
    def seconds(self) -> float:
        """Longest time in which it calls."""
        return self.alone_s + self.settle_s + self.measure_s


class NotMeasured(Exception):
    """The capacity could not be measured; the text says why, without a secret."""


def measure_capacity(probe: CapacityProbe, environment: Mapping[str, str]) -> Capacity:
    """Calls as fast as the platform answers, for a few seconds.

    When this process is gone, the other ends by itself: it looks for its parent, and its time is bounded.

    Raises:
        NotMeasured: the process did not end in time, or gave no result.
    """
    process = subprocess.Popen(
        module_command("soak_pipeline.load.sender.measure"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=module_environment(environment),
        start_new_session=True,
    )
    try:
        answer, _ = process.communicate(
            msgspec.json.encode(probe) + b"\n", timeout=START_LIMIT_S + probe.seconds + probe.timeout_s
        )
    except subprocess.TimeoutExpired:
        raise NotMeasured("the measuring process did not end in its time") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    try:
        return msgspec.json.decode(answer, type=Capacity)
    except msgspec.DecodeError:
        raise NotMeasured(f"the measuring process ended with {process.returncode} and without a result") from None
