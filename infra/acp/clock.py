"""The platform's clock: what the gateway takes the time of day from, for rows, tokens, quotas and the Date header."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from infra.acp import faults


def now_s() -> float:
    """Unix seconds."""
    if fault := faults.active("clock_off"):
        return time.time() + fault["offset_s"]
    return time.time()


def utc_now() -> datetime:
    """The time of day, aware, in UTC."""
    return datetime.fromtimestamp(now_s(), UTC)
