"""What a process says of its own memory and of its garbage collector."""

from __future__ import annotations

import gc

import psutil
import pytest

from infra.acp.process_figures import GcClock, resident_bytes, unique_bytes


def test_memory_is_that_of_a_second_method() -> None:
    memory = psutil.Process().memory_full_info()

    assert resident_bytes() == pytest.approx(memory.rss, rel=0.05)
    assert unique_bytes() == pytest.approx(memory.uss, rel=0.15)


def test_memory_that_is_kept_shows_in_both() -> None:
    before = resident_bytes(), unique_bytes()
    kept = bytearray(64 * 2**20)

    assert resident_bytes() - before[0] > 60 * 2**20
    assert unique_bytes() - before[1] > 60 * 2**20
    assert len(kept) == 64 * 2**20


def test_time_of_collections_is_counted_until_stopped() -> None:
    clock = GcClock()
    cycles = [[] for _ in range(50_000)]
    for cycle in cycles:
        cycle.append(cycle)
    gc.collect()
    after_one = clock.seconds
    gc.collect()
    after_two = clock.seconds
    clock.stop()
    gc.collect()

    assert 0.0 < after_one < after_two == clock.seconds
    assert len(cycles) == 50_000
