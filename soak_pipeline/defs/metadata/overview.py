"""What the report shows at a glance, with a small line per row: latency, fairness, and what could leak.

Reads the documents and the telemetry of the run folder. What is missing is said, never guessed; nothing here raises.
"""

from __future__ import annotations

import math

from soak_pipeline.criteria.sources import LATENCY_FILE
from soak_pipeline.defs.metadata.values import Metadata, marked, plotted, sparkline, table, text
from soak_pipeline.evidence.run_folder import RunFolder, read_json
from soak_pipeline.evidence.telemetry import SeriesKey, read_telemetry
from soak_pipeline.model.documents import FairnessDocument, LatencyDocument
from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.series import LEAK_SERIES
from soak_pipeline.model.traffic import Phase
from soak_pipeline.model.verdict import CriterionResult, Verdict
from soak_pipeline.report.quantities import number, quantity
from soak_pipeline.report.write import COMPARISON_FILE

MAX_RESOURCES = 12


def latency_metadata(folder: RunFolder) -> Metadata:
    """p95 and p99 of the soak's judged calls per tenant: a table of both clocks, and figures to plot over the runs."""
    try:
        document = read_json(folder.path / LATENCY_FILE, LatencyDocument)
    except EvidenceUnreadable as error:
        return {"latency": text(f"not measured: {error}")}
    rows = [row for row in document.rows if row.phase == Phase.SOAK and row.kind == document.judged_kind]
    courses = {
        row.tenant: [
            math.nan if window.latency_ms_p95.value is None else window.latency_ms_p95.value
            for window in sorted(document.windows, key=lambda window: window.start_s)
            if window.tenant == row.tenant
        ]
        for row in rows
    }
    metadata: Metadata = {
        "latency": table(
            ("tenant", "requests", "p95", "p99", "service p95", "service p99", "p95 in the course of the soak"),
            [
                (
                    row.tenant,
                    number(row.requests),
                    quantity(row.latency_ms.p95.value, "ms"),
                    quantity(row.latency_ms.p99.value, "ms"),
                    quantity(row.service_ms.p95.value, "ms"),
                    quantity(row.service_ms.p99.value, "ms"),
                    sparkline(
                        courses[row.tenant],
                        words=_course(courses[row.tenant], "ms"),
                        limit=document.limit_ms,
                    ),
                )
                for row in rows
            ],
        )
    }
    for row in rows:
        metadata |= plotted(f"latency_ms_p95_{row.tenant}", row.latency_ms.p95.value)
        metadata |= plotted(f"latency_ms_p99_{row.tenant}", row.latency_ms.p99.value)
    return metadata


def fairness_metadata(folder: RunFolder) -> Metadata:
    """Each quiet tenant before and during the burst, with the ratio of every pair of windows."""
    try:
        document = read_json(folder.fairness_path / COMPARISON_FILE, FairnessDocument)
    except EvidenceUnreadable as error:
        return {"fairness": text(f"not measured: {error}")}
    rows = []
    for tenant in document.tenants:
        ratios = [math.nan if pair.ratio is None else pair.ratio for pair in tenant.pairs]
        rows.append(
            (
                tenant.tenant,
                marked(tenant.decision),
                quantity(tenant.latency_ms_p99_baseline, "ms"),
                quantity(tenant.latency_ms_p99_burst, "ms"),
                quantity(tenant.ratio, "ratio"),
                f"{quantity(tenant.lower, 'ratio')} to {quantity(tenant.upper, 'ratio')}",
                sparkline(ratios, words=_course(ratios, "ratio"), limit=document.limit),
            )
        )
    header = ("tenant", "decision", "p99 at rest", "p99 in the burst", "ratio", "interval", "ratio of each pair")
    return {"fairness": table(header, rows)}


def resources_metadata(folder: RunFolder, leaks: CriterionResult | None) -> Metadata:
    """What the soak did to the platform's resources: those that decided first, with their course over the run."""
    try:
        telemetry = read_telemetry(folder.path)
    except EvidenceUnreadable as error:
        return {"resources": text(f"not measured: {error}")}
    series = {f"{key.owner} {key.series}": key for key in telemetry if key.series in LEAK_SERIES}
    judged = {} if leaks is None else {item.subject: item for item in leaks.findings if item.subject in series}
    order = sorted(series, key=lambda name: _rank(series[name], judged[name].verdict if name in judged else None))
    rows = []
    for name in order[:MAX_RESOURCES]:
        key = series[name]
        values = [float(value) for value in telemetry[key].values]
        unit = LEAK_SERIES[key.series].unit
        finding = judged.get(name)
        rows.append(
            (
                key.owner,
                LEAK_SERIES[key.series].resource,
                marked(finding.verdict) if finding else "not judged",
                _course(values, unit),
                quantity(finding.observed, unit) if finding else "–",
                sparkline(values, words=_course(values, unit)),
            )
        )
    if not rows:
        return {"resources": text("not measured: the run has no telemetry of the platform")}
    header = ("of", "resource", "verdict", "first to last", "growth over the horizon", "course of the run")
    return {"resources": table(header, rows)}


def _rank(key: SeriesKey, verdict: Verdict | None) -> tuple[int, int, str]:
    """What fails first, then what is open, then memory and the rest in their usual order."""
    severity = {Verdict.FAIL: 0, Verdict.INCONCLUSIVE: 1}.get(verdict, 2) if verdict else 2
    return severity, list(LEAK_SERIES).index(key.series), key.owner


def _course(values: list[float], unit: str) -> str:
    """The first and the last known value."""
    known = [value for value in values if math.isfinite(value)]
    return f"{quantity(known[0], unit)} to {quantity(known[-1], unit)}" if known else "–"
