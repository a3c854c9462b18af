"""`soak gate` as a workflow calls it: exit codes, formats, step summary, and what it loads."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.cli import app
from soak_pipeline.commands.gate import GateAnswer, GateVerdict
from soak_pipeline.commands.gate_formats import FORMATS, as_junit, as_markdown, as_text
from soak_pipeline.model.plan import run_id_of
from soak_pipeline.model.verdict import CriterionResult, Verdict
from soak_pipeline.model.waivers import Waived, Waiver
from soak_pipeline_tests.commands.gate_runs import store_run
from soak_pipeline_tests.waiting import PATIENCE_S

HOSTILE = "<b>x</b> | [y](javascript:z)\n\x1b[31mred"
ANSWER = GateAnswer(
    verdict=GateVerdict.FAIL,
    level="nightly",
    release="v1.2.3",
    why=f"roots_are_sealed: {HOSTILE}",
    next_step="Seal them.",
    run_id="20261123T073000Z",
    commit="0123abc",
    target="staging",
    plan_hash="f" * 64,
    policy="default (0123456789ab)",
    run_folder="reports/soak/20261123T073000Z",
    unmet=(
        CriterionResult(name="roots_are_sealed", verdict=Verdict.FAIL, why=HOSTILE),
        CriterionResult(name="fanout_is_correct", verdict=Verdict.INCONCLUSIVE, why="not measured"),
    ),
    waived=(
        Waived(
            criterion="nothing_leaks",
            verdict=Verdict.FAIL,
            why="2 MiB/h",
            owner="storage team",
            reason="fixed in v1.2.4",
            expiry=date(2026, 12, 1),
        ),
    ),
    notes=("the waiver of roots_are_sealed by A expired on 2026-11-01; it excuses nothing",),
)


def _gate(reports: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "soak_pipeline.cli", "gate", "--level", "nightly", "--release", "v1.2.3"]
    return subprocess.run(
        [*command, "--reports", str(reports), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env={"PATH": "/usr/bin:/bin", **environment},
    )


def _fresh_run(reports: Path, verdict: Verdict = Verdict.PASS) -> None:
    store_run(reports, run_id=run_id_of(datetime.now(UTC)), criteria={"nothing_leaks": verdict})


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.PASS, 0), (Verdict.FAIL, 1), (Verdict.INCONCLUSIVE, 2)])
def test_the_exit_code_is_the_answer(tmp_path: Path, verdict: Verdict, code: int) -> None:
    _fresh_run(tmp_path, verdict)
    done = _gate(tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stdout.startswith(f"{verdict} nightly v1.2.3: ")


def test_a_missing_run_is_inconclusive(tmp_path: Path) -> None:
    assert _gate(tmp_path).returncode == 2


def test_a_harness_that_cannot_read_its_results_says_so(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    _fresh_run(tmp_path / "elsewhere")
    (tmp_path / "reports").symlink_to(tmp_path / "elsewhere")
    done = _gate(tmp_path / "reports")
    assert done.returncode == 3
    assert "symbolic link" in done.stderr


@pytest.mark.parametrize("arguments", [("--max-age", "soon"), ("--format", "xml")])
def test_a_wrong_argument_is_no_answer(tmp_path: Path, arguments: tuple[str, str]) -> None:
    assert _gate(tmp_path, *arguments).returncode == 254


def test_a_waiver_opens_it_and_is_named_in_every_place(tmp_path: Path) -> None:
    _fresh_run(tmp_path, Verdict.FAIL)
    waivers = tmp_path / "waivers.yaml"
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date()
    waivers.write_text(
        f"waivers: [{{criterion: nothing_leaks, owner: storage team, reason: fixed next week, expiry: {tomorrow}}}]\n"
    )
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    done = _gate(tmp_path, "--waivers", str(waivers), "--format", "json", GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 0, done.stderr
    given_answer = json.loads(done.stdout)
    assert given_answer["verdict"] == "PASS_WITH_WAIVER"
    assert given_answer["waived"][0]["owner"] == "storage team"
    appended = summary.read_text()
    assert appended.startswith("before\n### ")
    assert "PASS_WITH_WAIVER" in appended
    assert f"| nothing\\_leaks | FAIL: tenant E: FAIL | storage team | fixed next week | {tomorrow} |" in (
        appended.replace("nothing_leaks", "nothing\\_leaks")
    )


def test_a_step_summary_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    _fresh_run(tmp_path)
    done = _gate(tmp_path, GITHUB_STEP_SUMMARY=str(tmp_path))
    assert done.returncode == 3
    assert "GITHUB_STEP_SUMMARY" in done.stderr


def test_a_refused_waivers_file_keeps_a_passed_run_shut(tmp_path: Path) -> None:
    _fresh_run(tmp_path)
    done = _gate(tmp_path, "--waivers", str(tmp_path / "none.yaml"))
    assert done.returncode == 2
    assert "none.yaml: cannot be read: No such file or directory" in done.stdout


def test_the_formats_are_those_of_the_command() -> None:
    formats = next(option for option in app.commands["gate"].params if option.name == "format_name")
    assert tuple(formats.type.choices) == tuple(FORMATS)


@pytest.mark.parametrize("module", ["gate", "gate_formats"])
def test_it_starts_without_anything_heavy(module: str) -> None:
    heavy = {"dagster", "locust", "numpy", "scipy", "pandas", "pyarrow", "matplotlib", "psycopg", "rich", "jsonschema"}
    code = f"import sys, soak_pipeline.commands.{module}; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_text_is_one_line_per_fact_and_safe_in_a_terminal() -> None:
    text = as_text(ANSWER)
    assert "\x1b" not in text
    lines = text.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "FAIL nightly v1.2.3",
        "  run 20261123T073000Z, commit 0123abc, target staging, plan ffffffffffff, by policy default (0123456789ab)",
        "  not met",
        "  not met",
        "  waived until 2026-12-01",
        "  note",
        "  next",
        "  report",
    ]


def test_markdown_shows_foreign_text_literally() -> None:
    shown = as_markdown(ANSWER)
    assert r"\<b\>x\</b\> \| \[y\](javascript:z)" in shown
    assert "\x1b" not in shown
    assert "| FAIL | roots_are_sealed |" in shown.replace("\\_", "_")


def test_junit_counts_what_is_unmet_and_what_is_waived() -> None:
    root = ET.fromstring(as_junit(ANSWER).encode())
    cases = {case.get("name"): [child.tag for child in case] for case in root.iter("testcase")}
    assert cases == {
        "promotion_is_allowed": ["failure"],
        "roots_are_sealed": ["failure"],
        "fanout_is_correct": ["error"],
        "nothing_leaks": ["skipped"],
    }
    suite = root.find("testsuite")
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "2",
        "errors": "1",
        "skipped": "1",
    }


def test_every_option_key_and_answer_is_documented() -> None:
    text = (PROJECT_ROOT / "docs" / "gate.md").read_text()
    options = [option.opts[0] for option in app.commands["gate"].params]
    words = [*options, *Waiver.__struct_fields__, *GateVerdict, *FORMATS]
    assert [word for word in words if f"`{word}`" not in text] == []
