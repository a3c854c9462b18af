"""`python -m soak_pipeline.defs.launch --run-id RUN_ID --job JOB`: one soak run in this process, for `soak run`.

Standard input brings the request (JSON of `SoakRequest` on one line) and is the lifeline: when it ends, whoever wanted
the run is gone, and the run is cancelled as by SIGINT or SIGTERM. The end of this process is watched by whoever holds
the lifeline. The run is recorded in the Dagster instance of `DAGSTER_HOME`, where the UI shows it later.

Exit codes: 0 the run came to its verdict, whatever it is; 3 the harness failed; 254 the request, the target file or the
environment is wrong; 130 cancelled.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import msgspec
from dagster_shared.error import SerializableErrorInfo

from soak_pipeline.defs import cancellation, guarding
from soak_pipeline.defs.abandoned_runs import fail_abandoned_runs
from soak_pipeline.defs.assets.report import PROMOTION_CHECK
from soak_pipeline.defs.partitions import ensure_soak_run
from soak_pipeline.defs.resources import REPORTS_DIR_VARIABLE, harness_from_environment
from soak_pipeline.defs.run_config import run_config_of
from soak_pipeline.model import errors
from soak_pipeline.model.plan import checked_run_id
from soak_pipeline.model.progress import OPERATOR_MARK
from soak_pipeline.model.request import SoakRequest
from soak_pipeline.stages.dagster_home import prepare_dagster_home

EXIT_CANCELLED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the job to its end; see the module for the exit codes."""
    parser = argparse.ArgumentParser(prog="python -m soak_pipeline.defs.launch")
    parser.add_argument("--run-id", required=True, help="UTC timestamp such as 20261123T073000Z; the run's partition")
    parser.add_argument("--job", required=True, help="job to run, such as smoke_soak")
    parser.add_argument("--reports", type=Path, help=f"folder of the results; by default {REPORTS_DIR_VARIABLE}")
    options = parser.parse_args(arguments)
    if options.reports is not None:
        os.environ[REPORTS_DIR_VARIABLE] = str(options.reports.absolute())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cancellation.remember_signals()
    try:
        request = msgspec.json.decode(sys.stdin.buffer.readline(), type=SoakRequest)
        watch_lifeline(sys.stdin.fileno())
        return launch(checked_run_id(options.run_id), options.job, request)
    except msgspec.DecodeError as error:
        return _ends(f"the request on standard input cannot be read: {error}", errors.EXIT_BAD_INPUT)
    except errors.SoakError as error:
        return _ends(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _ends("cancelled before the run began", EXIT_CANCELLED)
    except Exception as error:
        traceback.print_exc()
        return _ends(f"the run could not be started or recorded: {error}", errors.EXIT_HARNESS_FAILED)


def launch(run_id: str, job_name: str, request: SoakRequest) -> int:
    """Adds the partition, runs the job in this process, and says how it ended as an exit code."""
    from soak_pipeline.definitions import defs

    prepare_dagster_home(_dagster_home())
    guarding.leave_to_starter()
    job = defs().resolve_job_def(job_name)
    with dg.DagsterInstance.get() as instance:
        fail_abandoned_runs(instance, harness_from_environment(), _say)
        ensure_soak_run(instance, run_id)
        result = job.execute_in_process(
            instance=instance,
            partition_key=run_id,
            run_config={**run_config_of(request), "loggers": {"console": {}}},
            raise_on_error=False,
        )
        return _ended(result, instance)


def watch_lifeline(descriptor: int) -> None:
    """Cancels this process's run when a stream ends; what is written to it after the request is passed over."""

    def wait() -> None:
        while os.read(descriptor, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def _dagster_home() -> Path:
    """Where Dagster looks for its home.

    Raises:
        BadInput: the variable is not set.
    """
    if not os.environ.get("DAGSTER_HOME"):
        raise errors.BadInput("DAGSTER_HOME", ["is not set; name the folder where Dagster keeps its runs"])
    return Path(os.environ["DAGSTER_HOME"])


def _ended(result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> int:
    """0 when the run was judged, 130 when it was cancelled, else the code of the error that ended it."""
    if cancellation.asked():
        _record_cancellation(instance, result.run_id)
        return _ends("the run is cancelled", EXIT_CANCELLED)
    if any(check.check_name == PROMOTION_CHECK for check in result.get_asset_check_evaluations()):
        return errors.EXIT_PASS
    code = errors.EXIT_HARNESS_FAILED
    for failure in (event for event in result.all_events if event.is_step_failure):
        cause = _cause_of(failure)
        code = _EXIT_CODES.get(cause.cls_name or "", code)
        _say(f"stage {failure.step_key} failed: {cause.message.strip().partition(': ')[2]}")
    return code


def _record_cancellation(instance: dg.DagsterInstance, dagster_run_id: str) -> None:
    """Dagster takes a run that a signal stopped for one that failed, unless its UI had asked for it."""
    run = instance.get_run_by_id(dagster_run_id)
    if run is not None and run.status is not dg.DagsterRunStatus.CANCELED:
        instance.report_run_canceled(run, "The run was stopped by a signal or by the end of its lifeline.")


def _cause_of(failure: dg.DagsterEvent) -> SerializableErrorInfo:
    """The innermost error of a failed step: the stage's own, not Dagster's around it."""
    error = failure.step_failure_data.error
    assert error is not None
    return error.cause or error


_EXIT_CODES = {
    error.__name__: error.exit_code for error in (errors.BadInput, errors.LoadRefused, errors.AlreadyRunning)
}


def _say(line: str) -> None:
    """Prints a line for the operator."""
    print(f"{OPERATOR_MARK}{line}", flush=True)


def _ends(line: str, exit_code: int) -> int:
    """Prints the last line for the operator, and passes the exit code through."""
    _say(line)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
