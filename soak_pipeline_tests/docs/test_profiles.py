"""`docs/operating.md` has every profile with the numbers of the code."""

from __future__ import annotations

import re

from soak_pipeline import PROJECT_ROOT
from soak_pipeline_tests.docs.markdown import rows, section
from soak_pipeline_tests.policies import GATING, LEVELS, PROVE_LEVELS, profile_of

TEXT = (PROJECT_ROOT / "docs" / "operating.md").read_text()
SECONDS = {"s": 1.0, "min": 60.0, "h": 3_600.0}
BY_NAME = {cells[0].strip("`"): cells for cells in rows(section(TEXT, "## Choosing a size"))}


def test_every_profile_has_its_row() -> None:
    assert list(BY_NAME) == list(LEVELS)
    assert [name for name in PROVE_LEVELS if f"`{name}`" not in TEXT] == []


def test_users_and_length_are_those_of_the_code() -> None:
    for name in LEVELS:
        profile = profile_of(name)
        users, _, rest = BY_NAME[name][1].partition(", one request per second")
        number, unit = BY_NAME[name][2].split()
        assert int(users.replace(",", "")) == profile.users
        assert float(number) * SECONDS[unit] == profile.soak_s
        assert profile.pace_s == (1.0 if rest else 2.0)


def test_a_whole_run_lasts_longer_than_its_soak() -> None:
    for name in LEVELS:
        profile = profile_of(name)
        parts = re.findall(r"(\d+) (min|h)", BY_NAME[name][3])
        assert sum(float(number) * SECONDS[unit] for number, unit in parts) > profile.soak_s + profile.warmup_s


def test_what_gates_nothing_is_no_level() -> None:
    assert [name for name, cells in BY_NAME.items() if not cells[4].startswith("nothing")] == list(GATING)
