from __future__ import annotations

import io

import pytest
from rich.console import Console

from soak_pipeline.report.table import plain_verdict, print_verdict, verdict_table
from soak_pipeline_tests.report import examples
from soak_pipeline_tests.report.examples import failed, hostile, inconclusive, not_asked, passed


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def rendered(width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(verdict_table(examples.document(passed(), failed(), inconclusive(), not_asked()), width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_table_fits_and_loses_no_word(width: int) -> None:
    text = rendered(width)
    assert all(len(line) <= width for line in text.splitlines())
    squeezed = "".join(text.split())
    for word in ("PASS", "FAIL", "INCONCLUSIVE", "1.20x"):
        assert word in squeezed
    for word in failed().why.split():
        assert word in squeezed


def test_plain_lines_wrap_and_carry_the_figures() -> None:
    text = plain_verdict(examples.document(passed(), failed(), not_asked()), columns=80)
    assert "FAIL          quiet_tenants_are_protected: observed 1.34x (1.25x to 1.43x), limit ≤ 1.20x\n" in text
    assert "not asked     nothing_leaks: observed –, limit –\n" in text
    assert f"next: {failed().fix}"[:60] in text
    assert all(len(line) <= 80 for line in text.splitlines() if line.startswith(" "))


def test_not_a_terminal_gets_no_escape_sequences() -> None:
    stream = io.StringIO()
    print_verdict(examples.document(failed()), stream)
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue() == plain_verdict(examples.document(failed()))


@pytest.mark.parametrize("stream_type", [io.StringIO, Terminal])
def test_hostile_text_cannot_steer_the_terminal(
    stream_type: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = stream_type()
    print_verdict(examples.document(hostile()), stream)
    assert "\x1b[2J" not in stream.getvalue()
    assert "\x00" not in stream.getvalue()
    assert "\u202e" not in stream.getvalue()
