"""The link of the device: up as long as there is a far end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..device import Device


@contextmanager
def link_up(device: Device) -> Iterator[None]:
    """Keep the link of the device up as long as there is a far end, and let it go down after."""
    set_carrier(device, up=True)
    try:
        yield
    finally:
        set_carrier(device, up=False)


def set_carrier(device: Device, *, up: bool) -> None:
    """Have the link be up or down, where the device can."""
    if device.offload:
        device.offload.set_carrier(up=up)
