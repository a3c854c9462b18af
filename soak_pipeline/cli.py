"""The `soak` command: reads arguments, calls `commands`, turns errors into one clear message and an exit code.

Each command imports what it needs when it runs, so that `soak gate` starts in a fraction of a second.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from soak_pipeline.model.errors import EXIT_BAD_INPUT, EXIT_HARNESS_FAILED, BadInput, SoakError

_reports = click.option(
    "--reports",
    type=click.Path(path_type=Path),
    default=Path("reports"),
    envvar="SOAK_REPORTS_DIR",
    show_default=True,
    show_envvar=True,
    help="Folder with the results.",
)
_set = click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change a threshold; may be given several times."
)
_run = click.argument("run")
_policy = click.option(
    "--policy",
    default="",
    envvar="SOAK_POLICY",
    show_envvar=True,
    metavar="FILE",
    help="Policy file, or `default`; by default the nearest soak.yaml, else the policy of this package.",
)


def _print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from soak_pipeline.evidence.harness import harness_version

    click.echo(harness_version())
    context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version, with its commit where that is known, and exit.",
)
def app() -> None:
    """Soak tests that a release can be gated on.

    Exit codes: 0 PASS, 1 FAIL, 2 INCONCLUSIVE, 3 the harness itself failed, 254 bad arguments.
    """


@app.command()
@click.option(
    "--profile",
    "--level",
    default="smoke",
    envvar="SOAK_PROFILE",
    show_default=True,
    show_envvar=True,
    help="Level of the policy: smoke, pull_request, nightly, pre_release, or one of your own.",
)
@_policy
@click.option("--target", type=click.Path(path_type=Path), help="Target file; the embedded stack by default.")
@click.option(
    "--scale", type=float, metavar="FACTOR", help="Size of the whole level, fairness and fan-out included, such as 0.1."
)
@click.option(
    "--users",
    type=int,
    envvar="LOCUST_USERS",
    show_envvar=True,
    help="Virtual users of the soak instead of the level's.",
)
@click.option(
    "--run-time", envvar="LOCUST_RUN_TIME", show_envvar=True, help="Length of the soak, such as 60m or 1h30m."
)
@click.option(
    "--fairness-order",
    type=click.Choice(["abba", "classic"]),
    help="abba: interleaved pairs of windows; classic: one long baseline, then one burst. By default the level's.",
)
@click.option("--release", default="", help="What is under test; the gate asks for it by this name.")
@click.option("--commit", default="", help="Commit of the platform.")
@click.option("--seed", type=int, help="Seed of the load; derived from the run id by default.")
@click.option(
    "--confirm-production", default="", metavar="NAME", help="Name of the target, again, when it is a production one."
)
@click.option("--dry-run", is_flag=True, help="Say what would be sent where, and send nothing.")
@_set
@_reports
def run(
    profile: str,
    policy: str,
    target: Path | None,
    scale: float | None,
    users: int | None,
    run_time: str | None,
    fairness_order: str | None,
    release: str,
    commit: str,
    seed: int | None,
    confirm_production: str,
    dry_run: bool,
    changes: tuple[str, ...],
    reports: Path,
) -> int:
    """Run one soak through Dagster and print its verdict."""
    from soak_pipeline.config.policy_file import find_policy, named_policy
    from soak_pipeline.model.request import DEFAULT_TARGET_FILE, SoakRequest

    request = SoakRequest(
        profile=profile,
        policy_path=named_policy(find_policy(policy, os.environ)),
        scale=scale,
        target_path=str((target or Path(DEFAULT_TARGET_FILE)).absolute()),
        users=users,
        run_time=run_time,
        fairness_order=fairness_order,
        release=release,
        commit=commit,
        seed=seed,
        confirm_production=confirm_production,
        thresholds=_assignments(changes),
    )
    if dry_run:
        from soak_pipeline.commands.dry_run import dry_run as say_what_would_be_sent

        return say_what_would_be_sent(request, reports, os.environ)
    from rich.console import Console

    from soak_pipeline.commands.run import run_soak

    return run_soak(request, reports, os.environ, Console())


@app.command(context_settings={"ignore_unknown_options": True})
@click.argument("action", type=click.Choice(["up", "down", "status", "env", "fault"]))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def stack(action: str, options: tuple[str, ...]) -> int:
    """Start, stop or look at the embedded reference platform, or give it a fault; further options go to `acp`."""
    from soak_pipeline.commands.embedded_stack import stack_command

    return stack_command(action, *options, environment=os.environ)


@app.command()
@click.argument("run", default="")
@_reports
def watch(run: str, reports: Path) -> int:
    """Show a run that goes on elsewhere until its verdict, and exit as it does.

    RUN is a run id, or the path of a run folder; the newest run by default. Ctrl-C ends only the showing.
    """
    from rich.console import Console

    from soak_pipeline.commands.watch import watch_run

    return watch_run(_folder_path(run, reports) if run else None, reports, os.environ, Console())


@app.command()
@_run
@_set
@_reports
def judge(run: str, changes: tuple[str, ...], reports: Path) -> int:
    """Judge a stored run again from its files, without the platform. Nothing is written.

    RUN is a run id, or the path of a run folder.
    """
    from soak_pipeline.commands.stored_run import judge_stored

    return judge_stored(_folder_path(run, reports), _assignments(changes))


@app.command()
@_run
@_reports
def report(run: str, reports: Path) -> int:
    """Judge a stored run by its own plan and write its report again.

    RUN is a run id, or the path of a run folder.
    """
    from soak_pipeline.commands.stored_run import report_stored

    return report_stored(_folder_path(run, reports))


@app.command()
@_run
@_reports
def figures(run: str, reports: Path) -> int:
    """Print what a stored run reached and used: rates, latencies, idle CPU, memory, disk.

    RUN is a run id, or the path of a run folder.
    """
    from soak_pipeline.commands.figures import print_figures

    return print_figures(_folder_path(run, reports))


@app.command()
@click.argument("reference")
@click.argument("candidate")
@click.option("--margin", default=0.05, show_default=True, help="Relative difference that counts as none.")
@_reports
def compare(reference: str, candidate: str, margin: float, reports: Path) -> int:
    """Compare a candidate run with a reference run, per tenant and metric.

    REFERENCE and CANDIDATE are run ids or paths of run folders, of one profile. Exit code 1 when anything is worse.
    """
    from soak_pipeline.commands.across_runs import compare_stored

    return compare_stored(_folder_path(reference, reports), _folder_path(candidate, reports), margin)


@app.command()
@_reports
def history(reports: Path) -> int:
    """List every stored run with its figures and change points, and write the history page."""
    from soak_pipeline.commands.across_runs import show_history

    return show_history(reports)


@app.command()
@click.option(
    "--level",
    required=True,
    help="The promotion that is asked for: a level of the policy with `gates: true`.",
)
@_policy
@click.option("--release", required=True, help="The release, as the run was given it; a git tag, for example.")
@click.option("--commit", help="Commit that the run must be of; by default any.")
@click.option("--target", metavar="NAME", help="Target that the run must be of; needed when there are several.")
@click.option("--max-age", default="24h", show_default=True, help="A run that began earlier answers no more.")
@click.option("--waivers", type=click.Path(path_type=Path), help="YAML or JSON file of criteria that need not hold.")
@click.option(
    "--format",
    "format_name",
    default="text",
    show_default=True,
    type=click.Choice(["text", "json", "junit", "markdown"]),
    help="How to answer.",
)
@_reports
def gate(
    level: str,
    policy: str,
    release: str,
    commit: str | None,
    target: str | None,
    max_age: str,
    waivers: Path | None,
    format_name: str,
    reports: Path,
) -> int:
    """Say whether a release may be promoted: exit 0 only if its newest run of that level passed, or is waived.

    In GitHub Actions the answer is also appended to the step summary.
    """
    from datetime import UTC, datetime

    from soak_pipeline.commands.gate import GateQuestion, answer
    from soak_pipeline.commands.gate_formats import FORMATS, append_step_summary
    from soak_pipeline.config.policy_file import find_policy, read_policy
    from soak_pipeline.model.profile import duration_s_of

    question = GateQuestion(
        level=level, release=release, commit=commit, target=target, max_age_s=duration_s_of(max_age)
    )
    decision = answer(reports, question, datetime.now(UTC), read_policy(find_policy(policy, os.environ)), waivers)
    print(FORMATS[format_name](decision))
    append_step_summary(decision, os.environ)
    return decision.verdict.exit_code


@app.group()
def policy() -> None:
    """Write, show, check and compare policies: every number that decides what a soak sends and must reach."""


@policy.command("init")
@click.argument("path", type=click.Path(path_type=Path), default=Path("soak.yaml"))
def policy_init(path: Path) -> int:
    """Write a policy file to start from: the default, with its comments. An existing file stays.

    PATH is soak.yaml by default.
    """
    from soak_pipeline.commands.policy import init_policy

    return init_policy(path)


@policy.command("show")
@_policy
@click.option("--level", help="Only this level, with the limits and tenants that hold for it.")
@click.option(
    "--format",
    "format_name",
    default="yaml",
    show_default=True,
    type=click.Choice(["yaml", "json"]),
    help="How to print.",
)
def policy_show(policy: str, level: str | None, format_name: str) -> int:
    """Print the effective policy and where each value comes from."""
    from soak_pipeline.commands.policy import show_policy

    return show_policy(policy, os.environ, level=level, format_name=format_name)


@policy.command("check")
@click.argument("path", default="")
def policy_check(path: str) -> int:
    """Find every problem of a policy file, with its line.

    PATH is a file; without it, the policy that `soak run` would take.
    """
    from soak_pipeline.commands.policy import check_policy

    return check_policy(path, os.environ)


@policy.command("diff")
@click.argument("one")
@click.argument("other")
def policy_diff(one: str, other: str) -> int:
    """Print what differs between two policies; exit code 1 when anything does.

    ONE and OTHER are files, or `default`.
    """
    from soak_pipeline.commands.policy import diff_policies

    return diff_policies(one, other)


@policy.command("schema")
def policy_schema() -> int:
    """Print the JSON Schema of a policy file, for editors."""
    from soak_pipeline.commands.policy import print_schema

    return print_schema()


@app.command()
@click.argument("names", nargs=-1)
@click.option("--reduced", is_flag=True, help="Only the rows that cover every criterion once, for CI.")
@click.option("--lanes", default=2, show_default=True, help="Runs that go at once, each with its own platform.")
@click.option("--first-port", default=24_000, show_default=True, help="Each lane uses 100 ports from here on.")
@click.option("--publish", type=click.Path(path_type=Path), help="Markdown file to write the matrix to.")
@click.option("--list", "as_list", is_flag=True, help="Print the catalogue and end.")
@_reports
def prove(
    names: tuple[str, ...],
    reduced: bool,
    lanes: int,
    first_port: int,
    publish: Path | None,
    as_list: bool,
    reports: Path,
) -> int:
    """Prove that the gate can fail: plant faults, and see that each is caught and rightly explained.

    NAMES are rows of the catalogue; all of them by default. Exit code 1 when a fault was missed, wrongly explained, or
    turned another criterion, or a clean run did not pass; 3 when a run gave no verdict.
    """
    from rich.console import Console

    from soak_pipeline.commands.prove import list_rows
    from soak_pipeline.commands.prove import prove as prove_rows

    if as_list:
        list_rows(Console())
        return 0
    return prove_rows(
        names,
        reports,
        os.environ,
        Console(),
        reduced=reduced,
        lanes=lanes,
        first_port=first_port,
        publish=publish,
    )


@app.command()
@click.option("--keep", type=click.IntRange(min=1), metavar="N", help="Newest runs of each level and target that stay.")
@click.option("--older-than", metavar="AGE", help="Only runs that began longer ago, such as 30d or 12h.")
@click.option(
    "--whole", is_flag=True, help="Delete whole folders; by default the records and the telemetry, and reports stay."
)
@click.option(
    "--releases",
    type=click.File(),
    help="Releases that are still asked for, one a line, `-` for standard input; by default every one of a run.",
)
@click.option("--yes", is_flag=True, help="Delete; otherwise it is only said what would go.")
@_reports
def prune(keep: int | None, older_than: str | None, whole: bool, releases: Any, yes: bool, reports: Path) -> int:
    """Delete what old runs no longer need; never what a release refers to, and only with --yes.

    A release refers to the newest run of it per level, target and commit. That run stays as it is, and so do the newest
    run of each level and target, runs that go on, and those with a file named `keep` in their folder.
    """
    from datetime import UTC, datetime

    from soak_pipeline.commands.prune import Rules, age_s_of, releases_of
    from soak_pipeline.commands.prune import prune as prune_runs

    rules = Rules(
        newest=keep,
        older_than_s=None if older_than is None else age_s_of(older_than),
        releases=None if releases is None else releases_of(releases.read()),
        whole=whole,
    )
    return prune_runs(reports, rules, os.environ, now=datetime.now(UTC), for_certain=yes)


@app.command()
@_run
@click.option("--yes", is_flag=True, help="Do not ask.")
@_reports
def clean(run: str, yes: bool, reports: Path) -> int:
    """Delete the rows of a run's tenants from the target; never from a production one.

    RUN is a run id, or the path of a run folder. The evidence in the run folder stays.
    """
    from soak_pipeline.commands.clean import clean_run

    return clean_run(_folder_path(run, reports), os.environ, lambda question: yes or click.confirm(question))


@app.command()
@click.option("--port", default=3000, show_default=True, help="Port on 127.0.0.1.")
@_reports
def ui(port: int, reports: Path) -> int:
    """Start the embedded stack and the Dagster UI on 127.0.0.1; Ctrl-C stops both."""
    from soak_pipeline.commands.ui import serve_ui

    return serve_ui(port, reports, os.environ)


def _folder_path(run: str, reports: Path) -> Path:
    """Path of a run folder, from a run id or a path.

    Raises:
        BadInput: neither.
    """
    from soak_pipeline.model.plan import checked_run_id

    return Path(run) if os.sep in run else reports / "soak" / checked_run_id(run)


def _assignments(pairs: tuple[str, ...]) -> dict[str, float]:
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
    """Entry point of the `soak` command; SIGTERM ends it as Ctrl-C does, tidily, also where a shell ignores SIGINT."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(_exit_code(lambda: app(standalone_mode=False)))


def _exit_code(command: Callable[[], Any]) -> int:
    try:
        code = command()
    except SoakError as error:
        _complain(str(error))
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_BAD_INPUT
    except (KeyboardInterrupt, click.Abort):
        _complain("interrupted")
        return EXIT_HARNESS_FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _complain(f"{where}{error.strerror or type(error).__name__}")
        return EXIT_HARNESS_FAILED
    return code if isinstance(code, int) else 0


def _complain(text: str) -> None:
    """Prints an error; it may quote what a platform or a file says, which must not act on the terminal."""
    from soak_pipeline.report.text import one_line

    lines = (line[: len(line) - len(line.lstrip(" "))] + one_line(line) for line in text.split("\n"))
    print("soak:", "\n".join(lines), file=sys.stderr)


if __name__ == "__main__":
    main()
