"""Drive a Connection with a whole stream, in pieces, and tell what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Union

from fethpipe.errors import ProtocolError, TruncatedError
from fethpipe.wire.connection import (
    ConfigureReceived,
    Connection,
    ExitReceived,
    FramesReceived,
)
from fethpipe.wire.framing import AgentCommand, Framing

# With no hello of ours there are no other events.
Item = Union[bytes, ConfigureReceived, ExitReceived]


class Role(Enum):
    """An end of ZeroTier's pipe. In the other framings, both ends are equal."""

    AGENT = "agent"
    HOST = "host"


class _Host(Connection):
    """The end that gives commands and gets bare frames, which the program never is."""

    def send(self, frames: Sequence[bytes]) -> bytes:
        return super().send([bytes((AgentCommand.FRAME,)) + frame for frame in frames])


def connect(framing: Framing, role: Role) -> Connection:
    """Return an end of a stream."""
    if framing.commands and role is Role.HOST:
        return _Host(framing._replace(commands=False))
    return Connection(framing)


@dataclass(frozen=True)
class Outcome:
    """What a stream says, however it was cut."""

    items: list[Item]
    """Frames and commands in their order; the batches that frames came in mean nothing."""
    drops: dict[str, int]
    error: ProtocolError | None

    @property
    def frames(self) -> list[bytes]:
        """The frames alone."""
        return [item for item in self.items if isinstance(item, bytes)]

    @property
    def error_kind(self) -> type[ProtocolError] | None:
        """What the stream ended with; the message may quote more of it when more came at once."""
        return type(self.error) if self.error else None


def receive(framing: Framing, chunks: Iterable[bytes], *, role: Role = Role.AGENT) -> Outcome:
    """Feed chunks and the end of the stream to a new Connection."""
    connection = connect(framing, role)
    items: list[Item] = []
    error: ProtocolError | None = None
    try:
        for chunk in chunks:
            for event in connection.receive(chunk):
                if isinstance(event, FramesReceived):
                    items += event.frames
                else:
                    assert isinstance(event, (ConfigureReceived, ExitReceived))
                    items.append(event)
        connection.receive_eof()
    except ProtocolError as raised:
        error = raised
    return Outcome(items, dict(connection.counters.drops), error)


def receive_three_ways(
    framing: Framing, stream: bytes, *, role: Role = Role.AGENT, trailing: bytes = b""
) -> Outcome:
    """Return what a stream says, having asserted that the way it comes does not matter.

    Whole, byte by byte, and with ``trailing`` behind it in the same chunk: records that must
    change nothing in front of them.
    """
    whole = receive(framing, [stream], role=role)
    by_byte = receive(framing, [stream[i : i + 1] for i in range(len(stream))], role=role)
    assert by_byte.error_kind == whole.error_kind
    if whole.error is None:
        assert (by_byte.items, by_byte.drops) == (whole.items, whole.drops)
        with_more = receive(framing, [stream + trailing], role=role)
        assert with_more.items[: len(whole.items)] == whole.items
        if trailing:
            assert len(with_more.items) > len(whole.items)
    else:
        # What stands in front of the damage comes too, unless it was in the same chunk.
        assert by_byte.items[: len(whole.items)] == whole.items
        if whole.error_kind is not TruncatedError:
            assert receive(framing, [stream + trailing], role=role).error_kind == whole.error_kind
    return by_byte
