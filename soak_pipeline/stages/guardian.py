"""`python -m soak_pipeline.stages.guardian [RUN_DIR] [-- COMMAND ...]`: stops a run when nobody else is left to do so.

Owns the lifeline between a run and its guardian: a pipe, the guardian's standard input. The guardian waits; when the
pipe ends without the word that the run is over, everybody who held it is gone (a `kill -9`, a crash of the
interpreter, the kernel's out-of-memory killer), and the guardian ends the load and blocks the tenants of the run, if it
was given one, and then runs the command, if it was given one. It never acts after a clean end, and starts no load.

Credentials arrive in its environment, as for every process of a run; its command line names the run folder only. While
it waits it holds no library but Python's own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from soak_pipeline.evidence.own_process import module_command, module_environment

MODULE = "soak_pipeline.stages.guardian"
"""As it stands on a guardian's command line."""

OVER = b"over"
LOG_FILE = "guardian.log"
TRY_EVERY_S = 3.0
PATIENCE_S = 300.0
"""How long a platform that does not answer is tried; after that the next start of a run, or an operator, has to."""

COMMAND_LIMIT_S = 600.0
DISMISSAL_LIMIT_S = 5.0


class Guardian:
    """The guarded side's hold on its guardian.

    Args:
        process: the guardian, its standard input open.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        self._process = process
        self._lifeline = process.stdin

    @property
    def lifeline(self) -> int:
        """Descriptor that keeps the guardian waiting in every process that inherits it."""
        return self._lifeline.fileno()

    def dismiss(self) -> None:
        """Says that the run is over and needs no guardian; again changes nothing."""
        if self._lifeline.closed:
            return
        with contextlib.suppress(OSError):
            self._lifeline.write(OVER + b"\n")
            self._lifeline.flush()
        with contextlib.suppress(OSError):
            self._lifeline.close()
        # Another holder of the lifeline that still lives keeps it waiting; it ends with that one.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(DISMISSAL_LIMIT_S)


def start_guardian(run_dir: Path | None, environment: Mapping[str, str], afterwards: Sequence[str] = ()) -> Guardian:
    """Starts a guardian.

    Args:
        run_dir: folder of the run to stop, which need not exist yet; None for a guardian of the command alone.
        environment: with the target's credentials; handed on as the guardian's own environment.
        afterwards: command that the guardian runs last when it has to act, such as one that stops a platform which
            nobody else is left to stop. Not for secrets: it stands on a command line.
    """
    process = subprocess.Popen(
        module_command(MODULE, *([str(run_dir)] if run_dir else []), *(["--", *afterwards] if afterwards else [])),
        env=module_environment(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Out of reach of a terminal's Ctrl-C and of whoever ends the run's process group.
        start_new_session=True,
    )
    return Guardian(process)


def watch(lifeline: int, act: Callable[[], None]) -> bool:
    """Reads a lifeline to its end; without the word that the run is over, acts.

    Returns:
        Whether it acted.
    """
    heard = b""
    while read := os.read(lifeline, 4096):
        heard = (heard + read)[-4096:]
    if OVER in heard.split():
        return False
    act()
    return True


def stop_persistently(
    stop: Callable[[], str],
    log: Callable[[str], None],
    *,
    patience_s: float = PATIENCE_S,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Tries to stop a run until nothing is left open or patience ends.

    Args:
        stop: stops the run and says in words what is still open, or nothing.
        log: takes a line for a person.
        patience_s: how long it is tried (seconds).

    Returns:
        Whether everything is stopped.
    """
    begun = clock()
    while problem := stop():
        log(problem)
        if clock() - begun > patience_s:
            log(f"given up after {clock() - begun:.0f} s; launch the job emergency_stop for this run")
            return False
        sleep(TRY_EVERY_S)
    log(f"the load is stopped and every tenant is blocked, {clock() - begun:.1f} s after the run was found gone")
    return True


def main(arguments: Sequence[str]) -> int:
    """Guards one run to its end."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    run_dirs, afterwards = [Path(word) for word in arguments[:split]], arguments[split + 1 :]
    # Who ends a terminal or a group of processes must not end the one that tidies up behind them.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    watch(sys.stdin.fileno(), lambda: _act(run_dirs, afterwards))
    return 0


def _act(run_dirs: Sequence[Path], afterwards: Sequence[str]) -> None:
    for run_dir in run_dirs:
        _stop(run_dir)
    if afterwards:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(afterwards, stdin=subprocess.DEVNULL, timeout=COMMAND_LIMIT_S, check=False)


def _stop(run_dir: Path) -> None:
    # Loaded only now: a guardian waits for hours and is hardly ever needed.
    from soak_pipeline.evidence.run_folder import RunFolder
    from soak_pipeline.stages.emergency import stop_run

    log = _Log(run_dir)
    log(f"every process that held run {run_dir.name} is gone, and the run was not over")
    stop_persistently(lambda: stop_run(RunFolder.at(run_dir), os.environ), log)


class _Log:
    """Lines of `control/guardian.log`; on a disk that is full or gone they are lost, and nothing else is."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "control" / LOG_FILE

    def __call__(self, line: str) -> None:
        with contextlib.suppress(OSError), self._path.open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
