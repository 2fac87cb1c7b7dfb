"""Messages and descriptors between processes that do not trust each other."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import struct
from array import array
from collections.abc import Iterator, Sequence
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fethpipe.system.channel import Channel, ChannelClosedError, ChannelError, channel_pair
from tests.patience import PATIENCE
from tests.strategies import chunked, cuts

MESSAGE = {"do": "this"}


@contextlib.contextmanager
def raw_pair() -> Iterator[tuple[socket.socket, Channel]]:
    """Yield a socket and the channel at its other end, and check that no descriptor stays open."""
    before = os.listdir("/dev/fd")
    ours, its = socket.socketpair()
    channel = Channel(its)
    channel.set_timeout(PATIENCE)
    with ours, contextlib.closing(channel):
        yield ours, channel
    assert os.listdir("/dev/fd") == before


def framed(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def send_rights(ours: socket.socket, data: bytes, descriptors: Sequence[int]) -> None:
    ours.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))])


json_leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
json_values = json_leaves | st.lists(json_leaves, max_size=3)
messages = st.dictionaries(st.text(max_size=10), json_values, max_size=3)


@given(st.lists(messages, max_size=5), cuts())
def test_messages_arrive_whole_however_they_are_cut(
    sent: list[dict[str, object]], positions: list[int]
) -> None:
    stream = b"".join(framed(json.dumps(message).encode()) for message in sent)
    with raw_pair() as (ours, channel):

        def write() -> None:
            for chunk in chunked(stream, positions):
                ours.sendall(chunk)
            ours.shutdown(socket.SHUT_WR)

        writer = Thread(target=write)
        writer.start()
        received = [channel.receive()[0] for _ in sent]
        with pytest.raises(ChannelClosedError):
            channel.receive()
        writer.join()
    assert received == sent


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xfe\xfd", id="no text"),
        pytest.param(b"{", id="half of an object"),
        pytest.param(b"[" * 60000, id="deep nesting"),
        pytest.param(b'{"a":' * 12000, id="deep objects"),
        pytest.param(b"9" * 60000, id="a number of many digits"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'"do"', id="a string"),
        pytest.param(b"{}" * 40000, id="more than a message may have"),
        pytest.param(bytes(1 << 20), id="a megabyte"),
    ],
)
def test_what_is_no_message_costs_itself_alone(payload: bytes) -> None:
    with raw_pair() as (ours, channel):
        writer = Thread(target=ours.sendall, args=[framed(payload) + framed(b'{"do": "this"}')])
        writer.start()
        with pytest.raises(ChannelError):
            channel.receive()
        assert channel.receive() == (MESSAGE, [])
        writer.join()


@pytest.mark.parametrize(
    "start",
    [b"", b"\0", b"\0\0\0\x05", b"\0\0\0\x05{}", b"\xff\xff\xff\xff", b"\xff\xff\xff\xff{}"],
    ids=[
        "nothing",
        "half of a length",
        "a length",
        "half of a message",
        "an impossible length",
        "the start of a message that is too long",
    ],
)
def test_an_end_is_an_end_wherever_it_comes(start: bytes) -> None:
    with raw_pair() as (ours, channel):
        ours.sendall(start)
        ours.close()
        with pytest.raises(ChannelClosedError):
            channel.receive()


def test_descriptors_come_with_their_message() -> None:
    near, far = channel_pair()
    reader, writer = os.pipe()
    with contextlib.closing(near), contextlib.closing(far):
        near.send(MESSAGE, (reader, writer))
        message, received = far.receive(descriptors=True)
    assert message == MESSAGE
    assert len(received) == 2
    assert not any(os.get_inheritable(descriptor) for descriptor in received)
    os.write(received[1], b"through")
    assert os.read(reader, 100) == b"through"
    for descriptor in (reader, writer, *received):
        os.close(descriptor)


@pytest.mark.parametrize("places", [("length",), ("payload",), ("length", "payload")])
@pytest.mark.parametrize("wanted", [False, True], ids=["unwanted", "wanted"])
@pytest.mark.parametrize("count", [1, 3, 200])
def test_descriptors_that_nobody_asked_for_do_not_stay(
    places: tuple[str, ...], wanted: bool, count: int
) -> None:
    payload = json.dumps(MESSAGE).encode()
    with raw_pair() as (ours, channel):
        for place, data in (("length", framed(payload)[:4]), ("payload", payload)):
            send_rights(ours, data, [ours.fileno()] * (count if place in places else 0))
        message, received = channel.receive(descriptors=wanted)
        assert message == MESSAGE
        assert len(received) <= 4
        assert not received or (wanted and "length" in places)
        for descriptor in received:
            os.close(descriptor)


def test_descriptors_of_a_bad_message_are_closed() -> None:
    with raw_pair() as (ours, channel):
        send_rights(ours, framed(b"[]"), [ours.fileno()] * 3)
        with pytest.raises(ChannelError):
            channel.receive(descriptors=True)


def test_sending_to_nobody_is_told() -> None:
    near, far = channel_pair()
    far.close()
    with contextlib.closing(near), pytest.raises(ChannelClosedError):
        near.send(MESSAGE)


def test_a_side_that_is_too_slow_is_told() -> None:
    near, far = channel_pair()
    with contextlib.closing(near), contextlib.closing(far):
        near.set_timeout(0.01)
        with pytest.raises(TimeoutError):
            near.receive()


def test_finishing_waits_for_the_other_side_and_takes_what_it_says() -> None:
    near, far = channel_pair()
    ended: list[bool] = []

    def answer_and_end() -> None:
        with contextlib.closing(far):
            with pytest.raises(ChannelClosedError):
                far.receive()
            far.send(MESSAGE)
            ended.append(True)

    other = Thread(target=answer_and_end)
    other.start()
    near.finish()
    assert ended
    near.finish()
    near.close()
    other.join()


@pytest.mark.parametrize("room", [0, 1])
def test_descriptors_that_there_is_no_room_for_are_an_error(room: int) -> None:
    near, far = channel_pair()
    with contextlib.closing(near), contextlib.closing(far):
        near.send({}, (0, 0))
        free = os.dup(0)
        os.close(free)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + room, limits[1]))
        try:
            with pytest.raises(OSError, match="open files"):
                far.receive(descriptors=True)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert os.dup(0) == free  # none is left open
        os.close(free)
