"""The hello, and the switch to super-frames: how two fethpipes find out what they are.

Both are records that look like Ethernet frames to an address that no bridge forwards, so that a
peer that knows nothing of them delivers a harmless frame. A hello counts only as the first record
of a direction with an empty record behind it, and a switch only if it carries the random nonce of
the hello that its receiver sent: so no host behind the peer can make either up, and a relay that
hands frames from one stream to others, as a switch does, passes on no hello that counts.

A hello is a list of type-length-value fields. Types that we do not know are skipped: that is how
later programs can say more to each other.
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
_END = 0


class _Kind(IntEnum):
    HELLO = 1
    SWITCH = 2


class _Type(IntEnum):
    NONCE = 1
    FEATURES = 2
    MTU = 3
    KEEPALIVE = 4


class Feature(IntFlag):
    """What the sender of a hello can take. Bits that we do not know mean nothing to us."""

    SUPER_FRAMES = 1
    UDP_SEGMENTS = 2


class Hello(NamedTuple):
    """What one side says of itself."""

    nonce: bytes
    mtu: int
    features: Feature = Feature(0)
    keepalive: int = 0
    """Milliseconds after which an idle side sends an empty record; 0 for never."""


def encode_hello(hello: Hello) -> bytes:
    """Return the payload of the record that says hello."""
    numbers = {
        _Type.FEATURES: hello.features,
        _Type.MTU: hello.mtu,
        _Type.KEEPALIVE: hello.keepalive,
    }
    fields = _field(_Type.NONCE, hello.nonce)
    fields += b"".join(_field(kind, _NUMBER.pack(value)) for kind, value in numbers.items())
    return _frame(_Kind.HELLO, hello.nonce, fields)


def encode_switch(nonce: bytes) -> bytes:
    """Return the payload of the record after which its sender sends super-frames.

    ``nonce`` is that of the receiver's hello. There is one such record to a nonce, so a receiver
    compares it whole.
    """
    return _frame(_Kind.SWITCH, nonce, _field(_Type.NONCE, nonce))


def decode_hello(payload: bytes) -> Hello | None:
    """Return the hello that a payload is, None if it is just a frame.

    Raises ValueError for a hello that is malformed, or of a version that we do not know.
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
    )


_KNOWN_FEATURES = Feature.SUPER_FRAMES | Feature.UDP_SEGMENTS


def _frame(kind: _Kind, nonce: bytes, fields: bytes) -> bytes:
    # The source has to be the address of a single station, and should be of nobody else.
    source = b"\x02" + nonce[:5]
    frame = _DESTINATION + source + _ETHERTYPE + _MAGIC + bytes((_VERSION, kind)) + fields
    return frame.ljust(_MINIMUM, bytes((_END,)))


def _field(kind: _Type, value: bytes) -> bytes:
    return _FIELD.pack(kind, len(value)) + value


def _split(payload: bytes) -> dict[int, bytes]:
    """Return the fields by type, the last of each."""
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


def _number(fields: dict[int, bytes], kind: _Type) -> int:
    value = fields.get(kind)
    if value is None:
        return 0
    if len(value) != _NUMBER.size:
        raise ValueError(f"its field of type {kind} has {len(value)} bytes")
    number: int = _NUMBER.unpack(value)[0]
    return number
