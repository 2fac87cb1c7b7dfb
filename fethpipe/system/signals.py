"""Signals as bytes on a pipe, so that the select loop can wait for them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals that ask a program to end."""


class SignalPipe:
    """Inside of the block, these signals only write their number to a pipe.

    A signal that was ignored at our start (nohup, a background job of a shell) stays ignored.
    """

    def __init__(self, signals: Iterable[signal.Signals]) -> None:
        self._signals = [number for number in signals if signal.getsignal(number) != signal.SIG_IGN]
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def fileno(self) -> int:
        """Return the descriptor, which is readable when a signal came."""
        return self._read

    @property
    def descriptors(self) -> set[int]:
        return {self._read, self._write}

    def put(self, number: int) -> None:
        """Add a signal, as if it had come to this process."""
        with suppress(OSError):  # full: so many have come already
            os.write(self._write, bytes((number,)))

    def read(self) -> list[signal.Signals]:
        """Return the signals that came, oldest first. Does not block."""
        try:
            return [signal.Signals(number) for number in os.read(self._read, 4096)]
        except BlockingIOError:
            return []

    def __enter__(self) -> SignalPipe:
        self._old_wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._old_handlers = {number: signal.signal(number, _note) for number in self._signals}
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        os.close(self._read)
        os.close(self._write)


def _note(number: int, frame: FrameType | None) -> None:
    """Do nothing: Python has already written the number to the wake-up descriptor."""


def describe_status(status: int) -> str:
    """Return in words how a process ended. ``status`` is negative for a signal (subprocess)."""
    if status < 0:
        return f"was killed by {_signal_name(-status)}"
    return f"ended with exit status {status}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal: only the first and the last have a name
        return f"signal {number}"
