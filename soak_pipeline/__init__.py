"""A soak-test pipeline that a release can be gated on.

The folders are the architecture; imports run downwards only (a test enforces it):

    cli, defs -> stages -> {load.supervisor, target, telemetry, criteria, report} -> {evidence, analysis} -> model
"""

from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parent.parent
"""The folder of the project: `infra/`, `workspace.yaml` and the rest stand in it."""
