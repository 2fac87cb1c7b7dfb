"""The launcher: a process that starts COMMAND as the user who typed it, and ends it.

It is forked before the pump gives up its privileges, for two reasons. COMMAND may need more than
the pump has: root's ssh needs root's keys. And if the pump is killed, somebody must end COMMAND. It
stays in the session and the process group of the terminal, so that ssh can ask for a password and
Ctrl-C reaches COMMAND, unless the terminal belongs to another user. It has the argument vector from
the start and accepts no other: the pump can say "start" and "stop", and nothing else.

It gets ``{"do": "start"}``, and answers with ``{"started": PID}`` and descriptors (the stdout of
COMMAND, then its stdin, then its pidfd where the system has such), or with
``{"error": WHY, "temporary": BOOL}``. It also gets ``{"do": "stop"}``. When COMMAND has ended, it
sends ``{"ended": STATUS}``, negative for a signal. The end of the channel means "stop".
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from select import select

from ..errors import FethpipeError, reason
from ..system.channel import Channel, ChannelClosedError, ChannelError
from ..system.descriptors import open_pipe
from ..system.signals import STOPPING, SignalPipe
from ..system.title import set_title
from .starter import Starter, end_with_starter

GRACE_SECONDS = 5.0
"""Seconds between SIGTERM and SIGKILL for COMMAND."""
_ORPHAN_PATIENCE_SECONDS = 0.3
"""Seconds that COMMAND has to end by itself, at the end of its stdin, after the pump has died."""
_ORPHAN_GRACE_SECONDS = 1.0
"""Seconds between SIGTERM and SIGKILL in that case."""
# The errors when the machine lacks memory or descriptors for now, or the program is just being
# replaced.
_TEMPORARY = frozenset(
    {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ETXTBSY}
)


class Launcher:
    """Starts and ends one COMMAND at a time, as often as the pump asks."""

    def __init__(
        self,
        channel: Channel,
        argv: Sequence[str],
        environment: Mapping[str, str] | None,
        stderr: int | None = None,
    ) -> None:
        self._channel = channel
        self._argv = argv
        self._environment = environment
        self._stderr = stderr
        self._process: subprocess.Popen[bytes] | None = None
        self._due: list[tuple[float, signal.Signals]] = []

    def serve(self) -> None:
        """Serve until the channel is closed and no COMMAND is left."""
        with SignalPipe((signal.SIGCHLD,)) as children:
            open_channel = [self._channel.fileno()]
            while open_channel or self._process:
                readable, _, _ = select([children.fileno(), *open_channel], [], [], self._left())
                if children.fileno() in readable:
                    children.read()
                try:
                    self._reap()
                    if self._channel.fileno() in readable and open_channel:
                        self._obey()
                except ChannelClosedError:
                    open_channel = []
                    self._stop(patience=_ORPHAN_PATIENCE_SECONDS, grace=_ORPHAN_GRACE_SECONDS)
                self._signal_when_due(orphan=not open_channel)

    def _obey(self) -> None:
        try:
            message, _ = self._channel.receive()
        except ChannelError:
            return
        if message == {"do": "start"} and self._process is None:
            self._start()
        elif message == {"do": "stop"} and self._process is not None:
            # Otherwise COMMAND ended in the meantime, and the request is not for the next run.
            self._stop()

    def _start(self) -> None:
        with ExitStack() as ours:
            try:
                its_stdin, to_it = open_pipe(ours)
                from_it, its_stdout = open_pipe(ours)
                self._process = subprocess.Popen(
                    self._argv,
                    stdin=its_stdin,
                    stdout=its_stdout,
                    stderr=self._stderr,
                    env=self._environment,
                    preexec_fn=end_with_starter,  # noqa: PLW1509 - there are no threads
                )
                pidfd = _open_pidfd(self._process.pid, ours)
                self._channel.send({"started": self._process.pid}, (from_it, to_it, *pidfd))
            except OSError as error:
                temporary = error.errno in _TEMPORARY
                self._channel.send({"error": reason(error), "temporary": temporary})
            except ValueError as error:
                self._channel.send({"error": str(error), "temporary": False})

    def _stop(self, *, patience: float = 0.0, grace: float = GRACE_SECONDS) -> None:
        """Send SIGTERM to COMMAND after ``patience`` seconds, SIGKILL ``grace`` seconds later."""
        now = time.monotonic()
        self._due = [
            (now + patience, signal.SIGTERM),
            # Once more: ssh may miss one just when it begins to read a password, and only a signal
            # that it does not miss lets it set the terminal back.
            (now + patience + 0.9 * grace, signal.SIGTERM),
            (now + patience + grace, signal.SIGKILL),
        ]

    def _signal_when_due(self, *, orphan: bool) -> None:
        while self._process and self._due and time.monotonic() >= self._due[0][0]:
            _, number = self._due.pop(0)
            try:
                self._process.send_signal(number)
            except PermissionError:  # COMMAND is sudo, for example, which ends with its stream
                if orphan and number == signal.SIGKILL:  # we cannot do more
                    self._process = None

    def _left(self) -> float | None:
        return max(0.0, self._due[0][0] - time.monotonic()) if self._due else None

    def _reap(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            status = self._process.returncode
            self._process = None
            self._due = []
            self._channel.send({"ended": status})


def _open_pidfd(process: int, owner: ExitStack) -> tuple[int, ...]:
    """Return a descriptor of a process, if the system has such descriptors. ``owner`` closes it."""
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return ()
    try:
        pidfd = os.pidfd_open(process)
    except OSError:  # before Linux 5.3
        return ()
    owner.callback(os.close, pidfd)
    return (pidfd,)


def launch(channel: Channel, argv: Sequence[str], starter: Starter, stderr: int | None) -> int:
    """Be the launcher at this side of the channel: the whole work of a process of its own.

    ``stderr`` is the stderr of COMMAND, None for our own one. Returns the exit status.
    """
    set_title("fethpipe-launch")
    # COMMAND gets the same signals from the terminal, but the pump decides what ends.
    handled = [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]
    kept = {channel.fileno(), *([] if stderr is None else [stderr])}
    try:
        starter.become(kept=kept, handled=handled)
        Launcher(channel, argv, starter.environment(), stderr).serve()
    except FethpipeError as error:
        with suppress(ChannelClosedError):
            channel.send({"error": str(error), "temporary": False})
        return error.status
    return 0
