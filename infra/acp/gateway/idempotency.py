"""`Idempotency-Key`: the same call sent twice is carried out once.

Owns the record of a key in Redis: first that the call is under way, then its answer, for as long as the tenant's tier
keeps it. A call without the header costs nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from infra.acp.gateway.http import JSON_CONTENT, Refusal, Request, Response, encode_json
from infra.acp.gateway.services import Services

#: Seconds for which an answer is kept, by the tenant's tier.
KEPT_FOR_S = {"enterprise": 86_400, "pro": 3_600, "basic": 300}
#: Seconds after which a call that never ended frees its key.
UNDER_WAY_S = 30


@dataclass(slots=True)
class Replay:
    """One call's claim on its key; `cached` is the earlier answer, if there is one."""

    services: Services | None = None
    key: str = ""
    fingerprint: str = ""
    tenant_id: str = ""
    cached: Response | None = None

    async def keep(self, response: Response) -> None:
        """Keep the answer for repetitions, unless it was a failure of the server."""
        if self.services is None:
            return
        if response.status >= 500 or response.status == 429:
            await self.abandon()
            return
        record = {"fingerprint": self.fingerprint, "status": response.status, "body": response.body.decode()}
        tenant = await self.services.directory.tenant(self.tenant_id)
        life_s = KEPT_FOR_S[tenant["tier"] if tenant else "basic"]
        await self.services.link.execute("SET", self.key, encode_json(record), "EX", life_s)

    async def abandon(self) -> None:
        """Free the key, so that the call may be tried again."""
        if self.services is not None:
            await self.services.link.execute("DEL", self.key)


async def begin(services: Services, request: Request) -> Replay:
    """Claim the key of a call.

    Raises:
        Refusal: 400 when the key belongs to another body, 409 while the first call is under way.
    """
    name = request.header(b"idempotency-key")
    if not name:
        return Replay()
    tenant_id = request.caller.tenant_id
    fingerprint = hashlib.sha256(request.path.encode() + b"\0" + request.body).hexdigest()
    key = f"acp:idempotency:{tenant_id}:{hashlib.sha256(name.encode()).hexdigest()}"
    claim = encode_json({"fingerprint": fingerprint})
    claimed = await services.link.execute("SET", key, claim, "NX", "EX", UNDER_WAY_S)
    if claimed is not None:
        return Replay(services, key, fingerprint, tenant_id)
    record: dict[str, Any] = msgspec.json.decode(await services.link.execute("GET", key) or claim)
    if record["fingerprint"] != fingerprint:
        raise Refusal(400, "Idempotency-Key was used for a different request")
    if "status" not in record:
        raise Refusal(409, "A request with this Idempotency-Key is under way")
    answer = Response(record["status"], record["body"].encode(), ((b"x-idempotency-hit", b"true"),), JSON_CONTENT)
    return Replay(cached=answer)
