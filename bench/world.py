"""The benchmark's own world: namespaces that end with it, however it ends."""

from __future__ import annotations

import compileall
import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.namespaces import leave_world

DIE_WITH_ME = ["setpriv", "--pdeathsig", "KILL"]
_PACKAGE = Path(__file__).resolve().parent.parent / "fethpipe"
_SSHD_DIRECTORY = Path("/run/sshd")
_LAST_WORDS_SECONDS = 30.0
"""So long a benchmark may take after Ctrl-C, to tell what there is."""


def run_inside(script: str, argv: Sequence[str]) -> int:
    """Run a script as PID 1 of its own world, with a folder of its own; return its status."""
    # As an installation has it. From its sources, fethpipe takes 0.1 s longer to start.
    if not compileall.compile_dir(_PACKAGE, quiet=2):
        print(f"{_PACKAGE} cannot be compiled: starts take longer", file=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="fethpipe-bench-") as scratch:
        leave_world()
        child = subprocess.Popen(
            [*DIE_WITH_ME, sys.executable, script, "--inside", scratch, *argv],
            start_new_session=True,  # a Ctrl-C is for the benchmark, not for its tunnels
        )
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                child.wait(_LAST_WORDS_SECONDS)
            return 128 + signal.SIGINT
        finally:
            child.kill()  # and with PID 1 the kernel ends all that runs inside
            child.wait()


def mount_inside() -> None:
    """Show this PID namespace in /proc, and give sshd the empty directory that it insists on."""
    mounts = ["--make-rprivate /", "-t proc proc /proc"]
    if not _SSHD_DIRECTORY.is_dir():
        mounts.append(f"-t tmpfs tmpfs {_SSHD_DIRECTORY.parent}")
    for arguments in mounts:
        subprocess.run(["mount", *arguments.split()], check=True)
    _SSHD_DIRECTORY.mkdir(exist_ok=True)
