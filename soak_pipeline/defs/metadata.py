"""What an operator reads at a glance on an asset or a check: short tables and figures, never a secret."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg

from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.stage_outputs import (
    FanoutEvidence,
    FinalVerdict,
    PhaseEvidence,
    PlatformEvidence,
    ProvisionedRun,
    TeardownReceipt,
)
from soak_pipeline.model.verdict import CriterionResult, Finding, Judgement
from soak_pipeline.report.quantities import number, quantity
from soak_pipeline.report.table import verdict_word
from soak_pipeline.report.text import markdown, one_line

Metadata = dict[str, dg.MetadataValue]

_LINKED_FILES = ("report.html", "verdict.json", "summary.md", "junit.xml")


def provision_metadata(provisioned: ProvisionedRun, plan: Plan) -> Metadata:
    """What was frozen, and what cannot be measured."""
    missing = [capability for capability in provisioned.capabilities if not capability.available]
    return {
        "profile": _text(plan.profile.name),
        "users": dg.MetadataValue.int(plan.profile.users),
        "soak_s": dg.MetadataValue.float(plan.profile.soak_s),
        "target": _text(plan.target.name),
        "release": _text(plan.release or "not given"),
        "seed": dg.MetadataValue.int(plan.seed),
        "plan_hash": _text(provisioned.plan_hash),
        "tenants": _table(
            ("tenant", "share", "users", "tenant id"),
            [(t.name, f"{t.share:.0%}", t.soak_users, t.tenant_id) for t in plan.tenants],
        ),
        "not_measurable": _table(("what", "why"), [(item.name, item.reason) for item in missing])
        if missing
        else _text("nothing: everything can be measured"),
    }


def phase_metadata(evidence: PhaseEvidence) -> Metadata:
    """How the load of a phase went."""
    return {
        "status": _text(evidence.status),
        **({"reason": _text(evidence.reason)} if evidence.reason else {}),
        "requests": dg.MetadataValue.int(sum(session.records for session in evidence.sessions)),
        "sessions": _table(
            ("session", "status", "requests", "workers lost"),
            [
                (session.name, session.status, f"{session.records:,}", sum(worker.lost for worker in session.workers))
                for session in evidence.sessions
            ],
        ),
    }


def fanout_metadata(evidence: FanoutEvidence) -> Metadata:
    """Calls of the fan-out, and what revoked agents were still allowed."""
    return {
        "status": _text(evidence.status),
        **({"reason": _text(evidence.reason)} if evidence.reason else {}),
        "agents": dg.MetadataValue.int(evidence.agents),
        "calls": dg.MetadataValue.int(evidence.calls),
        "unanswered": dg.MetadataValue.int(evidence.unanswered),
        "allowed_while_revoked": dg.MetadataValue.int(sum(r.allowed_while_revoked for r in evidence.revocations)),
        "denied_after_regrant": dg.MetadataValue.int(sum(r.denied_after_regrant for r in evidence.revocations)),
    }


def teardown_metadata(receipt: TeardownReceipt) -> Metadata:
    """Which tenants are blocked, and whether a probe got through."""
    return {
        "lever": _text(receipt.lever),
        "blocked": dg.MetadataValue.int(sum(tenant.blocked for tenant in receipt.tenants)),
        "tenants": _table(
            ("tenant", "blocked", "probe calls", "served", "why not"),
            [(t.name, "yes" if t.blocked else "NO", t.probe_calls, t.probe_allowed, t.reason) for t in receipt.tenants],
        ),
    }


def platform_metadata(evidence: PlatformEvidence) -> Metadata:
    """How the pipelines drained, and the integrity counts per tenant."""
    drained = {True: "yes", False: "NO", None: "not observable"}[evidence.drain.drained]
    gaps = {item.tenant: item for item in evidence.reconciliation}
    return {
        "drained": _text(drained if not evidence.drain.reason else f"{drained}: {evidence.drain.reason}"),
        "drain_s": dg.MetadataValue.float(evidence.drain.seconds),
        "dead_letters": dg.MetadataValue.int(sum(evidence.dead_letters.values())),
        "tenants": _table(
            ("tenant", "chain rows", "violations (platform)", "tampered", "gaps", "forks", "not billed", "not audited"),
            [
                (
                    chain.tenant,
                    _count(chain.independent and chain.independent.rows),
                    _count(chain.platform and chain.platform.violations),
                    _count(chain.independent and chain.independent.tampered),
                    _count(chain.independent and chain.independent.gaps),
                    _count(chain.independent and chain.independent.forks),
                    _count(chain.tenant in gaps and gaps[chain.tenant].audit_without_usage),
                    _count(chain.tenant in gaps and gaps[chain.tenant].usage_without_audit),
                )
                for chain in evidence.chains
            ],
        ),
    }


def judgement_metadata(judgement: Judgement) -> Metadata:
    """The verdict table."""
    return {
        "verdict": _text(judgement.verdict),
        "criteria": verdict_table(judgement.criteria),
        **_changed_thresholds(judgement),
    }


def report_metadata(final: FinalVerdict, judgement: Judgement, folder: RunFolder) -> Metadata:
    """The verdict in one sentence, the table, and where the files are."""
    return {
        "verdict": _text(final.verdict),
        "why": _text(final.why),
        "release": _text(final.release or "not given"),
        "criteria": verdict_table(judgement.criteria),
        "run_folder": dg.MetadataValue.path(folder.path),
        "files": _table(("file",), [(name,) for name in final.files]),
        **{name: dg.MetadataValue.path(folder.path / name) for name in _LINKED_FILES if name in final.files},
    }


def criterion_metadata(result: CriterionResult) -> Metadata:
    """One criterion: the figure, its limit, why, and the findings per subject."""
    return {
        "verdict": _text(verdict_word(result)),
        "why": _text(result.why),
        "observed": _text(quantity(result.observed, result.unit)),
        "limit": _text(quantity(result.limit, result.unit)),
        **({"likely_cause": _text(result.likely_cause)} if result.likely_cause else {}),
        **({"fix": _text(result.fix)} if result.fix else {}),
        **({"findings": _findings_table(result.findings)} if result.findings else {}),
        **({"evidence": _text(", ".join(result.evidence))} if result.evidence else {}),
    }


def verdict_table(criteria: Iterable[CriterionResult]) -> dg.MetadataValue:
    """One row per criterion, as it stands in `verdict.json`."""
    return _table(
        ("criterion", "verdict", "observed", "limit", "why"),
        [
            (
                result.name,
                verdict_word(result),
                quantity(result.observed, result.unit),
                quantity(result.limit, result.unit),
                result.why,
            )
            for result in criteria
        ],
    )


def _findings_table(findings: Sequence[Finding]) -> dg.MetadataValue:
    names = sorted({name for finding in findings for name in finding.figures})
    return _table(
        ("subject", "verdict", "observed", "limit", *names),
        [
            (
                finding.subject,
                finding.verdict,
                quantity(finding.observed, finding.unit),
                quantity(finding.limit, finding.unit),
                *(_figure(finding.figures.get(name)) for name in names),
            )
            for finding in findings
        ],
    )


def _changed_thresholds(judgement: Judgement) -> Metadata:
    changed = judgement.thresholds_changed
    return {"thresholds_changed": _table(("threshold", "limit"), sorted(changed.items()))} if changed else {}


def _text(text: str) -> dg.MetadataValue:
    return dg.MetadataValue.text(one_line(text))


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> dg.MetadataValue:
    lines = [[markdown(str(value)) for value in line] for line in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return dg.MetadataValue.md("\n".join(f"| {' | '.join(line)} |" for line in lines))


def _figure(value: float | int | str | None) -> str:
    return number(value) if isinstance(value, (int, float)) else str(value or "-")


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else "not read"
