"""Reads the platform's queues: Redis streams, dead letters, and the outbox.

Owns what counts as backlog. Never removes an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import redis

from soak_pipeline.dialect.queues import Queues
from soak_pipeline.target.config import ResolvedTarget
from soak_pipeline.target.databases import Unreadable, reading

REDIS_TIMEOUT_S = 5.0
MOST_COUNTED = 500
"""Unread entries of a stream that are counted one by one; of more, the length of the stream is the best guess."""

NO_ACCESS = "the target gives no access to Redis (redis_url_env)"
"""Why a Redis that the target file does not name cannot be read."""


@dataclass(frozen=True, kw_only=True)
class StreamState:
    """One stream and the group that works it off.

    Attributes:
        length: entries in it.
        lag: entries that the group has not read yet; where Redis does not count them (before 7) and they are many, at
            most so many.
        pending: entries that are read and not acknowledged.
    """

    length: int
    lag: int
    pending: int


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What the pipelines have still to do.

    Attributes:
        left: by queue; zeros included.
        reason: what could not be read; empty when everything was.
    """

    left: dict[str, int]
    reason: str = ""

    @property
    def is_empty(self) -> bool | None:
        """Whether nothing is left; None when that cannot be said."""
        if any(self.left.values()):
            return False
        return None if self.reason else True


@contextmanager
def redis_client(resolved: ResolvedTarget) -> Iterator[redis.Redis]:
    """A client of the platform's Redis.

    Raises:
        Unreadable: no URL, no connection, or any failure of a command in the block.
    """
    if resolved.redis_url is None:
        raise Unreadable(NO_ACCESS)
    try:
        with redis.Redis.from_url(
            resolved.redis_url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
        ) as client:
            yield client
    except (redis.RedisError, OSError, ValueError) as error:
        # The message of some errors holds the URL, and so perhaps a password.
        raise Unreadable(f"Redis: {type(error).__name__}") from None


def read_backlog(resolved: ResolvedTarget, tenant_ids: Sequence[str] = ()) -> Backlog:
    """Unfinished entries of each stream and pending rows of the outbox.

    Args:
        resolved: the target.
        tenant_ids: whose outbox rows count; every tenant's when empty.
    """
    left: dict[str, int] = {}
    reasons = []
    try:
        with redis_client(resolved) as client:
            for stream, state in stream_states(client, resolved.dialect.queues).items():
                left[stream] = state.lag + state.pending
    except Unreadable as reason:
        reasons.append(str(reason))
    try:
        with reading(resolved.dsns, "audit", statement_timeout_s=30) as connection:
            row = connection.execute(
                resolved.dialect.outbox.count_pending, [not tenant_ids, list(tenant_ids)]
            ).fetchone()
            left["outbox_pending"] = int(row[0]) if row else 0
    except Unreadable as reason:
        reasons.append(str(reason))
    return Backlog(left=left, reason="; ".join(reasons))


def stream_states(client: redis.Redis, words: Queues) -> dict[str, StreamState]:
    """State of every stream that is known and exists, by name.

    Raises:
        redis.RedisError: Redis did not answer.
    """
    states = {}
    for stream, group in words.groups.items():
        try:
            info: Any = client.xinfo_stream(stream)
            groups: Any = client.xinfo_groups(stream)
        except redis.ResponseError:  # No such stream: nothing was ever sent.
            continue
        own = next((item for item in groups if _text(item["name"]) == group), None)
        states[stream] = _state(info, own, partial(_unread, client, stream, own))
    return states


def _unread(client: redis.Redis, stream: str, group: Mapping[str, Any] | None) -> int | None:
    """Entries behind the last one that was delivered, counted one by one; None when they are many."""
    if group is None:
        return None
    entries: Any = client.xrange(stream, min=f"({_text(group['last-delivered-id'])}", count=MOST_COUNTED)
    return len(entries) if len(entries) < MOST_COUNTED else None


def dead_letter_lengths(client: redis.Redis, words: Queues) -> dict[str, int]:
    """Entries in every dead letter stream or list, by name; 0 where there is none.

    Raises:
        redis.RedisError: Redis did not answer.
    """
    lengths = {}
    for name in words.dead_letters:
        kind = _text(client.type(name))
        length: Any = {"stream": client.xlen, "list": client.llen}.get(kind, lambda _: 0)(name)
        lengths[name] = int(length)
    return lengths


def read_dead_letters(resolved: ResolvedTarget) -> dict[str, int] | None:
    """Entries in every dead letter stream or list; None when Redis cannot be read."""
    try:
        with redis_client(resolved) as client:
            return dead_letter_lengths(client, resolved.dialect.queues)
    except Unreadable:
        return None


def _state(
    info: Mapping[str, Any], group: Mapping[str, Any] | None, count_unread: Callable[[], int | None]
) -> StreamState:
    length = int(info["length"])
    if group is None:
        return StreamState(length=length, lag=length, pending=0)
    pending = int(group["pending"])
    if group.get("lag") is not None:
        lag = int(group["lag"])
    elif _text(group["last-delivered-id"]) == _text(info["last-generated-id"]):
        lag = 0
    else:
        # A Redis before 7.0 tells no lag; entries that were handled may still be in the stream.
        counted = count_unread()
        lag = max(MOST_COUNTED, length - pending) if counted is None else counted
    return StreamState(length=length, lag=lag, pending=pending)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
