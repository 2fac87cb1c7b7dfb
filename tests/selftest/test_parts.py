"""The parts of the self-test that need no kernel."""

from __future__ import annotations

import json
import os
import socket
import struct

import pytest

from fethpipe.errors import NotAllowedError, SystemFailureError, UsageError
from fethpipe.ether.checksum import ones_sum
from fethpipe.ether.datagram import has_whole_checksum, make_datagram
from fethpipe.selftest.cable_darwin import answer
from fethpipe.selftest.darwin import try_system as try_darwin
from fethpipe.selftest.frames import make_frame, receive, try_sizes
from fethpipe.selftest.report import DiffersError, NotAvailableError, Report
from fethpipe.selftest.run import selftest
from tests.fakes import FakeDevice

OUR_MAC, THEIR_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


def datagram(payload: bytes = b"hello") -> bytes:
    return make_datagram(
        payload,
        macs=(OUR_MAC, THEIR_MAC),
        addresses=("203.0.113.1", "203.0.113.2"),
        ports=(7000, 9),
    )


# ---- the report ----


def look(outcome: str) -> str:
    if outcome == "differs":
        raise DiffersError("4096")
    if outcome == "not available":
        raise NotAvailableError("no frame passes")
    if outcome == "system":
        raise OSError(1, "Operation not permitted", "bind")
    if outcome == "ours":
        raise SystemFailureError("it has gone", hint="try again")
    return outcome


@pytest.mark.parametrize(
    ("outcome", "line", "holds"),
    [
        ("", "ok             a fact", True),
        ("64 of 64", "ok             a fact (64 of 64)", True),
        ("differs", "differs        a fact; here: 4096", False),
        ("not available", "not available  a fact: no frame passes", False),
        ("system", "differs        a fact; here: bind: EPERM (Operation not permitted)", False),
        ("ours", "differs        a fact; here: it has gone", False),
    ],
)
def test_a_fact_is_a_line(
    capsys: pytest.CaptureFixture[str], outcome: str, line: str, holds: bool
) -> None:
    assert Report().check("a", "a fact", lambda: look(outcome)) is holds
    assert capsys.readouterr().out == f"{line}\n"


def test_json_comes_at_the_end_and_alone(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(as_json=True)
    report.machine("system", "Nonesuch 1.0")
    report.check("a", "a fact", lambda: look("differs"))
    report.measure("round trip", 12.5, "us")
    report.say("one step")
    assert capsys.readouterr().out == ""
    report.finish(SystemFailureError("no", hint="try again"))
    assert json.loads(capsys.readouterr().out) == {
        "machine": {"system": "Nonesuch 1.0"},
        "facts": [{"name": "a", "expected": "a fact", "outcome": "differs", "seen": "4096"}],
        "measures": [{"name": "round trip", "value": 12.5, "unit": "us"}],
        "steps": ["one step"],
        "works": False,
        "error": "no; try again",
    }


# ---- where it runs ----


def test_it_knows_two_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    name = os.uname_result(("Plan9", "gnot", "4", "4", "mips"))
    monkeypatch.setattr(os, "uname", lambda: name)
    with pytest.raises(UsageError, match="needs macOS or Linux, but this is Plan9"):
        selftest()


def test_macos_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 501)
    with pytest.raises(NotAllowedError, match="to make feth interfaces; use sudo"):
        try_darwin(Report(as_json=True))


# ---- frames ----


def test_sizes_over_a_device_that_keeps_them(capsys: pytest.CaptureFixture[str]) -> None:
    device = FakeDevice()
    try:
        mirror = Mirror(device)
        assert try_sizes(Report(), device, mirror, largest=2048, limit="no room", highest=9000)
    finally:
        device.close()
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" a frame of ")[0].strip() for line in lines] == [
        *["ok"] * 4,
        *["not available"] * 4,
    ]
    assert lines[-1].endswith(
        "a frame of 9000 bytes arrives unchanged, in both directions: no room"
    )


class Mirror(FakeDevice):
    """The other side of a fake device."""

    def __init__(self, device: FakeDevice) -> None:
        super().__init__("far0")
        self._socket.close()
        self._kernel.close()
        self._socket = device._kernel


def test_only_frames_of_ours_are_received() -> None:
    device = FakeDevice()
    try:
        ours = make_frame(60)
        for frame in (datagram(), ours):
            assert device.emit(frame, seconds=1)
        assert receive(device, 1) == [ours]
    finally:
        device.close()


# ---- datagrams ----


@pytest.mark.parametrize("payload", [b"", b"odd", b"even"])
def test_a_datagram_is_one(payload: bytes) -> None:
    frame = datagram(payload)
    assert frame[:14] == THEIR_MAC + OUR_MAC + b"\x08\x00"
    assert ones_sum(frame[14:34]) == 0xFFFF
    length, protocol = struct.unpack_from("!H5xB", frame, 16)
    assert (length, protocol) == (len(frame) - 14, 17)
    assert frame[42:] == payload
    assert not has_whole_checksum(frame)


def test_a_checksum_is_checked() -> None:
    # 10.0.0.1 to 10.0.0.2, port 7 to 9, one byte: 0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 0x0011
    # + 0x0009 + 0x0007 + 0x0009 + 0x0009 + 0x6100 = 0x7536
    frame = bytearray(datagram(b"a"))
    frame[26:34] = bytes.fromhex("0a000001 0a000002")
    frame[34:38] = bytes.fromhex("0007 0009")
    frame[40:42] = (0xFFFF - 0x7536).to_bytes(2, "big")
    assert has_whole_checksum(bytes(frame))
    frame[-1] ^= 1
    assert not has_whole_checksum(bytes(frame))


# ---- the host at the other end ----


def arp(target: str, *, operation: int = 1) -> bytes:
    head = b"\xff" * 6 + OUR_MAC + b"\x08\x06" + bytes.fromhex("0001 0800 06 04")
    sender = OUR_MAC + socket.inet_aton("203.0.113.1")
    return head + struct.pack("!H", operation) + sender + bytes(6) + socket.inet_aton(target)


def test_it_answers_arp_for_its_address() -> None:
    reply = answer(arp("203.0.113.2"))
    assert reply is not None
    assert (reply[:6], reply[12:14], reply[20:22]) == (OUR_MAC, b"\x08\x06", b"\x00\x02")
    assert reply[28:32] == socket.inet_aton("203.0.113.2")
    assert reply[32:42] == OUR_MAC + socket.inet_aton("203.0.113.1")


def test_it_sends_a_datagram_back() -> None:
    sent = datagram(b"hello")
    reply = answer(sent)
    assert reply is not None
    assert reply[:6] == OUR_MAC
    assert (reply[26:30], reply[30:34]) == (sent[30:34], sent[26:30])
    assert ones_sum(reply[14:34]) == 0xFFFF
    assert reply[34:] == sent[34:]


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(arp("203.0.113.3"), id="ARP for another"),
        pytest.param(arp("203.0.113.2", operation=2), id="an ARP reply"),
        pytest.param(arp("203.0.113.2")[:30], id="ARP that is cut"),
        pytest.param(datagram()[:20], id="IPv4 that is cut"),
        pytest.param(OUR_MAC + THEIR_MAC + b"\x86\xdd" + bytes(40), id="IPv6"),
        pytest.param(bytes(14), id="a bare header"),
    ],
)
def test_it_is_silent_otherwise(frame: bytes) -> None:
    assert answer(frame) is None
