"""A code location with the pipeline's own definitions over fake stages, for the processes that Dagster starts."""

from soak_pipeline_tests.defs.fake_stages import install

install()

from soak_pipeline.definitions import defs  # noqa: E402

__all__ = ["defs"]
