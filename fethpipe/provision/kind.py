"""The kinds of device: what each offers, which one a system has, and how one is made."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import NamedTuple

from ..abi.address import IPInterface
from ..device import Device
from ..errors import DeviceError, UsageError
from .request import KINDS, Change, DeviceRequest, MadeHook, Provisioned

_IPV6_MINIMUM_MTU = 1280
_SYSTEM_NAMES = {"Linux": "Linux", "Darwin": "macOS"}

_MODULES = {"vmnet": "..vmnet.provision"}
"""The module of a kind, if it is not the one in this folder with the kind's name."""


class Kind(NamedTuple):
    """A kind of device: its system, and the functions that make, change, destroy and open it.

    All functions raise FethpipeError. ``provision``, ``change``, ``destroy`` and ``set_link``
    need root.

    ``mtu_range``: the MTUs that it can have, in bytes. ``destroy`` destroys one of the interfaces
    that ``provision`` named to its hook; one that no longer exists is no error.

    ``lasting``: its interfaces stay when their last descriptor is closed, so a killed keeper
    leaves them behind. ``mac`` returns the MAC of an interface (6 bytes, or none if it no longer
    exists); a kind has it if an index alone does not tell an interface from a later one of the
    same name. ``check``, without root, returns a function that raises DeviceError if the device is
    broken in a way that its descriptors do not show. ``find_lost``, without root, returns those of
    its addresses that its interface no longer has. ``find_address``, where the kernel tells no
    change, returns the IPv4 address of an interface; it raises OSError. ``set_link``, if
    descriptors cannot do it, has the link of a device go up or down; addresses and routes stay.
    ``release`` ends what ``provision`` started besides interfaces; call it in the process that
    called ``provision``.
    """

    name: str
    system: str
    mtu_range: range
    provision: Callable[[DeviceRequest, MadeHook], Provisioned]
    change: Callable[[Provisioned, Change], None]
    open: Callable[[Provisioned], Device]
    destroy: Callable[[str], None]
    lasting: bool = False
    mac: Callable[[str], bytes] | None = None
    check: Callable[[Provisioned], Callable[[], None]] | None = None
    find_lost: Callable[[Provisioned], tuple[IPInterface, ...]] | None = None
    find_address: Callable[[str], IPInterface | None] | None = None
    set_link: Callable[[Provisioned, bool], None] | None = None
    release: Callable[[], None] | None = None


def find_kind(name: str) -> Kind:
    """Return the kind of device of this name; ``auto`` is the default kind of this system.

    Its module is imported here and not earlier, because imports make the start slower and a start
    needs only one kind. Raises UsageError for a kind that this system does not have.
    """
    system = os.uname().sysname
    if name == "auto":
        name = next((kind for kind in KINDS if KINDS[kind] == system), name)
        if name == "auto":
            raise UsageError(f"fethpipe has no kind of device for {system}")
    if KINDS[name] != system:
        raise UsageError(
            f"--device {name} needs {_SYSTEM_NAMES[KINDS[name]]}, but this is {system}"
        )
    kind: Kind = importlib.import_module(_MODULES.get(name, f".{name}"), __package__).KIND
    return kind


def provision(
    kind: Kind, request: DeviceRequest, *, on_made: MadeHook = lambda _name: None
) -> Provisioned:
    """Make a device, or attach to one, as requested. On failure, everything made is destroyed.

    Raises UsageError, NotAllowedError or DeviceError.
    """
    mtu = request.mtu
    if mtu is not None and mtu not in kind.mtu_range:
        lowest, highest = kind.mtu_range[0], kind.mtu_range[-1]
        raise UsageError(f"--mtu {mtu} is out of range for this device: {lowest} to {highest}")
    wants_ipv6 = any(address.version == 6 for address in request.addresses)
    if wants_ipv6 and mtu is not None and mtu < _IPV6_MINIMUM_MTU:
        raise UsageError(
            f"--mtu {mtu} is too small for IPv6: it needs at least {_IPV6_MINIMUM_MTU}"
        )
    if request.bridge is not None:
        _check_bridge(kind, request)
    return kind.provision(request, on_made)


def _check_bridge(kind: Kind, request: DeviceRequest) -> None:
    """Refuse what does not go with a port of a bridge. Raises UsageError."""
    if kind.name == "vmnet":
        raise UsageError("--bridge does not work with vmnet", hint="use --vmnet-mode bridged")
    if request.attach:
        raise UsageError(
            f"use either --attach {request.name} or --bridge {request.bridge}, not both",
            hint="the owner of the interface can make it a port of the bridge",
        )
    if request.addresses:
        raise UsageError(
            f"{request.addresses[0]} does not work on a port of a bridge",
            hint=f"leave --address out, or add the address to {request.bridge}",
        )


def check_bridge_mtu(bridge: str, bridge_mtu: int, name: str, mtu: int) -> None:
    """Raise DeviceError if a port would have another MTU than its bridge (both in bytes)."""
    if bridge_mtu != mtu:
        raise DeviceError(
            f"cannot make {name} a port of {bridge}: its MTU is {mtu}, but {bridge} has "
            f"{bridge_mtu}",
            hint=f"use --mtu {bridge_mtu}",
        )
