"""`verdict.json`: what a gate, a person or a later run reads first.

Owns its keys and the two sentences on top, the reason and the next step. Never judges: it orders and words what the
judgement says. Imports nothing heavy, because the gate reads it within a fraction of a second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from soak_pipeline.evidence.harness import harness_version
from soak_pipeline.model.plan import Plan, plan_hash
from soak_pipeline.model.policy import PolicyOfRun
from soak_pipeline.model.promotion import gates_promotion
from soak_pipeline.model.stored import StoredShape, stored_shape
from soak_pipeline.model.verdict import LOAD_WAS_VALID, CriterionResult, Finding, Judgement, Verdict

VERDICT_FILE = "verdict.json"
FORMAT_VERSION = 2
_UNDIRECTED = 1
"""The last format whose limits had no direction."""

_TROUBLE = (Verdict.FAIL, Verdict.INCONCLUSIVE)


class VerdictDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `verdict.json`; `docs/run_folder.md` explains each key.

    Attributes:
        run_id, release, commit, profile, target, plan_hash, policy: what the verdict is bound to; `policy` is null for
            runs from before there was one.
        harness: version of this package that judged; empty in verdicts from before they said so.
        verdict: overall.
        why: the reason in one sentence.
        next_step: what to do now, in one sentence.
        judged_at: when the judgement was made (UTC, ISO 8601).
        started_at, ended_at: time zero of the run, and when the last evidence was taken; null when unknown.
        thresholds_changed: limits that differ from the plan's own; a gate must not accept such a verdict.
        gates_promotion: whether this verdict can allow or block a promotion; a profile that is no level of the gate,
            changed load and changed limits gate nothing.
        criteria: one result per criterion, in the registry's order.
        digest: SHA-256 (hex) of everything else in the document, see `digest_of`; empty in a file of an older version.
        format_version: of this file.
    """

    run_id: str
    release: str
    commit: str
    profile: str
    target: str
    plan_hash: str
    verdict: Verdict
    why: str
    next_step: str
    judged_at: str
    started_at: str
    ended_at: str | None
    thresholds_changed: dict[str, float]
    policy: PolicyOfRun | None = None
    harness: str = ""
    gates_promotion: bool = False
    criteria: tuple[CriterionResult, ...]
    digest: str = ""
    format_version: int = FORMAT_VERSION


def verdict_document(
    plan: Plan, judgement: Judgement, ended_us: int | None = None, *, frozen_hash: str | None = None
) -> VerdictDocument:
    """Binds a judgement to the plan it was made under.

    Args:
        plan: the run's frozen plan.
        judgement: of that run.
        ended_us: when the last evidence was taken, microseconds since the plan's epoch; None when unknown.
        frozen_hash: the plan's hash when it was frozen, perhaps by another version; None for one of this version.
    """
    gating = gates_promotion(plan, judgement.thresholds_changed)
    document = VerdictDocument(
        run_id=plan.run_id,
        release=plan.release,
        commit=plan.commit,
        profile=plan.profile.name,
        target=plan.target.name,
        plan_hash=plan_hash(plan) if frozen_hash is None else frozen_hash,
        verdict=judgement.verdict,
        why=reason_of(judgement),
        next_step=next_step_of(judgement, gating),
        judged_at=judgement.judged_at,
        started_at=moment(plan, 0),
        ended_at=None if ended_us is None else moment(plan, ended_us),
        thresholds_changed=judgement.thresholds_changed,
        policy=plan.policy,
        harness=harness_version(),
        gates_promotion=gating[0],
        criteria=judgement.criteria,
    )
    return msgspec.structs.replace(document, digest=digest_of(document))


def digest_of(document: VerdictDocument) -> str:
    """SHA-256 (hex) of the canonical JSON of a document without its own digest.

    A gate finds by it that a file was damaged or edited. It is no signature: who may write the file may write the
    digest too.
    """
    blank = msgspec.structs.replace(document, digest="")
    as_read = msgspec.json.decode(msgspec.json.encode(blank), type=VerdictDocument)
    return hashlib.sha256(msgspec.json.encode(as_read, order="deterministic")).hexdigest()


def verdict_as_stored(document: bytes) -> tuple[VerdictDocument, StoredShape]:
    """A stored verdict, with the digest that it should carry, and how another version shaped it.

    Raises:
        msgspec.DecodeError: it is no verdict.
    """
    kind = _VerdictDocument1 if _format_of(document) <= _UNDIRECTED else VerdictDocument
    return stored_verdict(document), stored_shape(document, kind, digest="")


