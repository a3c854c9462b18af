"""From the record of a request to the row of a Parquet file, also after a crash."""

from __future__ import annotations

import errno
from inspect import signature
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soak_pipeline.evidence.request_spool import BEFORE_ZERO, RECORD, SPOOLED, RequestSpool
from soak_pipeline.evidence.request_writer import (
    SUPERSEDED,
    compact_closed,
    parquet_rows,
    salvage,
    session_files,
    set_aside_records,
)
from soak_pipeline.evidence.requests import read_requests
from soak_pipeline.evidence.seal import seal_new, sealed
from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.records import REQUEST_COLUMNS
from soak_pipeline.model.traffic import KIND_OF, Operation, Outcome, Phase

TENANTS = ("A", "B", "C", "D", "E")


def spool_in(folder: Path, worker: int = 0, **changes: int) -> RequestSpool:
    return RequestSpool(
        folder, session="soak", worker=worker, phases=[Phase.WARMUP, Phase.SOAK], tenants=TENANTS, **changes
    )


def add(
    spool: RequestSpool,
    intended_us: int = 100,
    operation: Operation = Operation.EXECUTE,
    outcome: Outcome = Outcome.OK,
    window: int = 1,
    tenant: int = 0,
    settled: bool = True,
    service_us: int = 30_000,
    sequence: int = 3,
) -> None:
    spool.append(
        intended_us, intended_us + 50, service_us, 300, 17, sequence, window, 200, operation, outcome, tenant, settled
    )


def test_a_spool_holds_every_column_that_its_header_does_not_tell() -> None:
    told_by_the_header = {"session", "worker", "phase", "kind"}
    assert SPOOLED.keys() | told_by_the_header == REQUEST_COLUMNS.keys()
    assert SPOOLED.keys().isdisjoint(told_by_the_header)
    assert RECORD.format == "<qqiiiihhBBBB"


def test_a_record_is_appended_in_the_order_of_its_columns() -> None:
    arguments = [name.removesuffix("_code") for name in signature(RequestSpool.append).parameters if name != "self"]
    assert arguments == list(SPOOLED)


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, worker=2)
    add(spool, 1_000_000, Operation.ATTACK_SQL, Outcome.WRONGLY_ALLOWED, window=1, tenant=3, settled=False)
    spool.close()
    (path,) = salvage(tmp_path)
    assert path.name == "soak-2-00000.parquet"
    (row,) = pq.read_table(path).to_pylist()
    assert list(row) == list(REQUEST_COLUMNS)
    assert row == {
        "session": "soak",
        "window": 1,
        "phase": "soak",
        "tenant": "D",
        "kind": "denied",
        "operation": "attack_sql",
        "outcome": "wrongly_allowed",
        "settled": False,
        "status": 200,
        "user": 17,
        "sequence": 3,
        "intended_us": 1_000_000,
        "start_us": 1_000_050,
        "service_us": 30_000,
        "response_bytes": 300,
        "worker": 2,
    }


def test_the_columns_have_their_types(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    add(spool)
    spool.close()
    schema = pq.read_schema(salvage(tmp_path)[0])
    for name, storage in REQUEST_COLUMNS.items():
        expected = "dictionary<values=string, indices=int32, ordered=0>" if storage == "dictionary" else storage
        assert str(schema.field(name).type) == expected


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(Operation), st.sampled_from(Outcome), st.integers(0, 2**50)), max_size=50))
def test_every_operation_and_outcome_survives(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[Operation, Outcome, int]]
) -> None:
    folder = tmp_path_factory.mktemp("requests")
    spool = spool_in(folder)
    for operation, outcome, intended_us in records:
        add(spool, intended_us, operation, outcome)
    spool.close()
    salvage(folder)
    table = read_requests(folder)
    found = zip(
        table.text("kind"), table.text("operation"), table.text("outcome"), table.columns["intended_us"], strict=True
    )
    assert sorted(found) == sorted((KIND_OF[operation], operation, outcome, us) for operation, outcome, us in records)


