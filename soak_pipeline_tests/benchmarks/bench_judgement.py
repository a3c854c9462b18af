"""`python -m soak_pipeline_tests.benchmarks.bench_judgement [RUN_FOLDER]`: what judging a stored run again takes.

Without a folder, a run of one hour with 1,000 users is made first. It prints, of a process that reads the evidence and
judges every criterion: CPU and elapsed time, each the median of some turns, and the peak of its memory. The aim is 5 s
and 1 GB.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from soak_pipeline_tests.evidence_factory import make_run

TURNS = 5
_JUDGE = """
import json, resource, sys, time
began = time.monotonic()
from pathlib import Path
from soak_pipeline.criteria.registry import judge_run
from soak_pipeline.evidence.bundle import read_evidence
from soak_pipeline.evidence.run_folder import RunFolder
evidence = read_evidence(RunFolder.at(Path(sys.argv[1])))
judgement = judge_run(evidence)
used = resource.getrusage(resource.RUSAGE_SELF)
# Not ru_maxrss, which begins with what the parent had when it forked.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps({
    "verdict": judgement.verdict,
    "requests": len(evidence.requests),
    "cpu_s": used.ru_utime + used.ru_stime,
    "elapsed_s": time.monotonic() - began,
    "peak_bytes": int(peak.split()[1]) * 1024,
}))
"""


class Measured(msgspec.Struct, frozen=True):
    """What one process saw and took: CPU and elapsed time in seconds, the most resident memory in bytes."""

    verdict: str
    requests: int
    cpu_s: float
    elapsed_s: float
    peak_bytes: int


def judged_apart(folder: Path) -> Measured:
    """Judges a stored run in a process of its own.

    Args:
        folder: `{reports}/soak/{run_id}`.

    Raises:
        subprocess.CalledProcessError: it could not be judged.
    """
    finished = subprocess.run([sys.executable, "-c", _JUDGE, str(folder)], capture_output=True, check=True, timeout=600)
    return msgspec.json.decode(finished.stdout, type=Measured)


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description="CPU, time and memory of judging a stored run again.")
    parser.add_argument("folder", type=Path, nargs="?", help="of a stored run (default: a nightly is made)")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory(prefix="soak-bench-") as reports:
        path = folder or make_run(Path(reports), profile="nightly").path
        turns = [judged_apart(path) for _ in range(TURNS)]
    print(f"{turns[0].requests:,} records, verdict {turns[0].verdict}, median of {TURNS} turns")
    print(f"CPU       {statistics.median(turn.cpu_s for turn in turns):6.2f} s")
    print(f"elapsed   {statistics.median(turn.elapsed_s for turn in turns):6.2f} s")
    print(f"peak      {max(turn.peak_bytes for turn in turns) / 1e9:6.2f} GB")


if __name__ == "__main__":
    main()
