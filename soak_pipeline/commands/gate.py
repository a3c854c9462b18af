"""The gate: may this release be promoted past this level? Answers from stored verdicts alone, in well under a second.

Missing, damaged, foreign or stale evidence never opens it, and neither does a waiver that is not in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from soak_pipeline.commands.waivers_file import read_waivers
from soak_pipeline.config.policy_file import PolicyFile
from soak_pipeline.criteria.names import CRITERION_NAMES
from soak_pipeline.evidence.run_folder import RunFolder, read_json_as_stored, run_folders
from soak_pipeline.evidence.seal import changed_since_seal, damage_of
from soak_pipeline.model import errors
from soak_pipeline.model.plan import Plan, release_name, started_at
from soak_pipeline.model.policy import LevelPolicy, Role
from soak_pipeline.model.stored import StoredShape, differences_of, different_fields
from soak_pipeline.model.verdict import CriterionResult, Verdict, overall, worst
from soak_pipeline.model.waivers import Waived, Waiver, excuse
from soak_pipeline.report.verdict_document import (
    FORMAT_VERSION,
    VERDICT_FILE,
    VerdictDocument,
    stored_verdict,
    verdict_as_stored,
)

CLOCK_TOLERANCE = timedelta(minutes=5)
_SHORTEST_COMMIT = 7
_NAMES_SHOWN = 3


class GateVerdict(StrEnum):
    """PASS and PASS_WITH_WAIVER open the gate."""

    PASS = "PASS"
    PASS_WITH_WAIVER = "PASS_WITH_WAIVER"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"

    @property
    def exit_code(self) -> int:
        """Exit code of a command that ends with this answer."""
        return errors.EXIT_PASS if self is GateVerdict.PASS_WITH_WAIVER else Verdict(self.value).exit_code


class GateQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate is asked.

    Attributes:
        level: a level of the policy that gates; a run answers for its own level and no other.
        release: the release exactly as the run was given it; `refs/tags/` before it makes no difference.
        commit: commit that the run must be of; an abbreviation of 7 digits or more counts; None for any.
        target: name of the target that the run must be of; None for any, as long as there is only one.
        max_age_s: a run that began earlier answers no more (seconds).
    """

    level: str
    release: str
    commit: str | None = None
    target: str | None = None
    max_age_s: float = 24 * 3600.0


class GateAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's answer.

    Attributes:
        verdict: PASS and PASS_WITH_WAIVER open the gate.
        level, release: as asked.
        why, next_step: one sentence each.
        run_id, commit, target, plan_hash, run_folder: of the run that decided; empty when there is none.
        unmet: criteria that keep the gate shut.
        waived: criteria that do not hold and are excused.
        notes: what the reader should know besides, such as waivers that have expired.
        policy: by which the gate answered: name and beginning of the digest.
    """

    verdict: GateVerdict
    level: str
    release: str
    why: str
    next_step: str
    run_id: str = ""
    commit: str = ""
    target: str = ""
    plan_hash: str = ""
    run_folder: str = ""
    unmet: tuple[CriterionResult, ...] = ()
    waived: tuple[Waived, ...] = ()
    notes: tuple[str, ...] = ()
    policy: str = ""


class _Shut(Exception):
    """The gate stays shut for a reason other than a criterion."""

    def __init__(self, why: str, next_step: str) -> None:
        super().__init__(why)
        self.why = why
        self.next_step = next_step


def answer(
    reports: Path, question: GateQuestion, now: datetime, policy: PolicyFile, waivers_path: Path | None = None
) -> GateAnswer:
    """The newest run of a release at a level decides, if it was a run of that level as the policy has it.

    Args:
        reports: the reports folder.
        question: what is asked.
        now: present time, with its zone.
        policy: by which the gate answers.
        waivers_path: file of waivers; None for none.

    Raises:
        EvidenceUnreadable: the reports folder is a symbolic link.
    """
    folder = None
    try:
        level = _level_of(policy, question.level)
        folder, plan = _deciding_run(reports, question, now)
        document = _trusted_document(folder, plan, question, level, policy)
    except _Shut as shut:
        return GateAnswer(
            verdict=GateVerdict.INCONCLUSIVE,
            level=question.level,
            release=question.release,
            why=shut.why,
            next_step=shut.next_step,
            policy=str(policy.of_run),
            run_id=folder.run_id if folder else "",
            run_folder=str(folder.path) if folder else "",
        )
    decided = _with_waivers(document, folder, question, now, waivers_path)
    advisory = [
        result
        for result in document.criteria
        if result.advisory and result.asked and result.verdict is not Verdict.PASS
    ]
    notes = tuple(f"{result.name} is {result.verdict} and only advisory: {result.why}" for result in advisory)
    return msgspec.structs.replace(decided, policy=str(policy.of_run), notes=(*decided.notes, *notes))


def _level_of(policy: PolicyFile, name: str) -> LevelPolicy:
    """The level that is asked for, as the policy has it.

    Raises:
        _Shut: the policy has no such level, or it gates nothing.
    """
    if name not in policy.policy.gating_levels:
        known = ", ".join(policy.policy.gating_levels) or "none"
        is_level = name in policy.policy.levels
        raise _Shut(
            f"{name!r} {'gates nothing' if is_level else 'is no level'} in policy {policy.of_run}; levels that gate: "
            f"{known}.",
            "Ask for the level that the promotion needs, or name the policy that has it with --policy.",
        )
    return policy.policy.level(name)


def _with_waivers(
    document: VerdictDocument, folder: RunFolder, question: GateQuestion, now: datetime, waivers_path: Path | None
) -> GateAnswer:
    """The run's own verdict, or what is left of it when some criteria are excused."""
    refused = None
    waivers: tuple[Waiver, ...] = ()
    if waivers_path is not None:
        try:
            waivers = read_waivers(waivers_path)
        except errors.BadInput as error:
            refused = error
    excused = excuse(
        document.criteria, waivers, release=document.release, target=document.target, today=now.astimezone(UTC).date()
    )
    verdict = GateVerdict(document.verdict.value)
    why, next_step = document.why, document.next_step
    if excused.waived and not excused.unmet:
        verdict = GateVerdict.PASS_WITH_WAIVER
        names = ", ".join(waived.criterion for waived in excused.waived)
        why = f"Every criterion that was asked holds or is waived; waived: {names}."
        first = min(excused.waived, key=lambda waived: waived.expiry)
        next_step = f"The promotion is allowed; {first.owner} has until {first.expiry} to make {first.criterion} hold."
    elif excused.waived:
        verdict = GateVerdict(worst(result.verdict for result in excused.unmet).value)
        first_unmet = next(result for result in excused.unmet if result.verdict == verdict.value)
        why = f"{first_unmet.name}: {first_unmet.why}"
        next_step = first_unmet.fix or f"Look at {first_unmet.name} in the report."
    if refused is not None:
        verdict = GateVerdict(worst([Verdict(verdict.value), Verdict.INCONCLUSIVE]).value)
        why = f"The waivers are refused: {refused} The run itself: {document.verdict}: {why}"
        next_step = f"Correct {waivers_path}, or ask without it."
    return GateAnswer(
        verdict=verdict,
        level=question.level,
        release=question.release,
        why=why,
        next_step=next_step,
        run_id=document.run_id,
        commit=document.commit,
        target=document.target,
        plan_hash=document.plan_hash,
        run_folder=str(folder.path),
        unmet=excused.unmet,
        waived=excused.waived,
        notes=excused.notes,
    )


def _deciding_run(reports: Path, question: GateQuestion, now: datetime) -> tuple[RunFolder, Plan]:
    """The newest run of that level, release, commit and target, which must not be too old.

    Raises:
        _Shut: there is none, or nobody can say which one.
    """
    empty = [name for name in ("release", "commit", "target") if getattr(question, name) == ""]
    if empty:
        raise _Shut(
            f"The {' and the '.join(empty)} that is asked for is empty.",
            "Look at the variable that it comes from; an option that is left out means any.",
        )
    again = f"Start one: soak run --profile {question.level} --release {question.release}"
    same_release = list(_runs_of(reports, question))
    matching = [
        (folder, plan)
        for folder, plan in same_release
        if _same_commit(question.commit, plan.commit) and question.target in (None, plan.target.name)
    ]
    if not matching:
        others = sorted({f"commit {plan.commit or 'unknown'} on {plan.target.name}" for _, plan in same_release})
        wanted = "".join(
            f" {name} {value}" for name, value in (("commit", question.commit), ("target", question.target)) if value
        )
        found = f"; there are runs of {', '.join(others)}" if others else ""
        raise _Shut(f"No {question.level} run of release {question.release!r}{wanted} under {reports}{found}.", again)
    folder, plan = matching[0]
    age = now - started_at(folder.run_id)
    max_age = timedelta(seconds=question.max_age_s)
    if age > max_age:
        hours, limit = age / timedelta(hours=1), max_age / timedelta(hours=1)
        raise _Shut(f"Run {folder.run_id} is {hours:.1f} h old, limit {limit:g} h.", again)
    if age < -CLOCK_TOLERANCE:
        raise _Shut(
            f"Run {folder.run_id} begins {-age / timedelta(minutes=1):.0f} min from now.",
            "Set the clock of this machine or of the one that ran the soak.",
        )
    targets = sorted({plan.target.name for folder, plan in matching if now - started_at(folder.run_id) <= max_age})
    if len(targets) > 1:
        raise _Shut(
            f"Release {question.release!r} has {question.level} runs on several targets: {', '.join(targets)}.",
            "Say with --target which of them decides.",
        )
    return folder, plan


