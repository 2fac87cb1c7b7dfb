"""The user's own ssh, and a command line that every login shell takes for the same.

sshd gives the command to the remote user's login shell, whichever that is. sh, bash, dash, zsh,
fish and csh agree on words in single quotes that hold none of ' ! \\ and no line end, and on words
in double quotes that hold none of " $ ` ! \\ either. So there is one text in single quotes, for a
POSIX sh, and everything else is in double quotes behind it.
"""

from __future__ import annotations

from typing import NamedTuple

from ..system.bundle import Program, stage_arguments

# Behind PATH come the places of Homebrew, MacPorts and python.org.
_PYTHONS = (
    "python3 python /opt/homebrew/bin/python3 /usr/local/bin/python3"
    " /opt/local/bin/python3 /opt/local/bin/python3.[0-9][0-9]"
    " /Library/Frameworks/Python.framework/Versions/Current/bin/python3"
)

# Without developer tools, which xcode-select -p tells, /usr/bin/python3 of macOS is a stub that
# opens a dialog: it must not be started.
# -I keeps the remote's environment and current folder out; any Python can tell its version by -V.
_SEARCH = (
    "stub=; "
    'if [ "$(uname)" = Darwin ]; then '
    "xcode-select -p >/dev/null 2>&1 || stub=/usr/bin/python3; fi; "
    "for p in {pythons}; do "
    'q=$(command -v "$p" 2>/dev/null) || continue; '
    'if [ "$q" = "$stub" ]; then '
    'found="${{found:+$found, }}$q needs developer tools (xcode-select --install)"; continue; fi; '
    'if "$p" -I -c "$0" </dev/null >/dev/null 2>&1; then exec "$p" "$@"; fi; '
    'found="${{found:+$found, }}$p is $("$p" -V 2>&1 </dev/null | tail -n 1)"; '
    "done; "
    'echo "fethpipe: no Python 3.9 or newer here: ${{found:-looked for {pythons}}}" >&2; '
    "exit 127"
)
_NEW_ENOUGH = "import sys;sys.exit(sys.version_info<(3,9))"

# No terminal, no escape character, no X11. RemoteCommand of the user's configuration would stand
# in the way of ours; everything else there is the user's to decide.
_OPTIONS = ("-T", "-x", "-e", "none", "-o", "RemoteCommand=none")


class RemoteEnd(NamedTuple):
    """How to reach the other host, and the options that fethpipe runs with there.

    ``python`` stands in a shell's command line, without quotes for the sake of ``~``.
    """

    host: str
    ssh_command: tuple[str, ...] = ("ssh",)
    python: str | None = None
    options: tuple[str, ...] = ()


def ssh_arguments(remote: RemoteEnd, program: Program) -> list[str]:
    """Return the local command that starts the program on the remote."""
    return [
        *remote.ssh_command,
        *_OPTIONS,
        "--",
        remote.host,
        remote_command_line(remote.python, program),
    ]


def remote_command_line(python: str | None, program: Program) -> str:
    """Return one line for any login shell that finds a Python and starts the program with it."""
    search = _SEARCH.format(pythons=python or _PYTHONS)
    words = [f'"{word}"' for word in (_NEW_ENOUGH, *stage_arguments(program))]
    return " ".join(["exec", "sh", "-c", f"'{search}'", *words])
