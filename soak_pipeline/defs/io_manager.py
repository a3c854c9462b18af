"""Stage outputs as the readable files of the run folder, each materialisation as a new version.

The data version of an asset is the SHA-256 of its file, so that Dagster's staleness and `sha256sum` agree.
"""

import dagster as dg

from soak_pipeline.defs.resources import Harness


class RunFolderIOManager(dg.ConfigurableIOManager):
    """Writes and reads typed outputs below `reports/soak/{run_id}/outputs/`; never interprets them."""

    harness: dg.ResourceDependency[Harness]

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Stores an output as the next version of its stage."""
        folder = self.harness.folder(context.asset_partition_key)
        stage = context.asset_key.to_python_identifier()
        version, sha256 = folder.write_output(stage, obj)
        context.step_context.set_data_version(context.asset_key, dg.DataVersion(sha256))
        context.add_output_metadata(
            {"file": dg.MetadataValue.path(folder.output_path(stage)), "version": version, "sha256": sha256}
        )

    def load_input(self, context: dg.InputContext) -> object:
        """Reads the newest version of a stage's output, typed as the input is annotated.

        Raises:
            EvidenceUnreadable: the stage has no output in this run, or it is damaged.
        """
        folder = self.harness.folder(context.asset_partition_key)
        return folder.read_output(context.asset_key.to_python_identifier(), context.dagster_type.typing_type)
