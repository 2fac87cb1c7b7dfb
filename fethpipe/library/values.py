"""Convert the values that callers of the library may pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, Union

from ..abi.address import IPInterface
from ..errors import UsageError
from ..netif.address import parse_address
from ..netif.mac import parse_mac
from ..netif.name import check_name

_T = TypeVar("_T")

Address = Union[str, IPInterface]
"""An address with its prefix length: text like ``10.9.0.1/24``, or an interface of
:mod:`ipaddress`."""

Mac = Union[str, bytes]
"""A MAC: text like ``02:00:5e:00:53:01``, or its 6 bytes."""


def checked_name(name: str) -> str:
    """Return the name if an interface can have it. Raises UsageError."""
    return _converted(check_name, name, name)


def as_address(address: Address) -> IPInterface:
    """Return an address with its prefix length. Raises UsageError."""
    return _converted(parse_address, address, address) if isinstance(address, str) else address


def as_mac(mac: Mac) -> bytes:
    """Return the 6 bytes of a MAC. Raises UsageError."""
    return _converted(parse_mac, mac if isinstance(mac, str) else mac.hex(":"), mac)


def _converted(convert: Callable[[str], _T], text: str, given: object) -> _T:
    try:
        return convert(text)
    except ValueError as error:
        raise UsageError(f"{given!a}: {error}") from error
