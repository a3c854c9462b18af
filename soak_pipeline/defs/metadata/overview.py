"""What the report shows at a glance: latency, fairness, and what could leak, as short tables and small lines.

Reads the documents and the telemetry of the run folder. What is missing is said, never guessed; nothing here raises.
"""

from __future__ import annotations

import math

import dagster as dg

from soak_pipeline.criteria.leaks.nothing_leaks import PLATFORM_SOURCES
from soak_pipeline.criteria.sources import LATENCY_FILE
from soak_pipeline.defs.metadata.values import Bold, Metadata, course, first_to_last, plotted, table, text, verdict_cell
from soak_pipeline.evidence.run_folder import RunFolder, read_json
from soak_pipeline.evidence.telemetry import SeriesKey, read_telemetry
from soak_pipeline.model.documents import FairnessDocument, LatencyDocument
from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.series import LEAK_SERIES
from soak_pipeline.model.traffic import Phase
from soak_pipeline.model.verdict import CriterionResult, Verdict
from soak_pipeline.report.quantities import NOT_MEASURED, quantity
from soak_pipeline.report.table import NOT_ASKED

MAX_TENANTS = 8
"""Tenants with an entry of their own; all are in the tables."""
MAX_RESOURCES = 8
MAX_MISSING = 2
MAX_RESOURCE_LINES = 3


def latency_metadata(folder: RunFolder) -> tuple[Metadata, Metadata]:
    """The soak's judged calls per tenant.

    Returns:
        p95 and p99 on both clocks with p95 in the course of the soak, to be read; and p95 and p99 as numbers, which the
        UI plots over the runs. Of many tenants, the courses of the slowest and the numbers of the slowest one.
    """
    try:
        document = read_json(folder.path / LATENCY_FILE, LatencyDocument)
    except EvidenceUnreadable as error:
        return {"latency": _not_measured(error, folder)}, {}
    rows = [row for row in document.rows if row.phase == Phase.SOAK and row.kind == document.judged_kind]
    shown: Metadata = {
        "latency": table(
            ("tenant", "p95", "p99", "service p95", "service p99"),
            [
                (
                    row.tenant,
                    *(
                        quantity(percentile.value, "ms")
                        for clock in (row.latency_ms, row.service_ms)
                        for percentile in (clock.p95, clock.p99)
                    ),
                )
                for row in rows
            ],
        )
    }
    numbers: Metadata = {}
    slowest = sorted(rows, key=lambda row: -(row.latency_ms.p95.value or 0.0))
    if len(rows) > MAX_TENANTS:
        # A number per tenant would be a wall of charts; and one of the slowest few alone would come and go.
        numbers |= plotted("latency_ms_p95_slowest", slowest[0].latency_ms.p95.value)
        numbers |= plotted("latency_ms_p99_slowest", slowest[0].latency_ms.p99.value)
    for row in rows if len(rows) <= MAX_TENANTS else slowest[:MAX_TENANTS]:
        windows = sorted(
            (item for item in document.windows if item.tenant == row.tenant), key=lambda item: item.start_s
        )
        values = [math.nan if item.latency_ms_p95.value is None else item.latency_ms_p95.value for item in windows]
        shown |= course(f"latency_course_{row.tenant}", values, "ms", of="p95", limit=document.limit_ms)
        if len(rows) <= MAX_TENANTS:
            numbers |= plotted(f"latency_ms_p95_{row.tenant}", row.latency_ms.p95.value)
            numbers |= plotted(f"latency_ms_p99_{row.tenant}", row.latency_ms.p99.value)
    return shown, numbers


def fairness_metadata(folder: RunFolder) -> Metadata:
    """Each quiet tenant before and during the burst, and the ratio of its pairs of windows one after the other."""
    try:
        document = read_json(folder.comparison_path, FairnessDocument)
    except EvidenceUnreadable as error:
        return {"fairness": _not_measured(error, folder)}
    metadata: Metadata = {
        "fairness": table(
            ("tenant", "decision", "p99 at rest", "p99 in burst", "ratio", "interval"),
            [
                (
                    tenant.tenant,
                    verdict_cell(tenant.decision),
                    quantity(tenant.latency_ms_p99_baseline, "ms"),
                    quantity(tenant.latency_ms_p99_burst, "ms"),
                    quantity(tenant.ratio, "ratio"),
                    f"{quantity(tenant.lower, 'ratio')} to {quantity(tenant.upper, 'ratio')}",
                )
                for tenant in document.tenants
            ],
        )
    }
    worst = sorted(document.tenants, key=lambda tenant: -(tenant.ratio or 0.0))[:MAX_TENANTS]
    for tenant in document.tenants if len(document.tenants) <= MAX_TENANTS else worst:
        ratios = [math.nan if pair.ratio is None else pair.ratio for pair in tenant.pairs]
        metadata |= course(
            f"fairness_course_{tenant.tenant}", ratios, "ratio", of="p99 ratio of the pairs", limit=document.limit
        )
    return metadata


def resources_metadata(folder: RunFolder, leaks: CriterionResult | None) -> Metadata:
    """What the soak did to the platform's resources: those that decided first, with their course over the run."""
    try:
        telemetry = read_telemetry(folder.path)
    except EvidenceUnreadable as error:
        return {"resources": _not_measured(error, folder)}
    series = {
        f"{key.owner} {key.series}": key
        for key in telemetry
        if key.series in LEAK_SERIES and key.source in PLATFORM_SOURCES
    }
    if not series:
        return {"resources": text("not measured: the run has no telemetry of the platform")}
    judged = {} if leaks is None or not leaks.asked else {item.subject: item for item in leaks.findings}
    order = sorted(series, key=lambda name: _rank(series[name], judged[name].verdict if name in judged else None))
    metadata: Metadata = {}
    rows: list[tuple[str, str, str, str | Bold]] = [
        (subject, "not watched", NOT_MEASURED, verdict_cell(finding.verdict))
        for subject, finding in judged.items()
        if subject not in series and finding.verdict is not Verdict.PASS
    ][:MAX_MISSING]
    for position, name in enumerate(order[:MAX_RESOURCES], 1):
        key, finding = series[name], judged.get(name)
        values = [float(value) for value in telemetry[key].values]
        leak = LEAK_SERIES[key.series]
        verdict = verdict_cell(finding.verdict) if finding else NOT_ASKED
        rows.append((key.owner, leak.resource, first_to_last(values, leak.unit), verdict))
        if position <= MAX_RESOURCE_LINES:
            metadata |= course(f"resource_course_{position}", values, leak.unit, of=f"{key.owner} {leak.resource}")
    return {"resources": table(("whose", "resource", "first to last", "leak"), rows), **metadata}


def _not_measured(error: EvidenceUnreadable, folder: RunFolder) -> dg.MetadataValue:
    return text(f"not measured: {folder.relative(str(error))}")


def _rank(key: SeriesKey, verdict: Verdict | None) -> tuple[int, int, str]:
    """What fails first, then what is open, then memory and the rest in their usual order."""
    severity = {Verdict.FAIL: 0, Verdict.INCONCLUSIVE: 1}.get(verdict, 2) if verdict else 2
    return severity, list(LEAK_SERIES).index(key.series), key.owner
