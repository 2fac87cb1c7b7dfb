"""Why the other end did not start: one line, with its own words, and what to do."""

from __future__ import annotations

import os

from ..errors import CommandFailedError
from ..system.signals import describe_status
from .handshake import NotStartedError
from .relay import printable
from .ssh import RemoteEnd

_SSH_FAILED = 255  # ssh(1): EXIT STATUS
_NOT_FOUND = 127
_QUOTED = 200

_NO_ROUTE = "No route to host"
_HINTS = (
    ("Host key verification failed", "ssh does not trust the host's key: log in by hand once"),
    ("Permission denied", "log in by hand first: ssh must get in without us"),
    ("Could not resolve hostname", "check the name of the host"),
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


def describe_failure(
    remote: RemoteEnd,
    failure: NotStartedError,
    status: int,
    last_words: str,
    *,
    from_program: bool,
) -> CommandFailedError:
    """Return the error that tells why it failed.

    ``status`` is that of ssh; ``last_words`` came on stderr, from our own program or from others.
    """
    by_hand = " ".join((*remote.ssh_command, remote.host))
    what = f"cannot start on {remote.host}"
    hint = ""
    if failure.message:
        why = f"{failure.message}{_quoted(failure.noise)}"
        hint = f"see what this prints, and make it print less: {by_hand} true"
    elif from_program:
        why = last_words
        if status == _NOT_FOUND:
            hint = "install Python 3.9 or newer there, or name it with --remote-python"
    elif status == _SSH_FAILED:
        what = f"cannot reach {remote.host}"
        why = f"{remote.ssh_command[0]}: {last_words or describe_status(status)}"
        hint = _ssh_hint(remote.host, last_words) or f"see what this says: {by_hand} true"
    else:
        said = _quoted(failure.noise or last_words.encode())
        why = f"the session {describe_status(status)} before our program was ready{said}"
        hint = f"a start-up file of its shell or a forced command ends it: see {by_hand} true"
    return CommandFailedError(f"{what}: {why}", status, hint=hint)


def _ssh_hint(host: str, words: str) -> str:
    """Return what to do about what ssh said, "" if it says that itself."""
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
