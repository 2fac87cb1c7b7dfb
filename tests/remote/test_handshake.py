"""The point where the stream starts, whatever comes before it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fethpipe.remote.diagnosis import NotStartedError
from fethpipe.remote.handshake import MOST_NOISE, FarSystem, handshake
from fethpipe.system.marker import make_marker, make_nonce
from fethpipe.system.stream import Stream

MARKER = make_marker("nonce")
SECONDS = 10.0
REST = {
    FarSystem("Linux", root=True): b"Linux, root",
    FarSystem("Linux", root=False): b"Linux, user",
    FarSystem("Darwin", root=True): b"Darwin, root",
    FarSystem("Darwin", root=False): b"Darwin, user",
}


class Far:
    """The far end of a stream, and what the near end learns from it."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.noise: list[bytes] = []

    def start(
        self,
        block: bytes = b"",
        *,
        seconds: float = SECONDS,
        watch: Mapping[int, Callable[[], str | None]] | None = None,
    ) -> str | None:
        with Stream(self.near.fileno(), self.near.fileno()) as stream:
            return handshake(
                stream,
                block,
                MARKER,
                REST,
                watch=watch or {},
                on_noise=self.noise.append,
                seconds=seconds,
            )

    def close(self) -> None:
        self.near.close()
        self.far.close()


@pytest.fixture
def far() -> Iterator[Far]:
    far = Far()
    yield far
    far.close()


def test_markers_of_two_starts_differ_and_do_not_hold_the_nonce() -> None:
    nonce = make_nonce()
    assert nonce != make_nonce()
    assert nonce.encode() not in make_marker(nonce)
    assert make_marker(nonce) != make_marker(make_nonce())


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("Linux as 0", b"Linux, root"),
        ("Linux as 1000", b"Linux, user"),
        ("Darwin as 0", b"Darwin, root"),
        ("Darwin as 501", b"Darwin, user"),
        ("FreeBSD as 0", b"Linux, root"),
        (" as ", b"Linux, user"),
    ],
)
def test_what_the_system_needs_follows(far: Far, said: str, sent: bytes) -> None:
    line = f"fethpipe on {said}\n".encode()
    far.far.sendall(b"hello " + line + MARKER)
    far.start(b"for all, ")
    assert far.far.recv(100) == b"for all, " + sent
    assert far.noise == [b"hello "]


def test_only_the_first_system_counts(far: Far) -> None:
    other = b"fethpipe on Darwin as 501\n"
    far.far.sendall(b"fethpipe on Linux as 0\n" + other + MARKER)
    far.start()
    assert far.far.recv(100) == b"Linux, root"
    assert far.noise == [other]


# Bytes of which a marker is made, so that much of it comes by chance.
_NOISE = st.lists(
    st.sampled_from([b"\0", MARKER[:1], MARKER[:9], MARKER[:-1], MARKER[1:], b"\n", b"x", b""])
)


@given(noise=_NOISE, behind=st.binary(max_size=100))
def test_any_noise_is_told_apart(noise: list[bytes], behind: bytes) -> None:
    sent = b"".join(noise)
    assume(MARKER not in sent + MARKER[:-1])
    far = Far()
    try:
        far.far.sendall(sent + MARKER + behind + b".")
        far.start()
        assert b"".join(far.noise) == sent
        assert far.near.recv(200) == behind + b"."
    finally:
        far.close()


def test_the_marker_may_come_byte_by_byte(far: Far) -> None:
    def send() -> None:
        for place in range(len(MARKER)):
            far.far.send(MARKER[place : place + 1])

    thread = threading.Thread(target=send)
    thread.start()
    far.start()
    thread.join()


def test_as_much_noise_as_is_allowed(far: Far) -> None:
    noise = b"n" * MOST_NOISE
    thread = threading.Thread(target=lambda: far.far.sendall(noise + MARKER))
    thread.start()
    far.start()
    thread.join()
    assert far.noise == [noise]


def test_more_noise_than_is_allowed(far: Far) -> None:
    far.far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MOST_NOISE)
    thread = threading.Thread(target=lambda: far.far.sendall(b"n" * (MOST_NOISE + 1)))
    thread.start()
    with pytest.raises(NotStartedError, match="more than 64 KiB before"):
        far.start()
    thread.join()
    assert far.noise == [b"n" * (MOST_NOISE + 1)]


def test_a_block_larger_than_the_pipe_is_sent_while_noise_comes(far: Far) -> None:
    block = os.urandom(1 << 22)
    received = bytearray()

    def play() -> None:
        far.far.sendall(b"n" * 50_000)
        while len(received) < len(block):
            received.extend(far.far.recv(1 << 16))
        far.far.sendall(MARKER)

    thread = threading.Thread(target=play)
    thread.start()
    far.start(block)
    thread.join()
    assert received == block


def test_an_end_before_the_marker_is_told_with_what_came(far: Far) -> None:
    far.far.sendall(b"Go away" + MARKER[:-1])
    far.far.close()
    with pytest.raises(NotStartedError) as caught:
        far.start(b"x" * 100)
    assert caught.value.message == ""
    assert caught.value.noise.startswith(b"Go away")


def test_a_far_end_that_reads_nothing_and_goes_is_told(far: Far) -> None:
    far.far.close()
    with pytest.raises(NotStartedError):
        far.start(b"x" * (1 << 22))


def test_silence_is_told(far: Far) -> None:
    far.far.sendall(b"one moment, please")
    with pytest.raises(NotStartedError, match="it did not start within 0 s") as caught:
        far.start(b"x" * (1 << 22), seconds=0.2)
    assert caught.value.noise == b"one moment, please"


def test_whoever_is_watched_can_end_it(far: Far) -> None:
    read, write = os.pipe()
    os.write(write, b"x")
    answers = iter([None, "enough"])
    assert far.start(watch={read: lambda: next(answers)}) == "enough"
    os.close(read)
    os.close(write)


def test_descriptors_are_as_they_were(far: Far) -> None:
    far.far.sendall(MARKER)
    assert far.near.getblocking()
    far.start()
    assert os.get_blocking(far.near.fileno())
