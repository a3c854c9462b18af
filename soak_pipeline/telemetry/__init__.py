"""Samples of the platform, its stores, this machine and the sampler itself, while the load runs.

Owns when and what is sampled. Never judges a sample, and never stops because one could not be taken.
"""
