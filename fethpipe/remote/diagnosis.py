"""Why the other end did not start: one line, with its own words, and what to do."""

from __future__ import annotations

from ..errors import CommandFailedError
from ..system.signals import describe_status
from .handshake import NotStartedError
from .relay import printable
from .ssh import RemoteEnd

_SSH_FAILED = 255  # ssh(1): EXIT STATUS
_NOT_FOUND = 127
_QUOTED = 200

_HINTS = (
    ("Host key verification failed", "ssh does not trust the host's key: log in by hand once"),
    ("Permission denied", "log in by hand first: ssh must get in without us"),
    ("Could not resolve hostname", "check the name of the host"),
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
        hints = (hint for words, hint in _HINTS if words in last_words)
        hint = next(hints, f"see what this says: {by_hand} true")
    else:
        said = _quoted(failure.noise or last_words.encode())
        why = f"the session {describe_status(status)} before our program was ready{said}"
        hint = f"a start-up file of its shell or a forced command ends it: see {by_hand} true"
    return CommandFailedError(f"{what}: {why}", status, hint=hint)


def _quoted(noise: bytes) -> str:
    words = printable(noise.strip()[-_QUOTED:])
    return f"; it printed '{words}'" if words else ""
