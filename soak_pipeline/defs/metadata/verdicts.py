"""Metadata of the judgement, of each check, and of the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg

from soak_pipeline.criteria.sources import LATENCY_FILE
from soak_pipeline.defs.metadata.values import Metadata, optional_text, plotted, table, text
from soak_pipeline.evidence.run_folder import RunFolder, read_json
from soak_pipeline.model.documents import LatencyDocument
from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.stage_outputs import FinalVerdict
from soak_pipeline.model.traffic import Phase
from soak_pipeline.model.verdict import CriterionResult, Finding, Judgement
from soak_pipeline.report.quantities import number, quantity
from soak_pipeline.report.table import verdict_word

_LINKED_FILES = ("report.html", "verdict.json", "summary.md", "junit.xml")


def judgement_metadata(judgement: Judgement) -> Metadata:
    """The verdict table."""
    changed = judgement.thresholds_changed
    return {
        "verdict": text(judgement.verdict),
        "criteria": _criteria_table(judgement.criteria),
        **({"thresholds_changed": table(("threshold", "limit"), sorted(changed.items()))} if changed else {}),
    }


def criterion_metadata(result: CriterionResult) -> Metadata:
    """One criterion: the figure, its limit, why, and the findings per subject."""
    return {
        "verdict": text(verdict_word(result)),
        "why": text(result.why),
        **plotted("observed", result.observed),
        **plotted("limit", result.limit),
        **optional_text("unit", result.unit),
        **optional_text("likely_cause", result.likely_cause),
        **optional_text("fix", result.fix),
        **({"findings": _findings_table(result.findings)} if result.findings else {}),
        **optional_text("evidence", ", ".join(result.evidence)),
    }


def report_metadata(final: FinalVerdict, judgement: Judgement, folder: RunFolder) -> Metadata:
    """The verdict in one sentence, the tables, and where the files are."""
    return {
        "verdict": text(final.verdict),
        "why": text(final.why),
        "release": text(final.release or "not given"),
        "criteria": _criteria_table(judgement.criteria),
        **_latency(folder),
        "run_folder": dg.MetadataValue.path(folder.path),
        "files": table(("file",), [(name,) for name in final.files]),
        **{name: dg.MetadataValue.path(folder.path / name) for name in _LINKED_FILES if name in final.files},
    }


def _criteria_table(criteria: Iterable[CriterionResult]) -> dg.MetadataValue:
    return table(
        ("criterion", "verdict", "observed", "limit", "why"),
        [
            (
                result.name,
                verdict_word(result),
                quantity(result.observed, result.unit),
                quantity(result.limit, result.unit),
                result.why,
            )
            for result in criteria
        ],
    )


def _findings_table(findings: Sequence[Finding]) -> dg.MetadataValue:
    names = sorted({name for finding in findings for name in finding.figures})
    return table(
        ("subject", "verdict", "observed", "limit", *names),
        [
            (
                finding.subject,
                finding.verdict,
                quantity(finding.observed, finding.unit),
                quantity(finding.limit, finding.unit),
                *(_figure(finding.figures.get(name)) for name in names),
            )
            for finding in findings
        ],
    )


def _latency(folder: RunFolder) -> Metadata:
    """p95 and p99 of the soak's judged calls per tenant: a table of both clocks, and figures to plot."""
    try:
        document = read_json(folder.path / LATENCY_FILE, LatencyDocument)
    except EvidenceUnreadable as error:
        return {"latency": text(f"not measured: {error}")}
    rows = [row for row in document.rows if row.phase == Phase.SOAK and row.kind == document.judged_kind]
    metadata: Metadata = {
        "latency": table(
            ("tenant", "requests", "p95", "p99", "service p95", "service p99"),
            [
                (
                    row.tenant,
                    number(row.requests),
                    quantity(row.latency_ms.p95.value, "ms"),
                    quantity(row.latency_ms.p99.value, "ms"),
                    quantity(row.service_ms.p95.value, "ms"),
                    quantity(row.service_ms.p99.value, "ms"),
                )
                for row in rows
            ],
        )
    }
    for row in rows:
        metadata |= plotted(f"latency_ms_p95_{row.tenant}", row.latency_ms.p95.value)
        metadata |= plotted(f"latency_ms_p99_{row.tenant}", row.latency_ms.p99.value)
    return metadata


def _figure(value: float | int | str | None) -> str:
    return number(value) if isinstance(value, (int, float)) else str(value or "-")
