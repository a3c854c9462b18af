"""The form of the UI and the harness's own request say the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.defs.run_config import SoakConfig, run_config_of
from soak_pipeline.model.request import SoakRequest
from soak_pipeline_tests.policies import LEVELS

text = st.text(max_size=20)
requests = st.builds(
    SoakRequest,
    profile=st.sampled_from(sorted(LEVELS)),
    target_path=text,
    policy_path=text,
    scale=st.none() | st.floats(0.01, 10),
    users=st.none() | st.integers(1, 20_000),
    run_time=st.none() | st.sampled_from(["90s", "60m", "1h30m"]),
    fairness_order=st.none() | st.sampled_from(["abba", "classic"]),
    release=text,
    commit=text,
    seed=st.none() | st.integers(0, 2**32 - 1),
    confirm_production=text,
    thresholds=st.dictionaries(st.sampled_from(["error_share_max", "leak_horizon_h"]), st.floats(0, 100)),
)


def test_the_form_has_the_fields_and_defaults_of_the_request() -> None:
    assert set(SoakConfig.model_fields) == set(SoakRequest.__struct_fields__)
    assert SoakConfig().request() == SoakRequest()


@given(requests)
def test_a_request_survives_the_way_through_the_run_configuration(request: SoakRequest) -> None:
    form = run_config_of(request)["ops"]["provision"]["config"]
    assert SoakConfig(**form).request() == request


def test_only_what_was_chosen_stands_in_the_run_configuration() -> None:
    assert run_config_of(SoakRequest(users=5)) == {"ops": {"provision": {"config": {"users": 5}}}}


@pytest.mark.parametrize("name", SoakConfig.model_fields)
def test_every_field_of_the_form_is_explained(name: str) -> None:
    assert SoakConfig.model_fields[name].description
