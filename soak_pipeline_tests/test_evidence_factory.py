"""The factory of synthetic runs makes what the stages would have left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from soak_pipeline.evidence.bundle import STAGE_OUTPUTS, read_evidence
from soak_pipeline.model.plan import fairness_session, soak_session
from soak_pipeline.model.series import LEAK_SERIES
from soak_pipeline_tests.evidence_defects import DEFECTS
from soak_pipeline_tests.evidence_factory import make_run, synthetic_run


def test_every_stage_and_table_is_there_and_readable(tmp_path: Path) -> None:
    evidence = read_evidence(make_run(tmp_path))

    assert evidence.missing == {}
    assert all(getattr(evidence, stage) is not None for stage in STAGE_OUTPUTS)
    assert {key.series for key in evidence.telemetry} >= set(LEAK_SERIES)
    reports = [*evidence.baseline.sessions, *evidence.soak.sessions]  # type: ignore[union-attr]
    for report in reports:
        assert int(evidence.requests.where(session=report.name).sum()) == report.records


def test_the_same_seed_gives_the_same_records_and_another_one_others(tmp_path: Path) -> None:
    first, again, other = (synthetic_run(seed=seed).requests for seed in (1, 1, 2))

    for name, column in first.columns.items():
        assert np.array_equal(column, again.columns[name])
    assert not np.array_equal(first.columns["service_us"], other.columns["service_us"])


def test_requests_lie_in_their_windows_at_the_planned_rate() -> None:
    run = synthetic_run()
    columns = run.requests.columns
    for session in (fairness_session(run.plan, 0), soak_session(run.plan)):
        zero_us = run.zero_us[session.name]
        for window in session.windows:
            for tenant, load in window.loads.items():
                mask = run.requests.where(session=session.name, tenant=tenant) & (columns["window"] == window.index)
                mask &= ~run.requests.where(kind="auth")
                within_s = (columns["intended_us"][mask] - zero_us) / 1e6
                assert mask.sum() == round(load.requests_per_second * window.duration_s)
                assert within_s.min() >= window.start_s
                assert within_s.max() < window.end_s


def test_a_request_is_named_by_session_user_and_sequence() -> None:
    columns = synthetic_run().requests.columns
    planned = columns["operation"] >= 0
    identity = np.stack([columns[name][planned].astype(np.int64) for name in ("session", "user", "sequence")])

    assert np.unique(identity, axis=1).shape[1] == identity.shape[1]


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_can_be_made(defect: str) -> None:
    synthetic_run(defects=[defect])
