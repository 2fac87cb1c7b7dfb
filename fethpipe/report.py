"""Lines for people, on stderr: the only place that this program speaks in."""

from __future__ import annotations

import logging
import os
from select import select

_STDERR = 2
_PATIENCE_SECONDS = 0.2


class _StderrHandler(logging.Handler):
    """Write whole lines to descriptor 2, and give one up when nobody reads it.

    A terminal stopped by Ctrl-S or a full pipe must not stop the frames.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = " ".join(self.format(record).splitlines())
            line = f"fethpipe: {text}\n".encode("utf-8", "backslashreplace")
            if select([], [_STDERR], [], _PATIENCE_SECONDS)[1]:
                os.write(_STDERR, line)
        except OSError:
            pass


def configure_reports(level: int) -> None:
    """Send the program's messages from ``level`` up to stderr."""
    logger = logging.getLogger("fethpipe")
    logger.propagate = False
    logger.handlers = [_StderrHandler()]
    logger.setLevel(level)
