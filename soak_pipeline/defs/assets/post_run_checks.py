"""Asset `post_run_checks`: one judgement, one asset check per criterion."""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from soak_pipeline.criteria.names import MODULES
from soak_pipeline.criteria.registry import CRITERIA
from soak_pipeline.defs.assets.settings import NEEDS_RUN_FOLDER, OWNERS, code_version_of
from soak_pipeline.defs.metadata.verdicts import criterion_metadata, judgement_metadata
from soak_pipeline.defs.partitions import soak_runs
from soak_pipeline.defs.resources import Harness
from soak_pipeline.defs.step import stage_context
from soak_pipeline.dialect.registry import dialect_modules
from soak_pipeline.model.verdict import CriterionResult, Judgement, Verdict
from soak_pipeline.report.table import NOT_ASKED
from soak_pipeline.report.text import one_line
from soak_pipeline.stages import post_run_checks as stage

JUDGED_BY = code_version_of(stage.__name__, *MODULES.values(), *dialect_modules())


class JudgementConfig(dg.Config):
    """How to judge; with nothing given, by the run's own plan."""

    thresholds: dict[str, float] = Field(
        {}, description="Limits to change, by name, such as error_share_max: 0.01. The gate does not accept the result."
    )


@dg.asset(
    deps=["provision", "baseline", "burst", "agent_fanout", "soak", "teardown", "platform_evidence"],
    check_specs=[
        dg.AssetCheckSpec(name=criterion.name, asset="post_run_checks", description=criterion.question)
        for criterion in CRITERIA
    ],
    partitions_def=soak_runs,
    group_name="soak_run",
    owners=OWNERS,
    kinds={"python"},
    tags=NEEDS_RUN_FOLDER,
    code_version=JUDGED_BY,
)
def post_run_checks(
    context: dg.AssetExecutionContext, config: JudgementConfig, harness: Harness
) -> Iterator[dg.Output[Judgement] | dg.AssetCheckResult]:
    """The judgement: a pure function of the run folder, so that it needs neither load nor the platform."""
    judgement = stage.judge(stage_context(context, harness), config.thresholds)
    yield dg.Output(judgement, metadata=judgement_metadata(judgement))
    results = {result.name: result for result in judgement.criteria}
    for criterion in CRITERIA:
        yield check_result(results.get(criterion.name) or _not_judged(criterion.name))


def check_result(result: CriterionResult) -> dg.AssetCheckResult:
    """A criterion as an asset check, which knows only passed or not; the verdict itself is in the metadata.

    What was not asked takes no part in the verdict. As a check that failed it would raise an alarm in every short run;
    it passes, and its first words say that nothing was asked. An advisory criterion that does not hold is a warning.
    """
    words = result.why if result.asked else f"{NOT_ASKED}: {result.why}"
    return dg.AssetCheckResult(
        check_name=result.name,
        passed=not result.asked or result.verdict is Verdict.PASS,
        severity=dg.AssetCheckSeverity.ERROR if result.counts else dg.AssetCheckSeverity.WARN,
        description=one_line(f"advisory: {words}" if result.advisory else words),
        metadata=criterion_metadata(result),
    )


def _not_judged(name: str) -> CriterionResult:
    return CriterionResult(name=name, verdict=Verdict.INCONCLUSIVE, why="the judgement says nothing about it")
