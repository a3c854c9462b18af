"""The run folder: the only code that knows its paths and formats.

Everything that is judged is read from here, so hours of soak can be judged again in seconds, elsewhere, later.
"""
