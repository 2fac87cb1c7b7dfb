"""Describe any frame in one line, as ``fethctl capture`` prints it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from .frame import HEADER_LENGTH

_TAGS = {0x8100: "vlan", 0x88A8: "s-vlan"}
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_OF_IPV4 = (1, 0x0800, 6, 4)
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_PORTS = struct.Struct("!HH")
_ECHO = struct.Struct("!BBHHH")
_TCP_FLAGS = "FSRP.UEW"

_ICMP_NAMES = {
    (1, 0): "echo reply",
    (1, 3): "destination unreachable",
    (1, 5): "redirect",
    (1, 8): "echo request",
    (1, 11): "time exceeded",
    (58, 1): "destination unreachable",
    (58, 2): "packet too big",
    (58, 3): "time exceeded",
    (58, 128): "echo request",
    (58, 129): "echo reply",
    (58, 130): "multicast listener query",
    (58, 133): "router solicitation",
    (58, 134): "router advertisement",
    (58, 135): "neighbour solicitation",
    (58, 136): "neighbour advertisement",
    (58, 143): "multicast listener report",
}
_ECHOES = ((1, 0), (1, 8), (58, 128), (58, 129))
_NEIGHBOURS = ((58, 135), (58, 136))


def describe_frame(frame: bytes) -> str:
    """Return the line: who sends what to whom, and the length of the frame in bytes."""
    if len(frame) < HEADER_LENGTH:
        return f"{len(frame)} bytes, too short for an Ethernet frame"
    destination, source = frame[:6].hex(":"), frame[6:12].hex(":")
    kind, start, tags = find_payload(frame)
    try:
        text = _DESCRIPTIONS[kind](frame[start:])
    except (KeyError, struct.error):  # another protocol, or cut short
        text = f"ethertype 0x{kind:04x}" if kind >= 0x600 else "802.3"
    return f"{source} > {destination}, {tags}{text}, length {len(frame)}"


def find_payload(frame: bytes) -> tuple[int, int, str]:
    """Return the EtherType behind VLAN tags, where its payload starts, and the tags in words."""
    start, tags = HEADER_LENGTH, ""
    kind = int.from_bytes(frame[12:14], "big")
    while kind in _TAGS and len(frame) >= start + 4:
        tags += f"{_TAGS[kind]} {int.from_bytes(frame[start : start + 2], 'big') & 0xFFF}, "
        kind = int.from_bytes(frame[start + 2 : start + 4], "big")
        start += 4
    return kind, start, tags


def skip_extensions(protocol: int, payload: bytes) -> tuple[int, bytes]:
    """Return what follows the extension headers of IPv6, and its protocol."""
    # Hop-by-hop, routing and destination options have their length in the same place
    # (RFC 8200, 4.2).
    while protocol in (0, 43, 60) and len(payload) >= 8:
        protocol, payload = payload[0], payload[8 * (payload[1] + 1) :]
    return protocol, payload


def _describe_arp(packet: bytes) -> str:
    *kinds, operation, mac, sender, _, target = _ARP.unpack_from(packet)
    if tuple(kinds) != _ARP_OF_IPV4 or operation not in (1, 2):
        return f"ARP, operation {operation}"
    if operation == 1:
        return f"ARP, who has {IPv4Address(target)}, tell {IPv4Address(sender)}"
    return f"ARP, {IPv4Address(sender)} is at {mac.hex(':')}"


def _describe_ipv4(packet: bytes) -> str:
    first, _, total, _, fragment, _, protocol, _, source, target = _IPV4.unpack_from(packet)
    hosts = f"IPv4 {IPv4Address(source)} > {IPv4Address(target)}"
    if fragment & 0x1FFF:
        return f"{hosts}, fragment at {(fragment & 0x1FFF) * 8}"
    return hosts + _describe_payload(protocol, packet[(first & 0xF) * 4 : total])


def _describe_ipv6(packet: bytes) -> str:
    _, length, protocol, _, source, target = _IPV6.unpack_from(packet)
    hosts = f"IPv6 {IPv6Address(source)} > {IPv6Address(target)}"
    payload = packet[_IPV6.size : _IPV6.size + length]
    return hosts + _describe_payload(*skip_extensions(protocol, payload))


def _describe_payload(protocol: int, payload: bytes) -> str:
    try:
        if protocol in (6, 17):
            return _describe_ports(protocol, payload)
        if protocol in (1, 58):
            return _describe_icmp(protocol, payload)
    except struct.error:
        return f", protocol {protocol}, cut short"
    return f", protocol {protocol}"


def _describe_ports(protocol: int, payload: bytes) -> str:
    source, target = _PORTS.unpack_from(payload)
    if protocol == 17:
        return f", UDP {source} > {target}"
    bits = int.from_bytes(payload[13:14], "big")
    flags = "".join(letter for bit, letter in enumerate(_TCP_FLAGS) if bits & 1 << bit)
    return f", TCP {source} > {target} [{flags}]"


def _describe_icmp(protocol: int, payload: bytes) -> str:
    kind, code, _, identity, sequence = _ECHO.unpack_from(payload)
    name = _ICMP_NAMES.get((protocol, kind), f"type {kind} code {code}")
    text = f", {'ICMP' if protocol == 1 else 'ICMPv6'} {name}"
    if (protocol, kind) in _ECHOES:
        text += f" id {identity} seq {sequence}"
    if (protocol, kind) in _NEIGHBOURS and len(payload) >= 24:
        text += f" {IPv6Address(payload[8:24])}"
    return text


_DESCRIPTIONS: dict[int, Callable[[bytes], str]] = {
    0x0806: _describe_arp,
    0x0800: _describe_ipv4,
    0x86DD: _describe_ipv6,
}
