"""The gate opens for the newest passed run of exactly that release and level, and for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soak_pipeline.commands.gate import GateAnswer, GateQuestion, GateVerdict, answer
from soak_pipeline.criteria.names import CRITERION_NAMES
from soak_pipeline.criteria.registry import CRITERIA
from soak_pipeline.evidence.run_folder import RunFolder, read_json, write_json
from soak_pipeline.evidence.seal import SEAL_FILE, seal_new
from soak_pipeline.model.plan import plan_hash
from soak_pipeline.model.verdict import CriterionResult, Verdict
from soak_pipeline.report.verdict_document import VerdictDocument, digest_of
from soak_pipeline_tests.candidates.repository import Repository
from soak_pipeline_tests.commands.gate_runs import NOW, RUN_ID, store_run
from soak_pipeline_tests.policies import GATING, LEVELS, OF_RUN, POLICY, PROVE_LEVELS, default_thresholds, profile_of
from soak_pipeline_tests.report.runs import reported_run

Change = Callable[[VerdictDocument], VerdictDocument]


def _ask(reports: Path, level: str = "nightly", release: str = "v1.2.3", **question: object) -> GateAnswer:
    return answer(reports, GateQuestion(level=level, release=release, **question), NOW, POLICY)


def test_the_gate_knows_the_criteria_of_the_registry() -> None:
    assert tuple(criterion.name for criterion in CRITERIA) == CRITERION_NAMES


@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_stored_verdict_is_the_answer(tmp_path: Path, verdict: Verdict) -> None:
    store_run(tmp_path, criteria={"roots_are_sealed": verdict})
    given_answer = _ask(tmp_path)
    assert given_answer.verdict == verdict.value
    assert given_answer.run_id == RUN_ID
    assert [result.name for result in given_answer.unmet] == (["roots_are_sealed"] if verdict != "PASS" else [])


def test_the_answer_says_what_it_is_bound_to(tmp_path: Path) -> None:
    folder = store_run(tmp_path, commit="0123abc", target="staging")
    given_answer = _ask(tmp_path)
    assert (given_answer.commit, given_answer.target) == ("0123abc", "staging")
    assert given_answer.run_folder == str(folder.path)
    assert len(given_answer.plan_hash) == 64


@pytest.mark.parametrize("defects", [[], ["slow_tenant"]])
def test_what_the_report_writes_is_trusted(tmp_path: Path, defects: list[str]) -> None:
    """With the figures of a whole judgement, as read back from the file; its load is smaller than any level's."""
    folder, _ = reported_run(tmp_path, defects=defects)
    document = read_json(folder.path / "verdict.json", VerdictDocument)
    assert document.digest == digest_of(document)
    plan = msgspec.structs.replace(folder.read_plan(), profile=profile_of("nightly"))
    assert plan.release == "v1.2.3"
    bound = msgspec.structs.replace(document, profile="nightly", plan_hash=plan_hash(plan), digest="")
    write_json(folder.plan_path, plan)
    (folder.path / SEAL_FILE).unlink()
    seal_new(folder.path)
    write_json(folder.path / "verdict.json", msgspec.structs.replace(bound, digest=digest_of(bound)))
    given_answer = _ask(tmp_path)
    assert given_answer.verdict == document.verdict.value, given_answer.why


def test_without_a_run_the_gate_is_shut(tmp_path: Path) -> None:
    given_answer = _ask(tmp_path)
    assert given_answer.verdict is GateVerdict.INCONCLUSIVE
    assert given_answer.next_step == "Start one: soak run --profile nightly --release v1.2.3"


@pytest.mark.parametrize("level", GATING)
@pytest.mark.parametrize("profile", [*LEVELS, *PROVE_LEVELS])
def test_a_level_is_answered_by_its_own_profile_only(tmp_path: Path, level: str, profile: str) -> None:
    store_run(tmp_path, profile=profile_of(profile))
    assert (_ask(tmp_path, level).verdict is GateVerdict.PASS) is (level == profile)


