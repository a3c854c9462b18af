"""Reads Prometheus text pages, directly or from a Prometheus that has stored them.

Owns the parsing. The gateway's page has thousands of bucket lines of which a few are wanted, and it is read every few
seconds for hours beside the load: lines are chosen by name before anything of them is parsed, which costs a
fiftieth of the general parser of `prometheus_client`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import httpx

from soak_pipeline.target.databases import Unreadable
from soak_pipeline.target.transport import DEADLINE_TIMEOUTS, ExchangeTransport, no_cookies

MAX_PAGE_BYTES = 16 * 1024 * 1024
MAX_LINE_CHARS = 16 * 1024
RANGE_TIMEOUT_S = 30
"""For one answer of a Prometheus."""

MOST_POINTS = 10_000
"""Points of one range query; Prometheus refuses more than 11,000."""

_LINE = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+([^\s_]+)(?:\s+-?\d+)?\s*")
_LABEL = re.compile(r'\s*([A-Za-z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*,?')
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


class Sample(NamedTuple):
    """One line of a page."""

    name: str
    labels: dict[str, str]
    value: float


def parse_metrics(text: str, names: Collection[str]) -> Iterator[Sample]:
    """The samples of some names on a page; a line that is malformed is left out, as if the page did not have it.

    Every quantity that is read here counts something: a value that is negative, infinite or no number is malformed.

    Args:
        text: of the page.
        names: full sample names, such as `process_open_fds` or `x_seconds_bucket`.
    """
    wanted = frozenset(names)
    for line in text.split("\n"):  # And at nothing else: a label's value may hold other line separators.
        name = line.partition("{")[0].partition(" ")[0]
        if name in wanted and len(line) <= MAX_LINE_CHARS and (match := _LINE.fullmatch(line)):
            try:
                value = float(match[3])
            except ValueError:
                continue
            if 0.0 <= value < math.inf:
                yield Sample(name, _labels(match[2] or ""), value)


def fetch_page(client: httpx.Client, url: str, headers: Mapping[str, str]) -> str:
    """The text of one page.

    Raises:
        Unreadable: no answer, another status than 200, or a page without end.
    """
    parts = []
    size = 0
    try:
        with client.stream("GET", url, headers={**headers, "Accept-Encoding": "identity"}) as response:
            if response.status_code != 200:
                raise Unreadable(f"{url} answered {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise Unreadable(f"{url} is compressed although not asked to be")
            for part in response.iter_raw():
                size += len(part)
                if size > MAX_PAGE_BYTES:
                    raise Unreadable(f"{url} is larger than {MAX_PAGE_BYTES} bytes")
                parts.append(part)
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise Unreadable(f"{url}: no answer ({type(error).__name__})") from None
    return b"".join(parts).decode(errors="replace")


def metrics_client(timeout_s: float = 3.0) -> httpx.Client:
    """A client for pages: no proxy, no redirect, no cookie, and no page for longer than three times `timeout_s`."""
    return httpx.Client(
        timeout=timeout_s,
        trust_env=False,
        follow_redirects=False,
        cookies=no_cookies(),
        transport=ExchangeTransport(connections=4, deadline_s=DEADLINE_TIMEOUTS * timeout_s),
    )


def prometheus_range(
    url: str, query: str, start: datetime, end: datetime, step_s: float
) -> dict[tuple[tuple[str, str], ...], list[tuple[float, float]]]:
    """A range query in pieces that Prometheus accepts.

    Args:
        url: of the Prometheus.
        query: PromQL.
        start, end: aware, both included; the client library rounds them to whole seconds.
        step_s: between two points (whole seconds, so that pieces do not overlap).

    Returns:
        Per set of labels (sorted pairs): (unix seconds, value), ascending.

    Raises:
        Unreadable: it does not answer, or refuses the query.
    """
    # Its import takes a second, for pandas and matplotlib, which only targets with a Prometheus should pay.
    import requests
    from prometheus_api_client import PrometheusConnect
    from prometheus_api_client.exceptions import PrometheusApiClientException

    series: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    try:
        with requests.Session() as session:
            session.trust_env = False  # As for the pages: no proxy of the environment, and no redirect.
            session.max_redirects = 0
            client = PrometheusConnect(url=url.rstrip("/"), session=session, timeout=RANGE_TIMEOUT_S)
            for piece_start, piece_end in range_pieces(start, end, step_s):
                for item in client.custom_query_range(query, piece_start, piece_end, f"{step_s:g}s"):
                    labels = tuple(sorted(item["metric"].items()))
                    series.setdefault(labels, []).extend((float(at), float(value)) for at, value in item["values"])
    except (PrometheusApiClientException, OSError, KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"Prometheus: {type(error).__name__}") from None
    return series


def range_pieces(start: datetime, end: datetime, step_s: float) -> Iterator[tuple[datetime, datetime]]:
    """Splits a range so that no piece has more than `MOST_POINTS` points, and no point is in two pieces."""
    step = timedelta(seconds=step_s)
    at = start.astimezone(UTC)
    end = end.astimezone(UTC)
    while at <= end:
        piece_end = min(end, at + (MOST_POINTS - 1) * step)
        yield at, piece_end
        at = piece_end + step


def _labels(text: str) -> dict[str, str]:
    return {
        match[1]: re.sub(r"\\.", lambda escape: _ESCAPES.get(escape[0], escape[0]), match[2])
        if "\\" in match[2]
        else match[2]
        for match in _LABEL.finditer(text)
    }
