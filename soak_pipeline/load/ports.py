"""The loopback ports on which a load session shows itself to an operator: both are off unless asked for.

Owns the names of the environment variables and what is a port. What is served there is for the eye only.
"""

from __future__ import annotations

from collections.abc import Mapping

from soak_pipeline.model.errors import BadInput

METRICS_PORT = "SOAK_METRICS_PORT"
"""Environment variable with the port of the live figures as Prometheus metrics."""

LOCUST_PAGE_PORT = "SOAK_LOCUST_PAGE_PORT"
"""Environment variable with the port of Locust's own page."""


def loopback_port(variable: str, environment: Mapping[str, str]) -> int | None:
    """The port on 127.0.0.1 that the operator asked for; None for none.

    Raises:
        BadInput: the variable holds no port.
    """
    text = environment.get(variable, "")
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise BadInput("port", [f"{variable}={text!r}; expected a port between 1 and 65535, or nothing"])
    return int(text)


def check_ports(environment: Mapping[str, str]) -> None:
    """Refuses a variable that holds no port.

    Raises:
        BadInput: one holds none.
    """
    for variable in (METRICS_PORT, LOCUST_PAGE_PORT):
        loopback_port(variable, environment)
