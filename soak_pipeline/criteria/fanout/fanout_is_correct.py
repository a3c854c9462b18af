"""Criterion: many agents of one tenant at once neither block nor confuse each other.

Claim: every call was answered, with the answer that it had to get (the chain lock serialises without deadlock); an
agent whose permission was revoked is refused from then on, and served again once it is re-granted; each agent is one
node of the identity graph, each call at most one edge and each allowed call exactly one; the tenant's chain has no
fork.

Validity guard: the fan-out ran whole, with as many agents, revocations and records as planned, and the calls really
overlapped in time. Otherwise INCONCLUSIVE.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from soak_pipeline.criteria.criterion import Criterion, Need
from soak_pipeline.criteria.fanout.causes import CHAIN, GRAPH, REVOCATION, fan_out
from soak_pipeline.criteria.request_counts import count_by
from soak_pipeline.criteria.results import conclude, stage_missing, unmeasured
from soak_pipeline.criteria.sources import REQUESTS, stage_file, unavailable, why_missing
from soak_pipeline.criteria.validity.condition import ended_in_words
from soak_pipeline.criteria.wording import count, listed
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.evidence.requests import RequestTable
from soak_pipeline.model.plan import FANOUT_SESSION, Plan
from soak_pipeline.model.preview import Expectation, Outlook
from soak_pipeline.model.stage_outputs import FanoutEvidence, GraphEvidence, StageStatus
from soak_pipeline.model.traffic import Kind, Outcome
from soak_pipeline.model.verdict import CriterionResult, Finding, Verdict, at_least, at_most

GRAPH_NEEDS = ("database.identity_graph",)
CHAIN_NEEDS = ("database.audit",)
"""What the target must offer for the identity graph, and for the chain."""
NO_WRONG_ANSWER = at_most(0.0, "wrong answers")
NOTHING_IN_COLLISION = at_most(0.0, "nodes and edges")

OVERLAP_SHARE_MIN = 0.1
PARTS = 3


def judge(evidence: RunEvidence) -> CriterionResult:
    """Judges calls, revocations, graph and chain of the fan-out; see the module's test plan."""
    fanout = evidence.agent_fanout
    if fanout is None:
        return stage_missing(evidence, CRITERION, "agent_fanout", [REQUESTS])
    requests = evidence.requests
    rows = requests.take(requests.where(session=FANOUT_SESSION, kind=Kind.ALLOWED)) if len(requests) else requests
    findings = [
        _whole(evidence, fanout, rows),
        _calls(fanout, rows),
        _overlap(fanout, rows),
        *_revocations(evidence, fanout),
        _graph(evidence),
        _chain(evidence, fanout.tenant),
    ]
    return conclude(
        evidence,
        CRITERION,
        findings,
        main=NO_WRONG_ANSWER,
        passed=f"{count(fanout.agents, 'agent')} made {count(fanout.calls, 'call')} at once, all answered rightly; "
        f"{count(len(fanout.revocations), 'revocation')} honoured; no node, edge or chain entry collides",
        files=[stage_file(evidence, "agent_fanout"), stage_file(evidence, "platform_evidence"), REQUESTS],
    )


def _whole(evidence: RunEvidence, fanout: FanoutEvidence, rows: RequestTable) -> Finding:
    planned = evidence.plan.profile.fanout
    calls = planned.agents * planned.calls_per_agent * PARTS
    problems = []
    if fanout.status is not StageStatus.COMPLETE:
        problems.append(f"it {ended_in_words(fanout.status)} ({fanout.reason})")
    if fanout.agents < planned.agents:
        problems.append(f"{count(fanout.agents)} of {count(planned.agents, 'agent')} called")
    if fanout.calls < calls:
        problems.append(f"{count(fanout.calls)} of {count(calls, 'planned call')} were made")
    # Each agent may have had one call under way when the fan-out ended; that call was begun and never recorded.
    if len(rows) < fanout.calls - fanout.agents:
        problems.append(f"{count(len(rows), 'record')} of {count(fanout.calls, 'call')} are kept")
    if len(fanout.revocations) < planned.revoked_agents:
        problems.append(f"{count(len(fanout.revocations))} of {count(planned.revoked_agents, 'revocation')} were tried")
    if problems:
        return unmeasured("fan-out", f"the fan-out did not go as planned: {listed(problems)}")
    return Finding(
        subject="fan-out",
        verdict=Verdict.PASS,
        observed=float(fanout.calls),
        limit=at_least(calls, "calls"),
        why=f"{count(fanout.agents, 'agent')} made {count(fanout.calls, 'call')} as planned",
    )


