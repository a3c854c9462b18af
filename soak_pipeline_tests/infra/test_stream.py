from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest

from infra.acp.events import MalformedEvent
from infra.acp.workers.stream import Fields, Stream, StreamCollector, StreamReader, StreamWorker
from soak_pipeline_tests.infra.platform_events import NOT_STOPPED
from soak_pipeline_tests.waiting import PATIENCE_S

pytestmark = pytest.mark.every_redis

STREAM = Stream("test:stream", "test:group", "test:stream:dlq")


def decode(fields: Fields) -> str:
    text = fields[b"data"].decode()
    if text == "garbage":
        raise MalformedEvent("garbage")
    return text


class Recorder:
    """A database that remembers, and fails when told to."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.failure: Exception | None = None
        self.poison: set[str] = set()

    def write(self, batch: list[str]) -> None:
        if self.failure is not None:
            raise self.failure
        if self.poison.intersection(batch):
            raise psycopg.DataError("value cannot be stored")
        self.written += batch


def worker_on(client: redis.Redis, recorder: Recorder, consumer: str = "one", batch: int = 10) -> StreamWorker[str]:
    return StreamWorker(StreamReader(client, STREAM, consumer, batch, 0.0), STREAM, decode, recorder.write)


def send(client: redis.Redis, *texts: str) -> None:
    for text in texts:
        client.xadd(STREAM.key, {"data": text})


def test_entries_are_delivered_in_order_then_deleted(client: redis.Redis) -> None:
    recorder = Recorder()
    worker = worker_on(client, recorder, batch=2)
    send(client, "a", "b", "c")
    assert [worker.step(NOT_STOPPED) for _ in range(3)] == [0, 2, 1]
    assert recorder.written == ["a", "b", "c"]
    assert client.xlen(STREAM.key) == 0
    assert client.xpending(STREAM.key, STREAM.group)["pending"] == 0


def test_what_was_sent_before_the_group_existed_is_delivered(client: redis.Redis) -> None:
    send(client, "early")
    recorder = Recorder()
    worker = worker_on(client, recorder)
    worker.step(NOT_STOPPED)
    worker.step(NOT_STOPPED)
    assert recorder.written == ["early"]


def test_a_failed_batch_is_delivered_again_before_anything_new(client: redis.Redis) -> None:
    recorder = Recorder()
    worker = worker_on(client, recorder)
    send(client, "a")
    worker.step(NOT_STOPPED)
    recorder.failure = psycopg.OperationalError("server is gone")
    with pytest.raises(psycopg.OperationalError):
        worker.step(NOT_STOPPED)
    send(client, "b")
    recorder.failure = None
    worker.step(NOT_STOPPED)
    assert recorder.written == ["a"]
    worker.step(NOT_STOPPED)
    worker.step(NOT_STOPPED)
    assert recorder.written == ["a", "b"]


def test_a_new_process_under_the_same_name_begins_with_what_the_dead_one_left(client: redis.Redis) -> None:
    send(client, "a", "b")
    dead = Recorder()
    dying = worker_on(client, dead)
    dying.step(NOT_STOPPED)
    dead.failure = KeyboardInterrupt  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        dying.step(NOT_STOPPED)
    recorder = Recorder()
    assert worker_on(client, recorder).step(NOT_STOPPED) == 2
    assert recorder.written == ["a", "b"]


def test_what_another_consumer_abandoned_is_taken_over(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    send(client, "a")
    StreamReader(client, STREAM, "gone", 10, 0.0).ensure_group()
    assert StreamReader(client, STREAM, "gone", 10, 0.0).fresh(NOT_STOPPED)
    recorder = Recorder()
    worker_on(client, recorder, "heir").step(NOT_STOPPED)
    assert recorder.written == []
    monkeypatch.setattr("infra.acp.workers.stream.ABANDONED_AFTER_MS", 0)
    worker_on(client, recorder, "heir").step(NOT_STOPPED)
    assert recorder.written == ["a"]


def test_what_cannot_be_decoded_or_stored_goes_to_the_dead_letters_alone(client: redis.Redis) -> None:
    recorder = Recorder()
    recorder.poison = {"d"}
    worker = worker_on(client, recorder)
    send(client, "a", "garbage", "c", "d", "e")
    worker.step(NOT_STOPPED)
    worker.step(NOT_STOPPED)
    assert recorder.written == ["a", "c", "e"]
    assert client.xlen(STREAM.key) == 0
    letters: Any = client.xrange(STREAM.dead_letters)
    assert [(letter[b"data"], letter[b"error"]) for _, letter in letters] == [
        (b"garbage", b"garbage"),
        (b"d", b"value cannot be stored"),
    ]


def test_a_server_failure_never_makes_a_dead_letter(client: redis.Redis) -> None:
    recorder = Recorder()
    worker = worker_on(client, recorder)
    send(client, "a")
    worker.step(NOT_STOPPED)
    for failure in (psycopg.OperationalError("restarting"), psycopg.errors.UndefinedTable("no schema yet")):
        recorder.failure = failure
        with pytest.raises(psycopg.Error):
            worker.step(NOT_STOPPED)
    assert (client.xlen(STREAM.key), client.xlen(STREAM.dead_letters)) == (1, 0)


def test_a_group_lost_with_the_memory_of_redis_is_made_again(client: redis.Redis) -> None:
    recorder = Recorder()
    worker = worker_on(client, recorder)
    worker.step(NOT_STOPPED)
    client.flushall()
    send(client, "a")
    with pytest.raises(redis.ResponseError, match="NOGROUP"):
        worker.step(NOT_STOPPED)
    worker.step(NOT_STOPPED)
    worker.step(NOT_STOPPED)
    assert recorder.written == ["a"]


def test_an_entry_trimmed_away_before_it_was_written_blocks_nothing(client: redis.Redis) -> None:
    recorder = Recorder()
    worker = worker_on(client, recorder)
    send(client, "a")
    worker.step(NOT_STOPPED)
    recorder.failure = psycopg.OperationalError("server is gone")
    with pytest.raises(psycopg.OperationalError):
        worker.step(NOT_STOPPED)
    client.xtrim(STREAM.key, maxlen=0, approximate=False)
    recorder.failure = None
    worker.step(NOT_STOPPED)
    assert recorder.written == []
    assert client.xpending(STREAM.key, STREAM.group)["pending"] == 0


def test_run_goes_on_after_a_failure_and_ends_when_told(client: redis.Redis) -> None:
    recorder = Recorder()
    worker = worker_on(client, recorder)
    stop, calls = threading.Event(), 0
    send(client, "a")
    recorder.failure = psycopg.OperationalError("server is gone")

    def between() -> None:
        nonlocal calls
        calls += 1
        if recorder.written:
            stop.set()

    thread = threading.Thread(target=worker.run, args=[stop, between])
    thread.start()
    recorder.failure = None
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert recorder.written == ["a"]


def test_metrics_say_how_far_behind_the_group_is_and_nothing_when_redis_is_gone(client: redis.Redis) -> None:
    registry = CollectorRegistry()
    registry.register(StreamCollector(client, STREAM, "acp_audit_stream_length"))
    assert generate_latest(registry) == b""
    reader = StreamReader(client, STREAM, "one", 2, 0.0)
    reader.ensure_group()
    send(client, "a", "b", "c")
    reader.fresh(NOT_STOPPED)
    text = generate_latest(registry).decode()
    assert "acp_audit_stream_length 3.0" in text
    assert 'acp_redis_consumer_group_lag{stream="test:stream"} 1.0' in text
    assert 'acp_redis_consumer_group_pending{stream="test:stream"} 2.0' in text
    assert 'acp_redis_dead_letter_length{stream="test:stream"} 0.0' in text

    unreachable = redis.Redis(port=1)
    absent = CollectorRegistry()
    absent.register(StreamCollector(unreachable, STREAM, "acp_audit_stream_length"))
    assert generate_latest(absent) == b""
