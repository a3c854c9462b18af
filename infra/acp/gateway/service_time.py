"""How long a tool takes: a seeded log-normal time that depends on nothing but the seed and the request id.

So that two runs of the same plan ask the same work of the platform. It only says how long; waiting is the caller's.
"""

from __future__ import annotations

import hashlib
import math
from statistics import NormalDist

_STANDARD_NORMAL = NormalDist()


def service_time_s(request_id: str, *, median_ms: float, sigma: float, seed: int) -> float:
    """Draw the service time of one request.

    Args:
        request_id: any text; the same id gives the same time.
        median_ms: median of the log-normal distribution, milliseconds, >= 0.
        sigma: standard deviation of the logarithm, >= 0.
        seed: of the whole platform.

    Returns:
        Seconds, >= 0.
    """
    digest = hashlib.blake2b(request_id.encode(), digest_size=8, key=seed.to_bytes(8, "big", signed=True)).digest()
    share = (int.from_bytes(digest, "big") + 0.5) / 2**64
    share = min(max(share, 1e-12), 1 - 1e-12)
    return median_ms / 1000 * math.exp(sigma * _STANDARD_NORMAL.inv_cdf(share))
