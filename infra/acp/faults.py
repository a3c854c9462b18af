"""Every fault that the reference platform can be given on purpose, and which of them this process has.

Owns the list: name, affected processes, parameters with their defaults, what goes wrong. A fault is a defect, and no
switch (see `switches.py`, which says how a sound deployment differs). What each one does stands where it bites, behind
one question to this module; with no fault set that question is one look-up in an empty dictionary. This module reads
no file and speaks to no other process; see `admin.py` and `fault_control.py`.
"""

from __future__ import annotations

import math
import os
import re
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

Value = float | str
Values = Mapping[str, Value]

ENVIRONMENT_VARIABLE = "ACP_FAULTS"
_TEXT = re.compile(r"[^,;=\n]{0,200}")


class FaultError(ValueError):
    """There is no such fault or parameter, or a value is outside its range; the message says what is allowed."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a parameter of this name means, the same for every fault that has it.

    `least` and `most` are inclusive, in `unit`. A text has the unit `text` and no range.
    """

    unit: str
    meaning: str
    least: float = 0.0
    most: float = math.inf

    @property
    def is_text(self) -> bool:
        return self.unit == "text"


@dataclass(frozen=True, slots=True)
class Fault:
    """One defect. `roles` are the processes that it concerns; `parameters` have the defaults."""

    name: str
    summary: str
    roles: tuple[str, ...]
    parameters: Values = field(default_factory=dict)


PARAMETERS: Mapping[str, Parameter] = MappingProxyType(
    {
        "after_s": Parameter("s", "the fault begins this long after it was set", 0, 86_400),
        "set_at": Parameter("unix s", "when it was set; kept when a process is restarted", 0),
        "tenant": Parameter("text", "a tenant's id, or a fragment of its name in any case; empty means every tenant"),
        "process": Parameter("text", "the one process that has it, such as gateway-0; empty means every one"),
        "share": Parameter("share", "part of the events that it hits, chosen by their ids", 0, 1),
        "latency_ms": Parameter("ms", "time that a hit call takes longer", 0, 60_000),
        "ms_per_minute": Parameter("ms/min", "time by which calls get longer in each minute", 0, 60_000),
        "slots": Parameter("slots", "calls that one gateway process works on at once", 1, 1_000),
        "bytes_per_request": Parameter("bytes", "memory that each call leaves behind", 1, 1e6),
        "most_bytes": Parameter("bytes", "a process stops leaking here, so that the machine survives", 1, 1e11),
        "per_requests": Parameter("requests", "one for so many requests", 1, 1e6),
        "most": Parameter("count", "a process stops here, so that the machine survives", 1, 1e5),
        "share_per_minute": Parameter("share/min", "part of the events hit grows by this in each minute", 0, 1),
        "life_s": Parameter("s", "how long a token is really valid", 1, 86_400),
        "offset_s": Parameter("s", "how far the clock is ahead, or behind when negative", -86_400, 86_400),
        "every_s": Parameter("s", "time from one occurrence to the next", 0.1, 86_400),
        "burst_s": Parameter("s", "how long each occurrence lasts", 0.1, 3_600),
        "delay_ms": Parameter("ms", "time added to each event that a worker handles", 0, 60_000),
        "pause_ms": Parameter("ms", "time between reading a state and writing what follows from it", 0, 5_000),
        "leaves": Parameter("rows", "rows that a root has when it is renewed for the last time", 1, 1e6),
    }
)

#: Every fault has these; they are not listed with each.
COMMON: Values = MappingProxyType({"after_s": 0.0})

_GATEWAY = ("gateway",)


def _by_name(*faults: Fault) -> Mapping[str, Fault]:
    return MappingProxyType({fault.name: fault for fault in faults})


