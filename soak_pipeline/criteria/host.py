"""How busy the load generator's machine was."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from soak_pipeline.criteria.windows import soak_stretch_s
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.series import Source


def host_samples(evidence: RunEvidence, series: str) -> NDArray[np.float64]:
    """What a series of the load generator's host was during the soak; empty where it was not recorded."""
    stretch = soak_stretch_s(evidence)
    parts = [
        samples.between(*stretch).values
        for key, samples in evidence.telemetry.items()
        if stretch is not None and key.source == Source.HOST and key.series == series
    ]
    values: NDArray[np.float64] = np.concatenate([np.empty(0), *parts])
    return values[np.isfinite(values)]


def host_mean(evidence: RunEvidence, series: str) -> float | None:
    """Mean of a series of the load generator's host over the soak; None where it was not recorded."""
    values = host_samples(evidence, series)
    return float(values.mean()) if len(values) else None
