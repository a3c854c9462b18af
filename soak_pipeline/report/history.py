"""`history.html`: every stored run, its verdict, and the trend of latency, fairness and memory over runs.

Owns reading the verdicts back and arranging them. Rebuilt whole from the run folders each time, so a folder that is
deleted, moved here or judged again needs no bookkeeping. Never judges, and puts side by side only runs of one profile
and target.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import msgspec

from soak_pipeline.analysis.run_trends import RunCourse, run_course
from soak_pipeline.evidence.run_folder import RunFolder, read_json, read_json_as_stored, run_folders, write_text
from soak_pipeline.model.documents import FairnessDocument, LatencyDocument
from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.verdict import CriterionResult
from soak_pipeline.report.charts.chart import Chart
from soak_pipeline.report.charts.leaks import LEAK_CRITERION, slope_per_hour
from soak_pipeline.report.charts.runs import Mark, Trend, trend_chart
from soak_pipeline.report.markdown import soak_rows
from soak_pipeline.report.page.render import render
from soak_pipeline.report.tenant_key import TenantKey, tenant_key
from soak_pipeline.report.verdict_document import VERDICT_FILE, stored_verdict

T = TypeVar("T")

HISTORY_FILE = "history.html"
FIGURES = ("slowest_ms_p95", "slowest_ms_p99", "worst_ratio", "rss_bytes_slope_per_hour")
FALSE_ALARM_SHARE = 0.01
"""Chance that a history without any change shows one, over all its figures; and the same for a trend."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """What the history shows of one run; None where it was not measured.

    Attributes:
        run_id, target, release, verdict, why: of its verdict.
        profile: the load in words: the level, and what was changed of it; runs of other loads are no history of it.
        load, policy: digest of the load's numbers, and the policy that they are from, in words.
        latency_ms_p95, latency_ms_p99: of the soak, per tenant, from the intended start.
        worst_ratio: largest p99(burst) / p99(baseline) of a quiet tenant.
        rss_bytes_slope_per_hour: steepest slope of a process' resident memory.
    """

    run_id: str
    profile: str
    target: str
    release: str
    verdict: str
    why: str
    latency_ms_p95: dict[str, float] = field(default_factory=dict)
    latency_ms_p99: dict[str, float] = field(default_factory=dict)
    worst_ratio: float | None = None
    rss_bytes_slope_per_hour: float | None = None
    load: str = ""
    policy: str = ""

    @property
    def slowest_ms_p95(self) -> float | None:
        """The largest p95 of a tenant (ms)."""
        return max(self.latency_ms_p95.values(), default=None)

    @property
    def slowest_ms_p99(self) -> float | None:
        """The largest p99 of a tenant (ms)."""
        return max(self.latency_ms_p99.values(), default=None)


@dataclass(frozen=True, slots=True)
class Group:
    """Runs of one profile against one target, oldest first, their charts, and their changes and trends in words.

    `legend` holds the swatches of their tenants.
    """

    key: str
    profile: str
    target: str
    runs: Sequence[StoredRun]
    charts: Sequence[Chart]
    changes: Sequence[str]
    legend: Sequence[tuple[str, str]]

    @property
    def newest_first(self) -> list[StoredRun]:
        """The runs in the order of a table."""
        return list(reversed(self.runs))

    @property
    def policies(self) -> str:
        """By which policies the runs were planned."""
        return policies_of(self.runs)

    @property
    def words(self) -> str:
        """How many runs there are, and how they ended."""
        return _count_words(self.runs)


def write_history(reports: Path) -> Path:
    """Writes the history of every run under `reports` and returns its path, `{reports}/soak/history.html`."""
    runs, unreadable = stored_runs(reports)
    path = reports / "soak" / HISTORY_FILE
    write_text(path, history_html(runs, unreadable))
    return path


def stored_runs(reports: Path) -> tuple[list[StoredRun], list[tuple[str, str]]]:
    """Every run under `reports` that has a readable verdict, oldest first; of each other one its id and the reason."""
    runs: list[StoredRun] = []
    unreadable: list[tuple[str, str]] = []
    for folder in run_folders(reports):
        try:
            runs.append(stored_run(folder))
        except EvidenceUnreadable as error:
            unreadable.append((folder.run_id, folder.relative(str(error))))
    return told_apart(runs), unreadable


def stored_run(folder: RunFolder) -> StoredRun:
    """What the history shows of a run folder.

    Raises:
        EvidenceUnreadable: it has no readable verdict.
    """
    path = folder.path / VERDICT_FILE
    if not path.exists():
        raise EvidenceUnreadable("no verdict: the run goes on, or was broken off (`soak judge` judges what it left)")
    verdict = read_json_as_stored(path, stored_verdict)
    latency = _optional(folder.path / "latency.json", LatencyDocument)
    comparison = _optional(folder.comparison_path, FairnessDocument)
    rows = soak_rows(latency)
    ratios = [tenant.ratio for tenant in comparison.tenants if tenant.ratio is not None] if comparison else []
    return StoredRun(
        run_id=verdict.run_id,
        **_load_of(folder, verdict.profile),
        target=verdict.target,
        release=verdict.release,
        verdict=verdict.verdict.value,
        why=verdict.why,
        latency_ms_p95={row.tenant: row.latency_ms.p95.value for row in rows if row.latency_ms.p95.value is not None},
        latency_ms_p99={row.tenant: row.latency_ms.p99.value for row in rows if row.latency_ms.p99.value is not None},
        worst_ratio=max(ratios, default=None),
        rss_bytes_slope_per_hour=_steepest_memory(verdict.criteria),
    )


def _load_of(folder: RunFolder, name: str) -> dict[str, str]:
    """The load of a run: level and what the operator changed of it, a digest of its numbers, and the policy."""
    try:
        plan = folder.read_plan()
    except EvidenceUnreadable:
        return {"profile": f"{name} (plan not readable)"}
    numbers = (plan.profile, [(tenant.name, tenant.share, tenant.is_noisy) for tenant in plan.tenants])
    return {
        "profile": f"{name} ({', '.join(changed)})" if (changed := _changed(plan)) else name,
        "load": hashlib.sha256(msgspec.json.encode(numbers, order="deterministic")).hexdigest()[:12],
        "policy": f"policy {plan.policy}" if plan.policy else "numbers of an older version",
    }


def _changed(plan: Plan) -> tuple[str, ...]:
    """What the operator, or the machine, made of the level."""
    if plan.sizing is None or plan.sizing.scale == 1.0:
        return plan.adjustments
    return (*plan.adjustments, f"{plan.sizing.scale:g} of its size", f"{plan.profile.users:,} users")


def told_apart(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Runs whose words say which load they had: where one level had several, the newest keeps its plain name."""
    newest: dict[tuple[str, str], str] = {}
    for run in sorted(runs, key=lambda run: run.run_id):
        newest[run.profile, run.target] = run.load
    return [
        run
        if run.load == newest[run.profile, run.target]
        else replace(run, profile=f"{run.profile}, {run.policy}, load {run.load}")
        for run in runs
    ]


