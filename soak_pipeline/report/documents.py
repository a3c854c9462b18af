"""The figures behind a judgement, gathered for writing and drawing.

Owns the bundle only; the criteria compute what is in it, so that no file shows another number than the one that
decided.
"""

from __future__ import annotations

from dataclasses import dataclass

from soak_pipeline.model.documents import (
    ChainDocument,
    FairnessDocument,
    LatencyDocument,
    ReconcileDocument,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The figures behind a judgement, as the criteria computed them; None where the evidence allows none.

    Attributes:
        latency, comparison, chain_verify, reconcile: what the files of these names hold.
    """

    latency: LatencyDocument | None = None
    comparison: FairnessDocument | None = None
    chain_verify: ChainDocument | None = None
    reconcile: ReconcileDocument | None = None
