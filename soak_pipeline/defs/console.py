"""What a run that was started from a terminal prints: lines for the operator, and what went wrong for the log.

Marks the former, so that `soak run` tells them apart. Never prints Dagster's dozens of debug lines per step.
"""

import logging
import sys

import dagster as dg

from soak_pipeline.defs.progress import PROGRESS_MARK
from soak_pipeline.model.progress import OPERATOR_MARK
from soak_pipeline.report.text import one_line


@dg.logger(None, description="Operator's lines, marked; of Dagster's own events only warnings and errors.")
def console(context: dg.InitLoggerContext) -> logging.Logger:
    """The console logger; `launch` selects it in the run configuration."""
    logger = logging.Logger("soak", level=logging.INFO)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Lines("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(lambda record: not _original(record).startswith(PROGRESS_MARK))
    logger.addHandler(handler)
    return logger


class _Lines(logging.Formatter):
    """A stage's own line is marked; errors and Dagster's own events keep their stack trace, for the log."""

    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", {})
        if record.levelno >= logging.ERROR or meta.get("dagster_event") is not None:
            return super().format(record)
        return OPERATOR_MARK + one_line(_original(record))


def _original(record: logging.LogRecord) -> str:
    """The message as it was logged, without what Dagster puts around it."""
    meta = getattr(record, "dagster_meta", {})
    return str(meta.get("orig_message") or record.getMessage())