def _runs_of(reports: Path, question: GateQuestion) -> Iterator[tuple[RunFolder, Plan]]:
    """Runs of that level and release, newest first.

    Raises:
        _Shut: a run's plan is damaged, and its verdict does not show that it is of another release or level.
    """
    for folder in reversed(list(run_folders(reports))):
        try:
            plan = folder.read_plan()
            if plan.profile.name == question.level and release_name(plan.release) == release_name(question.release):
                yield folder, plan
                continue
            if changed_since_seal(folder.path, folder.plan_path.name):
                raise errors.EvidenceUnreadable(f"{folder.plan_path} changed since it was sealed")
        except errors.EvidenceUnreadable as error:
            if _may_be_of(folder, question):
                raise _Shut(
                    f"A run that may be of release {question.release!r} cannot be read: {error}.",
                    f"Ask with the version of this package that ran it, repair {folder.path}, or move it away if it is "
                    "of no use.",
                ) from error


def _may_be_of(folder: RunFolder, question: GateQuestion) -> bool:
    try:
        document = read_json_as_stored(folder.path / VERDICT_FILE, stored_verdict)
    except errors.EvidenceUnreadable:
        return True
    return document.profile == question.level and release_name(document.release) == release_name(question.release)


def _trusted_document(
    folder: RunFolder, plan: Plan, question: GateQuestion, level: LevelPolicy, policy: PolicyFile
) -> VerdictDocument:
    """The run's verdict, if it is whole, about every criterion, and made from the plan beside it.

    Raises:
        _Shut: otherwise.
    """
    path = folder.path / VERDICT_FILE
    write_again = f"If the evidence is in order, judge it again: soak report {folder.run_id}"
    if not path.exists():
        raise _Shut(
            f"Run {folder.run_id} has no verdict: it is still running, was cancelled, or broke.",
            "Wait for it to end, or run it again.",
        )
    try:
        document, shape = read_json_as_stored(path, verdict_as_stored)
        frozen_hash = folder.plan_hash()
    except errors.EvidenceUnreadable as error:
        raise _Shut(f"Run {folder.run_id} has no readable verdict: {error}.", write_again) from error
    expected = (plan.run_id, plan.release, plan.commit, plan.profile.name, plan.target.name)
    if plan.run_id != folder.run_id or expected != (
        document.run_id, document.release, document.commit, document.profile, document.target
    ):  # fmt: skip
        raise _Shut(f"{path} is of another run, release, commit, level or target than its folder.", write_again)
    if problem := _problem_of(document, shape, plan):
        raise _Shut(f"{path} {problem}.", write_again)
    if document.plan_hash != frozen_hash:
        raise _Shut(
            f"{path} was not made from the plan beside it: it names plan {document.plan_hash[:12]}, the plan's hash is "
            f"{frozen_hash[:12]}.",
            write_again,
        )
    if changed := _changes_of_level(plan, document, level):
        by = f"policy {plan.policy}" if plan.policy else "the numbers of an older version"
        raise _Shut(
            f"Run {folder.run_id} was planned by {by}, and level {question.level} of policy {policy.of_run} differs: "
            f"{_some(changed)}.",
            f"Run the level as it is: soak run --profile {question.level} --release {question.release}; or ask with "
            "the run's own policy: --policy FILE.",
        )
    if damage := damage_of(folder.path, must_be_sealed=plan.is_sealed):
        raise _Shut(
            f"The evidence of run {folder.run_id} is not what the run left: {damage[0]}.",
            f"Restore it, or run it again: soak run --profile {question.level} --release {question.release}",
        )
    return document


