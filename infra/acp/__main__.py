"""The command line of the reference platform: `python -m infra.acp ...`.

Owns nothing but the words; each command is a function of another module, imported only when it is asked for.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

OPERATOR_COMMANDS = {
    "verify-chain": "infra.acp.verify_chain",
    "reconcile": "infra.acp.reconcile",
    "backfill": "infra.acp.backfill",
}
ROLES = {
    "gateway": "infra.acp.gateway.main",
    "metrics": "infra.acp.gateway.metrics_server",
    "audit": "infra.acp.workers.audit",
    "usage": "infra.acp.workers.usage",
    "flight": "infra.acp.workers.flight",
    "sealer": "infra.acp.workers.sealer",
    "graph": "infra.acp.workers.graph",
}
BAD_ARGUMENTS = 254


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in OPERATOR_COMMANDS:
        return int(importlib.import_module(OPERATOR_COMMANDS[arguments[0]]).main(arguments[1:]))
    options = _parser().parse_args(arguments)
    if options.command == "run":
        return _run(options.role)
    if options.command == "fault":
        return _fault(options)
    return _stack(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="acp", description="The reference platform, on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start PostgreSQL, Redis, the workers and the gateway, unless they run")
    up.add_argument("--workers", type=int, help="gateway processes (default: $ACP_GATEWAY_WORKERS, else 2)")
    up.add_argument("--fresh", action="store_true", help="begin with empty stores")
    up.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME[:p=v,...]",
        help="a fault to begin with, beside those of $ACP_FAULTS; may be repeated",
    )
    down = commands.add_parser("down", help="stop all of it")
    status = commands.add_parser("status", help="what runs")
    env = commands.add_parser("env", help="print the variables that reach it, for `eval`; holds secrets")
    fault = commands.add_parser("fault", help="list, set or clear the faults of the running stack")
    doing = fault.add_subparsers(dest="action", required=True)
    listing = doing.add_parser("list", help="every fault there is, and which are set")
    listing.add_argument("--markdown", action="store_true", help="print them as the tables of the documentation")
    setting = doing.add_parser("set", help="set one in every process that it concerns")
    setting.add_argument("name")
    setting.add_argument("parameters", nargs="*", metavar="p=v", help="parameters instead of their defaults")
    clearing = doing.add_parser("clear", help="clear one, or all; what it did to the stores stays")
    clearing.add_argument("name", nargs="?")
    for command in (up, down, status, env, listing, setting, clearing):
        command.add_argument("--json", action="store_true", help="print JSON")
    run = commands.add_parser("run", help="run one process of the platform in the foreground")
    run.add_argument("role", choices=[*ROLES, "supervisor"])
    for name, module in OPERATOR_COMMANDS.items():
        commands.add_parser(name, help=f"see `acp {name} --help`", add_help=False).set_defaults(module=module)
    return parser


def _run(role: str) -> int:
    if role == "supervisor":
        from infra.acp import state, supervisor

        return supervisor.main(state.StateDirectory(state.default_path()))
    from infra.acp import admin, faults, settings

    try:
        found = settings.from_environment()
        with admin.serving(found, role):
            return int(importlib.import_module(ROLES[role]).main(found))
    except (settings.SettingsError, faults.FaultError) as error:
        print(f"acp run {role}: {error}", file=sys.stderr)
        return BAD_ARGUMENTS


def _stack(options: argparse.Namespace) -> int:
    from infra.acp import faults, stack, state

    directory = state.StateDirectory(state.default_path())
    try:
        if options.command == "up":
            named = ";".join([os.environ.get(faults.ENVIRONMENT_VARIABLE, ""), *options.fault])
            result = stack.up(directory, workers=options.workers, fresh=options.fresh, set_faults=faults.parse(named))
            report = stack.status(directory) | {"was_up": result.was_up, "duration_s": round(result.duration_s, 2)}
            said = "runs already" if result.was_up else f"is up after {result.duration_s:.1f} s"
            _print(options, report, f"the stack {said}: {report['gateway_url']} (state in {directory.path})")
        elif options.command == "down":
            was_up = stack.down(directory)
            _print(options, {"was_up": was_up}, "the stack is stopped" if was_up else "no stack was running")
        elif options.command == "status":
            report = stack.status(directory)
            _print(options, report, _as_table(report))
            return 0 if report["phase"] == "up" else 1
        else:
            found = stack.environment(directory)
            _print(options, found, "\n".join(f"export {name}={shlex.quote(value)}" for name, value in found.items()))
    except faults.FaultError as error:
        print(f"acp {options.command}: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    except (stack.StackError, state.StateError, OSError) as error:
        print(f"acp {options.command}: {error}", file=sys.stderr)
        return 1
    return 0


def _fault(options: argparse.Namespace) -> int:
    from infra.acp import fault_control, faults, state

    directory = state.StateDirectory(state.default_path())
    try:
        if options.action == "set":
            told = fault_control.set_fault(
                directory, options.name, faults.assignments(options.name, options.parameters)
            )
            shown = ", ".join(f"{key}={value}" for key, value in told.values.items() if key != "set_at")
            data: dict[str, Any] = {"fault": told.name, "processes": told.processes, "parameters": dict(told.values)}
            _print(options, data, f"fault {told.name} is set in {', '.join(told.processes)}: {shown}")
        elif options.action == "clear":
            told = fault_control.clear_fault(directory, options.name)
            what = f"fault {told.name} is" if told.name else "all faults are"
            data = {"fault": told.name or None, "processes": told.processes}
            _print(options, data, f"{what} cleared in {', '.join(told.processes)}; what it did to the stores stays")
        elif options.markdown:
            print(faults.as_markdown(), end="")
        else:
            report = fault_control.listing(directory)
            _print(options, report, _faults_as_table(report))
    except faults.FaultError as error:
        print(f"acp fault {options.action}: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    except (fault_control.ControlError, state.StateError, OSError) as error:
        print(f"acp fault {options.action}: {error}", file=sys.stderr)
        return 1
    return 0


def _faults_as_table(report: dict[str, Any]) -> str:
    lines = []
    for name, item in report["faults"].items():
        state = f"set in {', '.join(item['set_in'])}" if item["set_in"] else "off"
        parameters = ", ".join(f"{key}={value}" for key, value in item["parameters"].items() if key != "set_at")
        lines.append(f"{name:<26} {'/'.join(item['roles']):<16} {state:<24} {parameters}\n{'':<26} {item['summary']}")
    return "\n".join([*lines, "" if report["is_up"] else "no stack runs; these are the faults that one can be given"])


def _print(options: argparse.Namespace, data: object, text: str) -> None:
    print(json.dumps(data, indent=1) if options.json else text)


def _as_table(report: dict[str, object]) -> str:
    processes = report["processes"]
    lines = [f"phase {report['phase']}, state in {report['state_dir']}"]
    if isinstance(processes, list):
        for item in processes:
            state = "alive" if item["alive"] else "dead"
            ports = ",".join(str(port) for port in item["ports"]) or "-"
            megabytes = item["rss_bytes"] / 2**20
            lines.append(
                f"{item['name']:<12} {item['pid']:>8} {state:<5} {ports:<6} {megabytes:7.1f} MiB,"
                f" restarts: {item['restarts']}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
