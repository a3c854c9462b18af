"""Stops a run from outside: for runs that failed, were cancelled, or whose process is gone."""

from __future__ import annotations

from collections.abc import Mapping

from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.load.lease import stop_leftover_load
from soak_pipeline.model.stage_outputs import TeardownReceipt
from soak_pipeline.stages.clock import now_us
from soak_pipeline.stages.teardown import receipt_of
from soak_pipeline.target.config import resolve
from soak_pipeline.target.stop import block_tenants


def emergency_teardown(folder: RunFolder, environment: Mapping[str, str]) -> TeardownReceipt | None:
    """Ends the load of a run and blocks its tenants; may be repeated, also after a proper teardown.

    Returns:
        The receipt; None when the run never froze a plan, so that it cannot have sent anything.

    Raises:
        BadInput: the target's credentials are not in the environment.
    """
    if not folder.exists:
        return None
    stop_leftover_load(folder.path)
    plan = folder.read_plan()
    load_stopped_us = now_us(plan)
    resolved = resolve(plan.target, environment)
    return receipt_of(resolved, plan, block_tenants(resolved, plan), load_stopped_us)


def stop_run(folder: RunFolder, environment: Mapping[str, str]) -> str:
    """Ends the load of a run and blocks its tenants; for everything that tidies up, and may be repeated.

    Returns:
        Why tenants may still be open, in words; empty when none is. It never raises, because its callers have an error
        of their own to report, or further runs to stop.
    """
    try:
        receipt = emergency_teardown(folder, environment)
    except Exception as error:
        return f"the tenants of soak run {folder.run_id} may not be blocked: {error}"
    still_open = (
        [f"{tenant.name} ({tenant.reason})" for tenant in receipt.tenants if not tenant.blocked] if receipt else []
    )
    return f"tenants of soak run {folder.run_id} are not blocked: {', '.join(still_open)}" if still_open else ""


def was_torn_down(folder: RunFolder) -> bool:
    """Whether the run's own teardown came to its end, so that nothing is left to stop."""
    return bool(folder.output_versions("teardown"))
