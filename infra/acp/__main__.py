"""The command line of the reference platform: `python -m infra.acp ...`.

Owns nothing but the words; each command is a function of another module, imported only when it is asked for.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import sys
from collections.abc import Sequence

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
    return _stack(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="acp", description="The reference platform, on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start PostgreSQL, Redis, the workers and the gateway, unless they run")
    up.add_argument("--workers", type=int, help="gateway processes (default: $ACP_GATEWAY_WORKERS, else 2)")
    up.add_argument("--fresh", action="store_true", help="begin with empty stores")
    down = commands.add_parser("down", help="stop all of it")
    status = commands.add_parser("status", help="what runs")
    env = commands.add_parser("env", help="print the variables that reach it, for `eval`; holds secrets")
    for command in (up, down, status, env):
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
    from infra.acp import settings

    try:
        found = settings.from_environment()
    except settings.SettingsError as error:
        print(f"acp run {role}: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    return int(importlib.import_module(ROLES[role]).main(found))


def _stack(options: argparse.Namespace) -> int:
    from infra.acp import stack, state

    directory = state.StateDirectory(state.default_path())
    try:
        if options.command == "up":
            result = stack.up(directory, workers=options.workers, fresh=options.fresh)
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
    except (stack.StackError, state.StateError, OSError) as error:
        print(f"acp {options.command}: {error}", file=sys.stderr)
        return 1
    return 0


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
