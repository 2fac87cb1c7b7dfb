"""The main job on macOS: the IP stack of this Mac talks through a tunnel to a simulated host.

A fethpipe is started as a user starts it, with its stream on two pipes. At their other end is a
simulated host: it answers ARP, and sends each datagram back with the two addresses exchanged, which
changes no checksum. Source and destination port are the same, so they need no exchange; that makes
it work for fragments too, which have no ports.
"""

from __future__ import annotations

import os
import select
import socket
import statistics
import time
from contextlib import ExitStack, closing
from ipaddress import IPv4Address

from ..errors import SystemFailureError, os_errors_as
from ..ether.responder import Responder
from ..netif.darwin import interface_names
from ..stats import Counters
from ..system.stream import Stream
from ..wire.connection import Connection, FramesReceived
from ..wire.framing import FRAMINGS
from .deadline import Deadline
from .endpoint import End
from .report import Report

_BUDGET_SECONDS = 8.0
_ADDRESS, _OTHER, _PREFIX = "203.0.113.1", "203.0.113.2", 24  # reserved for documentation
_OTHER_MAC = bytes.fromhex("0200 5e00 5332")

_ECHOES = 20
# In bytes, as on Linux. The last one is sent in fragments.
_SIZES = (0, 1, 18, 512, 1472, 1473, 9000)
_FULL = 1472
_FLOOD_SECONDS = 0.5
_PATIENCE_SECONDS = 2.0
_WINDOW = 16
"""The number of datagrams on the way at once: few enough for every queue in between."""

_IPV4 = b"\x08\x00"
_RESPONDER = Responder(IPv4Address(_OTHER), _OTHER_MAC)


def reflect(report: Report) -> None:
    """Show that the main job works. Raises SystemFailureError at the first thing that fails."""
    deadline = Deadline(_BUDGET_SECONDS)
    with ExitStack() as ends:
        with ExitStack() as theirs:
            their_input, our_output = os.pipe()
            our_input, their_output = os.pipe()
            theirs.callback(os.close, their_input)
            theirs.callback(os.close, their_output)
            ends.callback(os.close, our_output)
            ends.callback(os.close, our_input)
            made = End(
                "tunnel",
                ["-q", f"--address={_ADDRESS}/{_PREFIX}"],
                report,
                stdin=their_input,
                stdout=their_output,
                exists=lambda interface: interface in interface_names(),
            )
            end = ends.enter_context(closing(made))
        end.wait_ready(deadline)
        stream = ends.enter_context(Stream(our_input, our_output))
        mirror = _Mirror(stream, deadline)
        ends.callback(mirror.close)
        _try_echoes(report, mirror)
        _try_flood(report, mirror)
        end.stop()
        end.wait_ended(deadline)


def answer(frame: bytes) -> bytes | None:
    """Return the answer of the simulated host to a frame, None if there is none."""
    if frame[12:14] == _IPV4 and frame[30:34] == _RESPONDER.address.packed:
        head = frame[6:12] + _OTHER_MAC + frame[12:26]
        return head + frame[30:34] + frame[26:30] + frame[34:]
    reply = _RESPONDER.answer(frame)
    return reply.frame if reply else None


class _Mirror:
    """The simulated host at the other end of the stream, and a socket that talks to it."""

    def __init__(self, stream: Stream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline
        self._connection = Connection(FRAMINGS["u16be"], Counters(), hello=None)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((_ADDRESS, 0))
        self._udp.connect((_OTHER, self._udp.getsockname()[1]))
        self._udp.setblocking(False)

    def send(self, payload: bytes) -> None:
        self._udp.send(payload)

    def receive(self) -> bytes:
        """Return the next datagram that comes back. Raises TimeoutError if none comes."""
        end = time.monotonic() + min(_PATIENCE_SECONDS, self._deadline.left())
        while True:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("nothing came back")
            writing = [self._stream.write_descriptor] if self._stream.pending else []
            udp, incoming = self._udp.fileno(), self._stream.read_descriptor
            readable, writable, _ = select.select([udp, incoming], writing, [], left)
            if udp in readable:
                return self._udp.recv(1 << 16)
            if incoming in readable:
                self._reflect()
            if writable:
                self._stream.write(b"")

    def close(self) -> None:
        self._udp.close()

    def _reflect(self) -> None:
        data = self._stream.read()
        if data == b"":
            raise SystemFailureError("the tunnel ended too early")
        for event in self._connection.receive(data or b""):
            if isinstance(event, FramesReceived):
                answers = [reply for frame in event.frames if (reply := answer(bytes(frame)))]
                self._stream.write(self._connection.send(answers))


def _try_echoes(report: Report, mirror: _Mirror) -> None:
    times = []
    with os_errors_as("no answer through the tunnel"):
        for _ in range(_ECHOES):
            started = time.perf_counter()
            _echo(mirror, 56)
            times.append(time.perf_counter() - started)
    report.say(f"tunnel: {_ECHOES} answers, median {statistics.median(times) * 1000:.2f} ms")
    for size in _SIZES:
        with os_errors_as(f"no answer to a datagram of {size} bytes"):
            _echo(mirror, size)
    report.say(f"tunnel: datagrams of {_SIZES[0]} to {_SIZES[-1]} bytes came back unchanged")


def _echo(mirror: _Mirror, size: int) -> None:
    payload = os.urandom(size)
    mirror.send(payload)
    if mirror.receive() != payload:
        raise SystemFailureError(f"a datagram of {size} bytes came back changed")


def _try_flood(report: Report, mirror: _Mirror) -> None:
    """Keep a few full frames on the way for a while. None may be lost."""
    payload = os.urandom(_FULL)
    came = 0
    started = time.perf_counter()
    with os_errors_as("a datagram was lost"):
        for _ in range(_WINDOW):
            mirror.send(payload)
        while (passed := time.perf_counter() - started) < _FLOOD_SECONDS:
            mirror.receive()
            came += 1
            mirror.send(payload)
        for _ in range(_WINDOW):
            mirror.receive()
    rate = came / passed
    report.say(f"tunnel: {rate:.0f} full frames/s each way, {8e-6 * 1514 * rate:.0f} Mbit/s")
