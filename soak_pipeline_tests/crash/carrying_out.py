"""Carries scenarios out, one after the other: start, break, watch, measure.

The start of each is the proof that the one before it left nothing in the way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import psutil

from soak_pipeline.evidence.run_folder import read_json
from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.verdict import Verdict
from soak_pipeline.report.verdict_document import VERDICT_FILE, VerdictDocument
from soak_pipeline_tests.crash import observing
from soak_pipeline_tests.crash.measurement import EVIDENCE_LIMIT_S, Measurement
from soak_pipeline_tests.crash.running import (
    PORTS,
    SHORT,
    CannotStart,
    CommandRun,
    Run,
    Surroundings,
    Ui,
    start_command_run,
    wait_for,
)
from soak_pipeline_tests.crash.scenarios import End, Route, Scenario
from soak_pipeline_tests.load.processes import load_processes
from soak_pipeline_tests.target.prometheus_server import PROMETHEUS, WITHOUT

SMALL_DISK_BYTES = 16 * 1024 * 1024
END_LIMIT_S = 240.0
"""For a broken run to come to rest, a verdict included where it goes on to one (seconds)."""

QUIET_S = 3.0
NEW_LINE = "\n"
LEFT_LIMIT_S = 20.0
"""For processes to end after the run has (seconds)."""

Say = Callable[[str], None]


def carry_out(scenarios: Sequence[Scenario], say: Say) -> Iterator[Measurement]:
    """Carries scenarios out and closes each group of them with an undisturbed run, the proof of the last scenario.

    Yields:
        What was measured, as soon as the next run soaks or cannot; a scenario whose run did not come to its soak is
        missing.
    """
    for group in _groups(scenarios):
        with _surroundings(small_disk=group[0].small_disk) as surroundings:
            yield from _carry_out_group(group, surroundings, say)


def unable(scenario: Scenario) -> str:
    """Why a scenario cannot be carried out here; empty when it can."""
    if scenario.small_disk and os.geteuid() != 0:
        return "only root can mount a file system to fill"
    if scenario.prometheus and PROMETHEUS is None:
        return WITHOUT
    return ""


def _groups(scenarios: Sequence[Scenario]) -> Iterator[list[Scenario]]:
    """Scenarios that share one directory: those of a route, and each of those with a disk of its own."""
    for route in Route:
        for small_disk in (False, True):
            group = [one for one in scenarios if one.route is route and one.small_disk is small_disk]
            if group:
                yield group


@contextlib.contextmanager
def _surroundings(*, small_disk: bool) -> Iterator[Surroundings]:
    with tempfile.TemporaryDirectory(prefix="soak-crash-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        with _small_disk(directory / "reports") if small_disk else contextlib.nullcontext():
            surroundings = Surroundings(directory)
            try:
                yield surroundings
            finally:
                surroundings.end()


@contextlib.contextmanager
def _small_disk(path: Path) -> Iterator[None]:
    path.mkdir()
    size = f"size={SMALL_DISK_BYTES}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _carry_out_group(scenarios: Sequence[Scenario], surroundings: Surroundings, say: Say) -> Iterator[Measurement]:
    """Carries scenarios out in one directory; one whose run did not start is missing from the answer."""
    start = _Starter(surroundings, scenarios[0].route)
    before: Measurement | None = None
    for scenario in (*scenarios, None):
        begun = time.monotonic()
        try:
            run = start(scenario.soak_s, prometheus=scenario.prometheus) if scenario else start(SHORT.soak_s)
            run.wait_until_it_soaks()
        except (CannotStart, TimeoutError, httpx.HTTPError) as error:
            say(f"{scenario.name if scenario else 'undisturbed'}: the run did not come to its soak: {error}")
            if before is not None:
                yield before
            before = None
            surroundings.end()
            continue
        if before is not None:
            yield dataclasses.replace(before, next_run_s=time.monotonic() - begun)
        if scenario is None:
            with contextlib.suppress(TimeoutError):
                wait_for(run.has_ended, "the undisturbed run ends", END_LIMIT_S)
            findings = "; ".join(_findings(run)) or "every criterion that is asked holds"
            say(f"undisturbed run by `{start.route}`: verdict {_verdict(run)}; {findings}")
        else:
            try:
                before = _break(scenario, run, surroundings, say)
            except CannotStart as error:
                say(f"{scenario.name}: not measured: {error}")
                before = None
                surroundings.end()


class _Starter:
    """Starts runs by one route; a UI that has ended is started again first."""

    def __init__(self, surroundings: Surroundings, route: Route) -> None:
        self.route = route
        self._surroundings = surroundings
        self._ui: Ui | None = None

    def __call__(self, soak_s: float, *, prometheus: bool = False) -> Run:
        prometheus_url = self._surroundings.start_prometheus() if prometheus else None
        if self.route is Route.COMMAND:
            return start_command_run(self._surroundings, soak_s, prometheus_url)
        if self._ui is None or not self._ui.lives():
            self._ui = Ui(self._surroundings)
        return self._ui.start_run(soak_s, prometheus_url)


def _break(scenario: Scenario, run: Run, surroundings: Surroundings, say: Say) -> Measurement:
    """Breaks a run that soaks, and measures.

    Raises:
        CannotStart: the soak was over before it could be broken, so that nothing would be measured.
    """
    plan = run.folder.read_plan()
    platform = surroundings.platform()
    ids = observing.soak_request_ids(plan, requests_per_user=int(4 * scenario.soak_s / SHORT.pace_s))
    worker = psutil.Process(run.run_worker_pid())
    watch = observing.PlatformWatch(platform, plan)
    watch.start()
    try:
        wait_for(lambda: any(request_id in ids for request_id in list(watch.decided_unix_s)), "the platform decides")
        run.require_soaking()
        event_unix_s = time.time()
        undo = scenario.inflict(run)
        try:
            _wait_for_rest(run, watch, ids, worker)
        finally:
            if undo is not None:
                undo()
    finally:
        watch.stop()
    left = _left(scenario, run, surroundings, worker)
    load = [unix_s for request_id, unix_s in watch.decided_unix_s.items() if request_id in ids]
    load_ended_s = max(load) - event_unix_s
    silent_unix_s, by_stop = watch.silent_unix_s
    since_unix_s = max(load) if scenario.end is End.GOES_ON else event_unix_s
    records = observing.records_on_disk(run.folder)
    measurement = Measurement(
        scenario=scenario,
        load_ended_s=max(0.0, load_ended_s),
        blocked_s=None if silent_unix_s is None else max(0.0, silent_unix_s - since_unix_s),
        blocked_by_stop=by_stop,
        evidence_lost_s=observing.evidence_lost_s(records, plan, event_unix_s),
        rows_without_record=observing.rows_without_record(
            watch.decided_unix_s, ids, records, event_unix_s - EVIDENCE_LIMIT_S
        ),
        verdict=_verdict(run),
        said=_said(scenario, run),
        judged=observing.judged_again(run.folder, platform),
        left=tuple(left),
    )
    say(_line(measurement, run))
    return measurement


def _wait_for_rest(
    run: Run, watch: observing.PlatformWatch, ids: dict[str, tuple[int, int]], worker: psutil.Process
) -> None:
    """Until the run is over, nothing of it is sent any more, and its tenants are silent; or until the limit.

    What is not so by then is measured as it is.
    """

    def rests() -> bool:
        load = [unix_s for request_id, unix_s in list(watch.decided_unix_s.items()) if request_id in ids]
        return (
            run.has_ended()
            and not _is_alive(worker)
            and not load_processes(run.folder.path)
            and watch.silent_unix_s[0] is not None
            and time.time() - max(load) > QUIET_S
        )

    with contextlib.suppress(TimeoutError):
        wait_for(rests, "the run rests", END_LIMIT_S)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _left(scenario: Scenario, run: Run, surroundings: Surroundings, worker: psutil.Process) -> list[str]:
    """What is left of a run, and of its UI and platform where these had to end with it."""
    all_of_it = isinstance(run, CommandRun) or scenario.ends_ui

    def look() -> list[str]:
        processes = observing.processes_of(surroundings.directory)
        found = [
            words
            for process in processes
            if (words := observing.described(process))
            and (all_of_it or process == worker or str(run.folder.path) in words)
        ]
        found += observing.held_locks(surroundings.state_dir) + observing.valid_leases(run.folder)
        return found + (observing.open_ports(PORTS) if all_of_it else [])

    with contextlib.suppress(TimeoutError):
        wait_for(lambda: not look(), "nothing is left", LEFT_LIMIT_S)
    return look()


def _verdict(run: Run) -> str:
    try:
        return read_json(run.folder.path / VERDICT_FILE, VerdictDocument).verdict.value
    except EvidenceUnreadable:
        return "none"


def _findings(run: Run) -> list[str]:
    """Every sentence of the run's verdict that keeps it from PASS."""
    try:
        document = read_json(run.folder.path / VERDICT_FILE, VerdictDocument)
    except EvidenceUnreadable:
        return []
    return [
        finding.why
        for criterion in document.criteria
        if criterion.asked
        for finding in criterion.findings
        if finding.verdict is not Verdict.PASS
    ]


def _said(scenario: Scenario, run: Run) -> str:
    """The sentence of the verdict that tells of the event."""
    return next((why for why in _findings(run) if scenario.says and re.search(scenario.says, why)), "")


def _line(measurement: Measurement, run: Run) -> str:
    blocked = "never" if measurement.blocked_s is None else f"{measurement.blocked_s:.1f} s"
    return (
        f"{measurement.scenario.name}: last request {measurement.load_ended_s:.1f} s, tenants blocked {blocked}"
        f"{' (platform stopped)' if measurement.blocked_by_stop else ''},"
        f" records lost {measurement.evidence_lost_s:.1f} s, {measurement.rows_without_record} rows without record,"
        f" verdict {measurement.verdict}, judged again {measurement.judged},"
        f" left: {'; '.join(measurement.left) or 'nothing'}{''.join(f'{NEW_LINE}    {why}' for why in _findings(run))}"
    )
