from __future__ import annotations

from xml.etree import ElementTree as ET

from soak_pipeline.report.junit import junit_xml
from soak_pipeline_tests.report import examples
from soak_pipeline_tests.report.examples import failed, hostile, inconclusive, not_asked, passed


def suite_of(text: str) -> ET.Element:
    root = ET.fromstring(text.encode())
    suite = root.find("testsuite")
    assert root.tag == "testsuites"
    assert suite is not None
    return suite


def test_one_case_per_criterion_with_the_element_of_its_verdict() -> None:
    suite = suite_of(junit_xml(examples.document(passed("a"), failed("b"), inconclusive("c"), not_asked("d"))))
    cases = {case.get("name"): [child.tag for child in case] for case in suite.findall("testcase")}
    assert cases == {"a": ["system-out"], "b": ["failure"], "c": ["error"], "d": ["skipped"]}
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped", "time")}
    assert counts == {"tests": "4", "failures": "1", "errors": "1", "skipped": "1", "time": "330.000"}


def test_a_failure_carries_reason_findings_cause_and_fix() -> None:
    failure = suite_of(junit_xml(examples.document(failed()))).find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == failed().why
    text = failure.text or ""
    assert "observed 1.34x (1.25x to 1.43x), limit ≤ 1.20x" in text
    assert "PASS: tenant B: p99 rose 1.02x" in text
    assert f"likely cause: {failed().likely_cause}" in text
    assert f"fix: {failed().fix}" in text


def test_properties_bind_it_to_the_release() -> None:
    suite = suite_of(junit_xml(examples.document(passed())))
    properties = {item.get("name"): item.get("value") for item in suite.iterfind("properties/property")}
    assert properties["release"] == "v1.4.0"
    assert properties["verdict"] == "PASS"


def test_hostile_text_is_data() -> None:
    suite = suite_of(junit_xml(examples.document(hostile())))
    assert not suite.findall(".//script")
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert "<script>alert(1)</script>" in (failure.get("message") or "")
