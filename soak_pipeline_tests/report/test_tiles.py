"""The figures above the fold agree with the criteria that colour them."""

from __future__ import annotations

from soak_pipeline.model.documents import LatencyDocument, LatencyRow, Percentile, Percentiles
from soak_pipeline.model.verdict import CriterionResult, Finding, Verdict, at_most
from soak_pipeline.report.course import Course
from soak_pipeline.report.documents import Documents
from soak_pipeline.report.page.tiles import Tile, tiles_of

COURSE = Course(stretches=(), events=(), requests=None, telemetry={}, soak=None, ended_us=None, problems=())


def _row(tenant: str, p95: float) -> LatencyRow:
    p50, p95_, p99 = (Percentile(value=value, lower=None, upper=None) for value in (30.0, p95, 2.0 * p95))
    percentiles = Percentiles(p50=p50, p95=p95_, p99=p99)
    return LatencyRow(
        phase="soak",
        tenant=tenant,
        kind="allowed",
        requests=1_000,
        outcomes={"ok": 1_000},
        samples=1_000,
        unanswered=0,
        requests_per_second=10.0,
        latency_ms=percentiles,
        service_ms=percentiles,
    )


LATENCY = Documents(
    latency=LatencyDocument(
        run_id="20261123T073000Z",
        limit_ms=250.0,
        judged_kind="allowed",
        rows=(_row("A", 68.1), _row("B", 66.0)),
        windows=(),
        server=(),
    )
)


def _slowest(verdict: Verdict, observed: float | None, *, asked: bool = True) -> Tile:
    finding = Finding(subject="tenant A", verdict=verdict, why="w", observed=observed, limit=at_most(250.0, "ms"))
    result = CriterionResult(
        name="gateway_p95_is_under_slo", verdict=verdict, why="w", observed=observed, findings=(finding,), asked=asked
    )
    (tile,) = tiles_of(COURSE, LATENCY, [result])
    return tile


def test_a_stretch_of_the_soak_that_decides_is_what_the_tile_shows() -> None:
    """Over the whole soak the figure is under its limit: in red it would contradict itself."""
    assert _slowest(Verdict.FAIL, 2_978.0) == Tile(
        "Slowest p95", "2,978 ms", "tenant A at its worst, limit ≤ 250 ms; 68.1 ms over the soak", "fail"
    )


def test_otherwise_it_is_the_slowest_tenant_over_the_soak() -> None:
    over_the_soak = ("Slowest p95", "68.1 ms", "tenant A, limit ≤ 250 ms")
    assert _slowest(Verdict.PASS, 120.0) == Tile(*over_the_soak)
    assert _slowest(Verdict.FAIL, 68.1) == Tile(*over_the_soak, "fail")
    assert _slowest(Verdict.INCONCLUSIVE, None) == Tile(*over_the_soak, "open")
    assert _slowest(Verdict.INCONCLUSIVE, 300.0, asked=False) == Tile(*over_the_soak)
    assert tiles_of(COURSE, LATENCY, []) == [Tile(*over_the_soak)]
