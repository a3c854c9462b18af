"""The platform under test: its gateway, databases, Redis and metrics.

Owns every conversation with the platform outside the load. Never judges what it reads: a figure that could not be read
is None with its reason, and a criterion decides what that means.
"""