def _calls(fanout: FanoutEvidence, rows: RequestTable) -> Finding:
    outcomes = count_by(rows, "outcome") if len(rows) else {}
    wrong = {outcome: number for outcome, number in outcomes.items() if outcome != Outcome.OK}
    if fanout.unanswered:
        wrong["unanswered"] = fanout.unanswered
    problem = listed(f"{count(number)} {outcome.replace('_', ' ')}" for outcome, number in wrong.items())
    total = sum(number for outcome, number in wrong.items() if outcome != "unanswered") or fanout.unanswered
    return Finding(
        subject="calls",
        verdict=Verdict.FAIL if wrong else Verdict.PASS if len(rows) else Verdict.INCONCLUSIVE,
        observed=float(total) if len(rows) or wrong else None,
        limit=NO_WRONG_ANSWER,
        why=f"of {count(fanout.calls, 'call')} of the fan-out, {problem}; limit 0"
        if wrong
        else f"all {count(fanout.calls, 'call')} of the fan-out got the answer that they must get"
        if len(rows)
        else "no record of the fan-out was kept",
        figures=dict(outcomes),
    )


def _overlap(fanout: FanoutEvidence, rows: RequestTable) -> Finding:
    """How many calls were under way at once; without overlap nothing was tested."""
    needed = at_least(calls_at_once_needed(fanout.agents), "calls at once")
    highest = most_at_once(rows)
    return Finding(
        subject="concurrency",
        verdict=Verdict.PASS if needed.allows(highest) else Verdict.INCONCLUSIVE,
        observed=float(highest),
        limit=needed,
        why=f"up to {count(highest, 'call')} of {count(fanout.agents, 'agent')} were under way at once, at least "
        f"{needed.value:.0f} needed",
    )


def calls_at_once_needed(agents: int) -> float:
    """How many calls of so many agents must have been under way at once."""
    return max(2.0, math.ceil(OVERLAP_SHARE_MIN * agents))


def most_at_once(rows: RequestTable) -> int:
    """Largest number of requests that were under way at the same moment."""
    if not len(rows):
        return 0
    start = rows.columns["start_us"]
    end = start + np.maximum(rows.columns["service_us"], 1)
    moments = np.concatenate((start, end))
    change = np.concatenate((np.ones(len(start), np.int64), -np.ones(len(end), np.int64)))
    order = np.lexsort((change, moments))
    return int(np.cumsum(change[order]).max())


def _revocations(evidence: RunEvidence, fanout: FanoutEvidence) -> list[Finding]:
    if not evidence.plan.profile.fanout.revoked_agents:
        return []
    entries = fanout.revocations
    allowed = sum(entry.allowed_while_revoked for entry in entries)
    denied = sum(entry.denied_after_regrant for entry in entries)
    while_revoked = sum(entry.calls_while_revoked for entry in entries)
    after_regrant = sum(entry.calls_after_regrant for entry in entries)
    untested = [entry.agent_id for entry in entries if not entry.calls_while_revoked or not entry.calls_after_regrant]
    return [
        _revocation_finding(
            "revocation", allowed, while_revoked, "served although the permission was revoked", untested
        ),
        _revocation_finding("re-grant", denied, after_regrant, "refused although the permission was back", untested),
    ]


def _revocation_finding(subject: str, wrong: int, calls: int, words: str, untested: list[str]) -> Finding:
    if wrong:
        verdict, why = Verdict.FAIL, f"{count(wrong)} of {count(calls, 'call')} were {words}, limit 0"
    elif untested or not calls:
        verdict = Verdict.INCONCLUSIVE
        why = f"{subject} was not tested: {count(len(untested), 'agent')} made no call in that time"
    else:
        verdict, why = Verdict.PASS, f"none of {count(calls, 'call')} was {words}"
    observed = None if verdict is Verdict.INCONCLUSIVE else float(wrong)
    return Finding(
        subject=subject, about=REVOCATION, verdict=verdict, observed=observed, limit=NO_WRONG_ANSWER, why=why
    )


