"""The operations of a kind of device, the same on every system."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..device import Device
from .request import Change, DeviceRequest, MadeHook, Provisioned


class Kind(NamedTuple):
    """A kind of device: its system, and the functions that make, change, destroy and open it.

    All functions raise FethpipeError. ``provision``, ``change`` and ``destroy`` need root.

    ``mtu_range``: the MTUs that it can have, in bytes. ``destroy`` destroys one of the interfaces
    that ``provision`` named to its hook; one that no longer exists is no error.

    ``lasting``: its interfaces stay when their last descriptor is closed, so a killed keeper
    leaves them behind. ``mac`` returns the MAC of an interface (6 bytes, or none if it no longer
    exists); a kind has it if an index alone does not tell an interface from a later one of the
    same name. ``check``, without root, returns a function that raises DeviceError if the device is
    broken in a way that its descriptors do not show. ``release`` ends what ``provision``
    started besides interfaces; call it in the process that called ``provision``.
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
    release: Callable[[], None] | None = None
