from __future__ import annotations

from pathlib import Path

import numpy as np

from soak_pipeline.evidence.requests import read_requests
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.traffic import request_id_of
from soak_pipeline.report.errors_log import error_kinds, errors_log
from soak_pipeline_tests.evidence_factory import SyntheticRun, synthetic_run
from soak_pipeline_tests.report.examples import HOSTILE
from soak_pipeline_tests.synthetic_requests import write_requests

TEXTS = {("execute", "server_error", 503): f'{{"error":"overloaded"}} {HOSTILE}'}


def _with_errors(run: SyntheticRun) -> None:
    """Two tenant E executions answer 503, one attack is executed."""
    executed = np.flatnonzero(run.requests.where(session="soak", tenant="E", operation="execute", phase="soak"))[:2]
    run.requests.set_text("outcome", executed, "server_error")
    run.requests.columns["status"][executed] = 503
    attack = np.flatnonzero(run.requests.where(session="soak", operation="attack_sql"))[:1]
    run.requests.set_text("outcome", attack, "wrongly_allowed")
    run.requests.columns["status"][attack] = 200


def test_one_line_per_kind_with_first_last_count_and_sample(tmp_path: Path) -> None:
    run = synthetic_run(defects=[_with_errors])
    write_requests(run.requests, tmp_path)
    requests = read_requests(tmp_path)
    kinds = error_kinds(run.plan, requests, TEXTS)
    assert [(kind.outcome, kind.status, kind.count) for kind in kinds] == [
        ("wrongly_allowed", 200, 1),
        ("server_error", 503, 2),
    ]
    expected = requests.take(requests.where(outcome="server_error"))
    first = int(np.argmin(expected.columns["intended_us"]))
    assert kinds[1].first_us == expected.columns["intended_us"].min()
    assert kinds[1].last_us == expected.columns["intended_us"].max()
    assert kinds[1].sample_request_id == request_id_of(
        run.plan.seed, "soak", int(expected.columns["user"][first]), int(expected.columns["sequence"][first])
    )
    lines = errors_log(run.plan, requests, kinds).splitlines()
    assert lines[0] == f"# run {run.plan.run_id}: 3 user-visible errors of 2 kinds in {len(requests)} requests"
    assert len(lines) == 4
    assert r'sample_text="{\"error\":\"overloaded\"} <script>alert(1)</script>' in lines[3]
    assert not any(character in lines[3] for character in "\x1b\x00\u202e")
    assert "count=2 outcome=server_error status=503 tenant=E phase=soak operation=execute" in lines[3]


def test_a_run_without_errors_says_so(tmp_path: Path) -> None:
    run = synthetic_run()
    write_requests(run.requests, tmp_path)
    requests = read_requests(tmp_path)
    assert error_kinds(run.plan, requests, TEXTS) == []
    assert "0 user-visible errors of 0 kinds" in errors_log(run.plan, requests, [])


def test_no_records_are_unknown_and_not_zero_errors(tmp_path: Path) -> None:
    plan: Plan = synthetic_run().plan
    requests = read_requests(tmp_path)
    assert "errors are unknown" in errors_log(plan, requests, error_kinds(plan, requests, {}))
