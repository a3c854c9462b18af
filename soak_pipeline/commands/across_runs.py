"""`soak compare` and `soak history`: what only several runs can tell."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import groupby
from pathlib import Path

from soak_pipeline.analysis.comparison import Change
from soak_pipeline.criteria.run_comparison import (
    FEWEST_RUNS_FOR_SPREAD,
    ComparedMetric,
    compare_evidence,
    spread_between_runs,
)
from soak_pipeline.evidence.bundle import RunEvidence, read_evidence
from soak_pipeline.evidence.run_folder import RunFolder, read_json, run_folders
from soak_pipeline.model.documents import LatencyDocument
from soak_pipeline.model.errors import EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_PASS, BadInput, EvidenceUnreadable
from soak_pipeline.model.stored import different_fields
from soak_pipeline.report.history import change_lines, policies_of, stored_runs, write_history
from soak_pipeline.report.quantities import quantity


def compare_stored(reference: Path, candidate: Path, margin: float) -> int:
    """Prints a candidate run against a reference run.

    Args:
        reference, candidate: paths of run folders of the same profile.
        margin: relative difference that counts as none.

    Returns:
        1 when anything is worse, 2 when nothing could be compared, else 0.

    Raises:
        BadInput: the two runs are of different profiles, or the margin is none.
        EvidenceUnreadable: a run has no readable plan or records.
    """
    if not 0.0 < margin < 1.0:
        raise BadInput("margin", [f"{margin:g}; expected a share between 0 and 1, such as 0.05"])
    before, after = (read_evidence(RunFolder.at(path)) for path in (reference, candidate))
    if different := different_fields(before.plan.profile, after.plan.profile):
        fields = "; ".join(f"{name} {one} and {other}" for name, (one, other) in different.items())
        raise BadInput(
            "runs",
            [
                f"{before.plan.run_id} ({before.plan.profile.name}) and {after.plan.run_id} ({after.plan.profile.name})"
                f" had different loads: {fields}; compare runs of one profile without different overrides"
            ],
        )
    others = list(_latencies_of_the_same_load(before, {before.plan.run_id, after.plan.run_id}))
    spread = spread_between_runs(others)
    compared = compare_evidence(before, after, margin=margin, spread=spread)
    print(f"reference {before.plan.run_id} {before.plan.release}, candidate {after.plan.run_id} {after.plan.release}")
    print(_spread_words(len(others), bool(spread)))
    for line in _comparison_lines(compared):
        print(line)
    changes = {entry.result.change for entry in compared}
    if Change.WORSE in changes:
        return EXIT_FAIL
    return EXIT_INCONCLUSIVE if changes == {Change.UNKNOWN} else EXIT_PASS


def _latencies_of_the_same_load(evidence: RunEvidence, but: Collection[str]) -> Iterator[LatencyDocument]:
    """Of the other stored runs of the same load on the same target, oldest first."""
    for folder in run_folders(evidence.folder.reports):
        if folder.run_id in but:
            continue
        try:
            plan = folder.read_plan()
            if plan.profile == evidence.plan.profile and plan.target.name == evidence.plan.target.name:
                yield read_json(folder.path / "latency.json", LatencyDocument)
        except EvidenceUnreadable:
            continue


def _spread_words(runs: int, is_known: bool) -> str:
    if is_known:
        return f"the spread between runs is that of {runs} other stored runs of this load"
    return (
        f"{runs} other stored runs of this load, fewer than the {FEWEST_RUNS_FOR_SPREAD} that would show the spread "
        "between runs: two runs of one release may differ by more than these intervals"
    )


def _comparison_lines(compared: tuple[ComparedMetric, ...]) -> Iterator[str]:
    width = max(7, *(len(entry.tenant) for entry in compared))
    yield f"{'tenant':<{width}} {'metric':<19} {'reference':>10} {'candidate':>10}  {'ratio':<20} change"
    for entry in compared:
        result = entry.result
        known = result.ratio is not None and result.lower is not None and result.upper is not None
        ratio = f"{result.ratio:.3f} ({result.lower:.3f}-{result.upper:.3f})" if known else "too few windows"
        yield (
            f"{entry.tenant:<{width}} {entry.metric:<19} {_number(entry.reference):>10} {_number(entry.candidate):>10}"
            f"  {ratio:<20} {result.change.value}"
        )


def show_history(reports: Path) -> int:
    """Prints every stored run and the change points of its kind, and writes the history page.

    Returns:
        0: history is no verdict.
    """
    runs, unreadable = stored_runs(reports)
    for (profile, target), members in groupby(
        sorted(runs, key=lambda run: (run.profile, run.target, run.run_id)), key=lambda run: (run.profile, run.target)
    ):
        kind = list(members)
        print(f"{profile} on {target}")
        print(_history_line("run", "verdict", "slowest p95", "slowest p99", "worst rise", "release"))
        for run in kind:
            p95, p99 = quantity(run.slowest_ms_p95, "ms"), quantity(run.slowest_ms_p99, "ms")
            rise = quantity(run.worst_ratio, "ratio")
            print(_history_line(run.run_id, run.verdict, p95, p99, rise, run.release))
        print(f"  planned by {policies_of(kind)}")
        for line in change_lines(kind):
            print(f"  {line}")
    for run_id, reason in unreadable:
        print(f"not shown: {run_id}: {reason}")
    print(write_history(reports))
    return EXIT_PASS


def _history_line(run: str, verdict: str, p95: str, p99: str, rise: str, release: str) -> str:
    return f"  {run:<16}  {verdict:<12}  {p95:>11}  {p99:>11}  {rise:>10}  {release}".rstrip()


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
