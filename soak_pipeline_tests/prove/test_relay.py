"""The relay passes metrics pages through until it is told to block, and then answers nothing."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from soak_pipeline.prove.lane import EMBEDDED_TARGET
from soak_pipeline.prove.relay import OWNERS, VARIABLE, MetricsRelays, write_relayed_target
from soak_pipeline.target.config import load_target
from soak_pipeline_tests.target.web import serving
from soak_pipeline_tests.waiting import PATIENCE_S


def test_pages_pass_through_until_they_are_blocked_and_the_page_itself_goes_on() -> None:
    asked: list[str] = []

    def answer(path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        asked.append(path)
        return 200, f"up 1 for {headers['x-prometheus-secret']}\n".encode()

    with serving(answer) as url, MetricsRelays(lambda: {"audit": f"{url}/metrics"}) as relays:
        pages = dict(entry.split("=", 1) for entry in relays.pages().split(","))
        assert tuple(pages) == OWNERS
        with httpx.Client(headers={"X-Prometheus-Secret": "s"}, timeout=PATIENCE_S) as client:
            for _ in range(2):
                assert client.get(pages["audit"]).text == "up 1 for s\n"
            with pytest.raises(httpx.HTTPError):
                client.get(pages["usage"])
            relays.block()
            for _ in range(2):
                with pytest.raises(httpx.HTTPError):
                    client.get(pages["audit"])
            assert client.get(f"{url}/metrics").status_code == 200
    assert asked == ["/metrics"] * 3


def test_the_platform_is_asked_for_its_pages_only_once_it_runs() -> None:
    answers = [{}, {"gateway": "http://127.0.0.1:9/metrics"}]
    with MetricsRelays(lambda: answers.pop(0)) as relays:
        gateway = relays.pages().split(",")[0].partition("=")[2]
        for _ in range(3):
            with pytest.raises(httpx.HTTPError):
                httpx.get(gateway, timeout=PATIENCE_S)
    assert answers == []


def test_the_relayed_target_differs_in_its_pages_only(tmp_path: Path) -> None:
    original = load_target(EMBEDDED_TARGET)
    relayed = load_target(write_relayed_target(EMBEDDED_TARGET, tmp_path / "relayed.yaml"))

    assert (relayed.metrics_urls, relayed.metrics_urls_env) == ((), VARIABLE)
    assert relayed.name == original.name
    assert (relayed.allow_load, relayed.embedded, relayed.databases) == (True, True, original.databases)
