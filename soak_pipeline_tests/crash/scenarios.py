"""What can break in mid-soak: one scenario each, as data. How to inflict it, and what must come of it.

Nothing here measures; `observing` does.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Route(StrEnum):
    """How the run was started."""

    UI = "soak ui"
    COMMAND = "soak run"


class Scene(Protocol):
    """What an infliction may lay hands on: processes of one run that soaks."""

    @property
    def reports(self) -> Path:
        """The reports folder of the run."""

    def load_pid(self, role: str) -> int:
        """A load process by its module, such as `supervision`, `master` or `worker`."""

    def run_worker_pid(self) -> int:
        """The process that carries the run out: Dagster's run worker, which is its step worker too."""

    def starter_pid(self) -> int:
        """`soak run` or `soak ui`."""

    def dagster_pid(self, words: str) -> int:
        """A process of Dagster by words of its command line."""

    def stack_pid(self, name: str) -> int:
        """A process of the reference platform by its name."""

    def prometheus_pid(self) -> int:
        """The Prometheus that the run's target names."""

    def terminate_in_the_ui(self) -> None:
        """The UI's Terminate."""


class End(StrEnum):
    """What the run is meant to do."""

    STOPS = "stops"
    GOES_ON = "goes on"
    """To its planned end, tenants blocked by its own teardown, and a verdict that says what happened."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One way to break.

    Attributes:
        name: on the command line.
        what: in the table.
        route: of the run that is broken.
        inflict: does it, and returns what undoes it when the run has ended.
        mechanism: what ends the load, and who blocks the tenants.
        says: what the verdict says of it, where the run comes to one (a regular expression).
        end: what the run is meant to do.
        soak_s: length of the soak (seconds); more where a short disturbance is within the limits.
        ends_ui: the UI does not live through it.
        small_disk: the reports folder is a small file system of its own.
        prometheus: the target names one, which scrapes the gateway.
    """

    name: str
    what: str
    route: Route
    inflict: Callable[[Scene], Callable[[], None] | None]
    mechanism: str
    says: str = ""
    end: End = End.STOPS
    soak_s: float = 30.0
    ends_ui: bool = False
    small_disk: bool = False
    prometheus: bool = False


