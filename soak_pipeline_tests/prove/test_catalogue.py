"""The catalogue covers the platform's faults, every criterion, and names only what exists."""

from __future__ import annotations

import re

import pytest

from infra.acp import faults
from soak_pipeline import PROJECT_ROOT
from soak_pipeline.criteria.registry import CRITERIA
from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.profile import duration_s_of
from soak_pipeline.model.thresholds import with_overrides
from soak_pipeline.model.verdict import Verdict
from soak_pipeline.prove.catalogue import CATALOGUE, rows_named
from soak_pipeline.prove.lane import SETTINGS, THRESHOLDS
from soak_pipeline.prove.rows import Disturbance, Row
from soak_pipeline_tests.policies import default_thresholds, profile_of

CAUSES_DIR = PROJECT_ROOT / "soak_pipeline" / "criteria"
ROWS = pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)


def test_every_fault_of_the_platform_has_its_row() -> None:
    planted = {fault.name for row in CATALOGUE for fault in row.faults}
    assert planted == set(faults.FAULTS)


def test_every_harm_to_the_harness_has_its_row() -> None:
    assert {row.disturbance for row in CATALOGUE if row.disturbance} == set(Disturbance)


@ROWS
def test_faults_and_their_parameters_are_the_platforms(row: Row) -> None:
    for fault in row.faults:
        assert faults.parse(fault.text()).keys() == {fault.name}
        assert faults.assignments(fault.name, fault.assignments()).keys() == fault.parameters.keys()


@ROWS
def test_a_row_names_criteria_causes_profile_and_limits_that_exist(row: Row) -> None:
    sources = "".join(path.read_text() for path in CAUSES_DIR.rglob("*.py"))
    assert {turn.criterion for turn in row.turns} <= {criterion.name for criterion in CRITERIA}
    for turn in row.turns:
        assert turn.verdict is not Verdict.PASS
        assert f'"{turn.cause}"' in sources or re.fullmatch(r"[a-z_]+_grows", turn.cause), turn.cause
    assert profile_of(row.profile, users=row.users).name == row.profile
    with_overrides(default_thresholds(), THRESHOLDS | dict(row.thresholds))
    assert row.run_time is None or duration_s_of(row.run_time) > 0
    assert all(name.startswith("ACP_") for name in {*SETTINGS, *row.settings})


@ROWS
def test_only_a_further_turn_needs_a_reason(row: Row) -> None:
    assert [bool(turn.because) for turn in row.turns] == [False, *[True] * (len(row.turns) - 1)][: len(row.turns)]
    assert row.is_clean == (not row.faults and not row.disturbance and row.profile == "prove")


def test_names_are_unique_and_there_are_clean_rows() -> None:
    names = [row.name for row in CATALOGUE]
    assert len(set(names)) == len(names)
    assert sum(row.is_clean for row in CATALOGUE) >= 3


def test_the_reduced_rows_turn_every_criterion_and_hold_two_clean_ones() -> None:
    reduced = rows_named([], reduced=True)
    assert {turn.criterion for row in reduced for turn in row.turns} == {criterion.name for criterion in CRITERIA}
    assert sum(not row.is_clean for row in reduced) >= 12
    assert sum(row.is_clean for row in reduced) == 2


def test_every_criterion_fails_or_stays_open_in_some_row() -> None:
    turned = {turn.criterion for row in CATALOGUE for turn in row.turns if not turn.because}
    assert turned == {criterion.name for criterion in CRITERIA}


def test_rows_are_found_by_name_in_the_catalogues_order() -> None:
    assert [row.name for row in rows_named(["latency_step", "clean"])] == ["clean", "latency_step"]
    assert rows_named([]) == CATALOGUE
    assert [row.name for row in rows_named(["root_stale"], reduced=True)] == ["root_stale"]


def test_every_unknown_name_is_told() -> None:
    with pytest.raises(BadInput) as caught:
        rows_named(["clean", "no_such_row", "nor_this"])
    assert len(caught.value.problems) == 2
