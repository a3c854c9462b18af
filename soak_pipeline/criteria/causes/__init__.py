"""Likely causes and fixes by criterion, as an experienced operator would go through them, most specific first."""
