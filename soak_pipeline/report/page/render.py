"""Rendering of a page: templates, their filters, and the page's own policy.

Owns escaping. Every text is escaped by the template engine after `one_line` took away what acts; the policy in each
page forbids everything but its own style and its own script, by hash.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from soak_pipeline.model.verdict import CriterionResult, Finding, Verdict
from soak_pipeline.report.quantities import NOT_MEASURED, interval_text, limit_of, quantity
from soak_pipeline.report.table import verdict_word
from soak_pipeline.report.text import one_line, title_of

FOLDED_FROM = 3
"""Findings, from which on it is worth folding them away."""

SHOWN_UNMET = 8
"""Findings that are not met, the worst first, that are seen at once."""

_FILE_TO_SEE = re.compile(r"; see \S+\.(?:json|log|parquet)")
"""Where a sentence points to a file; the criterion lists it as its evidence."""
_TONES = {"PASS": "pass", "FAIL": "fail", "INCONCLUSIVE": "open"}


def render(name: str, **context: object) -> str:
    """A page as text.

    Args:
        name: of the template, such as `report.html`.
        context: what it shows.
    """
    script = _resource("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(name)
        .render(style=Markup(_resource("report.css")), script=Markup(script), script_hash=f"sha256-{digest}", **context)
        .lstrip()
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
        loader=FunctionLoader(lambda name: _resource(f"{name}.j2")),
    )
    environment.filters.update(
        between=interval_text,
        brief=lambda text: _FILE_TO_SEE.sub("", text),
        drawing=Markup,
        limit_of=limit_of,
        parted=parted_findings,
        plain=_plain,
        quantity=quantity,
        title_of=title_of,
        tone=lambda word: _TONES.get(word, "unasked"),
        word=verdict_word,
    )
    return environment


def _shown(value: object) -> object:
    """Takes from every text what acts, before it is escaped; markup of our own passes."""
    return one_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def parted_findings(result: CriterionResult) -> tuple[Sequence[Finding], Sequence[Finding], Sequence[Finding]]:
    """The findings to show at once, and those to fold away: what is not met beyond the first, and what holds."""
    unmet = [finding for finding in result.findings if finding.verdict is not Verdict.PASS]
    holding = [finding for finding in result.findings if finding.verdict is Verdict.PASS]
    at_once = SHOWN_UNMET if len(unmet) >= SHOWN_UNMET + FOLDED_FROM else len(unmet)
    if result.verdict is Verdict.PASS or (at_once == len(unmet) and len(holding) < FOLDED_FROM):
        return result.findings, (), ()
    return unmet[:at_once], unmet[at_once:], holding


def _plain(value: object) -> str:
    """A further figure of a finding; its name carries the unit."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NOT_MEASURED if value is None else str(value)
    return quantity(float(value))


@cache
def _resource(name: str) -> str:
    return (files("soak_pipeline.report.page") / name).read_text(encoding="utf-8")
