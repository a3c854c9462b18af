"""How far a run is: what the load supervisor publishes once a second and displays show."""

from __future__ import annotations

import msgspec


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A moment of a load session.

    Attributes:
        session: name of the load session.
        phase: phase of the current window; `starting` while users log in, `ended` after the last window.
        window, windows: index of the current window, and how many there are.
        users: virtual users that are logged in.
        requests_per_second: over the last seconds.
        latency_ms_p95: per tenant, from the intended start, over the last seconds; tenants without a request are absent.
        outcomes: requests of the session so far, by outcome.
        seconds_left: until the end of the session.
    """

    session: str
    phase: str
    window: int = 0
    windows: int = 0
    users: int = 0
    requests_per_second: float = 0.0
    latency_ms_p95: dict[str, float] = {}
    outcomes: dict[str, int] = {}
    seconds_left: float = 0.0
