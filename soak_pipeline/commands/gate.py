"""The gate: may this release be promoted past this level? Answers from verdict files alone, in well under a second.

Missing, damaged, foreign or stale evidence never opens it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from soak_pipeline.evidence.run_folder import RunFolder, run_folders
from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.plan import RUN_ID_FORMAT, plan_hash
from soak_pipeline.model.profile import PROFILES
from soak_pipeline.model.thresholds import Thresholds
from soak_pipeline.model.verdict import Verdict

LEVELS = ("pull_request", "nightly", "pre_release")


class StoredVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The part of `verdict.json` that the gate reads."""

    run_id: str
    release: str
    profile: str
    plan_hash: str
    verdict: Verdict
    why: str


class GateAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's answer.

    Attributes:
        verdict: PASS opens the gate; anything else keeps it shut.
        why: one sentence.
        run_id: the run that decided; None when there is none.
    """

    level: str
    release: str
    verdict: Verdict
    why: str
    run_id: str | None = None


def answer(reports: Path, level: str, release: str, max_age: timedelta, now: datetime) -> GateAnswer:
    """The newest run of a release at a level decides.

    Args:
        reports: the reports folder.
        level: one of `LEVELS`; a run answers for the level of its profile and no other.
        release: the release exactly as the run was given it.
        max_age: an older run answers no more.
        now: present time, with its zone.
    """

    def shut(why: str, run_id: str | None = None) -> GateAnswer:
        return GateAnswer(level=level, release=release, verdict=Verdict.INCONCLUSIVE, why=why, run_id=run_id)

    newest = next(_runs_of(reports, level, release), None)
    if newest is None:
        return shut(f"no {level} run of release {release!r} under {reports}; start one with `soak run`")
    age = now - datetime.strptime(newest.run_id, RUN_ID_FORMAT).replace(tzinfo=UTC)
    if age > max_age:
        hours, limit = age / timedelta(hours=1), max_age / timedelta(hours=1)
        return shut(f"run {newest.run_id} is {hours:.1f} h old, limit {limit:g} h; run it again", newest.run_id)
    try:
        stored = _stored_verdict(newest)
    except EvidenceUnreadable as error:
        return shut(f"run {newest.run_id} has no readable verdict: {error}", newest.run_id)
    if (stored.run_id, stored.profile, stored.release) != (newest.run_id, level, release):
        return shut(f"{newest.path / 'verdict.json'} is of another run, level or release", newest.run_id)
    plan = newest.read_plan()
    if stored.plan_hash != plan_hash(plan):
        return shut(f"{newest.path / 'verdict.json'} was not made from the plan beside it", newest.run_id)
    if plan.profile != PROFILES[level] or plan.thresholds != Thresholds():
        return shut(f"run {newest.run_id} changed the load or the limits of the {level} level", newest.run_id)
    return GateAnswer(level=level, release=release, verdict=stored.verdict, why=stored.why, run_id=newest.run_id)


def _runs_of(reports: Path, level: str, release: str) -> Iterator[RunFolder]:
    """Runs of that level and release, newest first; one whose plan cannot be read is passed over."""
    for folder in reversed(list(run_folders(reports))):
        try:
            plan = folder.read_plan()
        except EvidenceUnreadable:
            continue
        if plan.profile.name == level and plan.release == release:
            yield folder


def _stored_verdict(folder: RunFolder) -> StoredVerdict:
    path = folder.path / "verdict.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=StoredVerdict)
    except OSError as error:
        raise EvidenceUnreadable(f"{path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise EvidenceUnreadable(f"{path}: {error}") from error
