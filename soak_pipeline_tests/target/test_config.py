from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.dialect.registry import dialect_of
from soak_pipeline.model.errors import BadInput, LoadRefused
from soak_pipeline.model.target import StopLever
from soak_pipeline.target.config import MetricsPage, load_target, refuse_unless_load_allowed, resolve
from soak_pipeline_tests.target import examples

ENVIRONMENT = {
    "ACP_GATEWAY_URL": "http://127.0.0.1:18000/",
    "ACP_ADMIN_EMAIL": "admin@acp.local",
    "ACP_ADMIN_PASSWORD": "operator-secret-91",
    "ACP_IDENTITY_DSN": "postgresql://acp:pg-secret@127.0.0.1/acp_identity",
    "ACP_AUDIT_DSN": "postgresql://acp:pg-secret@127.0.0.1/acp_audit",
    "ACP_USAGE_DSN": "postgresql://acp:pg-secret@127.0.0.1/acp_usage",
    "ACP_FLIGHT_DSN": "postgresql://acp:pg-secret@127.0.0.1/acp_flight_recorder",
    "ACP_GRAPH_DSN": "postgresql://acp:pg-secret@127.0.0.1/acp_identity_graph",
    "ACP_REDIS_URL": "redis://:redis-secret@127.0.0.1:6379/0",
    "ACP_METRICS_URLS": "audit=http://127.0.0.1:18101/metrics, http://127.0.0.1:18102/metrics",
}
EMBEDDED = PROJECT_ROOT / "infra" / "targets" / "embedded.yaml"


def _write(folder: Path, text: str | bytes) -> Path:
    path = folder / "target.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _problems(folder: Path, text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(BadInput) as caught:
        load_target(_write(folder, text))
    return caught.value.problems


def test_the_embedded_target_resolves() -> None:
    resolved = resolve(load_target(EMBEDDED), ENVIRONMENT)
    assert resolved.gateway_url == "http://127.0.0.1:18000"
    assert set(resolved.dsns) == {"identity", "audit", "usage", "flight_recorder", "identity_graph"}
    assert resolved.metrics_pages == (
        MetricsPage("gateway", "http://127.0.0.1:18000/metrics"),
        MetricsPage("audit", "http://127.0.0.1:18101/metrics"),
        MetricsPage("127.0.0.1:18102", "http://127.0.0.1:18102/metrics"),
    )
    refuse_unless_load_allowed(resolved)


def test_a_small_target_has_the_documented_defaults(tmp_path: Path) -> None:
    target = load_target(_write(tmp_path, "name: staging\ngateway_url: https://acp.example:8443\n"))
    assert target.allow_load is False
    assert target.dialect == "nominal"
    assert target.stop_lever is StopLever.RPM_LIMIT
    assert dialect_of(target).execution.path == "/execute/{tool}"


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    problems = "\n".join(
        _problems(
            tmp_path,
            "nmae: staging\nallow_load: 'yes'\ndialect: exotic\nstop_lever: 3\ndatabases: {adit: X, audit: 7}\n",
        )
    )
    assert "nmae is not a known key; did you mean 'name'?" in problems
    assert "name is missing" in problems
    assert "allow_load must be true or false" in problems
    assert "dialect must be one of nominal, deployed" in problems
    assert "stop_lever must be one of rpm_limit, kill_switch" in problems
    assert "databases.adit is not a known key; did you mean 'audit'?" in problems
    assert "databases.audit must be text" in problems


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("gateway_url: ftp://acp.example", "gateway_url is not a URL"),
        ("gateway_url: http://", "gateway_url is not a URL"),
        ("gateway_url: http://u:p@acp.example", "gateway_url holds a user name or password"),
        ("gateway_url: http://acp.example/?x=1", "gateway_url has a query"),
        ("gateway_url_env: ACP_URL", "load_hosts must name the hosts"),
        ("{gateway_url: http://a, gateway_url_env: U, load_hosts: [a]}", "exactly one of gateway_url"),
        ("load_hosts: [a]", "exactly one of gateway_url"),
        ("{gateway_url: http://a, load_hosts: ['http://a']}", "load_hosts must be host names"),
        ("{gateway_url: http://a, execute_path: 'execute'}", "execute_path must be an absolute path"),
        ("{gateway_url: http://a, execute_path: '//evil/x'}", "execute_path must be an absolute path"),
        ("{gateway_url: http://a, execute_path: '/x/{agent}'}", "no placeholder but {tool}"),
        ("{gateway_url: http://a, admin_password_env: hunter2}", "admin_password_env must be the name of an"),
        ("{gateway_url: http://a, metrics_urls: ['x=file:///etc/passwd']}", "metrics_urls is not a URL"),
        ("{gateway_url: http://a, name: ../x}", "name must be 1 to 63 characters"),
    ],
)
def test_a_wrong_value_says_what_is_allowed(tmp_path: Path, line: str, problem: str) -> None:
    text = f"name: staging\n{line}" if not line.startswith("{") else line.replace("{", "{name: staging, ", 1)
    if "name: ../x" in line:
        text = line
    assert any(problem in item for item in _problems(tmp_path, text))