@pytest.mark.parametrize("name", ["smoke", *PROVE_LEVELS, "tiny", ""])
def test_what_is_no_level_promotes_nothing(tmp_path: Path, name: str) -> None:
    if name in PROVE_LEVELS:
        store_run(tmp_path, profile=profile_of(name))
    given_answer = _ask(tmp_path, name)
    assert given_answer.verdict is GateVerdict.INCONCLUSIVE
    what = "gates nothing" if name == "smoke" else "is no level"
    assert given_answer.why == (
        f"{name!r} {what} in policy {OF_RUN}; levels that gate: pull_request, nightly, pre_release."
    )


@pytest.mark.parametrize("name", ["prove", "prove_calm", "prove_pressed"])
def test_the_load_of_a_proof_under_the_name_of_a_level_is_not_that_level(tmp_path: Path, name: str) -> None:
    store_run(tmp_path, profile=msgspec.structs.replace(profile_of(name), name="pull_request"))
    given_answer = _ask(tmp_path, "pull_request")
    assert given_answer.verdict is GateVerdict.INCONCLUSIVE
    assert f"level pull_request of policy {OF_RUN} differs: " in given_answer.why
    assert "load users is 80, not 100" in given_answer.why


def test_another_release_does_not_answer(tmp_path: Path) -> None:
    store_run(tmp_path)
    for other in ("v1.2.4", "v1.2", "V1.2.3", "v1.2.3-rc1", "", "*"):
        assert _ask(tmp_path, release=other).run_id == ""


def test_a_tag_may_be_named_by_its_full_reference(tmp_path: Path) -> None:
    store_run(tmp_path)
    assert _ask(tmp_path, release="refs/tags/v1.2.3").verdict is GateVerdict.PASS


@pytest.mark.parametrize(
    ("stored", "asked", "opens"),
    [
        ("0123abcdef", "0123abcdef", True),
        ("0123abcdef", "0123ABC", True),
        ("0123abc", "0123abcdef", True),
        ("0123abcdef", "0123ab", False),
        ("0123abcdef", "0123abcdee", False),
        ("", "0123abcdef", False),
        ("", None, True),
        ("0123abcdef", None, True),
    ],
)
def test_the_commit_that_is_asked_for_must_be_that_of_the_run(
    tmp_path: Path, stored: str, asked: str | None, opens: bool
) -> None:
    store_run(tmp_path, commit=stored)
    assert (_ask(tmp_path, commit=asked).verdict is GateVerdict.PASS) is opens


@pytest.mark.parametrize("name", ["release", "commit", "target"])
def test_a_variable_that_is_empty_by_mistake_does_not_mean_any(tmp_path: Path, name: str) -> None:
    store_run(tmp_path, release="", commit="", target="t")
    store_run(tmp_path, run_id="20261123T080000Z")
    given_answer = answer(
        tmp_path, GateQuestion(**{"level": "nightly", "release": "v1.2.3", "target": "staging", name: ""}), NOW, POLICY
    )
    assert given_answer.verdict is GateVerdict.INCONCLUSIVE
    assert given_answer.why == f"The {name} that is asked for is empty."


def test_a_run_of_another_commit_is_named(tmp_path: Path) -> None:
    store_run(tmp_path, commit="0123abcdef", target="staging")
    why = _ask(tmp_path, commit="fedcba9876").why
    assert "'v1.2.3' commit fedcba9876" in why
    assert "there are runs of commit 0123abcdef on staging" in why


def test_runs_on_several_targets_need_to_be_told_apart(tmp_path: Path) -> None:
    store_run(tmp_path, run_id="20261123T010000Z", target="staging", criteria={"roots_are_sealed": Verdict.FAIL})
    store_run(tmp_path, run_id="20261123T020000Z", target="laptop")
    assert "several targets: laptop, staging" in _ask(tmp_path).why
    assert _ask(tmp_path, target="staging").verdict is GateVerdict.FAIL
    assert _ask(tmp_path, target="laptop").verdict is GateVerdict.PASS
    assert _ask(tmp_path, target="elsewhere").run_id == ""


