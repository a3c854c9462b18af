"""Validated views of the numbers that come in.

Owns the conversion of caller's arrays to one-dimensional finite float64. It never drops or repairs a value: what is
missing has to be classified before it is judged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def finite_vector(values: ArrayLike, name: str) -> FloatArray:
    """Return `values` as a one-dimensional float64 array.

    Raises ValueError where the shape is not one-dimensional or a value is NaN or infinite, because a percentile of
    what was not measured would look like a measurement.
    """
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise ValueError(f"{name}: expected a one-dimensional array, got shape {vector.shape}")
    if vector.size and not np.isfinite(vector).all():
        count = int(vector.size - np.isfinite(vector).sum())
        raise ValueError(f"{name}: {count} of {vector.size} values are not finite; classify them before judging")
    return vector


def positive_vector(values: ArrayLike, name: str) -> FloatArray:
    """Return `values` as a finite vector of numbers above zero, as logarithms need.

    Raises ValueError as `finite_vector` does, and where a value is zero or negative.
    """
    vector = finite_vector(values, name)
    if vector.size and float(vector.min()) <= 0.0:
        raise ValueError(f"{name}: smallest value is {float(vector.min()):g}, must be above 0")
    return vector


def same_length(first: FloatArray, second: FloatArray, name: str) -> None:
    """Raise ValueError unless both vectors have the same length."""
    if first.shape != second.shape:
        raise ValueError(f"{name}: lengths differ, {first.size} and {second.size}")


def share_between_0_and_1(value: float, name: str) -> float:
    """Return `value`; raise ValueError unless it lies strictly between 0 and 1."""
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name}: {value} must lie strictly between 0 and 1")
    return value