def test_a_secret_in_place_of_a_variable_is_not_repeated(tmp_path: Path) -> None:
    problems = _problems(tmp_path, "name: x\ngateway_url: http://a\nadmin_password_env: hunter2!\n")
    assert "hunter2" not in "".join(problems)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: &x [1]\nb: *x", "aliases are not allowed"),
        ("name: a\nname: b", "key 'name' is repeated"),
        ("? [1]\n: 2", "a key is not text"),
        ("[unclosed", "is not plain YAML"),
        ("", "is not a mapping"),
        ("- a\n- b", "is not a mapping"),
        (b"\xff\xfe", "is not UTF-8"),
        ("x: " + "y" * 70_000, "is larger than"),
        ("[" * 2_000, "is not plain YAML"),
    ],
)
def test_what_is_not_plain_yaml_is_refused(tmp_path: Path, text: str | bytes, problem: str) -> None:
    assert any(problem in item for item in _problems(tmp_path, text))


def test_an_unreadable_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        load_target(tmp_path / "none.yaml")


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda part: st.dictionaries(st.text(), part))
)
def test_any_document_is_a_target_or_bad_input(tmp_path_factory: pytest.TempPathFactory, document: object) -> None:
    import yaml

    path = tmp_path_factory.mktemp("fuzz") / "target.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(BadInput):
        load_target(path)


def test_missing_variables_are_collected() -> None:
    with pytest.raises(BadInput) as caught:
        resolve(load_target(EMBEDDED), {"ACP_AUDIT_DSN": "not a dsn secret-7", "ACP_REDIS_URL": "http://secret-8"})
    text = str(caught.value)
    for variable in ("ACP_GATEWAY_URL", "ACP_ADMIN_EMAIL", "ACP_ADMIN_PASSWORD", "ACP_IDENTITY_DSN"):
        assert f"{variable} (" in text
    assert "ACP_AUDIT_DSN (DSN of the audit database) does not hold a PostgreSQL DSN" in text
    assert "ACP_REDIS_URL (URL of Redis) does not hold a URL" in text
    assert "secret-" not in text


def test_no_secret_is_in_the_repr() -> None:
    resolved = resolve(load_target(EMBEDDED), ENVIRONMENT)
    secrets = set(resolved.secrets())
    assert secrets == {"operator-secret-91", "pg-secret", "redis-secret"}
    assert not any(secret in repr(resolved) + str(resolved) for secret in secrets)


def test_load_is_refused_without_permission() -> None:
    refused = examples.resolved(examples.target(allow_load=False))
    with pytest.raises(LoadRefused, match="allow_load is not true"):
        refuse_unless_load_allowed(refused)


def test_a_production_target_wants_its_name_typed() -> None:
    production = examples.resolved(examples.target(production=True))
    for wrong in ("", "yes", "tset"):
        with pytest.raises(LoadRefused, match="production"):
            refuse_unless_load_allowed(production, production_confirmed_as=wrong)
    refuse_unless_load_allowed(production, production_confirmed_as="test")


def test_the_environment_cannot_send_load_elsewhere() -> None:
    target = examples.target(gateway_url=None, gateway_url_env="ACP_GATEWAY_URL", load_hosts=("127.0.0.1",))
    elsewhere = examples.resolved(target, gateway_url="http://127.0.0.1.evil.example")
    with pytest.raises(LoadRefused, match=r"'127\.0\.0\.1\.evil\.example' is not one that the file names"):
        refuse_unless_load_allowed(elsewhere)
    refuse_unless_load_allowed(examples.resolved(target, gateway_url="http://127.0.0.1:1234"))


def test_every_reason_to_refuse_is_given() -> None:
    target = examples.target(allow_load=False, production=True)
    with pytest.raises(LoadRefused) as caught:
        refuse_unless_load_allowed(examples.resolved(target, gateway_url="http://other"))
    assert len(caught.value.problems) == 3
