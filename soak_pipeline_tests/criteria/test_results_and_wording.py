"""How findings become a result, and numbers become words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.criteria import wording
from soak_pipeline.criteria.results import closeness, conclude
from soak_pipeline.model.verdict import Finding, Verdict, worst
from soak_pipeline_tests.criteria.judging import evidence_of

NAME = "usage_matches_audit"


def finding(verdict: Verdict, subject: str = "x", observed: float | None = 1.0, unit: str = "rows") -> Finding:
    return Finding(
        subject=subject, verdict=verdict, why=f"{subject} is {verdict}", observed=observed, limit=2.0, unit=unit
    )


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> object:
    return evidence_of(tmp_path_factory.mktemp("run"))


def test_nothing_to_judge_is_open(evidence: object) -> None:
    result = conclude(evidence, NAME, [], unit="rows", passed="all is well", files=[])  # type: ignore[arg-type]

    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.why == "there was nothing to judge"


@given(verdicts=st.lists(st.sampled_from(list(Verdict)), min_size=1, max_size=8))
def test_the_worst_finding_decides_and_comes_first(evidence: object, verdicts: list[Verdict]) -> None:
    findings = [finding(verdict, f"subject {index}") for index, verdict in enumerate(verdicts)]

    result = conclude(evidence, NAME, findings, unit="rows", passed="all is well", files=["a.json"])  # type: ignore[arg-type]

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

    result = conclude(evidence, NAME, findings, unit="rows", passed="all is well", files=[])  # type: ignore[arg-type]

    assert [f.subject for f in result.findings] == ["near", "far", "unknown", "other unit"]
    assert (result.observed, result.limit, result.unit) == (1.9, 2.0, "rows")


def test_the_others_that_are_as_bad_are_named(evidence: object) -> None:
    findings = [finding(Verdict.FAIL, f"tenant {name}", 3.0) for name in "ABCDEF"] + [finding(Verdict.PASS)]

    why = conclude(evidence, NAME, findings, unit="rows", passed="", files=[]).why  # type: ignore[arg-type]

    assert why == "tenant A is FAIL (and 5 more: tenant B; tenant C; tenant D; tenant E; ...)"


def test_closeness_is_the_part_of_the_limit_that_is_used() -> None:
    assert closeness(finding(Verdict.PASS, observed=1.0)) == 0.5
    assert closeness(finding(Verdict.PASS, observed=None)) == 0.0
    assert closeness(Finding(subject="x", verdict=Verdict.FAIL, why="", observed=7.0, limit=0.0)) == 7.0


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
