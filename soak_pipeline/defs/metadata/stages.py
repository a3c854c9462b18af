"""Metadata of the stages that prepare, send load, tear down and collect."""

from __future__ import annotations

import dagster as dg

from soak_pipeline.criteria.power.words import summary
from soak_pipeline.defs.metadata.values import Metadata, optional_text, table, text
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.preview import Outlook
from soak_pipeline.model.stage_outputs import (
    FanoutEvidence,
    IndependentChain,
    PhaseEvidence,
    PlatformChain,
    PlatformEvidence,
    ProvisionedRun,
    TeardownReceipt,
)
from soak_pipeline.report.quantities import quantity


def provision_metadata(provisioned: ProvisionedRun, plan: Plan) -> Metadata:
    """What was frozen, and what cannot be measured."""
    missing = [(item.name, item.reason) for item in provisioned.capabilities if not item.available]
    return {
        "profile": text(plan.profile.name),
        "users": dg.MetadataValue.int(plan.profile.users),
        "soak_s": dg.MetadataValue.float(plan.profile.soak_s),
        **({"size": text(plan.sizing.in_words(plan.profile))} if plan.sizing is not None else {}),
        "target": text(plan.target.name),
        "release": text(plan.release or "not given"),
        "seed": dg.MetadataValue.int(plan.seed),
        "plan_hash": text(provisioned.plan_hash),
        "tenants": table(
            ("tenant", "share", "users", "tenant id"),
            [
                (tenant.name, quantity(tenant.share, "share"), tenant.soak_users, tenant.tenant_id)
                for tenant in plan.tenants
            ],
        ),
        "not_measurable": table(("what", "why"), missing) if missing else text("nothing: everything can be measured"),
        **_preview(provisioned),
    }


def _preview(provisioned: ProvisionedRun) -> Metadata:
    """What this size can decide, and what would make the rest decidable; nothing for runs from before the preview."""
    if not provisioned.preview:
        return {}
    open_ones = [item for item in provisioned.preview if item.outlook is not Outlook.DECIDABLE]
    rows = [(item.criterion, item.outlook.value, f"{item.subject}: {item.why}", item.remedy) for item in open_ones]
    return {
        "can_decide": text(summary(provisioned.preview)),
        **({"cannot_decide": table(("criterion", "outlook", "why", "what helps"), rows)} if rows else {}),
    }


def phase_metadata(evidence: PhaseEvidence) -> Metadata:
    """How the load of a phase went."""
    return {
        "status": text(evidence.status),
        **optional_text("reason", evidence.reason),
        "requests": dg.MetadataValue.int(sum(session.records for session in evidence.sessions)),
        "sessions": table(
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
        "status": text(evidence.status),
        **optional_text("reason", evidence.reason),
        "agents": dg.MetadataValue.int(evidence.agents),
        "calls": dg.MetadataValue.int(evidence.calls),
        "unanswered": dg.MetadataValue.int(evidence.unanswered),
        "allowed_while_revoked": dg.MetadataValue.int(sum(r.allowed_while_revoked for r in evidence.revocations)),
        "denied_after_regrant": dg.MetadataValue.int(sum(r.denied_after_regrant for r in evidence.revocations)),
    }


def teardown_metadata(receipt: TeardownReceipt) -> Metadata:
    """Which tenants are blocked, and whether a probe got through."""
    return {
        "lever": text(receipt.lever),
        "blocked": dg.MetadataValue.int(sum(tenant.blocked for tenant in receipt.tenants)),
        "tenants": table(
            ("tenant", "blocked", "probe calls", "served", "why not"),
            [(t.name, "yes" if t.blocked else "NO", t.probe_calls, t.probe_allowed, t.reason) for t in receipt.tenants],
        ),
    }


def platform_metadata(evidence: PlatformEvidence) -> Metadata:
    """How the pipelines drained, and the integrity counts per tenant."""
    drained = {True: "yes", False: "NO", None: "not observable"}[evidence.drain.drained]
    return {
        "drained": text(": ".join(filter(None, (drained, evidence.drain.reason)))),
        "drain_s": dg.MetadataValue.float(evidence.drain.seconds),
        "dead_letters": text(
            "not readable" if evidence.dead_letters is None else str(sum(evidence.dead_letters.values()))
        ),
        "chains": table(
            ("tenant", "rows", "violations by the platform", "tampered", "gaps", "forks"),
            [
                (
                    chain.tenant,
                    _count_of(chain.independent, "rows"),
                    _count_of(chain.platform, "violations"),
                    _count_of(chain.independent, "tampered"),
                    _count_of(chain.independent, "gaps"),
                    _count_of(chain.independent, "forks"),
                )
                for chain in evidence.chains
            ],
        ),
        "reconciliation": table(
            ("tenant", "audit without usage", "usage without audit", "billed twice", "outbox pending"),
            [
                (
                    item.tenant,
                    _count(item.audit_without_usage),
                    _count(item.usage_without_audit),
                    _count(item.billed_twice),
                    _count(item.outbox_pending),
                )
                for item in evidence.reconciliation
            ],
        ),
    }


def _count_of(part: PlatformChain | IndependentChain | None, name: str) -> str:
    return _count(None if part is None else getattr(part, name))


def _count(value: int | None) -> str:
    return "not read" if value is None else f"{value:,}"
