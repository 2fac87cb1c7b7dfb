"""A pair by hand, on the simulated Mac; docs/FETHCTL.md goes the whole way (test_documents)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from fethpipe.ether.pcap import PcapDecoder
from tests.ctl.running import Fethctl
from tests.darwin.simulation import SimulatedDarwin
from tests.live.netns import Namespace, readable, require_tools
from tests.live.peers import ping_at_once
from tests.patience import PATIENCE

pytestmark = pytest.mark.live

_ARP, _REQUEST = b"\x08\x06", b"\x00\x01"
_IPV6, _ECHO_REPLY = b"\x86\xdd", b"\x81"


@pytest.fixture
def fethctl(left: Namespace, darwin: SimulatedDarwin) -> Fethctl:
    return Fethctl(left, darwin)


@pytest.fixture
def pair(fethctl: Fethctl) -> Fethctl:
    """feth0, which has 10.0.0.1, joined to feth101; both up.

    Without an IPv6 address the stack says nothing of its own accord, so that frames can be counted.
    """
    assert fethctl("create", "0", "101") == "feth0\nfeth101\n"
    fethctl("set", "feth0", "--peer", "feth101")
    fethctl("set", "feth0", "--addr", "10.0.0.1/24", "--state", "up")
    fethctl("set", "feth101", "--state", "up")
    return fethctl


def test_the_status_is_that_of_the_moment(pair: Fethctl, darwin: SimulatedDarwin) -> None:
    assert "PROMISC" not in pair("status", "feth101")
    with pair.start("icmp", "feth101", "10.0.0.2") as responder:
        assert responder.stdout.next()
        assert "PROMISC" in pair("status", "feth101")  # somebody listens there
    pair("set", "feth0", "--peer", "none")
    assert darwin.interfaces()["feth101"].peer == ""
    assert "status: inactive" in pair("status", "feth0")
    pair("destroy", "feth0", "feth101")
    assert pair("list") == ""


def test_the_answers_are_summed_rightly(pair: Fethctl, left: Namespace, tmp_path: Path) -> None:
    """tcpdump checks all checksums by itself."""
    require_tools("tcpdump")
    pair("set", "feth0", "--addr", "fd00::1/64")
    file = tmp_path / "capture"
    argv = ["tcpdump", "--immediate-mode", "-U", "-i", "feth0", "-w", "-"]
    with left.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tcpdump:
        assert tcpdump.stdout is not None
        assert tcpdump.stderr is not None
        assert b"listening on feth0" in tcpdump.stderr.readline()
        for address, peer in (("10.0.0.2", "10.0.0.1"), ("fd00::2", "fd00::1")):
            with pair.start("icmp", "feth101", address) as responder:
                assert responder.stdout.next()
                said = ping_at_once(left, address, 5, "-s", "1001", "-I", peer)
                assert "5 received, 0% packet loss" in said
        captured = _read_echo_replies(tcpdump.stdout.fileno(), 5)
        tcpdump.send_signal(signal.SIGINT)
        file.write_bytes(captured + tcpdump.stdout.read())
    said = left.run(["tcpdump", "-nn", "-vv", "-r", str(file), "icmp or icmp6 or arp"])
    assert said.count("ICMP echo reply, id") == 5
    assert said.count("[icmp6 sum ok] ICMP6, echo reply") == 5
    assert "[icmp6 sum ok] ICMP6, neighbor advertisement" in said
    assert "is-at 02:00:0a:00:00:02" in said
    assert "bad" not in said
    assert "wrong" not in said


def _read_echo_replies(descriptor: int, count: int) -> bytes:
    """Return the bytes of a capture until so many echo replies of IPv6 are in it."""
    captured = b""
    decoder = PcapDecoder()
    while count > 0:
        assert readable(descriptor, PATIENCE), "an echo reply is not captured"
        chunk = os.read(descriptor, 1 << 16)
        assert chunk, "the capture ended"
        captured += chunk
        frames = [record.frame for record in decoder.feed(chunk)]
        count -= sum(frame[12:14] == _IPV6 and frame[54:55] == _ECHO_REPLY for frame in frames)
    return captured


def test_a_capture_is_injected_again(pair: Fethctl, left: Namespace, tmp_path: Path) -> None:
    """The requests of feth0's stack are sent again, and answered again."""
    file = tmp_path / "capture"
    with (
        pair.start("icmp", "feth101", "10.0.0.2") as responder,
        pair.start("capture", "feth0", "-w", str(file)) as capture,
    ):
        assert responder.stdout.next()
        assert capture.stderr.next()
        ping_at_once(left, "10.0.0.2", 2)
        capture.stop()
        frames = [record.frame for record in PcapDecoder().feed(file.read_bytes())]
        assert pair("inject", "feth0", str(file)) == f"sent {len(frames)} frames\n"
        for _ in range(2):  # the second request, of the stack and then of inject, is the last
            assert responder.stdout.next(containing="seq=2")
        lines = responder.stop().splitlines()
    asked = sum(frame[12:14] == _ARP and frame[20:22] == _REQUEST for frame in frames)
    assert asked >= 1  # on a slow machine it is asked again
    assert len(frames) == 2 * asked + 4
    assert sum("seq=2" in line for line in lines) == 2
    assert sum("ARP reply" in line for line in lines) == 2 * asked


def test_json_has_what_the_kernel_has(pair: Fethctl, darwin: SimulatedDarwin) -> None:
    pair("set", "feth0", "--addr", "fd00::1/64")
    (told,) = json.loads(pair("status", "--json", "feth0"))
    found = darwin.interfaces()["feth0"]
    assert told["flags"] == found.flags
    assert told["addresses"] == list(found.addresses)
    assert (told["mac"], told["mtu"], told["peer"]) == (found.mac, found.mtu, "feth101")
    assert (told["largest_mtu"], told["metric"], told["active"]) == (16370, 0, True)
    names = [each["name"] for each in json.loads(pair("status", "--json"))]
    assert names == ["en0", "feth0", "feth101", "lo0"]
