"""Join devices: what comes out of one goes into all others, as in a hub."""

from __future__ import annotations

from collections.abc import Sequence
from select import select

from ..errors import UsageError
from .device import EthernetDevice


def join(*devices: EthernetDevice) -> None:
    """Move frames between two or more devices, for ever. A frame that another device cannot send
    is left out there, and counted in its ``counters``.

    Raises UsageError for fewer devices, DeviceError when one of them has gone.
    """
    check_number(devices)
    readable: Sequence[EthernetDevice] = devices  # which may hold frames already
    while True:
        for device in readable:
            frames = device.receive_batch(0)
            for other in devices:
                if other is not device:
                    send_fitting(other, frames)
        readable = select(devices, [], [])[0]


def check_number(devices: Sequence[object]) -> None:
    """Raise UsageError if there is nothing to join."""
    if len(devices) < 2:
        raise UsageError("join needs two devices or more")


def send_fitting(device: EthernetDevice, frames: Sequence[bytes]) -> None:
    """Send the frames that are short enough for this device."""
    fitting = [frame for frame in frames if len(frame) <= device.frame_limit]
    if len(fitting) < len(frames):
        device.counters.drop("too long for the device", len(frames) - len(fitting))
    if fitting:
        device.send_batch(fitting)
