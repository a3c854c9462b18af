"""A module of the package runs as a process, from any folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import soak_pipeline
from soak_pipeline.evidence.own_process import module_command, module_environment


def test_a_process_finds_this_package_and_keeps_its_own_import_path(tmp_path: Path) -> None:
    (tmp_path / "asks.py").write_text("import soak_pipeline, sys\nprint(soak_pipeline.__file__, *sys.argv[1:])\n")
    environment = module_environment({"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)})
    said = subprocess.run(
        module_command("asks", "one", "two"), cwd=tmp_path, env=environment, text=True, capture_output=True, check=True
    )
    assert said.stdout.split() == [soak_pipeline.__file__, "one", "two"]


def test_an_environment_without_an_import_path_gets_ours_alone() -> None:
    root = str(Path(soak_pipeline.__file__).parent.parent)
    assert module_environment({"A": "1"}) == {"A": "1", "PYTHONPATH": root}
