"""One virtual user: follows its schedule on its own connection with its own token.

Owns the loop from the intended time to the record. Never changes the schedule: a user that is late sends at once and
keeps the intended time, so that a slow platform cannot lower the load unseen.
"""

from __future__ import annotations

import math
import time

import gevent

from soak_pipeline.load.sender.account import Account
from soak_pipeline.load.sender.classify import classify
from soak_pipeline.load.sender.operations import Catalogue, request_id_header
from soak_pipeline.load.sender.runtime import LoadRuntime
from soak_pipeline.load.sender.schedule import Entry, UserSchedule
from soak_pipeline.model.stage_outputs import ProvisionedTenant

_RETRY_LOGIN_AFTER_S = (1.0, 3.0)


class VirtualUser:
    """A virtual user of one tenant.

    Args:
        runtime: of the process.
        tenant: whose user it is.
        password: of the tenant's account.
        user: index in the session.
        refresh_place: when within a token's life it refreshes (0..1).
        catalogue: rendered requests of the tenant.
        schedule: what it sends when.

    Attributes:
        begun: requests of the schedule that were begun.
    """

    def __init__(
        self,
        runtime: LoadRuntime,
        tenant: ProvisionedTenant,
        password: str,
        user: int,
        refresh_place: float,
        catalogue: Catalogue,
        schedule: UserSchedule,
    ) -> None:
        self._runtime = runtime
        self._answers = runtime.dialect.answers
        self._request_id_header = request_id_header(runtime.dialect)
        self._tenant = tenant.name
        self._user = user
        self._catalogue = catalogue
        self._schedule = schedule
        self._next_s = math.inf
        self.begun = 0
        self._connection = runtime.connection()
        self.account = Account(runtime, self._connection, tenant, password, user, refresh_place)

    def log_in(self) -> bool:
        """Gets the first token; tries again after trouble, but not after a refusal.

        Returns:
            Whether the user is logged in.
        """
        for pause_s in (*_RETRY_LOGIN_AFTER_S, 0.0):
            if self.account.login(window=-1):
                return True
            if self.account.refused:
                return False
            gevent.sleep(pause_s)
        return False

    def rest_until(self, moment_s: float) -> None:
        """Sends nothing but what keeps the token alive, until a moment of the monotonic clock."""
        self._wait_until(moment_s, window=-1)

    def follow(self, zero_s: float, end_s: float) -> None:
        """Follows the schedule.

        Args:
            zero_s: time zero of the session on the monotonic clock.
            end_s: the end of its last window; what is due and not sent by then is not sent.

        Raises:
            LeaseLost: the lease has expired.
        """
        for sequence, entry in enumerate(self._schedule):
            self._next_s = intended_s = zero_s + entry.intended_us / 1e6
            self._wait_until(intended_s, entry.window)
            if time.monotonic() >= end_s:
                break
            self._next_s = math.inf
            self.begun += 1
            self._send(entry, sequence, intended_s)
        self._connection.close()

    def due_unsent(self, zero_s: float, moment_s: float) -> int:
        """Requests that are due at a moment and not yet begun; costs next to nothing for a user that is in time."""
        if moment_s < self._next_s < math.inf:
            return 0
        return max(0, self._schedule.due_by(int((moment_s - zero_s) * 1e6)) - self.begun)

    def _wait_until(self, moment_s: float, window: int) -> None:
        account = self.account
        while True:
            now = time.monotonic()
            if now >= account.renew_at_s:
                account.replace_if_due(window)
            elif now >= moment_s:
                return
            else:
                gevent.sleep(min(moment_s, account.renew_at_s) - now)

    def _send(self, entry: Entry, sequence: int, intended_s: float) -> None:
        runtime = self._runtime
        operation = entry.operation
        template = self._catalogue.template(operation, entry.agent, entry.tool, entry.variant)
        request_id = runtime.request_id(self._user, sequence)
        headers = self.account.headers if template.with_token else self._request_id_header
        request = b"".join((template.head, headers, request_id.encode(), template.tail))
        start_s = runtime.admit()
        reply = self._connection.exchange(request)
        end_s = time.monotonic()
        outcome = reply.failure or classify(self._answers, operation, reply.status, reply.body, request_id)
        runtime.record(
            self._tenant,
            self._user,
            sequence,
            entry.window,
            entry.settled,
            operation,
            outcome,
            reply,
            intended_s,
            start_s,
            end_s,
        )
        if reply.status == 401 and template.with_token:
            self.account.expire()
