"""Settings and switches come from the environment, name every problem at once, and show no secret."""

from __future__ import annotations

import pytest

from infra.acp import settings, switches

REQUIRED = {
    settings.variable(name): f"secret-{name}"
    for name in (
        "redis_url",
        "identity_dsn",
        "audit_dsn",
        "usage_dsn",
        "flight_dsn",
        "graph_dsn",
        "jwt_secret",
        "signing_key",
    )
}


def test_what_is_not_said_has_its_nominal_value() -> None:
    found = settings.from_environment(REQUIRED)
    assert (found.service_time_median_ms, found.service_time_sigma) == (100.0, 0.1)
    assert (found.max_payload_bytes, found.token_ttl_s) == (10_000, 900)
    assert found.dsn("audit") == "secret-audit_dsn"


def test_values_are_read_as_what_they_are() -> None:
    found = settings.from_environment(
        {**REQUIRED, "ACP_GATEWAY_PORT": "18001", "ACP_OUTBOX_GRACE_S": "0.5", "ACP_ADMIN_EMAIL": "a@b.example"}
    )
    assert (found.gateway_port, found.outbox_grace_s, found.admin_email) == (18001, 0.5, "a@b.example")


def test_every_problem_is_named_at_once() -> None:
    environment = {name: text for name, text in REQUIRED.items() if name != "ACP_JWT_SECRET"}
    with pytest.raises(settings.SettingsError) as caught:
        settings.from_environment({**environment, "ACP_GATEWAY_PORT": "many"})
    assert "ACP_JWT_SECRET is not set" in str(caught.value)
    assert "ACP_GATEWAY_PORT is not a number" in str(caught.value)


def test_no_secret_is_shown() -> None:
    shown = repr(settings.from_environment({**REQUIRED, "ACP_ADMIN_PASSWORD": "secret-password"}))
    assert "secret-" not in shown


def test_switches_are_nominal_by_default_and_refuse_other_values() -> None:
    assert switches.from_environment({}) == switches.Switches()
    assert switches.from_environment({"ACP_SWITCH_RPM_ZERO": "tier_default"}).rpm_zero == "tier_default"
    with pytest.raises(switches.SwitchError, match="ACP_SWITCH_RPM_ZERO is 'maybe'"):
        switches.from_environment({"ACP_SWITCH_RPM_ZERO": "maybe"})


def test_the_first_value_of_each_switch_is_its_default() -> None:
    defaults = switches.Switches()
    assert {name: values[0] for name, values in switches.VALUES.items()} == {
        name: getattr(defaults, name) for name in switches.VALUES
    }
