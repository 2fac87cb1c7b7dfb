"""One end of a tunnel, started as a user starts it."""

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

from ..errors import SystemFailureError, os_errors_as
from .deadline import Deadline
from .report import Report

_GRACE_SECONDS = 1.0
_RETRY_SECONDS = 0.02
_PACKAGE = __name__.partition(".")[0]
_FOLDER = Path(__file__).resolve().parents[2]


class End:
    """A fethpipe process, in the network namespace of the moment when this object is made.

    ``exists`` returns whether an interface of that namespace exists.
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
        """Wait until the device is up. Raises SystemFailureError."""
        with os_errors_as(f"the {self._name} did not become ready"):
            select.select([self._ready], [], [], deadline.left())
            deadline.left()
            lines = os.read(self._ready, 4096)
        if not lines:
            raise SystemFailureError(f"the {self._name} ended before it was ready")
        facts = json.loads(lines.splitlines()[0])  # later states may have come with it
        self.interface = facts["interface"]
        self._report.say(f"{self._name}: {self.interface} is up, {', '.join(facts['addresses'])}")

    def stop(self) -> None:
        self._process.terminate()

    def wait_ended(self, deadline: Deadline) -> None:
        """Wait for exit status 0 and the end of the device. Raises SystemFailureError."""
        with os_errors_as(f"the {self._name} did not end"):
            self._finish(deadline.left())
        if self._process.returncode != 0:
            raise SystemFailureError(
                f"the {self._name} ended with exit status {self._process.returncode}"
            )
        with os_errors_as(f"{self.interface} of the {self._name} was not destroyed"):
            while self._exists(self.interface):
                deadline.left()
                time.sleep(_RETRY_SECONDS)
        self._report.say(f"{self._name}: {self.interface} has gone")

    def close(self) -> None:
        """Stop the process in any case, and print its messages. Safe to call twice."""
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
            raise TimeoutError("it is still running") from None
        lines = said.decode("utf-8", "replace").splitlines()
        for line in lines[1:] if self.interface else lines:  # the first line says that it is ready
            self._report.say(f"{self._name}: {line.partition(': ')[2]}")
