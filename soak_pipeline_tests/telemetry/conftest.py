"""The stores of the target's tests serve the telemetry's, too."""

from soak_pipeline_tests.target.conftest import dsns, redis_server, redis_url, started_stores

__all__ = ["dsns", "redis_server", "redis_url", "started_stores"]
