"""The gate's answer as text, JSON, JUnit and Markdown. Decides nothing; shows text from elsewhere literally."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from soak_pipeline.commands.gate import GateAnswer, GateVerdict
from soak_pipeline.model.errors import HarnessFailed
from soak_pipeline.report.text import markdown, one_line

STEP_SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
_MARKS = {
    GateVerdict.PASS: "✅",
    GateVerdict.PASS_WITH_WAIVER: "☑️",
    GateVerdict.FAIL: "❌",
    GateVerdict.INCONCLUSIVE: "⚠️",
}


def as_text(answer: GateAnswer) -> str:
    """Lines for a terminal or a log; the first is the answer."""
    lines = [f"{answer.verdict} {answer.level} {answer.release}: {answer.why}"]
    if answer.run_id:
        lines.append(f"  run {answer.run_id}{_bound_to(answer)}")
    lines += [f"  not met: {result.name}: {result.verdict}: {result.why}" for result in answer.unmet]
    lines += [
        f"  waived until {item.expiry}: {item.criterion}: {item.verdict}: {item.why} ({item.owner}: {item.reason})"
        for item in answer.waived
    ]
    lines += [f"  note: {note}" for note in answer.notes]
    lines.append(f"  next: {answer.next_step}")
    if answer.run_folder:
        lines.append(f"  report: {Path(answer.run_folder) / 'report.html'}")
    return "\n".join(("  " if line.startswith("  ") else "") + one_line(line) for line in lines)


def as_json(answer: GateAnswer) -> str:
    """One JSON object; its keys are those of `GateAnswer`."""
    return msgspec.json.format(msgspec.json.encode(answer), indent=2).decode()


def as_markdown(answer: GateAnswer) -> str:
    """A section for a step summary or a ticket."""
    parts = [
        f"### {_MARKS[answer.verdict]} Soak gate {markdown(answer.level)}: {answer.verdict}",
        f"**Release {markdown(answer.release)}.** {markdown(answer.why)}",
        f"**Next:** {markdown(answer.next_step)}",
    ]
    if answer.unmet:
        rows = [f"| {result.verdict} | {markdown(result.name)} | {markdown(result.why)} |" for result in answer.unmet]
        parts.append("\n".join(["| verdict | criterion | why |", "| --- | --- | --- |", *rows]))
    if answer.waived:
        rows = [
            f"| {markdown(item.criterion)} | {item.verdict}: {markdown(item.why)} | {markdown(item.owner)} "
            f"| {markdown(item.reason)} | {item.expiry} |"
            for item in answer.waived
        ]
        parts.append("\n".join(["| waived | observed | owner | reason | until |", "| --- " * 5 + "|", *rows]))
    parts += [f"- {markdown(note)}" for note in answer.notes]
    if answer.run_id:
        parts.append(f"Run {markdown(answer.run_id)}{markdown(_bound_to(answer))}")
    return "\n\n".join(parts)


def as_junit(answer: GateAnswer) -> str:
    """A JUnit suite: a case for the gate, and one per criterion that is unmet (failure, error) or waived (skipped)."""
    from xml.etree import ElementTree as ET

    suite_name = f"soak.gate.{answer.level}"
    root = ET.Element("testsuites", {"name": "soak.gate"})
    suite = ET.SubElement(root, "testsuite", {"name": suite_name})

    def case(name: str, outcome: str = "", message: str = "", kind: str = "") -> None:
        element = ET.SubElement(suite, "testcase", {"classname": suite_name, "name": one_line(name), "time": "0.000"})
        if outcome:
            attributes = {"message": one_line(message)} | ({"type": kind} if kind else {})
            ET.SubElement(element, outcome, attributes)

    gate_outcome = {GateVerdict.FAIL: "failure", GateVerdict.INCONCLUSIVE: "error"}.get(answer.verdict, "")
    case("promotion_is_allowed", gate_outcome, answer.why, answer.verdict)
    for result in answer.unmet:
        case(result.name, "failure" if result.verdict == "FAIL" else "error", result.why, result.verdict)
    for item in answer.waived:
        case(item.criterion, "skipped", f"waived by {item.owner} until {item.expiry}: {item.reason}; {item.why}")
    counts = {name: str(len(suite.findall(f"testcase/{name[:-1]}"))) for name in ("failures", "errors")}
    counts |= {"tests": str(len(suite)), "skipped": str(len(suite.findall("testcase/skipped")))}
    for element in (root, suite):
        element.attrib.update(counts)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


FORMATS: Mapping[str, Callable[[GateAnswer], str]] = {
    "text": as_text,
    "json": as_json,
    "junit": as_junit,
    "markdown": as_markdown,
}


def append_step_summary(answer: GateAnswer, environment: Mapping[str, str]) -> None:
    """Appends the answer to the step summary of GitHub Actions, when this runs in one.

    Raises:
        HarnessFailed: it cannot be written.
    """
    path = environment.get(STEP_SUMMARY_VARIABLE)
    if not path:
        return
    try:
        with Path(path).open("a", encoding="utf-8") as summary:
            summary.write(as_markdown(answer) + "\n\n")
    except OSError as error:
        raise HarnessFailed(f"{STEP_SUMMARY_VARIABLE} {path}: {error.strerror or error}") from error


def _bound_to(answer: GateAnswer) -> str:
    if not answer.plan_hash:
        return ""
    return (
        f", commit {answer.commit or 'unknown'}, target {answer.target}, plan {answer.plan_hash[:12]}, by policy "
        f"{answer.policy}"
    )
