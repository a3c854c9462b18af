"""Signals are remembered whatever handler is in place; in a process of its own, since there is one listener each."""

from __future__ import annotations

import subprocess
import sys

import pytest

from soak_pipeline_tests.waiting import PATIENCE_S

SCRIPT = """
import os, signal, time
from soak_pipeline.defs import cancellation

signal.signal(signal.{name}, lambda *_: None)
cancellation.remember_signals()
before = cancellation.asked()
os.kill(os.getpid(), signal.{name})
deadline = time.monotonic() + {patience_s}
while not cancellation.asked() and time.monotonic() < deadline:
    time.sleep(0.01)
print(before, cancellation.asked())
"""


@pytest.mark.parametrize(
    ("name", "patience_s", "asked"),
    [("SIGTERM", PATIENCE_S, True), ("SIGINT", PATIENCE_S, True), ("SIGUSR1", 0.5, False)],
)
def test_which_signals_ask_to_end(name: str, patience_s: float, asked: bool) -> None:
    script = SCRIPT.format(name=name, patience_s=patience_s)
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False", str(asked)]
