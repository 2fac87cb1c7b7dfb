"""Run the user's own ssh, with a command line that means the same in every login shell.

sshd passes the command to the login shell of the remote user. sh, bash, dash, zsh, fish and csh
read these two in the same way: words in single quotes without ' ! \\ and line ends, and words in
double quotes without " $ ` ! \\ and line ends. So the command line has one word in single quotes, a
script for a POSIX sh, and all other words behind it are in double quotes.
"""

from __future__ import annotations

from typing import NamedTuple

from ..system.bundle import STAGE_ARGUMENTS

# Where a system's own python3 is too old, a newer one stands beside it. Behind PATH come the places
# of Homebrew, MacPorts and python.org.
_PYTHONS = (
    "python3 python python3.14 python3.13 python3.12 python3.11 python3.10 python3.9"
    " /opt/homebrew/bin/python3 /usr/local/bin/python3"
    " /opt/local/bin/python3 /opt/local/bin/python3.[0-9][0-9]"
    " /Library/Frameworks/Python.framework/Versions/Current/bin/python3"
)

_TRIED = "python3, python, python3.14 to python3.9, and in the usual places"

# Without developer tools, which xcode-select -p tells, /usr/bin/python3 of macOS is a stub that
# opens a dialog: it must not be started.
# Any Python knows -V, which takes less time than to run a line. A wrapper may say more.
_SEARCH = (
    "system=$(uname 2>/dev/null); "
    'echo "fethpipe on $system as $(id -u 2>/dev/null)"; '
    "stub=/none; "
    'if [ "$system" = Darwin ]; then '
    "xcode-select -p >/dev/null 2>&1 || stub=/usr/bin/python3; fi; "
    "for p in {pythons}; do "
    'q=$(command -v "$p" 2>/dev/null) || continue; '
    'case "$q" in "$stub") '
    'found="${{found:+$found, }}$q needs developer tools (xcode-select --install)"; continue;; '
    "esac; "
    'version=$("$p" -V 2>&1 </dev/null); '
    'case "$version" in *"Python 3.9."*|*"Python 3."[1-9][0-9].*|*"Python "[4-9].*) '
    'exec "$p" "$@";; esac; '
    'found="${{found:+$found, }}$p is $(echo "$version" | tail -n 1)"; '
    "done; "
    'echo "fethpipe: no Python 3.9 or newer here: ${{found:-looked for {tried}}}" >&2; '
    "exit 127"
)

# No terminal, no escape character, no X11. A RemoteCommand in the user's configuration would
# replace our command; everything else there is for the user to decide.
_OPTIONS = ("-T", "-x", "-e", "none", "-o", "RemoteCommand=none")


class RemoteEnd(NamedTuple):
    """How to reach the remote host, and a Python there.

    ``python`` is put into a shell script without quotes, so that ``~`` works.
    """

    host: str
    ssh_command: tuple[str, ...] = ("ssh",)
    python: str | None = None


def ssh_arguments(remote: RemoteEnd) -> list[str]:
    """Return the local command that has the remote host take the program from its stdin."""
    return [
        *remote.ssh_command,
        *_OPTIONS,
        "--",
        remote.host,
        remote_command_line(remote.python),
    ]


def remote_command_line(python: str | None) -> str:
    """Return one line, for any login shell, that finds a Python and has it take the program."""
    search = _SEARCH.format(pythons=python or _PYTHONS, tried=python or _TRIED)
    words = [f'"{word}"' for word in ("sh", *STAGE_ARGUMENTS)]
    return " ".join(["exec", "sh", "-c", f"'{search}'", *words])
