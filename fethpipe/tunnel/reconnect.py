"""Run COMMAND, or ssh, and with ``--reconnect`` run it again when it has ended."""

from __future__ import annotations

import os
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
from .retry import Retry

# Exit statuses of COMMAND with which another try is useless: command not found, usage, not allowed.
_NOT_FOUND = 127
_HOPELESS = (_NOT_FOUND, 64, 77)
# Seconds that COMMAND has to end by itself after a user asked for the end, who waits for it.
_CLOSING_SECONDS = 0.5
_SIGNAL_SECONDS = 0.1
"""Seconds until a signal of the terminal, which has ended COMMAND, also reaches us."""

PumpStream = Callable[[int, int], Ending]
"""A function that moves frames over a stream: its descriptors to read and to write."""


def run_command(
    watch: Watch,
    command: Command,
    pump: PumpStream,
    *,
    session: RemoteSession | None,
    retry: Retry | None,
) -> Ending:
    """Move frames over COMMAND. With ``retry``, start it again each time when it has ended.

    Raises FethpipeError.
    """
    strangers = 0  # runs in a row whose stream was in no framing of ours
    while True:
        stranger = False
        try:
            command.start()
            ending = _run_once(watch, command, pump, session)
            if ending.requested or not retry:
                return ending
            why = ending.reason
        except (TemporaryLaunchError, CommandFailedError, ProtocolError, PeerSilentError) as error:
            stranger = isinstance(error, ProtocolError) and not isinstance(error, TruncatedError)
            if not retry or _is_hopeless(error) or (stranger and strangers):
                raise
            why = error.message if isinstance(error, PeerSilentError) else str(error)
        strangers = strangers + 1 if stranger else 0
        stopped = retry.wait(watch, why)
        if stopped:
            return stopped


def _is_hopeless(error: FethpipeError) -> bool:
    """Return whether another try would fail in the same way."""
    return isinstance(error, CommandFailedError) and (error.final or error.code in _HOPELESS)


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
        said = session.relay.last_words() if session else ""
        also = f": {said}" if said else f": {truncated.message}" if truncated else ""
        missing = not session and status == _NOT_FOUND and os.path.basename(command.name) == "ssh"
        hint = "where fethpipe is not installed, use --ssh HOST, which needs Python only"
        raise CommandFailedError(
            f"{command.name} {describe_status(status)}{also}", status, hint=hint if missing else ""
        )
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
        stopped = pause(watch, _SIGNAL_SECONDS)
        if stopped:
            return stopped
        raise session.describe(failure, status) from failure
    except FethpipeError:
        command.stop()
        raise
    if stopped:
        command.stop()
    return stopped
