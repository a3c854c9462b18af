"""What the UI shows: the figures, and nothing that came from the platform acts as markup."""

from __future__ import annotations

import dagster as dg
import msgspec
import pytest

from soak_pipeline.criteria.power.preview import preview
from soak_pipeline.defs.metadata import overview
from soak_pipeline.defs.metadata.stages import phase_metadata, provision_metadata, teardown_metadata
from soak_pipeline.defs.metadata.values import table, text
from soak_pipeline.defs.metadata.verdicts import (
    criterion_metadata,
    judgement_metadata,
    promotion_metadata,
    report_metadata,
)
from soak_pipeline.evidence.run_folder import RunFolder, read_json, write_json
from soak_pipeline.model.documents import LatencyDocument, LatencyRow, Percentile, Percentiles
from soak_pipeline.model.stage_outputs import (
    FinalVerdict,
    PhaseEvidence,
    ProvisionedRun,
    SessionReport,
    SilencedTenant,
    StageStatus,
    TeardownReceipt,
)
from soak_pipeline.model.target import Target
from soak_pipeline.model.verdict import CriterionResult, Finding, Judgement, Limit, Verdict, at_least, at_most
from soak_pipeline_tests.policies import plan_by, profile_of
from soak_pipeline_tests.tenant_tables import FIFTY

FAIRNESS = CriterionResult(
    name="quiet_tenants_are_protected",
    verdict=Verdict.FAIL,
    why="tenant E p99 rose 1.34x during burst",
    observed=1.34,
    limit=at_most(1.2, "ratio"),
    findings=(
        Finding(
            subject="tenant E",
            verdict=Verdict.FAIL,
            why="rose",
            observed=1.34,
            limit=at_most(1.2, "ratio"),
            figures={"latency_ms_p99_burst": 158.25, "pairs": 8},
        ),
        Finding(subject="tenant B", verdict=Verdict.INCONCLUSIVE, why="too few", unit="ratio"),
    ),
    likely_cause="one shared queue",
    fix="share the slots fairly",
)
SMOKE = (False, "smoke gates no promotion")
LEAKS = CriterionResult(name="nothing_leaks", verdict=Verdict.INCONCLUSIVE, why="too short", asked=False)
JUDGEMENT = Judgement(
    run_id="20261123T073000Z",
    verdict=Verdict.FAIL,
    criteria=(FAIRNESS, LEAKS),
    judged_at="2026-11-23T07:40:00Z",
    thresholds_changed={"error_share_max": 0.01},
)


def _rows(value: dg.MetadataValue) -> list[list[str]]:
    header, _, *rows = str(value.value).splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in (header, *rows)]


def test_the_verdict_table_has_one_row_per_criterion() -> None:
    metadata = judgement_metadata(JUDGEMENT)
    assert _rows(metadata["criteria"])[1:] == [
        ["quiet_tenants_are_protected", "**FAIL**", "1.34x", "≤ 1.20x"],
        ["nothing_leaks", "not asked", "–", "–"],
    ]
    assert _rows(metadata["criteria_in_words"])[1:] == [
        ["quiet_tenants_are_protected", "**FAIL**", "tenant E p99 rose 1.34x during burst"],
        ["nothing_leaks", "not asked", "too short"],
    ]
    assert _rows(metadata["thresholds_changed"])[1:] == [["error_share_max", "0.01"]]


def test_a_check_shows_figures_to_plot_cause_and_findings() -> None:
    metadata = criterion_metadata(FAIRNESS)
    assert (metadata["observed"].value, metadata["limit"].value, metadata["unit"].value) == (1.34, 1.2, "ratio")
    assert metadata["limit_in_words"].value == "≤ 1.20x"
    assert metadata["likely_cause"].value == "one shared queue"
    assert metadata["fix"].value == "share the slots fairly"
    assert _rows(metadata["findings"]) == [
        ["subject", "verdict", "observed", "limit", "latency_ms_p99_burst", "pairs"],
        ["tenant E", "**FAIL**", "1.34x", "≤ 1.20x", "158", "8"],
        ["tenant B", "**INCONCLUSIVE**", "–", "–", "-", "-"],
    ]


def test_a_check_without_a_figure_plots_none() -> None:
    assert not {"observed", "limit", "unit", "findings"} & set(criterion_metadata(LEAKS))


