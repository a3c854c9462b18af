"""Reading a Redis stream as one consumer of a group, at least once, in batches.

Owns delivery: batching, resumption after a crash, acknowledgement, dead letters.  It knows nothing of what
the events mean.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import psycopg
import redis
from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.acp import faults
from infra.acp.events import DLQ_MAX_LENGTH, MalformedEvent
from infra.acp.workers.runtime import repeat

logger = logging.getLogger(__name__)

Event = TypeVar("Event")
Fields = Mapping[bytes, bytes]

BLOCK_MS: Final = 2_000
ABANDONED_AFTER_MS: Final = 60_000
"""An entry that its consumer has not acknowledged for so long is taken over by another."""
CLAIM_INTERVAL_S: Final = 30.0

POISONED_BY: Final = (psycopg.DataError, psycopg.IntegrityError, ValueError)
"""Errors that an event brings with it: no retry cures them."""

WRITTEN = Counter("acp_worker_events_total", "Events committed", ["stream"])
DEAD_LETTERS = Counter("acp_worker_dead_letters_total", "Events put into the dead letters", ["stream"])


class Stream(NamedTuple):
    """The names that belong to one stream."""

    key: str
    group: str
    dead_letters: str


class Entry(NamedTuple):
    """One delivered entry; `fields` is empty when it was trimmed away before it was written."""

    entry_id: bytes
    fields: Fields


class StreamReader:
    """One consumer of a group, under a name that stays the same over restarts.

    What a killed process had been given and not acknowledged is under its consumer's name, so the process that
    takes its place begins with exactly that.
    """

    def __init__(self, client: redis.Redis, stream: Stream, consumer: str, batch: int, linger_s: float) -> None:
        """Args:
        batch: most entries of one read.
        linger_s: how long a short batch waits for company; a batch has fixed costs, a commit to disk among them.
        """
        self._client = client
        self._stream = stream
        self._consumer = consumer
        self._batch = batch
        self._linger_s = linger_s
        self._next_claim = 0.0

    def ensure_group(self) -> None:
        """Create stream and group, from the first entry on, unless they exist."""
        try:
            self._client.xgroup_create(self._stream.key, self._stream.group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def pending(self) -> list[Entry]:
        """Give again what this consumer was given before and has not acknowledged, and what others abandoned."""
        self._claim_abandoned()
        return self._read("0", self._batch, block_ms=None)

    def fresh(self, stop: threading.Event) -> list[Entry]:
        """Wait for new entries, at most `BLOCK_MS`, and a little longer for a fuller batch."""
        entries = self._read(">", self._batch, BLOCK_MS)
        if entries and len(entries) < self._batch:
            stop.wait(self._linger_s)
            entries += self._read(">", self._batch - len(entries), block_ms=None)
        return entries

    def claim_is_due(self) -> bool:
        """Tell whether it is time to look for entries that a vanished consumer left behind."""
        return time.monotonic() >= self._next_claim

    def acknowledge(self, entries: Sequence[Entry]) -> None:
        """Mark entries as committed and delete them, both or neither.

        So the stream holds what is not committed, nothing else: its memory stays flat, and its length is the backlog.
        """
        ids = [entry.entry_id for entry in entries]
        with self._client.pipeline(transaction=True) as pipeline:
            pipeline.xack(self._stream.key, self._stream.group, *ids)
            if not faults.active("growing_queue"):
                pipeline.xdel(self._stream.key, *ids)
            pipeline.execute()

    def dead_letter(self, entry: Entry, error: Exception) -> None:
        """Put an entry that can never be written where an operator finds it, and acknowledge it."""
        logger.error("entry %s of %s is a dead letter: %s", entry.entry_id.decode(), self._stream.key, error)
        letter: dict[Any, Any] = {**entry.fields, b"error": str(error)[:1000], b"entry_id": entry.entry_id}
        with self._client.pipeline(transaction=True) as pipeline:
            pipeline.xadd(self._stream.dead_letters, letter, maxlen=DLQ_MAX_LENGTH, approximate=True)
            pipeline.xack(self._stream.key, self._stream.group, entry.entry_id)
            pipeline.xdel(self._stream.key, entry.entry_id)
            pipeline.execute()
        DEAD_LETTERS.labels(self._stream.key).inc()

    def _claim_abandoned(self) -> None:
        self._next_claim = time.monotonic() + CLAIM_INTERVAL_S
        self._client.xautoclaim(
            self._stream.key,
            self._stream.group,
            self._consumer,
            min_idle_time=ABANDONED_AFTER_MS,
            count=self._batch,
            justid=True,
        )

    def _read(self, from_id: str, count: int, block_ms: int | None) -> list[Entry]:
        answer: Any = self._client.xreadgroup(
            self._stream.group, self._consumer, {self._stream.key: from_id}, count=count, block=block_ms
        )
        return [Entry(entry_id, fields or {}) for _, entries in answer or [] for entry_id, fields in entries]


class StreamWorker(Generic[Event]):
    """Moves the entries of a stream into a database by a function that writes a batch of events.

    `write` commits all of its events or none, and writing an event twice is the same as writing it once.
    """

    def __init__(
        self,
        reader: StreamReader,
        stream: Stream,
        decode: Callable[[Fields], Event],
        write: Callable[[list[Event]], None],
    ) -> None:
        self._reader = reader
        self._stream = stream
        self._decode = decode
        self._write = write
        self._must_resume = True
        self._leaked = bytearray()

    def run(self, stop: threading.Event, between: Callable[[], None] = lambda: None) -> None:
        """Deliver until stopped; `between` is called after each batch and at least every few seconds."""

        def step() -> None:
            self.step(stop)
            between()

        repeat(self._stream.key, step, stop)

    def step(self, stop: threading.Event) -> int:
        """Deliver one batch; after a failure, begin with what is pending.  Returns the number of entries."""
        resuming = self._must_resume or self._reader.claim_is_due()
        # Holds until this step has succeeded: whatever interrupts it, the next one resumes.
        self._must_resume = True
        if resuming:
            self._reader.ensure_group()
            entries = self._reader.pending()
        else:
            entries = self._reader.fresh(stop)
        self._deliver(entries)
        self._must_resume = resuming and bool(entries)
        return len(entries)

    def _deliver(self, entries: Sequence[Entry]) -> None:
        decoded: list[tuple[Entry, Event]] = []
        for entry in entries:
            if not entry.fields:
                logger.error("entry %s of %s was trimmed before it was written", entry.entry_id, self._stream.key)
                self._reader.acknowledge([entry])
                continue
            try:
                decoded.append((entry, self._decode(entry.fields)))
            except MalformedEvent as error:
                self._reader.dead_letter(entry, error)
        if decoded:
            self._write_or_isolate(decoded)

    def _write_or_isolate(self, decoded: Sequence[tuple[Entry, Event]]) -> None:
        try:
            self._write([event for _, event in decoded])
        except POISONED_BY as error:
            if len(decoded) == 1:
                self._reader.dead_letter(decoded[0][0], error)
                return
            # One event spoils the batch: halve it until the culprit stands alone.
            middle = len(decoded) // 2
            self._write_or_isolate(decoded[:middle])
            self._write_or_isolate(decoded[middle:])
            return
        self._reader.acknowledge([entry for entry, _ in decoded])
        WRITTEN.labels(self._stream.key).inc(len(decoded))
        self._leak(len(decoded))

    def _leak(self, events: int) -> None:
        fault = faults.active("worker_rss_leak")
        if fault is not None and len(self._leaked) < fault["most_bytes"]:
            self._leaked.extend(b"\1" * int(events * fault["bytes_per_request"]))


class StreamCollector(Collector):
    """The state of a stream, read when `/metrics` is asked for."""

    def __init__(self, client: redis.Redis, stream: Stream, length_name: str) -> None:
        self._client = client
        self._stream = stream
        self._length_name = length_name

    def describe(self) -> Iterator[Metric]:
        yield from ()

    def collect(self) -> Iterator[Metric]:
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                pipeline.xlen(self._stream.key)
                pipeline.xpending(self._stream.key, self._stream.group)
                pipeline.xlen(self._stream.dead_letters)
                length, pending, dead = pipeline.execute()
        except redis.RedisError:
            # Absent samples say "not known"; a zero would say "empty".
            return
        in_flight = pending["pending"]
        labels = [self._stream.key]
        yield GaugeMetricFamily(self._length_name, "Entries that are not committed", value=length)
        for name, text, value in (
            ("acp_redis_stream_depth", "Entries that are not committed", length),
            ("acp_redis_consumer_group_lag", "Entries that no consumer was given yet", length - in_flight),
            ("acp_redis_consumer_group_pending", "Entries given to a consumer and not committed", in_flight),
            ("acp_redis_dead_letter_length", "Entries in the dead letters", dead),
        ):
            family = GaugeMetricFamily(name, text, labels=["stream"])
            family.add_metric(labels, value)
            yield family
