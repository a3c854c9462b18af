"""What things are: profiles, plans, tenants, traffic, verdicts, errors.

Owns frozen values and the pure rules between them. Never does I/O, never knows a path, a socket or a clock.
"""
