"""The byte stream: two descriptors, often inherited, read and written without blocking."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from select import select

from ..abi.linux import F_GETPIPE_SZ, F_SETPIPE_SZ

_PIPE_SIZE = 1 << 20
"""The most that an ordinary user gets (proc_sys_fs(5): pipe-max-size). Some of the longest records
fit in; with the usual 64 KiB each would take two wake-ups at both ends.
"""


class Stream:
    """A pair of descriptors, which may be one and the same.

    They are made non-blocking, and as they were by ``close``: the flag belongs to the open file,
    which a shell may share with us. Closing them is their owner's work.

    ``pending`` holds the bytes that were to be written and that the stream has not taken yet;
    ``sent`` and ``received`` count the bytes that it took and gave. ``reader_gone`` tells that the
    peer has closed its end: what is written then goes nowhere.
    """

    def __init__(self, read_descriptor: int, write_descriptor: int) -> None:
        self.read_descriptor = read_descriptor
        self.write_descriptor = write_descriptor
        self.pending = b""
        self.sent = self.received = 0
        self.reader_gone = False
        self._were_blocking = {
            descriptor: os.get_blocking(descriptor)
            for descriptor in (read_descriptor, write_descriptor)
        }
        for descriptor in self._were_blocking:
            os.set_blocking(descriptor, False)
            _enlarge_pipe(descriptor)

    def read(self, most: int = _PIPE_SIZE) -> bytes | None:
        """Return up to ``most`` bytes that wait, b"" at the end of the stream, None if none wait.

        A reset by the peer is an end.
        """
        try:
            data = os.read(self.read_descriptor, most)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""
        self.received += len(data)
        return data

    def write(self, data: bytes | memoryview) -> None:
        """Write what is pending, then this; what the stream does not take now is pending again."""
        if self.pending:
            data = self.pending + data
        try:
            written = os.write(self.write_descriptor, data)
        except BlockingIOError:
            written = 0
        except (BrokenPipeError, ConnectionResetError):
            self._lose_reader()
            return
        self.sent += written
        self.pending = bytes(data[written:]) if written < len(data) else b""

    def write_pieces(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write these in a row, without joining them first; nothing may be pending."""
        try:
            written = os.writev(self.write_descriptor, pieces)
        except BlockingIOError:
            written = 0
        except (BrokenPipeError, ConnectionResetError):
            self._lose_reader()
            return
        self.sent += written
        if written < sum(map(len, pieces)):
            self.pending = b"".join(pieces)[written:]

    def flush(self, seconds: float) -> None:
        """Wait up to so many seconds for the stream to take what is pending."""
        deadline = time.monotonic() + seconds
        while self.pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select([], [self.write_descriptor], [], left)[1]:
                return
            self.write(b"")

    def _lose_reader(self) -> None:
        self.reader_gone = True
        self.pending = b""

    def close(self) -> None:
        """Give the descriptors back as they were; safe to call twice."""
        while self._were_blocking:
            descriptor, blocking = self._were_blocking.popitem()
            os.set_blocking(descriptor, blocking)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _enlarge_pipe(descriptor: int) -> None:
    """Let a pipe hold more, where the system allows it; anything else stays as it is."""
    if os.uname().sysname != "Linux":
        return
    with suppress(OSError):
        if fcntl.fcntl(descriptor, F_GETPIPE_SZ) < _PIPE_SIZE:
            fcntl.fcntl(descriptor, F_SETPIPE_SZ, _PIPE_SIZE)
