"""Writes a judgement into the run folder: every file that people, CI and later runs read.

Owns which files there are and that each is whole or absent. Never judges and never draws: it composes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from soak_pipeline.criteria.sources import CHAIN_FILE, LATENCY_FILE, RECONCILE_FILE
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.evidence.error_samples import read_error_texts
from soak_pipeline.evidence.run_folder import COMPARISON_FILE, RunFolder, write_json, write_text
from soak_pipeline.model.stage_outputs import FinalVerdict
from soak_pipeline.model.verdict import Judgement
from soak_pipeline.report.course import Course, course_of
from soak_pipeline.report.documents import Documents
from soak_pipeline.report.errors_log import ERRORS_FILE, error_kinds, errors_log
from soak_pipeline.report.html import REPORT_FILE, report_html
from soak_pipeline.report.junit import JUNIT_FILE, junit_xml
from soak_pipeline.report.markdown import SUMMARY_FILE, summary_markdown
from soak_pipeline.report.verdict_document import VERDICT_FILE, VerdictDocument, verdict_document


def write_report(evidence: RunEvidence, judgement: Judgement, documents: Documents, folder: RunFolder) -> FinalVerdict:
    """Writes every file of a judged run; a judgement again replaces them, one by one, each atomically.

    `verdict.json` is written last, so whoever waits for it finds the others.

    Args:
        evidence: of the run.
        judgement: of that evidence.
        documents: the figures that decided.
        folder: where to; normally the evidence's own.

    Returns:
        What the verdict is bound to, and the files that were written, relative to the run folder.
    """
    course = course_of(evidence)
    document = verdict_document(evidence.plan, judgement, course.ended_us, frozen_hash=evidence.plan_hash)
    written = tuple(
        name for name, write in _writers(evidence, course, document, documents, folder) if _written(folder, name, write)
    )
    return FinalVerdict(
        run_id=document.run_id,
        release=document.release,
        commit=document.commit,
        profile=document.profile,
        target=document.target,
        plan_hash=document.plan_hash,
        verdict=document.verdict,
        why=document.why,
        files=written,
    )


Writer = Callable[[Path], None]


def _writers(
    evidence: RunEvidence, course: Course, document: VerdictDocument, documents: Documents, folder: RunFolder
) -> list[tuple[str, Writer | None]]:
    """Per file its writer, in the order of writing; None where there is nothing to write."""
    fairness = folder.fairness_path
    beside = [] if fairness is None else [Path(os.path.relpath(fairness / COMPARISON_FILE, folder.path)).as_posix()]
    plan = evidence.plan
    size = "" if plan.sizing is None else plan.sizing.in_words(plan.profile)
    errors = error_kinds(evidence.plan, course.requests, read_error_texts(folder.control_dir))
    return [
        (LATENCY_FILE, _json(documents.latency)),
        *((name, _json(documents.comparison)) for name in (COMPARISON_FILE, *beside)),
        (CHAIN_FILE, _json(documents.chain_verify)),
        (RECONCILE_FILE, _json(documents.reconcile)),
        (ERRORS_FILE, _text(errors_log(evidence.plan, course.requests, errors))),
        (REPORT_FILE, lambda path: write_text(path, report_html(evidence, course, document, documents, errors))),
        (JUNIT_FILE, _text(junit_xml(document))),
        (SUMMARY_FILE, _text(summary_markdown(document, documents.latency, size))),
        (VERDICT_FILE, _json(document)),
    ]


def _json(value: object | None) -> Writer | None:
    return None if value is None else lambda path: write_json(path, value)


def _text(text: str) -> Writer:
    return lambda path: write_text(path, text)


def _written(folder: RunFolder, name: str, write: Writer | None) -> bool:
    """Writes one file; where there is nothing to write, takes away what an earlier judgement left."""
    path = folder.path / name
    if write is None:
        path.unlink(missing_ok=True)
        return False
    write(path)
    return True
