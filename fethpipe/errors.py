"""What can go wrong, whose fault it is, and the exit status that tells it to a script.

Every error is one line for a person: what was tried, on what, why, and what to do about it.
The statuses are those of sysexits(3).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class FethpipeError(Exception):
    """Base of all errors that a user can meet.

    ``hint`` says what to do; ``status`` is the exit status of the program.
    """

    status: ClassVar[int] = 71

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(FethpipeError):
    """The command line asks for something that cannot be."""

    status = 64


class LaunchError(FethpipeError):
    """COMMAND could not be started, or failed."""

    status = 69


class TemporaryLaunchError(LaunchError):
    """COMMAND could not be started for lack of something that comes and goes, as memory does."""


class CommandFailedError(LaunchError):
    """COMMAND ended with ``code``: its exit status, or a signal as a negative number."""

    def __init__(self, message: str, code: int, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class SystemFailureError(FethpipeError):
    """The operating system refused something that should work."""

    status = 71


class DeviceError(FethpipeError):
    """The device cannot be made or configured, or has gone."""

    status = 73


class PeerSilentError(FethpipeError):
    """The peer promised to say something every so often, and did not."""

    status = 75


class ProtocolError(FethpipeError):
    """The peer's bytes are not records of the agreed framing."""

    status = 76


class TruncatedError(ProtocolError):
    """The stream ended inside a record: the other end died, or never spoke this framing."""


class NotAllowedError(FethpipeError):
    """A privilege is missing."""

    status = 77


def reason(error: OSError) -> str:
    """Return why a system call failed: ``EBUSY (Device or resource busy)``."""
    if error.errno is None:
        return str(error)
    return f"{errno.errorcode.get(error.errno, error.errno)} ({error.strerror})"


@contextmanager
def system_step(what: str) -> Iterator[None]:
    """Turn the failure of what needs no privilege, just a working system, into an error that names
    it.
    """
    try:
        yield
    except OSError as error:
        raise SystemFailureError(f"cannot {what}: {reason(error)}") from error


@contextmanager
def step(what: str) -> Iterator[None]:
    """Turn the failure of one step into an error that names it."""
    try:
        yield
    except PermissionError as error:
        raise NotAllowedError(f"cannot {what}: {_why(error)}", hint="run as root") from error
    except OSError as error:
        raise DeviceError(f"cannot {what}: {_why(error)}") from error


def _why(error: OSError) -> str:
    """Return the reason with what the error names: the call or the file."""
    return f"{error.filename}: {reason(error)}" if error.filename else reason(error)


def errno_behind(error: FethpipeError) -> int | None:
    """Return the number of the system's error that an error was made from."""
    return getattr(error.__cause__, "errno", None)
