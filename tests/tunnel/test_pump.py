"""The pump between a device that the test plays and a stream whose other end it plays."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any, Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fethpipe.errors import DeviceError, PeerSilentError, ProtocolError, TruncatedError
from fethpipe.system.stream import Stream
from fethpipe.tunnel import pump as pump_module
from fethpipe.tunnel.ending import Ending, Watch
from fethpipe.tunnel.pump import Periodic, Pump
from fethpipe.wire.connection import (
    Connection,
    Event,
    FramesReceived,
    PeerReady,
    SuperFramesReceived,
)
from fethpipe.wire.framing import FRAMINGS, SUPER_FRAMES
from fethpipe.wire.hello import NONCE_LENGTH, Feature, Hello, decode_hello
from fethpipe.wire.superframe import PLAIN, SuperFrame
from tests.fakes import FakeDevice
from tests.patience import PATIENCE

OURS = Hello(b"o" * NONCE_LENGTH, mtu=1500, features=Feature.SUPER_FRAMES | Feature.UDP_SEGMENTS)
THEIRS = Hello(b"t" * NONCE_LENGTH, mtu=9000, features=Feature.SUPER_FRAMES)
STOPPED = Ending("the test stopped it", requested=True)


def frame(number: int, size: int = 60) -> bytes:
    """Return a frame of ``size`` bytes that carries a number."""
    return struct.pack("!6s6sHI", b"\xff" * 6, b"\2fakes", 0x88B5, number).ljust(size, b".")


def records(*payloads: bytes) -> bytes:
    """Return the payloads as they are on a u16be stream."""
    return b"".join(struct.pack("!H", len(payload)) + payload for payload in payloads)


class Rig:
    """A pump that runs in a thread. The test is the kernel behind its device, and the peer that it
    talks with over a socket. One of the kind SOCK_SEQPACKET has it read what was sent at once at
    once. Latency control would drop frames for a test that reads slowly.
    """

    def __init__(
        self,
        *,
        framing: str = "u16be",
        watch: Watch | None = None,
        periodic: Periodic = (),
        hello: Hello | None = None,
        keepalive: float | None = None,
        offload: bool = False,
        fills: bool = False,
        kind: socket.SocketKind = socket.SOCK_STREAM,
        room: int | None = None,
        waiting: Sequence[bytes] = (),
        said: bytes = b"",
        latency_control: bool = False,
    ) -> None:
        self.first: list[Event | None] = []
        with ExitStack() as stack:
            self.device = FakeDevice(offload=offload, fills=fills)
            stack.callback(self.device.close)
            self.emit(*waiting)
            self.peer, self._ours = map(stack.enter_context, socket.socketpair(type=kind))
            self.peer.settimeout(PATIENCE)
            if said:  # nothing, said in a packet, would be the end
                self.peer.sendall(said)
            if room:
                self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
            self._stopper, stopped = map(stack.enter_context, socket.socketpair())
            stream = Stream(self._ours.fileno(), self._ours.fileno())
            stack.enter_context(stream)
            pump = Pump(
                self.device,
                stream,
                Connection(FRAMINGS[framing], self.device.counters, hello=hello),
                watch={stopped.fileno(): lambda: STOPPED, **(watch or {})},
                periodic=periodic,
                keepalive=keepalive,
                on_first=self.first.append,
                latency_control=latency_control,
            )
            self._result = stack.enter_context(ThreadPoolExecutor(1)).submit(pump.run)
            self._resources = stack.pop_all()
        self.events: list[Event] = []
        self.received = self._receive()
        """The payloads that the peer gets, until the stream ends between two of them."""

    def emit(self, *frames: bytes) -> None:
        """Let the kernel send frames."""
        for each in frames:
            assert self.device.emit(each, seconds=PATIENCE)

    def absorb(self) -> bytes:
        """Return the next frame that the kernel got."""
        got = self.device.absorb(seconds=PATIENCE)
        assert got is not None
        return got

    def stop(self) -> None:
        """Ask for the end through the watch."""
        self._stopper.send(b"x")

    def ending(self) -> Ending:
        """Return how the pump ended, or raise what it raised."""
        return self._result.result(PATIENCE)

    def hang_up(self) -> None:
        """Close the stream, as its owner does behind a pump that has ended."""
        assert self._result.done()
        self._ours.shutdown(socket.SHUT_RDWR)

    def _receive(self) -> Iterator[bytes]:
        pending = b""
        while data := self.peer.recv(1 << 16):
            pending += data
            while len(pending) >= 2:
                end = 2 + int.from_bytes(pending[:2], "big")
                if len(pending) < end:
                    break
                yield pending[2:end]
                pending = pending[end:]
        assert not pending, "the stream ended inside a record"

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.peer.close()  # which spares the pump waiting for it
        self.stop()
        self._resources.close()


# --- frames -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 61, 62, 63, 1000, 1 << 16])
def test_records_become_frames_however_they_are_cut(size: int) -> None:
    frames = [frame(number) for number in range(50)]
    stream = records(*frames)
    with Rig() as rig:
        for start in range(0, len(stream), size):
            rig.peer.sendall(stream[start : start + size])
        assert [rig.absorb() for _ in frames] == frames


@pytest.mark.parametrize("size", [14, 60, 1514, 16384, 65535])
def test_frames_of_every_size_pass_both_ways(size: int) -> None:
    with Rig() as rig:
        rig.emit(frame(1, size))
        assert next(rig.received) == frame(1, size)
        rig.peer.sendall(records(frame(2, size)))
        assert rig.absorb() == frame(2, size)


def test_both_directions_at_once() -> None:
    with Rig() as rig:
        for start in range(0, 2000, 20):
            batch = [frame(number, 14 + number % 1500) for number in range(start, start + 20)]
            rig.emit(*batch)
            rig.peer.sendall(records(*batch))
            assert [next(rig.received) for _ in batch] == batch
            assert [rig.absorb() for _ in batch] == batch
        counters = rig.device.counters
        assert counters.frames_received == counters.frames_sent == 2000
        assert counters.bytes_received == counters.bytes_sent
        assert not counters.drops


# --- a peer that is slow ----------------------------------------------------------------------


def test_while_the_stream_is_full_the_device_is_not_read() -> None:
    with Rig() as rig:
        frames = _stuff(rig)
        # What it has taken is what the stream holds, and one batch.
        taken = rig.device.counters.frames_received
        assert taken < len(frames)
        # The other direction is open all the while.
        rig.peer.sendall(records(frame(1)))
        assert rig.absorb() == frame(1)
        assert rig.device.counters.frames_received == taken
        # And when the peer reads again, none of those that waited is lost.
        assert [next(rig.received) for _ in frames] == frames
        rig.emit(frame(2))
        assert next(rig.received) == frame(2)


@pytest.mark.parametrize("full", [False, True], ids=["idle", "full"])
def test_waiting_costs_no_processor_time(full: bool) -> None:
    with Rig(latency_control=True) as rig:
        if full:
            _stuff(rig)
        before = time.process_time()
        assert rig.device.absorb(seconds=0.2) is None
        assert time.process_time() - before < 0.1


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_records_stay_whole_when_the_stream_takes_parts_of_them(most: int) -> None:
    with Rig() as rig:
        frames = _stuff(rig)
        got = b""
        wanted = records(*frames)[: 500 * most]
        while len(got) < len(wanted):
            got += rig.peer.recv(most)
        assert got == wanted


def _stuff(rig: Rig, first: int = 0) -> list[bytes]:
    """Emit frames until the stream, and then the device's queue, is full, and return them."""
    frames: list[bytes] = []
    while rig.device.emit(frame(first + len(frames), 1514), seconds=0.2):
        frames.append(frame(first + len(frames), 1514))
        assert len(frames) < 10_000, "the device is read although nobody reads the stream"
    return frames


