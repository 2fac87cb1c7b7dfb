"""Running as a user who is not root, and with another /dev/net/tun than the machine's."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest

from tests.live.netns import require_tools
from tests.live.programs import ROOT

NOBODY = 65534


def without_tun_device() -> list[str]:
    """Return what runs a program where /dev/net/tun does not exist."""
    return _in_own_mounts("mount -t tmpfs none /dev/net")


def with_public_tun_device() -> list[str]:
    """Return what runs a program where everybody may open /dev/net/tun, as udev allows it."""
    return _in_own_mounts(
        "mount -t tmpfs none /dev/net",
        "mknod -m 666 /dev/net/tun c 10 200",
    )


def _in_own_mounts(*commands: str) -> list[str]:
    require_tools("unshare", "mount", "mknod")
    script = " && ".join([*commands, 'exec "$@"'])
    return ["unshare", "--mount", "sh", "-c", script, "sh"]


def as_nobody() -> list[str]:
    """Return what runs fethpipe as a user with no right at all."""
    return [*python_of_nobody(), "-m", "fethpipe"]


def python_of_nobody() -> list[str]:
    """Return what runs Python as a user with no right at all."""
    require_tools("setpriv")
    python = _python_for_nobody()
    if python is None:
        pytest.skip(f"needs a Python and a checkout that user {NOBODY} may read")
    return [*_BECOME_NOBODY, python]


_BECOME_NOBODY = [
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--no-new-privs",
]


@functools.cache
def _python_for_nobody() -> str | None:
    """Return a Python that an ordinary user may run: ours, unless it is in root's home."""
    for python in (sys.executable, "/usr/bin/python3"):
        argv = [*_BECOME_NOBODY, python, "-c", "import fethpipe.cli"]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, timeout=60, check=False)
        if done.returncode == 0:
            return python
    return None
