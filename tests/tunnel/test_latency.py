"""Latency control in the pump: what waits while the peer reports nothing, and what goes then."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import islice
from select import select

import pytest

from fethpipe.flow.control import BATCH, Control
from fethpipe.flow.reporter import STEP
from fethpipe.flow.window import FIRST, Window
from fethpipe.stats import format_counters
from fethpipe.system.stream import Stream
from fethpipe.tunnel.ending import Ending
from fethpipe.tunnel.forward import Forward
from fethpipe.tunnel.pump import Pump
from fethpipe.wire.connection import Connection
from fethpipe.wire.framing import FRAMINGS
from fethpipe.wire.hello import Feature, Hello
from fethpipe.wire.report import REPORT_LENGTH, Report, decode_report, encode_report
from fethpipe.wire.superframe import PLAIN
from tests.fakes import BATCH_FRAMES, FakeDevice
from tests.flow.packets import tcp
from tests.patience import PATIENCE

UPLOAD, PING = tcp(1, 1514), tcp(2, 98)
OURS = Hello(bytes(range(16)), mtu=1500, features=Feature.REPORTS)
THEIRS = OURS._replace(nonce=bytes(16))
MORE_THAN_THE_DEVICE_HOLDS = 600


class Rig:
    """A pump whose peer and whose device's kernel are the test."""

    def __init__(
        self, device: FakeDevice, peer: socket.socket, control: Control, said: bytes
    ) -> None:
        self.device = device
        self.control = control
        self.peer = peer
        self.sent = len(said)  # to the pump
        self.taken = 0  # from it
        peer.sendall(said)
        self.payloads = self._receive()
        next(self.payloads)  # the hello
        next(self.payloads)  # the empty record that confirms it

    def emit(self, *frames: bytes) -> None:
        for frame in frames:
            assert self.device.emit(frame, seconds=PATIENCE)

    def say(self, payload: bytes) -> None:
        record = len(payload).to_bytes(2, "big") + payload
        self.sent += len(record)
        self.peer.sendall(record)

    def report(self, seconds: float, *, near: bool = False) -> None:
        self.say(encode_report(self.taken, seconds, near=near))

    def read_report(self) -> Report:
        """Return the next report, and pass over frames."""
        while len(payload := next(self.payloads)) != REPORT_LENGTH:
            pass
        return decode_report(payload)

    def has_more(self) -> bool:
        self.peer.settimeout(0.2)
        try:
            return bool(self.peer.recv(1, socket.MSG_PEEK))
        except socket.timeout:
            return False
        finally:
            self.peer.settimeout(PATIENCE)

    def read_slowly(self) -> list[bytes]:
        select([], [], [], 0.01)
        return [next(self.payloads) for _ in range(10)]

    def unread(self) -> int:
        """Return how many bytes from the pump lie in the socket."""
        answer = fcntl.ioctl(self.peer, termios.FIONREAD, bytes(4))
        return int.from_bytes(answer, sys.byteorder)

    def _receive(self) -> Iterator[bytes]:
        """Yield payloads; what was yielded counts as taken."""
        while prefix := self.peer.recv(2, socket.MSG_WAITALL):
            length = int.from_bytes(prefix, "big")
            payload = self.peer.recv(length, socket.MSG_WAITALL) if length else b""
            self.taken += 2 + len(payload)
            yield payload


@contextmanager
def rig(
    *, latency_control: bool = True, theirs: Hello = THEIRS, holds: int = 1 << 21
) -> Iterator[Rig]:
    with ExitStack() as stack:
        device = FakeDevice()
        stack.callback(device.close)
        peer, ours = map(stack.enter_context, socket.socketpair())
        peer.settimeout(PATIENCE)
        for end in peer, ours:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, holds)
        stream = stack.enter_context(Stream(ours.fileno(), ours.fileno()))
        connection = Connection(FRAMINGS["u16be"], device.counters, hello=OURS)
        pump = Pump(device, stream, connection, latency_control=latency_control)
        pool = stack.enter_context(ThreadPoolExecutor(1))
        running = pool.submit(pump.run)
        hello = Connection(FRAMINGS["u16be"], hello=theirs).send_hello()
        try:
            yield Rig(device, peer, pump.control, hello)
        finally:
            peer.shutdown(socket.SHUT_WR)
        assert isinstance(running.result(PATIENCE), Ending)


