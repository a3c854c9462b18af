from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from soak_pipeline.target.databases import Unreadable
from soak_pipeline.target.metrics import (
    MOST_POINTS,
    Sample,
    fetch_page,
    metrics_client,
    parse_metrics,
    prometheus_range,
    range_pieces,
)
from soak_pipeline_tests.target.web import serving


def _by_the_general_parser(text: str) -> list[tuple[str, dict[str, str], float]]:
    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8), st.floats(0, 10, allow_nan=False)), max_size=8))
def test_a_page_reads_as_the_general_parser_reads_it(observations: list[tuple[str, str, float]]) -> None:
    registry = CollectorRegistry()
    latency = Histogram("latency_seconds", "help", ["tenant", "path"], registry=registry, buckets=(0.1, 0.25, 1))
    count = Counter("requests", "help", ["tenant"], registry=registry)
    Gauge("process_open_fds", "help", registry=registry).set(12)
    for tenant, path, value in observations:
        latency.labels(tenant, path).observe(value)
        count.labels(tenant).inc()
    text = generate_latest(registry).decode()
    expected = [item for item in _by_the_general_parser(text) if not item[0].endswith("_created")]
    names = {name for name, _, _ in expected}
    got = [tuple(sample) for sample in parse_metrics(text, names)]
    assert sorted(map(repr, got)) == sorted(map(repr, expected))


def test_only_wanted_names_are_read_and_malformed_lines_are_left_out() -> None:
    text = "\n".join(
        [
            "# HELP a x",
            "a 1",
            'a{x="1", y="2",} 2 1700000000',
            "ab 3",
            "a{broken 4",
            "a notanumber",
            "a NaN",
            "a +Inf",
            "",
        ]
    )
    assert list(parse_metrics(text, {"a"})) == [Sample("a", {}, 1.0), Sample("a", {"x": "1", "y": "2"}, 2.0)]


def test_a_page_is_fetched_with_its_secret() -> None:
    with (
        serving(lambda path, headers: (200, headers.get("x-prometheus-secret", "none").encode())) as url,
        metrics_client() as client,
    ):
        assert fetch_page(client, f"{url}/metrics", {"X-Prometheus-Secret": "s3"}) == "s3"
        assert fetch_page(client, f"{url}/metrics", {}) == "none"


def test_a_page_that_refuses_is_unreadable() -> None:
    with (
        serving(lambda path, headers: (401, b"")) as url,
        metrics_client() as client,
        pytest.raises(Unreadable, match="answered 401"),
    ):
        fetch_page(client, f"{url}/metrics", {})


def test_a_page_that_is_gone_is_unreadable() -> None:
    with metrics_client() as client, pytest.raises(Unreadable, match="no answer"):
        fetch_page(client, "http://127.0.0.1:1/metrics", {})


@given(st.integers(0, 50_000), st.integers(1, 60))
def test_pieces_cover_every_point_once_and_none_is_too_large(points: int, step_s: int) -> None:
    start = datetime(2026, 11, 23, tzinfo=UTC)
    end = start + timedelta(seconds=points * step_s)
    seen = 0
    expected = start
    for piece_start, piece_end in range_pieces(start, end, step_s):
        count = (piece_end - piece_start) // timedelta(seconds=step_s) + 1
        assert piece_start == expected
        assert count <= MOST_POINTS
        seen += count
        expected = piece_end + timedelta(seconds=step_s)
    assert seen == points + 1


def test_a_range_is_read_from_a_prometheus_in_pieces() -> None:
    asked = []

    def answer(path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        query = parse_qs(urlsplit(path).query)
        start, end = float(query["start"][0]), float(query["end"][0])
        asked.append((start, end))
        values = [[start, "1"], [end, "2"]]
        return 200, json.dumps({"data": {"result": [{"metric": {"tenant_id": "t"}, "values": values}]}}).encode()

    start = datetime(2026, 11, 23, tzinfo=UTC)
    with serving(answer) as url:
        series = prometheus_range(url, "up", start, start + timedelta(seconds=15_000), 1.0)
    zero = start.timestamp()
    assert asked == [(zero, zero + 9_999), (zero + 10_000, zero + 15_000)]
    assert series == {
        (("tenant_id", "t"),): [(zero, 1.0), (zero + 9_999, 2.0), (zero + 10_000, 1.0), (zero + 15_000, 2.0)]
    }


def test_a_prometheus_that_fails_is_unreadable() -> None:
    moment = datetime(2026, 11, 23, tzinfo=UTC)
    with serving(lambda path, headers: (400, b"bad query")) as url, pytest.raises(Unreadable, match="Prometheus"):
        prometheus_range(url, "up{", moment, moment, 1.0)
