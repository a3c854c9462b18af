"""Synthetic measurements whose truth is known, to find out how often the decisions are wrong.

Owns the generators of latencies, windows and resource series. It never judges, and nothing but calibration and tests
uses it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from soak_pipeline.analysis.arrays import FloatArray
from soak_pipeline.analysis.power import TYPICAL_SERVICE_LOG_SD, TYPICAL_WINDOW_LOG_SD

MEDIAN_MS = 25.0
SERVICE_LOG_SD = TYPICAL_SERVICE_LOG_SD


def regular_times_s(points: int, step_s: float) -> FloatArray:
    """`points` times from 0, `step_s` seconds apart."""
    return step_s * np.arange(points, dtype=np.float64)


def ar1_noise(random: Generator, points: int, phi: float) -> FloatArray:
    """Gaussian AR(1) noise of standard deviation 1 and lag-1 autocorrelation `phi`, in its stationary state."""
    innovations = random.standard_normal(points) * math.sqrt(1.0 - phi * phi)
    noise = np.empty(points)
    noise[0] = random.standard_normal()
    for index in range(1, points):
        noise[index] = phi * noise[index - 1] + innovations[index]
    return noise


def window_latencies_ms(
    random: Generator, samples: int, ratio: float = 1.0, window_log_sd: float = TYPICAL_WINDOW_LOG_SD
) -> FloatArray:
    """Log-normal service times of one window whose level varies from window to window by `window_log_sd`."""
    level = MEDIAN_MS * ratio * math.exp(window_log_sd * random.standard_normal())
    return np.asarray(level * np.exp(SERVICE_LOG_SD * random.standard_normal(samples)), dtype=np.float64)


def abba_pairs(
    random: Generator,
    pairs: int,
    samples: int,
    *,
    ratio: float,
    window_log_sd: float = TYPICAL_WINDOW_LOG_SD,
    drift_per_window: float = 0.0,
) -> list[tuple[FloatArray, FloatArray]]:
    """Baseline and burst windows in ABBA order; the platform slows down by `drift_per_window` (a log) each window."""
    made = []
    for pair in range(pairs):
        first = math.exp(drift_per_window * 2 * pair)
        second = math.exp(drift_per_window * (2 * pair + 1))
        baseline_drift, burst_drift = (first, second) if pair % 2 == 0 else (second, first)
        made.append(
            (
                window_latencies_ms(random, samples, baseline_drift, window_log_sd),
                window_latencies_ms(random, samples, burst_drift * ratio, window_log_sd),
            )
        )
    return made


def phase_latencies_ms(
    random: Generator,
    start_s: float,
    duration_s: float,
    per_second: float,
    *,
    ratio: float = 1.0,
    drift_log_per_s: float = 0.0,
    block_log_sd: float = TYPICAL_WINDOW_LOG_SD,
    block_s: float = 5.0,
    phi: float = 0.0,
) -> tuple[FloatArray, FloatArray]:
    """Times and latencies of one long phase whose level wanders from block to block and drifts."""
    count = int(duration_s * per_second)
    times = start_s + np.sort(random.uniform(0.0, duration_s, count))
    level = block_log_sd * ar1_noise(random, int(duration_s / block_s) + 1, phi)
    block = ((times - start_s) / block_s).astype(np.int64)
    logs = drift_log_per_s * times + level[block] + SERVICE_LOG_SD * random.standard_normal(count)
    return times, np.asarray(MEDIAN_MS * ratio * np.exp(logs), dtype=np.float64)


def sawtooth(random: Generator, times_s: FloatArray, period_s: float, amplitude: float) -> FloatArray:
    """Slow rise and sudden fall with teeth of unequal length, starting anywhere in a tooth."""
    edges = [-random.uniform(0.0, period_s)]
    while edges[-1] <= times_s[-1]:
        edges.append(edges[-1] + period_s * random.uniform(0.8, 1.2))
    begun = np.asarray(edges)
    tooth = np.searchsorted(begun, times_s, side="right") - 1
    return np.asarray(amplitude * (times_s - begun[tooth]) / period_s, dtype=np.float64)


def saturating(times_s: FloatArray, time_constant_s: float, amplitude: float) -> FloatArray:
    """Warm-up that ends: amplitude * (1 - exp(-t / time constant))."""
    return np.asarray(amplitude * (1.0 - np.exp(-times_s / time_constant_s)), dtype=np.float64)


def logarithmic(times_s: FloatArray, scale_s: float, amplitude: float) -> FloatArray:
    """Growth that slows down and never ends: amplitude * ln(1 + t / scale)."""
    return np.asarray(amplitude * np.log1p(times_s / scale_s), dtype=np.float64)


def step(times_s: FloatArray, at_s: float, amplitude: float) -> FloatArray:
    """A single rise of `amplitude` after `at_s`."""
    return np.where(times_s > at_s, amplitude, 0.0)
