"""gvproxy ``-listen-stdio``: a peer that behaves as its published protocol says (length: two bytes,
little-endian, then the frame). The program itself is in no package of Debian's.
"""

from __future__ import annotations

import pytest

from tests.live.ethernet import PacketSocket, make_frame
from tests.live.far_tap import far_tap
from tests.live.netns import Namespace
from tests.live.peer import Peer, records
from tests.live.peers import check_traffic
from tests.live.programs import LEFT, RIGHT

pytestmark = pytest.mark.live


def test_its_records_are_frames_both_ways(left: Namespace) -> None:
    with Peer(prefix="<H") as peer, peer.start(left, "--framing", "u16le").up() as program:
        with PacketSocket(left, "fp0") as device:
            for size in (14, 60, 255, 256, 257, 1514):
                peer.send(records(make_frame(size, size=size)[:size], prefix="<H"))
            for size in (60, 255, 256, 257, 1514):
                while (frame := device.receive()) != make_frame(size, size=size):
                    assert len(frame) == 14
                device.send(frame)
                assert peer.receive(bool) == frame  # with no hello in front of it
        peer.stop_sending()
        program.ends(0, "the peer closed the stream")


@pytest.mark.parametrize("mtu", [1500, 65521])
def test_pings_and_tcp_pass_both_ways(left: Namespace, right: Namespace, mtu: int) -> None:
    options = ["--framing", "u16le", "--mtu", str(mtu), "--address", f"{LEFT}/24"]
    with Peer(prefix="<H") as peer, peer.start(left, *options) as program:
        program.ready()
        with far_tap(peer, right, RIGHT, mtu=mtu):
            check_traffic(left, right, mtu=mtu)
