"""`errors.log`: what users of the platform saw go wrong, one line per kind of error.

Owns grouping and wording. Never counts an expected denial: only outcomes that should not have been.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soak_pipeline.evidence.error_samples import Texts
from soak_pipeline.evidence.requests import RequestTable
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.traffic import Outcome, request_id_of
from soak_pipeline.report.text import one_line
from soak_pipeline.report.verdict_document import moment

ERRORS_FILE = "errors.log"
_KIND_COLUMNS = ("outcome", "tenant", "phase", "operation", "status")


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """Errors that are alike: same outcome, tenant, phase, operation and status.

    Attributes:
        outcome, tenant, phase, operation: see `model.traffic`.
        status: HTTP status; 0 when no answer arrived.
        count: how many.
        first_us, last_us: intended start of the first and the last, microseconds since the plan's epoch.
        sample_request_id: request id of the first, to find it in the platform's own logs.
        sample_latency_ms: latency of the first, from the intended start (ms).
        sample_text: start of the body of one such answer, as the platform wrote it; empty when none was kept.
    """

    outcome: str
    tenant: str
    phase: str
    operation: str
    status: int
    count: int
    first_us: int
    last_us: int
    sample_request_id: str
    sample_latency_ms: float
    sample_text: str


def error_kinds(plan: Plan, requests: RequestTable | None, texts: Texts) -> list[ErrorKind]:
    """Every kind of error of a run, wrongly allowed calls first, then by count, descending.

    Args:
        plan: of the run.
        requests: its records; None when they cannot be read.
        texts: sample texts that the load kept.
    """
    if requests is None or not len(requests):
        return []
    errors = requests.take(~requests.where(outcome=Outcome.OK.value))
    if not len(errors):
        return []
    kinds = [
        _kind(plan, errors, rows, texts)
        for rows in _groups([errors.columns[name].astype(np.int64) for name in _KIND_COLUMNS])
    ]
    return sorted(kinds, key=lambda kind: (kind.outcome != Outcome.WRONGLY_ALLOWED, -kind.count, kind.first_us))


def errors_log(plan: Plan, requests: RequestTable | None, kinds: list[ErrorKind]) -> str:
    """The text of `errors.log`: a heading, then one line per kind; fields are `name=value`, separated by blanks."""
    total = 0 if requests is None else len(requests)
    if not total:
        return f"# run {plan.run_id}: no request was recorded, so errors are unknown\n"
    count = sum(kind.count for kind in kinds)
    lines = [
        f"# run {plan.run_id}: {count} user-visible errors of {len(kinds)} kinds in {total} requests",
        "# times are UTC and of the intended start; status 0 means that no answer arrived",
    ]
    lines += [_line(plan, kind) for kind in kinds]
    return "\n".join(lines) + "\n"


def _groups(keys: list[NDArray[np.int64]]) -> list[NDArray[np.intp]]:
    """Row numbers per distinct combination of the keys, which are all >= 0."""
    combined = np.zeros(len(keys[0]), dtype=np.int64)
    for key in keys:
        combined = combined * (int(key.max()) + 1) + key
    _, group = np.unique(combined, return_inverse=True)
    order = np.argsort(group, kind="stable")
    return np.split(order, np.cumsum(np.bincount(group))[:-1])


def _kind(plan: Plan, errors: RequestTable, rows: NDArray[np.intp], texts: Texts) -> ErrorKind:
    intended = errors.columns["intended_us"][rows]
    first = int(rows[int(np.argmin(intended))])

    def text(name: str) -> str:
        return errors.labels[name][int(errors.columns[name][first])]

    return ErrorKind(
        outcome=text("outcome"),
        tenant=text("tenant"),
        phase=text("phase"),
        operation=text("operation"),
        status=int(errors.columns["status"][first]),
        count=len(rows),
        first_us=int(intended.min()),
        last_us=int(intended.max()),
        sample_request_id=request_id_of(
            plan.seed,
            text("session"),
            int(errors.columns["user"][first]),
            int(errors.columns["sequence"][first]),
        ),
        sample_latency_ms=float(errors.latency_ms[first]),
        sample_text=texts.get((text("operation"), text("outcome"), int(errors.columns["status"][first])), ""),
    )


def _line(plan: Plan, kind: ErrorKind) -> str:
    return one_line(
        f"first={moment(plan, kind.first_us)} last={moment(plan, kind.last_us)} count={kind.count} "
        f"outcome={kind.outcome} status={kind.status} tenant={kind.tenant} phase={kind.phase} "
        f"operation={kind.operation} sample_request_id={kind.sample_request_id} "
        f"sample_latency_ms={kind.sample_latency_ms:.1f} sample_text={json.dumps(kind.sample_text, ensure_ascii=False)}"
    )
