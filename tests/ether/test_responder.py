"""The host with one address: what it answers, and that it answers nothing else."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fethpipe.ether.checksum import checksum
from fethpipe.ether.responder import Answer, Responder, format_answer, mac_for

ADDRESS4, PEER4 = IPv4Address("10.0.0.2"), IPv4Address("10.0.0.1")
ADDRESS6, PEER6 = IPv6Address("fd00::2"), IPv6Address("fd00::1")
MAC, PEER_MAC = bytes.fromhex("02005e005301"), bytes.fromhex("02005e005302")
BROADCAST = b"\xff" * 6
GROUP = IPv6Address("ff02::1:ff00:2")
GROUP_MAC = bytes.fromhex("3333ff000002")

responder4 = Responder(ADDRESS4, MAC)
responder6 = Responder(ADDRESS6, MAC)


def ether(kind: int, payload: bytes, *, to: bytes = MAC, source: bytes = PEER_MAC) -> bytes:
    return to + source + kind.to_bytes(2, "big") + payload


def arp(
    operation: int = 1,
    *,
    sender: IPv4Address = PEER4,
    target: IPv4Address = ADDRESS4,
    to: bytes = BROADCAST,
    kinds: str = "0001080006 04",
) -> bytes:
    packet = bytes.fromhex(kinds) + operation.to_bytes(2, "big")
    packet += PEER_MAC + sender.packed + bytes(6) + target.packed
    return ether(0x0806, packet, to=to)


def icmp(payload: bytes = b"ping", *, kind: int = 8, code: int = 0, version: int = 4) -> bytes:
    message = struct.pack("!BBHHH", kind, code, 0, 0x1234, 7) + payload
    if version == 4:
        return message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
    return message


def ipv4(
    message: bytes,
    *,
    fragment: int = 0,
    options: bytes = b"",
    protocol: int = 1,
    source: IPv4Address = PEER4,
    to: IPv4Address = ADDRESS4,
    total: int | None = None,
) -> bytes:
    length = 20 + len(options)
    header = struct.pack(
        "!BBHHHBBH4s4s",
        4 << 4 | length // 4,
        0x10,
        length + len(message) if total is None else total,
        0xBEEF,
        fragment,
        3,
        protocol,
        0,
        source.packed,
        to.packed,
    )
    header += options
    header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
    return ether(0x0800, header + message)


def ipv6(
    message: bytes,
    *,
    hops: int = 255,
    source: IPv6Address = PEER6,
    to: IPv6Address = ADDRESS6,
    mac: bytes = MAC,
    wrong: int = 0,
) -> bytes:
    pseudo = source.packed + to.packed + struct.pack("!I3xB", len(message), 58)
    value = checksum(pseudo + message[:2] + b"\0\0" + message[4:]) ^ wrong
    message = message[:2] + value.to_bytes(2, "big") + message[4:]
    header = struct.pack("!IHBB", 0x61234567, len(message), 58, hops)
    return ether(0x86DD, header + source.packed + to.packed + message, to=mac)


def solicitation(
    target: IPv6Address = ADDRESS6, *, options: str = "0101 02005e005302", code: int = 0
) -> bytes:
    return struct.pack("!BBHI", 135, code, 0, 0) + target.packed + bytes.fromhex(options)


# ---- ARP ----


@pytest.mark.parametrize("to", [BROADCAST, MAC])
def test_who_asks_for_the_address_gets_it(to: bytes) -> None:
    answer = responder4.answer(arp(to=to) + bytes(18))  # padded, as a wire would
    assert answer is not None
    assert answer.frame.hex(" ", -2) == (
        PEER_MAC
        + MAC
        + bytes.fromhex("0806 0001080006040002")
        + MAC
        + ADDRESS4.packed
        + PEER_MAC
        + PEER4.packed
    ).hex(" ", -2)
    assert format_answer(answer, responder4) == (
        "ARP reply: 10.0.0.2 is at 02:00:5e:00:53:01 (to 10.0.0.1)"
    )


def test_who_looks_if_the_address_is_free_is_told_that_it_is_not() -> None:
    answer = responder4.answer(arp(sender=IPv4Address(0)))
    assert answer is not None
    assert answer.frame[-4:] == bytes(4)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(arp(2), id="a reply"),
        pytest.param(arp(target=PEER4), id="another address"),
        pytest.param(arp(sender=ADDRESS4), id="somebody who says that he has it"),
        pytest.param(arp(to=PEER_MAC), id="sent to another station"),
        pytest.param(arp(kinds="0006080006 04"), id="another hardware"),
        pytest.param(arp(kinds="000186dd06 10"), id="another protocol"),
        pytest.param(arp()[:41], id="cut short"),
        pytest.param(arp()[:6] + BROADCAST + arp()[12:], id="from everybody"),
        pytest.param(arp()[:6] + MAC + arp()[12:], id="from himself"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_no_other_arp_is_answered(frame: bytes) -> None:
    assert responder4.answer(frame) is None


# ---- ping ----


@given(st.binary(max_size=1472), st.sampled_from([0, 0x4000]), st.sampled_from(["", "01010101"]))
def test_a_ping_comes_back(payload: bytes, fragment: int, options: str) -> None:
    request = ipv4(icmp(payload), fragment=fragment, options=bytes.fromhex(options))
    answer = responder4.answer(request + bytes(max(0, 60 - len(request))))
    assert answer is not None
    frame = answer.frame
    assert frame[:14] == PEER_MAC + MAC + b"\x08\x00"
    header, message = frame[14:34], frame[34:]
    assert checksum(header) == checksum(message) == 0
    assert (header[0], header[1], header[8], header[9]) == (0x45, 0x10, 64, 1)
    assert header[12:] == ADDRESS4.packed + PEER4.packed
    assert int.from_bytes(header[2:4], "big") == len(frame) - 14
    assert message[:2] == b"\0\0"
    assert message[4:] == bytes.fromhex("12340007") + payload
    assert answer[1:] == (PEER4.packed, 0x1234, 7, len(payload) + 8)


_WRONG = bytearray(ipv4(icmp()))
_WRONG[-1] ^= 1
_WRONG_HEADER = bytearray(ipv4(icmp()))
_WRONG_HEADER[22] ^= 1


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(bytes(_WRONG), id="a wrong sum"),
        pytest.param(bytes(_WRONG_HEADER), id="a wrong sum of the header"),
        pytest.param(ipv4(icmp(kind=0)), id="a reply"),
        pytest.param(ipv4(icmp(code=1)), id="another code"),
        pytest.param(ipv4(icmp(), protocol=17), id="another protocol"),
        pytest.param(ipv4(icmp(), to=PEER4), id="another address"),
        pytest.param(ipv4(icmp(), source=IPv4Address(0)), id="from nobody"),
        pytest.param(ipv4(icmp(), source=IPv4Address("224.0.0.1")), id="from a group"),
        pytest.param(ipv4(icmp(), fragment=0x2000), id="a first fragment"),
        pytest.param(ipv4(icmp(), fragment=1), id="a last fragment"),
        pytest.param(ipv4(icmp(), total=1000), id="longer than the frame"),
        pytest.param(ipv4(icmp(), total=20), id="shorter than its header says"),
        pytest.param(ipv4(b"\x08\0\xf7\xff"), id="cut short"),
        pytest.param(BROADCAST + ipv4(icmp())[6:], id="to everybody"),
        pytest.param(ipv4(icmp())[:30], id="half a header"),
    ],
)
def test_no_other_ipv4_is_answered(frame: bytes) -> None:
    assert responder4.answer(frame) is None


# ---- IPv6 ----


@given(st.binary(max_size=1452))
def test_a_ping_of_ipv6_comes_back(payload: bytes) -> None:
    answer = responder6.answer(ipv6(icmp(payload, kind=128, version=6), hops=64))
    assert answer is not None
    frame = answer.frame
    assert frame[:14] == PEER_MAC + MAC + b"\x86\xdd"
    header, message = frame[14:54], frame[54:]
    assert header[:8] == struct.pack("!IHBB", 0x61200000, len(message), 58, 64)
    assert header[8:] == ADDRESS6.packed + PEER6.packed
    pseudo = header[8:] + struct.pack("!I3xB", len(message), 58)
    assert checksum(pseudo + message) == 0
    assert message[:2] == b"\x81\0"
    assert message[4:] == bytes.fromhex("12340007") + payload


@pytest.mark.parametrize(("to", "mac"), [(GROUP, GROUP_MAC), (ADDRESS6, MAC)])
def test_a_solicitation_gets_an_advertisement(to: IPv6Address, mac: bytes) -> None:
    answer = responder6.answer(ipv6(solicitation(), to=to, mac=mac))
    assert answer is not None
    frame = answer.frame
    assert frame[:14] == PEER_MAC + MAC + b"\x86\xdd"
    header, message = frame[14:54], frame[54:]
    assert (header[7], header[8:]) == (255, ADDRESS6.packed + PEER6.packed)
    assert checksum(header[8:] + struct.pack("!I3xB", len(message), 58) + message) == 0
    assert message[:2] + message[4:] == (
        b"\x88\0" + bytes.fromhex("60000000") + ADDRESS6.packed + b"\2\1" + MAC
    )


def test_who_is_about_to_take_the_address_is_told_with_all_others() -> None:
    nobody = IPv6Address(0)
    answer = responder6.answer(
        ipv6(solicitation(options=""), source=nobody, to=GROUP, mac=GROUP_MAC)
    )
    assert answer is not None
    assert answer.frame[:6] == bytes.fromhex("333300000001")
    assert answer.frame[38:54] == ip_address("ff02::1").packed
    assert answer.frame[58:62] == bytes.fromhex("20000000")


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(ipv6(solicitation(), hops=254), id="over a router"),
        pytest.param(ipv6(solicitation(), wrong=1), id="a wrong sum"),
        pytest.param(ipv6(solicitation(PEER6)), id="another address"),
        pytest.param(ipv6(solicitation(code=1)), id="another code"),
        pytest.param(ipv6(solicitation(options="0100 02005e005302")), id="an option of length 0"),
        pytest.param(ipv6(solicitation(options="0102 02005e005302")), id="an option cut short"),
        pytest.param(ipv6(solicitation(options="01")), id="half an option"),
        pytest.param(ipv6(solicitation()[:20]), id="cut short"),
        pytest.param(ipv6(solicitation(), source=GROUP), id="from a group"),
        pytest.param(ipv6(solicitation(), to=PEER6), id="to another address"),
        pytest.param(ipv6(icmp(kind=128, version=6), wrong=1), id="a ping with a wrong sum"),
        pytest.param(ipv6(icmp(kind=129, version=6)), id="a reply"),
        pytest.param(ipv6(icmp(kind=128, version=6), to=GROUP), id="a ping to a group"),
        pytest.param(ipv6(icmp(kind=128, version=6), source=IPv6Address(0)), id="from nobody"),
        pytest.param(ipv6(b"\x80\0\0\0"), id="a ping cut short"),
        pytest.param(ipv6(icmp(kind=128, version=6))[:-1], id="shorter than it says"),
        pytest.param(ipv6(icmp(kind=128, version=6), mac=PEER_MAC), id="to another station"),
        pytest.param(ipv6(icmp(kind=128, version=6))[:40], id="half a header"),
        pytest.param(ipv6(b"1234")[:54], id="nothing in it"),
    ],
)
def test_no_other_ipv6_is_answered(frame: bytes) -> None:
    assert responder6.answer(frame) is None


# ---- whatever comes ----


def test_a_host_of_one_protocol_is_deaf_to_the_other() -> None:
    assert responder6.answer(arp()) is None
    assert responder6.answer(ipv4(icmp())) is None
    assert responder4.answer(ipv6(solicitation())) is None


@pytest.mark.parametrize("responder", [responder4, responder6])
@given(
    data=st.data(),
    valid=st.sampled_from([arp(), ipv4(icmp()), ipv6(solicitation()), ipv6(icmp(kind=128))]),
)
def test_any_bytes_give_an_answer_or_none(
    responder: Responder, data: st.DataObject, valid: bytes
) -> None:
    """Damaged ones get an answer only if the damage is where nothing is looked at."""
    frame = bytearray(valid)
    for _ in range(data.draw(st.integers(0, 3))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    del frame[data.draw(st.integers(0, len(frame))) :]
    answer = responder.answer(bytes(frame))
    assert answer is None or isinstance(answer, Answer)
    if answer:
        assert answer.frame[6:12] == MAC
        assert format_answer(answer, responder)


@pytest.mark.parametrize(
    ("address", "mac"),
    [("10.0.0.2", "02:00:0a:00:00:02"), ("fd00::1:203", "02:00:00:01:02:03")],
)
def test_a_mac_is_made_from_the_address(address: str, mac: str) -> None:
    assert mac_for(ip_address(address)).hex(":") == mac
    assert Responder(ip_address(address)).mac.hex(":") == mac
