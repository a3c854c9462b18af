"""Metadata of the judgement, of each check, and of the report."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from soak_pipeline.defs.metadata.overview import (
    fairness_metadata,
    latency_metadata,
    resources_metadata,
)
from soak_pipeline.defs.metadata.values import Metadata, optional_text, plotted, table, text, verdict_cell
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.stage_outputs import FinalVerdict
from soak_pipeline.model.verdict import CriterionResult, Finding, Judgement
from soak_pipeline.report.quantities import limit_of, number, quantity
from soak_pipeline.report.table import verdict_word
from soak_pipeline.report.verdict_document import next_step_of

_LINKED_FILES = ("report.html", "verdict.json", "summary.md", "junit.xml")


def judgement_metadata(judgement: Judgement) -> Metadata:
    """The verdict table."""
    changed = judgement.thresholds_changed
    return {
        "verdict": text(judgement.verdict),
        **_criteria(judgement.criteria),
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
    """The verdict in one sentence, what to do next, the tables, and where the files are."""
    results = {result.name: result for result in judgement.criteria}
    latency, latency_to_plot = latency_metadata(folder)
    return {
        "verdict": text(final.verdict),
        "why": text(final.why),
        "next_step": text(next_step_of(judgement)),
        "release": text(final.release or "not given"),
        **_criteria(judgement.criteria),
        **latency,
        **fairness_metadata(folder),
        **resources_metadata(folder, results.get("nothing_leaks")),
        "run_folder": dg.MetadataValue.path(folder.path),
        "files": table(("file",), [(name,) for name in final.files]),
        **{name: dg.MetadataValue.path(folder.path / name) for name in _LINKED_FILES if name in final.files},
        **latency_to_plot,
    }


def _criteria(criteria: Sequence[CriterionResult]) -> Metadata:
    """One table of figures, short enough to be shown in place, and one of the sentences."""
    return {
        "criteria": table(
            ("criterion", "verdict", "observed", "limit"),
            [
                (
                    result.name,
                    verdict_cell(verdict_word(result)),
                    quantity(result.observed, result.unit),
                    limit_of(result),
                )
                for result in criteria
            ],
        ),
        "criteria_in_words": table(
            ("criterion", "verdict", "why"),
            [(result.name, verdict_cell(verdict_word(result)), result.why) for result in criteria],
        ),
    }


def _findings_table(findings: Sequence[Finding]) -> dg.MetadataValue:
    names = sorted({name for finding in findings for name in finding.figures})
    return table(
        ("subject", "verdict", "observed", "limit", *names),
        [
            (
                finding.subject,
                verdict_cell(finding.verdict),
                quantity(finding.observed, finding.unit),
                limit_of(finding),
                *(_figure(finding.figures.get(name)) for name in names),
            )
            for finding in findings
        ],
    )


def _figure(value: float | int | str | None) -> str:
    return number(value) if isinstance(value, (int, float)) else str(value or "-")
