"""The verdict as Markdown: `summary.md` for CI step summaries, and the short tables that the Dagster UI shows.

Owns layout only. Never shows text from elsewhere unescaped: a platform's error text is not Markdown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from soak_pipeline.model.documents import LatencyDocument, LatencyRow
from soak_pipeline.model.traffic import Phase
from soak_pipeline.model.verdict import CriterionResult, Finding, Verdict
from soak_pipeline.report.quantities import interval_text, limit_of, quantity
from soak_pipeline.report.table import verdict_word
from soak_pipeline.report.text import markdown
from soak_pipeline.report.verdict_document import VerdictDocument

SUMMARY_FILE = "summary.md"
_MARKS = {"PASS": "✅", "FAIL": "❌", "INCONCLUSIVE": "⚠️", "not asked": "➖"}


def summary_markdown(document: VerdictDocument, latency: LatencyDocument | None, size: str = "") -> str:
    """The content of `summary.md`: verdict, reason, next step, criteria, latency per tenant, causes and fixes.

    Args:
        document: the verdict.
        latency: of the run; None when it could not be computed.
        size: what the machine carried and how the profile was fitted to it; empty where it was not.
    """
    parts = [
        f"## {_MARKS[document.verdict.value]} Soak {document.verdict}: {markdown(document.release or document.run_id)}",
        markdown(document.why),
        f"**Next:** {markdown(document.next_step)}",
        verdict_table_markdown(document.criteria),
        latency_table_markdown(latency),
        *(_diagnosis(result) for result in document.criteria if result.asked and result.verdict is not Verdict.PASS),
        markdown(f"{size[:1].upper()}{size[1:]}.") if size else "",
        f"Run {markdown(document.run_id)}, profile {markdown(document.profile)}, target {markdown(document.target)}, "
        f"commit {markdown(document.commit or 'unknown')}, plan {markdown(document.plan_hash[:12])}"
        + (f", policy {markdown(str(document.policy))}" if document.policy else "")
        + (f", judged by {markdown(document.harness)}" if document.harness else ""),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def verdict_table_markdown(criteria: Iterable[CriterionResult]) -> str:
    """One row per criterion: verdict, observed, limit, why."""
    rows = [
        [
            f"{_MARKS[verdict_word(result)]} {verdict_word(result)}",
            (f"`{result.name}`" if result.name.isidentifier() else markdown(result.name))
            + (" (advisory)" if result.advisory else ""),
            markdown(_observed(result)),
            markdown(limit_of(result)),
            markdown(result.why),
        ]
        for result in criteria
    ]
    return _table(("verdict", "criterion", "observed", "limit", "why"), rows, "llrrl")


def latency_table_markdown(latency: LatencyDocument | None) -> str:
    """p95 and p99 of executed calls in the soak per tenant, from the intended start and as service time (ms)."""
    rows = soak_rows(latency)
    if latency is None or not rows:
        return "Latency was not measured."
    lines = [
        [
            markdown(row.tenant),
            f"{row.samples:,}",
            *(
                quantity(percentile.value)
                for clock in (row.latency_ms, row.service_ms)
                for percentile in (clock.p95, clock.p99)
            ),
        ]
        for row in rows
    ]
    return _table(("tenant", "samples", "p95 ms", "p99 ms", "service p95 ms", "service p99 ms"), lines, "lrrrrr")


def soak_rows(latency: LatencyDocument | None) -> list[LatencyRow]:
    """The rows of the judged kind in the soak, in the document's order."""
    if latency is None:
        return []
    return [row for row in latency.rows if row.phase == Phase.SOAK and row.kind == latency.judged_kind]


def _observed(result: CriterionResult) -> str:
    between = interval_text(result.interval, result.unit)
    return quantity(result.observed, result.unit) + (f" ({between})" if between else "")


def _diagnosis(result: CriterionResult) -> str:
    lines = [f"**{markdown(result.name)}**"]
    lines += [f"- {finding.verdict}: {markdown(finding.why)}" for finding in _troubled(result)]
    lines += [f"- Likely cause: {markdown(result.likely_cause)}"] if result.likely_cause else []
    lines += [f"- Fix: {markdown(result.fix)}"] if result.fix else []
    return "\n".join(lines)


def _troubled(result: CriterionResult) -> list[Finding]:
    return [finding for finding in result.findings if finding.verdict is not Verdict.PASS]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], alignment: str) -> str:
    rule = ["---:" if side == "r" else "---" for side in alignment]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))
