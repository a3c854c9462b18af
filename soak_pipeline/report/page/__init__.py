"""The HTML page: template, style and script, and what the template is given.

Never computes a figure that decides; it words and arranges.
"""
