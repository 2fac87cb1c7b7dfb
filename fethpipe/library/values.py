"""What callers of the library may write, made into what the rest works with."""

from __future__ import annotations

from typing import Union

from ..abi.address import IPInterface
from ..errors import UsageError
from ..netif.address import parse_address
from ..netif.mac import parse_mac
from ..netif.name import check_name

Address = Union[str, IPInterface]
"""An address with its prefix length: ``10.9.0.1/24``, or as :mod:`ipaddress` has it."""

Mac = Union[str, bytes]
"""A MAC as people write it, or its 6 bytes."""


def checked_name(name: str) -> str:
    """Return a name that an interface may have. Raises UsageError."""
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
