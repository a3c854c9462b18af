"""How an account signs in, and how the token is found in the answer: the only place that knows.

A platform may mask or cut the body of its answer; the cookie then carries the token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from soak_pipeline.dialect.requests import Envelope, Request, Route

LIFE_S_MIN, LIFE_S_MAX = 1.0, 86_400.0
"""A life that an answer claims outside these bounds is taken for a mistake, and replaced by the usual one."""

# Whatever the platform sends goes into a header of ours: nothing but a token may pass.
_PART = r"[A-Za-z0-9_~+/=-]+"
_FORM = re.compile(rf"(?=.{{1,8192}}\Z){_PART}\.{_PART}\.{_PART}")


class Token(NamedTuple):
    """A token and how long it is good for (seconds); the text, a secret, is empty when there is none."""

    text: str
    life_s: float


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Sign-in, refresh, and the token in their answers.

    Attributes:
        sign_in_route, refresh_route: the calls.
        token_key, life_key: in the payload of the answer.
        cookie: that carries the token too.
        life_s_usual: where the answer says none (seconds).
    """

    sign_in_route: Route
    refresh_route: Route
    token_key: str
    life_key: str
    cookie: str
    life_s_usual: float

    def sign_in(self, email: str, password: str) -> Request:
        """Signs an account in; needs no token."""
        return self.sign_in_route.request({"email": email, "password": password})

    def refresh(self) -> Request:
        """Gets a new token for the one that is sent."""
        return self.refresh_route.request({})

    def token_in(self, envelope: Envelope, body: bytes, set_cookie: str) -> Token:
        """The token of an answer: from its body, or from its cookie where the body has none that is whole.

        Args:
            envelope: of the platform's answers.
            body: may be masked, cut off, or no JSON.
            set_cookie: value of the `Set-Cookie` headers, joined by commas; empty when there is none.
        """
        try:
            payload = envelope.payload_of(msgspec.json.decode(body))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            payload = None
        said = payload if isinstance(payload, dict) else {}
        found = (said.get(self.token_key), _cookie(set_cookie, self.cookie))
        text = next((text for text in found if isinstance(text, str) and _FORM.fullmatch(text)), "")
        return Token(text, self._life_s(said.get(self.life_key)))

    def _life_s(self, said: object) -> float:
        if isinstance(said, int | float) and not isinstance(said, bool) and LIFE_S_MIN <= said <= LIFE_S_MAX:
            return float(said)
        return self.life_s_usual


def _cookie(set_cookie: str, name: str) -> str:
    for part in set_cookie.replace(",", ";").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""
