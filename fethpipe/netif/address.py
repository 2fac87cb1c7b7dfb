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
    _refuse_what_no_host_has(address)
    return address


def _refuse_what_no_host_has(address: IPInterface) -> None:
    """Raise ValueError for an address that no end of a tunnel can have."""
    ip, network = address.ip, address.network
    if ip.is_multicast:
        raise ValueError("a multicast address belongs to no interface")
    if ip.is_loopback:
        raise ValueError("a loopback address does not leave this machine")
    if ip.is_unspecified:
        raise ValueError("0.0.0.0 and :: are no address of an interface")
    if network.num_addresses <= 2:  # where all are hosts
        return
    if ip == network.network_address:
        raise ValueError(f"the address of the network itself: take one inside, like {network[1]}")
    if ip.version == 4 and ip == network.broadcast_address:
        raise ValueError(
            f"the broadcast address of its network: take one inside, like {network[1]}"
        )
