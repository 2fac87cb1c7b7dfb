"""Traffic between two namespaces that are joined by two fethpipes and two pipes."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace
from tests.live.peers import ping_at_once, wait_reachable
from tests.live.programs import LEFT, RIGHT, listen, tunnel
from tests.live.traffic import transfer, transfer_both_ways
from tests.patience import PATIENCE

pytestmark = pytest.mark.live


def test_a_flood_of_pings_is_answered_to_the_last(left: Namespace, right: Namespace) -> None:
    with tunnel(left, right):
        said = left.run(["ping", "-f", "-q", "-c", "5000", RIGHT])
    assert "5000 packets transmitted, 5000 received, 0% packet loss" in said


@pytest.mark.parametrize(
    ("mtu", "size"),
    [
        pytest.param(1500, 200_000_000, id="at MTU 1500"),
        pytest.param(16370, 100_000_000, id="at the largest MTU of macOS"),
        pytest.param(65521, 20_000_000, id="at the largest MTU of a TAP"),
        pytest.param(68, 100_000, id="at the smallest MTU of IPv4"),
    ],
)
@pytest.mark.parametrize("hello", [True, False], ids=["with hello", "without hello"])
def test_tcp_carries_every_byte_while_pings_are_answered(
    left: Namespace, right: Namespace, mtu: int, size: int, hello: bool
) -> None:
    options = ["--mtu", str(mtu), *([] if hello else ["--no-hello"])]
    with tunnel(left, right, *options), _pinging(left, RIGHT) as pings:
        transfer(left, right, RIGHT, size)
    transmitted, answered = pings
    assert answered >= 0.9 * transmitted - 1  # a full queue may drop some


@pytest.mark.parametrize("hidden", ["left", "right"])
def test_super_frames_do_not_go_to_an_end_that_says_no_hello(
    left: Namespace, right: Namespace, hidden: str
) -> None:
    options = {
        "left_options": ["--address", f"{LEFT}/24"],
        "right_options": ["--address", f"{RIGHT}/24"],
    }
    options[f"{hidden}_options"].append("--no-hello")
    with tunnel(left, right, **options):
        transfer(left, right, RIGHT, 20_000_000)
        transfer(right, left, LEFT, 20_000_000)


def test_tcp_in_both_directions_at_once(left: Namespace, right: Namespace) -> None:
    with tunnel(left, right):
        transfer_both_ways(left, LEFT, right, RIGHT, 50_000_000)


def test_ipv6_addresses_talk_to_each_other() -> None:
    with Namespace(ipv6=True) as left, Namespace(ipv6=True) as right:
        options = {
            "left_options": ("--address", "fd00:9::1/64"),
            "right_options": ("--address", "fd00:9::2/64"),
        }
        with tunnel(left, right, **options):
            left.wait_usable("fd00:9::1")
            right.wait_usable("fd00:9::2")
            said = ping_at_once(left, "fd00:9::2", 20, "-6", "-q")
    assert "20 packets transmitted, 20 received, 0% packet loss" in said


def test_a_broadcast_arrives(left: Namespace, right: Namespace) -> None:
    sender = left.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver = right.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with tunnel(left, right), sender, receiver:
        receiver.bind(("", 9))
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.sendto(b"to all", ("10.9.0.255", 9))
        data, (source, _) = receiver.recvfrom(100)
    assert (data, source) == (b"to all", LEFT)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(make_frame(1)[:14], id="a header alone"),
        pytest.param(make_frame(2, size=14 + 1500), id="one that fills the MTU"),
        pytest.param(make_frame(3, size=61), id="one of odd length"),
        pytest.param(make_frame(4, tag=bytes.fromhex("8100 0005")), id="one in VLAN 5"),
        pytest.param(
            make_frame(5, size=14 + 4 + 1500, tag=bytes.fromhex("8100 efff")),
            id="one in a VLAN that fills the MTU, with priority",
        ),
        pytest.param(make_frame(6, tag=bytes.fromhex("88a8 0064")), id="one with a service tag"),
        pytest.param(
            make_frame(7, destination=bytes.fromhex("0180c2000000")), id="one that bridges keep"
        ),
    ],
)
def test_a_frame_arrives_unchanged(left: Namespace, right: Namespace, frame: bytes) -> None:
    with _wire(left, right) as (sender, receiver):
        sender.send(frame)
        assert receiver.receive() == frame


def test_frames_arrive_in_order_each_once(left: Namespace, right: Namespace) -> None:
    with _wire(left, right) as (sender, receiver):
        for start in range(0, 10_000, 100):  # fewer at once than the queues hold
            frames = [make_frame(number) for number in range(start, start + 100)]
            for frame in frames:
                sender.send(frame)
            assert [receiver.receive() for _ in frames] == frames


@pytest.mark.parametrize("size", [4, 64, 1472])
def test_datagrams_arrive_in_order_each_once(left: Namespace, right: Namespace, size: int) -> None:
    sender = left.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver = right.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with tunnel(left, right), sender, receiver:
        wait_reachable(left, RIGHT)
        receiver.bind((RIGHT, 0))
        receiver.settimeout(PATIENCE)
        for start in range(0, 10_000, 40):  # fewer at once than the receiver's buffer holds
            datagrams = [bytes(size - 4) + struct.pack(">I", start + i) for i in range(40)]
            for datagram in datagrams:
                sender.sendto(datagram, receiver.getsockname())
            assert [receiver.recv(65536) for _ in datagrams] == datagrams


@contextlib.contextmanager
def _wire(left: Namespace, right: Namespace) -> Iterator[tuple[PacketSocket, PacketSocket]]:
    """Return what sends and receives frames at the two ends of a tunnel."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(tunnel(left, right, left_options=(), right_options=()))
        yield (
            stack.enter_context(PacketSocket(left, "fp0")),
            stack.enter_context(PacketSocket(right, "fp0")),
        )


@contextlib.contextmanager
def _pinging(namespace: Namespace, address: str) -> Iterator[list[int]]:
    """Ping while this block runs, after a first answer. After the block, the list has the number
    of pings and of answers, up to the first ping after the block.
    """
    argv = ["ping", "-D", "-i", "0.01", "-s", "20", address]
    process, said = listen(namespace, argv, on="stdout")
    counts: list[int] = []
    with contextlib.closing(said) as lines:
        assert lines.next(containing="bytes from")
        yield counts
        wait_reachable(namespace, address)  # what went before that is answered now, or lost
        over = time.time()
        answered, found = 1, None
        while found is None or float(found[1]) <= over:
            answered += 1
            line = lines.next(containing="bytes from")
            found = re.match(r"\[([\d.]+)\] .* icmp_seq=(\d+) ", line)
            assert found is not None, line
        process.terminate()
        counts += [int(found[2]), answered]


def test_addresses_that_do_not_fit_are_told(left: Namespace, right: Namespace) -> None:
    left.run(["ip", "address", "add", "10.9.0.7/16", "dev", "lo"])
    options = ["--address", f"{LEFT}/24", "--address", "fd00:9::1/64"]
    left.run(["sysctl", "-q", "net.ipv6.conf.default.disable_ipv6=0"])
    right.run(["sysctl", "-q", "net.ipv6.conf.default.disable_ipv6=0"])
    with tunnel(left, right, left_options=options, right_options=options) as (near, far):
        network = near.stderr.next(containing="is in the network")
        assert "fp0: its address 10.9.0.1/24 is in the network 10.9.0.0/16 of lo, so" in network
        for end in (near, far):
            for address in (LEFT, "fd00:9::1"):
                assert end.stderr.next(containing=f"both ends have the address {address};")
