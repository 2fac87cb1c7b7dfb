"""COMMAND, the program whose stdin and stdout are the stream: the pump's side of the launcher."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from ..errors import LaunchError, TemporaryLaunchError, reason
from ..system.channel import Channel, ChannelClosedError, ChannelError
from ..system.child import fork_child
from .launcher import GRACE_SECONDS, launch
from .starter import Starter

log = logging.getLogger("fethpipe")

_START_SECONDS = 10.0
_END_SECONDS = 5.0


class Command:
    """The COMMAND, which a launcher starts, one run after the other.

    During a run, ``read_descriptor`` and ``write_descriptor`` are the stream.
    """

    def __init__(self, name: str, channel: Channel, launcher: int, hint: str) -> None:
        self.name = name
        self._hint = hint
        self.read_descriptor = self.write_descriptor = -1
        self._channel = channel
        self._launcher = launcher
        self._begun = False
        self._process = 0
        self._pidfd: list[int] = []  # where the system has such: a number may be another's by then

    def begin(self) -> None:
        """Have COMMAND started. ``start`` tells whether it was."""
        self._begun = True
        with suppress(ChannelClosedError):
            self._channel.send({"do": "start"})

    def start(self) -> None:
        """Start COMMAND, unless that has begun, and take its stream.

        Raises LaunchError, or TemporaryLaunchError if another try may work.
        """
        if not self._begun:
            self.begin()
        self._begun = False
        self._channel.set_timeout(_START_SECONDS)
        try:
            answer, descriptors = self._channel.receive(descriptors=True)
        except (ChannelClosedError, ChannelError, TimeoutError) as error:
            raise LaunchError(f"cannot start {self.name}: the launcher has gone") from error
        except OSError as error:  # such as EMFILE, for the descriptors that come
            raise LaunchError(f"cannot start {self.name}: {reason(error)}") from error
        if "error" in answer:
            why = f"cannot start {self.name}: {answer['error']}"
            if answer["temporary"]:
                raise TemporaryLaunchError(why)
            raise LaunchError(why, hint=self._hint)
        self._process = answer["started"]
        self.read_descriptor, self.write_descriptor, *self._pidfd = descriptors

    def finish(self, patience: float = GRACE_SECONDS) -> int:
        """Close the stream, wait until COMMAND has ended, and return its exit status.

        A negative status is a signal, as in subprocess. If COMMAND does not end within
        ``patience`` seconds, it is stopped. Raises LaunchError.
        """
        self._close_stream()
        status = self._await_end(patience)
        return self.stop() if status is None else status

    def stop(self) -> int:
        """End COMMAND by SIGTERM, then by SIGKILL if needed, and return its exit status.

        Raises LaunchError.
        """
        self._close_stream()
        with suppress(ChannelClosedError):
            self._channel.send({"do": "stop"})
        status = self._await_end(2 * GRACE_SECONDS)
        if status is None:
            raise LaunchError(f"{self.name} does not end, even after SIGKILL")
        return status

    def close(self) -> None:
        """End COMMAND, if it is running, and the launcher. Safe to call twice."""
        self._close_stream()
        launcher, self._launcher = self._launcher, 0
        if not self._channel.finish(_END_SECONDS):
            log.warning("the launcher of %s does not end", self.name)
            self._kill_orphan()
        elif launcher and os.waitpid(launcher, 0)[1]:
            self._kill_orphan()
        self._forget_process()

    def _await_end(self, seconds: float) -> int | None:
        self._channel.set_timeout(seconds)
        try:
            answer, _ = self._channel.receive()
        except TimeoutError:
            return None
        except (ChannelClosedError, ChannelError) as error:
            self._kill_orphan()
            raise LaunchError(f"the launcher of {self.name} has gone") from error
        self._forget_process()
        status: int = answer["ended"]
        return status

    def _kill_orphan(self) -> None:
        """Kill a COMMAND whose launcher was killed, if we are allowed to.

        It sees the end of the stream in any case, but may not end because of that.
        """
        with suppress(ProcessLookupError, PermissionError):
            if self._pidfd and sys.platform == "linux":
                signal.pidfd_send_signal(self._pidfd[0], signal.SIGKILL)
            elif self._process:
                os.kill(self._process, signal.SIGKILL)

    def _forget_process(self) -> None:
        self._process = 0
        while self._pidfd:
            os.close(self._pidfd.pop())

    def _close_stream(self) -> None:
        for descriptor in (self.read_descriptor, self.write_descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self.read_descriptor = self.write_descriptor = -1


def prepare_command(
    argv: Sequence[str],
    starter: Starter,
    *,
    stderr: int | None = None,
    hint: str = "check the command after --",
) -> Command:
    """Fork the launcher of COMMAND, and return COMMAND, which is not started yet.

    ``stderr`` is a descriptor for its stderr, None for our own one. ``hint`` tells the user what to
    do if it cannot be started. Raises SystemFailureError.
    """
    serve = partial(launch, argv=argv, starter=starter, stderr=stderr)
    return Command(argv[0], *fork_child(f"the launcher of {argv[0]}", serve), hint)
