"""Make a device, or take one that exists, and configure it: the part that needs root.

The result is plain facts and descriptors, so that whoever moves the frames needs neither root nor
the code that made them. Each kind of device is a module of its own.
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
"""The kinds of device, and the system that each needs: the first one of a system is its default.
How one is made is in its module.
"""


_MODULES = {"vmnet": "..vmnet.provision"}
"""Where the code of a kind is, unless it is a module here of its name."""


def find_kind(name: str) -> Kind:
    """Return the kind of device of this name, ``auto`` for the one of this system.

    Only now is its module loaded: each costs a part of the start-up, and needs only one. Raises
    UsageError for a kind that this system does not have.
    """
    system = os.uname().sysname
    if name == "auto":
        name = next((kind for kind in KINDS if KINDS[kind] == system), name)
        if name == "auto":
            raise UsageError(f"no device is known for {system}")
    if KINDS[name] != system:
        raise UsageError(f"--device {name} needs {_SYSTEM_NAMES[KINDS[name]]}, this is {system}")
    kind: Kind = importlib.import_module(_MODULES.get(name, f".{name}"), __package__).KIND
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


__all__ = ["KINDS", "Change", "DeviceRequest", "Kind", "Provisioned", "find_kind", "provision"]
