"""The C library, for system calls that Python does not have."""

from __future__ import annotations

import ctypes
import os


def load_libc() -> ctypes.CDLL:
    """Return the C library. It is not loaded at import, as systems differ in its functions."""
    return ctypes.CDLL(None, use_errno=True)


def check_call(result: int, call: str) -> None:
    """Raise OSError, with the name of the call in ``filename``, if the result is not 0."""
    if result != 0:
        raise failed_call(ctypes.get_errno(), call)


def failed_call(number: int, call: str) -> OSError:
    """Return the error of a call that failed with this errno."""
    return OSError(number, os.strerror(number), call)
