"""One side of the conversation: bytes from the stream to events, frames to bytes.

It knows what the records mean: which carry a frame, which are commands, which are to be ignored.
Whoever owns the descriptors feeds it what came and writes what it returns; a select loop, asyncio
and the tests all drive the same object.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, Union

from ..errors import ProtocolError
from ..ether.frame import HEADER_LENGTH
from ..stats import Counters
from .framing import SUPER_FRAMES, Command, Framing, RecordDecoder
from .hello import Feature, Hello, decode_hello, encode_hello, encode_switch
from .offload import SHORTEST, SegmentLimit, add_headers, check_super_frames, find_fault
from .slots import RecordSlots
from .superframe import LONG, PLAIN, VNET_LENGTH, SuperFrame

_PREFIX = SUPER_FRAMES.prefix
_LEAST_RECORD = _PREFIX.size + SHORTEST
_LONGEST_LONE_RECORD = _PREFIX.size + LONG

_TEXT = bytes(range(0x20, 0x7F)) + b"\t\r\n\x1b"
_HEAD = 2 + HEADER_LENGTH
"""How much of the stream tells text from frames: a length and an Ethernet header."""
_QUOTED = 64
_FEW = 4
_HELLO_FRAMING = "u16be"


class Role(Enum):
    """Who we are on ZeroTier's pipe; the other framings are the same from both ends."""

    AGENT = "agent"
    HOST = "host"


class FramesReceived(NamedTuple):
    """Whole Ethernet frames, in the order of the stream."""

    frames: list[bytes]


class SuperFramesReceived(NamedTuple):
    """Super-frames, checked: a virtio header and a frame each, in the order of the stream."""

    super_frames: Sequence[SuperFrame]


class PeerReady(NamedTuple):
    """The peer is a fethpipe, and says this of itself."""

    hello: Hello


class ConfigureReceived(NamedTuple):
    """ZeroTier's host asks for a change of the device; the words are not checked."""

    words: tuple[bytes, ...]


class ExitReceived(NamedTuple):
    """ZeroTier's host asks us to end."""


Event = Union[FramesReceived, SuperFramesReceived, PeerReady, ConfigureReceived, ExitReceived]


class _Phase(Enum):
    """Where the incoming direction is: what its next record may be."""

    HELLO = "a hello, if the peer says one"
    CONFIRMATION = "the empty record that confirms the hello"
    FRAMES = "a frame, and after our hello the switch"
    SUPER_FRAMES = "a super-frame"
    COMMANDS = "a command of ZeroTier's host"