def _graph(evidence: RunEvidence) -> Finding:
    platform = evidence.platform_evidence
    if platform is None:
        missing = why_missing(evidence, "platform_evidence")
        return unmeasured("identity graph", f"the identity graph was not read: {missing}")
    graph = platform.graph
    problems = _graph_problems(graph)
    figures: dict[str, float | int | str | None] = {
        "agent_nodes": graph.agent_nodes,
        "expected_agent_nodes": graph.expected_agent_nodes,
        "duplicate_nodes": graph.duplicate_nodes,
        "duplicate_edges": graph.duplicate_edges,
        "missing_edges": graph.missing_edges,
    }
    if problems:
        return Finding(
            subject="identity graph",
            about=GRAPH,
            verdict=Verdict.FAIL,
            observed=float(sum(number for number, _ in problems)),
            limit=NOTHING_IN_COLLISION,
            why=f"identity graph of tenant {graph.tenant}: {listed(words for _, words in problems)}; limit 0",
            figures=figures,
        )
    if any(value is None for value in figures.values()) or not graph.expected_agent_nodes:
        reason = graph.reason or unavailable(evidence, *GRAPH_NEEDS) or "it holds no agent of the fan-out"
        return unmeasured(
            "identity graph", f"identity graph of tenant {graph.tenant} was not checked: {reason}", **figures
        )
    return Finding(
        subject="identity graph",
        verdict=Verdict.PASS,
        observed=0.0,
        limit=NOTHING_IN_COLLISION,
        why=f"{count(graph.agent_nodes or 0, 'agent')} have one node each, and no edge is missing or doubled",
        figures=figures,
    )


def _graph_problems(graph: GraphEvidence) -> list[tuple[int, str]]:
    found = [
        (graph.duplicate_nodes or 0, "{} doubled", "node"),
        (graph.duplicate_edges or 0, "{} with more than one edge", "call"),
        (graph.missing_edges or 0, "{} without an edge", "allowed call"),
    ]
    problems = [(number, words.format(count(number, noun))) for number, words, noun in found if number]
    if graph.agent_nodes is not None and graph.expected_agent_nodes is not None:
        difference = abs(graph.agent_nodes - graph.expected_agent_nodes)
        if difference:
            words = f"{count(graph.agent_nodes, 'node')} for {count(graph.expected_agent_nodes, 'agent')}"
            problems.append((difference, words))
    return problems


def _chain(evidence: RunEvidence, tenant: str) -> Finding:
    platform = evidence.platform_evidence
    chain = None if platform is None else next((entry for entry in platform.chains if entry.tenant == tenant), None)
    if chain is None or chain.independent is None:
        reason = (chain.reason if chain else "") or unavailable(evidence, *CHAIN_NEEDS) or "it was not read"
        return unmeasured("chain", f"chain of tenant {tenant} was not checked for forks: {reason}")
    forks = chain.independent.forks
    return Finding(
        subject="chain",
        about=CHAIN,
        verdict=Verdict.FAIL if forks else Verdict.PASS,
        observed=float(forks),
        limit=at_most(0.0, "forks"),
        why=f"chain of tenant {tenant} has {count(forks, 'fork')}, limit 0",
    )


def _outlook(plan: Plan) -> Iterator[Expectation]:
    """Whether the calls of the fan-out can overlap, and whether permissions are revoked at all."""
    fanout = plan.profile.fanout
    calls = fanout.agents * fanout.calls_per_agent * PARTS
    needed = calls_at_once_needed(fanout.agents)
    possible = calls > 0 and fanout.agents >= needed
    yield Expectation(
        subject="concurrency",
        outlook=Outlook.DECIDABLE if possible else Outlook.UNDECIDABLE,
        why=f"{count(calls, 'call')} of {count(fanout.agents, 'agent')}, at least {needed:.0f} under way at "
        "once are needed",
        expected=float(fanout.agents),
        needed=needed,
        unit="calls",
        remedy="" if possible else f"{needed:.0f} agents with a call each would do",
    )
    if not fanout.revoked_agents:
        yield Expectation(
            subject="revocation",
            outlook=Outlook.SKIPPED,
            why="no permission is revoked",
            remedy="a revoked agent would do",
        )


def _needs(plan: Plan) -> Iterator[Need]:
    yield Need("identity graph", GRAPH_NEEDS)
    yield Need("chain", CHAIN_NEEDS)


CRITERION = Criterion(
    name="fanout_is_correct",
    short="fan-out",
    question="Do many agents at once get the right answers, with revocations honoured and nothing colliding?",
    rests_on=("agent_fanout", "platform_evidence"),
    judge=judge,
    cause_of_fail=fan_out,
    needs=_needs,
    outlook=_outlook,
)
