"""`soak clean`: removes what a run's tenants left on a platform that is there for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from soak_pipeline.commands.embedded_stack import stack_environment
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.errors import EXIT_HARNESS_FAILED, EXIT_PASS, BadInput
from soak_pipeline.target.clean import clean_run as clean_target
from soak_pipeline.target.clean import refuse_unless_cleanable
from soak_pipeline.target.config import resolve


def clean_run(path: Path, environment: Mapping[str, str], confirmed: Callable[[str], bool]) -> int:
    """Asks, then removes the rows of the run's tenants; the evidence in the run folder stays.

    Args:
        path: of the run folder.
        environment: with the target's addresses and credentials.
        confirmed: asks the operator.

    Returns:
        0, or 3 when something could not be removed.

    Raises:
        BadInput: a production target, an operator who declines, or missing credentials; nothing was removed.
    """
    folder = RunFolder.at(path)
    plan = folder.read_plan()
    if plan.run_id != folder.run_id:
        raise BadInput(f"run {folder.run_id}", [f"plan.json is of run {plan.run_id}; nothing was removed"])
    refuse_unless_cleanable(plan.target)
    surroundings = {**environment, **stack_environment(environment)} if plan.target.embedded else environment
    resolved = resolve(plan.target, surroundings)
    names = ", ".join(tenant.name for tenant in plan.tenants)
    if not confirmed(f"Remove the rows of tenants {names} of run {plan.run_id} from target {plan.target.name}?"):
        raise BadInput(f"run {plan.run_id}", ["not confirmed; nothing was removed"])
    cleaned = clean_target(resolved, plan)
    for place, rows in cleaned.removed.items():
        print(f"removed {rows:>9,} {place}")
    for place, rows in cleaned.kept.items():
        print(f"kept    {rows:>9,} {place} (append-only)")
    for problem in cleaned.problems:
        print(f"problem {problem}")
    return EXIT_HARNESS_FAILED if cleaned.problems else EXIT_PASS
