"""Asks the platform for its own opinion of each tenant's chain.

Owns the reading of `/audit/logs/verify`. Each call is itself audited, so it is asked after the rows have been read.
"""

from __future__ import annotations

import msgspec

from soak_pipeline.model.errors import TargetFailed
from soak_pipeline.model.plan import TenantPlan
from soak_pipeline.model.stage_outputs import ChainEvidence, PlatformChain
from soak_pipeline.target.gateway import Gateway


class _Answer(msgspec.Struct):
    """What the endpoint says; the list of violations may be empty although the chain is invalid."""

    valid: bool
    processed_count: int
    error_count: int
    violations: list[object] | int = []


def ask_platform(gateway: Gateway, tenant: TenantPlan) -> tuple[PlatformChain | None, str]:
    """The platform's answer about one tenant, or why there is none."""
    try:
        answer = gateway.call("GET", "/audit/logs/verify", tenant_id=tenant.tenant_id)
        said = msgspec.convert(answer.data(), _Answer)
    except TargetFailed as failure:
        return None, str(failure)
    except msgspec.ValidationError as error:
        return None, f"GET /audit/logs/verify answered something else: {error}"
    violations = said.violations if isinstance(said.violations, int) else len(said.violations)
    return (
        PlatformChain(
            valid=said.valid,
            processed_count=said.processed_count,
            error_count=said.error_count,
            violations=violations,
        ),
        "",
    )


def with_platform_answer(evidence: ChainEvidence, gateway: Gateway, tenant: TenantPlan) -> ChainEvidence:
    """The evidence with the platform's answer beside our own verification."""
    answer, reason = ask_platform(gateway, tenant)
    return msgspec.structs.replace(evidence, platform=answer, reason="; ".join(filter(None, (evidence.reason, reason))))
