"""The lease: renewed, expired, released, unreadable."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from soak_pipeline.load import supervision
from soak_pipeline.load.lease import CHECK_EVERY_S, TTL_S, LeaseFile, LeaseHolder, stop_leftover_load
from soak_pipeline_tests.waiting import PATIENCE_S


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lease(tmp_path: Path, clock: Clock) -> LeaseFile:
    return LeaseFile(tmp_path / "lease", clock)


def test_a_lease_that_was_never_renewed_is_none(lease: LeaseFile) -> None:
    assert lease.seconds_left() == 0.0


def test_it_expires_without_renewal(lease: LeaseFile, clock: Clock) -> None:
    lease.renew()
    assert lease.seconds_left() == pytest.approx(TTL_S)
    clock.now_s += TTL_S - 0.5
    assert lease.seconds_left() == pytest.approx(0.5)
    clock.now_s += 0.5
    assert lease.seconds_left() <= 0.0


def test_a_renewal_extends_it(lease: LeaseFile, clock: Clock) -> None:
    lease.renew()
    clock.now_s += 4.0
    lease.renew()
    assert lease.seconds_left() == pytest.approx(TTL_S)


def test_a_load_that_nobody_wants_ends_within_ten_seconds() -> None:
    """Whoever hears nothing: the lease expires, the supervisor sees it, asks its processes to end, and kills them."""
    assert TTL_S + supervision.LOOK_EVERY_S + supervision.TERM_GRACE_S < 10.0
    assert TTL_S + CHECK_EVERY_S < 10.0


def test_a_release_ends_it_at_once(lease: LeaseFile) -> None:
    lease.renew()
    lease.release()
    assert lease.seconds_left() == 0.0


def test_a_renewal_of_another_boot_does_not_count(lease: LeaseFile, clock: Clock) -> None:
    lease.renew()
    clock.now_s = 10.0
    assert lease.seconds_left() == 0.0


@pytest.mark.parametrize("content", [b"", b"12", b"x" * 20, b"1" * 21, b"-" + b"1" * 19])
def test_a_damaged_file_is_no_lease(lease: LeaseFile, content: bytes) -> None:
    lease.path.write_bytes(content)
    assert lease.seconds_left() == 0.0


def test_the_file_is_for_its_owner_only(lease: LeaseFile) -> None:
    lease.renew()
    assert lease.path.stat().st_mode & 0o077 == 0


def test_the_holder_renews_while_wanted_and_releases_when_not(tmp_path: Path) -> None:
    lease = LeaseFile(tmp_path / "lease")
    asked, wanted = threading.Semaphore(0), [True]

    def still_wanted() -> bool:
        asked.release()
        return wanted[0]

    with LeaseHolder(lease, still_wanted) as holder:
        assert asked.acquire(timeout=PATIENCE_S)
        assert lease.seconds_left() > 0
        wanted[0] = False
        assert asked.acquire(timeout=PATIENCE_S)
        holder._thread.join(timeout=PATIENCE_S)
        assert lease.seconds_left() == 0.0
        assert holder.withdrawn
    assert lease.seconds_left() == 0.0


def test_the_holder_releases_at_the_end_and_never_renews_again(tmp_path: Path) -> None:
    lease = LeaseFile(tmp_path / "lease")
    with LeaseHolder(lease, lambda: True) as holder:
        assert lease.seconds_left() > 0
    holder._thread.join(timeout=PATIENCE_S)
    assert not holder._thread.is_alive()
    assert lease.seconds_left() == 0.0


def test_a_question_that_raises_leaves_the_lease_to_expire(tmp_path: Path) -> None:
    clock = Clock()
    lease = LeaseFile(tmp_path / "lease", clock)
    asked = threading.Semaphore(0)

    def still_wanted() -> bool:
        asked.release()
        raise ConnectionError

    with LeaseHolder(lease, still_wanted):
        assert asked.acquire(timeout=PATIENCE_S)
        assert asked.acquire(timeout=PATIENCE_S)
        clock.now_s += TTL_S
        assert lease.seconds_left() <= 0.0


def test_every_lease_of_a_run_is_withdrawn_even_beside_one_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "control" / "lease-a").mkdir(parents=True)
    leases = [LeaseFile(tmp_path / "control" / name) for name in ("lease-fairness-1", "lease-soak")]
    for lease in leases:
        lease.renew()
    stop_leftover_load(tmp_path)
    assert [lease.seconds_left() for lease in leases] == [0.0, 0.0]
