"""Make a device, or take one that exists, and configure it: the part that needs root.

The result is plain facts and descriptors, so that whoever moves the frames needs neither root nor
the code that made them. Each kind of device is a row of a table; how one is made is in its module.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from ..device import Device
from ..errors import UsageError
from .feth import (
    FETH_MTU,
    change_feth,
    destroy_feth,
    open_feth_device,
    provision_feth,
)
from .request import Change, DeviceRequest, MadeHook, Provisioned
from .tap import TAP_MTU, change_tap, destroy_tap, open_tap_device, provision_tap

_IPV6_MINIMUM_MTU = 1280
_SYSTEM_NAMES = {"Linux": "Linux", "Darwin": "macOS"}


class Kind(NamedTuple):
    """A kind of device: where it exists, and how it is made, changed, undone (all of that as
    root) and used.

    ``provision``, ``change`` and ``destroy`` raise FethpipeError. ``destroy`` removes one interface
    of those that ``provision`` told its hook, and what is gone already is no error.
    """

    name: str
    system: str
    mtu_range: range
    provision: Callable[[DeviceRequest, MadeHook], Provisioned]
    change: Callable[[Provisioned, Change], None]
    open: Callable[[Provisioned], Device]
    destroy: Callable[[str], None]


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


def provision(
    kind: Kind, request: DeviceRequest, *, on_made: MadeHook = lambda _name: None
) -> Provisioned:
    """Make or take a device as requested; on failure nothing of it is left.

    Raises UsageError, NotAllowedError or DeviceError.
    """
    mtu = request.mtu
    if mtu is not None and mtu not in kind.mtu_range:
        lowest, highest = kind.mtu_range[0], kind.mtu_range[-1]
        raise UsageError(f"--mtu {mtu} is outside of what the device takes, {lowest} to {highest}")
    wants_ipv6 = any(address.version == 6 for address in request.addresses)
    if wants_ipv6 and mtu is not None and mtu < _IPV6_MINIMUM_MTU:
        raise UsageError(f"--mtu {mtu} is too small for IPv6, which needs {_IPV6_MINIMUM_MTU}")
    return kind.provision(request, on_made)


KINDS = {
    "feth": Kind(
        "feth", "Darwin", FETH_MTU, provision_feth, change_feth, open_feth_device, destroy_feth
    ),
    "tap": Kind("tap", "Linux", TAP_MTU, provision_tap, change_tap, open_tap_device, destroy_tap),
}
"""The kinds of device by name."""

__all__ = ["KINDS", "Change", "DeviceRequest", "Kind", "Provisioned", "find_kind", "provision"]
