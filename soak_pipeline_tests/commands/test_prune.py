"""`soak prune` takes away what is old, and no release's answer at the gate changes by it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st

from soak_pipeline.cli import app
from soak_pipeline.commands.gate import GateAnswer, GateQuestion, answer
from soak_pipeline.commands.prune import QUIET_S, Rules, age_s_of, choose, prune, releases_of
from soak_pipeline.evidence.run_folder import RunFolder, run_folders
from soak_pipeline.model.errors import BadInput, HarnessFailed
from soak_pipeline.model.plan import RUN_ID_FORMAT, run_id_of
from soak_pipeline.model.verdict import Verdict
from soak_pipeline.stages.target_lock import hold_target, release_target
from soak_pipeline_tests.commands.gate_runs import store_run
from soak_pipeline_tests.policies import POLICY, profile_of

NOW = datetime(2027, 6, 1, 12, 0, tzinfo=UTC)
FIRST = datetime(2026, 11, 23, 7, 30, tzinfo=UTC)
LONG_AGO_S = FIRST.timestamp()


def run_ids(reports: Path) -> list[str]:
    return [folder.run_id for folder in run_folders(reports)]


def age_files(reports: Path, written_s: float = LONG_AGO_S) -> None:
    """Makes every file as old as its run, as if nobody had touched it since."""
    for path in (reports, *reports.rglob("*")):
        os.utime(path, (written_s, written_s), follow_symlinks=False)


def nights(reports: Path, releases: Iterable[str], **run: object) -> list[str]:
    """One run per release, each with its bulky evidence, a day apart and the oldest first; their run ids."""
    ids = []
    for night, release in enumerate(releases):
        folder = store_run(reports, run_id=run_id_of(FIRST + timedelta(days=night)), release=release, **run)
        (folder.requests_dir / "soak-0-00000.parquet").write_bytes(b"r" * 1_000)
        folder.telemetry_dir.mkdir(exist_ok=True)
        (folder.telemetry_dir / "run-00000.parquet").write_bytes(b"t" * 200)
        (folder.control_dir / "progress.json").write_bytes(b"c" * 30)
        folder.fairness_path.mkdir(parents=True)
        (folder.fairness_path / "comparison.json").write_bytes(b"f" * 4)
        ids.append(folder.run_id)
    age_files(reports)
    return ids


def take_away(reports: Path, rules: Rules, *, now: datetime = NOW, state: Path | None = None) -> None:
    environment = {"SOAK_STATE_DIR": str(state or reports / "state")}
    assert prune(reports, rules, environment, now=now, for_certain=True) == 0


def test_without_yes_nothing_is_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nights(tmp_path, ["", "", ""])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    prune(tmp_path, Rules(newest=1, whole=True), {}, now=NOW, for_certain=False)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    shown = capsys.readouterr().out
    assert "would delete: whole folders of 2 runs" in shown
    assert "kept: 1 run, the newest of their level and target" in shown


def test_the_evidence_goes_and_what_people_and_the_history_read_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, newest = nights(tmp_path, ["", ""])
    take_away(tmp_path, Rules(newest=1))
    assert f"{old}  nightly on staging  1.20 KiB" in capsys.readouterr().out
    left = {path.name for path in RunFolder(tmp_path, old).path.iterdir()}
    assert left == {"plan.json", "verdict.json", "evidence.sha256"}
    assert (tmp_path / "fairness" / old / "comparison.json").is_file()
    assert (RunFolder(tmp_path, newest).requests_dir / "soak-0-00000.parquet").is_file()


def test_whole_folders_go_with_their_fairness_folder(tmp_path: Path) -> None:
    old, newest = nights(tmp_path, ["", ""])
    take_away(tmp_path, Rules(newest=1, whole=True))
    assert run_ids(tmp_path) == [newest]
    assert not (tmp_path / "soak" / old).exists()
    assert not (tmp_path / "fairness" / old).exists()


def test_a_second_time_there_is_nothing_left_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nights(tmp_path, ["", "", ""])
    take_away(tmp_path, Rules(newest=1))
    age_files(tmp_path)
    capsys.readouterr()
    take_away(tmp_path, Rules(newest=1))
    assert "of 0 runs, 0 B" in capsys.readouterr().out


def test_the_newest_run_of_each_level_and_target_stays(tmp_path: Path) -> None:
    store_run(tmp_path, run_id="20261101T000000Z", release="", profile=profile_of("pre_release"))
    store_run(tmp_path, run_id="20261102T000000Z", release="", target="laptop")
    store_run(tmp_path, run_id="20261103T000000Z", release="")
    store_run(tmp_path, run_id="20261104T000000Z", release="")
    age_files(tmp_path)
    take_away(tmp_path, Rules(older_than_s=1.0, whole=True))
    assert run_ids(tmp_path) == ["20261101T000000Z", "20261102T000000Z", "20261104T000000Z"]


def test_the_newest_run_of_a_release_stays_and_those_before_it_go(tmp_path: Path) -> None:
    ids = nights(tmp_path, ["v1", "refs/tags/v1", "v2", ""])
    take_away(tmp_path, Rules(newest=1, whole=True))
    assert run_ids(tmp_path) == ids[1:]


def test_a_broken_newest_run_of_a_release_is_not_deleted_for_the_sake_of_one_that_passed(tmp_path: Path) -> None:
    ids = nights(tmp_path, ["v1", "v1", ""])
    (tmp_path / "soak" / ids[1] / "verdict.json").unlink()
    age_files(tmp_path)
    take_away(tmp_path, Rules(newest=1, whole=True))
    assert run_ids(tmp_path) == ids[1:]


def test_a_release_that_nobody_asks_for_any_more_may_go(tmp_path: Path) -> None:
    ids = nights(tmp_path, ["v1", "v2", "v3"])
    take_away(tmp_path, Rules(newest=1, whole=True, releases=frozenset({"v2"})))
    assert run_ids(tmp_path) == ids[1:]


def test_a_run_marked_to_keep_stays(tmp_path: Path) -> None:
    ids = nights(tmp_path, ["", "", ""])
    (tmp_path / "soak" / ids[0] / "keep").touch()
    age_files(tmp_path)
    take_away(tmp_path, Rules(newest=1, whole=True))
    assert run_ids(tmp_path) == [ids[0], ids[2]]


def test_a_run_that_cannot_be_read_stays(tmp_path: Path) -> None:
    ids = nights(tmp_path, ["", "", ""])
    (tmp_path / "soak" / ids[0] / "plan.json").write_text("{}")
    age_files(tmp_path)
    take_away(tmp_path, Rules(newest=1, whole=True))
    assert run_ids(tmp_path) == [ids[0], ids[2]]


def test_a_run_whose_process_holds_the_target_stays(tmp_path: Path) -> None:
    ids = nights(tmp_path / "reports", ["", "", ""])
    environment = {"SOAK_STATE_DIR": str(tmp_path / "state")}
    hold_target("staging", ids[0], environment)
    try:
        take_away(tmp_path / "reports", Rules(newest=1, whole=True), state=tmp_path / "state")
    finally:
        release_target("staging", environment)
    assert run_ids(tmp_path / "reports") == [ids[0], ids[2]]


@pytest.mark.parametrize("name", ["control/lease", "requests/soak-w1.parquet", "errors.log"])
def test_a_run_that_was_just_written_to_stays(tmp_path: Path, name: str) -> None:
    ids = nights(tmp_path, ["", "", ""])
    written = RunFolder(tmp_path, ids[0]).path / name
    written.touch()
    for seconds_ago, left in ((QUIET_S - 1.0, [ids[0], ids[2]]), (QUIET_S, [ids[2]])):
        os.utime(written, (NOW.timestamp() - seconds_ago,) * 2)
        os.utime(written.parent, (LONG_AGO_S, LONG_AGO_S))
        take_away(tmp_path, Rules(newest=1, whole=True))
        assert run_ids(tmp_path) == left


def test_both_rules_must_allow_it(tmp_path: Path) -> None:
    ids = nights(tmp_path, [""] * 6)
    now = FIRST + timedelta(days=5)
    take_away(tmp_path, Rules(newest=2, older_than_s=3 * 86_400.0, whole=True), now=now)
    assert run_ids(tmp_path) == ids[2:], "exactly three days old is not older than three days"
    take_away(tmp_path, Rules(newest=3, older_than_s=1.0, whole=True), now=now)
    assert run_ids(tmp_path) == ids[3:]


def test_links_are_deleted_and_never_followed(tmp_path: Path) -> None:
    old, _ = nights(tmp_path / "reports", ["", ""])
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("stays")
    folder = RunFolder(tmp_path / "reports", old)
    (folder.path / "elsewhere").symlink_to(outside)
    (folder.requests_dir / "elsewhere").symlink_to(outside)
    age_files(tmp_path / "reports")
    take_away(tmp_path / "reports", Rules(newest=1, whole=True))
    assert not folder.path.exists()
    assert (outside / "precious").read_text() == "stays"


def test_a_run_folder_that_is_a_link_is_passed_over(tmp_path: Path) -> None:
    old, newest = nights(tmp_path / "reports", ["", ""])
    moved = tmp_path / "moved"
    shutil.move(tmp_path / "reports" / "soak" / old, moved)
    (tmp_path / "reports" / "soak" / old).symlink_to(moved)
    take_away(tmp_path / "reports", Rules(newest=1, whole=True))
    assert (moved / "plan.json").is_file()
    assert run_ids(tmp_path / "reports") == [newest]


def test_what_was_cut_short_is_finished_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, newest = nights(tmp_path, ["", ""])
    real = shutil.rmtree

    def broken(path: Path) -> None:
        if path.name == "requests":
            raise OSError(5, "Input/output error", str(path))
        real(path)

    monkeypatch.setattr(shutil, "rmtree", broken)
    with pytest.raises(HarnessFailed, match=f"requests cannot be deleted: Input/output error.*{old}"):
        take_away(tmp_path, Rules(newest=1, whole=True))
    assert run_ids(tmp_path) == [old, newest]
    monkeypatch.undo()
    age_files(tmp_path)
    take_away(tmp_path, Rules(newest=1, whole=True))
    assert run_ids(tmp_path) == [newest]


def test_the_history_page_follows_where_there_is_one(tmp_path: Path) -> None:
    old, newest = nights(tmp_path, ["", ""])
    page = tmp_path / "soak" / "history.html"
    page.write_text(old)
    take_away(tmp_path, Rules(newest=1, whole=True))
    assert newest in page.read_text()
    assert old not in page.read_text()


def test_what_is_old_must_be_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--keep 20, --older-than 30d"):
        take_away(tmp_path, Rules())


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2_592_000.0), ("12h", 43_200.0), ("90m", 5_400.0)])
def test_an_age_has_days_too(text: str, seconds: float) -> None:
    assert age_s_of(text) == seconds


@pytest.mark.parametrize("text", ["0d", "month", "-3d", "1d12h"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        age_s_of(text)


def test_a_list_of_releases_is_as_git_prints_it_and_never_empty() -> None:
    assert releases_of("v1\nrefs/tags/v2\n\n") == {"v1", "v2"}
    with pytest.raises(BadInput, match="the list is empty"):
        releases_of("\n")


def test_the_command_reads_the_releases_from_standard_input(tmp_path: Path) -> None:
    ids = nights(tmp_path, ["v1", "v2", "v3"])
    arguments = ["prune", "--older-than", "1h", "--whole", "--releases", "-", "--reports", str(tmp_path)]
    runner = CliRunner()
    assert "would delete: whole folders of 1 run" in runner.invoke(app, arguments, input="v1\n").output
    assert run_ids(tmp_path) == ids
    assert "deleted: whole folders of 1 run" in runner.invoke(app, [*arguments, "--yes"], input="v1\n").output
    assert run_ids(tmp_path) == [ids[0], ids[2]]


PRUNED_LEVELS, RELEASES, COMMITS, TARGETS = (
    ("nightly", "pre_release"),
    ("v1", "v2", "refs/tags/v2"),
    ("", "0123abc"),
    ("s", "t"),
)
RUNS = st.lists(
    st.tuples(
        st.sampled_from(PRUNED_LEVELS),
        st.sampled_from(("", *RELEASES)),
        st.sampled_from((*COMMITS, "0123abcdef")),
        st.sampled_from(TARGETS),
        st.sampled_from((*Verdict, "none", "damaged plan")),
    ),
    min_size=1,
    max_size=9,
)
RULES = st.builds(
    Rules,
    newest=st.none() | st.integers(1, 3),
    older_than_s=st.floats(1.0, 9 * 86_400.0),
    whole=st.booleans(),
)


def answers_at(reports: Path, now: datetime) -> dict[GateQuestion, GateAnswer]:
    questions = [
        GateQuestion(level=level, release=release, commit=commit, target=target, max_age_s=max_age_s)
        for level in PRUNED_LEVELS
        for release in RELEASES
        for commit in (None, *COMMITS)
        for target in (None, *TARGETS)
        for max_age_s in (3 * 86_400.0, 1e9)
    ]
    return {question: answer(reports, question, now, POLICY) for question in questions}


ALL = [Rules(older_than_s=1.0, whole=True)]
UNRELEASED = ("nightly", "", "", "s", "PASS")


@example([("nightly", "v1", "0123abc", "s", "FAIL"), ("nightly", "v1", "", "s", "PASS"), UNRELEASED], ALL)
@example([("nightly", "v1", "", "s", "FAIL"), UNRELEASED, ("nightly", "v1", "", "t", "PASS")], ALL)
@example([("nightly", "v1", "", "s", "PASS"), ("nightly", "v1", "", "s", "none"), UNRELEASED], ALL)
@settings(max_examples=15, deadline=None)
@given(runs=RUNS, all_rules=st.lists(RULES, min_size=1, max_size=3))
def test_whatever_is_pruned_the_gate_answers_the_same_for_every_release(
    runs: list[tuple[str, str, str, str, str]], all_rules: list[Rules]
) -> None:
    now = FIRST + timedelta(days=len(runs))
    with tempfile.TemporaryDirectory() as name:
        reports = Path(name)
        for night, (level, release, commit, target, state) in enumerate(runs):
            folder = store_run(
                reports,
                run_id=(FIRST + timedelta(days=night)).strftime(RUN_ID_FORMAT),
                profile=profile_of(level),
                release=release,
                commit=commit,
                target=target,
                criteria={"roots_are_sealed": Verdict(state)} if state in tuple(Verdict) else {},
            )
            if state == "none":
                (folder.path / "verdict.json").unlink()
            if state == "damaged plan":
                folder.plan_path.write_text("{")
        before = answers_at(reports, now)
        for rules in all_rules:
            age_files(reports)
            take_away(reports, rules, now=now)
        assert answers_at(reports, now) == before


def test_the_property_would_notice_a_lost_run(tmp_path: Path) -> None:
    ids = nights(tmp_path, ["v1", "v1", ""])
    before = answers_at(tmp_path, NOW)
    shutil.rmtree(tmp_path / "soak" / ids[1])
    assert answers_at(tmp_path, NOW) != before


def test_many_runs_are_chosen_from_in_order(tmp_path: Path) -> None:
    nights(tmp_path, [f"v{night % 20}" for night in range(60)])
    choices = choose(list(run_folders(tmp_path)), Rules(newest=10), {}, NOW)
    assert [choice.folder.run_id for choice in choices] == run_ids(tmp_path)
    assert sum(bool(choice.paths) for choice in choices) == 40
