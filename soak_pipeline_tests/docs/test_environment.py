"""`docs/environment.md` names every variable that the code reads, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields

import pytest

from infra.acp import stack
from infra.acp.settings import Settings, variable
from infra.acp.switches import Switches
from soak_pipeline import PROJECT_ROOT
from soak_pipeline.model.request import SoakRequest
from soak_pipeline_tests.docs.markdown import rows, words_in_code

TEXT = (PROJECT_ROOT / "docs" / "environment.md").read_text()
DOCUMENTED = {word for word in words_in_code(TEXT) if re.fullmatch(r"[A-Z][A-Z0-9_]+", word)}
PREFIXES = r"(?:SOAK|LOCUST|ACP|DAGSTER|GITHUB|XDG|SSL)_[A-Z0-9_]*[A-Z0-9]"
NOT_VARIABLES = {"ACP_ACCESS": "type of a token"}


def in_python() -> Iterator[str]:
    """Every whole text that has the form of a variable's name."""
    for folder in ("soak_pipeline", "infra"):
        for path in (PROJECT_ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield from (node.value,) if re.fullmatch(PREFIXES, node.value) else ()


def in_settings_files() -> Iterator[str]:
    """Names in the settings of Dagster, in the target files and in the workflows."""
    for path in (PROJECT_ROOT / "infra").rglob("*.yaml"):
        code = "\n".join(line.split(" #")[0] for line in path.read_text().splitlines() if not line.startswith("#"))
        yield from re.findall(rf"(?<![\w$]){PREFIXES}(?!\w)", code)


def test_every_variable_is_documented() -> None:
    found = {*in_python(), *in_settings_files()} - NOT_VARIABLES.keys()
    assert len(found) > 50
    assert found - DOCUMENTED == set()


def test_every_setting_and_switch_of_the_reference_platform_is_documented() -> None:
    names = {variable(item.name) for item in fields(Settings)}
    names |= {f"ACP_SWITCH_{item.name.upper()}" for item in fields(Switches)}
    assert names - DOCUMENTED == set()


def test_no_variable_is_documented_that_nobody_reads() -> None:
    known = {*in_python(), *in_settings_files(), *(variable(item.name) for item in fields(Settings))}
    known |= {f"ACP_SWITCH_{item.name.upper()}" for item in fields(Switches)}
    of_libraries = {"SSL_CERT_FILE", "PYTHONPATH", "HTTP_PROXY"}
    assert DOCUMENTED - known - of_libraries == set()


@pytest.mark.parametrize("cells", [cells for cells in rows(TEXT) if cells[0].startswith("`ACP_")], ids=lambda c: c[0])
def test_the_defaults_of_the_reference_platform_are_those_of_the_code(cells: list[str]) -> None:
    nominal = {variable(item.name): item.default for item in fields(Settings)}
    nominal |= {f"ACP_SWITCH_{item.name.upper()}": item.default for item in fields(Switches)}
    nominal |= {f"ACP_{name.upper()}_PORT": port for name, port in stack.PREFERRED_PORTS.items()}
    nominal |= {"ACP_METRICS_FIRST_PORT": stack.FIRST_METRICS_PORT}
    nominal = {name: value for name, value in nominal.items() if value != ""}
    names = [name for name in re.findall(r"`(\w+)`", cells[0]) if name in nominal]
    expected = ", ".join(f"{nominal[name]}".removesuffix(".0") for name in names)
    assert not names or cells[2].replace("`", "") == expected


def test_the_defaults_of_a_run_are_those_of_the_code() -> None:
    (profile,) = (cells for cells in rows(TEXT) if cells[0] == "`SOAK_PROFILE`")
    assert profile[2] == f"`{SoakRequest().profile}`"
