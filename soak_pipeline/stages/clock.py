"""The run's clock outside the load: microseconds since the plan's epoch."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from soak_pipeline.model.plan import Plan


def now_us(plan: Plan) -> int:
    """The present, on the run's clock."""
    return unix_s_to_us(plan, time.time())


def unix_s_to_us(plan: Plan, unix_s: float) -> int:
    """A moment of the wall clock on the run's clock."""
    return int(unix_s * 1e6) - plan.epoch_unix_us


def utc_now() -> str:
    """The present as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
