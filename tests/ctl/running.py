"""fethctl as its users run it: ``python -m fethpipe.ctl`` from the checkout."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.closing import Closing
from tests.darwin.simulation import SimulatedDarwin
from tests.live.netns import Namespace
from tests.live.programs import ROOT, Finished, Lines, finish
from tests.patience import PATIENCE


class Fethctl:
    """The program in a namespace: on Linux, or on the Mac that is simulated there."""

    def __init__(
        self,
        namespace: Namespace,
        darwin: SimulatedDarwin | None = None,
        *,
        launcher: Sequence[str] = (),
        python: Sequence[str] = (sys.executable,),
    ) -> None:
        environment = darwin.environment if darwin else {}
        settings = [f"{name}={value}" for name, value in environment.items()]
        self._launcher = [*launcher, "env", *settings, *python, "-m", "fethpipe.ctl"]
        self._namespace = namespace

    def finish(self, *arguments: str) -> Finished:
        """Run it to an end that it finds by itself."""
        return finish(self._namespace, *arguments, launcher=self._launcher)

    def __call__(self, *arguments: str) -> str:
        """Run it to a good end, and return what it printed."""
        status, stdout, stderr = self.finish(*arguments)
        assert (status, stderr) == (0, ""), arguments
        return stdout.decode()

    def refused(self, *arguments: str) -> tuple[int, str]:
        """Run it to a bad end, and return its status and the one line that it said."""
        status, stdout, stderr = self.finish(*arguments)
        assert stdout == b""
        lines = stderr.splitlines()
        assert len(lines) == 1, stderr
        assert lines[0].startswith("fethctl: ")
        return status, lines[0].partition(": ")[2]

    def start(self, *arguments: str) -> Running:
        """Start it, for a verb that ends by a signal."""
        return Running(self._namespace, self.argv(*arguments))

    def argv(self, *arguments: str) -> list[str]:
        """Return what starts it."""
        return [*self._launcher, *arguments]


class Running(Closing):
    """A running fethctl."""

    def __init__(self, namespace: Namespace, argv: Sequence[str]) -> None:
        stdout, its_stdout = os.pipe()
        stderr, its_stderr = os.pipe()
        self.stdout = Lines(stdout)
        self.stderr = Lines(stderr)
        try:
            self._process = namespace.popen(argv, stdout=its_stdout, stderr=its_stderr, cwd=ROOT)
        finally:
            os.close(its_stdout)
            os.close(its_stderr)
        self.pid = self._process.pid

    def memory(self) -> int:
        """Return how many KiB of memory it has."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("VmRSS:"))
        return int(line.split()[1])

    def stop(self, number: signal.Signals = signal.SIGINT) -> str:
        """Have it end well by a signal, and return all that it printed."""
        self._process.send_signal(number)
        assert self._process.wait(PATIENCE) == 0, self.stderr.all()
        return self.stdout.all()

    def wait(self) -> int:
        """Wait for the end that it finds by itself, and return its status."""
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        """Kill it, if it still runs; safe to call twice."""
        with self._process:
            self._process.kill()
        self.stdout.close()
        self.stderr.close()
