"""The content of `chain_verify.json` and `reconcile.json`: both sides of each tenant, with the verdict on it."""

from __future__ import annotations

from soak_pipeline.criteria.platform_records.chain_has_no_violations import chain_findings
from soak_pipeline.criteria.platform_records.usage_matches_audit import judge as judge_usage
from soak_pipeline.criteria.platform_records.usage_matches_audit import reconcile_findings
from soak_pipeline.criteria.sources import why_missing
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.documents import ChainDocument, ReconcileDocument, TenantChain, TenantReconciliation
from soak_pipeline.model.stage_outputs import ReconcileEvidence
from soak_pipeline.model.verdict import worst


def chain_document(evidence: RunEvidence) -> ChainDocument:
    """Per tenant the platform's answer, our own verification, and the verdict."""
    platform = evidence.platform_evidence
    chains = {} if platform is None else {chain.tenant: chain for chain in platform.chains}
    findings = chain_findings(evidence)
    tenants = []
    for tenant, finding in zip(evidence.plan.tenants, findings, strict=True):
        chain = chains.get(tenant.name)
        tenants.append(
            TenantChain(
                tenant=tenant.name,
                verdict=finding.verdict,
                why=finding.why,
                platform=None if chain is None else chain.platform,
                independent=None if chain is None else chain.independent,
                reason=why_missing(evidence, "platform_evidence") if chain is None else chain.reason,
            )
        )
    return ChainDocument(
        run_id=evidence.plan.run_id,
        verdict=worst(finding.verdict for finding in findings),
        tenants=tuple(tenants),
    )


def reconcile_document(evidence: RunEvidence) -> ReconcileDocument:
    """Per tenant the counts of both sides; for the platform the time to converge and the dead letters."""
    platform = evidence.platform_evidence
    entries = {} if platform is None else {entry.tenant: entry for entry in platform.reconciliation}
    tenants = []
    for tenant, finding in zip(evidence.plan.tenants, reconcile_findings(evidence), strict=True):
        entry = entries.get(tenant.name) or ReconcileEvidence(
            tenant=tenant.name, reason=why_missing(evidence, "platform_evidence")
        )
        tenants.append(
            TenantReconciliation(
                tenant=tenant.name,
                verdict=finding.verdict,
                why=finding.why,
                billable_audit_rows=entry.billable_audit_rows,
                usage_rows=entry.usage_rows,
                audit_without_usage=entry.audit_without_usage,
                usage_without_audit=entry.usage_without_audit,
                billed_twice=entry.billed_twice,
                outbox_pending=entry.outbox_pending,
                outbox_failed=entry.outbox_failed,
                samples=entry.samples,
                reason=entry.reason,
            )
        )
    drain = None if platform is None else platform.drain
    return ReconcileDocument(
        run_id=evidence.plan.run_id,
        verdict=judge_usage(evidence).verdict,
        converged_s=drain.seconds if drain is not None and drain.drained else None,
        drain=drain,
        readings=() if platform is None else platform.readings,
        dead_letters=None if platform is None else platform.dead_letters,
        tenants=tuple(tenants),
    )
