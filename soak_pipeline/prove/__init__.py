"""Proof that the gate can fail: faults are planted on purpose, and each must be caught, by the right criterion alone.

Owns the catalogue of faults with what must turn, the runs that plant them, and the matrix that comes out. Never judges
a soak itself: it reads the verdict that `soak run` wrote, as any operator would.
"""
