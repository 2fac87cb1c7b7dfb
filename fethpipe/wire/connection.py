"""One end of the protocol: turn bytes from the stream into events, and frames into bytes.

It knows the meaning of records: frames, commands, and those to be ignored. The owner of the
descriptors passes it the bytes that came, and writes the bytes that it returns. A select loop,
asyncio and the tests all use the same object.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, Union

from ..errors import ProtocolError
from ..ether.frame import HEADER_LENGTH
from ..stats import Counters
from .coalesce import join_datagrams
from .framing import SUPER_FRAMES, AgentCommand, Framing, RecordDecoder
from .hello import Feature, Hello, decode_hello, encode_hello, encode_switch
from .offload import SHORTEST, SegmentLimit, add_headers, check_super_frames, find_fault
from .report import REPORT_LENGTH, Report, decode_report, encode_report
from .slots import RecordSlots
from .superframe import LONG, PLAIN, VNET_LENGTH, SuperFrame

_PREFIX = SUPER_FRAMES.prefix
_LEAST_RECORD = _PREFIX.size + SHORTEST
_LONGEST_LONE_RECORD = _PREFIX.size + LONG

_TEXT = bytes(range(0x20, 0x7F)) + b"\t\r\n\x1b"
_HEAD = 2 + HEADER_LENGTH
"""Bytes at the start of a stream that tell text from frames: a length and an Ethernet header."""
_QUOTED = 64
_FEW = 4
_HELLO_FRAMING = "u16be"


class FramesReceived(NamedTuple):
    """Whole Ethernet frames, in the order of the stream."""

    frames: list[bytes]


class SuperFramesReceived(NamedTuple):
    """Checked super-frames, in the order of the stream: each is a virtio header and a frame."""

    super_frames: Sequence[SuperFrame]


class PeerReady(NamedTuple):
    """The peer is a fethpipe, and this is its hello."""

    hello: Hello


class ReportReceived(NamedTuple):
    """The peer says how much it has taken of what we sent."""

    report: Report


class ConfigureReceived(NamedTuple):
    """ZeroTier's host asks for a change of the device. The words are not checked."""

    words: tuple[bytes, ...]


class ExitReceived(NamedTuple):
    """ZeroTier's host asks us to end."""


class EchoReceived(NamedTuple):
    """The peer has sent our own hello: it sends back what it gets."""


Event = Union[
    FramesReceived,
    SuperFramesReceived,
    PeerReady,
    ReportReceived,
    ConfigureReceived,
    ExitReceived,
    EchoReceived,
]


class _Phase(Enum):
    """The phase of the incoming direction: what its next record can be."""

    HELLO = "a hello, if the peer says one"
    CONFIRMATION = "the empty record that confirms the hello"
    FRAMES = "a frame, and after our hello the switch"
    SUPER_FRAMES = "a super-frame"
    COMMANDS = "a command of ZeroTier's host"


