from __future__ import annotations

import re

from soak_pipeline.model.documents import LatencyDocument, LatencyRow, Percentile, Percentiles
from soak_pipeline.report.markdown import latency_table_markdown, summary_markdown, verdict_table_markdown
from soak_pipeline_tests.report import examples
from soak_pipeline_tests.report.examples import failed, hostile, inconclusive, not_asked, passed


def percentiles(p50: float, p95: float, p99: float | None) -> Percentiles:
    p50_, p95_, p99_ = (Percentile(value=value, lower=None, upper=None) for value in (p50, p95, p99))
    return Percentiles(p50=p50_, p95=p95_, p99=p99_)


def row(tenant: str, phase: str, kind: str) -> LatencyRow:
    return LatencyRow(
        phase=phase,
        tenant=tenant,
        kind=kind,
        requests=1_210,
        outcomes={"ok": 1_200},
        samples=1_200,
        unanswered=0,
        requests_per_second=24.0,
        latency_ms=percentiles(30.0, 61.25, None),
        service_ms=percentiles(29.0, 60.0, 90.0),
    )


LATENCY = LatencyDocument(
    run_id=examples.RUN_ID,
    limit_ms=250.0,
    judged_kind="allowed",
    rows=(row("A", "soak", "allowed"), row("A", "soak", "denied"), row("A", "burst", "allowed")),
    windows=(),
    server=(),
)


def test_verdict_table_has_one_row_per_criterion() -> None:
    lines = verdict_table_markdown([passed(), failed(), inconclusive(), not_asked()]).splitlines()
    assert len(lines) == 6
    assert lines[3].startswith(
        "| ❌ FAIL | `quiet_tenants_are_protected` | 1.34x (1.25x to 1.43x) | ≤ 1.20x | tenant E"
    )
    assert lines[5].startswith("| ➖ not asked | `nothing_leaks` | – | – |")


def test_latency_table_shows_the_judged_kind_of_the_soak_on_both_clocks() -> None:
    assert latency_table_markdown(LATENCY).splitlines()[2:] == ["| A | 1,200 | 61.2 | – | 60 | 90 |"]


def test_latency_that_was_not_measured_says_so() -> None:
    assert latency_table_markdown(None) == "Latency was not measured."


def test_summary_leads_with_verdict_reason_and_next_step() -> None:
    text = summary_markdown(examples.document(passed(), failed()), LATENCY)
    assert text.startswith("## ❌ Soak FAIL: v1.4.0\n\nquiet_tenants_are_protected: tenant E p99 rose 1.34x")
    assert f"**Next:** {failed().fix}" in text
    assert f"- Likely cause: {failed().likely_cause}" in text


def test_hostile_text_is_literal() -> None:
    text = summary_markdown(examples.document(hostile()), None)
    assert not re.search(r"(?<!\\)<script", text)
    assert not re.search(r"(?<!\\)://", text)
    rows = [line for line in text.splitlines() if line.startswith("| ❌")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in rows] == [6]
