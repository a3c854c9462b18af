"""Sensor `release_candidate_sensor`: one `pre_release` run per new release candidate.

Off until an operator turns it on. What it knows lives in the Dagster instance, never in its cursor: the runs carry the
candidate in a tag, and the dynamic partitions `release_candidates` name those that are dealt with. The cursor only
remembers which problems were told.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import msgspec

from soak_pipeline.candidates.candidate import DEFAULT_PROFILE, Candidate
from soak_pipeline.candidates.drop_folder import FileProblem, dropped_candidates
from soak_pipeline.candidates.git_tags import tagged_candidates
from soak_pipeline.defs.jobs import soak_jobs
from soak_pipeline.defs.partitions import add_soak_run
from soak_pipeline.defs.policy import POLICY
from soak_pipeline.defs.request import run_request
from soak_pipeline.model.errors import BadInput, HarnessFailed, SoakError
from soak_pipeline.model.plan import run_id_of
from soak_pipeline.model.request import DEFAULT_TARGET_FILE, SoakRequest
from soak_pipeline.report.text import one_line
from soak_pipeline.stages.provision import plan_of
from soak_pipeline.stages.target_lock import holder_of_target

REPOSITORY_VARIABLE = "SOAK_CANDIDATE_REPOSITORY"
TAGS_VARIABLE = "SOAK_CANDIDATE_TAGS"
FOLDER_VARIABLE = "SOAK_CANDIDATE_FOLDER"
TARGET_VARIABLE = "SOAK_CANDIDATE_TARGET"
DELETE_VARIABLE = "SOAK_CANDIDATE_DELETE_FILES"
DEFAULT_TAGS = "v*-rc*"

CANDIDATE_TAG = "soak/candidate"
DEALT_WITH = "release_candidates"
"""Dynamic partitions of the instance; no asset has them."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """A candidate, and the file that announced it, if one did."""

    candidate: Candidate
    path: Path | None = None


@dataclass
class Source:
    """One place that is watched, and what it shows now.

    Attributes:
        name: for a person.
        announcements: in the order in which they are to be soaked.
        file_problems: files that are no candidates.
        problem: why the place cannot be read; empty when it can.
    """

    name: str
    announcements: list[Announcement] = field(default_factory=list)
    file_problems: list[FileProblem] = field(default_factory=list)
    problem: str = ""

    @property
    def mark(self) -> str:
        """The partition key that says that this place was looked at before."""
        return f"source {hashlib.sha256(self.name.encode()).hexdigest()[:32]}"


@dg.sensor(jobs=soak_jobs, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.STOPPED)
def release_candidate_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Starts one pre-release soak per new git tag or dropped file, exactly once and one after the other.

    What a place already shows when it is first looked at is noted and not started.
    """
    sources = list(watched_sources(os.environ))
    if not sources:
        return dg.SensorResult(
            skip_reason=f"nothing is watched; set {REPOSITORY_VARIABLE} or {FOLDER_VARIABLE} and restart"
        )
    tick = _Tick(context.instance, os.environ)
    for source in sources:
        tick.look_at(source)
    problems = {problem.name: problem for source in sources for problem in source.file_problems} | tick.refused
    told = _told(context.cursor)
    news = [problem.message for name, problem in problems.items() if told.get(name) != problem.version]
    unreadable = [source.problem for source in sources if source.problem]
    if unreadable and not tick.requests:
        raise HarnessFailed("; ".join([*unreadable, *news, *tick.remarks]))
    for message in (*unreadable, *news):
        context.log.warning(message)
    cursor = msgspec.json.encode({name: problem.version for name, problem in problems.items()}).decode()
    if tick.requests:
        return dg.SensorResult(run_requests=tick.requests, cursor=cursor)
    return dg.SensorResult(skip_reason="; ".join([*tick.remarks, *news]) or "no new release candidate", cursor=cursor)


