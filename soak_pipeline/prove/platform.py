"""The reference platform's command `acp`, run as a program of its own; its code is never imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

from soak_pipeline import PROJECT_ROOT

PLATFORM = ("-m", "infra.acp")


def run_platform_command(variables: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Runs `acp ...` to its end; what it says is in the result.

    Args:
        variables: the environment by which it finds its platform.
        words: action and options.
    """
    return subprocess.run(
        [sys.executable, *PLATFORM, *words],
        env=dict(variables),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
