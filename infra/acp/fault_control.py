"""Faults of a whole stack: what is set is written down, and every process concerned is told.

Owns the record of the set faults in the state directory, from which the supervisor gives a process that it restarts
the faults that it had. It speaks to the administration ports of the running processes, and starts and stops nothing.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.acp import faults
from infra.acp.faults import Value, Values
from infra.acp.state import StackRecord, StateDirectory
from infra.acp.supervisor import SUPERVISOR_LOCK, python_processes

RECORD_LOCK = "faults.lock"
LOCK_WAIT_S = 30.0
#: A process that is just being restarted answers within this time.
ANSWERS_WITHIN_S = 15.0
REQUEST_TIMEOUT_S = 5.0


class ControlError(RuntimeError):
    """The stack's processes could not be told; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Told:
    """`processes` are those that took it; `values` all parameters of the fault, empty after it was cleared."""

    name: str
    processes: tuple[str, ...]
    values: Values


def set_fault(state: StateDirectory, name: str, parameters: Mapping[str, Any]) -> Told:
    """Switch a fault on in every process of the running stack that it concerns; returns once all have it.

    Raises:
        FaultError: there is no such fault or parameter, or a value is outside its range.
        ControlError: no stack runs, or a process did not answer.
    """
    values = faults.checked(name, parameters)
    record = _running(state)
    with state.locked(RECORD_LOCK, LOCK_WAIT_S):
        state.write_faults({**state.read_faults(), name: values})
        processes = _concerned(record, [name])
        for process, port in processes.items():
            _call(state, process, port, "PUT", f"/faults/{name}", values)
    return Told(name, tuple(processes), values)


def clear_fault(state: StateDirectory, name: str | None) -> Told:
    """Switch one fault off, or all, in every process of the running stack. What it did to the stores stays.

    Raises:
        FaultError: there is no such fault.
        ControlError: no stack runs, or a process did not answer.
    """
    if name is not None:
        faults.known(name)
    record = _running(state)
    with state.locked(RECORD_LOCK, LOCK_WAIT_S):
        kept = state.read_faults()
        state.write_faults({other: values for other, values in kept.items() if name not in (None, other)})
        processes = _concerned(record, [name] if name else faults.FAULTS)
        for process, port in processes.items():
            _call(state, process, port, "DELETE", f"/faults/{name}" if name else "/faults")
    return Told(name or "", tuple(processes), {})


def listing(state: StateDirectory) -> dict[str, Any]:
    """Every fault there is, with the processes that say they have it and the parameters that they have it with.

    Returns:
        `is_up`, and `faults`: name -> summary, roles, parameters (the defaults where it is not set) and set_in.

    Raises:
        ControlError: a stack runs, and one of its processes did not answer.
    """
    record = state.read_record()
    is_up = record is not None and record.phase == "up" and state.is_locked(SUPERVISOR_LOCK)
    has = set_of_stack(state) if is_up else {}
    found: dict[str, Any] = {}
    for name, fault in faults.FAULTS.items():
        set_in = [process for process, theirs in has.items() if name in theirs]
        parameters = has[set_in[0]][name] if set_in else {**faults.COMMON, **fault.parameters}
        found[name] = {
            "summary": fault.summary,
            "roles": fault.roles,
            "parameters": dict(parameters),
            "set_in": set_in,
        }
    return {"is_up": is_up, "faults": found}


def set_of_stack(state: StateDirectory) -> dict[str, dict[str, dict[str, Value]]]:
    """What each process of the running stack says it has: process -> fault -> parameters.

    Raises:
        ControlError: no stack runs, or a process did not answer.
    """
    processes = _concerned(_running(state), faults.FAULTS)
    return {process: _call(state, process, port, "GET", "/faults")["faults"] for process, port in processes.items()}


def _running(state: StateDirectory) -> StackRecord:
    record = state.read_record()
    if record is None or record.phase != "up" or not state.is_locked(SUPERVISOR_LOCK):
        raise ControlError(f"no stack runs in {state.path}; start it with `up`")
    if not any(port.endswith("_admin") for port in record.ports):
        raise ControlError(
            f"the stack in {state.path} was started without administration ports (ACP_ADMIN_FIRST_PORT=0);"
            " stop it and start it with them, or give the faults at the start with `up --fault`"
        )
    return record


def _concerned(record: StackRecord, names: Iterable[str]) -> dict[str, int]:
    """The administration ports of the processes that one of the faults concerns, by process."""
    roles = {role for name in names for role in faults.known(name).roles}
    return {
        process: record.ports[f"{process}_admin"]
        for process, role in python_processes(record.workers).items()
        if role in roles
    }


def _call(
    state: StateDirectory, process: str, port: int, method: str, path: str, body: Values | None = None
) -> dict[str, Any]:
    """Ask one process, again until it answers; one that is being restarted is not there for a moment."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{urllib.parse.quote(path)}",
        data=None if body is None else json.dumps(body).encode(),
        method=method,
        headers={"Authorization": f"Bearer {state.read_secrets().get('admin_token', '')}"},
    )
    deadline = time.monotonic() + ANSWERS_WITHIN_S
    while True:
        try:
            with _direct.open(request, timeout=REQUEST_TIMEOUT_S) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            raise ControlError(f"{process} refused with {error.code}: {_error_of(error)}") from None
        except (OSError, ValueError) as error:
            if time.monotonic() > deadline:
                raise ControlError(
                    f"{process} did not answer on its administration port {port} within {ANSWERS_WITHIN_S:.0f} s"
                    f" ({error}); see its log in {state.logs}"
                ) from None
            time.sleep(0.1)


def _error_of(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return error.reason


#: Past any proxy that the environment names: the ports are on this machine.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