def _kill(*pids: int, number: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        os.kill(pid, number)


def _hold(pid: int) -> Callable[[], None]:
    """Stops a process in its tracks, so that it answers nobody, until it is let go on."""
    _kill(pid, number=signal.SIGSTOP)
    return lambda: _kill(pid, number=signal.SIGCONT)


def _fill_disk(scene: Scene) -> Callable[[], None]:
    filler = scene.reports / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
    assert shutil.disk_usage(scene.reports).free < 4096
    return filler.unlink


SCENARIOS = (
    Scenario(
        name="run_worker",
        what="SIGKILL of the Dagster run worker, which is the step worker too",
        route=Route.UI,
        inflict=lambda scene: _kill(scene.run_worker_pid()),
        mechanism="load processes miss their parent; guardian, sensor `teardown_after_failure`",
    ),
    Scenario(
        name="load_supervisor",
        what="SIGKILL of the load supervisor",
        route=Route.UI,
        inflict=lambda scene: _kill(scene.load_pid("supervision")),
        mechanism="load processes miss their parent; the run goes on to `teardown`",
        says="the load supervisor was killed",
    ),
    Scenario(
        name="locust_worker",
        what="SIGKILL of a Locust worker, the other one lives",
        route=Route.UI,
        inflict=lambda scene: _kill(scene.load_pid("worker")),
        mechanism="the load supervisor ends the session; the run goes on to `teardown`",
        says="load worker 0 was lost: killed by SIGKILL",
    ),
    Scenario(
        name="locust_master",
        what="SIGKILL of the Locust master",
        route=Route.UI,
        inflict=lambda scene: _kill(scene.load_pid("master")),
        mechanism="the load supervisor ends the session; the run goes on to `teardown`",
        says="the Locust master was lost: killed by SIGKILL",
    ),
    Scenario(
        name="terminate",
        what="Terminate in the UI",
        route=Route.UI,
        inflict=lambda scene: scene.terminate_in_the_ui(),
        mechanism="`finally` of the stage",
    ),
    Scenario(
        name="postgres",
        what="PostgreSQL of the platform restarted",
        route=Route.UI,
        inflict=lambda scene: _kill(scene.stack_pid("postgres"), number=signal.SIGINT),
        mechanism="the run goes on to `teardown`",
        says="requests went wrong",
        end=End.GOES_ON,
    ),
    Scenario(
        name="redis",
        what="Redis of the platform restarted",
        route=Route.UI,
        inflict=lambda scene: _kill(scene.stack_pid("redis"), number=signal.SIGTERM),
        mechanism="the run goes on to `teardown`",
        says="requests went wrong",
        end=End.GOES_ON,
    ),
    Scenario(
        name="metrics",
        what="`/metrics` of the gateway answers no more",
        route=Route.UI,
        inflict=lambda scene: _hold(scene.stack_pid("metrics")),
        mechanism="the run goes on to `teardown`",
        says="longest gap in the telemetry of the platform",
        end=End.GOES_ON,
        soak_s=60.0,
    ),
    Scenario(
        name="daemon",
        what="SIGKILL of the Dagster daemon",
        route=Route.UI,
        inflict=lambda scene: _kill(scene.dagster_pid("dagster._daemon run")),
        mechanism="`soak ui` misses the daemon and ends the run worker; `finally` of the stage",
        ends_ui=True,
    ),
    Scenario(
        name="soak_ui",
        what="SIGKILL of the command",
        route=Route.UI,
        inflict=lambda scene: _kill(scene.starter_pid()),
        mechanism="guardian of the UI ends the run worker, Dagster and the platform",
        ends_ui=True,
    ),
    Scenario(
        name="soak_run",
        what="SIGKILL of the command",
        route=Route.COMMAND,
        inflict=lambda scene: _kill(scene.starter_pid()),
        mechanism="lifeline of the pipeline, `finally` of the stage; guardian stops the platform",
    ),
    Scenario(
        name="pipeline",
        what="SIGKILL of the pipeline's process",
        route=Route.COMMAND,
        inflict=lambda scene: _kill(scene.run_worker_pid()),
        mechanism="load processes miss their parent; `soak run` blocks",
    ),
    Scenario(
        name="everything",
        what="SIGKILL of the command, its pipeline and the load supervisor at once",
        route=Route.COMMAND,
        inflict=lambda scene: _kill(scene.starter_pid(), scene.run_worker_pid(), scene.load_pid("supervision")),
        mechanism="load processes miss their parent; guardian blocks and stops the platform",
    ),
    Scenario(
        name="ctrl_c",
        what="Ctrl-C",
        route=Route.COMMAND,
        inflict=lambda scene: _kill(scene.starter_pid(), number=signal.SIGINT),
        mechanism="`finally` of the stage",
    ),
    Scenario(
        name="sigterm",
        what="SIGTERM",
        route=Route.COMMAND,
        inflict=lambda scene: _kill(scene.starter_pid(), number=signal.SIGTERM),
        mechanism="`finally` of the stage",
    ),
    Scenario(
        name="prometheus",
        what="SIGKILL of the Prometheus that the target names",
        route=Route.COMMAND,
        inflict=lambda scene: _kill(scene.prometheus_pid()),
        mechanism="the run goes on to `teardown`",
        says="has not the gateway's histogram of the soak: tenant A: Prometheus: ",
        end=End.GOES_ON,
        prometheus=True,
    ),
    Scenario(
        name="disk_full",
        what="the disk of `reports/` full",
        route=Route.COMMAND,
        inflict=_fill_disk,
        mechanism="load processes end when records cannot be written; `finally` of the stage, `soak run` blocks",
        small_disk=True,
    ),
)
