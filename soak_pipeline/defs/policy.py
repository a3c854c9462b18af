"""The policy by which this code location was loaded: its levels are the jobs.

A run reads the policy again when its plan is frozen, so that changed numbers need no reload; a new level does.
"""

import os

from soak_pipeline.config.policy_file import find_policy, read_policy

POLICY = read_policy(find_policy("", os.environ)).policy
"""Raises BadInput with every problem of the file, which the UI shows instead of the code location."""
