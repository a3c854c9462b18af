"""Whatever shows a figure shows its limit with the right sign: for each verdict, direction and unit."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from soak_pipeline.evidence.bundle import RunEvidence, read_evidence
from soak_pipeline.model.verdict import CriterionResult, Finding, Limit, Verdict, at_least, at_most
from soak_pipeline.report.course import Course, course_of
from soak_pipeline.report.documents import Documents
from soak_pipeline.report.html import report_html
from soak_pipeline.report.junit import junit_xml
from soak_pipeline.report.markdown import summary_markdown
from soak_pipeline.report.quantities import limit_of
from soak_pipeline.report.table import plain_verdict
from soak_pipeline_tests.evidence_factory import make_run
from soak_pipeline_tests.report import examples
from soak_pipeline_tests.report.runs import reported_run

CASES = [
    (at_most(250.0, "ms"), 312.0, "312 ms", "≤ 250 ms"),
    (at_most(250.0, "ms"), 250.0, "250 ms", "≤ 250 ms"),
    (at_most(0.0, "wrong answers"), 0.0, "0 wrong answers", "≤ 0"),
    (at_least(0.8, "share"), 0.12, "12 %", "≥ 80 %"),
    (at_least(0.8, "share"), 0.8, "80 %", "≥ 80 %"),
    (at_least(72.0, "requests"), 41.0, "41 requests", "≥ 72"),
    (at_least(72.0, "requests"), None, "–", "≥ 72 requests"),
    (at_most(0.0, "violations"), None, "–", "≤ 0 violations"),
    (None, 12.0, "12", "–"),
]
each_case = pytest.mark.parametrize(("limit", "observed", "figure", "sign"), CASES)
each_verdict = pytest.mark.parametrize("verdict", list(Verdict))


def result_of(verdict: Verdict, limit: Limit | None, observed: float | None) -> CriterionResult:
    """A criterion and its finding that say nothing but a figure and its limit."""
    return CriterionResult(
        name="load_was_valid",
        verdict=verdict,
        why="a sentence",
        observed=observed,
        limit=limit,
        findings=(Finding(subject="tenant E", verdict=verdict, why="a sentence", observed=observed, limit=limit),),
    )


@each_verdict
@each_case
def test_terminal_summary_and_junit(
    verdict: Verdict, limit: Limit | None, observed: float | None, figure: str, sign: str
) -> None:
    result = result_of(verdict, limit, observed)
    document = examples.document(result)
    assert limit_of(result) == limit_of(result.findings[0]) == sign
    cells = plain_verdict(document, 100).splitlines()[1].split("load_was_valid")[1].split("  ")
    assert [cell.strip() for cell in cells if cell.strip()] == [figure, sign]
    assert f"observed {figure}, limit {sign}" in " ".join(plain_verdict(document, 40).split())
    assert f" `load_was_valid` | {figure} | {sign} | a sentence |" in summary_markdown(document, None)
    case = ET.fromstring(junit_xml(document).encode()).find("testsuite/testcase")
    assert case is not None
    assert f"observed {figure}, limit {sign}" in (case[0].text or "")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunEvidence, Course]:
    evidence = read_evidence(make_run(tmp_path_factory.mktemp("run")))
    return evidence, course_of(evidence)


@pytest.fixture
def no_documents() -> Documents:
    return Documents(latency=None, comparison=None, chain_verify=None, reconcile=None)


@each_verdict
def test_report_page(verdict: Verdict, run: tuple[RunEvidence, Course], no_documents: Documents) -> None:
    for limit, observed, figure, sign in CASES:
        document = examples.document(result_of(verdict, limit, observed))
        page = report_html(*run, document, no_documents, [])
        headline = page.split('<span class="figure">')[1].split("</summary>")[0]
        assert headline.startswith(f"<b>{figure}</b>" + ("" if limit is None else f"<span>limit {sign}</span>"))
        assert f'data-label="limit">{sign}</td>' in page


@pytest.mark.parametrize(
    ("profile", "verdict", "words"),
    [
        ("smoke", Verdict.PASS, "gates no promotion"),
        ("smoke", Verdict.FAIL, "gates no promotion"),
        ("nightly", Verdict.PASS, ""),
        ("nightly", Verdict.FAIL, "promotion blocked"),
        ("nightly", Verdict.INCONCLUSIVE, "promotion blocked"),
    ],
)
def test_the_title_of_the_page_says_what_the_verdict_means_for_a_promotion(
    profile: str, verdict: Verdict, words: str, run: tuple[RunEvidence, Course], no_documents: Documents
) -> None:
    document = examples.document(result_of(verdict, None, None), profile=profile)
    page = report_html(*run, document, no_documents, [])
    title = page.split('<span class="release">')[1].split("</span>")[0]
    assert title == (f"v1.4.0 · {words}" if words else "v1.4.0")
    allowed = "the promotion is allowed"
    assert (allowed in page) is (allowed in summary_markdown(document, None)) is (profile == "nightly" and not words)


def test_the_figures_above_the_fold(tmp_path: Path) -> None:
    folder, _ = reported_run(tmp_path)
    page = (folder.path / "report.html").read_text()
    tiles = page.split('<dl class="tiles">')[1].split("</dl>")[0]
    assert "limit ≤ 250 ms</span>" in tiles
    assert "limit ≤ 1.20x</span>" in tiles
