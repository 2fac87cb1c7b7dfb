"""Reports between the records of frames and of super-frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fethpipe.wire.connection import Connection, FramesReceived, PeerReady, ReportReceived
from fethpipe.wire.framing import FRAMINGS
from fethpipe.wire.hello import Feature, Hello
from fethpipe.wire.report import REPORT_LENGTH, Report, decode_report, encode_report

BOTH = Feature.REPORTS | Feature.SUPER_FRAMES
NEAR, FAR = (Hello(bytes([number] * 16), mtu=1500, features=BOTH) for number in (1, 2))
FRAME = bytes(60)


def meet(near: Hello, far: Hello) -> tuple[Connection, Connection]:
    """Return two connections that have heard each other's hello."""
    sides = [Connection(FRAMINGS["u16be"], hello=hello) for hello in (near, far)]
    for side, other in (sides, reversed(sides)):
        assert isinstance(other.receive(side.send_hello())[0], PeerReady)
    return sides[0], sides[1]


@given(st.integers(0, 1 << 40), st.floats(0, 1e7), st.booleans())
def test_numbers_of_any_size_fit(taken: int, seconds: float, near: bool) -> None:
    payload = encode_report(taken, seconds, near=near)

    assert len(payload) == REPORT_LENGTH
    assert decode_report(payload) == (taken % (1 << 32), int(seconds * 1e6) % (1 << 32), near)


@pytest.mark.parametrize("switched", [False, True], ids=["frames", "super-frames"])
def test_reports_come_between_frames(switched: bool) -> None:
    sender, receiver = meet(NEAR, FAR)
    stream = sender.send_switch() if switched else b""
    stream += sender.send([FRAME]) + sender.send_report(7, 1.5) + sender.send([FRAME, FRAME])

    for chunks in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
        reports = [
            event.report
            for chunk in chunks
            for event in receiver.receive(chunk)
            if isinstance(event, ReportReceived)
        ]
        assert reports == [Report(7, 1_500_000)]
        assert not receiver.counters.drops
        sender, receiver = meet(NEAR, FAR)


def test_who_takes_none_gets_none() -> None:
    deaf = FAR._replace(features=Feature.SUPER_FRAMES)
    sender, receiver = meet(NEAR, deaf)

    with pytest.raises(ValueError, match="takes no reports"):
        sender.send_report(7, 1.5)
    events = receiver.receive(FRAMINGS["u16be"].encode([encode_report(7, 1.5), FRAME]))

    assert events == [FramesReceived([FRAME])]
    assert sum(receiver.counters.drops.values()) == 1
