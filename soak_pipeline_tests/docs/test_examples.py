"""The examples are files of one run of this version, as the gate's reader takes them."""

from __future__ import annotations

import json

import msgspec

from soak_pipeline.model.verdict import Verdict
from soak_pipeline.report.junit import junit_xml
from soak_pipeline.report.verdict_document import VERDICT_FILE, digest_of, stored_verdict
from soak_pipeline_tests.docs.examples import EXAMPLES, FILES, problems_of

VERDICT = (EXAMPLES / VERDICT_FILE).read_bytes()


def test_the_gates_reader_accepts_the_verdict() -> None:
    assert problems_of(VERDICT) == []


def test_the_files_are_of_the_same_run() -> None:
    document = stored_verdict(VERDICT)
    assert sorted(path.name for path in EXAMPLES.iterdir()) == sorted(FILES)
    assert (EXAMPLES / "junit.xml").read_text() == junit_xml(document)
    assert document.run_id in (EXAMPLES / "summary.md").read_text()


def test_what_is_no_example_is_told_why() -> None:
    document = stored_verdict(VERDICT)
    failed = msgspec.structs.replace(document, verdict=Verdict.FAIL)
    failed = msgspec.structs.replace(failed, digest=digest_of(failed))
    assert problems_of(msgspec.json.encode(failed)) == ["it is FAIL"]
    older = json.loads(VERDICT)
    del older["harness"]
    assert problems_of(json.dumps(older).encode())[0] == "it lacks harness"
