"""`report.html`: one page that needs nothing but a browser.

Owns what stands on the page and where; `page/render.py` escapes it. Never judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.documents import LatencyRow
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.promotion import gates_promotion
from soak_pipeline.model.verdict import CriterionResult, Verdict
from soak_pipeline.report.charts.chart import Chart
from soak_pipeline.report.charts.fairness import fairness_charts
from soak_pipeline.report.charts.latency import LatencyCharts, latency_charts
from soak_pipeline.report.charts.leaks import LEAK_CRITERION, leak_charts
from soak_pipeline.report.charts.run import run_chart
from soak_pipeline.report.course import Course, Event
from soak_pipeline.report.documents import Documents
from soak_pipeline.report.errors_log import ErrorKind
from soak_pipeline.report.markdown import soak_rows
from soak_pipeline.report.page.render import render
from soak_pipeline.report.page.tables import ErrorRow, OutcomeRow, RecordsRow, error_rows, outcome_rows, records_rows
from soak_pipeline.report.page.tiles import Tile, tiles_of
from soak_pipeline.report.quantities import duration, number
from soak_pipeline.report.table import NOT_ASKED, verdict_word
from soak_pipeline.report.tenant_key import TenantKey, tenant_key
from soak_pipeline.report.verdict_document import VerdictDocument, deciding_criteria, moment

REPORT_FILE = "report.html"
ERROR_KINDS_SHOWN = 50
TENANT_ROWS = 12
"""Tenants, beyond which their tables scroll, with those first that a reader looks for."""
LEAKS_SHOWN = 6
"""Charts of resources that are shown at once where none has a finding."""
_ORDER = ("FAIL", "INCONCLUSIVE", "PASS", NOT_ASKED)
_PHASE_LEGEND = (
    ("line-plan", "planned rate"),
    ("phase-warmup", "warm-up, drain"),
    ("phase-baseline", "baseline"),
    ("phase-burst", "burst, fan-out, soak"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the template shows; every figure in it was decided elsewhere."""

    document: VerdictDocument
    promotion: str
    began: str
    criteria: Sequence[CriterionResult]
    deciding: Sequence[CriterionResult]
    problems: Sequence[str]
    tiles: Sequence[Tile]
    criteria_words: str
    run: Chart | None
    tenants: TenantKey
    latency: LatencyCharts
    latency_rows: Sequence[tuple[LatencyRow, float | None]]
    limit_ms: float
    events: Sequence[tuple[str, str, bool]]
    fairness: Sequence[Chart]
    pressure: str
    leaks: Sequence[Chart]
    leak_words: str
    leaks_judged: bool
    invariants: Sequence[RecordsRow]
    outcomes: Sequence[OutcomeRow]
    errors: Sequence[ErrorRow]
    errors_left_out: int
    about: Sequence[tuple[str, str]]
    legend: Sequence[tuple[str, str]]

    @property
    def has_many_tenants(self) -> bool:
        """Whether a table of all tenants is too long to be shown whole."""
        return len(self.tenants.names) > TENANT_ROWS

    @property
    def leaks_shown(self) -> Sequence[Chart]:
        """Charts of resources to show at once: those with a finding, and a few beside them when they were judged."""
        troubled = sum(bool(chart.tone) for chart in self.leaks)
        return self.leaks[: max(troubled, LEAKS_SHOWN)] if self.leaks_judged else ()

    @property
    def leaks_folded(self) -> Sequence[Chart]:
        """The other charts of resources."""
        return self.leaks[len(self.leaks_shown) :]

    @property
    def sections(self) -> list[tuple[str, str]]:
        """Anchors and words of the sections that are there."""
        there = [
            ("criteria", "Criteria", True),
            ("run", "The run", self.run is not None),
            ("latency", "Latency", bool(self.latency.shown)),
            ("fairness", "Fairness", bool(self.fairness)),
            ("leaks", "Resources", bool(self.leaks)),
            ("records", "Records", bool(self.invariants)),
            ("outcomes", "Outcomes", bool(self.outcomes)),
            ("about", "About this run", True),
        ]
        return [(key, words) for key, words, shown in there if shown]


