"""Two sides that meet: hello, and each direction's switch to super-frames."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fethpipe.errors import ProtocolError, TruncatedError
from fethpipe.wire.connection import (
    Connection,
    EchoReceived,
    FramesReceived,
    PeerReady,
    SuperFramesReceived,
)
from fethpipe.wire.framing import FRAMINGS, SUPER_FRAMES
from fethpipe.wire.hello import Feature, Hello, encode_hello, encode_switch
from fethpipe.wire.superframe import LONG, PLAIN
from tests.fakes import scatter
from tests.strategies import chunked, cuts

U16BE = FRAMINGS["u16be"]
OURS = Hello(b"o" * 16, mtu=1500, features=Feature.SUPER_FRAMES)
THEIRS = Hello(b"t" * 16, mtu=1400, features=Feature.SUPER_FRAMES | Feature.UDP_SEGMENTS)
SIMPLE = Hello(b"s" * 16, mtu=1500)
FRAME = bytes.fromhex("ffffffffffff 020000000001 88b6") + b"payload"
PACKET = PLAIN + FRAME

Item = Union[bytes, Hello, tuple[str, bytes]]


def items(connection: Connection, chunks: Iterable[bytes]) -> list[Item]:
    """Return frames, super-frames and hellos in the order in which they came."""
    found: list[Item] = []
    for chunk in chunks:
        for event in connection.receive(chunk):
            if isinstance(event, FramesReceived):
                found += event.frames
            elif isinstance(event, SuperFramesReceived):
                found += [("super", bytes(packet)) for packet in event.super_frames]
            elif isinstance(event, EchoReceived):
                found.append(b"an echo")
            else:
                assert isinstance(event, PeerReady)
                found.append(event.hello)
    return found


def both(ours: Hello | None = OURS, theirs: Hello | None = THEIRS) -> tuple[Connection, Connection]:
    return Connection(U16BE, hello=ours), Connection(U16BE, hello=theirs)


def met(ours: Hello | None = OURS, theirs: Hello | None = THEIRS) -> tuple[Connection, Connection]:
    """Return two sides that have heard each other's hello."""
    one, other = both(ours, theirs)
    items(one, [other.send_hello()])
    items(other, [one.send_hello()])
    return one, other


def record(payload: bytes) -> bytes:
    return U16BE.encode([payload])


# ---- the hello ----


def test_without_a_hello_nothing_is_said_and_nothing_heard() -> None:
    silent, other = both(None)
    assert silent.send_hello() == b""
    assert items(silent, [other.send_hello()]) == [encode_hello(THEIRS)]
    assert not silent.counters.drops
    assert silent.peer is None


@pytest.mark.parametrize("before", [FRAME, b"", b"short"], ids=["a frame", "nothing", "a stub"])
def test_a_hello_counts_only_as_the_first_record(before: bytes) -> None:
    """A later one may come from any host behind the peer."""
    one, _ = both()
    forged = encode_hello(THEIRS)
    found = items(one, [record(before) + record(forged) + record(b"")])
    assert found[-1] == forged
    assert one.peer is None


@pytest.mark.parametrize("together", [True, False], ids=["in one piece", "one by one"])
@pytest.mark.parametrize("behind", [FRAME, b"x"], ids=["a frame", "a stub"])
def test_a_hello_without_an_empty_record_behind_it_is_a_frame(
    behind: bytes, together: bool
) -> None:
    """It was relayed by something that deals in frames, and need not be of our peer."""
    one, _ = both()
    relayed = encode_hello(THEIRS)
    records = [record(relayed), record(behind), record(b""), record(FRAME)]
    found = items(one, [b"".join(records)] if together else records)
    assert found[0] == relayed
    assert found[-1] == FRAME
    assert one.peer is None


def test_the_empty_record_of_a_hello_promises_no_others() -> None:
    one, _ = met()
    assert not one.peer_keeps_alive


def test_a_side_ignores_its_own_hello() -> None:
    """COMMAND may echo the stream."""
    one, _ = both()
    assert items(one, [one.send_hello(), record(FRAME)]) == [b"an echo", FRAME]
    assert one.peer is None


