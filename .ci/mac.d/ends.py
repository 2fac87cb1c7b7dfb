"""A fethpipe that a step starts, until it is ready and until it has ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

SECONDS = 30.0


class End:
    """A running fethpipe."""

    def __init__(self, *options: str, stdin: int, stdout: int, command: tuple[str, ...]) -> None:
        self.interface = ""
        self.began = time.monotonic()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        self._ready, ready = os.pipe()
        program = [*(command or (sys.executable, "-m", "fethpipe")), "--ready-fd", str(ready)]
        self.process = subprocess.Popen(
            [*program, *options],
            stdin=stdin,
            stdout=stdout,
            stderr=self._stderr,
            pass_fds=(ready,),
            start_new_session=True,
        )
        os.close(ready)

    def ready(self) -> dict[str, Any]:
        """Return what it tells when its device is up; end the step when it does not."""
        line = b""
        if select.select([self._ready], [], [], SECONDS)[0]:
            line = os.read(self._ready, 1 << 16)
        if not line:
            sys.exit(f"fethpipe does not get ready: {self.said().strip()}")
        facts: dict[str, Any] = json.loads(line.splitlines()[0])
        self.interface = facts["interface"]
        return facts

    def is_ready(self) -> bool:
        """Return whether its device is up by now."""
        return bool(select.select([self._ready], [], [], 0)[0])

    def wait_for(self, words: str) -> None:
        """Wait until it has said this on stderr; end the step when it does not."""
        deadline = time.monotonic() + SECONDS
        while words not in self.said():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"fethpipe does not say '{words}': {self.said()}")
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the status."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def said(self) -> str:
        """Return what it wrote to stderr so far."""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")

    def close(self) -> None:
        """End it, if it still runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.stop()
        with self.process:
            self.process.kill()
        os.close(self._ready)
        self._stderr.close()


@contextlib.contextmanager
def started(
    *options: str,
    stdin: int = subprocess.PIPE,
    stdout: int = subprocess.DEVNULL,
    command: tuple[str, ...] = (),
) -> Iterator[End]:
    """Start a fethpipe that ends with the block."""
    end = End(*options, stdin=stdin, stdout=stdout, command=command)
    try:
        yield end
    finally:
        end.close()


def feths() -> set[str]:
    """Return the names of the feth interfaces of this Mac."""
    return {name for _, name in socket.if_nameindex() if name.startswith("feth")}
