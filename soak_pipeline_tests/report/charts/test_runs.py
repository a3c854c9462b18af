from __future__ import annotations

import re

from soak_pipeline.report.charts.runs import Trend, trend_chart
from soak_pipeline.report.tenant_key import tenant_key


def test_runs_of_one_day_are_told_apart_by_the_time() -> None:
    run_ids = ["20261123T013000Z", "20261123T074500Z", "20261124T010000Z", "20261124T013000Z"]
    chart = trend_chart("key", Trend("p95", "ms", {"A": [1.0, 2.0, 3.0, 4.0]}), tenant_key("A"), run_ids, ["PASS"] * 4)
    assert chart is not None
    assert re.findall(r">(\d+ Nov|\d\d:\d\d)<", chart.svg) == ["23 Nov", "07:45", "24 Nov", "01:30"]
