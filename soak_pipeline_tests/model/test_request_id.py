"""Request ids are version-4 shaped UUIDs, derived from the place in the schedule."""

from __future__ import annotations

import hashlib
import uuid

from hypothesis import given, settings
from hypothesis import strategies as st

from soak_pipeline.model.traffic import request_id_of


@settings(deadline=None)
@given(st.integers(0, 2**63), st.sampled_from(["soak", "fairness-1"]), st.integers(0, 20_000), st.integers(0, 10**9))
def test_it_is_the_uuid_of_the_digest(seed: int, session: str, user: int, sequence: int) -> None:
    digest = hashlib.blake2b(f"{seed}/{session}/{user}/{sequence}".encode(), digest_size=16).digest()
    assert request_id_of(seed, session, user, sequence) == str(uuid.UUID(bytes=digest, version=4))
