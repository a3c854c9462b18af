"""Databases and a Redis that keep silent, talk nonsense or hang up: a reason in bounded time."""

from __future__ import annotations

import pytest

from soak_pipeline.target import databases, queues
from soak_pipeline.target.databases import Unreadable, reading
from soak_pipeline.target.graph import read_graph
from soak_pipeline.target.queues import read_backlog, read_dead_letters
from soak_pipeline.target.timelines import read_timelines
from soak_pipeline_tests.hostile.server import Conversation, Script, hostile
from soak_pipeline_tests.target import examples

TENANT = examples.plan().tenants[0]
SIGNED_IN = b"R\x00\x00\x00\x08\x00\x00\x00\x00" + b"Z\x00\x00\x00\x05I"
"""What PostgreSQL says to a client that it trusts: authentication is fine, ready for a query."""


def silent_after_the_sign_in(conversation: Conversation) -> None:
    conversation.socket.recv(65536)
    conversation.say(SIGNED_IN)
    conversation.stay()


def _nonsense_after_the_sign_in(conversation: Conversation) -> None:
    conversation.socket.recv(65536)
    conversation.say(SIGNED_IN)
    conversation.socket.recv(65536)
    conversation.say(b"D\xff\xff\xff\xff" + b"\x1b[2Jnonsense" * 100)
    conversation.stay()


def _an_error_with_escapes(conversation: Conversation) -> None:
    conversation.socket.recv(65536)
    fields = b"SFATAL\x00C28000\x00M\x1b]0;owned\x07no entry for secret-pg\x00\x00"
    conversation.say(b"E" + (4 + len(fields)).to_bytes(4, "big") + fields)


def _gone_at_once(conversation: Conversation) -> None:
    conversation.reset()


def _garbage(conversation: Conversation) -> None:
    conversation.say(b"\x1b[31m-nonsense\r\n" * 100)
    conversation.stay()


@pytest.mark.parametrize(
    "script", [silent_after_the_sign_in, _nonsense_after_the_sign_in, _an_error_with_escapes, _gone_at_once]
)
def test_a_database_that_does_as_it_likes_is_unreadable(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "SILENCE_SLACK_S", 0.2)
    monkeypatch.setattr(databases, "STATEMENT_TIMEOUT_S", 0.1)
    with hostile(script) as server:
        dsn = f"postgresql://u:secret-pg@127.0.0.1:{server.port}/d?sslmode=disable&gssencmode=disable"
        dsns = {"audit": dsn}
        with pytest.raises(Unreadable) as caught, reading(dsns, "audit", statement_timeout_s=0.1) as connection:
            connection.execute("SELECT 1")
    assert "secret-pg" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_readers_give_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with hostile(_gone_at_once) as server:
        dsn = f"postgresql://u:secret-pg@127.0.0.1:{server.port}/d?sslmode=disable&gssencmode=disable"
        resolved = examples.resolved(dsns=dict.fromkeys(("audit", "flight_recorder", "identity_graph"), dsn))
        timelines = read_timelines(resolved, TENANT)
        graph = read_graph(resolved, TENANT, ["a"], [])
        backlog = read_backlog(resolved)
    assert timelines.total is None
    assert timelines.reason
    assert graph.agent_nodes is None
    assert graph.reason
    assert backlog.is_empty is None
    assert "secret-pg" not in timelines.reason + graph.reason + backlog.reason


@pytest.mark.parametrize("script", [_garbage, _gone_at_once, Conversation.stay])
def test_a_redis_that_does_as_it_likes_is_unreadable(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "REDIS_TIMEOUT_S", 0.2)
    with hostile(script) as server:
        resolved = examples.resolved(redis_url=f"redis://:secret-redis@127.0.0.1:{server.port}/0")
        backlog = read_backlog(resolved)
        assert read_dead_letters(resolved) is None
    assert backlog.is_empty is None
    assert "Redis: " in backlog.reason
    assert "secret-redis" not in backlog.reason
