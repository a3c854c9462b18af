"""Typed scalar doors to the few distributions that judging needs.

Owns the only import of SciPy in this package, and only of `scipy.special`: `scipy.stats` would triple the import time
of a command that re-judges a run in seconds. It never samples and never estimates.
"""

from __future__ import annotations

from scipy import special


def normal_cdf(z: float) -> float:
    """Probability that a standard normal is at most `z`."""
    return float(special.ndtr(z))


def normal_quantile(probability: float) -> float:
    """The z that a standard normal does not exceed with `probability`."""
    return float(special.ndtri(probability))


def student_t_cdf(t: float, degrees_of_freedom: float) -> float:
    """Probability that Student's t is at most `t`; the degrees of freedom may be fractional."""
    return float(special.stdtr(degrees_of_freedom, t))


def student_t_quantile(probability: float, degrees_of_freedom: float) -> float:
    """The t that Student's t does not exceed with `probability`; the degrees of freedom may be fractional."""
    return float(special.stdtrit(degrees_of_freedom, probability))


def noncentral_t_cdf(t: float, degrees_of_freedom: float, noncentrality: float) -> float:
    """Probability that a non-central t is at most `t`; needed for power."""
    return float(special.nctdtr(degrees_of_freedom, noncentrality, t))


def binomial_cdf(successes: int, trials: int, share: float) -> float:
    """Probability of at most `successes` in `trials`; 0 below zero, 1 from `trials` up."""
    if successes < 0:
        return 0.0
    if successes >= trials:
        return 1.0
    return float(special.bdtr(successes, trials, share))


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The x that a Beta(a, b) does not exceed with `probability`."""
    return float(special.betaincinv(a, b, probability))


def chi_square_quantile(probability: float, degrees_of_freedom: float) -> float:
    """The x that chi-square does not exceed with `probability`."""
    return float(special.chdtri(degrees_of_freedom, 1.0 - probability))
