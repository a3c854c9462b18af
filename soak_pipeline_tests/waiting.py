"""How long tests wait: for the thing itself, with one generous limit for all of them.

The limit ends a wait for what never comes; it is no requirement on speed, and costs nothing where things come. Requests
and processes of the tests get the same limit. `TESTS_PATIENCE_S` sets another one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

import psutil

T = TypeVar("T")

PATIENCE_VARIABLE = "TESTS_PATIENCE_S"
PATIENCE_S = float(os.environ.get(PATIENCE_VARIABLE, "600"))
"""For one thing to come, to answer or to end (seconds)."""

TEST_LIMIT_S = 3 * PATIENCE_S
"""For a whole test, which may wait for several things (seconds); pytest ends it then."""


def wait_for(question: Callable[[], T], what: str = "", *, every_s: float = 0.05) -> T:
    """The first true answer of a question.

    Args:
        question: asked again and again.
        what: for the message, as in "the gateway serves", where the question does not say it.
        every_s: pause between two questions.

    Raises:
        AssertionError: there was none within `PATIENCE_S`.
    """
    limit_s = time.monotonic() + PATIENCE_S
    while not (answer := question()):
        assert time.monotonic() < limit_s, f"not within {PATIENCE_S:g} s: {what or 'what the test waits for'}"
        time.sleep(every_s)
    return answer


def is_gone(process: int | psutil.Process) -> bool:
    """Whether a process has ended, also where nobody reaps it; by its pid, or as the very process that it was."""
    try:
        known = psutil.Process(process) if isinstance(process, int) else process
        return not known.is_running() or known.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(*processes: int | psutil.Process) -> None:
    """Waits until processes have ended."""
    wait_for(lambda: all(map(is_gone, processes)), f"{len(processes)} processes have ended")
