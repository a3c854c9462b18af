"""How busy the load generator's machine was."""

from __future__ import annotations

import numpy as np

from soak_pipeline.criteria.windows import soak_stretch_s
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.series import Source


def host_mean(evidence: RunEvidence, series: str) -> float | None:
    """Mean of a series of the load generator's host over the soak; None where it was not recorded."""
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
