"""A run that another version of this package stored: every command says so in a clear sentence, and none passes it.

The other version's types are made from the present ones, so that plan hash and digest are what it would have written.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from soak_pipeline.commands.across_runs import compare_stored, show_history
from soak_pipeline.commands.figures import print_figures
from soak_pipeline.commands.gate import GateAnswer, GateQuestion, GateVerdict, answer
from soak_pipeline.commands.stored_run import judge_stored, report_stored
from soak_pipeline.evidence.harness import harness_version
from soak_pipeline.evidence.run_folder import RunFolder, read_json, run_folders, write_json
from soak_pipeline.evidence.seal import SEAL_FILE, seal_new
from soak_pipeline.model.errors import BadInput, EvidenceUnreadable
from soak_pipeline.model.plan import PLAN_FORMAT, Plan, plan_hash
from soak_pipeline.model.profile import Profile
from soak_pipeline.model.stage_outputs import ProvisionedRun
from soak_pipeline.model.stored import different_fields
from soak_pipeline.model.verdict import CriterionResult, Finding
from soak_pipeline.report.verdict_document import VERDICT_FILE, VerdictDocument, verdict_as_stored
from soak_pipeline_tests.commands.gate_runs import NOW, RUN_ID, store_run
from soak_pipeline_tests.policies import OF_RUN, POLICY, profile_of
from soak_pipeline_tests.report.runs import reported_run


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reports folder with one run of this version; never changed, only copied."""
    reports = tmp_path_factory.mktemp("reports")
    reported_run(reports)
    return reports


@pytest.fixture
def run(reported: Path, tmp_path: Path) -> RunFolder:
    """A copy of that run."""
    reports = shutil.copytree(reported, tmp_path / "reports")
    return next(run_folders(reports))


def other_version(value: msgspec.Struct, *, without: tuple[str, ...] = (), **more: object) -> msgspec.Struct:
    """The same value in a type of another version, with fields less, more, or of another type."""
    kept = {name: getattr(value, name) for name in value.__struct_fields__ if name not in without} | more
    return msgspec.defstruct(type(value).__name__, [(name, type(item)) for name, item in kept.items()])(**kept)


def as_planned_by(folder: RunFolder, version: Callable[[Plan], msgspec.Struct]) -> None:
    """Stores the run's plan as another version would have; what is bound to it follows."""
    plan = version(folder.read_plan())
    verdict = read_json(folder.path / VERDICT_FILE, VerdictDocument)
    write_json(folder.plan_path, plan)
    for path in (folder.path / "outputs").glob("provision.v*.json"):
        provisioned = read_json(path, ProvisionedRun)
        write_json(path, msgspec.structs.replace(provisioned, plan_hash=plan_hash(plan)))
    write_json(folder.path / VERDICT_FILE, signed(msgspec.structs.replace(verdict, plan_hash=plan_hash(plan))))
    (folder.path / SEAL_FILE).unlink()
    seal_new(folder.path)


def signed(document: msgspec.Struct) -> msgspec.Struct:
    """With the digest that its own version writes."""
    blank = msgspec.structs.replace(document, digest="")
    return msgspec.structs.replace(blank, digest=plan_hash(blank))


def older_plan(plan: Plan) -> msgspec.Struct:
    """Before there was a policy, targets had a cap, and profiles a limit of requests; all at today's values."""
    return other_version(
        plan,
        without=("headrooms", "advisory", "gates", "adjustments", "policy", "sizing"),
        target=other_version(plan.target, without=("max_users",)),
        profile=other_version(
            plan.profile,
            without=("max_requests_per_second", "fit_to_machine"),
            fairness=other_version(plan.profile.fairness, without=("classic_window_s",)),
        ),
        thresholds=other_version(plan.thresholds, without=("generator_rss_growth_bytes_max",)),
        tenants=tuple(other_version(tenant, without=("is_noisy", "limits")) for tenant in plan.tenants),
        format_version=2,
    )


def unsized_plan(plan: Plan) -> msgspec.Struct:
    """Before a level could be fitted to the machine."""
    return other_version(plan, without=("sizing",), profile=other_version(plan.profile, without=("fit_to_machine",)))


def newer_plan(plan: Plan) -> msgspec.Struct:
    return other_version(plan, profile=other_version(plan.profile, ramp_s=3.0))


def _ask(reports: Path) -> GateAnswer:
    return answer(reports, GateQuestion(level="nightly", release="v1.2.3"), NOW, POLICY)


def test_the_gate_takes_a_verdict_under_an_older_plan(tmp_path: Path) -> None:
    as_planned_by(store_run(tmp_path), older_plan)
    assert _ask(tmp_path).verdict is GateVerdict.PASS


def test_the_gate_takes_a_verdict_under_a_plan_from_before_the_fitting(tmp_path: Path) -> None:
    as_planned_by(store_run(tmp_path), unsized_plan)
    assert _ask(tmp_path).verdict is GateVerdict.PASS


