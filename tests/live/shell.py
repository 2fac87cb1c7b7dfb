"""A shell for the recipes of the documents, which run there as they are written."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

from tests.live.netns import readable
from tests.live.programs import ROOT
from tests.patience import PATIENCE


class Shell:
    """A root shell with a fethpipe on its PATH and named namespaces of its own."""

    def __init__(self, folder: Path) -> None:
        programs = folder / "bin"
        programs.mkdir()
        fethpipe = f'exec "{sys.executable}" -m fethpipe "$@"'
        # By default, ping waits a second before each further one.
        ping = f'exec {shutil.which("ping")} -i 0.1 "$@"'
        for name, script in (("fethpipe", fethpipe), ("ping", ping)):
            (programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name).chmod(0o755)
        environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        self._said = b""
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--net", "bash", "-e"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        self.run("mkdir -p /run/netns; mount -t tmpfs none /run/netns")

    def run(self, commands: str) -> None:
        """Have commands run; what they say comes later."""
        assert self._process.stdin is not None
        self._process.stdin.write(commands.encode() + b"\n")
        self._process.stdin.flush()

    def wait_for_lines(self, text: str, *, count: int) -> None:
        """Wait until a text was said so many times."""
        self._read(lambda said: said.count(text.encode()) >= count)

    def finish(self) -> str:
        """Wait until everything that was started has ended well, and return what it said."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._read(None)
        assert self._process.wait(PATIENCE) == 0, self._said.decode()
        return self._said.decode()

    def close(self) -> None:
        """Kill whatever still runs; safe to call twice."""
        with self._process:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self, enough: Callable[[bytes], bool] | None) -> None:
        """Read until it is enough, or to the end if nothing is."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + PATIENCE
        while enough is None or not enough(self._said):
            assert readable(descriptor, deadline - time.monotonic()), self._said.decode()
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                assert enough is None, f"it ended early: {self._said.decode()}"
                return
            self._said += chunk
