"""What holds for every test process."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from soak_pipeline_tests import end_of_run
from soak_pipeline_tests.infra.redis_programs import KINDS
from soak_pipeline_tests.waiting import TEST_LIMIT_S

TESTS = Path(__file__).parent
FIRST = ("integration", "browser", "defs", "load", "hostile", "infra")
"""Folders with the longest files, which wait for platforms, browsers and Dagster."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Files are handed out to several test processes in the order below, and Ctrl-C reaches what tests start.

    pytest-xdist would hand out files with many tests first, and the longest files have few. A shell without job control
    starts what is behind `&` with SIGINT ignored, and that is inherited by every child. A test's limit comes from the
    limit of its waits, unless the command line gives another. How long an example takes says nothing about the code: a
    slow or busy machine fails no property.
    """
    settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("patient")
    config.option.loadscopereorder = False
    if config.option.timeout is None:
        config.option.timeout = TEST_LIMIT_S
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(end_of_run)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test marked `every_redis` runs on each server of the Redis protocol, if it uses one."""
    if "redis_server" in metafunc.fixturenames and metafunc.definition.get_closest_marker("every_redis"):
        metafunc.parametrize("redis_server", KINDS, indirect=True, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that none is left for one process alone while the others have nothing to do.

    Within a folder, and among all other folders, the order stays random.
    """
    items.sort(key=lambda item: place_of(item.path))


def place_of(path: Path) -> int:
    """Place of a test file's folder in the order, from 0."""
    folder = path.relative_to(TESTS).parts[0]
    return FIRST.index(folder) if folder in FIRST else len(FIRST)
