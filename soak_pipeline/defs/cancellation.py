"""SIGINT and SIGTERM are remembered, in case the exception that Dagster makes of them is lost.

Python runs a signal's handler between any two steps of the main thread. Where that is in the finalizer of an object or
in a callback of a weak reference, an exception of the handler is printed and forgotten, and the run would go on.
"""

from __future__ import annotations

import os
import signal
import threading

_CANCELLING = frozenset({signal.SIGINT, signal.SIGTERM})

_asked = threading.Event()


def remember_signals() -> None:
    """From now on `asked` tells of signals that arrive while any handler for them is in place; main thread only."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def listen() -> None:
        while numbers := os.read(reader, 64):
            if _CANCELLING.intersection(numbers):
                _asked.set()

    threading.Thread(target=listen, name="signals", daemon=True).start()


def asked() -> bool:
    """Whether this process has been asked to end its run; False where `remember_signals` was never called."""
    return _asked.is_set()
