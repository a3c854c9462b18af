"""The documents of the project as data: their headings, links, code blocks and words in code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from soak_pipeline import PROJECT_ROOT

DOCUMENTS = sorted(
    path
    for folder, pattern in ((".", "*.md"), ("docs", "**/*.md"), ("infra", "**/*.md"), ("reports", "*.md"))
    for path in (PROJECT_ROOT / folder).glob(pattern)
)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")


def name_of(path: Path) -> str:
    """Path of a document within the project."""
    return path.relative_to(PROJECT_ROOT).as_posix()


def prose(text: str) -> str:
    """A document without its indented and fenced blocks."""
    return "\n".join(line for line, is_code in _lines(text) if not is_code)


def blocks(text: str) -> list[str]:
    """Lines of the indented and fenced blocks, each with those that continue it."""
    code = "\n".join(line.strip() for line, is_code in _lines(text) if is_code)
    return code.replace("\\\n", " ").splitlines()


def words_in_code(text: str) -> list[str]:
    """What stands between backticks in running text and tables."""
    return [word.strip() for word in _CODE.findall(prose(text))]


def links(text: str) -> list[str]:
    """Targets of the links in running text and tables."""
    return _LINK.findall(_CODE.sub("", prose(text)))


def anchors(text: str) -> set[str]:
    """The anchors of the headings, made as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(text), flags=re.MULTILINE)
    plain = (_LINK.sub("", heading).replace("`", "").lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


def section(text: str, heading: str) -> str:
    """Text below a heading up to the next of its level or above.

    Raises:
        ValueError: there is no such heading.
    """
    level = len(heading) - len(heading.lstrip("#"))
    _, rest = f"\n{text}".split(f"\n{heading}\n", 1)
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """Cells of every row of the tables in a text, without headings and rules."""
    found: list[list[str]] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        is_heading = number + 1 < len(lines) and _is_rule(lines[number + 1])
        if line.startswith("|") and not is_heading and not _is_rule(line):
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])])
    return found


def calls(text: str, program: str) -> Iterator[Sequence[str]]:
    """Arguments of each call of a program in the blocks and words of a document, shell syntax around it left out."""
    for line in (*blocks(text), *words_in_code(text)):
        command = re.split(r" {2,}(?=[a-z#])|\s+#|\s\|\|?\s", line)[0]
        for part in re.split(r"\s&&\s|\s\|\s", command):
            found = re.match(rf"(?:\w+=\S+ )*(?:git tag \| )?(?:\S*/)?{re.escape(program)} (.+)", part)
            if found:
                yield shlex.split(found[1].replace("...", ""))


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is code: fenced, or indented after an empty line or more code."""
    fenced = indented = False
    before = ""
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
            continue
        indented = (line.startswith("    ") or (indented and not line.strip())) and (indented or not before.strip())
        yield line, fenced or indented
        before = line


def _is_rule(line: str) -> bool:
    return bool(re.fullmatch(r"\|[\s:|-]+\|", line.strip()))
