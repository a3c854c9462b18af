"""`python -m soak_pipeline_tests.load.stage_process RUN_DIR URL SECONDS`: a stage that runs one load session.

A process of its own, so that tests can kill it as an operator's machine would.
"""

from __future__ import annotations

import sys
from pathlib import Path

from soak_pipeline.load.session import run_session
from soak_pipeline_tests.load.example_run import ENVIRONMENT, example_plan, example_session, provisioned_for


def main(run_dir: str, url: str, seconds: str) -> None:
    """Runs the session and prints its report's status."""
    plan = example_plan(load_workers=2)
    report = run_session(
        example_session(soak_s=float(seconds)),
        plan=plan,
        provisioned=provisioned_for(plan),
        run_dir=Path(run_dir),
        gateway_url=url,
        environment=ENVIRONMENT,
        still_wanted=lambda: True,
    )
    print(report.status, report.reason, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
