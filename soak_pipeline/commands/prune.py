"""`soak prune`: takes away what old runs no longer need, and never what a release refers to.

Owns the choice of runs, and the deletion. A run's plan goes last, so a deletion that is cut short is finished by the
next one. Never follows a symbolic link, and never deletes a run that it cannot read: the gate stays shut because of it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from soak_pipeline.evidence.run_folder import RunFolder, run_folders
from soak_pipeline.model.errors import EXIT_PASS, BadInput, EvidenceUnreadable, HarnessFailed
from soak_pipeline.model.plan import Plan, release_name, started_at
from soak_pipeline.model.profile import duration_s_of
from soak_pipeline.report.quantities import quantity
from soak_pipeline.stages.target_lock import is_held_by

KEEP_MARK = "keep"
"""A file of this name in a run folder keeps the run as it is."""
QUIET_S = 3_600.0
"""A run that something was written to within this time may still be going on, perhaps on another machine (seconds)."""

_DAYS = re.compile(r"(\d+)d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may go; a run goes only when every rule that is given allows it.

    Attributes:
        newest: so many newest runs of each level and target stay; None for no such rule.
        older_than_s: a run that began later stays (seconds); None for no such rule.
        releases: releases that are still asked for; None for every release that a run names.
        whole: whole folders go; otherwise the request records, the telemetry and the control files only.
    """

    newest: int | None = None
    older_than_s: float | None = None
    releases: frozenset[str] | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """What becomes of a run.

    Attributes:
        folder: of the run.
        plan: of the run; None when it cannot be read.
        kept: why nothing of it goes; empty when `paths` go.
        paths: what goes, in this order; empty when there is nothing left to take away.
        size_bytes: of `paths`.
    """

    folder: RunFolder
    plan: Plan | None
    kept: str
    paths: tuple[Path, ...] = ()
    size_bytes: int = 0


def prune(reports: Path, rules: Rules, environment: Mapping[str, str], *, now: datetime, for_certain: bool) -> int:
    """Prints what would go, or takes it away.

    Args:
        reports: folder with the results.
        rules: what may go.
        environment: names the state directory with the locks.
        now: present time, with its zone.
        for_certain: deletes; otherwise nothing is changed.

    Returns:
        0.

    Raises:
        BadInput: no rule says which runs are old.
        EvidenceUnreadable: the reports folder is a symbolic link.
        HarnessFailed: something cannot be deleted.
    """
    if rules.newest is None and rules.older_than_s is None:
        raise BadInput("soak prune", ["say which runs are old: --keep 20, --older-than 30d, or both"])
    choices = choose(list(run_folders(reports)), rules, environment, now)
    going = [choice for choice in choices if choice.paths]
    for choice in going:
        if for_certain:
            remove(choice)
        print(f"{choice.folder.run_id}  {_words(choice.plan)}  {quantity(choice.size_bytes, 'bytes')}")
    for reason, count in Counter(choice.kept for choice in choices if choice.kept).items():
        print(f"kept: {count} {'run' if count == 1 else 'runs'}, {reason}")
    what = "whole folders" if rules.whole else "request records, telemetry and control files"
    runs = f"{len(going)} {'run' if len(going) == 1 else 'runs'}"
    total = quantity(sum(choice.size_bytes for choice in going), "bytes")
    if for_certain:
        print(f"deleted: {what} of {runs}, {total}")
        _rewrite_history(reports, bool(going))
    else:
        print(f"would delete: {what} of {runs}, {total}" + ("; say --yes to do it" if going else ""))
    return EXIT_PASS


def age_s_of(text: str) -> float:
    """Seconds of an age such as `30d`, `12h` or `90m`.

    Raises:
        BadInput: not such an age, or zero.
    """
    days = _DAYS.fullmatch(text.strip())
    if days is None:
        return duration_s_of(text)
    if int(days[1]) == 0:
        raise BadInput(f"age {text!r}", ["expected a positive age such as 30d, 12h or 90m"])
    return 86_400.0 * int(days[1])


def releases_of(text: str) -> frozenset[str]:
    """Releases by name, one a line, as `git tag` prints them.

    Raises:
        BadInput: there is none; an empty list would leave every run without a release that refers to it.
    """
    names = frozenset(release_name(line.strip()) for line in text.splitlines() if line.strip())
    if not names:
        raise BadInput("--releases", ["the list is empty; name one release a line, as `git tag` prints them"])
    return names