def report_html(
    evidence: RunEvidence,
    course: Course,
    document: VerdictDocument,
    documents: Documents,
    errors: Sequence[ErrorKind],
) -> str:
    """The page as text.

    Args:
        evidence: of the run; for its plan and limits.
        course: of the run.
        document: the verdict.
        documents: the figures behind it.
        errors: kinds of user-visible errors, the worst first.
    """
    return render(REPORT_FILE, page=_page(evidence, course, document, documents, errors))


def _page(
    evidence: RunEvidence,
    course: Course,
    document: VerdictDocument,
    documents: Documents,
    errors: Sequence[ErrorKind],
) -> Page:
    deciding = deciding_criteria(document.criteria)
    limit_ms = evidence.thresholds.gateway_latency_ms_p95_max
    tenants = tenant_key(
        evidence.plan.tenant_names, noisy=evidence.plan.noisy_tenant.name, importance=tenants_by_importance(documents)
    )
    server = {} if documents.latency is None else {each.tenant: each.server_share for each in documents.latency.server}
    return Page(
        document=document,
        promotion=_promotion_words(document),
        criteria=[
            *deciding,
            *sorted(
                (result for result in document.criteria if result not in deciding),
                key=lambda result: _ORDER.index(verdict_word(result)),
            ),
        ],
        began=_day_and_time(document.started_at),
        deciding=deciding,
        problems=course.problems,
        tiles=tiles_of(course, documents, document.criteria),
        criteria_words=_criteria_words(document),
        run=run_chart(course, tenants),
        tenants=tenants,
        latency=latency_charts(
            course,
            tenants,
            limit_ms,
            evidence.plan.profile.request_timeout_s,
            {} if documents.latency is None else documents.latency.limit_ms_by_tenant,
        ),
        latency_rows=[(row, server.get(row.tenant)) for row in _latency_rows(documents)],
        limit_ms=limit_ms,
        events=_events(evidence, course),
        fairness=fairness_charts(documents.comparison, tenants),
        pressure=_pressure_words(documents),
        leaks=leak_charts(course, document.criteria, evidence.thresholds.leak_horizon_h),
        leaks_judged=any(result.name == LEAK_CRITERION and result.asked for result in document.criteria),
        leak_words=_leak_words(document, evidence.thresholds.leak_horizon_h),
        invariants=_records_rows(documents),
        outcomes=outcome_rows(course.requests),
        errors=error_rows(evidence.plan, errors[:ERROR_KINDS_SHOWN]),
        errors_left_out=max(0, len(errors) - ERROR_KINDS_SHOWN),
        about=_about(evidence, document),
        legend=[*tenants.legend(), *_PHASE_LEGEND],
    )


def _promotion_words(document: VerdictDocument) -> str:
    """What the verdict means for a promotion; nothing where it allows one."""
    if not document.gates_promotion:
        return "gates no promotion"
    return "" if document.verdict is Verdict.PASS else "promotion blocked"


def _latency_rows(documents: Documents) -> list[LatencyRow]:
    """One row per tenant, in the plan's order; of many tenants the slowest first."""
    rows = soak_rows(documents.latency)
    if len(rows) <= TENANT_ROWS:
        return rows
    return sorted(rows, key=lambda row: -(row.latency_ms.p95.value or 0.0))


def _records_rows(documents: Documents) -> list[RecordsRow]:
    """One row per tenant, in the plan's order; of many tenants those first whose records do not hold."""
    rows = records_rows(documents)
    if len(rows) <= TENANT_ROWS:
        return rows
    return sorted(rows, key=lambda row: min(_ORDER.index(row.chain), _ORDER.index(row.usage)))


def tenants_by_importance(documents: Documents) -> Mapping[str, float]:
    """Per tenant how much a reader wants to see it, the larger the more.

    First those beyond a limit, by how far; then in turn the slowest and those whose p99 rose most.
    """
    latency, comparison = documents.latency, documents.comparison
    slow = {
        row.tenant: row.latency_ms.p95.value / latency.limit_ms_by_tenant.get(row.tenant, latency.limit_ms)
        for row in soak_rows(latency)
        if latency is not None and row.latency_ms.p95.value is not None
    }
    rose = {
        tenant.tenant: tenant.ratio / comparison.limit_of(tenant)
        for tenant in (comparison.tenants if comparison is not None else ())
        if comparison is not None and tenant.ratio is not None
    }
    importance: dict[str, float] = {}
    for shares in (slow, rose):
        for rank, (name, share) in enumerate(sorted(shares.items(), key=lambda item: -item[1])):
            importance[name] = max(importance.get(name, 0.0), share if share > 1.0 else 1.0 / (1.0 + rank))
    return importance


