"""One plain function per stage of a soak run; they compose the load, the target, the criteria and the report.

A stage knows nothing of Dagster. A load stage returns evidence with a status and never raises for what it measured.
"""
