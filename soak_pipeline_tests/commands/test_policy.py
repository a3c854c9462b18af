from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from soak_pipeline.cli import app
from soak_pipeline.commands.policy import SCHEMA_PATH
from soak_pipeline.config.policy_file import read_policy
from soak_pipeline.config.policy_schema import json_schema
from soak_pipeline.model.errors import BadInput
from soak_pipeline_tests.policies import DEFAULT


def _soak(*arguments: str) -> tuple[str, int | None]:
    done = CliRunner().invoke(app, ["policy", *arguments], standalone_mode=False, env={"SOAK_POLICY": ""})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output, done.return_value


def test_init_writes_a_commented_file_that_says_the_default_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "soak.yaml"
    _soak("init", str(path))
    assert "# Who the traffic belongs to" in path.read_text()
    assert read_policy(path).policy == DEFAULT
    assert json.loads((tmp_path / SCHEMA_PATH.name).read_text()) == json_schema()
    path.write_text("limits: {drain_s_max: 1}")
    with pytest.raises(BadInput, match="exists already"):
        _soak("init", str(path))
    assert path.read_text() == "limits: {drain_s_max: 1}"


def test_show_says_where_each_value_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "soak.yaml"
    path.write_text("limits:\n  error_share_max: 0.01\n")
    output, _ = _soak("show", "--policy", str(path))
    lines = {line.split(":")[0].strip(): line for line in output.splitlines() if ": " in line}
    assert lines["error_share_max"].split("#")[1].strip() == "soak.yaml:2"
    assert lines["drain_s_max"].split("#")[1].strip() == "default"
    assert f"digest {read_policy(path).policy.digest}" in output


def test_what_show_prints_says_the_same(tmp_path: Path) -> None:
    shown, path = _soak("show")[0], tmp_path / "shown.yaml"
    document = yaml.safe_load(shown)
    assert document["levels"]["nightly"]["fairness"]["noisy_users_burst"] == 500
    document["tenants"] = {
        name: {key: value for key, value in tenant.items() if value != "none"}
        for name, tenant in document["tenants"].items()
    }
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    assert read_policy(path).policy == DEFAULT


def test_show_one_level_as_json() -> None:
    document = json.loads(_soak("show", "--level", "nightly", "--format", "json")[0])
    assert document["digest"] == DEFAULT.digest
    assert document["values"]["profile"]["users"] == 1_000
    assert document["values"]["thresholds"]["gateway_latency_ms_p95_max"] == 250


def test_check_says_what_a_policy_holds(tmp_path: Path) -> None:
    output, code = _soak("check", "default")
    assert code == 0
    assert "5 tenants (A is the noisy one)" in output
    assert "pull_request, nightly, pre_release of them gate" in output
    path = tmp_path / "bad.yaml"
    path.write_text("limits: {error_share: 1}")
    with pytest.raises(BadInput, match=r"line 1: limits\.error_share is not known here"):
        _soak("check", str(path))


def test_diff_names_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "soak.yaml"
    path.write_text("levels: {nightly: {users: 500}, canary: {like: smoke}}")
    output, code = _soak("diff", "default", str(path))
    assert code == 1
    assert "levels.nightly.users: 1000 -> 500" in output.splitlines()
    assert any(line.startswith("levels.canary: none -> {") for line in output.splitlines())
    assert _soak("diff", "default", "default") == (
        f"default and default say the same (digest {DEFAULT.digest[:12]})\n",
        0,
    )


def test_the_shipped_schema_is_that_of_the_types() -> None:
    assert json.loads(SCHEMA_PATH.read_text()) == json_schema()
    assert json.loads(_soak("schema")[0]) == json_schema()
