"""The few figures above the fold.

Owns their choice and wording. Never judges: a tile is coloured by the verdict of the criterion that it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from soak_pipeline.model.traffic import Kind, Outcome, Phase
from soak_pipeline.model.verdict import CriterionResult, Verdict, at_most
from soak_pipeline.report.course import Course
from soak_pipeline.report.documents import Documents
from soak_pipeline.report.markdown import soak_rows
from soak_pipeline.report.quantities import duration, limit_text, number, quantity

_TONES = {Verdict.FAIL: "fail", Verdict.INCONCLUSIVE: "open", Verdict.PASS: ""}


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure with its label, a few words below it, and the tone of its verdict (`fail`, `open` or empty)."""

    label: str
    value: str
    detail: str
    tone: str = ""


def tiles_of(course: Course, documents: Documents, criteria: Sequence[CriterionResult]) -> list[Tile]:
    """The figures that a reader wants before any other; those that were not measured are left out."""
    tones = {result.name: _TONES[result.verdict] for result in criteria if result.asked}
    return [
        *_traffic(course),
        *_latency(documents, next((result for result in criteria if result.name == "gateway_p95_is_under_slo"), None)),
        *_fairness(documents, tones.get("quiet_tenants_are_protected", "")),
        *_errors(course, tones.get("decisions_are_correct", "")),
        *_drain(documents, tones.get("usage_matches_audit", "")),
    ]


def _traffic(course: Course) -> Iterator[Tile]:
    requests = course.requests
    if requests is None:
        return
    starts = requests.columns["start_us"]
    yield Tile("Requests sent", f"{len(requests):,}", f"in {duration(float(np.ptp(starts)) / 1e6)}")
    soak = course.soak
    if soak is not None and soak.end_s > soak.start_s:
        sent = int((requests.where(phase=Phase.SOAK.value) & ~requests.where(kind=Kind.AUTH.value)).sum())
        planned = soak.planned_requests_per_second
        detail = "per second" if planned is None else f"per second, planned {number(round(planned, 1))}"
        yield Tile("Rate in the soak", number(round(sent / (soak.end_s - soak.start_s), 1)), detail)


def _latency(documents: Documents, result: CriterionResult | None) -> Iterator[Tile]:
    """The slowest tenant over the soak; where a stretch of the soak decided, that stretch, with the soak beside it."""
    rows = [row for row in soak_rows(documents.latency) if row.latency_ms.p95.value is not None]
    if documents.latency is None or not rows:
        return
    slowest = max(rows, key=lambda row: row.latency_ms.p95.value or 0.0)
    own = documents.latency.limit_ms_by_tenant.get(slowest.tenant, documents.latency.limit_ms)
    limit = limit_text(at_most(own, "ms"))
    p95 = slowest.latency_ms.p95.value or 0.0
    tone = _TONES[result.verdict] if result is not None and result.asked else ""
    if tone and result is not None and result.findings and result.observed is not None and result.observed > p95:
        subject = result.findings[0].subject
        limit = limit_text(result.limit) if result.limit is not None else limit
        detail = f"{subject} at its worst, limit {limit}; {quantity(p95, 'ms')} over the soak"
        yield Tile("Slowest p95", quantity(result.observed, "ms"), detail, tone)
        return
    yield Tile("Slowest p95", quantity(p95, "ms"), f"tenant {slowest.tenant}, limit {limit}", tone)


def _fairness(documents: Documents, tone: str) -> Iterator[Tile]:
    comparison = documents.comparison
    tenants = [] if comparison is None else [tenant for tenant in comparison.tenants if tenant.ratio is not None]
    if comparison is None or not tenants:
        return
    worst = max(tenants, key=lambda tenant: tenant.ratio or 0.0)
    limit = limit_text(at_most(comparison.limit_of(worst), "ratio"))
    yield Tile("Worst rise of p99", quantity(worst.ratio, "ratio"), f"tenant {worst.tenant}, limit {limit}", tone)


def _errors(course: Course, tone: str) -> Iterator[Tile]:
    if course.requests is None:
        return
    count = int((~course.requests.where(outcome=Outcome.OK.value)).sum())
    share = quantity(count / len(course.requests), "share")
    yield Tile("Errors users saw", f"{count:,}", f"{share} of requests" if count else "none of the requests", tone)


def _drain(documents: Documents, tone: str) -> Iterator[Tile]:
    reconcile = documents.reconcile
    if reconcile is None or reconcile.drain is None:
        return
    value = duration(reconcile.converged_s) if reconcile.converged_s is not None else "not drained"
    yield Tile("Pipelines empty after", value, "from the end of the load", tone)
