"""`python -m soak_pipeline_tests.docs.examples RUN`: takes the small files of a run folder as the documents' examples.

Only of a run that passed, and whose verdict the gate's reader accepts as of this version.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.verdict import Verdict
from soak_pipeline.report.verdict_document import VERDICT_FILE, verdict_as_stored

EXAMPLES = PROJECT_ROOT / "reports" / "examples"
FILES = ("errors.log", "junit.xml", "summary.md", VERDICT_FILE)


def problems_of(verdict: bytes) -> list[str]:
    """Why a stored verdict is no example of what this version writes."""
    document, shape = verdict_as_stored(verdict)
    problems = [f"it lacks {name}" for name in shape.lacks] + [f"{name} is not known here" for name in shape.unknown]
    if document.digest != shape.digest:
        problems.append("its digest does not match")
    if document.verdict is not Verdict.PASS:
        problems.append(f"it is {document.verdict.value}")
    return problems


def main() -> int:
    """Copies the files; 1 with the reasons when the run is no example."""
    folder = RunFolder.at(Path(sys.argv[1]))
    problems = problems_of((folder.path / VERDICT_FILE).read_bytes())
    if problems:
        print(f"{folder.path} is no example: {'; '.join(problems)}", file=sys.stderr)
        return 1
    for name in FILES:
        shutil.copyfile(folder.path / name, EXAMPLES / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