def history_html(runs: Iterable[StoredRun], unreadable: Sequence[tuple[str, str]] = ()) -> str:
    """The page as text.

    Args:
        runs: in any order.
        unreadable: run id and reason of those without a readable verdict.
    """
    ordered = sorted(runs, key=lambda run: (run.profile, run.target, run.run_id))
    groups = [
        _group(index, list(members))
        for index, (_, members) in enumerate(groupby(ordered, key=lambda run: (run.profile, run.target)))
    ]
    return render(
        HISTORY_FILE,
        words=_count_words(ordered),
        groups=groups,
        unreadable=unreadable,
    )


def policies_of(runs: Iterable[StoredRun]) -> str:
    """The policies that some runs were planned by, the newest last."""
    return ", ".join(dict.fromkeys(run.policy or "an unknown policy" for run in runs))


def change_lines(runs: Sequence[StoredRun]) -> Iterator[str]:
    """Changes of level of each figure, and its trend, in words.

    Args:
        runs: of one profile and target, oldest first.
    """
    for name in FIGURES:
        measured, course = _course(runs, name)
        for change in course.changes:
            first = measured[change.index]
            yield (
                f"change of {name} at {first.run_id} {first.release}: {change.before:.4g} -> {change.after:.4g}"
                f" (p {change.p_value:.3f})"
            )
        if (trend := course.trend) is not None:
            yield (
                f"trend of {name} over {trend.runs} runs since {measured[course.trend_since].run_id}:"
                f" {trend.slope_per_run:+.4g} per run ({trend.lower:.4g} to {trend.upper:.4g}, p {trend.p_value:.3f})"
            )