class Connection:
    """The protocol of one stream, without the stream.

    Payloads that carry no frame are counted in ``counters.drops``, never delivered.
    ``hello`` is what we say of ourselves, with a nonce that nobody can guess; without it we neither
    say hello nor listen to one. ``peer`` is what the peer has said.
    ``limit`` is how long the segments of super-frames may be.
    ``switched`` tells that super-frames come, and no longer frames.
    ``peer_keeps_alive`` tells that the peer sends empty records, so that it can be missed.
    """

    def __init__(
        self,
        framing: Framing,
        counters: Counters | None = None,
        *,
        role: Role = Role.AGENT,
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
        # The record after which super-frames come, if we take any.
        takes = hello is not None and Feature.SUPER_FRAMES in hello.features
        self._switch = encode_switch(hello.nonce) if hello and takes else None
        # The device that takes segments of UDP can be given those that came one by one.
        self._joins = hello is not None and Feature.UDP_SEGMENTS in hello.features
        self._decoder = RecordDecoder(framing)
        self._heard: tuple[Hello, bytes]
        self._phase = _Phase.HELLO if hello else _Phase.FRAMES
        if framing.commands and role is Role.AGENT:
            self._phase = _Phase.COMMANDS
        self._gives_commands = framing.commands and role is Role.HOST
        self.peer_keeps_alive = False
        self.switched = False
        self._between_super_frames = False
        self._short = False
        self._head = b""
        self._checked = False

    def receive(self, data: bytes) -> list[Event]:
        """Return what the next bytes of the stream mean.

        Raises ProtocolError when they cannot be records of this framing.
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
        """Return the super-frame, checked, whose record these next bytes of the stream are: if
        they are one short record and no more. Return b"" to have ``receive`` called.

        For one that comes alone, a ping or a keystroke, this is the shorter way.
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
        """Say that the stream has ended. Raises TruncatedError if it did so inside a record."""
        try:
            self._decoder.feed_eof()
        except ProtocolError as error:
            raise self._explained(error) from None

    def send(self, frames: Sequence[bytes]) -> bytes:
        """Return the bytes that carry these frames.

        A frame too long for the framing is dropped and counted.
        """
        if self._gives_commands:
            frames = [bytes((Command.FRAME,)) + frame for frame in frames]
        elif self._outgoing is SUPER_FRAMES:
            frames = add_headers(frames)
        elif len(frames) == 1 and len(frames[0]) <= self._outgoing.maximum:
            return self._outgoing.encode_one(frames[0])
        return self._encode(frames)

    def send_hello(self) -> bytes:
        """Return what goes before everything else on the stream; nothing without a hello."""
        return self._framing.encode([encode_hello(self._hello), b""]) if self._hello else b""

    def send_switch(self) -> bytes:
        """Return the record after which super-frames may be sent, and frames still.

        Raises ValueError if the peer does not take super-frames.
        """
        if self.peer is None or Feature.SUPER_FRAMES not in self.peer.features:
            raise ValueError("the peer takes no super-frames")
        if self._outgoing is SUPER_FRAMES:
            return b""
        self._outgoing = SUPER_FRAMES
        return self._framing.encode([encode_switch(self.peer.nonce)])

    def send_lone(self, super_frame: bytes) -> bytes:
        """Return the record of one super-frame that a kernel made; only after the switch."""
        return _PREFIX.pack(len(super_frame)) + super_frame

    def send_super_frames(self, super_frames: Sequence[bytes]) -> list[bytes]:
        """Return the bytes that carry these super-frames, a virtio header and a frame each, in as
        many pieces as save copying.

        Raises ValueError before the switch: nothing else tells the peer that they come.
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
        """Return records to be filled with payloads of this length, which are then sent as they
        are: frames, or super-frames after the switch.

        None where a frame needs a command's byte in front, or is too long for the framing.
        """
        if self._gives_commands or length > self._outgoing.maximum:
            return None
        return RecordSlots(self._outgoing.encode_length(length), length, skipped=skipped)

    def send_keepalive(self) -> bytes:
        """Return an empty record, which says no more than that we are there."""
        return self._outgoing.encode([b""])

    def send_command(self, command: Command, payload: bytes = b"") -> bytes:
        """Return the bytes of a command to ZeroTier's agent; for the host's side only."""
        if not self._gives_commands:
            raise ValueError(f"the {self._framing.name} framing has no commands to send here")
        return self._framing.encode([bytes((command,)) + payload])

    def _encode(self, payloads: Sequence[bytes]) -> bytes:
        framing = self._outgoing
        try:
            return framing.encode(payloads)
        except ValueError:
            fitting = [payload for payload in payloads if len(payload) <= framing.maximum]
            self.counters.drop("too long for the framing", len(payloads) - len(fitting))
            return framing.encode(fitting)

    def _read(self, payloads: list[bytes]) -> list[Event]:
        """Return what these records mean where the conversation is now, before super-frames."""
        if self._phase is _Phase.FRAMES:
            return self._read_frames(payloads)
        if self._phase is _Phase.COMMANDS:
            return self._read_commands(payloads)
        if self._phase is _Phase.HELLO:
            return self._read_hello(payloads)
        return self._read_confirmation(payloads)

    def _read_hello(self, payloads: list[bytes]) -> list[Event]:
        """Look for a hello in the first record; later ones are frames like any other."""
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
        """Believe the hello if an empty record follows: whatever relays frames would drop that,
        so it comes from the other end of this very stream.
        """
        hello, payload = self._heard
        self._phase = _Phase.FRAMES
        if payloads[0]:
            return self._read_frames([payload, *payloads])
        if self._hello and hello.nonce == self._hello.nonce:
            return self._read_frames(payloads[1:])  # our own: something echoes the stream
        self.peer = hello
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
        short = sum(0 < len(payload) < HEADER_LENGTH for payload in payloads)
        if short:
            self.counters.drop("shorter than an Ethernet header", short)
        return [FramesReceived(frames)] if frames else []

    def _follow_switch(self, payloads: list[bytes], switch: bytes) -> list[Event]:
        """Decode what is behind the switch once more, for it was no record of this framing."""
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
            # Of long records, copies would cost; of short ones, views. What came last decides.
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
        checked = check_super_frames(
            super_frames, self.counters, join=self._joins, limit=self._limit
        )
        return [SuperFramesReceived(checked)] if checked else []

    def _read_commands(self, payloads: list[bytes]) -> list[Event]:
        """Return what ZeroTier's host says: each payload starts with a byte of ``Command``."""
        events: list[Event] = []
        batch: list[bytes] = []
        for payload in payloads:
            command, rest = payload[:1], payload[1:]
            if command == bytes((Command.FRAME,)):
                batch.append(rest)
                continue
            events += self._read_frames(batch)
            batch = []
            if command == bytes((Command.CONFIGURE,)):
                events.append(ConfigureReceived(tuple(rest.split(b"\0"))))
            elif command == bytes((Command.EXIT,)):
                events.append(ExitReceived())
            elif command:
                self.counters.drop("unknown command")
        return events + self._read_frames(batch)

    def _check_head(self, data: bytes) -> None:
        """Refuse a stream that starts as text does.

        In the 16-bit framings any two bytes are a length, so a shell's banner would be taken for
        a record of 8 to 32 KiB. Real traffic does not start with a frame of that size whose
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
        """Add what the stream starts with, where that is text."""
        if not self._head or not _is_text(self._head[:_HEAD]):
            return error
        quoted = ascii(self._head.decode("ascii", "replace"))
        return type(error)(
            f"{error.message}; it starts with the text {quoted}",
            hint="make the other end print nothing on stdout but fethpipe's stream",
        )


def _is_text(data: bytes) -> bool:
    return not data.translate(None, _TEXT)
