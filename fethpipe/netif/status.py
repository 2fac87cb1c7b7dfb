"""The state of an interface, the same for all systems."""

from __future__ import annotations

from enum import IntFlag
from typing import NamedTuple

from ..abi.address import IPInterface

_IFF_UP = 0x1  # net/if.h of Darwin and Linux


class Status(NamedTuple):
    """The state of an interface. MTUs are in bytes, the MAC is 6 bytes.

    ``active`` tells whether the link is active, None if the interface does not tell it.

    Linux only: ``kind`` is ``tun`` for a TAP and empty for hardware. macOS only: ``peer`` is empty
    for a feth without a peer, and for any other kind of interface; ``metric`` is the interface
    metric; ``largest_mtu`` was fixed when the interface was made.
    """

    name: str
    flags: IntFlag
    mtu: int
    mac: bytes
    addresses: tuple[IPInterface, ...]
    active: bool | None
    kind: str = ""
    peer: str = ""
    metric: int | None = None
    largest_mtu: int | None = None

    @property
    def up(self) -> bool:
        """Whether the interface is up."""
        return bool(self.flags & _IFF_UP)
