"""Telemetry, clocks and the host."""

from __future__ import annotations

import numpy as np

from soak_pipeline.criteria.results import unmeasured
from soak_pipeline.criteria.sources import unavailable
from soak_pipeline.criteria.validity.condition import holds_or_open
from soak_pipeline.criteria.windows import soak_stretch_s
from soak_pipeline.criteria.wording import seconds, share
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.series import Source
from soak_pipeline.model.verdict import Finding, Verdict


def watched_sources(evidence: RunEvidence) -> list[Source]:
    """Sources that must have been sampled; a platform without metrics is the business of `nothing_leaks`."""
    return [Source.GENERATOR] if unavailable(evidence, "metrics") else [Source.GENERATOR, Source.PLATFORM]


def telemetry_gap(evidence: RunEvidence, source: Source) -> Finding:
    """Longest stretch of the soak without a sample of one source."""
    subject = f"telemetry of the {source.value}"
    limit = evidence.thresholds.telemetry_gap_s_max
    stretch = soak_stretch_s(evidence)
    series = [samples for key, samples in evidence.telemetry.items() if key.source == source]
    if not series or stretch is None:
        why = "the soak never began" if stretch is None else "no sample was taken"
        return unmeasured(subject, f"there is no {subject}: {why}")
    times = np.unique(np.concatenate([one.times_s[np.isfinite(one.values)] for one in series]))
    inside = times[(times >= stretch[0]) & (times <= stretch[1])]
    gap_s = float(np.diff(np.concatenate(([stretch[0]], inside, [stretch[1]]))).max())
    return Finding(
        subject=subject,
        verdict=holds_or_open(gap_s <= limit),
        observed=gap_s,
        limit=limit,
        unit="s",
        why=f"longest gap in the {subject} during the soak was {seconds(gap_s)}, limit {seconds(limit)}",
        figures={"samples": len(inside)},
    )


def clocks_agree(evidence: RunEvidence) -> Finding:
    """The platform's clock agrees with ours, before and after."""
    limit = evidence.thresholds.clock_skew_s_max
    before = None if evidence.provision is None else evidence.provision.clock_skew_s
    after = None if evidence.platform_evidence is None else evidence.platform_evidence.clock_skew_s
    known = [skew for skew in (before, after) if skew is not None]
    figures: dict[str, float | int | str | None] = {"clock_skew_s_before": before, "clock_skew_s_after": after}
    if not known:
        return unmeasured("clock", "the platform's clock was not compared with ours", **figures)
    skew = max(known, key=abs)
    return Finding(
        subject="clock",
        verdict=holds_or_open(abs(skew) <= limit),
        observed=abs(skew),
        limit=limit,
        unit="s",
        why=f"the platform's clock was {seconds(abs(skew))} {'ahead of' if skew > 0 else 'behind'} ours, "
        f"limit {seconds(limit)}",
        figures=figures,
    )


def host_was_ours(evidence: RunEvidence) -> Finding:
    """The hypervisor left us the host's CPU."""
    limit = evidence.thresholds.host_steal_share_max
    mean = _host_mean(evidence, "cpu_steal_share")
    if mean is None:
        return unmeasured("host steal", "CPU time taken by the hypervisor was not recorded in the soak")
    idle = _host_mean(evidence, "cpu_idle_share")
    return Finding(
        subject="host steal",
        verdict=holds_or_open(mean <= limit),
        observed=mean,
        limit=limit,
        unit="share",
        why=f"the hypervisor took {share(mean)} of the host's CPU in the soak, limit {share(limit)}",
        figures={"cpu_idle_share": idle},
    )


def host_load(evidence: RunEvidence) -> Finding:
    """Recorded so that a reader can tell a busy host; it has no limit."""
    mean = _host_mean(evidence, "load_average")
    if mean is None:
        return unmeasured("host load", "the host's load average was not recorded in the soak")
    return Finding(
        subject="host load",
        verdict=Verdict.PASS,
        observed=mean,
        unit="count",
        why=f"the host's load average was {mean:.1f} in the soak",
    )


def _host_mean(evidence: RunEvidence, series: str) -> float | None:
    stretch = soak_stretch_s(evidence)
    if stretch is None:
        return None
    parts = [
        samples.between(*stretch).values
        for key, samples in evidence.telemetry.items()
        if key.source == Source.HOST and key.series == series
    ]
    values = np.concatenate(parts) if parts else np.empty(0)
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None
