"""The search for secrets finds what it is to find, so that its silence means something."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.dialect.platforms import nominal
from soak_pipeline_tests.hostile.secrets import Search
from soak_pipeline_tests.waiting import wait_for

SECRET = 'p/ss+w"rd-\u00e9-91'
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJvcGVyYXRvciJ9.c2lnbmF0dXJlc2lnbmF0dXJl"


@given(st.text(st.characters(codec="utf-8"), min_size=10, max_size=30), st.binary(max_size=7), st.binary(max_size=7))
def test_a_secret_is_found_anywhere_in_base64(secret: str, before: bytes, after: bytes) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        search = Search({"it": secret})
        search.data("x", encode(before + secret.encode() + after))
        assert search.found == {"it in x"}


@pytest.mark.parametrize(
    "text", [SECRET, quote(SECRET, safe=""), json.dumps({"a": SECRET}), f"postgresql://u:{quote(SECRET, safe='')}@h"]
)
def test_a_secret_is_found_as_it_is_written_elsewhere(text: str) -> None:
    search = Search({"it": SECRET})
    search.data("x", text.encode())
    assert search.found == {"it in x"}


def test_any_token_is_found_and_the_one_of_the_source_is_none() -> None:
    search = Search({"it": SECRET})
    search.data("x", b"Bearer " + nominal.DIALECT.execution.invalid_token.encode())
    assert search.found == set()
    search.data("y", b"Bearer " + TOKEN.encode())
    search.data("z", base64.b64encode(TOKEN.encode()))
    assert search.found == {"a token in y", "a token in z"}


def test_files_tables_and_databases_are_looked_through(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"text": pa.array(["a", SECRET]).dictionary_encode()}), tmp_path / "a.parquet", compression="zstd"
    )
    with closing(sqlite3.connect(tmp_path / "runs.db")) as connection:
        connection.execute("CREATE TABLE event_logs (event TEXT)")
        connection.execute("INSERT INTO event_logs VALUES (?)", ["x" * 5_000 + SECRET + "x" * 5_000])
        connection.commit()
    (tmp_path / "log").write_text("nothing")
    search = Search({"it": SECRET})
    search.folder(tmp_path)
    assert search.found == {f"it in {tmp_path / 'a.parquet'}", f"it in {tmp_path / 'runs.db'}"}


def test_command_lines_and_environments_are_looked_at(tmp_path: Path) -> None:
    search = Search({"it": "a-secret-of-this-test"})
    wait = [sys.executable, "-c", "import time; print(flush=True); time.sleep(3600)"]
    with search.processes(tmp_path):
        by_line = subprocess.Popen([*wait, "--password", "a-secret-of-this-test"], stdout=subprocess.PIPE)
        by_environment = subprocess.Popen(
            wait, stdout=subprocess.PIPE, env={**os.environ, "P": "a-secret-of-this-test"}
        )
        for process in (by_line, by_environment):
            assert process.stdout is not None
            process.stdout.readline()
        wait_for(lambda: len(search.found) >= 2, "both are found")
        for process in (by_line, by_environment):
            process.kill()
            process.communicate()
    assert {place.split(" of ")[0] for place in search.found} == {"it in the command line", "it in the environment"}
