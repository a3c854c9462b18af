"""Admission of authenticated requests: token known, tenant's limits, kill switch; one Redis script per request.

Owns the script, the names of the Redis keys behind it and the writing of a tenant's limits there. The answer carries
the version of the tenant's state, by which every worker process sees at once that what it remembers of the tenant
(limits, agents, permissions) is out of date.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import hiredis

from infra.acp import clock
from infra.acp.gateway.redis_link import Command, RedisLink
from infra.acp.gateway.tokens import Principal

#: Admits one authenticated request or says why not, in one atomic step.
#: ARGV: tenant id, token key, day (YYYY-MM-DD), month (YYYY-MM).
#: Returns: {outcome, version of the tenant's state, 1 when the kill switch is engaged, seconds until a retry may help}.
#: Outcomes: ok; token (unknown, expired or revoked); load (Redis does not know the tenant's limits);
#: rpm, rps, daily, monthly (the limit that is used up).
ADMIT = """
local tenant, token_key, day, month = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if redis.call('EXISTS', 'acp:token:' .. token_key) == 0 then return {'token', '', 0, 0} end

local gate = 'acp:tenant:gate:' .. tenant
local state = redis.call('HMGET', gate, 'version', 'rpm', 'rps', 'burst', 'daily', 'monthly',
                         'rpm_tokens', 'rps_tokens', 'refilled_at')
local version = state[1]
if not version then return {'load', '', 0, 0} end

local killed = redis.call('EXISTS', 'acp:tenant_kill:' .. tenant)
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local elapsed = math.max(0, now - tonumber(state[9] or now))

local function refill(tokens, capacity, per_second)
    return math.min(capacity, tonumber(tokens or capacity) + elapsed * per_second)
end

local rpm, rps, burst = tonumber(state[2]), tonumber(state[3]), tonumber(state[4])
local rpm_tokens = refill(state[7], rpm, rpm / 60)
local rps_tokens = refill(state[8], burst, rps)

local outcome, retry = 'ok', 0
if rpm_tokens < 1 then
    outcome, retry = 'rpm', rpm > 0 and (1 - rpm_tokens) * 60 / rpm or 60
elseif rps_tokens < 1 then
    outcome, retry = 'rps', rps > 0 and (1 - rps_tokens) / rps or 60
else
    rpm_tokens, rps_tokens = rpm_tokens - 1, rps_tokens - 1
end
redis.call('HSET', gate, 'rpm_tokens', tostring(rpm_tokens), 'rps_tokens', tostring(rps_tokens),
           'refilled_at', string.format('%.6f', now))

if outcome == 'ok' then
    local daily_key = 'acp:quota:daily:' .. tenant .. ':' .. day
    local monthly_key = 'acp:quota:monthly:' .. tenant .. ':' .. month
    local used_today, used_this_month = redis.call('INCR', daily_key), redis.call('INCR', monthly_key)
    if used_today == 1 then redis.call('EXPIRE', daily_key, 172800) end
    if used_this_month == 1 then redis.call('EXPIRE', monthly_key, 5356800) end
    local daily, monthly = tonumber(state[5]), tonumber(state[6])
    if daily and used_today > daily then outcome, retry = 'daily', 86400 - now % 86400
    elseif monthly and used_this_month > monthly then outcome, retry = 'monthly', 86400 - now % 86400 end
end
return {outcome, version, killed, tostring(retry)}
"""
#: A token stays known to Redis for this long after it has expired.
TOKEN_GRACE_S = 60

LIMITS_ABSENT = """
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
return redis.status_reply('OK')
"""


@dataclass(frozen=True, slots=True)
class Admission:
    """What the script said. `retry_after_s` counts when `outcome` is a limit."""

    outcome: str
    version: str
    is_killed: bool
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a tenant may ask. Rates of 0 admit nothing; `monthly` none means no cap."""

    rpm: int
    rps: int
    burst: int
    daily: int
    monthly: int | None


