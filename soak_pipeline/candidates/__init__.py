"""Release candidates: where they are announced, and what they are.

Reads git tags and dropped files. Never starts a run, and never changes a repository.
"""
