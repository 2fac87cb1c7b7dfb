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

log = logging.getLogger("fethpipe")

_STDERR = 2
_PATIENCE_SECONDS = 0.2
_LONGEST_LINE = 2048
"""In bytes. A pipe that selects as writable takes PIPE_BUF bytes at once, 4096 on Linux."""
_UP, _ERASE = b"\x1b[%dA", b"\r\x1b[J"  # ECMA-48: CUU, and ED to the end of the screen


class _Output:
    """The file behind stderr, written to without waiting."""

    def __init__(self) -> None:
        self.patience = _PATIENCE_SECONDS
        self._descriptor = _STDERR
        self._rest = b""  # of what a terminal has taken the first part of
        self._dropped = 0

    def open(self) -> None:
        """Look where stderr leads now. A terminal is opened once more, non-blocking: that flag
        belongs to the open file, and other programs share the one that we inherited.
        """
        self.close_copy()
        flags = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
        with suppress(OSError):
            self._descriptor = os.open(os.ttyname(_STDERR), flags)

    def close_copy(self) -> None:
        """Close what ``open`` opened: after a fork, the terminal may be another user's."""
        if self._descriptor != _STDERR:
            os.close(self._descriptor)
        self.forget()

    def forget(self) -> None:
        """Use the inherited stderr again: a fork closes descriptors that it does not know, and
        another file may get the number.
        """
        self._descriptor, self._rest = _STDERR, b""

    def write_line(self, prefix: str, text: str) -> None:
        """Write a line, with the status line below it if there is one. If that fails, count it."""
        note = (
            f"{prefix}{self._dropped} messages dropped: stderr was full\n" if self._dropped else ""
        )
        whole = _cut(f"{prefix}{text}") + b"\n"
        if self.write(terminal.around(note.encode() + whole)):
            self._dropped = 0
        else:
            self._dropped += 1

    def write(self, data: bytes) -> bool:
        """Write all or nothing, and return whether all. A part that was written counts as all."""
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
    """Return a line in bytes, cut at the end if it is very long."""
    data = line.encode("utf-8", "backslashreplace")
    return data if len(data) <= _LONGEST_LINE else data[: _LONGEST_LINE - 3] + b"..."


class Terminal:
    """The terminal on stderr, and the status line on it.

    If several programs share a terminal, as two ends of a tunnel may, only the one that has locked
    the terminal draws its line. A program in the background draws none.

    The terminal may be held by another process (see system.parting): then ``relay`` is a socket
    that takes the line, and ``relayed_width`` what its terminal has room for.
    """

    def __init__(self) -> None:
        self.relay: socket.socket | None = None
        self.relayed_width = 0
        self._drawn = b""

    def width(self) -> int:
        """Return the number of columns, 0 if a line cannot be shown now."""
        if self.relay:
            return self.relayed_width
        return _columns() if _in_foreground() and _lock_terminal() else 0

    def show(self, text: str) -> None:
        """Draw a line, shorter than the width, in place of the last one. Never waits."""
        line = text.encode("ascii", "replace")
        if self.relay:
            with suppress(OSError):
                self.relay.send(line + b"\n", socket.MSG_DONTWAIT)
        elif output.write(self._erasing() + line):
            self._drawn = line

    def erase(self) -> None:
        if self._drawn or self.relay:
            self.show("")

    def around(self, message: bytes) -> bytes:
        """Return the bytes that write a message above the line, ours or that of another program."""
        if self.relay:
            return message
        if self._drawn:
            return self._erasing() + message + self._drawn
        if can_show_status() and not _lock_terminal():
            return _ERASE + message  # the other program draws its line again
        return message

    def _erasing(self) -> bytes:
        """Return the bytes that erase the line, also if it was wrapped by a narrower terminal."""
        columns = _columns()
        above = (len(self._drawn) - 1) // columns if self._drawn and columns else 0
        return (_UP % above if above else b"") + _ERASE


output = _Output()
os.register_at_fork(after_in_child=output.close_copy)
terminal = Terminal()
"""The only one: messages and the status line have to know each other."""


@contextmanager
def without_waiting() -> Iterator[None]:
    """While it lasts, let no reader of stderr hold us up."""
    output.patience = 0.0
    try:
        yield
    finally:
        output.patience = _PATIENCE_SECONDS


def only_write_terminal() -> None:
    """Keep no stdin, stdout or stderr from which a terminal can be read; stderr still writes there.

    Others who have the terminal do not notice. stdin and stdout lead nowhere then.
    """
    with open(os.devnull, "rb+", buffering=0) as nothing:
        for standard in (0, 1):
            if os.isatty(standard):
                os.dup2(nothing.fileno(), standard)
    with suppress(OSError):
        opened = os.open(os.ttyname(_STDERR), os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
        os.dup2(opened, _STDERR)
        os.close(opened)


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
    except OSError:  # it is not the terminal of our session, so we are not in the background
        return True


def _lock_terminal() -> bool:
    """Return whether we may draw the line. Once we may, it stays so until we end."""
    try:
        fcntl.lockf(_STDERR, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a system that cannot lock terminals
        return True
    return True


class _StderrHandler(logging.Handler):
    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def emit(self, record: logging.LogRecord) -> None:
        output.write_line(self._prefix, " ".join(self.format(record).splitlines()))


def configure_messages(level: int, *, prefix: str = "fethpipe: ") -> None:
    """Write the program's messages from ``level`` up to stderr, each with this prefix."""
    output.open()
    log.propagate = False
    log.handlers = [_StderrHandler(prefix)]
    log.setLevel(level)


def printable(text: bytes) -> str:
    """Return text of others with all control characters escaped, safe to show on a terminal."""
    decoded = text.decode("utf-8", "backslashreplace").expandtabs()
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in decoded)
