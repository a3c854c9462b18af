"""What a test run says at its end: processes that outlive it, which are an error, and what was skipped."""

from __future__ import annotations

import os
import uuid
from collections import Counter

import pytest

from soak_pipeline_tests.leftovers import MARK_VARIABLE, end, lasting
from soak_pipeline_tests.waiting import PATIENCE_S

LEFTOVER_PATIENCE_S = PATIENCE_S / 4
"""For what was told to end, such as a server that is shutting down (seconds)."""

mark = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Whatever this run starts is known by a mark in its environment."""
    if is_controller(config):
        config.stash[mark] = uuid.uuid4().hex
        os.environ[MARK_VARIABLE] = f"{os.environ.get(MARK_VARIABLE, '')} {config.stash[mark]}".strip()


def is_controller(config: pytest.Config) -> bool:
    """Whether this process has the last word: the only test process, or the one that hands out to the others."""
    return not hasattr(config, "workerinput")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process that outlives the run is an error of the run, and is ended."""
    config = session.config
    if not is_controller(config):
        return
    folder = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    found = lasting(config.stash[mark], folder, LEFTOVER_PATIENCE_S)
    if not found:
        return
    end(config.stash[mark], folder)
    lines = "\n".join(map(str, found))
    text = f"{len(found)} processes outlived the tests by {LEFTOVER_PATIENCE_S:g} s and were killed:\n{lines}"
    location = ("", None, "")
    report = pytest.TestReport("the test run", location, {}, "failed", text, "teardown")
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.stats.setdefault("error", []).append(report)
    if session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what was skipped, and what brings it back: one line for each reason."""
    reasons = Counter(reason_of(report) for report in terminalreporter.stats.get("skipped", []))
    if reasons:
        terminalreporter.section("skipped, and what brings it back")
        for reason, count in sorted(reasons.items()):
            terminalreporter.write_line(f"{count} {'test' if count == 1 else 'tests'}: {reason}")


def reason_of(report: pytest.TestReport) -> str:
    """Why a test was skipped."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
