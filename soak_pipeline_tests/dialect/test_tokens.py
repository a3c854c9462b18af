"""The token of an answer, wherever the platform puts it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.dialect.platforms import nominal
from soak_pipeline.dialect.tokens import LIFE_S_MAX, LIFE_S_MIN, Token

COOKIE = "acp_token=x.y.z; HttpOnly; Max-Age=86400"
OTHER_COOKIE = "session=1.2.3; Path=/"
NONE = Token("", 900.0)


def token_in(body: bytes | dict[str, object], cookie: str = "") -> Token:
    return nominal.DIALECT.token_in(body if isinstance(body, bytes) else json.dumps(body).encode(), cookie)


def signed_in(token: object, life_s: object = 600) -> dict[str, object]:
    return {"success": True, "data": {"access_token": token, "expires_in": life_s}}


def test_the_body_comes_first() -> None:
    assert token_in(signed_in("a.b.c"), COOKIE) == Token("a.b.c", 600.0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"success": true, "data": {"access_tok',
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b'"x"',
        {"success": True, "data": None},
        {"success": True, "data": {}},
        signed_in("[REDACTED]"),
        signed_in("***"),
        signed_in(None),
        signed_in(7),
        signed_in("a.b"),
        signed_in("a.b.c.d"),
    ],
)
def test_the_cookie_stands_in_for_a_body_without_a_whole_token(body: bytes | dict[str, object]) -> None:
    assert token_in(body, COOKIE).text == "x.y.z"
    assert token_in(body).text == ""


@pytest.mark.parametrize("cookies", [f"{OTHER_COOKIE}, {COOKIE}", f"{COOKIE}, {OTHER_COOKIE}", "a; acp_token=x.y.z"])
def test_the_cookie_is_found_among_others(cookies: str) -> None:
    assert token_in(b"", cookies).text == "x.y.z"


@pytest.mark.parametrize("cookie", ["", OTHER_COOKIE, "acp_token", "acp_token=", "my_acp_token=x.y.z", "acp_token=x.y"])
def test_no_cookie_no_token(cookie: str) -> None:
    assert token_in(b"", cookie) == NONE


@pytest.mark.parametrize("token", ["a.b.c\r\nX-Admin: yes", "a.b.c d", "a.b.\u00e9", "a.b." + "c" * 9_000, "a.b.c\n"])
def test_what_would_change_a_request_is_no_token(token: str) -> None:
    assert token_in(signed_in(token)).text == ""
    assert token_in(b"", f"acp_token={token}").text in ("", "a.b.c")


@pytest.mark.parametrize(
    ("said", "life_s"),
    [
        (LIFE_S_MIN, LIFE_S_MIN),
        (LIFE_S_MAX, LIFE_S_MAX),
        (0.999, 900.0),
        (86_400.5, 900.0),
        (0, 900.0),
        (-5, 900.0),
        (1e300, 900.0),
        (True, 900.0),
        ("600", 900.0),
        (None, 900.0),
    ],
)
def test_a_life_outside_its_bounds_is_the_usual_one(said: object, life_s: float) -> None:
    assert token_in(signed_in("a.b.c", said)) == Token("a.b.c", life_s)


@given(st.binary(max_size=200), st.text(max_size=60))
def test_whatever_comes_is_a_token_or_none(body: bytes, cookie: str) -> None:
    token = nominal.DIALECT.token_in(body, cookie)
    assert token.text == "" or token.text.count(".") == 2
    assert LIFE_S_MIN <= token.life_s <= LIFE_S_MAX
