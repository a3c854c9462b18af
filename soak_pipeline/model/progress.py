"""How far a run is: what the load supervisor publishes once a second and displays show."""

from __future__ import annotations

import msgspec

from soak_pipeline.model.traffic import Outcome

PROGRESS_FILE = "progress.json"
"""Name of the newest progress among a run's control files."""

OPERATOR_MARK = "soak: "
"""Begins the lines of a run's log that are meant for the operator."""

TENANTS_IN_A_LINE = 6
"""Tenants that a line for a person has room for."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A moment of a load session.

    Attributes:
        session: name of the load session.
        phase: phase of the current window; `starting` while users log in, `ended` after the last window.
        window, windows: index of the current window, and how many there are.
        users: virtual users that are logged in.
        requests_per_second: over the last seconds.
        latency_ms_p95: per tenant, from the intended start, over the last seconds; a tenant without a request is
            absent.
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

    @property
    def unexpected(self) -> int:
        """Requests of the session so far whose outcome was not the right one."""
        return sum(count for outcome, count in self.outcomes.items() if outcome != Outcome.OK)

    def line(self) -> str:
        """One line for a person; of many tenants the slowest few."""
        shown = sorted(self.latency_ms_p95.items())
        if len(shown) > TENANTS_IN_A_LINE:
            shown = sorted(shown, key=lambda entry: -entry[1])[:TENANTS_IN_A_LINE]
        left = len(self.latency_ms_p95) - len(shown)
        latencies = " ".join(f"{tenant} {value:.0f}" for tenant, value in shown)
        latencies += f" and {left} more" if left else ""
        window = f" (window {self.window + 1} of {self.windows})" if self.windows else ""
        return (
            f"{self.session} {self.phase}{window}: {self.users:,} users, {self.requests_per_second:,.0f} requests/s,"
            f" p95 ms [{latencies or 'none yet'}], {self.unexpected:,} unexpected, {self.seconds_left:.0f} s left"
        )