def _day_and_time(text: str) -> str:
    """A moment as a person says it; as it stands where it is none."""
    try:
        return f"{datetime.fromisoformat(text):%-d %B %Y, %H:%M} UTC"
    except ValueError:
        return text


def _events(evidence: RunEvidence, course: Course) -> list[tuple[str, str, bool]]:
    """What happened: time into the run and of the day, words, and whether it should not have."""
    if course.requests is None:
        return []
    begin_s = float(course.requests.columns["start_us"].min()) / 1e6

    def when(event: Event) -> str:
        clock = moment(evidence.plan, round(event.time_s * 1e6))[11:19]
        return f"{duration(max(event.time_s - begin_s, 0.0))}, {clock} UTC"

    return [(when(event), event.text, event.trouble) for event in course.events]


def _criteria_words(document: VerdictDocument) -> str:
    words = [verdict_word(result) for result in document.criteria]
    counts = [(words.count(word), word) for word in _ORDER]
    return ", ".join(f"{count} {word}" for count, word in counts if count) + ". The worst one decides."


def _pressure_words(documents: Documents) -> str:
    if documents.comparison is None:
        return ""
    pressure = documents.comparison.pressure
    before, after = pressure.requests_per_second_baseline, pressure.requests_per_second_burst
    if before is None or after is None:
        return f"The pressure of tenant {pressure.tenant} was not measured."
    rise = (
        "" if pressure.rise_share is None else f", {number(round(100 * pressure.rise_share, 1))} % of the planned rise"
    )
    return (
        f"Tenant {pressure.tenant} went from {number(round(before, 1))} to {number(round(after, 1))} answered requests "
        f"per second{rise}. The others sent the same all the time."
    )


def _leak_words(document: VerdictDocument, horizon_h: float) -> str:
    result = next((result for result in document.criteria if result.name == LEAK_CRITERION), None)
    if result is None or not result.asked:
        reason = f": {result.why.rstrip('.')}" if result is not None else ""
        return f"Shown, but not judged in this run{reason}."
    return (
        f"A series may grow by its headroom within {number(horizon_h)} hours. Those with a finding come first; "
        "series that did not move are left out here, and are in the criterion's table."
    )


def _harness(plan: Plan, document: VerdictDocument) -> str:
    """Which version ran the load and which one judged it; the two differ once a stored run is judged again."""
    ran = plan.harness or "a version that did not say"
    return (
        ran
        if ran == document.harness
        else f"run by {ran}, judged by {document.harness or 'a version that did not say'}"
    )


def _about(evidence: RunEvidence, document: VerdictDocument) -> list[tuple[str, str]]:
    plan = evidence.plan
    gates, why_not = gates_promotion(plan, document.thresholds_changed)
    return [
        ("Promotion", "this run gates it" if gates else why_not),
        ("Release", document.release or "not given"),
        ("Commit", document.commit or "not given"),
        ("Target", f"{document.target} ({plan.target.dialect} dialect)"),
        ("Profile", f"{document.profile}: {plan.profile.users:,} users, {duration(plan.profile.soak_s)} of soak"),
        *([("Size", plan.sizing.in_words(plan.profile))] if plan.sizing is not None else []),
        ("Started", document.started_at),
        ("Last evidence", document.ended_at or "unknown"),
        ("Judged", document.judged_at),
        ("Plan (SHA-256)", document.plan_hash),
        ("Harness", _harness(plan, document)),
        ("Policy", str(document.policy) if document.policy else "none: run by a version without one"),
        *([("Changed for this run", ", ".join(plan.adjustments))] if plan.adjustments else []),
        ("Seed", str(plan.seed)),
    ]
