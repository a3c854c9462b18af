"""The `soak` command: reads arguments, calls `commands`, turns errors into one clear message and an exit code.

Each command imports what it needs when it runs, so that `soak gate` starts in a fraction of a second.
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import click
import typer

from soak_pipeline.model.errors import EXIT_BAD_INPUT, EXIT_HARNESS_FAILED, BadInput, SoakError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    # A traceback with local variables would show secrets.
    pretty_exceptions_enable=False,
    help="Soak tests that a release can be gated on."
    " Exit codes: 0 PASS, 1 FAIL, 2 INCONCLUSIVE, 3 the harness failed, 254 bad arguments.",
)

Reports = Annotated[Path, typer.Option(envvar="SOAK_REPORTS_DIR", help="Folder with the results.")]
REPORTS = Path("reports")


class StackAction(StrEnum):
    """What can be done with the embedded stack."""

    UP = "up"
    DOWN = "down"
    STATUS = "status"
    ENV = "env"


class Level(StrEnum):
    """The promotion that a gate guards."""

    PULL_REQUEST = "pull_request"
    NIGHTLY = "nightly"
    PRE_RELEASE = "pre_release"


@app.command()
def run(
    profile: Annotated[
        str, typer.Option(envvar="SOAK_PROFILE", help="smoke, pull_request, nightly or pre_release.")
    ] = "smoke",
    target: Annotated[Path | None, typer.Option(help="Target file; the embedded stack by default.")] = None,
    users: Annotated[
        int | None, typer.Option(envvar="LOCUST_USERS", help="Virtual users instead of the profile's.")
    ] = None,
    run_time: Annotated[
        str | None, typer.Option(envvar="LOCUST_RUN_TIME", help="Length of the soak, such as 60m or 1h30m.")
    ] = None,
    release: Annotated[str, typer.Option(help="What is under test; the gate asks for it by this name.")] = "",
    commit: Annotated[str, typer.Option(help="Commit of the platform.")] = "",
    seed: Annotated[int | None, typer.Option(help="Seed of the load; derived from the run id by default.")] = None,
    confirm_production: Annotated[
        str, typer.Option(help="Name of the target, typed again, when it is a production one.")
    ] = "",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change a threshold: NAME=VALUE.")] = None,
    reports: Reports = REPORTS,
) -> None:
    """Run one soak through Dagster and print its verdict."""
    from rich.console import Console

    from soak_pipeline.commands.run import run_soak
    from soak_pipeline.model.request import DEFAULT_TARGET_FILE, SoakRequest

    request = SoakRequest(
        profile=profile,
        target_path=str((target or Path(DEFAULT_TARGET_FILE)).absolute()),
        users=users,
        run_time=run_time,
        release=release,
        commit=commit,
        seed=seed,
        confirm_production=confirm_production,
        thresholds=_assignments(set_ or []),
    )
    raise typer.Exit(run_soak(request, reports, os.environ, Console()))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def stack(action: StackAction, context: typer.Context) -> None:
    """Start, stop or look at the embedded reference platform; further options go to `acp`."""
    from soak_pipeline.commands.embedded_stack import stack_command

    raise typer.Exit(stack_command(action.value, *context.args, environment=os.environ))


@app.command()
def judge(
    run: Annotated[str, typer.Argument(help="Run id, or path of a run folder.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change a threshold: NAME=VALUE.")] = None,
    reports: Reports = REPORTS,
) -> None:
    """Judge a stored run again from its files, without the platform. Nothing is written."""
    from soak_pipeline.commands.stored_run import judge_stored

    raise typer.Exit(judge_stored(_folder_path(run, reports), _assignments(set_ or [])))


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="Run id, or path of a run folder.")],
    reports: Reports = REPORTS,
) -> None:
    """Judge a stored run by its own plan and write its report again."""
    from soak_pipeline.commands.stored_run import report_stored

    raise typer.Exit(report_stored(_folder_path(run, reports)))


@app.command()
def gate(
    level: Annotated[Level, typer.Option(help="The promotion that is asked for.")],
    release: Annotated[str, typer.Option(help="The release, as the run was given it.")],
    max_age: Annotated[str, typer.Option(help="An older run answers no more, such as 24h.")] = "24h",
    json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
    reports: Reports = REPORTS,
) -> None:
    """Say whether a release may be promoted: exit 0 only if its newest run of that level passed."""
    from datetime import UTC, datetime, timedelta

    import msgspec

    from soak_pipeline.commands.gate import answer
    from soak_pipeline.model.profile import duration_s_of

    decision = answer(reports, level.value, release, timedelta(seconds=duration_s_of(max_age)), datetime.now(UTC))
    if json:
        print(msgspec.json.encode(decision).decode())
    else:
        print(f"{decision.verdict} {decision.level} {decision.release}: {decision.why}")
    raise typer.Exit(decision.verdict.exit_code)


@app.command()
def clean(
    run: Annotated[str, typer.Argument(help="Run id, or path of a run folder.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reports: Reports = REPORTS,
) -> None:
    """Delete the rows of a run's tenants from the target; never from a production one."""
    from soak_pipeline.commands.clean import clean_run

    def confirmed(question: str) -> bool:
        return yes or typer.confirm(question)

    raise typer.Exit(clean_run(_folder_path(run, reports), os.environ, confirmed))


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000,
    reports: Reports = REPORTS,
) -> None:
    """Start the embedded stack and the Dagster UI on 127.0.0.1; Ctrl-C stops both."""
    from soak_pipeline.commands.ui import serve_ui

    raise typer.Exit(serve_ui(port, reports, os.environ))


def _folder_path(run: str, reports: Path) -> Path:
    """Path of a run folder, from a run id or a path."""
    from soak_pipeline.model.plan import checked_run_id

    return Path(run) if os.sep in run else reports / "soak" / checked_run_id(run)


def _assignments(pairs: list[str]) -> dict[str, float]:
    """Thresholds from `NAME=VALUE` words.

    Raises:
        BadInput: a word is not of that form; every problem is named.
    """
    values: dict[str, float] = {}
    problems = []
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            values[name.strip()] = float(value)
        except ValueError:
            problems.append(f"--set {pair}: expected NAME=VALUE with a number")
    if problems:
        raise BadInput("arguments", problems)
    return values


def main() -> None:
    """Entry point of the `soak` command."""
    try:
        code = app(standalone_mode=False)
    except SoakError as error:
        print(f"soak: {error}", file=sys.stderr)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = EXIT_BAD_INPUT
    except (KeyboardInterrupt, click.Abort):
        print("soak: interrupted", file=sys.stderr)
        code = EXIT_HARNESS_FAILED
    sys.exit(code)


if __name__ == "__main__":
    main()
