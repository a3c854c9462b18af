"""A port belongs to one stack, from the moment it is chosen until the stack has ended."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.acp import ports, stack
from soak_pipeline_tests.infra.servers import free_port


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(ports.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not ports.is_free(listener.getsockname()[1])
    assert ports.is_free(free_port())


def test_a_reserved_port_is_not_free_and_passed_over_until_its_stack_has_ended() -> None:
    port = free_port()
    with ports.reserved([port, port]):
        assert not ports.is_free(port)
        assert stack.free_port(port, set()) > port
        with pytest.raises(ports.PortTaken, match=f"port {port} has just been chosen"), ports.reserved([port]):
            pass
    assert ports.is_free(port)


def test_a_reservation_ends_with_its_process_however_that_ends(folder: Path) -> None:
    port = free_port()
    code = (
        "import sys, tempfile; from infra.acp import ports; tempfile.tempdir = sys.argv[1]\n"
        "with ports.reserved([int(sys.argv[2])]):\n    print('reserved', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"reserved\n"
    assert not ports.is_free(port)
    holder.kill()
    holder.communicate()
    assert ports.is_free(port)
