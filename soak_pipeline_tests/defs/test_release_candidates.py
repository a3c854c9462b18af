"""The release candidate sensor, by real ticks of the daemon over a real git repository and a real drop folder.

The daemon is shared by the tests; each has candidates of its own.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus

from soak_pipeline.defs.release_candidates import watched_sources
from soak_pipeline.stages.target_lock import hold_target, release_target
from soak_pipeline_tests.candidates.repository import Repository
from soak_pipeline_tests.defs.daemon import Daemon, running_daemon

SENSOR = "release_candidate_sensor"
TARGET = "name: {name}\nallow_load: true\ngateway_url: http://127.0.0.1:1\n"
POLICY = "levels: {canary: {like: pull_request, description: Before a canary., gates: true}}"
_numbers = itertools.count(1)


class Station:
    """A daemon that watches a repository and a folder, and was on once when both already held something."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "drop"
        self.folder.mkdir()
        self.state = {"SOAK_STATE_DIR": str(folder / "state")}
        self.policy = folder / "soak.yaml"
        self.policy.write_text(POLICY)
        self.target = folder / "target.yaml"
        self.target.write_text(TARGET.format(name="staging"))
        self.repository = Repository(folder / "repository")
        self.old_commit = self.repository.tag("v0.1-rc1")
        self.repository.tag("v0.1-rc2", annotated=False)
        self.drop("old.json", "v0.0-rc9", self.old_commit)

    def watch(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.runs_before_it_was_on = self._tick_and_count(expect_tick=False)
        daemon.instance.start_sensor(daemon.sensor(SENSOR))
        self.first = daemon.tick_sensors(SENSOR)
        self.runs_after_the_first_look = len(daemon.instance.get_runs())

    def _tick_and_count(self, *, expect_tick: bool) -> int:
        sensor = self.daemon.sensor("requested_soak")
        assert self.daemon.tick_sensors(sensor.name)
        candidate = self.daemon.sensor(SENSOR)
        ticks = self.daemon.instance.get_ticks(candidate.get_remote_origin_id(), candidate.selector_id)
        assert bool(ticks) is expect_tick
        return len(self.daemon.instance.get_runs())

    def new_tag(self) -> tuple[str, str]:
        """A new tag of a new commit; its name and the candidate's key."""
        name = f"v1.{next(_numbers)}-rc1"
        self.repository.commit()
        return name, f"{name}@{self.repository.tag(name)}"

    def drop(self, file: str, release: str, commit: str, **overrides: str) -> Path:
        path = self.folder / file
        path.write_text(json.dumps({"release": release, "commit": commit, **overrides}))
        return path

    def tick(self) -> InstigatorTick:
        return self.daemon.tick_sensors(SENSOR)

    def runs(self, key: str) -> list[dg.DagsterRun]:
        return self.daemon.runs(soak__candidate=key)


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    folder = tmp_path_factory.mktemp("candidates")
    station = Station(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOAK_CANDIDATE_REPOSITORY", str(station.repository.path))
        patch.setenv("SOAK_CANDIDATE_FOLDER", str(station.folder))
        patch.setenv("SOAK_CANDIDATE_TARGET", str(station.target))
        patch.setenv("SOAK_POLICY", str(station.policy))
        patch.setenv("SOAK_REPORTS_DIR", str(folder / "reports"))
        patch.setenv("SOAK_STATE_DIR", station.state["SOAK_STATE_DIR"])
        with running_daemon(folder / "home") as daemon:
            station.watch(daemon)
            yield station


def test_it_is_off_until_it_is_turned_on(station: Station) -> None:
    assert station.runs_before_it_was_on == 0
    assert station.daemon.sensor(SENSOR).default_status is dg.DefaultSensorStatus.STOPPED


def test_what_is_there_at_the_first_look_is_noted_and_not_started(station: Station) -> None:
    assert station.first.status is TickStatus.SKIPPED
    assert station.runs_after_the_first_look == 0
    assert f"2 noted and not started: v0.1-rc1@{station.old_commit}, v0.1-rc2@" in str(station.first.skip_reason)
    assert "1 noted and not started: v0.0-rc9@" in str(station.first.skip_reason)


def test_a_new_tag_starts_one_pre_release_run(station: Station) -> None:
    name, key = station.new_tag()
    assert station.tick().status is TickStatus.SUCCESS
    (run,) = station.runs(key)
    assert run.job_name == "pre_release_soak"
    assert run.status is dg.DagsterRunStatus.QUEUED
    assert run.tags["dagster/partition"] in station.daemon.instance.get_dynamic_partitions("soak_runs")
    assert run.tags["soak/release"] == name
    assert run.run_config["ops"]["provision"]["config"] == {
        "profile": "pre_release",
        "target_path": str(station.target),
        "release": name,
        "commit": key.partition("@")[2],
    }


def test_it_starts_it_once_whatever_is_forgotten(station: Station) -> None:
    _, key = station.new_tag()
    station.tick()
    first = [run.run_id for run in station.runs(key)]
    assert len(first) == 1

    station.daemon.lose_cursor(SENSOR)
    station.tick()
    station.daemon.restart()
    station.tick()
    assert [run.run_id for run in station.runs(key)] == first

    station.daemon.instance.delete_dynamic_partition("release_candidates", key)
    station.tick()
    assert [run.run_id for run in station.runs(key)] == first

    station.daemon.instance.delete_run(first[0])
    assert station.tick().status is TickStatus.SKIPPED
    assert station.runs(key) == []


def test_a_tag_that_was_set_while_the_daemon_was_down_is_found(station: Station) -> None:
    station.daemon.stop()
    _, key = station.new_tag()
    station.daemon.start()
    station.daemon.lose_cursor(SENSOR)
    station.tick()
    assert len(station.runs(key)) == 1


def test_a_tag_that_is_moved_is_another_candidate(station: Station) -> None:
    name, key = station.new_tag()
    station.tick()
    station.repository.commit()
    moved = f"{name}@{station.repository.tag(name)}"
    station.tick()
    assert (len(station.runs(key)), len(station.runs(moved))) == (1, 1)


def test_candidates_of_one_tick_are_queued_in_the_order_of_their_versions(station: Station) -> None:
    number = next(_numbers)
    keys = []
    for candidate in (2, 10, 1):
        station.repository.commit()
        name = f"v1.{number}-rc{candidate}"
        keys.append(f"{name}@{station.repository.tag(name)}")
    station.tick()
    started = [run.tags["soak/candidate"] for run in station.daemon.runs() if run.tags.get("soak/candidate") in keys]
    assert started == [keys[2], keys[0], keys[1]]
    partitions = [station.runs(key)[0].tags["dagster/partition"] for key in started]
    assert partitions == sorted(set(partitions))


def test_a_file_may_name_a_level_of_the_operators_policy(station: Station) -> None:
    station.drop("canary.json", "v9", "abcdef3", profile="canary")
    station.tick()
    (run,) = station.runs("v9@abcdef3 profile=canary")
    assert run.job_name == "canary_soak"


def test_a_file_starts_a_run_with_its_own_profile_and_target(station: Station, tmp_path: Path) -> None:
    target = tmp_path / "other.yaml"
    target.write_text(TARGET.format(name="other"))
    station.drop("other.json", "v7", "abcdef1", profile="pull_request", target=str(target))
    station.tick()
    (run,) = station.runs(f"v7@abcdef1 profile=pull_request target={target}")
    assert run.job_name == "pull_request_soak"
    assert run.run_config["ops"]["provision"]["config"] == {
        "profile": "pull_request",
        "target_path": str(target),
        "release": "v7",
        "commit": "abcdef1",
    }


def test_a_bad_file_is_told_once_and_blocks_nothing(station: Station) -> None:
    bad = station.folder / "half.json"
    bad.write_text('{"release": "v8-rc1", "comm')
    station.drop("proof.json", "v8", "abcdef2", profile="prove_pressed")
    station.drop("no-such-target.json", "v8", "abcdef6", target=str(station.folder / "none.yaml"))
    told = str(station.tick().skip_reason)
    assert "half.json: " in told
    assert "it may be half-written" in told
    assert "proof.json: profile 'prove_pressed' is no level of the gate" in told
    assert f"release candidate v8@abcdef6 target={station.folder}/none.yaml: " in told
    assert station.tick().skip_reason == "no new release candidate"
    assert [run for run in station.daemon.runs() if run.tags.get("soak/release") == "v8"] == []

    station.drop("good.json", "v8-rc0", "abcdef3")
    station.drop("half.json", "v8-rc1", "abcdef4")
    station.tick()
    assert len(station.runs("v8-rc0@abcdef3")) == len(station.runs("v8-rc1@abcdef4")) == 1


def test_a_candidate_that_is_announced_twice_is_soaked_once(station: Station) -> None:
    name, key = station.new_tag()
    station.drop("twice.json", name, key.partition("@")[2])
    station.drop("thrice.json", name, key.partition("@")[2])
    station.tick()
    station.tick()
    assert len(station.runs(key)) == 1


def test_a_repository_that_is_gone_is_an_error_but_files_still_count(station: Station) -> None:
    path = station.repository.path
    path.rename(path.with_name("away"))
    try:
        tick = station.tick()
        assert tick.status is TickStatus.FAILURE
        assert f"git repository {path}: git ended with 128" in tick.error.to_string()
        station.drop("meanwhile.json", "v9-rc1", "abcdef5")
        assert station.tick().status is TickStatus.SUCCESS
        assert len(station.runs("v9-rc1@abcdef5")) == 1
    finally:
        path.with_name("away").rename(path)
    assert station.tick().status is TickStatus.SKIPPED


def test_a_candidate_waits_while_its_target_is_held(station: Station) -> None:
    """By a soak that was started from a terminal, which the queue of Dagster does not know."""
    _, key = station.new_tag()
    hold_target("staging", "20261123T073000Z", station.state)
    try:
        reason = station.tick().skip_reason
        assert reason == f"{key} waits: target staging is held (run 20261123T073000Z, process {os.getpid()})"
        assert station.runs(key) == []
    finally:
        release_target("staging", station.state)
    station.tick()
    assert len(station.runs(key)) == 1


def test_a_file_is_removed_only_if_that_is_wanted_and_only_after_its_run_exists(
    tmp_path: Path, stored_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from soak_pipeline.defs.release_candidates import DEALT_WITH, release_candidate_sensor

    target = tmp_path / "target.yaml"
    target.write_text(TARGET.format(name="staging"))
    folder = tmp_path / "drop"
    folder.mkdir()
    monkeypatch.setenv("SOAK_CANDIDATE_FOLDER", str(folder))
    monkeypatch.setenv("SOAK_CANDIDATE_TARGET", str(target))
    monkeypatch.setenv("SOAK_CANDIDATE_DELETE_FILES", "yes")
    monkeypatch.setenv("SOAK_STATE_DIR", str(tmp_path / "state"))
    path = folder / "rc.json"

    def tick() -> dg.SensorResult:
        context = dg.build_sensor_context(instance=stored_instance)
        result = release_candidate_sensor(context)
        assert isinstance(result, dg.SensorResult)
        return result

    tick()
    path.write_text('{"release": "v1-rc1", "commit": "abcdef1"}')
    (request,) = tick().run_requests
    assert path.exists()
    stored_instance.create_run_for_job(
        dg.GraphDefinition("empty").to_job(), tags={**request.tags, "dagster/run_key": request.run_key}
    )
    assert not tick().run_requests
    assert not path.exists()
    assert "v1-rc1@abcdef1" in stored_instance.get_dynamic_partitions(DEALT_WITH)


def test_without_configuration_nothing_is_watched() -> None:
    assert list(watched_sources({"PATH": os.environ["PATH"]})) == []