def stored_verdict(document: bytes) -> VerdictDocument:
    """A stored verdict, of this format or an older one; the limits of format 1, which had no direction, are left out.

    Raises:
        msgspec.DecodeError: it is no verdict.
    """
    if _format_of(document) > _UNDIRECTED:
        return msgspec.json.decode(document, type=VerdictDocument)
    older = msgspec.to_builtins(msgspec.json.decode(document, type=_VerdictDocument1))
    for result in older["criteria"]:
        for figure in (result, *result["findings"]):
            figure["limit"] = None
    return msgspec.convert(older, VerdictDocument)


def _format_of(document: bytes) -> int:
    return msgspec.json.decode(document, type=_Format).format_version


class _Format(msgspec.Struct):
    """The version of a stored document; one that does not say is of this version, and is read as such."""

    format_version: int = FORMAT_VERSION


class _Finding1(Finding, frozen=True, kw_only=True):
    """A finding of format 1: its limit is a plain number."""

    limit: float | None = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Nothing to check: the limit has no unit of its own."""


class _CriterionResult1(CriterionResult, frozen=True, kw_only=True):
    """A criterion's result of format 1."""

    limit: float | None = None  # type: ignore[assignment]
    findings: tuple[_Finding1, ...] = ()

    def __post_init__(self) -> None:
        """As in a finding."""


class _VerdictDocument1(VerdictDocument, frozen=True, kw_only=True):
    """`verdict.json` of format 1."""

    criteria: tuple[_CriterionResult1, ...]


def moment(plan: Plan, time_us: int) -> str:
    """A time of the run as UTC, ISO 8601 with milliseconds and `Z`.

    Args:
        time_us: microseconds since the plan's epoch.
    """
    instant = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=plan.epoch_unix_us + time_us)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def deciding_criteria(criteria: Iterable[CriterionResult]) -> list[CriterionResult]:
    """The criteria that keep the run from PASS, the one to look at first in front; advisory ones do not.

    FAIL goes before INCONCLUSIVE. Among the inconclusive, the validity of the load goes first: where the load was not
    as planned, the others are inconclusive because of it.
    """
    trouble = [result for result in criteria if result.counts and result.verdict in _TROUBLE]
    return sorted(trouble, key=lambda result: (_TROUBLE.index(result.verdict), result.name != LOAD_WAS_VALID))


def reason_of(judgement: Judgement) -> str:
    """Why the overall verdict is what it is, in one sentence."""
    asked = [result for result in judgement.criteria if result.asked]
    if not asked:
        return "No criterion was asked, so nothing is known about the platform."
    trouble = deciding_criteria(judgement.criteria)
    if not trouble:
        not_asked = [result.name for result in judgement.criteria if not result.asked]
        rest = f"; not asked in this profile: {', '.join(not_asked)}" if not_asked else ""
        advisory = [result.name for result in asked if result.advisory and result.verdict in _TROUBLE]
        rest += f"; advisory, so without effect on the verdict: {', '.join(advisory)}" if advisory else ""
        return f"All {len([result for result in asked if result.counts])} criteria that were asked hold{rest}."
    first = trouble[0]
    others = len(trouble) - 1
    rest = f" ({others} more {'criterion is' if others == 1 else 'criteria are'} not met)" if others else ""
    return f"{first.name}: {first.why.rstrip('.')}{rest}."


def next_step_of(judgement: Judgement, gating: tuple[bool, str]) -> str:
    """What to do now, in one sentence.

    Args:
        judgement: of the run.
        gating: whether the run gates a promotion, and if not, why, as `gates_promotion` answers.
    """
    gates, why_not = gating
    trouble = deciding_criteria(judgement.criteria)
    if judgement.verdict is Verdict.PASS:
        return f"Nothing to do: {'the promotion is allowed' if gates else why_not}."
    if not trouble:
        return "Run a profile that asks at least one criterion."
    first = trouble[0]
    if first.fix:
        return first.fix
    if first.verdict is Verdict.FAIL:
        where = f"; its evidence is in {first.evidence[0]}" if first.evidence else ""
        return f"Look at {first.name} below{where}."
    until_then = "; until then the promotion is blocked" if gates else ""
    return f"Make it possible to measure {first.name}, then run again{until_then}."
