"""The other end of a fethpipe's stream, played by the test."""

from __future__ import annotations

import os
import select
import struct
import time
from collections.abc import Sequence
from typing import Callable

from fethpipe.wire.connection import Connection
from fethpipe.wire.framing import FRAMINGS
from fethpipe.wire.hello import NONCE_LENGTH, Feature, Hello
from tests.closing import Closing
from tests.live.ethernet import is_test_frame
from tests.live.netns import Namespace, readable
from tests.live.programs import FETHPIPE, Fethpipe
from tests.patience import PATIENCE


def records(*payloads: bytes, prefix: str = ">H") -> bytes:
    """Return the bytes of these payloads on the stream; ``prefix`` is a struct format."""
    return b"".join(struct.pack(prefix, len(payload)) + payload for payload in payloads)


class Peer(Closing):
    """Two pipes to one fethpipe."""

    def __init__(self, *, prefix: str = ">H") -> None:
        self._prefix = struct.Struct(prefix)
        self._its_stdin, self._outgoing = os.pipe()
        self._incoming, self._its_stdout = os.pipe()
        self._pending = b""

    def start(
        self, namespace: Namespace, *arguments: str, launcher: Sequence[str] = FETHPIPE
    ) -> Fethpipe:
        """Start the fethpipe on these pipes."""
        program = Fethpipe(
            namespace,
            *arguments,
            stdin=self._its_stdin,
            stdout=self._its_stdout,
            launcher=launcher,
        )
        self._its_stdin = _closed(self._its_stdin)
        self._its_stdout = _closed(self._its_stdout)
        return program

    def send(self, data: bytes) -> None:
        """Write bytes to the stream."""
        while data:
            assert select.select([], [self._outgoing], [], PATIENCE)[1], "the stream is stuck"
            data = data[os.write(self._outgoing, data) :]

    def put(self, frame: bytes) -> None:
        """Send a frame."""
        self.send(struct.pack(self._prefix.format, len(frame)) + frame)

    def say_hello(self) -> Connection:
        """Say hello as one who takes super-frames, and return the connection once both switch."""
        hello = Hello(bytes(NONCE_LENGTH), mtu=1500, features=Feature.SUPER_FRAMES)
        connection = Connection(FRAMINGS["u16be"], hello=hello)
        self.send(connection.send_hello())
        while connection.peer is None:
            for payload in self.read():
                connection.receive(records(payload))
        self.send(connection.send_switch())
        return connection

    def fileno(self) -> int:
        """Return the descriptor that records come from."""
        return self._incoming

    def read(self) -> list[bytes]:
        """Read once, and return the records that are whole."""
        self._pending += os.read(self._incoming, 1 << 16)
        found = []
        while (payload := self._take_record()) is not None:
            found.append(payload)
        return found

    def receive(self, wanted: Callable[[bytes], bool] = is_test_frame) -> bytes:
        """Return the next frame of interest from the stream."""
        deadline = time.monotonic() + PATIENCE
        while True:
            payload = self._take_record()
            if payload is None:
                assert readable(self._incoming, deadline - time.monotonic()), "no frame came"
                chunk = os.read(self._incoming, 1 << 16)
                assert chunk, "the stream ended"
                self._pending += chunk
            elif wanted(payload):
                return payload

    def _take_record(self) -> bytes | None:
        size = self._prefix.size
        if len(self._pending) < size:
            return None
        (length,) = self._prefix.unpack_from(self._pending)
        if len(self._pending) < size + length:
            return None
        payload = self._pending[size : size + length]
        self._pending = self._pending[size + length :]
        return payload

    def is_full(self) -> bool:
        """Return whether the pipe from the fethpipe has no room, but for the rest of a page."""
        writer = os.open(f"/proc/self/fd/{self._incoming}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            return not select.select([], [writer], [], 0)[1]
        finally:
            os.close(writer)

    def stop_sending(self) -> None:
        """Close the pipe towards the fethpipe."""
        self._outgoing = _closed(self._outgoing)

    def stop_receiving(self) -> None:
        """Close the pipe from the fethpipe."""
        self._incoming = _closed(self._incoming)

    def close(self) -> None:
        """Close everything; safe to call twice."""
        self._its_stdin = _closed(self._its_stdin)
        self._its_stdout = _closed(self._its_stdout)
        self.stop_sending()
        self.stop_receiving()


def _closed(descriptor: int) -> int:
    if descriptor >= 0:
        os.close(descriptor)
    return -1
