"""A terminal of somebody's, a shell on it, and a fethpipe that the shell runs."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence

from tests.closing import Closing
from tests.live.netns import Namespace, readable
from tests.patience import PATIENCE


@contextlib.contextmanager
def open_terminal() -> Iterator[int]:
    """Open a terminal, to which nobody may write in the meantime."""
    control, terminal = os.openpty()
    try:
        yield terminal
        assert not readable(control, 0)
    finally:
        os.close(control)
        os.close(terminal)


class TerminalSession(Closing):
    """A session of its own, whose controlling terminal this is, and a shell that leads it."""

    def __init__(self, namespace: Namespace, argv: Sequence[str], *, owner: int = 0) -> None:
        self._master, slave = os.openpty()
        os.fchown(slave, owner, -1)
        shell = ["setsid", "--ctty", "sh", "-c", 'trap : INT; "$@"; echo "status $?"', "sh"]
        self._said = ""
        self.process = namespace.popen([*shell, *argv], stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._master, text.encode())

    def wait_for(self, text: str) -> str:
        """Wait until a text is shown, and return the line that it is in."""
        deadline = time.monotonic() + PATIENCE
        while text not in self._said or "\n" not in self._said.partition(text)[2]:
            assert readable(self._master, deadline - time.monotonic()), self._said
            try:
                self._said += os.read(self._master, 1 << 16).decode()
            except OSError as error:  # EIO: nobody has it open
                raise AssertionError(f"no {text!r} in: {self._said}") from error
        before, _, after = self._said.partition(text)
        self._said = after.partition("\n")[2]
        return before.rpartition("\n")[2] + text + after.partition("\n")[0].rstrip("\r")

    def close(self) -> None:
        os.close(self._master)
