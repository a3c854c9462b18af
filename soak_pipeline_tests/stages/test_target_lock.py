from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from soak_pipeline.model.errors import AlreadyRunning
from soak_pipeline.stages.target_lock import hold_target, holder_of_target, release_target, state_dir

HOLD = """
import sys
from soak_pipeline.stages.target_lock import hold_target
hold_target("local", "20261123T073000Z", {"SOAK_STATE_DIR": sys.argv[1]})
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"SOAK_STATE_DIR": str(tmp_path)}


def _holder(tmp_path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_process_is_refused_and_told_by_whom(tmp_path: Path, environment: dict[str, str]) -> None:
    with _holder(tmp_path) as process:
        with pytest.raises(AlreadyRunning, match=f"run 20261123T073000Z, process {process.pid}"):
            hold_target("local", "20261123T080000Z", environment)
        process.communicate()


def test_the_lock_goes_with_a_killed_process(tmp_path: Path, environment: dict[str, str]) -> None:
    with _holder(tmp_path) as process:
        process.kill()
        process.wait()
    hold_target("local", "20261123T080000Z", environment)
    release_target("local", environment)


def test_other_targets_are_free(tmp_path: Path, environment: dict[str, str]) -> None:
    with _holder(tmp_path) as process:
        hold_target("other", "20261123T080000Z", environment)
        release_target("other", environment)
        process.communicate()


def test_the_same_process_may_take_it_again(environment: dict[str, str]) -> None:
    hold_target("local", "20261123T080000Z", environment)
    hold_target("local", "20261123T080000Z", environment)
    release_target("local", environment)
    release_target("local", environment)


def test_where_the_state_is_kept() -> None:
    assert state_dir({"SOAK_STATE_DIR": "/a"}) == Path("/a")
    assert state_dir({"XDG_STATE_HOME": "/b", "HOME": "/c"}) == Path("/b/soak-pipeline")
    assert state_dir({"HOME": "/c"}) == Path("/c/.local/state/soak-pipeline")


def test_who_holds_it_can_be_asked_without_taking_it(tmp_path: Path, environment: dict[str, str]) -> None:
    assert holder_of_target("local", environment) is None
    with _holder(tmp_path) as process:
        assert holder_of_target("local", environment) == f"run 20261123T073000Z, process {process.pid}"
        assert holder_of_target("other", environment) is None
        process.communicate()
    assert holder_of_target("local", environment) is None
    hold_target("local", "20261123T080000Z", environment)
    release_target("local", environment)


def test_a_look_keeps_nobody_from_taking_it(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hold_target("local", "20261123T080000Z", environment)
    release_target("local", environment)

    def refused(*arguments: object) -> None:
        raise AssertionError("the look touches the lock")

    with monkeypatch.context() as context, _holder(tmp_path) as process:
        context.setattr("fcntl.flock", refused)
        assert holder_of_target("local", environment) == f"run 20261123T073000Z, process {process.pid}"
        process.communicate()


def test_a_process_that_gave_it_back_holds_it_no_more(environment: dict[str, str]) -> None:
    hold_target("local", "20261123T080000Z", environment)
    assert holder_of_target("local", environment) == f"run 20261123T080000Z, process {os.getpid()}"
    release_target("local", environment)
    assert holder_of_target("local", environment) is None


def test_a_process_that_inherited_the_id_of_a_dead_holder_holds_nothing(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    lock = tmp_path / "locks" / "local.lock"
    lock.parent.mkdir()
    lock.write_text(f"run 20261123T073000Z, process {os.getpid()}")
    assert holder_of_target("local", environment) is not None
    os.utime(lock, (0.0, 0.0))
    assert holder_of_target("local", environment) is None
