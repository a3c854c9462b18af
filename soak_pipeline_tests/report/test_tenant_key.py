from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.report.tenant_key import COLOURED, tenant_key
from soak_pipeline_tests.tenant_tables import FIFTY, SIX, names

SWATCHES = {f"tenant-{index}" for index in range(COLOURED)} | {"tenant-other"}


def test_few_tenants_have_a_colour_each_in_their_order() -> None:
    key = tenant_key(SIX, noisy="globex")
    assert key.coloured == tuple(SIX)
    assert [key.swatch(name) for name in SIX] == [f"tenant-{index}" for index in range(6)]
    assert key.others == ()
    assert [words for _, words in key.legend()][:2] == ["tenant acme-eu", "tenant globex, the noisy one"]


def test_of_many_the_noisy_one_and_the_most_important_have_a_colour() -> None:
    rank = {name: float(number) for number, name in enumerate(FIFTY)}
    key = tenant_key(FIFTY, noisy="customer-03", importance=rank)
    assert set(key.coloured) == {"customer-03", *list(FIFTY)[-7:]}
    assert key.others_words == "42 other tenants"
    assert key.legend()[-1] == ("tenant-other", "42 other tenants")


def test_one_too_many_is_named() -> None:
    assert tenant_key([f"t{number}" for number in range(9)]).others_words == "tenant t8"


def test_a_name_that_no_plan_has_shares_the_colour_of_the_others() -> None:
    assert tenant_key(SIX).swatch("somebody") == "tenant-other"


@given(names=names(), data=st.data())
def test_every_tenant_has_a_swatch_and_no_two_coloured_ones_share_it(names: list[str], data: st.DataObject) -> None:
    noisy = data.draw(st.sampled_from(names))
    importance = data.draw(st.dictionaries(st.sampled_from(names), st.floats(0.0, 10.0)))
    key = tenant_key(names, noisy=noisy, importance=importance)
    assert noisy in key.coloured
    assert len(key.coloured) == min(len(names), COLOURED)
    assert sorted((*key.coloured, *key.others)) == sorted(names)
    assert list(key.coloured) == [name for name in names if name in key.coloured]
    assert {key.swatch(name) for name in names} <= SWATCHES
    assert all(key.colour(first) != key.colour(second) for first, second in combinations(key.coloured, 2))
    assert len(key.legend()) <= COLOURED + 1
    least = min(importance.get(name, -1.0) for name in key.coloured if name != noisy)
    assert all(importance.get(name, -1.0) <= least for name in key.others)
