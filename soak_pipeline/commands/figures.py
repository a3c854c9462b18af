"""`soak figures`: what a stored run reached and used, for release notes and capacity plans."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from soak_pipeline.criteria.documents import latency_document
from soak_pipeline.criteria.run_figures import RunFigures, run_figures
from soak_pipeline.evidence.bundle import RunEvidence, read_evidence
from soak_pipeline.evidence.run_folder import RunFolder, read_json_as_stored
from soak_pipeline.model.errors import EXIT_PASS, EvidenceUnreadable
from soak_pipeline.model.traffic import Kind, Phase
from soak_pipeline.report.quantities import quantity
from soak_pipeline.report.verdict_document import VERDICT_FILE, stored_verdict

MIB = 1024 * 1024


def print_figures(path: Path) -> int:
    """Prints the figures of a run folder.

    Returns:
        0: figures are no verdict.

    Raises:
        EvidenceUnreadable: no readable plan, or damaged records.
    """
    folder = RunFolder.at(path)
    evidence = read_evidence(folder)
    figures = run_figures(evidence)
    print(f"run {folder.run_id}, profile {evidence.plan.profile.name}, {evidence.plan.profile.users:,} users")
    if evidence.plan.sizing is not None:
        print(f"size                      {evidence.plan.sizing.in_words(evidence.plan.profile)}")
    for line in (*_machine_lines(figures), *_latency_lines(evidence), *_process_lines(figures), *_time_lines(evidence)):
        print(line)
    return EXIT_PASS


def _machine_lines(figures: RunFigures) -> list[str]:
    return [
        f"requests                  {figures.requests:,}",
        f"requests/s in the soak    {_number(figures.soak_requests_per_second, '.1f')}",
        f"CPU idle in the soak      {quantity(figures.cpu_idle_share, 'share')}"
        f" (least {quantity(figures.cpu_idle_share_min, 'share')})",
        f"disk                      {figures.disk_bytes / MIB:.1f} MiB,"
        f" {_number(figures.disk_bytes_per_request, '.1f')} bytes per request record",
    ]


def _latency_lines(evidence: RunEvidence) -> list[str]:
    rows = [row for row in latency_document(evidence).rows if row.phase == Phase.SOAK and row.kind == Kind.ALLOWED]
    width = max((len(row.tenant) for row in rows), default=1)
    heading = "executed calls in the soak, ms"
    lines = [f"{heading:<{width + 35}}p95 intended  p99 intended  p95 service  p99 service"]
    for row in rows:
        values = (row.latency_ms.p95, row.latency_ms.p99, row.service_ms.p95, row.service_ms.p99)
        cells = "  ".join(f"{_number(percentile.value, '.1f'):>12}" for percentile in values)
        lines.append(f"  tenant {row.tenant:<{width}} {row.samples:>10,} samples  {cells}")
    return lines


def _process_lines(figures: RunFigures) -> list[str]:
    lines = ["processes in the soak        CPU, share of a core   resident memory, MiB: start      end     most"]
    for process in figures.processes:
        sizes = (process.start_bytes, process.end_bytes, process.max_bytes)
        memory = "".join(f"{size / MIB:>9.1f}" for size in sizes)
        lines.append(f"  {process.owner:<27}{quantity(process.cpu_share, 'share'):>20}{'':>23}{memory}")
    return lines


def _time_lines(evidence: RunEvidence) -> list[str]:
    try:
        verdict = read_json_as_stored(evidence.folder.path / VERDICT_FILE, stored_verdict)
    except EvidenceUnreadable:
        return ["verdict                   none yet"]
    lines = [f"verdict                   {verdict.verdict}"]
    session = evidence.soak.sessions[-1] if evidence.soak and evidence.soak.sessions else None
    if session is not None and session.ended_us is not None:
        judged_us = datetime.fromisoformat(verdict.judged_at).timestamp() * 1e6 - evidence.plan.epoch_unix_us
        lines.append(f"last request to verdict   {(judged_us - session.ended_us) / 1e6:.0f} s")
    return lines


def _number(value: float | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)
