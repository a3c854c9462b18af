from __future__ import annotations

import uuid

from soak_pipeline.model.traffic import KIND_OF, Kind, Operation, request_id_of
from soak_pipeline_tests.policies import MIX


def test_every_operation_has_a_kind_and_every_kind_an_operation() -> None:
    assert set(KIND_OF) == set(Operation)
    assert set(KIND_OF.values()) == set(Kind)


def test_the_mix_is_whole() -> None:
    assert sum(MIX.values()) == 1.0


def test_request_ids_are_canonical_uuids_and_unique() -> None:
    ids = {request_id_of(1, "soak", user, sequence) for user in range(50) for sequence in range(50)}
    assert len(ids) == 2_500
    assert all(str(uuid.UUID(text)) == text and uuid.UUID(text).version == 4 for text in ids)


def test_request_ids_follow_from_the_place_in_the_schedule() -> None:
    assert request_id_of(1, "soak", 2, 3) == request_id_of(1, "soak", 2, 3)
    assert request_id_of(1, "soak", 2, 3) != request_id_of(2, "soak", 2, 3)
