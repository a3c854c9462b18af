"""What holds for every test process."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Ctrl-C reaches the processes that tests start.

    A shell without job control starts what is behind `&` with SIGINT ignored, and that is inherited by every child.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
