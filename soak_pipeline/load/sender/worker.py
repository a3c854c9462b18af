"""`python -m soak_pipeline.load.sender.worker SPEC INDEX`: a Locust worker that carries virtual users.

The port of its master is the first line of its standard input.

Owns the way from Locust's users to ours. Locust decides how many users of which tenant live in this process; the
master numbers them, so the schedule of user 17 of a tenant is the same wherever it lives. Locust's own statistics and
percentiles are not used, but on its page for an operator who asked for it.
"""

from __future__ import annotations

import gc
import itertools
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

# Locust patches the process when it is imported: before anything that uses sockets or threads.
from locust import User
from locust.env import Environment

import gevent  # isort: skip
from gevent.event import AsyncResult, Event  # isort: skip

from soak_pipeline.load.control import END_SLACK_S, LoadSpec, read_spec
from soak_pipeline.load.sender import locust_link
from soak_pipeline.load.sender.locust_page import LocustStatistics
from soak_pipeline.load.sender.operations import Catalogue
from soak_pipeline.load.sender.process import EXIT_FAILED, EXIT_FINISHED, FLUSH_EVERY_S, LoadProcess
from soak_pipeline.load.sender.runtime import LeaseLost
from soak_pipeline.load.sender.schedule import UserSchedule, user_indices
from soak_pipeline.load.sender.users import VirtualUser
from soak_pipeline.model.credentials import tenant_password
from soak_pipeline.model.stage_outputs import ProvisionedTenant

logger = logging.getLogger(__name__)


class SoakUser(User):
    """A user as Locust sees it: one task that follows a whole schedule.

    Attributes:
        worker, tenant: set by the subclass that `user_classes` makes for each tenant.
    """

    abstract = True
    worker: ClassVar[LoadWorker | None] = None
    tenant: ClassVar[ProvisionedTenant | None] = None

    def follow_schedule(self) -> None:
        """Everything this user ever does."""
        if self.worker is not None and self.tenant is not None:
            self.worker.drive(self.tenant)

    tasks = [follow_schedule]


def user_classes(spec: LoadSpec, worker: LoadWorker | None) -> list[type[User]]:
    """One Locust user class per tenant, with the exact number of its users; on the master without a worker."""
    tenants = {tenant.name: tenant for tenant in spec.provisioned.tenants}
    return [
        type(
            f"Tenant{name}",
            (SoakUser,),
            {"abstract": False, "fixed_count": count, "worker": worker, "tenant": tenants[name]},
        )
        for name, count in spec.session.users.items()
        if count
    ]


