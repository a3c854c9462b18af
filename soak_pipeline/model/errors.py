"""The errors that the harness raises, as one tree, and the process exit codes.

    SoakError
    ├── BadInput          the operator can fix it: argument, profile, target file, missing credential   (exit 254)
    │   └── LoadRefused   sending load there is not allowed                                            (exit 254)
    ├── AlreadyRunning    another soak holds the target                                                (exit 254)
    └── HarnessFailed     the harness itself failed: a process died, a disk is full                    (exit 3)
        ├── TargetFailed         the platform did not do what the harness needs of it                  (exit 3)
        └── EvidenceUnreadable   a stored file is missing, damaged or of another format version        (exit 3)

A failed criterion is never an exception: it is a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence

EXIT_PASS = 0
EXIT_FAIL = 1
EXIT_INCONCLUSIVE = 2
EXIT_HARNESS_FAILED = 3
EXIT_BAD_INPUT = 254


class SoakError(Exception):
    """Base of everything that this package raises on purpose; `exit_code` is what a command ends with."""

    exit_code = EXIT_HARNESS_FAILED


class BadInput(SoakError):
    """One or more problems with what the operator gave; all of them are collected before this is raised.

    Args:
        subject: what was looked at, such as `target local.yaml`.
        problems: one sentence each: what was observed, what is allowed, what to do.
    """

    exit_code = EXIT_BAD_INPUT

    def __init__(self, subject: str, problems: Sequence[str]) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{subject}: {self.problems[0]}" if len(self.problems) == 1 else f"{subject}:\n{lines}")


class LoadRefused(BadInput):
    """The target may not be sent load: it does not allow it, or a limit of the harness forbids it."""


class AlreadyRunning(SoakError):
    """Another soak runs against the same target; two would measure each other."""

    exit_code = EXIT_BAD_INPUT


class HarnessFailed(SoakError):
    """The harness could not do its work; nothing is said about the platform."""


class TargetFailed(HarnessFailed):
    """The platform could not be reached or refused what the harness needs of it: provisioning, blocking, reading."""


class EvidenceUnreadable(HarnessFailed):
    """A file of a run folder is missing, damaged, or written by an incompatible version."""
