"""A real git repository for tests, with its own identity and no configuration of the machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


class Repository:
    """A repository with commits and tags."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch", "main")
        self.commit()

    def git(self, *arguments: str) -> str:
        """What a git command prints."""
        identity = ["-c", "user.name=tester", "-c", "user.email=tester@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", "-C", str(self.path), *identity, *arguments],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
        )
        return done.stdout.strip()

    def commit(self) -> str:
        """Adds an empty commit; its hash."""
        self.git("commit", "--quiet", "--allow-empty", "-m", "change")
        return self.git("rev-parse", "HEAD")

    def tag(self, name: str, *, annotated: bool = True) -> str:
        """Sets a tag on the head, or moves it there; the hash of the commit."""
        self.git("tag", "--force", *(("--annotate", "-m", name) if annotated else ()), name)
        return self.git("rev-parse", "HEAD")
