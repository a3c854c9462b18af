"""Whether a run's verdict can allow or block a promotion at all.

Owns the one answer that report, summary, terminal and Dagster give: a run gates a promotion when its level does, in the
policy that the plan froze, and nothing of the level was changed for the run or its judgement. Never looks at the
verdict. The gate holds such a run against its own policy besides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from soak_pipeline.model.plan import Plan

_SHOWN = 3
_NOTHING_CHANGED: Mapping[str, float] = MappingProxyType({})


def gates_promotion(plan: Plan, thresholds_changed: Mapping[str, float] = _NOTHING_CHANGED) -> tuple[bool, str]:
    """Whether the verdict of a run gates a promotion, and if not, why: a clause such as `smoke gates no promotion`.

    Args:
        plan: of the run.
        thresholds_changed: limits by which it is judged instead of the plan's own.
    """
    level = plan.profile.name
    if not plan.gates:
        return False, f"{level} gates no promotion"
    changed = [
        *plan.adjustments,
        *(f"judged with {name} {value:g}" for name, value in sorted(thresholds_changed.items())),
    ]
    if changed:
        return False, f"a changed {level} gates no promotion ({_some(changed)})"
    return True, ""


def _some(words: Sequence[str]) -> str:
    """The first few, and how many there are besides."""
    more = len(words) - _SHOWN
    return f"{', '.join(words[:_SHOWN])}{f' and {more} more' if more > 0 else ''}"
