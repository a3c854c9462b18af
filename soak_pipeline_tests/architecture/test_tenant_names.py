"""No code knows a tenant beforehand: names, order and the noisy one come from the plan."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from soak_pipeline import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / "soak_pipeline"
KNOWN = re.compile(
    r"\b(TENANT_SHARES|NOISY_TENANT|QUIET_TENANTS)\b|\btenants? [A-E]\b|tenant-[a-e]\b|\"ABCDE\"|p9[59] [A-E]\b"
)
FILES = sorted(path for pattern in ("*.py", "*.css", "*.js", "*.j2") for path in PACKAGE.rglob(pattern))


@pytest.mark.parametrize("text", ["from x import TENANT_SHARES", "p95 of tenant E", "var(--tenant-a)", '"ABCDE"'])
def test_a_known_tenant_is_found(text: str) -> None:
    assert KNOWN.search(text)


@pytest.mark.parametrize("text", ["tenant acme-eu", "--tenant-0", "tenant Above", "TENANT_COLOURS"])
def test_another_word_is_none(text: str) -> None:
    assert not KNOWN.search(text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_knows_a_tenant(path: Path) -> None:
    found = [
        f"line {number}: {line.strip()}"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if KNOWN.search(line)
    ]
    assert found == []
