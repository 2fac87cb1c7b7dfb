"""The errors that a user can meet, each with an exit status for scripts.

The text of an error is one line: what failed, on what, why, and what to do about it. The exit
statuses are those of sysexits(3).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import ClassVar


class FethpipeError(Exception):
    """The base of all errors that a user can meet.

    ``message`` says what failed, ``hint`` what to do. ``status`` is the exit status of the program.
    """

    status: ClassVar[int] = 71

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(FethpipeError):
    """The command line, or an argument of the library, asks for something impossible."""

    status = 64


class LaunchError(FethpipeError):
    """COMMAND could not be started, or failed."""

    status = 69


class TemporaryLaunchError(LaunchError):
    """COMMAND could not be started for now, for example for lack of memory."""


class CommandFailedError(LaunchError):
    """COMMAND failed. ``code`` is its exit status, or a signal as a negative number. ``final`` says
    that another try would fail in the same way.
    """

    def __init__(self, message: str, code: int, *, hint: str = "", final: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.final = final


class SystemFailureError(FethpipeError):
    """The operating system refused something that should work."""

    status = 71


class DeviceError(FethpipeError):
    """The device cannot be made or configured, or no longer exists."""

    status = 73


class PeerSilentError(FethpipeError):
    """The peer announced keepalives, and was silent for too long."""

    status = 75


class ProtocolError(FethpipeError):
    """The bytes from the peer are not records of this framing."""

    status = 76


class TruncatedError(ProtocolError):
    """The stream ended inside a record: the other end died, or uses another framing."""


class NotAllowedError(FethpipeError):
    """A privilege is missing."""

    status = 77


def reason(error: OSError) -> str:
    """Return why a system call failed: ``EBUSY (Device or resource busy)``."""
    if error.errno is None:
        return str(error)
    return f"{errno.errorcode.get(error.errno, error.errno)} ({error.strerror})"


@contextmanager
def os_errors_as(what: str) -> Iterator[None]:
    """Re-raise OSError, also a TimeoutError, as SystemFailureError("{what}: ...").

    For what needs no privilege, just a working system.
    """
    try:
        yield
    except OSError as error:
        raise SystemFailureError(f"{what}: {reason(error)}") from error


def system_step(what: str) -> AbstractContextManager[None]:
    """Re-raise OSError as SystemFailureError("cannot {what}: ...")."""
    return os_errors_as(f"cannot {what}")


@contextmanager
def step(what: str) -> Iterator[None]:
    """Re-raise PermissionError as NotAllowedError, and any other OSError as DeviceError.

    The text is "cannot {what}: ...".
    """
    try:
        yield
    except PermissionError as error:
        raise NotAllowedError(f"cannot {what}: {_why(error)}", hint="run as root") from error
    except OSError as error:
        raise DeviceError(f"cannot {what}: {_why(error)}") from error


def _why(error: OSError) -> str:
    """Return the reason, with the call or the file that the error names."""
    return f"{error.filename}: {reason(error)}" if error.filename else reason(error)


def errno_behind(error: FethpipeError) -> int | None:
    """Return the errno of the OSError that caused this error, None if there was none."""
    return getattr(error.__cause__, "errno", None)