def test_the_report_shows_percentiles_per_tenant_on_both_clocks(tmp_path) -> None:
    folder = RunFolder(tmp_path, JUDGEMENT.run_id)
    write_json(folder.path / "latency.json", _latency_document())
    metadata = report_metadata(_final(), JUDGEMENT, folder, SMOKE)
    assert _rows(metadata["latency"]) == [
        ["tenant", "p95", "p99", "service p95", "service p99"],
        ["E", "118 ms", "158 ms", "110 ms", "–"],
    ]
    assert metadata["latency_ms_p95_E"].value == 118.0
    assert metadata["latency_ms_p99_E"].value == 158.0
    assert metadata["report.html"].value == str(folder.path / "report.html")
    assert "verdict.json" not in metadata


def test_of_fifty_tenants_all_are_in_the_table_and_the_slowest_one_is_plotted(tmp_path) -> None:
    folder = RunFolder(tmp_path, JUDGEMENT.run_id)
    document = _latency_document()
    soak = document.rows[1]

    def row(number: int, name: str) -> LatencyRow:
        p95 = Percentile(value=40.0 + number, lower=None, upper=None)
        return msgspec.structs.replace(soak, tenant=name, latency_ms=msgspec.structs.replace(soak.latency_ms, p95=p95))

    rows = tuple(row(number, name) for number, name in enumerate(FIFTY))
    write_json(folder.path / "latency.json", msgspec.structs.replace(document, rows=rows))
    metadata = report_metadata(_final(), JUDGEMENT, folder, SMOKE)
    assert [cells[0] for cells in _rows(metadata["latency"])[1:]] == list(FIFTY)
    assert metadata["latency_ms_p95_slowest"].value == 89.0
    assert [name for name in metadata if name.startswith("latency_ms_")] == [
        "latency_ms_p95_slowest",
        "latency_ms_p99_slowest",
    ]


def test_a_report_without_latency_says_so(tmp_path) -> None:
    metadata = report_metadata(_final(), JUDGEMENT, RunFolder(tmp_path, JUDGEMENT.run_id), SMOKE)
    missing = "No such file or directory"
    assert metadata["latency"].value == f"not measured: latency.json: {missing}"
    assert metadata["fairness"].value == f"not measured: comparison.json: {missing}"
    assert str(metadata["resources"].value).startswith("not measured: ")
    assert str(tmp_path) not in "".join(str(metadata[name].value) for name in ("latency", "fairness", "resources"))


def test_the_report_reads_its_latency_once(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path, JUDGEMENT.run_id)
    write_json(folder.path / "latency.json", _latency_document())
    read: list[str] = []

    def counted(path, output_type):
        read.append(path.name)
        return read_json(path, output_type)

    monkeypatch.setattr(overview, "read_json", counted)
    report_metadata(_final(), JUDGEMENT, folder, SMOKE)
    assert read.count("latency.json") == 1


def test_a_tenant_that_is_not_blocked_catches_the_eye() -> None:
    tenant = SilencedTenant(
        name="E", blocked=False, probe_calls=5, probe_allowed=5, probe_statuses={"200": 5}, reason="404"
    )
    metadata = teardown_metadata(
        TeardownReceipt(tenants=(tenant,), lever="rpm_limit", load_stopped_us=1, blocked_us=None)
    )
    assert metadata["blocked"].value == 0
    assert _rows(metadata["tenants"])[1:] == [["E", "NO", "5", "5", "404"]]


def test_provisioning_shows_what_this_size_can_decide_and_what_would_help() -> None:
    plan = plan_by(
        run_id="20261123T073000Z",
        profile=profile_of("smoke", users=20),
        target=Target(name="fake", allow_load=True),
    )
    provisioned = ProvisionedRun(
        run_id=plan.run_id,
        plan_hash="",
        tenants=(),
        capabilities=(),
        clock_skew_s=None,
        provisioned_at="2026-11-23T07:30:10Z",
        preview=preview(plan),
    )
    metadata = provision_metadata(provisioned, plan)
    assert str(metadata["can_decide"].value).startswith("this size can decide 8 of 12 criteria; not: ")
    rows = _rows(metadata["cannot_decide"])[1:]
    assert [row[1] for row in rows if row[2].startswith("tenant E:")] == ["undecidable"]
    assert all(row[3].endswith("would do") for row in rows)
    assert "can_decide" not in provision_metadata(msgspec.structs.replace(provisioned, preview=()), plan)