# --- frames as long as each other ---------------------------------------------------------------


_ROOM = 50
"""So many frames of some hundred bytes can wait in a device."""

WAYS: dict[str, dict[str, Any]] = {
    "by the batch": {},
    "in place": {"fills": True},
    "in place, without headers": {"fills": True, "offload": True},
    "in place, super-frames": {"fills": True, "offload": True, "hello": OURS},
}


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([60, 300, 301, 700]), st.integers(1, 50)), min_size=1, max_size=8
    )
)
@example([(300, 42), (301, 1), (300, 1), (301, 6)])
def test_frames_of_any_lengths_keep_their_order(way: str, runs: list[tuple[int, int]]) -> None:
    sizes = [size for size, count in runs for _ in range(count)][:_ROOM]
    frames = [frame(number, size) for number, size in enumerate(sizes)]
    with _waiting(way, frames) as (rig, peer):
        assert _take_frames(rig, peer, len(frames)) == frames
        assert rig.device.counters.frames_received == len(frames)


@pytest.mark.parametrize("way", [way for way in WAYS if way.startswith("in place")])
def test_only_frames_as_long_as_each_other_are_read_right_into_records(way: str) -> None:
    alike = [frame(number, 300) for number in range(42)]
    mixed = [frame(number, 300 + number % 2) for number in range(8)]
    with _waiting(way, alike + mixed) as (rig, peer):
        _take_frames(rig, peer, len(alike + mixed))
        assert rig.device.offload
        # Two batches come before, one of another length ends a batch, and a second one all of it.
        assert (rig.device.offload.batches, rig.device.offload.filled) == (2, 42 - 32 + 2)


