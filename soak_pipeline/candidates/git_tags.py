"""Tags of a git repository, by `git ls-remote`: bounded in time and output, without asking anybody for a password.

Owns the call of git. Never clones, never writes, and never lets a credential into a command line or a message.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from soak_pipeline.candidates.candidate import Candidate
from soak_pipeline.model.errors import BadInput, HarnessFailed
from soak_pipeline.report.text import one_line

TIMEOUT_S = 30.0
MAX_OUTPUT_BYTES = 16 * 1024 * 1024
MAX_MESSAGE_CHARS = 300
_PEELED = "^{}"
_LINE = re.compile(r"([0-9a-f]{40,64})\trefs/tags/(.+)")
_USER_INFO = re.compile(r"//[^/@\s]*@")
_NUMBER = re.compile(r"(\d+)")


class RepositoryUnreadable(HarnessFailed):
    """The tags could not be listed; the message names the repository without its credentials."""


def tagged_candidates(
    repository: str, pattern: str, environment: Mapping[str, str], *, timeout_s: float = TIMEOUT_S
) -> list[Candidate]:
    """One candidate per tag that matches, in the order of their versions.

    Args:
        repository: URL or path of a git repository.
        pattern: of the tag's name, as a shell writes it, such as `v*-rc*`; `*` also matches `/`.
        environment: for git, which finds its own credentials by it.
        timeout_s: longest time that git may take (seconds).

    Returns:
        Their commit is the one that an annotated tag points to in the end.

    Raises:
        BadInput: the repository's URL holds a credential.
        RepositoryUnreadable: git is missing, fails, takes too long, or says too much.
    """
    commits: dict[str, str] = {}
    peeled: dict[str, str] = {}
    for line in _ls_remote(repository, environment, timeout_s).splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise RepositoryUnreadable(f"git repository {_shown(repository)}: unexpected answer {one_line(line, 80)!r}")
        commit, name = match.groups()
        if name.endswith(_PEELED):
            peeled[name.removesuffix(_PEELED)] = commit
        elif fnmatchcase(name, pattern):
            commits[name] = commit
    return [
        Candidate(release=name, commit=peeled.get(name, commits[name])) for name in sorted(commits, key=_version_order)
    ]


def _version_order(name: str) -> list[tuple[int, int, str]]:
    """So that `rc2` comes before `rc10`."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in _NUMBER.split(name)]


def _ls_remote(repository: str, environment: Mapping[str, str], timeout_s: float) -> str:
    """What `git ls-remote --tags` prints."""
    shown = _shown(repository)
    if urlsplit(repository).scheme in ("http", "https") and "@" in urlsplit(repository).netloc:
        raise BadInput(
            f"git repository {shown}",
            ["its URL holds a user name or password, which every process list would show; use git's credential helper"],
        )
    command = ["git", "ls-remote", "--tags", "--", repository]
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment, **_QUIET, "GIT_SSH_COMMAND": environment.get("GIT_SSH_COMMAND", _SSH)},
            start_new_session=True,
        ) as process:
            try:
                output, message = _bounded(process, shown, timeout_s)
            finally:
                _end(process)
    except FileNotFoundError as error:
        raise RepositoryUnreadable("git is not installed; install it to watch the tags of a repository") from error
    if process.returncode != 0:
        said = one_line(_USER_INFO.sub("//***@", message.decode(errors="replace")), MAX_MESSAGE_CHARS)
        raise RepositoryUnreadable(f"git repository {shown}: git ended with {process.returncode}: {said}")
    return output.decode(errors="replace")


_SSH = "ssh -oBatchMode=yes -oConnectTimeout=10"
_QUIET = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS": "",
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
    "LC_ALL": "C",
}
"""Without them git would wait for a person to type a password, or run a command that a URL names."""


def _bounded(process: subprocess.Popen[bytes], shown: str, timeout_s: float) -> tuple[bytes, bytes]:
    """Standard output and error of a process that ends in time and says no more than it may."""
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = time.monotonic() + timeout_s
    read: dict[str, bytearray] = {"output": bytearray(), "message": bytearray()}
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, "output")
        selector.register(process.stderr, selectors.EVENT_READ, "message")
        while selector.get_map():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise RepositoryUnreadable(f"git repository {shown}: no answer within {timeout_s:g} s")
            for key, _ in selector.select(left_s):
                data = os.read(key.fd, 65_536)
                if not data:
                    selector.unregister(key.fileobj)
                read[key.data] += data
            if sum(map(len, read.values())) > MAX_OUTPUT_BYTES:
                raise RepositoryUnreadable(
                    f"git repository {shown}: the list of tags is larger than {MAX_OUTPUT_BYTES:,} bytes"
                )
    return bytes(read["output"]), bytes(read["message"])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Waits briefly for a process that closed its output; one that goes on is killed with all that it started."""
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _shown(repository: str) -> str:
    return one_line(_USER_INFO.sub("//***@", repository), MAX_MESSAGE_CHARS)