def test_the_newest_run_decides_even_when_an_older_one_passed(tmp_path: Path) -> None:
    store_run(tmp_path, run_id="20261123T010000Z")
    store_run(tmp_path, run_id="20261123T020000Z", criteria={"load_was_valid": Verdict.FAIL})
    assert _ask(tmp_path).verdict is GateVerdict.FAIL


def test_a_newest_run_without_a_verdict_keeps_it_shut(tmp_path: Path) -> None:
    store_run(tmp_path, run_id="20261123T010000Z")
    (store_run(tmp_path, run_id="20261123T020000Z").path / "verdict.json").unlink()
    given_answer = _ask(tmp_path)
    assert given_answer.verdict is GateVerdict.INCONCLUSIVE
    assert "still running" in given_answer.why


def test_exactly_at_the_age_limit_it_still_answers(tmp_path: Path) -> None:
    store_run(tmp_path)
    question = GateQuestion(level="nightly", release="v1.2.3", max_age_s=4.5 * 3600)
    assert answer(tmp_path, question, NOW, POLICY).verdict is GateVerdict.PASS
    stale = answer(tmp_path, question, NOW + timedelta(seconds=1), POLICY)
    assert stale.verdict is GateVerdict.INCONCLUSIVE
    assert "4.5 h old, limit 4.5 h" in stale.why


def test_a_run_from_the_future_does_not_answer(tmp_path: Path) -> None:
    store_run(tmp_path, run_id="20261123T121000Z")
    assert "10 min from now" in _ask(tmp_path).why


def _edit(**changes: object) -> Change:
    return lambda document: msgspec.structs.replace(document, **changes)


def _signed(change: Change) -> Change:
    """An edit by somebody who also writes the digest again."""

    def edit(document: VerdictDocument) -> VerdictDocument:
        changed = change(document)
        return msgspec.structs.replace(changed, digest=digest_of(changed))

    return edit


def _all_pass(document: VerdictDocument) -> VerdictDocument:
    criteria = tuple(msgspec.structs.replace(result, verdict=Verdict.PASS) for result in document.criteria)
    return msgspec.structs.replace(document, criteria=criteria, verdict=Verdict.PASS)


def _without_the_worst(document: VerdictDocument) -> VerdictDocument:
    criteria = tuple(result for result in document.criteria if result.verdict is Verdict.PASS)
    return msgspec.structs.replace(document, criteria=criteria, verdict=Verdict.PASS)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_edit(verdict=Verdict.PASS), "digest does not match"),
        (_all_pass, "digest does not match"),
        (_edit(digest=""), "carries no digest"),
        (_signed(_edit(verdict=Verdict.PASS)), "contradicts itself"),
        (_signed(_without_the_worst), "says nothing about roots_are_sealed"),
        (_signed(_edit(run_id="20261122T000000Z")), "is of another run"),
        (_signed(_edit(release="v1.2.2")), "is of another run, release"),
        (_signed(_edit(commit="fedcba9")), "is of another run, release, commit"),
        (_signed(_edit(profile="smoke")), "is of another run"),
        (_signed(_edit(target="other")), "is of another run"),
        (_signed(_edit(plan_hash="0" * 64)), "names plan 000000000000, the plan's hash is "),
        (_signed(_edit(thresholds_changed={"error_share_max": 1.0})), "differs: it was judged with error_share_max 1"),
    ],
)
def test_a_changed_verdict_keeps_it_shut(tmp_path: Path, change: Change, why: str) -> None:
    store_run(tmp_path, criteria={"roots_are_sealed": Verdict.FAIL}, change=change)
    given_answer = _ask(tmp_path)
    assert given_answer.verdict is GateVerdict.INCONCLUSIVE
    assert why in given_answer.why


def test_a_plan_that_was_changed_afterwards_keeps_it_shut(tmp_path: Path) -> None:
    folder = store_run(tmp_path)
    plan = folder.plan_path.read_text()
    assert '"seed": 1,' in plan
    folder.plan_path.write_text(plan.replace('"seed": 1,', '"seed": 2,'))
    assert "was not made from the plan beside it" in _ask(tmp_path).why