def fill(at: Rig) -> int:
    """Have more wait than the window lets out, and return how many frames came at once."""
    at.say(PING)  # once it is through, the hello before it has been read
    assert at.device.absorb(seconds=PATIENCE) == PING
    at.emit(*[UPLOAD] * MORE_THAN_THE_DEVICE_HOLDS)
    count = 0
    while at.has_more() and at.taken <= FIRST + 2 * len(UPLOAD):
        assert next(at.payloads) == UPLOAD
        count += 1
    return count


def test_without_a_report_little_is_on_the_way_and_the_device_is_read() -> None:
    with rig() as at:
        count = fill(at)

        assert 0 < count < MORE_THAN_THE_DEVICE_HOLDS
        assert at.taken <= FIRST + 2 * len(UPLOAD)


def test_a_report_lets_more_go_and_a_ping_before_the_rest() -> None:
    with rig() as at:
        fill(at)
        at.emit(PING)

        at.report(1.0)

        assert PING in list(islice(at.payloads, 5))


def test_without_latency_control_everything_goes() -> None:
    with rig(latency_control=False) as at:
        at.emit(*[UPLOAD] * MORE_THAN_THE_DEVICE_HOLDS)

        received = list(islice(at.payloads, MORE_THAN_THE_DEVICE_HOLDS))

        assert received == [UPLOAD] * MORE_THAN_THE_DEVICE_HOLDS
        assert at.taken > BATCH
        assert format_counters(at.device.counters).endswith("; latency control off")


def test_towards_a_peer_without_reports_everything_goes() -> None:
    with rig(theirs=THEIRS._replace(features=Feature(0))) as at:
        at.emit(*[UPLOAD] * MORE_THAN_THE_DEVICE_HOLDS)

        assert len(list(islice(at.payloads, MORE_THAN_THE_DEVICE_HOLDS))) > 0
        at.say(UPLOAD)
        at.say(UPLOAD)
        assert at.device.absorb(seconds=PATIENCE) == UPLOAD
        assert not at.has_more(), "it gets no reports either"


def test_what_a_slow_reader_without_reports_has_unread_is_bounded() -> None:
    """It reads some 1.6 Mbyte/s; half a second of that fills what the socket holds at first."""
    with rig(theirs=THEIRS._replace(features=Feature(0)), holds=1 << 19) as at:
        deadline = time.monotonic() + PATIENCE
        emitted, most, unread = 0, 0, 1
        while most < 1 << 18 or unread > 1 << 17:
            assert time.monotonic() < deadline, f"{unread} bytes lie unread"
            emitted += sum(at.device.emit(UPLOAD, seconds=0) for _ in range(40))
            assert at.read_slowly() == [UPLOAD] * 10
            unread = at.unread()
            most = max(most, unread)

        at.emit(PING)
        passed: list[bytes] = []
        while at.device.counters.frames_received <= emitted:
            assert time.monotonic() < deadline, "the device is not read"
            passed += at.read_slowly()
        # Before it: what lies in the socket, and the frame whose turn it is; or the batch that the
        # ping is in, if nothing waits, because this thread stood still for so long.
        ahead = at.unread() // len(UPLOAD) + BATCH_FRAMES
        assert PING in passed or PING in islice(at.payloads, ahead)


