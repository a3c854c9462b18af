"""The asset graph of one soak run, one file per operation."""
