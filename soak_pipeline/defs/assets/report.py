"""Asset `report`, and the one check that fails a run."""

from collections.abc import Iterator

import dagster as dg

from soak_pipeline.defs.assets.settings import NEEDS_RUN_FOLDER, OWNERS, code_version_of
from soak_pipeline.defs.metadata.verdicts import promotion_words, report_metadata
from soak_pipeline.defs.partitions import soak_runs
from soak_pipeline.defs.resources import Harness
from soak_pipeline.defs.step import stage_context
from soak_pipeline.model.promotion import gates_promotion
from soak_pipeline.model.stage_outputs import FinalVerdict
from soak_pipeline.model.verdict import Judgement, Verdict
from soak_pipeline.report.text import one_line
from soak_pipeline.stages import report as stage

PROMOTION_CHECK = "promotion_is_allowed"
REPORTED_BY = code_version_of(stage.__name__)


@dg.asset(
    check_specs=[
        dg.AssetCheckSpec(
            name=PROMOTION_CHECK,
            asset="report",
            blocking=True,
            description="May what was soaked be promoted? Only PASS of a level that gates allows it.",
        )
    ],
    partitions_def=soak_runs,
    group_name="soak_run",
    owners=OWNERS,
    kinds={"python"},
    tags=NEEDS_RUN_FOLDER,
    code_version=REPORTED_BY,
)
def report(
    context: dg.AssetExecutionContext, post_run_checks: Judgement, harness: Harness
) -> Iterator[dg.Output[FinalVerdict] | dg.AssetCheckResult]:
    """The verdict, and everything that a person, a gate or a ticket reads of it."""
    surroundings = stage_context(context, harness)
    final = stage.report(surroundings, post_run_checks)
    gating = gates_promotion(surroundings.plan, post_run_checks.thresholds_changed)
    metadata = report_metadata(final, post_run_checks, surroundings.folder, gating)
    yield dg.Output(final, metadata=metadata)
    yield dg.AssetCheckResult(
        check_name=PROMOTION_CHECK,
        passed=final.verdict is Verdict.PASS,
        severity=dg.AssetCheckSeverity.ERROR,
        description=one_line(f"{promotion_words(final.verdict, gating)}. {final.why}"),
        metadata={name: metadata[name] for name in ("verdict", "gates_promotion", "promotion", "why", "run_folder")},
    )