def test_an_older_plan_that_was_changed_keeps_the_gate_shut(tmp_path: Path) -> None:
    folder = store_run(tmp_path)
    as_planned_by(folder, older_plan)
    folder.plan_path.write_text(folder.plan_path.read_text().replace('"seed": 1,', '"seed": 2,'))
    assert "was not made from the plan beside it" in _ask(tmp_path).why


def test_a_newer_plan_keeps_the_gate_shut_with_the_fields_name(tmp_path: Path) -> None:
    folder = store_run(tmp_path)
    as_planned_by(folder, newer_plan)
    shut = _ask(tmp_path)
    assert shut.verdict is GateVerdict.INCONCLUSIVE
    assert "unknown field `ramp_s` - at `$.profile`" in shut.why
    assert "another version of this package wrote it" in shut.why
    assert shut.next_step.startswith("Ask with the version of this package that ran it")


def test_a_plan_of_a_newer_format_keeps_the_gate_shut(tmp_path: Path) -> None:
    as_planned_by(store_run(tmp_path), lambda plan: msgspec.structs.replace(plan, format_version=PLAN_FORMAT + 1))
    shut = _ask(tmp_path)
    assert shut.verdict is GateVerdict.INCONCLUSIVE
    assert f"its format is {PLAN_FORMAT + 1}, known here up to {PLAN_FORMAT}; a newer version" in shut.why


def test_a_level_that_has_changed_since_is_told_with_both_values(tmp_path: Path) -> None:
    def slower(plan: Plan) -> Plan:
        return msgspec.structs.replace(
            plan,
            profile=msgspec.structs.replace(plan.profile, users=800),
            thresholds=msgspec.structs.replace(plan.thresholds, gateway_latency_ms_p95_max=400.0),
        )

    as_planned_by(store_run(tmp_path), slower)
    shut = _ask(tmp_path)
    assert shut.verdict is GateVerdict.INCONCLUSIVE
    assert f"was planned by policy {OF_RUN}, and level nightly of policy {OF_RUN} differs" in shut.why
    assert "load users is 800, not 1000" in shut.why
    assert "limit gateway_latency_ms_p95_max is 400.0, not 250.0" in shut.why


def test_a_level_of_other_numbers_altogether_is_told_in_a_few(tmp_path: Path) -> None:
    """A pull request's run under the name of a nightly one."""
    store_run(tmp_path, profile=msgspec.structs.replace(profile_of("pull_request"), name="nightly"))
    why = _ask(tmp_path).why
    different = len(different_fields(profile_of("pull_request"), profile_of("nightly"))) - 1
    assert "load users is 100, not 1000" in why
    assert why.count("load ") == 3
    assert why.endswith(f" and {different - 3} more.")


def _older_verdict(document: VerdictDocument) -> msgspec.Struct:
    criteria = tuple(other_version(result, without=("cause", "interval")) for result in document.criteria)
    return other_version(document, criteria=criteria)


def _newer_verdict(document: VerdictDocument) -> msgspec.Struct:
    return other_version(document, confidence_share=0.9)


def _verdict_without_a_digest(document: VerdictDocument) -> msgspec.Struct:
    return other_version(document, without=("digest",))


def _next_format(document: VerdictDocument) -> msgspec.Struct:
    return msgspec.structs.replace(document, format_version=document.format_version + 1)


def _format_1(document: VerdictDocument) -> msgspec.Struct:
    """With limits that are plain numbers, and nothing about what the run gates."""
    criteria = tuple(
        other_version(
            result,
            findings=tuple(other_version(finding, limit=_value(finding)) for finding in result.findings),
            limit=_value(result),
        )
        for result in document.criteria
    )
    return other_version(document, without=("gates_promotion",), criteria=criteria, format_version=1)


def _value(figure: CriterionResult | Finding) -> float | None:
    return None if figure.limit is None else figure.limit.value


@pytest.mark.parametrize(
    ("version", "why"),
    [
        (
            _older_verdict,
            "was written by version {harness} of this package: it lacks criteria.interval, criteria.cause.",
        ),
        (_format_1, "was written by version {harness} of this package: it lacks gates_promotion."),
        (
            _newer_verdict,
            "is of version {harness} of this package, or was edited: it has confidence_share, not known here.",
        ),
        (
            _next_format,
            "is of version {harness} of this package, or was edited: its format is 3, this version writes 2.",
        ),
        (_verdict_without_a_digest, "carries no digest: an older version of this package wrote it, or it was edited."),
    ],
)
def test_a_verdict_of_another_version_is_not_called_damaged(
    tmp_path: Path, version: Callable[[VerdictDocument], msgspec.Struct], why: str
) -> None:
    path = store_run(tmp_path).path / VERDICT_FILE
    document = version(read_json(path, VerdictDocument))
    write_json(path, signed(document) if "digest" in document.__struct_fields__ else document)
    shut = _ask(tmp_path)
    assert shut.verdict is GateVerdict.INCONCLUSIVE
    assert shut.why == f"{path} {why.format(harness=harness_version())}"
    assert shut.next_step == f"If the evidence is in order, judge it again: soak report {RUN_ID}"


