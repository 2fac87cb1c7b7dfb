"""What a kind of device offers, whatever the system."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..device import Device
from .request import Change, DeviceRequest, MadeHook, Provisioned


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
