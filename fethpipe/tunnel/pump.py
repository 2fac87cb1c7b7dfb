"""The select loop: frames from the device to the stream, and from the stream to the device.

Rules:

1. Memory is bounded. While the stream cannot take more, the device is not read: its kernel queue
   fills and drops, as Ethernet does.
2. Frames from the stream are never dropped for lack of speed; the stream is not read faster than
   the device takes them.
3. One wake-up moves one batch each way, so that neither direction starves the other, and nothing
   ever waits for a batch to fill.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from select import select
from typing import NamedTuple

from ..device import Device, Filler, Offload
from ..errors import PeerSilentError
from ..system.stream import Stream
from ..wire.connection import (
    ConfigureReceived,
    Connection,
    Event,
    FramesReceived,
    PeerReady,
    SuperFramesReceived,
)
from ..wire.hello import Feature, Hello
from ..wire.offload import find_fault
from ..wire.slots import RecordSlots
from ..wire.superframe import LONG, PLAIN, SHORTEST, SUPER_FRAMES, VNET_LENGTH
from .keepalive import Keepalive

FLUSH_SECONDS = 1.0
"""How long the end of a tunnel waits for the stream to take what is left."""


class Ending(NamedTuple):
    """Why a pump stopped, in words, and whether somebody on this side asked for it, maybe by a
    signal.
    """

    reason: str
    requested: bool = False
    signal: int = 0


_NO_READER = Ending("the peer no longer reads the stream")
_LAST_READS = 64

# A super-frame that comes alone, a ping or a keystroke, does not go through all the layers: each
# call of a Python function costs 1 to 3 % of its round trip. So _forward does itself what _send and
# Framing.encode_one do, 7 % in all.
_PREFIX = SUPER_FRAMES.prefix
_LEAST_RECORD = _PREFIX.size + SHORTEST
_LONGEST_RECORD = _PREFIX.size + LONG

# So much is read at once: of frames, what stays in the processor's cache until the last of them is
# written; of super-frames, some of the longest, for a wake-up costs them more than the cache saves.
_FEW = 1 << 18
_MANY = 1 << 20

# After two batches of so many packets, all of one length that is worth it, more are likely to come.
_ALIKE = 8
_LEAST_SLOT = 256

Watch = Mapping[int, Callable[[], "Ending | None"]]
Periodic = Sequence["tuple[float, Callable[[], None]]"]


class Pump:
    """Move frames between a device and a stream until one of them ends.

    ``watch`` maps further descriptors to what is called when they are readable; an
    Ending that it returns ends the pump. ``periodic`` holds what is called every so many seconds.
    ``keepalive`` is the time in seconds after which an idle stream gets an empty record.
    ``on_peer`` is called with the peer's hello, ``on_configure`` with the words of ZeroTier's host.
    """

    def __init__(
        self,
        device: Device,
        stream: Stream,
        connection: Connection,
        *,
        watch: Watch | None = None,
        periodic: Periodic = (),
        keepalive: float | None = None,
        on_peer: Callable[[Hello], None] | None = None,
        on_configure: Callable[[Sequence[bytes]], None] | None = None,
    ) -> None:
        self._device = device
        self._stream = stream
        self._connection = connection
        self._watch = dict(watch or {})
        now = time.monotonic()
        self._timers = [_Timer(interval, now + interval, call) for interval, call in periodic]
        self._keepalive = Keepalive(keepalive) if keepalive else None
        if self._keepalive:
            interval = self._keepalive.interval
            self._timers.append(_Timer(interval, now + interval, self._keep_alive))
        self._on_peer = on_peer
        self._on_configure = on_configure
        self._filler = device.filler
        self._slots: RecordSlots | None = None
        self._length = 0  # of every packet of the last batch that had but one
        self._filling: tuple[Filler, RecordSlots] | None = None
        self._taker = device.offload
        self._offload: Offload | None = None  # once our device makes super-frames
        self._pending = b""
        self._ending: Ending | None = None

    def run(self) -> Ending:
        """Pump until an end, and return it.

        Raises ProtocolError, PeerSilentError, DeviceError, or OSError from a stream that fails.
        """
        _keep_freed_memory()
        try:
            return self._run()
        finally:
            if self._offload:  # the next peer may take none
                self._offload.disable()

    def _run(self) -> Ending:
        self._greet()
        device = self._device.fileno()
        incoming = self._stream.read_descriptor
        outgoing = [self._stream.write_descriptor]
        others = [*self._watch, incoming]
        with_device = [*others, device]
        nothing = ()
        timers = self._timers
        while self._ending is None:
            if self._pending:
                readable, writable, _ = select(others, outgoing, nothing, self._timeout())
                if writable:
                    self._send(b"")
            else:
                timeout = self._timeout() if timers else None
                readable, _, _ = select(with_device, nothing, nothing, timeout)
            for descriptor in readable:
                if descriptor == device:
                    if not self._pending:  # else the device waits, see rule 1
                        self._forward()
                elif descriptor == incoming:
                    self._receive()
                else:
                    self._attend(descriptor)
            if timers:
                self._tick()
        if self._ending is _NO_READER:
            return self._hear_out()
        self._flush()
        return self._ending

    def _greet(self) -> None:
        greeting = self._connection.send_hello()
        if self._keepalive and not greeting:  # an empty record too says that there will be more
            greeting = self._connection.send_keepalive()
        self._send(greeting)

    def _forward(self) -> None:
        if self._filling:
            self._fill(*self._filling)
            return
        offload = self._offload
        if offload is None:
            frames = self._device.read_frames()
            self._send(self._connection.send(frames))
            self._prepare_slots(frames)
            return
        packet = offload.read_lone()
        if not packet:
            packets = offload.read_super_frames()
            self._send_pieces(self._connection.send_super_frames(packets))
            self._prepare_slots(packets)
            return
        if self._keepalive:
            self._keepalive.sent = True
        try:
            self._pending = self._stream.write(_PREFIX.pack(len(packet)) + packet)
        except (BrokenPipeError, ConnectionResetError):
            self._lose_reader()

    def _prepare_slots(self, packets: Sequence[bytes]) -> None:
        """Have more of these read right into records, if they go on being as long as each other."""
        if len(packets) < _ALIKE or self._filler is None:
            return
        length = len(packets[0])
        if not _LEAST_SLOT <= length < LONG or len(set(map(len, packets))) > 1:
            return
        if self._length != length:
            self._length = length
            return
        if self._slots is None or self._slots.length != length:
            skipped = 0 if self._offload else self._filler.header
            self._slots = self._connection.slots(length, skipped=skipped)
        self._filling = (self._filler, self._slots) if self._slots else None

    def _fill(self, filler: Filler, slots: RecordSlots) -> None:
        count, others = filler.fill(slots)
        # One of another length ends a batch, so they had better be few.
        if count < (_ALIKE if others else 2):
            self._filling = None
            self._length = 0
        pieces: list[bytes | memoryview] = [slots.records(count)] if count else []
        if others and self._offload:
            pieces += self._connection.send_super_frames(others)
        elif others:
            pieces.append(self._connection.send(others))
        self._send_pieces(pieces)

    def _receive(self) -> None:
        data = self._stream.read(_MANY if self._connection.switched else _FEW)
        if data is None:
            return
        if not data:
            self._end_of_stream()
            return
        if self._keepalive:
            self._keepalive.heard = True
        if (
            self._offload
            and _LEAST_RECORD <= len(data) < _LONGEST_RECORD
            and self._connection.between_super_frames
            and _PREFIX.unpack_from(data)[0] == len(data) - _PREFIX.size
        ):
            packet = data[_PREFIX.size :]
            if packet[:VNET_LENGTH] == PLAIN or not find_fault(packet):
                self._offload.write_lone(packet)
                return
        for event in self._connection.receive(data):
            if isinstance(event, FramesReceived):
                self._device.write_frames(event.frames)
            elif isinstance(event, SuperFramesReceived):
                if self._taker:  # else we have not said that we take them
                    self._taker.write_super_frames(event.packets)
            else:
                self._act_on(event)

    def _act_on(self, event: Event) -> None:
        if isinstance(event, PeerReady):
            if self._on_peer:
                self._on_peer(event.hello)
            if self._keepalive and event.hello.keepalive:
                self._keepalive.expect(event.hello.keepalive / 1000)
            if self._taker and Feature.SUPER_FRAMES in event.hello.features:
                self._switch(self._taker, event.hello)
        elif isinstance(event, ConfigureReceived):
            if self._on_configure:
                self._on_configure(event.words)
            else:
                self._connection.counters.drop("configuration not supported")
        else:
            self._ending = Ending("the host asked for the end", requested=True)

    def _switch(self, offload: Offload, peer: Hello) -> None:
        """Send super-frames from now on; they come out of the device no sooner than we say so."""
        offload.enable(udp=Feature.UDP_SEGMENTS in peer.features)
        self._offload = offload
        self._slots = self._filling = None
        self._length = 0
        self._send(self._connection.send_switch())

    def _send(self, data: bytes | memoryview) -> None:
        """Write what is pending and then this; what the stream does not take is pending again."""
        if self._pending:
            data = self._pending + data
        if not data:
            return
        if self._keepalive:
            self._keepalive.sent = True
        try:
            self._pending = self._stream.write(data)
        except (BrokenPipeError, ConnectionResetError):
            self._lose_reader()

    def _send_pieces(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write these when nothing is pending."""
        if len(pieces) <= 1:
            self._send(pieces[0] if pieces else b"")
            return
        if self._keepalive:
            self._keepalive.sent = True
        try:
            self._pending = self._stream.write_pieces(pieces)
        except (BrokenPipeError, ConnectionResetError):
            self._lose_reader()

    def _lose_reader(self) -> None:
        self._pending = b""
        self._ending = _NO_READER

    def _hear_out(self) -> Ending:
        """Read what a peer has left that reads no more: why it went, or just its own end."""
        incoming = [self._stream.read_descriptor]
        self._ending = None
        for _ in range(_LAST_READS):
            if self._ending or not select(incoming, [], [], 0)[0]:
                break
            self._receive()
        return self._ending or _NO_READER

    def _end_of_stream(self) -> None:
        # A signal that came with the end (Ctrl-C reaches COMMAND as well) is the better reason.
        for descriptor in select(list(self._watch), [], [], 0)[0]:
            self._attend(descriptor)
        if self._ending is None:
            self._connection.receive_eof()
            self._ending = Ending("the peer closed the stream")

    def _attend(self, descriptor: int) -> None:
        self._ending = self._watch[descriptor]() or self._ending

    def _flush(self) -> None:
        """Let the stream take what is left, so that the peer's last record is whole."""
        deadline = time.monotonic() + FLUSH_SECONDS
        outgoing = [self._stream.write_descriptor]
        while self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select([], outgoing, [], left)[1]:
                return
            self._send(b"")

    def _timeout(self) -> float | None:
        if not self._timers:
            return None
        return max(0.0, min(timer.due for timer in self._timers) - time.monotonic())

    def _keep_alive(self) -> None:
        keepalive = self._keepalive
        if keepalive is None:
            return
        if self._connection.peer_keeps_alive:
            keepalive.expect()
        keepalive.tick()
        if keepalive.abandoned:
            raise PeerSilentError(
                f"the peer has been silent for {keepalive.patience:.4g} s",
                hint="check the network in between; --reconnect would start again",
            )
        if keepalive.owing and not self._pending:  # else the stream takes nothing
            self._send(self._connection.send_keepalive())

    def _tick(self) -> None:
        now = time.monotonic()
        for timer in self._timers:
            if now >= timer.due:
                timer.due = now + timer.interval
                timer.call()


def _keep_freed_memory() -> None:
    """Have the C library keep what a batch took for the next one.

    glibc gives memory back to the kernel, page by page, whenever 128 KiB at the end of the heap
    are free, and then takes it again. Freeing one large block raises that limit to twice its
    size (mallopt(3): M_MMAP_THRESHOLD).
    """
    bytes(1 << 22)


class _Timer:
    def __init__(self, interval: float, due: float, call: Callable[[], None]) -> None:
        self.interval = interval
        self.due = due
        self.call = call
