"""Start the keeper, and nothing else, through sudo(8)."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from . import keeper_main
from .channel import ChannelClosedError, ChannelError, channel_pair
from .errors import NotAllowedError
from .keeper import KeeperProcess

_START_SECONDS = 15.0
_PASSWORD_SECONDS = 300.0
_LONGEST_COMPLAINT = 4096


def sudo_keeper() -> KeeperProcess:
    """Start a keeper through sudo, which may ask for a password if there is a terminal.

    Raises NotAllowedError with what sudo says.
    """
    interactive = _has_terminal()
    argv = ["sudo", *([] if interactive else ["-n"]), "--", *keeper_argv()]
    near, far = channel_pair()
    complaints = None if interactive else subprocess.PIPE
    try:
        process = subprocess.Popen(
            argv, stdin=far.fileno(), stdout=subprocess.DEVNULL, stderr=complaints, cwd="/"
        )
    except OSError as error:
        near.close()
        raise NotAllowedError(
            "root is needed to make the device, and sudo cannot be started", hint="run as root"
        ) from error
    finally:
        far.close()
    near.set_timeout(_PASSWORD_SECONDS if interactive else _START_SECONDS)
    try:
        near.receive()
    except (ChannelClosedError, ChannelError, OSError) as error:
        near.close()
        process.kill()
        raise _refusal(process) from error
    near.set_timeout(None)

    def wait() -> None:
        process.wait()
        if process.stderr:
            process.stderr.close()

    return KeeperProcess(near, wait)


def keeper_argv() -> list[str]:
    """Return the command line of the keeper: an isolated Python and a file that is safe to run.

    Raises NotAllowedError when somebody else could have changed that file.
    """
    path = Path(keeper_main.__file__).resolve()
    unsafe = _unsafe(path)
    if unsafe is not None:
        raise NotAllowedError(
            f"{unsafe} can be changed by others, so root must not run it",
            hint=f"chmod go-w {unsafe}",
        )
    return [sys.executable, "-I", str(path)]


def _unsafe(path: Path) -> Path | None:
    """Return which of the program's files and folders somebody else could change, if any."""
    package = path.parent
    for candidate in (*package.rglob("*.py"), package, *package.parents):
        status = candidate.stat()
        sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky
        if writable or status.st_uid not in (0, os.getuid()):
            return candidate
    return None


def _refusal(process: subprocess.Popen[bytes]) -> NotAllowedError:
    said = ""
    if process.stderr:
        with process.stderr:
            lines = process.stderr.read(_LONGEST_COMPLAINT).decode(errors="replace").split("\n")
        said = next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")
    process.wait()
    return NotAllowedError(
        f"root is needed to make the device, and sudo did not start the keeper{said}",
        hint="run as root, let sudo run it without a password, or have a TAP prepared",
    )


def _has_terminal() -> bool:
    with suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC))
        return True
    return False
