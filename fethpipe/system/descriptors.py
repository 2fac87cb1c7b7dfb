"""What a process holds open."""

from __future__ import annotations

import os
from contextlib import suppress

from ..errors import SystemFailureError
from .stderr import forget_stderr

_STDERR = 2
_MOST = 1024 - 64
"""FD_SETSIZE (select(2)), but for those that a tunnel opens."""
_MOST_TRIED = 1 << 16


def open_standard() -> None:
    """Have stdin, stdout and stderr lead nowhere where they are closed.

    Whatever is opened later would take such a number, and be taken for the stream, written to as
    stderr, or kept open as that. Raises SystemFailureError when so many are open that select(2)
    could not watch what comes.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if descriptor > _MOST:
        raise SystemFailureError(
            f"{descriptor} descriptors are open, too many for select",
            hint="close those that fethpipe should not inherit",
        )


def close_all_but(kept: set[int]) -> None:
    """Close every descriptor of this process that is not kept; stdin and stdout lead nowhere then.

    /dev/fd lists them on Linux and macOS; the descriptor of the listing itself is gone by then.
    Where nothing is mounted there, each number is tried that a descriptor may have.
    """
    forget_stderr()
    try:
        numbers = set(map(int, os.listdir("/dev/fd")))
    except OSError:
        numbers = set(range(min(os.sysconf("SC_OPEN_MAX"), _MOST_TRIED)))
    for number in numbers - kept:
        with suppress(OSError):
            os.close(number)
    for standard in (0, 1):
        if standard not in kept:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