class Connection:
    """The protocol of one stream, without the stream.

    Payloads that are not valid frames are counted in ``counters.drops`` and not returned.
    ``hello`` is our own hello, with a random nonce. Without it, we neither send a hello nor accept
    one. ``peer`` is the hello of the peer. ``limit`` says how long the segments of super-frames may
    be. ``switched`` says that the peer now sends super-frames instead of frames.
    ``peer_keeps_alive`` says that the peer sends empty records, so that its silence can be noticed.
    """

    def __init__(
        self,
        framing: Framing,
        counters: Counters | None = None,
        *,
        hello: Hello | None = None,
        limit: SegmentLimit | None = None,
    ) -> None:
        if hello and framing.name != _HELLO_FRAMING:
            raise ValueError(f"the {framing.name} framing has no hello")
        self.counters = counters if counters is not None else Counters()
        self.peer: Hello | None = None
        self._framing = framing
        self._outgoing = framing
        self._hello = hello
        self._limit = limit or SegmentLimit()
        # The switch record that we accept, if we take super-frames.
        takes = hello is not None and Feature.SUPER_FRAMES in hello.features
        self._switch = encode_switch(hello.nonce) if hello and takes else None
        # A device that takes super-frames of UDP also takes joined datagrams.
        joins = hello is not None and Feature.UDP_SEGMENTS in hello.features
        self._join = join_datagrams if joins else None
        self._takes_reports = False  # until the peer has said that it sends them
        self._decoder = RecordDecoder(framing)
        self._heard: tuple[Hello, bytes]
        self._phase = _Phase.HELLO if hello else _Phase.FRAMES
        if framing.commands:
            self._phase = _Phase.COMMANDS
        self.peer_keeps_alive = False
        self.switched = False
        self._between_super_frames = False
        self._short = False
        self._head = b""
        self._checked = False

    def receive(self, data: bytes) -> list[Event]:
        """Return the events of the next bytes of the stream.

        Raises ProtocolError if they cannot be records of this framing.
        """
        if not self._checked:
            self._check_head(data)
        if self.switched:
            return self._read_super_frames(data)
        try:
            payloads = self._decoder.feed(data)
        except ProtocolError as error:
            raise self._explained(error) from None
        return self._read(payloads) if payloads else []

    def receive_lone(self, data: bytes) -> bytes:
        """Return the checked super-frame, if the next bytes of the stream are exactly one short
        record. Otherwise return b"", and the caller must call ``receive`` with the same bytes.

        This is the faster way for a super-frame that comes alone (a ping, a keystroke).
        """
        if (
            self._between_super_frames
            and _LEAST_RECORD <= len(data) < _LONGEST_LONE_RECORD
            and _PREFIX.unpack_from(data)[0] == len(data) - _PREFIX.size
        ):
            super_frame = data[_PREFIX.size :]
            if super_frame[:VNET_LENGTH] == PLAIN or not find_fault(super_frame, self._limit):
                return super_frame
        return b""

    def receive_eof(self) -> None:
        """Tell that the stream has ended. Raises TruncatedError if it ended inside a record."""
        try:
            self._decoder.feed_eof()
        except ProtocolError as error:
            raise self._explained(error) from None

    def send(self, frames: Sequence[bytes]) -> bytes:
        """Return the records of these frames.

        A frame that is too long for the framing is dropped and counted.
        """
        if self._outgoing is SUPER_FRAMES:
            frames = add_headers(frames)
        elif len(frames) == 1 and len(frames[0]) <= self._outgoing.maximum:
            return self._outgoing.encode_one(frames[0])
        return self._encode(frames)

    def send_hello(self) -> bytes:
        """Return the first bytes of the stream: our hello, b"" if there is none."""
        return self._framing.encode([encode_hello(self._hello), b""]) if self._hello else b""

    def send_switch(self) -> bytes:
        """Return the switch record. After it, each record that we send is a super-frame or empty.

        Raises ValueError if the peer does not take super-frames.
        """
        if self.peer is None or Feature.SUPER_FRAMES not in self.peer.features:
            raise ValueError("the peer takes no super-frames")
        if self._outgoing is SUPER_FRAMES:
            return b""
        self._outgoing = SUPER_FRAMES
        return self._framing.encode([encode_switch(self.peer.nonce)])

    def send_lone(self, super_frame: bytes) -> bytes:
        """Return the record of one super-frame that the kernel made. Only after the switch."""
        return _PREFIX.pack(len(super_frame)) + super_frame

    def send_super_frames(self, super_frames: Sequence[bytes]) -> list[bytes]:
        """Return the records of these super-frames. Long ones are pieces of their own, not copied.

        Raises ValueError before the switch, without which the peer does not expect them.
        """
        if self._outgoing is not SUPER_FRAMES:
            raise ValueError("super-frames come after the switch")
        if len(super_frames) == 1 and len(super_frames[0]) < LONG:
            return [SUPER_FRAMES.encode_one(super_frames[0])]
        longest = max(map(len, super_frames), default=0)
        if len(super_frames) > _FEW or longest > SUPER_FRAMES.maximum:
            return [self._encode(super_frames)]
        pieces: list[bytes] = []
        for each in super_frames:
            pieces += SUPER_FRAMES.encode_length(len(each)), each
        return pieces

    def slots(self, length: int, *, skipped: int = 0) -> RecordSlots | None:
        """Return records with room for payloads of this length, in bytes, which are sent as they
        are: frames, or super-frames after the switch.

        Return None if they are too long for the framing.
        """
        if length > self._outgoing.maximum:
            return None
        return RecordSlots(self._outgoing.encode_length(length), length, skipped=skipped)

    def send_keepalive(self) -> bytes:
        """Return an empty record, which only shows that we are alive."""
        return self._outgoing.encode([b""])

    def send_report(self, taken: int, seconds: float, *, near: bool = False) -> bytes:
        """Return the record that says how many bytes were taken from the stream, the last of them
        at this time of any clock, and whether we are ``near``.

        Raises ValueError if the peer does not take reports.
        """
        if self.peer is None or Feature.REPORTS not in self.peer.features:
            raise ValueError("the peer takes no reports")
        return self._outgoing.encode_one(encode_report(taken, seconds, near=near))

    def _encode(self, payloads: Sequence[bytes]) -> bytes:
        framing = self._outgoing
        try:
            return framing.encode(payloads)
        except ValueError:
            fitting = [payload for payload in payloads if len(payload) <= framing.maximum]
            self.counters.drop("too long for the framing", len(payloads) - len(fitting))
            return framing.encode(fitting)

    def _read(self, payloads: list[bytes]) -> list[Event]:
        """Return the events of these records in the current phase, before super-frames."""
        if self._phase is _Phase.FRAMES:
            return self._read_frames(payloads)
        if self._phase is _Phase.COMMANDS:
            return self._read_commands(payloads)
        if self._phase is _Phase.HELLO:
            return self._read_hello(payloads)
        return self._read_confirmation(payloads)

    def _read_hello(self, payloads: list[bytes]) -> list[Event]:
        """Look for a hello in the first record. A later one is a frame like any other."""
        self._phase = _Phase.FRAMES
        try:
            hello = decode_hello(payloads[0])
        except ValueError:
            self.counters.drop("hello that cannot be read")
            return self._read_frames(payloads[1:])
        if hello is None:
            return self._read_frames(payloads)
        self._heard = hello, payloads[0]
        self._phase = _Phase.CONFIRMATION
        return self._read_confirmation(payloads[1:]) if payloads[1:] else []

    def _read_confirmation(self, payloads: list[bytes]) -> list[Event]:
        """Accept the hello if an empty record follows. A program that relays frames drops empty
        records, so this one comes from the other end of this very stream.
        """
        hello, payload = self._heard
        self._phase = _Phase.FRAMES
        if payloads[0]:
            return self._read_frames([payload, *payloads])
        if self._hello and hello.nonce == self._hello.nonce:
            return [EchoReceived(), *self._read_frames(payloads[1:])]
        self.peer = hello
        ours = self._hello.features if self._hello else Feature(0)
        self._takes_reports = Feature.REPORTS in hello.features & ours
        return [PeerReady(hello), *self._read_frames(payloads[1:])]

    def _read_frames(self, payloads: list[bytes]) -> list[Event]:
        if not payloads:
            return []
        if self._switch and self._switch in payloads:
            return self._follow_switch(payloads, self._switch)
        if min(map(len, payloads)) >= HEADER_LENGTH:
            return [FramesReceived(payloads)]
        frames = [payload for payload in payloads if len(payload) >= HEADER_LENGTH]
        self.peer_keeps_alive = self.peer_keeps_alive or not all(payloads)
        reports = self._read_short([each for each in payloads if 0 < len(each) < HEADER_LENGTH])
        return [FramesReceived(frames), *reports] if frames else reports

    def _read_short(self, payloads: Sequence[SuperFrame]) -> list[Event]:
        """Return the reports among payloads that carry no frame; the others are counted."""
        reports: list[Event] = []
        for payload in payloads:
            if self._takes_reports and len(payload) == REPORT_LENGTH:
                reports.append(ReportReceived(decode_report(payload)))
            else:
                self.counters.drop("shorter than an Ethernet header")
        return reports

    def _follow_switch(self, payloads: list[bytes], switch: bytes) -> list[Event]:
        """Decode the bytes behind the switch again, as they are not records of this framing."""
        self._switch = None
        position = payloads.index(switch)
        events = self._read_frames(payloads[:position])
        rest = self._framing.encode(payloads[position + 1 :]) + self._decoder.pending
        self._decoder = RecordDecoder(SUPER_FRAMES)
        self._phase = _Phase.SUPER_FRAMES
        self.switched = self._short = True
        self._between_super_frames = not rest
        return events + (self._read_super_frames(rest) if rest else [])

    def _read_super_frames(self, data: bytes) -> list[Event]:
        super_frames: Sequence[SuperFrame]
        try:
            # For long records copies are slow, for short ones views. The last records decide.
            decoder = self._decoder
            super_frames = decoder.feed(data) if self._short else decoder.feed_views(data)
        except ProtocolError as error:
            raise self._explained(error) from None
        self._between_super_frames = not decoder.buffered
        if not super_frames:
            return []
        self._short = len(data) < LONG * len(super_frames)
        if not all(super_frames):
            self.peer_keeps_alive = True
            super_frames = [each for each in super_frames if each]
        short: list[SuperFrame] = []
        checked = check_super_frames(
            super_frames, self.counters, join=self._join, limit=self._limit, short=short
        )
        reports = self._read_short(short) if short else []
        return [SuperFramesReceived(checked), *reports] if checked else reports

    def _read_commands(self, payloads: list[bytes]) -> list[Event]:
        """Return the events of records from ZeroTier's host, each with an ``AgentCommand``."""
        events: list[Event] = []
        batch: list[bytes] = []
        for payload in payloads:
            command, rest = payload[:1], payload[1:]
            if command == bytes((AgentCommand.FRAME,)):
                batch.append(rest)
                continue
            events += self._read_frames(batch)
            batch = []
            if command == bytes((AgentCommand.CONFIGURE,)):
                events.append(ConfigureReceived(tuple(rest.split(b"\0"))))
            elif command == bytes((AgentCommand.EXIT,)):
                events.append(ExitReceived())
            elif command:
                self.counters.drop("unknown command")
        return events + self._read_frames(batch)

    def _check_head(self, data: bytes) -> None:
        """Refuse a stream that starts with text.

        In the 16-bit framings any two bytes are a length, so the banner of a shell looks like a
        record of 8 to 32 KiB. Real traffic does not start with a frame of that size whose
        addresses and type are printable too.
        """
        missing = _HEAD - len(self._head)
        self._head += data[:missing]
        if len(self._head) < _HEAD:
            return
        self._checked = True
        if _is_text(self._head):
            self._head = (self._head + data[missing:])[:_QUOTED]
            raise self._explained(
                ProtocolError(f"the stream is not in {self._framing.name} framing")
            )

    def _explained(self, error: ProtocolError) -> ProtocolError:
        """Add the start of the stream to the message, if it is text."""
        if not self._head or not _is_text(self._head[:_HEAD]):
            return error
        quoted = ascii(self._head.decode("ascii", "replace"))
        return type(error)(
            f"{error.message}; it starts with the text {quoted}",
            hint="make the other end print nothing on stdout except fethpipe's stream",
        )


def _is_text(data: bytes) -> bool:
    return not data.translate(None, _TEXT)
