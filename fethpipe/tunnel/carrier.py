"""The link of the device: up as long as there is a far end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from ..device import Device
from ..errors import FethpipeError


class SetLink(Protocol):
    """A function that has the link be up or down, where there is a way. Raises FethpipeError."""

    def __call__(self, *, up: bool) -> None:
        """Set the link."""


@contextmanager
def link_up(set_link: SetLink) -> Iterator[None]:
    """Keep the link up as long as there is a far end, and let it go down after."""
    set_link(up=True)
    try:
        yield
    finally:
        with suppress(FethpipeError):  # the device or its keeper may have gone
            set_link(up=False)


def find_link(device: Device, by_keeper: SetLink | None) -> SetLink:
    """Return what sets the link: the device, else the keeper, else nothing."""
    if device.offload:
        return device.offload.set_carrier
    return by_keeper or _leave_link


def _leave_link(*, up: bool) -> None:
    """Leave the link as it is."""