def _problem_of(document: VerdictDocument, shape: StoredShape, plan: Plan) -> str:
    """Why a verdict cannot be trusted on its own, as the end of a sentence; empty when it can.

    What another version wrote is told from what was edited, and neither opens the gate: nobody here knows what that
    version asked.
    """
    if shape.unknown:
        return f"is of {_version(document)}, or was edited: it has {_some(shape.unknown)}, not known here"
    if document.format_version > FORMAT_VERSION:
        return (
            f"is of {_version(document)}, or was edited: its format is {document.format_version}, this "
            f"version writes {FORMAT_VERSION}"
        )
    if not document.digest:
        return "carries no digest: an older version of this package wrote it, or it was edited"
    if document.digest != shape.digest:
        return "was changed after it was written: its digest does not match"
    names = tuple(result.name for result in document.criteria)
    if missing := sorted(set(CRITERION_NAMES) - set(names)):
        return f"says nothing about {', '.join(missing)}"
    if names != CRITERION_NAMES:
        return "names other criteria than those known here"
    if shape.lacks:
        return f"was written by {_version(document)}: it lacks {_some(shape.lacks)}"
    if document.format_version < FORMAT_VERSION:
        return (
            f"was written by {_version(document)}: its format is {document.format_version}, this version "
            f"writes {FORMAT_VERSION}"
        )
    if advisory := {result.name for result in document.criteria if result.advisory} ^ set(plan.advisory):
        return f"contradicts the plan beside it: whether {', '.join(sorted(advisory))} may block differs"
    if document.verdict is not overall(document.criteria):
        return "contradicts itself: its verdict does not follow from its criteria"
    return ""


def _version(document: VerdictDocument) -> str:
    return f"version {document.harness} of this package" if document.harness else "another version of this package"


def _changes_of_level(plan: Plan, document: VerdictDocument, level: LevelPolicy) -> list[str]:
    """In what a run was not the level, and by which other limits it was judged; a few words each."""
    differences = {
        **{f"load {name}": pair for name, pair in different_fields(plan.profile, level.profile).items()},
        **{f"limit {name}": pair for name, pair in different_fields(plan.thresholds, level.thresholds).items()},
        **{f"tenant {name}": pair for name, pair in differences_of(_tenants(plan), _tenants_of(level)).items()},
        **{f"headroom {name}": pair for name, pair in differences_of(plan.headrooms, level.headrooms).items()},
        **{f"criterion {name}": pair for name, pair in _advisory(plan.advisory, level.advisory).items()},
    }
    changed = [f"{name} is {run}, not {nominal}" for name, (run, nominal) in differences.items()]
    return changed + [
        f"it was judged with {name} {value:g}" for name, value in sorted(document.thresholds_changed.items())
    ]


def _tenants(plan: Plan) -> dict[str, Any]:
    """What a plan says of each tenant, as far as the policy decides it."""
    return {
        tenant.name: {"share": tenant.share, "noisy": tenant.is_noisy, "limits": tenant.limits}
        for tenant in plan.tenants
    }


def _tenants_of(level: LevelPolicy) -> dict[str, Any]:
    return {
        name: {"share": tenant.share, "noisy": tenant.role is Role.NOISY, "limits": tenant.limits}
        for name, tenant in level.tenants.items()
    }


def _advisory(run: Sequence[str], level: Sequence[str]) -> dict[str, tuple[object, object]]:
    return {
        name: ("advisory", "blocking") if name in run else ("blocking", "advisory")
        for name in sorted(set(run) ^ set(level))
    }


def _some(words: Sequence[str]) -> str:
    """The first few, and how many there are besides."""
    more = len(words) - _NAMES_SHOWN
    return f"{', '.join(words[:_NAMES_SHOWN])}{f' and {more} more' if more > 0 else ''}"


def _same_commit(wanted: str | None, commit: str) -> bool:
    """Whether two commits are the same, one of them perhaps abbreviated."""
    if wanted is None:
        return True
    shorter, longer = sorted((wanted.lower(), commit.lower()), key=len)
    return longer == shorter or (len(shorter) >= _SHORTEST_COMMIT and longer.startswith(shorter))
