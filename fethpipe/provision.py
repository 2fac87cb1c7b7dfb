"""Make a device, or take one that exists, and configure it: the part that needs root.

The result is plain facts and descriptors, so that whoever moves the frames needs neither root nor
the code that made them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from .abi.linux import IFF_UP, IPInterface, LinkMessage
from .device import Device
from .device.tap import TapDevice, open_tap
from .errors import DeviceError, FethpipeError, NotAllowedError, UsageError, reason
from .netif.linux import LinuxInterfaces, host_identity
from .netif.mac import format_mac, stable_mac
from .netlink import Netlink

DEFAULT_MTU = 1500
_IPV6_MINIMUM_MTU = 1280


@dataclass(frozen=True)
class DeviceRequest:
    """What the user wants. None means the default of a device that we make, and leave as it is
    of one that we attach to.
    """

    name: str | None = None
    attach: bool = False
    addresses: tuple[IPInterface, ...] = ()
    mac: bytes | None = None
    mtu: int | None = None
    metric: int | None = None


@dataclass(frozen=True)
class Provisioned:
    """A device that is ready: its facts, and the descriptors to move frames with."""

    interface: str
    io_interface: str | None
    mac: bytes
    mtu: int
    addresses: tuple[IPInterface, ...]
    up: bool
    descriptors: tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """A kind of device: where it exists, and how it is made and used."""

    system: str
    mtu_range: range
    provision: Callable[[DeviceRequest], Provisioned]
    open: Callable[[Provisioned], Device]


def find_kind(name: str) -> Kind:
    """Return the kind of device of this name, ``auto`` for the one of this system.

    Raises UsageError for a kind that this system does not have.
    """
    system = os.uname().sysname
    if name == "auto":
        for kind in KINDS.values():
            if kind.system == system:
                return kind
        raise UsageError(f"no device is known for {system}")
    kind = KINDS[name]
    if kind.system != system:
        raise UsageError(f"--device {name} needs {_SYSTEM_NAMES[kind.system]}, this is {system}")
    return kind


def provision(kind: Kind, request: DeviceRequest) -> Provisioned:
    """Make or take a device as requested; on failure nothing of it is left.

    Raises UsageError, NotAllowedError or DeviceError.
    """
    mtu = request.mtu
    if mtu is not None and mtu not in kind.mtu_range:
        lowest, highest = kind.mtu_range[0], kind.mtu_range[-1]
        raise UsageError(f"--mtu {mtu} is outside of what the device takes, {lowest} to {highest}")
    if any(address.version == 6 for address in request.addresses):
        if mtu is not None and mtu < _IPV6_MINIMUM_MTU:
            raise UsageError(f"--mtu {mtu} is too small for IPv6, which needs {_IPV6_MINIMUM_MTU}")
    return kind.provision(request)


def _provision_tap(request: DeviceRequest) -> Provisioned:
    with ExitStack() as undo:
        interfaces = LinuxInterfaces(undo.enter_context(Netlink()))
        prepared = _prepared_tap(interfaces, request)
        descriptor, name = open_tap(request.name or "fp%d", attach=prepared)
        undo_descriptor = undo.enter_context(ExitStack())
        undo_descriptor.callback(os.close, descriptor)
        if prepared:
            _configure(interfaces, name, request, mtu=request.mtu, mac=request.mac)
        else:
            mac = request.mac or stable_mac(host_identity(), name)
            _configure(interfaces, name, request, mtu=request.mtu or DEFAULT_MTU, mac=mac)
            with _step(f"bring {name} up"):
                interfaces.set_up(name)
        with _step(f"read the state of {name}"):
            link = interfaces.link(name)
        undo_descriptor.pop_all()
    return Provisioned(
        interface=name,
        io_interface=None,
        mac=link.mac,
        mtu=link.mtu,
        addresses=request.addresses,
        up=bool(link.flags & IFF_UP),
        descriptors=(descriptor,),
    )


def _prepared_tap(interfaces: LinuxInterfaces, request: DeviceRequest) -> bool:
    """Return whether to attach to a TAP that an administrator made.

    ``--attach`` says so. A bare ``--name`` of a TAP that was prepared for just this user can mean
    nothing else either.
    """
    if request.name is None:
        return False
    link: LinkMessage | None = None
    with _step(f"look for {request.name}"):
        try:
            link = interfaces.link(request.name)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
    if request.attach:
        if link is None:
            raise DeviceError(
                f"cannot attach to {request.name}: it does not exist",
                hint=f"make it first: ip tuntap add dev {request.name} mode tap",
            )
        if link.kind != "tun":
            raise DeviceError(f"cannot attach to {request.name}: it is not a TAP")
        return True
    return link is not None and link.tun_persistent and link.tun_owner == os.geteuid() != 0


def _configure(
    interfaces: LinuxInterfaces,
    name: str,
    request: DeviceRequest,
    *,
    mtu: int | None,
    mac: bytes | None,
) -> None:
    if mtu is not None:
        with _step(f"set the MTU of {name} to {mtu}"):
            interfaces.set_mtu(name, mtu)
    if mac is not None:
        with _step(f"set the MAC of {name} to {format_mac(mac)}"):
            interfaces.set_mac(name, mac)
    for address in request.addresses:
        with _step(f"add {address} to {name}"):
            interfaces.add_address(name, address, metric=request.metric)


@contextmanager
def _step(what: str) -> Iterator[None]:
    """Turn the failure of one step into an error that names it."""
    try:
        yield
    except PermissionError as error:
        raise NotAllowedError(f"cannot {what}: {reason(error)}", hint="run as root") from error
    except OSError as error:
        raise DeviceError(f"cannot {what}: {reason(error)}") from error


def _open_tap_device(provisioned: Provisioned) -> Device:
    (descriptor,) = provisioned.descriptors
    return TapDevice(descriptor, provisioned.interface)


_SYSTEM_NAMES = {"Linux": "Linux", "Darwin": "macOS"}

# The largest TAP MTU is 65535 less the Ethernet header (drivers/net/tun.c: MAX_TAP_MTU... see
# tun_net_initialize); the smallest is ETH_MIN_MTU.
KINDS = {
    "tap": Kind("Linux", range(68, 65521 + 1), _provision_tap, _open_tap_device),
}
"""The kinds of device by name."""

__all__ = ["KINDS", "DeviceRequest", "FethpipeError", "Kind", "Provisioned", "find_kind"]
