"""Whether the smallest tenant is heard, and telemetry has no gap by design."""

from __future__ import annotations

from collections.abc import Iterator

from soak_pipeline.analysis.percentiles import minimum_samples
from soak_pipeline.analysis.power import chance_of_at_least
from soak_pipeline.criteria.latency.tables import JUDGED_KIND, JUDGED_SHARE
from soak_pipeline.criteria.power.counts import CHANCE, calls_in, outlook_of
from soak_pipeline.criteria.wording import count, seconds
from soak_pipeline.model.plan import Plan, soak_session
from soak_pipeline.model.preview import Expectation, Outlook


def outlook(plan: Plan) -> Iterator[Expectation]:
    """Executed calls of the tenant that has the fewest, and telemetry without gaps."""
    needed = minimum_samples(JUDGED_SHARE)
    loads = soak_session(plan).windows[-1].loads
    calls = {name: calls_in(load, JUDGED_KIND, plan.profile.soak_s, edges=0) for name, load in loads.items()}
    fewest = min(calls, key=lambda name: calls[name].expected)
    chance = chance_of_at_least(needed, calls[fewest].requests, calls[fewest].share)
    yield Expectation(
        subject=f"samples of tenant {fewest}",
        outlook=outlook_of(chance, chance),
        why=f"about {count(calls[fewest].expected, 'executed call')} in the soak, the fewest of any tenant; at least "
        f"{needed} are needed",
        expected=calls[fewest].expected,
        needed=float(needed),
        unit="requests",
        remedy="" if chance >= CHANCE else "what helps its p95 would do",
    )
    interval_s, gap_s = plan.profile.telemetry_interval_s, plan.thresholds.telemetry_gap_s_max
    if interval_s > gap_s:
        yield Expectation(
            subject="telemetry",
            outlook=Outlook.UNDECIDABLE,
            why=f"a sample every {seconds(interval_s)}, a gap may last {seconds(gap_s)}",
            expected=interval_s,
            needed=gap_s,
            unit="s",
            remedy=f"an interval of at most {seconds(gap_s)} would do",
        )
