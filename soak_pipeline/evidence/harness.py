"""Which version of this package is running, so that plans and verdicts can say who planned and who judged.

Owns how a version is spelled: that of the installed package, and the commit where this is a checkout or was installed
from one, such as `0.1.0+3f2a9c1d04be`.
"""

from __future__ import annotations

import json
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import msgspec

DISTRIBUTION = "soak-pipeline"
COMMIT_DIGITS = 12
_GIT_TIMEOUT_S = 5.0
_CHECKOUT = Path(__file__).resolve().parents[2]


class _Written(msgspec.Struct, frozen=True):
    harness: str = ""


@cache
def harness_version() -> str:
    """This package's version, with its commit where that is known; `unknown` where it was never installed."""
    try:
        package = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"
    commit = _commit_of_checkout(_CHECKOUT) or _commit_of_install(package.read_text("direct_url.json"))
    # A version that was made from a commit names it already.
    return f"{package.version}+{commit}" if commit and "+" not in package.version else package.version


def written_by(document: bytes) -> str:
    """Which version of this package wrote a JSON document, as the end of a sentence.

    Such as `version 0.2.0 of this package`, or `another version of this package` where the document does not say.
    """
    try:
        harness = msgspec.json.decode(document, type=_Written).harness
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        harness = ""
    return f"version {harness} of this package" if harness else "another version of this package"


def _commit_of_checkout(folder: Path) -> str:
    if not (folder / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", f"--short={COMMIT_DIGITS}", "HEAD"],
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _commit_of_install(direct_url: str | None) -> str:
    """The commit that the package was installed from (PEP 610); empty where it was not."""
    try:
        commit = json.loads(direct_url or "{}").get("vcs_info", {}).get("commit_id", "")
    except (json.JSONDecodeError, AttributeError):
        return ""
    return str(commit)[:COMMIT_DIGITS]
