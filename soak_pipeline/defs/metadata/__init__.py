"""What an operator reads at a glance on an asset or a check: short tables and figures, never a secret.

Everything that came from the platform is shown literally: it can neither become markup nor break out of a table.
"""
