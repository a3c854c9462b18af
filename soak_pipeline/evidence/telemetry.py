"""Reading the telemetry samples of a run as one series per (source, owner, name)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.records import TELEMETRY_COLUMNS


class SeriesKey(NamedTuple):
    """Which series: where it was read, whose resource it is, and what it is."""

    source: str
    owner: str
    series: str


@dataclass(frozen=True, slots=True)
class Series:
    """One series, ascending in time.

    Attributes:
        times_s: seconds since the plan's epoch.
        values: in the series' unit; NaN where a sample failed.
    """

    times_s: NDArray[np.float64]
    values: NDArray[np.float64]

    def between(self, start_s: float, end_s: float) -> Series:
        """The samples of a stretch of time, both ends included."""
        inside = (self.times_s >= start_s) & (self.times_s <= end_s)
        return Series(self.times_s[inside], self.values[inside])


Telemetry = dict[SeriesKey, Series]


def telemetry_files(run_path: Path) -> list[Path]:
    """The Parquet files with telemetry samples."""
    return sorted(path for path in (run_path / "telemetry").glob("*.parquet") if not path.name.startswith("."))


def read_telemetry(run_path: Path) -> Telemetry:
    """Every telemetry sample of a run; empty when there is none.

    Raises:
        EvidenceUnreadable: a file is damaged or lacks a column.
    """
    try:
        frames = [
            pq.read_table(path, columns=list(TELEMETRY_COLUMNS)).to_pandas() for path in telemetry_files(run_path)
        ]
    except (pa.ArrowException, KeyError, OSError) as error:
        raise EvidenceUnreadable(f"{run_path}: telemetry: {error}") from error
    if not frames:
        return {}
    frame = pd.concat(frames, ignore_index=True)
    for name in ("source", "owner", "series"):
        frame[name] = frame[name].astype("category")
    frame = frame.sort_values("time_us", kind="stable")
    return {
        SeriesKey(str(source), str(owner), str(series)): Series(
            group["time_us"].to_numpy(np.float64) / 1e6, group["value"].to_numpy(np.float64)
        )
        for (source, owner, series), group in frame.groupby(["source", "owner", "series"], observed=True)
    }
