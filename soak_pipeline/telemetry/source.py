"""What a telemetry source is: something that can be read again and again."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from soak_pipeline.model.series import Source


class Reading(NamedTuple):
    """One value that was read.

    Attributes:
        source: where.
        owner: whose resource it is.
        series: what, with its unit in the name.
        value: the value.
    """

    source: Source
    owner: str
    series: str
    value: float


class TelemetrySource(Protocol):
    """Something that is sampled."""

    @property
    def name(self) -> str:
        """How it is called in the telemetry of the telemetry itself."""

    def read(self) -> list[Reading]:
        """Every value as of now; may raise anything, which becomes a gap."""

    def close(self) -> None:
        """Lets go of connections."""
