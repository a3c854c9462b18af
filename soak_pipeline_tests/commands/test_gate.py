"""The gate opens for the newest passed run of exactly that release and level, and for nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soak_pipeline.commands.gate import GateAnswer, answer
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.plan import make_plan, plan_hash
from soak_pipeline.model.profile import PROFILES, Profile
from soak_pipeline.model.target import Target
from soak_pipeline.model.thresholds import Thresholds
from soak_pipeline.model.verdict import Verdict

RUN_ID = "20261123T073000Z"
DEFAULT_LIMITS = Thresholds()
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def _store(
    reports: Path,
    *,
    run_id: str = RUN_ID,
    profile: Profile = PROFILES["nightly"],
    thresholds: Thresholds = DEFAULT_LIMITS,
    release: str = "v1.2.3",
    verdict: str = "PASS",
    changed: dict[str, object] | None = None,
) -> RunFolder:
    plan = make_plan(
        run_id=run_id, profile=profile, target=Target(name="t"), thresholds=thresholds, seed=1, release=release
    )
    folder = RunFolder(reports, run_id)
    folder.write_plan(plan)
    document = {
        "run_id": run_id,
        "release": release,
        "profile": profile.name,
        "plan_hash": plan_hash(plan),
        "verdict": verdict,
        "why": "because",
    }
    (folder.path / "verdict.json").write_text(json.dumps(document | (changed or {})))
    return folder


def _ask(reports: Path, level: str = "nightly", release: str = "v1.2.3", max_age_h: float = 24) -> GateAnswer:
    return answer(reports, level, release, timedelta(hours=max_age_h), NOW)


@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INCONCLUSIVE"])
def test_the_stored_verdict_is_the_answer(tmp_path: Path, verdict: str) -> None:
    _store(tmp_path, verdict=verdict)
    given_answer = _ask(tmp_path)
    assert given_answer.verdict == verdict
    assert given_answer.run_id == RUN_ID


def test_without_a_run_the_gate_is_shut(tmp_path: Path) -> None:
    assert _ask(tmp_path).verdict is Verdict.INCONCLUSIVE


def test_another_release_or_level_does_not_answer(tmp_path: Path) -> None:
    _store(tmp_path)
    assert _ask(tmp_path, release="v1.2.4").run_id is None
    assert _ask(tmp_path, level="pre_release").run_id is None


def test_the_newest_run_decides_even_when_an_older_one_passed(tmp_path: Path) -> None:
    _store(tmp_path, run_id="20261123T010000Z", verdict="PASS")
    _store(tmp_path, run_id="20261123T020000Z", verdict="FAIL")
    assert _ask(tmp_path).verdict is Verdict.FAIL


def test_a_newest_run_without_a_verdict_keeps_it_shut(tmp_path: Path) -> None:
    _store(tmp_path, run_id="20261123T010000Z", verdict="PASS")
    (_store(tmp_path, run_id="20261123T020000Z").path / "verdict.json").unlink()
    assert _ask(tmp_path).verdict is Verdict.INCONCLUSIVE


def test_exactly_at_the_age_limit_it_still_answers(tmp_path: Path) -> None:
    _store(tmp_path)
    assert _ask(tmp_path, max_age_h=4.5).verdict is Verdict.PASS
    stale = answer(tmp_path, "nightly", "v1.2.3", timedelta(hours=4.5), NOW + timedelta(seconds=1))
    assert stale.verdict is Verdict.INCONCLUSIVE
    assert "run it again" in stale.why


@pytest.mark.parametrize(
    "changed",
    [
        {"run_id": "20261122T000000Z"},
        {"release": "v1.2.2"},
        {"profile": "smoke"},
        {"plan_hash": "0" * 64},
        {"verdict": "pass"},
        {"verdict": None},
    ],
)
def test_a_verdict_that_is_not_bound_to_its_plan_keeps_it_shut(tmp_path: Path, changed: dict[str, object]) -> None:
    _store(tmp_path, changed=changed)
    assert _ask(tmp_path).verdict is Verdict.INCONCLUSIVE


def test_a_smaller_load_or_softer_limits_do_not_answer_for_the_level(tmp_path: Path) -> None:
    _store(tmp_path, profile=msgspec.structs.replace(PROFILES["nightly"], users=10))
    assert "changed the load or the limits" in _ask(tmp_path).why
    _store(tmp_path, run_id="20261123T080000Z", thresholds=Thresholds(gateway_latency_ms_p95_max=1e6))
    assert _ask(tmp_path).verdict is Verdict.INCONCLUSIVE


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_no_garbage_opens_the_gate(tmp_path: Path, garbage: bytes) -> None:
    (_store(tmp_path).path / "verdict.json").write_bytes(garbage)
    assert _ask(tmp_path).verdict is Verdict.INCONCLUSIVE


def test_the_command_answers_with_its_exit_code(tmp_path: Path) -> None:
    fresh = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    _store(tmp_path, run_id=fresh, verdict="FAIL")
    command = [sys.executable, "-m", "soak_pipeline.cli", "gate", "--level", "nightly", "--release", "v1.2.3", "--json"]
    done = subprocess.run(
        [*command, "--reports", str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["verdict"] == "FAIL"
