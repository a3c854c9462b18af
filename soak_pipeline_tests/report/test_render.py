"""What a criterion shows at once, and what it folds away."""

from __future__ import annotations

import pytest

from soak_pipeline.model.verdict import CriterionResult, Finding, Verdict, worst
from soak_pipeline.report.page.render import FOLDED_FROM, SHOWN_UNMET, parted_findings


@pytest.mark.parametrize(
    ("unmet", "holding", "shown"),
    [
        (0, 40, (40, 0, 0)),
        (2, FOLDED_FROM - 1, (2 + FOLDED_FROM - 1, 0, 0)),
        (2, FOLDED_FROM, (2, 0, FOLDED_FROM)),
        (SHOWN_UNMET + FOLDED_FROM - 1, 50, (SHOWN_UNMET + FOLDED_FROM - 1, 0, 50)),
        (SHOWN_UNMET + FOLDED_FROM, 50, (SHOWN_UNMET, FOLDED_FROM, 50)),
    ],
)
def test_the_worst_findings_are_seen_first_and_none_is_lost(
    unmet: int, holding: int, shown: tuple[int, int, int]
) -> None:
    verdicts = [Verdict.INCONCLUSIVE] * unmet + [Verdict.PASS] * holding
    findings = tuple(Finding(subject=f"{n}", verdict=verdict, why="w") for n, verdict in enumerate(verdicts))
    result = CriterionResult(name="nothing_leaks", verdict=worst(verdicts), why="w", findings=findings)
    parts = parted_findings(result)
    assert tuple(map(len, parts)) == shown
    assert [finding for part in parts for finding in part] == list(findings)
