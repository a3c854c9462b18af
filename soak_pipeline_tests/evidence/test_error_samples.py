from __future__ import annotations

from pathlib import Path

import msgspec

from soak_pipeline.evidence.error_samples import read_error_texts


def sample(text: str, first_us: int) -> dict[str, object]:
    return {
        "operation": "execute",
        "outcome": "server_error",
        "status": 503,
        "first_us": first_us,
        "last_us": first_us,
        "count": 1,
        "text": text,
    }


def test_the_earliest_text_of_several_workers_is_kept(tmp_path: Path) -> None:
    (tmp_path / "samples-soak-0.json").write_bytes(msgspec.json.encode([sample("later", 20)]))
    (tmp_path / "samples-soak-1.json").write_bytes(msgspec.json.encode([sample("first", 10), sample("", 5)]))
    assert read_error_texts(tmp_path) == {("execute", "server_error", 503): "first"}


def test_what_cannot_be_read_costs_nothing_but_the_text(tmp_path: Path) -> None:
    (tmp_path / "samples-soak-0.json").write_text('[{"operation": 1}]')
    (tmp_path / "samples-soak-1.json").write_text("not json")
    assert read_error_texts(tmp_path) == {}
    assert read_error_texts(tmp_path / "missing") == {}
