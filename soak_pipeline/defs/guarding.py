"""The guardian of the run that this process carries out: who starts it, and when it is no longer needed.

A run that has its own teardown ahead of it is guarded from its first load stage until the tenants are blocked, the time
between its steps included. A part of a run, materialised alone, is guarded while one of its steps runs.
"""

from __future__ import annotations

import dagster as dg

from soak_pipeline.defs.resources import Harness
from soak_pipeline.stages import guardian

TEARDOWN = "teardown"

_guardians: dict[str, guardian.Guardian] = {}
_left_to_starter = False


def leave_to_starter() -> None:
    """No guardian is started by this process: whoever started it holds one for it."""
    global _left_to_starter
    _left_to_starter = True


def guard(context: dg.AssetExecutionContext, harness: Harness) -> None:
    """Sees to it that the run of a step has a guardian, which acts when this process ends without `release`."""
    run_id = context.run.run_id
    if not _left_to_starter and run_id not in _guardians:
        folder = harness.folder(context.partition_key)
        _guardians[run_id] = guardian.start_guardian(folder.path, harness.environment)


def step_ended(context: dg.AssetExecutionContext) -> None:
    """After a step that ended as it should: gives the guardian leave when no later step has to block the tenants."""
    is_last = context.op_execution_context.op_def.name == TEARDOWN
    if is_last or not _has_teardown_ahead(context.run):
        release(context)


def release(context: dg.AssetExecutionContext) -> None:
    """The tenants are blocked: the guardian may go."""
    held = _guardians.pop(context.run.run_id, None)
    if held is not None:
        held.dismiss()


def _has_teardown_ahead(run: dg.DagsterRun) -> bool:
    if run.step_keys_to_execute is not None and TEARDOWN not in run.step_keys_to_execute:
        return False
    return not run.asset_selection or dg.AssetKey(TEARDOWN) in run.asset_selection
