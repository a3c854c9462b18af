"""The Dagster part: assets, checks, jobs, schedules, sensors, resources, IO manager.

Every function here is thin: it calls one stage and describes the outcome. Nothing here knows load, SQL or HTTP.
"""
