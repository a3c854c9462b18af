"""Validity: each condition at its limit, and never a FAIL."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from soak_pipeline.evidence.bundle import read_evidence
from soak_pipeline.model.plan import plan_hash
from soak_pipeline.model.stage_outputs import ProvisionedRun
from soak_pipeline.model.verdict import Verdict
from soak_pipeline_tests.criteria.judging import HALF_HOUR, SMALL, finding_of, judged, result_of
from soak_pipeline_tests.evidence_defects import (
    DEFECTS,
    change_output,
    change_worker,
    drop_stretch,
    set_outcome,
    thin_out,
)
from soak_pipeline_tests.evidence_factory import SyntheticRun, make_run

LOAD = "load_was_valid"


def worker_of(run: SyntheticRun) -> object:
    return run.outputs["soak"].sessions[0].workers[0]  # type: ignore[attr-defined]


def host_series(series: str, value: float) -> Callable[[SyntheticRun], None]:
    def defect(run: SyntheticRun) -> None:
        times, values = run.telemetry["host", "host", series]
        run.telemetry["host", "host", series] = (times, np.full(len(values), value))

    return defect


def skews(before: float | None, after: float | None) -> Callable[[SyntheticRun], None]:
    def defect(run: SyntheticRun) -> None:
        change_output(run, "provision", clock_skew_s=before)
        change_output(run, "platform_evidence", clock_skew_s=after)

    return defect


def due(share: float) -> Callable[[SyntheticRun], None]:
    """A schedule of 1,000 requests per tenant, of which a share was sent."""

    def defect(run: SyntheticRun) -> None:
        names = [tenant.name for tenant in run.plan.tenants]
        change_worker(run, "soak", due=dict.fromkeys(names, 1_000), sent=dict.fromkeys(names, round(1_000 * share)))

    return defect


@pytest.mark.parametrize(
    ("defect", "subject", "verdict"),
    [
        (due(0.95), "rate of tenant E, session soak", Verdict.PASS),
        (due(0.949), "rate of tenant E, session soak", Verdict.INCONCLUSIVE),
        (due(0.0), "rate of tenant E, session soak", Verdict.INCONCLUSIVE),
        (lambda run: change_worker(run, "soak", loop_lag_ms_p99=100.0), "event loop, session soak", Verdict.PASS),
        (
            lambda run: change_worker(run, "soak", loop_lag_ms_p99=100.1),
            "event loop, session soak",
            Verdict.INCONCLUSIVE,
        ),
        (
            lambda run: change_worker(run, "soak", loop_lag_ms_p99=None),
            "event loop, session soak",
            Verdict.INCONCLUSIVE,
        ),
        (lambda run: change_worker(run, "soak", cpu_share_max=0.9), "generator CPU, session soak", Verdict.PASS),
        (
            lambda run: change_worker(run, "soak", cpu_share_max=0.91),
            "generator CPU, session soak",
            Verdict.INCONCLUSIVE,
        ),
        (
            lambda run: change_worker(run, "soak", cpu_share_max=None),
            "generator CPU, session soak",
            Verdict.INCONCLUSIVE,
        ),
        (lambda run: change_worker(run, "soak", lost=True), "load workers, session soak", Verdict.INCONCLUSIVE),
        (
            lambda run: change_worker(run, "soak", rss_bytes_start=0, rss_bytes_end=256 * 2**20),
            "generator memory, session soak",
            Verdict.PASS,
        ),
        (
            lambda run: change_worker(run, "soak", rss_bytes_start=0, rss_bytes_end=256 * 2**20 + 1),
            "generator memory, session soak",
            Verdict.INCONCLUSIVE,
        ),
        (skews(5.0, -5.0), "clock", Verdict.PASS),
        (skews(0.0, -5.1), "clock", Verdict.INCONCLUSIVE),
        (skews(None, 0.1), "clock", Verdict.PASS),
        (skews(None, None), "clock", Verdict.INCONCLUSIVE),
        (host_series("cpu_steal_share", 0.10), "host steal", Verdict.PASS),
        (host_series("cpu_steal_share", 0.11), "host steal", Verdict.INCONCLUSIVE),
        (host_series("cpu_steal_share", float("nan")), "host steal", Verdict.INCONCLUSIVE),
        (host_series("load_average", float("nan")), "host load", Verdict.INCONCLUSIVE),
    ],
)
def test_each_condition_may_reach_its_limit(
    tmp_path: Path, defect: Callable[[SyntheticRun], None], subject: str, verdict: Verdict
) -> None:
    assert finding_of(judged(tmp_path, LOAD, defect), subject).verdict is verdict


def _pages(run: SyntheticRun, gone_from_s: float) -> None:
    """Notes per page whether it could be read; the gateway's no longer from a time of the run on."""
    times, _ = run.telemetry["host", "host", "load_average"]
    run.telemetry["host", "metrics audit", "source_readable"] = (times, np.ones(len(times)))
    run.telemetry["host", "metrics gateway", "source_readable"] = (times, (times < gone_from_s).astype(float))


