"""Pure statistics: numbers in, frozen dataclasses out. No I/O, and no knowledge of tenants, files or criteria.

Import from the modules; nothing is re-exported here, so that a caller loads only what it uses.

| module | answers | main functions |
|---|---|---|
| `percentiles` | what is p95, how sure, under the budget or not, in which window worst | `percentile_estimates`, `compare_to_limit`, `windowed_percentiles`, `minimum_samples` |
| `proportions` | did a share of errors rise; do client and server agree | `wilson_interval`, `rise_against_margin`, `shares_agree` |
| `fairness` | did a tail hold in burst windows, paired, over several tenants | `LookPlan`, `judge_fairness`, `pairs_needed` |
| `phases` | the same for one long baseline and one long burst | `compare_phases` |
| `trends` | does a resource grow beyond its headroom | `judge_growth` |
| `changepoints` | where did a sequence of runs change | `change_points` |
| `comparison` | is a candidate better or worse than a reference | `compare_runs` |
| `calibration` | how often are these decisions wrong | `python -m soak_pipeline.analysis.calibration` |

`Side` (below, above, open) says where an interval lies against a limit; `Decision` (PASS, FAIL, OPEN) is the answer of a
rule. OPEN always means that the data cannot tell, and never that something passed. Exactly at a limit keeps the
budget, everywhere.

Every function is deterministic: what needs random numbers takes a seed.
"""  # noqa: E501 - a table row is one line
