"""From a judgement to what people and machines read: JSON, JUnit, Markdown, terminal table, HTML page.

Never judges, never measures, never reads the platform: everything shown is in the run folder already.
"""
