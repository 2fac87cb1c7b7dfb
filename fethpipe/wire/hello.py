"""The hello and the switch to super-frames: how two fethpipes learn what the other can do.

Both are records that look like Ethernet frames to an address that no bridge forwards. So a peer
that does not know them delivers a harmless frame. A hello counts only as the first record of a
direction with an empty record behind it. A switch counts only if it has the random nonce of the
hello that its receiver sent. So no host behind the peer can forge either of them, and a program
that relays frames from one stream to others, as a network switch does, passes on no valid hello.

A hello is a list of type-length-value fields. Unknown types are skipped, so that later versions can
add some. All numbers are big-endian.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

NONCE_LENGTH = 16

# IEEE 802.1Q: "nearest bridge" group address; IEEE 802: local experimental EtherType 1.
_DESTINATION = bytes.fromhex("0180c200000e")
_ETHERTYPE = bytes.fromhex("88b5")
_MAGIC = b"fethpipe"
_VERSION = 1
_START = 6 + 6
_FIELDS = _START + len(_ETHERTYPE + _MAGIC) + 2
_MINIMUM = 60  # of an Ethernet frame without its check sequence

_FIELD = struct.Struct(">HH")
_NUMBER = struct.Struct(">I")
_ADDRESS_LENGTH = 16
_END = 0


class _Kind(IntEnum):
    HELLO = 1
    SWITCH = 2


class _Type(IntEnum):
    NONCE = 1
    FEATURES = 2
    MTU = 3
    KEEPALIVE = 4
    ADDRESSES = 5


class Feature(IntFlag):
    """What the sender of a hello can take. Unknown bits are ignored."""

    SUPER_FRAMES = 1
    UDP_SEGMENTS = 2
    REPORTS = 4


class Hello(NamedTuple):
    """What one side tells about itself. ``mtu`` is in bytes, 0 if unknown."""

    nonce: bytes
    mtu: int
    features: Feature = Feature(0)
    keepalive: int = 0
    """The time in milliseconds after which an idle side sends an empty record; 0: it never does."""
    addresses: tuple[bytes, ...] = ()
    """The addresses of the device as IPv6 addresses, of 16 bytes (IPv4-mapped ones: RFC 4291)."""


def encode_hello(hello: Hello) -> bytes:
    """Return the payload of the hello record."""
    numbers = {
        _Type.FEATURES: hello.features,
        _Type.MTU: hello.mtu,
        _Type.KEEPALIVE: hello.keepalive,
    }
    fields = _field(_Type.NONCE, hello.nonce)
    fields += b"".join(_field(kind, _NUMBER.pack(value)) for kind, value in numbers.items())
    if hello.addresses:
        fields += _field(_Type.ADDRESSES, b"".join(hello.addresses))
    return _frame(_Kind.HELLO, hello.nonce, fields)


def encode_switch(nonce: bytes) -> bytes:
    """Return the payload of the switch record, after which its sender sends super-frames.

    ``nonce`` is the nonce of the receiver's hello. For each nonce there is only one such payload,
    so the receiver compares all of it.
    """
    return _frame(_Kind.SWITCH, nonce, _field(_Type.NONCE, nonce))


def decode_hello(payload: bytes) -> Hello | None:
    """Return the hello in a payload, None if the payload is a frame.

    Raises ValueError for a malformed hello, or an unknown version.
    """
    head = _ETHERTYPE + _MAGIC
    if not payload.startswith(_DESTINATION) or not payload.startswith(head, _START):
        return None
    if len(payload) < _FIELDS:
        raise ValueError("it ends inside the header")
    version, kind = payload[_FIELDS - 2 : _FIELDS]
    if version != _VERSION:
        raise ValueError(f"its version is {version}")
    if kind != _Kind.HELLO:
        return None
    fields = _split(payload)
    nonce = fields.get(_Type.NONCE, b"")
    if len(nonce) != NONCE_LENGTH:
        raise ValueError(f"its nonce has {len(nonce)} bytes")
    return Hello(
        nonce,
        mtu=_number(fields, _Type.MTU),
        features=Feature(_number(fields, _Type.FEATURES) & _KNOWN_FEATURES),
        keepalive=_number(fields, _Type.KEEPALIVE),
        addresses=_addresses(fields.get(_Type.ADDRESSES, b"")),
    )


_KNOWN_FEATURES = Feature.SUPER_FRAMES | Feature.UDP_SEGMENTS | Feature.REPORTS


def _frame(kind: _Kind, nonce: bytes, fields: bytes) -> bytes:
    # The source must be a unicast address, and should not be that of another host.
    source = b"\x02" + nonce[:5]
    frame = _DESTINATION + source + _ETHERTYPE + _MAGIC + bytes((_VERSION, kind)) + fields
    return frame.ljust(_MINIMUM, bytes((_END,)))


def _field(kind: _Type, value: bytes) -> bytes:
    return _FIELD.pack(kind, len(value)) + value


def _split(payload: bytes) -> dict[int, bytes]:
    """Return the fields by type, the last one of each type."""
    fields: dict[int, bytes] = {}
    offset = _FIELDS
    while len(payload) - offset >= _FIELD.size:
        kind, length = _FIELD.unpack_from(payload, offset)
        if kind == _END:
            return fields
        offset += _FIELD.size
        if length > len(payload) - offset:
            raise ValueError(f"its field of type {kind} has {length} bytes")
        fields[kind] = payload[offset : offset + length]
        offset += length
    if any(payload[offset:]):
        raise ValueError("it ends inside a field")
    return fields


def _addresses(value: bytes) -> tuple[bytes, ...]:
    if len(value) % _ADDRESS_LENGTH:
        raise ValueError(f"its field of addresses has {len(value)} bytes")
    starts = range(0, len(value), _ADDRESS_LENGTH)
    return tuple(value[start : start + _ADDRESS_LENGTH] for start in starts)


def _number(fields: dict[int, bytes], kind: _Type) -> int:
    value = fields.get(kind)
    if value is None:
        return 0
    if len(value) != _NUMBER.size:
        raise ValueError(f"its field of type {kind} has {len(value)} bytes")
    return int(_NUMBER.unpack(value)[0])
