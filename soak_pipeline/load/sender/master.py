"""`python -m soak_pipeline.load.sender.master SPEC`: the Locust master of one session.

Owns the numbering of users, time zero, the live figures and the end of the session. Sends no request itself. It tells
the supervisor what happens as JSON lines on its standard output, and ends when its lease does.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Locust patches the process when it is imported: before anything that uses sockets or threads.
from locust.env import Environment

import gevent  # isort: skip
from gevent.event import Event  # isort: skip

import msgspec

from soak_pipeline.load.clock import RunClock
from soak_pipeline.load.control import END_SLACK_S, LoadSpec, read_spec, replace_file, start_limit_s
from soak_pipeline.load.events import Failed, Finished, Listening, Zeroed, tell
from soak_pipeline.load.lease import CHECK_EVERY_S, EXIT_LEASE_LOST, LeaseFile
from soak_pipeline.load.sender import locust_link
from soak_pipeline.load.sender.live import LiveFigures
from soak_pipeline.load.sender.locust_page import serve_locust_page
from soak_pipeline.load.sender.process import EXIT_FAILED, EXIT_FINISHED
from soak_pipeline.load.sender.worker import user_classes

ZERO_LEAD_S = 0.5
"""Between the word that all users are ready and time zero: every worker has heard it by then."""

UNHEARD_LIMIT_S = 15.0
"""A worker that reports nothing for so long is stuck (seconds)."""

logger = logging.getLogger(__name__)


class LoadMaster:
    """The master of one session.

    Args:
        spec: the session.
    """

    def __init__(self, spec: LoadSpec) -> None:
        self._spec = spec
        self._session = spec.session
        self._live = LiveFigures(spec.session)
        self._next_index = dict.fromkeys(spec.session.users, 0)
        self._finished: set[int] = set()
        self._heard_s: dict[int, float] = {}
        self._failure = ""
        self._over = Event()
        self._zero_s: float | None = None
        self._clock = RunClock(spec.plan.epoch_unix_us)
        self._lease = LeaseFile(spec.control.lease)
        self._parent_pid = os.getppid()
        environment = Environment(user_classes=user_classes(spec, None), stop_timeout=0)
        # Port 0: the system gives a free one, which is read back.
        self._runner = environment.create_master_runner(locust_link.MASTER_HOST, 0)
        self._runner.register_message(locust_link.INDEX_WANTED, self._on_index_wanted)
        self._runner.register_message(locust_link.REPORT, self._on_report)
        if spec.locust_page_port is not None:
            serve_locust_page(environment, spec.locust_page_port)

    def run(self) -> int:
        """Runs the session.

        Returns:
            The exit code.
        """
        gevent.spawn(self._keep_lease)
        tell(Listening(port=self._runner.server.port))
        gevent.spawn(self._publish)
        try:
            self._start_users()
            self._run_windows()
        except _GivenUp as reason:
            self._failure = str(reason)
        self._over.set()
        self._publish_once()
        tell(Failed(reason=self._failure) if self._failure else Finished())
        self._runner.quit()
        return EXIT_FAILED if self._failure else EXIT_FINISHED

    def _start_users(self) -> None:
        users = sum(self._session.users.values())
        limit_s = time.monotonic() + start_limit_s(self._session)
        while self._runner.worker_count < self._spec.workers:
            self._pause(limit_s, f"{self._runner.worker_count} of {self._spec.workers} load workers connected")
        gevent.spawn(self._runner.start, users, self._session.spawn_per_second)
        while self._live.users < users:
            self._pause(limit_s, f"{self._live.users} of {users} users logged in")

    def _run_windows(self) -> None:
        self._zero_s = time.monotonic() + ZERO_LEAD_S
        zero_us = self._clock.to_us(self._zero_s)
        zero: locust_link.Zero = {"zero_us": zero_us}
        self._runner.send_message(locust_link.ZERO, {**zero})
        tell(Zeroed(zero_us=zero_us))
        limit_s = self._zero_s + self._session.duration_s + self._spec.plan.profile.request_timeout_s + 2 * END_SLACK_S
        while len(self._finished) < self._spec.workers:
            self._pause(limit_s, f"{len(self._finished)} of {self._spec.workers} load workers finished")

    def _pause(self, limit_s: float, so_far: str) -> None:
        """Waits a little; gives the session up when a worker failed, went silent, or time is over."""
        gevent.sleep(0.1)
        if self._failure:
            raise _GivenUp(self._failure)
        now = time.monotonic()
        if now > limit_s:
            raise _GivenUp(f"only {so_far} in time")
        for worker, heard_s in self._heard_s.items():
            if worker not in self._finished and now - heard_s > UNHEARD_LIMIT_S:
                raise _GivenUp(
                    f"load worker {worker} was silent for {now - heard_s:.0f} s, limit {UNHEARD_LIMIT_S:g} s"
                )

    def _on_index_wanted(self, environment: Environment, msg: Any, **_: Any) -> None:
        wanted: locust_link.IndexWanted = locust_link.content(msg)
        index = self._next_index[wanted["tenant"]]
        # A user that Locust starts a second time gets no schedule: its first life is in the records already.
        taken = index >= self._session.users[wanted["tenant"]] or self._zero_s is not None
        self._next_index[wanted["tenant"]] += 1
        answer: locust_link.Index = {"ticket": wanted["ticket"], "index": -1 if taken else index}
        self._runner.send_message(locust_link.INDEX, {**answer}, client_id=msg.node_id)

    def _on_report(self, environment: Environment, msg: Any, **_: Any) -> None:
        report: locust_link.Report = locust_link.content(msg)
        worker = report["worker"]
        now = time.monotonic()
        self._heard_s[worker] = now
        self._live.take(now, worker, report["users"], report["outcomes"], report["latency_us"])
        self._failure = self._failure or report["failure"]
        if report["finished"]:
            self._finished.add(worker)

    def _publish(self) -> None:
        while not self._over.is_set():
            self._publish_once()
            gevent.sleep(1.0)

    def _publish_once(self) -> None:
        now = time.monotonic()
        offset_s = None if self._zero_s is None else now - self._zero_s
        try:
            replace_file(self._spec.control.progress, msgspec.json.encode(self._live.progress(now, offset_s)))
        except OSError as error:
            logger.warning("the live figures cannot be written: %s", error.strerror)

    def _keep_lease(self) -> None:
        while self._lease.seconds_left() > 0 and os.getppid() == self._parent_pid:
            gevent.sleep(CHECK_EVERY_S)
        os._exit(EXIT_LEASE_LOST)


class _GivenUp(Exception):
    """The session cannot go on; the text says why."""


def main(arguments: Sequence[str]) -> int:
    """Runs the master; the exit code says how the session ended."""
    (spec_path,) = arguments
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s master %(levelname)s %(message)s")
    locust_link.quieten_locust()
    return LoadMaster(read_spec(Path(spec_path))).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
