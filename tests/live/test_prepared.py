"""Devices that somebody else made: used, configured as asked, never destroyed."""

from __future__ import annotations

import re
import signal
import socket
import struct

import pytest

from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace
from tests.live.ordinary import NOBODY, as_nobody, with_public_tun_device
from tests.live.peer import Peer, records
from tests.live.programs import RIGHT, tunnel
from tests.live.traffic import transfer

pytestmark = pytest.mark.live


@pytest.mark.parametrize("option", ["--attach", "--name"])
def test_an_ordinary_user_takes_the_tap_that_root_made_for_him(
    left: Namespace, peer: Peer, option: str
) -> None:
    left.run(["ip", "tuntap", "add", "dev", "fp0", "mode", "tap", "user", str(NOBODY)])
    left.run(["ip", "link", "set", "fp0", "up", "address", "02:00:5e:00:53:01", "mtu", "1400"])
    launcher = [*with_public_tun_device(), *as_nobody()]
    with peer.start(left, option, "fp0", launcher=launcher) as program:
        facts = program.ready()
        assert (facts.interface, facts.mac, facts.mtu) == ("fp0", "02:00:5e:00:53:01", 1400)
        _check_traffic(left, peer)
        program.stop()
    assert "fp0" in left.interfaces()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_device_that_was_there_stays_and_can_be_used_again(
    left: Namespace, number: signal.Signals
) -> None:
    left.make_tap()
    before = left.run(["ip", "-details", "link", "show", "fp0"])
    for _ in range(2):
        with Peer() as peer, peer.start(left, "--attach", "fp0").up() as program:
            _check_traffic(left, peer)
            program.send_signal(number)
            program.end()
        assert _settings(left.run(["ip", "-details", "link", "show", "fp0"])) == _settings(before)


def test_what_is_asked_for_is_configured_and_the_rest_left_alone(
    left: Namespace, peer: Peer
) -> None:
    left.run(["ip", "tuntap", "add", "dev", "fp0", "mode", "tap"])
    left.run(["ip", "link", "set", "fp0", "up", "address", "02:00:5e:00:53:01"])
    left.run(["ip", "address", "add", "10.8.0.1/24", "dev", "fp0"])
    arguments = ["--attach", "fp0", "--mtu", "1300", "--address", "10.9.0.1/24"]
    with peer.start(left, *arguments) as program:
        facts = program.ready()
        assert (facts.mac, facts.mtu) == ("02:00:5e:00:53:01", 1300)
        shown = left.run(["ip", "address", "show", "dev", "fp0"])
        assert "inet 10.8.0.1/24" in shown
        assert "inet 10.9.0.1/24" in shown
        assert "mtu 1300" in shown


def test_a_device_that_is_down_is_told_and_stays_down(left: Namespace, peer: Peer) -> None:
    left.run(["ip", "tuntap", "add", "dev", "fp0", "mode", "tap"])
    with peer.start(left, "--attach", "fp0").up() as program:
        assert "fp0 is down (bring it up to pass frames), " in program.stderr.next()
        left.run(["ip", "link", "set", "fp0", "up"])
        _check_traffic(left, peer)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_super_frames_end_with_the_one_who_took_them(
    left: Namespace, right: Namespace, peer: Peer, number: signal.Signals
) -> None:
    """The kernel keeps this setting for the device, and the next program may not know it."""
    left.make_tap()
    left.run(["ip", "address", "add", "10.9.0.1/24", "dev", "fp0"])
    with tunnel(left, right, left_options=["--attach", "fp0"]) as (here, _):
        transfer(left, right, RIGHT, 100_000)
        here.send_signal(number)
        here.end()
    left.run(["ip", "neigh", "replace", RIGHT, "lladdr", "02:00:5e:00:53:02", "dev", "fp0"])
    with peer.start(left, "--attach", "fp0", "--no-hello").up():
        with left.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"a datagram", (RIGHT, 9))
        packet = peer.receive(_is_udp)[14:]
    pseudo_header = packet[12:20] + struct.pack("!HH", socket.IPPROTO_UDP, len(packet) - 20)
    words = struct.unpack("!15H", pseudo_header + packet[20:])
    assert sum(words) % 0xFFFF == 0, "its checksum is wrong"


def _is_udp(frame: bytes) -> bool:
    return frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_UDP


def _check_traffic(namespace: Namespace, peer: Peer) -> None:
    with PacketSocket(namespace, "fp0") as device:
        peer.send(records(make_frame(1)))
        assert device.receive() == make_frame(1)
        device.send(make_frame(2))
        assert peer.receive() == make_frame(2)


def _settings(shown: str) -> str:
    """Return what ``ip link`` tells, but for the carrier, which is there while the TAP is open, and
    vnet_hdr, which every program that opens it chooses anew.
    """
    return re.sub(r" (state|vnet_hdr) \w+", "", shown.split(">", 1)[1])
