"""A waiver excuses one criterion, for a time, by somebody's name; whatever is not in order excuses nothing."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soak_pipeline.commands.gate import GateAnswer, GateQuestion, GateVerdict, answer
from soak_pipeline.commands.waivers_file import read_waivers
from soak_pipeline.criteria.names import CRITERION_NAMES
from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.verdict import Verdict
from soak_pipeline.model.waivers import Waiver
from soak_pipeline_tests.commands.gate_runs import NOW, store_run
from soak_pipeline_tests.policies import POLICY

TODAY = NOW.date()
ENTRY = {"criterion": "nothing_leaks", "owner": "storage team", "reason": "known", "expiry": "2026-12-01"}


def _write(tmp_path: Path, *entries: dict[str, object]) -> Path:
    path = tmp_path / "waivers.json"
    path.write_text(json.dumps({"waivers": entries}))
    return path


def _ask(tmp_path: Path, *entries: dict[str, object], now: datetime = NOW, **criteria: Verdict) -> GateAnswer:
    store_run(tmp_path, criteria=criteria)
    return answer(
        tmp_path,
        GateQuestion(level="nightly", release="v1.2.3", max_age_s=1e9),
        now,
        POLICY,
        _write(tmp_path, *entries),
    )


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE])
def test_a_criterion_is_excused(tmp_path: Path, verdict: Verdict) -> None:
    given_answer = _ask(tmp_path, ENTRY, nothing_leaks=verdict)
    assert given_answer.verdict is GateVerdict.PASS_WITH_WAIVER
    assert given_answer.verdict.exit_code == 0
    (waived,) = given_answer.waived
    assert (waived.criterion, waived.verdict, waived.owner) == ("nothing_leaks", verdict, "storage team")
    assert given_answer.why == "Every criterion that was asked holds or is waived; waived: nothing_leaks."


def test_a_run_that_passes_by_itself_has_no_waiver(tmp_path: Path) -> None:
    given_answer = _ask(tmp_path, ENTRY)
    assert given_answer.verdict is GateVerdict.PASS
    assert given_answer.waived == ()


def test_what_is_not_waived_still_decides(tmp_path: Path) -> None:
    given_answer = _ask(tmp_path, ENTRY, nothing_leaks=Verdict.FAIL, fanout_is_correct=Verdict.INCONCLUSIVE)
    assert given_answer.verdict is GateVerdict.INCONCLUSIVE
    assert given_answer.why.startswith("fanout_is_correct: ")
    assert [waived.criterion for waived in given_answer.waived] == ["nothing_leaks"]


def test_it_holds_to_the_end_of_its_last_day_in_utc(tmp_path: Path) -> None:
    last_second = datetime(2026, 12, 1, 23, 59, 59, tzinfo=UTC)
    assert _ask(tmp_path, ENTRY, now=last_second, nothing_leaks=Verdict.FAIL).verdict.exit_code == 0
    expired = _ask(tmp_path, ENTRY, now=last_second + timedelta(seconds=1), nothing_leaks=Verdict.FAIL)
    assert expired.verdict is GateVerdict.FAIL
    assert expired.notes == ("the waiver of nothing_leaks by storage team expired on 2026-12-01; it excuses nothing",)


def test_an_expired_waiver_that_nobody_needs_is_no_obstacle(tmp_path: Path) -> None:
    assert _ask(tmp_path, ENTRY | {"expiry": "2026-01-01"}).verdict is GateVerdict.PASS


@pytest.mark.parametrize(
    ("scope", "opens"),
    [
        ({"release": "v1.2.3"}, True),
        ({"release": "v1.2.4"}, False),
        ({"target": "staging"}, True),
        ({"target": "laptop"}, False),
        ({"release": "v1.2.3", "target": "laptop"}, False),
    ],
)
def test_it_is_for_its_release_and_target_only(tmp_path: Path, scope: dict[str, str], opens: bool) -> None:
    given_answer = _ask(tmp_path, ENTRY | scope, nothing_leaks=Verdict.FAIL)
    assert (given_answer.verdict.exit_code == 0) is opens


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (ENTRY | {"criterion": "nothing_leeks"}, "unknown criterion 'nothing_leeks'"),
        (ENTRY | {"criterion": "load_was_valid"}, "load_was_valid can never be waived"),
        (ENTRY | {"owner": "  "}, "owner is empty"),
        (ENTRY | {"reason": ""}, "reason is empty"),
        (ENTRY | {"expiry": "soon"}, "expiry"),
        (ENTRY | {"expiry": "2026-12-01T10:00:00"}, "expiry"),
        (ENTRY | {"expiry": 20261201}, "expiry"),
        (ENTRY | {"release": ""}, "release is empty"),
        (ENTRY | {"until": "2026-12-01"}, "until"),
        ({name: value for name, value in ENTRY.items() if name != "owner"}, "owner"),
        ({name: value for name, value in ENTRY.items() if name != "expiry"}, "expiry"),
    ],
)
def test_one_wrong_entry_refuses_the_file(tmp_path: Path, entry: dict[str, object], message: str) -> None:
    """Also for a run that passes by itself, and beside a good entry: nobody can know what was meant."""
    with pytest.raises(BadInput, match=r"entry 2: .*") as raised:
        read_waivers(_write(tmp_path, ENTRY, entry))
    assert message in str(raised.value)
    for criteria, expected in (({}, GateVerdict.INCONCLUSIVE), ({"nothing_leaks": Verdict.FAIL}, GateVerdict.FAIL)):
        given_answer = _ask(tmp_path, entry, **criteria)
        assert given_answer.verdict is expected
        assert message in given_answer.why


@pytest.mark.parametrize(
    "content", ["", "null", "{}", "waivers: {}", "waivers: 1", "- 1", "a: [", "{waivers: [], more: []}", "\udcff"]
)
def test_what_is_no_list_of_waivers_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "waivers.yaml"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(BadInput):
        read_waivers(path)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "waivers.yaml"
    path.write_text("- {criterion: nothing_leaks, owner: a, reason: b, expiry: 2026-01-01, expiry: 2027-01-01}\n")
    with pytest.raises(BadInput, match="line 1, column 71: key 'expiry' is repeated"):
        read_waivers(path)


def test_yaml_and_json_and_a_bare_list_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "waivers.yaml"
    path.write_text("- criterion: nothing_leaks\n  owner: storage team\n  reason: known\n  expiry: 2026-12-01\n")
    assert read_waivers(path) == read_waivers(_write(tmp_path, ENTRY))


def test_a_missing_verdict_cannot_be_waived(tmp_path: Path) -> None:
    (store_run(tmp_path).path / "verdict.json").unlink()
    question = GateQuestion(level="nightly", release="v1.2.3")
    every = [ENTRY | {"criterion": name} for name in CRITERION_NAMES if name != "load_was_valid"]
    assert answer(tmp_path, question, NOW, POLICY, _write(tmp_path, *every)).verdict is GateVerdict.INCONCLUSIVE


verdicts = st.sampled_from(list(Verdict))
waivers = st.builds(
    Waiver,
    criterion=st.sampled_from(CRITERION_NAMES[:-1]),
    owner=st.just("owner"),
    reason=st.just("reason"),
    expiry=st.dates(TODAY - timedelta(days=2), TODAY + timedelta(days=2)),
    release=st.sampled_from([None, "v1.2.3", "v9"]),
    target=st.sampled_from([None, "staging", "other"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(CRITERION_NAMES), verdicts), st.lists(waivers, max_size=6))
def test_it_opens_exactly_when_each_unmet_criterion_has_a_waiver_in_force(
    tmp_path: Path, criteria: dict[str, Verdict], entries: list[Waiver]
) -> None:
    in_force = {
        entry.criterion
        for entry in entries
        if entry.expiry >= TODAY and entry.release != "v9" and entry.target != "other"
    }
    unmet = {name for name, verdict in criteria.items() if verdict is not Verdict.PASS}
    raw = [
        {
            name: value.isoformat() if isinstance(value, date) else value
            for name in entry.__struct_fields__
            if (value := getattr(entry, name)) is not None
        }
        for entry in entries
    ]
    given_answer = _ask(tmp_path, *raw, **criteria)
    assert (given_answer.verdict.exit_code == 0) is (unmet <= in_force)
    assert (given_answer.verdict is GateVerdict.PASS) is (not unmet)
    assert {waived.criterion for waived in given_answer.waived} == unmet & in_force
    assert {result.name for result in given_answer.unmet} == unmet - in_force
