"""`python -m soak_pipeline_tests.crash [NAME ...] [--publish FILE]`: breaks real runs in mid-soak, and measures.

Each scenario is a real run through Dagster against the reference platform, with ports and a directory of its own.
Exit code 1 when a limit is broken.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from soak_pipeline_tests.crash.carrying_out import carry_out, unable
from soak_pipeline_tests.crash.measurement import Measurement
from soak_pipeline_tests.crash.scenarios import SCENARIOS
from soak_pipeline_tests.crash.table import as_markdown, publish


def main(arguments: Sequence[str] | None = None) -> int:
    """Carries out the scenarios that are named, or all of them, and prints the table."""
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(prog="python -m soak_pipeline_tests.crash", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"scenarios; all by default: {', '.join(names)}")
    parser.add_argument("--publish", type=Path, help="document to put the table into; other scenarios' rows stay")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(names))
    if unknown:
        parser.error(f"unknown scenarios {', '.join(unknown)}; known: {', '.join(names)}")
    wanted = [scenario for scenario in SCENARIOS if not options.names or scenario.name in options.names]
    skipped = [(scenario.what, reason) for scenario in wanted if (reason := unable(scenario))]
    measured: list[Measurement] = []
    if options.publish:
        publish(measured, skipped, options.publish)
    for measurement in carry_out([scenario for scenario in wanted if not unable(scenario)], _say):
        measured.append(measurement)
        if options.publish:  # Each at once: who is interrupted keeps the rows that were measured.
            publish(measured, skipped, options.publish)
    print(f"\n{as_markdown(measured, skipped)}\n")
    broken = [
        f"{measurement.scenario.name}: {problem}" for measurement in measured for problem in measurement.problems()
    ]
    done = {measurement.scenario.name for measurement in measured}
    broken += [f"{one.name}: not measured" for one in wanted if one.name not in done and not unable(one)]
    print("\n".join(broken) or f"{len(measured)} scenarios, every limit holds")
    return 1 if broken else 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
