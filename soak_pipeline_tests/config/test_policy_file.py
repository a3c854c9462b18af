from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from soak_pipeline.config.policy_file import DEFAULT_PATH, default_policy, find_policy, named_policy, read_policy
from soak_pipeline.config.policy_schema import json_schema
from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.policy import Policy
from soak_pipeline.model.traffic import Kind
from soak_pipeline_tests.policies import DEFAULT

SIX = """
tenants:
  acme: {share: 0.40}
  burst-co: {share: 0.20, role: noisy}
  c: {share: 0.15}
  d: {share: 0.10, rpm_limit: 9000}
  e: {share: 0.10, limits: {gateway_latency_ms_p95_max: 300}}
  f: {share: 0.05}
"""


def _file(folder: Path, text: str, name: str = "soak.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def _problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        read_policy(_file(folder, text))
    return list(caught.value.problems)


def test_the_default_holds_the_briefs_numbers() -> None:
    policy = default_policy().policy
    assert {name: tenant.share for name, tenant in policy.tenants.items()} == {
        "A": 0.60, "B": 0.15, "C": 0.10, "D": 0.10, "E": 0.05,
    }  # fmt: skip
    assert policy.noisy_tenant == "A"
    assert (policy.limits.gateway_latency_ms_p95_max, policy.limits.fairness_latency_p99_ratio_max) == (250, 1.20)
    assert policy.gating_levels == ("pull_request", "nightly", "pre_release")
    assert policy.headrooms["rss_bytes"] == 1024**3
    assert policy.limits.leak_min_duration_s == 1_800
    assert policy.levels["nightly"].profile.mix == {
        Kind.ALLOWED: 0.60, Kind.DENIED: 0.15, Kind.READ: 0.10, Kind.VERIFY: 0.10, Kind.MISC: 0.05,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "{}", "# nothing but a comment\n", DEFAULT_PATH.read_text()])
def test_a_file_that_changes_nothing_is_the_default(tmp_path: Path, text: str) -> None:
    file = read_policy(_file(tmp_path, text))
    assert file.policy == DEFAULT
    assert file.policy.digest == DEFAULT.digest


def test_tenants_are_replaced_as_a_whole(tmp_path: Path) -> None:
    policy = read_policy(_file(tmp_path, SIX)).policy
    assert list(policy.tenants) == ["acme", "burst-co", "c", "d", "e", "f"]
    assert policy.noisy_tenant == "burst-co"
    assert policy.tenants["d"].rpm_limit == 9_000
    assert policy.levels["smoke"].profile.fanout.tenant == "acme", "the first quiet tenant"


def test_limits_and_levels_are_laid_over_key_by_key(tmp_path: Path) -> None:
    policy = read_policy(
        _file(
            tmp_path,
            """
limits: {gateway_latency_ms_p95_max: 300}
headrooms: {rss_bytes: 480 MiB}
levels:
  nightly: {users: 500, limits: {error_share_max: 0.01}, fairness: {window_s: 90s}}
""",
        )
    ).policy
    nightly, default = policy.levels["nightly"].profile, DEFAULT.levels["nightly"].profile
    assert policy.level("nightly").thresholds.gateway_latency_ms_p95_max == 300
    assert policy.level("nightly").thresholds.error_share_max == 0.01
    assert policy.level("smoke").thresholds.error_share_max == 0.005
    assert policy.headrooms == {**DEFAULT.headrooms, "rss_bytes": 480 * 1024**2}
    assert nightly == msgspec.structs.replace(
        default, users=500, fairness=msgspec.structs.replace(default.fairness, window_s=90)
    )
    assert policy.levels["pre_release"].profile.fairness.window_s == 90, "it is like nightly"


def test_a_level_of_ones_own(tmp_path: Path) -> None:
    policy = read_policy(
        _file(
            tmp_path,
            """
advisory: [nothing_leaks]
levels:
  pre_release:
  canary: {like: pull_request, description: Before a canary., gates: true, users: 50, soak_s: 10m, advisory: []}
""",
        )
    ).policy
    assert policy.gating_levels == ("pull_request", "nightly", "canary")
    canary = policy.level("canary")
    assert (canary.profile.name, canary.profile.users, canary.profile.soak_s) == ("canary", 50, 600)
    assert canary.profile.fairness == DEFAULT.levels["pull_request"].profile.fairness
    assert canary.advisory == ()
    assert policy.level("nightly").advisory == ("nothing_leaks",)
    with pytest.raises(
        BadInput, match=r"'pre_release': is not in the policy; its levels are smoke, pull_request, .*ca"
    ):
        policy.level("pre_release")


