"""Text that came from elsewhere, made safe to show.

Platform error texts, names and reasons end up in terminals, logs, CI pages and Markdown. Owns taking away what could
act there: control characters, terminal escapes, direction overrides, Markdown. HTML and XML are escaped where they are
written. Never decides what is shown.
"""

from __future__ import annotations

import re

MAX_TEXT_CHARS = 2_000

_MARKDOWN = re.compile(r"([\\`*\[\]<>|&~#])")


def one_line(text: str, max_chars: int = MAX_TEXT_CHARS) -> str:
    """The text on one line, without anything that a terminal, a log reader or an XML parser would act upon.

    Each such character becomes `�` (white space becomes a space), so that its presence stays visible. A text longer
    than `max_chars` is cut and says so.
    """
    line = "".join(_shown(character) for character in text[: max_chars + 1]).strip()
    return line if len(text) <= max_chars else f"{line[:max_chars].rstrip()} … ({len(text):,} characters)"


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"


def markdown(text: str) -> str:
    """The text as one line of GitHub-flavoured Markdown that shows it literally, also inside a table cell."""
    escaped = _MARKDOWN.sub(r"\\\1", one_line(text))
    return escaped.replace("://", r"\://").replace("www.", r"www\.").replace("@", r"\@")


def title_of(name: str) -> str:
    """A criterion's name as a phrase: `gateway_p95_is_under_slo` -> `Gateway p95 is under SLO`."""
    words = ["SLO" if word == "slo" else word for word in name.split("_")]
    phrase = " ".join(words)
    return phrase[:1].upper() + phrase[1:]
