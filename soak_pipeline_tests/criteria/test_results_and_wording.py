"""How findings become a result, and numbers become words."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.criteria import wording
from soak_pipeline.criteria.platform_records.usage_matches_audit import CRITERION
from soak_pipeline.criteria.results import closeness, conclude
from soak_pipeline.model.verdict import Finding, Limit, Verdict, at_least, at_most, worst
from soak_pipeline_tests.criteria.judging import evidence_of

ROWS = at_most(0.0, "rows")


def finding(verdict: Verdict, subject: str = "x", observed: float | None = 1.0, unit: str = "rows") -> Finding:
    return Finding(
        subject=subject, verdict=verdict, why=f"{subject} is {verdict}", observed=observed, limit=at_most(2.0, unit)
    )


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> object:
    return evidence_of(tmp_path_factory.mktemp("run"))


def test_nothing_to_judge_is_open(evidence: object) -> None:
    result = conclude(evidence, CRITERION, [], main=ROWS, passed="all is well", files=[])  # type: ignore[arg-type]

    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.why == "there was nothing to judge"


@given(verdicts=st.lists(st.sampled_from(list(Verdict)), min_size=1, max_size=8))
def test_the_worst_finding_decides_and_comes_first(evidence: object, verdicts: list[Verdict]) -> None:
    findings = [finding(verdict, f"subject {index}") for index, verdict in enumerate(verdicts)]

    result = conclude(evidence, CRITERION, findings, main=ROWS, passed="all is well", files=["a.json"])  # type: ignore[arg-type]

    assert result.verdict is worst(verdicts)
    assert result.findings[0].verdict is result.verdict
    assert sorted(f.subject for f in result.findings) == sorted(f.subject for f in findings)
    assert (result.likely_cause is None) == (result.verdict is Verdict.PASS)
    assert (result.why == "all is well") == (result.verdict is Verdict.PASS)


def test_the_main_unit_and_the_nearest_to_the_limit_come_first(evidence: object) -> None:
    findings = [
        finding(Verdict.PASS, "far", 0.1),
        finding(Verdict.PASS, "other unit", 100.0, "s"),
        finding(Verdict.PASS, "near", 1.9),
        finding(Verdict.PASS, "unknown", None),
    ]

    result = conclude(evidence, CRITERION, findings, main=ROWS, passed="all is well", files=[])  # type: ignore[arg-type]

    assert [f.subject for f in result.findings] == ["near", "far", "unknown", "other unit"]
    assert (result.observed, result.limit, result.unit) == (1.9, at_most(2.0, "rows"), "rows")


def test_the_others_that_are_as_bad_are_named(evidence: object) -> None:
    findings = [finding(Verdict.FAIL, f"tenant {name}", 3.0) for name in "ABCDEF"] + [finding(Verdict.PASS)]

    why = conclude(evidence, CRITERION, findings, main=ROWS, passed="", files=[]).why  # type: ignore[arg-type]

    assert why == "tenant A is FAIL (and 5 more: tenant B; tenant C; tenant D; tenant E; ...)"


def test_closeness_of_a_finding_is_that_to_its_limit() -> None:
    assert closeness(finding(Verdict.PASS, observed=1.0)) == 0.5
    assert closeness(finding(Verdict.PASS, observed=None)) == -math.inf
    assert closeness(Finding(subject="x", verdict=Verdict.FAIL, why="", observed=7.0)) == -math.inf


@pytest.mark.parametrize(
    ("limit", "observed", "order"),
    [
        (at_most(250.0, "ms"), {"A": 260.0, "B": 900.0, "C": 300.0}, ["B", "C", "A"]),
        (at_least(72.0, "requests"), {"A": 71.0, "B": 0.0, "C": 40.0}, ["B", "C", "A"]),
        (at_most(0.0, "rows"), {"A": 1.0, "B": 19.0, "C": 2.0}, ["B", "C", "A"]),
    ],
)
def test_the_worst_is_named_first_in_either_direction(
    evidence: object, limit: Limit, observed: dict[str, float], order: list[str]
) -> None:
    findings = [
        Finding(subject=name, verdict=Verdict.INCONCLUSIVE, why=f"{name} is beyond", observed=value, limit=limit)
        for name, value in observed.items()
    ]

    result = conclude(evidence, CRITERION, findings, main=limit, passed="", files=[])  # type: ignore[arg-type]

    assert [f.subject for f in result.findings] == order
    assert result.limit == limit
    assert result.observed == (22.0 if limit.value == 0 else observed["B"])
    assert result.why == "B is beyond (and 2 more: C; A)"


@given(
    verdict=st.sampled_from(list(Verdict)),
    make=st.sampled_from([at_most, at_least]),
    value=st.floats(-1e6, 1e6).filter(lambda value: abs(value) > 1e-3),
    figures=st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=6, unique=True),
)
def test_whatever_the_limit_the_figure_that_is_worst_for_it_leads(
    evidence: object, verdict: Verdict, make: Callable[..., Limit], value: float, figures: list[float]
) -> None:
    limit = make(value, "rows")
    findings = [Finding(subject=f"{one}", verdict=verdict, why="w", observed=one, limit=limit) for one in figures]

    result = conclude(evidence, CRITERION, findings, main=limit, passed="", files=[])  # type: ignore[arg-type]

    leading = max(figures) if make is at_most else min(figures)
    assert result.observed == pytest.approx(leading, rel=1e-6, abs=1e-9 * max(1.0, abs(value)))


def test_what_has_neither_figure_nor_limit_shows_the_main_limit(evidence: object) -> None:
    findings = [Finding(subject="x", verdict=Verdict.INCONCLUSIVE, why="not read"), finding(Verdict.PASS)]

    result = conclude(evidence, CRITERION, findings, main=ROWS, passed="", files=[])  # type: ignore[arg-type]

    assert (result.observed, result.limit, result.unit) == (None, ROWS, "rows")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (wording.ms(4.24), "4.2 ms"),
        (wording.ms(118.4), "118 ms"),
        (wording.ms(12_400.0), "12,400 ms"),
        (wording.seconds(0.31), "0.3 s"),
        (wording.seconds(38.2), "38 s"),
        (wording.share(0.0), "0 %"),
        (wording.share(0.0034), "0.34 %"),
        (wording.share(0.95), "95 %"),
        (wording.count(1, "row"), "1 row"),
        (wording.count(1_204, "row"), "1,204 rows"),
        (wording.count(2, "leaf", "leaves"), "2 leaves"),
        (wording.quantity(512 * 2**20, "bytes"), "512.0 MiB"),
        (wording.quantity(3 * 2**30, "bytes"), "3.0 GiB"),
        (wording.quantity(12.0, "count"), "12"),
        (wording.quantity(0.05, "ratio"), "0.05"),
        (wording.quantity(7.0, "entries"), "7 entries"),
        (wording.listed([]), "none"),
        (wording.listed(["a"]), "a"),
        (wording.listed(["a", "b", "c"]), "a, b and c"),
        (wording.listed("abcdef"), "a, b, c, d and 2 more"),
    ],
)
def test_numbers_as_a_person_reads_them(text: str, expected: str) -> None:
    assert text == expected
