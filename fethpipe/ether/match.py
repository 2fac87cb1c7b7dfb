"""Choose frames by EtherType, host or port."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from .describe import find_payload, skip_extensions

_ARP, _IPV4, _IPV6 = 0x0806, 0x0800, 0x86DD
_ADDRESSES = {_ARP: ((14, 18), (24, 28)), _IPV4: ((12, 16), (16, 20)), _IPV6: ((8, 24), (24, 40))}
"""Where the two addresses are in what follows the Ethernet header."""
_WITH_PORTS = (6, 17)


class Match(NamedTuple):
    """What a frame must have; None is anything. An EtherType is the one behind VLAN tags, a host
    or a port is that of either end.
    """

    kind: int | None = None
    host: IPv4Address | IPv6Address | None = None
    port: int | None = None

    def fits(self, frame: bytes) -> bool:
        """Return whether a frame has all of it."""
        kind, start, _ = find_payload(frame)
        packet = frame[start:]
        if self.kind not in (None, kind):
            return False
        if self.host is not None:
            parts = _ADDRESSES.get(kind, ())
            if self.host.packed not in [packet[begin:end] for begin, end in parts]:
                return False
        return self.port is None or self.port in _ports(kind, packet)


def _ports(kind: int, packet: bytes) -> tuple[int, ...]:
    """Return both ports of TCP or UDP, none of anything else."""
    if kind == _IPV4 and len(packet) >= 20 and not int.from_bytes(packet[6:8], "big") & 0x1FFF:
        protocol, payload = packet[9], packet[(packet[0] & 0xF) * 4 :]
    elif kind == _IPV6 and len(packet) >= 40:
        protocol, payload = skip_extensions(packet[6], packet[40:])
    else:
        return ()
    if protocol not in _WITH_PORTS or len(payload) < 4:
        return ()
    return struct.unpack_from("!HH", payload)
