"""The surface of the platform as it is deployed, where that differs from the documented one."""

from __future__ import annotations

from dataclasses import replace

from soak_pipeline.dialect.platforms import nominal

DIALECT = replace(nominal.DIALECT, provisioning=replace(nominal.DIALECT.provisioning, new_tenants_observe=True))
