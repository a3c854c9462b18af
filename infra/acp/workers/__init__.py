"""The processes behind the gateway: each reads events or rows, and writes one database.

Every worker module has `main(settings) -> int`, which blocks until SIGTERM or SIGINT, finishes the batch it is
at, and returns 0.  All of them may be killed at any instant: what was not acknowledged is delivered again, and
writing it again changes nothing.
"""
