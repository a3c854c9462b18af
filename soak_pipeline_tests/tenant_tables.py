"""Tables of tenants that a policy may name, and plans and strategies made of them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from hypothesis import strategies as st

from soak_pipeline.model.plan import Plan
from soak_pipeline.model.tenants import split_by_share, tenant_id_of

SIX: Mapping[str, float] = {
    "acme-eu": 0.40,
    "globex": 0.20,
    "initech_2": 0.15,
    "Umbrella": 0.10,
    "0-day": 0.10,
    "a-rather-long-name-of-30-chars": 0.05,
}
FIFTY: Mapping[str, float] = {f"customer-{number:02d}{'-eu' * (number % 3)}": 0.02 for number in range(1, 51)}
NAME_PATTERN = r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,29}\Z"
ODD_NAMES = ("pressure", "errors", "clock", "telemetry", "records", "0", "a--b__", "x" * 30, "tenant", "stage", "NaN")
"""Names that stand elsewhere too: a subject of a finding, a number, all that is allowed at once."""


def with_tenants(plan: Plan, shares: Mapping[str, float], noisy: str = "") -> Plan:
    """The plan with other tenants; the noisy one is the first unless it is named, and a quiet one has the fan-out.

    Args:
        shares: share (0..1) per name, summing to 1.
        noisy: name of the one that presses.
    """
    noisy = noisy or next(iter(shares))
    users = split_by_share(plan.profile.users, shares, least=1)
    fanout = msgspec.structs.replace(plan.profile.fanout, tenant=next(name for name in shares if name != noisy))
    return msgspec.structs.replace(
        plan,
        profile=msgspec.structs.replace(plan.profile, fanout=fanout),
        tenants=tuple(
            msgspec.structs.replace(
                plan.tenants[0],
                name=name,
                tenant_id=tenant_id_of(plan.run_id, name),
                share=share,
                soak_users=users[name],
                is_noisy=name == noisy,
            )
            for name, share in shares.items()
        ),
    )


def names(most: int = 50) -> st.SearchStrategy[list[str]]:
    """2 to `most` names of tenants, odd ones among them; no two differ in case only."""
    name = st.one_of(st.sampled_from(ODD_NAMES), st.from_regex(NAME_PATTERN))
    return st.lists(name, min_size=2, max_size=most, unique_by=str.casefold)
