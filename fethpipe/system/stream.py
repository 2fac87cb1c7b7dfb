"""The byte stream: two descriptors, often inherited ones, read and written without blocking."""

from __future__ import annotations

import array
import fcntl
import os
import select
import socket
import stat
import sys
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

_PIPE_SIZE = 1 << 20
"""In bytes: the most that an ordinary user gets (proc_sys_fs(5): pipe-max-size). It holds several
of the longest records. In the usual 64 KiB, each of these would take two wake-ups at both ends.
"""

_SO_NWRITE = 0x1024  # Darwin: sys/socket.h


class Stream:
    """A pair of descriptors, which may be the same one.

    They are made non-blocking. ``close`` restores the flag, which belongs to the open file and not
    to the descriptor, as a shell may share that file with us. It does not close the descriptors.

    ``pending`` has the bytes that the stream has not taken yet. ``sent`` and ``received`` count the
    bytes that it took and returned. ``reader_gone`` says that the peer has closed its end: what is
    written then is thrown away.
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
            _resize_pipe(descriptor, _PIPE_SIZE, lambda current: current < _PIPE_SIZE)

    def narrow_pipe(self, size: int) -> None:
        """Have the pipe that is written hold so many bytes for now, where the system can.

        Only one that could be enlarged: a user with many pipes may get none larger again (pipe(7)).
        """
        _resize_pipe(self.write_descriptor, size, lambda current: current >= _PIPE_SIZE)

    def read(self, most: int = _PIPE_SIZE) -> bytes | None:
        """Return up to ``most`` bytes that wait, b"" at the end of the stream, None if none wait.

        A reset by the peer counts as the end. Raises OSError.
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
        """Write what is pending, then this. What the stream does not take now stays pending."""
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
        """Write these one behind the other, without joining them first. Nothing may be pending."""
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

    def unread(self) -> int | None:
        """Return how many bytes were written that nobody has read; None where nobody can tell.

        Linux tells it of pipes and, with what it spends on each packet, of sockets (FIONREAD in
        pipe(7), SIOCOUTQ in tcp(7)). macOS tells it of sockets only (SO_NWRITE in sys/socket.h),
        but a pipe there holds 64 KiB at most.
        """
        descriptor = self.write_descriptor
        mode = os.fstat(descriptor).st_mode
        try:
            if stat.S_ISSOCK(mode) and sys.platform == "darwin":
                with socket.fromfd(descriptor, socket.AF_UNIX, socket.SOCK_STREAM) as writer:
                    return writer.getsockopt(socket.SOL_SOCKET, _SO_NWRITE)
            if sys.platform == "darwin":
                return None
            count = array.array("i", [0])
            request = termios.TIOCOUTQ if stat.S_ISSOCK(mode) else termios.FIONREAD
            fcntl.ioctl(descriptor, request, count)
        except OSError:
            return None
        return count[0]

    def check_reader(self) -> None:
        """Find out, without writing, whether the reader has closed its end.

        macOS tells it only those who wait to write (bsd/kern/sys_generic.c: poll_nocancel).
        """
        poll = select.poll()
        poll.register(self.write_descriptor, select.POLLOUT)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
            self._lose_reader()

    def flush(self, seconds: float) -> None:
        """Wait until the stream has taken what is pending, at most this many seconds."""
        deadline = time.monotonic() + seconds
        while self.pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([], [self.write_descriptor], [], left)[1]:
                return
            self.write(b"")

    def _lose_reader(self) -> None:
        self.reader_gone = True
        self.pending = b""

    def close(self) -> None:
        """Restore the blocking flag of the descriptors. Safe to call twice."""
        while self._were_blocking:
            descriptor, blocking = self._were_blocking.popitem()
            os.set_blocking(descriptor, blocking)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _resize_pipe(descriptor: int, size: int, wanted: Callable[[int], bool]) -> None:
    """Have a pipe hold so many bytes, if the system allows it and ``wanted`` says so of what it
    holds. Anything else stays as it is.
    """
    if os.uname().sysname != "Linux":
        return
    from ..abi.linux import F_GETPIPE_SZ, F_SETPIPE_SZ  # noqa: PLC0415 - a TAP has loaded it

    with suppress(OSError):
        if wanted(fcntl.fcntl(descriptor, F_GETPIPE_SZ)):
            fcntl.fcntl(descriptor, F_SETPIPE_SZ, size)
