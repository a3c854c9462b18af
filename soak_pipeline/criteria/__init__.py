"""Evidence to verdict: one file per criterion, one registry.

Everything here is a pure function of a run's evidence. It sends nothing, reads nothing but the run folder, and never
raises for what it finds: a finding is a verdict.
"""
