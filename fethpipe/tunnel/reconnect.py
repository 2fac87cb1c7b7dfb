"""Run COMMAND, or ssh, and with ``--reconnect`` run it again when it has ended."""

from __future__ import annotations

import logging
import time
from typing import Callable

from ..errors import (
    CommandFailedError,
    FethpipeError,
    PeerSilentError,
    ProtocolError,
    TemporaryLaunchError,
    TruncatedError,
)
from ..remote.diagnosis import NotStartedError
from ..remote.session import RemoteSession
from ..system.signals import describe_status
from ..system.stream import Stream
from .command import Command
from .ending import Ending, Watch, pause

log = logging.getLogger("fethpipe")

_FIRST_SECONDS = 1.0
_LONGEST_SECONDS = 60.0
_GOOD_RUN_SECONDS = 60.0
# Exit statuses of COMMAND with which another try is useless: command not found, usage, not allowed.
_HOPELESS = (127, 64, 77)
# Seconds that COMMAND has to end by itself after a user asked for the end, who waits for it.
_CLOSING_SECONDS = 0.5
_SIGNAL_SECONDS = 0.1
"""Seconds until a signal of the terminal, which has ended COMMAND, also reaches us."""

PumpStream = Callable[[int, int], Ending]
"""A function that moves frames over a stream: its descriptors to read and to write."""


class Backoff:
    """Pauses of 1, 2, 4 ... 60 seconds. After a run of a minute or more, they start again at 1."""

    def __init__(self) -> None:
        self._next = _FIRST_SECONDS

    def next(self, *, lasted: float) -> float:
        """Return the pause, in seconds, after a run that lasted this many seconds."""
        if lasted >= _GOOD_RUN_SECONDS:
            self._next = _FIRST_SECONDS
        pause = self._next
        self._next = min(2 * pause, _LONGEST_SECONDS)
        return pause


def run_command(
    name: str,
    watch: Watch,
    command: Command,
    pump: PumpStream,
    *,
    session: RemoteSession | None,
    reconnect: bool,
) -> Ending:
    """Move frames over COMMAND. With ``reconnect``, start it again each time when it has ended.

    ``name`` is the name of the device in messages. Raises FethpipeError.
    """
    backoff = Backoff()
    while True:
        started = time.monotonic()
        try:
            command.start()
            ending = _run_once(watch, command, pump, session)
            if ending.requested or not reconnect:
                return ending
            why = ending.reason
        except (TemporaryLaunchError, CommandFailedError, ProtocolError, PeerSilentError) as error:
            if not reconnect or getattr(error, "code", None) in _HOPELESS:
                raise
            why = str(error)
        seconds = backoff.next(lasted=time.monotonic() - started)
        log.warning("%s: %s; starting again in %d s", name, why, seconds)
        stopped = pause(watch, seconds)
        if stopped:
            return stopped


def _run_once(
    watch: Watch, command: Command, pump: PumpStream, session: RemoteSession | None
) -> Ending:
    """Move frames over one run of COMMAND, and make sure that it has ended."""
    if session:
        stopped = _start_remote(session, watch, command)
        if stopped:
            return stopped
    truncated: TruncatedError | None = None
    try:
        ending = pump(command.read_descriptor, command.write_descriptor)
    except TruncatedError as error:
        truncated = error
    except FethpipeError:
        command.stop()
        raise
    else:
        if ending.requested:
            command.finish(_CLOSING_SECONDS)
            return ending
    status = command.finish()
    if status:
        stopped = pause(watch, _SIGNAL_SECONDS)
        if stopped:
            return stopped
        # A failed COMMAND explains a broken stream better than a wrong framing does.
        said = session.last_words() if session else ""
        also = f": {said}" if said else f": {truncated.message}" if truncated else ""
        raise CommandFailedError(f"{command.name} {describe_status(status)}{also}", status)
    if truncated:
        raise truncated
    return ending


def _start_remote(session: RemoteSession, watch: Watch, command: Command) -> Ending | None:
    """Start fethpipe at the other end of a new connection. Return an Ending if one came first."""
    try:
        with Stream(command.read_descriptor, command.write_descriptor) as stream:
            stopped = session.start(stream, watch)
    except NotStartedError as failure:
        status = command.stop() if failure.message else command.finish()
        raise session.describe(failure, status) from failure
    except FethpipeError:
        command.stop()
        raise
    if stopped:
        command.stop()
    return stopped
