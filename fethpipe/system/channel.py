"""Messages with descriptors, over a Unix socket between processes of ours.

A message is a length (4 bytes, big-endian) and that many bytes of JSON, an object. The processes
have different privileges, so neither side trusts the other: a message that is too long, or not
JSON, is a ChannelError, and the next message can still be received. Only a side that asks for
descriptors gets them.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

from ..errors import (
    DeviceError,
    FethpipeError,
    NotAllowedError,
    SystemFailureError,
    UsageError,
    reason,
)

_LENGTH = struct.Struct(">I")
_LONGEST = 1 << 16
_CHUNK = 1 << 16
_MOST_DESCRIPTORS = 4

Message = dict[str, Any]


class ChannelError(Exception):
    """The other side sent something that is not a message."""


class ChannelClosedError(Exception):
    """The other side has closed the channel."""


_ERRORS = {kind.__name__: kind for kind in (DeviceError, NotAllowedError, UsageError)}


def pack_error(error: FethpipeError) -> Message:
    """Return the message that tells the other side of an error."""
    return {"error": type(error).__name__, "message": error.message, "hint": error.hint}


def channel_pair() -> tuple[Channel, Channel]:
    """Return the two sides of a new channel. Raises OSError."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Channel(near), Channel(far)


class Channel:
    """One side of a channel. It owns its socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def fileno(self) -> int:
        """Return the descriptor of the socket, which is readable when a message comes."""
        return self._socket.fileno()

    def set_timeout(self, seconds: float | None) -> None:
        """Let ``receive`` and ``send`` raise TimeoutError if they would wait longer than this."""
        self._socket.settimeout(seconds)

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send a message. Raises ChannelClosedError if the other side has closed the channel."""
        payload = json.dumps(message).encode()
        data = _LENGTH.pack(len(payload)) + payload
        try:
            sent = socket.send_fds(self._socket, [data], descriptors) if descriptors else 0
            self._socket.sendall(data[sent:])
        except (BrokenPipeError, ConnectionResetError):
            raise ChannelClosedError from None

    def send_bytes(self, data: bytes) -> None:
        """Send bytes that are not a message, before the other side expects messages.

        Raises ChannelClosedError if the other side has closed the channel.
        """
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise ChannelClosedError from None

    def ask(
        self,
        whom: str,
        request: Message,
        descriptors: Sequence[int] = (),
        *,
        seconds: float,
        prelude: bytes = b"",
    ) -> tuple[Message, list[int]]:
        """Send a request, and return its answer with the descriptors that came with it.

        ``prelude`` goes before it, for a side that does not expect messages yet. Raises the error
        that the answer tells, or SystemFailureError: one that is not DeviceError, NotAllowedError
        or UsageError, or that ``whom`` did not answer in so many seconds.
        """
        self.set_timeout(seconds)
        try:
            self.send_bytes(prelude)
            self.send(request, descriptors)
            answer, received = self.receive(descriptors=True)
        except (ChannelError, ChannelClosedError, OSError) as error:
            why = reason(error) if isinstance(error, OSError) else "it has gone"
            raise SystemFailureError(f"{whom} does not answer: {why}") from error
        finally:
            self.set_timeout(None)
        if "error" in answer:
            kind = _ERRORS.get(answer["error"], SystemFailureError)
            raise kind(answer["message"], hint=answer["hint"])
        return answer, received

    def receive(self, *, descriptors: bool = False) -> tuple[Message, list[int]]:
        """Return the next message and, if ``descriptors``, those that came with it.

        Raises ChannelClosedError at the end, and ChannelError for something that is not a message;
        the next call then returns the message behind it.
        """
        received: list[int] = []
        try:
            header = self._exactly(_LENGTH.size, received if descriptors else None)
            (length,) = _LENGTH.unpack(header)
            return _parse(self._payload(length)), received
        except BaseException:
            for descriptor in received:
                os.close(descriptor)
            raise

    def finish(self, seconds: float | None = None) -> bool:
        """Shut down our direction, wait until the other side has closed the channel, and close.

        Return whether it did so in so many seconds. Safe to call twice.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        ended = True
        try:
            self._socket.shutdown(socket.SHUT_WR)
            more = True
            while more:
                left = None if deadline is None else max(0.001, deadline - time.monotonic())
                self._socket.settimeout(left)
                more = bool(self._socket.recv(_CHUNK))
        except socket.timeout:  # it is not a TimeoutError before Python 3.10
            ended = False
        except OSError:  # reset, or closed already
            pass
        self.close()
        return ended

    def close(self) -> None:
        self._socket.close()

    def _payload(self, length: int) -> bytes:
        if length > _LONGEST:
            self._skip(length)
            raise ChannelError(f"a message of {length} bytes")
        return self._exactly(length, None)

    def _exactly(self, size: int, received: list[int] | None) -> bytes:
        data = b""
        while len(data) < size:
            data += self._some(size - len(data), received)
        return data

    def _skip(self, size: int) -> None:
        while size > 0:
            size -= len(self._some(min(size, _CHUNK), None))

    def _some(self, size: int, received: list[int] | None) -> bytes:
        """Return 1 to ``size`` bytes. If ``received`` is None, the kernel discards descriptors."""
        try:
            if received is None:
                data = self._socket.recv(size)
            else:
                data, came, flags, _ = socket.recv_fds(self._socket, size, _MOST_DESCRIPTORS)
                received += came
                if flags & socket.MSG_CTRUNC and len(came) < _MOST_DESCRIPTORS:  # no room here
                    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
                for descriptor in came:
                    os.set_inheritable(descriptor, False)
        except ConnectionResetError:
            data = b""
        except socket.timeout as error:  # it is not a TimeoutError before Python 3.10
            raise TimeoutError("no message in time") from error
        if not data:
            raise ChannelClosedError
        return data


def _parse(payload: bytes) -> Message:
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise ChannelError("not JSON") from error
    if not isinstance(message, dict):
        raise ChannelError("not an object")
    return message
