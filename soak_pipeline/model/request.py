"""What an operator, a schedule or a sensor asks for: the request from which a plan is frozen."""

from __future__ import annotations

import msgspec

from soak_pipeline.model.profile import Profile, duration_s_of, profile_named
from soak_pipeline.model.thresholds import Thresholds, with_overrides

DEFAULT_TARGET_FILE = "infra/targets/embedded.yaml"


class SoakRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request for one soak run.

    Attributes:
        profile: name of a built-in profile.
        target_path: target file, relative to the working directory or absolute.
        users: virtual users of the soak instead of the profile's.
        run_time: length of the soak instead of the profile's, as Locust writes it (`60m`).
        fairness_order: `abba`, or `classic` for ten minutes of baseline and ten of burst.
        release, commit: what is under test; bound to the verdict.
        seed: of the load; None derives it from the run id.
        confirm_production: name of the target, typed again; a production target asks for it.
        thresholds: limits to change, by name.
    """

    profile: str = "smoke"
    target_path: str = DEFAULT_TARGET_FILE
    users: int | None = None
    run_time: str | None = None
    fairness_order: str = "abba"
    release: str = ""
    commit: str = ""
    seed: int | None = None
    confirm_production: str = ""
    thresholds: dict[str, float] = {}

    def resolved_profile(self) -> Profile:
        """The profile with the overrides.

        Raises:
            BadInput: unknown profile or fairness order, bad number, bad duration.
        """
        run_time_s = None if self.run_time is None else duration_s_of(self.run_time)
        return profile_named(self.profile, users=self.users, soak_s=run_time_s, fairness_order=self.fairness_order)

    def resolved_thresholds(self) -> Thresholds:
        """The limits with the changes.

        Raises:
            BadInput: unknown name or bad value.
        """
        return with_overrides(Thresholds(), self.thresholds)
