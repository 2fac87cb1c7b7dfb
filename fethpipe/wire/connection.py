"""One side of the conversation: bytes from the stream to events, frames to bytes.

It knows what the records mean: which carry a frame, which are commands, which are to be ignored.
Whoever owns the descriptors feeds it what came and writes what it returns; a select loop, asyncio
and the tests all drive the same object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Union

from ..errors import ProtocolError
from ..stats import Counters
from .framing import HEADER_LENGTH, Command, Framing, RecordDecoder

_TEXT = bytes(range(0x20, 0x7F)) + b"\t\r\n\x1b"
_HEAD = 2 + HEADER_LENGTH
"""How much of the stream tells text from frames: a length and an Ethernet header."""
_QUOTED = 64


class Role(Enum):
    """Who we are on ZeroTier's pipe; the other framings are the same from both ends."""

    AGENT = "agent"
    HOST = "host"


@dataclass(frozen=True)
class FramesReceived:
    """Whole Ethernet frames, in the order of the stream."""

    frames: list[bytes]


@dataclass(frozen=True)
class ConfigureReceived:
    """ZeroTier's host asks for a change of the device; the words are not checked."""

    words: tuple[bytes, ...]


@dataclass(frozen=True)
class ExitReceived:
    """ZeroTier's host asks us to end."""


Event = Union[FramesReceived, ConfigureReceived, ExitReceived]


class Connection:
    """The protocol of one stream, without the stream.

    Payloads that carry no frame are counted in ``counters.drops``, never delivered.
    """

    def __init__(
        self, framing: Framing, counters: Counters | None = None, *, role: Role = Role.AGENT
    ) -> None:
        self.counters = counters if counters is not None else Counters()
        self._framing = framing
        self._decoder = RecordDecoder(framing)
        self._takes_commands = framing.commands and role is Role.AGENT
        self._gives_commands = framing.commands and role is Role.HOST
        self._head = b""
        self._checked = False

    def receive(self, data: bytes) -> list[Event]:
        """Return what the next bytes of the stream mean.

        Raises ProtocolError when they cannot be records of this framing.
        """
        if not self._checked:
            self._check_head(data)
        try:
            payloads = self._decoder.feed(data)
        except ProtocolError as error:
            raise self._explained(error) from None
        if self._takes_commands:
            return self._obey(payloads)
        return self._frames(payloads)

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
        try:
            return self._framing.encode(frames)
        except ValueError:
            fitting = [frame for frame in frames if len(frame) <= self._framing.maximum]
            self.counters.drop("too long for the framing", len(frames) - len(fitting))
            return self._framing.encode(fitting)

    def send_command(self, command: Command, payload: bytes = b"") -> bytes:
        """Return the bytes of a command to ZeroTier's agent; for the host's side only."""
        if not self._gives_commands:
            raise ValueError(f"the {self._framing.name} framing has no commands to send here")
        return self._framing.encode([bytes((command,)) + payload])

    def _frames(self, payloads: list[bytes]) -> list[Event]:
        frames = [payload for payload in payloads if len(payload) >= HEADER_LENGTH]
        if len(frames) < len(payloads):
            short = sum(0 < len(payload) < HEADER_LENGTH for payload in payloads)
            if short:
                self.counters.drop("shorter than an Ethernet header", short)
        return [FramesReceived(frames)] if frames else []

    def _obey(self, payloads: list[bytes]) -> list[Event]:
        events: list[Event] = []
        batch: list[bytes] = []
        for payload in payloads:
            command, rest = payload[:1], payload[1:]
            if command == bytes((Command.FRAME,)):
                batch.append(rest)
                continue
            events += self._frames(batch)
            batch = []
            if command == bytes((Command.CONFIGURE,)):
                events.append(ConfigureReceived(tuple(rest.split(b"\0"))))
            elif command == bytes((Command.EXIT,)):
                events.append(ExitReceived())
            elif command:
                self.counters.drop("unknown command")
        return events + self._frames(batch)

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
