"""Asks the platform for its own opinion of each tenant's chain.

Each call is itself audited, so it is asked after the rows have been read.
"""

from __future__ import annotations

import msgspec

from soak_pipeline.dialect.answers import ChainOpinion
from soak_pipeline.model.errors import TargetFailed
from soak_pipeline.model.plan import TenantPlan
from soak_pipeline.model.stage_outputs import ChainEvidence, PlatformChain
from soak_pipeline.model.traffic import Operation
from soak_pipeline.target.gateway import Gateway


def ask_platform(gateway: Gateway, tenant: TenantPlan) -> tuple[PlatformChain | None, str]:
    """The platform's answer about one tenant, or why there is none."""
    request = gateway.dialect.reads[Operation.VERIFY_CHAIN]
    try:
        answer = gateway.call(request, tenant_id=tenant.tenant_id)
        said = msgspec.convert(answer.data(), ChainOpinion)
    except TargetFailed as failure:
        return None, str(failure)
    except msgspec.ValidationError as error:
        return None, f"{request} answered something else: {error}"
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