@pytest.mark.parametrize("latency_control", [True, False])
def test_what_is_taken_is_reported(latency_control: bool) -> None:
    with rig(latency_control=latency_control) as at:
        at.say(UPLOAD)
        at.say(UPLOAD)

        reports: list[Report] = []
        while not reports or reports[-1].taken < at.sent - STEP:
            payload = next(at.payloads)
            assert len(payload) == REPORT_LENGTH
            reports.append(decode_report(payload))

        assert reports[-1].taken <= at.sent


def test_the_clock_of_reports_goes_on_when_the_peer_is_no_longer_near() -> None:
    """A report whose clock goes back is dropped, and with a full window nothing follows."""
    with rig() as at:
        clocks = []
        for near in True, False, True, False:
            at.report(1.0, near=near)
            at.say(UPLOAD)
            while not at.has_more():  # a near one is told ten times a second
                at.say(UPLOAD)
            clocks.append(at.read_report().clock)

        assert clocks == sorted(clocks)


def test_a_short_line_that_turns_out_slow_is_limited_and_the_peer_hears_of_it() -> None:
    with rig() as at:
        at.say(PING)  # once it is through, the hello before it has been read
        assert at.device.absorb(seconds=PATIENCE) == PING
        while not at.control.window.near:  # once the answer to a ping is quick enough
            at.emit(PING)
            assert next(at.payloads) == PING
            at.report(1.0)
        taken = at.taken
        at.emit(*[UPLOAD] * 100)
        assert all(len(next(at.payloads)) == len(UPLOAD) for _ in range(100))
        for seconds in 1.2, 1.4, 1.6, 1.8:  # nothing of what was sent arrives
            at.say(encode_report(taken, seconds))

        while at.read_report().near:
            pass

        assert not at.control.window.near


def test_a_reader_that_has_gone_is_noticed_while_nothing_may_be_sent() -> None:
    device = FakeDevice()
    hello = Connection(FRAMINGS["u16be"], hello=THEIRS).send_hello()
    with ExitStack() as stack:
        stack.callback(device.close)
        (incoming, to_us), (from_us, outgoing) = os.pipe(), os.pipe()
        for descriptor in incoming, outgoing:
            stack.callback(os.close, descriptor)
        stream = stack.enter_context(Stream(incoming, outgoing))
        connection = Connection(FRAMINGS["u16be"], device.counters, hello=OURS)
        pump = Pump(device, stream, connection)
        running = stack.enter_context(ThreadPoolExecutor(1)).submit(pump.run)
        stack.callback(os.close, to_us)  # ends the pump, whatever happened
        os.write(to_us, hello + len(PING).to_bytes(2, "big") + PING)
        assert device.absorb(seconds=PATIENCE) == PING
        for _ in range(MORE_THAN_THE_DEVICE_HOLDS):
            assert device.emit(UPLOAD, seconds=PATIENCE)

        os.close(from_us)

        assert running.result(PATIENCE).reason == "the peer no longer reads the stream"


def test_a_report_of_more_than_was_sent_is_counted() -> None:
    with rig() as at:
        at.say(PING)
        at.taken += 1 << 20
        at.report(1.0)
        at.say(PING)
        for _ in range(2):
            assert at.device.absorb(seconds=PATIENCE) == PING

    assert at.device.counters.drops == {"report that cannot be true": 1}


def test_without_latency_control_nothing_is_remembered_of_what_was_sent() -> None:
    control = Control(0.0)
    with recorded_forward(control, start=False) as (forward, connection, _):
        forward.release(0.0, connection.send_report(STEP, 0.0))

        assert control.next_mark == Control(0.0).next_mark


def test_a_report_waits_for_a_frame_but_not_for_ever() -> None:
    with rig() as at:
        fill(at)
        play_full_line_of_1_mbit(at.control)
        begin = time.monotonic()
        at.say(UPLOAD)

        assert len(next(at.payloads)) == REPORT_LENGTH

        assert time.monotonic() - begin >= at.control.window.frame > 0.01


