"""The documents of a run that are made of judged figures, in one place for the report."""

from __future__ import annotations

from soak_pipeline.criteria.fairness.tables import fairness_document
from soak_pipeline.criteria.latency.tables import latency_document
from soak_pipeline.criteria.platform_records.tables import chain_document, reconcile_document

__all__ = ["chain_document", "fairness_document", "latency_document", "reconcile_document"]
