"""The vocabulary of the load: phases, kinds and operations of requests, outcome classes, mixes, request identity."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum

USER_AGENT = "soak-pipeline"
"""Of every request of ours: a platform may take several user agents of one tenant for an intrusion."""


class Phase(StrEnum):
    """What a request was sent for; only BASELINE, BURST and SOAK are judged for latency."""

    WARMUP = "warmup"
    BASELINE = "baseline"
    BURST = "burst"
    FANOUT = "fanout"
    SOAK = "soak"
    PROBE = "probe"


class Kind(StrEnum):
    """The share of the mix that a request belongs to."""

    ALLOWED = "allowed"
    DENIED = "denied"
    READ = "read"
    VERIFY = "verify"
    MISC = "misc"
    AUTH = "auth"


class Operation(StrEnum):
    """What exactly was asked of the platform; each belongs to one kind (`KIND_OF`)."""

    EXECUTE = "execute"
    ATTACK_PROMPT_INJECTION = "attack_prompt_injection"
    ATTACK_PATH_TRAVERSAL = "attack_path_traversal"
    ATTACK_SQL = "attack_sql"
    ATTACK_SHELL = "attack_shell"
    ATTACK_CROSS_TENANT = "attack_cross_tenant"
    READ_AUDIT_LOGS = "read_audit_logs"
    READ_AUDIT_SEARCH = "read_audit_search"
    READ_AUDIT_SUMMARY = "read_audit_summary"
    READ_USAGE_SUMMARY = "read_usage_summary"
    READ_TIMELINES = "read_timelines"
    READ_ROOTS = "read_roots"
    READ_GRAPH_AGENTS = "read_graph_agents"
    VERIFY_CHAIN = "verify_chain"
    MISC_UNKNOWN_TOOL = "misc_unknown_tool"
    MISC_OVERSIZE = "misc_oversize"
    MISC_BAD_TOKEN = "misc_bad_token"
    MISC_NO_TOKEN = "misc_no_token"
    MISC_HEALTH = "misc_health"
    LOGIN = "login"
    REFRESH = "refresh"


def _kind_of(operation: Operation) -> Kind:
    if operation is Operation.EXECUTE:
        return Kind.ALLOWED
    if operation in (Operation.LOGIN, Operation.REFRESH):
        return Kind.AUTH
    prefix = operation.value.split("_", 1)[0]
    return {"attack": Kind.DENIED, "read": Kind.READ, "verify": Kind.VERIFY, "misc": Kind.MISC}[prefix]


KIND_OF: Mapping[Operation, Kind] = {operation: _kind_of(operation) for operation in Operation}


class Outcome(StrEnum):
    """What became of a request, against what should have.

    OK: the answer that the operation must get (an expected denial included).
    WRONGLY_ALLOWED: an attack or an unauthenticated call was executed: the worst finding there is.
    WRONGLY_DENIED: a legitimate call was refused by policy (401, 402, 403).
    THROTTLED: 429. CLIENT_ERROR: any other unexpected 4xx. SERVER_ERROR: 5xx.
    TIMEOUT, TRANSPORT_ERROR: no whole answer arrived. MALFORMED: the right status with a body that is not.
    """

    OK = "ok"
    WRONGLY_ALLOWED = "wrongly_allowed"
    WRONGLY_DENIED = "wrongly_denied"
    THROTTLED = "throttled"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    TRANSPORT_ERROR = "transport_error"
    MALFORMED = "malformed"


_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def request_id_of(seed: int, session: str, user: int, sequence: int) -> str:
    """The request id of one request: a version-4 shaped UUID derived from its place in the schedule.

    The record of a request therefore needs no id on disk: evidence is matched with audit rows by deriving it again.

    Args:
        seed: the plan's seed.
        session: name of the load session.
        user: index of the virtual user in the session.
        sequence: number of the request within the user, from 0.
    """
    digits = hashlib.blake2b(f"{seed}/{session}/{user}/{sequence}".encode(), digest_size=16).hexdigest()
    # Formatted by hand: half the time of uuid.UUID, for every request that is sent and for every row that is matched.
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"
