"""Run a command for so many seconds at most, and end what it started: limit.py SECONDS COMMAND...

macOS has no timeout(1). Nothing of the command outlives it: a step that dies leaves no process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

TOO_LONG = 124  # as timeout(1) says it


def main() -> int:
    """Return the status of the command."""
    seconds, command = float(sys.argv[1]), sys.argv[2:]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = TOO_LONG
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # none is left
                os.killpg(process.pid, signal.SIGKILL)
    if status == TOO_LONG:
        print(f"it took more than {seconds:.0f} seconds", file=sys.stderr)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
