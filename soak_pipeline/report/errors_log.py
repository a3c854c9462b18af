"""`errors.log`: what users of the platform saw go wrong, one line per kind of error.

Owns the wording. Never groups or counts: the kinds come with the judgement's documents.
"""

from __future__ import annotations

from collections.abc import Sequence

from soak_pipeline.model.documents import ErrorKind
from soak_pipeline.report.text import one_line

ERRORS_FILE = "errors.log"


def errors_log(run_id: str, kinds: Sequence[ErrorKind] | None, requests: int | None) -> str:
    """The text of `errors.log`: two lines of heading, then one line of `name=value` fields per kind.

    Args:
        run_id: of the run.
        kinds: of errors; None when they are unknown.
        requests: how many requests were recorded; None when the records cannot be read.
    """
    if kinds is None or not requests:
        return f"# run {run_id}: no request was recorded, so errors are unknown\n"
    count = sum(kind.count for kind in kinds)
    lines = [
        f"# run {run_id}: {count} user-visible errors of {len(kinds)} kinds in {requests} requests",
        "# times are UTC; status 0 means that no answer arrived; sample is the first of its kind",
    ]
    return "\n".join([*lines, *(_line(kind) for kind in kinds)]) + "\n"


def _line(kind: ErrorKind) -> str:
    tenants = ",".join(f"{tenant}:{count}" for tenant, count in kind.tenants.items())
    return one_line(
        f"first={kind.first} last={kind.last} count={kind.count} outcome={kind.outcome} operation={kind.operation} "
        f"status={kind.status} tenants={tenants} sample=[{kind.sample}]"
    )
