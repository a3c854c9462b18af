"""One platform's words, put together from their parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from soak_pipeline.dialect.answers import AnswerRule
from soak_pipeline.dialect.audit_store import AuditRows, Outbox, Roots
from soak_pipeline.dialect.execution import Execution
from soak_pipeline.dialect.hashing import ChainScheme, RootScheme
from soak_pipeline.dialect.metrics import Metrics
from soak_pipeline.dialect.provisioning import Provisioning
from soak_pipeline.dialect.queues import Queues
from soak_pipeline.dialect.requests import Body, Envelope, Headers, Request
from soak_pipeline.dialect.stores import Graph, Tables, Timelines, Usage
from soak_pipeline.dialect.tokens import Token, Tokens
from soak_pipeline.model.traffic import Operation


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """A platform's words; a value, the same for every thread and process.

    Attributes:
        headers, envelope, tokens, provisioning, execution: its HTTP surface.
        health: a call that needs no token.
        reads: by operation, what each read asks for.
        answers: by operation, the only right answer.
        chain, root_scheme: what is hashed and signed.
        audit_rows, outbox, roots, usage, timelines, graph: its tables, with the statements that read them.
        tables: by database, every table by what it is for.
        queues: its Redis.
        metrics: of its pages.
        verify_command: its own verification of a chain at the command line, for people.
    """

    headers: Headers
    envelope: Envelope
    tokens: Tokens
    provisioning: Provisioning
    execution: Execution
    health: Request
    reads: Mapping[Operation, Request]
    answers: Mapping[Operation, AnswerRule]
    chain: ChainScheme
    root_scheme: RootScheme
    audit_rows: AuditRows
    outbox: Outbox
    roots: Roots
    usage: Usage
    timelines: Timelines
    graph: Graph
    tables: Mapping[str, Tables]
    queues: Queues
    metrics: Metrics
    verify_command: str

    def execute(self, tool: str, body: Body, *, agent_id: str = "") -> Request:
        """One executed call of an agent, or of nobody."""
        return self.execution.request(self.headers, tool, body, agent_id=agent_id)

    def token_in(self, body: bytes, set_cookie: str) -> Token:
        """The token of an answer; see `Tokens.token_in`."""
        return self.tokens.token_in(self.envelope, body, set_cookie)
