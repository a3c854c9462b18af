from __future__ import annotations

import errno
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from soak_pipeline.evidence import telemetry_writer
from soak_pipeline.evidence.telemetry import SeriesKey, read_telemetry
from soak_pipeline.evidence.telemetry_writer import TelemetryWriter
from soak_pipeline.model.records import TELEMETRY_COLUMNS, TelemetrySample
from soak_pipeline.model.series import Source


def _samples(start: int, count: int) -> list[TelemetrySample]:
    return [
        TelemetrySample(n, Source.PLATFORM, f"gateway-{n % 2}", "rss_bytes", float(n))
        for n in range(start, start + count)
    ]


def _values(run: Path) -> list[float]:
    series = read_telemetry(run)
    return sorted(value for key in series for value in series[key].values)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    writer = TelemetryWriter(tmp_path / "telemetry", "platform")
    writer.append([*_samples(0, 5), TelemetrySample(9, "redis", "acp:x", "stream_length", math.nan)])
    writer.close()
    telemetry = read_telemetry(tmp_path)
    assert telemetry[SeriesKey("platform", "gateway-0", "rss_bytes")].values.tolist() == [0.0, 2.0, 4.0]
    assert math.isnan(telemetry[SeriesKey("redis", "acp:x", "stream_length")].values[0])
    (part,) = (tmp_path / "telemetry").iterdir()
    assert pq.read_schema(part).names == list(TELEMETRY_COLUMNS)


def test_a_crash_loses_what_was_not_flushed_and_nothing_else(tmp_path: Path) -> None:
    writer = TelemetryWriter(tmp_path / "telemetry", "platform")
    writer.append(_samples(0, 5))
    writer.flush()
    writer.append(_samples(5, 5))
    assert _values(tmp_path) == [float(n) for n in range(5)]  # Without close, as after a SIGKILL.


def test_full_parts_are_closed_and_memory_is_let_go(tmp_path: Path) -> None:
    writer = TelemetryWriter(tmp_path / "telemetry", "platform", rows_per_part=10)
    for start in range(0, 35, 5):
        writer.append(_samples(start, 5))
        writer.flush()
    assert len(list((tmp_path / "telemetry").iterdir())) == 4
    assert len(writer._rows) < 10
    assert _values(tmp_path) == [float(n) for n in range(35)]


def test_another_writer_of_the_name_overwrites_nothing(tmp_path: Path) -> None:
    for start in (0, 5):
        writer = TelemetryWriter(tmp_path / "telemetry", "load-1")
        writer.append(_samples(start, 5))
        writer.close()
    TelemetryWriter(tmp_path / "telemetry", "load-10").close()
    assert _values(tmp_path) == [float(n) for n in range(10)]


def test_nothing_to_flush_writes_no_file(tmp_path: Path) -> None:
    writer = TelemetryWriter(tmp_path / "telemetry", "platform")
    writer.flush()
    writer.close()
    assert list((tmp_path / "telemetry").iterdir()) == []


def test_a_full_disk_loses_the_oldest_rows_only_when_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = TelemetryWriter(tmp_path / "telemetry", "platform", rows_per_part=10)
    with monkeypatch.context() as patch:
        patch.setattr(telemetry_writer.pq, "write_table", full)
        writer.append(_samples(0, 8))
        with pytest.raises(OSError, match="No space"):
            writer.flush()
        with pytest.raises(OSError, match="No space"):
            writer.append(_samples(8, 8))
    writer.flush()
    assert _values(tmp_path) == [float(n) for n in range(6, 16)]
    assert all(path.suffix == ".parquet" for path in (tmp_path / "telemetry").iterdir())