def test_one_page_that_stops_answering_is_a_gap_although_others_answer(tmp_path: Path) -> None:
    whole = judged(tmp_path / "whole", LOAD, lambda run: _pages(run, np.inf), profile=HALF_HOUR)
    cut = judged(tmp_path / "cut", LOAD, lambda run: _pages(run, 600.0), profile=HALF_HOUR)

    assert finding_of(whole, "telemetry of the platform").verdict is Verdict.PASS
    gap = finding_of(cut, "telemetry of the platform")
    assert gap.verdict is Verdict.INCONCLUSIVE
    assert "(metrics gateway)" in gap.why
    assert cut.cause == "telemetry_gap"


@pytest.mark.parametrize(("limit_s", "verdict"), [(40.0, Verdict.PASS), (39.9, Verdict.INCONCLUSIVE)])
def test_the_longest_gap_in_the_telemetry_counts(tmp_path: Path, limit_s: float, verdict: Verdict) -> None:
    # Samples come every 5 s; taking out those within 17.4 s of the middle, which is on one, leaves 40 s between two.
    result = judged(tmp_path, LOAD, lambda run: drop_stretch(run, 34.9), profile=HALF_HOUR, telemetry_gap_s_max=limit_s)

    assert finding_of(result, "telemetry of the platform").observed == 40.0
    assert finding_of(result, "telemetry of the platform").verdict is verdict
    assert finding_of(result, "telemetry of the generator").verdict is verdict


def test_a_session_that_ended_early_is_named(tmp_path: Path) -> None:
    result = judged(tmp_path, LOAD, "cut_short")
    assert result.cause == "run_cut_short"

    assert result.verdict is Verdict.INCONCLUSIVE
    assert finding_of(result, "length, session soak").verdict is Verdict.INCONCLUSIVE
    assert finding_of(result, "stage soak").why == "stage soak was cut short: the lease ended"


@pytest.mark.parametrize(("short_us", "verdict"), [(2_000_000, Verdict.PASS), (2_000_001, Verdict.INCONCLUSIVE)])
def test_a_session_may_end_two_seconds_early(tmp_path: Path, short_us: int, verdict: Verdict) -> None:
    """At 60 requests per second the last one is due just before the end."""

    def end_early(run: SyntheticRun) -> None:
        (session,) = run.outputs["soak"].sessions  # type: ignore[attr-defined]
        ended_us = session.zero_us + int(run.sessions["soak"].duration_s * 1e6) - short_us
        change_output(run, "soak", sessions=(msgspec.structs.replace(session, ended_us=ended_us),))

    assert finding_of(judged(tmp_path, LOAD, end_early), "length, session soak").verdict is verdict


def test_a_session_that_never_began_is_open(tmp_path: Path) -> None:
    def never(run: SyntheticRun) -> None:
        soak = run.outputs["soak"]
        session = soak.sessions[0]  # type: ignore[attr-defined]
        change_output(run, "soak", sessions=(type(session)(**{**_fields(session), "zero_us": None, "ended_us": None}),))

    result = judged(tmp_path, LOAD, never)

    assert finding_of(result, "length, session soak").verdict is Verdict.INCONCLUSIVE
    assert finding_of(result, "telemetry of the generator").verdict is Verdict.INCONCLUSIVE


def _fields(struct: object) -> dict[str, object]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}  # type: ignore[attr-defined]


def test_records_that_are_lost_on_disk_are_named(tmp_path: Path) -> None:
    result = judged(tmp_path, LOAD, lambda run: thin_out(run, 0.999, session="soak"))

    assert finding_of(result, "records, session soak").verdict is Verdict.INCONCLUSIVE


def test_a_mix_that_is_not_the_planned_one_is_named(tmp_path: Path) -> None:
    def all_allowed(run: SyntheticRun) -> None:
        run.requests.set_text("kind", run.requests.where(session="soak", tenant="B", phase="soak"), "allowed")

    result = judged(tmp_path, LOAD, all_allowed)

    assert finding_of(result, "mix of tenant B").verdict is Verdict.INCONCLUSIVE
    assert finding_of(result, "mix of tenant A").verdict is Verdict.PASS


