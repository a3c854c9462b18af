from __future__ import annotations

import io

import pytest

from soak_pipeline.report.table import plain_verdict, print_verdict
from soak_pipeline_tests.report import examples
from soak_pipeline_tests.report.examples import failed, hostile, inconclusive, not_asked, passed


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [48, 60, 80, 100, 120, 200])
def test_it_fits_and_loses_no_word(columns: int) -> None:
    text = plain_verdict(examples.document(passed(), failed(), inconclusive(), not_asked()), columns)
    assert all(len(line) <= columns for line in text.splitlines())
    words = text.split()
    for word in ("PASS", "FAIL", "INCONCLUSIVE", "1.34x", "quiet_tenants_are_protected", *failed().why.split()):
        assert word in words


def test_figures_stand_in_columns_under_a_heading() -> None:
    lines = plain_verdict(examples.document(passed(), failed(), not_asked()), 80).splitlines()
    assert lines[0] == "verdict       criterion                    observed    limit"
    assert lines[1] == "PASS          chain_has_no_violations        0 rows      ≤ 0"
    assert lines[3] == "FAIL          quiet_tenants_are_protected     1.34x  ≤ 1.20x"
    assert lines[4].startswith("              tenant E p99 rose 1.34x during burst")
    assert lines[6] == "not asked     nothing_leaks                       –        –"


def test_it_ends_with_the_reason_and_the_next_step() -> None:
    text = plain_verdict(examples.document(passed(), failed()), 120)
    assert "\n\nFAIL: quiet_tenants_are_protected: tenant E p99 rose" in text
    assert "\nnext: Lower the noisy tenant's concurrency limit" in text
    assert "next:" not in plain_verdict(examples.document(passed()), 120)


def test_a_terminal_gets_the_same_text_in_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, file = Terminal(), io.StringIO()
    document = examples.document(passed(), failed(), inconclusive(), not_asked())
    print_verdict(document, terminal)
    print_verdict(document, file)
    assert "\x1b[1;31mFAIL" in terminal.getvalue()
    assert "\x1b" not in file.getvalue()
    assert file.getvalue() == plain_verdict(document, 90)


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
