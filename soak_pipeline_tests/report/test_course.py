from __future__ import annotations

from pathlib import Path

import pytest

from soak_pipeline.evidence.bundle import read_evidence
from soak_pipeline.report.course import course_of
from soak_pipeline_tests.evidence_factory import RUN_ID, make_run


def test_stretches_follow_the_plan_and_the_sessions(tmp_path: Path) -> None:
    evidence = read_evidence(make_run(tmp_path))
    course = course_of(evidence)
    fairness = [stretch for stretch in course.stretches if stretch.session == "fairness-1"]
    assert [stretch.phase for stretch in fairness[:5]] == ["warmup", "baseline", "burst", "burst", "baseline"]
    assert fairness[1].end_s - fairness[1].start_s == pytest.approx(evidence.plan.profile.fairness.window_s)
    # Four quiet tenants of 20 users and 5 noisy users, a request every 0.5 s or as the profile paces.
    quiet = evidence.plan.profile.fairness
    expected = 4 * quiet.quiet_users / quiet.quiet_pace_s + quiet.noisy_users_baseline / quiet.noisy_pace_s
    assert fairness[1].planned_requests_per_second == pytest.approx(expected)
    assert course.soak is not None
    assert course.soak.end_s - course.soak.start_s == pytest.approx(evidence.plan.profile.soak_s)
    assert course.soak.planned_requests_per_second == pytest.approx(
        evidence.plan.profile.users / evidence.plan.profile.pace_s
    )
    assert course.stretches[-1].phase == "drain"
    assert course.problems == ()


def test_events_tell_the_end_of_the_load_and_every_trouble(tmp_path: Path) -> None:
    course = course_of(read_evidence(make_run(tmp_path, defects=["worker_lost", "platform_restarted"])))
    troubles = [event.text for event in course.events if event.trouble]
    assert "load worker 0 lost in soak" in troubles
    assert any(text.endswith("restarted") for text in troubles)
    assert [event.text for event in course.events if not event.trouble] == ["load stopped", "every tenant blocked"]
    assert [event.time_s for event in course.events] == sorted(event.time_s for event in course.events)


def test_the_end_is_when_the_last_evidence_was_taken(tmp_path: Path) -> None:
    evidence = read_evidence(make_run(tmp_path))
    # Collected at 08:00:00Z; the run began at 07:30:00Z.
    assert evidence.plan.run_id == RUN_ID
    assert course_of(evidence).ended_us == 30 * 60 * 1_000_000


def test_a_run_that_left_nothing_but_its_plan_has_reasons_instead(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    for path in (*(folder.path / "outputs").iterdir(), *folder.requests_dir.iterdir()):
        path.unlink()
    (folder.path / "telemetry/run-00000.parquet").unlink()
    course = course_of(read_evidence(folder))
    assert (course.requests, course.soak, course.ended_us, course.stretches) == (None, None, None, ())
    assert len(course.problems) == 8
    assert "no request was recorded" in course.problems


def test_damaged_tables_are_problems_and_not_exceptions(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    (folder.path / "telemetry/run-00000.parquet").write_bytes(b"PAR1 but not really")
    next(folder.requests_dir.iterdir()).write_bytes(b"nothing")
    course = course_of(read_evidence(folder))
    assert course.requests is None
    assert course.telemetry == {}
    assert len(course.problems) == 2
