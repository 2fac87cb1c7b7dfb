"""Open Ethernet devices: make one, attach to an existing one, or open one side of a cable."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import NamedTuple, cast

from ..device import VectoredDevice
from ..device.bpf import set_see_sent
from ..device.feth import FethDevice
from ..device.packet import PacketDevice, open_packet
from ..errors import DeviceError, FethpipeError, errno_behind, step
from ..netif.existing import existing
from ..netif.linux import LinuxInterfaces
from ..netif.name import interface_index
from ..provision.feth import destroy_feth, open_descriptors
from ..provision.kind import find_kind, provision
from ..provision.request import DeviceRequest
from .device import EthernetDevice
from .values import Address, Mac, as_address, as_mac, checked_name


def create_device(
    name: str | None = None,
    *,
    addresses: Iterable[Address] = (),
    mac: Mac | None = None,
    mtu: int | None = None,
    metric: int | None = None,
) -> EthernetDevice:
    """Make the device of this system, up and ready: a TAP on Linux, a feth pair on macOS.

    It is destroyed when it is closed. Without ``name`` it gets a free name, and without ``mac`` one
    that is always the same for this host and name. ``mtu`` is in bytes without the Ethernet header,
    default 1500. ``metric`` is that of the interface on macOS, and that of the routes to
    ``addresses`` on Linux. Raises UsageError, NotAllowedError or DeviceError.
    """
    return _provision(name, addresses, mac=mac, mtu=mtu, metric=metric, attach=False)


def attach_device(
    name: str,
    *,
    addresses: Iterable[Address] = (),
    mac: Mac | None = None,
    mtu: int | None = None,
    metric: int | None = None,
) -> EthernetDevice:
    """Attach to an existing device: a TAP, or a feth pair by the name of its primary side.

    Only the given settings are changed, and the device is not destroyed when it is closed. Raises
    UsageError, NotAllowedError or DeviceError.
    """
    return _provision(name, addresses, mac=mac, mtu=mtu, metric=metric, attach=True)


def _provision(
    name: str | None,
    addresses: Iterable[Address],
    *,
    mac: Mac | None,
    mtu: int | None,
    metric: int | None,
    attach: bool,
) -> EthernetDevice:
    kind = find_kind("auto")
    request = DeviceRequest(
        name=None if name is None else checked_name(name),
        attach=attach,
        addresses=tuple(map(as_address, addresses)),
        mac=None if mac is None else as_mac(mac),
        mtu=mtu,
        metric=metric,
    )
    made: list[Owned] = []
    provisioned = provision(kind, request, on_made=lambda name: made.append(own(name)))
    try:
        device = cast("VectoredDevice", kind.open(provisioned))
    except FethpipeError:
        for descriptor in provisioned.descriptors:
            os.close(descriptor)
        destroy_owned(made)
        raise
    # A TAP goes when its descriptor is closed; the sides of a pair stay until they are destroyed.
    owned = made if provisioned.io_interface else []
    return EthernetDevice(
        device,
        io_interface=provisioned.io_interface,
        destroy=lambda: destroy_owned(owned),
    )


def open_interface(name: str, *, see_sent: bool = False) -> EthernetDevice:
    """Open an interface: receive the frames that come in, and send frames out of it.

    On macOS it is the I/O side of a feth pair, or any other Ethernet interface. On Linux it is any
    Ethernet interface, by a packet socket. With ``see_sent``, also receive what this machine sends
    there. Raises UsageError, NotAllowedError or DeviceError.
    """
    checked_name(name)
    if os.uname().sysname == "Darwin":
        return _open_darwin(name, see_sent=see_sent)
    return _open_packets(name, see_sent=see_sent)


def open_far_end(name: str) -> EthernetDevice:
    """Open the far end of an interface: act as the host at the other end of its cable.

    A TAP of Linux that no process holds is attached to, as its far end is the process that holds
    it. Everything else is opened as ``open_interface`` does. Raises UsageError, NotAllowedError or
    DeviceError.
    """
    checked_name(name)
    if os.uname().sysname == "Linux" and _link_kind(name) == "tun":
        try:
            return attach_device(name)
        except DeviceError as error:
            if errno_behind(error) != errno.EBUSY:
                raise
    return open_interface(name)


def _link_kind(name: str) -> str:
    with existing(f"look for {name}", name), LinuxInterfaces() as interfaces:
        return interfaces.link(name).kind


def _open_darwin(name: str, *, see_sent: bool) -> EthernetDevice:
    with ExitStack() as undo:
        with existing(f"open {name}", name):
            descriptors = open_descriptors(name, "ndrv", undo)
        if see_sent:
            with step(f"receive what this machine sends on {name}"):
                set_see_sent(descriptors[0])
        with step(f"use the BPF device of {name}"):
            device = FethDevice(*descriptors, name=name)
        undo.pop_all()
    return EthernetDevice(device)


def _open_packets(name: str, *, see_sent: bool) -> EthernetDevice:
    with existing(f"open a packet socket on {name}", name):
        descriptor = open_packet(name)
    return EthernetDevice(PacketDevice(descriptor, name, see_sent=see_sent))


# ---- what was made ----


class Owned(NamedTuple):
    """A feth that we made. Its index tells it from a later one of the same name, but only if the
    kernel gave that one another index; XNU may give it the same.
    """

    name: str
    ifindex: int


def own(name: str) -> Owned:
    """Return an interface that was just made, with its index."""
    return Owned(name, interface_index(name))


def destroy_owned(owned: Sequence[Owned]) -> None:
    """Destroy the feths that we made, the last one first, if they still exist."""
    for made in reversed(owned):
        if interface_index(made.name) == made.ifindex:
            destroy_feth(made.name)
