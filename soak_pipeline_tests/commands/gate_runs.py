"""Run folders as the gate reads them: a plan, and the verdict that the report stage writes for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from soak_pipeline.criteria.names import CRITERION_NAMES
from soak_pipeline.evidence.run_folder import RunFolder, write_json
from soak_pipeline.model.profile import Profile
from soak_pipeline.model.target import Target
from soak_pipeline.model.thresholds import Thresholds
from soak_pipeline.model.verdict import CriterionResult, Judgement, Verdict, at_most, overall
from soak_pipeline.report.verdict_document import VERDICT_FILE, VerdictDocument, verdict_document
from soak_pipeline_tests.policies import default_thresholds, plan_by, profile_of

RUN_ID = "20261123T073000Z"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NIGHTLY = profile_of("nightly")
DEFAULT_LIMITS = default_thresholds()


def store_run(
    reports: Path,
    *,
    run_id: str = RUN_ID,
    profile: Profile = NIGHTLY,
    thresholds: Thresholds = DEFAULT_LIMITS,
    release: str = "v1.2.3",
    commit: str = "",
    target: str = "staging",
    criteria: Mapping[str, Verdict] | None = None,
    advisory: tuple[str, ...] = (),
    change: Callable[[VerdictDocument], VerdictDocument] = lambda document: document,
) -> RunFolder:
    """Stores a run that passed, but for the criteria that are given another verdict.

    Args:
        criteria: verdicts by criterion.
        advisory: criteria that never block.
        change: applied to the verdict before it is written.
    """
    plan = plan_by(
        run_id=run_id,
        profile=profile,
        target=Target(name=target),
        thresholds=thresholds,
        seed=1,
        release=release,
        commit=commit,
        advisory=advisory,
    )
    verdicts = dict.fromkeys(CRITERION_NAMES, Verdict.PASS) | dict(criteria or {})
    results = tuple(
        CriterionResult(
            name=name,
            verdict=verdict,
            why=f"tenant E: {verdict}",
            observed=5,
            limit=at_most(4.0, "rows"),
            advisory=name in advisory,
        )
        for name, verdict in verdicts.items()
    )
    judgement = Judgement(run_id=run_id, verdict=overall(results), criteria=results, judged_at="2026-11-23T09:00:00Z")
    folder = RunFolder(reports, run_id)
    folder.write_plan(plan)
    write_json(folder.path / VERDICT_FILE, change(verdict_document(plan, judgement)))
    return folder
