"""Replies reach who asked, and a lost or silent Redis fails callers instead of keeping them waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import hiredis
import pytest

from infra.acp.gateway.redis_link import RedisLink, RedisUnavailable
from soak_pipeline_tests.infra.servers import Servers, free_port
from soak_pipeline_tests.waiting import PATIENCE_S

pytestmark = pytest.mark.every_redis


def run(scenario: Coroutine[None, None, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await scenario

    asyncio.run(bounded())


def test_many_commands_at_once_each_get_their_own_reply(servers: Servers) -> None:
    async def scenario() -> None:
        link = RedisLink(servers.redis_url)
        await link.open()
        replies = await asyncio.gather(*(link.execute("ECHO", f"text {number}") for number in range(500)))
        assert [reply.decode() for reply in replies] == [f"text {number}" for number in range(500)]
        assert await link.execute_all([("SET", "a", 1), ("INCR", "a"), ("GET", "a")]) == b"2"
        assert link.pending == 0
        await link.close()

    run(scenario())


def test_a_refused_command_fails_only_its_own_caller(servers: Servers) -> None:
    async def scenario() -> None:
        link = RedisLink(servers.redis_url)
        await link.open()
        good, bad = link.execute("PING"), link.execute("NO SUCH COMMAND")
        together = link.execute_all([("SET", "a", "text"), ("INCR", "a"), ("PING",)])
        last = link.execute("PING")
        assert await good == b"PONG"
        for refused in (bad, together):
            with pytest.raises(hiredis.ReplyError):
                await refused
        assert await last == b"PONG"
        await link.close()

    run(scenario())


def test_a_wrong_password_is_an_error_at_once(servers: Servers) -> None:
    async def scenario() -> None:
        with pytest.raises(RedisUnavailable):
            await RedisLink(servers.redis_url.replace("redis://:", "redis://:wrong")).open()

    run(scenario())


def test_a_lost_connection_fails_what_waits_and_is_opened_again(servers: Servers) -> None:
    async def scenario() -> None:
        link = RedisLink(servers.redis_url)
        await link.open()
        name = await link.execute("CLIENT", "ID")
        waiting = link.execute("BLPOP", "nothing", 20)
        other = RedisLink(servers.redis_url)
        await other.open()
        await other.execute("CLIENT", "KILL", "ID", name)
        with pytest.raises(RedisUnavailable):
            await waiting
        with pytest.raises(RedisUnavailable):
            await link.execute("PING")
        while link.reopenings == 0:
            await asyncio.sleep(0.01)
        while True:
            try:
                assert await link.execute("PING") == b"PONG"
                break
            except RedisUnavailable:
                await asyncio.sleep(0.01)
        await link.close()
        await other.close()

    run(scenario())


def test_a_silent_server_is_given_up() -> None:
    async def scenario() -> None:
        async def answer_the_greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(b"+OK\r\n")
            await reader.read()

        port = free_port()
        server = await asyncio.start_server(answer_the_greeting, "127.0.0.1", port)
        link = RedisLink(f"redis://127.0.0.1:{port}", reply_timeout_s=0.2)
        await link.open()
        with pytest.raises(RedisUnavailable, match="did not answer within"):
            await link.execute("PING")
        await link.close()
        server.close()

    run(scenario())


def test_nothing_listening_is_an_error_at_once() -> None:
    async def scenario() -> None:
        with pytest.raises(RedisUnavailable, match="refused the connection"):
            await RedisLink(f"redis://127.0.0.1:{free_port()}").open()

    run(scenario())
