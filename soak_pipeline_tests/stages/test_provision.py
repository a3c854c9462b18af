"""What provisioning says and keeps of what the run will be able to decide; the platform is asked elsewhere."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from soak_pipeline.criteria.power.preview import preview
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.preview import Outlook
from soak_pipeline.model.request import SoakRequest
from soak_pipeline.model.stage_outputs import Capability, ProvisionedRun
from soak_pipeline.stages import provision as stage
from soak_pipeline.stages.context import StageContext

RUN_ID = "20261123T073000Z"
CAPABILITIES = (
    Capability(name="gateway", available=True),
    Capability(name="redis", available=False, reason="no answer"),
    Capability(name="database.identity", available=False, reason="no DSN"),
)


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StageContext:
    target = tmp_path / "target.yaml"
    target.write_text(
        "name: small\nallow_load: true\ngateway_url: http://127.0.0.1:9\n"
        "admin_email_env: T_EMAIL\nadmin_password_env: T_PASSWORD\n"
    )
    monkeypatch.setattr(stage, "preflight", lambda resolved, plan: (CAPABILITIES, 0.0))
    monkeypatch.setattr(stage, "provision_tenants", lambda resolved, plan: ())
    monkeypatch.setattr(stage, "hold_target", lambda name, run_id, environment: None)
    lines: list[str] = []
    context = StageContext(
        folder=RunFolder(tmp_path / "reports", RUN_ID),
        environment={"T_EMAIL": "operator@example", "T_PASSWORD": "secret"},
        still_wanted=lambda: True,
        on_progress=lambda progress: None,
        log=lines.append,
    )
    object.__setattr__(context, "said", lines)
    return context


def provisioned(context: StageContext, tmp_path: Path) -> tuple[ProvisionedRun, list[str]]:
    request = SoakRequest(target_path=str(tmp_path / "target.yaml"), profile="smoke", users=20)
    return stage.provision(context, request), context.said  # type: ignore[attr-defined]


def test_the_preview_is_said_before_the_load_and_kept(context: StageContext, tmp_path: Path) -> None:
    run, said = provisioned(context, tmp_path)

    assert run.preview == preview(context.plan, CAPABILITIES)
    assert any(line.startswith("this size can decide 7 of 12 criteria; not: ") for line in said)
    assert any(line.startswith("gateway_p95_is_under_slo, tenant E: about 27 executed calls") for line in said)
    assert any(item.outlook is Outlook.SKIPPED for item in run.preview)


def test_what_cannot_be_measured_is_named_with_what_it_costs(context: StageContext, tmp_path: Path) -> None:
    _, said = provisioned(context, tmp_path)

    assert "cannot measure redis: no answer; usage_matches_audit will be INCONCLUSIVE" in said
    assert "cannot measure database.identity: no DSN; no criterion depends on it" in said


def test_the_stored_output_has_the_preview_and_older_ones_have_none(context: StageContext, tmp_path: Path) -> None:
    run, _ = provisioned(context, tmp_path)

    context.folder.write_output("provision", run)
    assert context.folder.read_output("provision", ProvisionedRun) == run
    older = msgspec.to_builtins(run)
    del older["preview"]
    assert msgspec.convert(older, ProvisionedRun).preview == ()
