"""When a network that does not answer is told, and what counts as a question and as an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fethpipe.ether.silence import ASKED, FIRST_FRAMES, SECONDS, SilenceWatch

STATION, OTHER = bytes.fromhex("02005e005301"), bytes.fromhex("02005e005302")
CARD = bytes.fromhex("00005e005301")
BROADCAST = b"\xff" * 6
HERE, THERE, NOBODY = b"\x0a\x09\x00\x01", b"\x0a\x09\x00\x02", bytes(4)
HEADER = bytes(10)


def arp(sender: bytes = HERE, target: bytes = THERE, *, source: bytes = STATION) -> bytes:
    packet = bytes.fromhex("0001080006040001") + source + sender + bytes(6) + target
    return BROADCAST + source + b"\x08\x06" + packet + bytes(18)


def dhcp(ports: str, *, to: bytes = BROADCAST, source: bytes = STATION, options: int = 0) -> bytes:
    """Return a datagram of a client or a server, with so many words of IP options."""
    packet = bytes((0x45 + options,)) + bytes(8) + b"\x11" + bytes(10 + 4 * options)
    datagram = bytes.fromhex(ports) + bytes(4 + 28) + STATION + bytes(200)
    return to + source + b"\x08\x00" + packet + datagram


def discover() -> bytes:
    return dhcp("00440043")


def tag(frame: bytes) -> bytes:
    return frame[:12] + b"\x81\x00\x00\x0a" + frame[12:]


def is_told(watch: SilenceWatch) -> bool:
    """Let the time pass."""
    assert not watch.tick(100.0)
    assert not watch.tick(100.0 + SECONDS - 0.1)
    return watch.tick(100.0 + SECONDS)


@pytest.mark.parametrize("question", [arp(), discover(), tag(arp()), dhcp("00440043", options=1)])
def test_who_gets_no_answer_is_told_once(question: bytes) -> None:
    watch = SilenceWatch(looking=True)
    for _ in range(ASKED):
        watch.to_device([HEADER + question], len(HEADER))
    assert is_told(watch)
    assert watch.station == STATION
    assert not watch.looking
    assert not watch.tick(1000.0)


@pytest.mark.parametrize(
    "answer",
    [
        STATION + OTHER + b"\x08\x06" + bytes(46),
        dhcp("00430044", source=OTHER),
        tag(dhcp("00430044", source=OTHER)),
    ],
)
def test_an_answer_ends_it(answer: bytes) -> None:
    watch = SilenceWatch(looking=True)
    watch.to_device([discover()] * ASKED, 0)
    watch.from_device([HEADER + answer], len(HEADER))
    assert not watch.looking
    assert not is_told(watch)


def test_what_others_say_is_no_answer() -> None:
    watch = SilenceWatch(looking=True)
    watch.from_device([STATION + OTHER + b"\x08\x00"], 0)  # before it asked anything
    watch.to_device([discover()] * ASKED, 0)
    watch.from_device([arp(source=OTHER), OTHER + OTHER + b"\x08\x06" + bytes(46)], 0)
    watch.from_device([dhcp("00440043", source=OTHER), b"\xff" * 14], 0)
    assert is_told(watch)


@pytest.mark.parametrize(
    "frame",
    [
        arp(NOBODY, HERE),  # has anybody my address?
        arp(HERE, HERE),  # I have it
        arp()[:20],
        dhcp("00430044"),
        BROADCAST + STATION + b"\x86\xdd" + bytes(60),
        BROADCAST + STATION,
    ],
)
def test_what_is_no_question(frame: bytes) -> None:
    watch = SilenceWatch(looking=True)
    watch.to_device([frame] * ASKED, 0)
    assert not is_told(watch)


def test_a_question_that_is_not_asked_again_was_answered_elsewhere() -> None:
    watch = SilenceWatch(looking=True)
    watch.to_device([arp(target=bytes((10, 9, 0, last))) for last in range(2, 100)], 0)
    assert not is_told(watch)
    watch.to_device([arp()] * (ASKED - 1), 0)
    assert watch.tick(200.0)


def test_nothing_is_told_of_a_whole_network() -> None:
    watch = SilenceWatch(looking=True)
    watch.to_device([arp()] * ASKED + [arp(source=OTHER)], 0)
    assert not is_told(watch)
    watch = SilenceWatch(looking=True)
    watch.to_device([arp(source=CARD)] * ASKED, 0)  # of a network behind a bridge there, too
    assert not is_told(watch)


def test_it_looks_at_the_first_frames_only() -> None:
    watch = SilenceWatch(looking=True)
    watch.to_device([arp()] * (FIRST_FRAMES - 1), 0)
    watch.from_device([b"\xff" * 60], 0)
    assert watch.looking
    watch.from_device([b"\xff" * 60], 0)
    assert not watch.looking


@given(st.lists(st.binary(min_size=14, max_size=80)), st.sampled_from([0, len(HEADER)]))
def test_any_frame_can_be_looked_at(frames: list[bytes], skip: int) -> None:
    watch = SilenceWatch(looking=True)
    watch.to_device([bytes(skip) + frame for frame in frames], skip)
    watch.from_device([bytes(skip) + frame for frame in frames], skip)
    watch.tick(0.0)
