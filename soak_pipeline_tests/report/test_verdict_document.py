from __future__ import annotations

import msgspec
import pytest

from soak_pipeline.model.plan import plan_hash
from soak_pipeline.model.verdict import Verdict
from soak_pipeline.report.verdict_document import VerdictDocument, moment, verdict_document
from soak_pipeline_tests.report import examples
from soak_pipeline_tests.report.examples import failed, inconclusive, not_asked, passed


def test_binds_the_verdict_to_release_target_and_plan() -> None:
    document = examples.document(passed())
    assert (document.run_id, document.release, document.commit) == (examples.RUN_ID, "v1.4.0", "0123abc")
    assert (document.profile, document.target) == ("smoke", "local")
    assert document.plan_hash == plan_hash(examples.plan())
    assert document.started_at == "2026-11-23T07:30:00.000Z"
    assert document.ended_at == "2026-11-23T07:35:30.000Z"


def test_survives_a_round_trip_through_json() -> None:
    document = examples.document(failed(), not_asked())
    assert msgspec.json.decode(msgspec.json.encode(document), type=VerdictDocument) == document


def test_an_unknown_end_is_null() -> None:
    assert verdict_document(examples.plan(), examples.judgement(passed()), None).ended_at is None


def test_moment_counts_from_the_epoch_of_the_plan() -> None:
    assert moment(examples.plan(), 61_001_500) == "2026-11-23T07:31:01.001Z"


def test_reason_and_step_of_a_pass_name_what_was_not_asked() -> None:
    document = examples.document(passed("a"), passed("b"), not_asked("c"))
    assert document.verdict is Verdict.PASS
    assert document.why == "All 2 criteria that were asked hold; not asked in this profile: c."
    assert document.next_step == "Nothing to do: smoke gates no promotion."


def test_reason_leads_with_a_failure_and_counts_the_rest() -> None:
    document = examples.document(inconclusive("a"), passed("b"), failed("c"), inconclusive("d"))
    assert document.why == f"c: {failed().why} (2 more criteria are not met)."
    assert document.next_step == failed().fix


def test_an_invalid_load_is_the_first_reason_among_the_inconclusive() -> None:
    document = examples.document(inconclusive("a"), inconclusive("load_was_valid"))
    assert document.verdict is Verdict.INCONCLUSIVE
    assert document.why == "load_was_valid: worker 1 was lost after 31 s (1 more criterion is not met)."
    assert document.next_step.startswith("Make it possible to measure load_was_valid")


def test_only_an_unchanged_level_says_that_the_promotion_is_allowed() -> None:
    nightly = examples.plan("nightly")
    judged = examples.judgement(passed())
    allowed = verdict_document(nightly, judged)
    assert (allowed.gates_promotion, allowed.next_step) == (True, "Nothing to do: the promotion is allowed.")

    changed = msgspec.structs.replace(nightly, adjustments=("users 10",))
    document = verdict_document(changed, judged)
    assert document.gates_promotion is False
    assert document.next_step == "Nothing to do: a changed nightly gates no promotion (users 10)."
    under_others = msgspec.structs.replace(judged, thresholds_changed={"drain_s_max": 60.0})
    assert not verdict_document(nightly, under_others).gates_promotion


def test_only_a_run_that_gates_says_that_the_promotion_is_blocked() -> None:
    judged = examples.judgement(inconclusive())
    assert verdict_document(examples.plan("nightly"), judged).next_step.endswith(
        "; until then the promotion is blocked."
    )
    assert verdict_document(examples.plan(), judged).next_step.endswith("then run again.")


@pytest.mark.parametrize("criteria", [(), (not_asked(),)])
def test_nothing_asked_never_passes(criteria: tuple[object, ...]) -> None:
    document = examples.document(*criteria)  # type: ignore[arg-type]
    assert document.verdict is Verdict.INCONCLUSIVE
    assert document.why == "No criterion was asked, so nothing is known about the platform."
    assert document.next_step == "Run a profile that asks at least one criterion."
