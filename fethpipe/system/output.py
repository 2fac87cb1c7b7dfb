"""Open a file that the user names for something that we write."""

from __future__ import annotations

import os
import stat

from ..errors import UsageError, reason

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_MODE = 0o600  # a capture holds what people say to each other


def open_output(path: str, option: str) -> int:
    """Return the descriptor of a new file, or of an existing file of this user, which is emptied.

    In a folder where everybody can write, somebody else may have put something under this name: a
    symbolic link, a second name of another file, a file of his own. Raises UsageError for these.
    """
    try:
        descriptor = os.open(path, _FLAGS, _MODE)
    except OSError as error:
        raise UsageError(f"cannot write to {option} {path}: {reason(error)}") from error
    found = os.fstat(descriptor)
    fault = _find_fault(found)
    if fault:
        os.close(descriptor)
        raise UsageError(
            f"cannot write to {option} {path}: {fault}", hint="choose another name, or remove it"
        )
    if stat.S_ISREG(found.st_mode):
        os.ftruncate(descriptor, 0)
    return descriptor


def _find_fault(found: os.stat_result) -> str:
    """Return why we must not write to this file, "" if we may."""
    regular = stat.S_ISREG(found.st_mode)
    if not regular and not stat.S_ISFIFO(found.st_mode):
        return "it is neither a file nor a named pipe"
    if found.st_uid != os.geteuid():
        return "it belongs to another user"
    if regular and found.st_nlink != 1:
        return "it has several names, so it may belong to another user"
    return ""
