"""What every condition shares: it holds, or the answer stays open; a load that is not valid accuses nobody."""

from __future__ import annotations

from soak_pipeline.model.stage_outputs import StageStatus
from soak_pipeline.model.verdict import Verdict

LOAD_WORKERS, EVENT_LOOP, GENERATOR_CPU = "load_workers", "event_loop", "generator_cpu"
STAGE, RATE, RECORDS, TELEMETRY = "stage", "rate", "records", "telemetry"
CLOCK, HOST_STEAL = "clock", "host_steal"
"""What a condition is about (`Finding.about`)."""

_ENDED = {
    StageStatus.COMPLETE: "ran to its end",
    StageStatus.CUT_SHORT: "was cut short",
    StageStatus.FAILED: "failed",
}


def holds_or_open(holds: bool) -> Verdict:
    """PASS when the condition holds, else INCONCLUSIVE."""
    return Verdict.PASS if holds else Verdict.INCONCLUSIVE


def ended_in_words(status: StageStatus) -> str:
    """How a stage ended, as the end of a sentence."""
    return _ENDED[status]
