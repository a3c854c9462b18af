"""Locust's own web page over a session, to look at only: the session's plan, lease and end are not in its hands.

Owns what of the page answers. Locust's percentiles are rounded to two digits and never judged.
"""

from __future__ import annotations

import logging
from typing import Final

from flask import Response, request
from locust.env import Environment

from soak_pipeline.model.traffic import Operation, Outcome

HOST: Final = "127.0.0.1"
SHOWN: Final = frozenset({"/", "/stats/requests", "/exceptions", "/tasks", "/logs"})
"""What the page reads. Locust would also start, change, stop and reset from here, some of it by GET."""

logger = logging.getLogger(__name__)


def serve_locust_page(environment: Environment, port: int) -> None:
    """Serves the page from the master for as long as it lives; a taken port is a line in the log."""
    page = environment.create_web_ui(HOST, port, delayed_start=True)
    assert page.app is not None
    page.app.before_request(_look_only)
    page.start()  # type: ignore[no-untyped-call]
    assert page.greenlet is not None
    page.greenlet.link_exception(lambda _: logger.warning("Locust's page ended: is port %d on %s taken?", port, HOST))


def _look_only() -> Response | None:
    if request.method == "GET" and (request.path in SHOWN or request.path.startswith("/assets/")):
        return None
    return Response("This page only shows. Stop a run where it was started, or in the Dagster UI.\n", 403)


class LocustStatistics:
    """Tells Locust's statistics of every request; only there when the page was asked for, since it costs.

    Args:
        environment: of the worker.
    """

    def __init__(self, environment: Environment) -> None:
        self._stats = environment.stats

    def add(self, tenant: str, operation: Operation, outcome: Outcome, latency_us: int, body_bytes: int) -> None:
        """Adds one request; any outcome that is not the right one counts as a failure there."""
        name = f"tenant {tenant}"
        self._stats.log_request(operation.value, name, round(latency_us / 1e3), body_bytes)
        if outcome is not Outcome.OK:
            self._stats.log_error(operation.value, name, outcome.value)
