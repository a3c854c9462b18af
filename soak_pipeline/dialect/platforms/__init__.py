"""The platforms that are known: one file each, whose name with `-` for `_` is what a target file says."""
