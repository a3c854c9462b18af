"""What a plan of this size can decide, computed before the load from what the criteria themselves need.

Each module covers some criteria and takes its numbers from them; `preview` puts them together, `words` shows them. None
of them reads evidence, and none is read by a criterion.
"""
