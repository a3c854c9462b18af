"""What a release candidate is, and by which key it is told from every other one."""

from __future__ import annotations

import re
from collections.abc import Collection

import msgspec

MAX_NAME_CHARS = 200
DEFAULT_PROFILE = "pre_release"
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


class Candidate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A release candidate; the content of a dropped file.

    Attributes:
        release: its name, such as the tag `v1.2.0-rc1`.
        commit: what it was built from, 7 to 64 hexadecimal digits in lower case.
        profile: a level of the gate instead of `pre_release`; None for that.
        target: target file instead of the configured one; None for that.
    """

    release: str
    commit: str
    profile: str | None = None
    target: str | None = None

    @property
    def key(self) -> str:
        """Tells it from every other candidate; the same release of another commit is another one."""
        overrides = (("profile", self.profile), ("target", self.target))
        return " ".join(
            [f"{self.release}@{self.commit}", *(f"{name}={value}" for name, value in overrides if value is not None)]
        )

    def problems(self, levels: Collection[str]) -> list[str]:
        """What is wrong with it, one sentence each.

        Args:
            levels: levels of the policy that gate.
        """
        found = []
        for name in ("release", "target"):
            value = getattr(self, name)
            if value is not None and not _is_name(value):
                found.append(
                    f"{name} {value[:40]!r} is not 1 to {MAX_NAME_CHARS} printable characters without blanks and `...`"
                )
        if self.profile is not None and self.profile not in levels:
            found.append(
                f"profile {self.profile[:40]!r} is no level of the gate, so its run could not promote the candidate; "
                f"allowed: {', '.join(levels)}; name one of them, or leave it out for {DEFAULT_PROFILE}"
            )
        if not _COMMIT.fullmatch(self.commit):
            found.append(f"commit {self.commit[:80]!r} is not 7 to 64 hexadecimal digits in lower case")
        return found


def _is_name(text: str) -> bool:
    """Whether a text can be part of a key: no blank, and nothing that Dagster refuses in a partition's name."""
    return 0 < len(text) <= MAX_NAME_CHARS and text.isprintable() and " " not in text and "..." not in text
