"""The form that an operator fills in to start a run, and its translation to the harness's own request.

Never holds a secret: credentials are read from the environment of the process that runs the stages.
"""

import dagster as dg
import msgspec
from pydantic import Field

from soak_pipeline.defs.policy import POLICY
from soak_pipeline.model.request import DEFAULT_TARGET_FILE, SoakRequest


class SoakConfig(dg.Config):
    """What to soak, and how hard; see `SoakRequest`, whose fields these are."""

    profile: str = Field("smoke", description=f"Level of the policy: {', '.join(POLICY.levels)}.")
    target_path: str = Field(DEFAULT_TARGET_FILE, description="Target file, relative to the project folder.")
    policy_path: str = Field(
        "", description="Policy file; `default` for the one of the package; empty for SOAK_POLICY, else soak.yaml."
    )
    scale: float | None = Field(None, description="Factor for the whole level, fairness and fan-out included.")
    users: int | None = Field(None, description="Virtual users of the soak instead of the level's.")
    run_time: str | None = Field(None, description="Length of the soak instead of the level's, such as 90s or 60m.")
    fairness_order: str | None = Field(
        None, description="Interleaved pairs (abba), or one long window each (classic), instead of the level's."
    )
    release: str = Field("", description="What is under test; the verdict is bound to it.")
    commit: str = Field("", description="Commit under test; the verdict is bound to it.")
    seed: int | None = Field(None, description="Seed of the load; without one it is derived from the run id.")
    confirm_production: str = Field("", description="Name of the target, typed again, when it is a production target.")
    thresholds: dict[str, float] = Field({}, description="Limits to change, by name, such as error_share_max: 0.01.")

    def request(self) -> SoakRequest:
        """The request that this form asks for."""
        return msgspec.convert(self.model_dump(), SoakRequest)


def run_config_of(request: SoakRequest) -> dict[str, object]:
    """The Dagster run configuration of a request; fields at their default are left out."""
    defaults = msgspec.to_builtins(SoakRequest())
    chosen = {name: value for name, value in msgspec.to_builtins(request).items() if value != defaults[name]}
    return {"ops": {"provision": {"config": chosen}}}