def test_an_older_verdict_that_was_edited_is_called_so(tmp_path: Path) -> None:
    path = store_run(tmp_path).path / VERDICT_FILE
    write_json(path, signed(_older_verdict(read_json(path, VerdictDocument))))
    path.write_text(path.read_text().replace("tenant E: PASS", "tenant F: PASS", 1))
    assert "was changed after it was written: its digest does not match" in _ask(tmp_path).why


def test_an_edited_verdict_of_format_1_is_called_so(tmp_path: Path) -> None:
    path = store_run(tmp_path).path / VERDICT_FILE
    write_json(path, signed(_format_1(read_json(path, VerdictDocument))))
    path.write_text(path.read_text().replace('"limit": 4.0', '"limit": 5.0', 1))
    assert "was changed after it was written: its digest does not match" in _ask(tmp_path).why


def test_a_run_that_format_1_reported_is_shown_judged_and_compared(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run.path / VERDICT_FILE
    now = read_json(path, VerdictDocument)
    write_json(path, signed(_format_1(now)))
    document, shape = verdict_as_stored(path.read_bytes())
    assert (document.format_version, document.digest) == (1, shape.digest)
    assert [result.why for result in document.criteria] == [result.why for result in now.criteria]
    assert all(figure.limit is None for result in document.criteria for figure in (result, *result.findings))
    assert show_history(run.reports) == 0
    assert judge_stored(run.path, {}) == 0
    assert print_figures(run.path) == 0
    assert compare_stored(run.path, run.path, 0.05) == 0
    shown = capsys.readouterr().out
    assert f"{run.run_id}" in shown
    assert "not shown" not in shown
    assert report_stored(run.path) == 0
    assert read_json(path, VerdictDocument).format_version == now.format_version == 2


def test_a_run_under_an_older_plan_is_judged_reported_and_compared(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = run.plan_hash()
    as_planned_by(run, older_plan)
    frozen_hash = run.plan_hash()
    assert frozen_hash != before
    assert report_stored(run.path) == 0
    document, shape = verdict_as_stored((run.path / VERDICT_FILE).read_bytes())
    assert (document.plan_hash, document.digest) == (frozen_hash, shape.digest)
    assert compare_stored(run.path, run.path, 0.05) == 0
    assert show_history(run.reports) == 0
    kind, _, line, planned = capsys.readouterr().out.splitlines()[-5:-1]
    assert (kind, line.split()[:2]) == ("smoke on synthetic", [run.run_id, "PASS"])
    assert planned == "  planned by numbers of an older version"


def test_a_run_under_a_newer_plan_is_refused_with_the_fields_name(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    as_planned_by(run, newer_plan)
    commands: tuple[Callable[[], Any], ...] = (
        lambda: judge_stored(run.path, {}),
        lambda: report_stored(run.path),
        lambda: compare_stored(run.path, run.path, 0.05),
    )
    for command in commands:
        with pytest.raises(
            EvidenceUnreadable, match=r"plan\.json: .*unknown field `ramp_s`.* another version of this package"
        ):
            command()
    assert show_history(run.reports) == 0
    assert "smoke (plan not readable) on synthetic" in capsys.readouterr().out


def test_history_names_the_run_whose_verdict_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = store_run(tmp_path).path / VERDICT_FILE
    write_json(path, other_version(read_json(path, VerdictDocument), without=("next_step",)))
    assert show_history(tmp_path) == 0
    shown = capsys.readouterr().out
    assert f"not shown: {RUN_ID}: verdict.json: Object missing required field `next_step`" in shown


def test_runs_of_a_level_that_changed_between_them_are_not_compared(run: RunFolder, reported: Path) -> None:
    def shorter(plan: Plan) -> Plan:
        profile: Profile = msgspec.structs.replace(plan.profile, pace_s=0.9)
        return msgspec.structs.replace(plan, profile=profile)

    now = next(run_folders(reported))
    as_planned_by(run, shorter)
    with pytest.raises(BadInput, match=r"had different loads: pace_s 0\.9 and 1\.0; compare runs of one profile"):
        compare_stored(run.path, now.path, 0.05)


def test_what_other_versions_lack_is_what_this_one_has() -> None:
    """The examples above would prove nothing with fields that do not exist."""
    assert {"cause", "interval"} <= set(CriterionResult.__struct_fields__)
    assert "max_requests_per_second" in Profile.__struct_fields__
