"""`python -m soak_pipeline.load.sender.fanout SPEC`: many agents of one tenant call at once; some lose a permission.

Owns the three parts: all agents call together; then some lose their permission and must be denied from the
acknowledgement on, while the others go on; then they regain it and must be allowed again. A call that overlaps a
change may be answered either way, and is counted as neither.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path

import gevent
import msgspec

from soak_pipeline.dialect.answers import AnswerRule
from soak_pipeline.load.control import FanoutResult, LoadSpec, read_spec, replace_file
from soak_pipeline.load.events import Failed, Finished, Zeroed, tell
from soak_pipeline.load.sender.account import Account
from soak_pipeline.load.sender.classify import classify
from soak_pipeline.load.sender.live import LiveFigures
from soak_pipeline.load.sender.operations import Catalogue
from soak_pipeline.load.sender.operator_calls import OperatorCalls, OperatorRefused
from soak_pipeline.load.sender.process import EXIT_FAILED, EXIT_FINISHED, LoadProcess
from soak_pipeline.load.sender.runtime import LeaseLost, LoadRuntime
from soak_pipeline.model.credentials import tenant_password
from soak_pipeline.model.plan import TOOLS
from soak_pipeline.model.stage_outputs import ProvisionedTenant, RevocationEvidence
from soak_pipeline.model.traffic import Operation, Outcome

TOOL = TOOLS[0]
"""The tool that every agent calls, and whose permission is revoked."""

PAUSE_S = 0.2
"""Between two calls of one agent in the second and third part: 50 agents keep about 200 requests per second up."""

PART_LIMIT_S = 30.0
"""For all agents to make the calls of one part; a platform that deadlocks does not get there."""

logger = logging.getLogger(__name__)


class Demand(Enum):
    """What the platform must answer to an agent's call."""

    ALLOW = "allow"
    DENY = "deny"
    EITHER = "either"


class FanoutAgent:
    """One agent with its own connection and token.

    Args:
        runtime: of the process.
        tenant, password: of its tenant's account.
        number: of the agent, which is also its user index.
        agent_id: on the platform.
        catalogue: of the tenant.

    Attributes:
        part: which of the three parts its calls belong to.
        calling: whether `keep_calling` makes another call.
        demand: of a call that begins now.
        calls: calls by part and demand; a call during which the demand changed counts as EITHER.
        served, denied: by part and demand, how many were executed and how many were refused by policy.
        unanswered: calls that got no whole answer.
    """

    def __init__(
        self,
        runtime: LoadRuntime,
        tenant: ProvisionedTenant,
        password: str,
        number: int,
        agent_id: str,
        catalogue: Catalogue,
    ) -> None:
        self._runtime = runtime
        self._tenant = tenant.name
        self._number = number
        self._connection = runtime.connection()
        self._template = catalogue.execute(agent_id, TOOL)
        self.agent_id = agent_id
        self.account = Account(runtime, self._connection, tenant, password, number, refresh_place=0.5)
        self.part = 0
        self.demand = Demand.ALLOW
        self.calling = True
        self.begun = 0
        self.unanswered = 0
        self.calls: dict[tuple[int, Demand], int] = {}
        self.served: dict[tuple[int, Demand], int] = {}
        self.denied: dict[tuple[int, Demand], int] = {}

    def log_in(self) -> bool:
        """Gets a token; whether there is one."""
        return self.account.login(window=-1) or self.account.login(window=-1)

    def call(self) -> None:
        """One call, checked against what is demanded at its begin, unless that changes before its end."""
        runtime = self._runtime
        sequence = self.begun
        request_id = runtime.request_id(self._number, sequence)
        request = b"".join((self._template.head, self.account.headers, request_id.encode(), self._template.tail))
        start_s = runtime.admit()
        part, demand = self.part, self.demand
        self.begun += 1
        reply = self._connection.exchange(request)
        end_s = time.monotonic()
        if self.demand is not demand:
            demand = Demand.EITHER
        outcome = reply.failure or outcome_of(runtime.dialect.answers, demand, reply.status, reply.body, request_id)
        runtime.record(
            self._tenant,
            self._number,
            sequence,
            part,
            True,
            Operation.EXECUTE,
            outcome,
            reply,
            start_s,
            start_s,
            end_s,
        )
        key = (part, demand)
        self.calls[key] = self.calls.get(key, 0) + 1
        self.served[key] = self.served.get(key, 0) + (200 <= reply.status < 300)
        self.denied[key] = self.denied.get(key, 0) + (reply.status in (401, 402, 403))
        self.unanswered += outcome in (Outcome.TIMEOUT, Outcome.TRANSPORT_ERROR)

    def keep_calling(self) -> None:
        """Calls again and again, until `calling` is false; the last call ends as every other, with its record."""
        while self.calling:
            self.call()
            gevent.sleep(PAUSE_S)


