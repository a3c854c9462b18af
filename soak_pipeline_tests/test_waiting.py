"""Tests wait for the thing itself, and there is one limit for all of them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from soak_pipeline_tests import waiting
from soak_pipeline_tests.waiting import is_gone, wait_for, wait_until_gone

TESTS = Path(__file__).parent
MEASURED = {TESTS / "crash", TESTS / "benchmarks"}
"""Their limits are what is measured; they are no part of the suite."""

NO_CHANCE_S = 1.0
"""What is waited for no longer is waited for in vain: that something does not happen, or a limit that is tested."""

SIMULATION = "pytest.mark.timeout(1800)"
"""Of what `make slow` runs, which computes for so long and waits for nothing."""

WAITING_CALLS = {"wait", "join", "result", "communicate", "settimeout", "acquire", "timeout", "wait_for"}


def test_the_first_true_answer_is_given() -> None:
    answers = iter([0, "", None, 7, 8])
    assert wait_for(lambda: next(answers), every_s=0.0) == 7


def test_what_never_comes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PATIENCE_S", 0.01)
    with pytest.raises(AssertionError, match=r"not within 0\.01 s: the bus$"):
        wait_for(lambda: False, "the bus", every_s=0.001)


def test_a_process_is_gone_when_it_has_ended_also_unreaped() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    known = psutil.Process(process.pid)
    assert not is_gone(process.pid)
    assert not is_gone(known)
    process.kill()
    wait_until_gone(process.pid, known)
    assert known.status() == psutil.STATUS_ZOMBIE
    process.communicate()
    assert is_gone(process.pid)
    assert is_gone(known)


def limits_of_their_own(tree: ast.AST) -> Iterator[str]:
    """Waits, requests and processes with a number as their limit, and marks that limit a test."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        limits = [word.value for word in node.keywords if word.arg in ("timeout", "timeout_s")]
        if name.rpartition(".")[2] in WAITING_CALLS:
            limits += node.args
        if any(_number(limit) > NO_CHANCE_S for limit in limits):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def _number(node: ast.expr) -> float:
    return float(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, int | float) else 0.0


def test_no_test_has_a_limit_of_its_own() -> None:
    found = {
        f"{path.relative_to(TESTS)} {limit}"
        for path in TESTS.rglob("*.py")
        if path.parent not in MEASURED and path != Path(__file__)
        for limit in limits_of_their_own(ast.parse(path.read_text()))
        if not limit.endswith(SIMULATION)
    }
    assert found == set(), "take PATIENCE_S or wait_for of soak_pipeline_tests/waiting.py"


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("process.wait(10)", 1),
        ("subprocess.run(command, timeout=60)", 1),
        ("pytestmark = pytest.mark.timeout(600)", 1),
        ("thread.join(timeout=30.0)", 1),
        ("process.wait(PATIENCE_S)", 0),
        ("guardian.wait(0.5)", 0),
        ("acquire(timeout_s=0.05)", 0),
    ],
)
def test_a_limit_of_its_own_is_found(code: str, number: int) -> None:
    assert len(list(limits_of_their_own(ast.parse(code)))) == number
