"""What a user asks of a device, and what comes of it: plain values, the same on every system."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ..abi.linux import IPInterface
from ..errors import DeviceError, NotAllowedError, reason

DEFAULT_MTU = 1500


class DeviceRequest(NamedTuple):
    """What the user wants. None means the default of a device that we make, and leave as it is
    of one that we attach to.
    """

    name: str | None = None
    attach: bool = False
    addresses: tuple[IPInterface, ...] = ()
    mac: bytes | None = None
    mtu: int | None = None
    metric: int | None = None


class Change(NamedTuple):
    """What a running tunnel may change of its own device."""

    add: tuple[IPInterface, ...] = ()
    remove: tuple[IPInterface, ...] = ()
    mtu: int | None = None


class Provisioned(NamedTuple):
    """A device that is ready: its facts, and the descriptors to move frames with.

    ``made`` names the interfaces that stay when the descriptors are closed, and so have to be
    destroyed by whoever made them.
    """

    interface: str
    io_interface: str | None
    mac: bytes
    mtu: int
    addresses: tuple[IPInterface, ...]
    up: bool
    descriptors: tuple[int, ...]
    made: tuple[str, ...] = ()


@contextmanager
def step(what: str) -> Iterator[None]:
    """Turn the failure of one step into an error that names it."""
    try:
        yield
    except PermissionError as error:
        raise NotAllowedError(f"cannot {what}: {reason(error)}", hint="run as root") from error
    except OSError as error:
        raise DeviceError(f"cannot {what}: {reason(error)}") from error