def outcome_of(
    rules: Mapping[Operation, AnswerRule], demand: Demand, status: int, body: bytes, request_id: str
) -> Outcome:
    """The outcome of a call under a demand; EITHER takes an execution or a denial."""
    # An attack's rule is the rule of any call that must be denied.
    denied = Operation.ATTACK_PROMPT_INJECTION
    must_be_denied = demand is Demand.DENY or (demand is Demand.EITHER and status == rules[denied].status)
    return classify(rules, denied if must_be_denied else Operation.EXECUTE, status, body, request_id)


class Fanout:
    """The fan-out of one run.

    Args:
        spec: its session.
        operator_email, operator_password: credentials that may change permissions.
    """

    def __init__(self, spec: LoadSpec, operator_email: str, operator_password: str) -> None:
        self._spec = spec
        profile = spec.plan.profile.fanout
        self._calls_per_agent = profile.calls_per_agent
        tenants = {tenant.name: tenant for tenant in spec.provisioned.tenants}
        tenant = tenants[profile.tenant]
        self._tenant = tenant
        self._process = LoadProcess(spec, 0, due_unsent=dict, begun=self._begun)
        self._runtime = self._process.runtime
        catalogue = Catalogue(self._runtime.authority, self._runtime.dialect, tenant, other_tenant_id="")
        password = tenant_password(operator_password, spec.plan.run_id, tenant.name)
        self._agents = [
            FanoutAgent(self._runtime, tenant, password, number, agent_id, catalogue)
            for number, agent_id in enumerate(tenant.fanout_agents[: profile.agents])
        ]
        self._revoked = self._agents[: profile.revoked_agents]
        self._operator = OperatorCalls(self._runtime, operator_email, operator_password, tenant.tenant_id)
        self._live = LiveFigures(spec.session)
        self._zero_s: float | None = None

    def run(self) -> int:
        """Runs the three parts.

        Returns:
            The exit code.
        """
        self._process.start()
        publisher = gevent.spawn(self._publish)
        failure = ""
        try:
            self._check()
            self._log_in()
            self._call_together()
            self._revoke_and_regrant()
        except (OperatorRefused, _GivenUp) as reason:
            failure = str(reason)
        except LeaseLost:
            failure = "the lease has expired"
        if failure:
            self._process.fail(failure)
        publisher.kill()
        self._write_result()
        self._process.finish()
        tell(Failed(reason=failure) if failure else Finished())
        return EXIT_FAILED if failure else EXIT_FINISHED

    def _check(self) -> None:
        wanted = self._spec.plan.profile.fanout.agents
        if len(self._agents) < wanted:
            raise _GivenUp(f"tenant {self._tenant.name} has {len(self._agents)} fan-out agents, planned {wanted}")

    def _log_in(self) -> None:
        self._operator.log_in()
        logins = []
        for agent in self._agents:
            logins.append(gevent.spawn(agent.log_in))
            gevent.sleep(1.0 / self._spec.session.spawn_per_second)
        gevent.joinall(logins, raise_error=True)
        failed = sum(1 for login in logins if not login.value)
        if failed:
            raise _GivenUp(f"{failed} of {len(logins)} logins of tenant {self._tenant.name} gave no token")

    def _call_together(self) -> None:
        self._zero_s = time.monotonic()
        self._runtime.zero_s = self._zero_s
        zero_us = self._runtime.clock.to_us(self._zero_s)
        tell(Zeroed(zero_us=zero_us))
        for _ in range(self._calls_per_agent):
            gevent.joinall([gevent.spawn(agent.call) for agent in self._agents], raise_error=True)

    def _revoke_and_regrant(self) -> None:
        permissions = {agent: self._operator.permission_id(agent.agent_id, TOOL) for agent in self._revoked}
        for agent in self._agents:
            agent.part = 1
        callers = [gevent.spawn(agent.keep_calling) for agent in self._agents]
        try:
            try:
                self._revoke(permissions)
                self._wait_for_calls(callers, part=1)
            finally:
                # Whatever happened: the permissions that provisioning gave are given back.
                self._regrant()
            self._wait_for_calls(callers, part=2)
        finally:
            # A call that is under way ends before the result is written: each begun call has its record.
            for agent in self._agents:
                agent.calling = False
            gevent.joinall(callers)

    def _revoke(self, permissions: Mapping[FanoutAgent, str]) -> None:
        for agent, permission_id in permissions.items():
            agent.demand = Demand.EITHER
            self._operator.revoke(agent.agent_id, permission_id)
            agent.demand = Demand.DENY

    def _regrant(self) -> None:
        for agent in self._agents:
            if agent not in self._revoked:
                agent.part = 2
        for agent in self._revoked:
            if agent.demand is Demand.ALLOW:
                continue
            agent.demand = Demand.EITHER
            self._operator.grant(agent.agent_id, TOOL)
            agent.part = 2
            agent.demand = Demand.ALLOW

    def _wait_for_calls(self, callers: Sequence[gevent.Greenlet], part: int) -> None:
        limit_s = time.monotonic() + PART_LIMIT_S
        wanted = {
            agent: (part, Demand.DENY if part == 1 and agent in self._revoked else Demand.ALLOW)
            for agent in self._agents
        }
        while any(agent.calls.get(key, 0) < self._calls_per_agent for agent, key in wanted.items()):
            gevent.sleep(0.05)
            for caller in callers:
                if caller.ready():
                    raise _GivenUp(f"an agent stopped calling: {type(caller.exception or LeaseLost()).__name__}")
            if time.monotonic() > limit_s:
                # Not a fault of ours: the counts say which calls are missing.
                logger.warning("part %d ended with calls missing after %g s", part, PART_LIMIT_S)
                return

    def _write_result(self) -> None:
        deny, allow = (1, Demand.DENY), (2, Demand.ALLOW)
        result = FanoutResult(
            calls=sum(agent.begun for agent in self._agents),
            unanswered=sum(agent.unanswered for agent in self._agents),
            revocations=tuple(
                RevocationEvidence(
                    agent_id=agent.agent_id,
                    calls_while_revoked=agent.calls.get(deny, 0),
                    allowed_while_revoked=agent.served.get(deny, 0),
                    calls_after_regrant=agent.calls.get(allow, 0),
                    denied_after_regrant=agent.denied.get(allow, 0),
                )
                for agent in self._revoked
            ),
        )
        try:
            replace_file(self._spec.control.fanout, msgspec.json.encode(result))
        except OSError as error:
            self._process.fail(f"the fan-out's result cannot be written: {error.strerror}")

    def _begun(self) -> dict[str, int]:
        return {self._tenant.name: sum(agent.begun for agent in self._agents)}

    def _publish(self) -> None:
        while True:
            now = time.monotonic()
            outcomes = {outcome.value: count for outcome, count in self._runtime.outcomes.items() if count}
            self._live.take(now, 0, len(self._agents), outcomes, self._runtime.take_latencies())
            progress = self._live.progress(now, None if self._zero_s is None else now - self._zero_s)
            # The length of the fan-out is not planned, so there is no time left to tell.
            progress = msgspec.structs.replace(progress, seconds_left=0.0)
            try:
                replace_file(self._spec.control.progress, msgspec.json.encode(progress))
            except OSError as error:
                logger.warning("the live figures cannot be written: %s", error.strerror)
            gevent.sleep(1.0)


class _GivenUp(Exception):
    """The fan-out cannot go on; the text says why."""


def main(arguments: Sequence[str], environment: Callable[[str], str | None] = os.environ.get) -> int:
    """Runs the fan-out; the exit code says how it ended."""
    (spec_path,) = arguments
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s fanout %(levelname)s %(message)s")
    spec = read_spec(Path(spec_path))
    target = spec.plan.target
    email, password = environment(target.admin_email_env), environment(target.admin_password_env)
    if not email or not password:
        tell(Failed(reason=f"{target.admin_email_env} or {target.admin_password_env} is empty"))
        return EXIT_FAILED
    return Fanout(spec, email, password).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
