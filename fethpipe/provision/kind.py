"""What a kind of device offers, whatever the system."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..device import Device
from .request import Change, DeviceRequest, MadeHook, Provisioned


class Kind(NamedTuple):
    """A kind of device: where it exists, and how it is made, changed, undone (all of that as
    root) and used.

    All of them raise FethpipeError. ``destroy`` removes one interface of those that ``provision``
    told its hook, and what is gone already is no error.

    ``lasting`` interfaces stay when the last descriptor of them is closed: what a killed keeper
    leaves behind. ``mac`` returns the MAC of an interface, empty if it has gone, where its index
    does not tell it from the next one of its name. ``check``, which needs no root, raises
    DeviceError when the device is broken in a way that its descriptors do not tell. ``release``
    ends what ``provision`` started besides interfaces, where it was called.
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
    check: Callable[[Provisioned], None] | None = None
    release: Callable[[], None] | None = None
