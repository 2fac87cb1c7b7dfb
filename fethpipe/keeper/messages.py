"""The messages between the pump and the keeper: requests and answers.

Each message is a table of fields, which says how each field is sent and which values it may have.
Both sides use the same tables. The checks protect the keeper: the pump talks to a peer that nobody
trusts, so a request must have all of its fields, no others, and each one within its bounds.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Container, Mapping
from typing import Any, Literal, NamedTuple

from ..abi.address import IPInterface
from ..netif.mac import MAC_LENGTH
from ..provision.request import KINDS, Change, DeviceRequest, Provisioned, VmnetFacts, VmnetOptions
from ..system.channel import Message

_MOST_ADDRESSES = 64
_LONGEST_NAME = 15
_UUID_LENGTH = 36
_LARGEST_NUMBER = 2**31 - 1
_INJECT = ("ndrv", "bpf")


Later = Literal["change", "dhcp"]
"""What the pump may ask for when there is a device: to change it, or to get it an address."""


class RequestError(Exception):
    """A request that the keeper does not accept. The text names the field."""


class _Field(NamedTuple):
    """How a value is converted to JSON and back.

    ``unpack`` raises TypeError or ValueError for everything that ``pack`` cannot return.
    """

    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]


_Table = Mapping[str, _Field]


def _same(value: Any) -> Any:
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _number(value: Any) -> int:
    if not (type(value) is int and 0 <= value <= _LARGEST_NUMBER):
        raise ValueError(value)
    return value


def _text(longest: int) -> _Field:
    def unpack(value: Any) -> str:
        # Names and numbers of interfaces are ASCII. Other text might not even be encodable.
        if not (isinstance(value, str) and value.isascii() and value.isprintable()):
            raise ValueError(value)
        if not 0 < len(value) <= longest:
            raise ValueError(value)
        return value

    return _Field(_same, unpack)


def _one_of(choices: Container[str]) -> _Field:
    def unpack(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(value)
        return value

    return _Field(_same, unpack)


def _mac(text: Any) -> bytes:
    mac = bytes.fromhex(text) if isinstance(text, str) else b""
    if len(mac) != MAC_LENGTH or mac[0] & 1 or not any(mac):
        raise ValueError(text)
    return mac


def _addresses(texts: Any) -> tuple[IPInterface, ...]:
    if not isinstance(texts, list) or len(texts) > _MOST_ADDRESSES:
        raise ValueError(texts)
    # ip_interface also accepts integers, bytes and IPv6 zones.
    if not all(isinstance(text, str) and "/" in text and "%" not in text for text in texts):
        raise ValueError(texts)
    return tuple(map(ipaddress.ip_interface, texts))


def _optional(field: _Field) -> _Field:
    return _Field(
        lambda value: None if value is None else field.pack(value),
        lambda value: None if value is None else field.unpack(value),
    )


def _group(kind: Callable[..., Any], table: _Table) -> _Field:
    """Return a field whose value is a named tuple of these fields."""
    return _Field(lambda value: _pack(value, table), lambda value: kind(**_unpack(value, table)))


_FLAG = _Field(_same, _flag)
_NUMBER = _Field(_same, _number)
_NAME = _text(_LONGEST_NAME)
_MAC = _Field(bytes.hex, _mac)
_ADDRESSES = _Field(lambda addresses: list(map(str, addresses)), _addresses)

_VMNET_OPTIONS: _Table = {
    "mode": _NAME,
    "interface": _optional(_NAME),
    "start": _optional(_NAME),
    "end": _optional(_NAME),
    "mask": _optional(_NAME),
    "isolated": _FLAG,
    "network": _optional(_text(_UUID_LENGTH)),
}
"""Only type and length are checked here. Whether the options make sense is checked where they are
used."""

_VMNET_FACTS: _Table = {
    "mode": _NAME,
    "max_packet": _NUMBER,
    "start_address": _optional(_NAME),
    "end_address": _optional(_NAME),
    "subnet_mask": _optional(_NAME),
    "host_interface": _optional(_NAME),
}

_REQUEST: _Table = {
    "kind": _one_of(KINDS),
    "name": _optional(_NAME),
    "attach": _FLAG,
    "io_unit": _optional(_NUMBER),
    "addresses": _ADDRESSES,
    "mac": _optional(_MAC),
    "mtu": _optional(_NUMBER),
    "metric": _optional(_NUMBER),
    "inject": _optional(_one_of(_INJECT)),
    "bridge": _optional(_NAME),
    "offload": _FLAG,
    "vmnet": _optional(_group(VmnetOptions, _VMNET_OPTIONS)),
}

_CHANGE: _Table = {"add": _ADDRESSES, "remove": _ADDRESSES, "mtu": _optional(_NUMBER)}

_PROVISIONED: _Table = {
    "interface": _NAME,
    "io_interface": _optional(_NAME),
    "mac": _Field(bytes.hex, bytes.fromhex),
    "mtu": _NUMBER,
    "addresses": _ADDRESSES,
    "up": _FLAG,
    "vmnet": _optional(_group(VmnetFacts, _VMNET_FACTS)),
}
"""The facts of a device. Its descriptors are sent beside the message."""


def _pack(value: Any, table: _Table) -> Message:
    return {name: field.pack(getattr(value, name)) for name, field in table.items()}


def _unpack(message: Any, table: _Table) -> dict[str, Any]:
    """Return the values of a message. Raises RequestError."""
    if not isinstance(message, dict) or message.keys() != table.keys():
        raise RequestError("fields")
    values = {}
    for name, field in table.items():
        try:
            values[name] = field.unpack(message[name])
        except (TypeError, ValueError):
            raise RequestError(name) from None
    return values


def pack_request(kind: str, request: DeviceRequest) -> Message:
    """Return the request to make a device."""
    named = {name: field for name, field in _REQUEST.items() if name != "kind"}
    return {"do": "provision", "kind": kind, **_pack(request, named)}


def unpack_request(message: Message) -> tuple[str, DeviceRequest]:
    """Return the kind and the request of a message. Raises RequestError."""
    values = _unpack(_without_action(message), _REQUEST)
    return values.pop("kind"), DeviceRequest(**values)


def pack_change(change: Change) -> Message:
    """Return the request to change the device."""
    return {"do": "change", **_pack(change, _CHANGE)}


def unpack_change(message: Message) -> Change:
    """Return the change of a message. Raises RequestError."""
    return Change(**_unpack(_without_action(message), _CHANGE))


def pack_link(up: bool) -> Message:
    """Return the request to set the link of the device."""
    return {"do": "link", "up": up}


def unpack_link(message: Message) -> bool:
    """Return whether the link is to be up. Raises RequestError."""
    up: bool = _unpack(_without_action(message), {"up": _FLAG})["up"]
    return up


def pack_provisioned(device: Provisioned) -> Message:
    """Return the message with the facts of a device, without its descriptors."""
    return _pack(device, _PROVISIONED)


def unpack_provisioned(message: Message, descriptors: list[int]) -> Provisioned:
    """Return a device from its facts and descriptors. Raises RequestError."""
    return Provisioned(**_unpack(message, _PROVISIONED), descriptors=tuple(descriptors))


def _without_action(message: Message) -> Message:
    return {name: value for name, value in message.items() if name != "do"}
