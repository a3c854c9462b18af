"""What a driving process (Locust's master, or the fan-out) tells its supervisor, as JSON lines."""

from __future__ import annotations

import sys

import msgspec


class Listening(msgspec.Struct, frozen=True, kw_only=True, tag="listening"):
    """The master accepts workers on this port of 127.0.0.1."""

    port: int


class Zeroed(msgspec.Struct, frozen=True, kw_only=True, tag="zero"):
    """All users are ready; time zero of the windows, microseconds since the plan's epoch."""

    zero_us: int


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """The session ran to its end."""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The session was given up; `reason` says why."""

    reason: str


MasterEvent = Listening | Zeroed | Finished | Failed


def decode_event(line: bytes) -> MasterEvent | None:
    """The event of a line; None when the line is something else, such as a library's message."""
    try:
        event: MasterEvent = msgspec.json.decode(line, type=MasterEvent)
    except msgspec.DecodeError:
        return None
    return event


def tell(event: MasterEvent) -> None:
    """Tells the supervisor; a supervisor that is gone is told nothing."""
    try:
        sys.stdout.buffer.write(msgspec.json.encode(event) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        return
