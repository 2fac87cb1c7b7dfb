"""The open descriptors of this process."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress

from ..errors import SystemFailureError
from .stderr import output

_STDERR = 2
_MOST = 1024 - 64
"""FD_SETSIZE (select(2)) minus the descriptors that a tunnel opens."""
_MOST_TRIED = 1 << 16


def open_standard() -> None:
    """Open /dev/null as stdin, stdout and stderr, if they are closed.

    Otherwise a file that is opened later would get one of these numbers, and be used as the stream
    or as stderr. Raises SystemFailureError if so many descriptors are open that select(2) cannot
    watch the next ones, and OSError if /dev/null cannot be opened.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if descriptor > _MOST:
        raise SystemFailureError(
            f"{descriptor} file descriptors are open, too many for select",
            hint="start fethpipe with fewer open files",
        )


def open_pipe(owner: ExitStack) -> tuple[int, int]:
    """Return both ends of a pipe, to read and to write, which ``owner`` closes. Raises OSError."""
    reading, writing = os.pipe()
    owner.callback(os.close, reading)
    owner.callback(os.close, writing)
    return reading, writing


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes, however long that takes. Raises OSError."""
    while data:
        data = data[os.write(descriptor, data) :]


def close_all_but(kept: set[int]) -> None:
    """Close every descriptor of this process that is not kept; stdin and stdout lead nowhere then.

    /dev/fd lists them on Linux and macOS; the descriptor of the listing itself is gone by then.
    Where nothing is mounted there, each number is tried that a descriptor may have.
    """
    output.forget()
    try:
        numbers = set(map(int, os.listdir("/dev/fd")))
    except OSError:
        numbers = set(range(min(os.sysconf("SC_OPEN_MAX"), _MOST_TRIED)))
    for number in numbers - kept:
        with suppress(OSError):
            os.close(number)
    for standard in (0, 1):
        if standard not in kept:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number


def has_controlling_terminal() -> bool:
    """Return whether there is a terminal that a password could be asked on."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def has_terminal() -> bool:
    """Return whether this process has a terminal, open or not."""
    return any(map(os.isatty, range(_STDERR + 1))) or has_controlling_terminal()