class LoadWorker:
    """One load worker process.

    Args:
        spec: the session.
        index: of this worker.
        operator_password: from which the tenants' passwords follow.
        port: of the Locust master.
    """

    def __init__(self, spec: LoadSpec, index: int, operator_password: str, port: int) -> None:
        self._spec = spec
        self._index = index
        self._passwords = {
            tenant.name: tenant_password(operator_password, spec.plan.run_id, tenant.name)
            for tenant in spec.provisioned.tenants
        }
        self._users: list[tuple[str, VirtualUser]] = []
        self._logged_in = 0
        self._followed = 0
        self._over = Event()
        self._zero = Event()
        self._tickets = itertools.count()
        self._waiting: dict[int, AsyncResult] = {}
        self._process = LoadProcess(spec, index, due_unsent=self._due_unsent, begun=self._begun)
        self._runtime = self._process.runtime
        self._first_index = {name: indices.start for name, indices in user_indices(spec.session).items()}
        self._catalogues = self._make_catalogues()
        environment = Environment(user_classes=user_classes(spec, self), stop_timeout=0)
        if spec.locust_page_port is not None:
            self._runtime.also_tell = LocustStatistics(environment).add
        self._process.start()
        self._runner = environment.create_worker_runner(locust_link.MASTER_HOST, port)
        self._runner.register_message(locust_link.INDEX, self._on_index)
        self._runner.register_message(locust_link.ZERO, self._on_zero)
        gevent.spawn(self._report_every_second)

    def run(self) -> int:
        """Works until the master says that the session is over.

        Returns:
            The exit code.
        """
        self._runner.greenlet.join()
        if not self._over.is_set():
            self._process.end(EXIT_FAILED)
        return EXIT_FINISHED

    def drive(self, tenant: ProvisionedTenant) -> None:
        """The life of one virtual user, from its index to the end of the session."""
        try:
            self._drive(tenant)
        except LeaseLost:
            return
        except gevent.GreenletExit:
            raise
        except Exception as error:
            logger.exception("a virtual user of tenant %s crashed", tenant.name)
            self._process.fail(f"a virtual user of tenant {tenant.name} crashed: {type(error).__name__}")
        self._over.wait()

    def _drive(self, tenant: ProvisionedTenant) -> None:
        index = self._index_for(tenant.name)
        if index < 0:
            return
        user = self._make_user(tenant, index)
        if not user.log_in():
            refused = "was refused" if user.account.refused else "got no answer that holds a token"
            self._process.fail(f"the login of a user of tenant {tenant.name} ({tenant.user_email}) {refused}")
            return
        self._users.append((tenant.name, user))
        self._logged_in += 1
        self._zero.wait()
        zero_s = self._runtime.zero_s
        if zero_s is None:
            return
        user.rest_until(zero_s)
        user.follow(zero_s, zero_s + self._spec.session.duration_s)
        self._followed += 1

    def _make_user(self, tenant: ProvisionedTenant, index: int) -> VirtualUser:
        spec = self._spec
        schedule = UserSchedule(
            seed=spec.plan.seed,
            session=spec.session,
            tenant=tenant.name,
            index=index,
            agents=spec.plan.profile.agents_per_tenant,
        )
        return VirtualUser(
            self._runtime,
            tenant,
            self._passwords[tenant.name],
            user=self._first_index[tenant.name] + index,
            refresh_place=(index + 0.5) / spec.session.users[tenant.name],
            catalogue=self._catalogues[tenant.name],
            schedule=schedule,
        )

    def _make_catalogues(self) -> dict[str, Catalogue]:
        tenants = self._spec.provisioned.tenants
        authority, dialect = self._runtime.authority, self._runtime.dialect
        return {
            tenant.name: Catalogue(authority, dialect, tenant, other_tenant_id=tenants[number - 1].tenant_id)
            for number, tenant in enumerate(tenants)
        }

    def _index_for(self, tenant: str) -> int:
        ticket = next(self._tickets)
        answer = self._waiting[ticket] = AsyncResult()
        wanted: locust_link.IndexWanted = {"tenant": tenant, "ticket": ticket}
        self._runner.send_message(locust_link.INDEX_WANTED, {**wanted})
        return int(answer.get())

    def _on_index(self, environment: Environment, msg: Any, **_: Any) -> None:
        answer: locust_link.Index = locust_link.content(msg)
        self._waiting.pop(answer["ticket"]).set(answer["index"])

    def _on_zero(self, environment: Environment, msg: Any, **_: Any) -> None:
        zero: locust_link.Zero = locust_link.content(msg)
        # What is there now stays to the end: the collector need not look through it in mid-session.
        gc.collect()
        gc.freeze()
        self._runtime.zero_s = self._runtime.clock.to_monotonic_s(zero["zero_us"])
        self._zero.set()
        gevent.spawn(self._finish_at_the_end)

    def _finish_at_the_end(self) -> None:
        zero_s = self._runtime.zero_s or 0.0
        end_s = zero_s + self._spec.session.duration_s
        gevent.sleep(max(0.0, end_s - time.monotonic()))
        give_up_s = end_s + self._runtime.timeout_s + END_SLACK_S
        while self._followed < len(self._users) and time.monotonic() < give_up_s:
            gevent.sleep(0.05)
        if self._followed < len(self._users):
            self._process.fail(f"{len(self._users) - self._followed} users did not end with the session")
        self._process.finish()
        self._over.set()
        self._report()

    def _report_every_second(self) -> None:
        while not self._over.is_set():
            self._report()
            gevent.sleep(FLUSH_EVERY_S)

    def _report(self) -> None:
        report: locust_link.Report = {
            "worker": self._index,
            "users": self._logged_in,
            "outcomes": {outcome.value: count for outcome, count in self._runtime.outcomes.items() if count},
            "latency_us": self._runtime.take_latencies(),
            "failure": self._process.failure,
            "finished": self._over.is_set(),
        }
        self._runner.send_message(locust_link.REPORT, {**report})

    def _due_unsent(self) -> dict[str, int]:
        zero_s = self._runtime.zero_s
        counts = dict.fromkeys(self._spec.session.users, 0)
        if zero_s is not None:
            now_s = min(time.monotonic(), zero_s + self._spec.session.duration_s)
            for tenant, user in self._users:
                counts[tenant] += user.due_unsent(zero_s, now_s)
        return counts

    def _begun(self) -> dict[str, int]:
        counts = dict.fromkeys(self._spec.session.users, 0)
        for tenant, user in self._users:
            counts[tenant] += user.begun
        return counts


def main(arguments: Sequence[str]) -> int:
    """Runs one worker; the exit code says how it ended."""
    spec_path, index = arguments
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s worker %(levelname)s %(message)s")
    locust_link.quieten_locust()
    spec = read_spec(Path(spec_path))
    password = os.environ[spec.plan.target.admin_password_env]
    port = sys.stdin.readline()
    # Without a port there is no master: the supervisor has given up.
    return LoadWorker(spec, int(index), password, int(port)).run() if port else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