def test_a_mix_reaches_every_level_without_one_of_its_own(tmp_path: Path) -> None:
    mix = "{allowed: 0.9, denied: 0.1}"
    policy = read_policy(_file(tmp_path, f"mix: {mix}\nlevels: {{nightly: {{mix: {{allowed: 1.0}}}}}}")).policy
    assert policy.levels["smoke"].profile.mix == {Kind.ALLOWED: 0.9, Kind.DENIED: 0.1}
    assert policy.levels["smoke"].profile.fairness.noisy_mix == {Kind.ALLOWED: 0.9, Kind.DENIED: 0.1}
    assert policy.levels["nightly"].profile.mix == {Kind.ALLOWED: 1.0}
    assert policy.levels["pre_release"].profile.mix == {Kind.ALLOWED: 1.0}, "it is like nightly"


def test_every_problem_is_named_at_once_with_its_line(tmp_path: Path) -> None:
    assert _problems(
        tmp_path,
        """
limits:
  gateway_latency_ms_p95_mx: 300
  error_share_max: -1
levels:
  nightly:
    users: many
    soak_s: 5 minutes
    fairness: {window_s: -1, quiet_user: 3}
  Canary: {like: nightly}
typo: 1
""",
    ) == [
        "line 3: limits.gateway_latency_ms_p95_mx is not known here; did you mean gateway_latency_ms_p95_max?",
        "line 4: limits.error_share_max is -1; it must be at least 0",
        "line 7: levels.nightly.users is 'many'; it must be a whole number",
        "line 8: levels.nightly.soak_s is '5 minutes'; it must be a number or it must be text like 90s, 60m or 1h30m",
        "line 9: levels.nightly.fairness.quiet_user is not known here; did you mean quiet_users?",
        "line 9: levels.nightly.fairness.window_s is -1; it must be above 0 or it must be a string",
        "line 10: levels.Canary is no name that is allowed here: it must be text like ^[a-z][a-z0-9_]{0,39}$",
        "line 11: typo is not known here; known: tenants, limits, headrooms, advisory, levels, mix",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tenants: {A: {share: 0.5, role: noisy}}", "tenants has 1 tenants; allowed: 2 to 50"),
        ("tenants: {A: {share: 0.5, role: noisy}, B: {share: 0.4}}", "shares that sum to 0.9; they must sum to 1"),
        ("tenants: {A: {share: 0.5}, B: {share: 0.5}}", "has 0 noisy tenants (none); exactly one has `role: noisy`"),
        (
            "tenants: {A: {share: 0.5, role: noisy}, B: {share: 0.5, role: noisy}}",
            "has 2 noisy tenants (A, B); exactly one has `role: noisy`",
        ),
        (
            "tenants: {A: {share: 0.5, role: noisy}, B: {share: 0.5, limits: {drain_s_max: 1}}}",
            "tenants.B.limits.drain_s_max holds for the whole run, not for one tenant",
        ),
        ("tenants: {A: {share: 0.5, role: noisy}, a: {share: 0.5}}", "tenants.a differs from A in case only"),
        ("mix: {allowed: 0.5}", "levels.smoke.mix sums to 0.5; the shares of all kinds must sum to 1"),
        ("mix: {allowed: 0.995, denied: 0.005}", "a share is a whole number of percent"),
        ("mix: {allowed: 0.9, auth: 0.1}", "levels.smoke.mix has auth"),
        ("mix: {allowd: 1.0}", "is no name that is allowed here: allowed: allowed, denied, read"),
        ("advisory: [load_was_valid]", "it always blocks"),
        ("advisory: [nothing_leeks]", "'nothing_leeks', which is no criterion; known: chain_has_no_violations"),
        ("levels: {smoke: {users: 4}}", "line 1: levels.smoke.users is 4; 5 tenants need at least one user each"),
        ("levels: {a: {like: b}}", "levels.a.like names 'b', which is no level; known: smoke"),
        ("levels: {a: {like: b}, b: {like: a}}", "leads back to itself: a -> b -> a"),
        ("levels: {a: {users: 9}}", "levels.a lacks soak_s, warmup_s, pace_s"),
        ("levels: {smoke: {fanout: {tenant: Z}}}", "levels.smoke.fanout.tenant is 'Z', which is no tenant; known: A"),
        ("levels: {smoke: {fanout: {agents: 5}}}", "revoked_agents is 10, more than the 5 agents"),
        ("levels: {smoke: {fairness: {settle_s: 4}}}", "settle_s is 4 s, which leaves nothing of window_s 4 s"),
        ("levels: {smoke: {fairness: {pairs_by_look: [2, 8]}}}", "is [2, 8]; it is an ascending list"),
        ("levels: {smoke: {fairness: {pairs_by_look: [8, 8]}}}", "is [8, 8]; it is an ascending list"),
        ("levels: {smoke: {fairness: {noisy_users_burst: 4}}}", "noisy_users_burst is 4, below the baseline's 5"),
        ("levels: {smoke: {fairness: {quiet_mix: {denied: 1.0}}}}", "has no allowed calls; only they are compared"),
        ("levels: {smoke: {users: 20001}}", "levels.smoke.users is 20001; it must be at most 20,000"),
        ("headrooms: {rss_bytes: 0}", "headrooms.rss_bytes is 0"),
        ("headrooms: {rss_bytes: 1 GB}", "headrooms.rss_bytes is '1 GB'"),
        ("headrooms: {rss_byte: 1}", "headrooms.rss_byte is not known here; did you mean rss_bytes?"),
        ("[1, 2]", "the file is [1, 2]; it must be a mapping"),
        ("a: 1\na: 2", "line 2, column 1: key 'a' is repeated"),
        ("a: &x 1\nb: *x", "aliases are not allowed"),
    ],
)
def test_what_must_hold(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in "\n".join(_problems(tmp_path, text))


def test_the_origin_of_each_value_is_known(tmp_path: Path) -> None:
    file = read_policy(_file(tmp_path, "limits:\n  error_share_max: 0.01\nlevels:\n  nightly:\n    users: 500\n"))
    assert file.origins["limits", "error_share_max"] == "soak.yaml:2"
    assert file.origins["limits", "drain_s_max"] == "default"
    assert file.origins["levels", "nightly", "users"] == "soak.yaml:5"
    assert file.origins["levels", "pre_release", "fairness", "window_s"] == "default, like nightly"


def test_the_search(tmp_path: Path) -> None:
    repository, folder = tmp_path / "repository", tmp_path / "repository" / "a" / "b"
    folder.mkdir(parents=True)
    assert find_policy("", {}, tmp_path) is None
    _file(tmp_path, "", "soak.yaml")
    (repository / ".git").mkdir()
    assert find_policy("", {}, folder) is None, "what is outside the repository is not the repository's"
    path = _file(repository, "", "soak.yaml")
    assert find_policy("", {}, folder) == path
    assert find_policy("", {"SOAK_POLICY": "default"}, folder) is None
    assert find_policy("", {"SOAK_POLICY": str(tmp_path / "other.yaml")}, folder) == tmp_path / "other.yaml"
    assert find_policy(str(path), {"SOAK_POLICY": "default"}, tmp_path) == path
    assert find_policy(named_policy(None), {}, folder) is None


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.yaml: cannot be read: No such file"):
        read_policy(tmp_path / "none.yaml")


def test_the_schema_takes_the_default_and_refuses_a_typo() -> None:
    validator = Draft202012Validator(json_schema())
    Draft202012Validator.check_schema(json_schema())
    document = yaml.safe_load(DEFAULT_PATH.read_text())
    assert list(validator.iter_errors(document)) == []
    document["levels"]["nightly"]["usrs"] = 1
    assert [error.validator for error in validator.iter_errors(document)] != []


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    ["tenants", "limits", "headrooms", "advisory", "levels", "mix", "like", "fairness", "smoke", "users"]
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(keys, st.dictionaries(keys, values, max_size=3) | values, max_size=3))
def test_any_document_is_a_policy_or_a_list_of_problems(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]
) -> None:
    path = _file(tmp_path_factory.mktemp("fuzz"), yaml.safe_dump(document))
    with suppress(BadInput):
        policy = read_policy(path).policy
        assert msgspec.json.decode(msgspec.json.encode(policy), type=Policy) == policy
        assert json.loads(msgspec.json.encode(policy))


def test_a_level_that_gates_is_not_fitted_to_a_machine(tmp_path: Path) -> None:
    problems = _problems(tmp_path, "levels:\n  nightly: {fit_to_machine: true}\n")
    assert any("fit_to_machine" in problem and "same everywhere, so set it to false" in problem for problem in problems)
