"""Judging and reporting stored runs, with the platform long gone."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from soak_pipeline.evidence.run_folder import RunFolder, read_json
from soak_pipeline.report.table import print_verdict
from soak_pipeline.report.verdict_document import VERDICT_FILE, VerdictDocument, verdict_document
from soak_pipeline.stages.post_run_checks import judge_folder
from soak_pipeline.stages.report import report_folder


def judge_stored(path: Path, thresholds_changed: Mapping[str, float]) -> int:
    """Judges a run folder and prints the verdict; writes nothing.

    Returns:
        The exit code of the verdict.

    Raises:
        BadInput: an unknown threshold.
        EvidenceUnreadable: no readable plan there.
    """
    folder = RunFolder.at(path)
    judgement = judge_folder(folder, thresholds_changed)
    print_verdict(verdict_document(folder.read_plan(), judgement), sys.stdout)
    return judgement.verdict.exit_code


def report_stored(path: Path) -> int:
    """Judges a run folder by its own plan and writes its report again.

    Returns:
        The exit code of the verdict.
    """
    folder = RunFolder.at(path)
    final = report_folder(folder, judge_folder(folder, {}))
    print_verdict(read_json(folder.path / VERDICT_FILE, VerdictDocument), sys.stdout)
    for name in final.files:
        print(folder.path / name)
    return final.verdict.exit_code
