"""Darwin's numbers and structures for the simulation's tests, straight from abi.json.

Written apart from fethpipe's own packing on purpose: the same mistake in both would go unseen.
"""

from __future__ import annotations

import ipaddress
import json
import struct
from pathlib import Path

ABI = json.loads(Path(__file__).with_name("abi.json").read_text())
REQUEST = {name.split()[0]: int(value, 16) for name, value in ABI["requests"].items()}
CONSTANT = {name: value for name, value in ABI["constants"].items() if isinstance(value, int)}

AF_NDRV = CONSTANT["AF_NDRV"]
IFF_UP = CONSTANT["IFF_UP"]
IFF_RUNNING = CONSTANT["IFF_RUNNING"]
IFF_PROMISC = CONSTANT["IFF_PROMISC"]
FOREVER = 0xFFFFFFFF


def ifreq(name: str, data: bytes = b"") -> bytes:
    return struct.pack("=16s16s", name.encode(), data)


def ifreq_number(name: str, number: int) -> bytes:
    return ifreq(name, struct.pack("=i", number))


def ifreq_flags(name: str, flags: int) -> bytes:
    return ifreq(name, struct.pack("=H", flags))


def ifreq_mac(name: str, mac: str, *, length: int = 6, family: int = 0) -> bytes:
    return ifreq(name, bytes([length, family]) + bytes.fromhex(mac.replace(":", "")))


def number(data: bytes) -> int:
    """The number that an ifreq carries back."""
    return int(struct.unpack_from("=i", data, 16)[0])


def flags(data: bytes) -> int:
    return int(struct.unpack_from("=H", data, 16)[0])


def ifdrv(name: str, command: int, length: int) -> bytes:
    """Without the pointer at its end."""
    return struct.pack("=16sQQ", name.encode(), command, length)


def ifbreq(member: str) -> bytes:
    return member.encode().ljust(80, b"\0")


def if_fake_request(peer: str, reserved: int = 0) -> bytes:
    return struct.pack("=QQQQ128s", 0, 0, 0, reserved, peer.encode())


def u32(value: int) -> bytes:
    return struct.pack("=I", value)


def from_u32(data: bytes) -> int:
    return int(struct.unpack("=I", data)[0])


def sockaddr_in(address: str) -> bytes:
    packed = ipaddress.IPv4Address(address).packed
    return struct.pack("=BBH4s8x", 16, CONSTANT["AF_INET"], 0, packed)


def sockaddr_in6(
    address: str, *, scope: int = 0, length: int = 28, family: int | None = None
) -> bytes:
    packed = ipaddress.IPv6Address(address).packed
    family = CONSTANT["AF_INET6"] if family is None else family
    return struct.pack("=BBHI16sI", length, family, 0, 0, packed, scope)


def in_aliasreq(name: str, interface: str, *, mask: bool = True) -> bytes:
    """`interface` is an address with its prefix length."""
    parsed = ipaddress.IPv4Interface(interface)
    return (
        struct.pack("=16s", name.encode())
        + sockaddr_in(str(parsed.ip))
        + sockaddr_in(str(parsed.network.broadcast_address))
        + (sockaddr_in(str(parsed.netmask)) if mask else bytes(16))
    )


def in6_aliasreq(
    name: str,
    interface: str,
    *,
    valid: int = FOREVER,
    preferred: int = FOREVER,
    destination_family: int = 0,
    address: bytes | None = None,
) -> bytes:
    parsed = ipaddress.IPv6Interface(interface)
    return (
        struct.pack("=16s", name.encode())
        + (address or sockaddr_in6(str(parsed.ip)))
        + struct.pack("=BB26x", 0, destination_family)
        + sockaddr_in6(str(parsed.netmask))
        + struct.pack("=iqqII", 0, 0, 0, valid, preferred)
    )


def in6_ifreq(name: str, address: bytes = b"") -> bytes:
    return struct.pack("=16s272s", name.encode(), address)


def sockaddr_ndrv(name: str) -> bytes:
    return struct.pack("=BB16s", 18, AF_NDRV, name.encode())


def bpf_record(frame: bytes, *, header: int = 18, length: int | None = None) -> bytes:
    """A record of a batch write, padded to four bytes."""
    length = len(frame) if length is None else length
    record = struct.pack("=iiIIH", 0, 0, len(frame), length, header)
    record += bytes(max(0, header - 18)) + frame
    return record + bytes(-len(record) % 4)


def frame(size: int = 64, *, mark: int = 0, destination: str = "02ffffffffff") -> bytes:
    """An Ethernet frame of `size` bytes with a number in it when there is room."""
    header = bytes.fromhex(destination) + bytes.fromhex("020000000001") + b"\x88\xb5"
    return (header + struct.pack(">I", mark) + bytes(range(256)) * (size // 256 + 1))[:size]
