"""The byte stream: two descriptors, often inherited, read and written without blocking."""

from __future__ import annotations

import os
from types import TracebackType

_READ_SIZE = 1 << 16
"""What a pipe holds by default on Linux and macOS."""


class Stream:
    """A pair of descriptors, which may be one and the same.

    They are made non-blocking, and as they were by ``close``: the flag belongs to the open file,
    which a shell may share with us. Closing them is their owner's work.
    """

    def __init__(self, read_descriptor: int, write_descriptor: int) -> None:
        self.read_descriptor = read_descriptor
        self.write_descriptor = write_descriptor
        self._were_blocking = {
            descriptor: os.get_blocking(descriptor)
            for descriptor in (read_descriptor, write_descriptor)
        }
        for descriptor in self._were_blocking:
            os.set_blocking(descriptor, False)

    def read(self) -> bytes | None:
        """Return the bytes that wait, b"" at the end of the stream, None if none wait.

        A reset by the peer is an end.
        """
        try:
            return os.read(self.read_descriptor, _READ_SIZE)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""

    def write(self, data: bytes) -> bytes:
        """Write what the stream takes now and return the rest.

        Raises BrokenPipeError or ConnectionResetError when the peer has closed its end.
        """
        try:
            written = os.write(self.write_descriptor, data)
        except BlockingIOError:
            return data
        return data[written:]

    def close(self) -> None:
        """Give the descriptors back as they were; safe to call twice."""
        while self._were_blocking:
            descriptor, blocking = self._were_blocking.popitem()
            os.set_blocking(descriptor, blocking)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
