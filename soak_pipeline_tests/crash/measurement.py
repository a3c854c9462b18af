"""What is measured of one scenario, and whether that is within the limits."""

from __future__ import annotations

from dataclasses import dataclass

from soak_pipeline_tests.crash.scenarios import End, Scenario

LAST_REQUEST_LIMIT_S = 10.0
BLOCKED_LIMIT_S = 30.0
EVIDENCE_LIMIT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One scenario, carried out.

    Attributes:
        scenario: what was inflicted.
        load_ended_s: from the event to the decision of the last request of the load, by the platform's audit rows.
        blocked_s: until every tenant's `rpm_limit` was 0 in the platform's database, or the platform itself was
            stopped; from the event, for a run that goes on from the last request. None: never.
        blocked_by_stop: the platform was stopped before every tenant was blocked.
        evidence_lost_s: from the last record on disk to the event, of the load worker that has the oldest one.
        rows_without_record: audit rows of executions more than 5 s before the event that no record on disk answers for.
        verdict: of `verdict.json`; "none" where there is none.
        said: finding of `verdict.json` that tells of the event; empty where none does.
        judged: verdict of `soak judge` on what is left.
        left: what is still there: processes, locks, leases, ports.
        next_run_s: until the next run soaks, from its start; None where it does not.
    """

    scenario: Scenario
    load_ended_s: float
    blocked_s: float | None
    blocked_by_stop: bool
    evidence_lost_s: float
    rows_without_record: int
    verdict: str
    said: str
    judged: str
    left: tuple[str, ...]
    next_run_s: float | None = None

    def problems(self) -> list[str]:
        """Every limit that is broken, in words."""
        found = []
        if self.scenario.end is End.STOPS and self.load_ended_s > LAST_REQUEST_LIMIT_S:
            found.append(f"last request {self.load_ended_s:.1f} s after the event, limit {LAST_REQUEST_LIMIT_S:g} s")
        if self.blocked_s is None:
            found.append("tenants are not blocked")
        elif self.blocked_s > BLOCKED_LIMIT_S:
            found.append(f"tenants blocked after {self.blocked_s:.1f} s, limit {BLOCKED_LIMIT_S:g} s")
        if self.evidence_lost_s > EVIDENCE_LIMIT_S:
            found.append(f"records end {self.evidence_lost_s:.1f} s before the event, limit {EVIDENCE_LIMIT_S:g} s")
        if self.rows_without_record:
            found.append(f"{self.rows_without_record} executions of before that have no record on disk")
        if "PASS" in (self.verdict, self.judged):
            found.append(f"verdict {self.verdict}, judged again {self.judged}; neither may be PASS")
        if self.verdict != "none" and not self.said:
            found.append("the verdict does not tell of the event; a longer run could pass")
        if self.left:
            found.append(f"left behind: {'; '.join(self.left)}")
        if self.next_run_s is None:
            found.append("the next run did not come to its soak")
        return found
