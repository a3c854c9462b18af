"""Files that operators write: plain YAML, and the policy.

Owns their search, their syntax and their error messages. Knows nothing of a platform or of a run.
"""
