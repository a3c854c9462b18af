"""The names of the criteria, in their order, from the folders that declare them.

Loads no judge: the gate starts in a fraction of a second, and still has to know whether a verdict says something about
every criterion.
"""

from __future__ import annotations

from soak_pipeline.criteria import decisions, fairness, fanout, latency, leaks, platform_records, teardown, validity

FOLDERS = (platform_records, latency, fairness, leaks, decisions, fanout, teardown, validity)
"""One per question, in the order of the report."""

MODULES: dict[str, str] = {name: f"{folder.__name__}.{name}" for folder in FOLDERS for name in folder.CRITERIA}
"""The module of each criterion, by name."""

CRITERION_NAMES: tuple[str, ...] = tuple(MODULES)