def test_a_phase_sums_its_sessions() -> None:
    sessions = tuple(
        SessionReport(
            name=f"fairness-{look}",
            status=StageStatus.COMPLETE,
            reason="",
            zero_us=0,
            ended_us=1,
            workers=(),
            request_files=(),
            records=1_500,
        )
        for look in (1, 2)
    )
    metadata = phase_metadata(
        PhaseEvidence(phase="burst", status=StageStatus.CUT_SHORT, reason="lease lost", sessions=sessions)
    )
    assert metadata["requests"].value == 3_000
    assert metadata["reason"].value == "lease lost"
    assert _rows(metadata["sessions"])[1] == ["fairness-1", "complete", "1,500", "0"]


def test_hostile_text_is_shown_literally() -> None:
    hostile = "<script>alert(1)</script> | [link](javascript:x)\n\x1b[31mred"
    shown = str(table(("what",), [(hostile,)]).value)
    assert len(shown.splitlines()) == 3
    assert r"\<script\>" in shown
    assert r"\| \[link\](" in shown
    assert "\x1b" not in shown + str(text(hostile).value)


def _final() -> FinalVerdict:
    return FinalVerdict(
        run_id=JUDGEMENT.run_id,
        release="v1",
        commit="",
        profile="smoke",
        target="local",
        plan_hash="0" * 64,
        verdict=Verdict.FAIL,
        why="tenant E",
        files=("report.html",),
    )


def _latency_document() -> LatencyDocument:
    def at(value: float | None) -> Percentile:
        return Percentile(value=value, lower=None, upper=None)

    soak = LatencyRow(
        phase="soak",
        tenant="E",
        kind="allowed",
        requests=1_200,
        outcomes={"ok": 1_200},
        samples=1_200,
        unanswered=0,
        requests_per_second=10.0,
        latency_ms=Percentiles(p50=at(40.0), p95=at(118.0), p99=at(158.0)),
        service_ms=Percentiles(p50=at(38.0), p95=at(110.0), p99=at(None)),
    )
    other_kind = msgspec.structs.replace(soak, kind="read", requests=7)
    other_phase = msgspec.structs.replace(soak, phase="burst", requests=8)
    return LatencyDocument(
        run_id=JUDGEMENT.run_id,
        limit_ms=250.0,
        judged_kind="allowed",
        rows=(other_phase, soak, other_kind),
        windows=(),
        server=(),
    )


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize(
    ("limit", "observed", "figure", "sign", "words"),
    [
        (at_most(0.0, "wrong answers"), 3.0, "3 wrong answers", "≤ 0", "≤ 0 wrong answers"),
        (at_least(0.8, "share"), 0.12, "12 %", "≥ 80 %", "≥ 80 %"),
        (at_least(72.0, "requests"), None, "–", "≥ 72 requests", "≥ 72 requests"),
    ],
)
def test_a_limit_is_shown_with_its_direction_whatever_the_verdict(
    verdict: Verdict, limit: Limit, observed: float | None, figure: str, sign: str, words: str
) -> None:
    finding = Finding(subject="x", verdict=verdict, why="w", observed=observed, limit=limit)
    result = CriterionResult(
        name="fanout_is_correct", verdict=verdict, why="w", observed=observed, limit=limit, findings=(finding,)
    )
    metadata = criterion_metadata(result)
    assert (metadata["limit"].value, metadata["limit_in_words"].value) == (limit.value, words)
    assert _rows(metadata["findings"])[1][2:4] == [figure, sign]
    judgement = msgspec.structs.replace(JUDGEMENT, criteria=(result,))
    assert _rows(judgement_metadata(judgement)["criteria"])[1][2:4] == [figure, sign]


@pytest.mark.parametrize(
    ("verdict", "gating", "words"),
    [
        (Verdict.PASS, (True, ""), "PASS: the promotion is allowed"),
        (Verdict.FAIL, (True, ""), "FAIL: the promotion is blocked"),
        (Verdict.PASS, SMOKE, "PASS; smoke gates no promotion"),
        (Verdict.INCONCLUSIVE, SMOKE, "INCONCLUSIVE; smoke gates no promotion"),
    ],
)
def test_what_a_verdict_means_for_a_promotion(verdict: Verdict, gating: tuple[bool, str], words: str) -> None:
    metadata = promotion_metadata(verdict, gating)
    assert (metadata["gates_promotion"].value, metadata["promotion"].value) == (gating[0], words)