@contextmanager
def _waiting(way: str, frames: list[bytes]) -> Iterator[tuple[Rig, Connection]]:
    """Have frames wait for a pump that starts, and what its peer says as well."""
    hello = THEIRS if "hello" in WAYS[way] else None
    peer = Connection(FRAMINGS["u16be"], hello=hello)
    with Rig(waiting=frames, said=peer.send_hello(), **WAYS[way]) as rig:
        yield rig, peer


def test_super_frames_as_long_as_each_other_follow_frames_that_were() -> None:
    peer = Connection(FRAMINGS["u16be"], hello=THEIRS)
    with Rig(hello=OURS, offload=True, fills=True) as rig:
        offload = rig.device.offload
        assert offload
        frames = _stuff(rig)
        got: list[bytes] = []
        while not offload.filled:
            got += _next_frames(rig, peer)
        frames += _stuff(rig, len(frames))
        rig.peer.sendall(peer.send_hello())  # while the device waits for the stream
        assert got + _take_frames(rig, peer, len(frames) - len(got)) == frames
        before = offload.filled
        frames = _stuff(rig)
        assert _take_frames(rig, peer, len(frames)) == frames
        assert offload.enabled
        assert offload.filled > before


def _take_frames(rig: Rig, peer: Connection, count: int) -> list[bytes]:
    """Return what the peer gets until it has got so many frames."""
    frames: list[bytes] = []
    while len(frames) < count:
        frames += _next_frames(rig, peer)
    return frames


def _next_frames(rig: Rig, peer: Connection) -> list[bytes]:
    event = _next_event(rig, peer)
    if isinstance(event, SuperFramesReceived):
        return [bytes(packet[len(PLAIN) :]) for packet in event.super_frames]
    return event.frames if isinstance(event, FramesReceived) else []


# --- ends ---------------------------------------------------------------------------------------


def test_the_peer_closes_the_stream() -> None:
    with Rig() as rig:
        rig.peer.sendall(records(frame(1)))
        rig.peer.shutdown(socket.SHUT_WR)
        assert rig.absorb() == frame(1)
        assert rig.ending() == Ending("the peer closed the stream")