def test_a_second_hello_is_a_frame() -> None:
    one, other = both()
    again = encode_hello(SIMPLE)
    assert items(one, [other.send_hello(), record(again)]) == [THEIRS, again]
    assert one.peer == THEIRS


def test_a_hello_that_cannot_be_read_is_dropped_and_the_stream_goes_on() -> None:
    one, _ = both()
    newer = bytearray(encode_hello(THEIRS))
    newer[22] = 2
    assert items(one, [record(bytes(newer)) + record(FRAME)]) == [FRAME]
    assert one.counters.drops == {"hello that cannot be read": 1}
    assert one.peer is None


@pytest.mark.parametrize("name", ["u32be", "u16le", "zerotier"])
def test_only_u16be_has_a_hello(name: str) -> None:
    with pytest.raises(ValueError, match=f"the {name} framing has no hello"):
        Connection(FRAMINGS[name], hello=OURS)


# ---- the switch ----


def test_each_direction_switches_by_itself() -> None:
    one, other = met()
    items(other, [one.send_switch()])
    assert items(one, [other.send([FRAME])]) == [FRAME]
    assert items(one, [other.send_switch() + other.send([FRAME])]) == [("super", PACKET)]


def test_a_second_switch_says_nothing() -> None:
    one, _ = met()
    assert one.send_switch() != b""
    assert one.send_switch() == b""


def test_a_hello_may_still_be_on_its_way_when_the_peer_switches() -> None:
    """We have sent ours; theirs and the switch come in one piece."""
    one, other = both()
    items(other, [one.send_hello()])
    stream = other.send_hello() + other.send_switch() + other.send([FRAME])
    assert items(one, [stream]) == [THEIRS, ("super", PACKET)]


@pytest.mark.parametrize("theirs", [None, SIMPLE], ids=["knows no hello", "takes none"])
def test_a_peer_that_takes_none_is_never_sent_one(theirs: Hello | None) -> None:
    one, other = met(OURS, theirs)
    with pytest.raises(ValueError, match="the peer takes no super-frames"):
        one.send_switch()
    with pytest.raises(ValueError, match="super-frames come after the switch"):
        one.send_super_frames([PACKET])
    assert items(other, [one.send([FRAME])]) == [FRAME]


@pytest.mark.parametrize("nonce", [b"x" * 16, THEIRS.nonce, OURS.nonce[:15] + b"x"])
def test_a_switch_with_another_nonce_is_a_frame(nonce: bytes) -> None:
    one, _ = met()
    forged = encode_switch(nonce)
    assert items(one, [record(forged) + record(FRAME)]) == [forged, FRAME]


def test_a_switch_for_one_who_takes_none_is_a_frame() -> None:
    one, _ = met(SIMPLE)
    switch = encode_switch(SIMPLE.nonce)
    assert items(one, [record(switch) + record(FRAME)]) == [switch, FRAME]


def test_an_empty_record_keeps_alive_behind_the_switch_too() -> None:
    one, other = met()
    stream = one.send_switch() + one.send_keepalive() + one.send([FRAME])
    assert items(other, [stream]) == [("super", PACKET)]
    assert other.peer_keeps_alive


def test_a_bad_super_frame_is_dropped_and_the_stream_goes_on() -> None:
    one, other = met()
    bad = b"\xff" + PACKET[1:]
    stream = one.send_switch() + b"".join(one.send_super_frames([bad, PACKET, b"\0" * 23]))
    assert items(other, [stream]) == [("super", PACKET)]
    assert other.counters.drops == {
        "super-frame with unknown flags": 1,
        "shorter than an Ethernet header": 1,
    }


def test_a_super_frame_that_is_too_long_is_not_sent() -> None:
    one, other = met()
    stream = one.send_switch() + b"".join(one.send_super_frames([bytes(65614), PACKET]))
    assert items(other, [stream]) == [("super", PACKET)]
    assert one.counters.drops == {"too long for the framing": 1}


@pytest.mark.parametrize("apart", [False, True], ids=["in one piece", "behind the switch"])
def test_an_impossible_length_behind_the_switch_is_an_error(apart: bool) -> None:
    one, other = met()
    switch, length = one.send_switch(), (65614).to_bytes(4, "big")
    with pytest.raises(ProtocolError, match="65614 bytes, but the maximum is 65613"):
        items(other, [switch, length] if apart else [switch + length])


