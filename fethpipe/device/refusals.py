"""The errors of a kernel when we send or receive a frame."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from ..errors import DeviceError, reason

REFUSALS: Mapping[int | None, str] = {
    errno.EMSGSIZE: "too long for the device",
    errno.ENETDOWN: "interface down",
    errno.ENOBUFS: "kernel out of buffers",
    errno.ENOMEM: "kernel out of buffers",
    errno.EAGAIN: "kernel queue full",
    errno.EINVAL: "refused by the kernel",
}
"""Why a frame was dropped, by errno. Any other errno is about the device, not about the frame."""


def gone(name: str, error: OSError) -> DeviceError:
    """Return the error that says that the interface of this name no longer exists."""
    return DeviceError(f"{name} has gone: {reason(error)}", hint="somebody deleted it")
