"""What an executed call says, benign or hostile.

Benign and attack payloads follow the platform's documented limits and deny rules: benign ones hold no word that its
keyword score counts, attacks hit one rule each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from soak_pipeline.dialect.requests import Body, Headers, Request
from soak_pipeline.model.traffic import Operation

_TOOL = "{tool}"
_PADDING = "lorem ipsum "


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Executed calls.

    Attributes:
        method: HTTP method.
        path: of an execution, with `{tool}` where the tool goes; without it the tool goes into a header.
        unknown_tool: that no agent may call.
        invalid_token: of a call that must be refused: well-formed, signed by nobody.
        oversize_bytes: body length of an oversize call (bytes): above the platform's limit, and small enough to be sent
            in one piece.
        benign: body of a benign call by tool, for the number of a variant.
        attacks: by attack, bodies that the platform's documented rules deny, for the id of another tenant.
        probe: body of the calls that prove a block.
        empty: body of a call without arguments.
        padded: body with a text.
    """

    method: str
    path: str
    unknown_tool: str
    invalid_token: str
    oversize_bytes: int
    benign: Mapping[str, Callable[[int], Body]]
    attacks: Mapping[Operation, Sequence[Callable[[str], Body]]]
    probe: Body
    empty: Body
    padded: Callable[[str], Body]

    def request(self, headers: Headers, tool: str, body: Body, *, agent_id: str = "") -> Request:
        """One executed call of an agent, or of nobody."""
        own = {} if _TOOL in self.path else {headers.tool: tool}
        if agent_id:
            own[headers.agent] = agent_id
        return Request(self.method, self.path.replace(_TOOL, tool), body, own)

    def oversize(self) -> Body:
        """A body over the platform's limit."""
        return self.padded(_PADDING * (self.oversize_bytes // len(_PADDING)))
