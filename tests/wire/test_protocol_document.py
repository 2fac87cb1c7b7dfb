"""docs/PROTOCOL.md: its table of framings and its vectors are what the code does."""

from __future__ import annotations

import re
import struct
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from fethpipe.errors import ProtocolError, TruncatedError
from fethpipe.wire.connection import (
    ConfigureReceived,
    Connection,
    ExitReceived,
    FramesReceived,
    PeerReady,
    ReportReceived,
    SuperFramesReceived,
)
from fethpipe.wire.framing import FRAMINGS, Framing
from fethpipe.wire.hello import Feature, Hello
from tests.wire.driving import Role, connect, receive_three_ways

DOCUMENT = Path(__file__).parents[2].joinpath("docs", "PROTOCOL.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```vector\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TABLE_ROW = re.compile(r"^\| `(\w+)` \| ([24]) \| (big|little|native) \| (\d+) \|", re.MULTILINE)

FIELDS = {"framing", "receiver", "stream", "frames", "commands", "drops", "error", "sent"}
ERRORS = {"impossible": ProtocolError, "text": ProtocolError, "truncated": TruncatedError}
COMMANDS = {ConfigureReceived: "configure", ExitReceived: "exit"}
TRAILER = bytes.fromhex("020000000003 020000000004 88b5")


class Vector(NamedTuple):
    """One block of the document."""

    framing: Framing
    receiver: Role
    stream: bytes
    frames: list[bytes]
    commands: list[str]
    drops: int
    error: str
    sent: bool


def parse(block: str) -> Vector:
    fields = dict(re.split(r":\s*", line, maxsplit=1) for line in block.splitlines())
    assert set(fields) <= FIELDS
    framing = FRAMINGS[fields["framing"]]
    assert framing.commands == ("receiver" in fields)
    if framing.commands:
        # The document is about one machine; the code, about the one that it runs on.
        framing = Framing(framing.name, struct.Struct("<H"), framing.maximum, commands=True)
    return Vector(
        framing=framing,
        receiver=Role(fields.get("receiver", "agent")),
        stream=bytes.fromhex(fields["stream"]),
        frames=[bytes.fromhex(frame) for frame in fields["frames"].split(",") if frame],
        commands=[name for name in fields.get("commands", "").split(", ") if name],
        drops=int(fields.get("drops", "0")),
        error=fields.get("error", ""),
        sent=fields.get("sent") == "yes",
    )


VECTORS = [parse(block) for block in BLOCK.findall(DOCUMENT)]


def sender(vector: Vector) -> Connection:
    role = Role.HOST if vector.receiver is Role.AGENT else Role.AGENT
    return connect(vector.framing, role)


def name(vector: Vector) -> str:
    return f"{vector.framing.name}-{vector.stream.hex()[:32] or 'nothing'}"


def test_the_document_has_vectors_for_everything() -> None:
    assert {vector.framing.name for vector in VECTORS} == set(FRAMINGS)
    assert {vector.error for vector in VECTORS} == {"", *ERRORS}
    assert {vector.framing.name for vector in VECTORS if vector.sent} == set(FRAMINGS)
    assert len(VECTORS) == DOCUMENT.count("\nframing: ")


def test_the_document_has_the_table_of_framings() -> None:
    orders = {"native": sys.byteorder}
    rows = {
        row[0]: (int(row[1]), orders.get(row[2], row[2]), int(row[3]))
        for row in TABLE_ROW.findall(DOCUMENT)
    }
    assert rows == {
        framing.name: (
            framing.prefix.size,
            "little" if framing.prefix.pack(1)[0] else "big",
            framing.maximum,
        )
        for framing in FRAMINGS.values()
    }


@pytest.mark.parametrize("vector", VECTORS, ids=name)
def test_the_receiver_of_a_vector(vector: Vector) -> None:
    outcome = receive_three_ways(
        vector.framing,
        vector.stream,
        role=vector.receiver,
        trailing=sender(vector).send([TRAILER]),
    )
    assert outcome.frames == vector.frames
    assert [
        COMMANDS[type(item)] for item in outcome.items if not isinstance(item, bytes)
    ] == vector.commands
    assert sum(outcome.drops.values()) == vector.drops
    assert outcome.error_kind == ERRORS.get(vector.error)
    if outcome.error:
        assert outcome.error.status == 76
        assert ("it starts with the text" in str(outcome.error)) == (vector.error == "text")


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if vector.sent], ids=name)
def test_the_sender_of_a_vector(vector: Vector) -> None:
    assert sender(vector).send(vector.frames) == vector.stream


# ---- the hello and super-frames ----

HELLO_BLOCK = re.compile(r"^```hello\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HELLO_FIELDS = {"stream", "hello", "frames", "super-frames", "reports", "drops", "sent"}
RECEIVER = Hello(
    bytes(range(0x10, 0x20)), mtu=1500, features=Feature.SUPER_FRAMES | Feature.REPORTS
)


def parse_hello(block: str) -> dict[str, str]:
    fields = dict(re.split(r":\s*", field, maxsplit=1) for field in re.split(r"\n(?=\S)", block))
    assert set(fields) <= HELLO_FIELDS
    return fields


HELLO_VECTORS = [parse_hello(block) for block in HELLO_BLOCK.findall(DOCUMENT)]


def hello_of(vector: dict[str, str]) -> Hello | None:
    if "hello" not in vector:
        return None
    nonce, mtu, features, keepalive = vector["hello"].split()
    return Hello(bytes.fromhex(nonce), int(mtu), Feature(int(features)), int(keepalive))


def payloads(vector: dict[str, str], field: str) -> list[bytes]:
    return [bytes.fromhex(text) for text in vector.get(field, "").split(",") if text]


def test_every_block_of_the_document_is_a_vector() -> None:
    assert len(HELLO_VECTORS) == DOCUMENT.count("```hello\n") == 5


@pytest.mark.parametrize("by_byte", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("vector", HELLO_VECTORS, ids=range(len(HELLO_VECTORS)))
def test_the_receiver_of_a_hello_vector(vector: dict[str, str], by_byte: bool) -> None:
    connection = Connection(FRAMINGS["u16be"], hello=RECEIVER)
    stream = bytes.fromhex(vector["stream"])
    frames: list[bytes] = []
    super_frames: list[bytes] = []
    reports: list[str] = []
    for chunk in [bytes((byte,)) for byte in stream] if by_byte else [stream]:
        for event in connection.receive(chunk):
            if isinstance(event, FramesReceived):
                frames += event.frames
            elif isinstance(event, SuperFramesReceived):
                super_frames += map(bytes, event.super_frames)
            elif isinstance(event, ReportReceived):
                reports.append(f"{event.report.taken} {event.report.clock}")
            else:
                assert isinstance(event, PeerReady)
                assert event.hello == connection.peer
    connection.receive_eof()
    assert connection.peer == hello_of(vector)
    assert frames == payloads(vector, "frames")
    assert super_frames == payloads(vector, "super-frames")
    assert ", ".join(reports) == vector.get("reports", "").rstrip()
    assert sum(connection.counters.drops.values()) == int(vector.get("drops", "0"))


@pytest.mark.parametrize("vector", [vector for vector in HELLO_VECTORS if "sent" in vector])
def test_the_sender_of_a_hello_vector(vector: dict[str, str]) -> None:
    sender = Connection(FRAMINGS["u16be"], hello=hello_of(vector))
    stream = sender.send_hello() + sender.send(payloads(vector, "frames"))
    assert stream == bytes.fromhex(vector["stream"])
