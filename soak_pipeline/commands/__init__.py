"""What the `soak` commands do: start runs and follow them, keep the embedded stack, answer the gate.

The layer of the command line; nothing imports it but `soak_pipeline.cli`, which only reads arguments.
"""
