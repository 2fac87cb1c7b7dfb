"""Pass on what ssh and the remote end write to stderr, as messages that name their origin."""

from __future__ import annotations

import logging
import os

log = logging.getLogger("fethpipe")

_CHUNK = 1 << 16
_LONGEST_LINE = 1000
_OUR_OWN = "fethpipe: "


class ErrorRelay:
    """A pipe for the stderr of a command, whose lines go into the log.

    ``last_words`` is the last line, and ``from_program`` whether it came from fethpipe.

    We keep the writing end open and never wait for end of file: a master connection that ssh leaves
    running may hold stderr for hours.
    """

    def __init__(self, name: str) -> None:
        self.last_words = ""
        self.from_program = False
        self._name = name
        self._pending = b""
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
        for line in lines:
            self._tell(line)
        if len(self._pending) > _LONGEST_LINE:
            self._finish_line()

    def finish(self) -> None:
        """Log what is left, after the end of the command."""
        self.attend()
        self._finish_line()

    def close(self) -> None:
        """Close both ends; safe to call twice."""
        for descriptor in (self._read_descriptor, self.write_descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._read_descriptor = self.write_descriptor = -1

    def _finish_line(self) -> None:
        self._tell(self._pending)
        self._pending = b""

    def _tell(self, line: bytes) -> None:
        text = printable(line[:_LONGEST_LINE].strip())
        if not text:
            return
        self.from_program = text.startswith(_OUR_OWN)
        if self.from_program:
            text = text[len(_OUR_OWN) :]
            log.warning("remote: %s", text)
        else:
            log.warning("%s: %s", self._name, text)
        self.last_words = text


def printable(text: bytes) -> str:
    """Return text of others with all control characters escaped, safe to show on a terminal."""
    decoded = text.decode("utf-8", "backslashreplace").expandtabs()
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in decoded)