def test_what_a_peer_has_said_before_it_stopped_reading_is_heard() -> None:
    frames = [frame(number) for number in range(40)]
    near, far = socket.socketpair(type=socket.SOCK_SEQPACKET)  # where a read returns one of them
    with near, far, closing(FakeDevice()) as device, Stream(near.fileno(), near.fileno()) as stream:
        for each in frames:
            far.send(records(each))
        far.shutdown(socket.SHUT_RD)
        assert device.emit(frame(99), seconds=0)
        ending = Pump(device, stream, Connection(FRAMINGS["u16be"])).run()
        assert ending == Ending("the peer no longer reads the stream")
        assert [device.absorb(seconds=0) for _ in frames] == frames


def test_the_peer_closes_the_stream_inside_a_record() -> None:
    with Rig() as rig:
        rig.peer.sendall(records(frame(1), frame(2))[:-1])
        rig.peer.shutdown(socket.SHUT_WR)
        assert rig.absorb() == frame(1)
        with pytest.raises(TruncatedError, match="61 of at least 62 bytes"):
            rig.ending()


def test_the_peer_stops_reading_for_good() -> None:
    with Rig() as rig:
        rig.peer.shutdown(socket.SHUT_RD)
        rig.emit(frame(1))
        assert rig.ending() == Ending("the peer no longer reads the stream")


def test_the_peer_goes_while_the_stream_is_full() -> None:
    with Rig() as rig:
        _stuff(rig)
        rig.peer.close()
        assert not rig.ending().requested


def test_the_stream_is_not_in_this_framing() -> None:
    with Rig() as rig:
        rig.peer.sendall(b"Welcome to this machine\n")
        with pytest.raises(ProtocolError, match="'Welcome to this machine"):
            rig.ending()


@pytest.mark.parametrize("full", [False, True], ids=["idle", "while the stream is full"])
def test_the_device_goes(full: bool) -> None:
    with Rig() as rig:
        if full:
            _stuff(rig)
        rig.device.vanish()
        if full:
            rig.peer.sendall(records(frame(1)))
        with pytest.raises(DeviceError, match="fake0 has gone"):
            rig.ending()


def test_the_host_of_a_zerotier_stream_asks_for_the_end() -> None:
    with Rig(framing="zerotier") as rig:
        rig.peer.sendall(struct.pack("=HB", 1, 1) + struct.pack("=HB", 1, 2))
        assert rig.ending().reason == "the host asked the agent to end"
        assert rig.device.counters.drops == {"configuration not supported": 1}


def test_what_was_asked_for_outranks_the_end_that_came_with_it() -> None:
    """Ctrl-C ends COMMAND too, and with it the stream; the reason is still Ctrl-C."""
    with _Chain() as chain:
        # First the stream ends; and while that is looked at, somebody asks for the end as well.
        chain.then(lambda: rig.peer.shutdown(socket.SHUT_WR))
        chain.then(chain.ask)
        with Rig(watch=chain.watch) as rig:
            chain.start()
            assert rig.ending() == STOPPED


def test_an_end_is_not_forgotten_for_what_comes_with_it() -> None:
    near, far = socket.socketpair()
    with near, far, _Chain() as chain:

        def both_come_at_once() -> None:
            chain.ask()
            near.send(b"x")

        chain.then(both_come_at_once)
        with Rig(watch={**chain.watch, far.fileno(): lambda: None}) as rig:
            chain.start()
            assert rig.ending() == STOPPED


class _Chain:
    """Steps that the pump takes one by one, each in a wake-up of its own, and a last one that asks
    for the end.
    """

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []
        self._pull, self._pulled = socket.socketpair()
        self._ask, self._asked = socket.socketpair()
        self.watch: Watch = {
            self._pulled.fileno(): self._step,
            self._asked.fileno(): lambda: STOPPED,
        }

    def then(self, step: Callable[[], object]) -> None:
        self._steps.append(step)

    def start(self) -> None:
        self._pull.send(b"x" * len(self._steps))

    def ask(self) -> None:
        self._ask.send(b"x")

    def _step(self) -> None:
        if self._pulled.recv(1):
            self._steps.pop(0)()

    def __enter__(self) -> _Chain:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for end in (self._pull, self._pulled, self._ask, self._asked):
            end.close()


