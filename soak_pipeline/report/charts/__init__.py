"""Charts of the report: each module draws one question; each chart carries the numbers it draws as a table.

Never fetches, never runs a script: a chart is an SVG that stands in the page.
"""
