"""Lines for people, on stderr: the only place that this program speaks in.

Messages go there one by one. On a terminal there may be a status line below them: it is erased
before a message and drawn again after it, in one write, so that neither mangles the other.
"""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import suppress
from select import select

_STDERR = 2
_PATIENCE_SECONDS = 0.2
_UP, _ERASE = b"\x1b[%dA", b"\r\x1b[J"  # ECMA-48: CUU, and ED to the end of the screen


class Terminal:
    """The terminal that stderr is, and the status line on it.

    Of several programs that share a terminal, as two ends of a tunnel may, one has the line: who
    locks the terminal. In the background none is drawn.
    """

    def __init__(self) -> None:
        self._drawn = b""

    def width(self) -> int:
        """Return the number of columns, 0 when nothing can be shown now."""
        return _columns() if _in_foreground() and _lock_terminal() else 0

    def show(self, text: str) -> None:
        """Draw a line, shorter than the width, where the last one was. It never waits."""
        self._draw(text.encode("ascii", "replace"), seconds=0)

    def erase(self) -> None:
        """Leave no trace of the line."""
        if self._drawn:
            self._draw(b"", seconds=_PATIENCE_SECONDS)

    def around(self, message: bytes) -> bytes:
        """Return what to write so that a message stands above the line, whosever that is."""
        if self._drawn:
            return self._erasing() + message + self._drawn
        if can_show_status() and not _lock_terminal():
            return _ERASE + message  # the other one draws its line again
        return message

    def _draw(self, line: bytes, *, seconds: float) -> None:
        if not select([], [_STDERR], [], seconds)[1]:
            return
        with suppress(OSError):
            os.write(_STDERR, self._erasing() + line)
            self._drawn = line

    def _erasing(self) -> bytes:
        """Return what erases the line, which a terminal that became narrower has wrapped."""
        columns = _columns()
        above = (len(self._drawn) - 1) // columns if self._drawn and columns else 0
        return (_UP % above if above else b"") + _ERASE


terminal = Terminal()
"""The one that there is: messages and the status line have to know of each other."""


def can_show_status() -> bool:
    """Return whether stderr is a terminal that can erase a line."""
    return os.isatty(_STDERR) and os.environ.get("TERM", "dumb") != "dumb"


def _columns() -> int:
    try:
        return os.get_terminal_size(_STDERR).columns
    except OSError:
        return 0


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(_STDERR) == os.getpgrp()
    except OSError:  # not the terminal of our session: it has no background
        return True


def _lock_terminal() -> bool:
    """Return whether the line is ours: until we end, once it is."""
    try:
        fcntl.lockf(_STDERR, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a system that cannot lock terminals
        return True
    return True


class _StderrHandler(logging.Handler):
    """Write whole lines to descriptor 2, and give one up when nobody reads it.

    A terminal stopped by Ctrl-S or a full pipe must not stop the frames.
    """

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = " ".join(self.format(record).splitlines())
            line = f"{self._prefix}{text}\n".encode("utf-8", "backslashreplace")
            if select([], [_STDERR], [], _PATIENCE_SECONDS)[1]:
                os.write(_STDERR, terminal.around(line))
        except OSError:
            pass


def configure_reports(level: int, *, prefix: str = "fethpipe: ") -> None:
    """Send the program's messages from ``level`` up to stderr, each with this in front."""
    logger = logging.getLogger("fethpipe")
    logger.propagate = False
    logger.handlers = [_StderrHandler(prefix)]
    logger.setLevel(level)
