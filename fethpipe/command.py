"""COMMAND: the program whose stdin and stdout are the stream."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence

from .errors import LaunchError, reason

GRACE_SECONDS = 5.0
"""How long COMMAND may take to end: after its stream closed, and again after SIGTERM."""


class Command:
    """A running COMMAND. Its stderr is ours; it stays in our process group, so that ssh can ask
    for a password on the terminal and Ctrl-C reaches it.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self.name = argv[0]
        self.read_descriptor, its_stdout = os.pipe()
        its_stdin, self.write_descriptor = os.pipe()
        try:
            self._process = subprocess.Popen(argv, stdin=its_stdin, stdout=its_stdout)
        except (OSError, ValueError) as error:
            self._close_pipes()
            why = reason(error) if isinstance(error, OSError) else str(error)
            raise LaunchError(
                f"cannot start {self.name}: {why}", hint="check the command after --"
            ) from error
        finally:
            os.close(its_stdin)
            os.close(its_stdout)

    def finish(self) -> int:
        """Close the stream, wait for the end of COMMAND, and return its status.

        The status is negative for a signal, as subprocess has it. COMMAND is terminated, then
        killed, when it does not end by itself.
        """
        self._close_pipes()
        for stop in (None, self._process.terminate, self._process.kill):
            if stop is not None:
                stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._process.wait(GRACE_SECONDS)
        return self._process.wait()

    def close(self) -> None:
        """End COMMAND at once, if it still runs; safe to call twice."""
        if self._process.poll() is None:
            self._process.terminate()
        self.finish()

    def _close_pipes(self) -> None:
        for descriptor in (self.read_descriptor, self.write_descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self.read_descriptor = self.write_descriptor = -1


def describe_status(status: int) -> str:
    """Return how a process ended, in words; ``status`` as :meth:`Command.finish` returns it."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with exit status {status}"