@pytest.mark.parametrize("half_closed", [False, True], ids=["stopped here", "closed by the peer"])
def test_the_end_leaves_the_last_record_whole(half_closed: bool) -> None:
    with Rig() as rig:
        frames = _stuff(rig)
        if half_closed:
            rig.peer.shutdown(socket.SHUT_WR)
        else:
            rig.stop()
        got = [next(rig.received) for _ in range(rig.device.counters.frames_received)]
        rig.ending()
        rig.hang_up()
        got += rig.received  # which checks that the last is whole
        assert got == frames[: len(got)]


def test_the_end_waits_for_a_peer_that_does_not_read_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pump_module, "FLUSH_SECONDS", 0.05)
    with Rig() as rig:
        _stuff(rig)
        rig.stop()
        assert rig.ending() == STOPPED


# --- what else is attended to -------------------------------------------------------------------


@pytest.mark.parametrize("full", [False, True], ids=["idle", "while the stream is full"])
def test_a_watch_without_an_end_is_called_each_time(full: bool) -> None:
    near, far = socket.socketpair()
    with near, far:
        far.settimeout(PATIENCE)
        with Rig(watch={near.fileno(): lambda: near.sendall(near.recv(1))}) as rig:
            frames = _stuff(rig) if full else [frame(1)]
            for number in range(100):
                far.send(bytes([number]))
                assert far.recv(1) == bytes([number])
            if not full:
                rig.emit(*frames)
            assert next(rig.received) == frames[0]


@pytest.mark.parametrize("full", [False, True], ids=["idle", "while the stream is full"])
def test_what_is_periodic_is_called_again_and_again(full: bool) -> None:
    near, far = socket.socketpair()
    with near, far:
        far.settimeout(PATIENCE)
        started = time.monotonic()
        periodic = [(0.05, lambda: near.sendall(b"often")), (3600.0, lambda: near.sendall(b"rare"))]
        with Rig(periodic=periodic) as rig:
            if full:
                _stuff(rig)
            for _ in range(4):
                assert far.recv(5) == b"often"
            assert time.monotonic() - started >= 4 * 0.05


def test_what_is_periodic_does_not_wait_for_frames_to_stop() -> None:
    near, far = socket.socketpair()
    with near, far:
        far.setblocking(False)
        with Rig(periodic=[(0.02, lambda: near.sendall(b"x"))]) as rig:
            deadline = time.monotonic() + PATIENCE
            calls = 0
            while calls < 3:
                assert time.monotonic() < deadline
                rig.emit(frame(1))
                assert next(rig.received) == frame(1)
                with suppress(BlockingIOError):
                    calls += len(far.recv(100))


def test_an_error_that_the_stream_tells_once_is_not_missed() -> None:
    """After it, a socket has nothing more to tell."""
    device = FakeDevice()
    with closing(device), socket.socket(type=socket.SOCK_DGRAM) as ours:
        with socket.socket(type=socket.SOCK_DGRAM) as nobody:
            nobody.bind(("127.0.0.1", 0))
            ours.connect(nobody.getsockname())
        with Stream(ours.fileno(), ours.fileno()) as stream:
            late = [(PATIENCE, lambda: pytest.fail("the error was missed"))]
            pump = Pump(device, stream, Connection(FRAMINGS["u16be"]), periodic=late)
            ours.send(b"refused")
            with pytest.raises(ConnectionRefusedError):
                pump.run()


# --- between two fethpipes ------------------------------------------------------------------------


def test_a_hello_goes_first_and_waits_for_none() -> None:
    with Rig(hello=OURS) as rig:
        assert decode_hello(next(rig.received)) == OURS
        assert next(rig.received) == b""
        rig.emit(frame(1))
        assert next(rig.received) == frame(1)
        rig.peer.sendall(records(frame(2)))
        assert rig.absorb() == frame(2)
        assert rig.first == [FramesReceived([frame(2)])]


