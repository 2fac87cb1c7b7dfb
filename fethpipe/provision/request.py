"""The request for a device and its result: plain values, the same on every system.

MACs are 6 bytes, MTUs are in bytes without the Ethernet header.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..abi.address import IPInterface

DEFAULT_MTU = 1500

KINDS = {"feth": "Darwin", "tap": "Linux", "vmnet": "Darwin"}
"""The kinds of device, each with the system that it needs. The first kind of a system is its
default.
"""


MadeHook = Callable[[str], None]
"""Called with the name of each interface as soon as it is made. So the keeper, which has to destroy
it, knows it even if the rest of the work fails or is killed.
"""


class VmnetOptions(NamedTuple):
    """Options of a vmnet interface. Addresses and the UUID of a network are text; None lets vmnet
    choose.
    """

    mode: str = "shared"
    interface: str | None = None
    start: str | None = None
    end: str | None = None
    mask: str | None = None
    isolated: bool = False
    network: str | None = None


class VmnetFacts(NamedTuple):
    """The facts of a started vmnet interface, besides its MAC and MTU.

    ``max_packet`` is the longest frame in bytes. ``start_address`` is this Mac's own address and
    ``end_address`` the last one that its DHCP server gives out; a bridged interface has neither.
    """

    mode: str
    max_packet: int
    start_address: str | None
    end_address: str | None
    subnet_mask: str | None
    host_interface: str | None = None


class DeviceRequest(NamedTuple):
    """The device that the user wants.

    None means the default for a new device, and "do not change" for one that we attach to.
    ``metric`` is that of the interface on Darwin, and of the routes to ``addresses`` on Linux.
    ``io_unit`` is the unit of a feth pair's I/O side, None for the primary side's plus 10000.
    ``inject`` is ``ndrv`` or ``bpf``: how a feth sends; None is the faster one that works.
    ``bridge`` is the bridge of which the new device becomes a port. ``offload`` prepares the device
    for super-frames, if it can have them. ``vmnet`` is set for a vmnet interface only.
    """

    name: str | None = None
    attach: bool = False
    io_unit: int | None = None
    addresses: tuple[IPInterface, ...] = ()
    mac: bytes | None = None
    mtu: int | None = None
    metric: int | None = None
    inject: str | None = None
    bridge: str | None = None
    offload: bool = False
    vmnet: VmnetOptions | None = None


class Change(NamedTuple):
    """What a running tunnel may change on its own device."""

    add: tuple[IPInterface, ...] = ()
    remove: tuple[IPInterface, ...] = ()
    mtu: int | None = None


class Provisioned(NamedTuple):
    """A device that is ready: its facts, and the descriptors that move its frames."""

    interface: str
    io_interface: str | None
    mac: bytes
    mtu: int
    addresses: tuple[IPInterface, ...]
    up: bool
    descriptors: tuple[int, ...]
    vmnet: VmnetFacts | None = None