def watched_sources(environment: Mapping[str, str]) -> Iterator[Source]:
    """The places that the environment names, each with what it shows now."""
    repository, folder = environment.get(REPOSITORY_VARIABLE), environment.get(FOLDER_VARIABLE)
    if repository:
        pattern = environment.get(TAGS_VARIABLE) or DEFAULT_TAGS
        source = Source(f"tags {pattern} of {repository}")
        try:
            source.announcements = [Announcement(item) for item in tagged_candidates(repository, pattern, environment)]
        except SoakError as error:
            source.problem = str(error)
        yield source
    if folder:
        source = Source(f"folder {Path(folder).absolute()}")
        try:
            dropped, source.file_problems = dropped_candidates(Path(folder), POLICY.gating_levels)
            source.announcements = [Announcement(item.candidate, item.path) for item in dropped]
        except SoakError as error:
            source.problem = str(error)
        yield source


class _Tick:
    """What one evaluation of the sensor finds out and asks for.

    Attributes:
        requests: runs to start, in order.
        refused: candidates that cannot be soaked as they are, by key.
        remarks: what else an operator should read.
    """

    def __init__(self, instance: dg.DagsterInstance, environment: Mapping[str, str]) -> None:
        self.requests: list[dg.RunRequest] = []
        self.refused: dict[str, FileProblem] = {}
        self.remarks: list[str] = []
        self._instance = instance
        self._environment = environment
        self._dealt_with = set(instance.get_dynamic_partitions(DEALT_WITH))

    def look_at(self, source: Source) -> None:
        """Notes what is old, and asks for a run of each candidate that is new."""
        if source.problem:
            return
        if source.mark not in self._dealt_with:
            keys = list(dict.fromkeys(item.candidate.key for item in source.announcements))
            self._deal_with([*keys, source.mark])
            noted = f": {', '.join(keys[:5])}{' …' if len(keys) > 5 else ''}" if keys else ""
            self.remarks.append(one_line(f"first look at {source.name}: {len(keys)} noted and not started{noted}"))
            return
        for item in source.announcements:
            if item.candidate.key not in self._dealt_with:
                self._consider(item)

    def _consider(self, item: Announcement) -> None:
        candidate = item.candidate
        if self._instance.get_runs(filters=dg.RunsFilter(tags={CANDIDATE_TAG: candidate.key}), limit=1):
            if item.path is not None and self._environment.get(DELETE_VARIABLE) == "yes":
                item.path.unlink(missing_ok=True)
            self._deal_with([candidate.key])
            return
        if any(request.run_key == candidate.key for request in self.requests):
            return
        now = datetime.now(UTC)
        request = SoakRequest(
            profile=candidate.profile or DEFAULT_PROFILE,
            target_path=candidate.target or self._environment.get(TARGET_VARIABLE) or DEFAULT_TARGET_FILE,
            release=candidate.release,
            commit=candidate.commit,
        )
        try:
            target = plan_of(request, run_id_of(now), self._environment).target.name
        except BadInput as error:
            message = f"release candidate {candidate.key}: {error}"
            version = hashlib.sha256(message.encode()).hexdigest()[:16]
            self.refused[candidate.key] = FileProblem(candidate.key, version, message)
            return
        holder = holder_of_target(target, self._environment) or holder_of_target(f"{target}-run", self._environment)
        if holder is not None:
            self.remarks.append(f"{candidate.key} waits: target {target} is held ({holder})")
            return
        run_id = add_soak_run(self._instance, now)
        launch = run_request(request, run_id, run_key=candidate.key)
        self.requests.append(launch._replace(tags={**launch.tags, CANDIDATE_TAG: candidate.key}))

    def _deal_with(self, keys: list[str]) -> None:
        self._instance.add_dynamic_partitions(DEALT_WITH, keys)
        self._dealt_with.update(keys)


def _told(cursor: str | None) -> dict[str, str]:
    """Version by name of the problems that were told; none when the cursor is lost or of another kind."""
    try:
        return msgspec.json.decode(cursor or "{}", type=dict[str, str])
    except msgspec.DecodeError:
        return {}
