"""Links, pipes and foreign content in the reports folder lead nothing out of it and end in no traceback."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soak_pipeline import cli
from soak_pipeline.evidence.files import open_log, overwrite, read_regular, write_bytes
from soak_pipeline.evidence.run_folder import RunFolder, read_json, run_folders
from soak_pipeline.load.lease import LeaseFile
from soak_pipeline.model.errors import BadInput, EvidenceUnreadable, HarnessFailed
from soak_pipeline.model.plan import Plan
from soak_pipeline.stages.post_run_checks import judge_folder
from soak_pipeline.stages.report import report_folder
from soak_pipeline.target.clean import clean_run
from soak_pipeline.target.config import load_target
from soak_pipeline_tests.evidence_factory import RUN_ID, make_run
from soak_pipeline_tests.target import examples

OUTSIDE = "not to be touched"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.write_text(OUTSIDE)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "",
        "soak",
        f"soak/{RUN_ID}",
        f"soak/{RUN_ID}/requests",
        f"soak/{RUN_ID}/telemetry",
        f"soak/{RUN_ID}/control",
        f"soak/{RUN_ID}/outputs",
        "fairness",
        f"fairness/{RUN_ID}",
    ],
)
def test_a_folder_that_is_a_link_is_no_run_folder(tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = tmp_path / "reports" / name if name else tmp_path / "reports"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    with pytest.raises(EvidenceUnreadable, match="is a symbolic link"):
        RunFolder(tmp_path / "reports", RUN_ID)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", ["", "soak"])
def test_a_reports_folder_that_is_a_link_is_not_listed(tmp_path: Path, name: str) -> None:
    make_run(tmp_path / "elsewhere")
    link = tmp_path / "reports" / name if name else tmp_path / "reports"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path / "elsewhere" / name)
    with pytest.raises(EvidenceUnreadable, match="is a symbolic link"):
        list(run_folders(tmp_path / "reports"))


def test_a_run_that_is_a_link_is_passed_over(tmp_path: Path) -> None:
    inside = make_run(tmp_path / "reports")
    other = make_run(tmp_path / "elsewhere")
    (inside.path.parent / "20261123T083000Z").symlink_to(other.path)
    (inside.path.parent / "20269999T999999Z").mkdir()
    assert [folder.run_id for folder in run_folders(tmp_path / "reports")] == [RUN_ID]


@pytest.mark.parametrize("write", [lambda path: open_log(path).close(), lambda path: overwrite(path, b"x")])
def test_a_file_that_is_a_link_or_a_pipe_is_not_written(
    tmp_path: Path, outside: Path, write: Callable[[Path], None]
) -> None:
    link = tmp_path / "run.log"
    link.symlink_to(outside)
    with pytest.raises(OSError, match="symbolic"):
        write(link)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match=r"plain file|No such device"):
        write(pipe)
    assert outside.read_text() == OUTSIDE


def test_a_lease_that_is_a_link_is_not_written(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "lease-soak").symlink_to(outside)
    with pytest.raises(OSError, match="symbolic"):
        LeaseFile(tmp_path / "lease-soak").release()
    assert outside.read_text() == OUTSIDE


def test_writing_over_a_link_replaces_the_link(tmp_path: Path, outside: Path) -> None:
    link = tmp_path / "verdict.json"
    link.symlink_to(outside)
    write_bytes(link, b"{}")
    assert (link.is_symlink(), link.read_text(), outside.read_text()) == (False, "{}", OUTSIDE)


def test_a_report_over_links_stays_in_its_folder(tmp_path: Path, outside: Path) -> None:
    folder = make_run(tmp_path / "reports")
    for name in ("verdict.json", "report.html", "errors.log", "junit.xml"):
        (folder.path / name).symlink_to(outside)
    report_folder(folder, judge_folder(folder, {}))
    assert outside.read_text() == OUTSIDE
    assert not (folder.path / "verdict.json").is_symlink()


def test_reading_follows_no_link_waits_on_no_pipe_and_ends(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "link").symlink_to(outside)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name in ("link", "pipe", "endless", "folder"):
        with pytest.raises(EvidenceUnreadable):
            read_json(tmp_path / name, Plan)
    with pytest.raises(OSError, match="larger than 5 bytes"):
        read_regular(outside, 5)


def _exit_code(*arguments: str) -> int:
    return cli._exit_code(lambda: cli.app(list(arguments), standalone_mode=False))


def test_a_place_that_cannot_be_written_is_told(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_code("history", "--reports", str(outside / "reports")) == 3
    assert "Not a directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "run", ["../../etc/passwd", f"x/../{RUN_ID}/..", "..", f"{RUN_ID}/", f"/tmp/{RUN_ID}x", f"{RUN_ID}\n", "a\x00b/c"]
)
def test_a_run_that_is_none_is_told(tmp_path: Path, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("judge", "report", "figures", "clean"):
        assert _exit_code(command, run, "--reports", str(tmp_path)) in (3, 254)
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_quotes_a_platform_does_not_act_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise HarnessFailed("the gateway answered \x1b]0;owned\x07 and:\n  - \x1b[2J")

    assert cli._exit_code(fail) == 3
    error = capsys.readouterr().err
    assert "\x1b" not in error
    assert "\x07" not in error
    assert "\n  - " in error


def test_cleaning_touches_no_tenant_but_the_runs_own() -> None:
    plan = examples.plan()
    mine, *others = plan.tenants
    for tenant_id in ("*", "00000000-0000-0000-0000-000000000000", others[0].tenant_id):
        forged = msgspec.structs.replace(plan, tenants=(msgspec.structs.replace(mine, tenant_id=tenant_id), *others))
        with pytest.raises(BadInput, match=r"tenant A in plan\.json is not this run's tenant; nothing was removed"):
            clean_run(examples.resolved(), forged)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200)
    | st.text(st.sampled_from("!&*<>{}[]:,-|?%@`'\"# \n\tabc~=.0123e"), max_size=200).map(str.encode)
)
def test_any_bytes_are_a_target_file_or_bad_input(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "target.yaml"
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        load_target(path)
    assert caught.value.problems


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch owned']",
        "name: !!python/object/new:os.system ['touch owned']",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nname: *c",
        "<<: {name: staging}\nname: other\nname: third",
        "[" * 30_000,
        "{a: " * 12_000,
        "name: " + "9" * 60_000,
        "name: 2026-99-99",
        "? [a, b]\n: c",
        "name: x\n" * 3,
    ],
)
def test_yaml_that_wants_more_than_data_is_refused(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "target.yaml").write_text(text)
    with pytest.raises(BadInput):
        load_target(tmp_path / "target.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["target.yaml"]
