"""The select loop: frames from the device to the stream, and from the stream to the device.

Rules:

1. Memory is bounded. Where the line is slow, the window (:mod:`..flow`) is full before the stream
   is, or, from a peer without reports, what lies unread would take too long: the device is read at
   once, and a bounded queue decides what waits and what is dropped.
   Where the processor is slow, as on a pipe, the stream is full first: the device is not read, and
   its queue in the kernel fills and drops frames, as Ethernet does. Reading frames only to drop
   them would cost more.
2. Frames from the stream are never dropped because we are slow: the stream is not read faster than
   the device takes its frames.
3. One wake-up moves one batch in each direction, so that no direction holds up the other. Nothing
   waits for a batch to become full.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from select import select

from ..device import Device
from ..errors import PeerSilentError
from ..flow.control import Control
from ..flow.reporter import Reporter
from ..system.stream import Stream
from ..wire.connection import (
    ConfigureReceived,
    Connection,
    Event,
    ExitReceived,
    FramesReceived,
    PeerReady,
    ReportReceived,
    SuperFramesReceived,
)
from ..wire.hello import Feature
from ..wire.report import Report
from .ending import Ending, Watch
from .forward import Forward
from .keepalive import Keepalive

FLUSH_SECONDS = 1.0
"""Seconds that the end of a tunnel waits for the stream to take what is left."""


_NO_READER = Ending("the peer no longer reads the stream")
_LAST_READS = 64
_CHECK_SECONDS = 1.0
_NEVER = 1 << 62

# Bytes that one read takes. Frames: as much as stays in the processor's cache until the last one is
# written. Super-frames: several of the longest ones, as they lose more to extra wake-ups than to
# cache misses.
_FEW = 1 << 18
_MANY = 1 << 20

Periodic = Sequence["tuple[float, Callable[[], None]]"]


class Pump:
    """Moves frames between a device and a stream until one of them ends.

    ``watch`` has functions that are called when other descriptors are readable; an Ending that one
    returns ends the pump. ``periodic`` has pairs of an interval in seconds and a function that is
    called so often. ``keepalive`` is the time in seconds after which an idle stream gets an empty
    record. ``on_first`` is called with the first event from the peer, or with None if that is an
    empty record; ``on_configure`` with the words of ZeroTier's host.
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
        on_first: Callable[[Event | None], None] | None = None,
        latency_control: bool = True,
        on_configure: Callable[[Sequence[bytes]], None] | None = None,
    ) -> None:
        self._device = device
        self._stream = stream
        self._connection = connection
        now = time.monotonic()
        self.control = Control(now)
        device.counters.describe_line = self.control.describe if latency_control else _off
        self._reporter: Reporter | None = None  # once the peer takes reports
        self._limits = latency_control
        self._forward = Forward(device, connection, stream, self.control)
        self._watch = dict(watch or {})
        self._keepalive = Keepalive(keepalive) if keepalive else None
        if self._keepalive:
            periodic = (*periodic, (self._keepalive.interval, self._keep_alive))
        self._timers = [_Timer(interval, now + interval, call) for interval, call in periodic]
        self._next_tick = now
        self._passed = (0, 0)  # bytes, both ways, when the keepalive looked last
        self._on_first = on_first
        self._on_configure = on_configure
        offload = device.offload
        self._super_frames = offload if offload and offload.super_frames else None
        self._next_report = _NEVER
        self._next_report_time = float("inf")
        self._next_look = now
        if latency_control:
            self.control.start_looking()
        self._received_at = now
        self._ending: Ending | None = None

    def run(self) -> Ending:
        """Move frames until the end, and return why it ended.

        Raises ProtocolError, PeerSilentError, DeviceError, or OSError if the stream fails.
        """
        _keep_freed_memory()
        with closing(self._forward):
            return self._run()

    def _run(self) -> Ending:  # noqa: PLR0912 - a call for each part of a wake-up would cost
        self._greet()
        stream = self._stream
        device = self._device.fileno()
        incoming = stream.read_descriptor
        outgoing = [stream.write_descriptor]
        others = [*self._watch, incoming]
        with_device = [*others, device]
        nothing = ()
        timers = self._timers
        control = self.control
        now = time.monotonic()
        while self._ending is None and not stream.reader_gone:
            timeout = max(0.0, self._next_tick - now) if timers else None
            if stream.received >= self._next_report:
                timeout = self._await_report(timeout, now)
            if control.look and (control.waiting or stream.pending):
                timeout = self._look(timeout)
            elif control.waiting and control.window.room > 0 and not stream.pending:
                timeout = _shorter(timeout, control.pause(time.monotonic()))
            elif control.waiting and not stream.pending:
                timeout = self._check_reader(timeout, now)
            if stream.pending:
                slow = control.waiting and not control.window.near
                watched = with_device if slow else others  # see rule 1
                readable, writable, _ = select(watched, outgoing, nothing, timeout)
                now = time.monotonic()
                if writable:
                    stream.write(b"")
            else:
                readable, _, _ = select(with_device, nothing, nothing, timeout)
                # Before anything is sent: a mark that is too late makes the line look too short.
                now = time.monotonic()
            for descriptor in readable:
                if descriptor == device:
                    if control.limits:
                        self._move_within(now)
                    elif not stream.pending:
                        self._forward.move()
                elif descriptor == incoming:
                    self._receive()
                else:
                    self._attend(descriptor)
            report = b""
            if stream.received >= self._next_report or now >= self._next_report_time:
                report = self._report(now)
            if report or control.waiting or stream.sent >= control.next_mark:
                self._forward.release(now, report)
            if timers and now >= self._next_tick:
                self._tick()
        if self._ending is None:
            self._hear_out()
        stream.flush(FLUSH_SECONDS)
        return self._ending or _NO_READER

    def _look(self, timeout: float | None) -> float | None:
        """See how much lies unread, if it is time to, and return when to look again at the latest.

        The peer may never say anything. If it reports, the window knows more.
        """
        control, now = self.control, time.monotonic()
        if now >= self._next_look:
            unread = self._stream.unread()
            if unread is None:
                control.look = None
                return timeout
            control.on_unread(self._stream.sent, unread, now)
            self._forward.adapt()
            if control.waiting and control.window.room > 0 and not self._stream.pending:
                self._forward.release(now)
            self._next_look = now + (control.look or 0)
        return _shorter(timeout, self._next_look - now)

    def _check_reader(self, timeout: float | None, now: float) -> float:
        """Look now and then whether anybody reads while nothing may be sent. Return the timeout."""
        if now >= self._next_look:
            self._stream.check_reader()
            self._next_look = now + _CHECK_SECONDS
        if self._stream.reader_gone:
            return 0.0
        return _shorter(timeout, _CHECK_SECONDS)

    def _greet(self) -> None:
        greeting = self._connection.send_hello()
        if self._keepalive and not greeting:  # a first empty record announces more of them
            greeting = self._connection.send_keepalive()
        if greeting:
            self._stream.write(greeting)

    def _move_within(self, now: float) -> None:
        if self.control.waiting or not self._stream.pending:  # else the device waits, see rule 1
            self._forward.move_within(now)

    def _report(self, now: float) -> bytes:
        """Return the record that tells the peer what was taken, b"" unless that is due."""
        reporter, stream = self._reporter, self._stream
        due = self._report_due(now)
        if reporter is None or due is None or now < due:
            return b""
        taken_at = now if reporter.near else self._received_at
        near = self.control.window.near
        record = self._connection.send_report(stream.received, taken_at, near=near)
        reporter.on_report(stream.received, now)
        self._plan_report(reporter)
        return record

    def _plan_report(self, reporter: Reporter) -> None:
        """Note from when on a report may be due: each wake-up compares with that."""
        self._next_report, self._next_report_time = reporter.next, reporter.next_time

    def _report_due(self, now: float) -> float | None:
        """Return when to report, None if there is nothing to tell, or the stream is full."""
        if self._reporter is None or self._stream.pending:
            return None
        patience = self.control.patience(now)
        return self._reporter.due(self._stream.received, now, patience=patience)

    def _receive(self) -> None:
        connection = self._connection
        data = self._stream.read(_MANY if connection.switched else _FEW)
        if data is None:
            return
        if not data:
            self._end_of_stream()
            return
        if self._reporter and not self._reporter.near:
            self._received_at = time.monotonic()
        if self._super_frames:
            lone = connection.receive_lone(data)
            if lone:
                self._super_frames.write_lone(lone)
                return
        events = connection.receive(data)
        if self._on_first and (events or connection.peer_keeps_alive):
            self._on_first(events[0] if events else None)
            self._on_first = None
        for event in events:
            if isinstance(event, FramesReceived):
                self._device.write_frames(event.frames)
            elif isinstance(event, SuperFramesReceived):
                if self._super_frames:  # otherwise our hello did not offer to take them
                    self._super_frames.write_super_frames(event.super_frames)
            else:
                self._act_on(event)

    def _act_on(self, event: Event) -> None:
        if isinstance(event, PeerReady):
            hello = event.hello
            if self._keepalive and hello.keepalive:
                self._keepalive.expect(hello.keepalive / 1000)
            if Feature.REPORTS in hello.features:
                self._reporter = Reporter(time.monotonic())
                self._plan_report(self._reporter)
                if self._limits:
                    self.control.start(self._stream.sent, time.monotonic())
            if self._super_frames and Feature.SUPER_FRAMES in hello.features:
                udp = Feature.UDP_SEGMENTS in hello.features
                self._forward.switch(self._super_frames, udp=udp)
        elif isinstance(event, ReportReceived):
            self._limit(event.report)
        elif isinstance(event, ConfigureReceived):
            if self._on_configure:
                self._on_configure(event.words)
            else:
                self._connection.counters.drop("configuration not supported")
        elif isinstance(event, ExitReceived):
            self._ending = Ending("the host asked the agent to end", requested=True)

    def _limit(self, report: Report) -> None:
        """Let the peer's report decide how much may be on the way."""
        control, now = self.control, time.monotonic()
        was_near = control.window.near
        if control.active:
            control.on_send(self._stream.sent, now)  # it may tell of what was sent just now
            if not control.on_report(report.taken, report.clock, now):
                self._connection.counters.drop("report that cannot be true")
            self._forward.adapt()
        reporter = self._reporter
        if reporter:
            if reporter.near:
                self._received_at = now  # not noted until now
            reporter.on_peer(near=report.near)
            if was_near and not control.window.near:
                reporter.hurry()  # the peer still reports rarely, and the window is full
            self._plan_report(reporter)

    def _hear_out(self) -> None:
        """Read what is left from a peer that no longer reads: it may say why, or have ended too."""
        incoming = [self._stream.read_descriptor]
        for _ in range(_LAST_READS):
            if self._ending or not select(incoming, [], [], 0)[0]:
                break
            self._receive()

    def _end_of_stream(self) -> None:
        # A signal that came at the same time (Ctrl-C also reaches COMMAND) is the better reason.
        for descriptor in select(list(self._watch), [], [], 0)[0]:
            self._attend(descriptor)
        if self._ending is None:
            self._connection.receive_eof()
            self._ending = Ending("the peer closed the stream")

    def _attend(self, descriptor: int) -> None:
        self._ending = self._watch[descriptor]() or self._ending

    def _await_report(self, timeout: float | None, now: float) -> float | None:
        """Return the shorter of this timeout and the time until a report is due."""
        due = self._report_due(now)
        return timeout if due is None else _shorter(timeout, due - now)

    def _tick(self) -> None:
        now = time.monotonic()
        for timer in self._timers:
            if now >= timer.due:
                timer.due = now + timer.interval
                timer.call()
        self._next_tick = min(timer.due for timer in self._timers)

    def _keep_alive(self) -> None:
        keepalive = self._keepalive
        if keepalive is None:
            return
        sent, received = self._passed
        self._passed = self._stream.sent, self._stream.received
        keepalive.sent, keepalive.heard = self._passed[0] > sent, self._passed[1] > received
        if self._connection.peer_keeps_alive:
            keepalive.expect()
        keepalive.tick()
        if keepalive.abandoned:
            raise PeerSilentError(
                f"the peer has been silent for {keepalive.patience:.4g} s",
                hint="check the network in between; --reconnect starts COMMAND or ssh again",
            )
        if keepalive.owing and not self._stream.pending:  # otherwise the stream takes nothing
            self._stream.write(self._connection.send_keepalive())


def _shorter(timeout: float | None, seconds: float) -> float:
    """Return the shorter time to wait: a timeout for select, or these seconds, 0 if negative."""
    left = max(0.0, seconds)
    return left if timeout is None else min(timeout, left)


def _off() -> Sequence[str]:
    return ["latency control off"]


def _keep_freed_memory() -> None:
    """Let the C library keep the memory of a batch for the next one.

    glibc returns memory to the kernel, page by page, when 128 KiB at the end of the heap are free,
    and then has to get it again. Freeing one large block raises that limit to twice the size of the
    block (mallopt(3): M_MMAP_THRESHOLD).
    """
    bytes(1 << 22)


class _Timer:
    def __init__(self, interval: float, due: float, call: Callable[[], None]) -> None:
        self.interval = interval
        self.due = due
        self.call = call
