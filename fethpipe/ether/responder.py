"""Act as a host with one address: answer requests for its MAC, and pings.

For an IPv4 address these are ARP (RFC 826) and ICMP echo (RFC 792), for an IPv6 address neighbour
solicitations (RFC 4861) and ICMPv6 echo (RFC 4443). Each frame gets an answer, or None. Frames can
come from anybody: only a complete request for this very address, with correct checksums, gets an
answer. Nothing is kept from one frame to the next.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple, Union

from .checksum import checksum
from .frame import HEADER_LENGTH

IPAddress = Union[IPv4Address, IPv6Address]

ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
"""EtherTypes."""

_BROADCAST = b"\xff" * 6
_GROUP_BIT = 0x01
_ETHER = struct.Struct("!6s6sH")
# Hardware, protocol, their lengths, operation; then MAC and address of the sender and the target.
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ETHERNET_AND_IPV4 = (1, IPV4, 6, 4)
_REQUEST, _REPLY = 1, 2

# Version and length, service, total length, identity, fragment, hops, protocol, checksum, addresses
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_DO_NOT_FRAGMENT = 0x4000
_ICMP_PROTOCOL, _ICMPV6_PROTOCOL = 1, 58
# Version, class and label, payload length, next header, hops, addresses
_IPV6 = struct.Struct("!IHBB16s16s")
_PSEUDO_HEADER = struct.Struct("!16s16sI3xB")
_HOPS = 64

_ECHO = struct.Struct("!BBHHH")  # type, code, checksum, identity, sequence number
_ECHO_TYPES = {4: (8, 0), 6: (128, 129)}  # request, reply

_SOLICITATION, _ADVERTISEMENT = 135, 136
_NEIGHBOUR = struct.Struct("!BBHI16s")  # type, code, checksum, flags, target
_NEIGHBOUR_HOPS = 255  # a packet that a router forwarded has less
_SOLICITED, _OVERRIDE = 0x40000000, 0x20000000
_TARGET_MAC = struct.Struct("!BB6s")  # an option of one unit of 8 bytes
_UNSPECIFIED = bytes(16)
_ALL_NODES = bytes.fromhex("ff020000000000000000000000000001")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")  # and the last 3 bytes of an address


class Answer(NamedTuple):
    """A frame to send, and facts about it.

    ``identity``, ``sequence`` and ``length`` (of its ICMP part, in bytes) are set for an echo reply
    only, and 0 for an answer to ARP or a solicitation.
    """

    frame: bytes
    peer: bytes
    """The IPv4 or IPv6 address that it goes to."""
    identity: int = 0
    sequence: int = 0
    length: int = 0


class Responder:
    """Answers for one address. Without ``mac``, its MAC is made from the address."""

    def __init__(self, address: IPAddress, mac: bytes | None = None) -> None:
        self.address = address
        self.mac = mac or mac_for(address)
        self._packed = address.packed
        self._group = _SOLICITED_NODE + address.packed[-3:]
        self._group_mac = b"\x33\x33" + self._group[-4:]

    def answer(self, frame: bytes) -> Answer | None:
        """Return the answer to a frame, None if there is none."""
        if len(frame) < HEADER_LENGTH:
            return None
        destination, source, kind = _ETHER.unpack_from(frame)
        if source[0] & _GROUP_BIT or source == self.mac:
            return None
        if self.address.version == 4:
            if kind == ARP and destination in (_BROADCAST, self.mac):
                return self._answer_arp(frame)
            if kind == IPV4 and destination == self.mac:
                return self._answer_ipv4(frame, source)
        elif kind == IPV6 and destination in (self.mac, self._group_mac):
            return self._answer_ipv6(frame, source)
        return None

    # ---- IPv4 ----

    def _answer_arp(self, frame: bytes) -> Answer | None:
        if len(frame) < HEADER_LENGTH + _ARP.size:
            return None
        *kinds, operation, mac, sender, _, target = _ARP.unpack_from(frame, HEADER_LENGTH)
        if tuple(kinds) != _ETHERNET_AND_IPV4 or operation != _REQUEST:
            return None
        # A sender with this very address announces it, and does not ask.
        if target != self._packed or sender == self._packed or mac[0] & _GROUP_BIT:
            return None
        reply = _ARP.pack(*_ETHERNET_AND_IPV4, _REPLY, self.mac, self._packed, mac, sender)
        return Answer(_ETHER.pack(mac, self.mac, ARP) + reply, sender)

    def _answer_ipv4(self, frame: bytes, mac: bytes) -> Answer | None:
        if len(frame) < HEADER_LENGTH + _IPV4.size:
            return None
        first, service, total, identity, fragment, _, protocol, _, peer, target = _IPV4.unpack_from(
            frame, HEADER_LENGTH
        )
        length = (first & 0xF) * 4
        packet = frame[HEADER_LENGTH : HEADER_LENGTH + total]  # Ethernet may have padded it
        if first >> 4 != 4 or not _IPV4.size <= length <= total == len(packet):
            return None
        # A fragment has an offset, or says that more fragments follow.
        if protocol != _ICMP_PROTOCOL or fragment & ~_DO_NOT_FRAGMENT or target != self._packed:
            return None
        if checksum(packet[:length]) or not _is_host4(peer):
            return None
        message = packet[length:]
        echo = _echo_reply(message, 4, b"")
        if echo is None:
            return None
        header = _IPV4.pack(
            (4 << 4) | 5,
            service,
            _IPV4.size + len(message),
            identity,
            _DO_NOT_FRAGMENT,
            _HOPS,
            _ICMP_PROTOCOL,
            0,
            self._packed,
            peer,
        )
        header = _with_checksum(header, 10, checksum(header))
        return _echo_answer(_ETHER.pack(mac, self.mac, IPV4) + header, echo, peer)

    # ---- IPv6 ----

    def _answer_ipv6(self, frame: bytes, mac: bytes) -> Answer | None:
        if len(frame) < HEADER_LENGTH + _IPV6.size:
            return None
        first, length, protocol, hops, peer, target = _IPV6.unpack_from(frame, HEADER_LENGTH)
        start = HEADER_LENGTH + _IPV6.size
        message = frame[start : start + length]
        if first >> 28 != 6 or not 0 < len(message) == length or protocol != _ICMPV6_PROTOCOL:
            return None
        if peer[0] == 0xFF or checksum(_pseudo_header(peer, target, message) + message):
            return None
        if message[0] == _SOLICITATION:
            near = hops == _NEIGHBOUR_HOPS and target in (self._packed, self._group)
            return self._answer_solicitation(message, peer, mac) if near else None
        echo = _echo_reply(message, 6, _pseudo_header(target, peer, message))
        if echo is None or target != self._packed or peer == _UNSPECIFIED:
            return None
        header = _IPV6.pack(first & 0xFFF00000, length, protocol, _HOPS, target, peer)
        return _echo_answer(_ETHER.pack(mac, self.mac, IPV6) + header, echo, peer)

    def _answer_solicitation(self, message: bytes, peer: bytes, mac: bytes) -> Answer | None:
        if len(message) < _NEIGHBOUR.size or not _are_options(message[_NEIGHBOUR.size :]):
            return None
        _, code, _, _, target = _NEIGHBOUR.unpack_from(message)
        if code != 0 or target != self._packed:
            return None
        flags = _OVERRIDE | _SOLICITED
        if peer == _UNSPECIFIED:  # a host that checks whether it may use this address: it may not
            flags, peer, mac = _OVERRIDE, _ALL_NODES, _ALL_NODES_MAC
        reply = _NEIGHBOUR.pack(_ADVERTISEMENT, 0, 0, flags, self._packed)
        reply += _TARGET_MAC.pack(2, 1, self.mac)
        reply = _with_checksum(
            reply, 2, checksum(_pseudo_header(self._packed, peer, reply) + reply)
        )
        header = _IPV6.pack(
            6 << 28, len(reply), _ICMPV6_PROTOCOL, _NEIGHBOUR_HOPS, self._packed, peer
        )
        return Answer(_ETHER.pack(mac, self.mac, IPV6) + header + reply, peer)


def mac_for(address: IPAddress) -> bytes:
    """Return a locally administered MAC: 02:00 and the bytes of an IPv4 address, or 02 and the last
    5 bytes of an IPv6 address.
    """
    return b"\x02" + address.packed[-5:].rjust(5, b"\0")


def format_answer(answer: Answer, responder: Responder) -> str:
    """Return a line that describes the answer."""
    address, peer = responder.address, ip_address(answer.peer)
    if answer.length:
        return (
            f"echo reply: {address} -> {peer}  id={answer.identity} seq={answer.sequence} "
            f"{answer.length} bytes"
        )
    protocol = "ARP reply" if address.version == 4 else "neighbour advertisement"
    return f"{protocol}: {address} is at {responder.mac.hex(':')} (to {peer})"


def _echo_reply(message: bytes, version: int, pseudo_header: bytes) -> bytes | None:
    """Return the reply to an ICMP message, None if that is not a complete echo request.

    The checksum of ICMPv6 was checked before; that of ICMP is checked here.
    """
    request, reply = _ECHO_TYPES[version]
    if len(message) < _ECHO.size or message[:2] != bytes((request, 0)):
        return None
    if version == 4 and checksum(message):
        return None
    message = bytes((reply, 0, 0, 0)) + message[4:]
    return _with_checksum(message, 2, checksum(pseudo_header + message))


def _echo_answer(headers: bytes, echo: bytes, peer: bytes) -> Answer:
    _, _, _, identity, sequence = _ECHO.unpack_from(echo)
    return Answer(headers + echo, peer, identity, sequence, len(echo))


def _with_checksum(data: bytes, offset: int, value: int) -> bytes:
    return data[:offset] + value.to_bytes(2, "big") + data[offset + 2 :]


def _pseudo_header(source: bytes, target: bytes, message: bytes) -> bytes:
    return _PSEUDO_HEADER.pack(source, target, len(message), _ICMPV6_PROTOCOL)


def _is_host4(address: bytes) -> bool:
    """Return whether an answer may go to this address: not to 0.0.0.0, multicast or broadcast."""
    return address != bytes(4) and address[0] < 224


def _are_options(data: bytes) -> bool:
    """Return whether these are complete options of neighbour discovery (RFC 4861, 4.6)."""
    while data:
        if len(data) < 2 or not data[1] or len(data) < 8 * data[1]:
            return False
        data = data[8 * data[1] :]
    return True
