"""Telemetry, clocks and the host."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from soak_pipeline.criteria.host import host_mean
from soak_pipeline.criteria.results import unmeasured
from soak_pipeline.criteria.sources import unavailable
from soak_pipeline.criteria.validity.condition import CLOCK, HOST_STEAL, TELEMETRY, holds_or_open
from soak_pipeline.criteria.windows import soak_stretch_s
from soak_pipeline.criteria.wording import seconds, share
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.series import PAGE_OWNER_PREFIX, READABLE_SERIES, Source
from soak_pipeline.model.verdict import Finding, Verdict, at_most


def watched_sources(evidence: RunEvidence) -> list[Source]:
    """Sources that must have been sampled; a platform without metrics is the business of `nothing_leaks`."""
    return [Source.GENERATOR] if unavailable(evidence, "metrics") else [Source.GENERATOR, Source.PLATFORM]


def telemetry_gap(evidence: RunEvidence, source: Source) -> Finding:
    """Longest stretch of the soak without a sample of one source; of the platform, without one of its pages."""
    subject = f"telemetry of the {source.value}"
    limit = at_most(evidence.thresholds.telemetry_gap_s_max, "s")
    stretch = soak_stretch_s(evidence)
    sampled = _sampled_times(evidence, source)
    if not sampled or stretch is None:
        why = "the soak never began" if stretch is None else "no sample was taken"
        return unmeasured(subject, f"there is no {subject}: {why}", TELEMETRY)
    gaps = {part: _longest_gap_s(times_s, stretch) for part, times_s in sampled.items()}
    part = max(gaps, key=lambda name: gaps[name])
    where = f"{subject} ({part})" if part else subject
    return Finding(
        subject=subject,
        about=TELEMETRY,
        verdict=holds_or_open(limit.allows(gaps[part])),
        observed=gaps[part],
        limit=limit,
        why=f"longest gap in the {where} during the soak was {seconds(gaps[part])}, limit {seconds(limit.value)}",
        figures={"samples": int(sum(np.sum((t >= stretch[0]) & (t <= stretch[1])) for t in sampled.values()))},
    )


def _sampled_times(evidence: RunEvidence, source: Source) -> dict[str, NDArray[np.float64]]:
    """When a source was read (seconds since the epoch): by page where the sampler noted each page, else as a whole."""
    if source is Source.PLATFORM:
        pages = {
            key.owner: samples.times_s[samples.values == 1.0]
            for key, samples in evidence.telemetry.items()
            if key.series == READABLE_SERIES and key.owner.startswith(PAGE_OWNER_PREFIX)
        }
        if pages:
            return pages
    series = [samples for key, samples in evidence.telemetry.items() if key.source == source]
    if not series:
        return {}
    return {"": np.unique(np.concatenate([one.times_s[np.isfinite(one.values)] for one in series]))}


def _longest_gap_s(times_s: NDArray[np.float64], stretch: tuple[float, float]) -> float:
    inside = times_s[(times_s >= stretch[0]) & (times_s <= stretch[1])]
    return float(np.diff(np.concatenate(([stretch[0]], inside, [stretch[1]]))).max())


def clocks_agree(evidence: RunEvidence) -> Finding:
    """The platform's clock agrees with ours, before and after."""
    limit = at_most(evidence.thresholds.clock_skew_s_max, "s")
    before = None if evidence.provision is None else evidence.provision.clock_skew_s
    after = None if evidence.platform_evidence is None else evidence.platform_evidence.clock_skew_s
    known = [skew for skew in (before, after) if skew is not None]
    figures: dict[str, float | int | str | None] = {"clock_skew_s_before": before, "clock_skew_s_after": after}
    if not known:
        return unmeasured("clock", "the platform's clock was not compared with ours", CLOCK, **figures)
    skew = max(known, key=abs)
    return Finding(
        subject="clock",
        about=CLOCK,
        verdict=holds_or_open(limit.allows(abs(skew))),
        observed=abs(skew),
        limit=limit,
        why=f"the platform's clock was {seconds(abs(skew))} {'ahead of' if skew > 0 else 'behind'} ours, "
        f"limit {seconds(limit.value)}",
        figures=figures,
    )


def host_was_ours(evidence: RunEvidence) -> Finding:
    """The hypervisor left us the host's CPU."""
    limit = at_most(evidence.thresholds.host_steal_share_max, "share")
    mean = host_mean(evidence, "cpu_steal_share")
    if mean is None:
        return unmeasured("host steal", "CPU time taken by the hypervisor was not recorded in the soak", HOST_STEAL)
    idle = host_mean(evidence, "cpu_idle_share")
    return Finding(
        subject="host steal",
        about=HOST_STEAL,
        verdict=holds_or_open(limit.allows(mean)),
        observed=mean,
        limit=limit,
        why=f"the hypervisor took {share(mean)} of the host's CPU in the soak, limit {share(limit.value)}",
        figures={"cpu_idle_share": idle},
    )


def host_load(evidence: RunEvidence) -> Finding:
    """Recorded so that a reader can tell a busy host; it has no limit."""
    mean = host_mean(evidence, "load_average")
    if mean is None:
        return unmeasured("host load", "the host's load average was not recorded in the soak")
    return Finding(
        subject="host load",
        verdict=Verdict.PASS,
        observed=mean,
        unit="count",
        why=f"the host's load average was {mean:.1f} in the soak",
    )
