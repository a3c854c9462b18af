"""`soak run --dry-run`: what a run would send, where to, how fast and for how long; and sends nothing.

Owns the words. Looks names up and reads the target file and the environment, as a run does; never connects to anything.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from soak_pipeline.commands.embedded_stack import stack_environment
from soak_pipeline.criteria.power.preview import preview
from soak_pipeline.criteria.power.words import table_lines
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.errors import EXIT_PASS
from soak_pipeline.model.plan import (
    FANOUT_PARTS,
    FANOUT_SESSION,
    SOAK_SESSION,
    LoadSession,
    Plan,
    fairness_session,
    run_id_of,
    soak_session,
)
from soak_pipeline.model.request import SoakRequest
from soak_pipeline.model.sizing import MEASURING_S, REQUESTS_MOST
from soak_pipeline.model.target import StopLever
from soak_pipeline.model.traffic import Kind, Phase
from soak_pipeline.prove.platform import PLATFORM
from soak_pipeline.stages.provision import plan_of
from soak_pipeline.target.addresses import addresses_of
from soak_pipeline.target.config import allowed_hosts, refuse_unless_confirmed, refuse_unless_load_allowed, resolve
from soak_pipeline.target.preflight import ruled_out
from soak_pipeline.target.provisioning import agent_names, tenant_title
from soak_pipeline.target.stop import PROBE_CALLS, PROBE_S


def dry_run(request: SoakRequest, reports: Path, environment: Mapping[str, str]) -> int:
    """Prints what `soak run` would do with these arguments.

    Returns:
        0: a run would begin.

    Raises:
        BadInput, LoadRefused: as a run would, before anything is sent.
    """
    plan = plan_of(request, run_id_of(datetime.now(UTC)), environment)
    refuse_unless_confirmed(plan.target, production_confirmed_as=request.confirm_production)
    for line in _lines(plan, _gateway(plan, request, environment), RunFolder(reports.absolute(), plan.run_id)):
        print(line)
    return EXIT_PASS


def _gateway(plan: Plan, request: SoakRequest, environment: Mapping[str, str]) -> str:
    """The gateway's URL and addresses; in words for a stack that this run would start."""
    if plan.target.embedded:
        running = stack_environment(environment)
        if not running:
            return f"the embedded stack on {', '.join(allowed_hosts(plan.target))}, started and stopped by the run"
        environment = {**environment, **running}
    resolved = resolve(plan.target, environment)
    refuse_unless_load_allowed(resolved, production_confirmed_as=request.confirm_production)
    return f"{resolved.gateway_url} at {', '.join(addresses_of(resolved.gateway_url))}"


def _lines(plan: Plan, gateway: str, folder: RunFolder) -> Iterator[str]:
    target, profile = plan.target, plan.profile
    kind = {True: "production, confirmed", False: "not production", None: "not said whether production"}
    yield "dry run: nothing is sent"
    yield f"target      {target.name} ({kind[target.production]}), dialect {target.dialect}"
    yield f"gateway     {gateway}"
    yield f"load goes   to {', '.join(allowed_hosts(target))} only"
    yield f"run         level {profile.name}, seed {plan.seed}, release {plan.release or 'not given'}, {folder.path}"
    yield f"policy      {plan.policy}{'; changed: ' + ', '.join(plan.adjustments) if plan.adjustments else ''}"
    if profile.fit_to_machine:
        yield (
            f"size        at most as below: the run first measures for {MEASURING_S:g} s, with at most"
            f" {REQUESTS_MOST:,} calls, what this machine carries, and takes no more than that"
        )
    yield ""
    yield "would be created"
    yield from _tenant_lines(plan)
    yield ""
    yield from _session_lines(plan)
    yield ""
    yield f"requests/s in the soak, of at most {plan.requests_per_second_max:,.0f} (hard cap)"
    yield from _rate_lines(plan)
    yield ""
    yield "what this size can decide, as far as the target file tells"
    yield from (f"  {line}" for line in table_lines(preview(plan, ruled_out(target))))
    yield ""
    yield f"teardown    {_teardown(plan)}"
    yield ""
    yield "would be run"
    yield from (f"  {shlex.join(command)}" for command in _commands(plan, folder))


def _tenant_lines(plan: Plan) -> Iterator[str]:
    for tenant in plan.tenants:
        agents = len(agent_names(plan, tenant).all())
        yield (
            f"  tenant {tenant.tenant_id} {tenant_title(plan, tenant)!r}: 1 account, {agents} agents,"
            f" rpm_limit {tenant.rpm_limit:,}"
        )


