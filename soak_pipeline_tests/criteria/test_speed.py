"""A stored one-hour run of 1,000 users is judged again in seconds, with bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from soak_pipeline_tests.evidence_factory import make_run

CPU_SECONDS_MAX = 5.0
MEMORY_BYTES_MAX = 1_000_000_000

JUDGE = """
import json, resource, sys
from pathlib import Path
from soak_pipeline.criteria.registry import judge_run
from soak_pipeline.evidence.bundle import read_evidence
from soak_pipeline.evidence.run_folder import RunFolder
evidence = read_evidence(RunFolder.at(Path(sys.argv[1])))
judgement = judge_run(evidence)
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "verdict": judgement.verdict,
    "requests": len(evidence.requests),
    "cpu_s": used.ru_utime + used.ru_stime,
    "memory_bytes": used.ru_maxrss * 1024,
}))
"""


def test_a_nightly_run_is_judged_within_its_budget_of_cpu_and_memory(tmp_path: Path) -> None:
    folder = make_run(tmp_path, profile="nightly")

    finished = subprocess.run(
        [sys.executable, "-c", JUDGE, str(folder.path)], capture_output=True, text=True, check=True, timeout=120
    )
    measured = json.loads(finished.stdout)

    assert measured["verdict"] == "PASS"
    assert measured["requests"] > 1_800_000
    # CPU time and not elapsed time, so that other work on the machine does not decide.
    assert measured["cpu_s"] <= CPU_SECONDS_MAX, measured
    assert measured["memory_bytes"] <= MEMORY_BYTES_MAX, measured
