"""`junit.xml`: one test case per criterion, for every CI that reads JUnit.

FAIL is a failure, INCONCLUSIVE an error (nothing was proven). A criterion that was not asked is skipped, and so is an
advisory one that does not hold. Never leaves a criterion out.
"""

from __future__ import annotations

from datetime import datetime
from xml.etree import ElementTree as ET

from soak_pipeline.model.verdict import CriterionResult, Verdict
from soak_pipeline.report.quantities import interval_text, limit_of, quantity
from soak_pipeline.report.text import one_line
from soak_pipeline.report.verdict_document import VerdictDocument

JUNIT_FILE = "junit.xml"


def junit_xml(document: VerdictDocument) -> str:
    """The verdict as a JUnit test suite, which CI systems show per criterion."""
    counting = [result for result in document.criteria if result.counts]
    counts = {
        "tests": len(document.criteria),
        "failures": sum(result.verdict is Verdict.FAIL for result in counting),
        "errors": sum(result.verdict is Verdict.INCONCLUSIVE for result in counting),
        "skipped": sum(_is_skipped(result) for result in document.criteria),
    }
    attributes = {name: str(count) for name, count in counts.items()}
    root = ET.Element("testsuites", {"name": "soak", **attributes})
    suite = ET.SubElement(
        root,
        "testsuite",
        {
            "name": f"soak.{document.profile}",
            **attributes,
            "timestamp": document.started_at.removesuffix("Z"),
            "time": f"{_run_seconds(document):.3f}",
        },
    )
    properties = ET.SubElement(suite, "properties")
    for name in (
        "run_id",
        "release",
        "commit",
        "target",
        "plan_hash",
        "policy",
        "harness",
        "verdict",
        "why",
        "next_step",
    ):
        ET.SubElement(properties, "property", {"name": name, "value": one_line(str(getattr(document, name)))})
    for result in document.criteria:
        _add_case(suite, document, result)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add_case(suite: ET.Element, document: VerdictDocument, result: CriterionResult) -> None:
    case = ET.SubElement(
        suite, "testcase", {"classname": f"soak.{document.profile}", "name": one_line(result.name), "time": "0.000"}
    )
    message = {"message": one_line(result.why)}
    if _is_skipped(result):
        words = f"advisory, {result.verdict}: {result.why}" if result.asked else result.why
        ET.SubElement(case, "skipped", {"message": one_line(words)})
        return
    if result.verdict is not Verdict.PASS:
        tag = "failure" if result.verdict is Verdict.FAIL else "error"
        ET.SubElement(case, tag, {**message, "type": result.verdict.value}).text = _details(result)
        return
    ET.SubElement(case, "system-out").text = _details(result)


def _is_skipped(result: CriterionResult) -> bool:
    return not result.asked or (result.advisory and result.verdict is not Verdict.PASS)


def _details(result: CriterionResult) -> str:
    observed = quantity(result.observed, result.unit)
    between = interval_text(result.interval, result.unit)
    lines = [
        one_line(result.why),
        f"observed {observed}{f' ({between})' if between else ''}, limit {limit_of(result)}",
    ]
    lines += [f"{finding.verdict}: {one_line(finding.subject)}: {one_line(finding.why)}" for finding in result.findings]
    lines += [f"likely cause: {one_line(result.likely_cause)}"] if result.likely_cause else []
    lines += [f"fix: {one_line(result.fix)}"] if result.fix else []
    lines += [f"evidence: {', '.join(one_line(path) for path in result.evidence)}"] if result.evidence else []
    return "\n".join(lines)


def _run_seconds(document: VerdictDocument) -> float:
    if document.ended_at is None:
        return 0.0
    return (datetime.fromisoformat(document.ended_at) - datetime.fromisoformat(document.started_at)).total_seconds()
