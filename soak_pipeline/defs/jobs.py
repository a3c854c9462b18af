"""Jobs: one per level, over the same assets with other numbers, and one that judges a stored run again."""

import dagster as dg

from soak_pipeline.defs.policy import POLICY
from soak_pipeline.defs.run_config import run_config_of
from soak_pipeline.model.request import SoakRequest

NEVER_RETRIED = {"dagster/max_retries": "0"}
"""A retried run would send its load twice."""


def soak_job_name(profile: str) -> str:
    """Name of the job that runs a profile."""
    return f"{profile}_soak"


def _description(profile: str) -> str:
    """What a job is for, as a person reads it in the UI."""
    level = POLICY.levels[profile]
    gates = "" if level.gates else " No promotion depends on it."
    return f"One soak run of the level {profile}, from provisioning to the verdict. {level.description}{gates}"


soak_jobs = [
    dg.define_asset_job(
        soak_job_name(profile),
        selection=dg.AssetSelection.groups("soak_run"),
        config=run_config_of(SoakRequest(profile=profile)),
        executor_def=dg.in_process_executor,
        tags={**NEVER_RETRIED, "soak/profile": profile},
        description=_description(profile),
    )
    for profile in POLICY.levels
]

rejudge = dg.define_asset_job(
    "rejudge",
    selection=dg.AssetSelection.assets("post_run_checks", "report"),
    executor_def=dg.in_process_executor,
    tags=NEVER_RETRIED,
    description="Judges a stored run again from its evidence, and writes its report; sends no load, needs no platform.",
)
