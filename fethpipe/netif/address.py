"""The text form of addresses of an interface."""

from __future__ import annotations

import ipaddress

from ..abi.address import IPInterface


def parse_address(text: str) -> IPInterface:
    """Return an IPv4 or IPv6 address with its prefix length. Raises ValueError."""
    if "/" not in text:
        raise ValueError("needs a prefix length, like 10.9.0.1/24 or fd00::1/64")
    try:
        address = ipaddress.ip_interface(text)
    except ValueError:
        raise ValueError("no IP address with a prefix length, like 10.9.0.1/24") from None
    if address.version == 6 and "%" in text:
        raise ValueError("a zone (%) does not belong here")
    return address
