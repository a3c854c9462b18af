"""A process that sends load goes before others where it may."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from soak_pipeline.load.sender.process import LOAD_NICE

_PROGRAM = """
import os, sys
os.setpriority(os.PRIO_PROCESS, 0, int(sys.argv[1]))
from soak_pipeline.load.sender.process import go_first
if sys.argv[2] == "as nobody":
    os.setuid(65534)
go_first()
print(os.getpriority(os.PRIO_PROCESS, 0))
"""
IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root may have a nice level below 0; run the tests as root")


def _level_after(level: int, who: str = "as it is") -> int:
    command = [sys.executable, "-c", _PROGRAM, str(level), who]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@needs_root
def test_root_sends_load_before_others() -> None:
    assert _level_after(5) == LOAD_NICE


@needs_root
def test_a_level_that_is_lower_already_stays() -> None:
    assert _level_after(LOAD_NICE - 5) == LOAD_NICE - 5


def test_without_the_right_to_it_the_level_stays() -> None:
    assert _level_after(5, "as nobody" if IS_ROOT else "as it is") == 5
