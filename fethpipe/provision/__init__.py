"""Make a device, or attach to an existing one, and configure it: the part that needs root.

The result is facts and descriptors. A process that has them can move frames without root, and
without this code. Each kind of device has its own module.
"""

from __future__ import annotations

import importlib
import os

from ..errors import UsageError
from .kind import Kind
from .request import Change, DeviceRequest, MadeHook, Provisioned

_IPV6_MINIMUM_MTU = 1280
_SYSTEM_NAMES = {"Linux": "Linux", "Darwin": "macOS"}

KINDS = {"feth": "Darwin", "tap": "Linux", "vmnet": "Darwin"}
"""The kinds of device, each with the system that it needs. The first kind of a system is its
default.
"""


_MODULES = {"vmnet": "..vmnet.provision"}
"""The module of a kind, if it is not the one in this folder with the kind's name."""


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
    return kind.provision(request, on_made)


__all__ = ["KINDS", "Change", "DeviceRequest", "Kind", "Provisioned", "find_kind", "provision"]