def test_super_frames_flow_once_both_have_said_that_they_take_them() -> None:
    peer = Connection(FRAMINGS["u16be"], hello=THEIRS)
    with Rig(hello=OURS, offload=True) as rig:
        offload = rig.device.offload
        assert offload is not None
        rig.peer.sendall(peer.send_hello() + peer.send([frame(1)]))
        assert rig.absorb() == frame(1)
        assert rig.first == [PeerReady(THEIRS)]
        assert offload.enabled
        assert not offload.enabled_udp  # which the peer does not take

        rig.emit(frame(2))
        assert _next_event(rig, peer) == PeerReady(OURS)
        assert _next_event(rig, peer) == SuperFramesReceived([PLAIN + frame(2)])

        rig.peer.sendall(peer.send_switch())
        rig.peer.sendall(b"".join(peer.send_super_frames([PLAIN + frame(3)])))
        assert rig.absorb() == frame(3)

        rig.stop()
        rig.ending()
        assert not offload.enabled


def test_super_frames_that_come_alone_keep_their_order_among_others() -> None:
    with _met() as (rig, peer):
        rig.peer.sendall(peer.send_switch())
        for number in range(1, 10):
            rig.emit(frame(number))
            assert _next_event(rig, peer) == SuperFramesReceived([PLAIN + frame(number)])
            rig.peer.sendall(b"".join(peer.send_super_frames([PLAIN + frame(number)])))
            assert rig.absorb() == frame(number)
        for number in range(10, 20):
            rig.emit(frame(number))
        assert _next_packets(rig, peer, 10) == [PLAIN + frame(number) for number in range(10, 20)]


_LONE = PLAIN + frame(1)
_RECORD = SUPER_FRAMES.encode([_LONE])


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([_RECORD, _RECORD], id="whole"),
        pytest.param([_RECORD * 2], id="two at once"),
        pytest.param([_RECORD[:3], _RECORD[3:]], id="cut in its length"),
        pytest.param([_RECORD[:-1], _RECORD[-1:]], id="cut before its end"),
        pytest.param([_RECORD + _RECORD[:30], _RECORD[30:]], id="one and a half"),
        pytest.param(
            # The rest of a record may look like one.
            [SUPER_FRAMES.encode([_LONE + _RECORD])[: -len(_RECORD)], _RECORD],
            id="one inside of another",
        ),
        pytest.param([SUPER_FRAMES.encode([b""])], id="empty"),
        pytest.param([SUPER_FRAMES.encode([PLAIN + bytes(13)])], id="no frame"),
        pytest.param([SUPER_FRAMES.encode([b"\xff" + _LONE[1:]])], id="unknown flags"),
        pytest.param([SUPER_FRAMES.encode([PLAIN + frame(1, 5000)])], id="long"),
    ],
)
def test_records_that_come_alone_are_taken_as_others_are(chunks: list[bytes]) -> None:
    peer, twin = (Connection(FRAMINGS["u16be"], hello=each) for each in (THEIRS, OURS))
    with Rig(hello=OURS, offload=True, kind=socket.SOCK_SEQPACKET) as rig:
        twin.receive(peer.send_hello())
        rig.peer.sendall(peer.send_hello())
        assert _next_event(rig, peer) == PeerReady(OURS)
        switch = peer.send_switch()
        chunks = [switch, *chunks, SUPER_FRAMES.encode([PLAIN + frame(99)])]
        events = [event for chunk in chunks for event in twin.receive(chunk)]
        for chunk in chunks:
            rig.peer.sendall(chunk)
        for event in events:
            assert isinstance(event, SuperFramesReceived)
            for packet in event.super_frames:
                assert rig.absorb() == packet[len(PLAIN) :]
        assert rig.device.counters.drops == twin.counters.drops


def test_a_super_frame_alone_waits_for_a_stream_that_is_full() -> None:
    with _met() as (rig, peer):
        sent = 0
        while rig.device.emit(frame(sent, 1000), seconds=0.2):  # one by one, until nothing moves
            sent += 1
        assert rig.device.counters.frames_received < sent
        assert _next_packets(rig, peer, sent) == [
            PLAIN + frame(number, 1000) for number in range(sent)
        ]


