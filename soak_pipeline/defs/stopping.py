"""Stops one soak run from outside and says whether that worked; for everything that tidies up."""

from __future__ import annotations

from soak_pipeline.defs.resources import Harness
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.stages import emergency


def stop_run(folder: RunFolder, harness: Harness) -> str:
    """Ends the load of a run and blocks its tenants; doing it again changes nothing.

    Returns:
        Why tenants may still be open, in words; empty when none is. It never raises, because its callers have an error
        of their own to report, or further runs to stop.
    """
    try:
        receipt = emergency.emergency_teardown(folder, harness.environment)
    except Exception as error:
        return f"the tenants of soak run {folder.run_id} may not be blocked: {error}"
    still_open = (
        [f"{tenant.name} ({tenant.reason})" for tenant in receipt.tenants if not tenant.blocked] if receipt else []
    )
    return f"tenants of soak run {folder.run_id} are not blocked: {', '.join(still_open)}" if still_open else ""