def test_a_run_that_cannot_be_attributed_keeps_it_shut(tmp_path: Path) -> None:
    store_run(tmp_path, run_id="20261123T010000Z")
    damaged = store_run(tmp_path, run_id="20261123T020000Z", criteria={"load_was_valid": Verdict.FAIL})
    damaged.plan_path.write_text("{")
    assert "may be of release 'v1.2.3' cannot be read" in _ask(tmp_path).why


def test_a_damaged_run_of_another_release_is_passed_over(tmp_path: Path) -> None:
    store_run(tmp_path, run_id="20261123T010000Z")
    store_run(tmp_path, run_id="20261123T020000Z", release="v9").plan_path.write_text("{")
    assert _ask(tmp_path).verdict is GateVerdict.PASS


def test_a_smaller_load_or_softer_limits_do_not_answer_for_the_level(tmp_path: Path) -> None:
    store_run(tmp_path, profile=msgspec.structs.replace(profile_of("nightly"), users=10))
    assert "level nightly of policy default" in (why := _ask(tmp_path).why)
    assert "load users is 10, not 1000" in why
    store_run(tmp_path, run_id="20261123T080000Z", thresholds=default_thresholds(gateway_latency_ms_p95_max=1e6))
    assert "limit gateway_latency_ms_p95_max is 1000000.0, not 250.0" in _ask(tmp_path).why


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_no_garbage_opens_the_gate(tmp_path: Path, garbage: bytes) -> None:
    (store_run(tmp_path).path / "verdict.json").write_bytes(garbage)
    assert _ask(tmp_path).verdict is GateVerdict.INCONCLUSIVE


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(data=st.data())
def test_no_edit_of_a_failed_verdict_opens_the_gate(tmp_path: Path, data: st.DataObject) -> None:
    """Any slice of the file is replaced by any other text."""
    path = store_run(tmp_path, criteria={"roots_are_sealed": Verdict.FAIL}).path / "verdict.json"
    text = path.read_text()
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 40))
    path.write_text(
        text[:start] + data.draw(st.sampled_from(['"PASS"', "null", "", "0", "}"])) + text[start + length :]
    )
    assert _ask(tmp_path).verdict.exit_code != 0


def test_a_verdict_that_is_no_file_keeps_it_shut(tmp_path: Path) -> None:
    path = store_run(tmp_path).path / "verdict.json"
    path.unlink()
    path.mkdir()
    assert "no readable verdict" in _ask(tmp_path).why


def test_a_criterion_that_was_not_asked_needs_no_pass(tmp_path: Path) -> None:
    results = tuple(
        CriterionResult(name=name, verdict=Verdict.PASS, why="holds", asked=name != "nothing_leaks")
        for name in CRITERION_NAMES
    )
    store_run(tmp_path, change=_signed(_edit(criteria=results)))
    assert _ask(tmp_path).verdict is GateVerdict.PASS


def test_a_release_is_a_tag_and_its_commit(tmp_path: Path) -> None:
    """As a workflow asks: the release is the tag at the head, the commit the one that the tag points to."""
    repository = Repository(tmp_path / "repository")
    repository.tag("v1.2.3")
    reports = tmp_path / "reports"

    def ask() -> GateAnswer:
        release = repository.git("describe", "--tags", "--exact-match")
        return _ask(reports, release=release, commit=repository.git("rev-parse", f"{release}^{{commit}}"))

    assert ask().verdict is GateVerdict.INCONCLUSIVE
    store_run(reports, release="v1.2.3", commit=repository.git("rev-parse", "v1.2.3^{commit}"))
    assert ask().verdict is GateVerdict.PASS
    repository.commit()
    repository.tag("v1.2.3")
    assert ask().verdict is GateVerdict.INCONCLUSIVE
    assert "there are runs of commit" in ask().why


def test_the_oldest_moment_is_in_utc(tmp_path: Path) -> None:
    store_run(tmp_path)
    elsewhere = datetime(2026, 11, 23, 12, 0, tzinfo=UTC).astimezone()
    assert (
        answer(tmp_path, GateQuestion(level="nightly", release="v1.2.3"), elsewhere, POLICY).verdict is GateVerdict.PASS
    )
    assert RunFolder(tmp_path, RUN_ID).exists
