"""The table of crash safety: as text, and in its place in the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from soak_pipeline_tests.crash.measurement import Measurement
from soak_pipeline_tests.crash.scenarios import SCENARIOS, End, Scenario

BEGIN = "<!-- table: begin -->"
END = "<!-- table: end -->"
NOT_MEASURED = "Not measured:"
HEAD = (
    "event",
    "what ends the load and blocks the tenants",
    "last request after (s)",
    "tenants blocked after (s)",
    "records end before the event (s)",
    "verdict",
    "left behind",
    "next run soaks after (s)",
)


def as_markdown(measurements: Sequence[Measurement], skipped: Sequence[tuple[str, str]]) -> str:
    """The table, one row per scenario, and what was left out and why."""
    lines = [_row(HEAD), _row(["---"] * len(HEAD)), *(_row(_cells(measurement)) for measurement in measurements)]
    lines += [f"\n{NOT_MEASURED} {what}: {why}." for what, why in skipped]
    return "\n".join(lines)


def publish(measurements: Sequence[Measurement], skipped: Sequence[tuple[str, str]], path: Path) -> None:
    """Puts the table into its place in a document; rows of scenarios that were not measured this time stay.

    Raises:
        ValueError: the document has no such place.
    """
    text = path.read_text()
    before, begin, rest = text.partition(BEGIN)
    old, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path} has no place for the table; it stands between {BEGIN} and {END}")
    rows = {
        line.split(" | ")[0]: line for line in (*old.splitlines(), *as_markdown(measurements, skipped).splitlines())
    }
    head, rule = _row(HEAD), _row(["---"] * len(HEAD))
    known = [rows[first] for scenario in SCENARIOS if (first := f"| {_event(scenario)}") in rows]
    notes = [note for note in as_markdown(measurements, skipped).splitlines() if note.startswith(NOT_MEASURED)]
    path.write_text(
        "\n".join([f"{before}{BEGIN}\n", head, rule, *known, "", *notes, *[""] * bool(notes), f"{END}{after}"])
    )


def _event(scenario: Scenario) -> str:
    return f"{scenario.what} (`{scenario.route}`)"


def _cells(measurement: Measurement) -> list[str]:
    scenario = measurement.scenario
    goes_on = scenario.end is End.GOES_ON
    blocked = "never" if measurement.blocked_s is None else f"{measurement.blocked_s:.1f}"
    if measurement.blocked_by_stop:
        blocked += " (platform stopped)"
    if goes_on:
        blocked += " (from the last request)"
    next_run = "never" if measurement.next_run_s is None else f"{measurement.next_run_s:.0f}"
    return [
        _event(scenario),
        scenario.mechanism,
        "runs to its end" if goes_on else f"{measurement.load_ended_s:.1f}",
        blocked,
        f"{measurement.evidence_lost_s:.1f}",
        _verdict(measurement),
        "; ".join(measurement.left) or "nothing",
        next_run,
    ]


def _verdict(measurement: Measurement) -> str:
    if measurement.verdict == "none":
        return f"none; judged again {measurement.judged}"
    return f"{measurement.verdict}: {measurement.said.split(';')[0] or 'it does not tell of the event'}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