def test_what_comes_before_time_zero_is_warm_up_in_no_window(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    add(spool, operation=Operation.LOGIN, window=BEFORE_ZERO)
    spool.close()
    (row,) = pq.read_table(salvage(tmp_path)[0]).to_pylist()
    assert (row["window"], row["phase"], row["kind"]) == (-1, "warmup", "auth")


def test_rows_are_ordered_by_intended_start(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    for intended_us in (30, 10, 20):
        add(spool, intended_us)
    spool.close()
    salvage(tmp_path)
    assert list(read_requests(tmp_path).columns["intended_us"]) == [10, 20, 30]


def test_full_parts_are_closed_and_turned_while_the_next_is_written(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, rows_per_part=10)
    for number in range(25):
        add(spool, number)
        spool.flush()
    assert [path.name for path in compact_closed(tmp_path)] == ["soak-0-00000.parquet", "soak-0-00001.parquet"]
    assert [path.name for path in tmp_path.glob("*.spool-open")] == ["soak-0-00002.spool-open"]
    spool.close()
    assert [path.name for path in compact_closed(tmp_path)] == ["soak-0-00002.parquet"]
    assert [parquet_rows(path) for path in sorted(tmp_path.iterdir())] == [10, 10, 5]


def test_what_a_crash_left_open_is_salvaged_up_to_the_last_flush(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    for number in range(5):
        add(spool, number)
    spool.flush()
    add(spool, 5)
    salvage(tmp_path)
    assert len(read_requests(tmp_path)) == 5


def test_a_torn_last_record_is_dropped(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    for number in range(5):
        add(spool, number)
    spool.flush()
    (path,) = tmp_path.glob("*.spool-open")
    path.write_bytes(path.read_bytes()[: -RECORD.size // 2])
    salvage(tmp_path)
    assert list(read_requests(tmp_path).columns["intended_us"]) == [0, 1, 2, 3]


def test_salvaging_again_changes_nothing(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    add(spool)
    spool.flush()
    (path,) = salvage(tmp_path)
    content = path.read_bytes()
    assert salvage(tmp_path) == []
    assert path.read_bytes() == content


def test_a_parquet_file_that_a_crash_left_unfinished_is_made_again(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    add(spool)
    spool.close()
    (tmp_path / ".soak-0-00000.parquet.x1y2").write_bytes(b"PAR1 and no more")
    assert salvage(tmp_path) == list(tmp_path.iterdir()) == [tmp_path / "soak-0-00000.parquet"]


def test_a_spool_without_a_header_is_named_and_the_others_are_turned(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    add(spool)
    spool.close()
    (tmp_path / "soak-1-00000.spool-open").write_bytes(b"\x00" * 100)
    with pytest.raises(EvidenceUnreadable, match=r"soak-1-00000\.spool-open: a request spool of 100 bytes"):
        salvage(tmp_path)
    assert len(read_requests(tmp_path)) == 1


def test_a_session_that_is_run_again_overwrites_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        spool = spool_in(tmp_path)
        add(spool)
        spool.close()
        salvage(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["soak-0-00000.parquet", "soak-0-00001.parquet"]


def test_sessions_with_similar_names_do_not_mix(tmp_path: Path) -> None:
    (tmp_path / "soak-0-1-00007.parquet").write_bytes(b"")
    spool = spool_in(tmp_path)
    add(spool)
    spool.close()
    assert (tmp_path / "soak-0-00000.spool").exists()


class FullDisk:
    """A file on a disk that takes only so many bytes more."""

    def __init__(self, file: object, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data: memoryview) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = min(len(data), self.room)
        self.room -= taken
        self.file.write(data[:taken])  # type: ignore[attr-defined]
        return taken

    def __getattr__(self, name: str) -> object:
        return getattr(self.file, name)


def test_a_full_disk_tears_no_record_and_loses_none(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    add(spool, 0)
    spool.flush()
    real = spool._file
    spool._file = FullDisk(real, room=55)  # type: ignore[assignment]
    for number in (1, 2, 3):
        add(spool, number)
    with pytest.raises(OSError, match="No space left"):
        spool.flush()
    spool._file = real
    spool.flush()
    spool.close()
    salvage(tmp_path)
    assert list(read_requests(tmp_path).columns["intended_us"]) == [0, 1, 2, 3]


def test_a_service_time_beyond_its_column_is_kept_as_the_largest(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    add(spool, service_us=2**40)
    spool.close()
    salvage(tmp_path)
    assert read_requests(tmp_path).columns["service_us"][0] == 2**31 - 1


def test_records_of_an_earlier_try_are_set_aside_with_their_seal(tmp_path: Path) -> None:
    requests = tmp_path / "requests"
    for _ in range(2):
        with_a_row(requests)
        salvage(requests)
        seal_new(tmp_path)
        set_aside_records(requests, "soak")
        assert session_files(requests, "soak") == []
        assert sealed(tmp_path) == {}
    kept = sorted(path.relative_to(requests / SUPERSEDED) for path in (requests / SUPERSEDED).rglob("*.parquet"))
    assert [str(path) for path in kept] == ["soak-001/soak-0-00000.parquet", "soak-002/soak-0-00000.parquet"]


def test_another_sessions_records_stay(tmp_path: Path) -> None:
    requests = tmp_path / "requests"
    with_a_row(requests)
    salvage(requests)
    set_aside_records(requests, "fairness-1")
    assert len(session_files(requests, "soak")) == 1


def with_a_row(requests: Path) -> None:
    spool = spool_in(requests)
    add(spool)
    spool.close()