def choose(folders: Sequence[RunFolder], rules: Rules, environment: Mapping[str, str], now: datetime) -> list[Choice]:
    """What becomes of each run.

    Args:
        folders: of every stored run, oldest first.
        rules: what may go.
        environment: names the state directory with the locks.
        now: present time, with its zone.
    """
    choices = []
    answering: set[tuple[str, str, str, str]] = set()
    newer: Counter[tuple[str, str]] = Counter()
    for folder in reversed(folders):
        plan = _plan_of(folder)
        kept = "because their plan cannot be read" if plan is None else ""
        if plan is not None:
            kind = (plan.profile.name, plan.target.name)
            answers = (*kind, release_name(plan.release), plan.commit)
            kept = _kept(folder, plan, rules, environment, now, newer[kind], answers not in answering)
            answering.add(answers)
            newer[kind] += 1
        paths = () if kept else tuple(_whole(folder) if rules.whole else _bulky(folder))
        size_bytes = sum(_size_bytes(path) for path in paths if path != folder.path)
        choices.append(Choice(folder, plan, kept, paths, size_bytes))
    return choices[::-1]


def remove(choice: Choice) -> None:
    """Deletes what goes of a run.

    Raises:
        HarnessFailed: something cannot be deleted.
    """
    try:
        for path in choice.paths:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise HarnessFailed(
            f"{error.filename or choice.folder.path} cannot be deleted: {error.strerror or error}; what is left of run"
            f" {choice.folder.run_id} goes with the next `soak prune`"
        ) from error


def _kept(
    folder: RunFolder,
    plan: Plan,
    rules: Rules,
    environment: Mapping[str, str],
    now: datetime,
    newer_runs: int,
    is_newest_of_its_release: bool,
) -> str:
    """Why nothing of a run goes; empty when it may go.

    Args:
        newer_runs: how many runs of its level and target began later.
        is_newest_of_its_release: no later run has its level, target, release and commit, so a gate may ask for it.
    """
    name = release_name(plan.release)
    if newer_runs == 0:
        return "the newest of their level and target"
    if name and is_newest_of_its_release and (rules.releases is None or name in rules.releases):
        return "which a release refers to"
    if (folder.path / KEEP_MARK).exists():
        return f"marked by a file named {KEEP_MARK}"
    if is_held_by(plan.target.name, folder.run_id, environment) or now.timestamp() - _written_s(folder) < QUIET_S:
        return "which may still be going on"
    if rules.newest is not None and newer_runs < rules.newest:
        return f"among the {rules.newest} newest of their level and target"
    if rules.older_than_s is not None and (now - started_at(folder.run_id)).total_seconds() <= rules.older_than_s:
        return "not old enough"
    return ""


def _plan_of(folder: RunFolder) -> Plan | None:
    try:
        return folder.read_plan()
    except EvidenceUnreadable:
        return None


def _bulky(folder: RunFolder) -> Iterator[Path]:
    """What only judging again needs, and what nobody does once the run is over."""
    for path in (folder.requests_dir, folder.telemetry_dir, folder.control_dir):
        if path.is_dir():
            yield path
    yield from sorted(folder.path.glob("telemetry*.parquet"))


def _whole(folder: RunFolder) -> Iterator[Path]:
    """Everything of a run; its plan and its folder last, for what has no plan is no run."""
    if folder.fairness_path is not None and folder.fairness_path.is_dir():
        yield folder.fairness_path
    yield from sorted(path for path in folder.path.iterdir() if path != folder.plan_path)
    yield folder.plan_path
    yield folder.path


def _size_bytes(path: Path) -> int:
    """Bytes of a file, or of the files below a folder; a link counts with itself."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(_size_bytes(Path(entry)) for entry in os.scandir(path))


def _written_s(folder: RunFolder) -> float:
    """When something was last written to a run folder (seconds since 1970)."""
    own = (folder.path, *folder.path.iterdir(), *folder.control_dir.glob("*"), *folder.requests_dir.glob("*"))
    return max(path.lstat().st_mtime for path in own)


def _words(plan: Plan | None) -> str:
    return "" if plan is None else f"{plan.profile.name} on {plan.target.name} {plan.release}".rstrip()


def _rewrite_history(reports: Path, is_changed: bool) -> None:
    """The history page shows the runs that are left; it is not made where there was none."""
    from soak_pipeline.report.history import HISTORY_FILE, write_history

    if is_changed and (reports / "soak" / HISTORY_FILE).is_file():
        write_history(reports)
