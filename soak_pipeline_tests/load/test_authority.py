"""Which URLs load may be sent to, and what they say."""

from __future__ import annotations

import pytest

from soak_pipeline.load.authority import authority_of
from soak_pipeline.model.errors import BadInput


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "header"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1", 8000, False, "127.0.0.1:8000"),
        ("https://acp.example/v1/", "acp.example", 443, True, "acp.example"),
        ("http://[::1]:81", "::1", 81, False, "[::1]:81"),
    ],
)
def test_a_gateway_url_is_taken_apart(url: str, host: str, port: int, tls: bool, header: str) -> None:
    authority = authority_of(url)
    assert authority[:4] == (host, port, tls, header)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:80", "ftp://x", "http://", "http://a:b@x", "http://x?y=1", "http://x#y", "http://x:99999"]
)
def test_what_is_no_gateway_url_is_refused(url: str) -> None:
    with pytest.raises(BadInput):
        authority_of(url)