FAULTS: Mapping[str, Fault] = _by_name(
    # Latency and fairness
    Fault(
        "latency_step",
        "some executions of one tenant take longer",
        _GATEWAY,
        {"tenant": "tenant B", "latency_ms": 300.0, "share": 0.15},
    ),
    Fault("latency_drift", "executions take longer from minute to minute", _GATEWAY, {"ms_per_minute": 60.0}),
    Fault(
        "reads_slow",
        "some reads and chain verifications take longer",
        _GATEWAY,
        {"tenant": "", "latency_ms": 200.0, "share": 0.4},
    ),
    Fault(
        "fair_sharing_off",
        "few slots, first come first served, and no tenant has a rate limit: a burst is everybody's queue",
        _GATEWAY,
        {"slots": 2.0},
    ),
    Fault(
        "gateway_paused",
        "no answer leaves the gateway for a while, now and then; all leave together afterwards",
        _GATEWAY,
        {"every_s": 20.0, "burst_s": 2.0},
    ),
    # What grows
    Fault(
        "gateway_rss_leak",
        "every request leaves memory behind",
        _GATEWAY,
        {"bytes_per_request": 8_192.0, "most_bytes": 536_870_912.0},
    ),
    Fault(
        "gateway_fd_leak", "now and then a request leaves a file open", _GATEWAY, {"per_requests": 50.0, "most": 500.0}
    ),
    Fault(
        "db_connection_leak",
        "now and then a request leaves a database connection open",
        _GATEWAY,
        {"per_requests": 200.0, "most": 20.0},
    ),
    Fault("redis_keys_without_ttl", "every request leaves a key in Redis that never expires", _GATEWAY, {"share": 1.0}),
    Fault("growing_queue", "handled timeline events stay in their stream: it grows and nobody reads it", ("flight",)),
    Fault(
        "retries_accumulating",
        "more and more requests need a second attempt at Redis",
        _GATEWAY,
        {"share_per_minute": 0.1},
    ),
    Fault(
        "worker_rss_leak",
        "the audit worker keeps memory for every event",
        ("audit",),
        {"bytes_per_request": 8_192.0, "most_bytes": 536_870_912.0},
    ),
    # Decisions and answers
    Fault("revoke_not_honoured", "removing a permission is answered as done, and the permission stays", _GATEWAY),
    Fault("attack_allowed", "some attacks are executed", _GATEWAY, {"tenant": "", "share": 0.02}),
    Fault("allowed_denied", "some allowed calls are refused with 403", _GATEWAY, {"tenant": "", "share": 0.005}),
    Fault(
        "errors_5xx",
        "bursts in which some executions are answered 500",
        _GATEWAY,
        {"tenant": "", "share": 0.3, "every_s": 15.0, "burst_s": 3.0},
    ),
    Fault(
        "throttle_storm",
        "one quiet tenant is told 429 though it is within its limits",
        _GATEWAY,
        {"tenant": "tenant C", "share": 0.2},
    ),
    Fault(
        "tokens_expire_early",
        "tokens of one tenant expire long before they say",
        _GATEWAY,
        {"tenant": "tenant B", "life_s": 20.0},
    ),
    Fault("truncated_bodies", "the second half of some answers is missing", _GATEWAY, {"tenant": "", "share": 0.02}),
    Fault("malformed_bodies", "some answers are no JSON", _GATEWAY, {"tenant": "", "share": 0.02}),
    Fault("rpm_zero_ignored", "rpm_limit 0 blocks nobody", _GATEWAY, {"tenant": ""}),
    Fault("metrics_gone", "/metrics of the gateway answers 503", _GATEWAY),
    Fault(
        "clock_off",
        "the clock of gateway and sealer is wrong: in rows, tokens, the Date header and the time of the last seal",
        ("gateway", "sealer"),
        {"offset_s": 300.0},
    ),
    Fault(
        "gateway_killed",
        "a gateway process dies by SIGKILL between opening and closing a timeline; it is started again",
        _GATEWAY,
        {"process": "gateway-0", "every_s": 15.0},
    ),
    # Audit chain
    Fault(
        "audit_event_dropped",
        "some executions are answered and never told to the audit",
        _GATEWAY,
        {"tenant": "", "share": 0.005},
    ),
    Fault(
        "chain_lock_skipped",
        "some batches are appended under no lock, neither that in Redis nor the database's: two of them fork a chain",
        ("audit",),
        {"share": 0.2, "pause_ms": 20.0},
    ),
    Fault(
        "chain_lock_never_released",
        "the writer of a batch leaves its chains' locks to expire, so that the next one waits for 5 s",
        ("audit",),
        {"tenant": "", "share": 1.0},
    ),
    Fault(
        "row_tampered",
        "now and then a superuser edits the metadata of a row that was written, past the append-only trigger",
        ("audit",),
        {"tenant": "tenant C", "every_s": 15.0},
    ),
    Fault(
        "row_deleted",
        "now and then a row and its outbox row are deleted right after they were written, before they are sealed",
        ("audit",),
        {"tenant": "tenant C", "every_s": 15.0},
    ),
    # Usage
    Fault(
        "usage_dropped",
        "some rows are deleted from the outbox without their usage record",
        ("usage",),
        {"tenant": "", "share": 0.005},
    ),
    Fault(
        "usage_billed_twice",
        "some calls have a second usage record, in a partition that the unique index does not reach",
        ("usage",),
        {"tenant": "", "share": 0.005},
    ),
    Fault(
        "usage_worker_slow",
        "every outbox row takes longer, so that calls come in faster",
        ("usage",),
        {"delay_ms": 50.0},
    ),
    Fault("outbox_stalled", "after a while nothing is taken from the outbox any more", ("usage",), {"after_s": 60.0}),
    Fault(
        "dead_letter",
        "some rows of the outbox are refused after the last retry and end as dead letters",
        ("usage",),
        {"tenant": "", "share": 0.002},
    ),
    # Timelines, roots, graph
    Fault("backfill_dead", "timelines that got stuck are never closed", ("flight",)),
    Fault(
        "timeline_not_closed",
        "the end of some calls is lost, so that their timelines stay in progress",
        ("flight",),
        {"tenant": "", "share": 0.002},
    ),
    Fault("root_missing", "one tenant gets no root", ("sealer",), {"tenant": "tenant D"}),
    Fault(
        "root_stale",
        "one tenant's root is not renewed any more once it has so many leaves",
        ("sealer",),
        {"tenant": "tenant D", "leaves": 200.0},
    ),
    Fault(
        "root_signature_wrong",
        "the signature of one tenant's root is that of a root with one leaf less",
        ("sealer",),
        {"tenant": "tenant D"},
    ),
    Fault(
        "root_leaf_wrong",
        "some leaves of one tenant are hashed in an older version of the receipt; their number is right",
        ("sealer",),
        {"tenant": "tenant D", "share": 0.05},
    ),
    Fault(
        "duplicate_graph_node",
        "some calls name their agent in capitals, which makes it a second node",
        ("graph",),
        {"tenant": "", "share": 0.02},
    ),
)


