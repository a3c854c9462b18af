"""A stored one-hour run of 1,000 users is judged again with bounded memory."""

from __future__ import annotations

from pathlib import Path

from soak_pipeline_tests.benchmarks.bench_judgement import judged_apart
from soak_pipeline_tests.evidence_factory import make_run

MEMORY_BYTES_MAX = 1_000_000_000


def test_a_nightly_run_is_judged_within_its_budget_of_memory(tmp_path: Path) -> None:
    measured = judged_apart(make_run(tmp_path, profile="nightly").path)
    assert measured.verdict == "PASS"
    assert measured.requests > 1_800_000
    assert measured.peak_bytes <= MEMORY_BYTES_MAX, measured
