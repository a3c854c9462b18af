"""What an operator, a schedule or a sensor asks for: the request from which a plan is frozen."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from soak_pipeline.model.policy import LevelPolicy, Policy
from soak_pipeline.model.profile import adjusted, duration_s_of
from soak_pipeline.model.thresholds import with_overrides

DEFAULT_TARGET_FILE = "infra/targets/embedded.yaml"
DEFAULT_POLICY = "default"
"""Names the policy that ships with this package, where a file is expected."""


class SoakRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request for one soak run.

    Attributes:
        profile: name of a level of the policy.
        target_path: target file, relative to the working directory or absolute.
        policy_path: policy file; `default` for the one that ships with this package; empty to search for one.
        scale: factor for the whole level, fairness and fan-out included; None for 1.
        users: virtual users of the soak instead of the level's.
        run_time: length of the soak instead of the level's, as Locust writes it (`60m`).
        fairness_order: `abba`, or `classic` for one long baseline and one long burst; None for the level's own.
        release, commit: what is under test; bound to the verdict.
        seed: of the load; None derives it from the run id.
        confirm_production: name of the target, typed again; a production target asks for it.
        thresholds: limits to change, by name.
    """

    profile: str = "smoke"
    target_path: str = DEFAULT_TARGET_FILE
    policy_path: str = ""
    scale: float | None = None
    users: int | None = None
    run_time: str | None = None
    fairness_order: str | None = None
    release: str = ""
    commit: str = ""
    seed: int | None = None
    confirm_production: str = ""
    thresholds: dict[str, float] = {}

    def resolved(self, policy: Policy) -> LevelPolicy:
        """The level of a policy with this request's changes.

        Raises:
            BadInput: unknown level, fairness order or limit, bad number, bad duration.
        """
        level = policy.level(self.profile)
        profile = adjusted(
            level.profile,
            scale=self.scale,
            users=self.users,
            soak_s=None if self.run_time is None else duration_s_of(self.run_time),
            fairness_order=self.fairness_order,
        )
        thresholds = with_overrides(level.thresholds, self.thresholds)
        return msgspec.structs.replace(level, profile=profile, thresholds=thresholds)

    def adjustments(self) -> Iterator[str]:
        """What this request changes of its level, in words."""
        if self.scale is not None:
            yield f"scale {self.scale:g}"
        if self.users is not None:
            yield f"users {self.users:,}"
        if self.run_time is not None:
            yield f"run time {self.run_time}"
        if self.fairness_order is not None:
            yield f"fairness order {self.fairness_order}"
        yield from (f"{name} {value:g}" for name, value in sorted(self.thresholds.items()))
