"""One side of the conversation: which records carry frames, which are commands, which are text."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fethpipe.errors import ProtocolError, TruncatedError
from fethpipe.stats import Counters
from fethpipe.wire.connection import (
    ConfigureReceived,
    Connection,
    ExitReceived,
    FramesReceived,
)
from fethpipe.wire.framing import FRAMINGS, Framing
from tests.fakes import scatter
from tests.strategies import chunked, corrupted, cuts, frames, framings
from tests.wire.driving import Item, Role, connect, receive, receive_three_ways
from tests.wire.reference import split

U16BE = FRAMINGS["u16be"]
ZEROTIER = FRAMINGS["zerotier"]
SIXTEEN_BITS = [name for name, framing in FRAMINGS.items() if framing.prefix.size == 2]

HEADER = bytes.fromhex("ffffffffffff 020000000001 88b5")
"""The shortest frame."""
FRAME = HEADER + b"payload"
TRAILER = HEADER + b"behind"

BANNER = b"Welcome to example.org!\r\nLast login: Mon Jan  1 00:00:00 from 192.0.2.1\r\n"


def peer(role: Role) -> Role:
    return Role.HOST if role is Role.AGENT else Role.AGENT


# ---- frames, each case three ways ----

# Payloads, the frames among them, and the reasons of drops.
CASES: dict[str, tuple[list[bytes], list[bytes], dict[str, int]]] = {
    "nothing": ([], [], {}),
    "one frame": ([FRAME], [FRAME], {}),
    "the shortest frame": ([HEADER], [HEADER], {}),
    "frames keep their order": ([FRAME, HEADER, FRAME], [FRAME, HEADER, FRAME], {}),
    "empty records are ignored": ([b"", FRAME, b"", b""], [FRAME], {}),
    "short records are counted": (
        [HEADER[:1], FRAME, HEADER[:13]],
        [FRAME],
        {"shorter than an Ethernet header": 2},
    ),
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("name", FRAMINGS)
@pytest.mark.parametrize(("payloads", "received", "drops"), CASES.values(), ids=list(CASES))
def test_frames(
    name: str,
    role: Role,
    payloads: list[bytes],
    received: list[bytes],
    drops: dict[str, int],
) -> None:
    framing = FRAMINGS[name]
    command = b"\0" if framing.commands and role is Role.AGENT else b""
    stream = framing.encode([command + payload for payload in payloads])
    trailing = framing.encode([command + TRAILER])
    outcome = receive_three_ways(framing, stream, role=role, trailing=trailing)
    assert (outcome.items, outcome.drops, outcome.error) == (received, drops, None)


def test_frames_of_one_chunk_come_as_one_batch() -> None:
    events = Connection(U16BE).receive(U16BE.encode([FRAME, b"", HEADER]))
    assert events == [FramesReceived([FRAME, HEADER])]


def test_a_chunk_without_frames_is_no_event() -> None:
    assert Connection(U16BE).receive(U16BE.encode([b"", b"short"])) == []


def test_drops_are_counted_where_the_device_counts() -> None:
    counters = Counters()
    connection = Connection(U16BE, counters)
    connection.receive(U16BE.encode([b"short"]))
    assert connection.counters is counters
    assert counters.drops == {"shorter than an Ethernet header": 1}


# ---- ZeroTier's commands, each case three ways ----

COMMANDS: dict[str, tuple[list[bytes], list[Item], dict[str, int]]] = {
    "configure": ([b"\1mtu\x001400\0"], [ConfigureReceived((b"mtu", b"1400", b""))], {}),
    "configure without words": ([b"\1"], [ConfigureReceived((b"",))], {}),
    "exit": ([b"\2"], [ExitReceived()], {}),
    "exit with an argument": ([b"\2now"], [ExitReceived()], {}),
    "unknown commands are counted": ([b"\3", b"\xff" + FRAME], [], {"unknown command": 2}),
    "an empty record is no command": ([b""], [], {}),
    "commands and frames keep their order": (
        [b"\0" + FRAME, b"\1up", b"\0" + HEADER, b"", b"\0" + FRAME, b"\2"],
        [FRAME, ConfigureReceived((b"up",)), HEADER, FRAME, ExitReceived()],
        {},
    ),
}


@pytest.mark.parametrize(("payloads", "items", "drops"), COMMANDS.values(), ids=list(COMMANDS))
def test_commands(payloads: list[bytes], items: list[Item], drops: dict[str, int]) -> None:
    stream = ZEROTIER.encode(payloads)
    outcome = receive_three_ways(ZEROTIER, stream, trailing=ZEROTIER.encode([b"\0" + TRAILER]))
    assert (outcome.items, outcome.drops, outcome.error) == (items, drops, None)


# ---- sending ----


@pytest.mark.parametrize(
    ("name", "role", "longest"),
    [
        ("u16be", Role.AGENT, 65535),
        ("u32be", Role.AGENT, 65613),
        ("u16le", Role.AGENT, 65535),
        ("zerotier", Role.AGENT, 65535),
        ("zerotier", Role.HOST, 65534),
    ],
)
def test_a_frame_that_is_too_long_is_dropped_alone(name: str, role: Role, longest: int) -> None:
    framing = FRAMINGS[name]
    sender = connect(framing, role)
    fitting = bytes(longest)
    stream = sender.send([HEADER, fitting + b"\0", fitting])
    assert sender.counters.drops == {"too long for the framing": 1}
    assert receive(framing, [stream], role=peer(role)).frames == [HEADER, fitting]


# ---- the end of the stream ----


@pytest.mark.parametrize("name", FRAMINGS)
def test_the_end_inside_a_record(name: str) -> None:
    framing = FRAMINGS[name]
    stream = framing.encode([b"\0" + FRAME])
    for end in range(1, len(stream)):
        outcome = receive_three_ways(framing, stream[:end])
        assert (outcome.items, outcome.error_kind) == ([], TruncatedError)


# ---- text instead of records ----


@pytest.mark.parametrize("name", FRAMINGS)
def test_a_banner_is_told_from_records(name: str) -> None:
    outcome = receive_three_ways(FRAMINGS[name], BANNER)
    assert outcome.items == []
    assert outcome.error_kind is ProtocolError
    assert outcome.error is not None
    assert outcome.error.status == 76
    assert f"the stream is not in {name} framing" in outcome.error.message
    assert "it starts with the text 'Welc" in outcome.error.message
    assert "print nothing on stdout" in outcome.error.hint


@pytest.mark.parametrize("first", range(1, 64))
def test_the_quotation_has_no_gaps(first: int) -> None:
    error = receive(U16BE, [BANNER[:first], BANNER[first:]]).error
    assert error is not None
    quoted = ascii(BANNER[: 64 if first < 16 else min(first, 64)].decode())
    assert error.message.endswith(f"it starts with the text {quoted}")


@pytest.mark.parametrize("name", FRAMINGS)
def test_a_short_text_is_quoted_at_the_end_of_the_stream(name: str) -> None:
    outcome = receive_three_ways(FRAMINGS[name], b"hi!\n")
    assert outcome.error is not None
    assert outcome.error.message.endswith(r"it starts with the text 'hi!\n'")


@pytest.mark.parametrize("name", SIXTEEN_BITS)
def test_a_short_text_waits_for_more(name: str) -> None:
    connection = Connection(FRAMINGS[name])
    for byte in BANNER[:15]:
        assert connection.receive(bytes((byte,))) == []
    with pytest.raises(ProtocolError, match="it starts with the text"):
        connection.receive(BANNER[15:16])


def test_bytes_that_are_no_ascii_are_quoted_harmlessly() -> None:
    error = receive(U16BE, [b"Welcome to M\x1b[1mnchen \xfc\xff\0"]).error
    assert error is not None
    assert error.message.endswith(r"'Welcome to M\x1b[1mnchen \ufffd\ufffd\x00'")


@pytest.mark.parametrize("position", range(16))
@pytest.mark.parametrize("byte", [0x00, 0x08, 0x0B, 0x1F, 0x7F, 0x80, 0xFF])
def test_one_byte_that_is_no_text_makes_a_record(position: int, byte: int) -> None:
    stream = bytearray(b"~" * 16)
    stream[position] = byte
    connection = Connection(U16BE)
    connection.receive(bytes(stream))
    with pytest.raises(TruncatedError):
        connection.receive_eof()


@pytest.mark.parametrize("byte", b" ~\t\n\r\x1bA")
def test_sixteen_bytes_of_text(byte: int) -> None:
    with pytest.raises(ProtocolError, match="it starts with the text"):
        Connection(U16BE).receive(bytes((byte,)) * 16)


def test_frames_full_of_text_are_frames() -> None:
    frame = HEADER + BANNER * 100
    assert receive_three_ways(U16BE, U16BE.encode([frame])).items == [frame]


def test_text_behind_the_first_record_is_not_looked_for() -> None:
    framing = FRAMINGS["u16le"]
    frame = b"~" * 0x2020
    assert receive(framing, [framing.encode([HEADER, frame])]).frames == [HEADER, frame]


# ---- any stream ----


def roles() -> st.SearchStrategy[Role]:
    return st.sampled_from(list(Role))


@given(st.data(), framings(), roles(), cuts())
def test_frames_that_are_sent_are_received(
    data: st.DataObject, framing: Framing, role: Role, positions: list[int]
) -> None:
    sender = connect(framing, role)
    longest = framing.maximum - (framing.commands and role is Role.HOST)
    batches = data.draw(st.lists(st.lists(frames(longest), max_size=3), max_size=3))
    sent = [frame for batch in batches for frame in batch]
    stream = b"".join(map(sender.send, batches))
    assume(not is_text(stream[:16]))
    outcome = receive(framing, chunked(stream, positions), role=peer(role))
    assert (outcome.items, outcome.drops, outcome.error) == (sent, {}, None)
    assert not sender.counters.drops


@given(st.data(), framings(), roles(), cuts())
def test_no_frame_is_received_but_what_the_stream_holds(
    data: st.DataObject, framing: Framing, role: Role, positions: list[int]
) -> None:
    sent = data.draw(st.lists(frames(100), max_size=5))
    stream = data.draw(corrupted(connect(framing, peer(role)).send(sent)))
    outcome = receive(framing, chunked(stream, positions), role=role)
    payloads = [payload for _, payload in split(framing.name, stream).records]
    if framing.commands and role is Role.AGENT:
        payloads = [payload[1:] for payload in payloads if payload[:1] == b"\0"]
    held = [payload for payload in payloads if len(payload) >= 14]
    if outcome.error_kind is ProtocolError:
        assert outcome.frames == held[: len(outcome.frames)]
    else:
        assert outcome.frames == held


@given(framings(), roles(), st.binary(max_size=200), cuts())
def test_chunks_do_not_matter(
    framing: Framing, role: Role, stream: bytes, positions: list[int]
) -> None:
    whole = receive(framing, [stream], role=role)
    outcome = receive(framing, chunked(stream, positions), role=role)
    assert outcome.error_kind == whole.error_kind
    if whole.error_kind is not ProtocolError:
        assert (outcome.items, outcome.drops) == (whole.items, whole.drops)


def is_text(head: bytes) -> bool:
    return len(head) == 16 and all(0x20 <= byte < 0x7F or byte in b"\t\n\r\x1b" for byte in head)


@pytest.mark.parametrize("name", FRAMINGS)
def test_slots_hold_what_send_returns(name: str) -> None:
    connection = Connection(FRAMINGS[name])
    slots = connection.slots(len(FRAME))
    assert slots
    scatter(FRAME, slots.buffers[0])
    assert bytes(slots.records(1)) == connection.send([FRAME])
    assert connection.slots(FRAMINGS[name].maximum)
    assert connection.slots(FRAMINGS[name].maximum + 1) is None
