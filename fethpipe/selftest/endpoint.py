"""One end of a tunnel, started as anybody would start it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import SystemFailureError
from .deadline import Deadline, os_errors_as
from .report import Report

_GRACE_SECONDS = 1.0
_RETRY_SECONDS = 0.02
_PACKAGE = __name__.partition(".")[0]
_FOLDER = Path(__file__).resolve().parents[2]


class End:
    """A fethpipe in the network in which this is made.

    ``exists`` tells whether an interface is there, in that same network.
    """

    def __init__(
        self,
        name: str,
        options: Sequence[str],
        report: Report,
        *,
        stdin: int,
        stdout: int,
        exists: Callable[[str], bool],
    ) -> None:
        self._name = name
        self._report = report
        self._exists = exists
        self.interface = ""
        self._ready, ready = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _PACKAGE, f"--ready-fd={ready}", *options],
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                pass_fds=[ready],
                env={**os.environ, "PYTHONPATH": str(_FOLDER)},
                cwd="/",
            )
        except BaseException:
            os.close(self._ready)
            raise
        finally:
            os.close(ready)

    def wait_ready(self, deadline: Deadline) -> None:
        """Wait until the device is up."""
        with os_errors_as(f"the {self._name} did not get ready"):
            select.select([self._ready], [], [], deadline.left())
            deadline.left()
            line = os.read(self._ready, 4096)
        if not line:
            raise SystemFailureError(f"the {self._name} ended before it was ready")
        facts = json.loads(line)
        self.interface = facts["interface"]
        self._report.say(f"{self._name}: {self.interface} is up, {', '.join(facts['addresses'])}")

    def stop(self) -> None:
        """Ask for the end."""
        self._process.terminate()

    def wait_ended(self, deadline: Deadline) -> None:
        """Wait for a clean end, and see that the device has gone."""
        with os_errors_as(f"the {self._name} did not end"):
            self._finish(deadline.left())
        if self._process.returncode != 0:
            raise SystemFailureError(
                f"the {self._name} ended with exit status {self._process.returncode}"
            )
        with os_errors_as(f"{self.interface} of the {self._name} did not go"):
            while self._exists(self.interface):
                deadline.left()
                time.sleep(_RETRY_SECONDS)
        self._report.say(f"{self._name}: {self.interface} has gone")

    def close(self) -> None:
        """Stop the program, however it is, and tell what it said; safe to call twice."""
        for stop in (self._process.terminate, self._process.kill):
            if self._process.returncode is None:
                stop()
                with suppress(TimeoutError):
                    self._finish(_GRACE_SECONDS)
        if self._ready >= 0:
            os.close(self._ready)
            self._ready = -1

    def _finish(self, seconds: float) -> None:
        try:
            _, said = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError("it still runs") from None
        lines = said.decode("utf-8", "replace").splitlines()
        for line in lines[1:] if self.interface else lines:  # the first one says "ready"
            self._report.say(f"{self._name}: {line.partition(': ')[2]}")
