"""Looking for the processes of one load session by the path of its run folder, which their command lines name."""

from __future__ import annotations

from pathlib import Path


def load_processes(run_dir: Path, role: str = "") -> dict[int, str]:
    """Pid -> command line of the session's processes, zombies left out; of one role, such as `worker`."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if any(word.startswith("soak_pipeline.load.") for word in words) and any(
            str(run_dir) in word for word in words
        ):
            line = " ".join(words)
            if f"soak_pipeline.load.{role}" in line or f"soak_pipeline.load.sender.{role}" in line:
                found[int(folder.name)] = line
    return found
