"""Read the address of an interface from text."""

from __future__ import annotations

import ipaddress

from ..abi.address import IPInterface


def parse_address(text: str) -> IPInterface:
    """Return the IPv4 or IPv6 address with its prefix length, of text like ``10.9.0.1/24``.

    Raises ValueError with a reason for the user.
    """
    if "/" not in text:
        raise ValueError("needs a prefix length, like 10.9.0.1/24 or fd00::1/64")
    try:
        address = ipaddress.ip_interface(text)
    except ValueError:
        raise ValueError("not an IP address with a prefix length, like 10.9.0.1/24") from None
    if address.version == 6 and "%" in text:
        raise ValueError("an address with a zone (%) is not allowed here")
    return address
