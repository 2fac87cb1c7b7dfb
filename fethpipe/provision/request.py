"""What a user asks of a device, and what comes of it: plain values, the same on every system."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..abi.address import IPInterface

DEFAULT_MTU = 1500


MadeHook = Callable[[str], None]
"""Called with the name of each interface at the moment that it is made, so that whoever has to
destroy it knows of it even if the rest of the work is cut short.
"""


class VmnetOptions(NamedTuple):
    """Addresses, and the UUID of a network, are text. None means that vmnet chooses."""

    mode: str = "shared"
    interface: str | None = None
    start: str | None = None
    end: str | None = None
    mask: str | None = None
    isolated: bool = False
    network: str | None = None


class VmnetFacts(NamedTuple):
    """What an interface was started with, besides its MAC and MTU. The addresses are those of the
    host's side: its own, and the last that its DHCP server gives out; a bridged interface has none.
    """

    mode: str
    max_packet: int
    start_address: str | None
    end_address: str | None
    subnet_mask: str | None


class DeviceRequest(NamedTuple):
    """What the user wants. None means the default of a device that we make, and leave as it is
    of one that we attach to. ``io_unit`` is that of a feth's I/O side, for who needs a certain
    one. ``offload`` prepares for super-frames, where the device can. ``vmnet`` is what only a vmnet
    interface has.
    """

    name: str | None = None
    attach: bool = False
    io_unit: int | None = None
    addresses: tuple[IPInterface, ...] = ()
    mac: bytes | None = None
    mtu: int | None = None
    metric: int | None = None
    inject: str | None = None
    offload: bool = False
    vmnet: VmnetOptions | None = None


class Change(NamedTuple):
    """What a running tunnel may change of its own device."""

    add: tuple[IPInterface, ...] = ()
    remove: tuple[IPInterface, ...] = ()
    mtu: int | None = None


class Provisioned(NamedTuple):
    """A device that is ready: its facts, and the descriptors to move frames with."""

    interface: str
    io_interface: str | None
    mac: bytes
    mtu: int
    addresses: tuple[IPInterface, ...]
    up: bool
    descriptors: tuple[int, ...]
    vmnet: VmnetFacts | None = None