def _session_lines(plan: Plan) -> Iterator[str]:
    """One line per session and phase, and the sums."""
    looks = [fairness_session(plan, look) for look in range(_looks(plan))]
    soak = soak_session(plan)
    yield f"{'session':<12} {'phase':<9} {'seconds':>9} {'users':>7} {'requests/s':>11} {'requests':>12}"
    for session in (*looks, soak):
        for phase in dict.fromkeys(window.phase for window in session.windows):
            windows = [window for window in session.windows if window.phase is phase]
            seconds = sum(window.duration_s for window in windows)
            rate = sum(load.requests_per_second for load in windows[0].loads.values())
            users = sum(load.active_users for load in windows[0].loads.values())
            yield (
                f"{session.name:<12} {phase.value:<9} {seconds:>9,.0f} {users:>7,} {rate:>11,.1f}"
                f" {rate * seconds:>12,.0f}"
            )
        if session is looks[-1]:
            fanout = plan.profile.fanout
            yield (
                f"{FANOUT_SESSION:<12} {Phase.FANOUT.value:<9} {'':>9} {fanout.agents:>7,} {'at once':>11}"
                f" {_fanout_requests(plan):>12,}"
            )
    fewest, most = (_fanout_requests(plan) + _requests((*some, soak)) for some in (looks[:1], looks))
    numbers = f"{fewest:,.0f}" if fewest == most else f"{fewest:,.0f} to {most:,.0f}"
    why = f"; {looks[1].name} and later ones only while the fairness question is open" if len(looks) > 1 else ""
    yield f"in all {numbers} requests in {_minutes(looks[:1], soak)} to {_minutes(looks, soak)} min of load{why}"
    sign_ins = [sum(session.users.values()) for session in (*looks, soak)]
    yield (
        f"besides: {sum(sign_ins):,} sign-ins at {plan.profile.spawn_per_second:g} per second, renewed before tokens"
        " expire; the operator's few calls"
    )


def _looks(plan: Plan) -> int:
    fairness = plan.profile.fairness
    return 1 if fairness.order == "classic" else len(fairness.pairs_by_look)


def _fanout_requests(plan: Plan) -> int:
    fanout = plan.profile.fanout
    return fanout.agents * fanout.calls_per_agent * FANOUT_PARTS


def _requests(sessions: Iterable[LoadSession]) -> float:
    return sum(
        load.requests_per_second * window.duration_s
        for session in sessions
        for window in session.windows
        for load in window.loads.values()
    )


def _minutes(looks: Iterable[LoadSession], soak: LoadSession) -> str:
    return f"{sum(session.duration_s for session in (*looks, soak)) / 60:,.1f}"


def _rate_lines(plan: Plan) -> Iterator[str]:
    kinds = [kind for kind in Kind if plan.profile.mix.get(kind, 0.0) > 0.0]
    width = max(7, *map(len, plan.tenant_names))
    yield f"  {'tenant':<{width}} {'users':>7} " + " ".join(f"{kind.value:>9}" for kind in kinds) + f" {'all':>9}"
    window = next(window for window in soak_session(plan).windows if window.phase is Phase.SOAK)
    for name, load in window.loads.items():
        rates = [load.requests_per_second * load.mix.get(kind, 0.0) for kind in kinds]
        numbers = " ".join(f"{rate:>9,.2f}" for rate in (*rates, load.requests_per_second))
        yield f"  {name:<{width}} {load.active_users:>7,} {numbers}"


def _teardown(plan: Plan) -> str:
    lever = {StopLever.RPM_LIMIT: "rpm_limit 0", StopLever.KILL_SWITCH: "the kill switch"}[plan.target.stop_lever]
    names = ", ".join(tenant.name for tenant in plan.tenants)
    return (
        f"blocks tenants {names} by {lever}, then {PROBE_CALLS} calls of each in {PROBE_S:g} s must be refused;"
        " the tenants stay, `soak clean` removes what may be removed"
    )


def _commands(plan: Plan, folder: RunFolder) -> Iterator[list[str]]:
    python = Path(sys.executable).name
    if plan.target.embedded:
        yield [python, *PLATFORM, "up", "--fresh"]
    yield [
        python, "-m", "soak_pipeline.defs.launch", "--run-id", folder.run_id, "--job", f"{plan.profile.name}_soak",
    ]  # fmt: skip
    for session in (*(fairness_session(plan, look).name for look in range(_looks(plan))), FANOUT_SESSION, SOAK_SESSION):
        yield [python, "-m", "soak_pipeline.load.supervision", f"{folder.control_dir}/spec-{session}.json"]
    if plan.target.embedded:
        yield [python, *PLATFORM, "down"]