def play_full_line_of_1_mbit(control: Control) -> None:
    window = control.window
    assert isinstance(window, Window)
    window.starting, window.rate, control.slow = False, 1.25e5, True


class Recorded(Stream):
    """Remembers what was written at once."""

    def __init__(self, read_descriptor: int, write_descriptor: int) -> None:
        super().__init__(read_descriptor, write_descriptor)
        self.writes: list[bytes] = []

    def write(self, data: bytes | memoryview) -> None:
        self.writes.append(bytes(data))
        super().write(data)

    def write_pieces(self, pieces: Sequence[bytes | memoryview]) -> None:
        self.writes.append(b"".join(pieces))
        super().write_pieces(pieces)


@contextmanager
def recorded_forward(
    control: Control, *, start: bool = True
) -> Iterator[tuple[Forward, Connection, Recorded]]:
    with ExitStack() as stack:
        device = FakeDevice()
        stack.callback(device.close)
        near, _far = map(stack.enter_context, socket.socketpair())
        stream = Recorded(near.fileno(), near.fileno())
        stack.enter_context(stream)
        connection = Connection(FRAMINGS["u16be"], device.counters, hello=OURS)
        connection.receive(Connection(FRAMINGS["u16be"], hello=THEIRS).send_hello())
        if start:
            control.start(0, 0.0)
        yield Forward(device, connection, stream, control), connection, stream


def test_a_report_and_the_frames_behind_it_are_written_at_once() -> None:
    """Or ssh makes two packets of them."""
    control = Control(0.0)
    with recorded_forward(control) as (forward, connection, stream):
        control.put([PING, UPLOAD], 0.0)
        report = connection.send_report(STEP, 0.0)

        forward.release(0.0, report)

        assert stream.writes == [report + connection.send([PING, UPLOAD])]
        assert control.window.sent == stream.sent


def test_a_report_goes_alone_where_the_window_is_full() -> None:
    control = Control(0.0)
    with recorded_forward(control) as (forward, connection, stream):
        stream.sent = int(control.window.limit)
        control.put([UPLOAD], 0.0)
        report = connection.send_report(STEP, 0.0)

        forward.release(0.0, report)

        assert stream.writes == [report]
        assert control.window.sent == stream.sent


class Interrupted(Stream):
    """Whenever something was written, another process gets the processor for a while."""

    def write(self, data: bytes | memoryview) -> None:
        super().write(data)
        select([], [], [], 0.03)


def test_a_busy_processor_does_not_make_the_line_look_short() -> None:
    features = Feature.REPORTS | Feature.SUPER_FRAMES
    ours, theirs = OURS._replace(features=features), THEIRS._replace(features=features)
    with ExitStack() as stack:
        device = FakeDevice(offload=True)
        stack.callback(device.close)
        near, far = map(stack.enter_context, socket.socketpair())
        far.settimeout(PATIENCE)
        stream = stack.enter_context(Interrupted(near.fileno(), near.fileno()))
        pump = Pump(device, stream, Connection(FRAMINGS["u16be"], device.counters, hello=ours))
        running = stack.enter_context(ThreadPoolExecutor(1)).submit(pump.run)
        stack.callback(far.shutdown, socket.SHUT_WR)
        peer = Connection(FRAMINGS["u16be"], hello=theirs)
        far.sendall(peer.send_hello())
        taken = 0
        for _ in range(2):  # the second one goes directly, as one came alone before
            device.emit(PING, seconds=PATIENCE)
            while not (data := far.recv(1 << 16)).endswith(PING):
                taken += len(data)
                peer.receive(data)
            taken += len(data)
        select([], [], [], 0.01)  # the way back

        report = peer.send_report(taken, 0.0, near=False)
        far.sendall(report + peer.send_switch())
        far.sendall(b"".join(peer.send_super_frames([PLAIN + PING])))

        assert device.absorb(seconds=PATIENCE) == PING
        assert not pump.control.window.near
    assert isinstance(running.result(PATIENCE), Ending)
