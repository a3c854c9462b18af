"""Streams, lists and keys of the platform's Redis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Queues:
    """Names in Redis.

    Attributes:
        audit_stream: stream of the calls whose audit rows are still to be written; names of its own queues begin with
            it.
        groups: by stream, the group that works it off.
        dead_letters: streams and lists in which an event has been given up.
        chain_lock: key of the lock of a tenant's chain, for people; `{tenant_id}` is left as it is.
        tenant_keys: pattern of the keys of tenant `{tenant_id}`.
    """

    audit_stream: str
    groups: Mapping[str, str]
    dead_letters: tuple[str, ...]
    chain_lock: str
    tenant_keys: str

    def audit_events_in(self, lengths: Mapping[str, int]) -> int:
        """Events that wait for the audit worker, of what a `Drain` has found or left."""
        return sum(number for queue, number in lengths.items() if queue.startswith(self.audit_stream))

    def keys_of(self, tenant_id: str) -> str:
        """Pattern of a tenant's keys."""
        return self.tenant_keys.format(tenant_id=tenant_id)
