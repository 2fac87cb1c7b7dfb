"""Pass on what ssh and the remote end write to stderr, as messages that name their origin."""

from __future__ import annotations

import logging
import os
import time

from ..system.stderr import printable

log = logging.getLogger("fethpipe")

_CHUNK = 1 << 16
_LONGEST_LINE = 1000
_BURST, _PER_SECOND = 500, 20
"""How many lines may come at once, and go on to come. Whoever is at the other end may say more, but
what he says must not cost frames.
"""
_OUR_OWN = "fethpipe: "


class ErrorRelay:
    """A pipe for the stderr of a command, whose lines go into the log.

    ``last_line`` is the last one, and ``from_program`` whether it came from fethpipe. After
    ``hold`` it is kept until another one comes, or for ``flush``. If the command fails,
    ``last_words`` has it for the error, so that it is told once.

    We keep the writing end open and never wait for end of file: a master connection that ssh leaves
    running may hold stderr for hours.
    """

    def __init__(self, name: str) -> None:
        self.last_line = ""
        self.from_program = False
        self._name = name
        self._own_prefix = f"{os.path.basename(name)}: "
        self._holding = False
        self._held = ""
        self._pending = b""
        self._allowed = float(_BURST)
        self._allowed_at = time.monotonic()
        self._dropped = 0
        self._last_dropped = b""
        self._read_descriptor, self.write_descriptor = os.pipe()
        os.set_blocking(self._read_descriptor, False)

    def fileno(self) -> int:
        """Return the descriptor, which is readable when something was written."""
        return self._read_descriptor

    def attend(self) -> None:
        """Log the complete lines that have come. Does not block."""
        try:
            data = os.read(self._read_descriptor, _CHUNK)
        except BlockingIOError:
            return
        *lines, self._pending = (self._pending + data).split(b"\n")
        told = self._allow(len(lines))
        for line in lines[:told]:
            self._tell(line)
        if told < len(lines):
            self._dropped += len(lines) - told
            self._last_dropped = lines[-1]
        if len(self._pending) > _LONGEST_LINE:
            self._finish_line()

    def hold(self) -> None:
        """Keep the last line from now on, for a moment."""
        self.last_line, self.from_program = "", False
        self._holding = True

    def flush(self) -> None:
        """Log the line that is kept: there is no failure that it could be told with."""
        text, self._held = self._held, ""
        if text and self.from_program:
            log.warning("remote: %s", text)
        elif text:
            log.warning("%s: %s", self._name, text)

    def release(self) -> None:
        """Log lines at once again."""
        self._holding = False
        self.flush()

    def last_words(self) -> str:
        """Return the last line, after the end of the command, "" if it was logged. Log what is left
        before it.
        """
        self._holding = True
        self.attend()
        self._tell_dropped()
        self._tell(self._last_dropped)
        self._last_dropped = b""
        self._finish_line()
        words, self._held = self._held, ""
        return words

    def close(self) -> None:
        """Close both ends; safe to call twice."""
        for descriptor in (self._read_descriptor, self.write_descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._read_descriptor = self.write_descriptor = -1

    def _allow(self, count: int) -> int:
        """Return how many of so many lines may be told now."""
        now = time.monotonic()
        self._allowed = min(_BURST, self._allowed + (now - self._allowed_at) * _PER_SECOND)
        self._allowed_at = now
        allowed = min(count, int(self._allowed))
        self._allowed -= allowed
        if allowed:
            self._tell_dropped()
        return allowed

    def _tell_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            log.warning("%s: %d lines dropped: too many at once", self._name, dropped)

    def _finish_line(self) -> None:
        self._tell(self._pending)
        self._pending = b""

    def _tell(self, line: bytes) -> None:
        text = printable(line[:_LONGEST_LINE].strip())[:_LONGEST_LINE]
        if not text:
            return
        self.flush()
        self.from_program = text.startswith(_OUR_OWN)
        own = _OUR_OWN if self.from_program else self._own_prefix
        self._held = self.last_line = text[len(own) :] if text.startswith(own) else text
        if not self._holding:
            self.flush()
