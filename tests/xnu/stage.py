"""Processes in which steps are played, on Apple's code and on the simulation."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.closing import Closing
from tests.darwin.simulation import SimulatedDarwin
from tests.xnu.play import Step
from tests.xnu.releases import Release

_ROOT = Path(__file__).parents[2]
_SERVE = "from tests.xnu.play import serve; serve()"
_BECOME = """
from pathlib import Path
from tests.xnu.inside import become
from tests.xnu.releases import Release
become(Path({!r}), {!r})
"""


class PanicError(Exception):
    """The kernel gave up, and says why."""


class Stage(Closing):
    """A process that plays, started again after a panic."""

    def __init__(self, argv: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self._argv = argv
        self._environment = {**os.environ, **(environment or {})}
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        self._process: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        self._end()
        self._said.close()

    def play(self, steps: Sequence[Step]) -> list[Any]:
        """Return what each step answers. Raises PanicError."""
        if self._process is None:
            self._process = self._start()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump(list(steps), self._process.stdin)
            self._process.stdin.flush()
            answers: list[Any] = pickle.load(self._process.stdout)  # noqa: S301 - our own child
        except (EOFError, BrokenPipeError):
            self._end()
            self._said.seek(0)
            raise PanicError(self._said.read().decode(errors="replace")) from None
        return answers

    def _start(self) -> subprocess.Popen[bytes]:
        self._said.seek(0)
        self._said.truncate()
        return subprocess.Popen(
            self._argv,
            cwd=_ROOT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def on_apples_code(library: Path, release: Release) -> Stage:
    """Play on the kernel that a library holds."""
    return Stage([sys.executable, "-c", _BECOME.format(str(library), release) + _SERVE])


def on_the_simulation(darwin: SimulatedDarwin, namespace: str) -> Stage:
    """Play in the simulation, in a network namespace."""
    argv = ["nsenter", f"--net={namespace}", sys.executable, "-c", _SERVE]
    return Stage(argv, darwin.environment)