@pytest.mark.parametrize(("denied", "verdict"), [(24, Verdict.PASS), (23, Verdict.INCONCLUSIVE)])
def test_a_share_of_the_mix_may_differ_by_two_points_and_four_standard_errors(
    tmp_path: Path, denied: int, verdict: Verdict
) -> None:
    """15 % of tenant B's 405 requests: 0.15 - 0.02 - 4 sqrt(0.15 x 0.85 / 405) = 0.0590, which is 23.9 requests."""

    def remix(run: SyntheticRun) -> None:
        rows = np.flatnonzero(run.requests.where(session="soak", tenant="B", phase="soak"))
        assert len(rows) == 405
        kinds = [("denied", denied), ("read", 40), ("verify", 41), ("misc", 20)]
        run.requests.set_text("kind", rows, "allowed")
        for kind, number in kinds:
            run.requests.set_text("kind", rows[:number], kind)
            rows = rows[number:]

    finding = finding_of(judged(tmp_path, LOAD, remix), "mix of tenant B")

    assert finding.figures["denied"] == denied
    assert finding.verdict is verdict


def test_a_split_that_is_not_the_planned_one_is_named(tmp_path: Path) -> None:
    def swap(run: SyntheticRun) -> None:
        rows = np.flatnonzero(run.requests.where(phase="soak", tenant="A"))
        run.requests.set_text("tenant", rows[::2], "E")

    assert finding_of(judged(tmp_path, LOAD, swap), "split over the tenants").verdict is Verdict.INCONCLUSIVE


def test_too_few_samples_of_a_tenant_are_named(tmp_path: Path) -> None:
    result = judged(tmp_path, LOAD, lambda run: thin_out(run, 0.5, phase="soak", tenant="E"))

    assert finding_of(result, "samples of tenant E").verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("kept", "verdict"), [(72, Verdict.PASS), (71, Verdict.INCONCLUSIVE)])
def test_seventy_two_samples_are_the_fewest(tmp_path: Path, kept: int, verdict: Verdict) -> None:
    def thin(run: SyntheticRun) -> None:
        rows = np.flatnonzero(run.requests.where(phase="soak", tenant="E", kind="allowed"))
        keep = np.ones(len(run.requests), dtype=bool)
        keep[rows[kept:]] = False
        run.requests.keep(keep)

    assert finding_of(judged(tmp_path, LOAD, thin), "samples of tenant E").verdict is verdict


def test_tenants_made_under_another_plan_are_named(tmp_path: Path) -> None:
    result = judged(tmp_path, LOAD, lambda run: change_output(run, "provision", plan_hash="0" * 64))

    assert finding_of(result, "stage provision").verdict is Verdict.INCONCLUSIVE


def test_a_run_of_a_version_whose_plan_had_fewer_fields_is_still_its_own(tmp_path: Path) -> None:
    """The plan and its hash as a version wrote them that knew neither the cap of users nor classic fairness."""
    folder = make_run(tmp_path, profile=SMALL)
    older = msgspec.json.decode(folder.plan_path.read_bytes())
    del older["target"]["max_users"], older["profile"]["fairness"]["order"]
    older["format_version"] = 2
    folder.plan_path.write_bytes(msgspec.json.encode(older))
    canonical = msgspec.to_builtins(folder.read_plan(), order="deterministic")
    del canonical["target"]["max_users"], canonical["profile"]["fairness"]["order"]
    frozen = hashlib.sha256(msgspec.json.encode(canonical)).hexdigest()
    provision = folder.read_output("provision", ProvisionedRun)

    assert frozen not in (provision.plan_hash, plan_hash(folder.read_plan()))
    folder.write_output("provision", msgspec.structs.replace(provision, plan_hash=frozen))
    assert finding_of(result_of(read_evidence(folder), LOAD), "stage provision").verdict is Verdict.PASS


@pytest.mark.parametrize("defect", DEFECTS)
def test_it_never_accuses_the_platform(tmp_path: Path, defect: str) -> None:
    assert judged(tmp_path, LOAD, defect).verdict is not Verdict.FAIL


def test_errors_of_the_platform_do_not_make_the_load_invalid(tmp_path: Path) -> None:
    result = judged(tmp_path, LOAD, lambda run: set_outcome(run, "server_error", 500, 300, phase="soak", tenant="A"))

    assert result.verdict is Verdict.PASS
