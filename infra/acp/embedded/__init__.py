"""PostgreSQL and Valkey from Python packages: where their programs are, and how they are started.

Owns the programs' options and files. It never supervises them; see `supervisor.py`.
"""
