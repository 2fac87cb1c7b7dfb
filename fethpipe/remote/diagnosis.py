"""Turn a failed start of the remote end into one line: what it said itself, and what to do."""

from __future__ import annotations

import os

from ..errors import CommandFailedError
from ..system.signals import describe_status
from ..system.stderr import printable
from .ssh import RemoteEnd

_SSH_FAILED = 255  # ssh(1): EXIT STATUS
_NOT_FOUND = 127
_QUOTED = 200

_NO_ROUTE = "No route to host"
_WRONG_KEY = "Host key verification failed"
_HINTS = (
    (
        _WRONG_KEY,
        "ssh does not trust the key of the host: log in by hand once, to accept the key",
    ),
    ("Permission denied", "log in by hand first: the same ssh command must work without fethpipe"),
    ("Could not resolve hostname", "check the host name"),
)
_ROOT_HINT = (
    "the host may let nobody log in as root, as a Mac does: log in as another user, whose sudo"
    " needs no password for it"
)
# Local Network privacy came with macOS 15, which is Darwin 24; the kernel answers EHOSTUNREACH.
_LOCAL_NETWORK_SINCE = 24
_LOCAL_NETWORK_HINT = (
    "if ping gets there, macOS keeps this terminal from the local network: allow it in System"
    " Settings, Privacy & Security, Local Network, or use Apple's Terminal"
)


class NotStartedError(Exception):
    """The marker did not come; ``noise`` is what came instead.

    ``message`` says why we gave up. It is empty if the remote end ended by itself.
    """

    def __init__(self, message: str, noise: bytes) -> None:
        super().__init__(message)
        self.message = message
        self.noise = noise


def describe_failure(
    remote: RemoteEnd,
    failure: NotStartedError,
    status: int,
    last_words: str,
    *,
    from_program: bool,
) -> CommandFailedError:
    """Return the error that tells the user why the remote end did not start.

    ``status`` is the exit status of ssh, or a signal as a negative number. ``last_words`` is the
    last line on stderr. ``from_program`` says whether fethpipe on the remote host wrote it.
    """
    by_hand = " ".join((*remote.ssh_command, remote.host))
    what = f"cannot start on {remote.host}"
    hint = ""
    final = False
    if failure.message:
        why = f"{failure.message}{_quoted(failure.noise)}"
        hint = f"the login should print nothing; see what this prints: {by_hand} true"
    elif from_program:
        why = last_words
        if status == _NOT_FOUND:
            hint = "install Python 3.9 or newer on that host, or name one with --remote-python"
    elif status == _SSH_FAILED:
        what = f"cannot reach {remote.host}"
        why = f"{remote.ssh_command[0]}: {last_words or describe_status(status)}"
        final = _WRONG_KEY in last_words
        hint = _ssh_hint(remote.host, last_words) or f"see what this prints: {by_hand} true"
    else:
        said = _quoted(failure.noise or last_words.encode())
        why = f"the session {describe_status(status)} before fethpipe was ready{said}"
        hint = (
            "a start-up file of the login shell or a forced command ends it; see what this "
            f"prints: {by_hand} true"
        )
    return CommandFailedError(f"{what}: {why}", status, hint=hint, final=final)


def _ssh_hint(host: str, words: str) -> str:
    """Return what to do about an error message of ssh, "" for one without a hint."""
    if _NO_ROUTE in words and _has_local_network_privacy():
        return _LOCAL_NETWORK_HINT
    if "Permission denied" in words and host.startswith("root@"):
        return _ROOT_HINT
    return next((hint for said, hint in _HINTS if said in words), "")


def _has_local_network_privacy() -> bool:
    system = os.uname()
    return system.sysname == "Darwin" and int(system.release.split(".")[0]) >= _LOCAL_NETWORK_SINCE


def _quoted(noise: bytes) -> str:
    words = printable(noise.strip()[-_QUOTED:])
    return f"; it printed '{words}'" if words else ""
