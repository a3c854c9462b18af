"""The words of the platform under test: every path, header, body, token, status, table, column, stream and metric.

A platform is one `Dialect` value, in one file of `platforms/`; a target file chooses it by that file's name. Nothing
here opens a connection, and nothing outside knows a word of the platform.
"""
