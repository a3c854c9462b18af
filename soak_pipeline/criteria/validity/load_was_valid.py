"""Criterion: the run measured what it set out to measure.

Claim: every planned phase ran to its end; the load generator sent what was due, on time, with CPU to spare and no
worker lost; the mix and the split over the tenants were as planned; every record was kept; telemetry has no large gap;
the platform's clock agrees with ours; and the host was not taken away from us.

Each condition is one finding with its own reason. A condition that is violated or unknown is INCONCLUSIVE, never FAIL:
it says nothing about the platform.
"""

from __future__ import annotations

import msgspec

from soak_pipeline.criteria.criterion import Criterion
from soak_pipeline.criteria.results import conclude
from soak_pipeline.criteria.sources import REQUESTS, TELEMETRY, stage_file
from soak_pipeline.criteria.validity.causes import invalid_load
from soak_pipeline.criteria.validity.outlook import outlook
from soak_pipeline.criteria.validity.records import enough_samples, mix_as_planned, records_kept
from soak_pipeline.criteria.validity.seals import evidence_is_whole
from soak_pipeline.criteria.validity.sessions import provisioned, session_conditions, stages_ended
from soak_pipeline.criteria.validity.surroundings import (
    clocks_agree,
    host_load,
    host_was_ours,
    telemetry_gap,
    watched_sources,
)
from soak_pipeline.criteria.windows import load_sessions
from soak_pipeline.criteria.wording import count
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.verdict import CriterionResult, Verdict, at_most

ALL_MET = at_most(0.0, "conditions not met")


def judge(evidence: RunEvidence) -> CriterionResult:
    """Judges every validity condition; see the module's test plan."""
    sessions = load_sessions(evidence)
    findings = [evidence_is_whole(evidence), provisioned(evidence), *stages_ended(evidence)]
    for planned, report in sessions:
        findings += session_conditions(evidence, planned, report)
    findings += [
        *records_kept(evidence, sessions),
        *enough_samples(evidence),
        *mix_as_planned(evidence),
        *(telemetry_gap(evidence, source) for source in watched_sources(evidence)),
        clocks_agree(evidence),
        host_was_ours(evidence),
        host_load(evidence),
    ]
    result = conclude(
        evidence,
        CRITERION,
        findings,
        passed=f"all {count(len(findings), 'condition')} of a valid load hold",
        files=[stage_file(evidence, "soak"), REQUESTS, TELEMETRY],
    )
    # Of conditions as different as these, their number says more than the figure of whichever comes first.
    unmet = sum(finding.verdict is not Verdict.PASS for finding in findings)
    return msgspec.structs.replace(result, observed=float(unmet), limit=ALL_MET, unit=ALL_MET.unit, interval=None)


CRITERION = Criterion(
    name="load_was_valid",
    short="load",
    question="Was the load sent as planned, on time and in full, so that the other answers mean something?",
    rests_on=("baseline", "burst", "agent_fanout", "soak"),
    judge=judge,
    cause_of_open=invalid_load,
    outlook=outlook,
)