def test_a_super_frame_alone_that_is_longer_than_the_stream_has_room_for_is_sent_whole() -> None:
    with _met(room=1 << 14) as (rig, peer):
        for number in range(10):
            rig.emit(frame(number, 40000))
            assert _next_event(rig, peer) == SuperFramesReceived([PLAIN + frame(number, 40000)])


def test_a_peer_that_no_longer_reads_is_an_end_for_a_super_frame_alone_too() -> None:
    with _met() as (rig, peer):
        rig.emit(frame(1))  # what comes next is taken to be alone
        assert _next_event(rig, peer) == SuperFramesReceived([PLAIN + frame(1)])
        rig.peer.shutdown(socket.SHUT_RD)
        rig.emit(frame(2))
        assert rig.ending() == Ending("the peer no longer reads the stream")


@pytest.mark.parametrize(
    ("offload", "features"),
    [(False, Feature.SUPER_FRAMES), (True, Feature(0))],
    ids=["the device makes none", "the peer takes none"],
)
def test_frames_stay_frames(offload: bool, features: Feature) -> None:
    theirs = THEIRS._replace(features=features)
    peer = Connection(FRAMINGS["u16be"], hello=theirs)
    with Rig(hello=OURS._replace(features=Feature(0)), offload=offload) as rig:
        rig.peer.sendall(peer.send_hello() + peer.send([frame(1)]))
        assert rig.absorb() == frame(1)
        rig.emit(frame(2))
        assert decode_hello(next(rig.received))
        assert next(rig.received) == b""
        assert next(rig.received) == frame(2)


@contextmanager
def _met(room: int | None = None) -> Iterator[tuple[Rig, Connection]]:
    """Yield a pump that may send super-frames to its peer."""
    peer = Connection(FRAMINGS["u16be"], hello=THEIRS)
    with Rig(hello=OURS, offload=True, room=room) as rig:
        rig.peer.sendall(peer.send_hello())
        assert _next_event(rig, peer) == PeerReady(OURS)
        yield rig, peer


def _next_packets(rig: Rig, peer: Connection, count: int) -> list[SuperFrame]:
    packets: list[SuperFrame] = []
    while len(packets) < count:
        event = _next_event(rig, peer)
        assert isinstance(event, SuperFramesReceived)
        packets += event.super_frames
    return packets


def _next_event(rig: Rig, peer: Connection) -> Event:
    while not rig.events:
        rig.events += peer.receive(rig.peer.recv(1 << 16))
    return rig.events.pop(0)


def test_an_idle_stream_is_kept_alive_and_a_silent_peer_is_not_missed() -> None:
    with Rig(keepalive=0.02) as rig:
        for _ in range(20):  # far longer than a peer may be silent that has promised to speak
            assert next(rig.received) == b""
        rig.peer.sendall(records(frame(1)))
        assert rig.absorb() == frame(1)


def test_a_stream_with_traffic_needs_nothing_to_keep_it_alive() -> None:
    with Rig(keepalive=0.3) as rig:
        assert next(rig.received) == b""  # the promise
        started = time.monotonic()
        while time.monotonic() < started + 0.6:
            rig.emit(frame(1))
            assert next(rig.received) == frame(1)


def test_a_peer_that_was_kept_alive_and_falls_silent_is_given_up() -> None:
    with Rig(keepalive=0.05) as rig:
        started = time.monotonic()
        rig.peer.sendall(records(b""))
        with pytest.raises(PeerSilentError, match=r"silent for 0\.15 s"):
            rig.ending()
        assert time.monotonic() - started >= 2 * 0.05


def test_a_peer_that_speaks_is_not_given_up() -> None:
    with Rig(keepalive=0.2) as rig:
        for _ in range(5):  # longer than it may be silent
            rig.peer.sendall(records(b""))
            assert next(rig.received) == b""
        rig.stop()
        assert rig.ending() == STOPPED
