"""Convert the values that callers of the library may pass."""

from __future__ import annotations

from typing import Union

from ..abi.address import IPInterface
from ..errors import UsageError
from ..netif.address import parse_address
from ..netif.mac import parse_mac
from ..netif.name import check_name

Address = Union[str, IPInterface]
"""An address with its prefix length: text like ``10.9.0.1/24``, or an interface of
:mod:`ipaddress`."""

Mac = Union[str, bytes]
"""A MAC: text like ``02:00:5e:00:53:01``, or its 6 bytes."""


def checked_name(name: str) -> str:
    """Return the name if an interface can have it. Raises UsageError."""
    try:
        return check_name(name)
    except ValueError as error:
        raise UsageError(f"{name!a}: {error}") from error


def as_address(address: Address) -> IPInterface:
    """Return an address with its prefix length. Raises UsageError."""
    if not isinstance(address, str):
        return address
    try:
        return parse_address(address)
    except ValueError as error:
        raise UsageError(f"{address!a}: {error}") from error


def as_mac(mac: Mac) -> bytes:
    """Return the 6 bytes of a MAC. Raises UsageError."""
    try:
        return parse_mac(mac if isinstance(mac, str) else mac.hex(":"))
    except ValueError as error:
        raise UsageError(f"{mac!a}: {error}") from error
