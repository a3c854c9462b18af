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
from soak_pipeline.model.verdict import CriterionResult, Finding, Judgement, Limit, Verdict
from soak_pipeline.report.quantities import limit_of, limit_text, number, quantity
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
        **({} if result.limit is None else _limit_metadata(result.limit)),
        **optional_text("unit", result.unit),
        **optional_text("likely_cause", result.likely_cause),
        **optional_text("fix", result.fix),
        **({"findings": _findings_table(result.findings)} if result.findings else {}),
        **optional_text("evidence", ", ".join(result.evidence)),
    }


def _limit_metadata(limit: Limit) -> Metadata:
    """A limit as a number that the UI plots over the runs, and with its direction and unit in words."""
    return {**plotted("limit", limit.value), "limit_in_words": text(limit_text(limit))}


def promotion_metadata(verdict: Verdict, gating: tuple[bool, str]) -> Metadata:
    """What a verdict means for a promotion.

    Args:
        verdict: overall.
        gating: whether the run gates a promotion, and if not, why, as `gates_promotion` answers.
    """
    return {"gates_promotion": dg.MetadataValue.bool(gating[0]), "promotion": text(promotion_words(verdict, gating))}


def promotion_words(verdict: Verdict, gating: tuple[bool, str]) -> str:
    """Such as `PASS: the promotion is allowed`, or `PASS; smoke gates no promotion`."""
    gates, why_not = gating
    if not gates:
        return f"{verdict}; {why_not}"
    return f"{verdict}: the promotion is {'allowed' if verdict is Verdict.PASS else 'blocked'}"


def report_metadata(final: FinalVerdict, judgement: Judgement, folder: RunFolder, gating: tuple[bool, str]) -> Metadata:
    """The verdict in one sentence, what to do next, the tables, and where the files are."""
    results = {result.name: result for result in judgement.criteria}
    latency, latency_to_plot = latency_metadata(folder)
    return {
        "verdict": text(final.verdict),
        "why": text(final.why),
        "next_step": text(next_step_of(judgement, gating)),
        **promotion_metadata(final.verdict, gating),
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