def _course(runs: Sequence[StoredRun], figure: str) -> tuple[list[StoredRun], RunCourse]:
    """How a figure went: the runs that have it, and the changes and the trend over them."""
    measured = [run for run in runs if getattr(run, figure) is not None]
    values = [getattr(run, figure) for run in measured]
    return measured, run_course(values, alpha=FALSE_ALARM_SHARE / len(FIGURES))


def _marks(runs: Sequence[StoredRun], figure: str) -> list[Mark]:
    """The changes of a figure's level, for its chart."""
    measured, course = _course(runs, figure)
    return [Mark(runs.index(measured[change.index]), change.before, change.after) for change in course.changes]


def _group(index: int, runs: list[StoredRun]) -> Group:
    key = f"group-{index}"
    run_ids = [run.run_id for run in runs]
    tenants = tenants_of(runs)
    trends = [
        Trend("p95 in the soak", "ms", _lines(tenants, [run.latency_ms_p95 for run in runs])),
        Trend("p99 in the soak", "ms", _lines(tenants, [run.latency_ms_p99 for run in runs])),
        Trend("Worst rise of p99 in the burst", "ratio", {"": [run.worst_ratio for run in runs]}),
        Trend("Steepest memory", "bytes_per_hour", {"": [run.rss_bytes_slope_per_hour for run in runs]}),
    ]
    verdicts = [run.verdict for run in runs]
    charts = [
        trend_chart(f"{key}-{number}", trend, tenants, run_ids, verdicts, _marks(runs, figure))
        for number, (trend, figure) in enumerate(zip(trends, FIGURES, strict=True))
    ]
    drawn = [chart for chart in charts if chart is not None]
    return Group(key, runs[0].profile, runs[0].target, runs, drawn, list(change_lines(runs)), tenants.legend())


def tenants_of(runs: Sequence[StoredRun]) -> TenantKey:
    """The tenants of all the runs and their colours: the newest run's in its order, then those of earlier runs alone.

    Where there are more than colours, those that were slowest in the newest run that has them get one.
    """
    newest: dict[str, float] = {}
    for run in reversed(runs):
        newest |= {name: value for name, value in run.latency_ms_p95.items() if name not in newest}
    return tenant_key(newest, importance=newest)


def _lines(tenants: TenantKey, values: Sequence[Mapping[str, float]]) -> dict[str, list[float | None]]:
    """Per tenant with a colour its value in each run, and the largest of the others as one more line."""
    lines: dict[str, list[float | None]] = {
        name: [by_tenant.get(name) for by_tenant in values] for name in tenants.coloured
    }
    if tenants.others:
        lines[f"slowest of {tenants.others_words}"] = [
            max((by_tenant[name] for name in tenants.others if name in by_tenant), default=None) for by_tenant in values
        ]
    return lines


def _count_words(runs: Sequence[StoredRun]) -> str:
    if not runs:
        return "No run has a verdict yet."
    verdicts = [run.verdict for run in runs]
    counts = [f"{verdicts.count(word)} {word}" for word in ("PASS", "INCONCLUSIVE", "FAIL") if word in verdicts]
    return f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}: {', '.join(counts)}."


def _optional(path: Path, output_type: type[T]) -> T | None:
    try:
        return read_json(path, output_type)
    except EvidenceUnreadable:
        return None


def _steepest_memory(criteria: Iterable[CriterionResult]) -> float | None:
    slopes = [
        slope
        for result in criteria
        if result.name == LEAK_CRITERION
        for finding in result.findings
        if finding.subject.endswith(" rss_bytes") and (slope := slope_per_hour(finding)) is not None
    ]
    return max(slopes, default=None)
