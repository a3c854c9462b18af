"""`python -m soak_pipeline_tests.benchmarks.bench_smoke --times 10 --cores 0.5`: smoke runs in a row, as a table.

Each run is `soak run --profile smoke` as `make soak` starts it. With `--cores`, platform, load generator and Dagster
together get so much CPU and no more, by a control group, which needs root; without, they get the whole machine. The
aim: PASS every time, within five minutes each. Exit code 0 when every run did.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from soak_pipeline.evidence.run_folder import RunFolder, read_json, run_folders
from soak_pipeline.model.documents import FairnessDocument, LatencyDocument
from soak_pipeline.report.markdown import soak_rows
from soak_pipeline.report.verdict_document import VERDICT_FILE, VerdictDocument

LIMIT_S = 300.0
PERIOD_US = 100_000
_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
_HEADINGS = (
    "run", "verdict", "elapsed s", "carried /s", "scale", "pairs", "window s", "p95 worst ms", "fairness worst",
    "interval", "throttled", "not PASS",
)  # fmt: skip


class Smoke(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the table; figures that the run did not leave are None."""

    run_id: str
    verdict: str
    elapsed_s: float
    carried: float | None
    scale: float | None
    pairs: int | None
    window_s: float
    p95_ms: float | None
    ratio: float | None
    lower: float | None
    upper: float | None
    throttled_share: float | None
    not_passed: tuple[str, ...]


@contextmanager
def cpu_quota(cores: float | None) -> Iterator[Path | None]:
    """A control group whose processes get `cores` of CPU together; None for no limit.

    Raises:
        OSError: no right to make one.
    """
    if cores is None:
        yield None
        return
    is_v1 = (_V1 / "cpu.cfs_quota_us").exists()
    group = (_V1 if is_v1 else _V2) / f"bench-smoke-{os.getpid()}"
    group.mkdir()
    quota = str(int(cores * PERIOD_US))
    if is_v1:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(quota)
    else:
        (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
    try:
        yield group
    finally:
        with suppress(OSError):
            group.rmdir()


def one_run(reports: Path, group: Path | None, log: Path, arguments: list[str]) -> Smoke:
    """Runs `soak run` once, and reads what it left.

    Args:
        reports: folder with the results.
        group: control group to run in; None for none.
        log: what it prints is appended here.
        arguments: more options of `soak run`.
    """
    before = _throttling(group)
    began = time.monotonic()
    command = [sys.executable, "-m", "soak_pipeline.cli", "run", "--profile", "smoke", "--reports", str(reports)]
    with log.open("ab") as out:
        subprocess.run(
            [*command, *arguments],
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=None if group is None else lambda: _join(group),
            check=False,
        )
    elapsed_s = time.monotonic() - began
    return _read(list(run_folders(reports))[-1], elapsed_s, _share(before, _throttling(group)))


def table(runs: list[Smoke]) -> str:
    """The runs as a Markdown table."""
    lines = [f"| {' | '.join(_HEADINGS)} |", f"|{'---|' * len(_HEADINGS)}"]
    for run in runs:
        interval = "-" if run.lower is None or run.upper is None else f"{run.lower:.2f}-{run.upper:.2f}"
        cells = (
            run.run_id, run.verdict, f"{run.elapsed_s:.0f}", _cell(run.carried, ".0f"), _cell(run.scale, "g"),
            _cell(run.pairs, "d"), f"{run.window_s:g}", _cell(run.p95_ms, ".0f"), _cell(run.ratio, ".2f"), interval,
            _cell(run.throttled_share, ".1%"), ", ".join(run.not_passed) or "-",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _read(folder: RunFolder, elapsed_s: float, throttled_share: float | None) -> Smoke:
    plan = folder.read_plan()
    verdict = read_json(folder.path / VERDICT_FILE, VerdictDocument)
    comparison = read_json(folder.path / "comparison.json", FairnessDocument)
    latency = read_json(folder.path / "latency.json", LatencyDocument)
    worst = max(comparison.tenants, key=lambda tenant: tenant.upper or 0.0)
    p95 = [row.latency_ms.p95.value for row in soak_rows(latency) if row.latency_ms.p95.value is not None]
    sizing = plan.sizing
    return Smoke(
        run_id=folder.run_id,
        verdict=verdict.verdict.value,
        elapsed_s=elapsed_s,
        carried=None if sizing is None or sizing.capacity is None else sizing.capacity.requests_per_second,
        scale=None if sizing is None else sizing.scale,
        pairs=comparison.looks[-1] if comparison.looks else None,
        window_s=plan.profile.fairness.window_s,
        p95_ms=max(p95, default=None),
        ratio=worst.ratio,
        lower=worst.lower,
        upper=worst.upper,
        throttled_share=throttled_share,
        not_passed=tuple(result.name for result in verdict.criteria if result.asked and result.verdict.value != "PASS"),
    )


def _join(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def _throttling(group: Path | None) -> tuple[int, int]:
    """Periods of the quota so far, and those in which it was used up."""
    if group is None:
        return 0, 0
    figures = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    return int(figures["nr_periods"]), int(figures["nr_throttled"])


def _share(before: tuple[int, int], after: tuple[int, int]) -> float | None:
    periods = after[0] - before[0]
    return (after[1] - before[1]) / periods if periods else None


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def main() -> int:
    """Runs and prints the table, growing by a row with each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--cores", type=float, default=None, help="CPU for everything together; default: no limit")
    parser.add_argument("--reports", type=Path, default=Path("reports/bench_smoke"))
    parser.add_argument("arguments", nargs="*", help="more options of `soak run`, behind --")
    options = parser.parse_args()
    options.reports.mkdir(parents=True, exist_ok=True)
    runs = []
    with cpu_quota(options.cores) as group:
        for _ in range(options.times):
            run = one_run(options.reports.absolute(), group, options.reports / "bench.log", options.arguments)
            runs.append(run)
            print(table(runs[-1:]).splitlines()[-1] if len(runs) > 1 else table(runs), flush=True)
    good = sum(run.verdict == "PASS" and run.elapsed_s <= LIMIT_S for run in runs)
    print(f"\n{good} of {len(runs)} PASS within {LIMIT_S:.0f} s")
    return 0 if good == len(runs) else 1


if __name__ == "__main__":
    sys.exit(main())
