"""Criterion: once the tenants are blocked, nothing is served and nothing is sent.

Claim: the platform acknowledged the block of every soak tenant; each tenant's own valid token is refused from then on;
no audit row of an executed call is later than the block; and no request of the load is later than it either.

Validity guard: every tenant was probed after its block, and refused because of it (429 or 403; a 5xx or no answer
proves nothing), and the audit rows could be read. Otherwise INCONCLUSIVE.
"""

from __future__ import annotations

from collections.abc import Iterator

from soak_pipeline.criteria.criterion import Criterion, Need
from soak_pipeline.criteria.results import conclude, stage_missing, unmeasured
from soak_pipeline.criteria.sources import REQUESTS, stage_file, unavailable
from soak_pipeline.criteria.teardown.causes import LOAD, teardown
from soak_pipeline.criteria.wording import count, listed
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.stage_outputs import SilencedTenant, TeardownReceipt
from soak_pipeline.model.traffic import Phase
from soak_pipeline.model.verdict import CriterionResult, Finding, Verdict, at_most

NEEDS = ("database.audit",)
"""What the target must offer for the rows after the block."""

SERVED = "served calls"
REFUSALS = ("429", "403")


def judge(evidence: RunEvidence) -> CriterionResult:
    """Judges the block of every tenant, the rows after it, and our own load; see the module's test plan."""
    receipt = evidence.teardown
    if receipt is None:
        return stage_missing(evidence, CRITERION, "teardown", [REQUESTS])
    silenced = {entry.name: entry for entry in receipt.tenants}
    findings = [_tenant(evidence, tenant.name, silenced.get(tenant.name)) for tenant in evidence.plan.tenants]
    findings += [_rows_after_block(evidence, receipt), _load_after_block(evidence, receipt)]
    probes = sum(entry.probe_calls for entry in receipt.tenants)
    return conclude(
        evidence,
        CRITERION,
        findings,
        main=at_most(evidence.thresholds.probe_allowed_max, SERVED),
        passed=f"{count(len(receipt.tenants), 'tenant')} blocked by {receipt.lever}; all {count(probes, 'probe call')} "
        "refused, and no executed call after the block",
        files=[stage_file(evidence, "teardown"), REQUESTS],
    )


def _tenant(evidence: RunEvidence, name: str, entry: SilencedTenant | None) -> Finding:
    subject = f"tenant {name}"
    limit = at_most(evidence.thresholds_of(name).probe_allowed_max, SERVED)
    observed = float(entry.probe_allowed) if entry is not None and entry.probe_calls else None
    if entry is None:
        return unmeasured(subject, f"tenant {name}: whether it was blocked is not known")
    statuses = listed(f"{number} x {status}" for status, number in entry.probe_statuses.items())
    refused = sum(entry.probe_statuses.get(status, 0) for status in REFUSALS)
    if not limit.allows(entry.probe_allowed):
        verdict = Verdict.FAIL
        why = f"tenant {name}: {entry.probe_allowed} of {count(entry.probe_calls, 'probe call')} were served after the "
        why += f"block, limit {limit.value:.0f} ({statuses})"
    elif not entry.blocked:
        verdict, why = Verdict.FAIL, f"tenant {name} was not blocked: {entry.reason or 'no reason was given'}"
        observed, limit = 1.0, at_most(0.0, "unblocked tenants")
    elif not entry.probe_calls or entry.reason or refused + entry.probe_allowed < entry.probe_calls:
        verdict = Verdict.INCONCLUSIVE
        reason = entry.reason or (f"the probe was answered {statuses}" if entry.probe_calls else "it was not probed")
        why = f"tenant {name}: its silence is not proved: {reason}"
    else:
        verdict = Verdict.PASS
        why = f"tenant {name}: blocked, and {refused} of {count(entry.probe_calls, 'probe call')} refused ({statuses})"
    return Finding(
        subject=subject,
        verdict=verdict,
        observed=observed,
        limit=limit,
        why=why,
        figures={"probe_calls": entry.probe_calls, **{f"status_{key}": n for key, n in entry.probe_statuses.items()}},
    )


def _rows_after_block(evidence: RunEvidence, receipt: TeardownReceipt) -> Finding:
    rows = receipt.audit_rows_after_block
    if rows is None:
        reason = unavailable(evidence, *NEEDS) or "the rows were not counted"
        return unmeasured("audit rows after the block", f"audit rows after the block are not known: {reason}")
    return Finding(
        subject="audit rows after the block",
        verdict=Verdict.FAIL if rows else Verdict.PASS,
        observed=float(rows),
        limit=at_most(0.0, "rows"),
        why=f"{count(rows, 'audit row')} of executed calls later than the block, limit 0",
    )


def _load_after_block(evidence: RunEvidence, receipt: TeardownReceipt) -> Finding:
    subject = "load after the block"
    requests = evidence.requests
    if receipt.blocked_us is None or not len(requests):
        why = (
            "when the block took effect is not known" if receipt.blocked_us is None else "there are no request records"
        )
        return unmeasured(subject, f"whether the load had stopped cannot be said: {why}")
    late = requests.columns["start_us"] > receipt.blocked_us
    late &= ~requests.where(phase=Phase.PROBE)
    number = int(late.sum())
    return Finding(
        subject=subject,
        about=LOAD,
        verdict=Verdict.FAIL if number else Verdict.PASS,
        observed=float(number),
        limit=at_most(0.0, "requests"),
        why=f"{count(number, 'request')} of the load sent after the block, limit 0",
    )


def _needs(plan: Plan) -> Iterator[Need]:
    yield Need("rows after the block", NEEDS)


CRITERION = Criterion(
    name="teardown_is_silent",
    short="teardown",
    question="After the tenants were blocked, was nothing served any more, and nothing sent?",
    rests_on=("teardown",),
    judge=judge,
    cause_of_fail=teardown,
    needs=_needs,
)