class AdmissionGate:
    """Asks the script, and keeps the state that it reads."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._script_id = b""

    async def admit(self, principal: Principal) -> Admission:
        """Charge one request to the caller's tenant.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        now = time.gmtime(clock.now_s())
        arguments = (
            principal.tenant_id,
            principal.token_key,
            f"{now.tm_year:04}-{now.tm_mon:02}-{now.tm_mday:02}",
            f"{now.tm_year:04}-{now.tm_mon:02}",
        )
        outcome, version, killed, retry = await self._evaluate(arguments)
        return Admission(outcome.decode(), version.decode(), killed == 1, float(retry))

    async def _evaluate(self, arguments: tuple[str, ...]) -> list[Any]:
        try:
            return list(await self._link.execute("EVALSHA", self._script_id, "0", *arguments))
        except hiredis.ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
        self._script_id = await self._link.execute("SCRIPT", "LOAD", ADMIT)
        return list(await self._link.execute("EVALSHA", self._script_id, "0", *arguments))

    async def set_limits(self, tenant_id: str, limits: Limits) -> None:
        """Put a tenant's new limits in force, with full buckets, for every worker's next request."""
        gate = gate_key(tenant_id)
        await self._link.execute_all(
            [
                ("HSET", gate, *_limit_fields(limits)),
                ("HDEL", gate, *([] if limits.monthly is not None else ["monthly"]), "rpm_tokens", "rps_tokens"),
            ]
        )

    async def set_limits_if_absent(self, tenant_id: str, limits: Limits) -> None:
        """Tell Redis the limits that the database holds, unless it has learnt of some meanwhile."""
        await self._link.execute("EVAL", LIMITS_ABSENT, "1", gate_key(tenant_id), *_limit_fields(limits))

    async def forget(self, tenant_id: str) -> None:
        """Have the limits read from the database again at the next request."""
        await self._link.execute("DEL", gate_key(tenant_id))

    async def bump(self, tenant_id: str) -> None:
        """Make every worker read the tenant's agents and permissions anew. Only after the change is committed."""
        await self._link.execute("EVAL", BUMP, "1", gate_key(tenant_id), _new_version())

    async def set_kill(self, tenant_id: str, engaged: bool) -> None:
        key = f"acp:tenant_kill:{tenant_id}"
        await self._link.execute(*(("SET", key, "1") if engaged else ("DEL", key)))

    async def is_killed(self, tenant_id: str) -> bool:
        return bool(await self._link.execute("EXISTS", f"acp:tenant_kill:{tenant_id}"))

    async def quota_used(self, tenant_id: str) -> tuple[int, int]:
        """Requests of this UTC day and of this month."""
        now = time.gmtime(clock.now_s())
        day, month = time.strftime("%Y-%m-%d", now), time.strftime("%Y-%m", now)
        used = await self._link.execute(
            "MGET", f"acp:quota:daily:{tenant_id}:{day}", f"acp:quota:monthly:{tenant_id}:{month}"
        )
        return int(used[0] or 0), int(used[1] or 0)


#: Changes the version only where the limits are known; elsewhere the next request loads everything anyway.
BUMP = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'version', ARGV[1]) end
return redis.status_reply('OK')
"""


def gate_key(tenant_id: str) -> str:
    return f"acp:tenant:gate:{tenant_id}"


def remember_token(principal: Principal) -> Command:
    """The command that makes a new token valid. A token that Redis does not know is invalid everywhere."""
    life_s = max(1, int(principal.expires_at - clock.now_s()) + TOKEN_GRACE_S)
    return ("SET", f"acp:token:{principal.token_key}", principal.subject, "EX", life_s)


def revoke_token(principal: Principal) -> Command:
    """The command that makes a token invalid for every worker's next request."""
    return ("DEL", f"acp:token:{principal.token_key}")


def _limit_fields(limits: Limits) -> list[str]:
    fields = {
        "version": _new_version(),
        "rpm": limits.rpm,
        "rps": limits.rps,
        "burst": limits.burst,
        "daily": limits.daily,
    }
    if limits.monthly is not None:
        fields["monthly"] = limits.monthly
    return [str(part) for pair in fields.items() for part in pair]


def _new_version() -> str:
    """A name that no earlier state had: the clock in microseconds and a random tail."""
    return f"{time.time_ns() // 1000}-{os.urandom(4).hex()}"
