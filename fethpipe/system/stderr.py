"""Lines for people, on stderr: the only place that this program speaks in.

Messages go there one by one, and while frames move nothing waits for their reader: what a full pipe
or a stopped terminal does not take at once is dropped and counted, and the next message that passes
says so.

On a terminal there may be a status line below the messages: it is erased before a message and drawn
again after it, in one write, so that neither mangles the other.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from select import select

_STDERR = 2
_PATIENCE_SECONDS = 0.2
_LONGEST_LINE = 2048
"""In bytes. A pipe that selects as writable takes PIPE_BUF bytes at once, 4096 on Linux."""
_UP, _ERASE = b"\x1b[%dA", b"\r\x1b[J"  # ECMA-48: CUU, and ED to the end of the screen


class _Output:
    """Where stderr leads, written to without waiting."""

    def __init__(self) -> None:
        self.patience = _PATIENCE_SECONDS
        self._descriptor = _STDERR
        self._rest = b""  # of what a terminal has taken the first part of
        self._dropped = 0

    def open(self) -> None:
        """Look where stderr leads now. A terminal is opened once more: whether writing waits is
        said for each time that it was opened, and others share the one that we were given.
        """
        if self._descriptor != _STDERR:
            os.close(self._descriptor)
        self._descriptor, self._rest = _STDERR, b""
        flags = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
        with suppress(OSError):
            self._descriptor = os.open(os.ttyname(_STDERR), flags)

    def forget(self) -> None:
        """Use the stderr that we were given: a fork closes what it does not know, and the number
        may become something else.
        """
        self._descriptor, self._rest = _STDERR, b""

    def write_line(self, prefix: str, text: str) -> None:
        """Write a line, below it the status line if there is one, or count it."""
        note = (
            f"{prefix}{self._dropped} messages dropped: stderr was full\n" if self._dropped else ""
        )
        whole = _cut(f"{prefix}{text}") + b"\n"
        if self.write(terminal.around(note.encode() + whole)):
            self._dropped = 0
        else:
            self._dropped += 1

    def write(self, data: bytes) -> bool:
        """Write all or nothing, and return which; a part that was taken counts as all."""
        try:
            if self._rest:
                self._rest = self._rest[os.write(self._descriptor, self._rest) :]
            if self._rest or not select([], [self._descriptor], [], self.patience)[1]:
                return False
            self._rest = data[os.write(self._descriptor, data) :]
        except (OSError, ValueError):  # full, or gone
            return False
        return True


def _cut(line: str) -> bytes:
    """Return a line in bytes, without its end if it is very long."""
    data = line.encode("utf-8", "backslashreplace")
    return data if len(data) <= _LONGEST_LINE else data[: _LONGEST_LINE - 3] + b"..."


class Terminal:
    """The terminal that stderr is, and the status line on it.

    Of several programs that share a terminal, as two ends of a tunnel may, one has the line: who
    locks the terminal. In the background none is drawn.

    The terminal may be held by another process (see system.parting): then ``relay`` is a socket
    that takes the line, and ``relayed_width`` what its terminal has room for.
    """

    def __init__(self) -> None:
        self.relay: socket.socket | None = None
        self.relayed_width = 0
        self._drawn = b""

    def width(self) -> int:
        """Return the number of columns, 0 when nothing can be shown now."""
        if self.relay:
            return self.relayed_width
        return _columns() if _in_foreground() and _lock_terminal() else 0

    def show(self, text: str) -> None:
        """Draw a line, shorter than the width, where the last one was. It never waits."""
        line = text.encode("ascii", "replace")
        if self.relay:
            with suppress(OSError):
                self.relay.send(line + b"\n", socket.MSG_DONTWAIT)
        elif _output.write(self._erasing() + line):
            self._drawn = line

    def erase(self) -> None:
        """Leave no trace of the line."""
        if self._drawn or self.relay:
            self.show("")

    def around(self, message: bytes) -> bytes:
        """Return what to write so that a message stands above the line, whosever that is."""
        if self.relay:
            return message
        if self._drawn:
            return self._erasing() + message + self._drawn
        if can_show_status() and not _lock_terminal():
            return _ERASE + message  # the other one draws its line again
        return message

    def _erasing(self) -> bytes:
        """Return what erases the line, which a terminal that became narrower has wrapped."""
        columns = _columns()
        above = (len(self._drawn) - 1) // columns if self._drawn and columns else 0
        return (_UP % above if above else b"") + _ERASE


_output = _Output()
os.register_at_fork(after_in_child=_output.forget)
terminal = Terminal()
"""The one that there is: messages and the status line have to know of each other."""


@contextmanager
def without_waiting() -> Iterator[None]:
    """While it lasts, let no reader of stderr hold us up."""
    _output.patience = 0.0
    try:
        yield
    finally:
        _output.patience = _PATIENCE_SECONDS


def open_stderr() -> None:
    """Look where stderr leads, after it was changed, or after others were closed."""
    _output.open()


def forget_stderr() -> None:
    """Use the stderr that we were given, for all others will be closed."""
    _output.forget()


def can_show_status() -> bool:
    """Return whether stderr is a terminal that can erase a line."""
    if terminal.relay:
        return terminal.relayed_width > 0
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
    """Write whole lines to stderr."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def emit(self, record: logging.LogRecord) -> None:
        _output.write_line(self._prefix, " ".join(self.format(record).splitlines()))


def configure_reports(level: int, *, prefix: str = "fethpipe: ") -> None:
    """Send the program's messages from ``level`` up to stderr, each with this in front."""
    open_stderr()
    logger = logging.getLogger("fethpipe")
    logger.propagate = False
    logger.handlers = [_StderrHandler(prefix)]
    logger.setLevel(level)