class FaultValues:
    """One fault as it is set in this process: its numbers by name, and what follows from them.

    Args:
        fault: which one.
        values: every parameter of it, checked.
        set_at: unix seconds.
    """

    def __init__(self, fault: Fault, values: Values, set_at: float) -> None:
        self.name = fault.name
        self.values: Values = MappingProxyType(dict(values))
        self.set_at = set_at
        self.begins_at = set_at + float(values["after_s"])
        self.tenant = str(values.get("tenant", ""))
        #: Ids of the tenants that `tenant` names; learnt from the names that `learn_tenants` is told.
        self.tenant_ids: frozenset[str] = frozenset([self.tenant.lower()]) if _is_uuid(self.tenant) else frozenset()
        self._count = 0
        self._lock = threading.Lock()
        self._due_at: float | None = None

    def __getitem__(self, name: str) -> float:
        """A number by its name."""
        return float(self.values[name])

    def text(self, name: str) -> str:
        """A text by its name."""
        return str(self.values[name])

    @property
    def names_a_tenant(self) -> bool:
        """Whether `tenant` is a fragment of a name, so that the ids have to be found out."""
        return self.tenant != "" and not _is_uuid(self.tenant)

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began; the same in every process, and not begun anew by a restart."""
        return max(0.0, time.time() - self.begins_at)

    def concerns(self, tenant_id: str) -> bool:
        """Whether it is meant for this tenant; true for all when it names none."""
        return not self.tenant or tenant_id in self.tenant_ids

    def picks(self, event_id: str, tenant_id: str = "", *, share: float | None = None) -> bool:
        """Whether it hits this event: its tenant is meant, and its id falls into the share.

        The same event is hit by every process and every time. Different faults hit different events.

        Args:
            event_id: such as the request id.
            tenant_id: whose event it is.
            share: instead of the parameter, 0..1; a fault without that parameter hits all.
        """
        if not self.concerns(tenant_id):
            return False
        limit = float(self.values.get("share", 1.0)) if share is None else share
        return zlib.crc32(f"{self.name}:{event_id}".encode()) < limit * 2**32

    def is_bursting(self) -> bool:
        """Whether now is in the last `burst_s` of one of the periods of `every_s`; the same in every process."""
        every_s = self["every_s"]
        return self.elapsed_s % every_s >= every_s - self["burst_s"]

    def burst_left_s(self) -> float:
        """Seconds until the burst that is now ends; 0 when none is."""
        every_s = self["every_s"]
        return every_s - self.elapsed_s % every_s if self.is_bursting() else 0.0

    def is_due(self, now_s: float | None = None) -> bool:
        """True once for each period of `every_s` seconds, of which the first begins with the first question.

        Args:
            now_s: monotonic seconds; now by default.
        """
        now = time.monotonic() if now_s is None else now_s
        with self._lock:
            if self._due_at is None:
                self._due_at = now + self["every_s"]
            if now < self._due_at:
                return False
            self._due_at = now + self["every_s"]
            return True

    def is_turn(self, name: str = "per_requests") -> bool:
        """True once for so many questions."""
        with self._lock:
            self._count += 1
            return self._count % int(self[name]) == 0

    def learn_tenants(self, names: Mapping[str, str]) -> None:
        """Take the ids of the tenants whose name, by id, has the fragment in it."""
        fragment = self.tenant.lower()
        self.tenant_ids = frozenset(tenant_id for tenant_id, name in names.items() if fragment in name.lower())

    def shown(self) -> dict[str, Value]:
        """All that is needed to set it again."""
        return {**self.values, "set_at": self.set_at}


_SET: dict[str, FaultValues] = {}


def any_set() -> bool:
    """Whether this process has any fault at all."""
    return bool(_SET)


def active(name: str) -> FaultValues | None:
    """The parameters of a fault that is switched on in this process and has begun, else none."""
    fault = _SET.get(name)
    return fault if fault is not None and fault.begins_at <= time.time() else None


def hits(name: str, event_id: str, tenant_id: str = "") -> bool:
    """Whether a fault is on in this process and picks this event; see `FaultValues.picks`."""
    fault = active(name)
    return fault is not None and fault.picks(event_id, tenant_id)


def set_faults(faults: Mapping[str, Mapping[str, Any]]) -> None:
    """Switch faults on in this process, each with its parameters; the others stay as they are.

    Raises:
        FaultError: nothing was switched on.
    """
    found = {name: _values(name, parameters) for name, parameters in faults.items()}
    _SET.update(found)


def clear(name: str | None = None) -> None:
    """Switch one fault off in this process, or all. What it did to the stores stays.

    Raises:
        FaultError: there is no such fault.
    """
    if name is None:
        _SET.clear()
        return
    known(name)
    _SET.pop(name, None)


def all_set() -> dict[str, FaultValues]:
    """What is switched on in this process, begun or not."""
    return dict(_SET)


def known(name: str) -> Fault:
    """A fault by its name.

    Raises:
        FaultError: there is no such fault.
    """
    fault = FAULTS.get(name)
    if fault is None:
        raise FaultError(f"fault {name!r} is unknown, must be one of {', '.join(sorted(FAULTS))}")
    return fault


def checked(name: str, parameters: Mapping[str, Any]) -> dict[str, Value]:
    """All parameters of a fault, the given ones checked and the others at their defaults; `set_at` is now by default.

    Raises:
        FaultError: there is no such fault or parameter, or a value is outside its range; all problems at once.
    """
    fault = known(name)
    allowed = {**COMMON, **fault.parameters, "set_at": time.time()}
    problems = [_problem(name, key, value, allowed) for key, value in parameters.items()]
    if found := [problem for problem in problems if problem]:
        raise FaultError("; ".join(found))
    given = {key: str(value) if PARAMETERS[key].is_text else float(value) for key, value in parameters.items()}
    return {**allowed, **given}


def parse(text: str) -> dict[str, dict[str, Value]]:
    """Read `name:parameter=value,parameter=value;other`.

    Raises:
        FaultError: it is not well formed, or names what there is not.
    """
    found: dict[str, dict[str, Value]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _, rest = part.partition(":")
        found[name.strip()] = checked(name.strip(), assignments(name.strip(), filter(None, rest.split(","))))
    return found


def assignments(name: str, words: Iterable[str]) -> dict[str, str]:
    """Read words of the form `parameter=value`.

    Raises:
        FaultError: a word is not of that form.
    """
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise FaultError(f"fault {name}: {word!r} is no assignment, must be of the form parameter=value")
        found[key.strip()] = value.strip()
    return found


def as_text(faults: Mapping[str, Values]) -> str:
    """The form that `parse` reads."""
    return ";".join(
        f"{name}:" + ",".join(f"{key}={value}" for key, value in values.items()) for name, values in faults.items()
    )


def of_role(faults: Mapping[str, Values], role: str) -> dict[str, Values]:
    """Those faults that concern the processes of a role."""
    return {name: values for name, values in faults.items() if role in known(name).roles}


def from_environment(environment: Mapping[str, str] | None = None) -> None:
    """Switch on what `ACP_FAULTS` names, by default that of the process's own environment.

    Raises:
        FaultError: it names what there is not.
    """
    source = os.environ if environment is None else environment
    set_faults(parse(source.get(ENVIRONMENT_VARIABLE, "")))


def as_markdown() -> str:
    """The faults and their parameters as two tables, as `infra/README.md` has them."""
    lines = ["| fault | process | what goes wrong | parameters and defaults |", "|---|---|---|---|"]
    for fault in FAULTS.values():
        parameters = ", ".join(f"`{key}={_shown(value)}`" for key, value in fault.parameters.items())
        lines.append(f"| `{fault.name}` | {', '.join(fault.roles)} | {fault.summary} | {parameters} |")
    lines += ["", "| parameter | unit | from | to | meaning |", "|---|---|---|---|---|"]
    for name, parameter in PARAMETERS.items():
        least, most = ("", "") if parameter.is_text else (_shown(parameter.least), _shown(parameter.most))
        lines.append(f"| `{name}` | {parameter.unit} | {least} | {most} | {parameter.meaning} |")
    return "\n".join(lines) + "\n"


def find_tenants(read_names: Callable[[], Mapping[str, str]]) -> None:
    """Tell the faults that name a tenant which ones there are; `read_names` (id -> name) is only called if one does."""
    asking = [fault for fault in all_set().values() if fault.names_a_tenant]
    if asking:
        names = read_names()
        for fault in asking:
            fault.learn_tenants(names)


def _values(name: str, parameters: Mapping[str, Any]) -> FaultValues:
    values = checked(name, parameters)
    set_at = float(values.pop("set_at"))
    return FaultValues(known(name), values, set_at)


def _problem(name: str, key: str, value: Any, allowed: Values) -> str | None:
    """What is wrong with a parameter, or none."""
    if key not in allowed:
        names = ", ".join(sorted(set(allowed) - {"set_at"}))
        return f"fault {name} has no parameter {key!r}, must be one of {names}"
    parameter = PARAMETERS[key]
    if parameter.is_text:
        well_formed = isinstance(value, str) and _TEXT.fullmatch(value)
        return None if well_formed else f"fault {name}: {key} is {value!r}, must be a text without , ; or ="
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and parameter.least <= number <= parameter.most):
        return (
            f"fault {name}: {key} is {value!r}, must be a number from {parameter.least:g} to {parameter.most:g}"
            f" ({parameter.unit})"
        )
    return None


def _shown(value: Value) -> str:
    """A value without digits that say nothing; infinity is no bound, and shown as none."""
    if isinstance(value, str):
        return value
    return "" if math.isinf(value) else f"{value:.10g}"


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
