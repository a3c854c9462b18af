"""`python -m soak_pipeline_tests.slow_machine --cores 0.5 -- make test`: runs a command as on a slow machine.

The command and all that it starts share the given CPU time: by the quota of a control group (cgroup v1 or v2) or, where
none may be made, beside as many busy loops as leave it that share. What it used is printed at the end. What it left
running is named and ended; that makes a success exit code 1. The control group is removed.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

PERIOD_US = 100_000
"""In each such period the group gets `cores` times as much CPU time, and waits for the next when it is used up."""
WEIGHT = 16
"""Of the group, as so many processes outside of it: on a machine that is busy with other things, the quota decides."""
GRACE_S = 30.0
"""Given to what the command left running, to end without help."""
_JOIN = 'for group do shift; [ "$group" = -- ] && break; echo $$ > "$group/cgroup.procs" || exit 125; done; exec "$@"'
"""The shell enters each group before it becomes the command, so that nothing of the command runs outside."""


@dataclass(frozen=True, slots=True)
class Used:
    """Seconds of a command under its quota."""

    wall_s: float
    cpu_s: float
    throttled_share: float | None
    """Of the periods in which it ran, those at whose end it had to wait; None without a control group."""

    def text(self, cores: float) -> str:
        """One line."""
        throttled = (
            "" if self.throttled_share is None else f", had to wait in {self.throttled_share:.0%} of the periods"
        )
        average = self.cpu_s / self.wall_s if self.wall_s else 0.0
        return f"{self.wall_s:.0f} s, {self.cpu_s:.0f} s of CPU, {average:.2f} cores of {cores:g}{throttled}"


@dataclass(frozen=True, slots=True)
class Group:
    """A control group with a quota, in one folder per hierarchy: v2 has one, v1 may count CPU time in another."""

    folders: tuple[Path, ...]

    def command(self, command: Sequence[str]) -> list[str]:
        """Command line that enters the group and then becomes the command."""
        return ["/bin/sh", "-c", _JOIN, "sh", *map(str, self.folders), "--", *command]

    def processes(self) -> list[psutil.Process]:
        """Processes in the group."""
        found = []
        for pid in (self.folders[0] / "cgroup.procs").read_text().split():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(pid)))
        return found

    def cpu_s(self) -> float:
        """CPU time of all that ever ran in the group, ended or not."""
        for folder in self.folders:
            if (folder / "cpuacct.usage").exists():
                return int((folder / "cpuacct.usage").read_text()) / 1e9
        return self._statistics()["usage_usec"] / 1e6

    def throttled_share(self) -> float:
        """Share of the periods at whose end the group had to wait, 0..1."""
        statistics = self._statistics()
        return statistics["nr_throttled"] / max(1, statistics["nr_periods"])

    def remove(self) -> None:
        """Removes it; the kernel needs a moment to forget processes that have just ended."""
        for folder in self.folders:
            limit = time.monotonic() + GRACE_S
            while True:
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    if time.monotonic() > limit:
                        raise
                    time.sleep(0.05)

    def _statistics(self) -> dict[str, int]:
        lines = (self.folders[0] / "cpu.stat").read_text().splitlines()
        return {name: int(value) for name, value in (line.split() for line in lines)}


def made_group(cores: float) -> Group | None:
    """A new control group with that quota beneath the one of this process, or None where that is not possible."""
    for parents in _parents():
        folders = tuple(parent / f"slow-machine-{os.getpid()}" for parent in parents)
        group = Group(folders)
        try:
            for folder in folders:
                folder.mkdir()
            _limit(folders[0], cores)
        except OSError:
            with contextlib.suppress(OSError):
                group.remove()
        else:
            return group
    return None


def _limit(folder: Path, cores: float) -> None:
    quota_us = round(cores * PERIOD_US)
    if (folder / "cpu.cfs_quota_us").exists():
        (folder / "cpu.cfs_period_us").write_text(f"{PERIOD_US}")
        (folder / "cpu.cfs_quota_us").write_text(f"{quota_us}")
        (folder / "cpu.shares").write_text(f"{1024 * WEIGHT}")
    elif (folder / "cpu.max").exists():
        (folder / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
        (folder / "cpu.weight").write_text(f"{100 * WEIGHT}")
    else:
        raise FileNotFoundError(f"{folder} has no CPU quota")


def _parents() -> Iterator[tuple[Path, ...]]:
    """Folders to make a group in, the best first: beneath the group of this process, then beneath its ancestors.

    A group of v2 that holds processes passes no quota on, so there the ancestors are needed.
    """
    groups: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        groups |= dict.fromkeys(names.split(","), path)
    mounts = [line.split()[:4] for line in Path("/proc/mounts").read_text().splitlines()]
    v1 = {
        name: Path(target)
        for _, target, kind, options in mounts
        for name in ("cpu", "cpuacct")
        if kind == "cgroup" and name in options.split(",")
    }
    if v1.keys() >= {"cpu", "cpuacct"}:
        # Both names on one mount are one folder.
        folders = {name: v1[name] / groups.get(name, "/").lstrip("/") for name in ("cpu", "cpuacct")}
        yield tuple(dict.fromkeys(folders.values()))
    for _, target, kind, _ in mounts:
        if kind == "cgroup2":
            beneath = Path(groups.get("", "/").lstrip("/"))
            for part in (beneath, *beneath.parents):
                yield (Path(target) / part,)


def busy_loops(cores: float, machine_cores: int) -> int:
    """Loops that leave `cores` to a command with one busy process per core, when all get the same share of the time.

    Of `n` cores the command gets `n * n / (n + loops)`.
    """
    return max(0, math.ceil(machine_cores * (machine_cores - cores) / cores))


_BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(100_000): pass"
"""Ends with whoever started it, however that ended."""


def run_in_group(command: Sequence[str], group: Group) -> tuple[int, Used, list[str]]:
    """Runs a command in a group and removes the group; exit code, what it used, and what it left running."""
    begun = time.monotonic()
    try:
        code = _run(group.command(command))
        wall_s = time.monotonic() - begun
        left = _ended(group)
        return code, Used(wall_s, group.cpu_s(), group.throttled_share()), left
    finally:
        _ended(group)
        group.remove()


def run_beside_loops(command: Sequence[str], loops: int) -> tuple[int, Used]:
    """Runs a command beside busy loops; exit code and what it used, processes that nobody waited for left out."""
    busy = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(loops)]
    try:
        begun = time.monotonic()
        code = _run(command)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)  # The loops are not waited for yet.
        return code, Used(time.monotonic() - begun, used.ru_utime + used.ru_stime, None)
    finally:
        for loop in busy:
            loop.kill()
            loop.wait()


def _run(command: Sequence[str]) -> int:
    """Exit code of a command, as a shell gives it; what stops this process is for the command to answer."""
    with subprocess.Popen(command) as process:
        before = {
            number: signal.signal(number, lambda number, _: process.send_signal(number)) for number in (signal.SIGTERM,)
        }
        # A terminal sends Ctrl-C to both.
        before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            code = process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _ended(group: Group) -> list[str]:
    """Ends what is left in a group, and says what that was."""
    limit = time.monotonic() + GRACE_S
    while group.processes() and time.monotonic() < limit:
        time.sleep(0.1)
    left = group.processes()
    lines = []
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            lines.append(f"{process.pid} {' '.join(process.cmdline()) or process.name()}")
            process.kill()
    psutil.wait_procs(left, timeout=GRACE_S)
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; its exit code, 1 where it left something running, 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="python -m soak_pipeline_tests.slow_machine", description=__doc__)
    parser.add_argument("--cores", type=float, default=0.5, help="CPU time per time; %(default)s by default")
    parser.add_argument("--busy-loops", action="store_true", help="do without a control group")
    parser.add_argument("command", nargs="+", help="after `--`")
    options = parser.parse_args(arguments)
    machine_cores = os.cpu_count() or 1
    if not 0.01 <= options.cores <= machine_cores:
        parser.error(f"--cores is {options.cores:g}; allowed are 0.01 to the {machine_cores} of this machine")
    group = None if options.busy_loops else made_group(options.cores)
    left: list[str] = []
    if group:
        _say(f"{options.cores:g} cores by the quota of {group.folders[0]}")
        code, used, left = run_in_group(options.command, group)
    else:
        loops = busy_loops(options.cores, machine_cores)
        _say(f"about {options.cores:g} cores, beside {loops} busy loops")
        code, used = run_beside_loops(options.command, loops)
    _say(f"exit code {code} after {used.text(options.cores)}")
    for process in left:
        _say(f"left running, and ended now: {process}")
    return code or int(bool(left))


def _say(line: str) -> None:
    print(f"slow machine: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
