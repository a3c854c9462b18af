"""Bearer tokens: HS256 JWTs of fifteen minutes, and what they say.

Owns issuing and checking of signature and expiry. Whether a token has been revoked is asked of Redis with every
request, in the admission script; see `admission.py`.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import Any

import jwt
from jwt.types import Options

from infra.acp import clock, faults

ALGORITHM = "HS256"
TOKEN_TYPE = "ACP_ACCESS"
REQUIRED_CLAIMS = ["jti", "sub", "tenant_id", "role", "typ", "iat", "exp"]
#: Expiry is checked with every use, and by the platform's clock, which the library does not know.
_DECODING: Options = {"require": REQUIRED_CLAIMS, "verify_exp": False, "verify_iat": False}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a valid token speaks for.

    `token_key` is the SHA-256 of the token in hex, the name under which Redis knows it. `expires_at` is unix seconds.
    `agent_id` is empty for a user, `user_id` is empty for an agent.
    """

    token_key: str
    jti: str
    subject: str
    tenant_id: str
    org_id: str
    role: str
    user_id: str
    agent_id: str
    expires_at: float

    @property
    def is_agent(self) -> bool:
        return self.agent_id != ""


class InvalidToken(Exception):
    """The bearer is no token of ours, or no longer valid."""


def token_key(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class TokenAuthority:
    """Issues tokens, and checks them with a bounded cache of the signatures it has already checked.

    Args:
        secret: the HS256 key.
        ttl_s: life of a token in seconds.
        cache_size: tokens remembered; the oldest is forgotten first.
    """

    def __init__(self, secret: str, *, ttl_s: int, cache_size: int = 10_000) -> None:
        self._secret = secret
        self.ttl_s = ttl_s
        self._cache_size = cache_size
        self._checked: dict[str, Principal] = {}

    def issue(
        self,
        *,
        subject: str,
        tenant_id: str,
        org_id: str,
        role: str,
        user_id: str = "",
        agent_id: str = "",
        agent_status: str = "",
        permissions: list[dict[str, str]] | None = None,
    ) -> tuple[str, Principal]:
        """Sign a token for a user or, with `agent_id`, for an agent. Redis must learn of it before it is used."""
        now = int(clock.now_s())
        claims: dict[str, Any] = {
            "jti": str(uuid.uuid4()),
            "sub": subject,
            "tenant_id": tenant_id,
            "org_id": org_id,
            "role": role,
            "typ": TOKEN_TYPE,
            "iat": now,
            "exp": now + self.ttl_s,
        }
        if agent_id:
            claims |= {"agent_id": agent_id, "agent_status": agent_status, "permissions": permissions or []}
        else:
            claims["user_id"] = user_id
        token = jwt.encode(claims, self._secret, algorithm=ALGORITHM)
        return token, _principal(token, claims)

    def check(self, token: str) -> Principal:
        """Who this token speaks for.

        Raises:
            InvalidToken: malformed, wrongly signed, of another kind, or expired.
        """
        principal = self._checked.get(token)
        if principal is None:
            principal = self._decode(token)
            if len(self._checked) >= self._cache_size:
                del self._checked[next(iter(self._checked))]
            self._checked[token] = principal
        expires_at = principal.expires_at
        if (fault := faults.active("tokens_expire_early")) and fault.concerns(principal.tenant_id):
            expires_at += fault["life_s"] - self.ttl_s
        if expires_at <= clock.now_s():
            self._checked.pop(token, None)
            raise InvalidToken("expired")
        return principal

    def _decode(self, token: str) -> Principal:
        try:
            claims = jwt.decode(token, self._secret, algorithms=[ALGORITHM], options=_DECODING)
        except jwt.PyJWTError as error:
            raise InvalidToken(type(error).__name__) from None
        if claims["typ"] != TOKEN_TYPE:
            raise InvalidToken("not an access token")
        return _principal(token, claims)


def _principal(token: str, claims: dict[str, Any]) -> Principal:
    return Principal(
        token_key=token_key(token),
        jti=str(claims["jti"]),
        subject=str(claims["sub"]),
        tenant_id=str(claims["tenant_id"]),
        org_id=str(claims.get("org_id") or claims["tenant_id"]),
        role=str(claims["role"]),
        user_id=str(claims.get("user_id") or ""),
        agent_id=str(claims.get("agent_id") or ""),
        expires_at=float(claims["exp"]),
    )