def test_the_end_inside_a_super_frame_is_an_error() -> None:
    one, other = met()
    items(other, [one.send_switch() + one.send([FRAME])[:-1]])
    with pytest.raises(TruncatedError):
        other.receive_eof()


# ---- one that comes alone ----


@given(st.lists(st.binary(max_size=60), max_size=8), cuts())
def test_one_that_comes_alone_is_taken_only_where_a_record_starts(
    super_frames: list[bytes], positions: list[int]
) -> None:
    one, other = met()
    lone = one.send([FRAME])
    assert other.receive_lone(lone) == b""  # before the switch these bytes are something else
    switch = one.send_switch()
    lone = one.send_lone(PLAIN + FRAME)
    starts = list(accumulate(map(len, [switch, *map(SUPER_FRAMES.encode_one, super_frames)])))
    came = 0
    for chunk in chunked(switch + SUPER_FRAMES.encode(super_frames), positions):
        other.receive(chunk)
        came += len(chunk)
        assert other.receive_lone(lone) == (PLAIN + FRAME if came in starts else b"")


@pytest.mark.parametrize(
    "record",
    [
        SUPER_FRAMES.encode([PLAIN + FRAME])[:-1],
        SUPER_FRAMES.encode([PLAIN + FRAME, PLAIN + FRAME]),
        SUPER_FRAMES.encode([PLAIN + FRAME[:13]]),
        SUPER_FRAMES.encode([b"\xff" * len(PLAIN) + FRAME]),
        SUPER_FRAMES.encode([PLAIN + FRAME.ljust(LONG, b".")]),
    ],
    ids=["cut", "two", "shorter than a header", "faulty", "long"],
)
def test_what_is_not_one_short_whole_and_good_goes_the_long_way(record: bytes) -> None:
    one, other = met()
    other.receive(one.send_switch())
    assert other.receive_lone(record) == b""


# ---- any conversation, cut anywhere ----

PIECES: st.SearchStrategy[tuple[str, list[bytes]]] = st.one_of(
    st.tuples(st.just("frames"), st.lists(st.binary(min_size=14, max_size=80), max_size=20)),
    st.tuples(st.just("many"), st.lists(st.just(FRAME), min_size=9, max_size=200)),
    st.tuples(st.just("long"), st.lists(st.just(FRAME + bytes(40000)), max_size=2)),
    st.tuples(st.sampled_from(["switch", "keepalive"]), st.just([])),
)


@given(st.lists(PIECES, max_size=8), cuts())
def test_whatever_is_sent_arrives_however_it_is_cut(
    pieces: list[tuple[str, list[bytes]]], positions: list[int]
) -> None:
    one, other = both()
    items(one, [other.send_hello()])
    stream = one.send_hello()
    expected: list[Item] = [OURS]
    switched = False
    for kind, frames in pieces:
        if kind == "switch":
            stream += one.send_switch()
            switched = True
        elif kind == "keepalive":
            stream += one.send_keepalive()
        elif switched:
            packets = [PLAIN + frame for frame in frames]
            stream += b"".join(one.send_super_frames(packets))
            expected += [("super", packet) for packet in packets]
        else:
            stream += one.send(frames)
            expected += frames
    assert items(other, chunked(stream, positions)) == expected
    other.receive_eof()
    assert not other.counters.drops


@given(st.binary(max_size=300), st.booleans(), cuts())
def test_any_bytes_behind_a_hello_are_events_or_an_error(
    data: bytes, switch: bool, positions: list[int]
) -> None:
    one, other = both()
    items(one, [other.send_hello()])
    stream = one.send_hello() + (one.send_switch() if switch else b"") + data
    try:
        items(other, chunked(stream, positions))
        other.receive_eof()
    except ProtocolError:
        pass


def test_slots_behind_the_switch_are_super_frames() -> None:
    near, far = (Connection(FRAMINGS["u16be"], hello=each) for each in (OURS, THEIRS))
    near.receive(far.send_hello())
    near.send_switch()
    slots = near.slots(len(PACKET))
    assert slots
    scatter(PACKET, slots.buffers[0])
    assert [bytes(slots.records(1))] == near.send_super_frames([PACKET])
